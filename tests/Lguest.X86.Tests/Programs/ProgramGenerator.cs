using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Programs;

/// <summary>Makes random programs.</summary>
internal sealed partial class ProgramGenerator(Random random, ProgramOptions options)
{
    private static readonly HashSet<Mnemonic> Common =
    [
        Mnemonic.Mov, Mnemonic.Movzx, Mnemonic.Movsx, Mnemonic.Lea, Mnemonic.Xchg, Mnemonic.Cdq, Mnemonic.Cwde, Mnemonic.Bswap, Mnemonic.Add, Mnemonic.Or,
        Mnemonic.Adc, Mnemonic.Sbb, Mnemonic.And, Mnemonic.Sub, Mnemonic.Xor, Mnemonic.Cmp, Mnemonic.Test, Mnemonic.Inc, Mnemonic.Dec, Mnemonic.Neg,
        Mnemonic.Not, Mnemonic.Shl, Mnemonic.Shr, Mnemonic.Sar, Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Shld, Mnemonic.Shrd, Mnemonic.Imul, Mnemonic.Mul,
        Mnemonic.Bt, Mnemonic.Cmove, Mnemonic.Cmovb, Mnemonic.Cmovl, Mnemonic.Cmovbe, Mnemonic.Sete, Mnemonic.Setb, Mnemonic.Setg, Mnemonic.Seto, Mnemonic.Setp,
        Mnemonic.Rcl, Mnemonic.Rcr, Mnemonic.Xadd, Mnemonic.Cmpxchg, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc, Mnemonic.Bsf, Mnemonic.Bsr, Mnemonic.Lahf,
        Mnemonic.Sahf, Mnemonic.Clc, Mnemonic.Stc, Mnemonic.Cmc, Mnemonic.Setbe, Mnemonic.Cmovs, Mnemonic.Cmovp, Mnemonic.Cmovg, Mnemonic.Cbw,
    ];

    private static readonly HashSet<Mnemonic> Excluded =
    [
        Mnemonic.Cli, Mnemonic.Sti, Mnemonic.Div, Mnemonic.Idiv, Mnemonic.Aam, Mnemonic.Maskmovq, Mnemonic.Maskmovdqu, Mnemonic.Fxrstor, Mnemonic.Fxsave,
        Mnemonic.Ldmxcsr, Mnemonic.Fldcw, Mnemonic.Fldenv, Mnemonic.Frstor, Mnemonic.Fnsave, Mnemonic.Fnstenv, Mnemonic.Cmpxchg8b,
    ];

    private static readonly Code[] CommonCodes = Codes(code => Common.Contains(code.Mnemonic()) && code.ToOpCode().OperandSize != 16);
    private static readonly Code[] IntegerCodes = Codes(code => !InstructionForms.IsFloatingPoint(code));
    private static readonly Code[] FloatingPointCodes = Codes(InstructionForms.IsFloatingPoint);

    private static readonly Register[] Protected = [Register.EBX, Register.ESI, Register.EBP, Register.ESP];

    private readonly ValueSource values = new(random);
    private readonly CaseGenerator cases = new(random, RandomProgram.Data, false);
    private readonly InstructionInfoFactory informer = new();

    /// <summary>A program of about <paramref name="statements"/> statements, starting anywhere in the code area.</summary>
    public RandomProgram Next(int statements)
    {
        // Half of the programs have a page border somewhere in their first instructions.
        uint start = values.OneIn(2)
            ? RandomProgram.CodeStart + 0x1000 - (uint)random.Next(1, 200)
            : RandomProgram.CodeStart + (uint)random.Next(0x800);
        return new RandomProgram(options, start, Statements(statements, 0));
    }

    private static Code[] Codes(Func<Code, bool> wanted) =>
    [
        .. InstructionForms.Registered.Where(code => InstructionForms.JudgeOf(code) != Judge.Elsewhere && !InstructionForms.UsesStackOrBranches(code)
            && !InstructionForms.TouchesSegmentRegisters(code) && !new Instruction { Code = code }.IsStringInstruction && !Excluded.Contains(code.Mnemonic()) && wanted(code)),
    ];

    private List<Statement> Statements(int count, int depth)
    {
        var list = new List<Statement>();
        for (int i = 0; i < count; i++)
        {
            list.Add(NextStatement(depth));
        }
        return list;
    }

    private List<Statement> Body(int depth) => Statements(random.Next(1, 6), depth + 1);

