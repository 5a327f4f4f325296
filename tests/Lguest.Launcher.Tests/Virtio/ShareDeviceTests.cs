// A shared folder message by message, and every way out of it that a Guest might try.

using System.Runtime.Versioning;
using System.Text;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Share;
using Microsoft.Extensions.Logging.Abstractions;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

[SupportedOSPlatform("linux")]
public sealed class ShareDeviceTests : IDisposable
{
    private const int NotPermitted = 1, NoEntry = 2, BadFile = 9, Exists = 17, NotAFolder = 20, InvalidArgument = 22, TooManyFiles = 24, ReadOnly = 30, NameTooLong = 36, NotEmpty = 39,
        Loop = 40, NotSupported = 95;

    private const uint Root = 0, File = 1, Other = 2;

    private readonly DirectoryInfo outside = Directory.CreateTempSubdirectory("lguest-share-");
    private readonly string folder;
    private readonly VirtioDriver driver;
    private readonly NineClient client;

    public ShareDeviceTests()
    {
        folder = Path.Combine(outside.FullName, "shared");
        Directory.CreateDirectory(Path.Combine(folder, "sub", "deep"));
        System.IO.File.WriteAllText(Path.Combine(folder, "hello"), "Hello, Guest.");
        System.IO.File.WriteAllText(Path.Combine(folder, "sub", "inner"), "inner");
        System.IO.File.WriteAllText(Path.Combine(outside.FullName, "secret"), "secret");
        System.IO.File.CreateSymbolicLink(Path.Combine(folder, "out"), outside.FullName);
        System.IO.File.CreateSymbolicLink(Path.Combine(folder, "out-file"), Path.Combine(outside.FullName, "secret"));
        driver = Share(isReadOnly: false);
        client = new NineClient(driver);
        client.Mount();
    }

    [Fact]
    public void TheConfigurationSpaceTellsTheTag()
    {
        Assert.Equal(0x1049_1AF4u, driver.ReadPci(0, 4));
        Assert.Equal((ushort)4, driver.Configuration<ushort>(0));
        Assert.Equal("home"u8, Enumerable.Range(2, 4).Select(i => driver.Configuration<byte>((uint)i)).ToArray());
        Assert.Equal(1UL, driver.OfferedFeatures() & 0xFF_FFFF);
    }

    [Fact]
    public void AnotherDialectIsUnknown()
    {
        Assert.Equal(0, client.Send(100, 0x1000u, "9P2000.u"));
        Assert.Equal("unknown", Encoding.UTF8.GetString(client.Body.AsSpan(6)));
        Assert.Equal(InvalidArgument, client.Send(100, 4095u, "9P2000.L"));
        Assert.Equal(0, client.Send(100, 0xFFFF_FFFFu, "9P2000.L"));
        Assert.Equal(ShareServer.LargestMessage, client.Word(0));
        Assert.Equal(BadFile, client.Walk(Root, File));
    }

    [Fact]
    public void AFileIsWalkedToOpenedAndRead()
    {
        Assert.Equal(0, client.Walk(Root, File, "hello"));
        Assert.Equal(0, client.Open(File));
        Assert.Equal("Hello, Guest.", client.Read(File));
        Assert.Equal("Guest", client.Read(File, 7, 5));
        Assert.Equal("", client.Read(File, 1000));
        Assert.Equal(0, client.Forget(File));
        Assert.Equal(BadFile, client.Send(116, File, 0UL, 1u));
    }

    [Fact]
    public void AWalkTellsHowFarItCame()
    {
        Assert.Equal(0, client.Walk(Root, File, "sub", "deep"));
        Assert.Equal((2 + 26, 0x80), (client.Body.Length, client.Body[2]));
        Assert.Equal(0, client.Walk(Root, Other, "sub", "missing", "x"));
        Assert.Equal(2 + 13, client.Body.Length);
        Assert.Equal(BadFile, client.Forget(Other));
        Assert.Equal(NoEntry, client.Walk(Root, Other, "missing"));
        Assert.Equal(InvalidArgument, client.Walk(Root, File, "sub"));
        Assert.Equal(0, client.Walk(File, File));
        Assert.Equal(BadFile, client.Walk(9, Other));
    }

