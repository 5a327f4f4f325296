// A fault shows the Guest's kernel the status flags, wherever the translator has put them: in the host's register, in RAX, or nowhere,
// to be had by doing an instruction again. Each test lets one instruction make flags, something happen to their sources, and another
// instruction fault; what the fault's frame and the registers say must be what they say one instruction at a time.

using System.Text;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Compares what faults show with the reference path.</summary>
public sealed class PreciseFlagsTests : IDisposable
{
    private const uint Missing = 0x30_0000;
    private const uint Far = SystemMachine.Code + 0x4000;

    private static readonly (string Name, Action<Assembler> Write)[] Producers =
    [
        ("add esi, edx", a => a.add(esi, edx)),
        ("add esi, esi", a => a.add(esi, esi)),
        ("add esi, 127", a => a.add(esi, 127)),
        ("add esi, 0x80000000", a => a.add(esi, int.MinValue)),
        ("add si, dx", a => a.add(si, dx)),
        ("add cl, dl", a => a.add(cl, dl)),
        ("add ch, dl", a => a.add(ch, dl)),
        ("add esi, [ebx]", a => a.add(esi, __[ebx])),
        ("add [ebx], esi", a => a.add(__[ebx], esi)),
        ("adc esi, edx", a => a.adc(esi, edx)),
        ("sbb cl, 1", a => a.sbb(cl, 1)),
        ("sub esi, edx", a => a.sub(esi, edx)),
        ("sub esi, esi", a => a.sub(esi, esi)),
        ("sub esi, -128", a => a.sub(esi, -128)),
        ("sub esi, 0x80000000", a => a.sub(esi, int.MinValue)),
        ("cmp esi, edx", a => a.cmp(esi, edx)),
        ("cmp esi, esi", a => a.cmp(esi, esi)),
        ("cmp esi, 5", a => a.cmp(esi, 5)),
        ("cmp si, dx", a => a.cmp(si, dx)),
        ("cmp cl, dl", a => a.cmp(cl, dl)),
        ("cmp ch, dl", a => a.cmp(ch, dl)),
        ("cmp al, 0x80", a => a.cmp(al, 0x80)),
        ("cmp ecx, edx", a => a.cmp(ecx, edx)),
        ("cmp ch, [ebx]", a => a.cmp(ch, __[ebx])),
        ("test esi, edx", a => a.test(esi, edx)),
        ("test esi, esi", a => a.test(esi, esi)),
        ("test esi, imm", a => a.test(esi, 0x8000_0080)),
        ("test cl, dl", a => a.test(cl, dl)),
        ("test cl, 0x81", a => a.test(cl, 0x81)),
        ("test si, dx", a => a.test(si, dx)),
        ("inc esi", a => a.inc(esi)),
        ("dec esi", a => a.dec(esi)),
        ("inc cl", a => a.inc(cl)),
        ("dec si", a => a.dec(si)),
        ("dec [ebx]", a => a.dec(__dword_ptr[ebx])),
        ("add, inc", a => { a.add(esi, edx); a.inc(esi); }),
        ("cmp, inc, dec", a => { a.cmp(esi, edx); a.inc(ecx); a.dec(esi); }),
        ("cmp, load, inc", a => { a.cmp(esi, edx); a.mov(eax, __[ebx]); a.inc(ecx); }),
        ("cmp, load, inc of a source", a => { a.cmp(esi, edx); a.mov(eax, __[ebx]); a.inc(esi); }),
        ("shl, load, inc, inc", a => { a.shl(esi, 3); a.mov(eax, __[ebx]); a.inc(esi); a.inc(esi); }),
        ("rol esi, 5, load, ror, rol", a => { a.shl(edx, 1); a.rol(esi, 5); a.mov(eax, __[ebx]); a.ror(esi, 1); a.rol(esi, 1); }),
        ("sub, load, ror of a source", a => { a.sub(esi, edx); a.mov(eax, __[ebx]); a.ror(edx, 31); }),
        ("ror, load, inc, rol", a => { a.ror(ecx, 3); a.mov(eax, __[ebx]); a.inc(ecx); a.rol(ecx, 2); }),
        ("and esi, edx", a => a.and(esi, edx)),
        ("or esi, edx", a => a.or(esi, edx)),
        ("xor esi, edx", a => a.xor(esi, edx)),
        ("xor esi, esi", a => a.xor(esi, esi)),
        ("and cl, dl", a => a.and(cl, dl)),
        ("neg esi", a => a.neg(esi)),
        ("shl esi, 3", a => a.shl(esi, 3)),
        ("sar esi, cl", a => a.sar(esi, cl)),
        ("rol esi, 1", a => a.rol(esi, 1)),
        ("rcr esi, 1", a => a.rcr(esi, 1)),
        ("rcl cl, 9", a => a.rcl(cl, 9)),
        ("rcl ah, 9", a => a.rcl(ah, 9)),
        ("add, rcr ah, 18", a => { a.add(esi, edx); a.rcr(ah, 18); }),
        ("add, rcr dh, 27", a => { a.add(esi, edx); a.rcr(dh, 27); }),
        ("add, rcl si, 17", a => { a.add(esi, edx); a.rcl(si, 17); }),
        ("rol ah, 8", a => a.rol(ah, 8)),
        ("sar ah, 9", a => a.sar(ah, 9)),
        ("bt esi, edx", a => a.bt(esi, edx)),
        ("xadd esi, edx", a => a.xadd(esi, edx)),
        ("cmpxchg [ebx], edx", a => a.cmpxchg(__[ebx], edx)),
        ("stc", a => a.stc()),
        ("cmc", a => a.cmc()),
        ("sahf", a => a.sahf()),
        ("nothing", _ => { }),
    ];

