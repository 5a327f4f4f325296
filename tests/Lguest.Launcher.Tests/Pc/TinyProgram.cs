// Multiboot programs of a few instructions: the shortest way to a PC that does something.

using System.Buffers.Binary;
using Iced.Intel;

namespace Lguest.Launcher.Tests.Pc;

internal static class TinyProgram
{
    /// <summary>Where a program is loaded.</summary>
    public const uint Address = 0x0010_0000;

    /// <summary>Where its first instruction is.</summary>
    public const uint Entry = Address + HeaderSize;

    private const int HeaderSize = 32;
    private const uint Magic = 0x1BAD_B002, HasAddresses = 1 << 16;

    /// <summary>A file whose header says where it belongs.</summary>
    public static byte[] Assemble(Action<Assembler> write)
    {
        var assembler = new Assembler(32);
        write(assembler);
        var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), Entry);
        byte[] header = new byte[HeaderSize];
        uint[] words = [Magic, HasAddresses, unchecked(0 - Magic - HasAddresses), Address, Address, 0, 0, Entry];
        for (int i = 0; i < words.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(4 * i), words[i]);
        }
        return [.. header, .. code.ToArray()];
    }

    /// <summary>Runs a program to its end.</summary>
    public static async Task<MachineResult> RunAsync(Action<Assembler> write, Func<MachineOptions, MachineOptions>? change = null)
    {
        using var file = new TemporaryFile(Assemble(write));
        await using Machine machine = Build(file, change);
        return await machine.RunAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(60));
    }

    /// <summary>A machine with a program.</summary>
    public static Machine Build(TemporaryFile program, Func<MachineOptions, MachineOptions>? change = null)
    {
        var options = new MachineOptions
        {
            Platform = MachinePlatform.Pc,
            ImageFormat = ImageFormat.Multiboot,
            Kernel = program.Path,
            MemoryBytes = 4 << 20,
        };
        return new Machine(change?.Invoke(options) ?? options);
    }
}