    [Fact]
    public void AFileIsCreatedWrittenAndSynchronised()
    {
        Assert.Equal(0, client.Walk(Root, File));
        Assert.Equal(0, client.Create(File, "new"));
        Assert.Equal(0, client.Write(File, 0, "abcdef"));
        Assert.Equal(6u, client.Word(0));
        Assert.Equal(0, client.Write(File, 3, "XY"));
        Assert.Equal("abcXYf", client.Read(File));
        Assert.Equal(0, client.Send(50, File, 1u));
        Assert.Equal(0, client.Send(50, File, 0u));
        Assert.Equal("abcXYf", System.IO.File.ReadAllText(Path.Combine(folder, "new")));
        Assert.Equal(0, client.Walk(Root, Other));
        Assert.Equal(Exists, client.Create(Other, "new", 0x82));
        // Opening with O_TRUNC.
        Assert.Equal(0, client.Walk(Root, 3, "new"));
        Assert.Equal(0, client.Open(3, 0x201));
        Assert.Equal(0, new FileInfo(Path.Combine(folder, "new")).Length);
    }

    [Theory]
    [InlineData(60)]
    [InlineData(1000)]
    [InlineData(60000)]
    public void AFolderIsListed_InAnswersOfAnySize(uint count)
    {
        for (int i = 0; i < 100; i++)
        {
            System.IO.File.WriteAllText(Path.Combine(folder, "sub", $"file-{i}"), "");
        }
        Assert.Equal(0, client.Walk(Root, File, "sub"));
        Assert.Equal(0, client.Open(File));
        string[] expected = [".", "..", "deep", "inner", .. Enumerable.Range(0, 100).Select(static i => $"file-{i}")];
        Assert.Equal(expected.Order(StringComparer.Ordinal), client.List(File, count).Order(StringComparer.Ordinal));
        Assert.Equal(InvalidArgument, client.Send(40, File, 0UL, 10u));
    }

    [Fact]
    public void NamesAreMadeMovedLinkedAndRemoved()
    {
        Assert.Equal(0, client.Walk(Root, File, "sub"));
        Assert.Equal(0, client.Send(72, File, "made", 0x1EDu, 0u));
        Assert.Equal(0x80, client.Body[0]);
        Assert.Equal(Exists, client.Send(72, File, "made", 0x1EDu, 0u));
        Assert.Equal(0, client.Send(74, Root, "hello", File, "moved"));
        Assert.Equal("Hello, Guest.", System.IO.File.ReadAllText(Path.Combine(folder, "sub", "moved")));
        Assert.Equal(0, client.Walk(File, Other, "moved"));
        Assert.Equal(0, client.Send(70, Root, Other, "linked"));
        Assert.Equal("Hello, Guest.", System.IO.File.ReadAllText(Path.Combine(folder, "linked")));
        Assert.Equal(0, client.Send(16, Root, "symbolic", "sub/moved", 0u));
        Assert.Equal(2, client.Body[0]);
        Assert.Equal("Hello, Guest.", System.IO.File.ReadAllText(Path.Combine(folder, "symbolic")));
        Assert.Equal(0, client.Walk(Root, 3, "symbolic"));
        Assert.Equal(0, client.Send(22, 3u));
        Assert.Equal("sub/moved", Encoding.UTF8.GetString(client.Body.AsSpan(2)));
        Assert.Equal(0, client.Send(76, Root, "linked", 0u));
        Assert.Equal(0, client.Send(76, File, "made", 0x200u));
        Assert.Equal(NotEmpty, client.Send(76, Root, "sub", 0x200u));
        Assert.False(Path.Exists(Path.Combine(folder, "linked")) || Path.Exists(Path.Combine(folder, "sub", "made")));
    }