    // What happens before the fault, by which the first ways to the flags are lost.
    private static readonly (string Name, Action<Assembler> Write)[] Between =
    [
        ("nothing", _ => { }),
        ("load", a => a.mov(eax, __[ebx])),
        ("load into the source", a => a.mov(esi, __[ebx])),
        ("load, source overwritten", a => { a.mov(eax, __[ebx]); a.mov(esi, eax); }),
        ("load, other source overwritten", a => { a.mov(eax, __[ebx]); a.lea(edx, __[edx + 1]); }),
        ("load, byte of the source overwritten", a => { a.mov(eax, __[ebx]); a.mov(cl, ah); a.mov(dh, __[ebx]); }),
        ("load, multiplied address", a => { a.mov(eax, __[ebx]); a.cdq(); a.lahf(); }),
        ("load, called", a => { a.mov(eax, __[ebx]); a.clts(); }),
        ("load, set on condition", a => { a.mov(eax, __[ebx]); a.setl(al); a.cmovb(ecx, __[ebx]); }),
    ];

    private static readonly (string Name, Action<Assembler> Write)[] Faulting =
    [
        ("load", a => a.mov(eax, __dword_ptr[Missing])),
        ("load into a source", a => a.mov(esi, __dword_ptr[edi])),
        ("byte into a high byte", a => a.mov(ch, __[edi])),
        ("load across the border", a => a.mov(esi, __dword_ptr[Missing - 2])),
        ("store", a => a.mov(__dword_ptr[Missing], esi)),
        ("sum", a => a.add(esi, __dword_ptr[Missing])),
        ("sum with carry", a => a.adc(__dword_ptr[Missing], esi)),
        ("increment", a => a.inc(__dword_ptr[Missing])),
        ("shift", a => a.shl(__dword_ptr[Missing], 3)),
        ("bit in a string", a => a.bts(__dword_ptr[Missing + 0x400], ecx)),
        ("set on condition", a => a.setb(__byte_ptr[Missing])),
        ("conditional move", a => a.cmovs(esi, __dword_ptr[Missing])),
        ("exchange", a => a.xchg(__dword_ptr[Missing], esi)),
        ("compare and exchange", a => a.cmpxchg(__dword_ptr[Missing], esi)),
        ("exchange and add", a => a.xadd(__dword_ptr[Missing], esi)),
        ("push of memory", a => a.push(__dword_ptr[Missing])),
        ("call through memory", a => a.call(__dword_ptr[Missing])),
        ("jump to nowhere", a => a.jmp(edi)),
        ("STOS", a => a.stosd()),
        ("SCAS", a => a.scasd()),
        ("REP STOS", a => a.rep.stosb()),
        ("REP MOVS", a => { a.mov(esi, ebx); a.rep.movsd(); }),
        ("REP MOVS from the source", a => { a.xchg(esi, edi); a.rep.movsb(); }),
        ("division by zero", a => { a.mov(__dword_ptr[ebx], 0); a.div(__dword_ptr[ebx]); }),
        ("signed overflow", a => { a.mov(eax, int.MinValue); a.mov(edx, -1); a.idiv(edx); }),
        ("segment", a => { a.mov(ax, 0x7FF8); a.mov(es, ax); }),
        ("breakpoint", a => a.int3()),
        ("x87", a => a.fld(__qword_ptr[Missing])),
        ("SSE", a => a.movups(xmm0, __[Missing])),
        ("SSE not aligned", a => a.movaps(xmm0, __[ebx + 1])),
        ("jump and fault there", a => a.jmp(Far)),
        ("conditional jump and fault there", a => { a.jb(Far); a.jmp(Far); }),
    ];

