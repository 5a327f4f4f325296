// P:800 Three kinds of interruption reach a Guest, and they are easily confused:
//
// - *Virtual interrupts* come from outside: the Host's timer, the Launcher's devices. They wait here until the Guest can take them.
// - *Traps* come from inside: the Guest's program divided by zero, or touched a page that is not there. The processor tells the Host, and
//   those for which the Host has no use are *reflected*: a frame on the Guest's kernel stack, and the Guest continues at its own handler,
//   as if the processor had gone there by itself.
// - *Direct traps* are those in which the processor may do just that, with nobody told. System calls first of all: they are so frequent
//   that nothing else would be fast enough. :*

using System.Buffers.Binary;
using Lguest.X86.State;

namespace Lguest.Host;

/// <summary>Gates, virtual interrupts and reflected traps of one Guest.</summary>
internal sealed class InterruptsAndTraps
{
    private const uint InterruptGate = 0xE;
    private const uint TrapGate = 0xF;
    private const uint GatePresent = 0x8000;
    private const uint GatePrivilege = 0x6000;
    private const uint KeptGateBits = 0xFFFF_EF00;
    private const uint DefaultGate = 0x8E00;
    private const uint DefaultHypercallGate = 0xAE00;

    private readonly Guest guest;
    private readonly Gate[] gates = new Gate[LguestAbi.GuestGates];
    private Gate syscallGate;
    private uint pending;
    private uint stackSelector;
    private uint stackTop;

    public InterruptsAndTraps(Guest guest) => this.guest = guest;

    /// <summary>Whether an interrupt waits, masked or not.</summary>
    public bool HasPending => Volatile.Read(ref pending) != 0;

    /// <summary>Makes a virtual interrupt pending; one bit each, no counting. Any thread may call.</summary>
    public void SetPending(int irq) => Interlocked.Or(ref pending, 1u << irq);

    // H:260 When a trap comes out of ring 3, the processor changes to the stack that the TSS names for the inner ring, and pushes its
    // frame there. For direct traps nobody is asked: if that stack's page were not in the shadow tables, the push itself would fault. So
    // the Guest says where its kernel stack is, at each change, and the Host keeps those one or two pages mapped.
    //
    // The selector must be one of ring 1. Anything else would be an invitation to build a frame in a more interesting place.
    /// <summary>LHCALL_SET_STACK: the ring-1 stack for traps from ring 3 (ABI 6.6).</summary>
    public void SetStack(uint selector, uint top, uint pages)
    {
        if ((selector & 3) != LguestAbi.GuestPrivilegeLevel)
        {
            guest.Kill(KillReason.BadStackSegment(selector));
            return;
        }
        if (pages > LguestAbi.MaximumStackPages)
        {
            guest.Kill(KillReason.BadStackPages(pages));
            return;
        }
        stackSelector = selector & 0xFF;
        stackTop = top;
        guest.Switcher.SetStack(stackSelector, top);
        guest.PageTables.SetStack(top, pages);
    }
    // :*

    // H:230 The Guest's IDT, the table of its handlers, comes to the Host gate by gate. Some vectors are not the Guest's to have: the
    // non-maskable interrupt and double faults are about the real machine, and 0x1F is how it calls us. Those are dropped without a word,
    // because Linux sets all 256 gates as a matter of course.
    /// <summary>LHCALL_LOAD_IDT_ENTRY: sets one gate (ABI 7.3).</summary>
    public void LoadIdtEntry(uint vector, uint low, uint high)
    {
        if (vector is 2 or 8 or 15 or LguestAbi.TrapEntry)
        {
            return;
        }
        if (vector == LguestAbi.SyscallVector)
        {
            Store(ref syscallGate, low, high);
            guest.Changed |= ChangedTables.Idt;
        }
        else if (vector < LguestAbi.GuestGates)
        {
            Store(ref gates[vector], low, high);
            if (MayGoDirect((int)vector))
            {
                guest.Changed |= ChangedTables.Idt;
            }
        }
    }

