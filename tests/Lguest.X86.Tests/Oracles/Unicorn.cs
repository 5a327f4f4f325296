// The second oracle: Unicorn, QEMU's processor as a library (Debian's libunicorn2). It knows the whole 32-bit machine and so judges
// what cannot run in a 64-bit process: BCD, PUSHA, segment overrides, 16-bit addresses, stack operations and whole programs. Where it
// is wrong, Intel's manual decides; docs/oracles.md lists those cases.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Lguest.Platform;
using Lguest.X86.State;

namespace Lguest.X86.Tests.Oracles;

/// <summary>One processor of the Unicorn library in flat 32-bit protected mode, or in 16-bit mode with all bases zero.</summary>
public sealed unsafe partial class Unicorn : IDisposable
{
    private const string Library = "libunicorn.so.2";
    private const int ArchitectureX86 = 4;
    private const int Mode16 = 2;
    private const int Mode32 = 4;
    private const uint ProtectionAll = 7;
    private const int HookInterrupt = 1;
    private const int ErrorUnmappedFirst = 6;
    private const int ErrorInvalidInstruction = 10;
    private const int ErrorException = 21;
    private const int NoInterrupt = -1;

    // UC_CTL_TB_REMOVE_CACHE with two arguments, for writing.
    private const int RemoveCachedCode = 9 | (2 << 26) | (1 << 30);

    private static readonly int[] General = [19, 22, 24, 21, 30, 20, 29, 23];
    private static readonly int[] SegmentRegisters = [28, 11, 49, 17, 32, 33];

    private readonly Dictionary<uint, HostMemory> regions = [];
    private readonly int* interrupt;
    private readonly nint context;
    private nint engine;

    /// <summary>Opens a processor.</summary>
    /// <exception cref="InvalidOperationException">The library is missing or refuses.</exception>
    public Unicorn(int bits = 32)
    {
        if (!NativeLibrary.TryLoad(Library, out _))
        {
            throw new InvalidOperationException($"{Library} is missing: this test needs it (Debian: apt-get install libunicorn2).");
        }
        Check(Open(ArchitectureX86, bits == 16 ? Mode16 : Mode32, out engine));
        // SAFETY: the word outlives the engine, whose hook is the only other user of it.
        unsafe
        {
            interrupt = (int*)NativeMemory.AllocZeroed(sizeof(int));
            Check(AddHook(engine, out _, HookInterrupt, (nint)(delegate* unmanaged[Cdecl]<nint, uint, nint, void>)&OnInterrupt, (nint)interrupt, 1, 0));
        }
        Check(AllocateContext(engine, out context));
        Save();
    }

    /// <summary>What ended a run.</summary>
    /// <param name="Completed">The instructions were executed.</param>
    /// <param name="Vector">Vector of the exception or software interrupt, when there was one.</param>
    public readonly record struct Outcome(bool Completed, int Vector);

    /// <summary>EIP.</summary>
    public uint Eip
    {
        get => Get<uint>(26);
        set => Set(26, value);
    }

    /// <summary>EFLAGS.</summary>
    public uint Eflags
    {
        get => Get<uint>(25);
        set => Set(25, value);
    }

    /// <summary>x87 status word.</summary>
    public ushort StatusWord
    {
        get => Get<ushort>(31);
        set => Set(31, value);
    }

    /// <summary>x87 control word.</summary>
    public ushort ControlWord
    {
        get => Get<ushort>(246);
        set => Set(246, value);
    }

    /// <summary>x87 tag word, two bits a register.</summary>
    public ushort TagWord
    {
        get => Get<ushort>(247);
        set => Set(247, value);
    }

    /// <summary>MXCSR.</summary>
    public uint Mxcsr
    {
        get => Get<uint>(249);
        set => Set(249, value);
    }

    /// <summary>Makes the present register state the one that <see cref="Reset"/> returns to.</summary>
    public void Save() => Check(SaveContext(engine, context));

