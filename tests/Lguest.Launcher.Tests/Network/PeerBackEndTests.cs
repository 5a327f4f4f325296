// Networks of PC Guests among themselves: frames reach the one whom they are for, or all, and nobody waits for a member that is gone.

using System.Runtime.Versioning;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Network;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests.Network;

[SupportedOSPlatform("linux")]
public sealed class PeerBackEndTests : IDisposable
{
    private static readonly byte[] Everybody = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lguest-peers-");
    private readonly MachineMemory memory = new(4, 1);

    private string NetworkFile => Path.Combine(folder.FullName, "net");

    [Fact]
    public void AFrameReachesAllUntilItsReceiverIsKnown()
    {
        using Member a = Join(0), b = Join(1), c = Join(2);
        Assert.True(Send(a, Everybody, 0xA));
        Assert.Equal(0xA, b.Receive()![11]);
        Assert.Equal(0xA, c.Receive()![11]);
        // b has learned where a lives: c hears nothing of it, and hears the next one first.
        Assert.True(Send(b, Address(0xA), 0xB));
        Assert.Equal(0xB, a.Receive()![11]);
        Assert.True(Send(a, Everybody, 0xA, mark: 7));
        Assert.Equal(7, c.Receive()![14]);
        Assert.Equal(7, b.Receive()![14]);
    }

    [Fact]
    public void AMemberThatIsGoneDisturbsNobody()
    {
        using Member a = Join(0);
        Assert.False(Send(a, Everybody, 0xA));
        Member b = Join(1);
        Thread.Sleep(250);
        Assert.True(Send(a, Everybody, 0xA));
        Assert.NotNull(b.Receive());
        b.Dispose();
        Assert.False(Send(a, Everybody, 0xA));
        using Member again = Join(1);
        Assert.True(Send(a, Everybody, 0xA));
        Assert.NotNull(again.Receive());
    }

    [Fact]
    public void WhoSendsFasterThanHisPeerTakes_LosesFrames()
    {
        using Member a = Join(0);
        using var b = new PeerBackEnd(OpenFile(), 1);
        int sent = 0;
        while (sent < 100_000 && Send(a, Everybody, 0xA))
        {
            sent++;
        }
        Assert.InRange(sent, 1, 99_999);
    }

    [Fact]
    public void ASocketOfTheDeadIsReplaced_AndOnlyItsOwnerMaySendToIt()
    {
        File.WriteAllText(NetworkFile + ".0", "");
        using Member a = Join(0);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(NetworkFile + ".0"));
    }

    [Fact]
    public void TheOptionsTakeSlotsOneByOne()
    {
        var options = new SharedNetworkOptions(NetworkFile);
        using (VirtioDevice first = options.OpenVirtio(NullLogger.Instance), second = options.OpenVirtio(NullLogger.Instance))
        {
            Assert.True(File.Exists(NetworkFile + ".0") && File.Exists(NetworkFile + ".1"));
        }
        Assert.Equal([NetworkFile], Directory.GetFiles(folder.FullName));
    }

    [Fact]
    public void APathThatIsTooLongForASocketIsOneLineOfText()
    {
        var options = new SharedNetworkOptions(Path.Combine(folder.FullName, new string('x', 120)));
        Assert.DoesNotContain('\n', Assert.Throws<MachineConfigurationException>(() => options.OpenVirtio(NullLogger.Instance)).Message);
    }

    public void Dispose()
    {
        memory.Dispose();
        folder.Delete(recursive: true);
    }

    private static byte[] Address(byte last) => [2, 0, 0, 0, 0, last];

    private FileStream OpenFile() => new(NetworkFile, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);

    private Member Join(int slot) => new(new PeerBackEnd(OpenFile(), slot));

    private bool Send(Member from, byte[] to, byte own, byte mark = 0)
    {
        byte[] frame = [.. to, .. Address(own), 8, 0, mark, .. new byte[45]];
        memory.Write(0x800, frame);
        return from.BackEnd.TrySend(new GuestSections(memory, [new GuestSection(0x800, 20), new GuestSection(0x814, (uint)frame.Length - 20)]));
    }

    private sealed class Member : IDisposable
    {
        private readonly AutoResetEvent woken = new(false);

        public Member(PeerBackEnd backEnd)
        {
            BackEnd = backEnd;
            backEnd.Start(() => woken.Set());
        }

        public PeerBackEnd BackEnd { get; }

        /// <summary>Waits for the next frame.</summary>
        public byte[]? Receive()
        {
            Span<byte> frame;
            while (!BackEnd.Input.TryPeek(out frame))
            {
                Assert.True(woken.WaitOne(30_000));
            }
            byte[] bytes = frame.ToArray();
            BackEnd.Input.Remove();
            BackEnd.InputTaken();
            return bytes;
        }

        public void Dispose()
        {
            BackEnd.Stop();
            BackEnd.Dispose();
            woken.Dispose();
        }
    }
}
