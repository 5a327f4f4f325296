// What the translator makes of typical blocks, kept as text, so that a change of the code that it writes is seen in review. To accept a
// change: LGUEST_WRITE_GOLDEN=<the Golden folder of the sources>.

using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Compares translations with the ones in Golden/.</summary>
public sealed class GoldenTests
{
    private static readonly Dictionary<string, (string Name, Action<Assembler> Write)[]> Families = new()
    {
        ["moves"] =
        [
            ("register", a => a.mov(eax, ebx)),
            ("immediate", a => a.mov(esp, 0x1234)),
            ("load", a => a.mov(ecx, __[esi + edi * 4 + 8])),
            ("store", a => a.mov(__[ebp - 4], eax)),
            ("store of an immediate", a => a.mov(__dword_ptr[ebx], 7)),
            ("byte load", a => a.mov(bl, __[ecx])),
            ("word store", a => a.mov(__[ecx], ax)),
            ("high byte to low byte", a => a.mov(al, ah)),
            ("low byte to high byte", a => a.mov(dh, al)),
            ("high byte from memory", a => a.mov(ch, __[ebx])),
            ("zero extension", a => a.movzx(eax, __byte_ptr[esi])),
            ("sign extension of a high byte", a => a.movsx(edx, bh)),
            ("effective address", a => a.lea(eax, __[eax + eax * 4 + 7])),
            ("thread-local load", a => a.mov(eax, __dword_ptr.gs[0x10])),
            ("two structures", a => { a.mov(eax, __[ebx]); a.mov(__[edi], eax); a.mov(eax, __[ebx + 4]); a.mov(__[edi + 4], eax); }),
            ("exchange with memory", a => a.xchg(__[ebx], eax)),
            ("fences", a => { a.mfence(); a.sfence(); a.lfence(); }),
            ("conditional move", a => { a.cmp(eax, ebx); a.cmovl(ecx, edx); }),
        ],
        ["arithmetic"] =
        [
            ("registers", a => a.add(eax, ebx)),
            ("memory operand", a => a.sub(eax, __[ebx])),
            ("memory destination", a => a.add(__dword_ptr[ebx], 1)),
            ("with carry behind a load", a => { a.add(eax, ebx); a.mov(ecx, __[esi]); a.adc(edx, 0); }),
            ("bytes", a => a.and(cl, 0xF)),
            ("high byte", a => a.or(ah, 0xC)),
            ("increment keeps carry", a => { a.add(eax, ebx); a.inc(ecx); a.adc(edx, 0); }),
            ("flags dead before the next writer", a => { a.add(eax, ebx); a.xor(ecx, ecx); }),
            ("negate", a => a.neg(edx)),
            ("multiply", a => a.imul(eax, ebx, 10)),
            ("multiply wide", a => a.mul(ebx)),
            ("divide", a => a.div(ecx)),
            ("divide signed", a => { a.cdq(); a.idiv(ecx); }),
            ("set on condition", a => { a.test(eax, eax); a.setne(cl); }),
        ],
        ["flags"] =
        [
            ("replayed after ADD", a => { a.add(esi, 4); a.mov(eax, __[esi]); a.jc(Near); }),
            ("replayed after CMP", a => { a.cmp(eax, 5); a.mov(ecx, __[esi]); a.je(Near); }),
            ("saved when the source goes", a => { a.add(esi, ecx); a.mov(esi, __[esi]); a.jc(Near); }),
            ("saved after a shift", a => { a.shl(eax, 3); a.mov(ecx, __[esi]); a.jc(Near); }),
            ("increments over saved flags", a => { a.mov(al, __[esi]); a.inc(esi); a.mov(__[edi], al); a.inc(edi); a.je(Near); }),
            ("LAHF and SAHF", a => { a.lahf(); a.sahf(); }),
            ("read at the entry", a => a.adc(eax, 0)),
            ("carry out of saved flags", a => { a.shl(eax, 3); a.dec(__dword_ptr[ebx]); }),
            ("pushed", a => { a.cmp(eax, ebx); a.pushfd(); }),
            ("popped", a => a.popfd()),
            ("interrupts forbidden and allowed", a => { a.cli(); a.sti(); a.nop(); }),
        ],
        ["bits"] =
        [
            ("shift", a => a.shl(ebx, 5)),
            ("shift by CL", a => a.sar(edx, cl)),
            ("rotate", a => a.rol(eax, 7)),
            ("shift of two registers", a => a.shrd(eax, edx, 4)),
            ("bit of a register", a => a.bt(eax, 3)),
            ("bit string in memory", a => a.bts(__dword_ptr[ebx], eax)),
            ("scan", a => a.bsf(eax, ecx)),
            ("byte order", a => a.bswap(eax)),
            ("compare and exchange", a => a.cmpxchg(__[ebx], ecx)),
            ("compare and exchange eight bytes", a => a.cmpxchg8b(__[ebx])),
            ("exchange and add", a => a.xadd(__[ebx], ecx)),
        ],
        ["branches"] =
        [
            ("loop", a => { Label top = a.CreateLabel(); a.Label(ref top); a.add(eax, ecx); a.dec(ecx); a.jnz(top); }),
            ("to itself", a => { Label top = a.CreateLabel(); a.Label(ref top); a.jmp(top); }),
            ("call", a => a.call(Near)),
            ("return", a => a.ret()),
            ("return and release", a => a.ret(8)),
            ("indirect jump", a => a.jmp(__dword_ptr[eax * 4 + 0x2000])),
            ("indirect call", a => a.call(edx)),
            ("across pages", a => a.jmp(CodeFarAway)),
            ("conditional, across pages", a => { a.test(eax, eax); a.je(CodeFarAway); }),
        ],
        ["stack, strings and segments"] =
        [
            ("push and pop", a => { a.push(eax); a.pop(ebx); }),
            ("push memory", a => a.push(__dword_ptr[ebx])),
            ("leave", a => a.leave()),
            ("function", a => { a.push(ebx); a.sub(esp, 8); a.mov(__[esp + 4], eax); a.add(esp, 8); a.pop(ebx); a.ret(); }),
            ("stack pointer as a number", a => { a.push(eax); a.mov(ebp, esp); a.sub(esp, 8); a.and(esp, -16); }),
            ("one turn of MOVS", a => a.movsd()),
            ("one turn of CMPS", a => a.cmpsb()),
            ("repeated STOS", a => a.rep.stosb()),
            ("push a segment register", a => a.push(ds)),
            ("load a segment register", a => a.mov(es, eax)),
            ("into a kernel", a => a.sysenter()),
            ("out of it", a => a.sysexit()),
            ("called", a => { a.cpuid(); a.mov(eax, ebx); }),
        ],
        ["numbers"] =
        [
            ("x87", a => { a.fld(__qword_ptr[ebx]); a.fmul(st0, st1); a.fstp(__qword_ptr[ebx]); }),
            ("control word", a => a.fldcw(__[ebx])),
            ("compare into flags", a => { a.fucomip(st0, st1); a.ja(Near); }),
            ("SSE", a => { a.movaps(xmm0, __[esi]); a.addps(xmm0, xmm1); a.movups(__[edi], xmm0); }),
            ("conversion", a => a.cvttsd2si(eax, xmm3)),
            ("MMX", a => { a.movq(mm0, __[esi]); a.paddb(mm0, mm1); a.emms(); }),
        ],
    };

