// Between the floating-point state that C# works on and the host's own units, which translated code works on. FXRSTOR and FXSAVE carry
// it over, by an image that differs from our state in one thing only: its x87 registers are in stack order.

using Lguest.X86.FloatingPoint;
using Lguest.X86.State;
using Lguest.X86.Translation;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const uint AllMasked = 0x1F80;
    private const int X87AllMasked = 0x3F;

    /// <summary>The board says that pending exceptions be ignored (IGNNE#); until there is none, or a new one.</summary>
    internal bool IgnoresNumericErrors { get; set; }

    /// <summary>IGNNE#: with CR0.NE clear, the exception that is pending now holds up no instruction any more.</summary>
    /// <remarks>For the thread that runs the processor.</remarks>
    public void IgnoreNumericError() => IgnoresNumericErrors = (State.Fpu.StatusWord & X87Status.ErrorSummary) != 0;

    /// <summary>Brings the Guest's values into the host's units, unless the Guest may not use them or has unmasked an exception.</summary>
    private bool TryBringFloatIn(Translator code, FloatUnits wanted)
    {
        BringFloatHome(code);
        ref FpuState fpu = ref state->Fpu;
        bool x87 = (state->Cr0 & (Cr0.Emulation | Cr0.TaskSwitched)) == 0
            && (fpu.ControlWord & X87AllMasked) == X87AllMasked && (fpu.StatusWord & X87Status.ErrorSummary) == 0;
        bool sse = (state->Cr4 & Cr4.OsFxsr) != 0 && (fpu.Mxcsr & AllMasked) == AllMasked;
        if (!x87 || (wanted == FloatUnits.X87AndSse && !sse))
        {
            return false;
        }
        // SAFETY: the image has the 512 aligned bytes that FXRSTOR reads.
        unsafe
        {
            FloatImage* image = &context->Image;
            image->ControlWord = fpu.ControlWord;
            image->StatusWord = fpu.StatusWithTop();
            image->ValidTags = fpu.ValidTags;
            image->Mxcsr = AllMasked;
            for (int i = 0; i < 8; i++)
            {
                image->Stack[i] = fpu.St(i);
            }
            context->LastX87Eip = EngineContext.NoX87;
            context->LastX87Segment = EngineContext.NoX87;
            context->LastX87Operand = fpu.LastDataPointer;
            code.LoadX87(context);
            context->FloatLive = sse ? FloatUnits.X87AndSse : FloatUnits.X87;
        }
        return true;
    }

    /// <summary>Brings the Guest's values home from the host's units, if they are there. The SSE half comes home at each exit.</summary>
    private void BringFloatHome(Translator code)
    {
        if (context->FloatLive == FloatUnits.None)
        {
            return;
        }
        // SAFETY: the image has the 512 aligned bytes that FXSAVE writes.
        unsafe
        {
            KeepX87Selectors();
            context->FloatLive = FloatUnits.None;
            code.StoreX87(context);
            FloatImage* image = &context->Image;
            ref FpuState fpu = ref state->Fpu;
            fpu.LoadControl(image->ControlWord);
            fpu.LoadStatus(image->StatusWord);
            fpu.ValidTags = image->ValidTags;
            for (int i = 0; i < 8; i++)
            {
                fpu.St(i) = image->Stack[i];
            }
        }
    }

    /// <summary>Writes down where the last x87 instruction and its operand were, before a segment register gets another selector.</summary>
    private void KeepX87Selectors()
    {
        if (context->FloatLive == FloatUnits.None)
        {
            return;
        }
        ref FpuState fpu = ref state->Fpu;
        if (context->LastX87Eip != EngineContext.NoX87)
        {
            fpu.LastInstructionPointer = context->LastX87Eip;
            fpu.LastInstructionSelector = state->Segments[(int)SegmentName.CS].Selector;
            context->LastX87Eip = EngineContext.NoX87;
        }
        if (context->LastX87Segment != EngineContext.NoX87)
        {
            fpu.LastDataPointer = context->LastX87Operand;
            fpu.LastDataSelector = state->Segments[(int)context->LastX87Segment].Selector;
            context->LastX87Segment = EngineContext.NoX87;
        }
    }
}
