// SPDX-License-Identifier: GPL-2.0
/*
 * The mini-host: one lguest Guest on a bare PC.
 *
 * This is no Host to use. It is an oracle: written from the ABI alone, small
 * enough to read, on a CPU that is not ours (QEMU's). What a Guest kernel does
 * here, it must do under the real Host too. And it is strict: a Guest that
 * forgets to announce a change of its page tables meets the stale entry (and
 * with @check=N the mini-host looks for such entries itself), and one that does
 * what the ABI forbids dies with the ABI's words.
 *
 * Numbers in brackets are sections of the ABI. Memory: the mini-host at 4 MiB,
 * its modules (kernel, initramfs) behind it, the Guest's memory at GUEST, our
 * shadow tables behind that. While the Guest runs we exist for it at 0xffc00000
 * only; in a trap, with host_dir loaded, all memory is at its own address.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define NULL ((void *)0)

#define GUEST	0x03000000u		/* physical address of Guest page 0 */
#define PO	0xc0000000u
#define PAGE	4096u
#define P	0x001u
#define RW	0x002u
#define US	0x004u
#define A	0x020u
#define D	0x040u
#define G	0x100u

struct regs {
	u32 edi, esi, ebp, unused, ebx, edx, ecx, eax;
	u32 ds, es, fs, gs, trap, errcode, eip, cs, eflags, esp, ss;
};
extern struct regs regs;
extern u32 host_dir[1024];
extern char stubs[], regs_end[], load_segments[], load_segments_end[];
void enter_guest(void) __attribute__((noreturn));

static u32 mem, limit;			/* bytes of RAM; first byte out of reach */
static u32 data;			/* GPA of lguest_data [4] */
static u32 noirq_start, noirq_end, ring_pos;
static u32 pending, halted, ts;
static u32 esp1, ss1, stack_pages;
static u64 deadline;			/* of the timer, in TSC ticks; 0: none */
static u64 tsc_start;
static u32 tsc_khz, tsc_shown;
static u32 check_every;
static u32 idt[65][2];			/* the Guest's gates; [64] is 0x80 */
static u32 real_idt[256][2], gdt[32][2];
static struct { u32 esp0_at[26]; } tss;
u32 shadow_cr3;

static u32 counts[2][17], traps[256], reflected[256], injected[32], checks;

/* ------------------------------------------------------------------ the PC */
static inline void out8(u16 port, u8 v) { asm volatile("outb %0,%1" : : "a"(v), "Nd"(port)); }
static inline u8 in8(u16 port) { u8 v; asm volatile("inb %1,%0" : "=a"(v) : "Nd"(port)); return v; }
static inline u64 rdtsc(void) { u64 v; asm volatile("rdtsc" : "=A"(v)); return v; }
static inline u32 cr2(void) { u32 v; asm volatile("mov %%cr2,%0" : "=r"(v)); return v; }

void *memset(void *d, int c, u32 n) { u8 *p = d; while (n--) *p++ = c; return d; }
void *memcpy(void *d, const void *s, u32 n)
{
	void *r = d;
	asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	return r;
}

static u64 div64(u64 a, u32 b)
{
	u32 high = (u32)(a >> 32) / b, low, r = (u32)(a >> 32) % b;
	asm("divl %4" : "=a"(low), "=d"(r) : "0"((u32)a), "1"(r), "r"(b));
	return (u64)high << 32 | low;
}

/* Our own words go to port 0xe9. */
static void put(char c) { out8(0xe9, c); }
static void puts(const char *s) { while (*s) put(*s++); }
static void putn(u32 v, u32 base)
{
	char buf[12], *p = buf + 11;
	*p = 0;
	do
		*--p = "0123456789abcdef"[v % base];
	while (v /= base);
	puts(p);
}
static void printf(const char *f, ...)
{
	u32 *arg = (u32 *)&f + 1;
	for (; *f; f++)
		if (*f != '%')
			put(*f);
		else if (*++f == 's')
			puts((char *)*arg++);
		else if (*f == 'x')
			puts("0x"), putn(*arg++, 16);
		else
			putn(*arg++, 10);
}

