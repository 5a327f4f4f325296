// The Guest that all these tests boot: the repository's own kernel and initramfs.

using System.Globalization;
using System.Text;
using Lguest.Bench;
using Lguest.Launcher;

// Each test has the machine for itself: a Guest that boots keeps a processor busy, and one of the tests measures an idle one.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Lguest.Boot.Tests;

internal static class DefaultGuest
{
    /// <summary>The checkout's root.</summary>
    public static string Root => GuestScript.Root;

    /// <summary>Where <c>guest/linux/build</c> puts what it makes.</summary>
    private static string Folder { get; } = MadeGuest.Make("linux/build");

    public static string Kernel => Path.Combine(Folder, "vmlinux");

    public static string Initrd => Path.Combine(Folder, "initramfs.cpio");

    /// <summary>LGUEST_TEST_ENGINE: interpreter or translator; without it, the one that the Launcher chooses.</summary>
    public static Engine Engine { get; } = Environment.GetEnvironmentVariable("LGUEST_TEST_ENGINE") is { Length: > 0 } name
        ? Enum.Parse<Engine>(name, ignoreCase: true) : Engine.Auto;

    /// <summary>The contents of a file in the initramfs, which is a cpio archive of the "newc" kind.</summary>
    public static byte[] ReadInitrdFile(string path)
    {
        const int HeaderSize = 110, FileSizeField = 54, NameSizeField = 94;
        ReadOnlySpan<byte> archive = File.ReadAllBytes(Initrd);
        while (true)
        {
            int fileSize = Field(archive, FileSizeField), nameSize = Field(archive, NameSizeField);
            int contents = (HeaderSize + nameSize + 3) & ~3;
            string name = Encoding.ASCII.GetString(archive.Slice(HeaderSize, nameSize - 1));
            if (name.TrimStart('/') == path.TrimStart('/'))
            {
                return archive.Slice(contents, fileSize).ToArray();
            }
            Assert.NotEqual("TRAILER!!!", name);
            archive = archive[((contents + fileSize + 3) & ~3)..];
        }

        static int Field(ReadOnlySpan<byte> header, int offset) =>
            int.Parse(Encoding.ASCII.GetString(header.Slice(offset, 8)), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
