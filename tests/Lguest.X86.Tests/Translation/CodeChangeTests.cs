// Chained blocks hand the flags over in whatever form the next block wants them, and jump to it without asking. When that block turns
// into another, because its bytes change or because its page shows another frame, the next one must come by its flags all the same.

using Iced.Intel;
using Lguest.X86.Memory;
using Lguest.X86.State;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

public sealed class CodeChangeTests
{
    private const uint Target = SystemMachine.Code + 0x200;
    private const uint OtherPage = SystemMachine.Code + 0x2000;
    private const uint OtherFrame = 0x50_0000;

    // The ways in which a block may leave its flags behind: native, to be replayed, with an older carry, saved.
    private static readonly Dictionary<string, Action<Assembler>> Before = new()
    {
        ["native"] = a => a.add(eax, ebx),
        ["replayed"] = a => { a.add(eax, ebx); a.mov(edx, __[esi]); },
        ["replayed with an older carry"] = a => { a.add(eax, ebx); a.mov(edx, __[esi]); a.inc(ecx); a.mov(edx, __[esi]); },
        ["saved"] = a => { a.add(eax, ebx); a.shl(ecx, 1); a.mov(edx, __[esi]); },
        ["called"] = a => { a.add(eax, ebx); a.clts(); },
        ["indirect"] = a => { a.add(eax, ebx); a.jmp(edi); },
        ["conditional"] = a => { a.add(eax, ebx); a.mov(edx, __[esi]); a.jc(Target); },
    };

    // All blocks here have the same length, so that one can take another's place.
    private static readonly Action<Assembler>[] Versions =
    [
        a => { a.cmp(ecx, ecx); a.nop(); a.lahf(); a.seto(al); a.hlt(); },
        a => { a.inc(ecx); a.inc(ecx); a.nop(); a.lahf(); a.seto(al); a.hlt(); },
        a => { a.adc(ecx, ecx); a.nop(); a.lahf(); a.seto(al); a.hlt(); },
        a => { a.mov(edx, __[esi]); a.nop(); a.lahf(); a.seto(al); a.hlt(); },
        a => { a.push(edx); a.pop(edx); a.nop(); a.lahf(); a.seto(al); a.hlt(); },
        a => { a.clts(); a.nop(); a.lahf(); a.seto(al); a.hlt(); },
    ];

    public static TheoryData<string> Ways => [.. Before.Keys];

    [Theory]
    [MemberData(nameof(Ways))]
    public void ABlockThatTakesAnothersPlaceFindsTheFlags(string way)
    {
        using var blocks = new SystemMachine(paging: true);
        using var reference = new SystemMachine(Engine.Reference, paging: true);
        foreach (SystemMachine m in new[] { blocks, reference })
        {
            m.Assemble(SystemMachine.Code, a => { Before[way](a); a.jmp(Target); });
        }
        for (int i = 0; i < Versions.Length; i++)
        {
            for (int j = 0; j < Versions.Length; j++)
            {
                foreach ((uint left, uint right) in ((uint, uint)[])[(1, 2), (uint.MaxValue, 1), (0x7FFF_FFFF, 1), (0x8000_0000, 0x8000_0000), (0, 0)])
                {
                    foreach (int version in (int[])[i, j])
                    {
                        string expected = Run(reference);
                        Assert.Equal(expected, Run(blocks));

                        string Run(SystemMachine m)
                        {
                            m.Assemble(Target, Versions[version]);
                            m[Register32.Eax] = left;
                            m[Register32.Ebx] = right;
                            m[Register32.Ecx] = 5;
                            m[Register32.Esi] = SystemMachine.Data;
                            m[Register32.Edi] = Target;
                            Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
                            return $"{way}: {i} then {j}, {left:x} + {right:x}: EAX {m[Register32.Eax]:x} ECX {m[Register32.Ecx]:x} EFLAGS {m.State.Eflags:x}";
                        }
                    }
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void ABlockInAPageThatShowsAnotherFrameFindsTheFlags(string way)
    {
        using var blocks = new SystemMachine(paging: true);
        using var reference = new SystemMachine(Engine.Reference, paging: true);
        foreach (SystemMachine m in new[] { blocks, reference })
        {
            m.Assemble(SystemMachine.Code, a =>
            {
                Before[way](a);
                a.jmp(OtherPage);
            });
            // Where the conditional and the indirect way come by on their way to the other page.
            m.Assemble(Target, a => a.jmp(OtherPage));
            for (uint version = 0; version < Versions.Length; version++)
            {
                m.Memory.Write(OtherFrame + (version * 0x1000), Oracles.TestMachine.Assemble(Versions[version], OtherPage));
            }
        }
        for (uint round = 0; round < 30; round++)
        {
            uint version = round * 7 % (uint)Versions.Length;
            uint left = round * 0x2468_ACE0;
            string expected = Run(reference);
            Assert.Equal(expected, Run(blocks));
            Assert.Equal(expected, Run(blocks));

            string Run(SystemMachine m)
            {
                m.Map(OtherPage, OtherFrame + (version * 0x1000), SystemMachine.All);
                m.Space.FlushPage(OtherPage);
                m[Register32.Eax] = left;
                m[Register32.Ebx] = 0x8765_4321;
                m[Register32.Ecx] = 5;
                m[Register32.Esi] = SystemMachine.Data;
                m[Register32.Edi] = OtherPage;
                Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
                return $"{way}: {version}, {left:x}: EAX {m[Register32.Eax]:x} ECX {m[Register32.Ecx]:x} EFLAGS {m.State.Eflags:x}";
            }
        }
    }

    [Fact]
    public void TwoAddressSpacesShowDifferentCodeAtOneAddress()
    {
        using var m = new SystemMachine(paging: true);
        const uint secondDirectory = 0xC000;
        const uint secondTable = 0xD000;
        byte[] tables = new byte[0x1000];
        m.Memory.Read(SystemMachine.Directory, tables);
        m.Memory.Write(secondDirectory, tables);
        m.Memory.Read(SystemMachine.Tables, tables);
        m.Memory.Write(secondTable, tables);
        m.Memory.Write(secondDirectory, secondTable | SystemMachine.All);
        m.Memory.Write(secondTable + (OtherPage >> 12 << 2), OtherFrame | SystemMachine.All);
        byte[][] versions =
        [
            Oracles.TestMachine.Assemble(a => { a.add(eax, 1); a.jmp(Target); }, OtherPage),
            Oracles.TestMachine.Assemble(a => { a.add(ebx, 0x100); a.jmp(Target); }, OtherPage),
        ];
        m.Memory.Write(OtherPage, versions[0]);
        m.Memory.Write(OtherFrame, versions[1]);
        m.Assemble(Target, a => a.hlt());
        m.Assemble(SystemMachine.Code, a => a.jmp(OtherPage));
        using AddressSpace second = m.Processor.CreateAddressSpace(secondDirectory);
        for (uint i = 1; i <= 10; i++)
        {
            m.Processor.CurrentAddressSpace = m.Space;
            Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
            Assert.Equal((i, (i - 1) * 0x100), (m[Register32.Eax], m[Register32.Ebx]));
            m.Processor.CurrentAddressSpace = second;
            Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
            Assert.Equal((i, i * 0x100), (m[Register32.Eax], m[Register32.Ebx]));
        }
        m.Processor.CurrentAddressSpace = m.Space;
    }
}