static const char *const names[17] = {
	"FLUSH_ASYNC", "LGUEST_INIT", "CRASH", "LOAD_GDT", "NEW_PGTABLE", "FLUSH_TLB",
	"LOAD_IDT_ENTRY", "SET_STACK", "TS", "SET_CLOCKEVENT", "HALT", "", "BIND_DMA",
	"SEND_DMA", "SET_PTE", "SET_PMD", "LOAD_TLS" };

static void __attribute__((noreturn)) end(u8 code)
{
	u64 t = rdtsc() - tsc_start;
	u32 i;

	printf("ran %u ms\nhypercalls (direct + from the ring):\n", (u32)div64(t, tsc_khz));
	for (i = 0; i < 17; i++)
		if (counts[0][i] + counts[1][i])
			printf("  %u %s %u + %u\n", i, names[i], counts[0][i], counts[1][i]);
	printf("traps (of which reflected):\n");
	for (i = 0; i < 256; i++)
		if (traps[i])
			printf("  %u: %u (%u)\n", i, traps[i], reflected[i]);
	for (i = 0; i < 32; i++)
		if (injected[i])
			printf("  irq %u: %u\n", i, injected[i]);
	if (checks)
		printf("shadow checks: %u\n", checks);
	out8(0xf4, code);
	for (;;)
		asm volatile("cli; hlt");
}

/* [12] */
#define kill(...) do { printf("lguest: "); printf(__VA_ARGS__); \
	printf("\n  eip %x cs %x eflags %x esp %x trap %u errcode %x cr3 %x\n", \
	       regs.eip, regs.cs, regs.eflags, regs.esp, regs.trap, regs.errcode, cr3); \
	end(1); } while (0)
static u32 cr3;				/* the Guest's directory */

/* ------------------------------------------------------- Guest memory [1.3] */
static void *gp(u32 addr, u32 len)
{
	if ((addr + len) / PAGE >= limit / PAGE || addr + len < addr)
		kill("bad address %x len %u", addr, len);
	return (void *)(GUEST + addr);
}
static u32 get(u32 addr) { return *(volatile u32 *)gp(addr, 4); }
static void set(u32 addr, u32 v) { *(volatile u32 *)gp(addr, 4) = v; }

/* ---------------------------------------------------- shadow page tables [9] */
static struct { u32 cr3; u32 *dir; } slots[4];
static u32 cur, seed = 1, free_list, arena;

static u32 *new_page(void)
{
	u32 *p = (u32 *)free_list;
	if (p)
		free_list = *p;
	else {
		p = (u32 *)arena;
		arena += PAGE;
	}
	return memset(p, 0, PAGE);
}

static u32 *new_dir(void)
{
	u32 *dir = new_page();
	dir[1023] = host_dir[1023];
	return dir;
}

static void drop_pde(u32 *dir, u32 i)
{
	if (!(dir[i] & P))
		return;
	*(u32 *)(dir[i] & -PAGE) = free_list;
	free_list = dir[i] & -PAGE;
	dir[i] = 0;
}

static void drop(u32 *dir, u32 from, u32 to)
{
	if (dir)
		for (; from < to; from++)
			drop_pde(dir, from);
}

static void check_pte(u32 pte)		/* [9.2] */
{
	if (pte & 0x88 || pte / PAGE >= limit / PAGE)
		kill("bad page table entry %x", pte);
}

static u32 shadow_of(u32 pte, int writable)
{
	return ((pte & ~G & (writable ? ~0u : ~RW)) | P) + GUEST;
}

static int demand_page(u32 va, u32 err)	/* [9.4] */
{
	u32 *dir = slots[cur].dir, gpde = get(cr3 + (va >> 22) * 4), gpte, at;

	if (!(gpde & P))
		return 0;
	if (va >> 22 == 1023)
		kill("attempt to access switcher pages");
	if (!(dir[va >> 22] & P)) {
		if (gpde & 0xfff & ~0x067 || gpde / PAGE >= limit / PAGE)
			kill("bad page directory entry %x", gpde);
		dir[va >> 22] = (u32)new_page() | (gpde & 0xfff);
	}
	at = (gpde & -PAGE) + (va >> 12 & 1023) * 4;
	gpte = get(at);
	if (!(gpte & P) || (err & 2 && !(gpte & RW)) || (err & 4 && !(gpte & US)))
		return 0;
	check_pte(gpte);
	gpte |= A | (err & 2 ? D : 0);
	((u32 *)(dir[va >> 22] & -PAGE))[va >> 12 & 1023] = shadow_of(gpte, gpte & D);
	set(at, gpte);
	return 1;
}

