// What segments promise (Intel SDM volume 3, chapters 3 and 5), seen by programs.

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class SegmentTests
{
    private const ushort Small = SystemMachine.Free;
    private const uint Base = 0x30_0000;
    private const uint SelectorError = Small;

    [Theory]
    [InlineData(Engine.Blocks, 0xFFCu, false)]
    [InlineData(Engine.Blocks, 0xFFDu, true)]
    [InlineData(Engine.Blocks, 0xFFFF_FFFFu, true)]
    [InlineData(Engine.Reference, 0xFFCu, false)]
    [InlineData(Engine.Reference, 0xFFDu, true)]
    public void DataLimitsAreInclusive(Engine engine, uint offset, bool faults)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, Base, 0xFFF, 0x93, 4);
        byte end = m.Run(a =>
        {
            a.mov(eax, (int)Small);
            a.mov(ds, eax);
            a.mov(__dword_ptr[offset], 0x1234_5678);
            a.hlt();
        });
        if (faults)
        {
            Assert.Equal(Vector.GeneralProtection, end);
            m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 7);
            Assert.Equal(0u, m.Memory.Read<uint>(Base + 0xFFC));
        }
        else
        {
            Assert.Equal(SystemMachine.Done, end);
            Assert.Equal(0x1234_5678u, m.Memory.Read<uint>(Base + offset));
        }
    }

    [Theory]
    [InlineData(Engine.Blocks, 0xFFFu, 4, true)]
    [InlineData(Engine.Blocks, 0x1000u, 4, false)]
    [InlineData(Engine.Blocks, 0xFFFF_FFFCu, 4, false)]
    [InlineData(Engine.Blocks, 0xFFFF_FFFDu, 4, true)]
    [InlineData(Engine.Blocks, 0xFFFCu, 0, false)]
    [InlineData(Engine.Blocks, 0xFFFDu, 0, true)]
    [InlineData(Engine.Blocks, 0x1_0000u, 0, true)]
    [InlineData(Engine.Reference, 0xFFFu, 4, true)]
    [InlineData(Engine.Reference, 0x1000u, 4, false)]
    public void ExpandDownSegmentsBeginBehindTheirLimit(Engine engine, uint offset, int flags, bool faults)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, Base, 0xFFF, 0x97, flags);
        byte end = m.Run(a =>
        {
            a.mov(eax, (int)Small);
            a.mov(ds, eax);
            a.mov(eax, __dword_ptr[offset]);
            a.hlt();
        });
        Assert.Equal(faults ? Vector.GeneralProtection : SystemMachine.Done, end);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void NullSegmentsLoadButCannotBeUsed(Engine engine)
    {
        using var m = new SystemMachine(engine);
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            a.mov(eax, 3);
            a.mov(ds, eax);
            a.mov(es, eax);
            a.mov(fs, eax);
            a.mov(gs, eax);
            a.mov(ebx, ds);
            a.mov(eax, __dword_ptr[SystemMachine.Data]);
        }));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 15);
        Assert.Equal(3u, m[Register32.Ebx]);
        Assert.Equal(3, m.Selector(SegmentName.GS));

        m.Enter(0);
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            a.xor(eax, eax);
            a.mov(fs, eax);
            a.mov(__dword_ptr.fs[SystemMachine.Data], eax);
        }));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 4);

        m.Enter(0);
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            a.xor(eax, eax);
            a.mov(ss, eax);
        }));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 2);
        Assert.Equal(SystemMachine.Data0, m.Selector(SegmentName.SS));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void BasesAreAddedForEveryRegister(Engine engine)
    {
        using var m = new SystemMachine(engine);
        for (uint i = 0; i < 4; i++)
        {
            m.SetDescriptor((ushort)(Small + (i * 8)), Base + (i * 0x1000), 0xFFFFF, 0x93, 0xC);
        }
        m[Register32.Ecx] = 0x20;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, (int)Small);
            a.mov(fs, eax);
            a.mov(eax, Small + 8);
            a.mov(gs, eax);
            a.mov(__dword_ptr.fs[0x10], 1);
            a.mov(__dword_ptr.gs[ecx + (ecx * 2) + 0x10], 2);
            a.inc(__dword_ptr.fs[0x10]);
            a.mov(edx, __dword_ptr.fs[ecx - 0x10]);
            a.mov(eax, Small + 16);
            a.mov(ds, eax);
            a.mov(__dword_ptr[0x10], 3);
            a.mov(eax, Small + 24);
            a.mov(es, eax);
            a.mov(__dword_ptr.es[0x10], 4);
            a.mov(ebx, __dword_ptr.cs[Base + 0x10]);
            a.hlt();
        }));
        Assert.Equal(2u, m.Memory.Read<uint>(Base + 0x10));
        Assert.Equal(2u, m.Memory.Read<uint>(Base + 0x1000 + 0x70));
        Assert.Equal(3u, m.Memory.Read<uint>(Base + 0x2010));
        Assert.Equal(4u, m.Memory.Read<uint>(Base + 0x3010));
        Assert.Equal((2u, 2u), (m[Register32.Edx], m[Register32.Ebx]));
    }

    [Theory]
    [InlineData(Engine.Blocks, 0x91, true, false)]
    [InlineData(Engine.Blocks, 0x91, false, true)]
    [InlineData(Engine.Blocks, 0x9B, false, true)]
    [InlineData(Engine.Blocks, 0x9B, true, false)]
    [InlineData(Engine.Reference, 0x91, false, true)]
    [InlineData(Engine.Reference, 0x9B, false, true)]
    public void ReadOnlyDataAndCodeCannotBeWritten(Engine engine, int access, bool read, bool faults)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, 0, 0xFFFFF, access, 0xC);
        m.Memory.Write(Base, 5u);
        foreach (SegmentName name in new[] { SegmentName.DS, SegmentName.FS })
        {
            m.Enter(0);
            byte end = m.Run(a =>
            {
                a.mov(eax, (int)Small);
                a.mov(name == SegmentName.DS ? ds : fs, eax);
                var place = name == SegmentName.DS ? __dword_ptr[Base] : __dword_ptr.fs[Base];
                if (read)
                {
                    a.mov(eax, place);
                }
                else
                {
                    a.mov(place, eax);
                }
                a.hlt();
            });
            Assert.Equal(faults ? Vector.GeneralProtection : SystemMachine.Done, end);
            Assert.Equal(5u, m.Memory.Read<uint>(Base));
        }
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void ExecuteOnlyCodeCannotBeRead(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, 0, 0xFFFFF, 0x99, 0xC);
        m.Assemble(SystemMachine.Code + 0x100, a => a.mov(eax, __dword_ptr.cs[Base]));
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(Small, SystemMachine.Code + 0x100)));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 0x100);

        m.Enter(0);
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            a.mov(eax, (int)Small);
            a.mov(ds, eax);
        }));
        m.AssertFault(Vector.GeneralProtection, SelectorError, SystemMachine.Code + 5);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void TheStackSegmentFaultsWithItsOwnVector(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, Base, 0xFFF, 0xF3, 4);
        m.Enter(3);
        m.Load(SegmentName.SS, Small | 3);
        m[Register32.Esp] = 2;
        Assert.Equal(Vector.StackFault, m.Run(a => a.push(eax)));
        m.AssertFault(Vector.StackFault, 0, SystemMachine.Code);
        Assert.Equal(2u, m.Frame(4));

        m.Enter(3);
        m.Load(SegmentName.SS, Small | 3);
        m[Register32.Ebp] = 0xFFE;
        Assert.Equal(Vector.StackFault, m.Run(a => a.mov(eax, __dword_ptr[ebp])));
        m.AssertFault(Vector.StackFault, 0, SystemMachine.Code);
        m.Enter(3);
        m.Load(SegmentName.SS, Small | 3);
        m[Register32.Esp] = 0x1000;
        Assert.Equal(Vector.StackFault, m.Run(a => a.pop(eax)));
        m.AssertFault(Vector.StackFault, 0, SystemMachine.Code);
        Assert.Equal(0x1000u, m.Frame(4));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void LoadingSetsTheAccessedBitInTheTable(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, 0, 0xFFFFF, 0x92, 0xC);
        m.SetDescriptor(Small + 8, 0, 0xFFFFF, 0x9A, 0xC);
        m.Assemble(SystemMachine.Code + 0x100, a => a.hlt());
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, (int)Small);
            a.mov(es, eax);
            a.jmp(Small + 8, SystemMachine.Code + 0x100);
        }));
        Assert.Equal(0x93, m.AccessByte(Small));
        Assert.Equal(0x9B, m.AccessByte(Small + 8));
    }

    [Fact]
    public void TheHiddenPartOutlivesTheTable()
    {
        using var m = new SystemMachine();
        m.SetDescriptor(Small, Base, 0xFFFFF, 0x93, 0xC);
        m.Memory.Write(Base, 9u);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, (int)Small);
            a.mov(ds, eax);
            a.mov(__dword_ptr.ss[SystemMachine.Gdt + Small + 4], 0);
            a.mov(eax, __dword_ptr[0]);
            a.hlt();
        }));
        Assert.Equal(9u, m[Register32.Eax]);
    }

    [Theory]
    [InlineData(1, SystemMachine.Data3, true)]
    [InlineData(1, SystemMachine.Data1, true)]
    [InlineData(1, SystemMachine.Data0, false)]
    [InlineData(3, SystemMachine.Data1, false)]
    [InlineData(1, (ushort)(SystemMachine.Data1 | 3), false)]
    [InlineData(3, (ushort)0x30, true)]
    [InlineData(0, (ushort)0xFF8, false)]
    [InlineData(0, (ushort)0x1000, false)]
    [InlineData(0, SystemMachine.Task, false)]
    public void DataSegmentsNeedPrivilege(int ring, ushort selector, bool allowed)
    {
        using var m = new SystemMachine();
        m.Enter(ring);
        byte end = m.Run(a =>
        {
            a.mov(eax, (int)selector);
            a.mov(es, eax);
            a.@int(SystemMachine.Done);
        });
        if (allowed)
        {
            Assert.Equal(SystemMachine.Done, end);
            Assert.Equal(selector, m.Selector(SegmentName.ES));
        }
        else
        {
            Assert.Equal(Vector.GeneralProtection, end);
            m.AssertFault(Vector.GeneralProtection, selector & 0xFFFCu, SystemMachine.Code + 5);
        }
    }

    [Theory]
    [InlineData(Small, 0x13, Vector.SegmentNotPresent, false)]
    [InlineData(Small, 0x13, Vector.StackFault, true)]
    [InlineData(Small, 0x91, Vector.GeneralProtection, true)]
    [InlineData(Small, 0xB3, Vector.GeneralProtection, true)]
    [InlineData(Small | 1, 0xB3, Vector.GeneralProtection, true)]
    [InlineData(Small, 0x9B, Vector.GeneralProtection, true)]
    public void WrongDescriptorsAreRefusedBySelector(int selector, int access, byte vector, bool stack)
    {
        using var m = new SystemMachine();
        m.SetDescriptor(Small, 0, 0xFFFFF, access, 0xC);
        Assert.Equal(vector, m.Run(a =>
        {
            a.mov(eax, selector);
            a.mov(stack ? ss : ds, eax);
        }));
        m.AssertFault(vector, Small, SystemMachine.Code + 5);
        Assert.Equal(access, m.AccessByte(Small));
        Assert.Equal(SystemMachine.Data0, m.Selector(SegmentName.DS));
    }

    [Fact]
    public void LocalDescriptorsComeFromTheLdt()
    {
        using var m = new SystemMachine();
        m.SetDescriptor(0x0C, Base, 0xFFFFF, 0x93, 0xC);
        m.Memory.Write(Base, 8u);
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            a.mov(eax, 0x0C);
            a.mov(ds, eax);
        }));
        m.AssertFault(Vector.GeneralProtection, 0x0C, SystemMachine.Code + 5);
        m.Enter(0);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, (int)SystemMachine.Local);
            a.lldt(ax);
            a.mov(eax, 0x0C);
            a.mov(ds, eax);
            a.mov(ebx, __dword_ptr[0]);
            a.sldt(ecx);
            a.hlt();
        }));
        Assert.Equal((8u, (uint)SystemMachine.Local), (m[Register32.Ebx], m[Register32.Ecx]));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void SixteenBitCodeWrapsAndUsesItsStack(Engine engine)
    {
        using var m = new SystemMachine(engine);
        const ushort stack16 = Small + 8;
        m.SetDescriptor(Small, Base, 0xFFFF, 0x9B, 0);
        m.SetDescriptor(stack16, Base + 0x1_0000, 0xFFFF, 0x93, 0);
        m.Assemble(Base + 0x100, a =>
        {
            a.mov(ax, 0x1234);
            a.push(ax);
            a.pop(bx);
            a.mov(eax, 0x5678_9ABC);
            a.push(eax);
            a.call(0x200);
            a.mov(cx, 7);
            a.hlt();
        }, bits: 16);
        m.Memory.Write(Base + 0x200, (byte)0xC3);
        m[Register32.Esp] = 0xABCD_0000;
        m.State.Segments[(int)SegmentName.DS] = default;
        m.Load(SegmentName.SS, stack16);
        Assert.Equal(SystemMachine.Done, m.Run(a => a.jmp(Small, 0x100)));
        Assert.Equal(0x1234u, m[Register32.Ebx] & 0xFFFF);
        Assert.Equal(7u, m[Register32.Ecx]);
        Assert.Equal(0xABCD_FFFCu, m[Register32.Esp]);
        Assert.Equal(0x5678_9ABCu, m.Memory.Read<uint>(Base + 0x1_FFFC));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void CodeEndsAtTheLimit(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, 0, SystemMachine.Code + 0x104, 0x9B, 4);
        m.Assemble(SystemMachine.Code + 0x100, a =>
        {
            a.inc(ebx);
            a.mov(eax, 1);
        });
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(Small, SystemMachine.Code + 0x100)));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 0x101);
        Assert.Equal((1u, 0u), (m[Register32.Ebx], m[Register32.Eax]));

        m.Enter(0);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(Small, SystemMachine.Code + 0x105)));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code);
    }

    [Fact]
    public void AShorterLimitHoldsForCodeThatRanBefore()
    {
        using var m = new SystemMachine();
        m.SetDescriptor(Small, 0x1000, 0xFFFFF, 0x9B, 0xC);
        m.SetDescriptor(Small + 8, 0x1000, SystemMachine.Code + 0x100, 0x9B, 4);
        m.Assemble(SystemMachine.Code + 0x1100, a =>
        {
            a.inc(ebx);
            a.inc(ebx);
            a.hlt();
        });
        Assert.Equal(SystemMachine.Done, m.Run(a => a.jmp(Small, SystemMachine.Code + 0x100)));
        m.Enter(0);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(Small + 8, SystemMachine.Code + 0x100)));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 0x101);
        Assert.Equal(3u, m[Register32.Ebx]);
    }

    [Fact]
    public void BasesTellBlocksOfEqualOffsetsApart()
    {
        using var m = new SystemMachine();
        for (uint i = 0; i < 64; i++)
        {
            m.SetDescriptor((ushort)(Small + (i * 8)), Base + (i * 16), 0xFFFFF, 0x9B, 0xC);
            m.Assemble(Base + 0x100 + (i * 16), a =>
            {
                a.mov(eax, i);
                a.hlt();
            });
        }
        for (uint i = 0; i < 64; i++)
        {
            m.Enter(0);
            Assert.Equal(SystemMachine.Done, m.Run(a => a.jmp((ushort)(Small + (i * 8)), 0x100)));
            Assert.Equal(i, m[Register32.Eax]);
        }
    }

    [Fact]
    public void ConformingCodeRunsInTheCallersRing()
    {
        using var m = new SystemMachine();
        m.SetDescriptor(Small, 0, 0xFFFFF, 0x9F, 0xC);
        m.Assemble(SystemMachine.Code + 0x100, a => a.@int(SystemMachine.Done));
        m.Enter(3);
        Assert.Equal(SystemMachine.Done, m.Run(a => a.jmp(Small, SystemMachine.Code + 0x100)));
        Assert.Equal((uint)Small | 3, m.Frame(1));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void FarPointersLoadBothHalvesOrNothing(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Small, Base, 0xFFFFF, 0x93, 0xC);
        m.Memory.Write(SystemMachine.Data, 0x1234_5678u);
        m.Memory.Write(SystemMachine.Data + 4, Small);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.lfs(ebx, __fword_ptr[SystemMachine.Data]);
            a.hlt();
        }));
        Assert.Equal((0x1234_5678u, Base), (m[Register32.Ebx], m.State.Segments[(int)SegmentName.FS].Base));
        m.Memory.Write(SystemMachine.Data, 0x1111_1111u);
        m.Memory.Write(SystemMachine.Data + 4, SystemMachine.Task);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.lgs(ebx, __fword_ptr[SystemMachine.Data])));
        m.AssertFault(Vector.GeneralProtection, SystemMachine.Task, SystemMachine.Code);
        Assert.Equal(0x1234_5678u, m[Register32.Ebx]);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AlignmentChecksAreForRingThree(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.State.Cr0 |= Cr0.AlignmentMask;
        foreach (int ring in new[] { 1, 3 })
        {
            m.Enter(ring);
            m.State.Eflags = 0;
            byte end = m.Run(a =>
            {
                a.push(0x4_0000);
                a.popfd();
                a.mov(ecx, __dword_ptr[SystemMachine.Data + 4]);
                a.mov(cl, __byte_ptr[SystemMachine.Data + 1]);
                a.mov(cx, __word_ptr[SystemMachine.Data + 2]);
                a.mov(ecx, __dword_ptr[SystemMachine.Data + 2]);
                a.@int(SystemMachine.Done);
            });
            Assert.Equal(ring == 3 ? Vector.AlignmentCheck : SystemMachine.Done, end);
            if (ring == 3)
            {
                m.AssertFault(Vector.AlignmentCheck, 0, SystemMachine.Code + 25);
            }
        }
    }

    [Theory]
    [InlineData(3, SystemMachine.Code3, 0x00CF_FB00u, true)]
    [InlineData(3, SystemMachine.Data0, 0u, false)]
    [InlineData(3, Small, 0x00CF_9F00u, true)]
    [InlineData(0, SystemMachine.Task, 0x0000_8B00u, true)]
    [InlineData(0, Small + 8, 0x0000_8C00u, true)]
    [InlineData(0, Small + 16, 0u, false)]
    [InlineData(0, 0, 0u, false)]
    [InlineData(0, 0xFF0, 0u, false)]
    [InlineData(1, SystemMachine.Data1 | 3, 0u, false)]
    public void LarShowsVisibleDescriptors(int ring, int selector, uint rights, bool visible)
    {
        using var m = new SystemMachine();
        m.SetDescriptor(Small, 0, 0xFFFFF, 0x9F, 0xC);
        m.SetCallGate(Small + 8, SystemMachine.Code0, 0, 0, dpl: 0);
        m.SetCallGate(Small + 16, SystemMachine.Code0, 0, 0, type: 0xE, dpl: 0);
        m.Enter(ring);
        m[Register32.Eax] = 0x77;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, selector);
            a.lar(eax, ecx);
            a.sete(dl);
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal(visible ? (rights & 0x00F0_FF00, 1u) : (0x77, 0u), (visible ? m[Register32.Eax] & 0x00F0_FF00 : m[Register32.Eax], m[Register32.Edx] & 0xFF));
    }

    [Theory]
    [InlineData(SystemMachine.Data0, 0xFFFF_FFFFu, true, true, true)]
    [InlineData(Small, 0xFFFu, true, true, false)]
    [InlineData(Small + 8, 0xF_FFFFu, true, false, false)]
    [InlineData(SystemMachine.Task, 0x67u, true, false, false)]
    [InlineData(Small + 16, 0u, false, false, false)]
    public void LslVerrAndVerwAgreeWithTheDescriptor(int selector, uint limit, bool hasLimit, bool readable, bool writable)
    {
        using var m = new SystemMachine();
        m.SetDescriptor(Small, 0, 0xFFF, 0x91, 4);
        m.SetDescriptor(Small + 8, 0, 0xFFFFF, 0x99, 4);
        m.SetCallGate(Small + 16, SystemMachine.Code0, 0, 0, dpl: 0);
        m[Register32.Eax] = 0x77;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, selector);
            a.lsl(eax, ecx);
            a.sete(dl);
            a.verr(cx);
            a.sete(dh);
            a.verw(cx);
            a.sete(bl);
            a.hlt();
        }));
        Assert.Equal(hasLimit ? limit : 0x77, m[Register32.Eax]);
        Assert.Equal(
            ((hasLimit ? 1u : 0) | (readable ? 0x100u : 0), writable ? 1u : 0),
            (m[Register32.Edx] & 0xFFFF, m[Register32.Ebx] & 0xFF));
    }

    [Theory]
    [InlineData(0x1230u, 3u, 0x1233u, 1u)]
    [InlineData(0x1233u, 1u, 0x1233u, 0u)]
    [InlineData(0x1231u, 1u, 0x1231u, 0u)]
    public void ArplRaisesTheRequestedLevel(uint selector, uint level, uint expected, uint changed)
    {
        using var m = new SystemMachine();
        m[Register32.Eax] = selector;
        m[Register32.Ecx] = level;
        m.Run(a =>
        {
            a.arpl(ax, cx);
            a.sete(dl);
            a.hlt();
        });
        Assert.Equal((expected, changed), (m[Register32.Eax], m[Register32.Edx] & 0xFF));
    }
}
