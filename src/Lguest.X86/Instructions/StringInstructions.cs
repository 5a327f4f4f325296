// String instructions: element by element where anything is special, a page at a time where nothing is. A repeated instruction brings
// ECX, ESI and EDI up to date after every step, so that a fault finds them describing exactly the elements that are done; and it
// returns to the engine after some thousand elements with EIP still on itself, so that an interrupt need not wait for a long one.

using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class StringInstructions
{
    private const uint ElementsPerTurn = 4096;

    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Movsb, Move<byte>);
        table.Add(Mnemonic.Movsw, Move<ushort>);
        table.Add(Code.Movsd_m32_m32, Move<uint>);
        table.Add(Mnemonic.Stosb, Store<byte>);
        table.Add(Mnemonic.Stosw, Store<ushort>);
        table.Add(Mnemonic.Stosd, Store<uint>);
        table.Add(Mnemonic.Lodsb, Load<byte>);
        table.Add(Mnemonic.Lodsw, Load<ushort>);
        table.Add(Mnemonic.Lodsd, Load<uint>);
        table.Add(Mnemonic.Scasb, Scan<byte>);
        table.Add(Mnemonic.Scasw, Scan<ushort>);
        table.Add(Mnemonic.Scasd, Scan<uint>);
        table.Add(Mnemonic.Cmpsb, Compare<byte>);
        table.Add(Mnemonic.Cmpsw, Compare<ushort>);
        table.Add(Code.Cmpsd_m32_m32, Compare<uint>);
    }

    private static T Accumulator<T>(Processor cpu)
        where T : unmanaged, IBinaryInteger<T> => T.CreateTruncating(cpu.State.General[(int)Register32.Eax]);

    private static void SetComparison<T>(Processor cpu, T left, T right)
        where T : unmanaged, IBinaryInteger<T>
    {
        uint a = uint.CreateTruncating(left);
        uint b = uint.CreateTruncating(right);
        cpu.State.Flags.SetSubtract(a, b, a - b, Unsafe.SizeOf<T>());
    }

    private static void Move<T>(Processor cpu, in Instruction instruction)
        where T : unmanaged, IBinaryInteger<T>
    {
        var walk = new Walk<T>(cpu, instruction);
        while (walk.Remaining > 0)
        {
            Span<byte> source = walk.SourceBlock();
            Span<byte> destination = source.IsEmpty ? source : walk.DestinationBlock(true);
            uint count = 1;
            if (destination.IsEmpty)
            {
                walk.WriteDestination(walk.ReadSource());
            }
            else
            {
                count = walk.ElementsIn(Math.Min(source.Length, destination.Length));
                source = walk.Cut(source, count);
                destination = walk.Cut(destination, count);
                // What was copied may be the source of what follows: then no more than the distance goes at a time.
                if (source.Overlaps(destination, out int distance))
                {
                    int ahead = walk.Backward ? -distance : distance;
                    if (ahead > 0)
                    {
                        count = (uint)Math.Max(1, ahead / Unsafe.SizeOf<T>());
                        source = walk.Cut(source, count);
                        destination = walk.Cut(destination, count);
                    }
                }
                source.CopyTo(destination);
            }
            walk.Advance(count, source: true, destination: true);
        }
        walk.Finish(false);
    }

    private static void Store<T>(Processor cpu, in Instruction instruction)
        where T : unmanaged, IBinaryInteger<T>
    {
        var walk = new Walk<T>(cpu, instruction);
        T value = Accumulator<T>(cpu);
        while (walk.Remaining > 0)
        {
            Span<byte> destination = walk.DestinationBlock(true);
            uint count = 1;
            if (destination.IsEmpty)
            {
                walk.WriteDestination(value);
            }
            else
            {
                count = walk.ElementsIn(destination.Length);
                MemoryMarshal.Cast<byte, T>(walk.Cut(destination, count)).Fill(value);
            }
            walk.Advance(count, source: false, destination: true);
        }
        walk.Finish(false);
    }

    private static void Load<T>(Processor cpu, in Instruction instruction)
        where T : unmanaged, IBinaryInteger<T>
    {
        var walk = new Walk<T>(cpu, instruction);
        var accumulator = new Operand(false, (uint)Register32.Eax * 4, Unsafe.SizeOf<T>());
        while (walk.Remaining > 0)
        {
            cpu.Store(accumulator, uint.CreateTruncating(walk.ReadSource()));
            walk.Advance(1, source: true, destination: false);
        }
        walk.Finish(false);
    }

    // The flags are set once, when a turn ends: a fault in between leaves them as they were.
    private static void Scan<T>(Processor cpu, in Instruction instruction)
        where T : unmanaged, IBinaryInteger<T>
    {
        var walk = new Walk<T>(cpu, instruction);
        if (walk.Remaining == 0)
        {
            return;
        }
        T value = Accumulator<T>(cpu);
        T last = value;
        bool found = false;
        while (walk.Remaining > 0 && !found)
        {
            Span<byte> bytes = walk.Backward ? [] : walk.DestinationBlock(false);
            uint count = 1;
            if (bytes.IsEmpty)
            {
                last = walk.ReadDestination();
                found = last == value == walk.EndsOnEqual;
            }
            else
            {
                ReadOnlySpan<T> elements = MemoryMarshal.Cast<byte, T>(walk.Cut(bytes, walk.ElementsIn(bytes.Length)));
                int index = walk.EndsOnEqual ? elements.IndexOf(value) : elements.IndexOfAnyExcept(value);
                found = index >= 0;
                count = found ? (uint)index + 1 : (uint)elements.Length;
                last = elements[(int)count - 1];
            }
            walk.Advance(count, source: false, destination: true);
        }
        SetComparison(cpu, value, last);
        walk.Finish(found);
    }

    private static void Compare<T>(Processor cpu, in Instruction instruction)
        where T : unmanaged, IBinaryInteger<T>
    {
        var walk = new Walk<T>(cpu, instruction);
        if (walk.Remaining == 0)
        {
            return;
        }
        T left = T.Zero;
        T right = T.Zero;
        bool found = false;
        while (walk.Remaining > 0 && !found)
        {
            Span<byte> source = walk.Backward || walk.EndsOnEqual ? [] : walk.SourceBlock();
            Span<byte> destination = source.IsEmpty ? source : walk.DestinationBlock(false);
            uint count = 1;
            if (destination.IsEmpty)
            {
                left = walk.ReadSource();
                right = walk.ReadDestination();
                found = left == right == walk.EndsOnEqual;
            }
            else
            {
                uint most = walk.ElementsIn(Math.Min(source.Length, destination.Length));
                ReadOnlySpan<T> lefts = MemoryMarshal.Cast<byte, T>(walk.Cut(source, most));
                ReadOnlySpan<T> rights = MemoryMarshal.Cast<byte, T>(walk.Cut(destination, most));
                int equal = lefts.CommonPrefixLength(rights);
                found = equal < lefts.Length;
                count = found ? (uint)equal + 1 : most;
                left = lefts[(int)count - 1];
                right = rights[(int)count - 1];
            }
            walk.Advance(count, source: true, destination: true);
        }
        SetComparison(cpu, left, right);
        walk.Finish(found);
    }

    /// <summary>One turn of a string instruction: what prefixes, DF and address size make of it, and how far it is.</summary>
    private ref struct Walk<T>
        where T : unmanaged
    {
        private readonly Processor cpu;
        private readonly ref GeneralRegisters general;
        private readonly uint mask;
        private readonly bool repeated;
        private readonly SegmentName sourceSegment;

        public Walk(Processor cpu, in Instruction instruction)
        {
            this.cpu = cpu;
            general = ref cpu.State.General;
            bool address16 = instruction.Op0Kind is OpKind.MemorySegSI or OpKind.MemoryESDI
                || instruction.Op1Kind is OpKind.MemorySegSI or OpKind.MemoryESDI;
            mask = address16 ? 0xFFFF : 0xFFFF_FFFF;
            EndsOnEqual = instruction.HasRepnePrefix;
            repeated = EndsOnEqual || instruction.HasRepPrefix;
            sourceSegment = Processor.MemorySegment(instruction);
            Backward = (cpu.State.SystemFlags & Eflags.Direction) != 0;
            // A single step ends after each element.
            uint turn = (cpu.State.SystemFlags & Eflags.Trap) != 0 ? 1 : ElementsPerTurn;
            Remaining = repeated ? Math.Min(general[(int)Register32.Ecx] & mask, turn) : 1;
        }

        /// <summary>DF: addresses fall.</summary>
        public bool Backward { get; }

        /// <summary>REPNE: a comparison ends with the first equal element; otherwise with the first unequal one.</summary>
        public bool EndsOnEqual { get; }

        /// <summary>Elements left of this turn.</summary>
        public uint Remaining { get; private set; }

        private static int Size => Unsafe.SizeOf<T>();

        private readonly uint SourceOffset => general[(int)Register32.Esi] & mask;

        private readonly uint DestinationOffset => general[(int)Register32.Edi] & mask;

        public readonly T ReadSource() => cpu.ReadLinear<T>(cpu.Linear(sourceSegment, SourceOffset, (uint)Size, false));

        public readonly T ReadDestination() => cpu.ReadLinear<T>(cpu.Linear(SegmentName.ES, DestinationOffset, (uint)Size, false));

        public readonly void WriteDestination(T value) => cpu.WriteLinear(cpu.Linear(SegmentName.ES, DestinationOffset, (uint)Size, true), value);

        /// <summary>A run of source bytes that may be handled at once; empty for a single element and where there is none.</summary>
        public readonly Span<byte> SourceBlock() =>
            Remaining == 1 ? [] : cpu.DirectSpan(sourceSegment, SourceOffset, mask, (uint)Size, Backward, false);

        /// <summary>The same for the destination.</summary>
        public readonly Span<byte> DestinationBlock(bool write) =>
            Remaining == 1 ? [] : cpu.DirectSpan(SegmentName.ES, DestinationOffset, mask, (uint)Size, Backward, write);

        /// <summary>Elements of this turn that fit in a run.</summary>
        public readonly uint ElementsIn(int bytes) => Math.Min(Remaining, (uint)bytes / (uint)Size);

        /// <summary>The part of a run that the next <paramref name="count"/> elements occupy.</summary>
        public readonly Span<byte> Cut(Span<byte> run, uint count)
        {
            int length = (int)count * Size;
            return Backward ? run[^length..] : run[..length];
        }

        /// <summary>Notes that elements are done.</summary>
        public void Advance(uint count, bool source, bool destination)
        {
            uint distance = Backward ? 0 - (count * (uint)Size) : count * (uint)Size;
            if (source)
            {
                Add(Register32.Esi, distance);
            }
            if (destination)
            {
                Add(Register32.Edi, distance);
            }
            if (repeated)
            {
                Add(Register32.Ecx, 0 - count);
            }
            Remaining -= count;
        }

        /// <summary>Leaves EIP on the instruction when there is more to do.</summary>
        public readonly void Finish(bool found)
        {
            if (repeated && !found && (general[(int)Register32.Ecx] & mask) != 0)
            {
                cpu.RepeatInstruction();
            }
        }

        private readonly void Add(Register32 register, uint distance)
        {
            ref uint value = ref general[(int)register];
            value = (value & ~mask) | ((value + distance) & mask);
        }
    }
}
