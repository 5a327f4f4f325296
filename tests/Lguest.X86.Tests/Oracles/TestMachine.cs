// A machine for tests: memory, a processor in flat 32-bit protected mode without paging, and the few verbs that tests need.

using Iced.Intel;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86.Tests.Oracles;

/// <summary>A processor with 64 MiB of memory: enough to contain the native oracle's scratch addresses.</summary>
public sealed class TestMachine : IDisposable
{
    /// <summary>Where <see cref="Load(ReadOnlySpan{byte})"/> puts code unless told otherwise.</summary>
    public const uint CodeAddress = 0x1_0000;

    /// <summary>Frames of the machine.</summary>
    public const uint Frames = 0x4000;

    /// <summary>Builds the machine; ring 0 runs code unless the options say otherwise.</summary>
    public TestMachine(ProcessorOptions? options = null)
    {
        Memory = new MachineMemory(Frames, 1024);
        Processor = new Processor(Memory, options ?? Differential.TestSettings.Processor(hostOwnsRing0: false));
        State.General[(int)Register32.Esp] = 0x8_0000;
    }

    /// <summary>Physical memory.</summary>
    public MachineMemory Memory { get; }

    /// <summary>The processor.</summary>
    public Processor Processor { get; }

    /// <summary>Its state.</summary>
    public ref CpuState State => ref Processor.State;

    /// <summary>Exception that the last failed step raised.</summary>
    public byte FaultVector => Processor.PendingVector;

    /// <summary>Its error code.</summary>
    public uint FaultErrorCode => Processor.PendingErrorCode;

    /// <summary>Assembles code for 32-bit mode at an address.</summary>
    public static byte[] Assemble(Action<Assembler> write, uint address = CodeAddress, int bits = 32)
    {
        var assembler = new Assembler(bits);
        write(assembler);
        var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }

    /// <summary>Encodes one instruction for 32-bit (or 16-bit) mode at an address.</summary>
    public static byte[] Encode(in Instruction instruction, uint address = CodeAddress, int bits = 32)
    {
        var writer = new ByteWriter();
        Encoder.Create(bits, writer).Encode(instruction, address);
        return [.. writer.Bytes];
    }

    /// <summary>Puts code into memory and points EIP at it.</summary>
    public void Load(ReadOnlySpan<byte> code) => Load(CodeAddress, code);

    /// <summary>Puts code into memory and points EIP at it (CS must be flat).</summary>
    public void Load(uint address, ReadOnlySpan<byte> code)
    {
        Memory.Write(address, code);
        State.Eip = address;
    }

    /// <summary>Assembles code, puts it into memory and points EIP at it.</summary>
    public void Load(Action<Assembler> write) => Load(Assemble(write));

    /// <summary>Changes to a privilege level, with segments of that level.</summary>
    public void SetPrivilegeLevel(int level)
    {
        State.PrivilegeLevel = level;
        for (int i = 0; i < 6; i++)
        {
            ref Segment segment = ref State.Segments[i];
            segment.Attributes = (segment.Attributes & ~0x6000u) | ((uint)level << 13);
            segment.Selector = (ushort)((segment.Selector & ~3) | level);
        }
        Processor.StateChanged();
    }

    /// <summary>Gives a segment register a base, keeping its other properties.</summary>
    public void SetSegmentBase(SegmentName name, uint address)
    {
        State.Segments[(int)name].Base = address;
        if (name == SegmentName.FS)
        {
            State.General[GeneralRegisters.FsBaseIndex] = address;
        }
        if (name == SegmentName.GS)
        {
            State.General[GeneralRegisters.GsBaseIndex] = address;
        }
        Processor.StateChanged();
    }

    /// <summary>Executes one instruction on the reference path; false when it faulted.</summary>
    public bool Step() => Processor.TryStepReference();

    /// <summary>Executes instructions on the reference path until EIP reaches an address, an instruction faults or the count is used up.</summary>
    public bool StepTo(uint address, int limit = 1000)
    {
        for (int i = 0; i < limit && State.Eip != address; i++)
        {
            if (!Step())
            {
                return false;
            }
        }
        return State.Eip == address;
    }

    /// <summary>Reads bytes.</summary>
    public byte[] Read(uint address, int length)
    {
        byte[] bytes = new byte[length];
        Memory.Read(address, bytes);
        return bytes;
    }

    /// <summary>Releases processor and memory.</summary>
    public void Dispose()
    {
        Processor.Dispose();
        Memory.Dispose();
    }
}
