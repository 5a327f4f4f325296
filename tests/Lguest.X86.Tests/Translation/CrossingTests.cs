// The way into a kernel and out again is remembered, and gone the short way next time if nothing has changed. So a program makes many
// system calls, and its kernel changes one word at each: of the gate, of a descriptor, of the task's stack, of the frame that it returns
// by. Mostly it puts back what was there. Nobody may see a difference to one instruction at a time.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Compares system calls with the reference path.</summary>
public sealed class CrossingTests
{
    private const byte SystemCall = 0x80;
    private const byte OtherCall = 0x81;
    private const int Calls = 60;
    private const uint Kernel = 0x1_8000;
    private const uint Changes = 0x3_0000;
    private const uint Selectors = 0x3_8000;
    private const uint WordsOfFrame = 5;
    private const ushort OtherCode3 = SystemMachine.Free + 3;
    private const ushort OtherData3 = SystemMachine.Free + 8 + 3;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void SystemCallsDoWhatTheReferencePathDoes(int ring) =>
        ReferenceComparison.Compare($"ring {ring}", (engine, seed) => Run(engine, ring, seed));

    /// <summary>An interrupt that waited while the kernel forbade it comes with the return that allows it.</summary>
    [Fact]
    public void AWaitingInterruptComesWithTheReturn()
    {
        using var m = new SystemMachine(paging: true);
        m.SetGate(SystemCall, SystemMachine.Code0, Kernel, dpl: 3);
        m.Assemble(Kernel, static a =>
        {
            Label back = a.CreateLabel();
            a.dec(ecx);
            a.jnz(back);
            a.hlt();
            a.Label(ref back);
            a.iretd();
        });
        m.Enter(3);
        m.State.SystemFlags |= Eflags.Interrupt;
        m[Register32.Ecx] = Calls;
        byte vector = m.Run(static a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.@int(SystemCall);
            a.jmp(again);
        });
        Assert.Equal(SystemMachine.Done, vector);
        m.Processor.RequestInterrupt(0x44);
        m[Register32.Ecx] = Calls;
        m.State.Eip = Kernel;
        Assert.Equal(0x44, m.Continue());
        Assert.Equal((SystemMachine.Code + 2, (uint)SystemMachine.Code3, (uint)Calls - 1), (m.Frame(0), m.Frame(1), m[Register32.Ecx]));
    }

    /// <summary>Flags that do not exist are not there, whatever the frame says, and what always is always is.</summary>
    [Fact]
    public void AFrameBringsNoFlagsThatDoNotExist()
    {
        const int reserved = 0x8028;
        using var m = new SystemMachine(paging: true);
        m.SetGate(SystemCall, SystemMachine.Code0, Kernel, dpl: 3);
        m.Assemble(Kernel, static a =>
        {
            a.xor(__dword_ptr[esp + 8], reserved | (int)Eflags.AlwaysOne);
            a.iretd();
        });
        m.Enter(3);
        byte vector = m.Run(static a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, Calls);
            a.Label(ref again);
            a.@int(SystemCall);
            a.pushfd();
            a.pop(eax);
            a.xor(eax, (int)Eflags.AlwaysOne);
            a.or(ebx, eax);
            a.dec(ecx);
            a.jnz(again);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(SystemMachine.Done, vector);
        Assert.Equal(0u, m[Register32.Ebx] & (reserved | Eflags.AlwaysOne));
    }

    /// <summary>A kernel clears the mark that its code segment was loaded: the next way in sets it, in the table and in the register.</summary>
    [Fact]
    public void AWayInMarksItsCodeSegment()
    {
        const uint accessed = 0x100;
        using var m = new SystemMachine(paging: true);
        m.SetGate(SystemCall, SystemMachine.Code0, Kernel, dpl: 3);
        m.Assemble(Kernel, static a => a.hlt());
        m.SetDescriptor(SystemMachine.Code0, 0, 0xFFFFF, 0x9A, 0xC);
        m.Enter(3);
        Assert.Equal(SystemMachine.Done, m.Run(static a => a.@int(SystemCall)));
        Assert.Equal((accessed, 0x9B), (m.State.Segments[(int)SegmentName.CS].Attributes & accessed, m.AccessByte(SystemMachine.Code0)));
    }

    private static string Run(Engine engine, int ring, int seed)
    {
        var random = new Random(seed);
        using var m = new SystemMachine(engine, hostRing: ring != 0, paging: true);
        ushort code = ring == 0 ? SystemMachine.Code0 : SystemMachine.Code1;
        uint type = random.Next(2) == 0 ? 0xEu : 0xFu;
        m.SetGate(SystemCall, code, Kernel, type, dpl: 3);
        m.SetGate(OtherCall, code, Kernel, type ^ 1, dpl: 3);
        m.SetDescriptor(OtherCode3, 0, 0xFFFFF, 0xFB, 0xC);
        m.SetDescriptor(OtherData3, 0, 0xFFFFF, 0xF3, 0xC);
        WriteChanges(m, random, ring);
        for (uint i = 0; i < Calls; i++)
        {
            m.Memory.Write(Selectors + (i * 2), random.Next(5) switch { 0 => OtherData3, 1 or 2 => SystemMachine.Data3, _ => (ushort)0 });
        }
        m.Assemble(Kernel, static a =>
        {
            a.push(ds);
            a.push(fs);
            a.mov(edx, SystemMachine.Data3);
            a.mov(fs, dx);
            a.mov(eax, __dword_ptr[ebx]);
            a.mov(edx, __dword_ptr[ebx + 4]);
            a.add(ebx, 8);
            a.xchg(__dword_ptr[eax], edx);
            a.mov(ds, __word_ptr[esp + 4]);
            a.pop(fs);
            a.pop(ds);
            a.iretd();
        });
        m.Enter(3);
        m.State.SystemFlags |= Eflags.Interrupt;
        m[Register32.Ebx] = Changes;
        m[Register32.Edi] = Selectors;
        m[Register32.Esi] = Calls;
        byte other = random.Next(4) == 0 ? OtherCall : SystemCall;
        m.Assemble(SystemMachine.Code, a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.mov(fs, __word_ptr[edi]);
            a.add(edi, 2);
            a.imul(ebp, ebp, 0x1003F);
            a.cmp(ebp, edi);
            a.@int(SystemCall);
            a.pushfd();
            a.pop(eax);
            a.add(ebp, eax);
            a.@int(other);
            a.dec(esi);
            a.jnz(again);
            a.@int(SystemMachine.Done);
        });
        m.State.Eip = SystemMachine.Code;
        return ReferenceComparison.RunAndDescribe(m);
    }

    /// <summary>What the kernel writes at each call: an address and a word.</summary>
    private static void WriteChanges(SystemMachine m, Random random, int ring)
    {
        uint stack = (ring == 0 ? SystemMachine.Stack0 : SystemMachine.Stack1) - (WordsOfFrame * 4);
        uint taskStack = SystemMachine.Tss + 4 + ((uint)ring * 8);
        uint[] places =
        [
            SystemMachine.Idt + (SystemCall * 8), SystemMachine.Idt + (SystemCall * 8) + 4, SystemMachine.Idt + (OtherCall * 8) + 4,
            taskStack, taskStack + 4, SystemMachine.Tss + 0x60,
            .. new ushort[] { SystemMachine.Code0, SystemMachine.Data0, SystemMachine.Code1, SystemMachine.Data1, SystemMachine.Code3, SystemMachine.Data3, OtherData3, 0 }
                .SelectMany(static selector => new[] { SystemMachine.Gdt + (selector & 0xFFF8u), SystemMachine.Gdt + (selector & 0xFFF8u) + 4 }),
        ];
        (uint Place, uint Value)? changed = null;
        for (uint i = 0; i < 2 * Calls; i++)
        {
            uint place = SystemMachine.Data;
            uint value = i;
            if (changed is var (changedPlace, original))
            {
                (place, value, changed) = (changedPlace, original, null);
            }
            else if (random.Next(4) == 0)
            {
                place = places[random.Next(places.Length)];
                original = m.Memory.Read<uint>(place);
                changed = (place, original);
                value = random.Next(3) == 0 ? original : original ^ (1u << random.Next(32));
            }
            else if (random.Next(6) == 0)
            {
                (uint word, value) = random.Next(7) switch
                {
                    0 => (1u, (uint)OtherCode3),
                    1 => (4u, (uint)OtherData3),
                    2 => (2u, Eflags.AlwaysOne | (uint)random.Next() & (Eflags.Status | Eflags.Direction)),
                    3 => (2u, Eflags.AlwaysOne | Eflags.Interrupt | Eflags.AlignmentCheck | Eflags.Identification),
                    4 => (2u, Eflags.AlwaysOne | Eflags.Interrupt | Eflags.Resume),
                    5 => (2u, Eflags.AlwaysOne | Eflags.Interrupt | (1u << random.Next(32))),
                    _ => (3u, SystemMachine.Stack - ((uint)random.Next(64) * 4)),
                };
                place = stack + (word * 4);
            }
            m.Memory.Write(Changes + (i * 8), place);
            m.Memory.Write(Changes + (i * 8) + 4, value);
        }
    }
}
