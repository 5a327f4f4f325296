// Guests that share pages of a file. Each maps the file by itself and puts its pages at an address of its own, as Launchers do.

using System.Buffers.Binary;
using Lguest.Platform;
using Lguest.X86.Memory;

namespace Lguest.Host.Tests;

/// <summary>Which Guests live in one Host. Hosts of one process know nothing of each other: they meet as processes do.</summary>
public enum Hosts
{
    One,
    FirstApart,
    Each,
}

/// <summary>Guests that share a file.</summary>
internal sealed class GuestNetwork : IDisposable
{
    public const byte Irq = 5;
    private const int FilePages = 2;

    private readonly List<GuestOnNetwork> members = [];
    private readonly Hosts hosts;
    private LguestHost host = NewHost();
    private readonly bool ownsFile;
    private uint joined;

    public GuestNetwork(Hosts hosts = Hosts.One, string? path = null)
    {
        this.hosts = hosts;
        ownsFile = path is null;
        FilePath = path ?? Path.GetTempFileName();
        if (ownsFile)
        {
            File.WriteAllBytes(FilePath, new byte[FilePages * 4096]);
        }
    }

    /// <summary>The file that they share.</summary>
    public string FilePath { get; }

    /// <summary>A Host that waits long for its peers: on a busy machine, too, only a dead one does not answer.</summary>
    public static LguestHost NewHost()
    {
        var host = new LguestHost();
        host.Courier.Patience = 60_000;
        return host;
    }

    /// <summary>Adds a Guest that has made the handshake.</summary>
    /// <param name="pageLimit">Pages that the Guest may name.</param>
    /// <param name="otherFile">A file to share instead of the network's.</param>
    public GuestOnNetwork Join(uint pageLimit = TestGuest.Pages, string? otherFile = null)
    {
        GuestOnNetwork member = JoinBlank(pageLimit, otherFile);
        member.Guest.Initialised();
        return member;
    }

    /// <summary>Adds a Guest whose program makes the handshake.</summary>
    public GuestOnNetwork JoinBlank(uint pageLimit = TestGuest.Pages, string? otherFile = null)
    {
        if (hosts == Hosts.Each || (hosts == Hosts.FirstApart && joined == 1))
        {
            host = NewHost();
        }
        var member = new GuestOnNetwork(host, otherFile ?? FilePath, 0x6_0000 + (0x2000 * (joined++ % 4)), pageLimit);
        members.Add(member);
        return member;
    }

    public void Dispose()
    {
        members.ForEach(static member => member.Dispose());
        if (ownsFile)
        {
            File.Delete(FilePath);
        }
    }
}

/// <summary>A Guest that shares the first two pages of a file.</summary>
internal sealed class GuestOnNetwork : IDisposable
{
    private readonly SharedFileMapping mapping;
    private readonly MachineMemory memory;

    public GuestOnNetwork(LguestHost host, string path, uint sharedPage, uint pageLimit)
    {
        SharedPage = sharedPage;
        using (var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete))
        {
            mapping = new SharedFileMapping(file, 2);
        }
        memory = new MachineMemory(TestGuest.Pages, LguestAbi.ArenaFrames);
        memory.ShareFrame(sharedPage / 4096, mapping, 0);
        memory.ShareFrame((sharedPage / 4096) + 1, mapping, 1);
        Guest = new TestGuest(pageLimit: pageLimit, host: host, memory: memory);
    }

    public TestGuest Guest { get; }

    /// <summary>What all mappings of the file agree on.</summary>
    public string FileIdentity => mapping.Identity;

    /// <summary>Address of the first shared page.</summary>
    public uint SharedPage { get; }

    public string? DeathReason => Guest.Guest.DeathReason;

    /// <summary>Whether somebody has made an interrupt pending.</summary>
    public bool IsNotified => Guest.Guest.Interrupts.HasPending;

    public uint Key(uint slot) => SharedPage + (4 * slot);

    public bool Bind(uint slot, uint array, uint count, uint irq = GuestNetwork.Irq)
    {
        Guest.Call((uint)Hypercall.BindDma, Key(slot), array, (count << 8) | irq);
        return Guest.Guest.Registers.Eax == 1;
    }

    public void Send(uint slot, uint list) => Guest.Call((uint)Hypercall.SendDma, Key(slot), list);

    /// <summary>Writes a lguest_dma.</summary>
    public GuestOnNetwork List(uint address, uint usedLength, params ReadOnlySpan<(uint Address, int Length)> sections)
    {
        Span<byte> list = stackalloc byte[100];
        list.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(list, usedLength);
        for (int i = 0; i < sections.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(list[(4 + (4 * i))..], sections[i].Address);
            BinaryPrimitives.WriteUInt16LittleEndian(list[(0x44 + (2 * i))..], (ushort)sections[i].Length);
        }
        Guest.Memory.Write(address, list);
        return this;
    }

    public GuestOnNetwork Fill(uint address, ReadOnlySpan<byte> bytes)
    {
        Guest.Memory.Write(address, bytes);
        return this;
    }

    /// <summary>Lets the Guest take the interrupt, so that the next one can be seen.</summary>
    public void TakeInterrupt()
    {
        Guest.Guest.Registers.Esp = TestGuest.Virtual(TestGuest.StackTop);
        Guest.SetWord(TestGuest.Data, 0x200);
        Guest.Guest.Interrupts.LoadIdtEntry(32 + GuestNetwork.Irq, 0x1234, 0x8E00);
        Guest.Guest.Interrupts.TryInject();
        Assert.False(IsNotified);
    }

    public byte[] Bytes(uint address, int length)
    {
        byte[] bytes = new byte[length];
        Guest.Memory.Read(address, bytes);
        return bytes;
    }

    public void Dispose()
    {
        Guest.Dispose();
        memory.Dispose();
        mapping.Dispose();
    }
}