    [Fact]
    public void AttributesAreToldAndSet()
    {
        Assert.Equal(0, client.Walk(Root, File, "hello"));
        Assert.Equal(0, client.Send(26, File, 0x1u | 0x8 | 0x20 | 0x100, 0xFFFu, 0u, 0u, 5UL, 0UL, 0UL, 1_000_000_000UL, 500UL));
        Assert.Equal(0, client.Send(24, File, 0x7FFUL));
        // The bits that lend the owner's rights are not set.
        Assert.Equal((0x83FFu, 5UL), (client.Word(21), client.Long(49)));
        Assert.Equal((1_000_000_000UL, 500UL), (client.Long(89), client.Long(97)));
        Assert.Equal("Hello", System.IO.File.ReadAllText(Path.Combine(folder, "hello")));
        Assert.Equal(NotPermitted, client.Send(26, File, 2u, 0u, client.Word(25) + 1, 0u, 0UL, 0UL, 0UL, 0UL, 0UL));
        Assert.Equal(0, client.Send(8, File));
        Assert.Equal(4 + 4 + (6 * 8) + 4, client.Body.Length);
    }

    [Theory]
    [InlineData("..", InvalidArgument)]
    [InlineData(".", InvalidArgument)]
    [InlineData("", InvalidArgument)]
    [InlineData("/etc", InvalidArgument)]
    [InlineData("sub/inner", InvalidArgument)]
    [InlineData("../secret", InvalidArgument)]
    [InlineData("hello\0", InvalidArgument)]
    public void ANameThatIsNone_IsRefusedEverywhere(string name, int error)
    {
        Assert.Equal(0, client.Walk(Root, File, "hello"));
        Assert.Equal(error, client.Walk(Root, Other, name));
        Assert.Equal(error, client.Create(Root, name));
        Assert.Equal(error, client.Send(72, Root, name, 0x1EDu, 0u));
        Assert.Equal(error, client.Send(16, Root, name, "x", 0u));
        Assert.Equal(error, client.Send(70, Root, File, name));
        Assert.Equal(error, client.Send(74, Root, "hello", Root, name));
        Assert.Equal(error, client.Send(74, Root, name, Root, "hello"));
        Assert.Equal(error, client.Send(76, Root, name, 0u));
        Assert.Equal(error, client.Send(76, Root, name, 0x200u));
        Assert.Equal("secret", System.IO.File.ReadAllText(Path.Combine(outside.FullName, "secret")));
    }

    [Fact]
    public void ALinkLeadsNowhere()
    {
        Assert.Equal(0, client.Walk(Root, File, "out", "secret"));
        Assert.Equal(1, client.Body[0]);
        Assert.Equal(0, client.Walk(Root, File, "out"));
        Assert.Equal(NotAFolder, client.Walk(File, Other, "secret"));
        Assert.Equal(NotAFolder, client.Create(File, "made"));
        Assert.Equal(NotAFolder, client.Send(76, File, "secret", 0u));
        Assert.Equal(Loop, client.Open(File));
        Assert.Equal(0, client.Walk(Root, Other, "out-file"));
        Assert.Equal(Loop, client.Open(Other));
        Assert.Equal(Loop, client.Create(Root, "out-file", 2));
        Assert.Equal(InvalidArgument, client.Send(26, Other, 8u, 0u, 0u, 0u, 0UL, 0UL, 0UL, 0UL, 0UL));
        Assert.Equal(NotSupported, client.Send(26, Other, 1u, 0u, 0u, 0u, 0UL, 0UL, 0UL, 0UL, 0UL));
        Assert.Equal(0, client.Send(24, Other, 0x7FFUL));
        Assert.Equal(0xA000u, client.Word(21) & 0xF000);
        Assert.Equal("secret", System.IO.File.ReadAllText(Path.Combine(outside.FullName, "secret")));
    }

    [Fact]
    public void AFolderThatBecomesALinkIsStillTheFolder()
    {
        Assert.Equal(0, client.Walk(Root, File, "sub"));
        Assert.Equal(0, client.Send(74, Root, "sub", Root, "elsewhere"));
        Assert.Equal(0, client.Send(16, Root, "sub", outside.FullName, 0u));
        Assert.Equal(0, client.Walk(File, Other, "inner"));
        Assert.Equal(0, client.Open(Other));
        Assert.Equal("inner", client.Read(Other));
        Assert.Equal(NoEntry, client.Walk(File, 3, "secret"));
    }

