/* SPDX-License-Identifier: MIT */
/* test_unwind.c: tables of call frame information against elfutils' reader, and the walk over them
 * in memory made for it. */
#include <criterion/criterion.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mt_flags.h"
#include "unwind.h"

#if defined(__x86_64__)

/* --- tables of real files -------------------------------------------------------------------- */

static struct unwind_view view_of(const struct unwind_table *t)
{
	return (struct unwind_view){t->words.v, (uint32_t)t->words.n, t->base_block, t->n_blocks};
}

static int open_self(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

/* The C library that this process runs with. */
static int find_libc(struct dl_phdr_info *info, size_t size, void *out)
{
	(void)size;
	if (!strstr(info->dlpi_name, "libc.so"))
		return 0;
	*(int *)out = open(info->dlpi_name, O_RDONLY | O_CLOEXEC);
	return 1;
}

static bool offset_of(const Dwarf_Op *ops, size_t n, int64_t *off)
{
	if (n < 1 || ops[0].atom != DW_OP_call_frame_cfa)
		return false;
	*off = 0;
	if (n == 2 && ops[1].atom == DW_OP_plus_uconst)
		*off = (int64_t)ops[1].number;
	return n == 1 || (n == 2 && ops[1].atom == DW_OP_plus_uconst);
}

/* Does the row say what elfutils says? */
static bool same_frame(Dwarf_Frame *f, uint32_t info)
{
	Dwarf_Op bp_mem[3], ra_mem[3], *bp, *ra, *cfa;
	size_t n_bp, n_ra, n_cfa;
	unsigned kind = MT_INFO_KIND(info);
	bool is_signal = false;
	int64_t off;

	dwarf_frame_info(f, NULL, NULL, &is_signal);
	if (is_signal)
		return kind == MT_UNW_SIGNAL;
	if (dwarf_frame_cfa(f, &cfa, &n_cfa) || dwarf_frame_register(f, 6, bp_mem, &bp, &n_bp) ||
	    dwarf_frame_register(f, 16, ra_mem, &ra, &n_ra))
		return false;
	if (kind == MT_UNW_BOTTOM)
		return !n_ra;
	if (kind == MT_UNW_PLT || kind == MT_UNW_RSP_DEREF || kind == MT_UNW_RBP_DEREF)
		return n_cfa > 1 || cfa[0].atom != DW_OP_bregx;
	if (n_cfa != 1 || cfa[0].atom != DW_OP_bregx ||
	    cfa[0].number != (kind == MT_UNW_RSP || kind == MT_UNW_RDI ? 7 : 6) ||
	    (int64_t)cfa[0].number2 != MT_INFO_CFA(info))
		return false;
	if (kind == MT_UNW_RDI)
		return n_ra == 1 && (ra[0].atom == DW_OP_reg5 ||
		                     (ra[0].atom == DW_OP_regx && ra[0].number == 5));
	if (MT_INFO_BP(info) == 0 && !(MT_INFO_FLAGS(info) & MT_UNW_BP_AT_BP))
		return !n_bp;
	return offset_of(bp, n_bp, &off) && off == MT_INFO_BP(info);
}

struct agreement {
	unsigned long same, other, unsupported, missing;
};

static void compare_segment(Dwarf_CFI *cfi, const GElf_Phdr *ph, const struct unwind_view *v,
                            struct agreement *a)
{
	uint64_t step = ph->p_filesz / 20000 + 1;

	for (uint64_t at = 0; at < ph->p_filesz; at += step) {
		uint32_t info = unwind_find(v, ph->p_offset + at);
		Dwarf_Frame *f = NULL;

		if (dwarf_cfi_addrframe(cfi, ph->p_vaddr + at, &f))
			continue;
		if (MT_INFO_KIND(info) == MT_UNW_NONE)
			a->missing++;
		else if (MT_INFO_KIND(info) == MT_UNW_UNSUPPORTED)
			a->unsupported++;
		else if (same_frame(f, info))
			a->same++;
		else
			a->other++;
		free(f);
	}
}

static struct agreement compare_file(int fd)
{
	struct agreement a = {0};
	struct unwind_table t;
	struct unwind_view v;
	Dwarf_CFI *cfi;
	size_t n;
	Elf *elf;

	cr_assert_eq(unwind_table_build(&t, fd), 0);
	v = view_of(&t);
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	cfi = dwarf_getcfi_elf(elf);
	cr_assert(cfi && !elf_getphdrnum(elf, &n));
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		if (gelf_getphdr(elf, (int)i, &ph) && ph.p_type == PT_LOAD && (ph.p_flags & PF_X))
			compare_segment(cfi, &ph, &v, &a);
	}
	dwarf_cfi_end(cfi);
	elf_end(elf);
	unwind_table_release(&t);
	return a;
}

