// ABI 8: the GDT.

using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class Abi08SegmentTests
{
    private const uint LoadGdt = (uint)Hypercall.LoadGdt;
    private const uint LoadTls = (uint)Hypercall.LoadTls;

    private static (uint Low, uint High) Entry(TestGuest guest, int entry)
    {
        guest.Guest.Segments.CopyIn(guest.Guest.Switcher, guest.Guest.Changed);
        return guest.StateEntry(StatePage.Gdt + ((uint)entry * 8));
    }

    [Fact]
    public void Abi_8_3_FixedDescriptors_AtTheStart()
    {
        using var guest = new TestGuest();
        uint tss = SwitcherWindow.StatePage + StatePage.Tss;
        Assert.Equal((0x0000_FFFFu, 0x00CF_9B00u), Entry(guest, 10));
        Assert.Equal((0x0000_FFFFu, 0x00CF_9300u), Entry(guest, 11));
        Assert.Equal((0x0000_FFFFu, 0x00CF_BB00u), Entry(guest, 12));
        Assert.Equal((0x0000_FFFFu, 0x00CF_B300u), Entry(guest, 13));
        Assert.Equal((0x67u | (tss << 16), 0x8900u | (tss & 0xFF00_0000) | ((tss >> 16) & 0xFF)), Entry(guest, 16));
        Assert.All(Enumerable.Range(0, 32).Except([10, 11, 12, 13, 16]), i => Assert.Equal((0u, 0u), Entry(guest, i)));
    }

    [Fact]
    public void Abi_8_4_PrivilegeLevelZeroBecomesOne_AndAllAreAccessed()
    {
        using var guest = new TestGuest();
        guest.Initialised().PrepareGdt();
        guest.SetDescriptor(18, 0x1234_5678, 0x9ABC_FADE);
        guest.SetDescriptor(19, 0x1234_5678, 0x9ABC_DADE);
        guest.Call(LoadGdt, TestGuest.Gdt, 32);
        Assert.Equal((0x0000_FFFFu, 0x00CF_BB00u), Entry(guest, 12));
        Assert.Equal((0x0000_FFFFu, 0x00CF_B300u), Entry(guest, 13));
        Assert.Equal((0x0000_FFFFu, 0x00CF_FB00u), Entry(guest, 14));
        Assert.Equal((0x0000_FFFFu, 0x00CF_F300u), Entry(guest, 15));
        Assert.Equal((0x1234_5678u, 0x9ABC_FBDEu), Entry(guest, 18));
        Assert.Equal((0x1234_5678u, 0x9ABC_DBDEu), Entry(guest, 19));
        Assert.Equal((0u, 0x2100u), Entry(guest, 5));
    }

    [Theory]
    [InlineData(10)]
    [InlineData(11)]
    [InlineData(16)]
    [InlineData(31)]
    public void Abi_8_1_TheHostsEntries_AreIgnored(int entry)
    {
        using var guest = new TestGuest();
        (uint, uint) before = Entry(guest.Initialised(), entry);
        guest.SetDescriptor(entry, 0x1111_FFFF, 0x00CF_F200);
        guest.Call(LoadGdt, TestGuest.Gdt, 32);
        Assert.Equal(before, Entry(guest, entry));
    }

    [Fact]
    public void Abi_8_4_OnlyTheFirstEntries_AreReplaced_ButAllAreFixedUp()
    {
        using var guest = new TestGuest();
        guest.Initialised().PrepareGdt();
        guest.SetDescriptor(0, 1, 0xF000);
        guest.SetDescriptor(1, 2, 0xF000);
        guest.Call(LoadGdt, TestGuest.Gdt, 1);
        Assert.Equal((1u, 0xF100u), Entry(guest, 0));
        Assert.Equal((0u, 0x2100u), Entry(guest, 1));
        Assert.Equal((0x0000_FFFFu, 0x00CF_BB00u), Entry(guest, 12));
    }

    [Theory]
    [InlineData(33u, "too many gdt entries 33")]
    [InlineData(0xFFFF_FFFFu, "too many gdt entries -1")]
    public void Abi_8_4_TooMany_Kills_AndCopiesNothing(uint count, string reason)
    {
        using var guest = new TestGuest();
        guest.Initialised().SetDescriptor(18, 1, 0xF000);
        guest.Call(LoadGdt, TestGuest.Gdt, count);
        Assert.Equal(reason, guest.Guest.DeathReason);
        Assert.Equal((0u, 0u), Entry(guest, 18));
    }

    [Fact]
    public void Abi_8_4_TableOutsideTheGuest_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call(LoadGdt, TestGuest.Top - 256, 32);
        Assert.Equal("bad read address 0xfff00 len 256", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_8_5_LoadTls_ReplacesThreeEntries_AndCopiesOnlyThem()
    {
        using var guest = new TestGuest();
        guest.Initialised().PrepareGdt();
        guest.Call(LoadGdt, TestGuest.Gdt, 32);
        Entry(guest, 0);
        guest.Guest.Changed = ChangedTables.None;
        guest.SetWord(TestGuest.Scratch, 0x1111_FFFF).SetWord(TestGuest.Scratch + 4, 0x00CF_9200);
        guest.SetWord(TestGuest.Scratch + 8, 0x2222_FFFF).SetWord(TestGuest.Scratch + 12, 0x00CF_F200);
        guest.SetWord(TestGuest.Scratch + 16, 0x3333_FFFF).SetWord(TestGuest.Scratch + 20, 0x00CF_F300);
        guest.Call(LoadTls, TestGuest.Scratch);
        Assert.Equal(ChangedTables.Tls, guest.Guest.Changed);
        Assert.Equal((0x1111_FFFFu, 0x00CF_B300u), Entry(guest, 6));
        Assert.Equal((0x2222_FFFFu, 0x00CF_F300u), Entry(guest, 7));
        Assert.Equal((0x3333_FFFFu, 0x00CF_F300u), Entry(guest, 8));
        Assert.Equal((0u, 0x2100u), Entry(guest, 9));
    }

    [Fact]
    public void Abi_8_5_LoadTls_OutsideTheGuest_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call(LoadTls, TestGuest.Top - 24);
        Assert.Equal("bad read address 0xfffe8 len 24", guest.Guest.DeathReason);
    }

    [Theory]
    [InlineData(0x0050_0000u, 0x0000_EC00u)]
    [InlineData(0x1000_0067u, 0x0000_E900u)]
    [InlineData(0x1000_0067u, 0x0000_E500u)]
    [InlineData(0x1000_FFFFu, 0x0000_8200u)]
    public void Appendix_C_11_SystemDescriptors_AreNotPresent(uint low, uint high)
    {
        using var guest = new TestGuest();
        guest.Initialised().SetDescriptor(18, low, high);
        guest.Call(LoadGdt, TestGuest.Gdt, 32);
        Assert.Equal(0u, Entry(guest, 18).High & 0x8000);
    }

    [Fact]
    public void Appendix_C_11_CallGateIntoRingZero_IsRefusedByTheProcessor()
    {
        using var guest = new TestGuest();
        guest.PrepareData().PrepareGdt().SetDescriptor(18, 0x0050_0000, 0xC001_EC00);
        guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a => a.Stop(13));
        guest.Program(a =>
        {
            a.Begin();
            a.PrepareUser();
            a.LoadGate(13, 0xE);
            a.db(0x9A, 0, 0, 0, 0, 0x90, 0);
        });
        Assert.Equal(13u, guest.RunToStop());
    }

    [Fact]
    public void Abi_8_6_ALoadedTable_TakesEffectAtTheNextEntry()
    {
        using var guest = new TestGuest();
        guest.PrepareData().PrepareGdt().SetDescriptor(27, 0x7000_0FFF, 0xC040_9200);
        guest.SetWord(TestGuest.Scratch + 8, 0x1234_5678);
        guest.SetDescriptor(27, 0x7000_0FFF, 0xC040_9200);
        guest.Program(a =>
        {
            a.Begin();
            a.Hypercall(Hypercall.LoadGdt, TestGuest.Gdt, 32);
            a.mov(eax, 0xD8);
            a.mov(fs, ax);
            a.mov(eax, __dword_ptr.fs[8]);
            a.Save(eax, TestGuest.Scratch);
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal(0x1234_5678u, guest.Word(TestGuest.Scratch));
    }

    [Fact]
    public void Abi_8_2_KernelSelectors_WithRingZeroRights()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.mov(eax, 0x68);
            a.mov(es, ax);
            a.mov(ds, ax);
            a.push(cs);
            a.pop(ebx);
            a.mov(eax, 1);
            a.Save(ebx, TestGuest.Scratch);
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal(0x61u, guest.Word(TestGuest.Scratch) & 0xFFFF);
        Assert.Equal(0x68u, guest.Guest.Registers.Es);
    }

    [Fact]
    public void Abi_8_1_TheHostsSegments_CannotBeLoaded()
    {
        using var guest = new TestGuest();
        guest.PrepareData();
        guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a => a.Stop(13));
        guest.Program(a =>
        {
            a.Begin();
            a.LoadGate(13, 0xE);
            a.mov(eax, 0x58);
            a.mov(es, ax);
        });
        Assert.Equal(13u, guest.RunToStop());
    }

    [Fact]
    public void Abi_1_5_TheGuestSeesItsTablesButCannotChangeThem()
    {
        using var guest = new TestGuest();
        guest.PrepareData();
        guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a => a.Stop(14));
        guest.Program(a =>
        {
            a.Begin();
            a.LoadGate(14, 0xE);
            a.sub(esp, 8);
            a.sgdt(__[esp]);
            a.mov(ebx, __dword_ptr[esp + 2]);
            a.mov(eax, __dword_ptr[ebx + 0x54]);
            a.Save(eax, TestGuest.Scratch);
            a.Save(ebx, TestGuest.Scratch + 4);
            a.mov(__dword_ptr[ebx + 0x54], 0);
        });
        Assert.Equal(14u, guest.RunToStop());
        Assert.Equal(0x00CF_9B00u, guest.Word(TestGuest.Scratch));
        Assert.Equal(0xFFC0_2890u, guest.Word(TestGuest.Scratch + 4));
    }
}
