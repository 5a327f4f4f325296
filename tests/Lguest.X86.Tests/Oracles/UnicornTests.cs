using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests;

public sealed class UnicornTests
{
    private const uint Code = TestMachine.CodeAddress;

    [Fact]
    public void RunsOneInstruction()
    {
        using Unicorn unicorn = Create(a => a.aaa());
        unicorn.SetGeneral((int)Register32.Eax, 0x1234_010F);
        unicorn.Eflags = Eflags.AlwaysOne;
        Assert.Equal(new Unicorn.Outcome(true, -1), unicorn.Run(1));
        Assert.Equal(0x1234_0205u, unicorn.GetGeneral((int)Register32.Eax));
        Assert.Equal(Eflags.Carry | Eflags.Adjust, unicorn.Eflags & (Eflags.Carry | Eflags.Adjust));
        Assert.Equal(Code + 1, unicorn.Eip);
    }

    [Fact]
    public void RewrittenCodeIsTranslatedAnew()
    {
        using Unicorn unicorn = Create(a => a.inc(eax));
        unicorn.Run(1);
        unicorn.WriteCode(Code, TestMachine.Assemble(a => a.dec(ecx)));
        unicorn.Eip = Code;
        unicorn.Run(1);
        Assert.Equal(1u, unicorn.GetGeneral((int)Register32.Eax));
        Assert.Equal(0xFFFF_FFFF, unicorn.GetGeneral((int)Register32.Ecx));
    }

    [Fact]
    public void ReportsExceptions()
    {
        using Unicorn unicorn = Create(a => a.div(ecx));
        Assert.Equal(new Unicorn.Outcome(false, Vector.DivideError), unicorn.Run(1));
        Assert.Equal(Code, unicorn.Eip);
        unicorn.Reset();
        unicorn.Eip = Code;
        Assert.Equal(new Unicorn.Outcome(false, Vector.DivideError), unicorn.Run(1));
        unicorn.Reset();
        unicorn.WriteCode(Code, TestMachine.Assemble(a => a.ud2()));
        unicorn.Eip = Code;
        Assert.Equal(new Unicorn.Outcome(false, Vector.InvalidOpcode), unicorn.Run(1));
        unicorn.WriteCode(Code, TestMachine.Assemble(a => a.mov(eax, __dword_ptr[0x0900_0000])));
        unicorn.Eip = Code;
        Assert.Equal(new Unicorn.Outcome(false, Vector.PageFault), unicorn.Run(1));
    }

    [Fact]
    public void LoadsSegmentsFromTheDescriptorTable()
    {
        using Unicorn unicorn = Create(a => a.mov(eax, __dword_ptr.fs[4]));
        BitConverter.TryWriteBytes(unicorn.Memory(0x2008, 8), 0x00CF_9300_3000_FFFFul & ~0x0000_0000_FFFF_0000ul | 0x3000_0000ul);
        unicorn.SetGdt(0x2000, 0x1F);
        unicorn.LoadSegment(SegmentName.FS, 8);
        BitConverter.TryWriteBytes(unicorn.Memory(0x3004, 4), 0x1234_5678);
        Assert.True(unicorn.Run(1).Completed);
        Assert.Equal(0x1234_5678u, unicorn.GetGeneral((int)Register32.Eax));
    }

    [Fact]
    public void RunsFloatingPointAndSse()
    {
        using Unicorn unicorn = Create(a =>
        {
            a.fadd(st0, st0);
            a.addps(xmm1, xmm1);
        });
        unicorn.ControlWord = 0x37F;
        unicorn.StatusWord = 7 << 11;
        unicorn.TagWord = 0x3FFF;
        unicorn.Mxcsr = 0x1F80;
        unicorn.SetPhysical(7, new Float80(0x4000, 0x8000_0000_0000_0000));
        unicorn.SetXmm(1, Vector128.Create(1.5f).AsByte());
        Assert.True(unicorn.Run(2).Completed);
        Assert.Equal(new Float80(0x4001, 0x8000_0000_0000_0000), unicorn.GetPhysical(7));
        Assert.Equal(Vector128.Create(3f), unicorn.GetXmm(1).AsSingle());
    }

    [Fact]
    public void Runs16BitCode()
    {
        using var unicorn = new Unicorn(16);
        unicorn.Map(0, 0x2_0000);
        unicorn.WriteCode(0x8000, TestMachine.Assemble(a => a.push(ax), 0x8000, 16));
        unicorn.Eip = 0x8000;
        unicorn.SetGeneral((int)Register32.Eax, 0x55AA);
        unicorn.SetGeneral((int)Register32.Esp, 0x9999_0000);
        Assert.True(unicorn.Run(1).Completed);
        Assert.Equal(0x9999_FFFEu, unicorn.GetGeneral((int)Register32.Esp));
        Assert.Equal(0x55AA, BitConverter.ToUInt16(unicorn.Memory(0xFFFE, 2)));
    }

    private static Unicorn Create(Action<Assembler> write)
    {
        var unicorn = new Unicorn();
        unicorn.Map(0, 0x10_0000);
        unicorn.WriteCode(Code, TestMachine.Assemble(write));
        unicorn.Eip = Code;
        return unicorn;
    }
}
