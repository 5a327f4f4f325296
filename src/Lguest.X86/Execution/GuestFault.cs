namespace Lguest.X86.Execution;

/// <summary>Carries the processor out of an instruction that cannot complete. Vector and error code wait in the processor.</summary>
/// <remarks>
/// Only the reference path throws; the fast paths of the interpreter branch. One instance serves a processor for life: the throw then
/// costs about two microseconds, a small part of what any operating system does with the fault.
/// </remarks>
internal sealed class GuestFault : Exception;
