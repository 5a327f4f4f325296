using System.Buffers.Binary;
using System.Text;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Differential;

/// <summary>
/// Every integer instruction form against Unicorn: those that no 64-bit process can run, and all others with segment overrides and
/// 16-bit addresses.
/// </summary>
public sealed class UnicornDifferentialTests : IClassFixture<UnicornDifferentialTests.Machines>
{
    private const int RoundsPerForm = 100;
    private const int FailuresShown = 3;
    private const uint Scratch = 0x4000;
    private const uint Mapped = 0x2_0000;
    private const uint Gdt = 0x1000;

    private static readonly byte[] Behind = Enumerable.Repeat((byte)0xF4, 16).ToArray();

    private static readonly ulong[] Descriptors =
    [
        0,
        Descriptor(0, 0x9B), // 08: flat code
        Descriptor(0, 0x93), // 10: flat data
        Descriptor(CaseGenerator.FsBase, 0x93), // 18
        Descriptor(CaseGenerator.GsBase, 0x93), // 20
        Descriptor(0, 0x92), // 28: flat data, not yet accessed
        Descriptor(0, 0x91), // 30: flat data, read-only
    ];

    private static readonly ushort[] Selectors = [0x18, 0x10, 0, 0x20, 0x28, 0x30, 3, 0x13];
    private static readonly ushort[] StartSelectors = [0x10, 0x08, 0x10, 0x10, 0x18, 0x20];

    private readonly Unicorn unicorn;
    private readonly TestMachine machine;
    private readonly CpuState start;
    private readonly byte[] result = new byte[NativeCpu.ScratchSize];

    public UnicornDifferentialTests(Machines machines)
    {
        unicorn = machines.Unicorn;
        machine = machines.Machine;
        start = machines.Start;
    }

    public static TheoryData<Mnemonic> Mnemonics => [.. InstructionForms.MnemonicsFor(IsWanted)];

    [Theory]
    [MemberData(nameof(Mnemonics))]
    public void AgreesWithUnicorn(Mnemonic mnemonic)
    {
        var failures = new StringBuilder();
        int failed = 0;
        int total = 0;
        foreach (Code code in InstructionForms.Registered.Where(code => code.Mnemonic() == mnemonic && IsWanted(code)))
        {
            var generator = new CaseGenerator(TestSettings.RandomFor(code.ToString()), Scratch, true) { Selectors = Selectors };
            int failedBefore = failed;
            for (int round = TestSettings.RoundsOf(RoundsPerForm); round > 0; round--)
            {
                TestCase test = generator.Next(code);
                string differences = Try(test);
                total++;
                if (differences.Length > 0 && failed++ - failedBefore < FailuresShown)
                {
                    failures.Append(Comparison.Describe(test)).Append(differences);
                }
            }
        }
        Assert.True(failed == 0, $"{failed} of {total} cases differ, {TestSettings.Description}\n{failures}");
    }

    private static bool IsWanted(Code code) => InstructionForms.JudgeOf(code) != Judge.Elsewhere && !InstructionForms.IsFloatingPoint(code);

    private static ulong Descriptor(uint address, byte access) =>
        0x00CF_0000_0000_FFFFul | ((ulong)access << 40) | ((ulong)(address & 0xFF_FFFF) << 16) | ((ulong)(address >> 24) << 56);

