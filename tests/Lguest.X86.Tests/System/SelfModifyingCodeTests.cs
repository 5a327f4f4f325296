// Stale code never runs, whoever changed it and wherever it lies.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Translation;
using Lguest.X86.Translation;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class SelfModifyingCodeTests
{
    private const uint Other = 0x40_0000;

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AStoreIntoTheNextInstructionActsAtOnce(Engine engine)
    {
        using var m = new SystemMachine(engine);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(SystemMachine.Done, m.Run(a =>
            {
                a.mov(__byte_ptr[SystemMachine.Code + 8], 0x22);
                a.mov(eax, 0x11);
                a.hlt();
            }));
            Assert.Equal(0x22u, m[Register32.Eax]);
        }
    }

    [Fact]
    public void ALoopThatChangesItselfAHundredThousandTimes_ComesToItsEnd()
    {
        // With every block that it has been still in the way of the next, this took minutes.
        using var m = new SystemMachine();
        Assert.Equal(SystemMachine.Done, m.Run(static a =>
        {
            var again = a.CreateLabel();
            a.mov(ecx, 100_000);
            a.xor(ebx, ebx);
            a.Label(ref again);
            a.mov(__byte_ptr[SystemMachine.Code + 14], cl);
            a.mov(al, 0);
            a.add(bl, al);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        }));
        Assert.Equal((byte)Enumerable.Range(1, 100_000).Sum(static i => (long)(byte)i), (byte)m[Register32.Ebx]);
    }

    [Fact]
    public void OldCodeMakesWayForDataInItsPage()
    {
        const uint writes = 100_000;
        using var m = new SystemMachine();
        m.Assemble(Other, a => a.ret());
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            Label again = a.CreateLabel();
            a.call(Other);
            a.mov(ecx, writes);
            a.Label(ref again);
            a.inc(__dword_ptr[Other + 0x800]);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        }));
        Assert.Equal(writes, m.Memory.Read<uint>(Other + 0x800));
        Assert.False(m.Memory.FrameHoldsCode(Other >> 12));
        Assert.InRange(m.Processor.CodeExits[CodeExit.WriteMiss], 0, 1000);
    }

    [Fact]
    public void CodeThatIsInUseBesideDataMakesWayLessAndLessOften()
    {
        const uint rounds = 50_000;
        using var m = new SystemMachine();
        m.Assemble(Other, a =>
        {
            a.inc(ebx);
            a.ret();
        });
        long before = m.Processor.Blocks.Decoded;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            Label again = a.CreateLabel();
            a.xor(ebx, ebx);
            a.mov(ecx, rounds);
            a.Label(ref again);
            a.call(Other);
            a.inc(__dword_ptr[Other + 0x800]);
            a.dec(ecx);
            a.jne(again);
            a.hlt();
        }));
        Assert.Equal((rounds, rounds), (m[Register32.Ebx], m.Memory.Read<uint>(Other + 0x800)));
        // 256, 512, 1024 and so on: seven times. Making way each time that there are 256 would be near two hundred times.
        Assert.InRange(m.Processor.Blocks.Decoded - before, 1, 30);
    }

    [Theory]
    [InlineData(0x800u)]
    [InlineData(0x1000u)]
    [InlineData(0x1FFEu)]
    public void AStoreIntoAnotherBlockActsAtItsNextUse(uint distance)
    {
        using var m = new SystemMachine();
        uint target = SystemMachine.Code + distance;
        m.Assemble(target, a =>
        {
            a.mov(eax, 0x11);
            a.ret();
        });
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.call(target);
            a.mov(ebx, eax);
            a.mov(__byte_ptr[target + 1], 0x22);
            a.call(target);
            a.mov(ecx, eax);
            a.inc(__byte_ptr[target + 2]);
            a.call(target);
            a.hlt();
        }));
        Assert.Equal((0x11u, 0x22u, 0x122u), (m[Register32.Ebx], m[Register32.Ecx], m[Register32.Eax]));
    }

    [Fact]
    public void AStoreThroughAnotherLinearAddressCounts()
    {
        using var m = new SystemMachine(paging: true);
        const uint alias = 0x60_0000;
        m.Map(alias, Other, SystemMachine.All);
        m.Assemble(Other, a =>
        {
            a.mov(eax, 0x11);
            a.ret();
        });
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(__byte_ptr[alias + 0x800], 1);
            a.call(Other);
            a.mov(ebx, eax);
            a.mov(__byte_ptr[alias + 1], 0x22);
            a.call(Other);
            a.hlt();
        }));
        Assert.Equal((0x11u, 0x22u), (m[Register32.Ebx], m[Register32.Eax]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void StringInstructionsCount(bool move)
    {
        using var m = new SystemMachine();
        m.Assemble(Other, a =>
        {
            a.nop();
            a.mov(eax, 0x11);
            a.ret();
        });
        byte[] replacement = Oracles.TestMachine.Assemble(a =>
        {
            a.nop();
            a.mov(eax, 0x22);
            a.ret();
        });
        m.Memory.Write(SystemMachine.Data, replacement);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.call(Other);
            a.mov(ebx, eax);
            if (move)
            {
                a.mov(esi, SystemMachine.Data);
                a.mov(edi, Other);
                a.mov(ecx, 7);
                a.rep.movsb();
            }
            else
            {
                a.mov(edi, Other + 2);
                a.mov(ecx, 4);
                a.mov(al, 0x22);
                a.rep.stosb();
            }
            a.call(Other);
            a.hlt();
        }));
        Assert.Equal((0x11u, move ? 0x22u : 0x2222_2222u), (m[Register32.Ebx], m[Register32.Eax]));
    }

    [Fact]
    public void ALongStringInstructionThatRunsOverItsOwnBlockIsFollowedByTheNewCode()
    {
        using var m = new SystemMachine();
        // Fills from behind itself with INC EBX, then HLT is what stands behind the filled bytes.
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.xor(ebx, ebx);
            a.mov(al, 0x43);
            a.mov(ecx, 16);
            a.mov(edi, SystemMachine.Code + 16);
            a.rep.stosb();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.hlt();
        }));
        Assert.Equal(16u, m[Register32.Ebx]);
    }

    [Fact]
    public void WritesFromOutsideCount()
    {
        using var m = new SystemMachine();
        for (uint i = 0; i < 4; i++)
        {
            m.Assemble(Other, a =>
            {
                a.mov(eax, i);
                a.hlt();
            });
            Assert.Equal(SystemMachine.Done, m.RunAt(Other));
            Assert.Equal(i, m[Register32.Eax]);
            m.Memory.Write(Other + 1, (byte)(i + 100));
            Assert.Equal(SystemMachine.Done, m.RunAt(Other));
            Assert.Equal(i + 100, m[Register32.Eax]);
        }
    }

    [Fact]
    public void DataBesideCodeDoesNotHurtIt()
    {
        using var m = new SystemMachine();
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, 1000);
            Iced.Intel.Label loop = a.CreateLabel();
            a.Label(ref loop);
            a.inc(__dword_ptr[SystemMachine.Code + 0x800]);
            a.add(__dword_ptr[SystemMachine.Code + 0x804], ecx);
            a.dec(ecx);
            a.jne(loop);
            a.hlt();
        }));
        Assert.Equal((1000u, 500_500u), (m.Memory.Read<uint>(SystemMachine.Code + 0x800), m.Memory.Read<uint>(SystemMachine.Code + 0x804)));
    }

    [Fact]
    public void ALoopThatRewritesItselfRunsEveryVersion()
    {
        using var m = new SystemMachine();
        // add edx, imm8 with an immediate that counts up: 1 + 2 + ... + 100.
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.xor(edx, edx);
            a.mov(ecx, 100);
            Iced.Intel.Label loop = a.CreateLabel();
            a.Label(ref loop);
            a.inc(__byte_ptr[SystemMachine.Code + 15]);
            a.add(edx, 0);
            a.dec(ecx);
            a.jne(loop);
            a.hlt();
        }));
        Assert.Equal(5050u, m[Register32.Edx]);
    }

    [Fact]
    public void CodeInTheLastBytesOfAPageGoesOnInTheNext()
    {
        using var m = new SystemMachine(paging: true);
        m.Map(Other + 0x1000, 0x50_0000, SystemMachine.All);
        m.Assemble(Other + 0xFFE, a =>
        {
            a.inc(eax);
            a.inc(eax);
        });
        m.Assemble(0x50_0000, a =>
        {
            a.inc(ebx);
            a.hlt();
        });
        for (uint i = 1; i <= 3; i++)
        {
            Assert.Equal(SystemMachine.Done, m.RunAt(Other + 0xFFE));
            Assert.Equal((2 * i, i), (m[Register32.Eax], m[Register32.Ebx]));
        }
    }

    [Fact]
    public void JumpsBetweenPagesFollowTheMapping()
    {
        using var m = new SystemMachine(paging: true);
        uint entry = SystemMachine.Tables + ((Other >> 12) * 4);
        for (uint version = 0; version < 2; version++)
        {
            m.Assemble(0x50_0000 + (version * 0x1000), a =>
            {
                a.add(eax, version == 0 ? 1 : 0x100);
                a.ret();
            });
        }
        m.Map(Other, 0x50_0000, SystemMachine.All);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(esi, 10);
            Iced.Intel.Label loop = a.CreateLabel();
            a.Label(ref loop);
            a.call(Other);
            a.call(Other);
            a.xor(__dword_ptr[entry], 0x1000);
            a.invlpg(__byte_ptr[Other]);
            a.dec(esi);
            a.jne(loop);
            a.hlt();
        }));
        Assert.Equal((10 * 0x100u) + 10, m[Register32.Eax]);
    }

    [Fact]
    public void DirectJumpsBetweenPagesFollowTheMapping()
    {
        using var m = new SystemMachine(paging: true);
        uint back = SystemMachine.Code + 0x100;
        for (uint version = 0; version < 2; version++)
        {
            m.Memory.Write(0x50_0000 + (version * 0x1000), Oracles.TestMachine.Assemble(
                a =>
                {
                    a.add(eax, version == 0 ? 1 : 0x100);
                    a.jmp(back);
                },
                Other));
        }
        m.Assemble(SystemMachine.Code, a => a.jmp(Other));
        m.Assemble(back, a => a.hlt());
        for (uint i = 0; i < 6; i++)
        {
            m[Register32.Eax] = 0;
            m.Map(Other, 0x50_0000 + ((i & 1) * 0x1000), SystemMachine.All);
            m.Space.FlushPage(Other);
            Assert.Equal(SystemMachine.Done, m.RunAt(SystemMachine.Code));
            Assert.Equal((i & 1) == 0 ? 1u : 0x100u, m[Register32.Eax]);
        }
    }

    /// <summary>
    /// An instruction begins in a page that is also the table of the page where it ends: to look that up marks the entry as used, and
    /// this write beside the code is the one too many that drops it.
    /// </summary>
    [Theory]
    [InlineData(253)]
    [InlineData(254)]
    [InlineData(255)]
    [InlineData(256)]
    public void CodeThatIsDroppedWhileItIsLookedUpIsLookedUpAgain(int writes)
    {
        const uint table = SystemMachine.Tables + 0x1000;
        const uint first = 0x50_0000;
        const uint second = first + 0x1000;
        const uint entry = table + ((second >> 12 & 0x3FF) * 4);
        const uint opcode = table + 0xFFF;
        const byte moveToEax = 0xB8;
        const byte moveToEcx = 0xB9;
        using var m = new SystemMachine(paging: true);
        m.Map(first, table, SystemMachine.All);
        m.Map(second, 0x60_0000, SystemMachine.All);
        m.Memory.Write(opcode, moveToEax);
        m.Memory.Write(0x60_0000, [0x44, 0x33, 0x22, 0x11, 0xC3]);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            Label again = a.CreateLabel();
            Label write = a.CreateLabel();
            Label change = a.CreateLabel();
            a.mov(ebp, 40);
            a.Label(ref again);
            a.call(first + 0xFFF);
            a.dec(ebp);
            a.jnz(again);
            a.mov(ebp, writes - 1);
            a.Label(ref write);
            a.inc(__dword_ptr[table + 0x800]);
            a.dec(ebp);
            a.jnz(write);
            a.and(__dword_ptr[entry], ~(int)SystemMachine.Accessed);
            a.invlpg(__[second]);
            a.mov(ebp, 2);
            a.Label(ref change);
            // A call that leads nowhere yet the first time; what it finds then it leads to the second time.
            a.call(first + 0xFFF);
            a.mov(__byte_ptr[opcode], moveToEcx);
            a.dec(ebp);
            a.jnz(change);
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal(0x1122_3344u, m[Register32.Ecx]);
        // Looks whether anything still holds a dead block.
        _ = CacheCount.Of(m.Processor);
    }

    [Fact]
    public void AFullCacheStartsAfresh()
    {
        using var m = new SystemMachine();
        const uint first = 0x10_0000;
        const uint last = 0x18_0000;
        byte[] jumps = new byte[last - first];
        for (int i = 0; i < jumps.Length; i += 2)
        {
            // Each jump leads to the next one: as many blocks as possible, more than the arena holds.
            jumps[i] = 0xEB;
        }
        m.Memory.Write(first, jumps);
        m.Assemble(last, a =>
        {
            a.dec(esi);
            a.jne(SystemMachine.Code);
            a.hlt();
        });
        m[Register32.Esi] = 2;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.inc(edi);
            a.jmp(first);
        }));
        Assert.Equal(2u, m[Register32.Edi]);
        Assert.Equal((2 * (2 + ((last - first) / 2) + 2)) + 1, m.Processor.InstructionCount);
    }
}
