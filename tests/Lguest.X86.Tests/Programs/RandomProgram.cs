// Random programs that always end: loops count down, calls return, pointers stay where memory is. Within those rules anything may
// happen, also to the program itself: some stores change instructions that run later, or the very next one.
//
//   EAX, ECX, EDX, EDI  free (EDI also as masked index)      EBX, ESI  point into the data
//   EBP                 counts loops                         ESP       stack

using System.Buffers.Binary;
using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using Decoder = Iced.Intel.Decoder;

namespace Lguest.X86.Tests.Programs;

/// <summary>What a program may contain.</summary>
internal sealed record ProgramOptions
{
    /// <summary>x87, MMX and SSE.</summary>
    public bool FloatingPoint { get; init; }

    /// <summary>Stores into the program's own code.</summary>
    public bool SelfModifying { get; init; }

    /// <summary>Added to the addresses of some accesses: another linear address of the same memory; 0 for none.</summary>
    public uint Alias { get; init; }

    /// <summary>Accesses that page tables refuse.</summary>
    public bool PageFaults { get; init; }

    /// <summary>No flag may depend on what the manual leaves undefined.</summary>
    public bool DefinedFlagsOnly { get; init; }
}

/// <summary>One statement of a program, with the statements inside it.</summary>
/// <param name="Write">Assembles it; the second argument assembles the body.</param>
/// <param name="Body">Statements inside, or null.</param>
internal sealed record Statement(Action<Assembler, Action> Write, List<Statement>? Body = null);

/// <summary>A program as statements, and as bytes.</summary>
internal sealed class RandomProgram
{
    public const uint Data = 0x4000;
    public const uint DataSize = 0x4000;
    public const uint StackTop = 0x8F00;
    public const uint NotPresentPage = 0x9000;
    public const uint ReadOnlyPage = 0xA000;
    public const uint CodeStart = 0x1_0000;
    public const uint CodeEnd = 0x1_8000;

    private const uint PatchImmediate = 0x7E00_0000;
    private const uint PatchOpcode = 0x7D00_0000;

    private readonly ProgramOptions options;
    private readonly uint start;

    public RandomProgram(ProgramOptions options, uint start, List<Statement> statements)
    {
        this.options = options;
        this.start = start;
        Statements = statements;
    }

    public List<Statement> Statements { get; }

    public uint Start => start;

    /// <summary>Assembles the program.</summary>
    /// <param name="exit">Address of the INT 0x1F at the end.</param>
    public byte[] Assemble(out uint exit)
    {
        var assembler = new Assembler(32);
        assembler.mov(ebx, Data + 0x1230);
        assembler.mov(esi, Data + 0x2540 + options.Alias);
        WriteAll(assembler, Statements);
        assembler.@int(0x1F);
        var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), start);
        byte[] code = stream.ToArray();
        exit = start + (uint)code.Length - 2;
        Assert.True(exit < CodeEnd);
        AimPatches(code);
        return code;
    }

    /// <summary>The program in words.</summary>
    public string Listing()
    {
        byte[] code = Assemble(out _);
        var text = new StringBuilder();
        foreach (Instruction instruction in Decode(code))
        {
            text.AppendLine($"  {instruction.IP32:x5}: {Convert.ToHexString(code, (int)(instruction.IP32 - start), instruction.Length),-20} {instruction}");
        }
        return text.ToString();
    }

    /// <summary>Drops statements as long as the program still fails.</summary>
    public RandomProgram Minimise(Func<RandomProgram, bool> fails)
    {
        bool smaller = true;
        while (smaller)
        {
            smaller = false;
            foreach (List<Statement> list in Lists(Statements).ToList())
            {
                for (int i = list.Count - 1; i >= 0; i--)
                {
                    Statement dropped = list[i];
                    list.RemoveAt(i);
                    if (fails(this))
                    {
                        smaller = true;
                    }
                    else
                    {
                        list.Insert(i, dropped);
                    }
                }
            }
        }
        return this;
    }

    /// <summary>A displacement that stands for an address inside the code until the code is known.</summary>
    public static uint PatchPlaceholder(Random random, bool opcode) => (opcode ? PatchOpcode : PatchImmediate) | (uint)random.Next(0x100_0000);

    private static IEnumerable<List<Statement>> Lists(List<Statement> statements) =>
        statements.Where(statement => statement.Body is not null).SelectMany(statement => Lists(statement.Body!)).Prepend(statements);

    private static void WriteAll(Assembler assembler, List<Statement> statements)
    {
        foreach (Statement statement in statements)
        {
            statement.Write(assembler, () => WriteAll(assembler, statement.Body!));
        }
    }

    // Any immediate of a free register or of memory may change, and INC of a free register may become DEC.
    private void AimPatches(byte[] code)
    {
        var immediates = new List<uint>();
        var opcodes = new List<uint>();
        List<Instruction> instructions = Decode(code);
        foreach (Instruction instruction in instructions)
        {
            ConstantOffsets offsets = ConstantsOf(code, instruction);
            bool free = instruction.Op0Kind == OpKind.Memory || (instruction.Op0Kind == OpKind.Register
                && instruction.Op0Register.GetFullRegister32() is Register.EAX or Register.EDX && instruction.Op0Register.IsGPR());
            if (offsets.HasImmediate && free && !instruction.IsPatch(PatchImmediate) && !instruction.IsPatch(PatchOpcode))
            {
                immediates.Add(instruction.IP32 + (uint)offsets.ImmediateOffset);
            }
            if (instruction.Code is Code.Inc_r32 or Code.Dec_r32 && instruction.Op0Register is Register.EAX or Register.ECX or Register.EDX)
            {
                opcodes.Add(instruction.IP32);
            }
        }
        foreach (Instruction instruction in instructions)
        {
            uint placeholder = instruction.MemoryDisplacement32;
            if (!instruction.IsPatch(PatchImmediate) && !instruction.IsPatch(PatchOpcode))
            {
                continue;
            }
            List<uint> sites = instruction.IsPatch(PatchOpcode) ? opcodes : immediates;
            uint target = sites.Count == 0 ? Data : sites[(int)(placeholder & 0xFF_FFFF) % sites.Count] + (placeholder % 2 == 0 ? options.Alias : 0);
            int at = (int)(instruction.IP32 - start) + ConstantsOf(code, instruction).DisplacementOffset;
            BinaryPrimitives.WriteUInt32LittleEndian(code.AsSpan(at), target);
        }
    }

    private ConstantOffsets ConstantsOf(byte[] code, in Instruction instruction)
    {
        var decoder = Decoder.Create(32, new ByteArrayCodeReader(code, (int)(instruction.IP32 - start), instruction.Length));
        decoder.IP = instruction.IP32;
        decoder.Decode(out Instruction again);
        return decoder.GetConstantOffsets(again);
    }

    private List<Instruction> Decode(byte[] code)
    {
        var decoder = Decoder.Create(32, code);
        decoder.IP = start;
        var list = new List<Instruction>();
        while (decoder.IP < start + (uint)code.Length)
        {
            list.Add(decoder.Decode());
        }
        return list;
    }
}

/// <summary>Recognises stores into code.</summary>
internal static class PatchExtensions
{
    public static bool IsPatch(this in Instruction instruction, uint kind) =>
        (instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory) && instruction.MemoryBase == Register.None
        && (instruction.MemoryDisplacement32 & 0xFF00_0000) == kind;
}
