namespace Lguest.Host;

/// <summary>Numbers of the hypercalls (ABI 5.4).</summary>
public enum Hypercall
{
    /// <summary>Nothing by itself; being a trap it flushes the ring.</summary>
    FlushAsync = 0,

    /// <summary>Registers lguest_data.</summary>
    LguestInit = 1,

    /// <summary>Ends the Guest with a text.</summary>
    Crash = 2,

    /// <summary>Replaces the GDT.</summary>
    LoadGdt = 3,

    /// <summary>Switches the address space.</summary>
    NewPageTable = 4,

    /// <summary>Forgets translations.</summary>
    FlushTlb = 5,

    /// <summary>Sets one gate.</summary>
    LoadIdtEntry = 6,

    /// <summary>Names the ring-1 stack for traps.</summary>
    SetStack = 7,

    /// <summary>Makes FPU instructions trap, or not.</summary>
    TaskSwitched = 8,

    /// <summary>Arms the one-shot timer.</summary>
    SetClockEvent = 9,

    /// <summary>Stops until an interrupt is deliverable.</summary>
    Halt = 10,

    /// <summary>Binds or unbinds receive buffers.</summary>
    BindDma = 12,

    /// <summary>Sends a DMA list.</summary>
    SendDma = 13,

    /// <summary>Tells of a changed page table entry.</summary>
    SetPte = 14,

    /// <summary>Tells of a changed page directory entry.</summary>
    SetPmd = 15,

    /// <summary>Replaces the three TLS descriptors.</summary>
    LoadTls = 16,
}
