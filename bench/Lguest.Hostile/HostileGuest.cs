// One life of a hostile Guest, from its birth to its death or its end: a machine whose kernel, had it one, would do whatever hurts. Each
// throw is something that a real Guest could bring about - a hypercall, a word in its memory, a trap at some address with some stack, a
// program that runs - and its Launcher serves what it sends as a real one would.

using Lguest.Host;
using Lguest.Launcher.Devices.Block;
using Lguest.Platform;
using Lguest.X86.Memory;
using Lguest.X86.State;
using static Lguest.Hostile.HostileLayout;

namespace Lguest.Hostile;

/// <summary>What a hostile Guest throws at the Host.</summary>
internal enum HostileThrow
{
    Hypercall,
    Ring,
    PageTable,
    GuestData,
    Descriptors,
    Gates,
    DmaList,
    Bindings,
    Interrupt,
    Trap,
    Clock,
    Launcher,
    Program,
}

/// <summary>A hostile Guest in its machine.</summary>
internal sealed class HostileGuest : IDisposable
{
    private static readonly uint[] PageOffsets = [0xC000_0000, 0xC000_0000, 0xC000_0000, 0x8000_0000, 0x4000_0000, 0xFF00_0000, 0xC010_0000, 0x1000];

    /// <summary>How often each throw is drawn, of 100.</summary>
    private static readonly HostileThrow[] Draws = BuildDraws();

    private readonly HostileValues values;
    private readonly uint pageOffset;
    private readonly HostileLauncher launcher;
    private readonly Patience patience;

    /// <summary>Gives birth: tables, a GDT, and the handshake with a lguest_data at a place of bad taste.</summary>
    /// <param name="host">The Host that has to stand it.</param>
    /// <param name="network">The file that it shares with others.</param>
    /// <param name="patience">Ends its programs.</param>
    /// <param name="random">Where its life comes from.</param>
    public HostileGuest(LguestHost host, SharedFileMapping network, Patience patience, Random random)
    {
        this.patience = patience;
        pageOffset = PageOffsets[random.Next(PageOffsets.Length)];
        values = new HostileValues(random, pageOffset);
        Memory = new MachineMemory(Pages, LguestAbi.ArenaFrames);
        for (uint page = 0; page < SharedPages; page++)
        {
            Memory.ShareFrame((Shared / 4096) + page, network, page);
        }
        WriteTables();
        Device = host.Open();
        LguestError error = Device.Initialize(new InitializeRequest
        {
            Memory = Memory,
            PageLimit = random.Next(4) == 0 ? Pages + PromisedPages : Pages,
            PageDirectory = values.Seldom() ? values.Directory() : FirstDirectory,
            Start = Code + pageOffset,
            PageOffset = pageOffset,
            Seed = (uint)random.Next(),
        });
        if (error != LguestError.None)
        {
            throw new HostileFailure($"The Host refuses a Guest: {error}.");
        }
        launcher = new HostileLauncher(Memory, Device);
        Shake();
    }

    public MachineMemory Memory { get; }

    public LguestDevice Device { get; }

    public Guest Guest => Device.Guest!;

    /// <summary>Why it died; null while it lives. What a Launcher says against a Guest counts as well.</summary>
    public string? DeathReason => Guest.DeathReason ?? launcher.Death;

    /// <summary>Throws one thing at the Host.</summary>
    public HostileThrow Throw()
    {
        HostileThrow what = Draws[values.Random.Next(Draws.Length)];
        switch (what)
        {
            case HostileThrow.Hypercall:
                Call(Number());
                break;
            case HostileThrow.Ring:
                PostToRing();
                break;
            case HostileThrow.PageTable:
                Memory.Write(values.EntryAddress(), values.Entry());
                Guest.PageTables.DemandPage(values.Address(), (uint)values.Random.Next(8));
                break;
            case HostileThrow.GuestData:
                WriteGuestData();
                break;
            case HostileThrow.Descriptors:
                LoadDescriptors();
                break;
            case HostileThrow.Gates:
                Call((uint)Hypercall.LoadIdtEntry, values.Number(64), values.Virtual(), Gate());
                break;
            case HostileThrow.DmaList:
                HostileLists.Write(values, Memory);
                WriteDevicePages();
                break;
            case HostileThrow.Bindings:
                Bind();
                break;
            case HostileThrow.Interrupt:
                Device.Irq(values.Number(32));
                SetRegisters();
                Guest.Interrupts.TryInject();
                break;
            case HostileThrow.Trap:
                SetRegisters();
                Guest.Registers.ErrorCode = values.Number(16);
                if (!PortAccess.TryEmulate(Guest) && !Guest.Interrupts.TryReflect(values.Number(32)))
                {
                    // Without a gate a real Guest would be dead by now; this one throws on.
                    Guest.Interrupts.LoadIdtEntry((uint)values.Random.Next(64), values.Any(), Gate());
                }
                break;
            case HostileThrow.Clock:
                Call((uint)Hypercall.SetClockEvent, values.Edge());
                break;
            case HostileThrow.Launcher:
                launcher.Act(values);
                break;
            case HostileThrow.Program:
                RunProgram();
                break;
        }
        launcher.Serve();
        return what;
    }