    // Loops from the start of the code on, with ECX turns to go.
    private static readonly (string Name, Action<Assembler> Write)[] Superblocks =
    [
        ("sum of an array", a => { a.add(eax, __[esi]); a.add(esi, 4); a.dec(ecx); a.jnz(Start); }),
        ("products of elements", a =>
        {
            a.movsx(edx, __word_ptr[esi]);
            a.movsx(ebp, __word_ptr[edi]);
            a.add(edi, 32);
            a.add(esi, 2);
            a.imul(edx, ebp);
            a.add(ebx, edx);
            a.dec(ecx);
            a.jnz(Start);
        }),
        ("search with two ways out", a =>
        {
            Label found = a.CreateLabel();
            a.mov(al, __[esi]);
            a.cmp(al, 9);
            a.je(found);
            a.inc(esi);
            a.cmp(al, 8);
            a.je(found);
            a.dec(ecx);
            a.jnz(Start);
            a.Label(ref found);
        }),
        ("a call", a =>
        {
            Label called = a.CreateLabel();
            Label end = a.CreateLabel();
            a.call(called);
            a.dec(ecx);
            a.jnz(Start);
            a.jmp(end);
            a.Label(ref called);
            a.push(ebx);
            a.pop(edx);
            a.ret();
            a.Label(ref end);
        }),
    ];

    private const ulong Start = Oracles.TestMachine.CodeAddress;
    private const ulong Near = 0x1_0040;
    private const ulong CodeFarAway = 0x2_0000;

    public static TheoryData<string> Names => [.. Families.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void TranslationsAreTheOnesThatWereReviewed(string family)
    {
        var text = new StringBuilder();
        foreach ((string name, Action<Assembler> write) in Families[family])
        {
            text.Append("== ").Append(name).Append('\n').Append(BlockListing.Of(a => { write(a); a.hlt(); })).Append('\n');
        }
        Compare(family, text.ToString());
    }

    [Fact]
    public void SuperblocksAreTheOnesThatWereReviewed()
    {
        var text = new StringBuilder();
        foreach ((string name, Action<Assembler> write) in Superblocks)
        {
            text.Append("== ").Append(name).Append('\n').Append(BlockListing.OfLoop(a => { write(a); a.hlt(); })).Append('\n');
        }
        Compare("superblocks", text.ToString());
    }

    private static void Compare(string name, string text)
    {
        string file = name + ".txt";
        if (Environment.GetEnvironmentVariable("LGUEST_WRITE_GOLDEN") is { Length: > 0 } folder)
        {
            File.WriteAllText(Path.Combine(folder, file), text);
        }
        Assert.Equal(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Golden", file)), text);
    }
}
