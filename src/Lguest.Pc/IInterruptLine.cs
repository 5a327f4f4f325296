// How a device asks for attention: by the level of a wire. What the wire's level or its edges mean is the interrupt controller's business.

namespace Lguest.Pc;

/// <summary>One input of an interrupt controller: an ISA IRQ or a PCI INTx pin.</summary>
public interface IInterruptLine
{
    /// <summary>Sets the wire's level. May be called from any thread; the same level again changes nothing.</summary>
    /// <param name="level">True when the device asks for attention.</param>
    void Set(bool level);
}