    public void Dispose()
    {
        Device.Dispose();
        launcher.Dispose();
        Memory.Dispose();
    }

    private static HostileThrow[] BuildDraws()
    {
        (HostileThrow What, int Times)[] shares =
        [
            (HostileThrow.Hypercall, 25), (HostileThrow.Ring, 12), (HostileThrow.PageTable, 14), (HostileThrow.GuestData, 5),
            (HostileThrow.Descriptors, 5), (HostileThrow.Gates, 4), (HostileThrow.DmaList, 10), (HostileThrow.Bindings, 8),
            (HostileThrow.Interrupt, 5), (HostileThrow.Trap, 4), (HostileThrow.Clock, 2), (HostileThrow.Launcher, 5), (HostileThrow.Program, 1),
        ];
        return [.. shares.SelectMany(static share => Enumerable.Repeat(share.What, share.Times))];
    }

    private void WriteTables()
    {
        foreach (uint directory in (uint[])[FirstDirectory, SecondDirectory, ThirdDirectory])
        {
            Memory.Write(directory + (4 * (UserVirtual >> 22)), UserTable | 7);
            Memory.Write(directory + (4 * (pageOffset >> 22)), KernelTable | 3);
        }
        for (uint page = 0; page < Pages; page++)
        {
            Memory.Write(KernelTable + (4 * ((page + (pageOffset >> 12)) % 1024)), (page * 4096) | 3);
        }
        Memory.Write(UserTable, UserPage | 7);
        WriteDescriptor(12, 0x00CF_9A00_0000_FFFF);
        WriteDescriptor(13, 0x00CF_9200_0000_FFFF);
        WriteDescriptor(14, 0x00CF_FA00_0000_FFFF);
        WriteDescriptor(15, 0x00CF_F200_0000_FFFF);
    }

    private void WriteDescriptor(uint entry, ulong descriptor) => Memory.Write(Gdt + (entry * 8), descriptor);

    /// <summary>LGUEST_INIT, with the structure where it may hurt: across a border, on the Guest's tables, at the very end.</summary>
    private void Shake()
    {
        Random random = values.Random;
        uint data = random.Next(12) switch
        {
            0 => values.Physical(LguestDataOffset.Size),
            1 when values.Seldom(4) => values.Wild(LguestDataOffset.Size),
            2 => (((uint)random.Next(1, (int)Pages)) * 4096) - (uint)random.Next((int)LguestDataOffset.Size),
            3 => Top - LguestDataOffset.Size - (uint)random.Next(4),
            4 => Shared + (uint)random.Next(4096),
            5 => FirstDirectory + (uint)random.Next(4096),
            6 => Gdt - (uint)random.Next((int)LguestDataOffset.Size),
            _ => Data,
        };
        if (Guest.Memory.InRange(data, LguestDataOffset.Size))
        {
            Span<byte> status = stackalloc byte[LguestAbi.RingSize];
            status.Fill(0xFF);
            Memory.Write(data + LguestDataOffset.HypercallStatus, status);
            Memory.Write(data + LguestDataOffset.NoIrqStart, values.Seldom(3) ? values.Virtual() : 0);
            Memory.Write(data + LguestDataOffset.NoIrqEnd, values.Seldom(3) ? values.Virtual() : 0);
        }
        Call(values.Seldom(100) ? values.Number(20) : (uint)Hypercall.LguestInit, data);
        if (!values.Seldom())
        {
            // Without a reply buffer the first request to the disk would be the last.
            Call((uint)Hypercall.BindDma, DiskPage, Lists + (4 * LguestAbi.DmaSize), (1 << 8) | 1);
            Call((uint)Hypercall.BindDma, NetworkPage + 4, Lists + (5 * LguestAbi.DmaSize), (8 << 8) | 2);
        }
        if (random.Next(3) != 0)
        {
            Call((uint)Hypercall.LoadGdt, Gdt, 32);
            Call((uint)Hypercall.SetStack, 0x69, TrapStackTop + pageOffset, (uint)random.Next(3));
            uint handler = Handler + pageOffset;
            for (uint vector = 0; vector < LguestAbi.GuestGates; vector++)
            {
                Call((uint)Hypercall.LoadIdtEntry, vector, handler & 0xFFFF, (handler & 0xFFFF_0000) | (random.Next(2) == 0 ? 0x8E00u : 0xEF00u));
            }
            Call((uint)Hypercall.LoadIdtEntry, LguestAbi.SyscallVector, handler & 0xFFFF, (handler & 0xFFFF_0000) | 0xEF00);
        }
    }

