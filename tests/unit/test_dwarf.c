/* SPDX-License-Identifier: MIT */
/* Lines and inlined functions of this very program, and symbols packed into .gnu_debugdata. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol.h"
#include "rnd.h"

#if defined(__x86_64__)
#define HERE(pc) __asm__ volatile("lea -7(%%rip), %0" : "=r"(pc))
#elif defined(__aarch64__)
#define HERE(pc) __asm__ volatile("adr %0, ." : "=r"(pc))
#endif

#ifdef HERE
static unsigned lines[3]; /* of HERE, of the inner and of the outer call */

static inline __attribute__((always_inline)) uintptr_t innermost(void)
{
	uintptr_t pc;

	lines[0] = __LINE__ + 1;
	HERE(pc);
	return pc;
}

static inline __attribute__((always_inline)) uintptr_t middle(int n)
{
	if (n < 0)
		return 0;
	lines[1] = __LINE__ + 1;
	return innermost();
}

__attribute__((noinline)) static uintptr_t physical(int n)
{
	lines[2] = __LINE__ + 1;
	uintptr_t pc = middle(n);

	__asm__ volatile("");
	return pc;
}

static int first_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t *pc = ctx, at = *pc - info->dlpi_addr - ph->p_vaddr;

		if (ph->p_type == PT_LOAD && at < ph->p_filesz) {
			*pc = at + ph->p_offset;
			return 1;
		}
	}
	return -1;
}

static struct elf_syms *open_self(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct elf_syms *e = elf_syms_open(fd, "/proc/self/exe", NULL, 0, NULL);

	close(fd);
	cr_assert(e);
	return e;
}

static bool from(const struct sym *s, unsigned line)
{
	const char *base = s->src ? strrchr(s->src, '/') : NULL;

	base = base ? base + 1 : s->src;
	return base && !strcmp(base, "test_dwarf.c") && s->line == line;
}

Test(dwarf, inlined_functions_and_their_lines)
{
	uint64_t off = physical(1);
	struct elf_syms *e = open_self();
	struct sym s[8];
	size_t n;

	cr_assert_eq(dl_iterate_phdr(first_object, &off), 1);
	n = elf_syms_chain(e, off, s, ARRAY_LEN(s));
	if (n == 1 && !s[0].src)
		cr_skip_test("built without debug information");
	cr_assert_eq(n, 3, "%zu functions", n);
	cr_expect(!strncmp(s[0].name, "physical", 8), "%s", s[0].name);
	cr_expect_str_eq(s[1].name, "middle");
	cr_expect_str_eq(s[2].name, "innermost");
	cr_expect(from(&s[0], lines[2]), "%s:%u", s[0].src, s[0].line);
	cr_expect(from(&s[1], lines[1]), "%s:%u", s[1].src, s[1].line);
	cr_expect(from(&s[2], lines[0]), "%s:%u", s[2].src, s[2].line);
	cr_expect_eq(elf_syms_chain(e, off, s, 2), 2, "no more than there is room for");
	cr_expect_eq(elf_syms_chain(e, off, s, 0), 0);
	cr_expect_eq(elf_syms_chain(e, UINT64_MAX, s, 8), 0);
	elf_syms_free(e);
}

/* Every function's first byte: what the chain begins with is what the table says. */
Test(dwarf, agrees_with_the_symbol_table, .timeout = 60)
{
	struct elf_syms *e = open_self();
	struct sym s[32], t;
	size_t with_line = 0, asked = 0;
	uint64_t here = physical(1);

	cr_assert_eq(dl_iterate_phdr(first_object, &here), 1);
	for (uint64_t off = here; off < here + (1u << 18); off += 61) {
		size_t n = elf_syms_chain(e, off, s, ARRAY_LEN(s));

		if (elf_syms_lookup(e, off, &t))
			continue;
		cr_assert(n);
		cr_expect_str_eq(s[0].name, t.name);
		cr_expect_eq(s[0].name_off, t.name_off);
		asked++;
		with_line += s[0].line != 0;
	}
	cr_expect(asked > 100);
	if (!with_line)
		cr_skip_test("built without debug information");
	elf_syms_free(e);
}
#endif

