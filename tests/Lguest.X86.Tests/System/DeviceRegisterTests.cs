// Registers of devices in the place of memory: a device sees each access of the program once, in its size and in its order, whatever the
// engine tries first. A FIFO that is read twice has lost a word.

using Iced.Intel;
using Lguest.X86.Memory;
using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class DeviceRegisterTests
{
    private const uint Registers = 0xE000_0000;
    private const uint Linear = 0x40_0000;
    private const uint ColdStack = 0x50_0800;

    /// <summary>Notes what it is asked; reads give a number that counts up.</summary>
    private sealed class Recorder : IMemoryMappedDevice
    {
        public List<string> Log { get; } = [];

        public uint Next { get; set; } = 0x8182_8384;

        public uint Read(uint offset, int size)
        {
            Log.Add($"r{size}@{offset:x}");
            return Next++;
        }

        public void Write(uint offset, int size, uint value)
        {
            uint mask = size == 4 ? uint.MaxValue : (1u << (8 * size)) - 1;
            Log.Add($"w{size}@{offset:x}={value & mask:x}");
        }
    }

    public static TheoryData<string, string> Accesses => new()
    {
        { "mov r32", "r4@10" },
        { "mov r16", "r2@10" },
        { "mov r8", "r1@10" },
        { "mov to r32", "w4@10=11223344" },
        { "mov to r16", "w2@10=3344" },
        { "mov to r8", "w1@10=44" },
        { "mov imm32", "w4@10=55667788" },
        { "mov imm16", "w2@10=5566" },
        { "mov imm8", "w1@10=55" },
        { "moffs", "r4@10" },
        { "moffs to", "w4@10=11223344" },
        { "movzx", "r1@10" },
        { "movsx", "r2@10" },
        { "add r,m", "r4@10" },
        { "cmp r,m", "r4@10" },
        { "cmp m8,imm", "r1@10" },
        { "test m,imm", "r4@10" },
        { "add m,r", "r4@10 w4@10=92a4b6c8" },
        { "and m8,imm", "r1@10 w1@10=84" },
        { "lock or", "r4@10 w4@10=8182838f" },
        { "inc", "r4@10 w4@10=81828385" },
        { "not16", "r2@10 w2@10=7c7b" },
        { "shl", "r4@10 w4@10=3050708" },
        { "xchg", "r4@10 w4@10=11223344" },
        { "cmpxchg", "r4@10 w4@10=81828384" },
        { "xadd", "r4@10 w4@10=92a4b6c8" },
        { "bts", "r4@10 w4@10=81828385" },
        { "push m", "r4@10" },
        { "pop m", "w4@10=12345678" },
        { "call m", "r4@10" },
        { "cmov", "r4@10" },
        { "sete", "w1@10=0" },
        { "imul", "r4@10" },
        { "movs from", "r4@10" },
        { "movs to", "w4@10=12345678" },
        { "rep movsd from", "r4@10 r4@14 r4@18" },
        { "rep movsb to", "w1@10=78 w1@11=56 w1@12=34" },
        { "rep stosw", "w2@10=3344 w2@12=3344" },
        { "lodsb", "r1@10" },
        { "scasd", "r4@10" },
        { "rep cmpsb", "r1@10" },
        { "fild", "r2@10" },
        { "movq", "r4@10 r4@14" },
        { "movd to", "w4@10=11223344" },
        { "last byte", "r1@fff" },
    };

    private static void Write(Assembler a, string what)
    {
        AssemblerMemoryOperand here32 = __dword_ptr[ebx + 0x10];
        AssemblerMemoryOperand here16 = __word_ptr[ebx + 0x10];
        AssemblerMemoryOperand here8 = __byte_ptr[ebx + 0x10];
        switch (what)
        {
            case "mov r32": a.mov(ecx, here32); break;
            case "mov r16": a.mov(cx, here16); break;
            case "mov r8": a.mov(cl, here8); break;
            case "mov to r32": a.mov(here32, eax); break;
            case "mov to r16": a.mov(here16, ax); break;
            case "mov to r8": a.mov(here8, al); break;
            case "mov imm32": a.mov(here32, 0x5566_7788); break;
            case "mov imm16": a.mov(here16, 0x5566); break;
            case "mov imm8": a.mov(here8, 0x55); break;
            case "moffs": a.mov(eax, __dword_ptr[Linear + 0x10]); break;
            case "moffs to": a.mov(__dword_ptr[Linear + 0x10], eax); break;
            case "movzx": a.movzx(ecx, here8); break;
            case "movsx": a.movsx(ecx, here16); break;
            case "add r,m": a.add(ecx, here32); break;
            case "cmp r,m": a.cmp(ecx, here32); break;
            case "cmp m8,imm": a.cmp(here8, 3); break;
            case "test m,imm": a.test(here32, 3); break;
            case "add m,r": a.add(here32, eax); break;
            case "and m8,imm": a.and(here8, 0xF4 - 0x100); break;
            case "lock or": a.@lock.or(here32, 0xB); break;
            case "inc": a.inc(here32); break;
            case "not16": a.not(here16); break;
            case "shl": a.shl(here32, 1); break;
            case "xchg": a.xchg(here32, eax); break;
            case "cmpxchg": a.@lock.cmpxchg(here32, ecx); break;
            case "xadd": a.@lock.xadd(here32, eax); break;
            case "bts": a.@lock.bts(here32, 0); break;
            case "push m": a.push(here32); break;
            case "pop m": a.pop(here32); break;
            case "call m": a.call(here32); break;
            case "cmov": a.cmove(ecx, here32); break;
            case "sete": a.sete(here8); break;
            case "imul": a.imul(ecx, here32); break;
            case "movs from": a.mov(esi, Linear + 0x10); a.mov(edi, SystemMachine.Data); a.movsd(); break;
            case "movs to": a.mov(edi, Linear + 0x10); a.movsd(); break;
            case "rep movsd from": a.mov(esi, Linear + 0x10); a.mov(edi, SystemMachine.Data); a.mov(ecx, 3); a.rep.movsd(); break;
            case "rep movsb to": a.mov(edi, Linear + 0x10); a.mov(ecx, 3); a.rep.movsb(); break;
            case "rep stosw": a.mov(edi, Linear + 0x10); a.mov(ecx, 2); a.rep.stosw(); break;
            case "lodsb": a.mov(esi, Linear + 0x10); a.lodsb(); break;
            case "scasd": a.mov(edi, Linear + 0x10); a.scasd(); break;
            case "rep cmpsb": a.mov(edi, Linear + 0x10); a.mov(ecx, 3); a.repe.cmpsb(); break;
            case "fild": a.fild(here16); break;
            case "movq": a.movq(mm0, __qword_ptr[ebx + 0x10]); break;
            case "movd to": a.movd(mm0, eax); a.movd(here32, mm0); break;
            case "last byte": a.mov(cl, __byte_ptr[ebx + 0xFFF]); break;
            default: throw new ArgumentException(what);
        }
    }

    [Theory]
    [MemberData(nameof(Accesses))]
    public void AnAccessReachesTheDeviceOnce(string what, string expected)
    {
        foreach (Engine engine in Enum.GetValues<Engine>())
        {
            using var m = new SystemMachine(engine, paging: true);
            var device = new Recorder();
            m.Memory.AttachDevice(Registers, 0x1000, device);
            m.Map(Linear, Registers, SystemMachine.All);
            m.Memory.Write(SystemMachine.Data, 0x1234_5678u);
            m.Memory.Write(ColdStack, 0x1234_5678u);
            m.State.Cr4 |= Cr4.OsFxsr;
            m.Processor.StateChanged();
            // A second time the program is known to the engine, and the stack's page is again not.
            for (int round = 0; round < 3; round++)
            {
                device.Log.Clear();
                device.Next = what == "call m" ? SystemMachine.Handlers + (16u * SystemMachine.Done) : 0x8182_8384;
                m.Space.FlushPage(ColdStack);
                m.Enter(0);
                m[Register32.Esp] = ColdStack;
                m[Register32.Ebx] = Linear;
                m[Register32.Eax] = 0x1122_3344;
                m[Register32.Ecx] = 1;
                m[Register32.Esi] = SystemMachine.Data;
                Assert.Equal(SystemMachine.Done, m.Run(a =>
                {
                    Write(a, what);
                    a.hlt();
                }));
                Assert.Equal((engine, round, expected), (engine, round, string.Join(' ', device.Log)));
            }
        }
    }

    [Fact]
    public void AFaultBeforeTheAccessIsNoAccess()
    {
        foreach (Engine engine in Enum.GetValues<Engine>())
        {
            using var m = new SystemMachine(engine, paging: true);
            var device = new Recorder();
            m.Memory.AttachDevice(Registers, 0x1000, device);
            m.Map(Linear, Registers, SystemMachine.Present);
            Assert.Equal(Vector.PageFault, m.Run(a => a.add(__dword_ptr[Linear + 0x10], eax)));
            Assert.Empty(device.Log);
        }
    }

    [Fact]
    public void AnAccessCanBeginInMemoryAndEndInADevice()
    {
        using var m = new SystemMachine(paging: true);
        var device = new Recorder();
        m.Memory.AttachDevice(Registers, 0x1000, device);
        m.Map(Linear, Registers, SystemMachine.All);
        m.Memory.Write(Linear - 2, (ushort)0x1234);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[Linear - 2]);
            a.mov(__dword_ptr[Linear - 2], 0x0A0B_0C0D);
            a.hlt();
        }));
        Assert.Equal("r2@0 w2@0=a0b", string.Join(' ', device.Log));
        Assert.Equal((0x8384_1234u, (ushort)0x0C0D), (m[Register32.Eax], m.Memory.Read<ushort>(Linear - 2)));
    }

    [Fact]
    public void ARomTakesNoWritesAndRunsCode()
    {
        foreach (Engine engine in Enum.GetValues<Engine>())
        {
            using var m = new SystemMachine(engine);
            const uint rom = 0xF_0000;
            byte[] image = new byte[0x1_0000];
            Oracles.TestMachine.Assemble(a =>
            {
                a.mov(__dword_ptr[rom + 0x100], eax);
                a.add(__byte_ptr[rom + 0x104], 1);
                a.mov(edi, 0xFFFF_0100);
                a.mov(ecx, 8);
                a.rep.stosd();
                a.mov(ebx, __dword_ptr[rom + 0x100]);
                a.mov(edx, __dword_ptr[0xFFFF_0104]);
                a.hlt();
            }, rom).CopyTo(image, 0);
            image[0x100] = 0x77;
            image[0x104] = 0x78;
            m.Memory.PlaceRom(rom, image);
            m.Memory.PlaceRom(0xFFFF_0000, image);
            for (int round = 0; round < 3; round++)
            {
                Assert.Equal(SystemMachine.Done, m.RunAt(rom));
                Assert.Equal((0x77u, 0x78u), (m[Register32.Ebx], m[Register32.Edx]));
            }
        }
    }

    [Theory]
    [InlineData(0x1234u, 0x1000)]
    [InlineData(0x1000u, 0x1001)]
    [InlineData(0x1000u, 0)]
    [InlineData(0xFFFF_F000u, 0x2000)]
    public void ARomIsWholeFrames(uint address, int length)
    {
        using var memory = new MachineMemory(16, 1);
        Assert.Throws<ArgumentException>(() => memory.PlaceRom(address, new byte[length]));
    }
}
