// Programs that no compiler writes, but that a Guest may: each aims at something that translated code takes for granted about the
// tables and the code around it. None may reach memory that is not the Guest's, or run code that is no longer there.

using Lguest.X86.State;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

public sealed class HostileCodeTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ADescriptorTableInPageZeroIsNotTakenForAnEmptyEntryOfTheTlb(bool remapped)
    {
        using var m = new SystemMachine(paging: true);
        const uint other = 0x50_0000;
        byte[] table = new byte[0x1000];
        m.Memory.Read(SystemMachine.Gdt, table);
        m.Memory.Write(0, table);
        m.Memory.Write(other, table);
        // In the other table the same selector has another base.
        m.Memory.Write(other + SystemMachine.Free, 0x00CF_9300_0000_FFFFul);
        m.Memory.Write(SystemMachine.Free, 0x00CF_9300_0000_FFFFul);
        m.Memory.Write(other + SystemMachine.Free + 2, (byte)0x40);
        m.State.Gdtr = new DescriptorTable { Base = 0, Limit = 0xFFF };
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            Iced.Intel.Label again = a.CreateLabel();
            a.mov(ecx, 8);
            a.mov(edx, SystemMachine.Directory);
            a.mov(eax, SystemMachine.Free);
            a.Label(ref again);
            a.mov(fs, ax);
            a.mov(fs, ax);
            if (remapped)
            {
                a.xor(__dword_ptr[SystemMachine.Tables], other);
                a.invlpg(__byte_ptr[0]);
            }
            else
            {
                a.mov(cr3, edx);
            }
            a.mov(fs, ax);
            a.dec(ecx);
            a.jne(again);
            if (remapped)
            {
                a.xor(__dword_ptr[SystemMachine.Tables], other);
                a.invlpg(__byte_ptr[0]);
                a.mov(fs, ax);
            }
            a.hlt();
        }));
        Assert.Equal(remapped ? 0x40u : 0, m.State.Segments[(int)SegmentName.FS].Base);
    }
}
