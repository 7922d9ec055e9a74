/* SPDX-License-Identifier: MIT */
/* Perf maps and jitdumps. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol/jit_priv.h"
#include "rnd.h"

#define ASKED 16
/* Names for 0x1000, 0x1010, … 0x10f0. */
struct names {
	struct jit_names j;
	struct jit_want v[ASKED];
};

static void names_init(struct names *n)
{
	*n = (struct names){.j = {.v = n->v, .n = ASKED, .names = strtab_new()}};
	for (size_t i = 0; i < ASKED; i++)
		n->v[i].at = 0x1000 + i * 0x10;
}

static int read_map(struct names *n, const void *text, size_t len)
{
	int fd = img_fd(text, len), err;

	names_init(n);
	err = jit_read_perf_map(&n->j, fd);
	close(fd);
	return err;
}

static const char *at(const struct names *n, uint64_t addr)
{
	return strtab_get(n->j.names, n->v[(addr - 0x1000) / 0x10].name);
}

Test(perf_map, the_last_entry_counts)
{
	static const char text[] = "1000 20 first\n1020 40 LazyCompile:~f /x y.js:1:2\n"
	                           "0x1030 10 second\n1040 0 empty\nffffffffffffffff ff far\n"
	                           "10a0 20\tby a tab\r\n10e0 20 unfinished";
	struct names n;

	cr_assert_eq(read_map(&n, text, strlen(text)), 0);
	cr_expect_str_eq(at(&n, 0x1000), "first");
	cr_expect_str_eq(at(&n, 0x1010), "first");
	cr_expect_str_eq(at(&n, 0x1020), "LazyCompile:~f /x y.js:1:2");
	cr_expect_str_eq(at(&n, 0x1030), "second");
	cr_expect_str_eq(at(&n, 0x1040), "LazyCompile:~f /x y.js:1:2");
	cr_expect_str_eq(at(&n, 0x1060), "");
	cr_expect_str_eq(at(&n, 0x10b0), "by a tab");
	cr_expect_str_eq(at(&n, 0x10e0), "", "a line that is still being written");
	cr_expect_eq(n.v[5].start, 0x1020);
	cr_expect_eq(n.v[5].size, 0x40);
	strtab_free(n.j.names);
}

Test(perf_map, what_is_none)
{
	static const char *const texts[] = {
	        "",           "\n\n\n",       "1000\n",
	        "1000 10\n",  "1000 10 \n",   "x 10 f\n",
	        "1000 y f\n", "-1 10 f\n",    "11111111111111111 10 f\n",
	        "\177ELF",    " 1000 10 f\n", "1000, 10 f\n"};
	struct names n;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		cr_expect_eq(read_map(&n, texts[i], strlen(texts[i])), 0);
		for (size_t k = 0; k < ASKED; k++)
			cr_expect_eq(n.v[k].name, 0, "\"%s\"", texts[i]);
		strtab_free(n.j.names);
	}
	cr_expect_eq(read_map(&n, "1000 10 a\0b\n", 12), 0);
	cr_expect_str_eq(at(&n, 0x1000), "a");
	strtab_free(n.j.names);
}

Test(perf_map, a_line_of_a_megabyte)
{
	struct buf b = {0};
	struct names n;

	buf_printf(&b, "1000 10 ");
	for (int i = 0; i < 100000; i++)
		buf_put(&b, "0123456789", 10);
	buf_printf(&b, "\n1010 10 next\n");
	cr_assert_eq(read_map(&n, b.p, b.n), 0);
	cr_expect_eq(strlen(at(&n, 0x1000)), JIT_NAME_MAX - 1);
	cr_expect_str_eq(at(&n, 0x1010), "next");
	strtab_free(n.j.names);
	buf_release(&b);
}

static void put32(struct buf *b, uint32_t v)
{
	cr_assert(!buf_put(b, &v, 4));
}

