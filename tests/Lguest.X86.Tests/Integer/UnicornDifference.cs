// Runs one 32-bit encoding on Unicorn and on the reference path from the same registers and memory, and compares what is left. Memory
// is not reset between runs: both sides go on from what the last instruction made of it, which must be the same.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Integer;

/// <summary>A test machine and Unicorn, side by side, with one mebibyte of random memory.</summary>
internal sealed class UnicornDifference : IDisposable
{
    /// <summary>Where code runs: below 64 KiB, so that branches with 16-bit operands stay in known memory.</summary>
    public const uint CodeAddress = 0xA000;

    /// <summary>Middle of the stack page.</summary>
    public const uint StackAddress = 0xC800;

    /// <summary>Where FS begins.</summary>
    public const uint FsBase = 0x2_0000;

    private const uint CheckedFrames = 0x40;
    private const uint Size = 0x10_0000;

    private const int PaddedCode = 32;

    // Unicorn translates ahead of what it executes, also past a branch, and invalid far jumps make its translator abort the process.
    // So memory is filled with bytes that are one-byte instructions: INC and DEC, PUSH and POP, XCHG, CMC, CLC, STC.
    private static readonly byte[] HarmlessCode =
        [.. Enumerable.Range(0x40, 0x20).Concat(Enumerable.Range(0x90, 8)).Concat([0xF5, 0xF8, 0xF9]).Select(value => (byte)value)];

    private readonly Unicorn unicorn = new();
    private readonly TestMachine machine = new();
    private readonly int seed;

    public UnicornDifference()
    {
        seed = Random.Shared.Next();
        Random = new Random(seed);
        unicorn.Map(0, Size);
        byte[] memory = new byte[Size];
        Random.GetItems(HarmlessCode, memory);
        memory.CopyTo(unicorn.Memory(0, (int)Size));
        machine.Memory.Write(0, memory);

        // A descriptor table for Unicorn, at the top; entry 1 is FS.
        const uint table = Size - 16;
        ulong descriptor = 0x00CF_9300_0000_FFFF | ((ulong)(FsBase & 0xFF_FFFF) << 16);
        BitConverter.TryWriteBytes(unicorn.Memory(table + 8, 8), descriptor);
        unicorn.SetGdt(table, 15);
        unicorn.LoadSegment(SegmentName.FS, 8);
        machine.SetSegmentBase(SegmentName.FS, FsBase);
        unicorn.Save();
    }

    public Random Random { get; }

    public TestMachine Machine => machine;

    public uint Value() => Random.Next(3) == 0 ? (uint)Random.Next(-2, 3) : (uint)Random.NextInt64(1L << 32);

    /// <summary>Random registers and flags, ESP and EBP in the stack page.</summary>
    public NativeState Prepare()
    {
        var state = new NativeState { Eflags = (uint)Random.Next() & Eflags.Status };
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = Value();
        }
        state.General[(int)Register32.Esp] = StackAddress + (uint)Random.Next(-512, 512);
        state.General[(int)Register32.Ebp] = StackAddress + (uint)Random.Next(-512, 512);
        return state;
    }

    /// <summary>Where an instruction with a 16-bit address would access memory, segment base included.</summary>
    public uint MemoryOperand(byte[] code, in NativeState state)
    {
        Decoder decoder = Decoder.Create(32, new ByteArrayCodeReader(code));
        Instruction instruction = decoder.Decode();
        state.CopyTo(ref machine.State);
        uint offset = machine.Processor.MemoryOffset(instruction);
        if (instruction.Mnemonic == Mnemonic.Btc)
        {
            uint index = machine.Processor.ReadRegister(instruction.Op1Register);
            offset += (uint)((instruction.Op1Register.GetSize() == 2 ? (short)index : (int)index) >> 3);
        }
        return (offset & 0xFFFF) + machine.State.Segments[(int)Processor.MemorySegment(instruction)].Base;
    }

    /// <summary>Writes data on both sides.</summary>
    public void Write(uint address, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(unicorn.Memory(address, bytes.Length));
        machine.Memory.Write(address, bytes);
    }

    /// <summary>Executes one instruction on both sides; everything but the undefined flags must be equal, or both must fault alike.</summary>
    public void Check(string name, ReadOnlySpan<byte> code, in NativeState before, uint undefinedFlags = 0, int instructions = 1) =>
        Check(name, code, before, undefinedFlags, instructions, 0xFFFF_FFFF);

    /// <summary>Executes one instruction, repeated or not, to its end on both sides; all must be equal.</summary>
    public void CheckToEnd(string name, ReadOnlySpan<byte> code, in NativeState before) =>
        Check(name, code, before, 0, 1000, CodeAddress + (uint)code.Length);

    private void Check(string name, ReadOnlySpan<byte> code, in NativeState before, uint undefinedFlags, int instructions, uint until)
    {
        Span<byte> padded = stackalloc byte[PaddedCode];
        // A jump to itself behind the instruction keeps what Unicorn translates, and what must not be written, short. The NOP between
        // them is for branches by -1, whose target's first byte is the displacement 0xFF.
        padded.Fill(0x90);
        code.CopyTo(padded);
        padded[code.Length + 1] = 0xEB;
        padded[code.Length + 2] = 0xFE;
        unicorn.Reset();
        unicorn.WriteCode(CodeAddress, padded);
        unicorn.Eip = CodeAddress;
        unicorn.Eflags = before.Eflags | Eflags.AlwaysOne;
        for (int i = 0; i < 8; i++)
        {
            unicorn.SetGeneral(i, before.General[i]);
        }
        Unicorn.Outcome outcome = unicorn.Run(instructions, until);

        machine.Load(CodeAddress, padded);
        machine.State.SystemFlags = Eflags.AlwaysOne;
        before.CopyTo(ref machine.State);
        bool completed = true;
        for (int i = 0; i < instructions && completed && machine.State.Eip != until; i++)
        {
            completed = machine.Step();
        }

        bool equal = outcome.Completed == completed && (completed || outcome.Vector == machine.FaultVector);
        if (!equal || completed)
        {
            const uint flags = Eflags.Status | Eflags.Direction;
            equal &= unicorn.Eip == machine.State.Eip && ((unicorn.Eflags ^ machine.State.Eflags) & flags & ~undefinedFlags) == 0;
            for (int i = 0; i < 8; i++)
            {
                equal &= unicorn.GetGeneral(i) == machine.State.General[i];
            }
            for (uint frame = 0; frame < CheckedFrames; frame++)
            {
                equal &= unicorn.Memory(frame * 4096, 4096).SequenceEqual(machine.Memory.FrameBytes(frame));
            }
        }
        if (!equal)
        {
            Assert.Fail($"expected {outcome}, actual {completed} vector {machine.FaultVector} in {Where(name, code, before)}");
        }
    }

    private string Where(string name, ReadOnlySpan<byte> code, in NativeState before)
    {
        string where = $"{name}: {NativeDifference.Disassemble(code.ToArray())} [{Convert.ToHexString(code)}], seed {seed}\n" +
            $"flags before {before.Eflags:X}, expected {unicorn.Eflags:X}, actual {machine.State.Eflags:X}\n" +
            $"EIP expected {unicorn.Eip:X}, actual {machine.State.Eip:X}";
        for (int i = 0; i < 8; i++)
        {
            where += $"\n{(Register32)i} before {before.General[i]:X8}, expected {unicorn.GetGeneral(i):X8}, actual {machine.State.General[i]:X8}";
        }
        return where;
    }

    public void Dispose()
    {
        unicorn.Dispose();
        machine.Dispose();
    }
}