static void check_agreement(int fd)
{
	struct agreement a = compare_file(fd);

	cr_expect_gt(a.same, 5000);
	cr_expect_eq(a.other, 0, "%lu rows say something else", a.other);
	cr_expect_eq(a.missing, 0, "%lu places without a row", a.missing);
	cr_expect_lt(a.unsupported * 100, a.same, "%lu not followed", a.unsupported);
	close(fd);
}

Test(unwind, this_program_as_elfutils_reads_it)
{
	check_agreement(open_self());
}

Test(unwind, libc_as_elfutils_reads_it)
{
	int fd = -1;

	dl_iterate_phdr(find_libc, &fd);
	if (fd < 0)
		cr_skip_test("not linked to a libc.so");
	check_agreement(fd);
}

/* The index leads to the row that a search of all rows would find. */
Test(unwind, index)
{
	struct unwind_table t;
	struct unwind_view v;
	const uint64_t *rows;
	int fd = open_self();

	cr_assert_eq(unwind_table_build(&t, fd), 0);
	v = view_of(&t);
	rows = t.words.v + t.n_blocks + 1;
	for (uint32_t i = 0; i + 1 < t.n_rows; i += 7) {
		uint32_t off = MT_ROW_OFF(rows[i]), next = MT_ROW_OFF(rows[i + 1]);

		cr_assert_lt(off, next);
		cr_assert_eq(unwind_find(&v, off), MT_ROW_INFO(rows[i]));
		cr_assert_eq(unwind_find(&v, next - 1), MT_ROW_INFO(rows[i]));
	}
	cr_expect_eq(unwind_find(&v, 0), 0);
	cr_expect_eq(unwind_find(&v, UINT64_MAX), 0);
	cr_expect_eq(unwind_find(&v, 1ull << 32), 0);
	unwind_table_release(&t);
	close(fd);
}

Test(unwind, needed)
{
	struct buf names = {0};
	bool libc = false;
	const char *s, *end;
	int fd = open_self();

	cr_assert_eq(unwind_needed(fd, &names), 0);
	s = (const char *)names.p;
	end = s + names.n;
	cr_expect(strstr(s, "ld-linux"), "interpreter %s", s);
	for (; s < end; s += strlen(s) + 1)
		libc |= !strncmp(s, "libc.so.", 8);
	cr_expect(libc);
	buf_release(&names);
	close(fd);
}

/* --- files that are none --------------------------------------------------------------------- */

static int file_of(const void *p, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert(fd >= 0 && !write_full(fd, p, n));
	return fd;
}

static int build_of(const void *p, size_t n)
{
	struct unwind_table t;
	int fd = file_of(p, n), rc = unwind_table_build(&t, fd);

	unwind_table_release(&t);
	close(fd);
	return rc;
}

Test(unwind, not_elf)
{
	static const char text[] = "#!/bin/sh\nexit 0\n";
	Elf64_Ehdr h = {.e_machine = EM_X86_64, .e_phentsize = sizeof(Elf64_Phdr)};

	cr_expect_eq(build_of(text, 0), -ENOEXEC);
	cr_expect_eq(build_of(text, sizeof(text)), -ENOEXEC);
	cr_expect_eq(build_of(&h, sizeof(h)), -ENOEXEC);
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	cr_expect_eq(build_of(&h, sizeof(h)), -ENODATA);
	h.e_phnum = 3;
	h.e_phoff = UINT64_MAX - 4;
	cr_expect_eq(build_of(&h, sizeof(h)), -ENOEXEC);
	h.e_phnum = 0;
	h.e_shoff = UINT64_MAX - 8;
	h.e_shnum = UINT16_MAX;
	h.e_shentsize = sizeof(Elf64_Shdr);
	cr_expect_eq(build_of(&h, sizeof(h)), -ENODATA);
	h.e_ident[EI_CLASS] = ELFCLASS32;
	cr_expect_eq(build_of(&h, sizeof(h)), -ENOEXEC);
}

/* --- call frame information made to order ---------------------------------------------------- */

