// The accesses of a block to one neighbourhood share one question to the soft-TLB. What could go wrong lies at page borders: the frame
// behind the next page is another one, or there is none, or it may not be written. So random blocks work around a border, on every
// kind of pair of pages, and often enough to be written anew without sharing; nobody may see a difference to one instruction at a time.

using System.Text;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Compares blocks around a page border with the reference path.</summary>
public sealed class SharedRunTests : IDisposable
{
    private const uint LowPage = 0x30_0000;
    private const uint Border = 0x30_1000;
    private const uint LowFrame = 0x50_0000;
    private const uint HighFrame = 0x40_0000;
    private const int Rounds = 250;
    private const int Turns = 40;

    // Both pages as their table entries say; the accessed and dirty bits are the processor's to set.
    private static readonly (string Name, uint Low, uint High)[] Pages =
    [
        ("both writable", LowFrame | SystemMachine.All, HighFrame | SystemMachine.All),
        ("high missing", LowFrame | SystemMachine.All, 0),
        ("low missing", 0, HighFrame | SystemMachine.All),
        ("high read-only", LowFrame | SystemMachine.All, HighFrame | SystemMachine.Present | SystemMachine.User),
        ("low read-only", LowFrame | SystemMachine.Present | SystemMachine.User, HighFrame | SystemMachine.All),
        ("both one frame", LowFrame | SystemMachine.All, LowFrame | SystemMachine.All),
        ("no memory behind the high one", LowFrame | SystemMachine.All, 0xF000_0000 | SystemMachine.All),
    ];

    private static readonly AssemblerRegister32[] Free = [eax, edx, esi, edi];

    private readonly SystemMachine blocks = new(Engine.Blocks, paging: true);
    private readonly SystemMachine reference = new(Engine.Reference, paging: true);

    public static TheoryData<string> PageNames => [.. Pages.Select(static pages => pages.Name)];

    [Theory]
    [MemberData(nameof(PageNames))]
    public void BlocksAroundABorderDoWhatTheReferencePathDoes(string name)
    {
        (_, uint low, uint high) = Pages.Single(pages => pages.Name == name);
        Random random = TestSettings.RandomFor(name);
        for (int round = TestSettings.RoundsOf(Rounds); round > 0; round--)
        {
            byte[] code = Program(random);
            uint[] registers = [.. Enumerable.Range(0, 8).Select(_ => (uint)random.Next())];
            registers[(int)Register32.Ebx] = Border + (uint)random.Next(-200, 100);
            registers[(int)Register32.Ebp] = Border + (uint)random.Next(-200, 100);
            registers[(int)Register32.Esp] = (Border + (uint)random.Next(-200, 100)) & ~3u;
            registers[(int)Register32.Ecx] = (uint)random.Next(0, 30);
            byte[] contents = new byte[0x2000];
            random.NextBytes(contents);
            string expected = Run(reference, code, registers, contents, low, high);
            string actual = Run(blocks, code, registers, contents, low, high);
            Assert.Equal($"{TestSettings.Description}, round {round}: {expected}", $"{TestSettings.Description}, round {round}: {actual}");
        }
    }

    /// <summary>Accesses that are neighbours only for who adds their distances up in 32 bits.</summary>
    [Theory]
    [InlineData(0, 0x7FFF_FFFE)]
    [InlineData(4, 0x7FFF_FFFF)]
    [InlineData(-0x6000_0000, 0x6000_0000)]
    public void AccessesFarApartShareNothing(int near, int far)
    {
        const uint turns = 3;
        byte[] code = Oracles.TestMachine.Assemble(
            a =>
            {
                Label again = a.CreateLabel();
                a.Label(ref again);
                // A page that has been written: a run with a write in it finds it.
                a.mov(__dword_ptr[ebx + near], eax);
                a.dec(ecx);
                a.jnz(again);
                a.mov(eax, __dword_ptr[ebx + near]);
                a.mov(__dword_ptr[ebx + far], edx);
                a.@int(SystemMachine.Done);
            },
            SystemMachine.Code);
        uint[] registers = new uint[8];
        registers[(int)Register32.Ecx] = turns;
        registers[(int)Register32.Ebx] = LowPage + 0x100 - (uint)near;
        registers[(int)Register32.Esp] = Border;
        byte[] contents = new byte[0x2000];
        (_, uint low, uint high) = Pages[0];
        string expected = Run(reference, code, registers, contents, low, high);
        Assert.StartsWith($"vector {Vector.PageFault} ", expected, StringComparison.Ordinal);
        Assert.Equal(expected, Run(blocks, code, registers, contents, low, high));
    }

    public void Dispose()
    {
        blocks.Dispose();
        reference.Dispose();
    }

    /// <summary>A loop of a block that leaves EBX, EBP and ESP where they were, if nothing faults.</summary>
    private static byte[] Program(Random random)
    {
        int steps = random.Next(2, 20);
        return Oracles.TestMachine.Assemble(
            a =>
            {
                a.mov(__dword_ptr[SystemMachine.Data], Turns);
                a.mov(__dword_ptr[SystemMachine.Data + 4], ebx);
                a.mov(__dword_ptr[SystemMachine.Data + 8], esp);
                a.mov(__dword_ptr[SystemMachine.Data + 12], ebp);
                Label again = a.CreateLabel();
                a.Label(ref again);
                for (int i = 0; i < steps; i++)
                {
                    if (random.Next(5) == 0)
                    {
                        WriteSkip(a, random);
                    }
                    WriteStep(a, random);
                }
                a.mov(ebx, __dword_ptr[SystemMachine.Data + 4]);
                a.mov(esp, __dword_ptr[SystemMachine.Data + 8]);
                a.mov(ebp, __dword_ptr[SystemMachine.Data + 12]);
                a.dec(__dword_ptr[SystemMachine.Data]);
                a.jnz(again);
                a.@int(SystemMachine.Done);
            },
            SystemMachine.Code);
    }

