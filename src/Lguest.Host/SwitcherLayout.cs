// The two pages that a Guest's processor and the Host share (ABI 1.5): one where the Guest's registers rest while the Host works, one
// that holds the tables the processor obeys. Offsets and sizes are the law's.

using System.Runtime.InteropServices;

namespace Lguest.Host;

// S:020 This is the form in which a Guest's processor is put away: eighteen words. Their order looks arbitrary, and it is history: it is
// the order in which the assembler of 2007 pushed registers while the stack pointer ran down through the register page, and the last five
// are what the processor itself pushes when it enters ring 0.
/// <summary>struct lguest_regs: the saved state of the Guest's processor, 72 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LguestRegisters
{
    public uint Ebx;
    public uint Ecx;
    public uint Edx;
    public uint Esi;
    public uint Edi;
    public uint Ebp;
    public uint Gs;
    public uint Eax;
    public uint Fs;
    public uint Ds;
    public uint Es;
    public uint TrapNumber;
    public uint ErrorCode;
    public uint Eip;
    public uint Cs;
    public uint Eflags;
    public uint Esp;
    public uint Ss;
}
// :*

/// <summary>Offsets in the register page.</summary>
internal static class RegisterPage
{
    public const uint Registers = 0xFB8;
}

/// <summary>Offsets in the state page (struct lguest_ro_state).</summary>
internal static class StatePage
{
    public const uint GuestIdtDescriptor = 0x018;
    public const uint GuestGdtDescriptor = 0x020;
    public const uint Tss = 0x028;
    public const uint TssEsp0 = Tss + 0x04;
    public const uint TssSs0 = Tss + 0x08;
    public const uint TssEsp1 = Tss + 0x0C;
    public const uint TssSs1 = Tss + 0x10;
    public const uint TssIoMapBase = Tss + 0x66;
    public const uint TssSize = 0x68;
    public const uint Idt = 0x090;
    public const uint IdtSize = 8 * LguestAbi.IdtEntries;
    public const uint Gdt = 0x890;
    public const uint GdtSize = 8 * LguestAbi.GdtEntries;
}

/// <summary>Where the pages lie in the Switcher window. Page 0 is the place of the shared code, which ring 0 in C# does not have.</summary>
internal static class SwitcherWindow
{
    public const uint RegisterPageIndex = 1;
    public const uint StatePageIndex = 2;
    public const uint RegisterPage = LguestAbi.SwitcherAddress + (RegisterPageIndex * LguestAbi.PageSize);
    public const uint StatePage = LguestAbi.SwitcherAddress + (StatePageIndex * LguestAbi.PageSize);
}

/// <summary>What must be copied into the state page before the next entry (ABI 8.6).</summary>
[Flags]
internal enum ChangedTables
{
    None = 0,
    Idt = 1,
    Gdt = 2,
    Tls = 4,
    All = Idt | Gdt,
}
