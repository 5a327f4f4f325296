// ABI 9: shadow page tables.

using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class Abi09PageTableTests
{
    private const uint Read = 0;
    private const uint Write = 2;
    private const uint FromUser = 4;
    private const uint Kernel = TestGuest.PageOffset + TestGuest.Scratch;
    private const uint KernelEntry = TestGuest.KernelTable + (4 * (TestGuest.Scratch >> 12));
    private const uint KernelDirectoryEntry = TestGuest.Directory + (4 * (TestGuest.PageOffset >> 22));

    private static PageTables Tables(TestGuest guest) => guest.Guest.PageTables;

    [Fact]
    public void Abi_9_4_Read_SetsAccessed_AndMapsReadOnly()
    {
        using var guest = new TestGuest();
        Assert.True(Tables(guest).DemandPage(Kernel, Read));
        Assert.Equal(TestGuest.Scratch | 0x23u, guest.Word(KernelEntry));
        Assert.Equal(TestGuest.Scratch | 0x21u, guest.ShadowEntry(Kernel));
    }

    [Fact]
    public void Abi_9_4_Write_SetsDirty_AndMapsWritable()
    {
        using var guest = new TestGuest();
        Assert.True(Tables(guest).DemandPage(Kernel, Read));
        Assert.True(Tables(guest).DemandPage(Kernel, Write));
        Assert.Equal(TestGuest.Scratch | 0x63u, guest.Word(KernelEntry));
        Assert.Equal(TestGuest.Scratch | 0x63u, guest.ShadowEntry(Kernel));
    }

    [Fact]
    public void Abi_9_4_DirtyPage_IsWritableAtOnce()
    {
        using var guest = new TestGuest();
        guest.SetWord(KernelEntry, TestGuest.Scratch | 0x43);
        Assert.True(Tables(guest).DemandPage(Kernel, Read));
        Assert.Equal(TestGuest.Scratch | 0x63u, guest.ShadowEntry(Kernel));
    }

    [Fact]
    public void Abi_9_4_AbsentDirectoryEntry_IsTheGuestsFault()
    {
        using var guest = new TestGuest();
        Assert.False(Tables(guest).DemandPage(0x0080_0000, Read));
        Assert.Equal(0u, guest.ShadowDirectoryEntry(0x0080_0000));
    }

    [Fact]
    public void Abi_9_4_AbsentPage_IsTheGuestsFault()
    {
        using var guest = new TestGuest();
        guest.SetWord(KernelEntry, TestGuest.Scratch | 0x62);
        Assert.False(Tables(guest).DemandPage(Kernel, Read));
        Assert.Equal(0u, guest.ShadowEntry(Kernel));
    }

    [Theory]
    [InlineData(0x05u, Write, false)]
    [InlineData(0x05u, Read, true)]
    [InlineData(0x03u, FromUser, false)]
    [InlineData(0x07u, FromUser | Write, true)]
    [InlineData(0x05u, FromUser | Write, false)]
    public void Abi_9_4_RightsOfThePage(uint flags, uint errorCode, bool handled)
    {
        using var guest = new TestGuest();
        guest.SetWord(TestGuest.UserTable, TestGuest.UserPage | flags);
        Assert.Equal(handled, Tables(guest).DemandPage(TestGuest.UserVirtual, errorCode));
        Assert.Equal(handled, guest.ShadowEntry(TestGuest.UserVirtual) != 0);
    }

    [Fact]
    public void Abi_9_4_RightsOfTheDirectoryEntry_AreCopiedForTheProcessor()
    {
        using var guest = new TestGuest();
        guest.SetWord(TestGuest.Directory + 4, TestGuest.UserTable | 0x21);
        Assert.True(Tables(guest).DemandPage(TestGuest.UserVirtual, Write | FromUser));
        Assert.Equal(0x21u, guest.ShadowDirectoryEntry(TestGuest.UserVirtual) & 0xFFF);
    }

    [Theory]
    [InlineData(0x008u)]
    [InlineData(0x010u)]
    [InlineData(0x080u)]
    [InlineData(0x100u)]
    [InlineData(0x200u)]
    [InlineData(0x400u)]
    [InlineData(0x800u)]
    public void Abi_9_2_OtherBitsInADirectoryEntry_Kill(uint bit)
    {
        using var guest = new TestGuest();
        guest.SetWord(KernelDirectoryEntry, TestGuest.KernelTable | 0x67 | bit);
        Tables(guest).DemandPage(Kernel, Read);
        Assert.Equal("bad page directory entry", guest.Guest.DeathReason);
        Assert.Equal(0u, guest.ShadowDirectoryEntry(Kernel));
    }

    [Fact]
    public void Abi_9_2_DirectoryEntryBeyondTheLimit_Kills()
    {
        using var guest = new TestGuest(pageLimit: TestGuest.Pages);
        guest.SetWord(KernelDirectoryEntry, TestGuest.Top | 7);
        Tables(guest).DemandPage(Kernel, Read);
        Assert.Equal("bad page directory entry", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_2_DirectoryEntry_IsCheckedOnlyWhenItsTableIsMade()
    {
        using var guest = new TestGuest();
        Assert.True(Tables(guest).DemandPage(Kernel, Read));
        guest.SetWord(KernelDirectoryEntry, TestGuest.KernelTable | 0x9F);
        Assert.True(Tables(guest).DemandPage(Kernel + 4096, Read));
        Assert.Null(guest.Guest.DeathReason);
    }

    [Theory]
    [InlineData(0x08u)]
    [InlineData(0x80u)]
    public void Abi_9_2_ForbiddenBitsInAPage_Kill(uint bit)
    {
        using var guest = new TestGuest();
        guest.SetWord(KernelEntry, TestGuest.Scratch | 3 | bit);
        Tables(guest).DemandPage(Kernel, Read);
        Assert.Equal("bad page table entry", guest.Guest.DeathReason);
        Assert.Equal(0u, guest.ShadowEntry(Kernel));
        Assert.Equal(TestGuest.Scratch | 3 | bit, guest.Word(KernelEntry));
    }

    [Fact]
    public void Abi_9_2_PageBeyondTheLimit_Kills_TheLastOneDoesNot()
    {
        using var guest = new TestGuest();
        guest.SetWord(KernelEntry, (TestGuest.Top - 4096) | 3);
        Assert.True(Tables(guest).DemandPage(Kernel, Write));
        Assert.Null(guest.Guest.DeathReason);
        guest.SetWord(KernelEntry, TestGuest.Top | 3);
        Tables(guest).DemandPage(Kernel, Write);
        Assert.Equal("bad page table entry", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_2_AllowedBits_GlobalIsDropped()
    {
        using var guest = new TestGuest();
        guest.SetWord(KernelEntry, TestGuest.Scratch | 0xF13);
        Assert.True(Tables(guest).DemandPage(Kernel, Write));
        Assert.Equal(TestGuest.Scratch | 0xE73u, guest.ShadowEntry(Kernel));
        Assert.Equal(TestGuest.Scratch | 0xF73u, guest.Word(KernelEntry));
    }

    [Fact]
    public void Abi_9_4_PageThatTheLauncherNeverMapped_Kills()
    {
        using var guest = new TestGuest(pageLimit: TestGuest.Pages + 10);
        guest.SetWord(KernelEntry, TestGuest.Top | 3);
        Tables(guest).DemandPage(Kernel, Read);
        Assert.Equal("failed to get page 256", guest.Guest.DeathReason);
        Assert.Equal(0u, guest.ShadowEntry(Kernel));
    }

    [Fact]
    public void Abi_1_3_MemoryThatTheLauncherNeverMapped_IsOutOfReach()
    {
        using var guest = new TestGuest(pageLimit: TestGuest.Pages + 100);
        Assert.False(guest.Guest.Memory.TryRead(TestGuest.Top, out uint _));
        Assert.False(guest.Guest.Memory.TryWrite(TestGuest.Top - 2, 0u));
        Assert.True(guest.Guest.Memory.TryWrite(TestGuest.Top - 4, 0u));
    }

    [Fact]
    public void Abi_9_4_ExhaustedArena_Kills()
    {
        using var guest = new TestGuest(arenaFrames: 4);
        Tables(guest).DemandPage(Kernel, Read);
        Assert.Equal("out of memory allocating pte page", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_4_DirectoryOutsideTheGuest_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.NewPageTable, TestGuest.Top);
        Tables(guest).DemandPage(0x0040_0000, Read);
        Assert.Equal("bad read address 0x100004", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_3_SwitcherTable_IsInEveryShadow()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        for (uint i = 0; i < 32; i++)
        {
            guest.Call((uint)Hypercall.NewPageTable, 0x1_0000 + (i * 4096));
        }
        uint[] directories = Tables(guest).DirectoryFrames.ToArray();
        Assert.Equal(4, directories.Length);
        uint entry = (guest.Guest.Switcher.TableFrame << 12) | 0x63;
        Assert.All(directories, frame => Assert.Equal(entry, guest.Word((frame << 12) + 4092)));
        uint table = guest.Guest.Switcher.TableFrame << 12;
        Assert.Equal([0u, 0x63u, 0x21u, 0u], Enumerable.Range(0, 4).Select(i => guest.Word(table + ((uint)i * 4)) & 0xFFF));
    }

    [Fact]
    public void Abi_9_3_FaultInTheSwitcher_IsReflected_UnlessTheGuestMapsItItself()
    {
        using var guest = new TestGuest();
        Assert.False(Tables(guest).DemandPage(0xFFC0_0000, Read));
        Assert.Null(guest.Guest.DeathReason);
        guest.SetWord(TestGuest.Directory + 4092, TestGuest.KernelTable | 7);
        Tables(guest).DemandPage(0xFFC0_0000, Read);
        Assert.Equal("attempt to access switcher pages", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_3_SetPteInTheSwitcher_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.SetPte, TestGuest.Directory, 0xFFC0_1000, 0x63);
        Assert.Equal("attempt to access switcher pages", guest.Guest.DeathReason);
    }

    [Theory]
    [InlineData(1023u)]
    [InlineData(1024u)]
    [InlineData(0xFFFF_FFFFu)]
    public void Abi_9_3_SetPmdInTheSwitcher_IsIgnored(uint index)
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.SetPmd, TestGuest.Directory, index);
        Assert.Null(guest.Guest.DeathReason);
        Assert.NotEqual(0u, guest.ShadowDirectoryEntry(0xFFC0_0000));
    }

    [Fact]
    public void Abi_9_5_SetPte_WithoutAShadowTable_DoesNothing()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.SetPte, TestGuest.Directory, Kernel, TestGuest.Scratch | 0x67);
        Assert.Equal(0u, guest.ShadowDirectoryEntry(Kernel));
    }

    [Theory]
    [InlineData(0x000u, 0x000u)]
    [InlineData(0x007u, 0x000u)]
    [InlineData(0x027u, 0x025u)]
    [InlineData(0x067u, 0x067u)]
    [InlineData(0x047u, 0x047u)]
    [InlineData(0x165u, 0x065u)]
    [InlineData(0x066u, 0x000u)]
    [InlineData(0x0A0u, 0x000u)]
    public void Abi_9_5_SetPte_InstallsUsedPages_AndClearsOthers(uint flags, uint expected)
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        guest.Call((uint)Hypercall.SetPte, TestGuest.Directory, TestGuest.UserVirtual, TestGuest.Scratch | flags);
        Assert.Null(guest.Guest.DeathReason);
        Assert.Equal(expected == 0 ? 0 : TestGuest.Scratch | expected, guest.ShadowEntry(TestGuest.UserVirtual));
    }

    [Theory]
    [InlineData(TestGuest.Scratch | 0x2F, "bad page table entry")]
    [InlineData(TestGuest.Scratch | 0xA7, "bad page table entry")]
    [InlineData(TestGuest.Top | 0x27, "bad page table entry")]
    public void Abi_9_5_SetPte_ChecksWhatItInstalls(uint entry, string reason)
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        guest.Call((uint)Hypercall.SetPte, TestGuest.Directory, TestGuest.UserVirtual, entry);
        Assert.Equal(reason, guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_5_SetPte_ForTheKernel_AppliesToEveryShadow_ForUsersToOne()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Tables(guest).DemandPage(Kernel, Write);
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        SwitchTo(guest, TestGuest.SecondDirectory);
        Tables(guest).DemandPage(Kernel, Write);
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        guest.Call((uint)Hypercall.SetPte, TestGuest.SecondDirectory, Kernel, 0);
        guest.Call((uint)Hypercall.SetPte, TestGuest.SecondDirectory, TestGuest.UserVirtual, 0);
        guest.Call((uint)Hypercall.SetPte, 0x1_0000, TestGuest.UserVirtual, TestGuest.Scratch | 0x67);
        Assert.Equal((0u, 0u), (guest.ShadowEntry(Kernel), guest.ShadowEntry(TestGuest.UserVirtual)));
        SwitchTo(guest, TestGuest.Directory);
        Assert.Equal(0u, guest.ShadowEntry(Kernel));
        Assert.Equal(TestGuest.UserPage | 0x67u, guest.ShadowEntry(TestGuest.UserVirtual));
    }

    [Fact]
    public void Abi_9_5_SetPmd_DropsTheTableOfThatDirectoryOnly()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Tables(guest).DemandPage(Kernel, Write);
        SwitchTo(guest, TestGuest.SecondDirectory);
        Tables(guest).DemandPage(Kernel, Write);
        guest.Call((uint)Hypercall.SetPmd, 0x1_0000, Kernel >> 22);
        Assert.Equal(2, guest.Guest.Statistics.ShadowPages);
        guest.Call((uint)Hypercall.SetPmd, TestGuest.Directory, Kernel >> 22);
        Assert.Equal(1, guest.Guest.Statistics.ShadowPages);
        Assert.NotEqual(0u, guest.ShadowEntry(Kernel));
        SwitchTo(guest, TestGuest.Directory);
        Assert.Equal(0u, guest.ShadowDirectoryEntry(Kernel));
    }

    [Fact]
    public void Abi_9_6_AKnownDirectory_FindsItsShadowAgain()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        SwitchTo(guest, TestGuest.SecondDirectory);
        Assert.Equal(0u, guest.ShadowDirectoryEntry(TestGuest.UserVirtual));
        SwitchTo(guest, TestGuest.Directory);
        Assert.NotEqual(0u, guest.ShadowEntry(TestGuest.UserVirtual));
    }

    [Fact]
    public void Abi_9_6_ARecycledShadow_LosesItsUserPart_AndKeepsItsKernelPart()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        uint next = 0x1_0000;
        while (Tables(guest).DirectoryFrames.Count() < 4)
        {
            SwitchTo(guest, next += 4096);
            guest.SetWord(next + 4, TestGuest.UserTable | 7).SetWord(next + (4 * (Kernel >> 22)), TestGuest.KernelTable | 7);
            Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
            Tables(guest).DemandPage(Kernel, Write);
        }
        for (uint i = 1; i < 20; i++)
        {
            guest.Call((uint)Hypercall.NewPageTable, 0x8_0000 + (i * 4096));
            Assert.Equal(0u, guest.ShadowDirectoryEntry(TestGuest.UserVirtual));
        }
        Assert.NotEqual(0u, guest.ShadowEntry(Kernel));
        Assert.Equal(4, Tables(guest).DirectoryFrames.Count());
    }

    [Fact]
    public void Abi_9_6_ABlankShadow_HasTheStackPinned()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), 2);
        SwitchTo(guest, TestGuest.SecondDirectory);
        Assert.Equal(3u, guest.ShadowEntry(TestGuest.Virtual(TestGuest.TrapStackTop - 1)) & 3);
        Assert.Equal(3u, guest.ShadowEntry(TestGuest.Virtual(TestGuest.TrapStackTop - 4097)) & 3);
    }

    [Fact]
    public void Abi_9_6_ABlankShadow_WhereTheStackCannotBeMapped_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), 1);
        for (uint i = 0; i < 20 && !guest.Guest.IsDead; i++)
        {
            guest.Call((uint)Hypercall.NewPageTable, 0x8_0000 + (i * 4096));
        }
        Assert.Equal("bad stack page 0xc0037fff", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_6_NoFrameForAShadow_ReusesTheCurrentOne()
    {
        using var guest = new TestGuest(arenaFrames: 5);
        guest.Initialised();
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        for (uint i = 0; i < 8; i++)
        {
            guest.Call((uint)Hypercall.NewPageTable, 0x8_0000 + (i * 4096));
            Assert.Equal(0x8_0000 + (i * 4096), Tables(guest).CurrentGuestDirectory);
        }
        Assert.Null(guest.Guest.DeathReason);
        Assert.Equal(0, guest.Guest.Statistics.ShadowPages);
        Assert.InRange(Tables(guest).DirectoryFrames.Count(), 1, 2);
    }

    [Fact]
    public void Abi_9_1_DirectoryAtZero_IsRejected()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.NewPageTable, 0);
        Assert.Equal("Bad hypercall 4\n", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_1_SetPteAndSetPmdForDirectoryZero_FindNothing()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        guest.Call((uint)Hypercall.SetPte, 0, TestGuest.UserVirtual, 0x67);
        guest.Call((uint)Hypercall.SetPmd, 0, 1);
        Assert.Null(guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_1_AnInitialDirectoryAtZero_IsNeverFound()
    {
        using var guest = new TestGuest(directory: 0);
        guest.SetWord(4 * (Kernel >> 22), TestGuest.KernelTable | 7);
        Assert.True(Tables(guest).DemandPage(Kernel, Read));
        Tables(guest).SetPmd(0, Kernel >> 22);
        Assert.NotEqual(0u, guest.ShadowEntry(Kernel));
    }

    [Fact]
    public void Abi_9_1_DirectoryAddress_IsUsedAsGiven()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.NewPageTable, 0x8_0002);
        guest.SetWord(0x8_0002 + 4, TestGuest.UserTable | 7);
        Assert.True(Tables(guest).DemandPage(TestGuest.UserVirtual, Read));
    }

    [Fact]
    public void Abi_9_7_FlushUser_DropsTheUserPartOfTheCurrentShadow()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        SwitchTo(guest, TestGuest.SecondDirectory);
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        Tables(guest).DemandPage(Kernel, Write);
        guest.Call((uint)Hypercall.FlushTlb, 0);
        Assert.Equal(0u, guest.ShadowDirectoryEntry(TestGuest.UserVirtual));
        Assert.NotEqual(0u, guest.ShadowEntry(Kernel));
        SwitchTo(guest, TestGuest.Directory);
        Assert.NotEqual(0u, guest.ShadowEntry(TestGuest.UserVirtual));
    }

    [Fact]
    public void Abi_9_7_FlushAll_DropsEverythingButTheSwitcher_AndPinsTheStack()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), 1);
        Tables(guest).DemandPage(Kernel, Write);
        SwitchTo(guest, TestGuest.SecondDirectory);
        Tables(guest).DemandPage(TestGuest.UserVirtual, Write);
        guest.Call((uint)Hypercall.FlushTlb, 2);
        Assert.Equal(1, guest.Guest.Statistics.ShadowPages);
        Assert.Equal(3u, guest.ShadowEntry(TestGuest.Virtual(TestGuest.TrapStackTop - 1)) & 3);
        Assert.NotEqual(0u, guest.ShadowDirectoryEntry(0xFFC0_0000));
    }

    [Fact]
    public void Abi_9_7_FlushAll_WithAStackThatIsGone_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), 1);
        guest.SetWord(TestGuest.KernelTable + (4 * ((TestGuest.TrapStackTop - 1) >> 12)), 0);
        guest.Call((uint)Hypercall.FlushTlb, 1);
        Assert.Equal("bad stack page 0xc0037fff", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_9_4_RingOneWrite_ToAReadOnlyPage_Faults()
    {
        using var guest = new TestGuest();
        guest.PrepareData().SetWord(KernelEntry, TestGuest.Scratch | 1);
        guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a =>
        {
            a.pop(ebx);
            a.Save(ebx, TestGuest.Dma);
            a.Stop(14);
        });
        guest.Program(a =>
        {
            a.Begin();
            a.LoadGate(14, 0xE);
            a.mov(eax, __dword_ptr[Kernel]);
            a.mov(__dword_ptr[Kernel], eax);
        });
        Assert.Equal(14u, guest.RunToStop());
        Assert.Equal(3u, guest.Word(TestGuest.Dma));
    }

    [Fact]
    public void Abi_9_5_AChangedKernelPage_IsSeenByTheProcessorAtOnce()
    {
        using var guest = new TestGuest();
        guest.PrepareData().SetWord(TestGuest.Scratch, 0x1111).SetWord(TestGuest.Dma, 0x2222);
        guest.Program(a =>
        {
            a.Begin();
            a.mov(esi, __dword_ptr[Kernel]);
            a.mov(__dword_ptr[TestGuest.Virtual(KernelEntry)], TestGuest.Dma | 3);
            a.Hypercall(Hypercall.SetPte, TestGuest.Directory, Kernel, 0);
            a.mov(edi, __dword_ptr[Kernel]);
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal((0x1111u, 0x2222u), (guest.Guest.Registers.Esi, guest.Guest.Registers.Edi));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Abi_9_7_AChangedUserPage_IsSeenAfterAFlush(bool whole)
    {
        using var guest = new TestGuest();
        guest.PrepareData().SetWord(TestGuest.UserPage, 0x1111).SetWord(TestGuest.Dma, 0x2222);
        guest.Program(a =>
        {
            a.Begin();
            a.mov(esi, __dword_ptr[TestGuest.UserVirtual]);
            a.mov(__dword_ptr[TestGuest.Virtual(TestGuest.UserTable)], TestGuest.Dma | 7);
            a.Hypercall(Hypercall.FlushTlb, whole ? 1u : 0);
            a.mov(edi, __dword_ptr[TestGuest.UserVirtual]);
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal((0x1111u, 0x2222u), (guest.Guest.Registers.Esi, guest.Guest.Registers.Edi));
    }

    [Fact]
    public void Abi_9_5_AChangedDirectoryEntry_IsSeenByTheProcessorAtOnce()
    {
        using var guest = new TestGuest();
        guest.PrepareData().SetWord(TestGuest.UserPage, 0x1111).SetWord(TestGuest.Dma, 0x2222).SetWord(0xA000, TestGuest.Dma | 7);
        guest.Program(a =>
        {
            a.Begin();
            a.mov(esi, __dword_ptr[TestGuest.UserVirtual]);
            a.mov(__dword_ptr[TestGuest.Virtual(TestGuest.Directory + 4)], 0xA000 | 7);
            a.Hypercall(Hypercall.SetPmd, TestGuest.Directory, 1);
            a.mov(edi, __dword_ptr[TestGuest.UserVirtual]);
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal((0x1111u, 0x2222u), (guest.Guest.Registers.Esi, guest.Guest.Registers.Edi));
    }

    [Fact]
    public void Abi_9_6_TheProcessorFollowsTheDirectory()
    {
        using var guest = new TestGuest();
        guest.PrepareData().SetWord(TestGuest.UserPage, 0x1111).SetWord(TestGuest.Dma, 0x2222);
        guest.SetWord(TestGuest.SecondDirectory + 4, 0xA000 | 7).SetWord(0xA000, TestGuest.Dma | 7);
        guest.Program(a =>
        {
            a.Begin();
            a.mov(esi, __dword_ptr[TestGuest.UserVirtual]);
            a.Hypercall(Hypercall.NewPageTable, TestGuest.SecondDirectory);
            a.mov(edi, __dword_ptr[TestGuest.UserVirtual]);
            a.Hypercall(Hypercall.NewPageTable, TestGuest.Directory);
            a.mov(ebp, __dword_ptr[TestGuest.UserVirtual]);
            a.Stop(1);
        });
        guest.RunToStop();
        LguestRegisters registers = guest.Guest.Registers;
        Assert.Equal((0x1111u, 0x2222u, 0x1111u), (registers.Esi, registers.Edi, registers.Ebp));
    }

    private static void SwitchTo(TestGuest guest, uint directory)
    {
        guest.Call((uint)Hypercall.NewPageTable, directory);
        Assert.Equal(directory, Tables(guest).CurrentGuestDirectory);
        Assert.Null(guest.Guest.DeathReason);
    }
}