    // H:240 The processor's own IDT is built anew whenever a gate changed that it may follow by itself. It lies in the state page, which
    // is mapped read-only for the Guest.
    /// <summary>Copies the IDT that the processor obeys into the state page (ABI 7.4).</summary>
    public void CopyIn(Switcher switcher, ChangedTables changed)
    {
        if ((changed & ChangedTables.Idt) == 0)
        {
            return;
        }
        Span<byte> idt = stackalloc byte[(int)StatePage.IdtSize];
        for (int vector = 0; vector < LguestAbi.IdtEntries; vector++)
        {
            Gate gate = ForProcessor(vector);
            BinaryPrimitives.WriteUInt32LittleEndian(idt[(8 * vector)..], gate.Low);
            BinaryPrimitives.WriteUInt32LittleEndian(idt[((8 * vector) + 4)..], gate.High);
        }
        switcher.WriteState(StatePage.Idt, idt);
    }

    // H:200 Injecting an interrupt means to pretend that the Guest's processor has just taken one. Everything that a processor would ask
    // is asked here: is there one? Is it masked? Are interrupts enabled? And one more question, since our interrupt flag is a word in
    // memory: is the Guest in the few instructions in which it has already written that word but has not returned from its handler yet?
    // The Guest told us their range when it said hello.
    //
    // A halted Guest is different, because halting means to enable interrupts and wait in one step. Between the two there must be no gap
    // into which an interrupt could fall and be slept over.
    /// <summary>Delivers at most one virtual interrupt, if the Guest can take it now (ABI 6.3).</summary>
    public void TryInject()
    {
        uint candidates = Volatile.Read(ref pending);
        LguestData data = guest.Data;
        if (candidates == 0 || !data.IsInitialised || !guest.Memory.TryRead(data.Address + LguestDataOffset.BlockedInterrupts, out uint blocked))
        {
            return;
        }
        candidates &= ~blocked;
        uint eip = guest.Registers.Eip;
        if (candidates == 0 || (eip >= data.NoIrqStart && eip < data.NoIrqEnd))
        {
            return;
        }
        uint irqEnabledAddress = data.Address + LguestDataOffset.IrqEnabled;
        if (guest.IsHalted)
        {
            // Halting is "enable and halt" in one.
            if (!guest.Memory.TryWrite(irqEnabledAddress, Eflags.Interrupt))
            {
                guest.Kill(KillReason.EnablingInterrupts);
            }
            guest.IsHalted = false;
        }
        else if (!guest.Memory.TryRead(irqEnabledAddress, out uint enabled) || (enabled & Eflags.Interrupt) == 0)
        {
            return;
        }

        int irq = System.Numerics.BitOperations.TrailingZeroCount(candidates);
        Gate gate = gates[LguestAbi.FirstExternalVector + irq];
        if (gate.IsPresent)
        {
            Interlocked.And(ref pending, ~(1u << irq));
            PushFrame(gate, hasErrorCode: false);
            guest.Statistics.InterruptsInjected++;
        }
        guest.WriteTime();
    }

    // H:220 A trap that is the Guest's own affair is reflected: the same frame as for an interrupt, and, for some vectors, an error code
    // on top of it. The list of those vectors is the processor's.
    /// <summary>Gives a trap to the Guest's own handler (ABI 7.1); false when there is none.</summary>
    public bool TryReflect(uint vector)
    {
        if (vector >= LguestAbi.GuestGates || !gates[vector].IsPresent)
        {
            return false;
        }
        PushFrame(gates[vector], HasErrorCode(vector));
        return true;
    }

    private static bool HasErrorCode(uint vector) => vector is 8 or (>= 10 and <= 14) or 17;

    // H:250 Now the fast way. If a system call had to go to the Host and be reflected, each would cost two crossings. But the processor
    // can be told to go straight to the Guest's kernel: the gate in the real IDT leads to ring 1, not to ring 0.
    //
    // That works only for traps in which the Host has no interest, so page faults and protection faults are out. And it works only for
    // trap gates: an interrupt gate switches interrupts off on its way in, and the processor would do that to its own flag and not to the
    // word in memory that the Guest goes by.
    //
    // Every other vector gets a gate into the Host's code segment, ring 0. What lies at the address behind it does not matter; nobody
    // will ever get there.
    /// <summary>Vectors that the processor may deliver without the Host, when the Guest's gate is a trap gate.</summary>
    private static bool MayGoDirect(int vector) =>
        vector is LguestAbi.SyscallVector or (< 32 and not (Vector.DeviceNotAvailable or Vector.GeneralProtection or Vector.PageFault or LguestAbi.TrapEntry));