static const struct img_sym hidden[] = {FUNC("hidden", 0x40, 0x10)},
                            seen[] = {FUNC("seen", 0, 0x10)};
static const struct img mini = {.syms = hidden, .n_syms = 1, .debug_only = true};
static const struct img packed = {.syms = seen, .n_syms = 1, .dynsym = true, .debugdata = &mini};

static const char *name_at(struct elf_syms *e, uint64_t at)
{
	struct sym s;

	return elf_syms_lookup(e, IMG_TEXT_OFF + at, &s) ? "" : s.name;
}

Test(debugdata, is_added_to_the_dynamic_symbols)
{
	int fd = img_open(&packed);
	struct elf_syms *e = elf_syms_open(fd, "/nonexistent/img", NULL, 0, NULL);

	cr_assert(e);
	cr_expect_str_eq(name_at(e, 0x8), "seen");
	cr_expect_str_eq(name_at(e, 0x48), "hidden");
	cr_expect_str_eq(name_at(e, 0x58), "");
	elf_syms_free(e);
	close(fd);
}

/* Damaged ones leave the dynamic symbols. */
Test(debugdata, damaged, .timeout = 60)
{
	struct buf b = {0};
	uint64_t seed = 88172645463325252ull;
	size_t from = IMG_DATA_OFF + IMG_DATA_SIZE, lost = 0;

	img_make(&packed, &b);
	for (int round = 0; round < 1000; round++) {
		struct elf_syms *e;
		size_t at;
		uint8_t old;
		int fd;

		rnd_next(&seed);
		at = from + seed % (b.n - from);
		old = b.p[at];
		b.p[at] ^= (uint8_t)(1 + (seed >> 40) % 255);
		fd = img_fd(b.p, b.n);
		e = elf_syms_open(fd, "/nonexistent/img", NULL, 0, NULL);
		lost += !e || strcmp(name_at(e, 0x48), "hidden");
		elf_syms_free(e);
		close(fd);
		b.p[at] = old;
	}
	cr_expect_gt(lost, 100);
	buf_release(&b);
}

/* A megabyte of zeros takes 200 bytes: what unpacks to more than a limit is not used. */
Test(debugdata, bomb, .timeout = 60)
{
	enum { N = 200 << 20 };
	uint8_t *zeros = calloc(1, N);
	struct buf plain = {0}, b = {0}, bomb = {0};
	struct elf_syms *e;
	int fd;

	cr_assert(zeros);
	img_pack(zeros, N, &bomb);
	free(zeros);
	img_make(&packed, &b);
	img_make(&mini, &plain);
	/* The bomb behind the file, and the section's offset and size say so. */
	for (size_t i = 0; i + 64 <= b.n; i += 8) {
		Elf64_Shdr sh;

		memcpy(&sh, b.p + i, sizeof(sh));
		if (sh.sh_type != SHT_PROGBITS || sh.sh_flags || !sh.sh_size ||
		    sh.sh_offset >= b.n ||
		    memcmp(b.p + sh.sh_offset,
		           "\xfd"
		           "7zXZ",
		           5))
			continue;
		sh.sh_offset = b.n;
		sh.sh_size = bomb.n;
		memcpy(b.p + i, &sh, sizeof(sh));
		break;
	}
	cr_assert(!buf_put(&b, bomb.p, bomb.n));
	fd = img_fd(b.p, b.n);
	e = elf_syms_open(fd, "/nonexistent/img", NULL, 0, NULL);
	cr_assert(e);
	cr_expect_str_eq(name_at(e, 0x8), "seen");
	cr_expect_str_eq(name_at(e, 0x48), "");
	elf_syms_free(e);
	close(fd);
	buf_release(&plain);
	buf_release(&bomb);
	buf_release(&b);
}
