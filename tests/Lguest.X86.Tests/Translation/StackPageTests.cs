// What is found by way of the stack pointer asks for the stack's page first, in an entry of its own. Whatever makes the processor forget
// the page, or makes it one that must not be written without notice, must reach that entry, too.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.SystemLevel;
using Lguest.X86.Translation;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>The page that the stack is in, when something happens to it.</summary>
public sealed class StackPageTests
{
    private const uint Page = 0x30_0000;
    private const uint Entry = SystemMachine.Tables + ((Page >> 12) * 4);
    private const uint OtherFrame = 0x50_0000;
    private const uint Program = SystemMachine.Code + 0x800;
    private const uint Turns = 1000;

    public enum Way
    {
        /// <summary>INVLPG.</summary>
        OnePage,

        /// <summary>Loading CR3.</summary>
        AllPages,

        /// <summary>The same while some pages are global, though not this one.</summary>
        AllButGlobalPages,

        /// <summary>Clearing and setting CR4.PGE.</summary>
        GlobalPagesToo,
    }

    [Theory]
    [InlineData(Way.OnePage)]
    [InlineData(Way.AllPages)]
    [InlineData(Way.AllButGlobalPages)]
    [InlineData(Way.GlobalPagesToo)]
    public void AnotherFrameIsNoticed(Way way)
    {
        using var m = new SystemMachine(paging: true);
        m.Memory.Write(Page + 0x100, 1u);
        m.Memory.Write(OtherFrame + 0x100, 2u);
        if (way is Way.AllButGlobalPages or Way.GlobalPagesToo)
        {
            m.State.Cr4 |= Cr4.PageGlobalEnable;
        }
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(esp, Page + 0x100);
            a.push(7);
            a.pop(eax);
            a.pop(ebx);
            a.mov(__dword_ptr[Entry], OtherFrame | SystemMachine.All);
            Forget(a, way);
            a.mov(esp, Page + 0x100);
            a.push(9);
            a.pop(ecx);
            a.pop(edx);
            a.hlt();
        }));
        Assert.Equal((7u, 1u, 9u, 2u), (m[Register32.Eax], m[Register32.Ebx], m[Register32.Ecx], m[Register32.Edx]));
        Assert.Equal((7u, 9u), (m.Memory.Read<uint>(Page + 0xFC), m.Memory.Read<uint>(OtherFrame + 0xFC)));
    }

    private static void Forget(Assembler a, Way way)
    {
        switch (way)
        {
            case Way.OnePage:
                a.invlpg(__[Page]);
                break;
            case Way.GlobalPagesToo:
                a.mov(ecx, cr4);
                a.and(ecx, unchecked((int)~Cr4.PageGlobalEnable));
                a.mov(cr4, ecx);
                a.or(ecx, (int)Cr4.PageGlobalEnable);
                a.mov(cr4, ecx);
                break;
            default:
                a.mov(ecx, cr3);
                a.mov(cr3, ecx);
                break;
        }
    }

    [Fact]
    public void APageThatMayBeReadOnlyIsNotWritten()
    {
        using var m = new SystemMachine(paging: true);
        m.Enter(3);
        m.Memory.Write(Page + 0x100, 5u);
        m.Map(Page, Page, SystemMachine.Present | SystemMachine.User);
        Assert.Equal(Vector.PageFault, m.Run(static a =>
        {
            a.mov(esp, Page + 0x100);
            a.pop(eax);
            a.pop(ebx);
            a.push(ecx);
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal((5u, Page + 0x104), (m[Register32.Eax], m.State.Cr2));
    }

    [Fact]
    public void AWriteToAPageThatWasOnlyReadMarksItDirty()
    {
        using var m = new SystemMachine(paging: true);
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            // Jumps, so that reads and writes do not share a probe.
            Label read = a.CreateLabel();
            Label written = a.CreateLabel();
            a.mov(esp, Page + 0x100);
            a.pop(eax);
            a.mov(ebx, __dword_ptr[Entry]);
            a.jmp(read);
            a.Label(ref read);
            a.push(ecx);
            a.jmp(written);
            a.Label(ref written);
            a.mov(edx, __dword_ptr[Entry]);
            a.hlt();
        }));
        Assert.Equal((0u, SystemMachine.Dirty), (m[Register32.Ebx] & SystemMachine.Dirty, m[Register32.Edx] & SystemMachine.Dirty));
    }

    /// <summary>The stack's page becomes code, and is pushed to once more.</summary>
    [Fact]
    public void CodeOnTheStackIsNoticed()
    {
        using var m = new SystemMachine(paging: true);
        m.Assemble(Page, static a =>
        {
            a.mov(eax, 1);
            a.ret();
        });
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            a.mov(esp, Page + 0x800);
            a.push(eax);
            a.mov(edi, Page);
            a.call(edi);
            a.mov(ebx, eax);
            a.mov(esp, Page + 5);
            a.push(7);
            a.mov(esp, Page + 0x800);
            a.call(edi);
            a.hlt();
        }));
        Assert.Equal((1u, 7u), (m[Register32.Ebx], m[Register32.Eax]));
    }

    /// <summary>A kernel's stack is none for a program that names it.</summary>
    [Fact]
    public void AKernelsStackIsNotItsPrograms()
    {
        using var m = new SystemMachine(paging: true);
        m.Map(Page, Page, SystemMachine.Present | SystemMachine.Writable);
        m.Assemble(Program, static a =>
        {
            a.push(eax);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(Vector.PageFault, m.Run(static a =>
        {
            a.mov(esp, Page + 0x100);
            a.push(SystemMachine.Data3);
            a.push(Page + 0x80);
            a.push((int)Eflags.AlwaysOne);
            a.push(SystemMachine.Code3);
            a.push(Program);
            a.iretd();
        }));
        Assert.Equal((Page + 0x7C, SystemMachine.All), (m.State.Cr2, m.Frame(0)));
    }

    /// <summary>Looking for a new stack takes the registers in which translated code has kept what it found before.</summary>
    [Fact]
    public void ANewStackTakesNothingFromWhoKnowsTheirPlace()
    {
        using var m = new SystemMachine(paging: true);
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            a.mov(esp, Page + 0x100);
            a.mov(ebx, SystemMachine.Data);
            a.mov(ebp, Page + 0x1000);
            a.mov(__dword_ptr[ebx], 1);
            a.mov(__dword_ptr[ebp], 2);
            a.mov(__dword_ptr[ebx + 4], 3);
            a.mov(edx, __dword_ptr[ebp]);
            a.push(4);
            a.push(5);
            a.mov(esi, __dword_ptr[ebx + 4]);
            a.mov(edi, __dword_ptr[ebp]);
            a.hlt();
        }));
        Assert.Equal((2u, 3u, 2u), (m[Register32.Edx], m[Register32.Esi], m[Register32.Edi]));
        Assert.Equal((4u, 5u), (m.Memory.Read<uint>(Page + 0xFC), m.Memory.Read<uint>(Page + 0xF8)));
    }

    /// <summary>Steps that add up to more than an exit could tell.</summary>
    [Fact]
    public void AStackPointerThatGoesFarIsFollowed()
    {
        const int steps = 20;
        const uint step = 0x1000;
        const uint top = Page + (steps * step);
        using var m = new SystemMachine(paging: true);
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            a.mov(esp, top);
            for (int i = 0; i < steps; i++)
            {
                a.sub(esp, (int)step);
            }
            a.push(7);
            a.hlt();
        }));
        Assert.Equal((Page - 4, 7u), (m[Register32.Esp], m.Memory.Read<uint>(Page - 4)));
    }

    /// <summary>One access by the stack pointer after the other on two pages: each finds its own, and nobody leaves translated code for it.</summary>
    [Fact]
    public void AStackAcrossABorderIsWithinReach()
    {
        Assert.SkipWhen(TestSettings.Engine == "interpreter", "the interpreter keeps no entry for the stack");
        using var m = new SystemMachine(paging: true);
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            Label again = a.CreateLabel();
            a.mov(esp, Page + 0x1000);
            a.mov(ecx, Turns);
            a.Label(ref again);
            a.add(__dword_ptr[esp - 4], 3);
            a.add(eax, __dword_ptr[esp + 0x400]);
            a.add(__dword_ptr[esp + 0x400], 5);
            a.sub(ebx, __dword_ptr[esp - 4]);
            a.dec(ecx);
            a.jnz(again);
            a.hlt();
        }));
        Assert.Equal((Turns * 3, Turns * 5), (m.Memory.Read<uint>(Page + 0xFFC), m.Memory.Read<uint>(Page + 0x1400)));
        Assert.Equal((5 * Turns * (Turns - 1) / 2, unchecked(0u - (3 * Turns * (Turns + 1) / 2))), (m[Register32.Eax], m[Register32.Ebx]));
        IReadOnlyDictionary<CodeExit, long> exits = m.Processor.CodeExits;
        Assert.InRange(exits[CodeExit.ReadMiss] + exits[CodeExit.WriteMiss] + exits[CodeExit.RunMiss], 0, 20);
    }
}
