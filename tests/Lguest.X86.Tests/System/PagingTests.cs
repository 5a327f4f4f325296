// What the page tables promise (Intel SDM volume 3, chapter 4), seen by programs.

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class PagingTests
{
    private const uint Page = 0x40_0000;

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void ReadsSetAccessedAndWritesSetDirty(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Map(Page, Page, SystemMachine.All);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[Page]);
            a.hlt();
        }));
        Assert.Equal(Page | SystemMachine.All | SystemMachine.Accessed, m.TableEntry(Page));
        Assert.Equal(SystemMachine.Accessed, m.DirectoryEntry(Page) & (SystemMachine.Accessed | SystemMachine.Dirty));

        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(__dword_ptr[Page], eax);
            a.hlt();
        }));
        Assert.Equal(Page | SystemMachine.All | SystemMachine.Accessed | SystemMachine.Dirty, m.TableEntry(Page));
        Assert.Equal(SystemMachine.Accessed, m.TableEntry(SystemMachine.Code) & (SystemMachine.Accessed | SystemMachine.Dirty));
    }

    [Theory]
    [InlineData(Engine.Blocks, 0, false, 0u, 0u)]
    [InlineData(Engine.Blocks, 0, true, 0u, 2u)]
    [InlineData(Engine.Blocks, 0, true, SystemMachine.Present, 3u)]
    [InlineData(Engine.Blocks, 1, true, SystemMachine.Present, 3u)]
    [InlineData(Engine.Blocks, 1, false, 0u, 0u)]
    [InlineData(Engine.Blocks, 3, false, 0u, 4u)]
    [InlineData(Engine.Blocks, 3, false, SystemMachine.Present | SystemMachine.Writable, 5u)]
    [InlineData(Engine.Blocks, 3, true, 0u, 6u)]
    [InlineData(Engine.Blocks, 3, true, SystemMachine.Present | SystemMachine.Writable, 7u)]
    [InlineData(Engine.Blocks, 3, true, SystemMachine.Present | SystemMachine.User, 7u)]
    [InlineData(Engine.Reference, 0, true, SystemMachine.Present, 3u)]
    [InlineData(Engine.Reference, 3, false, 0u, 4u)]
    [InlineData(Engine.Reference, 3, true, SystemMachine.Present | SystemMachine.User, 7u)]
    public void RefusalsSayWhy(Engine engine, int ring, bool write, uint flags, uint errorCode)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Map(Page, Page, flags);
        m.Enter(ring);
        m.State.General[(int)Register32.Eax] = 0x1234_5678;
        Assert.Equal(Vector.PageFault, m.Run(a =>
        {
            a.nop();
            if (write)
            {
                a.mov(__dword_ptr[Page + 0x123], eax);
            }
            else
            {
                a.mov(eax, __dword_ptr[Page + 0x123]);
            }
        }));
        m.AssertFault(Vector.PageFault, errorCode, SystemMachine.Code + 1);
        Assert.Equal(Page + 0x123, m.State.Cr2);
        Assert.Equal(0x1234_5678u, m[Register32.Eax]);
        Assert.Equal(0u, m.Memory.Read<uint>(Page + 0x123));
        Assert.Equal(flags, m.TableEntry(Page) & 0xFFF);
        Assert.Equal(Eflags.Resume, m.Frame(3) & Eflags.Resume);
    }

    [Fact]
    public void TheDirectoryEntryLimitsTheTableEntry()
    {
        using var m = new SystemMachine(paging: true);
        m.Memory.Write(SystemMachine.Directory + ((Page >> 22) * 4), m.DirectoryEntry(Page) & ~SystemMachine.User);
        m.Enter(3);
        Assert.Equal(Vector.PageFault, m.Run(a => a.mov(eax, __dword_ptr[Page])));
        m.AssertFault(Vector.PageFault, 5, SystemMachine.Code);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void WithoutWriteProtectTheSupervisorWritesReadOnlyPages(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Map(Page, Page, SystemMachine.Present);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, cr0);
            a.and(eax, unchecked((int)~Cr0.WriteProtect));
            a.mov(cr0, eax);
            a.mov(__dword_ptr[Page], 0x55);
            a.hlt();
        }));
        Assert.Equal(0x55u, m.Memory.Read<uint>(Page));

        Assert.Equal(Vector.PageFault, m.Run(a =>
        {
            a.mov(eax, cr0);
            a.or(eax, (int)Cr0.WriteProtect);
            a.mov(cr0, eax);
            a.mov(__dword_ptr[Page], 0x66);
        }));
        Assert.Equal(0x55u, m.Memory.Read<uint>(Page));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void LargePagesMapFourMebibytes(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.State.Cr4 |= Cr4.PageSizeExtensions;
        m.Memory.Write(SystemMachine.Directory + (0x300 * 4), 0x80_0000u | SystemMachine.All | SystemMachine.Large);
        m.Memory.Write(0x92_3456u, 0xCAFEu);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[0xC012_3456]);
            a.hlt();
        }));
        Assert.Equal(0xCAFEu, m[Register32.Eax]);
        Assert.Equal(0x80_0000u | SystemMachine.All | SystemMachine.Large | SystemMachine.Accessed, m.DirectoryEntry(0xC000_0000));

        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(__dword_ptr[0xC03F_FFFC], 0xF00D);
            a.hlt();
        }));
        Assert.Equal(0xF00Du, m.Memory.Read<uint>(0xBF_FFFC));
        Assert.Equal(SystemMachine.Dirty, m.DirectoryEntry(0xC000_0000) & SystemMachine.Dirty);
    }

    [Fact]
    public void InvalidatingAnyAddressOfALargePageForgetsAllOfIt()
    {
        using var m = new SystemMachine(paging: true);
        m.State.Cr4 |= Cr4.PageSizeExtensions;
        uint entry = SystemMachine.Directory + (0x300 * 4);
        m.Memory.Write(entry, 0x80_0000u | SystemMachine.All | SystemMachine.Large);
        m.Memory.Write(0x80_5000u, 1u);
        m.Memory.Write(0xC0_5000u, 2u);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[0xC000_5000]);
            a.mov(__dword_ptr[entry], (int)(0xC0_0000u | SystemMachine.All | SystemMachine.Large));
            a.invlpg(__byte_ptr[0xC030_0000]);
            a.mov(ebx, __dword_ptr[0xC000_5000]);
            a.hlt();
        }));
        Assert.Equal((1u, 2u), (m[Register32.Eax], m[Register32.Ebx]));
    }

    [Fact]
    public void WithoutPageSizeExtensionsBitSevenMeansNothing()
    {
        using var m = new SystemMachine(paging: true);
        m.Memory.Write(SystemMachine.Directory + (1 * 4), m.DirectoryEntry(Page) | SystemMachine.Large);
        m.Map(Page, 0x50_0000, SystemMachine.All);
        m.Memory.Write(0x50_0000u, 7u);
        m.Run(a =>
        {
            a.mov(eax, __dword_ptr[Page]);
            a.hlt();
        });
        Assert.Equal(7u, m[Register32.Eax]);
    }

    [Fact]
    public void TranslationsStayUntilTheyAreFlushed()
    {
        using var m = new SystemMachine(paging: true);
        m.Memory.Write(Page, 1u);
        m.Memory.Write(Page + 0x1000, 2u);
        uint Load()
        {
            m.Run(a =>
            {
                a.mov(eax, __dword_ptr[Page]);
                a.hlt();
            });
            return m[Register32.Eax];
        }

        Assert.Equal(1u, Load());
        m.Map(Page, Page + 0x1000, SystemMachine.All);
        Assert.Equal(1u, Load());
        m.Space.FlushPage(Page + 0x123);
        Assert.Equal(2u, Load());
        m.Map(Page, Page, SystemMachine.All);
        m.Space.Flush();
        Assert.Equal(1u, Load());
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void InvalidatePageAndCr3ForgetTranslations(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Memory.Write(Page, 1u);
        m.Memory.Write(Page + 0x1000, 2u);
        m.Memory.Write(Page + 0x2000, 3u);
        uint entry = SystemMachine.Tables + ((Page >> 12) * 4);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, __dword_ptr[Page]);
            a.mov(__dword_ptr[entry], (int)((Page + 0x1000) | SystemMachine.All));
            a.invlpg(__byte_ptr[Page]);
            a.mov(edx, __dword_ptr[Page]);
            a.mov(__dword_ptr[entry], (int)((Page + 0x2000) | SystemMachine.All));
            a.mov(eax, cr3);
            a.mov(cr3, eax);
            a.mov(ebx, __dword_ptr[Page]);
            a.hlt();
        }));
        Assert.Equal((1u, 2u, 3u), (m[Register32.Ecx], m[Register32.Edx], m[Register32.Ebx]));
    }

    [Fact]
    public void AddressSpacesKeepTheirOwnTranslations()
    {
        using var m = new SystemMachine(paging: true);
        const uint other = 0x9000;
        m.Memory.Write(other, m.DirectoryEntry(0));
        m.Memory.Write(other + 4, (0xA000u) | SystemMachine.All);
        m.Memory.Write(0xA000u, (Page + 0x1000) | SystemMachine.All);
        m.Memory.Write(Page, 1u);
        m.Memory.Write(Page + 0x1000, 2u);
        Memory.AddressSpace second = m.Processor.CreateAddressSpace(other);
        uint Load()
        {
            m.Run(a =>
            {
                a.mov(eax, __dword_ptr[Page]);
                a.hlt();
            });
            return m[Register32.Eax];
        }

        Assert.Equal(1u, Load());
        m.Processor.CurrentAddressSpace = second;
        Assert.Equal(other, m.State.Cr3);
        Assert.Equal(2u, Load());
        m.Processor.CurrentAddressSpace = m.Space;
        Assert.Equal(1u, Load());
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AnAccessAcrossPagesIsAllOrNothing(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Memory.Write(Page + 0xFFC, 0x1111_1111u);
        m.Map(Page + 0x1000, 0, 0);
        m[Register32.Eax] = 0xFFFF_FFFF;
        Assert.Equal(Vector.PageFault, m.Run(a => a.mov(__dword_ptr[Page + 0xFFE], eax)));
        m.AssertFault(Vector.PageFault, 2, SystemMachine.Code);
        Assert.Equal(Page + 0x1000, m.State.Cr2);
        Assert.Equal(0x1111_1111u, m.Memory.Read<uint>(Page + 0xFFC));

        m.Enter(0);
        Assert.Equal(Vector.PageFault, m.Run(a => a.mov(eax, __dword_ptr[Page + 0xFFD])));
        m.AssertFault(Vector.PageFault, 0, SystemMachine.Code);
        Assert.Equal(Page + 0x1000, m.State.Cr2);

        m.Map(Page + 0x1000, 0x60_0000, SystemMachine.All);
        m.Space.Flush();
        m.Enter(0);
        m.Run(a =>
        {
            a.mov(__dword_ptr[Page + 0xFFE], eax);
            a.mov(ebx, __dword_ptr[Page + 0xFFE]);
            a.hlt();
        });
        Assert.Equal(0xFFFF_FFFFu, m[Register32.Ebx]);
        Assert.Equal(0xFFFFu, m.Memory.Read<uint>(0x60_0000));
    }

    public static TheoryData<Engine, string> ReadModifyWrites()
    {
        var data = new TheoryData<Engine, string>();
        foreach (Engine engine in Enum.GetValues<Engine>())
        {
            foreach (string name in new[] { "add", "inc", "xchg", "cmpxchg", "shl", "bts", "not", "xadd", "add8", "add16", "setcc" })
            {
                data.Add(engine, name);
            }
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(ReadModifyWrites))]
    public void ReadModifyWriteFaultsAsAWrite(Engine engine, string name)
    {
        foreach (uint place in new[] { Page + 8, Page + 0x2000 - 1 })
        {
            using var m = new SystemMachine(engine, paging: true);
            m.Map(Page, Page, SystemMachine.Present | SystemMachine.User);
            m.Map(Page + 0x1000, Page + 0x1000, SystemMachine.All);
            m.Map(Page + 0x2000, Page + 0x2000, SystemMachine.Present | SystemMachine.User);
            bool small = name is "add8" or "setcc";
            if (small && place != Page + 8)
            {
                continue;
            }
            m[Register32.Eax] = 1;
            m[Register32.Ecx] = 1;
            uint flags = m.State.Eflags;
            Assert.Equal(Vector.PageFault, m.Run(a =>
            {
                a.nop();
                switch (name)
                {
                    case "add": a.add(__dword_ptr[place], ecx); break;
                    case "inc": a.inc(__dword_ptr[place]); break;
                    case "xchg": a.xchg(__dword_ptr[place], ecx); break;
                    case "cmpxchg": a.cmpxchg(__dword_ptr[place], ecx); break;
                    case "shl": a.shl(__dword_ptr[place], 1); break;
                    case "bts": a.bts(__dword_ptr[place], 0); break;
                    case "not": a.not(__dword_ptr[place]); break;
                    case "xadd": a.xadd(__dword_ptr[place], ecx); break;
                    case "add8": a.add(__byte_ptr[place], cl); break;
                    case "add16": a.add(__word_ptr[place], cx); break;
                    default: a.sete(__byte_ptr[place]); break;
                }
            }));
            m.AssertFault(Vector.PageFault, 3, SystemMachine.Code + 1);
            Assert.Equal(place == Page + 8 ? place : Page + 0x2000, m.State.Cr2);
            Assert.Equal((1u, 1u), (m[Register32.Eax], m[Register32.Ecx]));
            Assert.Equal(flags & ~Eflags.Resume, m.Frame(3) & ~Eflags.Resume);
            Assert.Equal(0u, m.Memory.Read<uint>(Page + 8));
            Assert.Equal(0u, m.Memory.Read<uint>(Page + 0x1FFE));
        }
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AnInstructionFetchFaultsAtTheTarget(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Map(Page, Page, 0);
        Assert.Equal(Vector.PageFault, m.Run(a => a.jmp(Page + 0x10)));
        m.AssertFault(Vector.PageFault, 0, Page + 0x10);
        Assert.Equal(Page + 0x10, m.State.Cr2);

        m.Map(Page, Page, SystemMachine.Present | SystemMachine.Writable);
        m.Enter(3);
        Assert.Equal(Vector.PageFault, m.Run(a => a.jmp(Page + 0x10)));
        m.AssertFault(Vector.PageFault, 5, Page + 0x10);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AnInstructionAcrossPagesFaultsAtTheSecondPage(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Map(Page + 0x1000, 0, 0);
        m.Assemble(Page + 0xFFC, a =>
        {
            a.inc(ebx);
            a.mov(eax, 0x1234_5678);
            a.hlt();
        });
        Assert.Equal(Vector.PageFault, m.RunAt(Page + 0xFFC));
        m.AssertFault(Vector.PageFault, 0, Page + 0xFFD);
        Assert.Equal(Page + 0x1000, m.State.Cr2);
        Assert.Equal((1u, 0u), (m[Register32.Ebx], m[Register32.Eax]));

        m.Map(Page + 0x1000, Page + 0x1000, SystemMachine.All);
        m.Enter(0);
        Assert.Equal(SystemMachine.Done, m.RunAt(Page + 0xFFD));
        Assert.Equal(0x1234_5678u, m[Register32.Eax]);
    }

    [Fact]
    public void LookingAheadLeavesCr2Alone()
    {
        using var m = new SystemMachine(paging: true);
        m.State.Cr2 = 0x1234;
        m.Map(Page + 0x1000, 0, 0);
        m.Assemble(Page + 0xFFC, a =>
        {
            a.mov(ecx, cr2);
            a.mov(eax, 0x1234_5678);
        });
        Assert.Equal(Vector.PageFault, m.RunAt(Page + 0xFFC));
        m.AssertFault(Vector.PageFault, 0, Page + 0xFFF);
        Assert.Equal(0x1234u, m[Register32.Ecx]);
        Assert.Equal(Page + 0x1000, m.State.Cr2);
    }

    [Fact]
    public void CodeAcrossPagesFollowsTheSecondPageWhenItIsRemapped()
    {
        using var m = new SystemMachine(paging: true);
        m.Assemble(Page + 0xFFE, a =>
        {
            a.mov(eax, 0x1111_1111);
            a.hlt();
        });
        byte[] tail = new byte[16];
        m.Memory.Read(Page + 0x1000, tail);
        tail[1] = 0x22;
        m.Memory.Write(Page + 0x5000, tail);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(SystemMachine.Done, m.RunAt(Page + 0xFFE));
            Assert.Equal(0x1111_1111u, m[Register32.Eax]);
        }
        m.Map(Page + 0x1000, Page + 0x5000, SystemMachine.All);
        m.Space.FlushPage(Page + 0x1000);
        Assert.Equal(SystemMachine.Done, m.RunAt(Page + 0xFFE));
        Assert.Equal(0x1122_1111u, m[Register32.Eax]);
        m.Map(Page + 0x1000, 0, 0);
        m.Space.FlushPage(Page + 0x1000);
        Assert.Equal(Vector.PageFault, m.RunAt(Page + 0xFFE));
        m.AssertFault(Vector.PageFault, 0, Page + 0xFFE);
    }

    [Fact]
    public void CodeAcrossTwoMappingsOfOneFrameIsWatchedAtBothEnds()
    {
        using var m = new SystemMachine(paging: true);
        const uint alias = 0x60_0000;
        m.Map(alias, Page, SystemMachine.All);
        m.Map(alias + 0x1000, Page, SystemMachine.All);
        byte[] code = Oracles.TestMachine.Assemble(a =>
        {
            a.mov(eax, 0x1111_1111);
            a.hlt();
        });
        m.Memory.Write(Page + 0xFFE, code.AsSpan(0, 2));
        m.Memory.Write(Page, code.AsSpan(2));
        Assert.Equal(SystemMachine.Done, m.RunAt(alias + 0xFFE));
        Assert.Equal(0x1111_1111u, m[Register32.Eax]);
        m.Memory.Write(Page, (byte)0x22);
        Assert.Equal(SystemMachine.Done, m.RunAt(alias + 0xFFE));
        Assert.Equal(0x1111_2211u, m[Register32.Eax]);
        m.Map(alias + 0x1000, 0, 0);
        m.Space.FlushPage(alias + 0x1000);
        Assert.Equal(Vector.PageFault, m.RunAt(alias + 0xFFE));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void SwitchingPagingOnTakesEffectAtOnce(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.State.Cr0 &= ~Cr0.Paging;
        m.Processor.StateChanged();
        m.Memory.Write(Page, 1u);
        m.Memory.Write(0x60_0000u, 2u);
        m.Map(Page, 0x60_0000, SystemMachine.All);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, __dword_ptr[Page]);
            a.mov(eax, cr0);
            a.or(eax, unchecked((int)Cr0.Paging));
            a.mov(cr0, eax);
            a.mov(edx, __dword_ptr[Page]);
            a.hlt();
        }));
        Assert.Equal((1u, 2u), (m[Register32.Ecx], m[Register32.Edx]));
    }

    [Fact]
    public void AnAbsentFrameReadsOnesAndSwallowsWrites()
    {
        using var m = new SystemMachine(paging: true);
        m.Map(Page, 0xF000_0000, SystemMachine.All);
        m.Run(a =>
        {
            a.mov(__dword_ptr[Page], 0);
            a.mov(eax, __dword_ptr[Page]);
            a.hlt();
        });
        Assert.Equal(0xFFFF_FFFFu, m[Register32.Eax]);
    }
}
