// When a device's interrupt is taken, and when it waits.

using System.Collections.Concurrent;
using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class InterruptTests
{
    private const byte Timer = 0x20;

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AnotherThreadBreaksATightLoop(Engine engine)
    {
        using var m = new SystemMachine(engine, hostRing: true);
        m.Enter(1);
        m.State.Eflags = Eflags.Interrupt | Eflags.AlwaysOne;
        m.Assemble(SystemMachine.Code, a => a.jmp(SystemMachine.Code));
        m.State.Eip = SystemMachine.Code;
        for (byte i = 0; i < 10; i++)
        {
            byte vector = (byte)(0x40 + i);
            Processor processor = m.Processor;
            var waker = new Thread(() => processor.RequestInterrupt(vector));
            waker.Start();
            Assert.Equal(new ProcessorExit(ExitKind.HostRing, vector, 0), m.Processor.Run());
            waker.Join();
            Assert.Equal(SystemMachine.Code, m.State.Eip);
        }
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AnInterruptPushesAFrameWithoutErrorCode(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.Enter(3);
        m.State.Eflags = Eflags.Interrupt | Eflags.AlwaysOne;
        m.Processor.RequestInterrupt(14);
        Assert.Equal(14, m.Run(a => a.nop()));
        Assert.Equal(
            (SystemMachine.Code, (uint)SystemMachine.Code3, Eflags.Interrupt | Eflags.AlwaysOne, SystemMachine.Stack, (uint)SystemMachine.Data3),
            (m.Frame(0), m.Frame(1), m.Frame(2), m.Frame(3), m.Frame(4)));
        Assert.Equal(SystemMachine.Stack0 - 20, m[Register32.Esp]);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AHeldInterruptComesOneInstructionAfterSti(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.Processor.RequestInterrupt(Timer);
        Assert.Equal(Timer, m.Run(a =>
        {
            a.mov(ecx, 1);
            a.inc(ecx);
            a.sti();
            a.inc(ecx);
            a.inc(ecx);
            a.hlt();
        }));
        Assert.Equal((3u, SystemMachine.Code + 8), (m[Register32.Ecx], m.Frame(0)));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AHeldInterruptComesBehindPopfAndIret(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.Processor.RequestInterrupt(Timer);
        Assert.Equal(Timer, m.Run(a =>
        {
            a.push((int)Eflags.Interrupt);
            a.popfd();
            a.inc(ecx);
            a.hlt();
        }));
        Assert.Equal((0u, SystemMachine.Code + 6), (m[Register32.Ecx], m.Frame(0)));

        m.Enter(0);
        m.Processor.RequestInterrupt(Timer);
        Assert.Equal(Timer, m.Run(a =>
        {
            a.push((int)Eflags.Interrupt);
            a.push((int)SystemMachine.Code0);
            a.push((int)(SystemMachine.Code + 0x100));
            a.iretd();
        }));
        Assert.Equal(SystemMachine.Code + 0x100, m.Frame(0));
    }

    [Fact]
    public void StiTwiceProtectsOnlyOneInstruction()
    {
        using var m = new SystemMachine();
        m.Processor.RequestInterrupt(Timer);
        Assert.Equal(Timer, m.Run(a =>
        {
            a.sti();
            a.sti();
            a.inc(ecx);
            a.hlt();
        }));
        Assert.Equal(SystemMachine.Code + 2, m.Frame(0));
    }

    [Fact]
    public void StiAndHaltSleepBeforeTheInterrupt()
    {
        using var m = new SystemMachine();
        m.Processor.RequestInterrupt(Timer);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.sti();
            a.hlt();
            a.nop();
        }));
        Assert.Equal(SystemMachine.Code + 2, m.State.Eip);
        Assert.Equal(Timer, m.Continue());
        Assert.Equal(SystemMachine.Code + 2, m.Frame(0));
    }

    [Theory]
    [InlineData(Engine.Blocks, false)]
    [InlineData(Engine.Blocks, true)]
    [InlineData(Engine.Reference, false)]
    public void LoadingSsProtectsTheNextInstruction(Engine engine, bool pop)
    {
        using var m = new SystemMachine(engine);
        m.State.Eflags = Eflags.Interrupt;
        m.Assemble(SystemMachine.Code, a =>
        {
            if (pop)
            {
                a.pop(ss);
            }
            else
            {
                a.mov(ss, eax);
            }
            a.mov(esp, SystemMachine.Stack - 0x100);
            a.inc(ecx);
            a.hlt();
        });
        m[Register32.Eax] = SystemMachine.Data0;
        m.Memory.Write(SystemMachine.Stack, (uint)SystemMachine.Data0);
        m.State.Eip = SystemMachine.Code;
        // One instruction, then a request that would be taken at once but for the shadow.
        Assert.True(m.Processor.TryStepReference());
        m.Processor.RequestInterrupt(Timer);
        Assert.Equal(Timer, m.Continue());
        Assert.Equal(SystemMachine.Stack - 0x100 - 12, m[Register32.Esp]);
        Assert.Equal(SystemMachine.Code + (pop ? 1u : 2u) + 5, m.Frame(0));
        Assert.Equal(0u, m[Register32.Ecx]);
    }

    [Fact]
    public void ALongStringInstructionCanBeInterrupted()
    {
        using var m = new SystemMachine();
        m.State.Eflags = Eflags.Interrupt | Eflags.AlwaysOne;
        Processor processor = m.Processor;
        m[Register32.Ecx] = 0x7000_0000;
        m[Register32.Eax] = SystemMachine.Data;
        m.Assemble(SystemMachine.Code, a => a.rep.lodsb());
        var waker = new Thread(() => processor.RequestInterrupt(Timer));
        waker.Start();
        Assert.Equal(Timer, m.RunAt(SystemMachine.Code));
        waker.Join();
        Assert.Equal(SystemMachine.Code, m.Frame(0));
        Assert.Equal(0x7000_0000u, m[Register32.Ecx] + m[Register32.Esi]);
        Assert.True(m[Register32.Ecx] != 0);
    }

    [Fact]
    public void HaltInRingZeroStopsBehindItself()
    {
        using var m = new SystemMachine();
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.hlt();
            a.mov(ecx, 1);
            a.hlt();
        }));
        Assert.Equal((SystemMachine.Code + 1, 0u), (m.State.Eip, m[Register32.Ecx]));
        Assert.Equal(SystemMachine.Done, m.Continue());
        Assert.Equal(1u, m[Register32.Ecx]);
    }

    [Fact]
    public void ALaterRequestReplacesAnEarlierOne()
    {
        using var m = new SystemMachine();
        m.State.Eflags = Eflags.Interrupt;
        m.Processor.RequestInterrupt(Timer);
        m.Processor.RequestInterrupt(Timer + 1);
        Assert.Equal(Timer + 1, m.Run(a => a.nop()));
        m.State.Eflags = Eflags.Interrupt;
        m.Processor.StateChanged();
        Assert.Equal(SystemMachine.Done, m.Run(a => a.hlt()));
    }

    /// <summary>A controller with a queue of vectors, which are raised when they are asked for.</summary>
    private sealed class Queue : IInterruptController
    {
        public ConcurrentQueue<byte> Vectors { get; } = new();

        public bool TryAcknowledge(out byte vector) => Vectors.TryDequeue(out vector);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AControllerIsAskedOnlyWhileInterruptsAreAllowed(Engine engine)
    {
        var controller = new Queue();
        using var m = new SystemMachine(engine, controller: controller);
        controller.Vectors.Enqueue(Timer);
        controller.Vectors.Enqueue(Timer + 1);
        m.Processor.SignalInterrupt();
        m.Assemble(SystemMachine.Handlers + (16 * (Timer + 1)), a =>
        {
            a.inc(edx);
            a.iretd();
        });
        Assert.Equal(Timer, m.Run(a =>
        {
            for (int i = 0; i < 100; i++)
            {
                a.inc(ecx);
            }
            a.sti();
            a.inc(ecx);
            a.inc(ecx);
            a.hlt();
        }));
        Assert.Equal((101u, 1), (m[Register32.Ecx], controller.Vectors.Count));
        m.Assemble(SystemMachine.Handlers + (16 * Timer) + 1, a => a.iretd());
        Assert.Equal(SystemMachine.Done, m.RunAt(m.State.Eip));
        Assert.Equal((102u, 1u), (m[Register32.Ecx], m[Register32.Edx]));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AnInstructionInTheShadowOfStiFaultsAndCountsAsEver(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.Map(0x40_0000, 0, 0);
        m.Processor.RequestInterrupt(Timer);
        Assert.Equal(Vector.PageFault, m.Run(a =>
        {
            a.nop();
            a.sti();
            a.mov(eax, __dword_ptr[0x40_0000]);
            a.inc(ecx);
        }));
        m.AssertFault(Vector.PageFault, 0, SystemMachine.Code + 2);
        // NOP, STI and the HLT of the handler.
        Assert.Equal((3L, 0u), (m.Processor.InstructionCount, m[Register32.Ecx]));
        m.Map(0x40_0000, 0x40_0000, SystemMachine.All);
        m.Assemble(SystemMachine.Handlers + (16 * Vector.PageFault) + 1, a =>
        {
            a.add(esp, 4);
            a.iretd();
        });
        Assert.Equal(Timer, m.RunAt(m.State.Eip));
        Assert.Equal(SystemMachine.Code + 2, m.Frame(0));
    }

    [Fact]
    public void ADeviceInterruptsALoopThatWaitsForIt()
    {
        var controller = new Queue();
        using var m = new SystemMachine(controller: controller);
        Processor processor = m.Processor;
        m.Assemble(SystemMachine.Handlers + (16 * Timer), a =>
        {
            a.inc(__dword_ptr[SystemMachine.Data]);
            a.iretd();
        });
        var device = new Thread(() =>
        {
            Thread.Sleep(20);
            controller.Vectors.Enqueue(Timer);
            processor.SignalInterrupt();
        });
        device.Start();
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            Iced.Intel.Label again = a.CreateLabel();
            a.sti();
            a.Label(ref again);
            a.cmp(__dword_ptr[SystemMachine.Data], 0);
            a.je(again);
            a.hlt();
        }));
        device.Join();
        Assert.Equal(1u, m.Memory.Read<uint>(SystemMachine.Data));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void ASleepingProcessorWakesInItsHandlerAndReturnsBehindHlt(Engine engine)
    {
        var controller = new Queue();
        using var m = new SystemMachine(engine, controller: controller);
        m.Assemble(SystemMachine.Handlers + (16 * Timer), a =>
        {
            a.mov(ebx, __dword_ptr[esp]);
            a.iretd();
        });
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.sti();
            a.hlt();
            a.inc(ecx);
            a.hlt();
        }));
        Assert.Equal((0u, SystemMachine.Code + 2), (m[Register32.Ecx], m.State.Eip));
        controller.Vectors.Enqueue(Timer);
        m.Processor.SignalInterrupt();
        Assert.Equal(SystemMachine.Done, m.Continue());
        Assert.Equal((1u, SystemMachine.Code + 2, SystemMachine.Code + 4), (m[Register32.Ecx], m[Register32.Ebx], m.State.Eip));
    }
}