static void pin_stack(void)		/* [9.8] */
{
	u32 i, va, *dir = slots[cur].dir;

	for (i = 0; i < stack_pages; i++) {
		va = esp1 - 1 - i * PAGE;
		if (dir[va >> 22] & P) {
			u32 pte = ((u32 *)(dir[va >> 22] & -PAGE))[va >> 12 & 1023];
			if ((pte & (P | RW)) == (P | RW))
				continue;
		}
		if (!demand_page(va, 2))
			kill("bad stack page %x", va);
	}
}

static void set_pte(u32 *dir, u32 va, u32 pte)	/* [9.5], without its quirks */
{
	u32 *at;

	if (!dir || !(dir[va >> 22] & P))
		return;
	if (va >> 22 >= 1023)
		kill("attempt to access switcher pages");
	at = &((u32 *)(dir[va >> 22] & -PAGE))[va >> 12 & 1023];
	*at = 0;
	if (pte & P && pte & (A | D)) {
		check_pte(pte);
		*at = shadow_of(pte, pte & D);
	}
}

static void flush_all(void)
{
	u32 i;

	for (i = 0; i < 4; i++)
		drop(slots[i].dir, 0, 1023);
	pin_stack();
}

static void new_pgtable(u32 new)	/* [9.6] */
{
	u32 i, blank = 0;

	if (!new)
		kill("NEW_PGTABLE of 0");
	cr3 = new;
	for (i = 0; i < 4 && slots[i].cr3 != new; i++)
		;
	if (i == 4) {
		seed = seed * 1103515245 + 12345;
		i = seed >> 16 & 3;
		if (!slots[i].dir) {
			slots[i].dir = new_dir();
			blank = 1;
		}
		slots[i].cr3 = new;
		drop(slots[i].dir, 0, PO >> 22);
	}
	cur = i;
	if (blank)
		pin_stack();
}

/* What user mode is about to see must be what the Guest's tables say. */
static void check_shadow(void)
{
	u32 i, j, *dir = slots[cur].dir;

	for (i = 0; i < PO >> 22; i++) {
		u32 gpde = get(cr3 + i * 4);
		if (!(dir[i] & P))
			continue;
		for (j = 0; j < 1024; j++) {
			u32 pte = ((u32 *)(dir[i] & -PAGE))[j], gpte = 0;
			if (!(pte & P))
				continue;
			if (gpde & P)
				gpte = get((gpde & -PAGE) + j * 4);
			if (!(gpte & P) || pte / PAGE != (gpte + GUEST) / PAGE ||
			    pte & ~gpte & (RW | US))
				kill("STALE shadow at %x: %x, the Guest has %x (pde %x)",
				     i << 22 | j << 12, pte, gpte, gpde);
		}
	}
	checks++;
}

/* ------------------------------------------- segments [8] and gates [7.3-7.4] */
static void fix_gdt(void)
{
	u32 i, base = (u32)&tss;

	for (i = 1; i < 32; i++) {
		if (!(gdt[i][1] & 0x6000))
			gdt[i][1] |= 0x2000;
		gdt[i][1] |= 0x100;
	}
	gdt[10][0] = 0xffff, gdt[10][1] = 0x00cf9b00;
	gdt[11][0] = 0xffff, gdt[11][1] = 0x00cf9300;
	gdt[16][0] = 0x67 | base << 16;
	gdt[16][1] = 0x8b00 | (base & 0xff000000) | (base >> 16 & 0xff);
}

static void default_gate(u32 n)
{
	u32 stub = (u32)stubs + 16 * n;

	real_idt[n][0] = 0x00500000 | (stub & 0xffff);
	real_idt[n][1] = (stub & 0xffff0000) | (n == 31 ? 0xae00 : 0x8e00);
}

