// Statements that single instructions do not make: bit strings whose operand moves with the bit's number, divisions at their limits,
// branches through memory and by ECX, segment registers, and string instructions from one turn to more than a page.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Programs;

internal sealed partial class ProgramGenerator
{
    /// <summary>BT and its family with a register and memory: EDI bits from EBX, in either direction.</summary>
    private Statement BitString()
    {
        int form = random.Next(4);
        int lowest = values.Pick(0, 0, -0x400);
        int mask = values.Pick(0x1F, 0x3FF, 0x1FFF);
        uint base32 = values.OneIn(2) ? 0 : 0x1000u - 0x233 - (uint)random.Next(8);
        return new Statement((a, _) =>
        {
            a.and(edi, mask);
            a.lea(edi, __[edi + lowest]);
            AssemblerMemoryOperand memory = __dword_ptr[ebx + (int)base32];
            switch (form)
            {
                case 0: a.bt(memory, edi); break;
                case 1: a.bts(memory, edi); break;
                case 2: a.btr(memory, edi); break;
                default: a.btc(memory, edi); break;
            }
            if (options.DefinedFlagsOnly)
            {
                a.setc(dl);
                a.cmp(edx, ecx);
            }
        });
    }

    /// <summary>A dividend that is as long as it may be, or a little longer.</summary>
    private Statement LongDivision()
    {
        int form = random.Next(6);
        int highest = values.OneIn(40) ? 0x10 : 0xF;
        return new Statement((a, _) =>
        {
            a.or(ecx, 0x10);
            a.and(ecx, 0x7FFF_FFFF);
            switch (form)
            {
                case 0:
                    a.and(edx, highest);
                    a.div(ecx);
                    break;
                case 1:
                    a.cdq();
                    a.idiv(ecx);
                    break;
                case 2:
                    a.mov(__[ebx], ecx);
                    a.and(edx, highest);
                    a.div(__dword_ptr[ebx]);
                    break;
                case 3:
                    a.and(ax, 0xFFF);
                    a.div(cl);
                    break;
                case 4:
                    a.neg(ecx);
                    a.cdq();
                    a.idiv(ecx);
                    break;
                default:
                    a.cdq();
                    a.mov(__[esi + 4], ecx);
                    a.idiv(__dword_ptr[esi + 4]);
                    break;
            }
            if (options.DefinedFlagsOnly)
            {
                a.cmp(eax, edx);
            }
        });
    }

    private Statement ByCount(int depth)
    {
        int form = random.Next(4);
        int count = random.Next(1, 20);
        return new Statement(
            (a, body) =>
            {
                Label label = a.CreateLabel();
                if (form == 0)
                {
                    a.jecxz(label);
                    body();
                    a.Label(ref label);
                    a.nop();
                    return;
                }
                a.mov(ecx, count);
                a.Label(ref label);
                a.add(eax, edx);
                switch (form)
                {
                    case 1: a.loop(label); break;
                    case 2: a.loope(label); break;
                    default: a.loopne(label); break;
                }
            },
            form == 0 ? Body(depth) : null);
    }

    private Statement ThroughMemory(int depth)
    {
        bool call = values.OneIn(2);
        return new Statement(
            (a, body) =>
            {
                Label over = a.CreateLabel();
                Label end = a.CreateLabel();
                a.call(over);
                body();
                if (call)
                {
                    a.ret();
                }
                else
                {
                    a.jmp(end);
                }
                a.Label(ref over);
                a.pop(__dword_ptr[ebx + 0x20]);
                if (call)
                {
                    a.call(__dword_ptr[ebx + 0x20]);
                }
                else
                {
                    a.jmp(__dword_ptr[ebx + 0x20]);
                }
                a.Label(ref end);
                a.nop();
            },
            Body(depth));
    }

    private Statement Segments()
    {
        int form = random.Next(8);
        bool refused = options.PageFaults && values.OneIn(20);
        int data = refused ? 0x7F : ProgramMachine.DataSelector;
        return new Statement((a, _) =>
        {
            switch (form)
            {
                case 0:
                    a.push(ds);
                    a.pop(es);
                    break;
                case 1:
                    a.mov(ecx, data);
                    a.mov(es, cx);
                    break;
                case 2:
                    a.push(ProgramMachine.FsSelector);
                    a.pop(fs);
                    break;
                case 3:
                    a.mov(ecx, ProgramMachine.GsSelector);
                    a.mov(gs, cx);
                    break;
                case 4:
                    a.push(gs);
                    a.pop(edx);
                    break;
                case 5:
                    a.mov(edx, ds);
                    a.mov(__word_ptr[ebx + 6], fs);
                    break;
                case 6:
                    // FS becomes what GS is, and itself again.
                    a.push(fs);
                    a.mov(ecx, ProgramMachine.GsSelector);
                    a.mov(fs, cx);
                    a.mov(eax, __dword_ptr.fs[RandomProgram.Data + 0x1900]);
                    a.pop(fs);
                    break;
                default:
                    a.mov(__[ebx], ds);
                    a.mov(es, __word_ptr[ebx]);
                    break;
            }
        });
    }

    /// <summary>String instructions without REP, and with more turns than a page has.</summary>
    private Statement OtherString()
    {
        int form = random.Next(12);
        bool down = values.OneIn(4) && form < 9;
        int count = values.Pick(random.Next(1, 1100), 0x400, 0x401, 1, 0);
        uint source = RandomProgram.Data + 0x100 + (uint)random.Next(0x600);
        uint destination = RandomProgram.Data + 0x1100 + (uint)random.Next(0x900);
        return new Statement((a, _) =>
        {
            a.mov(esi, source + options.Alias);
            a.mov(edi, destination);
            a.mov(ecx, count);
            SetDirection(a, down);
            switch (form)
            {
                case 0: a.movsb(); break;
                case 1: a.movsw(); break;
                case 2: a.stosb(); break;
                case 3: a.stosw(); break;
                case 4: a.stosd(); break;
                case 5: a.lodsb(); break;
                case 6: a.lodsw(); break;
                case 7: a.scasb(); break;
                case 8: a.cmpsd(); break;
                case 9: a.rep.movsd(); break;
                case 10: a.rep.stosd(); break;
                default: a.rep.stosw(); break;
            }
            a.cld();
            a.mov(esi, RandomProgram.Data + 0x2540 + options.Alias);
        });
    }

    private static void SetDirection(Assembler a, bool down)
    {
        if (down)
        {
            a.std();
        }
        else
        {
            a.cld();
        }
    }
}
