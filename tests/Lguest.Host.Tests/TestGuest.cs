// A machine for tiny Guests: one MiB of memory, the kernel's linear map at 3 GiB, a user half with a few pages, and an assembler. Tests
// write a program of a few instructions, run it through the device as a Launcher would, and look at what became of it.

using System.Buffers.Binary;
using Iced.Intel;
using Lguest.X86.Memory;

namespace Lguest.Host.Tests;

/// <summary>A Guest under test. All addresses are Guest physical unless the name says virtual.</summary>
internal sealed class TestGuest : IDisposable
{
    public const uint PageOffset = 0xC000_0000;
    public const uint Pages = 256;
    public const uint Top = Pages * 4096;

    public const uint Directory = 0x2000;
    public const uint KernelTable = 0x3000;
    public const uint UserTable = 0x4000;
    public const uint Data = 0x5000;
    public const uint Gdt = 0x6000;
    public const uint Scratch = 0x7000;
    public const uint Dma = 0x8000;
    public const uint SecondDirectory = 0x9000;
    public const uint Code = 0x1_0000;
    public const uint StackTop = 0x3_0000;
    public const uint TrapStackTop = 0x3_8000;
    public const uint Handler = 0x4_0000;
    public const uint UserPage = 0x5_0000;

    /// <summary>Virtual address of the user page; it is mapped for ring 3, its neighbours are not.</summary>
    public const uint UserVirtual = 0x0040_0000;

    public const uint Present = 1;
    public const uint Writable = 2;
    public const uint User = 4;
    public const uint Accessed = 0x20;
    public const uint Dirty = 0x40;

    public const ushort UserCodeSelector = 0x73;
    public const ushort UserDataSelector = 0x7B;

    private readonly CancellationTokenSource patience = new(TimeSpan.FromSeconds(60));
    private readonly bool ownsMemory;

    public TestGuest(uint pageLimit = Pages, uint arenaFrames = LguestAbi.ArenaFrames, LguestHost? host = null, uint pageOffset = PageOffset, MachineMemory? memory = null, uint directory = Directory)
    {
        Memory = memory ?? new MachineMemory(Pages, arenaFrames);
        ownsMemory = memory is null;
        Host = host ?? new LguestHost();
        Device = Host.Open();
        BuildTables();
        Request = new InitializeRequest
        {
            Memory = Memory,
            PageLimit = pageLimit,
            PageDirectory = directory,
            Start = Virtual(Code),
            PageOffset = pageOffset,
            Seed = 1,
        };
        InitializeResult = Device.Initialize(Request);
    }

    public MachineMemory Memory { get; }

    public LguestHost Host { get; }

    public LguestDevice Device { get; }

    public InitializeRequest Request { get; }

    public LguestError InitializeResult { get; }

    public Guest Guest => Device.Guest!;

    public static uint Virtual(uint address) => address + PageOffset;

    /// <summary>Reads as a Launcher does; gives up after a minute rather than hang the suite.</summary>
    public ReadResult Read() => Device.Read(patience.Token);

    /// <summary>Reads on another thread, and returns when that one is inside.</summary>
    public async Task<Task<ReadResult>> BeginReadAsync()
    {
        Task<ReadResult> reader = Task.Run(Read, patience.Token);
        while (Device.Irq(1) == LguestError.None)
        {
            if (reader.IsCompleted)
            {
                // It came while this thread was inside, and was turned away itself.
                Assert.Equal(LguestError.NotPermitted, (await reader).Error);
                reader = Task.Run(Read, patience.Token);
            }
            await Task.Yield();
        }
        return reader;
    }

    /// <summary>Asks for a break, or takes it back.</summary>
    public LguestError Break(bool on) => Device.Break(on, patience.Token);

    /// <summary>Puts a program at the first instruction.</summary>
    public TestGuest Program(Action<Assembler> write) => Place(Code, Virtual(Code), write);

    /// <summary>Puts a program at an address of ring 3.</summary>
    public TestGuest UserProgram(Action<Assembler> write) => Place(UserPage, UserVirtual, write);

