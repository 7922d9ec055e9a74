/* SPDX-License-Identifier: MIT */
/* Hostile ELF files: any answer, no harm. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "elfimg.h"
#include "rnd.h"
#include "symbol.h"

static const struct img_sym hostile_syms[] = {
        FUNC("f", 0x10, 0x10),
        FUNC("g", 0x20, 0),
        FUNC("outer", 0x40, 0x40),
        FUNC("inner", 0x48, 8),
        {"label", TEXT(0x100), 0, STB_LOCAL, STT_NOTYPE, IMG_SEC_TEXT},
        {"object", IMG_DATA + 8, 8, STB_GLOBAL, STT_OBJECT, IMG_SEC_DATA},
};
static const struct img hostile = {.syms = hostile_syms,
                                   .n_syms = 6,
                                   .build_id = "0123456789abcdefghij",
                                   .debuglink = "x.debug",
                                   .crc = 0x12345678};

/* Everything that can be asked of a file; how many symbols it gave. */
static int probe(const void *p, size_t n)
{
	int fd = img_fd(p, n), found = 0;
	struct elf_syms *e;
	uint8_t id[64];
	struct sym s;

	elf_build_id(fd, id);
	e = elf_syms_open(fd, "/nonexistent/img", NULL, 0, NULL);
	for (uint64_t at = 0; e && at < 0x120; at += 8) {
		if (!elf_syms_lookup(e, IMG_TEXT_OFF + at, &s))
			found += strlen(s.name) > 0;
		if (!elf_syms_data(e, IMG_DATA + at, &s))
			found += strlen(s.name) > 0;
	}
	elf_syms_free(e);
	close(fd);
	return found;
}

Test(elf_hostile, cut_at_every_offset)
{
	struct buf b = {0};
	int whole, n;

	img_make(&hostile, &b);
	whole = probe(b.p, b.n);
	cr_assert_gt(whole, 10);
	for (size_t cut = 0; cut < b.n; cut++) {
		n = probe(b.p, cut);
		cr_expect_leq(n, whole);
		cr_expect(cut >= 0x40 || !n);
	}
	buf_release(&b);
}

static void mutate(struct buf *b, uint64_t *seed)
{
	static const uint64_t values[] = {0,         1,          0xff,          0xffff,
	                                  0x10000,   0x7fffffff, 0xffffffff,    1ull << 32,
	                                  INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
	size_t changes = 1 + rnd_star(seed) % 6, at, n;
	uint64_t v;

	while (changes--) {
		/* The code is zeros: what counts is the head and what follows the data. */
		at = rnd_star(seed) % 3
		             ? IMG_DATA_OFF + IMG_DATA_SIZE +
		                       rnd_star(seed) % (b->n - IMG_DATA_OFF - IMG_DATA_SIZE)
		             : rnd_star(seed) % 0xb0;
		v = rnd_star(seed) % 2 ? values[rnd_star(seed) % ARRAY_LEN(values)]
		                       : rnd_star(seed);
		n = 1ull << rnd_star(seed) % 4;
		if (n > b->n - at)
			n = b->n - at;
		memcpy(b->p + at, &v, n);
	}
}

Test(elf_hostile, mutated, .timeout = 120)
{
	uint64_t seed = 0x9e3779b97f4a7c15;
	int some = 0;

	for (int i = 0; i < 5000; i++) {
		struct img o = hostile;
		struct buf b = {0};

		o.class = i % 3 ? ELFCLASS64 : ELFCLASS32;
		o.dynsym = i % 5 == 0;
		img_make(&o, &b);
		mutate(&b, &seed);
		some += probe(b.p, b.n) > 0;
		buf_release(&b);
	}
	cr_expect_gt(some, 1000, "hardly any of the files was read at all: %d", some);
}

Test(elf_hostile, huge_counts)
{
	struct buf b = {0};
	Elf64_Ehdr *eh;
	Elf64_Shdr *sh;

	img_make(&hostile, &b);
	eh = (Elf64_Ehdr *)b.p;
	sh = (Elf64_Shdr *)(b.p + eh->e_shoff);
	for (size_t i = 1; i < eh->e_shnum; i++) {
		Elf64_Shdr keep = sh[i];

		sh[i].sh_size = UINT64_MAX;
		probe(b.p, b.n);
		sh[i].sh_size = UINT64_MAX - sh[i].sh_offset + 1;
		probe(b.p, b.n);
		sh[i] = keep;
		sh[i].sh_link = UINT32_MAX;
		probe(b.p, b.n);
		sh[i].sh_link = (uint32_t)i; /* its own strings */
		probe(b.p, b.n);
		sh[i] = keep;
		sh[i].sh_entsize = 0;
		probe(b.p, b.n);
		sh[i] = keep;
	}
	sh[0].sh_size = UINT64_MAX; /* the count of sections, when the header's is 0 */
	eh->e_shnum = 0;
	cr_expect_eq(probe(b.p, b.n), 0);
	eh->e_phnum = PN_XNUM;
	sh[0].sh_info = UINT32_MAX;
	cr_expect_eq(probe(b.p, b.n), 0);
	buf_release(&b);
}

Test(elf_hostile, a_sparse_giant_costs_nothing, .timeout = 20)
{
	struct buf b = {0};
	Elf64_Ehdr *eh;
	Elf64_Shdr *sh;
	struct err err = {0};
	int fd;

	/* 2 GiB of holes: a symbol table of 80 million zeros must not be read. */
	img_make(&hostile, &b);
	eh = (Elf64_Ehdr *)b.p;
	sh = (Elf64_Shdr *)(b.p + eh->e_shoff);
	sh[4].sh_size = (2ull << 30) / 24 * 24 - 0x100000;
	fd = img_fd(b.p, b.n);
	cr_assert(!ftruncate(fd, 2ll << 30));
	cr_expect_null(elf_syms_open(fd, "giant", NULL, 0, &err));
	cr_expect(strstr(err.msg, "too large"), "%s", err.msg);
	cr_assert(!ftruncate(fd, (2ll << 30) + 1));
	cr_expect_null(elf_syms_open(fd, "giant", NULL, 0, &err));
	cr_expect(strstr(err.msg, "too large"), "%s", err.msg);
	close(fd);
	buf_release(&b);
}

Test(elf_hostile, no_regular_file)
{
	struct err err = {0};
	uint8_t id[64];
	int p[2], dir = open("/tmp", O_RDONLY);

	cr_assert(!pipe(p));
	cr_expect_null(elf_syms_open(p[0], "pipe", NULL, 0, &err));
	cr_expect(strstr(err.msg, "regular"), "%s", err.msg);
	cr_expect_null(elf_syms_open(dir, "/tmp", NULL, 0, &err));
	cr_expect_null(elf_syms_open(-1, "none", NULL, 0, &err));
	cr_expect_lt(elf_build_id(p[0], id), 0);
	cr_expect_lt(elf_build_id(-1, id), 0);
	close(p[0]);
	close(p[1]);
	close(dir);
}
