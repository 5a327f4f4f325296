// Three fixed loops that say what one kind of instruction costs: integer arithmetic with branches and calls, memory, and the x87.

using System.Diagnostics;
using Iced.Intel;
using Lguest.X86;
using Lguest.X86.Memory;
using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Bench;

/// <summary>MIPS of each engine on fixed loops.</summary>
internal static class LoopBenchmarks
{
    private const uint CodeAddress = 0x10000;
    private const uint DataAddress = 0x100000;

    /// <summary>Runs and prints all loops.</summary>
    public static void Run()
    {
        foreach (EngineKind engine in (ReadOnlySpan<EngineKind>)[EngineKind.Interpreter, EngineKind.Translator])
        {
            if (engine == EngineKind.Translator && !Engines.CanTranslate(out string? whyNot))
            {
                Console.WriteLine(whyNot);
                return;
            }
            Print("integer loop", Integer, 200_000_000, engine);
            Print("memory loop", Memory, 100_000_000, engine);
            Print("x87 loop", X87, 20_000_000, engine);
        }
    }

    private static void Print(string name, Action<Assembler> loop, long instructions, EngineKind engine)
    {
        (double Mips, long Exits) best = default;
        for (int round = 0; round < 3; round++)
        {
            (double Mips, long Exits) measured = Measure(loop, instructions, engine);
            best = measured.Mips > best.Mips ? measured : best;
        }
        Console.WriteLine($"{name,-14} {engine.ToString().ToLowerInvariant(),-12} {best.Mips,8:F1} MIPS, {best.Exits} exits of translated code");
    }

    /// <summary>Runs a loop for about a number of instructions; a HLT in ring 0 ends it.</summary>
    private static (double Mips, long Exits) Measure(Action<Assembler> loop, long instructions, EngineKind engine)
    {
        using var memory = new MachineMemory(1024, 16);
        using var processor = new Processor(memory, new ProcessorOptions { HostOwnsRing0 = false, Engine = engine });
        var assembler = new Assembler(32);
        loop(assembler);
        var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), CodeAddress);
        memory.Write(CodeAddress, code.ToArray());
        processor.State.Eip = CodeAddress;
        processor.State.General[(int)Register32.Esp] = 0x80000;
        processor.State.General[(int)Register32.Ebx] = DataAddress;
        processor.State.General[(int)Register32.Ecx] = (uint)(instructions / 10);
        var watch = Stopwatch.StartNew();
        processor.Run();
        double mips = processor.InstructionCount / watch.Elapsed.TotalSeconds / 1e6;
        return (mips, processor.CodeExits.Values.Sum());
    }

    private static void Integer(Assembler a)
    {
        Label loop = a.CreateLabel();
        Label skip = a.CreateLabel();
        a.fninit();
        a.mov(eax, 1);
        a.Label(ref loop);
        a.lea(eax, __[eax + eax * 4 + 7]);
        a.mov(edx, eax);
        a.shr(edx, 3);
        a.xor(eax, edx);
        a.test(al, 4);
        a.jz(skip);
        a.add(esi, eax);
        a.Label(ref skip);
        a.sub(edi, 3);
        a.and(edi, 0xFFFF);
        a.dec(ecx);
        a.jnz(loop);
        a.hlt();
    }

    private static void Memory(Assembler a)
    {
        Label loop = a.CreateLabel();
        a.Label(ref loop);
        a.mov(eax, __[ebx + esi * 4]);
        a.add(eax, ecx);
        a.mov(__[ebx + esi * 4 + 0x10000], eax);
        a.add(__dword_ptr[ebx + 0x20000], eax);
        a.push(eax);
        a.inc(esi);
        a.and(esi, 0x3FFF);
        a.pop(edx);
        a.dec(ecx);
        a.jnz(loop);
        a.hlt();
    }

    private static void X87(Assembler a)
    {
        Label loop = a.CreateLabel();
        a.fninit();
        a.fldpi();
        a.fld1();
        a.Label(ref loop);
        a.fld(st1);
        a.fmul(st0, st1);
        a.fadd(st1, st0);
        a.fstp(__qword_ptr[ebx]);
        a.fld(__qword_ptr[ebx]);
        a.fsqrt();
        a.faddp(st1, st0);
        a.fchs();
        a.dec(ecx);
        a.jnz(loop);
        a.hlt();
    }
}
