/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mini-host's way in and out.
 *
 * A multiboot loader puts us at 4 MiB and starts us there without paging. We
 * turn paging on so that we also appear at HOST, which every shadow directory
 * maps as well, and from there on trap() in host.c is entered for each trap of
 * the Guest, with its registers on our stack.
 */
#define HOST	0xffc00000		/* our address, also with a shadow loaded */
#define LOAD	0x00400000		/* where we really are */
#define PA(x)	((x) - HOST + LOAD)

	.section .head, "ax"
	.align	4
	.long	0x1badb002, 3, -(0x1badb002 + 3)	/* pages aligned, memory map */

	.globl	phys_start
	.set	phys_start, PA(start)
start:	cld
	movl	$PA(host_dir), %edi
	movl	$0x83, %eax			/* present, writable, 4 MiB */
1:	stosl					/* all memory at its own address */
	addl	$0x400000, %eax
	cmpl	$PA(host_dir + 1023*4), %edi
	jne	1b
	movl	$(LOAD + 0x83), (%edi)		/* and us at HOST */

	movl	$0x610, %eax			/* PSE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	$PA(host_dir), %eax
	movl	%eax, %cr3
	movl	$0x80010033, %eax		/* PG, WP, NE, ET, MP, PE */
	movl	%eax, %cr0
	movl	$high, %eax
	jmp	*%eax

	.text
high:	movl	$stack_top, %esp
	pushl	%ebx
	call	host_main			/* does not return */

/* Load the Guest's registers from the stack. */
	.globl	enter_guest
enter_guest:
	movl	shadow_cr3, %eax
	movl	%eax, %cr3
	movl	$regs, %esp
	.globl	load_segments, load_segments_end
load_segments:
	popal
	popl	%ds
	popl	%es
	popl	%fs
	popl	%gs
	addl	$8, %esp
	iret
load_segments_end:

trap_common:
	pushl	%gs
	pushl	%fs
	pushl	%es
	pushl	%ds
	pushal
	movl	$0x58, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	$PA(host_dir), %eax
	movl	%eax, %cr3
	cld
	testb	$3, 60(%esp)			/* cs: us or the Guest? */
	jz	1f
	movl	$stack_top, %esp		/* regs is full, leave it alone */
	call	guest_trap
	jmp	enter_guest
1:	pushl	%esp
	call	host_trap
	addl	$4, %esp
	popal
	addl	$24, %esp
	iret

	.globl	stubs
	.align	16
stubs:	.set	n, 0
	.rept	256
	.align	16
	.if	!(n == 8 || (n >= 10 && n <= 14) || n == 17)
	pushl	$0
	.endif
	pushl	$n
	jmp	trap_common
	.set	n, n + 1
	.endr

	.bss
	.align	4096
	.globl	host_dir
host_dir: .skip	4096
	.globl	regs, regs_end
	.align	16
regs:	.skip	76				/* struct regs; esp0 is its end */
regs_end:
	.skip	16384
stack_top:
