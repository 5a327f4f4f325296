// The first oracle: the CPU that runs the tests. An instruction that means the same in 64-bit mode as in 32-bit mode is executed for
// real, on a register state of the test's choice, and what it left behind is handed back. Nothing of the .NET runtime's own state
// is visible to it or changed by it; its memory lies below 2 GiB, so that a 32-bit address means the same on both sides.

using System.Runtime.InteropServices;
using Iced.Intel;
using Lguest.Platform;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Oracles;

/// <summary>Runs single instructions natively.</summary>
/// <remarks>
/// Encode for 64-bit mode (memory operands with 32-bit base and index registers). An instruction that would raise an exception must
/// not be run: it would end the process. One instance serves one thread.
/// </remarks>
public sealed unsafe partial class NativeCpu : IDisposable
{
    /// <summary>Bytes of <see cref="Scratch"/>.</summary>
    public const int ScratchSize = 4 * 4096;

    private const uint FirstAddress = 0x0200_0000;
    private const uint LastAddress = 0x03F0_0000;
    private const uint Stride = 0x1_0000;
    private const int ProtReadWrite = 3;
    private const int MapPrivateAnonymousFixedNoReplace = 0x2 | 0x20 | 0x10_0000;
    private const int SetSignalMask = 2;
    private const uint VisibleFlags = State.Eflags.Status | State.Eflags.Direction;

    // The context lies behind the scratch block: general registers, flags, the saved stack pointer, the FXSAVE image.
    private const int FlagsAt = 64;
    private const int StackAt = 72;
    private const int FxAt = 128;
    private const int BlockSize = ScratchSize + 4096;

    private static readonly byte[] Prologue = Assemble(WritePrologue);
    private static readonly byte[] Epilogue = Assemble(WriteEpilogue);

    private readonly ExecutableMemory code = new(4096);
    private byte[] loaded = [];
    private nint block;

    /// <summary>Prepares memory for code, scratch data and state.</summary>
    /// <exception cref="PlatformNotSupportedException">The host is not an x86-64 Linux.</exception>
    public NativeCpu()
    {
        if (!IsSupported)
        {
            throw new PlatformNotSupportedException("The native oracle needs an x86-64 Linux host.");
        }
        for (uint address = FirstAddress; address < LastAddress && block == 0; address += Stride)
        {
            if (MapMemory((nint)address, BlockSize, ProtReadWrite, MapPrivateAnonymousFixedNoReplace, -1, 0) == (nint)address)
            {
                block = (nint)address;
            }
        }
        if (block == 0)
        {
            throw new OutOfMemoryException("No free memory below 64 MiB for the native oracle.");
        }
    }

    /// <summary>Whether this host can run the oracle.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64;

    /// <summary>Address of <see cref="Scratch"/>, page-aligned, between 32 and 64 MiB.</summary>
    public uint ScratchAddress => (uint)block;

    /// <summary>Memory for the instruction's operands.</summary>
    public Span<byte> Scratch
    {
        get
        {
            // SAFETY: the block holds ScratchSize bytes until Dispose.
            unsafe
            {
                return new Span<byte>((void*)block, ScratchSize);
            }
        }
    }

    /// <summary>Runs code (one instruction, or several) that falls through its end.</summary>
    public void Run(ReadOnlySpan<byte> instruction, ref NativeState state)
    {
        if (!instruction.SequenceEqual(loaded))
        {
            loaded = instruction.ToArray();
            code.Write(0, [.. Prologue, .. instruction, .. Epilogue]);
        }
        // SAFETY: the code saves and restores everything that the calling convention protects, MXCSR and the x87 control word; signals
        // are blocked while the stack pointer is the test's, so that no handler runs on it. Offsets stay in the page behind scratch.
        unsafe
        {
            byte* context = (byte*)block + ScratchSize;
            for (int i = 0; i < 8; i++)
            {
                ((ulong*)context)[i] = state.General[i];
            }
            *(ulong*)(context + FlagsAt) = (state.Eflags & VisibleFlags) | 0x202;
            state.Mxcsr &= 0xFFFF;
            ((ReadOnlySpan<byte>)state.Fx).CopyTo(new Span<byte>(context + FxAt, 512));

            SignalSet all;
            SignalSet before;
            new Span<byte>(&all, sizeof(SignalSet)).Fill(0xFF);
            _ = ChangeSignalMask(SetSignalMask, &all, &before);
            ((delegate* unmanaged<byte*, void>)code.Address)(context);
            _ = ChangeSignalMask(SetSignalMask, &before, null);

            for (int i = 0; i < 8; i++)
            {
                state.General[i] = (uint)((ulong*)context)[i];
            }
            state.Eflags = *(uint*)(context + FlagsAt) & VisibleFlags;
            new ReadOnlySpan<byte>(context + FxAt, 512).CopyTo(state.Fx);
        }
    }

