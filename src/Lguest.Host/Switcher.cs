// P:900 The Switcher, between two worlds. In 2007 this was a page of assembler that swapped the processor's tables and registers, for a
// few dozen instructions that belonged to nobody: half Host, half Guest. Here the processor is ours and ring 0 is C#, so what remains is
// its meaning: two pages, and the exact moment at which the Guest's saved registers become the processor's and back. The tables are real,
// in machine memory, and the Guest may look at them; the processor obeys them and knows nothing of lguest.
//
// These were the parts. Now they get to work, and the first one to come alive is the Guest itself:
//
//   lguest tour guest :*

using System.Runtime.CompilerServices;
using Lguest.X86;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.Host;

/// <summary>The Switcher pages of one Guest, and the way into the Guest and out of it.</summary>
internal sealed unsafe class Switcher : IDisposable
{
    /// <summary>Pseudo trap number: the Guest's segment registers could not be loaded (ABI 12.4).</summary>
    public const uint TrapInSwitcher = 256;

    // S:030 Who gets a Guest out that does nothing at all, an endless loop, say? It makes no hypercall and no fault. A hardware interrupt
    // does: another thread rings at the processor's interrupt pin, the processor finds gate 0xEF, and that one leads to ring 0 like all
    // default gates. Nothing new had to be invented. The run loop sees a vector that means nothing by itself, and looks around.
    /// <summary>Vector with which other threads call the Host back: an ordinary hardware interrupt.</summary>
    public const byte KickVector = 0xEF;
    // :*

    private const uint BusyTss32 = 0x8B00;

    private readonly MachineMemory memory;
    private readonly Processor processor;
    private readonly uint registerFrame;
    private readonly uint stateFrame;
    private readonly LguestRegisters* registers;

    private Switcher(MachineMemory memory, Processor processor, uint tableFrame, uint registerFrame, uint stateFrame)
    {
        this.memory = memory;
        this.processor = processor;
        TableFrame = tableFrame;
        this.registerFrame = registerFrame;
        this.stateFrame = stateFrame;
        // SAFETY: the structure fills the end of a page of the arena, which is not garbage-collected and stays while the frame is ours.
        unsafe
        {
            ref byte place = ref memory.FrameBytes(registerFrame)[(int)RegisterPage.Registers];
            registers = (LguestRegisters*)Unsafe.AsPointer(ref place);
        }
    }

    /// <summary>Frame of the page table that maps the pages; every shadow directory's entry 1023 names it.</summary>
    public uint TableFrame { get; }

    /// <summary>The Guest's registers: the truth about them whenever the processor is not running.</summary>
    public ref LguestRegisters Registers
    {
        get
        {
            // SAFETY: see the constructor.
            unsafe
            {
                return ref *registers;
            }
        }
    }

    // H:510 Each Guest has three frames for the Switcher: a page table, and the two pages that it maps. In 2007 every processor had its
    // own table for this, since the state page belonged to the processor that happened to run the Guest. A Guest here has one processor
    // for life.
    /// <summary>Builds the pages; null when the arena is exhausted.</summary>
    public static Switcher? TryCreate(MachineMemory memory, Processor processor)
    {
        Span<uint> frames = stackalloc uint[3];
        for (int i = 0; i < frames.Length; i++)
        {
            if (!memory.TryAllocateFrame(out frames[i]))
            {
                foreach (uint frame in frames[..i])
                {
                    memory.FreeFrame(frame);
                }
                return null;
            }
        }
        var switcher = new Switcher(memory, processor, frames[0], frames[1], frames[2]);
        switcher.BuildPages();
        switcher.LoadSystemRegisters();
        return switcher;
    }
    // :*

    /// <summary>Names the stack on which traps from ring 3 arrive in ring 1 (ABI 6.6).</summary>
    public void SetStack(uint selector, uint esp)
    {
        memory.Write(StateAddress(StatePage.TssEsp1), esp);
        memory.Write(StateAddress(StatePage.TssSs1), selector);
    }

    /// <summary>Replaces part of the IDT or GDT that the processor obeys.</summary>
    public void WriteState(uint offset, ReadOnlySpan<byte> bytes) => memory.Write(StateAddress(offset), bytes);

