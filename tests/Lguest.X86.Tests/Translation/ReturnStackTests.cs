// A CALL of the Guest is a CALL of the host, and its RET one of the host: as long as they come in pairs. Here they often do not. Random
// functions call each other, directly, through registers and deeper than the return stack, and play every trick with the address that
// they return to; in between they change the mode of their blocks, the translations or their code. Nobody may see a difference to one
// instruction at a time.

using System.Text;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Compares calls and returns with the reference path.</summary>
public sealed class ReturnStackTests : IDisposable
{
    private const int Rounds = 300;
    private const int Functions = 8;
    private const int Turns = 30;
    private const int Depth = 3000;
    private const uint CodeBytes = 0x3000;
    private const uint End = SystemMachine.Code + 0xF0;

    private readonly SystemMachine blocks = new(Engine.Blocks, paging: true);
    private readonly SystemMachine reference = new(Engine.Reference, paging: true);

    [Fact]
    public void CallsAndReturnsDoWhatTheReferencePathDoes()
    {
        Random random = TestSettings.RandomFor(nameof(CallsAndReturnsDoWhatTheReferencePathDoes));
        for (int round = TestSettings.RoundsOf(Rounds); round > 0; round--)
        {
            byte[] code = Program(random);
            string expected = Run(reference, code);
            string actual = Run(blocks, code);
            Assert.Equal($"{TestSettings.Description}, round {round}: {expected}", $"{TestSettings.Description}, round {round}: {actual}");
        }
    }

    [Fact]
    public void CallsMayBeDeeperThanTheReturnStack()
    {
        byte[] code = Oracles.TestMachine.Assemble(
            a =>
            {
                Label again = a.CreateLabel();
                Label deep = a.CreateLabel();
                Label end = a.CreateLabel();
                a.mov(ecx, Turns);
                a.Label(ref again);
                a.mov(ebx, Depth);
                a.call(deep);
                a.dec(ecx);
                a.jnz(again);
                a.@int(SystemMachine.Done);
                a.Label(ref deep);
                a.dec(ebx);
                a.jz(end);
                a.call(deep);
                a.inc(eax);
                a.Label(ref end);
                a.ret();
            },
            SystemMachine.Code);
        Run(blocks, code);
        Assert.Equal(Turns * (Depth - 1), (int)blocks[Register32.Eax]);
    }

    /// <summary>A function that gives FS a limit returns to code that was written for one without.</summary>
    [Fact]
    public void AReturnToAnotherModeIsNoticed()
    {
        const uint lastTurn = 5;
        // Soon, but not at once: the return must have led to the code without a limit before.
        using var machine = new SystemMachine(paging: true, translateAfter: 2);
        machine.SetDescriptor(SystemMachine.Free, 0, 0xFFF, 0x93, 4);
        byte[] code = Oracles.TestMachine.Assemble(
            a =>
            {
                Label again = a.CreateLabel();
                Label called = a.CreateLabel();
                Label calling = a.CreateLabel();
                a.mov(ecx, Turns);
                a.mov(ebx, SystemMachine.Data0);
                a.mov(edx, SystemMachine.Free);
                a.mov(ebp, SystemMachine.Data);
                a.Label(ref again);
                a.mov(fs, ebx);
                // The call begins a block, so that it is the same one whichever mode FS had before.
                a.jmp(calling);
                a.Label(ref calling);
                a.call(called);
                a.mov(eax, __dword_ptr.fs[edi]);
                a.dec(ecx);
                a.jnz(again);
                a.@int(SystemMachine.Done);
                a.Label(ref called);
                a.xor(edi, edi);
                a.cmp(ecx, (int)lastTurn);
                a.cmove(edi, ebp);
                a.mov(esi, ebx);
                a.cmp(ecx, 2 * (int)lastTurn);
                a.cmovb(esi, edx);
                a.mov(fs, esi);
                a.ret();
            },
            SystemMachine.Code);
        Run(machine, code);
        Assert.Equal(lastTurn, machine[Register32.Ecx]);
    }

    /// <summary>Functions that each call the next one twice: some 200 million instructions, none of which jumps backwards.</summary>
    [Fact]
    public void ATreeOfCallsIsLeftWhenItIsAskedTo()
    {
        const int depth = 25;
        const long stop = 50_000_000;
        const long soon = 10_000;
        using var machine = new SystemMachine();
        byte[] code = Oracles.TestMachine.Assemble(
            a =>
            {
                for (int i = 0; i < depth; i++)
                {
                    Label next = a.CreateLabel();
                    a.call(next);
                    a.call(next);
                    a.ret();
                    a.Label(ref next);
                }
                a.ret();
            },
            SystemMachine.Code);
        long stopped = 0;
        machine.Processor.StopReached = () =>
        {
            stopped = machine.Processor.CompletedInstructions;
            machine.Processor.RequestReturn();
        };
        machine.Memory.Write(SystemMachine.Code, code);
        machine.State.Eip = SystemMachine.Code;
        machine.Processor.StopAt(stop);
        Assert.Equal(ExitKind.Requested, machine.Processor.Run().Kind);
        Assert.InRange(stopped, stop - soon, stop + soon);
    }

    public void Dispose()
    {
        blocks.Dispose();
        reference.Dispose();
    }