    private string Try(TestCase test)
    {
        byte[] code = TestMachine.Encode(test.Instruction, CaseGenerator.CodeAddress);
        if (!InstructionForms.IsDecodedAsItself(test.Instruction, code))
        {
            return "";
        }
        if (InstructionForms.TouchesSegmentRegisters(test.Instruction.Code))
        {
            Machines.WriteGdt(unicorn, machine);
        }
        machine.State = start;
        test.Before.CopyTo(ref machine.State);
        machine.Processor.StateChanged();
        machine.Memory.Write(Scratch, test.Scratch);
        machine.Load(CaseGenerator.CodeAddress, code);
        bool completed = machine.Step();

        unicorn.Reset();
        for (int i = 0; i < 8; i++)
        {
            unicorn.SetGeneral(i, test.Before.General[i]);
        }
        unicorn.Eflags = test.Before.Eflags | Eflags.AlwaysOne;
        test.Scratch.CopyTo(unicorn.Memory(Scratch, NativeCpu.ScratchSize));
        // Unicorn translates ahead: what follows must be harmless.
        unicorn.WriteCode(CaseGenerator.CodeAddress, [.. code, .. Behind]);
        unicorn.Eip = CaseGenerator.CodeAddress;
        // A repeated instruction counts once for each element, and once more to see that it has ended.
        Unicorn.Outcome outcome = test.Instruction.HasRepPrefix || test.Instruction.HasRepnePrefix
            ? unicorn.Run(100, CaseGenerator.CodeAddress + (uint)code.Length)
            : unicorn.Run(1);

        if (UnicornMistakes.Disqualify(test.Instruction))
        {
            return completed ? "" : $"  raised vector {machine.FaultVector}\n";
        }
        if (completed != outcome.Completed)
        {
            return completed ? $"  must raise vector {outcome.Vector}\n" : $"  raised vector {machine.FaultVector}, must complete\n";
        }
        if (!completed)
        {
            return machine.FaultVector == outcome.Vector ? "" : $"  raised vector {machine.FaultVector}, must raise {outcome.Vector}\n";
        }
        if (UndefinedFlags.ResultIsUndefined(test.Instruction, test.Cl))
        {
            return "";
        }
        var expected = new NativeState { Eflags = unicorn.Eflags };
        for (int i = 0; i < 8; i++)
        {
            expected.General[i] = unicorn.GetGeneral(i);
        }
        NativeState actual = NativeState.From(machine.State);
        actual.Eflags = machine.State.Eflags;
        uint defined = UnicornMistakes.FlagsAreWrong(test.Instruction) ? 0 : ~UndefinedFlags.Of(test.Instruction, test.Cl);
        machine.Memory.Read(Scratch, result);
        return Places() + Comparison.Registers(test, expected, actual, defined, false)
            + Comparison.Memory(test, unicorn.Memory(Scratch, NativeCpu.ScratchSize), result);
    }

    private string Places()
    {
        var text = new StringBuilder();
        if (machine.State.Eip != unicorn.Eip)
        {
            text.AppendLine($"  eip: expected {unicorn.Eip:x}, got {machine.State.Eip:x}");
        }
        foreach (SegmentName name in Enum.GetValues<SegmentName>())
        {
            ref Segment segment = ref machine.State.Segments[(int)name];
            if (segment.Selector != unicorn.GetSelector(name))
            {
                text.AppendLine($"  {name}: expected {unicorn.GetSelector(name):x4}, got {segment.Selector:x4}");
            }
            int index = segment.Selector >> 3;
            if (name != SegmentName.CS && segment.Base != (index == 0 ? segment.Base : DescriptorBase(index)))
            {
                text.AppendLine($"  {name}: base {segment.Base:x} with selector {segment.Selector:x4}");
            }
        }
        if (!machine.Read(Gdt, Descriptors.Length * 8).AsSpan().SequenceEqual(unicorn.Memory(Gdt, Descriptors.Length * 8)))
        {
            text.AppendLine("  descriptor table differs");
        }
        return text.ToString();
    }

    private static uint DescriptorBase(int index) => (uint)(Descriptors[index] >> 16 & 0xFF_FFFF) | (uint)(Descriptors[index] >> 56 << 24);

    /// <summary>Both processors with the same descriptor table and segments, made once: Unicorn is slow to open.</summary>
    public sealed class Machines : IDisposable
    {
        public Machines()
        {
            Unicorn.Map(0, Mapped);
            WriteGdt(Unicorn, Machine);
            Unicorn.SetGdt(Gdt, (uint)(Descriptors.Length * 8) - 1);
            Machine.State.Gdtr = new DescriptorTable { Base = Gdt, Limit = (uint)(Descriptors.Length * 8) - 1 };
            foreach (SegmentName name in Enum.GetValues<SegmentName>())
            {
                Machine.State.Segments[(int)name].Selector = StartSelectors[(int)name];
                Unicorn.LoadSegment(name, StartSelectors[(int)name]);
            }
            Machine.SetSegmentBase(SegmentName.FS, CaseGenerator.FsBase);
            Machine.SetSegmentBase(SegmentName.GS, CaseGenerator.GsBase);
            Start = Machine.State;
            Unicorn.Save();
        }

        public Unicorn Unicorn { get; } = new();

        public TestMachine Machine { get; } = new();

        public CpuState Start { get; }

        public static void WriteGdt(Unicorn unicorn, TestMachine machine)
        {
            for (int i = 0; i < Descriptors.Length; i++)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(unicorn.Memory(Gdt + (uint)(i * 8), 8), Descriptors[i]);
                machine.Memory.Write(Gdt + (uint)(i * 8), Descriptors[i]);
            }
        }

        public void Dispose()
        {
            Unicorn.Dispose();
            Machine.Dispose();
        }
    }
}