    // What follows decides which flags somebody may still ask for.
    private static readonly Action<Assembler>[] After =
    [
        a => a.hlt(),
        a => { a.add(eax, 1); a.hlt(); },
        a => { a.inc(eax); a.adc(eax, 1); a.hlt(); },
    ];

    private readonly SystemMachine blocks = new(Engine.Blocks, paging: true);
    private readonly SystemMachine reference = new(Engine.Reference, paging: true);

    public PreciseFlagsTests()
    {
        foreach (SystemMachine machine in new[] { blocks, reference })
        {
            machine.Map(Missing, 0, 0);
            machine.State.Cr4 |= Cr4.OsFxsr;
            machine.Assemble(Far, a => { a.mov(eax, __dword_ptr[Missing]); a.hlt(); });
        }
    }

    public static TheoryData<string> ProducerNames => [.. Producers.Select(static producer => producer.Name)];

    [Theory]
    [MemberData(nameof(ProducerNames))]
    public void AFaultShowsTheFlagsOfTheReferencePath(string producer)
    {
        Random random = TestSettings.RandomFor(producer);
        Action<Assembler> produce = Producers.Single(entry => entry.Name == producer).Write;
        var text = new StringBuilder();
        foreach ((string between, Action<Assembler> spoil) in Between)
        {
            foreach ((string faulting, Action<Assembler> fault) in Faulting)
            {
                for (int after = 0; after < After.Length; after++)
                {
                    uint[] registers = Registers(random);
                    uint flags = (uint)random.Next() & Eflags.Status;
                    uint word = (uint)random.Next();
                    byte[] code = Oracles.TestMachine.Assemble(
                        a =>
                        {
                            produce(a);
                            spoil(a);
                            fault(a);
                            After[after](a);
                        },
                        SystemMachine.Code);
                    string expected = Run(reference, code, registers, flags, word);
                    string actual = Run(blocks, code, registers, flags, word);
                    if (expected != actual && text.Length < 4000)
                    {
                        text.Append($"{producer}; {between}; {faulting}; {after}\n  expected {expected}\n  got      {actual}\n");
                    }
                }
            }
        }
        Assert.True(text.Length == 0, $"{TestSettings.Description}\n{text}");
    }

    public void Dispose()
    {
        blocks.Dispose();
        reference.Dispose();
    }

    private static uint[] Registers(Random random)
    {
        var values = new ValueSource(random);
        uint[] registers = new uint[8];
        for (int i = 0; i < 8; i++)
        {
            registers[i] = values.NextUInt32();
        }
        registers[(int)Register32.Ecx] &= 0x1FF;
        registers[(int)Register32.Ebx] = SystemMachine.Data;
        registers[(int)Register32.Edi] = Missing;
        registers[(int)Register32.Esp] = SystemMachine.Stack;
        return registers;
    }

    private static string Run(SystemMachine m, byte[] code, uint[] registers, uint flags, uint word)
    {
        m.Enter(0);
        for (int i = 0; i < 8; i++)
        {
            m.State.General[i] = registers[i];
        }
        m.State.Cr2 = 0;
        m.State.Eflags = flags | Eflags.AlwaysOne;
        m.Memory.Write(SystemMachine.Data, word);
        m.Memory.Write(SystemMachine.Code, code);
        byte vector = m.RunAt(SystemMachine.Code);
        var text = new StringBuilder($"vector {vector} CR2 {m.State.Cr2:x} EFLAGS {m.State.Eflags:x} frame");
        for (int i = 0; i < 4; i++)
        {
            text.Append($" {m.Frame(i):x}");
        }
        for (int i = 0; i < 8; i++)
        {
            text.Append($" {(Register32)i} {m.State.General[i]:x}");
        }
        return text.Append($" memory {m.Memory.Read<uint>(SystemMachine.Data):x}").ToString();
    }
}
