// The Guest's status flags live in the host's own flags register: an ADD of the Guest is an ADD of the host, and its flags are just
// there. The trouble is that the translator's own instructions, above all the soft-TLB's comparison, need the register too, and that any
// access to memory may fault, which shows the flags to the Guest's kernel. Saving them each time would cost more than the accesses.
//
// So the tracker knows at every point of a block where the flags can be had from. *Native*: they are in the register. *Saved*: they are
// in AH and AL, as LAHF and SETO left them. *Replay*: the registers that the last instruction worked on still hold enough to do it again,
// which a fault's cold path can do and everybody else never pays for. Only when the last source is about to go does it emit code.

namespace Lguest.X86.Translation;

/// <summary>Where the Guest's flags can be had from; several may hold.</summary>
[Flags]
internal enum FlagPlaces
{
    /// <summary>In the host's flags register.</summary>
    Native = 1,

    /// <summary>In RAX.</summary>
    Saved = 2,

    /// <summary>By doing the last instruction again.</summary>
    Replay = 4,

    /// <summary>Nobody will ask.</summary>
    Dead = 8,
}

/// <summary>What an instruction that can be done again for its flags did.</summary>
internal enum ReplayKind : byte
{
    None, Add, Subtract, Compare, Test, Increment, Decrement, RotateLeft, RotateRight,
}

/// <summary>An instruction that can be done again for its flags.</summary>
/// <param name="Kind">What it did.</param>
/// <param name="Left">Register of the first operand, now with the result where there is one.</param>
/// <param name="Right">Register of the second operand, or None for the immediate.</param>
/// <param name="Immediate">Immediate operand.</param>
/// <param name="Size">Operand size in bytes: 1 or 4; results are of 4.</param>
/// <param name="Distance">Additions and subtractions of an immediate: the result is this much more than the register holds.</param>
internal readonly record struct FlagSource(
    ReplayKind Kind, HostRegister Left, HostRegister Right = HostRegister.None, int Immediate = 0, int Size = 4, int Distance = 0);

/// <summary>Follows the Guest's flags through a block.</summary>
internal sealed class FlagTracker(Emitter hot)
{
    private FlagSource source;

    /// <summary>Where the flags are.</summary>
    public FlagPlaces Places { get; private set; }

    /// <summary>INC and DEC take the carry from the saved flags, rotates everything but the carry and the overflow.</summary>
    private static bool IsPartial(ReplayKind kind) => kind >= ReplayKind.Increment;

    private static bool IsRotate(ReplayKind kind) => kind >= ReplayKind.RotateLeft;

    /// <summary>Begins a block.</summary>
    public void Begin(FlagPlaces places)
    {
        Places = places;
        source = default;
    }

    /// <summary>The host's flags register is about to be used for something else.</summary>
    public void BeforeClobber()
    {
        if (Places == FlagPlaces.Native)
        {
            Save();
        }
        Places &= ~FlagPlaces.Native;
    }

    /// <summary>Brings the flags into the host's register.</summary>
    public void EnsureNative()
    {
        if ((Places & (FlagPlaces.Native | FlagPlaces.Dead)) == 0)
        {
            Recover(hot);
            Places |= FlagPlaces.Native;
        }
    }

    /// <summary>Brings the carry flag into the host's register, for an instruction that gives all others new values.</summary>
    public void EnsureCarry()
    {
        if ((Places & (FlagPlaces.Native | FlagPlaces.Saved)) == FlagPlaces.Saved)
        {
            // The lowest bit of AH.
            hot.BitTest(HostRegister.Rax, 8);
        }
        else
        {
            EnsureNative();
        }
    }

    /// <summary>Brings the flags into RAX.</summary>
    public void EnsureSaved()
    {
        if ((Places & (FlagPlaces.Saved | FlagPlaces.Dead)) == 0)
        {
            EnsureNative();
            Save();
        }
    }

    /// <summary>Emits what brings the flags from where they are into the host's register.</summary>
    public void Recover(Emitter emitter)
    {
        if ((Places & FlagPlaces.Saved) != 0)
        {
            emitter.RestoreFlags();
        }
        else if ((Places & FlagPlaces.Replay) != 0)
        {
            Replay(emitter);
        }
    }

    /// <summary>An instruction has just put all flags into the host's register.</summary>
    /// <param name="needed">Somebody may ask for them.</param>
    /// <param name="how">How to do it again, if that is possible.</param>
    public void Produced(bool needed, FlagSource how = default)
    {
        source = how;
        Places = !needed ? FlagPlaces.Dead : FlagPlaces.Native | (how.Kind == ReplayKind.None ? 0 : FlagPlaces.Replay);
    }

