// An instruction that faults has not happened: whatever it would have changed first is as it was.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Integer;

public sealed class PreciseFaultTests : IDisposable
{
    private const uint Region = PagedMachine.Region;
    private const uint NotPresent = 0;
    private const uint Write = 2;
    private const uint Protection = 1;

    private readonly PagedMachine paged = new();

    public void Dispose() => paged.Dispose();

    public static TheoryData<string, byte[]> ReadModifyWrite
    {
        get
        {
            var data = new TheoryData<string, byte[]>();
            Add("add", a => a.add(__dword_ptr[ebx], eax));
            Add("adc", a => a.adc(__dword_ptr[ebx], eax));
            Add("sub", a => a.sub(__dword_ptr[ebx], eax));
            Add("sbb", a => a.sbb(__dword_ptr[ebx], eax));
            Add("and", a => a.and(__dword_ptr[ebx], 1));
            Add("or", a => a.or(__word_ptr[ebx], 1));
            Add("xor", a => a.xor(__byte_ptr[ebx], 1));
            Add("inc", a => a.inc(__dword_ptr[ebx]));
            Add("dec", a => a.dec(__dword_ptr[ebx]));
            Add("neg", a => a.neg(__dword_ptr[ebx]));
            Add("not", a => a.not(__dword_ptr[ebx]));
            Add("mov", a => a.mov(__dword_ptr[ebx], eax));
            Add("xchg", a => a.xchg(__dword_ptr[ebx], eax));
            Add("xadd", a => a.xadd(__dword_ptr[ebx], eax));
            Add("cmpxchg", a => a.cmpxchg(__dword_ptr[ebx], ecx));
            Add("cmpxchg8b", a => a.cmpxchg8b(__qword_ptr[ebx]));
            Add("bts", a => a.bts(__dword_ptr[ebx], 3));
            Add("btr", a => a.btr(__dword_ptr[ebx], 3));
            Add("btc", a => a.btc(__dword_ptr[ebx], 3));
            Add("shl", a => a.shl(__dword_ptr[ebx], 3));
            Add("sar", a => a.sar(__dword_ptr[ebx], 3));
            Add("shr", a => a.shr(__dword_ptr[ebx], 3));
            Add("rol", a => a.rol(__dword_ptr[ebx], 3));
            Add("ror", a => a.ror(__dword_ptr[ebx], 3));
            Add("rcl", a => a.rcl(__dword_ptr[ebx], 3));
            Add("rcr", a => a.rcr(__dword_ptr[ebx], 3));
            Add("shld", a => a.shld(__dword_ptr[ebx], eax, 3));
            Add("shrd", a => a.shrd(__dword_ptr[ebx], eax, 3));
            Add("setb", a => a.setb(__byte_ptr[ebx]));
            Add("pop", a => a.pop(__dword_ptr[ebx]));
            return data;

            void Add(string name, Action<Assembler> write) => data.Add(name, TestMachine.Assemble(write));
        }
    }

    [Theory]
    [MemberData(nameof(ReadModifyWrite))]
    public void WritersFaultOnReadOnlyPages(string name, byte[] code)
    {
        Assert.NotEmpty(name);
        paged.FillRegisters(Region + 0x2000);
        paged.Map(1, 5);
        paged[Register32.Ebx] = Region + 0x1100;
        paged.MustFault(code, Region + 0x1100, Protection | Write);
    }

    [Fact]
    public void AWriteAcrossPagesIsAllOrNothing()
    {
        paged.FillRegisters(Region + 0x2000);
        paged.Map(1, 0);
        paged[Register32.Ebx] = Region + 0xFFE;
        paged.MustFault(TestMachine.Assemble(a => a.mov(__dword_ptr[ebx], eax)), Region + 0x1000, NotPresent | Write);
        paged.MustFault(TestMachine.Assemble(a => a.add(__dword_ptr[ebx], eax)), Region + 0x1000, NotPresent | Write);
    }

