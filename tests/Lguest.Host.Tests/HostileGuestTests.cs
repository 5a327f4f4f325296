// Whatever a Guest says, the Host must not throw, must not reach beyond the Guest's memory, and must not let a shadow entry name a frame
// that is not the Guest's. Random nonsense, close enough to sense to get past the first checks, and after every step the proof of
// isolation is checked over every shadow table.

using Iced.Intel;
using Lguest.X86.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class HostileGuestTests
{
    public static TheoryData<int> Seeds => [1, 2, 3, 4, 5, 6, Random.Shared.Next(7, int.MaxValue)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void HostileHypercallsAndTables_NeverThrow_AndNeverMapForeignFrames(int seed)
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        int deaths = 0;
        for (int life = 0; life < 25; life++)
        {
            using TestGuest guest = Born(random);
            for (int step = 0; step < 200 && !guest.Guest.IsDead; step++)
            {
                Step(guest, random);
                AssertIsolated(guest);
            }
            deaths += guest.Guest.IsDead ? 1 : 0;
        }
        Assert.InRange(deaths, 1, 25);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void HostilePrograms_NeverThrow_AndNeverMapForeignFrames(int seed)
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        for (int life = 0; life < 15; life++)
        {
            using TestGuest guest = Born(random);
            guest.Program(a => WriteProgram(a, random));
            guest.UserProgram(a => WriteProgram(a, random));
            guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a => WriteProgram(a, random));
            for (int read = 0; read < 10 && !guest.Guest.IsDead; read++)
            {
                // A program that loops for ever is not worth more than a few milliseconds.
                using var patience = new CancellationTokenSource(5);
                guest.Device.Read(patience.Token);
                AssertIsolated(guest);
            }
        }
    }

    [Fact]
    public void Close_GivesBackEveryFrame_HoweverTheGuestLeftItsTables()
    {
        var random = new Random(9);
        for (int life = 0; life < 20; life++)
        {
            const uint Frames = 64;
            using var memory = new MachineMemory(TestGuest.Pages, Frames);
            using (var guest = new TestGuest(memory: memory))
            {
                guest.Initialised();
                for (int step = 0; step < 300 && !guest.Guest.IsDead; step++)
                {
                    Step(guest, random);
                }
            }
            for (uint i = 0; i < Frames; i++)
            {
                Assert.True(memory.TryAllocateFrame(out _));
            }
        }
    }

    private static TestGuest Born(Random random)
    {
        var guest = new TestGuest(pageLimit: random.Next(4) == 0 ? TestGuest.Pages + 40 : TestGuest.Pages);
        guest.PrepareGdt().Initialised();
        if (random.Next(2) == 0)
        {
            guest.Call((uint)Hypercall.LoadGdt, TestGuest.Gdt, 32);
            guest.Call((uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), 1);
            guest.Guest.Interrupts.LoadIdtEntry(14, TestGuest.Handler & 0xFFFF, (TestGuest.Virtual(TestGuest.Handler) & 0xFFFF_0000) | 0x8E00);
        }
        return guest;
    }

    private static void Step(TestGuest guest, Random random)
    {
        switch (random.Next(8))
        {
            case 0:
                guest.SetWord(Align(Address(random)) % TestGuest.Top, Entry(random));
                break;
            case 1:
                guest.Guest.PageTables.DemandPage(Address(random), (uint)random.Next(8));
                break;
            case 2:
                guest.Post(random.Next(64), (uint)random.Next(18), Address(random), Address(random), Entry(random));
                break;
            case 3:
                guest.Device.Irq((uint)random.Next(34));
                guest.Guest.Registers.Esp = Address(random);
                guest.SetWord(TestGuest.Data, 0x200);
                guest.Guest.Interrupts.TryInject();
                break;
            case 4:
                guest.Device.GetDma(Address(random), out _);
                break;
            case 5:
                guest.Guest.Registers.Eip = Address(random);
                PortAccess.TryEmulate(guest.Guest);
                break;
            default:
                uint number = (uint)random.Next(17);
                bool fatal = number is (uint)Hypercall.Crash or (uint)Hypercall.LguestInit or 11;
                guest.Call(fatal ? (uint)Hypercall.SetPte : number, Directory(random), Address(random), Entry(random));
                guest.Guest.Io.ClearPendingDma();
                break;
        }
    }

    private static uint Directory(Random random) => random.Next(3) switch
    {
        0 => TestGuest.Directory,
        1 => TestGuest.SecondDirectory,
        _ => Address(random),
    };

    private static uint Address(Random random) => random.Next(9) switch
    {
        0 => TestGuest.UserVirtual + (uint)random.Next(0x4000),
        1 => TestGuest.Virtual((uint)random.Next((int)TestGuest.Top)),
        2 => (uint)random.Next((int)TestGuest.Top) & ~0xFFFu,
        3 => TestGuest.Top - (uint)random.Next(8),
        4 => unchecked(0u - (uint)random.Next(2048)),
        5 => 0xFFC0_0000 + (uint)random.Next(0x4000),
        6 => (uint)random.Next(256),
        7 => TestGuest.KernelTable + (uint)random.Next(0x2000),
        _ => (uint)random.NextInt64(1L << 32),
    };

    private static uint Align(uint address) => address & ~3u;

    private static uint Entry(Random random)
    {
        uint frame = random.Next(6) switch
        {
            0 => TestGuest.Pages + (uint)random.Next(64),
            1 => (uint)random.Next(1 << 20),
            _ => (uint)random.Next((int)TestGuest.Pages),
        };
        uint flags = random.Next(5) == 0 ? (uint)random.Next(0x1000) : (uint)random.Next(8) | 0x1 | (random.Next(2) == 0 ? 0x60u : 0);
        return (frame << 12) | flags;
    }

    private static void WriteProgram(Assembler a, Random random)
    {
        AssemblerRegister32[] registers = [eax, ebx, ecx, edx, esi, edi];
        for (int i = 0; i < 60; i++)
        {
            switch (random.Next(10))
            {
                case 0 or 1 or 2:
                    uint number = random.Next(10) == 0 ? (uint)random.Next(32) : (uint)random.Next(3, 11);
                    a.Hypercall(number, Directory(random), Address(random), Entry(random));
                    break;
                case 3 or 4:
                    a.mov(__dword_ptr[TestGuest.Virtual(Align(Address(random)) % TestGuest.Top)], Entry(random));
                    break;
                case 5:
                    a.mov(eax, __dword_ptr[Address(random)]);
                    break;
                case 6:
                    a.mov(eax, (uint)random.Next(0x100));
                    a.mov(random.Next(2) == 0 ? es : fs, ax);
                    break;
                case 7:
                    a.mov(esp, TestGuest.Virtual(TestGuest.StackTop));
                    a.EnterUser((uint)random.Next(1 << 16));
                    break;
                case 8:
                    a.@int((byte)random.Next(256));
                    break;
                default:
                    byte[] nonsense = new byte[random.Next(1, 6)];
                    random.NextBytes(nonsense);
                    a.db(nonsense);
                    break;
            }
            a.mov(registers[random.Next(registers.Length)], Address(random));
        }
        a.Hypercall(Hypercall.Crash, TestGuest.Scratch);
    }

    private static void AssertIsolated(TestGuest guest)
    {
        uint limit = Math.Min(guest.Request.PageLimit, guest.Memory.GuestFrames);
        var tables = new HashSet<uint> { guest.Guest.Switcher.TableFrame };
        foreach (uint directory in guest.Guest.PageTables.DirectoryFrames)
        {
            Assert.True(tables.Add(directory));
        }
        foreach (uint directory in guest.Guest.PageTables.DirectoryFrames)
        {
            for (uint index = 0; index < 1023; index++)
            {
                uint directoryEntry = guest.Word((directory << 12) + (4 * index));
                if (directoryEntry == 0)
                {
                    continue;
                }
                Assert.Equal(1u, directoryEntry & 0xF99);
                Assert.True(directoryEntry >> 12 >= guest.Memory.GuestFrames && tables.Add(directoryEntry >> 12), $"Table {directoryEntry:x8} is shared or the Guest's.");
                foreach (uint entry in Words(guest, directoryEntry >> 12))
                {
                    Assert.True(entry == 0 || ((entry & 1) == 1 && entry >> 12 < limit), $"Entry {entry:x8} names a foreign frame.");
                    Assert.True((entry & 0x42) != 2, $"Entry {entry:x8} is writable but not dirty.");
                }
            }
            Assert.Equal((guest.Guest.Switcher.TableFrame << 12) | 0x63, guest.Word((directory << 12) + 4092));
        }
        uint[] switcher = Words(guest, guest.Guest.Switcher.TableFrame).ToArray();
        Assert.Equal([0u, 0x63u, 0x21u], switcher[..3].Select(entry => entry & 0xFFF));
        Assert.All(switcher[1..3], entry => Assert.True(entry >> 12 >= guest.Memory.GuestFrames && !tables.Contains(entry >> 12)));
        Assert.All(switcher[3..], entry => Assert.Equal(0u, entry));
    }

    private static uint[] Words(TestGuest guest, uint frame) =>
        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, uint>(guest.Memory.FrameBytes(frame)).ToArray();
}