static void load_gate(u32 n, u32 low, u32 high)
{
	u32 *gate = n == 0x80 ? idt[64] : idt[n], type = high >> 8 & 15;

	if (n == 2 || n == 8 || n == 15 || n == 31 || (n >= 64 && n != 0x80))
		return;
	gate[0] = gate[1] = 0;
	default_gate(n);
	if (!(high & 0x8000))
		return;
	if (type != 14 && type != 15)
		kill("bad IDT type %u", type);
	gate[0] = 0x00610000 | (low & 0xffff);
	gate[1] = high & 0xffffef00;
	if (type == 15 && (n < 32 || n == 0x80) && n != 7 && n != 13 && n != 14) {
		real_idt[n][0] = gate[0];
		real_idt[n][1] = gate[1];
	}
}

/* ----------------------------------------------- interrupts and traps [6, 7] */
static void push(u32 *stack, u32 v)
{
	*stack -= 4;
	set(*stack, v);
}

static void build_frame(u32 *gate, int has_err)	/* [6.4] */
{
	u32 stack, flags = regs.eflags;

	if ((regs.ss & 3) != 1) {
		stack = esp1 - PO;
		push(&stack, regs.ss);
		push(&stack, regs.esp);
		regs.ss = ss1;
	} else
		stack = regs.esp - PO;
	if (!(get(data) & 0x200))
		flags &= ~0x200;
	push(&stack, flags);
	push(&stack, regs.cs);
	push(&stack, regs.eip);
	if (has_err)
		push(&stack, regs.errcode);
	regs.esp = stack + PO;
	regs.cs = 0x61;
	regs.eip = (gate[0] & 0xffff) | (gate[1] & 0xffff0000);
	regs.eflags &= ~0x14100;	/* TF, NT, RF: as a CPU does */
	if ((gate[1] >> 8 & 15) == 14)
		set(data, 0);
}

static void reflect(u32 n)
{
	if (n >= 64 || !(idt[n][1] & 0x8000))
		kill("unhandled trap %u at %x (%x)", n, regs.eip, n == 14 ? cr2() : regs.errcode);
	reflected[n]++;
	build_frame(idt[n], n == 8 || (n >= 10 && n <= 14) || n == 17);
}

static void write_time(void)
{
	u64 t = rdtsc() - tsc_start;
	u32 sec = div64(t, tsc_khz * 1000), ms;

	ms = div64(t - (u64)sec * (tsc_khz * 1000), tsc_khz);
	set(data + 12, 1000000000 + sec);
	set(data + 16, ms * 1000000);
}

static void inject(void)		/* [6.3] */
{
	u32 n, *gate, can = data ? pending & ~get(data + 4) : 0;

	if (!can || (regs.eip >= noirq_start && regs.eip < noirq_end))
		return;
	n = __builtin_ctz(can);
	if (halted) {
		set(data, 0x200);
		halted = 0;
	} else if (!(get(data) & 0x200))
		return;
	gate = idt[32 + n];
	if (gate[1] & 0x8000) {
		pending &= ~(1u << n);
		injected[n]++;
		build_frame(gate, 0);
	}
	write_time();
}

static int emulate_io(void)		/* [7.6] */
{
	u8 *insn, len = 0, prefix = 0;

	if (regs.eip < PO)
		return 0;
	insn = gp(regs.eip - PO, 3);
	if (*insn == 0x66)
		prefix = len = 1;
	switch (insn[len] & ~1) {
	case 0xe4: case 0xe6: len += 2; break;
	case 0xec: case 0xee: len += 1; break;
	default: return 0;
	}
	if (!(insn[prefix] & 2)) {
		if (insn[prefix] & 1)
			regs.eax = ~0u;
		else
			regs.eax |= 0xff;
	}
	regs.eip += len;
	return 1;
}

/* --------------------------------------------------- console [10.9] and clock */
static struct { u32 array, count, irq; } bound;
static u8 input[4096];
static u32 in_head, in_tail;

static void poll_devices(void)
{
	while (in8(0x3fd) & 1 && in_head - in_tail < sizeof(input))
		input[in_head++ % sizeof(input)] = in8(0x3f8);

	if (bound.irq && in_head != in_tail && !get(bound.array)) {
		u8 *buf = gp(get(bound.array + 4), *(u16 *)gp(bound.array + 0x44, 2));
		u32 n = 0, len = *(u16 *)gp(bound.array + 0x44, 2);
		while (n < len && in_head != in_tail)
			buf[n++] = input[in_tail++ % sizeof(input)];
		set(bound.array, n);
		pending |= 1u << bound.irq;
	}
	if (deadline && rdtsc() >= deadline) {
		deadline = 0;
		pending |= 1;
	}
}