enum { TEXT = 0x1000, EH = 0x400, FILE_BYTES = 0x3000 };

/* A file of one segment, its code from TEXT to the end, and an .eh_frame found by .eh_frame_hdr. */
static struct unwind_table table_of(const uint8_t *eh, size_t n, int *rc)
{
	static uint8_t image[FILE_BYTES];
	static const uint8_t hdr[12] = {1, 0x1b, 0xff, 0xff};
	Elf64_Ehdr h = {.e_machine = EM_X86_64,
	                .e_phentsize = sizeof(Elf64_Phdr),
	                .e_phnum = 2,
	                .e_phoff = sizeof(h),
	                .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB}};
	Elf64_Phdr p[2] = {{.p_type = PT_LOAD, .p_flags = PF_X, .p_filesz = FILE_BYTES},
	                   {.p_type = PT_GNU_EH_FRAME, .p_vaddr = 0x200, .p_filesz = 12}};
	int32_t rel = EH - 0x204;
	struct unwind_table t;
	int fd;

	memset(image, 0, sizeof(image));
	memcpy(image, &h, sizeof(h));
	memcpy(image + sizeof(h), p, sizeof(p));
	memcpy(image + 0x200, hdr, sizeof(hdr));
	memcpy(image + 0x204, &rel, sizeof(rel));
	memcpy(image + EH, eh, n);
	fd = file_of(image, sizeof(image));
	*rc = unwind_table_build(&t, fd);
	close(fd);
	return t;
}

/* A CIE ("zR", addresses of 4 bytes as they are; CFA = rsp + 8) and one FDE of TEXT … TEXT + 0x100
 * with these instructions. */
static struct unwind_table table_by(const uint8_t *ins, uint8_t n, int *rc)
{
	uint8_t eh[256] = {20, 0,    0,  0, 0,    0,    0, 0, 1,    'z', 'R', 0,
	                   1,  0x78, 16, 1, 0x03, 0x0c, 7, 8, 0x90, 1,   0,   0};
	uint8_t *fde = eh + 24;

	fde[0] = (uint8_t)(13 + n);
	fde[4] = 28; /* back to the CIE */
	fde[9] = TEXT >> 8;
	fde[13] = 1; /* 0x100 bytes of code */
	memcpy(fde + 17, ins, n);
	return table_of(eh, sizeof(eh), rc);
}

static uint32_t info_by(const uint8_t *ins, uint8_t n, unsigned at)
{
	int rc;
	struct unwind_table t = table_by(ins, n, &rc);
	struct unwind_view v = view_of(&t);
	uint32_t info = rc ? 0xffffffff : unwind_find(&v, TEXT + at);

	unwind_table_release(&t);
	return info;
}
#define INFO(at, ...) \
	info_by((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), at)

/* A file whose .init at TEXT has these bytes, and no call frame information at all. */
static uint32_t info_of_init(const uint8_t *code, size_t n, unsigned at)
{
	static const char names[] = "\0.init";
	struct {
		Elf64_Ehdr h;
		Elf64_Phdr p;
		Elf64_Shdr s[3];
		char names[16];
		uint8_t pad[TEXT];
	} f = {.h = {.e_machine = EM_X86_64,
	             .e_phentsize = sizeof(Elf64_Phdr),
	             .e_phnum = 1,
	             .e_phoff = offsetof(typeof(f), p),
	             .e_shentsize = sizeof(Elf64_Shdr),
	             .e_shnum = 3,
	             .e_shoff = offsetof(typeof(f), s),
	             .e_shstrndx = 2,
	             .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB}},
	       .p = {.p_type = PT_LOAD, .p_flags = PF_X, .p_filesz = sizeof(f)},
	       .s = {{0},
	             {.sh_name = 1, .sh_addr = TEXT, .sh_offset = TEXT, .sh_size = n},
	             {.sh_offset = offsetof(typeof(f), names), .sh_size = sizeof(names)}}};
	struct unwind_table t;
	struct unwind_view v;
	uint32_t info;
	int fd, rc;

	memcpy(f.names, names, sizeof(names));
	memcpy((uint8_t *)&f + TEXT, code, n);
	fd = file_of(&f, sizeof(f));
	rc = unwind_table_build(&t, fd);
	close(fd);
	v = view_of(&t);
	info = rc ? 0xffffffff : unwind_find(&v, TEXT + at);
	unwind_table_release(&t);
	return info;
}
#define INIT(at, ...) \
	info_of_init((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), at)