    /// <summary>The number of a hypercall; the fatal ones seldom.</summary>
    private uint Number()
    {
        uint number = (uint)values.Random.Next(17);
        bool fatal = number is (uint)Hypercall.Crash or (uint)Hypercall.LguestInit or 11;
        return fatal && !values.Rarely() ? (uint)Hypercall.SetPte : values.Rarely() && values.Seldom(4) ? values.Any() : number;
    }

    /// <summary>A direct hypercall with arguments that fit its number.</summary>
    private void Call(uint number)
    {
        (uint edx, uint ebx, uint ecx) = Arguments(number);
        Call(number, edx, ebx, ecx);
    }

    private void Call(uint number, uint edx = 0, uint ebx = 0, uint ecx = 0)
    {
        if (DeathReason is not null)
        {
            return;
        }
        ref LguestRegisters registers = ref Guest.Registers;
        registers.TrapNumber = LguestAbi.TrapEntry;
        registers.Eax = number;
        registers.Edx = edx;
        registers.Ebx = ebx;
        registers.Ecx = ecx;
        Guest.Hypercalls.ExecutePending();
    }

    private (uint Edx, uint Ebx, uint Ecx) Arguments(uint number) => values.Rarely() ? (values.Any(), values.Any(), values.Any()) : (Hypercall)number switch
    {
        Hypercall.Crash => (values.Physical(128), 0, 0),
        Hypercall.LguestInit => (values.Physical(LguestDataOffset.Size), 0, 0),
        Hypercall.LoadGdt => (values.Physical(256), values.Number(33), 0),
        Hypercall.NewPageTable => (values.Directory(), 0, 0),
        Hypercall.FlushTlb => (values.Edge(), 0, 0),
        Hypercall.LoadIdtEntry => (values.Number(64), values.Virtual(), Gate()),
        Hypercall.SetStack => (values.Rarely() ? values.Any() : 0x69, values.Seldom(40) ? values.Virtual() : TrapStackTop + pageOffset, values.Number(3)),
        Hypercall.SetClockEvent => (values.Edge(), 0, 0),
        Hypercall.BindDma => (values.Key(), HostileLists.Place(values), CountAndIrq()),
        Hypercall.SendDma => (values.Key(), HostileLists.Write(values, Memory), 0),
        Hypercall.SetPte => (values.Directory(), values.Virtual(), values.Entry()),
        Hypercall.SetPmd => (values.Directory(), values.Number(1024), 0),
        Hypercall.LoadTls => (values.Physical(24), 0, 0),
        _ => (values.Edge(), values.Address(), values.Entry()),
    };

    private uint CountAndIrq() => values.Random.Next(8) switch
    {
        0 => 0,
        1 => values.Any(),
        2 => 0xFF_FF00 | (uint)values.Random.Next(33),
        _ => ((uint)values.Random.Next(20) << 8) | (uint)values.Random.Next(1, 32),
    };

    /// <summary>Describes a request to the disk: one that could be meant, with a field that is not. And opens or closes its network.</summary>
    private void WriteDevicePages()
    {
        Memory.Write(NetworkPage + 6, (byte)values.Random.Next(3));
        Memory.Write(DiskPage + BlockPage.Type, values.Seldom(8) ? values.Edge() : (uint)values.Random.Next(2));
        Memory.Write(DiskPage + BlockPage.Sector, values.Rarely() ? values.Edge() : (uint)values.Random.Next(HostileLauncher.DiskSectors));
        Memory.Write(DiskPage + BlockPage.Bytes, values.Seldom(4) ? values.Edge() : (uint)values.Random.Next(9) * 512);
    }

    /// <summary>A run of calls in the ring, sometimes with a fatal one among them, and a status that may lie.</summary>
    private void PostToRing()
    {
        uint data = Guest.Data.Address;
        if (!Guest.Memory.InRange(data, LguestDataOffset.Size))
        {
            return;
        }
        int count = values.Seldom() ? LguestAbi.RingSize : values.Random.Next(1, 6);
        int first = values.Random.Next(LguestAbi.RingSize);
        for (int i = 0; i < count; i++)
        {
            uint slot = (uint)((first + i) % LguestAbi.RingSize);
            uint number = Number();
            (uint edx, uint ebx, uint ecx) = Arguments(number);
            uint address = data + LguestDataOffset.Hypercalls + (16 * slot);
            Memory.Write(address, number);
            Memory.Write(address + 4, edx);
            Memory.Write(address + 8, ebx);
            Memory.Write(address + 12, ecx);
            Memory.Write(data + LguestDataOffset.HypercallStatus + slot, (byte)(values.Seldom() ? values.Random.Next(256) : 0));
        }
        Call((uint)Hypercall.FlushAsync);
    }

