// Guest block beside host code, as text that says the same wherever memory is mapped: what translating a block has written, with the
// addresses of the block itself as offsets and those of shared code as names.

using System.Text;
using Iced.Intel;
using Lguest.X86.Execution;
using Lguest.X86.Tests.Oracles;
using Lguest.X86.Translation;

namespace Lguest.X86.Tests.Translation;

/// <summary>Lists what the translator makes of a block.</summary>
internal static class BlockListing
{
    /// <summary>Translates the block at the start of some code.</summary>
    public static string Of(Action<Assembler> write)
    {
        using var machine = new TestMachine(Options);
        machine.Load(write);
        return Of(machine);
    }

    /// <summary>The same, after the interpreter has gone through the code often enough to know its ways.</summary>
    public static string OfLoop(Action<Assembler> write)
    {
        const int turns = 800;
        using var machine = new TestMachine(Options with { TranslateAfter = turns + 1 });
        machine.State.General[(int)State.Register32.Ecx] = turns;
        machine.State.General[(int)State.Register32.Esi] = 0x20_0000;
        machine.State.General[(int)State.Register32.Edi] = 0x30_0000;
        machine.Load(write);
        Assert.Equal(ExitKind.Halt, machine.Processor.Run().Kind);
        machine.State.Eip = TestMachine.CodeAddress;
        return Of(machine);
    }

    private static ProcessorOptions Options => new() { HostOwnsRing0 = false, Engine = EngineKind.Translator, CodeCacheBytes = 1 << 20 };

    private static string Of(TestMachine machine)
    {
        // SAFETY: the block belongs to the machine, which the caller keeps; the code's two ranges were just written.
        unsafe
        {
            Block* block = machine.Processor.FindBlock(null);
            Translator translator = machine.Processor.Translator!;
            translator.Arena.Align();
            byte* hot = translator.Arena.Hot.Cursor;
            byte* cold = translator.Arena.Cold.Cursor;
            translator.Translate(block);
            var text = new StringBuilder();
            var formatter = new NasmFormatter();
            var output = new StringOutput();
            foreach (ref readonly DecodedInstruction instruction in translator.Superblock.Instructions)
            {
                formatter.Format(instruction.Instruction, output);
                text.Append("    ").Append(output.ToStringAndReset()).Append('\n');
            }
            var ranges = new Ranges((nint)hot, (nint)translator.Arena.Hot.Cursor, (nint)cold, (nint)translator.Arena.Cold.Cursor, translator);
            text.Append("host, hot\n");
            List(text, ranges.Hot, ranges.HotEnd, ranges);
            text.Append("host, cold\n");
            List(text, ranges.Cold, ranges.ColdEnd, ranges);
            return text.ToString();
        }
    }

    private static void List(StringBuilder text, nint start, nint end, Ranges ranges)
    {
        byte[] bytes = new byte[end - start];
        System.Runtime.InteropServices.Marshal.Copy(start, bytes, 0, bytes.Length);
        var decoder = Iced.Intel.Decoder.Create(64, bytes);
        decoder.IP = (ulong)start;
        var formatter = new NasmFormatter(null, ranges);
        var output = new StringOutput();
        while (decoder.IP < (ulong)end)
        {
            Instruction instruction = decoder.Decode();
            formatter.Format(instruction, output);
            text.Append($"{instruction.IP - (ulong)start,6:x}  ").Append(output.ToStringAndReset()).Append('\n');
        }
    }

    /// <summary>The two ranges of a block's code, which names addresses in them.</summary>
    private sealed class Ranges(nint hot, nint hotEnd, nint cold, nint coldEnd, Translator translator) : ISymbolResolver
    {
        public nint Hot => hot;

        public nint HotEnd => hotEnd;

        public nint Cold => cold;

        public nint ColdEnd => coldEnd;

        public bool TryGetSymbol(in Instruction instruction, int operand, int instructionOperand, ulong address, int addressSize, out SymbolResult symbol)
        {
            nint place = (nint)address;
            string? name = addressSize != 8 ? null
                : place >= hot && place <= hotEnd ? $"hot+{place - hot:x}"
                : place >= cold && place <= coldEnd ? $"cold+{place - cold:x}"
                : translator.NameOf(place);
            symbol = name is null ? default : new SymbolResult(address, name);
            return name is not null;
        }
    }
}
