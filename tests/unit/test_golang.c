/* SPDX-License-Identifier: MIT */
/* test_golang.c: rows from Go's own table of functions, in a file made for it. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elfimg.h"
#include "golang.h"
#include "symbol.h"
#include "unwind.h"

#define TEXT_AT  0x1000 /* in the file; loaded at 0x401000 */
#define TABLE_AT 0x400
#define TABLE_N  0x400
#define DATA_AT  0x800 /* loaded at 0x500000 */
#define DATA_N   0x300
#define FILE_N   0x1200
#define VADDR    0x400000
#define DATA     0x500000

enum { OLD_12, OLD_116, NEW_118, NEW_120, FORMS };

/* Where the table's parts are in it, and the tree of inlined calls in the data. */
enum { NAMES = 0x100, PCS = 0x180, UNITS = 0x200, FILES = 0x220, LIST = 0x280, FUNCS = 0x2c0 };
enum { MODULE = 0, TREE = 0x200, FUNCDATA = 0x1f0 };

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
	memcpy(p, &v, bytes);
}

/* Pairs of "rsp's distance" (by difference, the first from -1) and bytes of code, ended by a 0;
 * the same of lines, files, and inlined calls. */
static const uint8_t lists[] = {
        0,                          /* offset 0 is "none" */
        2,  4,                      /* 1: 0 for 4 bytes */
        48, 0x18,                   /* 24 for 24 bytes */
        47, 4,    0,                /* 0 for the rest */
        2,  0x20, 0,                /* 8: 0 all along */
        22, 8,    22, 8, 19, 16, 0, /* 11: lines 10, 21, 11 */
        2,  8,    2,  8, 1,  16, 0, /* 18: files 0, 1, 0 */
        4,  8,    2,  8, 1,  16, 0, /* 25: files 1, 2, 1 */
        0,  8,    2,  8, 1,  16, 0, /* 32: call -1, 0, -1 */
};
static const char names[] = "\0main.wait\0runtime.mcall.abi0\0main.leaf\0main.tiny";
static const char files[] = "\0main.go\0util.go";

/* The fields behind the three lists' places. */
static void fill_more(uint8_t *f, int form)
{
	unsigned at = 0, word = form >= NEW_118 ? 4 : 8;

	put(f, 3, 4); /* lists: the third is the inlined calls' */
	at += form > OLD_12 ? 8 : 4;
	at += form == NEW_120 ? 4 : 0;
	f[at + 3] = 4;
	put(f + at + 4 + 8, 32, 4);
	at += 16;
	if (word == 8) /* an address's place is aligned; the list's begins at FUNCS + word + 24 */
		at += (unsigned)(FUNCS + 8 + 24 + at) & 4;
	put(f + at + 3 * word, form >= NEW_118 ? TREE - FUNCDATA : DATA + TREE, word);
}

/* The table: three functions of 0x20 bytes each. */
static void fill_table(uint8_t *t, int form)
{
	static const struct {
		unsigned name, pcs;
	} funcs[] = {{1, 1}, {11, 8}, {30, 8}};
	static const uint32_t magics[] = {0xfffffffb, 0xfffffffa, 0xfffffff0, 0xfffffff1};
	const unsigned word = form >= NEW_118 ? 4 : 8, list_at = form == OLD_12 ? 16 : LIST;
	const unsigned parts[] = {NAMES, UNITS, FILES, PCS, LIST};
	const uint64_t base = form >= NEW_118 ? 0 : VADDR + TEXT_AT;

	put(t, magics[form], 4);
	t[6] = 1;
	t[7] = 8;
	put(t + 8, 3, 8);
	if (form >= NEW_118)
		put(t + 24, VADDR + TEXT_AT, 8);
	for (unsigned i = 0; i < 5 && form > OLD_12; i++)
		put(t + (form >= NEW_118 ? 32 : 24) + 8 * i, parts[i], 8);
	memcpy(t + NAMES, names, sizeof(names));
	memcpy(t + PCS, lists, sizeof(lists));
	memcpy(t + FILES, files, sizeof(files));
	put(t + UNITS + 4, form == OLD_12 ? FILES + 1 : 1, 4); /* of unit 1 (1.2: file 1) */
	put(t + UNITS + 8, form == OLD_12 ? FILES + 9 : 9, 4);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t *pair = t + list_at + i * 2 * word, *f = t + FUNCS + i * 0x60;
		unsigned past = form == OLD_12 ? PCS : 0;

		put(pair, base + i * 0x20, word);
		if (i == 3)
			break;
		put(pair + word, FUNCS + i * 0x60 - (form == OLD_12 ? 0 : LIST), word);
		put(f, base + i * 0x20, word);
		f += word;
		put(f, funcs[i].name + (form == OLD_12 ? NAMES : 0), 4);
		put(f + 12, funcs[i].pcs + past, 4);
		put(f + 16, i ? 0 : past + (form == OLD_12 ? 25 : 18), 4);
		put(f + 20, i ? 0 : past + 11, 4);
		put(f + 28, 1, 4);
		if (!i)
			fill_more(f + 24, form);
		if (!i && form == OLD_12)
			put(f + 24 + 8 + 8, PCS + 32, 4);
	}
	if (form == OLD_12) /* where the files' places are */
		put(t + list_at + 7 * word, UNITS, 4);
}