    /// <summary>A step that is executed in some turns only, so that there are two ways through the loop.</summary>
    private static void WriteSkip(Assembler a, Random random)
    {
        Label behind = a.CreateLabel();
        a.test(__byte_ptr[SystemMachine.Data], random.Next(1, 8));
        if (random.Next(2) == 0)
        {
            a.jz(behind);
        }
        else
        {
            a.jnz(behind);
        }
        WriteStep(a, random);
        // A label must not be alone at the end of a program, or two at one place.
        a.Label(ref behind);
        a.nop();
    }

    private static void WriteStep(Assembler a, Random random)
    {
        AssemblerRegister32 register = Free[random.Next(Free.Length)];
        int near = random.Next(-60, 60);
        switch (random.Next(43))
        {
            case 0 or 1: a.push(register); break;
            case 2 or 3: a.pop(register); break;
            case 4 or 5: a.mov(register, __dword_ptr[ebx + near]); break;
            case 6 or 7: a.mov(__dword_ptr[ebx + near], register); break;
            case 8: a.add(__dword_ptr[ebp + near], register); break;
            case 9: a.adc(register, __dword_ptr[ebp + near]); break;
            case 10: a.mov(register, __dword_ptr[ebx + (ecx * 4) + near]); break;
            case 11: a.add(__dword_ptr[ebx + (ecx * 4) + near], near); break;
            case 12: a.lea(ebx, __[ebx + random.Next(-8, 8)]); break;
            case 13: a.sub(esp, random.Next(-2, 3) * 4); break;
            case 14: a.inc(ecx); break;
            case 15: a.movzx(register, __byte_ptr[esp + near]); break;
            case 16: a.mov(__word_ptr[esp + near], dx); break;
            case 17: a.push(__dword_ptr[ebx + near]); break;
            case 18: a.xchg(__dword_ptr[ebp + near], register); break;
            case 19: a.mov(ebp, esp); break;
            case 20: a.cmp(__byte_ptr[ebx + near], dl); break;
            case 21: a.setb(__byte_ptr[ebx + near]); break;
            case 22: a.mov(register, ebx); break;
            case 23: a.lea(esp, __[esp + (random.Next(-2, 3) * 4)]); break;
            case 24: a.add(esp, random.Next(-2, 3) * 4); a.adc(register, near); break;
            case 25: a.sub(esp, random.Next(-1, 2) * 4); a.setc(dl); break;
            case 26: a.add(esp, random.Next(0, 2) * 0x1_0000); a.sub(esp, random.Next(0, 2) * 0x1_0000); break;
            case 27: a.mov(register, esp); break;
            case 28: a.lea(register, __[esp + near]); break;
            case 29: a.push(esp); a.pop(register); break;
            case 30: a.cmp(esp, ebx); a.push(register); break;
            case 31: a.mov(ebp, esp); a.push(register); a.leave(); break;
            case 32: a.fld(__dword_ptr[esp + near]); a.fstp(__dword_ptr[esp + 8]); break;
            case 33: a.movups(xmm1, __[esp + near]); a.movups(__[esp - 16], xmm1); break;
            case 34: a.push(__dword_ptr[esp + near]); break;
            case 35: a.pop(__dword_ptr[esp + near]); break;
            case 36: a.and(esp, -4); break;
            case 37: a.inc(esp); a.dec(esp); break;
            case 38: a.pushfd(); a.pop(register); break;
            case 39: a.push(ds); a.pop(es); break;
            case 40: WriteCall(a); break;
            case 41: a.mov(__dword_ptr[ebx + near], register); a.fnstcw(__word_ptr[ebx + near]); break;
            default: a.rdtsc(); break;
        }
    }

    /// <summary>A call over a return that nobody else comes to.</summary>
    private static void WriteCall(Assembler a)
    {
        Label function = a.CreateLabel();
        Label behind = a.CreateLabel();
        a.call(function);
        a.jmp(behind);
        a.Label(ref function);
        a.push(edx);
        a.lea(esp, __[esp + 4]);
        a.ret();
        a.Label(ref behind);
        a.nop();
    }

    private static string Run(SystemMachine m, byte[] code, uint[] registers, byte[] contents, uint low, uint high)
    {
        // In ring 3: its faults are handled on a stack that is always there.
        m.Enter(3);
        m.Memory.Write(LowFrame, contents.AsSpan(0, 0x1000));
        m.Memory.Write(HighFrame, contents.AsSpan(0x1000));
        m.Map(LowPage, low & 0xFFFF_F000, low & 0xFFF);
        m.Map(Border, high & 0xFFFF_F000, high & 0xFFF);
        m.Space.Flush();
        for (int i = 0; i < 8; i++)
        {
            m.State.General[i] = registers[i];
        }
        m.State.Cr2 = 0;
        m.State.Eflags = Eflags.AlwaysOne;
        m.Memory.Write(SystemMachine.Code, code);
        byte vector = m.RunAt(SystemMachine.Code);
        var text = new StringBuilder($"vector {vector} CR2 {m.State.Cr2:x} EIP {m.State.Eip:x} EFLAGS {m.State.Eflags:x}");
        for (int i = 0; i < 8; i++)
        {
            text.Append($" {(Register32)i} {m.State.General[i]:x}");
        }
        byte[] after = new byte[0x2000];
        m.Memory.Read(LowFrame, after.AsSpan(0, 0x1000));
        m.Memory.Read(HighFrame, after.AsSpan(0x1000));
        return text.Append($" memory {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(after))[..16]}").ToString();
    }
}
