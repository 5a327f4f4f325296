// Runs one integer encoding on the native CPU and on the reference path from the same registers and memory, and compares what is left.
// The bytes are the same on both sides but for the address-size prefix that makes 64-bit mode compute 32-bit addresses.

using System.Buffers.Binary;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Integer;

/// <summary>An encoding: opcode bytes, /digit or -1 for /r, operand bytes 1 or 0 for both 2 and 4, immediate bytes (4 = operand size).</summary>
public sealed record IntegerForm(string Name, byte[] Opcode, int Digit = -1, bool Byte = false, int Immediate = 0, bool HasModRm = true);

/// <summary>The two processors, side by side.</summary>
internal sealed class NativeDifference(int seed) : IDisposable
{
    /// <summary>Memory that operands lie in and that is compared: across a page boundary.</summary>
    public const int WindowSize = 512;

    private static readonly uint[] Edges =
    [
        0, 1, 2, 7, 8, 0xF, 0x10, 0x1F, 0x20, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000,
        0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FF80, 0xFFFF_FFFF,
    ];

    private readonly NativeCpu native = new();
    private readonly TestMachine machine = new();

    public Random Random { get; } = new(seed);

    public uint WindowAddress => native.ScratchAddress + 4096 - (WindowSize / 2);

    public Span<byte> Window => native.Scratch.Slice(4096 - (WindowSize / 2), WindowSize);

    public TestMachine Machine => machine;

    /// <summary>A value that is often an interesting one.</summary>
    public uint Value() => Random.Next(3) switch
    {
        0 => Edges[Random.Next(Edges.Length)],
        1 => 1u << Random.Next(32),
        _ => (uint)Random.NextInt64(1L << 32),
    };

    /// <summary>Random registers, flags and window.</summary>
    public NativeState Prepare()
    {
        var state = new NativeState { Eflags = (uint)Random.Next() & Eflags.Status };
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = Value();
        }
        Span<byte> window = Window;
        for (int i = 0; i < WindowSize; i += 4)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(window[i..], Value());
        }
        return state;
    }

    /// <summary>Encodes a form with random operands; a memory operand's base register is pointed into the window.</summary>
    /// <returns>The encoding for 32-bit mode.</returns>
    public byte[] Encode(IntegerForm form, int size, ref NativeState state, bool? memory = null)
    {
        var bytes = new List<byte>();
        if (size == 2)
        {
            bytes.Add(0x66);
        }
        bytes.AddRange(form.Opcode);
        if (form.HasModRm)
        {
            int reg = form.Digit >= 0 ? form.Digit : Random.Next(8);
            if (memory ?? Random.Next(2) == 0)
            {
                int register = Random.Next(8);
                register = register == (int)Register32.Esp ? (int)Register32.Ebp : register;
                uint displacement = Value();
                uint target = WindowAddress + (uint)Random.Next(64, WindowSize - 64);
                state.General[register] = target - displacement;
                bytes.Add((byte)(0x80 | (reg << 3) | register));
                AddImmediate(bytes, displacement, 4);
            }
            else
            {
                bytes.Add((byte)(0xC0 | (reg << 3) | Random.Next(8)));
            }
        }
        AddImmediate(bytes, Value(), form.Immediate == 4 ? size : form.Immediate);
        return [.. bytes];
    }

    private static void AddImmediate(List<byte> bytes, uint value, int size)
    {
        for (int i = 0; i < size; i++)
        {
            bytes.Add((byte)(value >> (8 * i)));
        }
    }

    /// <summary>Executes the bytes on both and asserts that everything but the undefined flags is equal.</summary>
    public void Check(string name, byte[] code, in NativeState before, uint undefinedFlags)
    {
        machine.Memory.Write(WindowAddress, Window);
        machine.Load(code);
        before.CopyTo(ref machine.State);
        bool completed = machine.Step();
        NativeState actual = NativeState.From(machine.State);

        NativeState expected = before;
        native.Run([0x67, .. code], ref expected);

        bool equal = completed && machine.State.Eip == TestMachine.CodeAddress + code.Length
            && ((expected.Eflags ^ actual.Eflags) & ~undefinedFlags) == 0
            && Window.SequenceEqual(machine.Read(WindowAddress, WindowSize));
        for (int i = 0; i < 8; i++)
        {
            equal &= expected.General[i] == actual.General[i];
        }
        if (!equal)
        {
            string outcome = completed ? "completed" : $"fault {machine.FaultVector}";
            Assert.Fail($"{name}: {Disassemble(code)} [{Convert.ToHexString(code)}], seed {seed}, {outcome}\n" +
                $"before   {Describe(before)}\nexpected {Describe(expected)}\nactual   {Describe(actual)}");
        }
    }

    /// <summary>Checks a form in all sizes with many operands.</summary>
    public void CheckForm(IntegerForm form, uint undefinedFlags = 0, int rounds = 150, bool? memory = null)
    {
        foreach (int size in form.Byte ? (int[])[1] : [2, 4])
        {
            for (int round = 0; round < rounds; round++)
            {
                NativeState state = Prepare();
                byte[] code = Encode(form, size, ref state, memory);
                Check(form.Name, code, state, undefinedFlags);
            }
        }
    }

    public static string Disassemble(byte[] code)
    {
        Decoder decoder = Decoder.Create(32, new ByteArrayCodeReader(code));
        return decoder.Decode().ToString();
    }

    private static string Describe(in NativeState state)
    {
        string text = $"flags {state.Eflags:X3}";
        for (int i = 0; i < 8; i++)
        {
            text += $" {(Register32)i} {state.General[i]:X8}";
        }
        return text;
    }

    public void Dispose()
    {
        native.Dispose();
        machine.Dispose();
    }
}
