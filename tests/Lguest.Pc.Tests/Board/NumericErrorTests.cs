// Numeric errors as programs of the PC's first ten years expect them: with CR0.NE clear, an x87 exception is not vector 16, which was the
// BIOS's screen, but interrupt 13 of the board.

using Iced.Intel;
using Lguest.Pc.Board;
using Lguest.X86;
using Lguest.X86.Memory;
using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Pc.Tests.Board;

public sealed class NumericErrorTests
{
    private const uint Code = 0x1_0000;
    private const uint Handler = 0x2_0000;
    private const uint Gdt = 0x1000;
    private const uint Idt = 0x2000;
    private const uint ControlWord = 0x3000;
    private const byte Vector = 0x75;
    private const ushort CodeSelector = 8;

    [Theory]
    [InlineData(EngineKind.Interpreter)]
    [InlineData(EngineKind.Auto)]
    public void EachErrorIsAnInterruptAndTheInstructionThatWaitedGoesOn(EngineKind engine)
    {
        const int errors = 40;
        using var memory = new MachineMemory(1024, 16);
        using PcGuest guest = Make(memory, engine, a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, errors);
            a.sti();
            a.Label(ref again);
            a.fninit();
            a.fldcw(__word_ptr[ControlWord]);
            a.fld1();
            a.fldz();
            a.fdivp(st1, st0);
            a.wait();
            a.inc(esi);
            a.dec(ecx);
            a.jne(again);
            a.cli();
            a.hlt();
        });
        Assert.Equal(new PcEnd(PcEndKind.Halted), guest.Run());
        ref CpuState state = ref guest.Processor.State;
        Assert.Equal((errors, errors), ((int)state.General[(int)Register32.Edi], (int)state.General[(int)Register32.Esi]));
    }

    [Theory]
    [InlineData(EngineKind.Interpreter)]
    [InlineData(EngineKind.Auto)]
    public void AnErrorThatNobodySeesToStopsTheProcessor(EngineKind engine)
    {
        using var memory = new MachineMemory(1024, 16);
        using PcGuest guest = Make(memory, engine, a =>
        {
            a.fldcw(__word_ptr[ControlWord]);
            a.fld1();
            a.fldz();
            a.fdivp(st1, st0);
            a.inc(esi);
            a.wait();
            a.inc(esi);
            a.hlt();
        });
        Assert.Equal(new PcEnd(PcEndKind.Halted), guest.Run());
        ref CpuState state = ref guest.Processor.State;
        Assert.Equal((0u, 1u), (state.General[(int)Register32.Edi], state.General[(int)Register32.Esi]));
        Assert.Equal(0x9B, memory.Read<byte>(state.Eip));
    }

    private static PcGuest Make(MachineMemory memory, EngineKind engine, Action<Assembler> program)
    {
        memory.Write(Gdt + CodeSelector, 0x00CF_9B00_0000_FFFFul);
        memory.Write(Idt + (Vector * 8), (ulong)Handler >> 16 << 48 | 0x8E00_0000_0000 | ((ulong)CodeSelector << 16) | (Handler & 0xFFFF));
        // Division by zero is not masked.
        memory.Write(ControlWord, (ushort)0x37B);
        Assemble(memory, Code, a =>
        {
            a.mov(eax, cr0);
            a.and(eax, ~(int)Cr0.NumericError);
            a.mov(cr0, eax);
            // The interrupt controllers: vectors from 0x20 and from 0x70 on; only interrupt 13 is not masked.
            foreach ((byte port, byte value) in (ReadOnlySpan<(byte, byte)>)[(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0xA0, 0x11), (0xA1, 0x70), (0xA1, 2), (0xA1, 1), (0x21, 0xFB), (0xA1, 0xDF)])
            {
                a.mov(al, value);
                a.@out(port, al);
            }
            program(a);
        });
        Assemble(memory, Handler, a =>
        {
            a.inc(edi);
            a.@out(0xF0, al);
            // From here on the error holds nothing up.
            a.fld1();
            a.fstp(st0);
            a.fnclex();
            a.mov(al, 0x20);
            a.@out(0xA0, al);
            a.@out(0x20, al);
            a.iretd();
        });
        var guest = new PcGuest(memory, new PcOptions { Console = new Silence(), Processor = new ProcessorOptions { Engine = engine } });
        ref CpuState state = ref guest.Processor.State;
        state.Gdtr = new DescriptorTable { Base = Gdt, Limit = 0xF };
        state.Idtr = new DescriptorTable { Base = Idt, Limit = 0x7FF };
        state.Segments[(int)SegmentName.CS].Selector = CodeSelector;
        state.General[(int)Register32.Esp] = 0x8_0000;
        state.Eip = Code;
        guest.Processor.StateChanged();
        return guest;
    }

    private static void Assemble(MachineMemory memory, uint address, Action<Assembler> write)
    {
        var assembler = new Assembler(32);
        write(assembler);
        var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), address);
        memory.Write(address, code.ToArray());
    }

    /// <summary>Nobody at the other end of the serial port.</summary>
    private sealed class Silence : ISerialConsole
    {
        public void Send(byte value, bool isPolled)
        {
        }

        public void Print(byte value)
        {
        }

        public bool TryReceive(out byte value)
        {
            value = 0;
            return false;
        }

        public void Flush()
        {
        }
    }
}
