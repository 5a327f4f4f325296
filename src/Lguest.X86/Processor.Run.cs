using Iced.Intel;
using Lguest.X86.Execution;
using Lguest.X86.Instructions;
using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    /// <summary>No interrupt before the next instruction has completed: STI, MOV SS and POP SS ask for it (Intel SDM volume 3, 6.8.3).</summary>
    internal bool InterruptShadow { get; set; }

    /// <summary>Decodes the instruction at EIP.</summary>
    private Instruction Fetch()
    {
        ref Segment code = ref state->Segments[(int)SegmentName.CS];
        var reader = new FetchReader(this, code.Base + state->Eip);
        Decoder decoder = Decoder.Create(code.Big ? 32 : 16, reader);
        decoder.IP = state->Eip;
        Instruction instruction = decoder.Decode();
        if (decoder.LastError == DecoderError.NoMoreBytes)
        {
            throw guestFault;
        }
        return instruction;
    }

    /// <summary>Executes one instruction on the reference path, without delivering an exception that it raises.</summary>
    /// <returns>True when it completed; false with the exception noted.</returns>
    internal bool TryStepReference()
    {
        try
        {
            Instruction instruction = Fetch();
            NextEip = instruction.NextIP32;
            InstructionHandler? handler = InstructionTable.Instance.Find(instruction) ?? throw Fault(Vector.InvalidOpcode);
            handler(this, instruction);
            state->Eip = NextEip;
            return true;
        }
        catch (GuestFault)
        {
            return false;
        }
    }

    /// <summary>Runs until a gate leads into the Host's ring, the processor halts or shuts down.</summary>
    public ProcessorExit Run() => throw new NotSupportedException("The engine is not connected yet.");

    /// <summary>Asks for an external interrupt, as a device would at the processor's INTR pin; a later request replaces an earlier one.</summary>
    /// <remarks>May be called from any thread; a running processor answers within microseconds if IF is set.</remarks>
    public void RequestInterrupt(byte vector) => Volatile.Write(ref interruptRequest, 0x100 | vector);

    private int interruptRequest;

    /// <summary>Leaves the Host's ring for ring 1 or 3 as the instructions <c>pop %gs; pop %fs; pop %ds; pop %es; iret</c> would.</summary>
    /// <returns>False when a segment register cannot be loaded: the fault that ring 0 would have seen is described by the exit.</returns>
    public bool TryLeaveHostRing(in OuterRingFrame frame, out ProcessorExit fault) => throw new NotSupportedException("The engine is not connected yet.");

    private sealed class FetchReader(Processor cpu, uint linear) : CodeReader
    {
        private uint next = linear;

        public override int ReadByte()
        {
            if (!cpu.TryFillExecute(next, out uint physical))
            {
                return -1;
            }
            next++;
            return cpu.memory.Read<byte>(physical);
        }
    }
}

/// <summary>What the Host's ring restores when it returns to an outer ring.</summary>
public struct OuterRingFrame
{
    /// <summary>GS, FS, DS and ES, loaded in this order.</summary>
    public ushort Gs, Fs, Ds, Es;

    /// <summary>EIP, EFLAGS and ESP of the outer ring.</summary>
    public uint Eip, Eflags, Esp;

    /// <summary>CS and SS of the outer ring; their RPL is the ring.</summary>
    public ushort Cs, Ss;
}
