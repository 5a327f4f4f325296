// While a Guest has the terminal, every key is the Guest's: no line editing, no echo, no Ctrl-C for us (ABI 10.9). That makes giving the
// terminal back a duty on every way out, so the mode is an object, its restoring may be called twice, and it hooks the process's end
// itself. Hosts without this terminal interface keep their line mode.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace Lguest.Platform;

/// <summary>The terminal on standard input, with its keys going unprocessed to the program.</summary>
public sealed partial class RawTerminal : IDisposable
{
    private const int StandardInput = 0;
    private const int Now = 0;
    private const int StopSignal = 19;
    private const nuint GetWindowSize = 0x5413;

    private readonly Lock door = new();
    private readonly TerminalAttributes original;
    private readonly TerminalAttributes raw;
    private readonly PosixSignalRegistration[] registrations;
    private bool ended;

    [SupportedOSPlatform("linux")]
    private RawTerminal(in TerminalAttributes original)
    {
        this.original = original;
        raw = original;
        raw.InputFlags &= ~(TerminalAttributes.CarriageReturnToNewline | TerminalAttributes.FlowControl);
        raw.LocalFlags &= ~(TerminalAttributes.Signals | TerminalAttributes.Lines | TerminalAttributes.Echo);
        raw.ControlCharacters[TerminalAttributes.MinimumIndex] = 1;
        raw.ControlCharacters[TerminalAttributes.TimeIndex] = 0;
        AppDomain.CurrentDomain.ProcessExit += OnProcessEnd;
        AppDomain.CurrentDomain.UnhandledException += OnProcessEnd;
        registrations = [PosixSignalRegistration.Create(PosixSignal.SIGTSTP, StopProcess), PosixSignalRegistration.Create(PosixSignal.SIGCONT, ContinueProcess)];
        Set(raw);
    }

    /// <summary>Whether standard input is a terminal.</summary>
    public static bool IsPresent => OperatingSystem.IsLinux() ? IsTerminal(StandardInput) == 1 : !Console.IsInputRedirected;

    /// <summary>Asks how large the terminal is.</summary>
    /// <returns>Characters of a line and lines; zeroes when standard input is no terminal or nobody has told its size.</returns>
    public static (ushort Columns, ushort Rows) GetSize() =>
        OperatingSystem.IsLinux() && Control(StandardInput, GetWindowSize, out WindowSize size) == 0 ? (size.Columns, size.Rows) : default;

    /// <summary>Takes the terminal.</summary>
    /// <returns>The mode, to be disposed; null when standard input is no terminal or the host has another kind of terminals.</returns>
    public static RawTerminal? TryEnter()
    {
        if (!OperatingSystem.IsLinux() || GetAttributes(StandardInput, out TerminalAttributes attributes) != 0)
        {
            return null;
        }
        return new RawTerminal(attributes);
    }

    /// <summary>Gives the terminal back as it was. May be called more than once and from any thread.</summary>
    public void Dispose()
    {
        lock (door)
        {
            if (ended)
            {
                return;
            }
            _ = SetAttributes(StandardInput, Now, original);
            ended = true;
        }
        AppDomain.CurrentDomain.ProcessExit -= OnProcessEnd;
        AppDomain.CurrentDomain.UnhandledException -= OnProcessEnd;
        foreach (PosixSignalRegistration registration in registrations)
        {
            registration.Dispose();
        }
    }

    private void Set(in TerminalAttributes attributes)
    {
        lock (door)
        {
            if (!ended)
            {
                _ = SetAttributes(StandardInput, Now, attributes);
            }
        }
    }

    /// <summary>Somebody sent the signal of Ctrl-Z: the terminal goes back for as long as the process is stopped.</summary>
    private void StopProcess(PosixSignalContext context)
    {
        context.Cancel = true;
        Set(original);
        _ = Kill(Environment.ProcessId, StopSignal);
    }

    private void ContinueProcess(PosixSignalContext context)
    {
        // What the runtime would do now is to set the modes that it knows.
        context.Cancel = true;
        Set(raw);
    }

    private void OnProcessEnd(object? sender, EventArgs e) => Dispose();

    /// <summary><c>struct termios</c> of Linux's C libraries.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct TerminalAttributes
    {
        public const uint CarriageReturnToNewline = 0x100;
        public const uint FlowControl = 0x400;
        public const uint Signals = 0x1;
        public const uint Lines = 0x2;
        public const uint Echo = 0x8;
        public const int TimeIndex = 5;
        public const int MinimumIndex = 6;

        public uint InputFlags, OutputFlags, ControlFlags, LocalFlags;
        public byte LineDiscipline;
        public Characters ControlCharacters;
        public uint InputSpeed, OutputSpeed;

        [InlineArray(32)]
        public struct Characters
        {
            private byte first;
        }
    }

    /// <summary><c>struct winsize</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct WindowSize
    {
        public ushort Rows, Columns, Width, Height;
    }

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Control(int descriptor, nuint request, out WindowSize size);

    [LibraryImport("libc", EntryPoint = "isatty")]
    private static partial int IsTerminal(int descriptor);

    [LibraryImport("libc", EntryPoint = "tcgetattr")]
    private static partial int GetAttributes(int descriptor, out TerminalAttributes attributes);

    [LibraryImport("libc", EntryPoint = "tcsetattr")]
    private static partial int SetAttributes(int descriptor, int when, in TerminalAttributes attributes);

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
