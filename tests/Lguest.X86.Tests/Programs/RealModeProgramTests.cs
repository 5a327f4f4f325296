// Random programs of real mode against Unicorn: 16-bit and 32-bit operands and addresses, segments loaded on the way, far transfers. The
// same programs then run in virtual-8086 mode, behind page tables and with IOPL 3, where they must not notice the difference.
// Where Unicorn is more lenient than silicon - it checks no limit of 64 KiB - a program ends in a fault here and is not compared.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Programs;

public sealed class RealModeProgramTests : IDisposable
{
    private const int Programs = 400;
    private const uint Start = 0x8000;
    private const uint DataStart = 0x2_0000;
    private const int DataLength = 0x5_0000;
    private const uint MemorySize = 0x11_0000;

    private const uint Handler = 0x600;
    private const uint Gdt = 0x1000;
    private const uint Idt = 0x1800;
    private const uint Tss = 0x3000;
    private const uint Directory = 0x4000;
    private const uint Table = 0x5000;
    private const uint Stack0 = 0x7000;
    private const ushort Code0 = 8;
    private const ushort Data0 = 16;
    private const ushort Task = 24;

    private static readonly ushort[] DataSegments = [0x2000, 0x3000, 0x4801, 0x2FFF];
    private static readonly AssemblerRegister16[] Words = [ax, bx, dx, si, di, bp];
    private static readonly AssemblerRegister32[] DoubleWords = [eax, ebx, edx, esi, edi, ebp];
    private static readonly AssemblerRegister8[] Bytes = [al, bl, dl, ah, bh, dh];

    private readonly Unicorn unicorn = new(16);
    private readonly TestMachine machine = new();
    private readonly Random random = TestSettings.RandomFor("real mode");

    public RealModeProgramTests() => unicorn.Map(0, MemorySize);

    [Fact]
    public void EngineAgreesWithUnicorn()
    {
        int compared = 0;
        int rounds = TestSettings.RoundsOf(Programs);
        for (int round = rounds; round > 0; round--)
        {
            byte[] code = Program(random.Next(3, 40), out uint end);
            byte[] data = new byte[DataLength];
            random.NextBytes(data);
            uint[] registers = [.. Enumerable.Range(0, 8).Select(_ => (uint)random.Next())];
            registers[(int)Register32.Esp] = 0x8000u + (uint)random.Next(0, 0x1000);
            uint eflags = ((uint)random.Next() & Eflags.Status) | Eflags.IoPrivilege | Eflags.AlwaysOne;
            string ours = RunHere(code, data, registers, eflags, end, out byte[] memory);
            if (ours.Length == 0)
            {
                continue;
            }
            compared++;
            string theirs = RunUnicorn(code, data, registers, eflags, end);
            Span<byte> expected = unicorn.Memory(DataStart, DataLength);
            int different = expected.CommonPrefixLength(memory);
            string where = $"{TestSettings.Description}, program {round}\n{Listing(code)}";
            Assert.True(ours == theirs, $"{where}\nhere    {ours}\nUnicorn {theirs}");
            Assert.True(different == DataLength, $"{where}\nmemory differs at {DataStart + different:x}");
            string inVirtualMode = RunVirtual(code, data, registers, eflags, end);
            Assert.True(ours == inVirtualMode, $"{where}\nreal    {ours}\nvirtual {inVirtualMode}");
            Assert.True(memory.AsSpan().SequenceEqual(machine.Read(DataStart, DataLength)), $"{where}\nmemory differs in virtual-8086 mode");
        }
        Assert.True(compared > rounds * 3 / 4, $"only {compared} of {rounds} programs ended");
    }

    public void Dispose()
    {
        unicorn.Dispose();
        machine.Dispose();
    }