    [Fact]
    public void AConditionalMoveReadsInAnyCase()
    {
        paged.FillRegisters(Region + 0x2000);
        paged.Map(1, 0);
        paged[Register32.Ebx] = Region + 0x1000;
        paged.MustFault(TestMachine.Assemble(a => a.cmovo(eax, __dword_ptr[ebx])), Region + 0x1000, NotPresent);
    }

    [Fact]
    public void PushesThatDoNotFitLeaveTheStackAlone()
    {
        paged.Map(0, 0);
        paged.FillRegisters(Region + 0x1000);
        paged.MustFault(TestMachine.Assemble(a => a.push(eax)), Region + 0xFFC, NotPresent | Write);
        paged.MustFault(TestMachine.Assemble(a => a.pushfd()), Region + 0xFFC, NotPresent | Write);
        paged.MustFault(TestMachine.Assemble(a => a.call(TestMachine.CodeAddress + 0x100)), Region + 0xFFC, NotPresent | Write);
        paged.FillRegisters(Region + 0x1010);
        paged.MustFault(TestMachine.Assemble(a => a.pushad()), Region + 0xFFC, NotPresent | Write);
        paged[Register32.Ebp] = Region + 0x1800;
        paged.MustFault(TestMachine.Assemble(a => a.enter(0, 8)), Region + 0xFFC, NotPresent | Write);
        // The frame that ENTER reserves need not be written, but must be writable where it ends.
        paged.MustFault(TestMachine.Assemble(a => a.enter(0x20, 0)), Region + 0xFEC, NotPresent | Write);
    }

    [Fact]
    public void PopsThatFaultLeaveTheStackAlone()
    {
        paged.Map(1, 0);
        paged.FillRegisters(Region + 0x1000);
        paged.MustFault(TestMachine.Assemble(a => a.pop(eax)), Region + 0x1000, NotPresent);
        paged.MustFault(TestMachine.Assemble(a => a.popfd()), Region + 0x1000, NotPresent);
        paged.MustFault(TestMachine.Assemble(a => a.ret()), Region + 0x1000, NotPresent);
        paged[Register32.Esp] = Region + 0xFF0;
        paged.MustFault(TestMachine.Assemble(a => a.popad()), Region + 0x1000, NotPresent);
        paged[Register32.Ebp] = Region + 0x1000;
        paged.MustFault(TestMachine.Assemble(a => a.leave()), Region + 0x1000, NotPresent);
        // The address counts from the stack pointer as POP leaves it.
        paged[Register32.Esp] = Region + 0xFF8;
        paged.MustFault(TestMachine.Assemble(a => a.pop(__dword_ptr[esp + 4])), Region + 0x1000, NotPresent | Write);
    }

    [Fact]
    public void DivisionByZeroChangesNothing()
    {
        paged.FillRegisters(Region + 0x1000);
        paged[Register32.Ecx] = 0;
        foreach (Action<Assembler> write in (Action<Assembler>[])[a => a.div(ecx), a => a.idiv(ecx), a => a.div(cl), a => a.aam(0)])
        {
            paged.Machine.Load(write);
            Assert.False(paged.Machine.Step());
            Assert.Equal(Vector.DivideError, paged.Machine.FaultVector);
            Assert.Equal(0x1111_1111u, paged[Register32.Eax]);
            Assert.Equal(0x3333_3333u, paged[Register32.Edx]);
        }
    }

    [Theory]
    [InlineData("F0 01 C8")]
    [InlineData("8D C0")]
    [InlineData("F0 8B 03")]
    [InlineData("0F 0B")]
    [InlineData("F3 0F B8 C1")]
    public void WhatDoesNotExistIsInvalid(string code)
    {
        paged.Machine.Load(Convert.FromHexString(code.Replace(" ", "", StringComparison.Ordinal)));
        Assert.False(paged.Machine.Step());
        Assert.Equal(Vector.InvalidOpcode, paged.Machine.FaultVector);
    }
}
