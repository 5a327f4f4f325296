using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private bool alignmentChecks;

    /// <summary>Recomputes what the engines derive from control registers, segments and privilege level.</summary>
    public void StateChanged()
    {
        alignmentChecks = state->PrivilegeLevel == 3 && (state->Cr0 & Cr0.AlignmentMask) != 0 && (state->SystemFlags & Eflags.AlignmentCheck) != 0;
        currentTlb = TlbFor(state->PrivilegeLevel == 3);
    }

    private bool PageIsWatched(uint linearPage) => false;

    private void NoteDataAccess(uint linear, uint size, bool write)
    {
    }
}
