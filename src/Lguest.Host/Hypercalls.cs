// P:500 Hypercalls: the Guest asks. One instruction, INT 0x1F, for what must happen now; a ring of 64 slots in lguest_data, the page that
// both sides share, for what can wait until the Guest stops for any other reason. Each direct call costs a round trip; the ring saves it.
//
// There are sixteen numbers, and you will see all of them. Nothing is ever refused: a Guest that asks for something impossible is broken,
// and dies with a reason. :*

using System.Buffers.Binary;

namespace Lguest.Host;

/// <summary>Executes the hypercalls of one Guest (ABI 4.1 and 5).</summary>
internal sealed class Hypercalls
{
    private const byte SlotFree = 0xFF;
    private const uint Done = 255;
    private const int SlotSize = 16;

    private readonly Guest guest;
    private int ringCursor;

    public Hypercalls(Guest guest) => this.guest = guest;

    // H:100 The top of the run loop comes here every time, whatever stopped the Guest: calls may be waiting in the ring even if it
    // stopped for something else. Until the Guest has introduced itself by LGUEST_INIT there is no ring, since nobody knows where it
    // lies.
    /// <summary>Executes what the ring holds, then the direct call that stopped the Guest, if one did (ABI 5.3).</summary>
    public void ExecutePending()
    {
        bool isDirectCall = guest.Registers.TrapNumber == LguestAbi.TrapEntry;
        if (!guest.Data.IsInitialised)
        {
            if (isDirectCall)
            {
                Initialise();
                guest.Registers.TrapNumber = Done;
            }
            return;
        }
        ExecuteRing();
        if (isDirectCall && !guest.Io.HasPendingDma)
        {
            // H:110 The ring comes before the direct call, since those calls were made earlier. If one of them sent something to the
            // Launcher, the direct call waits: the loop returns now, and when it is called again it comes back here and finds the trap
            // number as it was. So a call that is executed must be marked as done, or the next turn of the loop would do it again, and a
            // call that is still waiting must not be.
            ref LguestRegisters registers = ref guest.Registers;
            var call = new Call(registers.Eax, registers.Edx, registers.Ebx, registers.Ecx);
            registers.TrapNumber = Done;
            Execute(call, ref registers.Eax);
        }
    }
    // :*

    // H:115 The ring: 64 slots of four words, and for each a status byte that is 0xFF while the slot is free. The Guest fills slots in
    // turn, the Host empties them in turn, and each keeps its own place; the status byte alone tells whether a slot is full. Nobody has
    // to lock anything, because the two never run at the same time.
    //
    // The caller of a slot has long gone on, so its result is lost; calls with a result are made directly. One round is the most:
    // whatever the ring holds, the Host does 64 calls and looks around again.
    private void ExecuteRing()
    {
        uint data = guest.Data.Address;
        Span<byte> status = stackalloc byte[LguestAbi.RingSize];
        if (!guest.Memory.TryReadBlock(data + LguestDataOffset.HypercallStatus, status) || !status.ContainsAnyExcept(SlotFree))
        {
            return;
        }
        Span<byte> slot = stackalloc byte[SlotSize];
        for (int i = 0; i < LguestAbi.RingSize && !guest.IsDead; i++)
        {
            int number = ringCursor;
            if (status[number] == SlotFree)
            {
                return;
            }
            ringCursor = (number + 1) % LguestAbi.RingSize;
            if (!guest.Memory.TryReadBlock(data + LguestDataOffset.Hypercalls + ((uint)number * SlotSize), slot))
            {
                guest.Kill(KillReason.FetchingHypercalls);
                return;
            }
            var call = new Call(
                BinaryPrimitives.ReadUInt32LittleEndian(slot),
                BinaryPrimitives.ReadUInt32LittleEndian(slot[4..]),
                BinaryPrimitives.ReadUInt32LittleEndian(slot[8..]),
                BinaryPrimitives.ReadUInt32LittleEndian(slot[12..]));
            uint lostResult = 0;
            Execute(call, ref lostResult);
            if (!guest.Memory.TryWrite(data + LguestDataOffset.HypercallStatus + (uint)number, SlotFree))
            {
                guest.Kill(KillReason.WritingHypercallResult);
                return;
            }
            if (guest.Io.HasPendingDma)
            {
                return;
            }
        }
    }

