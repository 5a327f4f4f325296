// Guests of a few instructions: enough to speak the lguest ABI from its very beginning.

using Iced.Intel;
using Lguest.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Launcher.Tests;

/// <summary>Pieces that tests put Guests together from. All memory they use lies in the third MiB.</summary>
internal static class TinyGuest
{
    public const uint PageOffset = ElfFile.PageOffset;
    public const uint Data = 0x0020_0000;
    public const uint List = 0x0020_1000;
    public const uint InputList = 0x0020_2000;
    public const uint InputBytes = 0x0020_3000;
    public const uint Text = 0x0020_4000;

    public static byte[] Assemble(Action<Assembler> code)
    {
        var assembler = new Assembler(32);
        code(assembler);
        var bytes = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(bytes), PageOffset + ElfFile.KernelAddress + 13);
        return bytes.ToArray();
    }

    /// <summary>LGUEST_INIT with a ring that is empty.</summary>
    public static void Initialize(Assembler c)
    {
        c.mov(edi, PageOffset + Data + 0x14);
        c.mov(ecx, 64);
        c.mov(al, 0xFF);
        c.cld();
        c.rep.stosb();
        Call(c, Hypercall.LguestInit, Data, 0, 0);
    }

    public static void Call(Assembler c, Hypercall number, uint edxValue, uint ebxValue, uint ecxValue) => Call(c, (uint)number, edxValue, ebxValue, ecxValue);

    public static void Call(Assembler c, uint number, uint edxValue, uint ebxValue, uint ecxValue)
    {
        c.mov(eax, number);
        c.mov(edx, edxValue);
        c.mov(ebx, ebxValue);
        c.mov(ecx, ecxValue);
        c.@int(0x1F);
    }

    public static void Store(Assembler c, uint address, string text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            c.mov(__byte_ptr[PageOffset + address + (uint)i], text[i]);
        }
    }

    public static void SetList(Assembler c, uint list, params (uint Address, ushort Length)[] sections)
    {
        for (uint i = 0; i < sections.Length; i++)
        {
            c.mov(__dword_ptr[PageOffset + list + 4 + (4 * i)], sections[i].Address);
            c.mov(__word_ptr[PageOffset + list + 68 + (2 * i)], sections[i].Length);
        }
    }

    public static void Crash(Assembler c, string text)
    {
        Initialize(c);
        Store(c, Text, text + "\0");
        Call(c, Hypercall.Crash, Text, 0, 0);
    }

    public static void PowerOff(Assembler c)
    {
        Store(c, Text, "Power down\0");
        Call(c, Hypercall.Crash, Text, 0, 0);
    }

    public static void Greet(Assembler c)
    {
        Initialize(c);
        Store(c, Text, "!");
        SetList(c, List, (Text, 1));
        Call(c, Hypercall.SendDma, 0, List, 0);
    }

    public static void HaltAfterGreeting(Assembler c)
    {
        Greet(c);
        Call(c, Hypercall.Halt, 0, 0, 0);
    }

    /// <summary>Binds a buffer of four bytes after a while, polls it, and echoes it.</summary>
    public static void EchoGuest(Assembler c)
    {
        Initialize(c);
        c.mov(ecx, 100_000);
        Label wait = c.CreateLabel();
        c.Label(ref wait);
        c.loop(wait);
        SetList(c, InputList, (InputBytes, 4));
        Call(c, Hypercall.BindDma, 0, InputList, (1 << 8) | 1);
        Label again = c.CreateLabel(), end = c.CreateLabel();
        c.Label(ref again);
        c.mov(eax, __dword_ptr[PageOffset + InputList]);
        c.test(eax, eax);
        c.je(again);
        c.mov(__word_ptr[PageOffset + List + 68], ax);
        c.mov(__dword_ptr[PageOffset + List + 4], InputBytes);
        Call(c, Hypercall.SendDma, 0, List, 0);
        c.cmp(__byte_ptr[PageOffset + InputBytes], (sbyte)'.');
        c.je(end);
        c.mov(__dword_ptr[PageOffset + InputList], 0);
        c.jmp(again);
        c.Label(ref end);
        PowerOff(c);
    }
}
