// A Guest that really runs: it sends numbered messages to a peer as fast as it can, and checks and counts those that come.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

/// <summary>The program of Guests that send to each other.</summary>
internal static class TrafficGuest
{
    public const uint Buffers = 8;
    public const uint Array = TestGuest.Dma;
    public const uint List = TestGuest.Scratch;
    public const uint Sent = TestGuest.Scratch + 0x400;
    public const uint Received = TestGuest.Scratch + 0x404;
    public const uint Limit = TestGuest.Scratch + 0x40C;
    private const uint Outgoing = TestGuest.Scratch + 0x200;
    private const uint Next = TestGuest.Scratch + 0x408;
    private const uint Text = TestGuest.Scratch + 0x500;
    private const uint HandlerExit = TestGuest.Handler + 0x200;
    private const int MessageSize = 64;

    /// <summary>Runs a Guest on a thread of its own until it has sent and received what it should.</summary>
    public static Task<uint> Run(GuestOnNetwork member) =>
        Task.Factory.StartNew(member.Guest.RunToStop, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>Adds a Guest to a network; it does not run yet.</summary>
    /// <param name="network">The network.</param>
    /// <param name="own">Slot on which it receives.</param>
    /// <param name="peer">Slot to which it sends.</param>
    /// <param name="messages">How many it sends, and how many it waits for.</param>
    /// <param name="ordered">Each message must follow the one before.</param>
    public static GuestOnNetwork Join(GuestNetwork network, uint own, uint peer, uint messages, bool ordered)
    {
        GuestOnNetwork member = network.JoinBlank();
        TestGuest guest = member.Guest;
        for (uint i = 0; i < Buffers; i++)
        {
            member.List(Array + (i * LguestAbi.DmaSize), 0, (0x8_0FD8 + (i * 4096), 40), (0x9_0000 + (i * 4096), 24));
        }
        member.List(List, 0, (Outgoing, 24), (Outgoing + 24, 40));
        guest.SetWord(Next, TestGuest.Virtual(Array)).SetWord(Limit, messages);
        guest.PrepareData(TestGuest.Virtual(HandlerExit), TestGuest.Virtual(HandlerExit) + 11);
        guest.Program(a => WriteProgram(a, member.Key(own), member.Key(peer)));
        guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a => WriteHandler(a, ordered));
        guest.Place(HandlerExit, TestGuest.Virtual(HandlerExit), static a =>
        {
            a.mov(Word(TestGuest.Data), 0x200);
            a.iretd();
        });
        return member;
    }

    private static void WriteProgram(Assembler a, uint ownKey, uint peerKey)
    {
        Label send = a.CreateLabel();
        Label wait = a.CreateLabel();
        Label done = a.CreateLabel();
        a.Begin();
        a.LoadGate(32 + GuestNetwork.Irq, 0xE);
        a.Hypercall(Hypercall.BindDma, ownKey, Array, (Buffers << 8) | GuestNetwork.Irq);
        a.mov(Word(TestGuest.Data), 0x200);
        a.Label(ref send);
        a.mov(eax, Word(Sent));
        a.cmp(eax, Word(Limit));
        a.jae(wait);
        a.mov(Word(Outgoing), eax);
        a.not(eax);
        a.mov(Word(Outgoing + MessageSize - 4), eax);
        a.mov(Word(List), 0);
        a.Hypercall(Hypercall.SendDma, peerKey, List);
        a.cmp(Word(List), MessageSize);
        a.jne(send);
        a.inc(Word(Sent));
        a.jmp(send);

        // Interrupts are off from the check to HALT, which turns them on.
        a.Label(ref wait);
        a.mov(Word(TestGuest.Data), 0);
        a.mov(eax, Word(Received));
        a.cmp(eax, Word(Limit));
        a.jae(done);
        a.Hypercall(Hypercall.Halt);
        a.jmp(wait);
        a.Label(ref done);
        a.Stop(1);
    }

    /// <summary>Takes all messages, oldest first, and frees their buffers.</summary>
    private static void WriteHandler(Assembler a, bool ordered)
    {
        Label next = a.CreateLabel();
        Label leave = a.CreateLabel();
        Label wrong = a.CreateLabel();
        a.pushad();
        a.mov(esi, Word(Next));
        a.Label(ref next);
        a.cmp(__dword_ptr[esi], 0);
        a.je(leave);
        a.cmp(__dword_ptr[esi], MessageSize);
        a.jne(wrong);
        a.mov(ebx, __dword_ptr[esi + 4]);
        a.mov(eax, __dword_ptr[ebx + unchecked((int)TestGuest.PageOffset)]);
        a.mov(ebx, __dword_ptr[esi + 8]);
        a.mov(ecx, __dword_ptr[ebx + unchecked((int)TestGuest.PageOffset) + 20]);
        a.not(ecx);
        a.cmp(eax, ecx);
        a.jne(wrong);
        if (ordered)
        {
            a.cmp(eax, Word(Received));
            a.jne(wrong);
        }
        a.inc(Word(Received));
        a.mov(__dword_ptr[esi], 0);
        a.add(esi, (int)LguestAbi.DmaSize);
        a.cmp(esi, TestGuest.Virtual(Array + (Buffers * LguestAbi.DmaSize)));
        a.jb(next);
        a.mov(esi, TestGuest.Virtual(Array));
        a.jmp(next);
        a.Label(ref leave);
        a.mov(Word(Next), esi);
        a.popad();
        a.jmp(TestGuest.Virtual(HandlerExit));
        a.Label(ref wrong);
        a.Hypercall(Hypercall.Crash, Text);
    }

    private static AssemblerMemoryOperand Word(uint address) => __dword_ptr[TestGuest.Virtual(address)];
}
