/*
 * SPDX-License-Identifier: MIT
 *
 * What a processor is worth, in seven parts: the same program for a Guest
 * (32-bit) and, as the measure of all engines, for the machine itself (64-bit).
 *
 *	benchmark PART [TIMES]
 *
 * Each part does a fixed amount of work and prints its name and a check sum,
 * which is the same everywhere: an engine that is quick because it is wrong is
 * found out. TIMES, 1 to 999999999, repeats the work, so that a fast machine
 * can be timed, too. The status is 1 for a part that does not exist.
 *
 * Free-standing, so that it measures no library: main is called by four lines
 * of assembly, and the two system calls that it needs are here.
 */
#include <stdint.h>

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n\thlt");

static long call(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("syscall" : "=a" (result) : "a" (number), "D" (first), "S" (second), "d" (third)
			 : "rcx", "r11", "memory");
	return result;
}

enum { CALL_WRITE = 1, CALL_EXIT = 60 };
#else
__asm__(".globl _start\n_start: mov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n\tcall start\n\thlt");

static long call(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("int $0x80" : "=a" (result) : "a" (number), "b" (first), "c" (second), "d" (third)
			 : "memory");
	return result;
}

enum { CALL_WRITE = 4, CALL_EXIT = 1 };
#endif

/* ------------------------------------------------- integers, as programs mix them */

static uint32_t random_state;

static uint32_t next_random(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return random_state >> 8;
}

static uint32_t crc(uint32_t sum, uint32_t value)
{
	for (int bit = 0; bit < 32; bit++, value >>= 1)
		sum = (sum ^ value) & 1 ? sum >> 1 ^ 0xEDB88320 : sum >> 1;
	return sum;
}

/* A list is searched, and what was found moves to its front. */
static uint32_t lists(uint32_t rounds)
{
	static struct item { struct item *next; uint32_t key; } items[64];
	struct item *head = &items[0];
	uint32_t sum = 0;

	for (uint32_t i = 0; i < 64; i++) {
		items[i].key = i;
		items[i].next = i < 63 ? &items[i + 1] : 0;
	}
	while (rounds--) {
		uint32_t key = next_random() & 63, steps = 0;
		struct item **link = &head;

		while ((*link)->key != key) {
			link = &(*link)->next;
			steps++;
		}
		struct item *found = *link;
		*link = found->next;
		found->next = head;
		head = found;
		sum += steps;
	}
	return sum;
}

/* The product of two matrices of 16-bit numbers. */
static uint32_t matrices(uint32_t rounds)
{
	static int16_t a[16][16], b[16][16];
	static int32_t product[16][16];
	uint32_t sum = 0;

	while (rounds--) {
		for (int i = 0; i < 256; i++) {
			a[i / 16][i % 16] = (int16_t)next_random();
			b[i / 16][i % 16] = (int16_t)next_random();
		}
		for (int i = 0; i < 16; i++)
			for (int j = 0; j < 16; j++) {
				uint32_t total = 0;

				for (int k = 0; k < 16; k++)
					total += (uint32_t)(a[i][k] * b[k][j]);
				product[i][j] = (int32_t)total;
			}
		sum ^= (uint32_t)product[next_random() & 15][next_random() & 15];
	}
	return sum;
}

/* A machine that tells numbers from words, letter by letter. */
static uint32_t states(uint32_t rounds)
{
	static const char text[] = "12 3.5 -7 word 0x1f 1e6 +2.25e-3 .5 two,three 99 x9 9x 1.2.3 ";
	enum { START, SIGN, INTEGER, FRACTION, EXPONENT, WORD, STATES } state;
	uint32_t counts[STATES] = { 0 }, sum = 0;

	while (rounds--) {
		state = START;
		for (const char *letter = text; *letter; letter++) {
			char c = *letter;

			if (c == ' ' || c == ',') {
				counts[state]++;
				state = START;
				continue;
			}
			switch (state) {
			case START:
				state = c == '+' || c == '-' ? SIGN : c >= '0' && c <= '9' ? INTEGER : c == '.' ? FRACTION : WORD;
				break;
			case SIGN:
				state = c >= '0' && c <= '9' ? INTEGER : WORD;
				break;
			case INTEGER:
				state = c == '.' ? FRACTION : c == 'e' ? EXPONENT : c >= '0' && c <= '9' ? INTEGER : WORD;
				break;
			case FRACTION:
				state = c == 'e' ? EXPONENT : c >= '0' && c <= '9' ? FRACTION : WORD;
				break;
			case EXPONENT:
				state = c == '-' || (c >= '0' && c <= '9') ? EXPONENT : WORD;
				break;
			default:
				break;
			}
		}
		counts[START] += next_random() & 1;
	}
	for (int i = 0; i < STATES; i++)
		sum = crc(sum, counts[i]);
	return sum;
}