    [Fact]
    public void AReadOnlyFolderTakesNothing()
    {
        using VirtioDriver other = Share(isReadOnly: true);
        var reader = new NineClient(other);
        reader.Mount();
        Assert.Equal(0, reader.Walk(Root, File, "hello"));
        Assert.Equal(ReadOnly, reader.Open(File, 1));
        Assert.Equal(ReadOnly, reader.Open(File, 2));
        Assert.Equal(ReadOnly, reader.Open(File, 0x200));
        Assert.Equal(0, reader.Open(File));
        Assert.Equal("Hello, Guest.", reader.Read(File));
        Assert.Equal(ReadOnly, reader.Write(File, 0, "x"));
        Assert.Equal(ReadOnly, reader.Create(Root, "new"));
        Assert.Equal(ReadOnly, reader.Send(16, Root, "new", "x", 0u));
        Assert.Equal(ReadOnly, reader.Send(70, Root, File, "new"));
        Assert.Equal(ReadOnly, reader.Send(72, Root, "new", 0x1EDu, 0u));
        Assert.Equal(ReadOnly, reader.Send(74, Root, "hello", Root, "new"));
        Assert.Equal(ReadOnly, reader.Send(76, Root, "hello", 0u));
        Assert.Equal(ReadOnly, reader.Send(26, File, 8u, 0u, 0u, 0u, 0UL, 0UL, 0UL, 0UL, 0UL));
        Assert.Equal("Hello, Guest.", System.IO.File.ReadAllText(Path.Combine(folder, "hello")));
    }

    [Fact]
    public void WhatIsNeitherFileNorFolderIsNotOpened()
    {
        using System.Diagnostics.Process? pipe = System.Diagnostics.Process.Start("mkfifo", Path.Combine(folder, "pipe"));
        pipe!.WaitForExit();
        Assert.Equal(0, client.Walk(Root, File, "pipe"));
        Assert.Equal(InvalidArgument, client.Open(File));
        Assert.NotEqual(0, client.Create(Root, "pipe", 0));
    }

    [Fact]
    public void AGuestHoldsOnlySoManyFiles()
    {
        for (uint i = 1; i < ShareServer.MostFiles; i++)
        {
            Assert.Equal(0, client.Walk(Root, i));
        }
        Assert.Equal(TooManyFiles, client.Walk(Root, ShareServer.MostFiles));
        Assert.Equal(0, client.Forget(5));
        Assert.Equal(0, client.Walk(Root, ShareServer.MostFiles));
        client.Mount();
        Assert.Equal(BadFile, client.Forget(1));
    }

    [Fact]
    public void LocksAreGranted_AndExtendedAttributesAreNot()
    {
        Assert.Equal(0, client.Walk(Root, File, "hello"));
        Assert.Equal(0, client.Send(52, File, (byte)1, 0u, 0UL, 0UL, 1u, "guest"));
        Assert.Equal([0], client.Body);
        Assert.Equal(0, client.Send(54, File, (byte)1, 0UL, 5UL, 1u, "guest"));
        Assert.Equal(2, client.Body[0]);
        Assert.Equal(NotSupported, client.Send(30, File, Other, "user.x"));
        Assert.Equal(NotSupported, client.Send(18, Root, "node", 0x21B6u, 1u, 3u, 0u));
        Assert.Equal(NotSupported, client.Send(122, File));
        Assert.Equal(BadFile, client.Forget(File));
        Assert.Equal(0, client.Send(108, (ushort)1));
    }

    [Fact]
    public void ALongNameIsTooLong() => Assert.Equal(NameTooLong, client.Create(Root, new string('x', 256)));