static void send_dma(u32 key, u32 dma)
{
	u32 i, n, total = 0;

	if (key)
		kill("bad sending DMA key");
	for (i = 0; i < 16 && (n = *(u16 *)gp(dma + 0x44 + 2 * i, 2)); i++) {
		const char *p = gp(get(dma + 4 + 4 * i), n);
		for (total += n; n--; p++) {
			while (!(in8(0x3fd) & 0x20))
				;
			out8(0x3f8, *p);
		}
	}
	set(dma, total);
}

/* ------------------------------------------------------------ hypercalls [5] */
static u32 hypercall(u32 call, u32 edx, u32 ebx, u32 ecx, int ring)
{
	if (!data && call != 1)
		kill("hypercall %u before LGUEST_INIT", call);
	if (call < 17)
		counts[ring][call]++;
	switch (call) {
	case 0:
		break;
	case 1:
		if (data)
			kill("already have lguest_data");
		gp(edx, 1128);
		data = edx;
		noirq_start = get(edx + 0x460);
		noirq_end = get(edx + 0x464);
		set(edx + 0x454, 0x400000);
		set(edx + 0x45c, tsc_shown);
		*(u16 *)gp(edx + 0x458, 2) = 0;
		write_time();
		flush_all();
		break;
	case 2:
		((char *)gp(edx, 128))[127] = 0;
		printf("lguest: CRASH: %s\n", (u32)gp(edx, 128));
		end(((char *)gp(edx, 128))[1] == 'o' ? 0 : 2);	/* "Power down" */
	case 3:
		if (ebx > 32)
			kill("too many gdt entries %u", ebx);
		memcpy(gdt, gp(edx, ebx * 8), ebx * 8);
		fix_gdt();
		break;
	case 4:
		new_pgtable(edx);
		break;
	case 5:
		if (edx)
			flush_all();
		else
			drop(slots[cur].dir, 0, PO >> 22);
		break;
	case 6:
		load_gate(edx, ebx, ecx);
		break;
	case 7:
		if ((edx & 3) != 1)
			kill("bad stack segment %u", edx);
		if (ecx > 2)
			kill("bad stack pages %u", ecx);
		ss1 = edx & 0xff;
		esp1 = ebx;
		stack_pages = ecx;
		pin_stack();
		break;
	case 8:
		ts = edx;
		break;
	case 9:
		deadline = edx ? rdtsc() + div64((u64)edx * tsc_khz, 1000000) : 0;
		break;
	case 10:
		halted = 1;
		break;
	case 12:
		if (edx)
			kill("bad dma key %x", edx);
		if ((ecx & 0xff) >= 32)
			return 0;
		bound.array = ebx;
		bound.count = ecx >> 8;
		bound.irq = ecx & 0xff;
		return 1;
	case 13:
		send_dma(edx, ebx);
		break;
	case 14:
		if (ebx >= PO) {
			u32 i;
			for (i = 0; i < 4; i++)
				set_pte(slots[i].dir, ebx, ecx);
		} else {
			u32 i;
			for (i = 0; i < 4; i++)
				if (slots[i].cr3 == edx)
					set_pte(slots[i].dir, ebx, ecx);
		}
		break;
	case 15: {
		u32 i;
		for (i = 0; i < 4 && ebx < 1023; i++)
			if (slots[i].cr3 == edx && slots[i].dir)
				drop_pde(slots[i].dir, ebx);
		break;
	}
	case 16:
		memcpy(gdt[6], gp(edx, 24), 24);
		fix_gdt();
		break;
	default:
		kill("Bad hypercall %u", call);
	}
	return call;
}

static void ring(void)			/* [5.2] */
{
	u32 i;

	for (i = 0; data && i < 64; i++) {
		volatile u8 *status = gp(data + 0x14 + ring_pos, 1);
		u32 *slot = gp(data + 0x54 + ring_pos * 16, 16);
		if (*status == 0xff)
			break;
		ring_pos = (ring_pos + 1) % 64;
		hypercall(slot[0], slot[1], slot[2], slot[3], 1);
		*status = 0xff;
	}
}

