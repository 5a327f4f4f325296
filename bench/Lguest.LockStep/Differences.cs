// What two Guests that have done the same must have in common: everything but their number. The six bytes behind each x87 register exist
// only here, and the flag RF says no more than that no breakpoint is asked for one instruction.

using System.Text;
using Lguest.Host;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.LockStep;

/// <summary>Compares Guests.</summary>
internal static class Differences
{
    private const int MostShown = 12;

    /// <summary>Lines that say how the processors differ; empty when they are alike.</summary>
    public static string OfProcessors(SteppedGuest expected, SteppedGuest actual)
    {
        var text = new StringBuilder();
        ref CpuState e = ref expected.Processor.State;
        ref CpuState a = ref actual.Processor.State;
        Note(text, "instructions", (ulong)expected.Stop.Instructions, (ulong)actual.Stop.Instructions);
        Note(text, "deliveries", (ulong)expected.Stop.Deliveries, (ulong)actual.Stop.Deliveries);
        for (int i = 0; i < 8; i++)
        {
            Note(text, ((Register32)i).ToString(), e.General[i], a.General[i]);
        }
        Note(text, "Eip", e.Eip, a.Eip);
        Note(text, "Eflags", e.Eflags & ~Eflags.Resume, a.Eflags & ~Eflags.Resume);
        Note(text, "privilege level", (ulong)e.PrivilegeLevel, (ulong)a.PrivilegeLevel);
        for (int i = 0; i < 6; i++)
        {
            NoteSegment(text, ((SegmentName)i).ToString(), e.Segments[i], a.Segments[i]);
        }
        NoteSegment(text, "LDTR", e.Ldtr, a.Ldtr);
        NoteSegment(text, "TR", e.TaskRegister, a.TaskRegister);
        Note(text, "GDTR", e.Gdtr.Base, a.Gdtr.Base);
        Note(text, "GDTR limit", e.Gdtr.Limit, a.Gdtr.Limit);
        Note(text, "IDTR", e.Idtr.Base, a.Idtr.Base);
        Note(text, "IDTR limit", e.Idtr.Limit, a.Idtr.Limit);
        Note(text, "CR0", e.Cr0, a.Cr0);
        Note(text, "CR2", e.Cr2, a.Cr2);
        Note(text, "CR3", e.Cr3, a.Cr3);
        Note(text, "CR4", e.Cr4, a.Cr4);
        for (int i = 0; i < 8; i++)
        {
            Note(text, $"DR{i}", e.Debug[i], a.Debug[i]);
        }
        NoteFloat(text, ref e.Fpu, ref a.Fpu);
        return text.ToString();
    }

    /// <summary>Lines that say where the memories differ, the Host's tables included; empty when they are alike.</summary>
    public static string OfMemory(SteppedGuest expected, SteppedGuest actual)
    {
        var text = new StringBuilder();
        uint last = expected.Memory.GuestFrames + LguestAbi.ArenaFrames;
        int shown = 0;
        for (uint frame = 0; frame < last && shown < MostShown; frame++)
        {
            ReadOnlySpan<byte> e = expected.Memory.FrameBytes(frame);
            ReadOnlySpan<byte> a = actual.Memory.FrameBytes(frame);
            for (int at = e.CommonPrefixLength(a); at < Math.Max(e.Length, a.Length) && shown < MostShown; at++)
            {
                uint address = (frame * MachineMemory.FrameSize) + (uint)at;
                if (e[at] != a[at] && address - expected.NumberAddress >= sizeof(uint))
                {
                    Note(text, $"memory {address:x8}{(frame >= expected.Memory.GuestFrames ? " (the Host's)" : "")}", e[at], a[at]);
                    shown++;
                }
            }
        }
        return text.ToString();
    }

    private static void NoteFloat(StringBuilder text, ref FpuState e, ref FpuState a)
    {
        for (int i = 0; i < 8; i++)
        {
            Note(text, $"R{i}", e.Registers[i].Significand, a.Registers[i].Significand);
            Note(text, $"R{i} exponent", e.Registers[i].SignExponent, a.Registers[i].SignExponent);
            if (e.Xmm[i] != a.Xmm[i])
            {
                text.AppendLine($"  XMM{i}: expected {e.Xmm[i]}, got {a.Xmm[i]}");
            }
        }
        Note(text, "x87 control", e.ControlWord, a.ControlWord);
        Note(text, "x87 status", e.StatusWord, a.StatusWord);
        Note(text, "x87 top", e.Top, a.Top);
        Note(text, "x87 tags", e.ValidTags, a.ValidTags);
        Note(text, "x87 opcode", e.LastOpcode, a.LastOpcode);
        Note(text, "x87 CS", e.LastInstructionSelector, a.LastInstructionSelector);
        Note(text, "x87 EIP", e.LastInstructionPointer, a.LastInstructionPointer);
        Note(text, "x87 operand segment", e.LastDataSelector, a.LastDataSelector);
        Note(text, "x87 operand", e.LastDataPointer, a.LastDataPointer);
        Note(text, "MXCSR", e.Mxcsr, a.Mxcsr);
    }

    private static void NoteSegment(StringBuilder text, string name, in Segment e, in Segment a)
    {
        Note(text, name, e.Selector, a.Selector);
        Note(text, $"{name} base", e.Base, a.Base);
        Note(text, $"{name} limit", e.Limit, a.Limit);
        Note(text, $"{name} attributes", e.Attributes, a.Attributes);
    }

    private static void Note(StringBuilder text, string what, ulong expected, ulong actual)
    {
        if (expected != actual)
        {
            text.AppendLine($"  {what}: expected {expected:x}, got {actual:x}");
        }
    }
}