    // S:010 We stand at the border. Behind us lies the Host, with all its objects and locks; in front of us the Guest, which must find
    // everything as it left it, although it has been away for an eternity of several thousand instructions.
    //
    // So its registers are carried over. First those that matter to nobody on the way: the page directory, the flag that makes the FPU
    // trap, and the general registers. The trap number is set to 256, a number that no trap has: if the crossing fails, that is what the
    // Host will find there, and it means "your Guest's papers were not in order".
    //
    // What cannot simply be carried over is what the processor checks: selectors, flags, the stack, the next instruction. These nine
    // words go into a frame, and the processor is asked to leave ring 0 with it.
    /// <summary>Runs the Guest until something leads into ring 0; afterwards the registers are saved again.</summary>
    /// <param name="space">Shadow directory to run on.</param>
    /// <param name="taskSwitched">FPU instructions trap.</param>
    public void RunGuest(AddressSpace space, bool taskSwitched)
    {
        if (!ReferenceEquals(processor.CurrentAddressSpace, space))
        {
            processor.CurrentAddressSpace = space;
        }
        ref CpuState state = ref processor.State;
        state.Cr0 = taskSwitched ? state.Cr0 | Cr0.TaskSwitched : state.Cr0 & ~Cr0.TaskSwitched;

        ref LguestRegisters saved = ref Registers;
        saved.TrapNumber = TrapInSwitcher;
        ref GeneralRegisters general = ref state.General;
        general[(int)Register32.Eax] = saved.Eax;
        general[(int)Register32.Ecx] = saved.Ecx;
        general[(int)Register32.Edx] = saved.Edx;
        general[(int)Register32.Ebx] = saved.Ebx;
        general[(int)Register32.Ebp] = saved.Ebp;
        general[(int)Register32.Esi] = saved.Esi;
        general[(int)Register32.Edi] = saved.Edi;
        var frame = new OuterRingFrame
        {
            Gs = (ushort)saved.Gs,
            Fs = (ushort)saved.Fs,
            Ds = (ushort)saved.Ds,
            Es = (ushort)saved.Es,
            Eip = saved.Eip,
            Cs = (ushort)saved.Cs,
            Eflags = saved.Eflags,
            Esp = saved.Esp,
            Ss = (ushort)saved.Ss,
        };
        if (!processor.TryLeaveHostRing(frame, out ProcessorExit fault))
        {
            saved.ErrorCode = fault.ErrorCode;
            return;
        }
        Save(processor.Run());
    }
    // :*

    /// <summary>Gives the frames back.</summary>
    public void Dispose()
    {
        memory.FreeFrame(TableFrame);
        memory.FreeFrame(registerFrame);
        memory.FreeFrame(stateFrame);
    }

    private uint StateAddress(uint offset) => (stateFrame * LguestAbi.PageSize) + offset;

    // S:120 Night falls over the border post, and the officer enters the traveller's things into the book:
    //
    //   Seven general registers, one stack pointer.
    //   Six selectors. One address, to continue at.
    //   Flags, as they were flying.
    //   The reason of the visit, by number, and if there was an error, which.
    //   Nothing was lost. Nothing was added.
    //   The traveller sleeps, and will not know that he did.
    //
    // From here the Host works with the book only. When it changes a word in it, an address or a stack pointer, the traveller will wake
    // up elsewhere and believe that he has walked.
    //
    // That is all there is between two operating systems. Now you know as much as anybody about this hypervisor, and it is time for what
    // it does not do:
    //
    //   lguest tour mastery
    /// <summary>Saves what a ring-0 stub would have pushed. A machine-memory write, because ring 1 may execute this page too.</summary>
    private void Save(in ProcessorExit exit)
    {
        ref CpuState state = ref processor.State;
        ref GeneralRegisters general = ref state.General;
        ref SegmentRegisters segments = ref state.Segments;
        var saved = new LguestRegisters
        {
            Ebx = general[(int)Register32.Ebx],
            Ecx = general[(int)Register32.Ecx],
            Edx = general[(int)Register32.Edx],
            Esi = general[(int)Register32.Esi],
            Edi = general[(int)Register32.Edi],
            Ebp = general[(int)Register32.Ebp],
            Gs = segments[(int)SegmentName.GS].Selector,
            Eax = general[(int)Register32.Eax],
            Fs = segments[(int)SegmentName.FS].Selector,
            Ds = segments[(int)SegmentName.DS].Selector,
            Es = segments[(int)SegmentName.ES].Selector,
            TrapNumber = exit.Kind == ExitKind.HostRing ? exit.Vector : (uint)Vector.DoubleFault,
            ErrorCode = exit.ErrorCode,
            Eip = state.Eip,
            Cs = segments[(int)SegmentName.CS].Selector,
            Eflags = state.Eflags,
            Esp = general[(int)Register32.Esp],
            Ss = segments[(int)SegmentName.SS].Selector,
        };
        memory.Write((registerFrame * LguestAbi.PageSize) + RegisterPage.Registers, saved);
    }
    // :*

