// P:470 Nearly every instruction touches memory, and every address in it is virtual: the processor has to find the frame behind it by
// walking through two levels of tables. Silicon remembers recent results in a *TLB*, translation lookaside buffer. So do we, in ordinary
// memory: the soft-TLB. A hit costs one comparison and one addition, and then the address is a pointer.
//
// Real silicon forgets its whole TLB at every change of CR3, which names the page directory. A Host that keeps several shadow directories
// can let each keep its own TLB, so that a context switch of the Guest only swaps a reference. :*

using Lguest.Platform;

namespace Lguest.X86.Memory;

// H:370 Below the shadow tables there is a second memory of translations, the soft-TLB. It belongs to the processor, and the Host only
// tells it when to forget, as it would tell silicon.
//
// An entry has two tags, because it is one thing to know that a page can be read and another that it can be written without anybody
// having to notice. A page that is not dirty, or that code was decoded from, has a read tag only: the write goes the slow way, where it
// is noticed.
/// <summary>One entry of the data TLB. A tag is the linear page address, or 1 where the access is not known to be allowed.</summary>
internal struct TlbEntry
{
    /// <summary>Linear page address if reads are allowed.</summary>
    public uint ReadTag;

    /// <summary>Linear page address if writes are allowed and need no notice (dirty bit set, no decoded code, no breakpoint).</summary>
    public uint WriteTag;

    /// <summary>Host address of the page minus its linear address.</summary>
    public nint Addend;

    /// <summary>Where <see cref="WriteTag"/> is, for code that is written without a compiler.</summary>
    public const int WriteTagOffset = 4;

    /// <summary>Where <see cref="Addend"/> is.</summary>
    public const int AddendOffset = 8;
}

/// <summary>One entry of the instruction TLB.</summary>
internal struct ExecuteEntry
{
    /// <summary>Linear page address, or 1.</summary>
    public uint Tag;

    /// <summary>Machine frame.</summary>
    public uint Frame;

    /// <summary>The entry, read as one word, that maps the page of an address to a frame.</summary>
    public static ulong Pack(uint linear, uint frame) => ((ulong)frame << 32) | (linear & 0xFFFF_F000);
}
// :*

/// <summary>The page that the stack is in: what is found by way of the stack pointer asks here first.</summary>
internal unsafe struct StackEntry
{
    /// <summary>Linear page address, or more than there are addresses.</summary>
    public ulong Page;

    /// <summary>Where the page is in the host's memory.</summary>
    public byte* HostPage;

    /// <summary>Where <see cref="HostPage"/> is, for code that is written without a compiler.</summary>
    public const int HostPageOffset = 8;
}

/// <summary>The translations that the processor remembers for one directory and one kind of privilege.</summary>
internal sealed unsafe class SoftTlb
{
    public const int Entries = 2048;
    public const int ExecuteEntries = 2048;
    public const int SystemEntries = 16;
    public const int VictimEntries = 256;
    private const uint Invalid = 1;
    private const ulong NoStack = ulong.MaxValue;
    public const int DataBytes = Entries * 16;

    /// <summary>Where the pages of descriptors are, from the data TLB on.</summary>
    public const int SystemOffset = DataBytes + (ExecuteEntries * 8);

    /// <summary>Where the victims are, from there, too.</summary>
    public const int VictimOffset = SystemOffset + (SystemEntries * 16);

    /// <summary>Where the page of the stack is.</summary>
    public const int StackOffset = VictimOffset + (VictimEntries * 16);

    public readonly TlbEntry* Data;
    public readonly ExecuteEntry* Execute;

    /// <summary>
    /// The pages in which the processor itself looks for descriptors and stacks. It does so at each way in or out of a kernel, and nothing
    /// that the kernel uses in between takes these entries' place. Only their read tags count.
    /// </summary>
    public readonly TlbEntry* System;

    /// <summary>
    /// What was last driven out of the data TLB by a page of the same index, by the lower bits of that. Translated code that misses looks
    /// here, and exchanges the two: a stack and a table that happen to lie eight megabytes apart would else drive each other out for ever.
    /// </summary>
    public readonly TlbEntry* Victims;

    /// <summary>The page that the stack pointer led to last, if it may be written without notice.</summary>
    public readonly StackEntry* Stack;

    // Numbers of the entries that hold what is not global, in the order in which they were filled; those of the instruction TLB lie
    // behind those of the data TLB.
    private readonly ushort[] local = new ushort[Entries];
    private int locals;

    public SoftTlb(byte* memory)
    {
        Data = (TlbEntry*)memory;
        Execute = (ExecuteEntry*)(memory + DataBytes);
        System = (TlbEntry*)(memory + SystemOffset);
        Victims = System + SystemEntries;
        Stack = (StackEntry*)(Victims + VictimEntries);
        Flush();
    }

    public static int Bytes => StackOffset + sizeof(StackEntry);

    public void Flush()
    {
        // A Guest that forks flushes often: one wide fill makes every tag invalid, and what it puts between the tags is not looked at.
        // SAFETY: the constructor's caller gave Bytes bytes, which the arrays fill exactly.
        unsafe
        {
            new Span<uint>(Data, Bytes / sizeof(uint)).Fill(Invalid);
        }
        locals = 0;
    }

    /// <summary>Notes that an entry of the data TLB gets a translation that is not global.</summary>
    public void NoteLocalData(uint linear) => NoteLocal((linear >> 12) % Entries);

    /// <summary>Notes that an entry of the instruction TLB gets a translation that is not global.</summary>
    public void NoteLocalExecute(uint linear) => NoteLocal(Entries + ((linear >> 12) % ExecuteEntries));

