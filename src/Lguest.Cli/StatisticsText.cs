namespace Lguest.Cli;
internal static class StatisticsText { public static string Describe(Lguest.Launcher.Machine m) => ""; }