    /// <summary>Puts a program in memory.</summary>
    public TestGuest Place(uint address, uint virtualAddress, Action<Assembler> write)
    {
        var assembler = new Assembler(32);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), virtualAddress);
        Memory.Write(address, stream.ToArray());
        return this;
    }

    /// <summary>Runs until the program stops itself (<see cref="Programs.Stop"/>), and returns what it said.</summary>
    public uint RunToStop()
    {
        ReadResult result = Read();
        if (result.Error == LguestError.NoEntry)
        {
            Assert.Fail($"The Guest died: {Read().DeathReason}");
        }
        Assert.Equal(LguestError.None, result.Error);
        Assert.Null(result.DeathReason);
        return result.DmaAddress;
    }

    /// <summary>Runs until the Guest dies, and returns why.</summary>
    public string RunToDeath()
    {
        ReadResult result = Read();
        Assert.Equal(LguestError.NoEntry, result.Error);
        return Read().DeathReason!;
    }

    public uint Word(uint address) => Memory.Read<uint>(address);

    public byte Byte(uint address) => Memory.Read<byte>(address);

    public TestGuest SetWord(uint address, uint value)
    {
        Memory.Write(address, value);
        return this;
    }

    /// <summary>The ring is free and interrupts are off, as LGUEST_INIT demands.</summary>
    public TestGuest PrepareData(uint noIrqStart = 0, uint noIrqEnd = 0)
    {
        Span<byte> status = stackalloc byte[64];
        status.Fill(0xFF);
        Memory.Write(Data + 0x14, status);
        SetWord(Data + 0x460, noIrqStart);
        SetWord(Data + 0x464, noIrqEnd);
        return this;
    }

    /// <summary>Posts a hypercall in a slot of the ring.</summary>
    public TestGuest Post(int slot, uint number, uint edx = 0, uint ebx = 0, uint ecx = 0)
    {
        uint address = Data + 0x54 + ((uint)slot * 16);
        SetWord(address, number);
        SetWord(address + 4, edx);
        SetWord(address + 8, ebx);
        SetWord(address + 12, ecx);
        Memory.Write(Data + 0x14 + (uint)slot, (byte)0);
        return this;
    }

    /// <summary>Writes the GDT that a Linux Guest would load: kernel and user segments flat, with the privilege levels of a native kernel.</summary>
    public TestGuest PrepareGdt()
    {
        SetDescriptor(12, 0x0000_FFFF, 0x00CF_9A00);
        SetDescriptor(13, 0x0000_FFFF, 0x00CF_9200);
        SetDescriptor(14, 0x0000_FFFF, 0x00CF_FA00);
        SetDescriptor(15, 0x0000_FFFF, 0x00CF_F200);
        return this;
    }

    public void SetDescriptor(int entry, uint low, uint high)
    {
        SetWord(Gdt + ((uint)entry * 8), low);
        SetWord(Gdt + ((uint)entry * 8) + 4, high);
    }

    /// <summary>Shadow entry for a virtual address in the current shadow, or 0.</summary>
    public uint ShadowEntry(uint virtualAddress)
    {
        uint directory = Guest.PageTables.CurrentSpace.Directory;
        uint entry = Word(directory + (4 * (virtualAddress >> 22)));
        return (entry & 1) == 0 ? 0 : Word((entry & 0xFFFF_F000) + (4 * ((virtualAddress >> 12) & 1023)));
    }

    public uint ShadowDirectoryEntry(uint virtualAddress) => Word(Guest.PageTables.CurrentSpace.Directory + (4 * (virtualAddress >> 22)));

    /// <summary>Descriptor or gate in the state page, as the processor sees it.</summary>
    public (uint Low, uint High) StateEntry(uint offset)
    {
        uint address = MachineAddress(SwitcherWindow.StatePage) + offset;
        return (Word(address), Word(address + 4));
    }

    /// <summary>Machine address of a virtual one through the current shadow.</summary>
    public uint MachineAddress(uint virtualAddress) => (ShadowEntry(virtualAddress) & 0xFFFF_F000) | (virtualAddress & 0xFFF);

    /// <summary>Makes a hypercall without running the Guest: for rules that need no processor.</summary>
    public void Call(uint number, uint edx = 0, uint ebx = 0, uint ecx = 0)
    {
        ref LguestRegisters registers = ref Guest.Registers;
        registers.TrapNumber = LguestAbi.TrapEntry;
        registers.Eax = number;
        registers.Edx = edx;
        registers.Ebx = ebx;
        registers.Ecx = ecx;
        Guest.Hypercalls.ExecutePending();
    }

    /// <summary>Makes the handshake without running the Guest.</summary>
    public TestGuest Initialised(uint noIrqStart = 0, uint noIrqEnd = 0)
    {
        PrepareData(noIrqStart, noIrqEnd);
        Call((uint)Hypercall.LguestInit, Data);
        Assert.Null(Guest.DeathReason);
        return this;
    }

    public void Dispose()
    {
        Device.Dispose();
        if (ownsMemory)
        {
            Memory.Dispose();
        }
        patience.Dispose();
    }

    private void BuildTables()
    {
        SetWord(Directory + (4 * (PageOffset >> 22)), KernelTable | Present | Writable);
        SetWord(Directory + (4 * (UserVirtual >> 22)), UserTable | Present | Writable | User);
        for (uint page = 0; page < Pages; page++)
        {
            SetWord(KernelTable + (4 * page), (page * 4096) | Present | Writable);
        }
        SetWord(UserTable, UserPage | Present | Writable | User);
        Span<byte> copy = stackalloc byte[4096];
        Memory.Read(Directory, copy);
        Memory.Write(SecondDirectory, copy);
    }
}