    private Statement NextStatement(int depth)
    {
        int kind = random.Next(100);
        return kind switch
        {
            < 8 => CompareAndBranch(depth),
            < 14 => Branch(depth),
            < 19 when depth < 2 => Loop(depth),
            < 23 when depth < 3 => Call(depth),
            < 27 => String(),
            < 33 => Stack(depth),
            < 35 => Division(),
            < 36 => SetFlags(),
            < 37 => IndirectJump(depth),
            < 38 => ThroughMemory(depth),
            < 40 => BitString(),
            < 42 => LongDivision(),
            < 43 => ByCount(depth),
            < 45 => OtherString(),
            < 47 when !options.DefinedFlagsOnly => Segments(),
            < 55 when options.SelfModifying => Patch(),
            < 56 when options.PageFaults && values.OneIn(12) => Refused(),
            _ => Single(),
        };
    }

    private Statement Single()
    {
        while (true)
        {
            int kind = random.Next(20);
            Code code = kind < 13 ? values.Pick<Code>(CommonCodes) : kind < 18 || !options.FloatingPoint ? values.Pick<Code>(IntegerCodes) : values.Pick<Code>(FloatingPointCodes);
            TestCase test = cases.Next(code);
            Instruction instruction = test.Instruction;
            bool maskIndex = false;
            if (!TryMemory(ref instruction, ref maskIndex) || !IsHarmless(instruction))
            {
                continue;
            }
            bool define = options.DefinedFlagsOnly && LeavesFlagsUndefined(instruction);
            uint mask = values.Pick(0x3Fu, 0xFFu, 0x1FFu);
            return new Statement((a, _) =>
            {
                if (maskIndex)
                {
                    a.and(edi, mask);
                }
                a.AddInstruction(instruction);
                if (define)
                {
                    a.cmp(eax, ecx);
                }
            });
        }
    }

    private bool TryMemory(ref Instruction instruction, ref bool maskIndex)
    {
        Instruction made = instruction;
        int operand = Enumerable.Range(0, made.OpCount).FirstOrDefault(i => made.GetOpKind(i) == OpKind.Memory, -1);
        if (operand < 0)
        {
            return true;
        }
        OpCodeOperandKind kind = instruction.Code.ToOpCode().GetOpKind(operand);
        if (kind == OpCodeOperandKind.seg_rBX_al)
        {
            return true;
        }
        if (instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && instruction.Op1Kind == OpKind.Register)
        {
            return false;
        }
        int size = instruction.MemorySize.GetSize();
        uint alias = options.Alias != 0 && values.OneIn(3) ? options.Alias : 0;
        instruction.MemoryBase = Register.None;
        instruction.MemoryIndex = Register.None;
        instruction.MemoryIndexScale = 1;
        instruction.MemoryDisplSize = 4;
        if (options.PageFaults && values.OneIn(200))
        {
            instruction.MemoryDisplacement64 = values.Pick(RandomProgram.NotPresentPage, RandomProgram.ReadOnlyPage) + (uint)random.Next(-8, 0xFFF);
            return true;
        }
        if (size >= 16 || kind == OpCodeOperandKind.mem_offs || values.OneIn(5))
        {
            uint address = RandomProgram.Data + (uint)random.Next((int)RandomProgram.DataSize - 64);
            if (values.OneIn(3))
            {
                address = RandomProgram.Data + (0x1000 * (uint)random.Next(1, 4)) - (uint)random.Next(0, 5);
            }
            instruction.MemoryDisplacement64 = (address & (size >= 16 ? ~0xFu : ~0u)) + alias;
            return true;
        }
        if (values.OneIn(10))
        {
            instruction.SegmentPrefix = values.Pick(Register.FS, Register.GS);
            instruction.MemoryDisplacement64 = RandomProgram.Data + 0x1800 - (instruction.SegmentPrefix == Register.FS ? CaseGenerator.FsBase : CaseGenerator.GsBase)
                + (uint)random.Next(0x1000);
        }
        else
        {
            instruction.MemoryBase = values.Pick(Register.EBX, Register.ESI, Register.EBX, Register.ESP);
            bool near = values.OneIn(2);
            instruction.MemoryDisplSize = near ? 1 : 4;
            instruction.MemoryDisplacement64 = (uint)(near ? random.Next(-128, 127) : random.Next(-0x200, 0x800));
        }
        if (values.OneIn(3))
        {
            instruction.MemoryIndex = Register.EDI;
            instruction.MemoryIndexScale = 1 << random.Next(4);
            maskIndex = true;
            if (instruction.MemoryBase == Register.ESP)
            {
                instruction.MemoryBase = Register.EBX;
            }
        }
        else if (instruction.MemoryBase == Register.ESP)
        {
            // What lies above the stack pointer may be a return address.
            instruction.MemoryDisplSize = 4;
            instruction.MemoryDisplacement64 = unchecked((uint)-random.Next(0x40, 0x400));
        }
        return true;
    }