/* ------------------------------------------------------------------ the loop */
static void run(void)			/* until the Guest can go on [3.5] */
{
	static u32 entries;

	for (;;) {
		ring();
		poll_devices();
		inject();
		if (!halted)
			break;
		asm volatile("sti; hlt; cli");
	}
	if (check_every && (regs.cs & 3) == 3 && ++entries % check_every == 0)
		check_shadow();
	tss.esp0_at[3] = esp1;
	tss.esp0_at[4] = ss1;
	shadow_cr3 = (u32)slots[cur].dir;
	regs.eflags |= 0x200;
}

void guest_trap(void)
{
	u32 n = regs.trap;

	traps[n]++;
	if (!data && n < 31 && n != 14)
		kill("unhandled trap %u at %x (%x)", n, regs.eip, regs.errcode);
	if (n == 31) {
		ring();
		regs.eax = hypercall(regs.eax, regs.edx, regs.ebx, regs.ecx, 0);
	} else if (n >= 32) {
		out8(0x20, 0x20);		/* only our timer */
	} else if (n == 14) {
		if (!demand_page(cr2(), regs.errcode)) {
			if (data)
				set(data + 8, cr2());
			reflect(14);
		}
	} else if (n == 13 && regs.errcode == 0 && emulate_io()) {
		;
	} else if (n != 2 && (n != 7 || ts))
		reflect(n);
	run();
}

void host_trap(struct regs *r)		/* while we hlt, or load the Guest's segments */
{
	if (r->trap == 0x20) {
		out8(0x20, 0x20);
		return;
	}
	if (r->eip >= (u32)load_segments && r->eip < (u32)load_segments_end)
		kill("unhandled trap 256 at %x (%x): real %u", regs.eip, r->errcode, r->trap);
	kill("the mini-host failed: trap %u at %x (%x) cr2 %x", r->trap, r->eip, r->errcode, cr2());
}

/* ------------------------------------------------------------ launching [2] */
struct mbi { u32 flags, low, high, boot, cmdline, mods, mod_list; };

static u32 number(const char **s)
{
	u32 n = 0;
	while (**s >= '0' && **s <= '9')
		n = n * 10 + *(*s)++ - '0';
	return n;
}

static u32 load_kernel(u8 *elf, u32 len)
{
	u32 i, *e = (u32 *)elf, low = ~0u, high = 0;
	u8 *p, *last = elf + len;

	for (i = 0; i < *(u16 *)(elf + 44); i++) {
		u32 *ph = (u32 *)(elf + e[7] + i * 32);
		if (ph[0] != 1)
			continue;
		if (ph[2] - ph[3] != PO || elf + ph[1] + ph[4] > last)
			kill("not a vmlinux for page offset %x", PO);
		memcpy((void *)(GUEST + ph[3]), elf + ph[1], ph[4]);
		low = ph[3] < low ? ph[3] : low;
		high = ph[3] + ph[4] > high ? ph[3] + ph[4] : high;
	}
	for (p = (u8 *)GUEST + low; p < (u8 *)GUEST + high; p++)
		for (i = 0; p[i] == "GenuineLguest"[i];)
			if (++i == 13)
				return (u32)p - GUEST + 13 + PO;
	kill("not a genuine lguest image");
}

