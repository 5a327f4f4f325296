// Hardware task switches (Intel SDM volume 3, chapter 7). No kernel schedules by them, but one use has stayed: an exception that must not
// depend on the stack it happened on, above all the double fault, goes through a task gate. The processor then writes all that the old
// task is into its TSS and becomes what the new one says.
//
// What can go wrong is checked in two halves. Before the switch everything faults in the old task, with nothing changed. Once the
// registers are those of the new task, its selectors are looked up, and a wrong one faults there.

using Lguest.X86.State;

namespace Lguest.X86;

/// <summary>What leads to another task.</summary>
internal enum TaskSwitch
{
    /// <summary>JMP: the old task is left for good.</summary>
    Jump,

    /// <summary>CALL, or an exception or interrupt: the new task is nested in the old one.</summary>
    Nest,

    /// <summary>IRET out of a nested task.</summary>
    Return,
}

public sealed unsafe partial class Processor
{
    /// <summary>System descriptor types.</summary>
    internal const int TaskGate = 5;
    private const int AvailableTask16 = 1;
    private const int AvailableTask32 = 9;
    private const int BusyTask = 2;
    private const uint BusyBit = 0x200;

    private const uint Task32Limit = 0x67;
    private const uint Task16Limit = 0x2B;
    private const uint DebugTaskSwitch = 0x8000;
    private const uint LocalBreakpoints = 0x155;

    /// <summary>What a TSS holds of a task.</summary>
    private struct TaskImage
    {
        public uint Cr3, Eip, Eflags;
        public GeneralRegisters General;
        public fixed ushort Selectors[6];
        public ushort LocalTable;
        public bool Traps;
    }

    /// <summary>Whether a type of system descriptor is a TSS, available or busy.</summary>
    internal static bool IsTask(int systemType) => (systemType & ~BusyTask) is AvailableTask16 or AvailableTask32;

    /// <summary>Follows a task gate to the TSS that it names.</summary>
    /// <param name="selector">Selector in the gate.</param>
    /// <param name="why">What leads there.</param>
    /// <param name="external">1 in error codes when an exception or a device leads there.</param>
    /// <param name="returnEip">Where the old task goes on.</param>
    internal void SwitchThroughGate(ushort selector, TaskSwitch why, uint external, uint returnEip)
    {
        uint errorCode = (selector & 0xFFFCu) | external;
        if ((selector & SelectorLocal) != 0)
        {
            throw Fault(Vector.GeneralProtection, errorCode);
        }
        SwitchTask(selector, ReadDescriptor(selector, Vector.GeneralProtection, external), why, external, returnEip);
    }

    /// <summary>IRET in a nested task.</summary>
    internal void ReturnFromTask()
    {
        var link = ReadSystem<ushort>(state->TaskRegister.Base);
        uint errorCode = link & 0xFFFCu;
        // Where ring 0 is the Host's there are no tasks to return to.
        if (options.HostOwnsRing0 || (link & SelectorLocal) != 0)
        {
            throw Fault(Vector.InvalidTss, errorCode);
        }
        SwitchTask(link, ReadDescriptor(link, Vector.InvalidTss), TaskSwitch.Return, 0, NextEip);
    }

    /// <summary>Becomes another task. NextEip is then the new task's.</summary>
    /// <exception cref="Execution.GuestFault">
    /// Before the switch: nothing has changed. Behind it: EIP is the new task's, which takes the exception.
    /// </exception>
    internal void SwitchTask(ushort selector, in Descriptor descriptor, TaskSwitch why, uint external, uint returnEip)
    {
        uint errorCode = (selector & 0xFFFCu) | external;
        int type = descriptor.SystemType;
        bool busy = (type & BusyTask) != 0;
        if (descriptor.IsCodeOrData || !IsTask(type) || busy != (why == TaskSwitch.Return))
        {
            throw Fault(why == TaskSwitch.Return ? Vector.InvalidTss : Vector.GeneralProtection, errorCode);
        }
        if (!descriptor.Present)
        {
            throw Fault(Vector.SegmentNotPresent, errorCode);
        }
        Segment task = descriptor.ToSegment(selector);
        bool task32 = (type & ~BusyTask) == AvailableTask32;
        if (task.Limit < (task32 ? Task32Limit : Task16Limit))
        {
            throw Fault(Vector.InvalidTss, errorCode);
        }
        Segment old = state->TaskRegister;
        bool old32 = (old.Attributes & 0x800) != 0;
        RequireSystem(old.Base, old32 ? 0x20u : 0x0E, old32 ? 0x5Du : 0x29);
        RequireSystem(task.Base, 0, 1);
        RequireSystem(state->Gdtr.Base, old.Selector & 0xFFF8u, (old.Selector & 0xFFF8u) + 7);
        RequireSystem(state->Gdtr.Base, selector & 0xFFF8u, (selector & 0xFFF8u) + 7);
        TaskImage image = ReadTask(task.Base, task32);

        SaveTask(old.Base, old32, returnEip, why == TaskSwitch.Return ? state->Eflags & ~Eflags.NestedTask : state->Eflags);
        if (why != TaskSwitch.Nest)
        {
            MarkTask(old.Selector, busy: false);
        }
        if (why != TaskSwitch.Return)
        {
            MarkTask(selector, busy: true);
        }
        if (why == TaskSwitch.Nest)
        {
            WriteSystem(task.Base, old.Selector);
            image.Eflags |= Eflags.NestedTask;
        }
        task.Attributes |= BusyBit;
        state->TaskRegister = task;
        LoadTask(image, external);
    }

