// Devices on the bus, whatever they do: their order, descriptors, pages and lifetime (ABI 10.1, 2.1), and the order in which the Launcher
// serves them (3.6, 10.8). The devices here only write down what happens to them.

using System.Collections.Concurrent;
using Iced.Intel;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Virtio;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging;
using static Iced.Intel.AssemblerRegisters;
using static Lguest.Launcher.Tests.TinyGuest;

namespace Lguest.Launcher.Tests;

public class DeviceBusTests
{
    private const int MemoryBytes = 4 << 20;

    private readonly Diary diary = new();

    [Fact]
    public void Abi_10_1_DescriptorsAndPagesFollowTheOrderOfTheDevices()
    {
        Device[] devices = [new NotedDevice(diary, "a", pages: 2), new NotedDevice(diary, "b", pages: 0), new NotedDevice(diary, "c", pages: 1)];
        var map = new MemoryMap(MemoryBytes, 0, PageOffset);
        using var memory = new MachineMemory((MemoryBytes / 4096) + 1 + DeviceTable.CountPages(devices), 16);
        DeviceTable.Write(memory, map, devices);

        Assert.Equal(["attach a 400000 401000", "attach b 40000c 403000", "attach c 400018 403000"], diary.Lines);
        Assert.Equal([3, 0x8000, 0, 2, 0x401, 0, 3, 0x8000, 0, 0, 0, 0, 3, 0x8000, 0, 1, 0x403, 0],
            Enumerable.Range(0, 18).Select(i => (int)memory.Read<ushort>(MemoryBytes + (2 * (uint)i))));
        Assert.Equal(0u, memory.Read<uint>(MemoryBytes + 36));
    }

    [Fact]
    public async Task Abi_3_6_InputIsServedInTheOrderOfTheDevices()
    {
        using var stop = new CancellationTokenSource();
        await using Machine machine = Make(Busy, "a", "b", "c");
        Task<MachineResult> run = machine.RunAsync(stop.Token);
        await diary.Contains("deliver c", TestContext.Current.CancellationToken);
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run).End);
        string[] served = [.. diary.Lines.Where(static line => line.StartsWith("deliver", StringComparison.Ordinal))];
        Assert.True(served.Length >= 3);
        Assert.All(served.Index(), static line => Assert.Equal($"deliver {"abc"[line.Index % 3]}", line.Item));
    }

    [Fact]
    public async Task Abi_10_8_OutputGoesToTheFirstDeviceThatWatchesTheKey_AndItsAnswerIsTheUsedLength()
    {
        await using Machine machine = Make(
            static c =>
            {
                Initialize(c);
                SetList(c, List, (Text, 7));
                Call(c, Lguest.Host.Hypercall.SendDma, NotedDevice.Key, List, 0);
                c.mov(eax, __dword_ptr[PageOffset + List]);
                c.add(eax, 'A' - 7);
                c.mov(__dword_ptr[PageOffset + Text], eax);
                Call(c, Lguest.Host.Hypercall.Crash, Text, 0, 0);
            },
            "a", "b");
        Assert.Equal("CRASH: A", (await machine.RunAsync(TestContext.Current.CancellationToken)).Reason);
        Assert.Equal(["output a 7"], diary.Lines.Where(static line => line.StartsWith("output", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task ADeviceThatCannotGoOnEndsTheGuestWithItsReason()
    {
        await using Machine machine = Make(
            static c =>
            {
                Initialize(c);
                SetList(c, List, (Text, 666));
                Call(c, Lguest.Host.Hypercall.SendDma, NotedDevice.Key, List, 0);
                PowerOff(c);
            },
            "a");
        Assert.Equal(new MachineResult(MachineEnd.Death, "a: 666"), await machine.RunAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task DevicesAreStartedStoppedAndClosedOnce()
    {
        await using (Machine machine = Make(static c => Crash(c, "Power down"), "a", "b"))
        {
            await machine.RunAsync(TestContext.Current.CancellationToken);
        }
        Assert.Equal(["start a", "start b", "stop a", "stop b", "close a", "close b"],
            diary.Lines.Where(static line => line.Split(' ')[0] is "start" or "stop" or "close"));
    }

    [Fact]
    public void DevicesAreClosedWhenTheMachineCannotBeMade()
    {
        Assert.Throws<MachineConfigurationException>(() => new Machine(Options("/no/such/kernel", "a", "b")));
        Assert.Equal(["close a", "close b"], diary.Lines);
    }

    [Fact]
    public void WhatWasOpenedIsClosedWhenTheNextDeviceCannotBeOpened()
    {
        Assert.Throws<MachineConfigurationException>(() => new Machine(Options("/no/such/kernel", "a", "impossible")));
        Assert.Equal(["close a"], diary.Lines);
    }

    [Fact]
    public void ASixteenthDeviceIsRefused()
    {
        string[] names = [.. Enumerable.Range(0, 16).Select(static i => $"d{i}")];
        var error = Assert.Throws<MachineConfigurationException>(() => new Machine(Options("/no/such/kernel", names)));
        Assert.Equal("16 devices are too many: a Guest has room for 15 besides its console.", error.Message);
        Assert.Empty(diary.Lines);
    }

    private static void Busy(Assembler c)
    {
        Initialize(c);
        Label forever = c.CreateLabel();
        c.Label(ref forever);
        c.jmp(forever);
    }

    private Machine Make(Action<Assembler> code, params string[] devices)
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(code)).ToBytes());
        return new Machine(Options(kernel.Path, devices));
    }

    private MachineOptions Options(string kernel, params string[] devices) => new()
    {
        Kernel = kernel,
        MemoryBytes = MemoryBytes,
        Devices = [.. devices.Select(name => new NotedDeviceOptions(diary, name))],
    };

    private sealed class Diary
    {
        private readonly ConcurrentQueue<string> lines = new();

        public string[] Lines => [.. lines];

        public void Add(string line) => lines.Enqueue(line);

        public async Task Contains(string line, CancellationToken cancellation)
        {
            while (!lines.Contains(line))
            {
                await Task.Delay(1, cancellation);
            }
        }
    }

    private sealed record NotedDeviceOptions(Diary Diary, string Name) : DeviceOptions
    {
        internal override Device Open(ILogger logger) =>
            Name == "impossible" ? throw new MachineConfigurationException(Name) : new NotedDevice(Diary, Name, pages: 0);

        internal override VirtioDevice OpenVirtio(ILogger logger) => throw new InvalidOperationException();
    }

    private sealed class NotedDevice(Diary diary, string name, uint pages) : Device
    {
        public const uint Key = 64;

        public override DeviceType Type => DeviceType.Block;

        public override ushort Features => 0x8000;

        public override uint PageCount => pages;

        public override uint? OutputKey => Key;

        public override int WaitingInput => 1;

        public override void Attach(MachineMemory memory, DevicePlace place) => diary.Add($"attach {name} {place.Descriptor:x} {place.FirstPage:x}");

        public override uint HandleOutput(in DmaBuffer buffer, IDevicePort port)
        {
            if (buffer.Length == 666)
            {
                port.Fail($"{name}: 666");
            }
            diary.Add($"output {name} {buffer.Length}");
            return (uint)buffer.Length;
        }

        public override void DeliverInput(IDevicePort port) => diary.Add($"deliver {name}");

        public override void Start(Action wake)
        {
            diary.Add($"start {name}");
            wake();
        }

        public override void Stop() => diary.Add($"stop {name}");

        public override void Dispose() => diary.Add($"close {name}");
    }
}