    private string RunHere(byte[] code, byte[] data, uint[] registers, uint eflags, uint end, out byte[] memory)
    {
        machine.Processor.ResetToRealMode();
        machine.Memory.Write(Start, code);
        machine.Memory.Write(DataStart, data);
        for (uint vector = 0; vector < 32; vector++)
        {
            machine.Memory.Write(vector * 4, 0x0050_0000u);
        }
        machine.Memory.Write(0x500, (byte)0xF4);
        for (int i = 0; i < 8; i++)
        {
            machine.State.General[i] = registers[i];
        }
        machine.State.Eflags = eflags;
        machine.State.Idtr.Limit = 0x3FF;
        for (int i = 0; i < 6; i++)
        {
            machine.Processor.LoadSegment((SegmentName)i, InitialSelector((SegmentName)i));
        }
        machine.State.Eip = Start;
        ProcessorExit exit = machine.Processor.Run();
        memory = machine.Read(DataStart, DataLength);
        uint stopped = machine.State.Segments[(int)SegmentName.CS].Base + machine.State.Eip - 1;
        if (exit.Kind != ExitKind.Halt || stopped != end)
        {
            return "";
        }
        CpuState s = machine.State;
        return Describe(i => s.General[i], i => s.Segments[i].Selector, s.Eflags);
    }

    private string RunVirtual(byte[] code, byte[] data, uint[] registers, uint eflags, uint end)
    {
        machine.Memory.Write(Start, code);
        machine.Memory.Write(DataStart, data);
        MakeTables();
        machine.Processor.ResetToRealMode();
        ref CpuState state = ref machine.State;
        state.Gdtr = new DescriptorTable { Base = Gdt, Limit = 31 };
        state.Idtr = new DescriptorTable { Base = Idt, Limit = 0xFF };
        state.Cr3 = Directory;
        machine.Processor.CurrentAddressSpace.Directory = Directory;
        machine.Processor.SetCr0(Cr0.ProtectionEnable | Cr0.ExtensionType | Cr0.NumericError | Cr0.Paging | Cr0.WriteProtect);
        state.TaskRegister = new Segment { Selector = Task, Base = Tss, Limit = 0x67, Attributes = 0x8B00 };
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = registers[i];
        }
        state.Eflags = eflags | Eflags.Virtual8086;
        machine.Processor.SetPrivilegeLevel(3);
        for (int i = 0; i < 6; i++)
        {
            machine.Processor.LoadSegment((SegmentName)i, InitialSelector((SegmentName)i));
        }
        state.Eip = Start;
        ProcessorExit exit = machine.Processor.Run();

