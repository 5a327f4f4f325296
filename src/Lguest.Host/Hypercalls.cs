// Hypercalls: the Guest asks. One instruction, INT 0x1F, for what must happen now; a ring of 64 slots in lguest_data for what can wait until
// the Guest stops for any other reason. Each call costs the round trip that the ring saves. Nothing is ever refused: a Guest that asks
// for something impossible is broken, and dies with a reason.

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
            ref LguestRegisters registers = ref guest.Registers;
            var call = new Call(registers.Eax, registers.Edx, registers.Ebx, registers.Ecx);
            registers.TrapNumber = Done;
            Execute(call, ref registers.Eax);
        }
    }

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