    /// <summary>Assembles and runs code.</summary>
    public void Run(Action<Assembler> write, ref NativeState state) => Run(Assemble(write), ref state);

    /// <summary>Assembles code for 64-bit mode.</summary>
    public static byte[] Assemble(Action<Assembler> write)
    {
        var assembler = new Assembler(64);
        write(assembler);
        var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }

    /// <summary>Encodes one instruction for 64-bit mode.</summary>
    public static byte[] Encode(in Instruction instruction)
    {
        var writer = new ByteWriter();
        Encoder.Create(64, writer).Encode(instruction, 0);
        return [.. writer.Bytes];
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        code.Dispose();
        if (block != 0)
        {
            _ = UnmapMemory(block, BlockSize);
            block = 0;
        }
    }

    private static void WritePrologue(Assembler a)
    {
        a.push(rbx);
        a.push(rbp);
        a.push(r12);
        a.push(r13);
        a.push(r14);
        a.push(r15);
        a.sub(rsp, 24);
        a.stmxcsr(__dword_ptr[rsp]);
        a.fnstcw(__word_ptr[rsp + 4]);
        a.mov(r15, rdi);
        a.mov(__qword_ptr[r15 + StackAt], rsp);
        a.fxrstor(__[r15 + FxAt]);
        a.push(__qword_ptr[r15 + FlagsAt]);
        a.popfq();
        a.mov(rax, __qword_ptr[r15]);
        a.mov(rcx, __qword_ptr[r15 + 8]);
        a.mov(rdx, __qword_ptr[r15 + 16]);
        a.mov(rbx, __qword_ptr[r15 + 24]);
        a.mov(rsp, __qword_ptr[r15 + 32]);
        a.mov(rbp, __qword_ptr[r15 + 40]);
        a.mov(rsi, __qword_ptr[r15 + 48]);
        a.mov(rdi, __qword_ptr[r15 + 56]);
    }

    private static void WriteEpilogue(Assembler a)
    {
        a.mov(__qword_ptr[r15], rax);
        a.mov(__qword_ptr[r15 + 8], rcx);
        a.mov(__qword_ptr[r15 + 16], rdx);
        a.mov(__qword_ptr[r15 + 24], rbx);
        a.mov(__qword_ptr[r15 + 32], rsp);
        a.mov(__qword_ptr[r15 + 40], rbp);
        a.mov(__qword_ptr[r15 + 48], rsi);
        a.mov(__qword_ptr[r15 + 56], rdi);
        a.mov(rsp, __qword_ptr[r15 + StackAt]);
        a.pushfq();
        a.pop(__qword_ptr[r15 + FlagsAt]);
        a.cld();
        a.fxsave(__[r15 + FxAt]);
        a.fninit();
        a.fldcw(__word_ptr[rsp + 4]);
        a.ldmxcsr(__dword_ptr[rsp]);
        a.add(rsp, 24);
        a.pop(r15);
        a.pop(r14);
        a.pop(r13);
        a.pop(r12);
        a.pop(rbp);
        a.pop(rbx);
        a.ret();
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MapMemory(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int UnmapMemory(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "pthread_sigmask")]
    private static partial int ChangeSignalMask(int how, SignalSet* set, SignalSet* old);

    [StructLayout(LayoutKind.Sequential, Size = 128)]
    private struct SignalSet;
}

/// <summary>Collects what an encoder writes.</summary>
internal sealed class ByteWriter : CodeWriter
{
    public List<byte> Bytes { get; } = [];

    public override void WriteByte(byte value) => Bytes.Add(value);
}