    private bool IsHarmless(in Instruction instruction)
    {
        foreach (UsedRegister used in informer.GetInfo(instruction).GetUsedRegisters())
        {
            if (used.Access is not (OpAccess.Read or OpAccess.CondRead or OpAccess.NoMemAccess) && Protected.Contains(used.Register.GetFullRegister32()))
            {
                return false;
            }
        }
        return !(options.DefinedFlagsOnly && (UnicornMistakes.Disqualify(instruction) || UnicornMistakes.FlagsAreWrong(instruction)
            || (instruction.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && instruction.Op0Register.GetSize() == 2)
            || instruction.Code.ToString() is "Shld_rm16_r16_imm8" or "Shld_rm16_r16_CL" or "Shrd_rm16_r16_imm8" or "Shrd_rm16_r16_CL"));
    }

    // A shift's count may be changed later, and with it what is undefined.
    private static bool LeavesFlagsUndefined(in Instruction instruction) =>
        instruction.Mnemonic is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd
            or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr
        || (instruction.RflagsUndefined != RflagsBits.None && !(instruction.Mnemonic is Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test));

    private Statement CompareAndBranch(int depth)
    {
        Register32 first = values.Pick(Register32.Eax, Register32.Ecx, Register32.Edx, Register32.Edi);
        Register32 second = values.Pick(Register32.Eax, Register32.Ecx, Register32.Edx, Register32.Edi);
        AssemblerRegister32 x = Name(first);
        AssemblerRegister32 y = Name(second);
        int form = random.Next(5);
        int immediate = values.OneIn(2) ? random.Next(-128, 128) : (int)values.NextUInt32();
        int condition = random.Next(16);
        return new Statement(
            (a, body) =>
            {
                switch (form)
                {
                    case 0: a.cmp(x, y); break;
                    case 1: a.cmp(x, immediate); break;
                    case 2: a.test(x, y); break;
                    case 3: a.test(x, immediate); break;
                    default: a.cmp(__dword_ptr[ebx + 8], x); break;
                }
                Label over = a.CreateLabel();
                Jump(a, condition, over);
                body();
                a.Label(ref over);
                a.nop();
            },
            Body(depth));
    }

    private Statement Branch(int depth)
    {
        int condition = random.Next(16);
        bool both = values.OneIn(3);
        return new Statement(
            (a, body) =>
            {
                Label otherwise = a.CreateLabel();
                Label end = a.CreateLabel();
                Jump(a, condition, otherwise);
                body();
                if (both)
                {
                    a.jmp(end);
                }
                a.Label(ref otherwise);
                a.inc(edx);
                a.Label(ref end);
                a.nop();
            },
            Body(depth));
    }

    private Statement Loop(int depth)
    {
        int count = random.Next(1, depth == 0 ? 30 : 6);
        return new Statement(
            (a, body) =>
            {
                a.push(ebp);
                a.mov(ebp, count);
                Label top = a.CreateLabel();
                a.Label(ref top);
                body();
                a.dec(ebp);
                a.jne(top);
                a.pop(ebp);
            },
            Body(depth));
    }

    private Statement Call(int depth)
    {
        bool indirect = values.OneIn(3);
        int popped = values.OneIn(3) ? 4 * random.Next(1, 4) : 0;
        return new Statement(
            (a, body) =>
            {
                // The function lies behind a call, whose return address is therefore its own.
                Label over = a.CreateLabel();
                Label function = a.CreateLabel();
                a.call(over);
                a.Label(ref function);
                body();
                if (popped == 0)
                {
                    a.ret();
                }
                else
                {
                    a.ret((ushort)popped);
                }
                a.Label(ref over);
                a.pop(edi);
                for (int i = 0; i < popped; i += 4)
                {
                    a.push(edx);
                }
                if (indirect)
                {
                    a.call(edi);
                }
                else
                {
                    a.call(function);
                }
            },
            Body(depth));
    }

    private Statement IndirectJump(int depth) => new(
        (a, body) =>
        {
            Label over = a.CreateLabel();
            Label end = a.CreateLabel();
            a.call(over);
            body();
            a.jmp(end);
            a.Label(ref over);
            a.pop(edi);
            a.jmp(edi);
            a.Label(ref end);
            a.nop();
        },
        Body(depth));

    private Statement String()
    {
        uint source = RandomProgram.Data + (uint)random.Next(0x200, 0x3D00);
        uint destination = values.OneIn(2) ? source + (uint)random.Next(-8, 8) : RandomProgram.Data + (uint)random.Next(0x200, 0x3D00);
        int count = random.Next(40);
        bool down = values.OneIn(3);
        int form = random.Next(10);
        return new Statement((a, _) =>
        {
            a.mov(esi, source);
            a.mov(edi, destination);
            a.mov(ecx, count);
            SetDirection(a, down);
            switch (form)
            {
                case 0: a.rep.movsb(); break;
                case 1: a.rep.movsd(); break;
                case 2: a.rep.stosb(); break;
                case 3: a.rep.stosd(); break;
                case 4: a.repe.cmpsb(); break;
                case 5: a.repne.scasb(); break;
                case 6: a.rep.lodsb(); break;
                case 7: a.rep.movsw(); break;
                case 8: a.movsd(); break;
                default: a.lodsd(); break;
            }
            a.mov(esi, RandomProgram.Data + 0x2540 + options.Alias);
        });
    }

