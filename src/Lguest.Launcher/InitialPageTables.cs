// The Guest starts with paging on and at its final addresses, so somebody has to write its first page tables: a linear map of RAM at the
// page offset and nothing else (ABI 2.5). The Guest leaves them for its own as soon as it can, and regards their pages as ordinary RAM.

using System.Buffers.Binary;
using Lguest.X86.Memory;

namespace Lguest.Launcher;

internal static class InitialPageTables
{
    private const uint PresentWritableUser = 7;

    // L:182 A Guest starts with paging on, so somebody must have made page tables for it, and it can only be the Launcher. They could not
    // be simpler: all of RAM, in order, seen at the page offset. Note that these are tables of the *Guest*; the processor will never look
    // at them, but the Host will, whenever it makes a shadow entry.
    public static void Write(MachineMemory memory, in MemoryMap map)
    {
        Span<byte> page = stackalloc byte[(int)MemoryMap.PageSize];
        for (uint table = 0; table < map.PageTableCount; table++)
        {
            page.Clear();
            uint first = table * 1024;
            uint count = Math.Min(1024, map.MappedPages - first);
            for (uint i = 0; i < count; i++)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(page[(int)(4 * i)..], ((first + i) * MemoryMap.PageSize) | PresentWritableUser);
            }
            memory.Write(map.PageTables + (table * MemoryMap.PageSize), page);
        }

        page.Clear();
        for (uint table = 0; table < map.PageTableCount; table++)
        {
            uint index = (map.PageOffset >> 22) + table;
            BinaryPrimitives.WriteUInt32LittleEndian(page[(int)(4 * index)..], (map.PageTables + (table * MemoryMap.PageSize)) | PresentWritableUser);
        }
        memory.Write(map.PageDirectory, page);
    }
}