    private void WriteGuestData()
    {
        uint data = Guest.Data.Address;
        if (!Guest.Memory.InRange(data, LguestDataOffset.Size))
        {
            return;
        }
        switch (values.Random.Next(4))
        {
            case 0:
                Memory.Write(data + LguestDataOffset.IrqEnabled, values.Seldom() ? values.Any() : 0x200);
                break;
            case 1:
                Memory.Write(data + LguestDataOffset.BlockedInterrupts, values.Edge());
                break;
            case 2:
                Memory.Write(data + (uint)values.Random.Next((int)LguestDataOffset.Size), (byte)values.Random.Next(256));
                break;
            default:
                Memory.Write(data + LguestDataOffset.NoIrqStart, values.Any());
                Memory.Write(data + LguestDataOffset.NoIrqEnd, values.Any());
                break;
        }
    }

    private void LoadDescriptors()
    {
        for (int i = 0; i < 4; i++)
        {
            uint entry = (uint)values.Random.Next(LguestAbi.GdtEntries);
            if (entry is < 12 or > 15 || values.Seldom())
            {
                WriteDescriptor(entry, values.Descriptor());
            }
        }
        if (values.Random.Next(2) == 0)
        {
            Call((uint)Hypercall.LoadGdt, Gdt, values.Rarely() ? values.Edge() : 32);
        }
        else
        {
            Call((uint)Hypercall.LoadTls, Gdt + (8 * (uint)values.Random.Next(30)));
        }
    }

    private uint Gate() => (values.Virtual() & 0xFFFF_0000) | (values.Rarely() ? values.Any() & 0xFFFF : 0x8E00u | ((uint)values.Random.Next(2) << 8) | ((uint)values.Random.Next(4) << 13));

    private void Bind()
    {
        if (values.Seldom(20))
        {
            // A storm: more bindings than there may be, and each unbound twice.
            for (uint i = 0; i < 40; i++)
            {
                Call((uint)Hypercall.BindDma, Shared + (4 * (i % 8)), Lists + (100 * i), (1 << 8) | 3);
            }
            for (uint i = 0; i < 80; i++)
            {
                Call((uint)Hypercall.BindDma, Shared + (4 * (i % 8)), Lists + (100 * (i % 40)), 0);
            }
            return;
        }
        Call((uint)Hypercall.BindDma, values.Key(), HostileLists.Write(values, Memory), CountAndIrq());
    }

    /// <summary>The registers of some moment in the Guest's life: any addresses, any flags that ring 1 or 3 can have.</summary>
    private void SetRegisters()
    {
        ref LguestRegisters registers = ref Guest.Registers;
        bool user = values.Random.Next(2) == 0;
        registers.Cs = user ? 0x73u : 0x61u;
        registers.Ss = user ? 0x7Bu : 0x69u;
        registers.Eip = values.Virtual();
        registers.Esp = values.Seldom(40) ? values.Virtual() : StackTop + pageOffset - (uint)values.Random.Next(0x2000);
        registers.Eflags = (values.Any() & 0x0024_4DD5) | Eflags.Interrupt | Eflags.AlwaysOne;
    }

    private void RunProgram()
    {
        ref LguestRegisters registers = ref Guest.Registers;
        if (values.Random.Next(3) != 0)
        {
            Span<byte> code = stackalloc byte[384];
            foreach (uint place in (ReadOnlySpan<uint>)[Code, Handler, UserPage])
            {
                new HostileProgram(values, code).Write();
                // Now and then it runs across a border.
                Memory.Write(place == Code && values.Seldom(3) ? place + 4096 - 100 : place, code);
            }
            registers.Cs = 0x61;
            registers.Ss = 0x69;
            registers.Ds = 0x69;
            registers.Es = 0x69;
            registers.Fs = 0;
            registers.Gs = 0;
            registers.Eip = Code + pageOffset + (values.Seldom(3) ? 4096u - 100 : 0);
            registers.Esp = values.Seldom(4) ? values.Virtual() : StackTop + pageOffset;
            registers.Eflags = Eflags.Interrupt | Eflags.AlwaysOne;
        }
        else
        {
            SetRegisters();
            registers.Ds = values.Seldom(5) ? values.Selector() : 0x7Bu;
            registers.Gs = values.Seldom(5) ? values.Selector() : 0u;
        }
        registers.TrapNumber = 0x20;
        patience.Run(launcher.Run);
    }
}
