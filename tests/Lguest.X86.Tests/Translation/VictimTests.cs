// Two pages whose numbers end alike want the same entry of the soft-TLB. A program that uses both in turn must not leave translated code
// each time, and whatever makes the processor forget a page must find it where it has been put.

using Iced.Intel;
using Lguest.X86.Memory;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.SystemLevel;
using Lguest.X86.Translation;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Pages that drive each other out of the soft-TLB.</summary>
public sealed class VictimTests
{
    private const uint Low = 0x30_0000;
    private const uint High = Low + (SoftTlb.Entries * 4096);
    private const uint Turns = 1000;

    [Fact]
    public void TwoPagesOfOneEntryAreBothWithinReach()
    {
        Assert.SkipWhen(TestSettings.Engine == "interpreter", "the interpreter walks the page tables again");
        using var m = new SystemMachine(paging: true);
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, Turns);
            a.Label(ref again);
            a.add(__dword_ptr[Low + 8], 3);
            a.add(eax, __dword_ptr[High + 8]);
            a.add(__dword_ptr[High + 8], 5);
            a.sub(ebx, __dword_ptr[Low + 8]);
            a.dec(ecx);
            a.jnz(again);
            a.hlt();
        }));
        Assert.Equal((Turns * 3, Turns * 5), (m.Memory.Read<uint>(Low + 8), m.Memory.Read<uint>(High + 8)));
        Assert.Equal((5 * Turns * (Turns - 1) / 2, unchecked(0u - (3 * Turns * (Turns + 1) / 2))), (m[Register32.Eax], m[Register32.Ebx]));
        IReadOnlyDictionary<CodeExit, long> exits = m.Processor.CodeExits;
        Assert.InRange(exits[CodeExit.ReadMiss] + exits[CodeExit.WriteMiss] + exits[CodeExit.RunMiss], 0, 20);
    }

    /// <summary>The page is among the victims when its table entry changes and INVLPG, or a load of CR3, says so.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AVictimIsForgottenToo(bool onePage)
    {
        const uint otherFrame = 0x50_0000;
        using var m = new SystemMachine(paging: true);
        m.Memory.Write(Low, 1u);
        m.Memory.Write(High, 2u);
        m.Memory.Write(otherFrame, 3u);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[Low]);
            a.mov(ebx, __dword_ptr[High]);
            a.mov(__dword_ptr[SystemMachine.Tables + ((Low >> 12) * 4)], otherFrame | SystemMachine.All);
            if (onePage)
            {
                a.invlpg(__[Low]);
            }
            else
            {
                a.mov(ecx, cr3);
                a.mov(cr3, ecx);
            }
            a.mov(edx, __dword_ptr[Low]);
            a.mov(esi, __dword_ptr[High]);
            a.hlt();
        }));
        Assert.Equal((1u, 2u, 3u, 2u), (m[Register32.Eax], m[Register32.Ebx], m[Register32.Edx], m[Register32.Esi]));
    }

    /// <summary>A page may be written without notice, is driven out, and then becomes code.</summary>
    [Fact]
    public void AVictimThatBecomesCodeIsNoticed()
    {
        using var m = new SystemMachine(paging: true);
        m.Assemble(Low, static a =>
        {
            a.mov(eax, 1);
            a.ret();
        });
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            a.mov(__dword_ptr[Low + 0x800], eax);
            a.mov(__dword_ptr[High], eax);
            a.mov(edi, Low);
            a.call(edi);
            a.mov(ebx, eax);
            a.mov(__dword_ptr[Low + 1], 7);
            a.call(edi);
            a.hlt();
        }));
        Assert.Equal((1u, 7u), (m[Register32.Ebx], m[Register32.Eax]));
    }
}