    private void RequireSystem(uint start, uint first, uint last)
    {
        Require(currentSpace.Supervisor, start + first, true);
        Require(currentSpace.Supervisor, start + last, true);
    }

    private void MarkTask(ushort selector, bool busy)
    {
        uint address = state->Gdtr.Base + (selector & 0xFFF8u) + 4;
        uint high = ReadSystem<uint>(address);
        WriteSystem(address, busy ? high | BusyBit : high & ~BusyBit);
    }

    private TaskImage ReadTask(uint address, bool task32)
    {
        var image = default(TaskImage);
        if (task32)
        {
            image.Cr3 = ReadSystem<uint>(address + 0x1C);
            image.Eip = ReadSystem<uint>(address + 0x20);
            image.Eflags = ReadSystem<uint>(address + 0x24);
            image.LocalTable = ReadSystem<ushort>(address + 0x60);
            image.Traps = (ReadSystem<byte>(address + 0x64) & 1) != 0;
        }
        else
        {
            image.Cr3 = state->Cr3;
            image.Eip = ReadSystem<ushort>(address + 0x0E);
            image.Eflags = ReadSystem<ushort>(address + 0x10);
            image.LocalTable = ReadSystem<ushort>(address + 0x2A);
        }
        for (uint i = 0; i < 8; i++)
        {
            image.General[(int)i] = task32 ? ReadSystem<uint>(address + 0x28 + (i * 4)) : ReadSystem<ushort>(address + 0x12 + (i * 2));
        }
        // SAFETY: i stays below the six selectors; a 16-bit TSS has four, and FS and GS become null.
        unsafe
        {
            for (uint i = 0; i < (task32 ? 6u : 4u); i++)
            {
                image.Selectors[i] = ReadSystem<ushort>(task32 ? address + 0x48 + (i * 4) : address + 0x22 + (i * 2));
            }
        }
        return image;
    }

    private void SaveTask(uint address, bool task32, uint eip, uint eflags)
    {
        if (task32)
        {
            WriteSystem(address + 0x20, eip);
            WriteSystem(address + 0x24, eflags);
        }
        else
        {
            WriteSystem(address + 0x0E, (ushort)eip);
            WriteSystem(address + 0x10, (ushort)eflags);
        }
        for (uint i = 0; i < 8; i++)
        {
            uint value = state->General[(int)i];
            if (task32)
            {
                WriteSystem(address + 0x28 + (i * 4), value);
            }
            else
            {
                WriteSystem(address + 0x12 + (i * 2), (ushort)value);
            }
        }
        for (uint i = 0; i < (task32 ? 6u : 4u); i++)
        {
            WriteSystem(task32 ? address + 0x48 + (i * 4) : address + 0x22 + (i * 2), state->Segments[(int)i].Selector);
        }
    }

