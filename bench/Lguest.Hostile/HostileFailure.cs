namespace Lguest.Hostile;

/// <summary>The Host or its Launcher has failed: what a hostile Guest must never bring about.</summary>
internal sealed class HostileFailure(string message, Exception? cause = null) : Exception(message, cause);