    /// <summary>Returns to the saved register state, and forgets exceptions that were reported but not delivered.</summary>
    public void Reset() => Check(RestoreContext(engine, context));

    /// <summary>Maps zeroed memory; both numbers are multiples of 4096.</summary>
    public void Map(uint address, uint size)
    {
        var memory = new HostMemory(size);
        regions.Add(address, memory);
        // SAFETY: the block lives until Dispose, which closes the engine first.
        unsafe
        {
            Check(MapPointer(engine, address, size, ProtectionAll, memory.Address));
        }
    }

    /// <summary>Memory inside one mapped region, for data. Code is written with <see cref="WriteCode"/>.</summary>
    public Span<byte> Memory(uint address, int length)
    {
        foreach ((uint start, HostMemory memory) in regions)
        {
            if (address >= start && address + (ulong)(uint)length <= start + (ulong)memory.Size)
            {
                // SAFETY: the range was just found to lie inside the block.
                unsafe
                {
                    return new Span<byte>(memory.Address + (address - start), length);
                }
            }
        }
        throw new ArgumentOutOfRangeException(nameof(address));
    }

    /// <summary>Writes code, and has the library forget what it translated there.</summary>
    public void WriteCode(uint address, ReadOnlySpan<byte> code)
    {
        // SAFETY: the library copies length bytes from the pinned span.
        unsafe
        {
            fixed (byte* bytes = code)
            {
                Check(WriteMemory(engine, address, bytes, (nuint)code.Length));
                Check(Control(engine, RemoveCachedCode, address, address + (ulong)code.Length));
            }
        }
    }

    /// <summary>General register.</summary>
    public uint GetGeneral(int index) => Get<uint>(General[index]);

    /// <summary>Sets a general register.</summary>
    public void SetGeneral(int index, uint value) => Set(General[index], value);

    /// <summary>Selector of a segment register.</summary>
    public ushort GetSelector(SegmentName name) => Get<ushort>(SegmentRegisters[(int)name]);

    /// <summary>Loads a segment register from the descriptor table, as MOV would.</summary>
    public void LoadSegment(SegmentName name, ushort selector) => Set(SegmentRegisters[(int)name], (uint)selector);

    /// <summary>Sets GDTR.</summary>
    public void SetGdt(uint address, uint limit) => Set(243, new TableRegister { Base = address, Limit = limit });

    /// <summary>XMM register.</summary>
    public Vector128<byte> GetXmm(int index) => Get<Vector128<byte>>(122 + index);

    /// <summary>Sets an XMM register.</summary>
    public void SetXmm(int index, Vector128<byte> value) => Set(122 + index, value);

    /// <summary>x87 register by its physical number.</summary>
    public Float80 GetPhysical(int index)
    {
        TenBytes bytes = Get<TenBytes>(82 + index);
        return new Float80(bytes.High, bytes.Low);
    }

    /// <summary>Sets an x87 register by its physical number.</summary>
    public void SetPhysical(int index, Float80 value) => Set(82 + index, new TenBytes { Low = value.Significand, High = value.SignExponent });

    /// <summary>Executes instructions from EIP on, until a count is used up, an address is reached or an exception is raised.</summary>
    public Outcome Run(int count, uint until = 0xFFFF_FFFF)
    {
        // SAFETY: as in the constructor.
        unsafe
        {
            *interrupt = NoInterrupt;
            int error = Start(engine, Eip, until, 0, (nuint)count);
            if (*interrupt != NoInterrupt)
            {
                return new Outcome(false, *interrupt);
            }
            switch (error)
            {
                case 0:
                    return new Outcome(true, NoInterrupt);
                case >= ErrorUnmappedFirst and < ErrorInvalidInstruction:
                    return new Outcome(false, Vector.PageFault);
                case ErrorInvalidInstruction:
                    return new Outcome(false, Vector.InvalidOpcode);
                case ErrorException:
                    return new Outcome(false, NoInterrupt);
                default:
                    throw new InvalidOperationException($"Unicorn stopped with error {error}.");
            }
        }
    }