/// <summary>What nearly every little program does.</summary>
internal static class Programs
{
    private const uint SendDma = 13;

    public static void Hypercall(this Assembler a, uint number, uint edx = 0, uint ebx = 0, uint ecx = 0)
    {
        a.mov(AssemblerRegisters.eax, number);
        a.mov(AssemblerRegisters.edx, edx);
        a.mov(AssemblerRegisters.ebx, ebx);
        a.mov(AssemblerRegisters.ecx, ecx);
        a.@int(0x1F);
    }

    public static void Hypercall(this Assembler a, Hypercall number, uint edx = 0, uint ebx = 0, uint ecx = 0) =>
        a.Hypercall((uint)number, edx, ebx, ecx);

    /// <summary>Begins as every Guest does: a stack, and LGUEST_INIT.</summary>
    public static void Begin(this Assembler a)
    {
        a.mov(AssemblerRegisters.esp, TestGuest.Virtual(TestGuest.StackTop));
        a.Hypercall(Host.Hypercall.LguestInit, TestGuest.Data);
    }

    /// <summary>Comes back to the test: sends DMA whose address is a number of the test's choice.</summary>
    public static void Stop(this Assembler a, uint mark) => a.Hypercall(SendDma, 0, mark);

    /// <summary>Sets a gate to <see cref="TestGuest.Handler"/>.</summary>
    public static void LoadGate(this Assembler a, uint vector, uint type, uint privilegeLevel = 0, uint handler = TestGuest.Handler)
    {
        uint address = TestGuest.Virtual(handler);
        a.Hypercall(Host.Hypercall.LoadIdtEntry, vector, 0x0060_0000 | (address & 0xFFFF), (address & 0xFFFF_0000) | 0x8000 | (privilegeLevel << 13) | (type << 8));
    }

    /// <summary>Loads the GDT and the trap stack, so that ring 3 can be entered and left.</summary>
    public static void PrepareUser(this Assembler a)
    {
        a.Hypercall(Host.Hypercall.LoadGdt, TestGuest.Gdt, 32);
        a.Hypercall(Host.Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), 1);
    }

    /// <summary>Enters ring 3 at the user page, with the stack at its end.</summary>
    public static void EnterUser(this Assembler a, uint eflags = 0x202)
    {
        a.mov(AssemblerRegisters.ecx, (uint)TestGuest.UserDataSelector);
        a.mov(AssemblerRegisters.ds, AssemblerRegisters.cx);
        a.mov(AssemblerRegisters.es, AssemblerRegisters.cx);
        a.push(TestGuest.UserDataSelector);
        a.push(unchecked((int)(TestGuest.UserVirtual + 0xFF0)));
        a.push((int)eflags);
        a.push(TestGuest.UserCodeSelector);
        a.push(unchecked((int)TestGuest.UserVirtual));
        a.iretd();
    }

    /// <summary>Stores a register where the test finds it.</summary>
    public static void Save(this Assembler a, AssemblerRegister32 register, uint address) =>
        a.mov(AssemblerRegisters.__dword_ptr[TestGuest.Virtual(address)], register);

    public static uint ReadWord(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);
}