    private Statement Stack(int depth)
    {
        int form = random.Next(6);
        uint immediate = values.NextUInt32();
        AssemblerRegister32 to = Name(values.Pick(Register32.Eax, Register32.Ecx, Register32.Edx, Register32.Edi));
        int frame = random.Next(0, 64);
        bool loops = form is 0 or 1 or 2 or 5;
        return new Statement(
            (a, body) =>
            {
                switch (form)
                {
                    case 0:
                        a.push(to);
                        body();
                        a.pop(edx);
                        break;
                    case 1:
                        a.push(__dword_ptr[ebx + 4]);
                        body();
                        a.pop(__dword_ptr[ebx + 12]);
                        break;
                    case 2:
                        a.push((int)immediate);
                        body();
                        a.pop(to);
                        break;
                    case 3:
                        a.pushfd();
                        a.pop(to);
                        break;
                    case 4:
                        a.enter((ushort)frame, 0);
                        a.mov(__dword_ptr[ebp - 4], to);
                        a.leave();
                        break;
                    default:
                        a.pushad();
                        body();
                        a.popad();
                        break;
                }
            },
            loops ? Body(depth) : null);
    }

    private Statement Division()
    {
        bool signed = values.OneIn(2);
        bool mayFault = options.PageFaults && values.OneIn(8);
        return new Statement((a, _) =>
        {
            if (!mayFault)
            {
                a.or(ecx, 2);
                a.shr(eax, 1);
                a.xor(edx, edx);
            }
            if (signed)
            {
                a.idiv(ecx);
            }
            else
            {
                a.div(ecx);
            }
            if (options.DefinedFlagsOnly)
            {
                a.cmp(eax, edx);
            }
        });
    }

    private Statement SetFlags()
    {
        uint flags = ((uint)random.Next() & Eflags.Status) | Eflags.Interrupt | Eflags.AlwaysOne;
        return new Statement((a, _) =>
        {
            a.push((int)flags);
            a.popfd();
        });
    }

    private Statement Patch()
    {
        uint immediate = RandomProgram.PatchPlaceholder(random, false);
        uint opcode = RandomProgram.PatchPlaceholder(random, true);
        int form = random.Next(5);
        byte value = (byte)random.Next(256);
        return new Statement((a, _) =>
        {
            switch (form)
            {
                case 0: a.mov(__byte_ptr[immediate], dl); break;
                case 1: a.add(__byte_ptr[immediate], value); break;
                case 2: a.inc(__byte_ptr[immediate]); break;
                case 3: a.xor(__byte_ptr[immediate], al); break;
                default: a.xor(__byte_ptr[opcode], 8); break;
            }
            a.inc(eax);
            a.dec(ecx);
        });
    }

    private Statement Refused()
    {
        int form = random.Next(4);
        return new Statement((a, _) =>
        {
            switch (form)
            {
                case 0: a.mov(eax, __dword_ptr[RandomProgram.NotPresentPage - 2]); break;
                case 1: a.add(__dword_ptr[RandomProgram.ReadOnlyPage + 16], eax); break;
                case 2: a.push(__dword_ptr[RandomProgram.NotPresentPage + 8]); break;
                default: a.mov(__word_ptr[RandomProgram.ReadOnlyPage + 0xFFF], dx); break;
            }
        });
    }

    private static AssemblerRegister32 Name(Register32 register) => register switch
    {
        Register32.Eax => eax,
        Register32.Ecx => ecx,
        Register32.Edx => edx,
        _ => edi,
    };

    private static void Jump(Assembler a, int condition, Label label)
    {
        switch (condition)
        {
            case 0: a.jo(label); break;
            case 1: a.jno(label); break;
            case 2: a.jb(label); break;
            case 3: a.jae(label); break;
            case 4: a.je(label); break;
            case 5: a.jne(label); break;
            case 6: a.jbe(label); break;
            case 7: a.ja(label); break;
            case 8: a.js(label); break;
            case 9: a.jns(label); break;
            case 10: a.jp(label); break;
            case 11: a.jnp(label); break;
            case 12: a.jl(label); break;
            case 13: a.jge(label); break;
            case 14: a.jle(label); break;
            default: a.jg(label); break;
        }
    }
}