Test(unwind, init_of_the_start_files)
{
	const uint32_t entry = MT_INFO(MT_UNW_RSP, 0, 1, 0), in = MT_INFO(MT_UNW_RSP, 0, 2, 0);

	/* sub rsp, 8; call rax; add rsp, 8; ret */
	for (unsigned at = 0; at < 11; at++)
		cr_expect_eq(INIT(at, 0x48, 0x83, 0xec, 8, 0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3),
		             at >= 4 && at < 10 ? in : entry, "at %u", at);
	cr_expect_eq(
	        MT_INFO_KIND(INIT(11, 0x48, 0x83, 0xec, 8, 0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3)),
	        MT_UNW_NONE, "behind it");
	/* endbr64; push rax; pop rax; ret */
	for (unsigned at = 0; at < 7; at++)
		cr_expect_eq(INIT(at, 0xf3, 0x0f, 0x1e, 0xfa, 0x50, 0x58, 0xc3),
		             at == 5 ? in : entry, "at %u", at);
	/* What is made in another way is not guessed at. */
	cr_expect_eq(INIT(0, 0x55, 0x5d, 0xc3), 0xffffffff);
	cr_expect_eq(INIT(0, 0x50, 0xc3), 0xffffffff);
	cr_expect_eq(INIT(0, 0x48, 0x83, 0xec, 8, 0x58, 0xc3), 0xffffffff);
	cr_expect_eq(INIT(0, 0xf3, 0x0f, 0x1e, 0xfa), 0xffffffff);
	cr_expect_eq(INIT(0, 0xf3), 0xffffffff);
}

Test(unwind, instructions)
{
	const uint32_t entry = MT_INFO(MT_UNW_RSP, 0, 1, 0),
	               bad = MT_INFO(MT_UNW_UNSUPPORTED, 0, 0, 0);

	cr_expect_eq(INFO(0, 0), entry);
	cr_expect_eq(INFO(0xff, 0), entry);
	cr_expect_eq(MT_INFO_KIND(INFO(0x100, 0)), MT_UNW_NONE, "behind the function");
	/* push rbp; mov rsp, rbp */
	cr_expect_eq(INFO(0, 0x41, 0x0e, 16, 0x86, 2), entry);
	cr_expect_eq(INFO(1, 0x41, 0x0e, 16, 0x86, 2), MT_INFO(MT_UNW_RSP, 0, 2, -2));
	cr_expect_eq(INFO(4, 0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6),
	             MT_INFO(MT_UNW_RBP, 0, 2, -2));
	/* pop rdi, as vfork() does: the return address is there */
	cr_expect_eq(INFO(1, 0x41, 0x0e, 0, 0x09, 16, 5), MT_INFO(MT_UNW_RDI, 0, 0, 0));
	cr_expect_eq(INFO(1, 0x41, 0x0e, 0, 0x09, 16, 3), bad, "in another register");
	/* remember, restore */
	cr_expect_eq(INFO(9, 0x0a, 0x44, 0x0e, 64, 0x44, 0x0b), entry);
	cr_expect_eq(INFO(5, 0x0a, 0x44, 0x0e, 64, 0x44, 0x0b), MT_INFO(MT_UNW_RSP, 0, 8, 0));
	/* advances of 1, 2 and 4 bytes */
	cr_expect_eq(INFO(200, 0x02, 200, 0x0e, 24), MT_INFO(MT_UNW_RSP, 0, 3, 0));
	cr_expect_eq(INFO(199, 0x02, 200, 0x0e, 24), entry);
	cr_expect_eq(INFO(200, 0x03, 200, 0, 0x0e, 24), MT_INFO(MT_UNW_RSP, 0, 3, 0));
	cr_expect_eq(INFO(200, 0x04, 200, 0, 0, 0, 0x0e, 24), MT_INFO(MT_UNW_RSP, 0, 3, 0));
	/* no return address: the bottom */
	cr_expect_eq(INFO(0, 0x07, 16), MT_INFO(MT_UNW_BOTTOM, 0, 0, 0));
	/* a PLT entry; a realigned stack; another register; what nobody knows */
	cr_expect_eq(INFO(0, 0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22),
	             MT_INFO(MT_UNW_PLT, 0, 0, 0));
	cr_expect_eq(INFO(0, 0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0),
	             MT_INFO(MT_UNW_RBP_DEREF, MT_UNW_BP_AT_BP, -1, 0));
	cr_expect_eq(INFO(0, 0x0f, 5, 0x77, 16, 0x06, 0x23, 8),
	             MT_INFO(MT_UNW_RSP_DEREF, MT_UNW_ADD8, 2, 0));
	cr_expect_eq(INFO(0, 0x0c, 10, 0), bad);
	cr_expect_eq(INFO(0, 0x3e), bad);
	cr_expect_eq(INFO(0, 0x0b), bad, "restored, but never remembered");
	/* frames too large for a row; the largest that is not */
	cr_expect_eq(INFO(0, 0x0e, 0x80, 0x80, 0x80, 1), bad);
	cr_expect_eq(INFO(0, 0x0e, 0xf8, 0xff, 0x0f), MT_INFO(MT_UNW_RSP, 0, 32767, 0));
	/* cut short */
	cr_expect_eq(INFO(0, 0x0e), bad);
	cr_expect_eq(INFO(0, 0x0f, 200, 1), bad);
}