static void put64(struct buf *b, uint64_t v)
{
	cr_assert(!buf_put(b, &v, 8));
}

static void dump_head(struct buf *b)
{
	put32(b, 0x4a695444);
	put32(b, 1);
	put32(b, 48); /* longer than what we know */
	put32(b, 62);
	put64(b, 4711ull << 32);
	for (int i = 0; i < 3; i++)
		put64(b, 0);
}

static void dump_load(struct buf *b, uint64_t addr, uint64_t size, uint64_t index, const char *name)
{
	put32(b, 0);
	put32(b, (uint32_t)(16 + 40 + strlen(name) + 1 + 8));
	put64(b, 1);
	put64(b, 0);
	put64(b, addr);
	put64(b, addr);
	put64(b, size);
	put64(b, index);
	cr_assert(!buf_put(b, name, strlen(name) + 1));
	put64(b, 0); /* the code */
}

static void dump_move(struct buf *b, uint64_t to, uint64_t size, uint64_t index)
{
	put32(b, 1);
	put32(b, 16 + 48);
	put64(b, 2);
	put64(b, 0);
	put64(b, to);
	put64(b, 0);
	put64(b, to);
	put64(b, size);
	put64(b, index);
}

static void dump_unknown(struct buf *b)
{
	put32(b, 99);
	put32(b, 16 + 8);
	put64(b, 3);
	put64(b, UINT64_MAX);
}

static void dump_make(struct buf *b)
{
	dump_head(b);
	dump_load(b, 0x1000, 0x20, 1, "one");
	dump_unknown(b);
	dump_load(b, 0x1020, 0x20, 2, "two");
	dump_move(b, 0x1080, 0x20, 1);
	dump_move(b, 0x10c0, 0x20, 77); /* of nothing known */
	dump_load(b, 0x1030, 0x10, 3, "three");
}

static int read_dump(struct names *n, const void *p, size_t len)
{
	int fd = img_fd(p, len), err;

	names_init(n);
	err = jit_read_dump(&n->j, fd);
	close(fd);
	return err;
}

Test(jitdump, loads_and_moves)
{
	struct buf b = {0};
	struct names n;

	dump_make(&b);
	cr_assert_eq(read_dump(&n, b.p, b.n), 0);
	cr_expect_str_eq(at(&n, 0x1010), "one");
	cr_expect_str_eq(at(&n, 0x1020), "two");
	cr_expect_str_eq(at(&n, 0x1030), "three");
	cr_expect_str_eq(at(&n, 0x1090), "one");
	cr_expect_str_eq(at(&n, 0x10a0), "");
	cr_expect_str_eq(at(&n, 0x10c0), "");
	strtab_free(n.j.names);
	cr_expect_eq(read_dump(&n, "", 0), -ENOEXEC);
	strtab_free(n.j.names);
	b.p[0] ^= 1;
	cr_expect_eq(read_dump(&n, b.p, b.n), -ENOEXEC);
	strtab_free(n.j.names);
	buf_release(&b);
}

Test(jitdump, cut_and_mutated, .timeout = 60)
{
	uint64_t seed = 88172645463325252ull;
	struct buf good = {0}, b = {0};
	struct names n;

	dump_make(&good);
	for (size_t cut = 0; cut < good.n; cut++) {
		read_dump(&n, good.p, cut);
		strtab_free(n.j.names);
	}
	for (int round = 0; round < 3000; round++) {
		b.n = 0;
		cr_assert(!buf_put(&b, good.p, good.n));
		for (int k = 0; k < 4; k++) {
			rnd_next(&seed);
			b.p[seed % b.n] = seed % 3 ? (uint8_t)(seed >> 40) : 0xff;
		}
		read_dump(&n, b.p, b.n);
		strtab_free(n.j.names);
		read_map(&n, b.p, b.n);
		strtab_free(n.j.names);
	}
	buf_release(&b);
	buf_release(&good);
}