    private Gate ForProcessor(int vector)
    {
        if (MayGoDirect(vector))
        {
            Gate gate = vector == LguestAbi.SyscallVector ? syscallGate : gates[vector];
            if (gate.IsPresent && gate.Type == TrapGate)
            {
                return gate;
            }
        }
        const uint Handler = LguestAbi.SwitcherAddress;
        uint attributes = vector == LguestAbi.TrapEntry ? DefaultHypercallGate : DefaultGate;
        if (vector is Vector.Breakpoint or Vector.Overflow)
        {
            // Programs raise these by instructions, INT3 and INTO: whoever may do so in the Guest may do so here (Appendix C, 8).
            attributes |= gates[vector].High & GatePrivilege;
        }
        return new Gate(((uint)LguestAbi.LguestCodeSelector << 16) | (Handler & 0xFFFF), (Handler & 0xFFFF_0000) | attributes);
    }

    // H:235 What is in a gate? An address, which may be anything: it is only used in ring 1, with ring 1's rights. A selector, which we
    // do not take over from the Guest: its handlers run in its kernel's code segment. And a type, of which two make sense; a task gate,
    // for example, would be a way to switch to a TSS of the Guest's making.
    private void Store(ref Gate gate, uint low, uint high)
    {
        if ((high & GatePresent) == 0)
        {
            gate = default;
            return;
        }
        uint type = (high >> 8) & 0xF;
        if (type is not (InterruptGate or TrapGate))
        {
            guest.Kill(KillReason.BadIdtType(type));
            return;
        }
        gate = new Gate(((uint)LguestAbi.KernelCodeSelector << 16) | (low & 0xFFFF), high & KeptGateBits);
    }

    // H:210 The frame. A handler expects on its stack what the processor pushes: the old stack, if the ring changed, then the flags, CS,
    // EIP, and perhaps an error code. We push it with GuestMemory, so on a bad stack the Guest dies instead of writing somewhere.
    //
    // The flags need a little lie. The real interrupt flag is always on while a Guest runs; what the Guest takes for its flag is the word
    // in memory. So the frame gets that one, and a handler behind an interrupt gate starts with the word switched off, as it would on a
    // processor of its own.
    /// <summary>Makes the Guest continue in a handler, as its processor would have (ABI 6.4).</summary>
    private void PushFrame(Gate gate, bool hasErrorCode)
    {
        ref LguestRegisters registers = ref guest.Registers;
        uint oldStackSelector = registers.Ss;
        uint oldStackPointer = registers.Esp;
        bool fromUser = (registers.Ss & 3) != LguestAbi.GuestPrivilegeLevel;
        uint stack = registers.Esp - guest.PageOffset;
        if (fromUser)
        {
            stack = stackTop - guest.PageOffset;
            registers.Ss = stackSelector;
            Push(ref stack, oldStackSelector);
            Push(ref stack, oldStackPointer);
        }

        uint irqEnabledAddress = guest.Data.Address + LguestDataOffset.IrqEnabled;
        uint flags = registers.Eflags;
        if (guest.Memory.TryRead(irqEnabledAddress, out uint enabled) && (enabled & Eflags.Interrupt) == 0)
        {
            flags &= ~Eflags.Interrupt;
        }
        Push(ref stack, flags);
        Push(ref stack, registers.Cs);
        Push(ref stack, registers.Eip);
        if (hasErrorCode)
        {
            Push(ref stack, registers.ErrorCode);
        }

        registers.Esp = stack + guest.PageOffset;
        registers.Cs = LguestAbi.KernelCodeSelector;
        registers.Eip = gate.Handler;
        registers.Eflags &= ~(Eflags.Trap | Eflags.NestedTask | Eflags.Resume);
        if (gate.Type == InterruptGate && !guest.Memory.TryWrite(irqEnabledAddress, 0u))
        {
            guest.Kill(KillReason.DisablingInterrupts);
        }
    }
    // :*

    private void Push(ref uint stack, uint value)
    {
        stack -= 4;
        guest.Memory.WriteWord(stack, value);
    }

    private readonly record struct Gate(uint Low, uint High)
    {
        public bool IsPresent => (High & GatePresent) != 0;

        public uint Type => (High >> 8) & 0xF;

        public uint Handler => (Low & 0xFFFF) | (High & 0xFFFF_0000);
    }
}