    private void LoadTask(in TaskImage image, uint external)
    {
        for (int i = 0; i < 8; i++)
        {
            state->General[i] = image.General[i];
        }
        state->Eip = image.Eip;
        NextEip = image.Eip;
        singleStepping = false;
        state->Debug[7] &= ~LocalBreakpoints;
        ArmDebugging();
        SetCr0(state->Cr0 | Cr0.TaskSwitched);
        SetEflags(image.Eflags);
        // SAFETY: i stays below the six selectors.
        unsafe
        {
            bool virtual8086 = (image.Eflags & Eflags.Virtual8086) != 0;
            ushort codeSelector = image.Selectors[(int)SegmentName.CS];
            KeepX87Selectors();
            for (int i = 0; i < 6; i++)
            {
                state->Segments[i] = virtual8086 ? Virtual8086Segment(image.Selectors[i]) : new Segment { Selector = image.Selectors[i] };
            }
            SetPrivilegeLevel(virtual8086 ? 3 : codeSelector & 3);
            state->Ldtr = new Segment { Selector = image.LocalTable };
            if ((state->Cr0 & Cr0.Paging) != 0 && image.Cr3 != state->Cr3)
            {
                SetCr3(image.Cr3);
            }
            LoadTaskLocalTable(image.LocalTable, external);
            if (!virtual8086)
            {
                LoadTaskCode(codeSelector, external);
                LoadTaskStack(image.Selectors[(int)SegmentName.SS], external);
                LoadTaskData(SegmentName.ES, image.Selectors[(int)SegmentName.ES], external);
                LoadTaskData(SegmentName.DS, image.Selectors[(int)SegmentName.DS], external);
                LoadTaskData(SegmentName.FS, image.Selectors[(int)SegmentName.FS], external);
                LoadTaskData(SegmentName.GS, image.Selectors[(int)SegmentName.GS], external);
            }
        }
        if (image.Eip > state->Segments[(int)SegmentName.CS].Limit)
        {
            throw Fault(Vector.GeneralProtection, external);
        }
        if (image.Traps)
        {
            state->Debug[6] |= DebugTaskSwitch;
            Deliver(Vector.Debug, 0, EventSource.Exception, image.Eip);
        }
    }

    private void LoadTaskLocalTable(ushort selector, uint external)
    {
        if ((selector & 0xFFFC) == 0)
        {
            return;
        }
        const int localTable = 2;
        uint errorCode = (selector & 0xFFFCu) | external;
        if ((selector & SelectorLocal) != 0 || !TryReadDescriptor(selector, out Descriptor descriptor)
            || descriptor.IsCodeOrData || descriptor.SystemType != localTable || !descriptor.Present)
        {
            throw Fault(Vector.InvalidTss, errorCode);
        }
        state->Ldtr = descriptor.ToSegment(selector);
    }

    private Descriptor ReadTaskSegment(ushort selector, uint external) => (selector & 0xFFFC) == 0
        ? throw Fault(Vector.InvalidTss, external)
        : ReadDescriptor(selector, Vector.InvalidTss, external);

    private void LoadTaskCode(ushort selector, uint external)
    {
        Descriptor code = ReadTaskSegment(selector, external);
        int ring = selector & 3;
        uint errorCode = (selector & 0xFFFCu) | external;
        if (!code.IsCode || (code.IsConforming ? code.PrivilegeLevel > ring : code.PrivilegeLevel != ring))
        {
            throw Fault(Vector.InvalidTss, errorCode);
        }
        if (!code.Present)
        {
            throw Fault(Vector.SegmentNotPresent, errorCode);
        }
        SetSegment(SegmentName.CS, MarkAccessed(code, selector).ToSegment(selector));
    }

    private void LoadTaskStack(ushort selector, uint external)
    {
        Descriptor stack = ReadTaskSegment(selector, external);
        CheckStackDescriptor(stack, selector, state->PrivilegeLevel, Vector.InvalidTss, external);
        SetSegment(SegmentName.SS, MarkAccessed(stack, selector).ToSegment(selector));
    }

    private void LoadTaskData(SegmentName name, ushort selector, uint external)
    {
        if ((selector & 0xFFFC) == 0)
        {
            return;
        }
        Descriptor data = ReadTaskSegment(selector, external);
        uint errorCode = (selector & 0xFFFCu) | external;
        bool allowed = data.IsCodeOrData && data.IsReadable
            && (data.IsConforming || data.PrivilegeLevel >= Math.Max(state->PrivilegeLevel, selector & 3));
        if (!allowed)
        {
            throw Fault(Vector.InvalidTss, errorCode);
        }
        if (!data.Present)
        {
            throw Fault(Vector.SegmentNotPresent, errorCode);
        }
        SetSegment(name, MarkAccessed(data, selector).ToSegment(selector));
    }
}
