// A kernel forbids and allows interrupts in place, and sleeps by STI and HLT, between which nothing may come: what an interrupt has to
// tell would else be heard only after the next one. Another thread asks for interrupts at any time.

using System.Collections.Concurrent;
using Iced.Intel;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Interrupts that come while a kernel is about to allow them.</summary>
public sealed class InterruptFlagTests
{
    private const byte Timer = 0x40;
    private const uint Flag = SystemMachine.Data;
    private const uint Count = SystemMachine.Data + 4;

    private sealed class Queue : IInterruptController
    {
        public ConcurrentQueue<byte> Vectors { get; } = new();

        public bool TryAcknowledge(out byte vector) => Vectors.TryDequeue(out vector);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(6)]
    public async Task NothingComesBetweenStiAndHlt(int translateAfter)
    {
        const int sleeps = 1000;
        var controller = new Queue();
        using var m = new SystemMachine(translateAfter: translateAfter, controller: controller);
        m.Assemble(SystemMachine.Handlers + 0x2000, a =>
        {
            a.mov(__dword_ptr[Flag], 1);
            a.inc(__dword_ptr[Count]);
            a.iretd();
        });
        m.SetGate(Timer, SystemMachine.Code0, SystemMachine.Handlers + 0x2000, dpl: 0);
        m.Assemble(SystemMachine.Code, a =>
        {
            Label again = a.CreateLabel();
            Label turn = a.CreateLabel();
            a.Label(ref again);
            a.cli();
            a.mov(__dword_ptr[Flag], 0);
            a.mov(ecx, 3);
            a.Label(ref turn);
            a.pushfd();
            a.cli();
            a.inc(eax);
            a.popfd();
            a.dec(ecx);
            a.jnz(turn);
            a.sti();
            a.hlt();
            // Here interrupts are allowed by POPFD.
            a.pushfd();
            a.cli();
            a.popfd();
            a.jmp(again);
        });
        m.State.Eip = SystemMachine.Code;
        using var done = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        long asked = 0;
        Task asking = Task.Run(() =>
        {
            while (!done.IsCancellationRequested)
            {
                if (controller.Vectors.IsEmpty)
                {
                    controller.Vectors.Enqueue(Timer);
                    asked++;
                    m.Processor.SignalInterrupt();
                }
            }
        }, done.Token);
        for (int sleep = 0; sleep < sleeps; sleep++)
        {
            Assert.Equal(ExitKind.Halt, m.Processor.Run().Kind);
            Assert.Equal(0u, m.Memory.Read<uint>(Flag));
            SpinWait.SpinUntil(() => !controller.Vectors.IsEmpty);
        }
        await done.CancelAsync();
        await asking;
        Assert.InRange(m.Memory.Read<uint>(Count), (uint)asked - 1, (uint)asked);
    }
}