    /// <summary>The main program and the functions, each where its number says.</summary>
    private static byte[] Program(Random random)
    {
        byte[] code = new byte[CodeBytes];
        byte[] end = Oracles.TestMachine.Assemble(a => a.@int(SystemMachine.Done), End);
        end.CopyTo(code, (int)(End - SystemMachine.Code));
        byte[] main = Oracles.TestMachine.Assemble(
            a =>
            {
                Label again = a.CreateLabel();
                a.mov(__dword_ptr[SystemMachine.Data], Turns);
                a.Label(ref again);
                // Whoever returns once too often ends the program.
                a.mov(esp, SystemMachine.Stack);
                for (int i = 0; i < 8; i++)
                {
                    a.push(End);
                }
                a.mov(ecx, random.Next(4, 40));
                a.call(FunctionAt(random.Next(Functions)));
                WriteLanding(a);
                a.dec(__dword_ptr[SystemMachine.Data]);
                a.jnz(again);
                a.jmp(End);
            },
            SystemMachine.Code);
        main.CopyTo(code, 0);
        for (int i = 0; i < Functions; i++)
        {
            byte[] function = Oracles.TestMachine.Assemble(a => WriteFunction(a, random), FunctionAt(i));
            function.CopyTo(code, (int)(FunctionAt(i) - SystemMachine.Code));
        }
        return code;
    }

    /// <summary>Some functions share a page, with the main program, too.</summary>
    private static uint FunctionAt(int number) => SystemMachine.Code + 0x100 + ((uint)number * 0x480);

    /// <summary>A function that returns at once when ECX, which counts the calls that are left, is used up.</summary>
    private static void WriteFunction(Assembler a, Random random)
    {
        Label rest = a.CreateLabel();
        a.dec(ecx);
        a.jns(rest);
        a.ret();
        a.Label(ref rest);
        for (int step = random.Next(2, 7); step > 0; step--)
        {
            WriteStep(a, random);
        }
        switch (random.Next(8))
        {
            // Somewhat behind the call, or where the caller returns to.
            case 0: a.add(__dword_ptr[esp], random.Next(3)); break;
            case 1: a.add(esp, 4); break;
        }
        a.ret();
    }

    private static void WriteStep(Assembler a, Random random)
    {
        Label other = a.CreateLabel();
        switch (random.Next(15))
        {
            case 0 or 1 or 2 or 3:
                a.call(FunctionAt(random.Next(Functions)));
                WriteLanding(a);
                break;
            case 4:
                a.mov(edx, FunctionAt(random.Next(Functions)));
                a.call(edx);
                WriteLanding(a);
                break;
            case 5:
                a.call(other);
                a.Label(ref other);
                a.pop(edx);
                a.add(eax, edx);
                break;
            case 6:
                a.call(other);
                a.Label(ref other);
                a.pop(edx);
                const int toRotate = 6;
                a.lea(edx, __[edx + toRotate]);
                a.push(edx);
                a.ret();
                a.rol(eax, 3);
                break;
            case 7:
                a.mov(edx, random.Next(2) == 0 ? 0 : SystemMachine.Data0);
                a.mov(fs, edx);
                break;
            case 11:
                // A fault after the one load, none after the other.
                a.test(eax, 0xE);
                a.jnz(other);
                a.mov(edx, __dword_ptr.fs[SystemMachine.Data]);
                a.Label(ref other);
                a.inc(esi);
                break;
            case 8:
                a.mov(edx, cr3);
                a.mov(cr3, edx);
                break;
            case 9:
                a.call(other);
                a.Label(ref other);
                a.pop(edx);
                const int toImmediate = 5;
                a.mov(__byte_ptr[edx + toImmediate], al);
                a.cmp(al, 0x77);
                break;
            case 10:
                a.test(eax, random.Next(1, 256));
                a.jnz(other);
                a.xor(eax, edx);
                a.Label(ref other);
                a.inc(ebx);
                break;
            default:
                a.lea(eax, __[eax + eax * 2 + random.Next(100)]);
                a.adc(ebx, eax);
                break;
        }
    }

    /// <summary>What a return finds that was told to go a little further.</summary>
    private static void WriteLanding(Assembler a)
    {
        a.nop();
        a.nop();
        a.inc(esi);
    }

    private static string Run(SystemMachine m, byte[] code)
    {
        m.Enter(0);
        for (int i = 0; i < 8; i++)
        {
            m.State.General[i] = 0;
        }
        m.State.General[(int)Register32.Esp] = SystemMachine.Stack;
        m.State.Eflags = Eflags.AlwaysOne;
        m.Memory.Write(SystemMachine.Code, new byte[CodeBytes]);
        m.Memory.Write(SystemMachine.Code, code);
        byte vector = m.RunAt(SystemMachine.Code);
        var text = new StringBuilder($"vector {vector} EIP {m.State.Eip:x} EFLAGS {m.State.Eflags:x}");
        for (int i = 0; i < 8; i++)
        {
            text.Append($" {(Register32)i} {m.State.General[i]:x}");
        }
        byte[] after = new byte[CodeBytes];
        m.Memory.Read(SystemMachine.Code, after);
        return text.Append($" code {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(after))[..16]}").ToString();
    }
}