    /// <summary>Closes the engine and releases its memory.</summary>
    public void Dispose()
    {
        // SAFETY: the engine is closed before what it uses is released.
        unsafe
        {
            if (engine != 0)
            {
                _ = Close(engine);
                engine = 0;
                _ = FreeContext(context);
                NativeMemory.Free(interrupt);
            }
        }
        foreach (HostMemory memory in regions.Values)
        {
            memory.Dispose();
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnInterrupt(nint engine, uint number, nint user)
    {
        // SAFETY: user is the word that the constructor gave.
        unsafe
        {
            *(int*)user = (int)number;
        }
        _ = Stop(engine);
    }

    private static void Check(int error)
    {
        if (error != 0)
        {
            throw new InvalidOperationException($"Unicorn refuses with error {error}.");
        }
    }

    private T Get<T>(int register)
        where T : unmanaged
    {
        // SAFETY: no register that is asked for has more bytes than the buffer.
        unsafe
        {
            byte* buffer = stackalloc byte[64];
            new Span<byte>(buffer, 64).Clear();
            Check(ReadRegister(engine, register, buffer));
            return *(T*)buffer;
        }
    }

    private void Set<T>(int register, T value)
        where T : unmanaged
    {
        // SAFETY: no register that is set has more bytes than the buffer.
        unsafe
        {
            byte* buffer = stackalloc byte[64];
            new Span<byte>(buffer, 64).Clear();
            *(T*)buffer = value;
            Check(WriteRegister(engine, register, buffer));
        }
    }

    [LibraryImport(Library, EntryPoint = "uc_open")]
    private static partial int Open(int architecture, int mode, out nint engine);

    [LibraryImport(Library, EntryPoint = "uc_close")]
    private static partial int Close(nint engine);

    [LibraryImport(Library, EntryPoint = "uc_mem_map_ptr")]
    private static partial int MapPointer(nint engine, ulong address, nuint size, uint protection, byte* memory);

    [LibraryImport(Library, EntryPoint = "uc_mem_write")]
    private static partial int WriteMemory(nint engine, ulong address, byte* bytes, nuint size);

    [LibraryImport(Library, EntryPoint = "uc_ctl")]
    private static partial int Control(nint engine, int control, ulong first, ulong second);

    [LibraryImport(Library, EntryPoint = "uc_context_alloc")]
    private static partial int AllocateContext(nint engine, out nint context);

    [LibraryImport(Library, EntryPoint = "uc_context_save")]
    private static partial int SaveContext(nint engine, nint context);

    [LibraryImport(Library, EntryPoint = "uc_context_restore")]
    private static partial int RestoreContext(nint engine, nint context);

    [LibraryImport(Library, EntryPoint = "uc_free")]
    private static partial int FreeContext(nint context);

    [LibraryImport(Library, EntryPoint = "uc_reg_read")]
    private static partial int ReadRegister(nint engine, int register, byte* value);

    [LibraryImport(Library, EntryPoint = "uc_reg_write")]
    private static partial int WriteRegister(nint engine, int register, byte* value);

    [LibraryImport(Library, EntryPoint = "uc_emu_start")]
    private static partial int Start(nint engine, ulong begin, ulong until, ulong timeout, nuint count);

    [LibraryImport(Library, EntryPoint = "uc_emu_stop")]
    private static partial int Stop(nint engine);

    [LibraryImport(Library, EntryPoint = "uc_hook_add")]
    private static partial int AddHook(nint engine, out nint hook, int type, nint callback, nint user, ulong begin, ulong end);

    [StructLayout(LayoutKind.Sequential)]
    private struct TableRegister
    {
        public ushort Selector;
        public ulong Base;
        public uint Limit;
        public uint Flags;
    }

    [StructLayout(LayoutKind.Sequential, Pack = 2)]
    private struct TenBytes
    {
        public ulong Low;
        public ushort High;
    }
}
