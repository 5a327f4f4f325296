// A machine with paging on: everything mapped one to one with large pages, except one region of small pages that tests take away.

using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Integer;

internal sealed class PagedMachine : IDisposable
{
    /// <summary>First linear address of the region of small pages, at its own physical address unless mapped otherwise.</summary>
    public const uint Region = 0x0080_0000;

    private const uint Directory = 0x10_0000;
    private const uint Table = 0x10_1000;

    public PagedMachine()
    {
        for (uint i = 0; i < 16; i++)
        {
            Machine.Memory.Write(Directory + (i * 4), (i << 22) | 0x87);
        }
        Machine.Memory.Write(Directory + (Region >> 22 << 2), Table | 7);
        for (uint i = 0; i < 1024; i++)
        {
            Map(i, Region + (i * 4096), 7);
        }
        State.Cr4 |= Cr4.PageSizeExtensions;
        State.Cr0 |= Cr0.Paging | Cr0.WriteProtect;
        Machine.Processor.CurrentAddressSpace = Machine.Processor.CreateAddressSpace(Directory);
    }

    public TestMachine Machine { get; } = new();

    public ref CpuState State => ref Machine.State;

    public ref uint this[Register32 register] => ref Machine.State.General[(int)register];

    /// <summary>Maps page <paramref name="page"/> of the region; flags: 1 present, 2 writable, 4 user.</summary>
    public void Map(uint page, uint physical, uint flags)
    {
        Machine.Memory.Write(Table + (page * 4), physical | flags);
        Machine.Processor.CurrentAddressSpace.FlushPage(Region + (page * 4096));
    }

    /// <summary>Maps a page of the region one to one.</summary>
    public void Map(uint page, uint flags) => Map(page, Region + (page * 4096), flags);

    /// <summary>Fills registers with distinct values, and ESP with an address.</summary>
    public void FillRegisters(uint esp)
    {
        for (int i = 0; i < 8; i++)
        {
            State.General[i] = 0x1111_1111 * (uint)(i + 1);
        }
        this[Register32.Esp] = esp;
    }

    /// <summary>Executes one instruction that must raise a page fault and leave registers, flags and memory as they were.</summary>
    public void MustFault(byte[] code, uint address, uint errorCode)
    {
        Machine.Load(code);
        State.Eflags = Eflags.AlwaysOne | Eflags.Carry | Eflags.Sign;
        CpuState before = State;
        byte[] memory = Machine.Read(Region, 4 * 4096);
        Assert.False(Machine.Step());
        Assert.Equal(Vector.PageFault, Machine.FaultVector);
        Assert.Equal(errorCode, Machine.FaultErrorCode);
        Assert.Equal(address, State.Cr2);
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(before.General[i], State.General[i]);
        }
        Assert.Equal(before.Eflags, State.Eflags);
        Assert.Equal(TestMachine.CodeAddress, State.Eip);
        Assert.Equal(memory, Machine.Read(Region, 4 * 4096));
    }

    public void Dispose() => Machine.Dispose();
}
