// Prints what the interpreter is worth: millions of Guest instructions a second on three fixed loops.

using Lguest.Bench;

LoopBenchmarks.Run();
return 0;