/* runtime.moduledata, and what main.wait has inlined: main.tiny, called 4 bytes past its start. */
static void fill_data(uint8_t *d, int form)
{
	const bool small = form == NEW_120;

	put(d + MODULE, VADDR + TABLE_AT, 8);
	put(d + MODULE + 176, VADDR + TEXT_AT, 8);
	put(d + MODULE + (small ? 320 : 304), DATA + FUNCDATA, 8);
	put(d + TREE + (small ? 4 : 12), 40, 4);
	put(d + TREE + (small ? 8 : 16), 4, 4);
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
	static const char section_names[] = "\0.text\0.gopclntab\0.shstrtab";
	const Elf64_Phdr load[] = {{.p_type = PT_LOAD,
	                            .p_flags = PF_R | PF_X,
	                            .p_vaddr = VADDR,
	                            .p_filesz = FILE_N,
	                            .p_memsz = FILE_N},
	                           {.p_type = PT_LOAD,
	                            .p_flags = PF_R | PF_W,
	                            .p_offset = DATA_AT,
	                            .p_vaddr = DATA,
	                            .p_filesz = DATA_N,
	                            .p_memsz = DATA_N}};
	Elf64_Ehdr h = {.e_type = ET_EXEC,
	                .e_machine = EM_X86_64,
	                .e_version = EV_CURRENT,
	                .e_phoff = 0x40,
	                .e_phentsize = sizeof(Elf64_Phdr),
	                .e_phnum = 2,
	                .e_shoff = 0x100,
	                .e_shentsize = sizeof(Elf64_Shdr),
	                .e_shnum = 4,
	                .e_shstrndx = 3};

	memset(file, 0, FILE_N);
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_ident[EI_VERSION] = EV_CURRENT;
	memcpy(file, &h, sizeof(h));
	memcpy(file + 0x40, load, sizeof(load));
	memcpy(file + 0x300, section_names, sizeof(section_names));
	section(file, 1, 1, SHT_PROGBITS, TEXT_AT, 0x60);
	section(file, 2, 7, SHT_PROGBITS, TABLE_AT, TABLE_N);
	section(file, 3, 18, SHT_STRTAB, 0x300, sizeof(section_names));
	fill_table(file + TABLE_AT, form);
	fill_data(file + DATA_AT, form);
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

static struct go_funcs *open_names(const uint8_t *file)
{
	int fd = img_fd(file, FILE_N), rc;
	struct go_funcs *g = go_funcs_open(fd, &rc);

	close(fd);
	return g;
}

static void expect_place(const struct go_place *p, const char *name, const char *file,
                         uint32_t line)
{
	cr_expect_str_eq(p->name, name);
	cr_expect_str_eq(p->file ? p->file : "", file);
	cr_expect_eq(p->line, line, "%s: line %u", name, p->line);
}

Test(golang, names_and_lines_of_each_form)
{
	const uint64_t text = VADDR + TEXT_AT;
	static uint8_t file[FILE_N];
	struct go_place p[4];

	for (int form = 0; form < FORMS; form++) {
		struct go_funcs *g;

		fill_file(file, form);
		g = open_names(file);
		cr_assert(g, "form %d", form);
		cr_expect_eq(go_funcs_count(g), 3);
		cr_expect_eq(go_funcs_at(g, text - 1, p, 4), 0);
		cr_expect_eq(go_funcs_at(g, text + 0x60, p, 4), 0);
		cr_assert_eq(go_funcs_at(g, text + 7, p, 4), 1, "form %d", form);
		expect_place(p, "main.wait", "main.go", 10);
		cr_expect_eq(p[0].start, text);
		cr_assert_eq(go_funcs_at(g, text + 0x1f, p, 4), 1);
		expect_place(p, "main.wait", "main.go", 11);
		cr_assert_eq(go_funcs_at(g, text + 0x20, p, 4), 1);
		expect_place(p, "runtime.mcall.abi0", "", 0);
		if (form == OLD_12) {
			/* It is not known who is inlined, so the line would be a stranger's. */
			cr_assert_eq(go_funcs_at(g, text + 8, p, 4), 1);
			expect_place(p, "main.wait", "", 0);
		} else {
			cr_assert_eq(go_funcs_at(g, text + 8, p, 4), 2, "form %d", form);
			expect_place(p, "main.wait", "main.go", 10);
			expect_place(p + 1, "main.tiny", "util.go", 21);
			cr_expect_eq(p[1].start, 0);
			cr_expect_eq(go_funcs_at(g, text + 15, p, 1), 1);
		}
		go_funcs_free(g);
	}
}

/* Calls inlined into each other for ever, and data whose bounds are not the table's. */
Test(golang, wrong_trees)
{
	static uint8_t file[FILE_N];
	struct go_place p[4];
	struct go_funcs *g;

	fill_file(file, NEW_120);
	put(file + DATA_AT + TREE + 8, 9, 4); /* called from itself */
	g = open_names(file);
	cr_assert_eq(go_funcs_at(g, VADDR + TEXT_AT + 8, p, 4), 1);
	expect_place(p, "main.wait", "", 0);
	go_funcs_free(g);
	fill_file(file, NEW_120);
	put(file + DATA_AT + MODULE + 176, VADDR, 8);
	g = open_names(file);
	cr_assert_eq(go_funcs_at(g, VADDR + TEXT_AT + 8, p, 4), 1);
	expect_place(p, "main.wait", "", 0);
	go_funcs_free(g);
	memset(file + TABLE_AT, 0, 4);
	cr_expect_null(open_names(file));
}

/* The symbol reader takes them when there is no symbol table. */
Test(golang, names_for_symbols)
{
	static uint8_t file[FILE_N];
	struct sym chain[4], sym;
	struct err err;
	struct elf_syms *e;
	int fd;

	fill_file(file, NEW_120);
	fd = img_fd(file, FILE_N);
	e = elf_syms_open(fd, "stripped", NULL, 0, &err);
	close(fd);
	cr_assert(e, "%s", err.msg);
	cr_assert_eq(elf_syms_lookup(e, TEXT_AT + 0x45, &sym), 0);
	cr_expect_str_eq(sym.name, "main.leaf");
	cr_expect_eq(sym.name_off, 5);
	cr_assert_eq(elf_syms_chain(e, TEXT_AT + 9, chain, 4), 2);
	cr_expect_str_eq(chain[0].name, "main.wait");
	cr_expect_str_eq(chain[0].src, "main.go");
	cr_expect_eq(chain[0].name_off, 9);
	cr_expect_str_eq(chain[1].name, "main.tiny");
	cr_expect_eq(chain[1].line, 21);
	elf_syms_free(e);
}

static void ask_all(const uint8_t *file)
{
	struct go_funcs *g = open_names(file);
	struct go_place p[40];
	size_t n = 0, bytes = 0;

	for (uint64_t at = VADDR + TEXT_AT - 3; g && at < VADDR + TEXT_AT + 0x70; at += 3) {
		n = go_funcs_at(g, at, p, 40);
		for (size_t i = 0; i < n; i++)
			bytes += strlen(p[i].name) + (p[i].file ? strlen(p[i].file) : 0);
	}
	cr_expect_lt(bytes, 1u << 30);
	go_funcs_free(g);
}

/* A file that lies yields other rows, or none. */
Test(golang, hostile_table)
{
	static uint8_t file[FILE_N];
	unsigned seed = 5;

	for (int i = 0; i < 8000; i++) {
		const bool in_data = i % 7 == 6;
		struct unwind_table t;

		fill_file(file, i % FORMS);
		for (int k = 0; k < 1 + i % 3; k++)
			file[in_data ? DATA_AT + (unsigned)rand_r(&seed) % DATA_N
			             : TABLE_AT + 4 + (unsigned)rand_r(&seed) % (TABLE_N - 4)] =
			        (uint8_t)(rand_r(&seed) & 1 ? 0xff : rand_r(&seed));
		if (!build(file, &t))
			for (uint64_t off = TEXT_AT - 16; off < TEXT_AT + 0x80; off++)
				info_at(&t, off);
		unwind_table_release(&t);
		ask_all(file);
	}
}
