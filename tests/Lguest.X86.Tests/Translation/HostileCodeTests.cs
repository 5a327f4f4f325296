// Programs that no compiler writes, but that a Guest may: each aims at something that translated code takes for granted about the
// tables and the code around it. None may reach memory that is not the Guest's, or run code that is no longer there.

using Lguest.X86.State;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

public sealed class HostileCodeTests
{
    /// <summary>What leaves room for one block of the largest size, and little more.</summary>
    private const int SmallestCache = 256 * 1024;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ADescriptorTableInPageZeroIsNotTakenForAnEmptyEntryOfTheTlb(bool remapped)
    {
        using var m = new SystemMachine(paging: true);
        const uint other = 0x50_0000;
        byte[] table = new byte[0x1000];
        m.Memory.Read(SystemMachine.Gdt, table);
        m.Memory.Write(0, table);
        m.Memory.Write(other, table);
        // In the other table the same selector has another base.
        m.Memory.Write(other + SystemMachine.Free, 0x00CF_9300_0000_FFFFul);
        m.Memory.Write(SystemMachine.Free, 0x00CF_9300_0000_FFFFul);
        m.Memory.Write(other + SystemMachine.Free + 2, (byte)0x40);
        m.State.Gdtr = new DescriptorTable { Base = 0, Limit = 0xFFF };
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            Iced.Intel.Label again = a.CreateLabel();
            a.mov(ecx, 8);
            a.mov(edx, SystemMachine.Directory);
            a.mov(eax, SystemMachine.Free);
            a.Label(ref again);
            a.mov(fs, ax);
            a.mov(fs, ax);
            if (remapped)
            {
                a.xor(__dword_ptr[SystemMachine.Tables], other);
                a.invlpg(__byte_ptr[0]);
            }
            else
            {
                a.mov(cr3, edx);
            }
            a.mov(fs, ax);
            a.dec(ecx);
            a.jne(again);
            if (remapped)
            {
                a.xor(__dword_ptr[SystemMachine.Tables], other);
                a.invlpg(__byte_ptr[0]);
                a.mov(fs, ax);
            }
            a.hlt();
        }));
        Assert.Equal(remapped ? 0x40u : 0, m.State.Segments[(int)SegmentName.FS].Base);
    }

    [Fact]
    public void APageWalkThatChangesCodeInAPageTableDoesNotGoOnInCodeThatWasDropped()
    {
        using var m = new SystemMachine(paging: true, codeCacheBytes: SmallestCache);
        // As a table's entry: a page that was not accessed yet. As code: ADD EAX, EAX and HLT; once accessed, AND EAX, EAX and HLT.
        const uint entryAndCode = 0x00F4_C003;
        const uint page = 0xC0_0000;
        const uint entry = SystemMachine.Tables + (page >> 12 << 2);
        const uint target = SystemMachine.Code + 0x100;
        const uint filler = 0x10_0000;
        m.Memory.Write(entry, entryAndCode);
        m.Space.Flush();
        m.Assemble(target, a =>
        {
            for (int i = 0; i < 60; i++)
            {
                a.lea(eax, __[eax + 1]);
            }
            a.hlt();
        });
        m.Assemble(SystemMachine.Code, a =>
        {
            a.mov(ebx, __[esi]);
            a.test(ecx, ecx);
            a.jne(target);
            a.hlt();
        });
        Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
        m[Register32.Eax] = 1;
        Assert.Equal(SystemMachine.Done, m.RunAt(entry));
        Assert.Equal(2u, m[Register32.Eax]);

        // In a cache that is full, nothing may need room when the code in the table dies.
        for (uint i = 0; m.Processor.Translator is { Forgotten: 0 }; i++)
        {
            m.Assemble(filler + (i * 0x400), a =>
            {
                for (int load = 0; load < 60; load++)
                {
                    a.mov(eax, __[esi]);
                }
                a.hlt();
            });
            Assert.Equal(SystemMachine.Done, m.RunAt(filler + (i * 0x400)));
            Assert.Equal(SystemMachine.Done, m.RunAt(filler + (i * 0x400)));
            Assert.Equal(SystemMachine.Done, m.RunAt(filler + (i * 0x400)));
        }
        m[Register32.Eax] = 0;
        m[Register32.Ecx] = 1;
        m[Register32.Esi] = page;
        Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
        Assert.Equal(60u, m[Register32.Eax]);
        Assert.Equal(entryAndCode | SystemMachine.Accessed, m.Memory.Read<uint>(entry));
    }

    [Fact]
    public void CodeIsDroppedWithoutALookAtWhatLiesBehindIt()
    {
        // Decoded blocks are kept in memory that is used again and again: behind the newest lie pieces of old ones, which mean nothing.
        using var m = new SystemMachine(translateAfter: 0);
        const uint first = 0x10_0000;
        const uint moves = 560_000;
        byte[] code = new byte[(moves * 5) + 1];
        for (uint i = 0; i < moves; i++)
        {
            code[i * 5] = 0xB9;
            code.AsSpan((int)(i * 5) + 1, 4).Fill(0xFF);
        }
        code[^1] = 0xF4;
        m.Memory.Write(first, code);
        Assert.Equal(SystemMachine.Done, m.RunAt(first));
        for (uint length = 1; length <= 60; length++)
        {
            for (uint value = 0; value < 2; value++)
            {
                m.Assemble(SystemMachine.Code, a =>
                {
                    a.mov(eax, value);
                    for (uint i = 1; i < length; i++)
                    {
                        a.inc(eax);
                    }
                    a.hlt();
                });
                Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
                Assert.Equal(value + length - 1, m[Register32.Eax]);
            }
        }
    }
}
