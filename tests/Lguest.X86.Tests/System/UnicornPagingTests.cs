// Random page-table entries against Unicorn: whether an access is allowed, and which bits of the entries it sets. Unicorn walks
// the tables, but then takes the memory at the linear address, and does not tell CR2 and error codes: other tests hold those.

using System.Buffers.Binary;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class UnicornPagingTests
{
    private const int Rounds = 400;
    private const uint MemorySize = 0x80_0000;
    private const uint Gdt = 0x1000;
    private const uint Directory = 0x2000;
    private const uint LowTable = 0x3000;
    private const uint TestTable = 0x5000;
    private const uint Code = 0x1_0000;
    private const uint Access = 0x1_0100;
    private const uint Stack = 0x2_0000;
    private const uint ExtendedLargeFrame = 0x20_0000;
    private const uint SmallFrame = 0x7_3000;
    private const uint Linear = 0x40_0123;

    private readonly Random random = TestSettings.RandomFor("paging");

    /// <param name="Extended">PAE.</param>
    /// <param name="User">The access is made in ring 3.</param>
    /// <param name="Write">It writes.</param>
    /// <param name="Protect">CR0.WP.</param>
    /// <param name="Directory">Entry of the directory.</param>
    /// <param name="Table">Entry of the table.</param>
    private sealed record Case(bool Extended, bool User, bool Write, bool Protect, uint Directory, uint Table);

    /// <param name="Vector">Vector of the exception, -1 for none.</param>
    /// <param name="Directory">Entry of the directory afterwards.</param>
    /// <param name="Table">Entry of the table afterwards.</param>
    private sealed record Result(int Vector, uint Directory, uint Table);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void WalksAgreeWithUnicorn(bool extended)
    {
        for (int round = TestSettings.RoundsOf(Rounds); round > 0; round--)
        {
            Case what = Next(extended);
            byte[] code = Program(what, out uint end);
            Result theirs = RunUnicorn(what, code, end);
            Result ours = RunHere(what, code, end);
            Assert.True(ours == theirs, $"{TestSettings.Description}, round {round}: {what}\nhere    {ours}\nUnicorn {theirs}");
        }
    }

    private Case Next(bool extended)
    {
        // Present most of the time; never bits that are reserved on one of the two processors.
        uint directory = ((uint)random.Next() & 0xFE7) | (random.Next(8) == 0 ? 0u : 1);
        uint table = ((uint)random.Next() & 0xF67) | (random.Next(8) == 0 ? 0u : 1);
        return new Case(extended, random.Next(2) == 0, random.Next(2) == 0, random.Next(2) == 0,
            directory | ((directory & SystemMachine.Large) != 0 ? LargeFrame(extended) : TestTable), table | SmallFrame);
    }

    private static byte[] Program(Case what, out uint end)
    {
        byte[] setup = TestMachine.Assemble(a =>
        {
            a.mov(eax, (int)(what.Extended ? Cr4.PhysicalAddressExtension : Cr4.PageSizeExtensions));
            a.mov(cr4, eax);
            a.mov(eax, Directory);
            a.mov(cr3, eax);
            a.mov(eax, cr0);
            a.or(eax, (int)(Cr0.Paging | (what.Protect ? Cr0.WriteProtect : 0)));
            a.mov(cr0, eax);
            if (what.User)
            {
                a.push(0x23);
                a.push(Stack);
                a.push(2);
                a.push(0x1B);
                a.push(Access);
                a.iretd();
            }
            else
            {
                a.jmp(Access);
            }
        }, Code);
        byte[] access = TestMachine.Assemble(a =>
        {
            if (what.Write)
            {
                a.mov(__dword_ptr[Linear], ecx);
            }
            else
            {
                a.mov(eax, __dword_ptr[Linear]);
            }
            a.nop();
        }, Access);
        byte[] code = new byte[Access - Code + access.Length];
        setup.CopyTo(code, 0);
        access.CopyTo(code, (int)(Access - Code));
        end = Code + (uint)code.Length - 1;
        return code;
    }

    /// <summary>All that both machines begin with, as addresses and words.</summary>
    private static IEnumerable<(uint Address, uint Value)> Start(Case what)
    {
        ulong[] descriptors = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_FB00_0000_FFFF, 0x00CF_F300_0000_FFFF];
        for (uint i = 0; i < descriptors.Length; i++)
        {
            yield return (Gdt + (i * 8), (uint)descriptors[i]);
            yield return (Gdt + (i * 8) + 4, (uint)(descriptors[i] >> 32));
        }
        if (what.Extended)
        {
            // A pointer, and a directory with a large page of 2 MiB.
            yield return (Directory, LowTable | 1);
            yield return (LowTable, 0xE7);
        }
        else
        {
            yield return (Directory, 0xE7);
        }
        yield return (DirectoryPlace(what), what.Directory);
        yield return (TestTable, what.Table);
    }

    private static uint DirectoryPlace(Case what) => what.Extended ? LowTable + (2 * 8) : Directory + (1 * 4);

    private static uint LargeFrame(bool extended) => extended ? ExtendedLargeFrame : 0;

    // Unicorn marks a directory entry as accessed also when the table entry refuses; the manual leaves that open.
    private static Result Collect(Case what, int vector, Func<uint, uint> read) => new(vector,
        read(DirectoryPlace(what)) | (vector < 0 ? 0 : SystemMachine.Accessed), read(TestTable));

    private static Result RunUnicorn(Case what, byte[] code, uint end)
    {
        using var unicorn = new Unicorn();
        unicorn.Map(0, MemorySize);
        foreach ((uint address, uint value) in Start(what))
        {
            BinaryPrimitives.WriteUInt32LittleEndian(unicorn.Memory(address, 4), value);
        }
        unicorn.SetGdt(Gdt, 0x27);
        unicorn.LoadSegment(SegmentName.CS, 0x08);
        foreach (SegmentName name in (SegmentName[])[SegmentName.SS, SegmentName.DS, SegmentName.ES])
        {
            unicorn.LoadSegment(name, 0x10);
        }
        // Data segments of ring 3 serve both rings.
        unicorn.LoadSegment(SegmentName.DS, 0x23);
        unicorn.WriteCode(Code, code);
        unicorn.SetGeneral((int)Register32.Esp, Stack);
        unicorn.Eip = Code;
        Unicorn.Outcome outcome = unicorn.Run(100, end);
        return Collect(what, outcome.Completed ? -1 : outcome.Vector, address => BinaryPrimitives.ReadUInt32LittleEndian(unicorn.Memory(address, 4)));
    }

    private static Result RunHere(Case what, byte[] code, uint end)
    {
        using var machine = new TestMachine();
        foreach ((uint address, uint value) in Start(what))
        {
            machine.Memory.Write(address, value);
        }
        machine.State.Gdtr = new DescriptorTable { Base = Gdt, Limit = 0x27 };
        machine.Processor.LoadSegment(SegmentName.SS, 0x10);
        machine.Processor.LoadSegment(SegmentName.DS, 0x23);
        machine.State.General[(int)Register32.Esp] = Stack;
        machine.Load(Code, code);
        bool completed = machine.StepTo(end);
        return Collect(what, completed ? -1 : machine.FaultVector, machine.Memory.Read<uint>);
    }
}