    private void NoteLocal(uint number)
    {
        if (locals < local.Length)
        {
            local[locals] = (ushort)number;
        }
        locals++;
    }

    /// <summary>Forgets what is not global.</summary>
    public void FlushLocal()
    {
        if (locals > local.Length)
        {
            Flush();
            return;
        }
        // SAFETY: the numbers noted are below Entries, or below Entries + ExecuteEntries.
        unsafe
        {
            foreach (ushort number in local.AsSpan(0, locals))
            {
                if (number < Entries)
                {
                    Data[number].ReadTag = Invalid;
                    Data[number].WriteTag = Invalid;
                }
                else
                {
                    Execute[number - Entries].Tag = Invalid;
                }
            }
            // Both lie side by side.
            new Span<uint>(System, (SystemEntries + VictimEntries) * sizeof(TlbEntry) / sizeof(uint)).Fill(Invalid);
            Stack->Page = NoStack;
        }
        locals = 0;
    }

    public void FlushPage(uint linear)
    {
        // SAFETY: the indices are reduced modulo the array lengths.
        unsafe
        {
            TlbEntry* data = Data + ((linear >> 12) % Entries);
            data->ReadTag = Invalid;
            data->WriteTag = Invalid;
            Execute[(linear >> 12) % ExecuteEntries].Tag = Invalid;
            System[(linear >> 12) % SystemEntries].ReadTag = Invalid;
            TlbEntry* victim = Victims + ((linear >> 12) % VictimEntries);
            victim->ReadTag = Invalid;
            victim->WriteTag = Invalid;
            Stack->Page = NoStack;
        }
    }

    /// <summary>Puts a translation into the data TLB.</summary>
    public void SetData(uint linear, in TlbEntry translation)
    {
        // SAFETY: both indices are reduced modulo the array lengths.
        unsafe
        {
            TlbEntry* entry = Data + ((linear >> 12) % Entries);
            if (entry->ReadTag != Invalid && entry->ReadTag != translation.ReadTag)
            {
                Victims[(linear >> 12) % VictimEntries] = *entry;
            }
            *entry = translation;
        }
    }

    /// <summary>Forgets that a host page may be written without notice.</summary>
    public void ProtectHostPage(byte* page)
    {
        // SAFETY: the arrays have as many entries.
        unsafe
        {
            ProtectHostPage(new Span<TlbEntry>(Data, Entries), page);
            ProtectHostPage(new Span<TlbEntry>(Victims, VictimEntries), page);
            Stack->Page = NoStack;
        }
    }

    private static void ProtectHostPage(Span<TlbEntry> entries, byte* page)
    {
        // SAFETY: the pointers are only compared.
        unsafe
        {
            foreach (ref TlbEntry entry in entries)
            {
                if (entry.WriteTag != Invalid && (byte*)(entry.Addend + (nint)entry.WriteTag) == page)
                {
                    entry.WriteTag = Invalid;
                }
            }
        }
    }
}

/// <summary>A page directory in machine memory, with the translations that the processor has cached from it.</summary>
/// <remarks>
/// Whoever changes the tables in a way that a TLB must learn of calls <see cref="Flush"/> or <see cref="FlushPage"/>, as a kernel on
/// silicon would (Intel SDM volume 3, 4.10). Belongs to one processor; not thread-safe.
/// </remarks>
public sealed unsafe class AddressSpace : IDisposable
{
    private readonly HostMemory memory;
    private readonly ulong[] largePages = new ulong[16];

    internal AddressSpace(uint directory)
    {
        Directory = directory;
        nuint bytes = ((nuint)(2 * SoftTlb.Bytes) + 4095) / 4096 * 4096;
        memory = new HostMemory(bytes);
        memory.Commit(0, bytes);
        // SAFETY: the block holds two TLBs side by side.
        unsafe
        {
            Supervisor = new SoftTlb(memory.Address);
            User = new SoftTlb(memory.Address + UserOffset);
        }
    }

    /// <summary>Distance in bytes from the one TLB's data to the other's.</summary>
    internal static int UserOffset => SoftTlb.Bytes;

    /// <summary>Physical address of the page directory (the value of CR3).</summary>
    public uint Directory { get; internal set; }

    /// <summary>Translations for rings 0 to 2.</summary>
    internal SoftTlb Supervisor { get; }

    /// <summary>Translations for ring 3.</summary>
    internal SoftTlb User { get; }

    /// <summary>Forgets every translation.</summary>
    public void Flush()
    {
        Supervisor.Flush();
        User.Flush();
        Array.Clear(largePages);
    }

    /// <summary>Forgets every translation that is not global.</summary>
    internal void FlushLocal()
    {
        Supervisor.FlushLocal();
        User.FlushLocal();
    }

    /// <summary>Forgets the translation of the page, small or large, that contains a linear address.</summary>
    public void FlushPage(uint linear)
    {
        // Of a large page the TLB may hold any number of fragments; giving up everything is rare enough.
        if ((largePages[linear >> 28] & LargePageBit(linear)) != 0)
        {
            Flush();
            return;
        }
        Supervisor.FlushPage(linear);
        User.FlushPage(linear);
    }

    /// <summary>Notes that translations from a large page are about to be remembered.</summary>
    internal void NoteLargePage(uint linear) => largePages[linear >> 28] |= LargePageBit(linear);

    private static ulong LargePageBit(uint linear) => 1ul << (int)((linear >> 22) & 63);

    /// <summary>Releases the TLB's memory.</summary>
    public void Dispose() => memory.Dispose();

    internal void ProtectHostPage(byte* page)
    {
        // SAFETY: the pointer is only compared.
        unsafe
        {
            Supervisor.ProtectHostPage(page);
            User.ProtectHostPage(page);
        }
    }
}
