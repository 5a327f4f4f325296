// PAE, execute-disable and global pages (Intel SDM volume 3, 4.4, 4.6 and 4.10): what only a kernel in ring 0 can switch on.

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class ExtendedPagingTests
{
    private const uint Pointers = 0x9_0020;
    private const uint FirstDirectory = 0x9_1000;
    private const uint HighTable = 0x9_6000;
    private const uint Page = 0xC000_0000;
    private const uint Frame = 0x30_0000;
    private const uint Global = 0x100;
    private const ulong NoExecute = 1ul << 63;
    private const uint Reserved = 8;

    /// <summary>PAE on: 16 MiB mapped to themselves by large pages, and small pages from 3 GiB on by <see cref="HighTable"/>.</summary>
    private static SystemMachine Machine(Engine engine, bool noExecute = true)
    {
        var m = new SystemMachine(engine);
        for (uint i = 0; i < 4; i++)
        {
            m.Memory.Write(Pointers + (i * 8), (ulong)(FirstDirectory + (i * 0x1000)) | SystemMachine.Present);
        }
        for (uint i = 0; i < 8; i++)
        {
            m.Memory.Write(FirstDirectory + (i * 8), (ulong)(i << 21) | SystemMachine.All | SystemMachine.Large);
        }
        m.Memory.Write(FirstDirectory + 0x3000, (ulong)HighTable | SystemMachine.All);
        MapHigh(m, Frame | SystemMachine.All);
        m.State.Efer = noExecute ? Efer.NoExecuteEnable : 0;
        m.State.Cr3 = Pointers;
        Switch(m, Cr0.Paging | Cr0.WriteProtect, Cr4.PhysicalAddressExtension);
        return m;
    }

    /// <summary>Sets bits of CR0 and CR4 as a kernel does.</summary>
    private static void Switch(SystemMachine m, uint cr0, uint cr4)
    {
        m.Processor.SetCr4(m.State.Cr4 | cr4);
        m.Processor.SetCr0(m.State.Cr0 | cr0);
    }

    private static void MapHigh(SystemMachine m, ulong entry) => m.Memory.Write(HighTable, entry);

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void EntriesOf64BitsMapSmallAndLargePages(Engine engine)
    {
        using SystemMachine m = Machine(engine);
        m.Memory.Write(Frame + 0x123, 0x89AB_CDEFu);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[Page + 0x123]);
            a.mov(__dword_ptr[0xC0_0010], eax);
            a.hlt();
        }));
        Assert.Equal((0x89AB_CDEFu, 0x89AB_CDEFu), (m[Register32.Eax], m.Memory.Read<uint>(0xC0_0010)));
        Assert.Equal(Frame | SystemMachine.All | SystemMachine.Accessed, m.Memory.Read<ulong>(HighTable));
        Assert.Equal(HighTable | SystemMachine.All | SystemMachine.Accessed, m.Memory.Read<ulong>(FirstDirectory + 0x3000));
        Assert.Equal(0xC0_0000 | SystemMachine.All | SystemMachine.Large | SystemMachine.Accessed | SystemMachine.Dirty, m.Memory.Read<ulong>(FirstDirectory + 0x30));
    }

    [Theory]
    [InlineData(3, "read", 0ul, 4u)]
    [InlineData(3, "read", (ulong)SystemMachine.Present, 1u | 4)]
    [InlineData(0, "write", (ulong)SystemMachine.Present, 1u | 2)]
    [InlineData(0, "read", SystemMachine.All | (1ul << 32), 1u | Reserved)]
    [InlineData(0, "read", SystemMachine.All | (1ul << 62), 1u | Reserved)]
    [InlineData(3, "fetch", 0ul, 4u | 16)]
    [InlineData(3, "fetch", SystemMachine.All | NoExecute, 1u | 4 | 16)]
    [InlineData(0, "fetch", SystemMachine.All | NoExecute, 1u | 16)]
    public void RefusalsSayWhy(int ring, string access, ulong entry, uint errorCode)
    {
        foreach (Engine engine in Enum.GetValues<Engine>())
        {
            using SystemMachine m = Machine(engine);
            MapHigh(m, entry);
            m.Enter(ring);
            Assert.Equal(Vector.PageFault, m.Run(a =>
            {
                a.mov(ecx, Page);
                switch (access)
                {
                    case "read": a.mov(eax, __dword_ptr[ecx]); break;
                    case "write": a.mov(__dword_ptr[ecx], eax); break;
                    default: a.jmp(ecx); break;
                }
            }));
            m.AssertFault(Vector.PageFault, errorCode, access == "fetch" ? Page : SystemMachine.Code + 5);
            Assert.Equal(Page, m.State.Cr2);
        }
    }

    [Fact]
    public void DataMayBeReadWhereNothingMayBeExecuted()
    {
        using SystemMachine m = Machine(Engine.Blocks);
        MapHigh(m, Frame | SystemMachine.All | NoExecute);
        m.Memory.Write(Frame, 0x1234u);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[Page]);
            a.hlt();
        }));
        Assert.Equal(0x1234u, m[Register32.Eax]);
    }

    [Fact]
    public void TheDirectoryForbidsExecutionForItsWholeTable()
    {
        using SystemMachine m = Machine(Engine.Blocks);
        m.Memory.Write(FirstDirectory + 0x3000, HighTable | SystemMachine.All | NoExecute);
        Assert.Equal(Vector.PageFault, m.Run(a => a.jmp(Page)));
        m.AssertFault(Vector.PageFault, 1 | 16, Page);
    }

    [Fact]
    public void WithoutNxeTheTopBitIsReserved()
    {
        using SystemMachine m = Machine(Engine.Blocks, noExecute: false);
        MapHigh(m, Frame | SystemMachine.All | NoExecute);
        Assert.Equal(Vector.PageFault, m.Run(a => a.jmp(Page)));
        m.AssertFault(Vector.PageFault, 1 | Reserved, Page);
    }

    [Fact]
    public void ALargePageHasReservedBits()
    {
        using SystemMachine m = Machine(Engine.Blocks);
        m.Memory.Write(FirstDirectory + 0x30, 0xC0_0000ul | SystemMachine.All | SystemMachine.Large | 0x2000);
        Assert.Equal(Vector.PageFault, m.Run(a => a.mov(eax, __dword_ptr[0xC0_0000])));
        m.AssertFault(Vector.PageFault, 1 | Reserved, SystemMachine.Code);
    }

    [Fact]
    public void ThePointersAreReadWhenCr3IsLoadedAndOnlyThen()
    {
        using SystemMachine m = Machine(Engine.Blocks);
        m.Memory.Write(Frame, 0x1234u);
        m.Memory.Write(Pointers + 24, 0ul);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.invlpg(__byte_ptr[Page]);
            a.mov(eax, __dword_ptr[Page]);
            a.hlt();
        }));
        Assert.Equal(0x1234u, m[Register32.Eax]);
        Assert.Equal(Vector.PageFault, m.Run(a =>
        {
            a.mov(eax, cr3);
            a.mov(cr3, eax);
            a.mov(eax, __dword_ptr[Page]);
        }));
        m.AssertFault(Vector.PageFault, 0, SystemMachine.Code + 6);
    }

    [Theory]
    [InlineData(2u, 0u, false)]
    [InlineData(0x20u, 0u, false)]
    [InlineData(0x100u, 0u, false)]
    [InlineData(0u, 1u, false)]
    [InlineData(0u, 0x8000_0000u, false)]
    [InlineData(0xE18u, 0u, true)]
    public void APointerWithReservedBitsIsRefused(uint low, uint high, bool allowed)
    {
        using SystemMachine m = Machine(Engine.Blocks);
        const uint other = 0x9_0040;
        for (uint i = 0; i < 4; i++)
        {
            m.Memory.Write(other + (i * 8), m.Memory.Read<ulong>(Pointers + (i * 8)));
        }
        m.Memory.Write(other + 16, m.Memory.Read<ulong>(other + 16) | low | ((ulong)high << 32));
        byte ended = m.Run(a =>
        {
            a.mov(eax, other);
            a.mov(cr3, eax);
            a.hlt();
        });
        Assert.Equal(allowed ? SystemMachine.Done : Vector.GeneralProtection, ended);
        Assert.Equal(allowed ? other : Pointers, m.State.Cr3);
    }

    [Fact]
    public void InvlpgForgetsALargePageWhole()
    {
        using SystemMachine m = Machine(Engine.Blocks);
        m.Memory.Write(0xC0_1000, 1u);
        m.Memory.Write(0xE0_1000, 2u);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[0xC0_1000]);
            a.add(__byte_ptr[FirstDirectory + 0x32], 0x20);
            a.invlpg(__byte_ptr[0xDF_FFFF]);
            a.mov(ebx, __dword_ptr[0xC0_1000]);
            a.hlt();
        }));
        Assert.Equal((1u, 2u), (m[Register32.Eax], m[Register32.Ebx]));
    }

    [Theory]
    [InlineData(false, false, 2u, 2u)]
    [InlineData(true, false, 2u, 2u)]
    [InlineData(false, true, 2u, 2u)]
    [InlineData(true, true, 1u, 2u)]
    public void GlobalPagesStayWhenCr3IsLoaded(bool enabled, bool global, uint afterLoad, uint afterInvlpg)
    {
        foreach (Engine engine in Enum.GetValues<Engine>())
        {
            using SystemMachine m = Machine(engine);
            Switch(m, 0, enabled ? Cr4.PageGlobalEnable : 0);
            MapHigh(m, Frame | SystemMachine.All | (global ? Global : 0));
            m.Memory.Write(Frame, 1u);
            m.Memory.Write(Frame + 0x1000, 2u);
            Assert.Equal(SystemMachine.Done, m.Run(a =>
            {
                a.mov(eax, __dword_ptr[Page]);
                a.add(__dword_ptr[HighTable], 0x1000);
                a.mov(ecx, cr3);
                a.mov(cr3, ecx);
                a.mov(ebx, __dword_ptr[Page]);
                a.invlpg(__byte_ptr[Page]);
                a.mov(edx, __dword_ptr[Page]);
                a.hlt();
            }));
            Assert.Equal((1u, afterLoad, afterInvlpg), (m[Register32.Eax], m[Register32.Ebx], m[Register32.Edx]));
        }
    }

    [Fact]
    public void LoadingCr3ForgetsAnyNumberOfPages()
    {
        using SystemMachine m = Machine(Engine.Blocks);
        Switch(m, 0, Cr4.PageGlobalEnable);
        m.Memory.Write(Frame, 1u);
        m.Memory.Write(Frame + 0x1000, 2u);
        // Pages that share an entry of the soft-TLB drive each other out and leave more notes than there are entries.
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            Iced.Intel.Label again = a.CreateLabel();
            a.mov(esi, 4000);
            a.Label(ref again);
            a.mov(eax, __dword_ptr[0x1_2000]);
            a.mov(eax, __dword_ptr[0x81_2000]);
            a.dec(esi);
            a.jne(again);
            a.mov(eax, __dword_ptr[Page]);
            a.add(__dword_ptr[HighTable], 0x1000);
            a.mov(ecx, cr3);
            a.mov(cr3, ecx);
            a.mov(ebx, __dword_ptr[Page]);
            a.hlt();
        }));
        Assert.Equal((1u, 2u), (m[Register32.Eax], m[Register32.Ebx]));
    }
}