/* --- the walk
 * ------------------------------------------------------------------------------------- */

/* A stack of words from STACK up, code at 0x10000 that a table describes, and some without. */
enum { CODE = 0x10000, JIT = 0x20000, STACK = 0x7000 };

struct world {
	struct unwind_view view;
	uint64_t stack[64];
};

static int world_read(void *ctx, uint64_t addr, void *out, size_t n)
{
	struct world *w = ctx;

	if (addr < STACK || addr + n > STACK + sizeof(w->stack))
		return -1;
	memcpy(out, (uint8_t *)w->stack + (addr - STACK), n);
	return 0;
}

static int world_place(void *ctx, uint64_t addr, struct unwind_place *out)
{
	struct world *w = ctx;

	if (addr >= CODE && addr < CODE + 0x1000) {
		out->table = &w->view;
		out->file_offset = addr - CODE;
		return 0;
	}
	out->table = NULL;
	return addr >= JIT && addr < JIT + 0x1000 ? 0 : -1;
}

/* One row for each 0x10 bytes of code. */
static void walk_rows(struct world *w, const uint32_t *infos, uint32_t n)
{
	static uint64_t words[64];

	words[0] = 0;
	words[1] = n - 1;
	for (uint32_t i = 0; i < n; i++)
		words[2 + i] = MT_ROW(i * 0x10, infos[i]);
	w->view = (struct unwind_view){words, n + 2, 0, 1};
}

struct walked {
	uint64_t frames[8];
	size_t n;
	unsigned end, flags;
};

static struct walked walk(struct world *w, uint64_t ip, uint64_t sp, uint64_t bp)
{
	const struct unwind_ops ops = {world_read, world_place, w};
	struct unwind_regs r = {.ip = ip, .sp = sp, .bp = bp, .exact = true};
	struct walked out = {.flags = 0};

	out.n = unwind_remote(&ops, &r, out.frames, 8, &out.end, &out.flags);
	return out;
}

Test(unwind, walk_by_rows)
{
	const uint32_t rows[] = {MT_INFO(MT_UNW_RSP, 0, 1, 0), MT_INFO(MT_UNW_RSP, 0, 3, -2),
	                         MT_INFO(MT_UNW_RBP, 0, 2, -2), MT_INFO(MT_UNW_BOTTOM, 0, 0, 0),
	                         MT_INFO(MT_UNW_NONE, 0, 0, 0)};
	struct world w = {.stack = {0}};
	struct walked r;

	walk_rows(&w, rows, 5);
	w.stack[0] = CODE + 0x18;  /* caller: row 1, its rsp is STACK + 8 */
	w.stack[2] = STACK + 0x50; /* … it saved rbp here */
	w.stack[3] = CODE + 0x28;  /* caller: row 2, rbp is STACK + 0x50 */
	w.stack[10] = 0;           /* … saved rbp */
	w.stack[11] = CODE + 0x38; /* caller: the bottom */
	r = walk(&w, CODE + 4, STACK, 0x1234);
	cr_expect_eq(r.n, 4);
	cr_expect_eq(r.end, STACK_END_BOTTOM);
	cr_expect_eq(r.flags, STACK_F_TABLE);
	cr_expect_eq(r.frames[3], CODE + 0x38);
	/* A call that is the function's last instruction: its own row, not the next function's. */
	w.stack[0] = CODE + 0x20;
	r = walk(&w, CODE + 4, STACK, 0);
	cr_expect_eq(r.frames[1], CODE + 0x20);
	cr_expect_eq(r.frames[2], CODE + 0x28);
	cr_expect_eq(r.end, STACK_END_BOTTOM);
}

