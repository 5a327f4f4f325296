#!/usr/bin/env node
// v86 as a machine of `bench peers`: a PC whose serial line is this process's standard input and output.
//
//	v86.mjs --version
//	v86.mjs MEGABYTES KERNEL INITRD COMMAND-LINE
//
// The folder that guest/benchmark/v86 makes has all that it needs besides.
import { readFileSync } from "node:fs";
import { V86 } from "v86";

const here = import.meta.dirname;
const file = path => ({ buffer: new Uint8Array(readFileSync(path)).buffer });

if (process.argv[2] === "--version") {
	const { version } = JSON.parse(readFileSync(`${here}/node_modules/v86/package.json`));
	console.log(`v86 ${version}, Node.js ${process.version}`);
	process.exit();
}
const [megabytes, kernel, initrd, cmdline] = process.argv.slice(2);
const machine = new V86({
	wasm_path: `${here}/node_modules/v86/build/v86.wasm`,
	memory_size: megabytes << 20,
	bios: file(`${here}/bios.bin`),
	vga_bios: file(`${here}/vgabios-stdvga.bin`),
	bzimage: file(kernel),
	initrd: file(initrd),
	cmdline,
	autostart: true,
	disable_keyboard: true,
	disable_mouse: true,
	disable_speaker: true,
});
machine.add_listener("serial0-output-byte", byte => process.stdout.write(Uint8Array.of(byte)));
process.stdin.on("data", bytes => bytes.forEach(byte => machine.bus.send("serial0-input", byte)));
