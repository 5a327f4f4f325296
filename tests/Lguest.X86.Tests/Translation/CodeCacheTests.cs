// The code cache is a fixed piece of memory, and code in it runs without asking anybody: so it must be right when it is full, and it must
// let go when another thread calls.

using Iced.Intel;
using Lguest.X86.Execution;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using Lguest.X86.Tests.SystemLevel;
using Lguest.X86.Translation;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>The code cache is bounded, and nobody notices but who counts.</summary>
public sealed class CodeCacheTests
{
    [Fact]
    public void AProgramLargerThanTheCacheRunsRight()
    {
        const int blocks = 6000;
        const int rounds = 3;
        using var machine = new TestMachine(new ProcessorOptions
        {
            HostOwnsRing0 = false,
            Engine = EngineKind.Translator,
            TranslateAfter = 0,
            CodeCacheBytes = 256 << 10,
        });
        machine.Load(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, rounds);
            a.Label(ref again);
            for (int i = 0; i < blocks; i++)
            {
                Label next = a.CreateLabel();
                a.add(eax, i);
                a.jmp(next);
                a.Label(ref next);
                a.xor(__dword_ptr[0x20_0000 + (i % 64 * 4)], eax);
            }
            a.dec(ecx);
            a.jnz(again);
            a.hlt();
        });
        Assert.Equal(ExitKind.Halt, machine.Processor.Run().Kind);
        uint expected = 0;
        uint[] words = new uint[64];
        for (int round = 0; round < rounds; round++)
        {
            for (uint i = 0; i < blocks; i++)
            {
                expected += i;
                words[i % 64] ^= expected;
            }
        }
        Assert.Equal(expected, machine.State.General[(int)Register32.Eax]);
        for (uint i = 0; i < 64; i++)
        {
            Assert.Equal(words[i], machine.Memory.Read<uint>(0x20_0000 + (i * 4)));
        }
        Assert.True(machine.Processor.Translator!.Forgotten > rounds * blocks / 2, $"{machine.Processor.Translator.Forgotten} were given up");
    }

    [Theory]
    [InlineData(EngineKind.Interpreter)]
    [InlineData(EngineKind.Translator)]
    public void WhatIsGivenUpIsForgottenEverywhere(EngineKind engine)
    {
        const uint first = 0x10_0000;
        const uint pages = 200;
        const uint shared = first + (pages << 12);
        using var machine = new TestMachine(new ProcessorOptions
        {
            HostOwnsRing0 = false,
            Engine = engine,
            TranslateAfter = 0,
            CodeCacheBytes = 256 << 10,
        });
        BlockCache blocks = machine.Processor.Blocks;
        machine.State.General[(int)Register32.Esp] = 0x8_0000;
        machine.Memory.Write(shared, TestMachine.Assemble(a => { a.inc(eax); a.ret(); }, shared));
        for (uint page = 0; page < pages; page++)
        {
            machine.Memory.Write(first + (page << 12), TestMachine.Assemble(a =>
            {
                // Jumps within the page, a call that all pages have in common, whose target outlives its callers, and a jump to the next page.
                a.call(shared);
                for (int i = 0; i < 20; i++)
                {
                    Label next = a.CreateLabel();
                    a.inc(eax);
                    a.jnz(next);
                    a.Label(ref next);
                }
                if (page == pages - 1)
                {
                    a.hlt();
                    return;
                }
                a.mov(edx, first + ((page + 1) << 12));
                if (page % 2 == 0)
                {
                    a.jmp(edx);
                }
                else
                {
                    a.jmp(first + ((page + 1) << 12));
                }
            }, first + (page << 12)));
        }
        var counts = new List<CacheCount>();
        for (int round = 1; round <= 12; round++)
        {
            machine.State.Eip = first;
            Assert.Equal(ExitKind.Halt, machine.Processor.Run().Kind);
            Assert.Equal(21 * pages * (uint)round, machine.State.General[(int)Register32.Eax]);
            counts.Add(CacheCount.Of(machine.Processor));
        }
        // The last page is linked to what all call, and dies.
        const uint last = first + ((pages - 1) << 12);
        for (int i = 0; i < 3; i++)
        {
            machine.State.Eip = last;
            Assert.Equal(ExitKind.Halt, machine.Processor.Run().Kind);
        }
        int members = CacheCount.Of(machine.Processor).Members;
        machine.Memory.Write(last, machine.Memory.Read<uint>(last));
        Assert.InRange(CacheCount.Of(machine.Processor).Members, 1, members - 40);
        Assert.True(blocks.Evicted > 10_000, $"{blocks.Evicted} blocks were given up");
        // The first rounds fill the cache; behind them nothing grows.
        Assert.All(counts[3..], count => Assert.InRange(count.Members, counts[2].Members / 2, counts[2].Members * 3 / 2));
        Assert.All(counts, count => Assert.InRange(count.Held, 1, (256 << 10) / 300));
    }

    /// <summary>The most code that comes before the last rest, and the longest rest behind it.</summary>
    [Fact]
    public void TheLongestRestFitsBehindTheLongestBlocks()
    {
        const int turns = 100;
        const uint stack = 0x20_0000;
        using SystemMachine machine = MachineWithSelectors(stack, turns);
        byte vector = machine.Run(a =>
        {
            Label top = a.CreateLabel();
            Label second = a.CreateLabel();
            a.mov(ebp, turns);
            a.mov(ebx, stack + 0xFFC);
            a.Label(ref top);
            WriteLoads(a);
            a.mov(esp, stack);
            a.jmp(second);
            // Two accesses across a page border.
            a.Label(ref second);
            a.mov(__dword_ptr[ebx], eax);
            a.mov(__dword_ptr[ebx + 4], eax);
            WriteLoads(a);
            a.mov(esp, stack);
            a.dec(ebp);
            a.jnz(top);
            a.mov(esp, SystemMachine.Stack);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(SystemMachine.Done, vector);
        machine.State.Eip = SystemMachine.Code + 10;
        // SAFETY: the block and its code are the machine's.
        unsafe
        {
            Block* head = machine.Processor.FindBlock(null);
            head->MissesRuns = true;
            Translator translator = machine.Processor.Translator!;
            translator.Arena.Begin();
            byte* cold = translator.Arena.Cold.Cursor;
            translator.Translate(head);
            Assert.Equal(2, translator.Superblock.Count);
            Assert.InRange(translator.Arena.Cold.Cursor - cold, 20 << 10, CodeArena.LargestBlock);
        }
    }

    /// <summary>A machine whose stack holds selectors, and which has not yet translated a loop of so many turns.</summary>
    private static SystemMachine MachineWithSelectors(uint stack, int turns)
    {
        Assert.SkipWhen(Differential.TestSettings.Engine is "interpreter" or "unchained", "no superblocks in this run");
        var machine = new SystemMachine(codeCacheBytes: 1 << 20, translateAfter: turns + 1);
        for (uint i = 0; i < 0x400; i += 4)
        {
            machine.Memory.Write(stack + i, (uint)SystemMachine.Data0);
        }
        return machine;
    }

    /// <summary>As many as fit into a block, behind flags that each of their exits has to calculate.</summary>
    private static void WriteLoads(Assembler a)
    {
        a.add(eax, 0x1234_5678);
        for (int i = 0; i < 61; i++)
        {
            a.pop(fs);
        }
    }

    /// <summary>Blocks of the instructions that take most code and most exits, one behind the other, in a loop.</summary>
    [Fact]
    public void TheLargestTranslationFitsItsRoom()
    {
        const int turns = 100;
        const uint stack = 0x20_0000;
        using SystemMachine machine = MachineWithSelectors(stack, turns);
        byte vector = machine.Run(a =>
        {
            Label top = a.CreateLabel();
            a.mov(ebx, turns);
            a.Label(ref top);
            a.mov(esi, stack);
            a.mov(edi, stack + 0x800);
            for (int i = 0; i < 20; i++)
            {
                Label next = a.CreateLabel();
                a.mov(esp, stack);
                for (int j = 0; j < 30; j++)
                {
                    a.pop(es);
                    a.movsd();
                }
                a.jmp(next);
                a.Label(ref next);
                a.nop();
            }
            a.dec(ebx);
            a.jnz(top);
            a.mov(esp, SystemMachine.Stack);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(SystemMachine.Done, vector);
        machine.State.Eip = SystemMachine.Code + 5;
        // SAFETY: the block and its code are the machine's.
        unsafe
        {
            Block* head = machine.Processor.FindBlock(null);
            Translator translator = machine.Processor.Translator!;
            translator.Arena.Begin();
            byte* hot = translator.Arena.Hot.Cursor;
            byte* cold = translator.Arena.Cold.Cursor;
            translator.Translate(head);
            Assert.True(translator.Superblock.Count > 1);
            Assert.InRange(translator.Arena.Hot.Cursor - hot, 1024, CodeArena.LargestBlock);
            Assert.InRange(translator.Arena.Cold.Cursor - cold, 1024, CodeArena.LargestBlock);
            Assert.InRange(head->Translation.Records, 1u, 1024u);
        }
    }

    [Theory]
    [InlineData(EngineKind.Interpreter, 0u)]
    [InlineData(EngineKind.Translator, 0x10u)]
    public void ABlockThatCannotBeTranslatedNeverBecomesHot(EngineKind engine, uint dataBase)
    {
        using var machine = new TestMachine(new ProcessorOptions { HostOwnsRing0 = false, Engine = engine });
        machine.SetSegmentBase(SegmentName.DS, dataBase);
        machine.Load(a => a.jmp(TestMachine.CodeAddress));
        // SAFETY: the block lives as long as the machine.
        unsafe
        {
            // A loop that counts down from 2^31 is through in half a minute.
            Assert.True(machine.Processor.FindBlock(null)->Heat > 1L << 60);
        }
    }

    private static readonly string[] Loops =
        ["to itself", "counted", "counted without end", "memory", "indirect", "calls", "two ways", "flags only", "around the end of memory"];

    // At once each block is written alone, later in one superblock with the blocks behind it.
    public static TheoryData<string, int> LoopsAndHeats => [.. Loops.SelectMany(static loop => new (string, int)[] { (loop, 0), (loop, 8) })];

    [Theory]
    [MemberData(nameof(LoopsAndHeats))]
    public async Task AnotherThreadBreaksEveryLoop(string kind, int translateAfter)
    {
        using var machine = new TestMachine(new ProcessorOptions { HostOwnsRing0 = true, Engine = EngineKind.Translator, TranslateAfter = translateAfter });
        Processor processor = machine.Processor;
        machine.SetPrivilegeLevel(3);
        // Gate 0x20 leads to ring 0, which is the caller of Run.
        const uint table = 0x1000;
        machine.Memory.Write(table + 8, 0x00CF_9B00_0000_FFFFul);
        machine.State.Gdtr = new DescriptorTable { Base = table, Limit = 0xFF };
        machine.State.Idtr = new DescriptorTable { Base = table + 0x100, Limit = 0x7FF };
        machine.Memory.Write(table + 0x100 + (0x20 * 8), 0x0000_8E00_0008_0000ul);
        machine.State.SystemFlags |= Eflags.Interrupt;
        machine.Load(a => WriteLoop(a, kind));
        if (kind == "around the end of memory")
        {
            MapLastPage(machine);
        }
        Task<ProcessorExit> run = Task.Run(processor.Run, TestContext.Current.CancellationToken);
        // The first instructions only lead to the loop.
        while (processor.InstructionCount < 1000)
        {
            Assert.False(run.IsCompleted);
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }
        processor.RequestInterrupt(0x20);
        ProcessorExit exit = await run.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.Equal((ExitKind.HostRing, (byte)0x20), (exit.Kind, exit.Vector));
    }

    /// <summary>Page tables that show 4 MiB where they are, and a last page of NOPs, behind which comes the first.</summary>
    private static void MapLastPage(TestMachine machine)
    {
        const uint directory = 0x4000;
        const uint table = 0x5000;
        const uint lastTable = 0x6000;
        const uint lastFrame = 0x7000;
        const uint userWritable = 7;
        machine.Memory.Write(directory, table | userWritable);
        machine.Memory.Write(directory + (1023 * 4), lastTable | userWritable);
        machine.Memory.Write(lastTable + (1023 * 4), lastFrame | userWritable);
        for (uint page = 0; page < 1024; page++)
        {
            machine.Memory.Write(table + (page * 4), (page << 12) | userWritable);
            machine.Memory.Write(lastFrame + (page * 4), 0x9090_9090u);
        }
        machine.Memory.Write(0, TestMachine.Assemble(a => a.jmp(LastPage), 0));
        machine.State.Cr0 |= Cr0.Paging;
        machine.Processor.CurrentAddressSpace = machine.Processor.CreateAddressSpace(directory);
    }

    private const uint LastPage = 0xFFFF_F000;

    private static void WriteLoop(Assembler a, string kind)
    {
        const uint moveBytes = 5;
        Label top = a.CreateLabel();
        Label other = a.CreateLabel();
        Label third = a.CreateLabel();
        a.mov(esi, 0x20_0000);
        a.mov(esp, 0x30_0000);
        a.mov(edi, TestMachine.CodeAddress + (3 * moveBytes));
        a.Label(ref top);
        switch (kind)
        {
            case "to itself":
                a.jmp(top);
                break;
            case "counted":
                a.add(eax, ecx);
                a.dec(ecx);
                a.jmp(top);
                break;
            case "counted without end":
                a.mov(ecx, -1);
                a.dec(ecx);
                a.jnz(top);
                break;
            case "memory":
                a.inc(__dword_ptr[esi]);
                a.mov(eax, __[esi]);
                a.test(eax, eax);
                a.jmp(top);
                break;
            case "indirect":
                a.jmp(edi);
                break;
            case "around the end of memory":
                a.mov(eax, LastPage);
                a.jmp(eax);
                break;
            case "two ways":
                // The way back is in the middle of a superblock, which is left forwards.
                a.jmp(third);
                a.Label(ref other);
                a.inc(eax);
                a.test(al, 1);
                a.jz(third);
                a.nop();
                a.Label(ref third);
                a.dec(ecx);
                a.jmp(other);
                break;
            case "calls":
                a.call(other);
                a.jmp(top);
                a.Label(ref other);
                a.ret();
                break;
            default:
                a.stc();
                a.jc(top);
                break;
        }
    }
}
