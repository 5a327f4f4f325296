// What a process has cost, with all that it has started: some machines are one process, User-mode Linux has one for each address space.

using System.Globalization;
using System.Runtime.InteropServices;

namespace Lguest.Bench;

/// <summary>The kernel's count of CPU time.</summary>
internal static partial class ProcessorTime
{
    /// <summary>USER_HZ, the unit of <c>/proc/PID/stat</c>: the same on all architectures that .NET knows.</summary>
    private const double TicksPerSecond = 100;

    // Places in /proc/PID/stat (proc(5)), counted from the state, which follows the name in brackets.
    private const int Parent = 1;
    private const int ReapedUser = 13;
    private const int ReapedSystem = 14;

    /// <summary>User and system time of a process and its descendants, of all their threads; in seconds.</summary>
    /// <remarks>To the nanosecond for processes that live, to hundredths of a second for those that have ended and been waited for.</remarks>
    /// <exception cref="InvalidOperationException">There is no such process.</exception>
    public static double OfTree(int process)
    {
        string[]? fields = ReadFields(process);
        // As clock_getcpuclockid makes it.
        int clock = (~process << 3) | 2;
        if (fields == null || GetTime(clock, out TimeSpecification time) != 0)
        {
            throw new InvalidOperationException("The process has ended.");
        }
        double reaped = (Ticks(fields[ReapedUser]) + Ticks(fields[ReapedSystem])) / TicksPerSecond;
        return time.Seconds + time.Nanoseconds / 1e9 + reaped + Children(process).Sum(OfTree);
    }

    private static double Ticks(string field) => double.Parse(field, CultureInfo.InvariantCulture);

    private static IEnumerable<int> Children(int process)
    {
        string parent = process.ToString(CultureInfo.InvariantCulture);
        return Directory.EnumerateDirectories("/proc")
            .Select(static folder => int.TryParse(Path.GetFileName(folder), CultureInfo.InvariantCulture, out int id) ? id : 0)
            .Where(id => id != 0 && ReadFields(id)?[Parent] == parent);
    }

    /// <returns>The fields behind the name; null if the process has ended.</returns>
    private static string[]? ReadFields(int process)
    {
        try
        {
            string text = File.ReadAllText($"/proc/{process}/stat");
            return text[(text.LastIndexOf(')') + 2)..].Split(' ');
        }
        catch (IOException)
        {
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int GetTime(int clock, out TimeSpecification time);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpecification
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