Test(unwind, walk_ends)
{
	const uint32_t rows[] = {MT_INFO(MT_UNW_RSP, 0, 1, 0), MT_INFO(MT_UNW_RSP, 0, 0, 0),
	                         MT_INFO(MT_UNW_NONE, 0, 0, 0)};
	struct world w = {.stack = {0}};
	struct walked r;

	walk_rows(&w, rows, 3);
	cr_expect_eq(walk(&w, 0x999999, STACK, 0).end, STACK_END_NO_MAPPING);
	cr_expect_eq(walk(&w, CODE + 4, 0x10, 0).end, STACK_END_BAD_READ);
	cr_expect_eq(walk(&w, CODE + 0x14, STACK, 0).end, STACK_END_BAD_ROW, "it leads nowhere");
	cr_expect_eq(walk(&w, CODE + 4, STACK, 0).end, STACK_END_BOTTOM, "return address 0");
	for (int i = 0; i < 64; i++)
		w.stack[i] = CODE + 5;
	r = walk(&w, CODE + 4, STACK, 0);
	cr_expect_eq(r.end, STACK_END_DEPTH);
	cr_expect_eq(r.n, 8);
}

Test(unwind, walk_by_frame_pointers)
{
	const uint32_t rows[] = {MT_INFO(MT_UNW_RSP, 0, 1, 0), MT_INFO(MT_UNW_BOTTOM, 0, 0, 0)};
	struct world w = {.stack = {0}};
	struct walked r;

	walk_rows(&w, rows, 2);
	w.stack[4] = STACK + 0x40;
	w.stack[5] = JIT + 0x20;
	w.stack[8] = 0x1;
	w.stack[9] = CODE + 0x18;
	r = walk(&w, JIT + 0x10, STACK, STACK + 0x20);
	cr_expect_eq(r.n, 3);
	cr_expect_eq(r.end, STACK_END_BOTTOM);
	cr_expect_eq(r.flags, STACK_F_FP | STACK_F_TABLE);
	/* No frame pointer: below the stack, odd, far away. */
	cr_expect_eq(walk(&w, JIT + 0x10, STACK, STACK - 0x10).end, STACK_END_NO_TABLE);
	cr_expect_eq(walk(&w, JIT + 0x10, STACK, STACK + 3).end, STACK_END_NO_TABLE);
	cr_expect_eq(walk(&w, JIT + 0x10, STACK, STACK + (8u << 20)).end, STACK_END_NO_TABLE);
	/* 0 ends a chain that there is; it says nothing of code that may keep none. */
	cr_expect_eq(walk(&w, JIT + 0x10, STACK, 0).end, STACK_END_NO_TABLE);
	w.stack[4] = 0;
	r = walk(&w, JIT + 0x10, STACK, STACK + 0x20);
	cr_expect_eq(r.n, 2);
	cr_expect_eq(r.end, STACK_END_BOTTOM);
}

Test(unwind, walk_through_a_signal)
{
	const uint32_t rows[] = {MT_INFO(MT_UNW_SIGNAL, 0, 0, 0), MT_INFO(MT_UNW_RBP, 0, 2, -2),
	                         MT_INFO(MT_UNW_BOTTOM, 0, 0, 0)};
	struct world w = {.stack = {0}};
	struct walked r;

	walk_rows(&w, rows, 3);
	w.stack[15] = STACK + 0x180; /* rbp, at byte 120 of the ucontext */
	w.stack[20] = STACK + 0x140; /* rsp */
	w.stack[21] = CODE + 0x10;   /* rip: the first byte of a function, as it was interrupted */
	w.stack[0x180 / 8] = 7;
	w.stack[0x188 / 8] = CODE + 0x28;
	r = walk(&w, CODE + 8, STACK, 0);
	cr_expect_eq(r.n, 3);
	cr_expect_eq(r.frames[1], CODE + 0x10);
	cr_expect_eq(r.frames[2], CODE + 0x28);
	cr_expect_eq(r.end, STACK_END_BOTTOM);
}

#else
Test(unwind, tables)
{
	cr_skip_test("tables are made for x86-64");
}
#endif
