/* SPDX-License-Identifier: MIT */
/* test_golang.c: rows from Go's own table of functions, in a file made for it. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elfimg.h"
#include "unwind.h"

#define TEXT_AT  0x1000 /* in the file; loaded at 0x401000 */
#define TABLE_AT 0x400
#define TABLE_N  0x200
#define FILE_N   0x1200
#define VADDR    0x400000

enum { OLD_12, OLD_116, NEW_118, FORMS };

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
	memcpy(p, &v, bytes);
}

/* The table: three functions of 0x20 bytes each. Pairs of "rsp's distance" (by difference, the
 * first from -1) and bytes of code, ended by a 0. */
static void fill_table(uint8_t *t, int form)
{
	static const uint8_t pcs[] = {
	        0,           /* offset 0 is "none" */
	        2,  4,       /* 0 for 4 bytes */
	        48, 0x18,    /* 24 for 24 bytes */
	        47, 4,    0, /* 0 for the rest */
	        2,  0x20, 0, /* 0 all along */
	};
	static const char names[] = "\0main.wait\0runtime.mcall.abi0\0main.leaf";
	static const struct {
		unsigned name, pcs;
	} funcs[] = {{1, 1}, {11, 8}, {31, 8}};
	const unsigned names_at = 0x60, pcs_at = 0xa0, word = form == NEW_118 ? 4 : 8;
	const unsigned list_at = form == OLD_12 ? 16 : 0xc0, data_at = 0x120;
	const uint64_t base = form == NEW_118 ? 0 : VADDR + TEXT_AT;

	put(t, form == OLD_12 ? 0xfffffffb : form == OLD_116 ? 0xfffffffa : 0xfffffff1, 4);
	t[6] = 1;
	t[7] = 8;
	put(t + 8, 3, 8);
	memcpy(t + names_at + (form == OLD_12 ? 0x40 : 0), names, sizeof(names));
	memcpy(t + pcs_at + (form == OLD_12 ? 0x40 : 0), pcs, sizeof(pcs));
	if (form == OLD_116) {
		put(t + 24, names_at, 8);
		put(t + 48, pcs_at, 8);
		put(t + 56, list_at, 8);
	} else if (form == NEW_118) {
		put(t + 24, VADDR + TEXT_AT, 8);
		put(t + 32, names_at, 8);
		put(t + 56, pcs_at, 8);
		put(t + 64, list_at, 8);
	}
	for (unsigned i = 0; i < 4; i++) {
		uint8_t *pair = t + list_at + i * 2 * word;
		unsigned at = data_at + i * 0x28, from = form == OLD_12 ? 0 : list_at;

		put(pair, base + i * 0x20, word);
		if (i == 3)
			break;
		put(pair + word, at - from, word);
		put(t + at, base + i * 0x20, word);
		put(t + at + word, funcs[i].name + (form == OLD_12 ? names_at + 0x40 : 0), 4);
		put(t + at + word + 12, funcs[i].pcs + (form == OLD_12 ? pcs_at + 0x40 : 0), 4);
	}
}

static void section(uint8_t *file, unsigned i, unsigned name, unsigned type, uint64_t off,
                    uint64_t n)
{
	const Elf64_Shdr s = {.sh_name = name,
	                      .sh_type = type,
	                      .sh_flags = SHF_ALLOC,
	                      .sh_addr = VADDR + off,
	                      .sh_offset = off,
	                      .sh_size = n};

	memcpy(file + 0x100 + i * sizeof(s), &s, sizeof(s));
}

static void fill_file(uint8_t *file, int form)
{
	static const char names[] = "\0.text\0.gopclntab\0.shstrtab";
	const Elf64_Phdr load = {.p_type = PT_LOAD,
	                         .p_flags = PF_R | PF_X,
	                         .p_vaddr = VADDR,
	                         .p_filesz = FILE_N,
	                         .p_memsz = FILE_N};
	Elf64_Ehdr h = {.e_type = ET_EXEC,
	                .e_machine = EM_X86_64,
	                .e_phoff = 0x40,
	                .e_phentsize = sizeof(Elf64_Phdr),
	                .e_phnum = 1,
	                .e_shoff = 0x100,
	                .e_shentsize = sizeof(Elf64_Shdr),
	                .e_shnum = 4,
	                .e_shstrndx = 3};

	memset(file, 0, FILE_N);
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(file, &h, sizeof(h));
	memcpy(file + 0x40, &load, sizeof(load));
	memcpy(file + 0x300, names, sizeof(names));
	section(file, 1, 1, SHT_PROGBITS, TEXT_AT, 0x60);
	section(file, 2, 7, SHT_PROGBITS, TABLE_AT, TABLE_N);
	section(file, 3, 18, SHT_STRTAB, 0x300, sizeof(names));
	fill_table(file + TABLE_AT, form);
}

static int build(const uint8_t *file, struct unwind_table *t)
{
	int fd = img_fd(file, FILE_N), rc;

	cr_assert_geq(fd, 0);
	rc = unwind_table_build(t, fd);
	close(fd);
	return rc;
}

static uint32_t info_at(const struct unwind_table *t, uint64_t off)
{
	const struct unwind_view v = {t->words.v, (uint32_t)t->words.n, t->base_block, t->n_blocks};

	return unwind_find(&v, off);
}

Test(golang, rows_of_each_form)
{
	static uint8_t file[FILE_N];

	for (int form = 0; form < FORMS; form++) {
		struct unwind_table t;

		fill_file(file, form);
		cr_assert_eq(build(file, &t), 0, "form %d", form);
		cr_expect_eq(info_at(&t, TEXT_AT), MT_INFO(MT_UNW_RSP, 0, 1, 0), "form %d", form);
		cr_expect_eq(info_at(&t, TEXT_AT + 3), MT_INFO(MT_UNW_RSP, 0, 1, 0));
		cr_expect_eq(info_at(&t, TEXT_AT + 4), MT_INFO(MT_UNW_RSP, 0, 4, 0));
		cr_expect_eq(info_at(&t, TEXT_AT + 0x1b), MT_INFO(MT_UNW_RSP, 0, 4, 0));
		cr_expect_eq(info_at(&t, TEXT_AT + 0x1c), MT_INFO(MT_UNW_RSP, 0, 1, 0));
		/* The one that changes stacks: by its name. */
		cr_expect_eq(MT_INFO_KIND(info_at(&t, TEXT_AT + 0x30)), MT_UNW_BOTTOM);
		cr_expect_eq(info_at(&t, TEXT_AT + 0x50), MT_INFO(MT_UNW_RSP, 0, 1, 0));
		cr_expect_eq(MT_INFO_KIND(info_at(&t, TEXT_AT + 0x60)), MT_UNW_NONE);
		unwind_table_release(&t);
	}
}

/* A file that lies yields other rows, or none. */
Test(golang, hostile_table)
{
	static uint8_t file[FILE_N];
	unsigned seed = 5;

	for (int i = 0; i < 6000; i++) {
		struct unwind_table t;

		fill_file(file, i % FORMS);
		for (int k = 0; k < 1 + i % 3; k++)
			file[TABLE_AT + 4 + (unsigned)rand_r(&seed) % (TABLE_N - 4)] =
			        (uint8_t)(rand_r(&seed) & 1 ? 0xff : rand_r(&seed));
		if (!build(file, &t))
			for (uint64_t off = TEXT_AT - 16; off < TEXT_AT + 0x80; off++)
				info_at(&t, off);
		unwind_table_release(&t);
	}
}
