// RDMSR and WRMSR. A register that CPUID does not promise raises #GP, which is how kernels find out; a few exist on every processor of
// this generation, and kernels touch those without asking.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class ModelSpecificRegisters
{
    private const uint TimeStampCounter = 0x10;
    private const uint PlatformId = 0x17;
    private const uint TimeStampAdjust = 0x3B;
    private const uint UpdateSignature = 0x8B;
    private const uint SysenterCs = 0x174;
    private const uint SysenterEsp = 0x175;
    private const uint SysenterEip = 0x176;
    private const uint MiscEnable = 0x1A0;
    private const uint ExtendedFeatures = 0xC000_0080;

    // Branch traces and event samples are not there (their bits say "unavailable"); fast strings can be switched, which nobody notices.
    private const uint FastStrings = 0x1;
    private const uint AlwaysSet = 0x1800;
    private const uint WritableMiscEnable = FastStrings | LimitCpuid;
    private const uint LimitCpuid = 0x40_0000;

    /// <summary>IA32_MISC_ENABLE after reset.</summary>
    public const uint InitialMiscEnable = FastStrings | AlwaysSet;

    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Rdmsr, Read);
        table.Add(Mnemonic.Wrmsr, Write);
    }

    private static void Read(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        ulong value = cpu.State.General[(int)Register32.Ecx] switch
        {
            TimeStampCounter => cpu.TimeStampCounter,
            TimeStampAdjust when cpu.OwnsRing0 => cpu.TimeStampAdjust,
            SysenterCs => cpu.State.SysenterCs,
            SysenterEsp => cpu.State.SysenterEsp,
            SysenterEip => cpu.State.SysenterEip,
            PlatformId or UpdateSignature => 0,
            MiscEnable => cpu.State.MiscEnable,
            ExtendedFeatures when cpu.OwnsRing0 => cpu.State.Efer,
            _ => throw cpu.Fault(Vector.GeneralProtection),
        };
        SystemInstructions.SetEdxEax(cpu, value);
    }

    private static void Write(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        ref CpuState state = ref cpu.State;
        uint low = state.General[(int)Register32.Eax];
        uint high = state.General[(int)Register32.Edx];
        switch (state.General[(int)Register32.Ecx])
        {
            case TimeStampCounter: cpu.TimeStampCounter = low | ((ulong)high << 32); break;
            case TimeStampAdjust when cpu.OwnsRing0: cpu.TimeStampAdjust = low | ((ulong)high << 32); break;
            case SysenterCs: state.SysenterCs = low; break;
            case SysenterEsp: state.SysenterEsp = low; break;
            case SysenterEip: state.SysenterEip = low; break;
            case UpdateSignature: break;
            case MiscEnable: state.MiscEnable = (low & WritableMiscEnable) | AlwaysSet; break;
            case ExtendedFeatures when cpu.OwnsRing0 && high == 0 && (low & ~Efer.NoExecuteEnable) == 0: cpu.SetEfer(low); break;
            default: throw cpu.Fault(Vector.GeneralProtection);
        }
    }
}
