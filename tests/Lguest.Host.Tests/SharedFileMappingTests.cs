// A frame of the machine can be a page of a file: what one machine writes the other reads, and the file keeps it.

using Lguest.Platform;
using Lguest.X86.Memory;

namespace Lguest.Host.Tests;

public sealed class SharedFileMappingTests : IDisposable
{
    private readonly string path = Path.GetTempFileName();

    public void Dispose() => File.Delete(path);

    [Fact]
    public void TwoMachinesAndTheFileSeeTheSameBytes()
    {
        File.WriteAllBytes(path, new byte[8192]);
        using (SharedFileMapping first = Map(2), second = Map(2))
        using (MachineMemory one = new(4, 1), other = new(4, 1))
        {
            Assert.Equal(first.Identity, second.Identity);
            one.Write(0x2000, 5u);
            one.ShareFrame(2, first, 1);
            other.ShareFrame(3, second, 1);
            Assert.Equal(0u, one.Read<uint>(0x2000));
            one.Write(0x2FFC, 0x1122_3344u);
            Assert.Equal(0x1122_3344u, other.Read<uint>(0x3FFC));
            Assert.True(one.TryGetSharedPage(2, out SharedPage page));
            Assert.Equal(new SharedPage(first.Identity, 1), page);
            Assert.False(one.TryGetSharedPage(1, out _));
        }
        Assert.Equal(0x44, File.ReadAllBytes(path)[8188]);
    }

    [Fact]
    public void WhatCannotBeSharedIsRefused()
    {
        File.WriteAllBytes(path, new byte[8191]);
        Assert.Throws<IOException>(() => Map(2));
        Assert.Throws<ArgumentOutOfRangeException>(() => Map(0));
        using SharedFileMapping file = Map(1);
        using var memory = new MachineMemory(4, 1);
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.ShareFrame(4, file, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.ShareFrame(0, file, 1));
    }

    private SharedFileMapping Map(uint pages)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        return new SharedFileMapping(file, pages);
    }
}