    /// <summary>All flags have new values, which nobody has seen yet.</summary>
    public void ProducedLater(bool needed, FlagSource how)
    {
        source = how;
        Places = needed ? FlagPlaces.Replay : FlagPlaces.Dead;
    }

    /// <summary>
    /// Whether RAX has the flags that an instruction leaves alone. They may be older than the last instruction, if that was of the same
    /// kind: it left the same ones alone.
    /// </summary>
    public bool HasOthersSaved(ReplayKind kind) => (Places & FlagPlaces.Saved) != 0
        || ((Places & FlagPlaces.Replay) != 0 && IsPartial(source.Kind) && IsRotate(source.Kind) == IsRotate(kind));

    /// <summary>INC, DEC or a rotate has put its flags into the host's register, beside the others if these were there.</summary>
    public void ProducedPart(bool needed, FlagSource how, bool othersAreNative, bool othersAreSaved)
    {
        source = how;
        Places = !needed ? FlagPlaces.Dead
            : (othersAreNative ? FlagPlaces.Native : 0) | (othersAreSaved ? FlagPlaces.Replay : 0);
    }

    /// <summary>A register is about to change: what cannot be replayed any more must be kept in another way.</summary>
    /// <param name="register">The register.</param>
    /// <param name="overwrites">The instruction gives all flags new values, so that the old ones are not needed behind it.</param>
    public void BeforeWrite(HostRegister register, bool overwrites = false)
    {
        if ((Places & FlagPlaces.Replay) == 0 || (source.Left != register && source.Right != register))
        {
            return;
        }
        if (Places == FlagPlaces.Replay && !overwrites)
        {
            EnsureNative();
        }
        Places &= ~FlagPlaces.Replay;
    }

    private void Save()
    {
        hot.SaveFlags();
        Places |= FlagPlaces.Saved;
    }

    private void Replay(Emitter emitter)
    {
        const HostRegister temporary = HostRegister.R15;
        switch (source.Kind)
        {
            case ReplayKind.Add when source.Right == HostRegister.None:
                emitter.LoadAddress(temporary, HostOperand.At(source.Left, unchecked(source.Distance - source.Immediate)));
                emitter.ArithmeticImmediate(Alu.Add, 4, temporary, source.Immediate);
                break;
            case ReplayKind.Add:
                emitter.Move(temporary, source.Left);
                emitter.Arithmetic(Alu.Subtract, 4, temporary, source.Right);
                emitter.Arithmetic(Alu.Add, 4, temporary, source.Right);
                break;
            case ReplayKind.Subtract when source.Right == HostRegister.None:
                emitter.LoadAddress(temporary, HostOperand.At(source.Left, unchecked(source.Distance + source.Immediate)));
                emitter.ArithmeticImmediate(Alu.Subtract, 4, temporary, source.Immediate);
                break;
            case ReplayKind.Subtract:
                emitter.LoadAddress(temporary, HostOperand.At(source.Left, source.Right));
                emitter.Arithmetic(Alu.Subtract, 4, temporary, source.Right);
                break;
            case ReplayKind.Compare when source.Right == HostRegister.None:
                emitter.ArithmeticImmediate(Alu.Compare, source.Size, source.Left, source.Immediate);
                break;
            case ReplayKind.Compare:
                emitter.Arithmetic(Alu.Compare, source.Size, source.Left, source.Right);
                break;
            case ReplayKind.Test when source.Right == HostRegister.None:
                emitter.TestImmediate(source.Size, source.Left, source.Immediate);
                break;
            case ReplayKind.Test:
                emitter.Test(source.Size, source.Left, source.Right);
                break;
            case ReplayKind.Increment or ReplayKind.Decrement:
                bool increment = source.Kind == ReplayKind.Increment;
                emitter.RestoreFlags();
                emitter.LoadAddress(temporary, HostOperand.At(source.Left, increment ? -1 : 1));
                emitter.Instruction(4, 0xFF, increment ? 0 : 1, temporary);
                break;
            case ReplayKind.RotateLeft or ReplayKind.RotateRight:
                const int left = 0;
                const int right = 1;
                bool wasLeft = source.Kind == ReplayKind.RotateLeft;
                emitter.Move(temporary, source.Left);
                emitter.Shift(wasLeft ? right : left, temporary, source.Immediate);
                emitter.RestoreFlags();
                emitter.Shift(wasLeft ? left : right, temporary, source.Immediate);
                break;
        }
    }
}
