// What a disk is worth to a program in the Guest: dd with O_DIRECT, so that its pages are the buffers, and without, through the Guest's page cache.
// The image is in the host's page cache: this measures us and not the medium, except for flushes.

using Lguest.Launcher;

namespace Lguest.Bench;

internal static class BlockBenchmark
{
    private const int ImageMebibytes = 256;
    private const int SmallReads = 16384;
    private const int SynchronousWrites = 500;

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 when there is no Guest to boot.</returns>
    public static async Task<int> RunAsync()
    {
        if (BenchGuest.FindFolder() is not string folder)
        {
            return 1;
        }
        string image = Path.Combine(Path.GetTempPath(), $"lguest-bench-{Guid.NewGuid():n}.img");
        try
        {
            await File.WriteAllBytesAsync(image, new byte[ImageMebibytes << 20]);
            await using BenchGuest guest = await BenchGuest.StartAsync(folder, new BlockDeviceOptions(image));
            foreach (string size in new[] { "64k", "1M" })
            {
                await PrintThroughputAsync(guest, $"read, {size}, direct", $"dd if=/dev/lgba of=/dev/null bs={size} iflag=direct");
                await PrintThroughputAsync(guest, $"write, {size}, direct", $"dd if=/dev/zero of=/dev/lgba bs={size} count={(size == "1M" ? ImageMebibytes : ImageMebibytes * 16)} oflag=direct");
            }
            await PrintThroughputAsync(guest, "read, 64k, Guest's cache", "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/lgba of=/dev/null bs=64k");
            await PrintThroughputAsync(guest, "write, 64k, Guest's cache", $"dd if=/dev/zero of=/dev/lgba bs=64k count={ImageMebibytes * 16} conv=fsync");

            double nothing = (await guest.ExecuteAsync("dd if=/dev/lgba of=/dev/null bs=4k count=0 2>/dev/null")).TotalMicroseconds;
            double reads = (await guest.ExecuteAsync($"dd if=/dev/lgba of=/dev/null bs=4k count={SmallReads} iflag=direct 2>/dev/null")).TotalMicroseconds;
            Console.WriteLine($"block: one read of 4 KiB, direct: {(reads - nothing) / SmallReads:F1} us");

            // A file system that is mounted so brings each write to the disk, its tables included, and flushes.
            await guest.ExecuteAsync("mke2fs -F /dev/lgba 16384 >/dev/null && mount -o sync /dev/lgba /mnt && dd if=/dev/zero of=/mnt/file bs=4k count=1 2>/dev/null");
            double writes = (await guest.ExecuteAsync($"dd if=/dev/zero of=/mnt/file bs=4k count={SynchronousWrites} conv=notrunc 2>/dev/null")).TotalMicroseconds;
            Console.WriteLine($"block: one synchronous write of 4 KiB on ext2: {(writes - nothing) / SynchronousWrites:F0} us");
            Console.WriteLine("block: copies per byte between image and the Guest's pages: 1, by the host's kernel");
        }
        finally
        {
            File.Delete(image);
        }
        return 0;
    }

    private static async Task PrintThroughputAsync(BenchGuest guest, string title, string command)
    {
        long before = guest.Machine.Statistics.Instructions;
        TimeSpan time = await guest.ExecuteAsync($"{command} 2>/dev/null");
        double instructions = guest.Machine.Statistics.Instructions - before;
        Console.WriteLine($"block: {title}: {(ImageMebibytes << 20) / time.TotalSeconds / 1e6:F0} MB/s, {instructions / (ImageMebibytes << 20):F2} Guest instructions a byte");
    }
}