    // H:120 All hypercalls there are. You see how few services an operating system needs from below: tables (3, 4, 6, 7, 14, 15, 16),
    // forgetting translations (5), time and sleep (9, 10), the FPU switch (8), input and output (12, 13), an end (2), and a beginning
    // (1). Number 0 does nothing; but it is a trap, so it empties the ring.
    private void Execute(in Call call, ref uint result)
    {
        guest.Statistics.CountHypercall(call.Number);
        switch ((Hypercall)call.Number)
        {
            case Hypercall.FlushAsync:
                break;
            case Hypercall.LguestInit:
                guest.Kill(KillReason.AlreadyInitialised);
                break;
            case Hypercall.Crash:
                Crash(call.Edx);
                break;
            case Hypercall.LoadGdt:
                guest.Segments.LoadGdt(call.Edx, call.Ebx);
                break;
            case Hypercall.NewPageTable:
                guest.PageTables.NewPageTable(call.Edx);
                break;
            case Hypercall.FlushTlb:
                if (call.Edx == 0)
                {
                    guest.PageTables.FlushUser();
                }
                else
                {
                    guest.PageTables.FlushAll();
                }
                break;
            case Hypercall.LoadIdtEntry:
                guest.Interrupts.LoadIdtEntry(call.Edx, call.Ebx, call.Ecx);
                break;
            case Hypercall.SetStack:
                guest.Interrupts.SetStack(call.Edx, call.Ebx, call.Ecx);
                break;
            case Hypercall.TaskSwitched:
                guest.TaskSwitched = call.Edx != 0;
                break;
            case Hypercall.SetClockEvent:
                guest.Clock.Set(call.Edx);
                break;
            case Hypercall.Halt:
                guest.IsHalted = true;
                break;
            case Hypercall.BindDma:
                result = guest.Io.Bind(call.Edx, call.Ebx, call.Ecx) ? 1u : 0u;
                break;
            case Hypercall.SendDma:
                guest.Io.Send(call.Edx, call.Ebx);
                break;
            case Hypercall.SetPte:
                guest.PageTables.SetPte(call.Edx, call.Ebx, call.Ecx);
                break;
            case Hypercall.SetPmd:
                guest.PageTables.SetPmd(call.Edx, call.Ebx);
                break;
            case Hypercall.LoadTls:
                guest.Segments.LoadTls(call.Edx);
                break;
            default:
                guest.Kill(KillReason.BadHypercall(call.Number));
                break;
        }
    }

    // H:125 The handshake. The Guest says where its lguest_data lies, the page over which both will talk from now on, and in which range
    // of its code it must not be interrupted. The Host writes into it what the Guest needs to know, and if it can do that, the page is a
    // good one.
    //
    // The shadows are emptied at the end, because the law says so. In 2007 the Host's first write to that page could have moved it: a
    // fresh page of a Linux process is a common page of zeroes until somebody writes. Here nothing moves, and it costs a few faults,
    // once.
    /// <summary>The LGUEST_INIT handshake (ABI 4.1).</summary>
    private void Initialise()
    {
        ref LguestRegisters registers = ref guest.Registers;
        guest.Statistics.CountHypercall(registers.Eax);
        if (registers.Eax != (uint)Hypercall.LguestInit)
        {
            guest.Kill(KillReason.HypercallBeforeInit(registers.Eax));
            return;
        }
        uint address = registers.Edx;
        GuestMemory memory = guest.Memory;
        bool readable = memory.InRange(address, LguestDataOffset.Size);
        readable &= memory.TryRead(address + LguestDataOffset.NoIrqStart, out uint noIrqStart);
        readable &= memory.TryRead(address + LguestDataOffset.NoIrqEnd, out uint noIrqEnd);
        bool accessible = readable
            && memory.TryWrite(address + LguestDataOffset.ReserveMemory, LguestAbi.ReservedMemory)
            && memory.TryWrite(address + LguestDataOffset.TscKilohertz, LguestAbi.TscKilohertz)
            && memory.TryWrite(address + LguestDataOffset.GuestId, guest.Id);
        if (!accessible)
        {
            guest.Kill(KillReason.BadGuestPage(address));
            return;
        }
        guest.Data.Register(address, noIrqStart, noIrqEnd);
        guest.WriteTime();
        guest.PageTables.FlushAll();
    }
    // :*

    private void Crash(uint address)
    {
        Span<byte> text = stackalloc byte[LguestAbi.CrashTextSize];
        guest.Memory.ReadBlock(address, text);
        text[^1] = 0;
        guest.Kill(KillReason.Crash(text));
    }

    /// <summary>A hypercall: number and arguments in the order of the ABI.</summary>
    private readonly record struct Call(uint Number, uint Edx, uint Ebx, uint Ecx);
}