    // H:520 The table maps two pages into the window at the top: the register page, in which the Guest's registers rest while the Host
    // works, and the state page with the tables that the processor obeys, read-only. Neither is for ring 3. The first place of the window
    // is empty: in 2007 the Switcher's code was there.
    private void BuildPages()
    {
        uint table = TableFrame * LguestAbi.PageSize;
        memory.Write(table + (4 * SwitcherWindow.RegisterPageIndex), (registerFrame * LguestAbi.PageSize) | PageBits.Kernel);
        memory.Write(table + (4 * SwitcherWindow.StatePageIndex), (stateFrame * LguestAbi.PageSize) | PageBits.KernelReadOnly);

        WriteTableDescriptor(StatePage.GuestIdtDescriptor, StatePage.IdtSize, SwitcherWindow.StatePage + StatePage.Idt);
        WriteTableDescriptor(StatePage.GuestGdtDescriptor, StatePage.GdtSize, SwitcherWindow.StatePage + StatePage.Gdt);
        memory.Write(StateAddress(StatePage.TssEsp0), SwitcherWindow.RegisterPage + LguestAbi.PageSize);
        memory.Write(StateAddress(StatePage.TssSs0), (uint)LguestAbi.LguestDataSelector);
        memory.Write(StateAddress(StatePage.TssIoMapBase), (ushort)StatePage.TssSize);
    }
    // :*

    private void WriteTableDescriptor(uint offset, uint size, uint address)
    {
        memory.Write(StateAddress(offset), (ushort)(size - 1));
        memory.Write(StateAddress(offset) + 2, address);
    }

    // H:010 Preparing a processor. A few registers decide everything else that it does, and no Guest can change them, because that takes
    // ring 0: paging and write protection are on; GDTR, IDTR and TR, which say where the tables of segments, gates and stacks are, point
    // into the Switcher's window at the top of the address space, which every shadow directory maps. SYSENTER, a faster way into ring 0,
    // leads nowhere.
    //
    // Nothing more is needed to turn an ordinary processor into one that a Guest cannot get out of.
    /// <summary>What a 2007 Host had in the registers that the Guest cannot change.</summary>
    private void LoadSystemRegisters()
    {
        ref CpuState state = ref processor.State;
        state.Cr0 = Cr0.ProtectionEnable | Cr0.MonitorCoprocessor | Cr0.ExtensionType | Cr0.NumericError | Cr0.WriteProtect
            | Cr0.AlignmentMask | Cr0.Paging;
        state.Cr4 = Cr4.OsFxsr | Cr4.OsXmmExceptions;
        state.Gdtr = new DescriptorTable { Base = SwitcherWindow.StatePage + StatePage.Gdt, Limit = StatePage.GdtSize - 1 };
        state.Idtr = new DescriptorTable { Base = SwitcherWindow.StatePage + StatePage.Idt, Limit = StatePage.IdtSize - 1 };
        state.Ldtr = default;
        state.TaskRegister = new Segment
        {
            Selector = LguestAbi.TssSelector,
            Base = SwitcherWindow.StatePage + StatePage.Tss,
            Limit = StatePage.TssSize - 1,
            Attributes = BusyTss32,
        };
        state.SysenterCs = 0;
        processor.StateChanged();
    }
    // :*
}
