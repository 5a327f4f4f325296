// Storing and restoring the x87 unit as a whole: the environment, the environment with the registers, and the 512-byte image that
// carries the SSE registers too.

using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    private const int RegisterBytes = 10;
    private const int FxsaveBytes = 512;
    private const int FxsaveRegisters = 32;
    private const int FxsaveXmm = 160;

    private static void RegisterEnvironment(InstructionTable table)
    {
        table.Add(Mnemonic.Fnstenv, Fnstenv);
        table.Add(Mnemonic.Fldenv, Fldenv);
        table.Add(Mnemonic.Fnsave, Fnsave);
        table.Add(Mnemonic.Frstor, Frstor);
        table.Add(Mnemonic.Fxsave, Fxsave);
        table.Add(Mnemonic.Fxrstor, Fxrstor);
    }

    private static void Fnstenv(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        ref FpuState fpu = ref cpu.State.Fpu;
        bool wide = instruction.Code == Code.Fnstenv_m28byte;
        int size = EnvironmentBytes(wide);
        Span<byte> image = stackalloc byte[size];
        StoreEnvironment(ref fpu, image, wide);
        WriteImage(cpu, ImageLinear(cpu, instruction, size, wide, true), image);
        fpu.LoadControl((ushort)(fpu.ControlWord | X87Status.Exceptions));
    }

    private static void Fldenv(Processor cpu, in Instruction instruction)
    {
        Begin(cpu);
        bool wide = instruction.Code == Code.Fldenv_m28byte;
        int size = EnvironmentBytes(wide);
        Span<byte> image = stackalloc byte[size];
        ReadImage(cpu, ImageLinear(cpu, instruction, size, wide, false), image);
        LoadEnvironment(cpu, image, wide);
    }

    private static void Fnsave(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        ref FpuState fpu = ref cpu.State.Fpu;
        bool wide = instruction.Code == Code.Fnsave_m108byte;
        int environment = EnvironmentBytes(wide);
        Span<byte> image = stackalloc byte[environment + (8 * RegisterBytes)];
        StoreEnvironment(ref fpu, image, wide);
        for (int i = 0; i < 8; i++)
        {
            StoreRegister(image[(environment + (i * RegisterBytes))..], fpu.St(i));
        }
        WriteImage(cpu, ImageLinear(cpu, instruction, image.Length, wide, true), image);
        fpu.Initialise();
    }

    private static void Frstor(Processor cpu, in Instruction instruction)
    {
        ref FpuState fpu = ref Begin(cpu).Fpu;
        bool wide = instruction.Code == Code.Frstor_m108byte;
        int environment = EnvironmentBytes(wide);
        Span<byte> image = stackalloc byte[environment + (8 * RegisterBytes)];
        ReadImage(cpu, ImageLinear(cpu, instruction, image.Length, wide, false), image);
        LoadEnvironment(cpu, image, wide);
        for (int i = 0; i < 8; i++)
        {
            fpu.St(i) = LoadRegister(image[(environment + (i * RegisterBytes))..]);
        }
    }

    /// <summary>FXSAVE (Intel SDM volume 1, 10.5.1). Bytes behind the eight XMM registers are left as they are.</summary>
    private static void Fxsave(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        uint linear = FxsaveArea(cpu, instruction, true);
        cpu.ProbeWrite(linear, FxsaveBytes);
        ref FpuState fpu = ref cpu.State.Fpu;
        Span<byte> image = stackalloc byte[FxsaveXmm + (8 * 16)];
        image.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(image, fpu.ControlWord);
        BinaryPrimitives.WriteUInt16LittleEndian(image[2..], fpu.StatusWithTop());
        image[4] = fpu.ValidTags;
        BinaryPrimitives.WriteUInt16LittleEndian(image[6..], fpu.LastOpcode);
        BinaryPrimitives.WriteUInt32LittleEndian(image[8..], fpu.LastInstructionPointer);
        BinaryPrimitives.WriteUInt16LittleEndian(image[12..], fpu.LastInstructionSelector);
        BinaryPrimitives.WriteUInt32LittleEndian(image[16..], fpu.LastDataPointer);
        BinaryPrimitives.WriteUInt16LittleEndian(image[20..], fpu.LastDataSelector);
        BinaryPrimitives.WriteUInt32LittleEndian(image[24..], fpu.Mxcsr);
        BinaryPrimitives.WriteUInt32LittleEndian(image[28..], Mxcsr.Valid);
        for (int i = 0; i < 8; i++)
        {
            StoreRegister(image[(FxsaveRegisters + (i * 16))..], fpu.St(i));
            fpu.Xmm[i].CopyTo(image[(FxsaveXmm + (i * 16))..]);
        }
        WriteImage(cpu, linear, image);
    }

    private static void Fxrstor(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        uint linear = FxsaveArea(cpu, instruction, false);
        Span<byte> image = stackalloc byte[FxsaveBytes];
        ReadImage(cpu, linear, image);
        uint mxcsr = BinaryPrimitives.ReadUInt32LittleEndian(image[24..]);
        if ((mxcsr & ~Mxcsr.Valid) != 0)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
        NoticeNewErrors(cpu);
        ref FpuState fpu = ref cpu.State.Fpu;
        fpu.LoadControl(BinaryPrimitives.ReadUInt16LittleEndian(image));
        fpu.LoadStatus(BinaryPrimitives.ReadUInt16LittleEndian(image[2..]));
        fpu.ValidTags = image[4];
        fpu.LastOpcode = (ushort)(BinaryPrimitives.ReadUInt16LittleEndian(image[6..]) & 0x7FF);
        fpu.LastInstructionPointer = BinaryPrimitives.ReadUInt32LittleEndian(image[8..]);
        fpu.LastInstructionSelector = BinaryPrimitives.ReadUInt16LittleEndian(image[12..]);
        fpu.LastDataPointer = BinaryPrimitives.ReadUInt32LittleEndian(image[16..]);
        fpu.LastDataSelector = BinaryPrimitives.ReadUInt16LittleEndian(image[20..]);
        fpu.Mxcsr = mxcsr;
        for (int i = 0; i < 8; i++)
        {
            fpu.St(i) = LoadRegister(image[(FxsaveRegisters + (i * 16))..]);
            fpu.Xmm[i] = Vector128.Create<byte>(image.Slice(FxsaveXmm + (i * 16), 16));
        }
    }

    private static uint FxsaveArea(Processor cpu, in Instruction instruction, bool write)
    {
        uint linear = cpu.MemoryLinear(instruction, FxsaveBytes, write);
        return (linear & 15) == 0 ? linear : throw cpu.Fault(Vector.GeneralProtection);
    }

    /// <summary>Address of an environment or a saved state, which alignment checks want on a multiple of its smallest field.</summary>
    private static uint ImageLinear(Processor cpu, in Instruction instruction, int size, bool wide, bool write)
    {
        uint linear = cpu.MemoryLinear(instruction, size, write);
        _ = cpu.MemoryLinear(instruction, wide ? 4 : 2, write);
        return linear;
    }

    private static int EnvironmentBytes(bool wide) => wide ? 28 : 14;

    /// <summary>The protected-mode environment (volume 1, figures 8-9 and 8-11); reserved halves of the wide form are ones.</summary>
    private static void StoreEnvironment(ref FpuState fpu, Span<byte> image, bool wide)
    {
        ReadOnlySpan<uint> words =
        [
            fpu.ControlWord | 0xFFFF_0000,
            fpu.StatusWithTop() | 0xFFFF_0000,
            fpu.FullTagWord() | 0xFFFF_0000,
            fpu.LastInstructionPointer,
            fpu.LastInstructionSelector | ((uint)fpu.LastOpcode << 16),
            fpu.LastDataPointer,
            fpu.LastDataSelector | 0xFFFF_0000,
        ];
        for (int i = 0; i < words.Length; i++)
        {
            if (wide)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(image[(4 * i)..], words[i]);
            }
            else
            {
                BinaryPrimitives.WriteUInt16LittleEndian(image[(2 * i)..], (ushort)words[i]);
            }
        }
    }

    private static void LoadEnvironment(Processor cpu, ReadOnlySpan<byte> image, bool wide)
    {
        NoticeNewErrors(cpu);
        ref FpuState fpu = ref cpu.State.Fpu;
        Span<uint> words = stackalloc uint[7];
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = wide ? BinaryPrimitives.ReadUInt32LittleEndian(image[(4 * i)..]) : BinaryPrimitives.ReadUInt16LittleEndian(image[(2 * i)..]);
        }
        fpu.LoadControl((ushort)words[0]);
        fpu.LoadStatus((ushort)words[1]);
        fpu.LoadFullTagWord((ushort)words[2]);
        fpu.LastInstructionPointer = words[3];
        fpu.LastInstructionSelector = (ushort)words[4];
        fpu.LastOpcode = (ushort)((words[4] >> 16) & 0x7FF);
        fpu.LastDataPointer = words[5];
        fpu.LastDataSelector = (ushort)words[6];
    }

    private static void StoreRegister(Span<byte> image, Float80 value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(image, value.Significand);
        BinaryPrimitives.WriteUInt16LittleEndian(image[8..], value.SignExponent);
    }

    private static Float80 LoadRegister(ReadOnlySpan<byte> image) =>
        new(BinaryPrimitives.ReadUInt16LittleEndian(image[8..]), BinaryPrimitives.ReadUInt64LittleEndian(image));

    /// <summary>Reads an image of an even number of bytes; nothing of the state has changed when it faults.</summary>
    private static void ReadImage(Processor cpu, uint linear, Span<byte> image)
    {
        int i = 0;
        for (; i + 8 <= image.Length; i += 8)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(image[i..], cpu.ReadLinear<ulong>(linear + (uint)i));
        }
        for (; i < image.Length; i += 2)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(image[i..], cpu.ReadLinear<ushort>(linear + (uint)i));
        }
    }

    /// <summary>Writes an image of an even number of bytes, all of it or nothing.</summary>
    private static void WriteImage(Processor cpu, uint linear, ReadOnlySpan<byte> image)
    {
        cpu.ProbeWrite(linear, (uint)image.Length);
        int i = 0;
        for (; i + 8 <= image.Length; i += 8)
        {
            cpu.WriteLinear(linear + (uint)i, BinaryPrimitives.ReadUInt64LittleEndian(image[i..]));
        }
        for (; i < image.Length; i += 2)
        {
            cpu.WriteLinear(linear + (uint)i, BinaryPrimitives.ReadUInt16LittleEndian(image[i..]));
        }
    }
}
