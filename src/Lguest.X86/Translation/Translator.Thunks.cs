// The few pieces of code that all blocks share: the way in from C#, the two ways out, and what an indirect branch does.

using Lguest.X86.Memory;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private static readonly HostRegister[] SavedByCallee =
    [
        HostRegister.Rbx, HostRegister.Rbp, HostRegister.Rsi, HostRegister.Rdi,
        HostRegister.R12, HostRegister.R13, HostRegister.R14, HostRegister.R15,
    ];

    /// <summary>Host registers of EAX to EDI. Those whose bytes and roles have names on both sides keep their own.</summary>
    private static ReadOnlySpan<HostRegister> GuestRegisters =>
    [
        GuestEax, HostRegister.Rcx, HostRegister.Rdx, HostRegister.Rbx,
        GuestEsp, HostRegister.Rbp, HostRegister.Rsi, HostRegister.Rdi,
    ];

    private byte* findReadableVictim;
    private byte* findWritableVictim;
    private byte* findReadableStack;
    private byte* findWritableStack;
    private delegate* unmanaged<EngineContext*, nint, int> enter;
    private delegate* unmanaged<EngineContext*, void> loadX87;
    private delegate* unmanaged<EngineContext*, void> storeX87;

    /// <summary>Name of a piece of code that all blocks share, by its address in the write view; null for other addresses.</summary>
    public string? NameOf(nint address)
    {
        // SAFETY: the addresses are only compared.
        unsafe
        {
            return address == (nint)exitWithNativeFlags ? "leave with native flags"
                : address == (nint)exitWithSavedFlags ? "leave with saved flags"
                : address == (nint)indirectBranch ? "indirect branch"
                : address == (nint)findDescriptor ? "find descriptor"
                : address == (nint)findReadableVictim ? "find readable victim"
                : address == (nint)findWritableVictim ? "find writable victim"
                : address == (nint)findReadableStack ? "find readable stack"
                : address == (nint)findWritableStack ? "find writable stack"
                : null;
        }
    }

    /// <summary>Runs translated code until it leaves.</summary>
    /// <param name="context">The processor's.</param>
    /// <param name="code">Address of a block's code, or of a place in it that an exit record names.</param>
    /// <returns>Number of the exit record.</returns>
    public int Enter(EngineContext* context, nint code)
    {
        // SAFETY: the code was written by this class for this context; it touches the context, the soft-TLB that the context names, the
        // pages that its entries name, and host stack of the size of the registers that it saves.
        unsafe
        {
            return enter(context, code);
        }
    }

    private void WriteThunks()
    {
        // SAFETY: the way in is called with the platform's C convention, which its first instructions honour.
        unsafe
        {
            exitWithNativeFlags = hot.Cursor;
            hot.SaveFlags();
            exitWithSavedFlags = hot.Cursor;
            WriteLeave();
            arena.Align();
            indirectBranch = hot.Cursor;
            WriteIndirectBranch();
            arena.Align();
            byte* returnStackIsEmpty = WriteReturnStackIsEmpty();
            arena.Align();
            enter = (delegate* unmanaged<EngineContext*, nint, int>)(hot.Cursor + arena.WriteToRun);
            WriteEnter(returnStackIsEmpty);
            arena.Align();
            WriteX87Carriers();
            arena.Align();
            WriteFindDescriptor();
            arena.Align();
            findReadableVictim = WriteFindVictim(TagOffset(write: false));
            arena.Align();
            findWritableVictim = WriteFindVictim(TagOffset(write: true));
            arena.Align();
            findReadableStack = WriteFindStack(write: false);
            arena.Align();
            findWritableStack = WriteFindStack(write: true);
        }
    }

    private void WriteEnter(byte* returnStackIsEmpty)
    {
        foreach (HostRegister register in SavedByCallee)
        {
            Push(register);
        }
        hot.Move(Context, HostRegister.Rdi, 8);
        hot.Move(HostBase, HostRegister.Rsi, 8);
        hot.Load(Tlb, HostOperand.At(Context, ContextLayout.Tlb), 8);
        hot.Load(Counter, HostOperand.At(Context, ContextLayout.InstructionCount), 8);
        for (int i = 0; i < GuestRegisters.Length; i++)
        {
            hot.Load(GuestRegisters[i], HostOperand.At(Context, ContextLayout.General(i)));
        }
        WriteVectorsIfLive(load: true);
        WriteBottomOfReturnStack(returnStackIsEmpty);
        hot.Load(HostRegister.Rax, HostOperand.At(Context, ContextLayout.FlagsWord));
        hot.RestoreFlags();
        hot.Instruction(4, 0xFF, 4, HostBase);
    }

    private void WriteLeave()
    {
        hot.Load(HostRegister.Rsp, HostOperand.At(Context, ContextLayout.ReturnStack), 8);
        hot.LoadAddress(HostRegister.Rsp, HostOperand.At(HostRegister.Rsp, sizeof(ulong)), 8);
        hot.Store(HostOperand.At(Context, ContextLayout.FlagsWord), HostRegister.Rax);
        for (int i = 0; i < GuestRegisters.Length; i++)
        {
            hot.Store(HostOperand.At(Context, ContextLayout.General(i)), GuestRegisters[i]);
        }
        hot.Store(HostOperand.At(Context, ContextLayout.InstructionCount), Counter, 8);
        hot.Store(HostOperand.At(Context, ContextLayout.Address), LinearAddress);
        WriteVectorsIfLive(load: false);
        hot.Move(HostRegister.Rax, ExitNumber);
        for (int i = SavedByCallee.Length - 1; i >= 0; i--)
        {
            Pop(SavedByCallee[i]);
        }
        hot.Byte(0xC3);
    }

    /// <summary>XMM0 to XMM7 and MXCSR between the host and the state, if the host has the Guest's: C# uses these registers, too.</summary>
    private void WriteVectorsIfLive(bool load)
    {
        // SAFETY: the addresses are only subtracted.
        unsafe
        {
            const int moveUnaligned = 0x0F10;
            const int loadControl = 2;
            const int storeControl = 3;
            hot.ArithmeticImmediate(Alu.Compare, 1, HostOperand.At(Context, ContextLayout.FloatLive), (int)FloatUnits.X87AndSse);
            byte* toEnd = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            for (int i = 0; i < 8; i++)
            {
                hot.Instruction(4, load ? moveUnaligned : moveUnaligned + 1, i, HostOperand.At(Context, ContextLayout.Xmm + (i * 16)));
            }
            hot.Instruction(4, 0x0FAE, load ? loadControl : storeControl, HostOperand.At(Context, ContextLayout.Mxcsr));
            if (!load)
            {
                hot.Instruction(4, 0x0FAE, loadControl, HostOperand.At(Context, ContextLayout.HostMxcsr));
            }
            Emitter.Patch(toEnd, hot.Cursor);
        }
    }

    private void WriteX87Carriers()
    {
        // SAFETY: as in WriteThunks. FXRSTOR gives the host's own MXCSR, which is in the image, and registers that the caller saves.
        unsafe
        {
            const int save = 0;
            const int restore = 1;
            HostOperand image = HostOperand.At(HostRegister.Rdi, ContextLayout.Image);
            loadX87 = (delegate* unmanaged<EngineContext*, void>)(hot.Cursor + arena.WriteToRun);
            hot.Instruction(4, 0x0FAE, restore, image);
            hot.Byte(0xC3);
            arena.Align();
            storeX87 = (delegate* unmanaged<EngineContext*, void>)(hot.Cursor + arena.WriteToRun);
            hot.Instruction(4, 0x0FAE, save, image);
            hot.Byte(0xDB);
            hot.Byte(0xE3);
            hot.Byte(0xC3);
        }
    }

    /// <summary>Loads the host's x87 registers from the image in the context.</summary>
    public void LoadX87(EngineContext* context)
    {
        // SAFETY: the image is aligned and complete.
        unsafe
        {
            loadX87(context);
        }
    }

    /// <summary>Stores the host's x87 registers into the image in the context and leaves them as C# expects them.</summary>
    public void StoreX87(EngineContext* context)
    {
        // SAFETY: as in LoadX87.
        unsafe
        {
            storeX87(context);
        }
    }

    /// <summary>Goes on at the EIP in R10, the flags being saved.</summary>
    private void WriteIndirectBranch()
    {
        // SAFETY: the addresses are only subtracted.
        unsafe
        {
            hot.Arithmetic(Alu.Compare, 8, Counter, HostOperand.At(Context, ContextLayout.AttentionAt));
            byte* toAttention = hot.JumpIf(HostCondition.AboveOrEqual, hot.Cursor);
            hot.Move(Temporary, LinearAddress);
            hot.ArithmeticImmediate(Alu.And, 4, Temporary, JumpCacheEntry.Count - 1);
            hot.ShiftLeft(Temporary, JumpCacheEntry.SizeShift);
            hot.Arithmetic(Alu.Add, 8, Temporary, HostOperand.At(Context, ContextLayout.JumpCache));
            hot.Load(HostBase, HostOperand.At(Context, ContextLayout.JumpKey), 8);
            hot.Arithmetic(Alu.Or, 8, HostBase, LinearAddress);
            hot.ArithmeticStore(Alu.Compare, 8, HostOperand.At(Temporary, 0), HostBase);
            byte* toMiss = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            hot.Move(HostBase, LinearAddress);
            hot.ShiftRight(HostBase, 12);
            hot.ArithmeticImmediate(Alu.And, 4, HostBase, SoftTlb.ExecuteEntries - 1);
            hot.Load(HostBase, HostOperand.At(Tlb, HostBase, 3, SoftTlb.DataBytes), 8);
            hot.Arithmetic(Alu.Compare, 8, HostBase, HostOperand.At(Temporary, JumpCacheEntry.MappingOffset));
            byte* toRemapped = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            hot.Instruction(4, 0xFF, 4, HostOperand.At(Temporary, JumpCacheEntry.CodeOffset));
            Emitter.Patch(toRemapped, hot.Cursor);
            Emitter.Patch(toAttention, hot.Cursor);
            Emitter.Patch(toMiss, hot.Cursor);
            hot.MoveImmediate(ExitNumber, IndirectExit);
            hot.Jump(exitWithSavedFlags);
        }
    }

    /// <summary>
    /// For a page in R15 that entry R11 of the soft-TLB does not hold: brings it there from among the victims, and "equal"; or "not equal".
    /// </summary>
    private byte* WriteFindVictim(int tagOffset)
    {
        // SAFETY: the addresses are only kept and subtracted. The code exchanges an entry of the soft-TLB, whose index the probe has cut to
        // size, with one of the victims, whose index it cuts itself.
        unsafe
        {
            const HostRegister victim = HostRegister.Rcx;
            const HostRegister word = HostRegister.Rdx;
            byte* start = hot.Cursor;
            Push(victim);
            hot.Move(victim, HostBase);
            hot.ArithmeticImmediate(Alu.And, 4, victim, (SoftTlb.VictimEntries - 1) * sizeof(TlbEntry));
            hot.LoadAddress(victim, HostOperand.At(Tlb, victim, 0, SoftTlb.VictimOffset), 8);
            hot.Arithmetic(Alu.Compare, 4, Temporary, HostOperand.At(victim, tagOffset));
            byte* toEnd = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            Push(word);
            for (int half = 0; half < sizeof(TlbEntry); half += sizeof(ulong))
            {
                hot.Load(word, HostOperand.At(victim, half), 8);
                hot.Load(Temporary, HostOperand.At(Tlb, HostBase, 0, half), 8);
                hot.Store(HostOperand.At(victim, half), Temporary, 8);
                hot.Store(HostOperand.At(Tlb, HostBase, 0, half), word, 8);
            }
            Pop(word);
            hot.Arithmetic(Alu.Compare, 4, victim, victim);
            Emitter.Patch(toEnd, hot.Cursor);
            Pop(victim);
            hot.Byte(0xC3);
            return start;
        }
    }

    /// <summary>Exit number of every indirect branch: nothing about it was known beforehand.</summary>
    public const int IndirectExit = int.MaxValue;

    private void Push(HostRegister register)
    {
        if ((int)register >= 8)
        {
            hot.Byte(0x41);
        }
        hot.Byte(0x50 | ((int)register & 7));
    }

    private void Pop(HostRegister register)
    {
        if ((int)register >= 8)
        {
            hot.Byte(0x41);
        }
        hot.Byte(0x58 | ((int)register & 7));
    }
}
