// Which method executes which instruction. Each family of instructions registers its own; what nobody registers raises #UD, so the
// table is also the list of what this processor has.

using Iced.Intel;

namespace Lguest.X86.Instructions;

/// <summary>Executes one instruction. <c>State.Eip</c> is its own address, <c>NextEip</c> the one behind; faults are thrown.</summary>
internal delegate void InstructionHandler(Processor cpu, in Instruction instruction);

/// <summary>The reference implementation of every instruction, by mnemonic and, where a mnemonic is ambiguous, by encoding.</summary>
internal sealed class InstructionTable
{
    /// <summary>The one table.</summary>
    public static readonly InstructionTable Instance = new();

    private readonly Dictionary<Mnemonic, InstructionHandler> byMnemonic = [];
    private readonly Dictionary<Code, InstructionHandler> byCode = [];

    private InstructionTable()
    {
        AluInstructions.Register(this);
        DataInstructions.Register(this);
        ShiftInstructions.Register(this);
        MultiplyInstructions.Register(this);
        BitInstructions.Register(this);
        DecimalInstructions.Register(this);
        FlagInstructions.Register(this);
        ControlInstructions.Register(this);
        StringInstructions.Register(this);
        SegmentInstructions.Register(this);
        SystemInstructions.Register(this);
        X87Instructions.Register(this);
        MmxInstructions.Register(this);
        SseInstructions.Register(this);
    }

    /// <summary>Registers a handler for all encodings of a mnemonic.</summary>
    public void Add(Mnemonic mnemonic, InstructionHandler handler) => byMnemonic[mnemonic] = handler;

    /// <summary>Registers a handler for one encoding; it wins over the mnemonic's (MOVSD and CMPSD mean two things each).</summary>
    public void Add(Code code, InstructionHandler handler) => byCode[code] = handler;

    /// <summary>The handler of an instruction, or null where the processor does not have it.</summary>
    public InstructionHandler? Find(in Instruction instruction) =>
        byCode.TryGetValue(instruction.Code, out InstructionHandler? handler) ? handler : byMnemonic.GetValueOrDefault(instruction.Mnemonic);
}