        // HLT has faulted to the handler: error code, EIP, CS, EFLAGS, ESP, and SS, ES, DS, FS, GS.
        uint[] frame = [.. Enumerable.Range(0, 10).Select(i => machine.Memory.Read<uint>(Stack0 - 40 + ((uint)i * 4)))];
        if (exit.Kind != ExitKind.Halt || state.Eip != Handler + 1 || (frame[2] * 16) + frame[1] != end)
        {
            return $"{exit} at {state.Eip:x}, frame {string.Join(' ', frame.Select(word => $"{word:x}"))}";
        }
        CpuState after = machine.State;
        int[] places = [6, 2, 5, 7, 8, 9];
        return Describe(i => i == (int)Register32.Esp ? frame[4] : after.General[i], i => (ushort)frame[places[i]], frame[3]);
    }

    private void MakeTables()
    {
        ulong[] descriptors = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0];
        for (uint i = 0; i < descriptors.Length; i++)
        {
            machine.Memory.Write(Gdt + (i * 8), descriptors[i]);
        }
        for (uint vector = 0; vector < 32; vector++)
        {
            machine.Memory.Write(Idt + (vector * 8), 0x0000_8E00_0000_0000ul | ((ulong)Code0 << 16) | Handler);
        }
        machine.Memory.Write(Handler, (byte)0xF4);
        machine.Memory.Write(Tss + 4, Stack0);
        machine.Memory.Write(Tss + 8, (uint)Data0);
        machine.Memory.Write(Directory, Table | 7);
        for (uint page = 0; page < 0x400; page++)
        {
            machine.Memory.Write(Table + (page * 4), (page << 12) | 7);
        }
    }

    private string RunUnicorn(byte[] code, byte[] data, uint[] registers, uint eflags, uint end)
    {
        unicorn.Reset();
        unicorn.WriteCode(Start, code);
        data.CopyTo(unicorn.Memory(DataStart, DataLength));
        for (int i = 0; i < 8; i++)
        {
            unicorn.SetGeneral(i, registers[i]);
        }
        for (int i = 0; i < 6; i++)
        {
            unicorn.LoadSegment((SegmentName)i, InitialSelector((SegmentName)i));
        }
        unicorn.Eflags = eflags;
        unicorn.Eip = Start;
        Unicorn.Outcome outcome = unicorn.Run(1_000_000, end);
        return outcome.Completed
            ? Describe(unicorn.GetGeneral, i => unicorn.GetSelector((SegmentName)i), unicorn.Eflags)
            : $"vector {outcome.Vector}";
    }

    private static ushort InitialSelector(SegmentName name) => name switch
    {
        SegmentName.CS => 0,
        SegmentName.SS => 0x5000,
        _ => DataSegments[(int)name % DataSegments.Length],
    };

    private static string Describe(Func<int, uint> general, Func<int, ushort> selector, uint eflags) =>
        string.Join(' ', Enumerable.Range(0, 8).Select(i => $"{(Register32)i}={general(i):x}"))
        + " " + string.Join(' ', Enumerable.Range(0, 6).Select(i => $"{(SegmentName)i}={selector(i):x}"))
        + $" flags={eflags & (Eflags.Status | Eflags.Direction):x}";

    private static string Listing(byte[] code)
    {
        var text = new StringWriter();
        Decoder decoder = Decoder.Create(16, code);
        decoder.IP = Start;
        while (decoder.IP < Start + (ulong)code.Length)
        {
            Instruction instruction = decoder.Decode();
            text.WriteLine($"{instruction.IP16:x4} {instruction}");
        }
        return text.ToString();
    }

    private byte[] Program(int length, out uint end)
    {
        var a = new Assembler(16);
        for (int i = 0; i < length; i++)
        {
            WriteUnit(a);
        }
        Label last = a.CreateLabel();
        a.Label(ref last);
        a.hlt();
        var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), Start);
        end = Start + (uint)stream.Length - 1;
        return stream.ToArray();
    }

    private T Any<T>(T[] list) => list[random.Next(list.Length)];

    private AssemblerMemoryOperand Memory(AssemblerMemoryOperandFactory factory)
    {
        AssemblerMemoryOperandFactory segment = random.Next(8) switch
        {
            0 => factory.es,
            1 => factory.ss,
            2 => factory.fs,
            3 => factory.gs,
            _ => factory,
        };
        int displacement = random.Next(-128, 0x100);
        return random.Next(10) switch
        {
            0 => segment[bx + si + displacement],
            1 => segment[bx + di + displacement],
            2 => segment[bp + si + displacement],
            3 => segment[bp + di],
            4 => segment[si + displacement],
            5 => segment[di],
            6 => segment[bx + 0x1234],
            7 => segment[bp + displacement],
            8 => segment[esp + (random.Next(16) * 4)],
            _ => segment[random.Next(0, 0xFFF0)],
        };
    }

    private void WriteUnit(Assembler a)
    {
        switch (random.Next(26))
        {
            case 0: a.mov(Any(Words), Memory(__word_ptr)); break;
            case 1: a.mov(Memory(__word_ptr), Any(Words)); break;
            case 2: a.mov(Memory(__dword_ptr), Any(DoubleWords)); break;
            case 3: a.add(Any(DoubleWords), Memory(__dword_ptr)); break;
            case 4: a.sub(Memory(__byte_ptr), Any(Bytes)); break;
            case 5: a.adc(Any(Words), Any(Words)); break;
            case 6: a.xor(Memory(__word_ptr), random.Next(0x1_0000) - 0x8000); break;
            case 7: a.mov(Any(DoubleWords), random.Next()); break;
            case 8: a.mov(cx, Any(DataSegments)); LoadSegment(a); break;
            case 9: a.push(Any(Words)); a.pop(Any(DoubleWords)); a.sub(sp, 2); break;
            case 10: a.pusha(); a.popa(); break;
            case 11: a.push(ds); a.pop(es); break;
            case 12: String(a); break;
            case 13: a.lea(Any(Words), Memory(__word_ptr)); break;
            case 14: a.lea(Any(DoubleWords), Memory(__dword_ptr)); break;
            case 15: a.shl(Any(Words), 1); a.cmp(al, bl); a.rcr(Any(DoubleWords), 1); break;
            case 16: a.mul(Any(Words)); a.cmp(al, 3); break;
            case 17: Skip(a); break;
            case 18: Repeat(a); break;
            case 19: FarCall(a); break;
            case 20: NearCall(a); break;
            case 21: a.enter((short)random.Next(0, 64), (sbyte)random.Next(0, 3)); a.leave(); break;
            case 22: InterruptReturn(a); break;
            case 23: a.pushf(); a.pop(Any(Words)); a.lahf(); break;
            case 24: a.movzx(Any(DoubleWords), Memory(__word_ptr)); a.cwde(); a.cbw(); break;
            default: a.xchg(Memory(__word_ptr), Any(Words)); a.inc(Any(Bytes)); break;
        }
    }

    private void LoadSegment(Assembler a)
    {
        switch (random.Next(4))
        {
            case 0: a.mov(ds, cx); break;
            case 1: a.mov(es, cx); break;
            case 2: a.mov(fs, cx); break;
            default: a.mov(gs, cx); break;
        }
    }

    private void String(Assembler a)
    {
        if (random.Next(4) == 0)
        {
            a.std();
        }
        a.mov(cx, (short)random.Next(0, 20));
        switch (random.Next(6))
        {
            case 0: a.rep.movsb(); break;
            case 1: a.rep.movsd(); break;
            case 2: a.rep.stosw(); break;
            case 3: a.repe.cmpsb(); a.cmp(al, 1); break;
            case 4: a.repne.scasw(); a.cmp(al, 1); break;
            default: a.lodsw(); break;
        }
        a.cld();
    }

    private void Skip(Assembler a)
    {
        Label over = a.CreateLabel();
        switch (random.Next(5))
        {
            case 0: a.jc(over); break;
            case 1: a.jz(over); break;
            case 2: a.jl(over); break;
            case 3: a.jp(over); break;
            default: a.jcxz(over); break;
        }
        a.inc(bx);
        a.mov(dl, Memory(__byte_ptr));
        a.Label(ref over);
        a.nop();
    }

    private void Repeat(Assembler a)
    {
        Label again = a.CreateLabel();
        a.mov(cx, (short)random.Next(1, 10));
        a.Label(ref again);
        a.add(Any(Words), cx);
        a.rol(Any(Bytes), 1);
        a.loop(again);
    }

    private static void NearCall(Assembler a)
    {
        Label over = a.CreateLabel();
        Label procedure = a.CreateLabel();
        a.call(procedure);
        a.jmp(over);
        a.Label(ref procedure);
        a.inc(ax);
        a.ret();
        a.Label(ref over);
        a.nop();
    }

    /// <summary>Calls what lies behind by another segment, and jumps back to segment 0.</summary>
    private void FarCall(Assembler a)
    {
        Label here = a.CreateLabel();
        ushort segment = (ushort)random.Next(0, 0x700);
        // CALL pushes the offset of what follows; a far pointer to the same place in the other segment is made of it.
        a.call(here);
        a.Label(ref here);
        a.pop(dx);
        a.mov(cx, dx);
        a.sub(cx, (short)(segment * 16));
        a.add(cx, 15);
        a.push((short)segment);
        a.push(cx);
        a.retf();
        a.nop();
        a.nop();
        a.nop();
        a.nop();
        a.mov(bx, cs);
        a.push((short)0);
        a.add(dx, 40);
        a.push(dx);
        a.retf();
        for (int i = 0; i < 16; i++)
        {
            a.nop();
        }
    }

    private static void InterruptReturn(Assembler a)
    {
        Label back = a.CreateLabel();
        a.pushf();
        a.push(cs);
        a.call(back);
        a.Label(ref back);
        a.pop(cx);
        a.add(cx, 7);
        a.push(cx);
        a.iret();
        a.nop();
        a.nop();
        a.nop();
        a.nop();
    }
}