void host_main(struct mbi *mbi)
{
	u32 *mod = (u32 *)mbi->mod_list, i, size = 0, top, pages, dir, ptes, *pte;
	u32 gdtr[2], idtr[2];
	const char *s = (const char *)mbi->cmdline;
	u8 *block;
	u64 t;

	/* 1 kHz on irq 0. How fast is the TSC? Three tries, the least disturbed counts. */
	out8(0x43, 0x34), out8(0x40, 1193 & 255), out8(0x40, 1193 >> 8);
	out8(0x61, (in8(0x61) & ~2) | 1);
	for (i = 0; i < 3; i++) {
		out8(0x43, 0xb0), out8(0x42, 23864 & 255), out8(0x42, 23864 >> 8);
		t = rdtsc();
		while (!(in8(0x61) & 0x20))
			;
		t = div64(rdtsc() - t, 20);
		if (!tsc_khz || t < tsc_khz)
			tsc_khz = t;
	}
	tsc_khz = (tsc_khz + 500) / 1000 * 1000;
	tsc_shown = tsc_khz;

	/* "minihost MEGABYTES [@notsc] [@check=N] kernel arguments" */
	while (*s && *s != ' ')
		s++;
	while (*s == ' ')
		s++;
	mem = number(&s) << 20;
	for (;;) {
		while (*s == ' ')
			s++;
		if (*s != '@')
			break;
		if (s[1] == 'n')
			tsc_shown = 0;
		if (s[1] == 'c') {
			s += 7;
			check_every = number(&s);
		}
		while (*s && *s != ' ')
			s++;
	}
	limit = mem + PAGE;
	arena = GUEST + limit;
	if (!mem || mbi->mods < 1 || mod[mbi->mods * 4 - 3] > GUEST ||
	    GUEST + mem > mbi->high * 1024)
		kill("need memory and modules");
	memset((void *)GUEST, 0, limit);

	regs.eip = load_kernel((u8 *)mod[0], mod[1] - mod[0]);
	if (mbi->mods > 1) {
		size = (mod[5] - mod[4] + PAGE - 1) & -PAGE;
		memcpy((void *)(GUEST + mem - size), (void *)mod[4], mod[5] - mod[4]);
	}

	/* The first page tables [2.5] */
	top = mem - size;
	dir = top - PAGE;
	pages = mem / PAGE;
	if (pages > -PO / PAGE)
		pages = -PO / PAGE;
	ptes = dir - (pages + 1023) / 1024 * PAGE;
	pte = (u32 *)(GUEST + ptes);
	for (i = 0; i < pages; i++)
		pte[i] = i * PAGE | 7;
	for (i = 0; i < (pages + 1023) / 1024; i++)
		((u32 *)(GUEST + dir))[(PO >> 22) + i] = (ptes + i * PAGE) | 7;

	/* The boot block [2.4] */
	block = (u8 *)GUEST;
	block[0x1e8] = 1;
	if (size) {
		block[0x210] = 0xff;
		*(u32 *)(block + 0x218) = mem - size;
		*(u32 *)(block + 0x21c) = size;
	}
	*(u32 *)(block + 0x228) = 0x1000;
	*(u32 *)(block + 0x23c) = 1;
	*(u32 *)(block + 0x2d8) = mem;
	*(u32 *)(block + 0x2e0) = 1;
	for (i = 0; s[i]; i++)
		block[0x1000 + i] = s[i];

	/* One device: the console, irq 1 */
	*(u16 *)(GUEST + mem) = 1;

	/* Initial state [2.6] */
	slots[0].cr3 = cr3 = dir;
	slots[0].dir = new_dir();
	gdt[12][0] = 0xffff, gdt[12][1] = 0x00cfbb00;
	gdt[13][0] = 0xffff, gdt[13][1] = 0x00cfb300;
	fix_gdt();
	gdt[16][1] &= ~0x200;			/* not busy yet */
	for (i = 0; i < 256; i++)
		default_gate(i);
	tss.esp0_at[1] = (u32)regs_end;
	tss.esp0_at[2] = 0x58;
	tss.esp0_at[25] = 104 << 16;
	regs.cs = 0x61;
	regs.ds = regs.es = regs.ss = 0x69;
	regs.eflags = 0x202;

	gdtr[0] = 255 | (u32)gdt << 16, gdtr[1] = (u32)gdt >> 16;
	idtr[0] = 2047 | (u32)real_idt << 16, idtr[1] = (u32)real_idt >> 16;
	asm volatile("lgdt %0; lidt %1; ljmp $0x50,$1f; 1: mov %2,%%ds; mov %2,%%es; mov %2,%%ss;"
		     "ltr %w3; lldt %w4" : : "m"(gdtr), "m"(idtr), "r"(0x58), "r"(0x80), "r"(0));
	out8(0x20, 0x11), out8(0x21, 0x20), out8(0x21, 4), out8(0x21, 1), out8(0x21, 0xfe);
	out8(0xa0, 0x11), out8(0xa1, 0x28), out8(0xa1, 2), out8(0xa1, 1), out8(0xa1, 0xff);

	printf("mini-host: %u MiB, TSC %u kHz, entry %x\n", mem >> 20, tsc_khz, regs.eip);
	tsc_start = rdtsc();
	run();
	enter_guest();
}
