// Two ways to run a program, decoded blocks and one instruction at a time, must not be told apart. Random programs run in ring 3 in an
// address space in which every page is one of sixteen frames, some of them without permission and two of them the program itself: so
// they read, write, fault, run into their data and change their own code.

using System.Runtime.InteropServices;
using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class EngineDifferenceTests
{
    private const uint FirstFrame = 0x100;
    private const uint Frames = 16;
    private const uint CodeFrame = FirstFrame + 14;
    private const uint CodeLinear = 0x1234_E000;
    private const uint Entry = 0xF00;
    private const uint LowTable = SystemMachine.Tables;
    private const uint HighTable = SystemMachine.Tables + 0x1000;
    private const int MostSteps = 400;

    private static readonly byte[] OneByteOpcodes =
    [
        0x8B, 0x8B, 0x8B, 0x89, 0x89, 0x89, 0x83, 0x83, 0x81, 0x8D, 0x85, 0x84, 0x8A, 0x88, 0x86, 0x87, 0x50, 0x51, 0x58, 0x5A, 0x55, 0x5D, 0x68, 0x6A,
        0x69, 0x6B, 0x74, 0x75, 0x72, 0x73, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x7B, 0x7C, 0x7D, 0x7E, 0x7F, 0x70, 0x71, 0xE8, 0xE9, 0xEB, 0xC9,
        0xC8, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF, 0xB0, 0xB8, 0xB9, 0xBF, 0xC0, 0xC1, 0xC6,
        0xC7, 0xD0, 0xD1, 0xD2, 0xD3, 0xD7, 0xE0, 0xE1, 0xE2, 0xE3, 0xF6, 0xF7, 0xF7, 0xFE, 0xFF, 0x90, 0x91, 0x98, 0x99, 0x9C, 0x9D, 0x9E, 0x9F,
        0xF5, 0xF8, 0xF9, 0xFC, 0xFD, 0x27, 0x2F, 0x37, 0x3F, 0xD4, 0xD5, 0x60, 0x61, 0x63, 0xD9, 0xDB, 0xDC, 0xDD, 0x8C, 0xC3,
    ];

    private static readonly byte[] TwoByteOpcodes =
    [
        0xAF, 0xB6, 0xB7, 0xBE, 0xBF, 0xB6, 0xB7, 0x94, 0x95, 0x9C, 0x9F, 0x42, 0x44, 0x4D, 0xA3, 0xAB, 0xB3, 0xBB, 0xBA, 0xBC, 0xBD, 0xA4, 0xA5, 0xAC,
        0xAD, 0xB0, 0xB1, 0xC0, 0xC1, 0xC7, 0xC8, 0xCB, 0x84, 0x85, 0x8C, 0x8F, 0xA2, 0x31, 0x02, 0x03, 0x28, 0x29, 0x58, 0x6F, 0x7F, 0xFE, 0xEF, 0x77,
        0xA1, 0xA9, 0x1F,
    ];

    private static readonly byte[] Prefixes = [0x66, 0x66, 0x67, 0xF2, 0xF3, 0xF3, 0x64, 0x65, 0x2E, 0x36, 0xF0];

    /// <summary>Appends random instructions until the space is full.</summary>
    private static byte[] Program(Random random, int length)
    {
        var bytes = new List<byte>();
        byte[] candidate = new byte[20];
        while (bytes.Count < length)
        {
            random.NextBytes(candidate);
            int at = 0;
            if (random.Next(8) == 0)
            {
                candidate[at++] = Prefixes[random.Next(Prefixes.Length)];
            }
            switch (random.Next(40))
            {
                case 0:
                    break;
                case >= 1 and <= 8:
                    candidate[at++] = (byte)random.Next(0x40);
                    break;
                case >= 9 and <= 16:
                    candidate[at++] = 0x0F;
                    candidate[at++] = TwoByteOpcodes[random.Next(TwoByteOpcodes.Length)];
                    break;
                default:
                    candidate[at++] = OneByteOpcodes[random.Next(OneByteOpcodes.Length)];
                    break;
            }
            var decoder = Decoder.Create(32, candidate);
            Instruction instruction = decoder.Decode();
            bool branch = instruction.Op0Kind == OpKind.NearBranch32;
            if (instruction.FlowControl == FlowControl.Exception || (EndsProgram(instruction) && random.Next(50) != 0))
            {
                continue;
            }
            // Far branches leave the program more often than not: keep most displacements short and forward.
            if (branch && random.Next(8) != 0)
            {
                int size = instruction.Length - decoder.GetConstantOffsets(instruction).ImmediateOffset;
                int offset = decoder.GetConstantOffsets(instruction).ImmediateOffset;
                candidate.AsSpan(offset, size).Clear();
                candidate[offset] = (byte)random.Next(size == 1 ? 40 : 200);
            }
            bytes.AddRange(candidate.AsSpan(0, instruction.Length));
        }
        return [.. bytes];
    }

    private static bool EndsProgram(in Instruction instruction) =>
        instruction.IsInvalid || instruction.IsPrivileged || instruction.FlowControl is FlowControl.Interrupt or FlowControl.Return
        || instruction.Mnemonic is Mnemonic.Rdrand or Mnemonic.Rdseed or Mnemonic.Enter or Mnemonic.Insb or Mnemonic.Insd or Mnemonic.Insw
            or Mnemonic.Outsb or Mnemonic.Outsd or Mnemonic.Outsw or Mnemonic.Movaps or Mnemonic.Int1
        || (instruction.Mnemonic == Mnemonic.Pop && instruction.Op0Register.IsSegmentRegister())
        || instruction.MemorySegment is Register.CS;

    private sealed class Sample(Random random)
    {
        private readonly byte[] contents = Contents(random);
        private readonly uint[] table = Table(random);
        private readonly uint[] registers = [.. Enumerable.Range(0, 8).Select(_ => Register(random))];
        private readonly uint flags = (uint)random.Next() & (Eflags.Status | Eflags.Direction);
        private readonly uint fsBase = (uint)random.NextInt64(1L << 32);
        private readonly int shape = random.Next(6);

        private static uint Register(Random random) => random.Next(4) switch
        {
            0 => (uint)random.Next(100),
            1 => ((uint)random.NextInt64(1L << 20) << 12) | (random.Next(2) == 0 ? 0xFF0u + (uint)random.Next(16) : (uint)random.Next(4096)),
            2 => (uint)random.NextInt64(1L << 32) & 0xFFFF_FFFC,
            _ => (uint)random.NextInt64(1L << 32),
        };

        private static byte[] Contents(Random random)
        {
            byte[] bytes = new byte[Frames * 4096];
            random.NextBytes(bytes);
            Program(random, 1024).CopyTo(bytes.AsSpan((int)((CodeFrame - FirstFrame) * 4096) + (int)Entry));
            return bytes;
        }

        private static uint[] Table(Random random)
        {
            uint[] entries = new uint[1024];
            for (uint i = 0; i < entries.Length; i++)
            {
                uint flags = random.Next(200) switch
                {
                    0 => 0,
                    1 => SystemMachine.Present | SystemMachine.User,
                    2 => SystemMachine.Present | SystemMachine.Writable,
                    _ => SystemMachine.All,
                };
                uint frame = FirstFrame + (uint)random.Next((int)Frames);
                entries[i] = (frame << 12) | flags;
            }
            uint code = (CodeLinear >> 12) & 0x3FF;
            entries[code] = (CodeFrame << 12) | SystemMachine.All;
            entries[code + 1] = ((CodeFrame + 1) << 12) | SystemMachine.All;
            return entries;
        }

        public void Prepare(SystemMachine m)
        {
            m.Memory.Write(FirstFrame * 4096, contents);
            for (uint i = 0; i < 1024; i++)
            {
                m.Memory.Write(SystemMachine.Directory + (i * 4), (i == 0 ? LowTable : HighTable) | SystemMachine.All);
                m.Memory.Write(HighTable + (i * 4), table[i]);
                m.Memory.Write(LowTable + (i * 4), i is > 0 and < 16 ? (i << 12) | SystemMachine.Present | SystemMachine.Writable : table[i]);
            }
            m.Space.Flush();
            m.Enter(3);
            for (int i = 0; i < 8; i++)
            {
                m[(Register32)i] = registers[i];
            }
            m.State.Eflags = flags;
            m.State.Eip = CodeLinear + Entry;
            m.State.Cr2 = 0;
            m.State.Fpu = default;
            m.State.Fpu.ControlWord = 0x37F;
            m.State.Fpu.Mxcsr = 0x1F80;
            m.State.Segments[(int)SegmentName.FS].Base = fsBase;
            m.State.Segments[(int)SegmentName.GS].Base = 0;
            switch (shape)
            {
                case 0:
                    m.State.Segments[(int)SegmentName.DS].Base = fsBase >> 3;
                    break;
                case 1:
                    m.State.Segments[(int)SegmentName.GS].Limit = 0x7FFF_FFFF;
                    break;
                case 2:
                    m.State.Cr0 |= Cr0.AlignmentMask;
                    break;
            }
            m.Processor.StateChanged();
        }

        /// <summary>The instruction at EIP; what it is does not matter if it cannot be fetched.</summary>
        public Instruction Decode(SystemMachine m)
        {
            byte[] bytes = new byte[15];
            for (uint i = 0; i < bytes.Length; i++)
            {
                uint linear = m.State.Eip + i;
                bytes[i] = m.Memory.Read<byte>((table[(linear >> 12) & 0x3FF] & 0xFFFF_F000) | (linear & 0xFFF));
            }
            var decoder = Decoder.Create(32, bytes);
            decoder.IP = m.State.Eip;
            return decoder.Decode();
        }

        public static void Finish(SystemMachine m) => m.State.Cr0 &= ~Cr0.AlignmentMask;
    }

    private static SystemMachine Machine()
    {
        var m = new SystemMachine(hostRing: true, paging: true);
        m.State.Cr4 |= Cr4.OsFxsr | Cr4.OsXmmExceptions;
        for (int vector = 0; vector < 256; vector++)
        {
            m.SetGate((byte)vector, SystemMachine.Code0, 0, present: vector != Vector.Debug);
        }
        return m;
    }

    /// <summary>Where a difference was found, with the last instructions as the program had them at its end.</summary>
    private static string Describe(int seed, int number, List<uint> trace, SystemMachine m)
    {
        var text = new System.Text.StringBuilder($"seed {seed}, program {number}:");
        byte[] bytes = new byte[15];
        foreach (uint eip in trace.TakeLast(12))
        {
            text.Append($" {eip:X}");
            if (eip - CodeLinear < 2 * 4096)
            {
                m.Memory.Read((CodeFrame * 4096) + (eip - CodeLinear), bytes);
                var decoder = Decoder.Create(32, bytes);
                decoder.IP = eip;
                text.Append($" {decoder.Decode()};");
            }
        }
        return text.Append($" vector {m.Processor.PendingVector}").ToString();
    }

    /// <summary>Runs a sample one instruction at a time until it faults.</summary>
    /// <param name="m">Machine.</param>
    /// <param name="sample">What runs.</param>
    /// <param name="trace">Addresses of the instructions.</param>
    /// <param name="undefined">Flags that the architecture leaves undefined at the end.</param>
    /// <returns>False when it does not end, would single-step or depends on an undefined flag.</returns>
    private static bool StepToFault(SystemMachine m, Sample sample, List<uint> trace, out uint undefined)
    {
        trace.Clear();
        undefined = 0;
        for (int i = 0; i < MostSteps; i++)
        {
            trace.Add(m.State.Eip);
            Instruction instruction = sample.Decode(m);
            if ((Flags(instruction.RflagsRead) & undefined) != 0)
            {
                return false;
            }
            if (!m.Processor.TryStepReference())
            {
                return true;
            }
            if ((m.State.SystemFlags & Eflags.Trap) != 0)
            {
                return false;
            }
            // A repetition or a shift may do nothing at all.
            bool certain = !instruction.HasRepPrefix && !instruction.HasRepnePrefix && instruction.RflagsUndefined == 0;
            undefined = (certain ? undefined & ~Flags(instruction.RflagsModified) : undefined) | Flags(instruction.RflagsUndefined);
        }
        return false;
    }

    private static uint Flags(RflagsBits bits) =>
        ((bits & RflagsBits.CF) != 0 ? Eflags.Carry : 0) | ((bits & RflagsBits.PF) != 0 ? Eflags.Parity : 0)
        | ((bits & RflagsBits.AF) != 0 ? Eflags.Adjust : 0) | ((bits & RflagsBits.ZF) != 0 ? Eflags.Zero : 0)
        | ((bits & RflagsBits.SF) != 0 ? Eflags.Sign : 0) | ((bits & RflagsBits.OF) != 0 ? Eflags.Overflow : 0);

    /// <summary>The floating-point state; the six bytes behind each x87 register are nobody's, and what copying leaves there does not count.</summary>
    private static Span<byte> FpuBytes(ref FpuState fpu)
    {
        const int registerBytes = 10;
        Span<byte> bytes = MemoryMarshal.AsBytes(MemoryMarshal.CreateSpan(ref fpu, 1));
        for (int register = 0; register < 8; register++)
        {
            bytes[((register * 16) + registerBytes)..((register + 1) * 16)].Clear();
        }
        return bytes;
    }

    private static void AssertSame(SystemMachine expected, SystemMachine actual, uint undefined, Func<string> describe)
    {
        for (int i = 0; i < 8; i++)
        {
            Assert.True(expected[(Register32)i] == actual[(Register32)i], $"{(Register32)i}: {expected[(Register32)i]:X8} not {actual[(Register32)i]:X8}; {describe()}");
        }
        Assert.True(expected.State.Eip == actual.State.Eip, $"EIP {expected.State.Eip:X8} not {actual.State.Eip:X8}; {describe()}");
        uint expectedFlags = expected.State.Eflags & ~(Eflags.Resume | undefined);
        uint actualFlags = actual.State.Eflags & ~(Eflags.Resume | undefined);
        Assert.True(expectedFlags == actualFlags, $"EFLAGS {expectedFlags:X8} not {actualFlags:X8}; {describe()}");
        Assert.True(expected.State.Cr2 == actual.State.Cr2, $"CR2 {expected.State.Cr2:X8} not {actual.State.Cr2:X8}; {describe()}");
        for (int i = 0; i < 6; i++)
        {
            Assert.True(expected.State.Segments[i].Equals(actual.State.Segments[i]), $"{(SegmentName)i}; {describe()}");
        }
        ReadOnlySpan<byte> expectedFpu = FpuBytes(ref expected.State.Fpu);
        ReadOnlySpan<byte> actualFpu = FpuBytes(ref actual.State.Fpu);
        Assert.True(expectedFpu.SequenceEqual(actualFpu), $"FPU at byte {expectedFpu.CommonPrefixLength(actualFpu)}; {describe()}");
        byte[] first = new byte[Frames * 4096];
        byte[] second = new byte[Frames * 4096];
        expected.Memory.Read(FirstFrame * 4096, first);
        actual.Memory.Read(FirstFrame * 4096, second);
        int difference = first.AsSpan().CommonPrefixLength(second);
        Assert.True(difference == first.Length, $"memory at {difference:X}; {describe()}");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void RandomProgramsEndAlike(int seed)
    {
        var random = new Random(seed);
        using SystemMachine stepped = Machine();
        using SystemMachine run = Machine();
        var trace = new List<uint>();
        int compared = 0;
        long instructions = 0;
        for (int number = 0; number < 1000; number++)
        {
            var sample = new Sample(random);
            sample.Prepare(stepped);
            long before = stepped.Processor.InstructionCount;
            bool ended = StepToFault(stepped, sample, trace, out uint undefined);
            long count = stepped.Processor.InstructionCount - before;
            if (ended)
            {
                compared++;
                instructions += count;
                sample.Prepare(run);
                before = run.Processor.InstructionCount;
                ProcessorExit exit = run.Processor.Run();
                int current = number;
                string Details() => Describe(seed, current, trace, stepped);
                AssertSame(stepped, run, undefined, Details);
                Assert.True(
                    (exit.Vector, exit.ErrorCode) == (stepped.Processor.PendingVector, stepped.Processor.PendingErrorCode),
                    $"{exit}; {Details()}");
                Assert.True(count == run.Processor.InstructionCount - before, $"{run.Processor.InstructionCount - before} not {count}; {Details()}");
            }
            Sample.Finish(stepped);
            Sample.Finish(run);
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{compared} programs, {instructions} instructions");
        Assert.True(compared > 200);
    }
}
