// The `lguest` command: what a user types becomes a machine. Everything of interest is in Commands/ (one file a form of the command) and
// in GuestSession, which lends the Guest the user's terminal.

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