    [Theory]
    [InlineData(6, 7u, 64u)]
    [InlineData(7, 6u, 64u)]
    [InlineData(7, 8u, 64u)]
    [InlineData(7, 7u, 10u)]
    public void WhatIsNoMessage_NeedsAReset(int length, uint size, uint room)
    {
        driver.Memory.Write(Data, size);
        driver.Memory.Write(Data + 4, (byte)108);
        driver.Queues[0].Add(new(Data, (uint)length, false), new(Data + 0x1000, room, true));
        driver.Notify(0);
        Assert.True(driver.NeedsReset);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public void RandomMessagesGetAnswers_AndStayInTheFolder(int seed)
    {
        seed = seed < 0 ? Random.Shared.Next() : seed;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        string[] names = ["hello", "sub", "inner", "out", "out-file", "..", ".", "", "/", "../secret", "a", "b", "c", outside.FullName];
        byte[] types = [8, 12, 14, 16, 22, 24, 26, 30, 40, 50, 52, 54, 70, 72, 74, 76, 104, 108, 110, 116, 118, 120];
        int good = 0;
        for (int i = 0; i < 20_000; i++)
        {
            var fields = new List<object>();
            byte type = random.Next(50) == 0 ? (byte)random.Next(8, 256) : types[random.Next(types.Length)];
            string Name() => names[random.Next(names.Length)];
            uint Number() => (uint)random.Next(12);
            fields.AddRange(random.Next(20) == 0 ? [] : type switch
            {
                14 => [Number(), Name(), (uint)random.Next(0x1000), (uint)random.Next(0x1000), 0u],
                16 => [Number(), Name(), Name(), 0u],
                70 => [Number(), Number(), Name()],
                72 => [Number(), Name(), 0x1FFu, 0u],
                74 => [Number(), Name(), Number(), Name()],
                76 => [Number(), Name(), random.Next(2) == 0 ? 0u : 0x200u],
                100 => [(uint)random.Next(), "9P2000.L"],
                104 => [Number(), uint.MaxValue, "", "", 0u],
                110 => [Number(), Number(), (ushort)random.Next(4), Name(), Name(), Name()],
                116 or 40 => [Number(), (ulong)random.NextInt64(-10, 1000), (uint)random.Next(2000)],
                118 => [Number(), (ulong)random.Next(1000), (uint)random.Next(120), new byte[100]],
                26 => [Number(), (uint)random.Next(0x200), 0x1FFu, (uint)random.Next(2), (uint)random.Next(2), (ulong)random.Next(5000), 1UL, 2UL, 3UL, 4UL],
                _ => [Number(), (uint)random.Next(0x400), Name(), 0UL, 0UL],
            });
            good += client.Send(type, [.. fields]) == 0 ? 1 : 0;
            if (random.Next(30) == 0)
            {
                _ = client.Send(104, 0u, uint.MaxValue, "", "", 0u);
            }
        }
        Assert.True(good > 1000, $"{good} good answers");
        Assert.False(driver.NeedsReset);
        Assert.Equal("secret", System.IO.File.ReadAllText(Path.Combine(outside.FullName, "secret")));
        Assert.Equal(["secret", "shared"], outside.EnumerateFileSystemInfos().Select(static entry => entry.Name).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("missing", "tag", "folder ")]
    [InlineData("secret", "tag", "folder ")]
    [InlineData("shared", "", "'' cannot be a folder's tag")]
    public void AFolderThatIsNone_IsOneLineOfText(string name, string tag, string expected)
    {
        var error = Assert.Throws<MachineConfigurationException>(() =>
            new ShareOptions(Path.Combine(outside.FullName, name), tag).OpenVirtio(NullLogger.Instance));
        Assert.StartsWith(expected, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }

    public void Dispose()
    {
        driver.Dispose();
        outside.Delete(recursive: true);
    }

    private VirtioDriver Share(bool isReadOnly)
    {
        VirtioDevice device = new ShareOptions(folder, "home") { IsReadOnly = isReadOnly }.OpenVirtio(NullLogger.Instance);
        var shared = new VirtioDriver(device);
        shared.Start();
        return shared;
    }
}