static uint32_t integer(void)
{
	uint32_t sum = ~0u;

	random_state = 1;
	for (int round = 0; round < 3000; round++) {
		sum = crc(sum, lists(200));
		sum = crc(sum, matrices(5));
		sum = crc(sum, states(60));
		for (int i = 0; i < 200; i++)
			sum = crc(sum, next_random());
	}
	return sum;
}

/* --------------------------------------------------------------- floating point */

/* The edge of the Mandelbrot set, and a square root and a quotient for each of its points; all in 80 bits. */
static uint32_t x87(void)
{
	uint32_t steps = 0;
	long double total = 0;

	for (int row = 0; row < 256; row++)
		for (int column = 0; column < 256; column++) {
			long double a = column * (3.0L / 256) - 2.25L, b = row * (2.5L / 256) - 1.25L, x = 0, y = 0;
			int step;

			for (step = 0; step < 256 && x * x + y * y < 4; step++) {
				long double next = x * x - y * y + a;

				y = 2 * x * y + b;
				x = next;
			}
			steps += (uint32_t)step;
			total += __builtin_sqrtl(a * a + b * b) / (step + 1);
		}
	return crc(steps, (uint32_t)(total * 1000000));
}

/* Pairs of doubles, and sixteen bytes of integers. */
typedef double doubles __attribute__((vector_size(16)));
typedef uint32_t words __attribute__((vector_size(16)));
typedef int signed_words __attribute__((vector_size(16)));
typedef long long quads __attribute__((vector_size(16)));

static uint32_t sse2(void)
{
	doubles x = { 0.75, 0.25 }, total = { 0, 0 };
	const doubles rate = { 3.875, 3.75 };
	words a = { 4, 3, 2, 1 }, b = { 8, 7, 6, 5 };

	for (int i = 0; i < 12000000; i++) {
		x = rate * x * (1 - x);
		total += __builtin_ia32_maxpd(x, __builtin_shuffle(x, (quads){ 1, 0 }));
		a = (a ^ a << 5) + b;
		b = __builtin_shuffle(b, (words){ 1, 2, 3, 0 }) +
		    (words)__builtin_ia32_pmuludq128((signed_words)a, (signed_words)b);
		a |= b >> 3;
	}
	a ^= b ^ (words)total;
	return crc(crc(a[0], a[1]), crc(a[2], a[3]));
}

/* ------------------------------------------------------------- memory and calls */

#define MEMORY_BYTES (4u << 20)

/* Reads and writes all over 4 MiB, a fixed distance apart. */
static uint32_t stride(uint32_t bytes, uint32_t accesses)
{
	static uint32_t memory[MEMORY_BYTES / 4];
	uint32_t at = 0, sum = 0;

	while (accesses--) {
		volatile uint32_t *word = &memory[at / 4];

		sum = sum * 3 + *word;
		*word = sum + at;
		at = (at + bytes) % MEMORY_BYTES;
	}
	for (uint32_t i = 0; i < MEMORY_BYTES / 4; i++)
		memory[i] = 0;
	return sum;
}

static __attribute__((noinline)) uint32_t fibonacci(uint32_t n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint32_t stride4(void) { return stride(4, 64000000); }
static uint32_t stride64(void) { return stride(64, 32000000); }
static uint32_t stride4160(void) { return stride(4160, 32000000); }

static uint32_t calls(void)
{
	volatile uint32_t n = 35;

	return fibonacci(n);
}

/* --------------------------------------------------------------- the program */

static const struct {
	const char *name;
	uint32_t (*run)(void);
} parts[] = {
	{ "integer", integer }, { "x87", x87 }, { "sse2", sse2 },
	{ "stride4", stride4 }, { "stride64", stride64 }, { "stride4160", stride4160 },
	{ "calls", calls },
};

static int equal(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return *a == *b;
}

static void print(const char *name, uint32_t sum)
{
	char line[32], *end = line;

	while (*name)
		*end++ = *name++;
	*end++ = ' ';
	for (int shift = 28; shift >= 0; shift -= 4)
		*end++ = "0123456789abcdef"[sum >> shift & 15];
	*end++ = '\n';
	call(CALL_WRITE, 1, (long)line, end - line);
}

/* The stack as the kernel has made it: the number of arguments, and they. */
__attribute__((noreturn, used)) void start(long *stack)
{
	char **arguments = (char **)(stack + 1);
	uint32_t times = 0;
	int status = 1;

	if (stack[0] > 2)
		for (const char *digit = arguments[2]; *digit; digit++)
			times = times * 10 + (uint32_t)(*digit - '0');
	for (unsigned int i = 0; stack[0] > 1 && i < sizeof(parts) / sizeof(parts[0]); i++)
		if (equal(arguments[1], parts[i].name)) {
			uint32_t sum;

			do
				sum = parts[i].run();
			while (times-- > 1);
			print(parts[i].name, sum);
			status = 0;
		}
	for (;;)
		call(CALL_EXIT, status, 0, 0);
}
