// P:010 Welcome to lguest. You know how to program. By the end of this tour you will also know how one operating system can run inside
// another, because you will have read every important line of a program that does it.
//
// An operating system wants to be the only one. It lives in the processor's most privileged ring, ring 0. It decides what memory a
// program sees, where the processor goes when something unusual happens, and when the next timer tick comes. If a second operating system
// is to share the machine, somebody must stand below it and let it believe in a machine of its own. That somebody is called a hypervisor.
// The system inside is its Guest; what is outside is the Host.
//
// Most hypervisors are large, because their Guest must not notice anything. lguest, which came with Linux 2.6.23 in 2007, is small,
// because its Guest is in on the plot:
//
// - The Guest is a Linux that knows. Where it would use an instruction that only ring 0 may use, it asks the Host by a *hypercall*, as a
//   program asks its kernel by a system call. Nobody has to guess what it meant.
// - Its devices imitate no real hardware. There is one way to move bytes, and a page in which the devices are listed.
// - There is one processor, 32 bits wide, with one kind of page table. What a small machine does not need is not there.
//
// In 2007 three parties shared a real processor: the Host, a module of a Linux kernel, in ring 0; the Guest's kernel in ring 1, where the
// dangerous instructions do not work; and the Guest's programs in ring 3, where they always are. This program keeps the three, word for
// word, but lives in an ordinary process that has no privilege at all. So it has to bring along a processor. That is a program too, and
// you will meet it in this chapter.
//
// The chapter says what each part is for, and goes from the outside to the inside. It begins with the command that you have just used.
//
// This file is all there is to see of it: what a user types becomes a machine. The forms of the command are in Commands/, and
// GuestSession lends the Guest the user's terminal.

using Lguest.Cli;
using Lguest.Cli.Commands;
using Lguest.Launcher;

try
{
    return await LguestCommand.InvokeAsync(args);
}
catch (Exception error) when (error is CommandException or MachineConfigurationException or IOException)
{
    Standard.WriteError(error.Message);
    return ExitStatus.Failure;
}
