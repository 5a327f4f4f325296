// A Guest that does nothing wrong, in the same Host and on the same network as the hostile ones. It has bound buffers, so that they can
// send to it; and every byte of its memory outside these buffers is known. If one of them changes, or if it cannot run any more,
// somebody has reached out of his own machine.

using Lguest.Host;
using Lguest.Platform;
using Lguest.X86.Memory;
using static Lguest.Hostile.HostileLayout;

namespace Lguest.Hostile;

/// <summary>A Guest that watches over its own memory.</summary>
internal sealed class Canary : IDisposable
{
    /// <summary>Slot of the network on which it receives.</summary>
    private const uint Slot = 7;

    private const uint Elements = 8;
    private const uint SectionLength = 1500;
    private const uint PageOffset = 0xC000_0000;

    private readonly MachineMemory memory = new(Pages, LguestAbi.ArenaFrames);
    private readonly LguestDevice device;
    private readonly byte[] expected;
    private readonly uint key;
    private uint calls;

    /// <summary>Starts a canary.</summary>
    /// <param name="host">The Host of the hostile Guests.</param>
    /// <param name="network">The file that they share.</param>
    /// <param name="at">Guest physical address of the shared pages.</param>
    public Canary(LguestHost host, SharedFileMapping network, uint at)
    {
        key = at + (4 * Slot);
        for (uint page = 0; page < SharedPages; page++)
        {
            memory.ShareFrame((at / 4096) + page, network, page);
        }
        memory.Write(FirstDirectory + (4 * (PageOffset >> 22)), KernelTable | 3);
        for (uint page = 0; page < Pages; page++)
        {
            memory.Write(KernelTable + (4 * page), (page * 4096) | 3);
        }
        // lguest_data with a free ring; the program makes the handshake and then counts, one DMA to its Launcher for each number.
        for (uint slot = 0; slot < LguestAbi.RingSize; slot++)
        {
            memory.Write(Data + LguestDataOffset.HypercallStatus + slot, (byte)0xFF);
        }
        for (uint element = 0; element < Elements; element++)
        {
            FreeElement(element);
            memory.Write(ElementAddress(element) + 4, SectionAddress(element));
            memory.Write(ElementAddress(element) + 0x44, (ushort)SectionLength);
        }
        memory.Write(Code, (ReadOnlySpan<byte>)
        [
            0xB8, 1, 0, 0, 0, 0xBA, .. BitConverter.GetBytes(Data), 0xCD, 0x1F, // LGUEST_INIT
            0xB8, 12, 0, 0, 0, 0xBA, .. BitConverter.GetBytes(key), 0xBB, .. BitConverter.GetBytes(Lists), 0xB9, .. BitConverter.GetBytes((Elements << 8) | 5), 0xCD, 0x1F, // BIND_DMA
            0x31, 0xD2, 0x31, 0xDB, // edx = ebx = 0
            0x43, 0xB8, 13, 0, 0, 0, 0xCD, 0x1F, 0xEB, 0xF6, // again: inc ebx; SEND_DMA(0, ebx); jmp again
        ]);
        device = host.Open();
        LguestError error = device.Initialize(new InitializeRequest
        {
            Memory = memory,
            PageLimit = Pages,
            PageDirectory = FirstDirectory,
            Start = Code + PageOffset,
            PageOffset = PageOffset,
        });
        if (error != LguestError.None)
        {
            throw new HostileFailure($"The Host refuses the canary: {error}.");
        }
        expected = new byte[Top];
        Run();
        memory.Read(0, expected);
    }

    /// <summary>Transfers that have reached it.</summary>
    public long Received { get; private set; }

    /// <summary>Proves that the canary lives, runs, and has lost nothing; then frees its buffers for more.</summary>
    public void Check()
    {
        Run();
        byte[] present = new byte[Top];
        memory.Read(0, present);
        Ignore(present, key - (4 * Slot), SharedPages * 4096);
        for (uint element = 0; element < Elements; element++)
        {
            Received += BitConverter.ToUInt32(present, (int)ElementAddress(element)) == 0 ? 0 : 1;
            Ignore(present, ElementAddress(element), sizeof(uint));
            Ignore(present, SectionAddress(element), SectionLength);
            FreeElement(element);
        }
        int changed = present.AsSpan().CommonPrefixLength(expected);
        if (changed != present.Length)
        {
            throw new HostileFailure($"The canary's memory has changed at 0x{changed:x}.");
        }
        Isolation.Check(device.Guest!, memory);
    }

    public void Dispose()
    {
        device.Dispose();
        memory.Dispose();
    }

    private static uint ElementAddress(uint element) => Lists + (element * LguestAbi.DmaSize);

    // The first ends with its page; the others leave room on both sides.
    private static uint SectionAddress(uint element) => Buffers + (element * 4096) + (element == 0 ? 4096 - SectionLength : 100 * element);

    private void FreeElement(uint element) => memory.Write(ElementAddress(element), 0u);

    private void Ignore(byte[] present, uint address, uint length) =>
        expected.AsSpan((int)address, (int)length).CopyTo(present.AsSpan((int)address, (int)length));

    private void Run()
    {
        ReadResult read = device.Read();
        if (!read.HasDma || read.DmaAddress != ++calls)
        {
            throw new HostileFailure($"The canary counts {read.DmaAddress} instead of {calls}: {read.Error} {device.Guest?.DeathReason}");
        }
    }
}
