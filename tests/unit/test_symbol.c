/* SPDX-License-Identifier: MIT */
/* ELF files and their symbols; kallsyms. Spaces and resolving: test_symbolizer.c. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "elfimg.h"
#include "symbol.h"

static struct elf_syms *open_img(const struct img *o)
{
	struct err err = {0};
	int fd = img_open(o);
	struct elf_syms *e = elf_syms_open(fd, "img", NULL, 0, &err);

	close(fd);
	cr_assert(e, "%s", err.msg);
	return e;
}

/* Is the function at text offset `at` called name (NULL: none), off bytes past its start? */
static void expect(struct elf_syms *e, uint64_t at, const char *name, uint64_t off)
{
	struct sym s;
	int err = elf_syms_lookup(e, IMG_TEXT_OFF + at, &s);

	if (!name) {
		cr_expect(err == -ENOENT && !s.name, "%#lx: %s instead of nothing", (long)at,
		          s.name ? s.name : "?");
		return;
	}
	cr_assert(!err, "%#lx: %d instead of %s", (long)at, err, name);
	cr_expect_str_eq(s.name, name, "%#lx: %s instead of %s", (long)at, s.name, name);
	cr_expect_eq(s.name_off, off, "%#lx: +%lu instead of +%lu", (long)at, (long)s.name_off,
	             (long)off);
	cr_expect(!s.src && !s.line);
}

Test(elf, names_and_gaps)
{
	static const struct img_sym syms[] = {
	        FUNC("second", 0x40, 0x10),
	        FUNC("first", 0x10, 0x10),
	};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 2});

	expect(e, 0x0f, NULL, 0);
	expect(e, 0x10, "first", 0);
	expect(e, 0x1f, "first", 0xf);
	expect(e, 0x20, NULL, 0);
	expect(e, 0x40, "second", 0);
	expect(e, 0x4f, "second", 0xf);
	expect(e, 0x50, NULL, 0);
	elf_syms_free(e);
}

Test(elf, every_class_and_byte_order)
{
	static const struct img_sym syms[] = {FUNC("f", 0x10, 0x10)};
	static const int classes[] = {ELFCLASS32, ELFCLASS64}, data[] = {ELFDATA2LSB, ELFDATA2MSB};
	static const int types[] = {ET_EXEC, ET_DYN};

	for (int i = 0; i < 8; i++) {
		struct img o = {.class = classes[i & 1],
		                .data = data[i >> 1 & 1],
		                .type = types[i >> 2],
		                .syms = syms,
		                .n_syms = 1,
		                .build_id = "0123456789abcdefghij"};
		uint8_t id[64];
		struct elf_syms *e = open_img(&o);
		int fd = img_open(&o);

		expect(e, 0x18, "f", 8);
		expect(e, 0x20, NULL, 0);
		cr_expect_eq(elf_build_id(fd, id), 20);
		cr_expect_arr_eq(id, "0123456789abcdefghij", 20);
		close(fd);
		elf_syms_free(e);
	}
}

Test(elf, outside_of_segments_there_is_nothing)
{
	static const struct img_sym syms[] = {FUNC("all", 0, IMG_TEXT_SIZE)};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 1});
	struct sym s;

	expect(e, 0, "all", 0);
	cr_expect_eq(elf_syms_lookup(e, IMG_TEXT_OFF - 1, &s), -ENOENT);
	cr_expect_eq(elf_syms_lookup(e, IMG_DATA_OFF, &s), -ENOENT);
	cr_expect_eq(elf_syms_lookup(e, UINT64_MAX, &s), -ENOENT);
	cr_expect_eq(elf_syms_lookup(e, IMG_TEXT_OFF + (1ull << 32), &s), -ENOENT);
	elf_syms_free(e);
}

Test(elf, without_a_size)
{
	static const struct img_sym syms[] = {
	        FUNC("a", 0x10, 0),
	        FUNC("b", 0x20, 0),
	        FUNC("sized", 0x40, 0x20),
	        FUNC("label_inside", 0x48, 0),
	        FUNC("long", 0x100, 0),
	        {"last", IMG_TEXT + IMG_TEXT_SIZE - 8, 0, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 6});

	expect(e, 0x1f, "a", 0xf);
	expect(e, 0x20, "b", 0);
	expect(e, 0x3f, "b", 0x1f);
	expect(e, 0x48, "sized", 8);
	expect(e, 0x5f, "sized", 0x1f);
	expect(e, 0x60, NULL, 0);
	expect(e, 0x100 + 4095, "long", 4095);
	expect(e, 0x100 + 4096, NULL, 0); /* sane limit */
	expect(e, IMG_TEXT_SIZE - 1, "last", 7);
	expect(e, IMG_TEXT_SIZE, NULL, 0); /* .fini: another section */
	elf_syms_free(e);
}

Test(elf, sizes_end_with_the_section)
{
	static const struct img_sym syms[] = {
	        FUNC("huge", 0x10, UINT64_MAX),
	        {"fini", IMG_FINI, 4, STB_GLOBAL, STT_FUNC, IMG_SEC_FINI},
	        {"elsewhere", IMG_DATA, 8, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	        {"before", TEXT(0x1800), 8, STB_GLOBAL, STT_FUNC, IMG_SEC_FINI},
	        {"after", IMG_FINI + 0x40, 8, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 5});

	expect(e, 0x1800, "huge", 0x17f0);
	expect(e, 0x1800, "huge", 0x17f0);
	expect(e, IMG_TEXT_SIZE - 1, "huge", IMG_TEXT_SIZE - 0x11);
	expect(e, IMG_TEXT_SIZE, "fini", 0);
	expect(e, IMG_TEXT_SIZE + 4, NULL, 0);
	expect(e, IMG_TEXT_SIZE + 0x40, NULL, 0);
	expect(e, IMG_TEXT_SIZE + 0x40, NULL, 0);
	elf_syms_free(e);
}

Test(elf, overlaps)
{
	static const struct img_sym syms[] = {
	        FUNC("outer", 0x100, 0x100),
	        FUNC("inner", 0x140, 0x10),
	        FUNC("innermost", 0x148, 4),
	        FUNC("across", 0x1f0, 0x20),
	        FUNC("longer", 0x300, 0x80),
	        {"longer_alias", TEXT(0x300), 0x10, STB_LOCAL, STT_FUNC, IMG_SEC_TEXT},
	        {"shorter_alias", TEXT(0x400), 0x80, STB_LOCAL, STT_FUNC, IMG_SEC_TEXT},
	        FUNC("shorter", 0x400, 0x10),
	};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 8});

	expect(e, 0x13f, "outer", 0x3f);
	expect(e, 0x140, "inner", 0);
	expect(e, 0x148, "innermost", 0);
	expect(e, 0x14c, "inner", 0xc);
	expect(e, 0x150, "outer", 0x50);
	expect(e, 0x1f0, "across", 0);
	expect(e, 0x20f, "across", 0x1f);
	expect(e, 0x210, NULL, 0);
	expect(e, 0x300, "longer", 0);
	expect(e, 0x37f, "longer", 0x7f);
	expect(e, 0x40f, "shorter", 0xf);
	expect(e, 0x410, "shorter_alias", 0x10);
	elf_syms_free(e);
}

/* Of the names from the n-th on, each is the best of those that follow it, in any order. */
Test(elf, which_alias_does_not_depend_on_order)
{
	static const struct img_sym best_first[] = {
	        {"read", TEXT(0x10), 16, STB_WEAK, STT_FUNC, IMG_SEC_TEXT},
	        {"_global", TEXT(0x10), 16, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	        {"_longer", TEXT(0x10), 16, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	        {"_a_longer", TEXT(0x10), 16, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	        {"_b_longer", TEXT(0x10), 16, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	        {"_aaa_weak", TEXT(0x10), 16, STB_WEAK, STT_FUNC, IMG_SEC_TEXT},
	        {"__read", TEXT(0x10), 16, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	        {"a_local", TEXT(0x10), 16, STB_LOCAL, STT_FUNC, IMG_SEC_TEXT},
	        {"__GI_read", TEXT(0x10), 16, STB_LOCAL, STT_FUNC, IMG_SEC_TEXT},
	        {"aaa_label", TEXT(0x10), 16, STB_GLOBAL, STT_NOTYPE, IMG_SEC_TEXT},
	        {"aaa_unsized", TEXT(0x10), 0, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	};
	struct img_sym syms[ARRAY_LEN(best_first)];

	for (size_t from = 0; from < ARRAY_LEN(best_first); from++) {
		size_t n = ARRAY_LEN(best_first) - from;

		for (size_t turn = 0; turn < n; turn++) {
			struct elf_syms *e;

			for (size_t i = 0; i < n; i++)
				syms[i] = best_first[from + (i + turn) % n];
			e = open_img(&(struct img){.syms = syms, .n_syms = n});
			expect(e, 0x18, best_first[from].name, 8);
			elf_syms_free(e);
		}
	}
}

Test(elf, what_is_no_function)
{
	static const struct img_sym syms[] = {
	        {"object", TEXT(0x10), 16, STB_GLOBAL, STT_OBJECT, IMG_SEC_TEXT},
	        {"undefined", TEXT(0x20), 16, STB_GLOBAL, STT_FUNC, SHN_UNDEF},
	        {"absolute", TEXT(0x30), 16, STB_GLOBAL, STT_FUNC, SHN_ABS},
	        {"no_section", TEXT(0x40), 16, STB_GLOBAL, STT_FUNC, 77},
	        {"$x", TEXT(0x50), 0, STB_LOCAL, STT_NOTYPE, IMG_SEC_TEXT},
	        {".Lmark", TEXT(0x60), 0, STB_LOCAL, STT_NOTYPE, IMG_SEC_TEXT},
	        {"", TEXT(0x70), 16, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT},
	        {"in_data", IMG_DATA, 16, STB_GLOBAL, STT_FUNC, IMG_SEC_DATA},
	        {"file.c", 0, 0, STB_LOCAL, STT_FILE, SHN_ABS},
	};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 9});
	struct sym s;

	for (uint64_t at = 0; at < 0x90; at++)
		expect(e, at, NULL, 0);
	cr_expect_eq(elf_syms_lookup(e, IMG_DATA_OFF, &s), -ENOENT);
	cr_expect_eq(elf_syms_data(e, TEXT(0x10), &s), -ENOENT, "an object among code");
	elf_syms_free(e);
}

Test(elf, data_symbols)
{
	static const struct img_sym syms[] = {
	        FUNC("f", 0x10, 0x10),
	        {"_PyRuntime", IMG_DATA + 0x10, 0x80, STB_GLOBAL, STT_OBJECT, IMG_SEC_DATA},
	        {"no_size", IMG_DATA + 0xa0, 0, STB_GLOBAL, STT_OBJECT, IMG_SEC_DATA},
	        {"tls", IMG_DATA + 0xc0, 8, STB_GLOBAL, STT_TLS, IMG_SEC_DATA},
	};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 4, .dynsym = true});
	struct sym s;

	cr_assert_eq(elf_syms_data(e, IMG_DATA + 0x18, &s), 0);
	cr_expect_str_eq(s.name, "_PyRuntime");
	cr_expect_eq(s.name_off, 8);
	cr_expect_eq(elf_syms_data(e, IMG_DATA + 0x90, &s), -ENOENT);
	cr_expect_eq(elf_syms_data(e, IMG_DATA + 0xa0, &s), -ENOENT);
	cr_expect_eq(elf_syms_data(e, IMG_DATA + 0xc0, &s), -ENOENT);
	cr_expect_eq(elf_syms_data(e, TEXT(0x10), &s), -ENOENT);
	expect(e, 0x10, "f", 0);
	elf_syms_free(e);
}

/* Exported names alone do not tell where a function without a size ends: others follow it that are
 * not exported. */
Test(elf, unsized_among_exported_names)
{
	static const struct img_sym syms[] = {
	        {"memset", TEXT(0x10), 0, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT}};

	for (int dynsym = 0; dynsym < 2; dynsym++) {
		struct elf_syms *e =
		        open_img(&(struct img){.syms = syms, .n_syms = 1, .dynsym = dynsym});
		struct sym s;

		expect(e, 0x10 + 63, "memset", 63);
		cr_expect_eq(elf_syms_lookup(e, IMG_TEXT_OFF + 0x10 + 64, &s),
		             dynsym ? -ENOENT : 0);
		elf_syms_free(e);
	}
}

Test(elf, version_is_no_part_of_the_name)
{
	static const struct img_sym syms[] = {
	        FUNC("fclose@@GLIBC_2.2.5", 0x10, 16),
	        FUNC("old@GLIBC_2.1", 0x20, 16),
	};
	struct elf_syms *e = open_img(&(struct img){.syms = syms, .n_syms = 2});

	expect(e, 0x10, "fclose", 0);
	expect(e, 0x11, "fclose", 1);
	expect(e, 0x20, "old", 0);
	elf_syms_free(e);
}

Test(elf, wrong_build_id_gives_no_names)
{
	static const struct img_sym syms[] = {FUNC("f", 0x10, 0x10)};
	struct img o = {.syms = syms, .n_syms = 1, .build_id = "0123456789abcdefghij"};
	int fd = img_open(&o);
	struct err err = {0};
	struct elf_syms *e =
	        elf_syms_open(fd, "a\nb", (const uint8_t *)"0123456789abcdefghij", 20, &err);

	cr_assert(e);
	elf_syms_free(e);
	cr_expect_null(
	        elf_syms_open(fd, "a\nb", (const uint8_t *)"X123456789abcdefghij", 20, &err));
	cr_expect(strstr(err.msg, "build id"), "%s", err.msg);
	cr_expect_null(strchr(err.msg, '\n'));
	cr_expect_null(elf_syms_open(fd, "a", (const uint8_t *)"0123456789abcdefghi", 19, &err));
	close(fd);
	o.build_id = NULL;
	fd = img_open(&o);
	cr_expect_null(elf_syms_open(fd, "a", (const uint8_t *)"0123456789abcdefghij", 20, &err));
	close(fd);
}

/* --- separate debug files ------------------------------------------------------------- */

static void write_file(const char *dir, const char *name, const struct buf *b)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert(fd >= 0 && !write_full(fd, b->p, b->n));
	close(fd);
}

/* Writes `debug` as dir/name, opens `main` as if it lay in dir and looks for "f". */
static bool found_in(const char *dir, const char *name, const struct img *main,
                     const struct img *debug)
{
	struct buf b = {0};
	char path[256];
	struct elf_syms *e;
	struct sym s;
	bool found;
	int fd;

	img_make(debug, &b);
	write_file(dir, name, &b);
	buf_release(&b);
	fd = img_open(main);
	snprintf(path, sizeof(path), "%s/prog", dir);
	e = elf_syms_open(fd, path, NULL, 0, NULL);
	cr_assert(e);
	close(fd);
	found = !elf_syms_lookup(e, IMG_TEXT_OFF + 0x18, &s) && !strcmp(s.name, "f") &&
	        s.name_off == 8;
	elf_syms_free(e);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	return found;
}

Test(elf, separate_debug_file)
{
	static const struct img_sym syms[] = {FUNC("f", 0x10, 0x10)};
	struct img dbg = {.syms = syms, .n_syms = 1, .debug_only = true};
	struct img main = {.no_symbols = true, .debuglink = "prog.debug"};
	char dir[] = "/tmp/mt-symbol-XXXXXX", sub[64];
	struct buf b = {0};

	cr_assert(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/.debug", dir);
	cr_assert(!mkdir(sub, 0700));

	img_make(&dbg, &b);
	main.crc = (uint32_t)crc32(0, b.p, (uInt)b.n);
	buf_release(&b);
	cr_expect(found_in(dir, "prog.debug", &main, &dbg));
	cr_expect(found_in(dir, ".debug/prog.debug", &main, &dbg));
	cr_expect_not(found_in(dir, "other.debug", &main, &dbg));
	main.crc++;
	cr_expect_not(found_in(dir, "prog.debug", &main, &dbg), "CRC differs");

	main.build_id = "0123456789abcdefghij";
	cr_expect_not(found_in(dir, "prog.debug", &main, &dbg), "it has no build id");
	dbg.build_id = "0123456789abcdefghiX";
	cr_expect_not(found_in(dir, "prog.debug", &main, &dbg), "build id differs");
	dbg.build_id = main.build_id;
	cr_expect(found_in(dir, "prog.debug", &main, &dbg), "the build id proves it");

	main.debuglink = ".debug/prog.debug";
	cr_expect_not(found_in(dir, ".debug/prog.debug", &main, &dbg), "a path is no name");
	rmdir(sub);
	rmdir(dir);
}

Test(elf, dynsym_when_the_debug_file_is_missing)
{
	static const struct img_sym syms[] = {FUNC("f", 0x10, 0x10)};
	struct elf_syms *e = open_img(&(struct img){
	        .syms = syms, .n_syms = 1, .dynsym = true, .debuglink = "nowhere.debug", .crc = 1});

	expect(e, 0x10, "f", 0);
	elf_syms_free(e);
}

/* --- real files ------------------------------------------------------------------------- */

/* Defined here so that the test binary, linked without -rdynamic, has them in .symtab. */
__attribute__((noinline)) static int local_function(int x)
{
	return x * 3 + 1;
}

static int find_base(struct dl_phdr_info *info, size_t size, void *ctx)
{
	(void)size;
	*(uint64_t *)ctx = info->dlpi_addr; /* the program itself comes first */
	return 1;
}

/* File offset of an address of an object loaded at base, by its own program headers. */
static uint64_t offset_of(int fd, uint64_t vaddr)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	cr_assert_eq(pread_full(fd, &eh, sizeof(eh), 0), (ssize_t)sizeof(eh));
	for (int i = 0; i < eh.e_phnum; i++) {
		cr_assert_eq(pread_full(fd, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)),
		             (ssize_t)sizeof(ph));
		if (ph.p_type == PT_LOAD && vaddr - ph.p_vaddr < ph.p_filesz)
			return vaddr - ph.p_vaddr + ph.p_offset;
	}
	cr_assert(false, "%#lx is not loaded from the file", (long)vaddr);
	return 0;
}

static void expect_real(const char *path, uint64_t vaddr, const char *name, uint64_t name_off)
{
	int fd = open(path, O_RDONLY);
	struct err err = {0};
	struct elf_syms *e;
	struct sym s;

	cr_assert(fd >= 0, "%s", path);
	e = elf_syms_open(fd, path, NULL, 0, &err);
	cr_assert(e, "%s", err.msg);
	cr_assert_eq(elf_syms_lookup(e, offset_of(fd, vaddr + name_off), &s), 0);
	cr_expect_str_eq(s.name, name);
	cr_expect_eq(s.name_off, name_off);
	elf_syms_free(e);
	close(fd);
}

Test(elf, this_program)
{
	uint64_t base = 0;

	dl_iterate_phdr(find_base, &base);
	expect_real((const char *)getauxval(AT_EXECFN), (uintptr_t)local_function - base,
	            "local_function", 3);
	cr_expect_eq(local_function(2), 7);
}

Test(elf, linkage_table)
{
	const char *path = (const char *)getauxval(AT_EXECFN);
	int fd = open(path, O_RDONLY), found = 0;
	struct elf_syms *e = elf_syms_open(fd, path, NULL, 0, NULL);
	struct sym s;

	cr_assert(e);
	close(fd);
	/* This program calls getauxval() of libc, so it has an entry for it. */
	for (uint64_t off = 0; off < 16 << 20; off += 8)
		found += !elf_syms_lookup(e, off, &s) && !strcmp(s.name, "getauxval@plt") &&
		         !s.name_off;
	elf_syms_free(e);
#ifdef __x86_64__
	cr_expect_eq(found, 1);
#else
	cr_expect_eq(found, 0);
#endif
}

Test(elf, libc)
{
	void *f = dlsym(RTLD_DEFAULT, "envz_add");
	Dl_info info;

	cr_assert(f && dladdr(f, &info));
	expect_real(info.dli_fname, (uint64_t)f - (uint64_t)info.dli_fbase, "envz_add", 1);
}

/* --- kallsyms -------------------------------------------------------------------------------- */

static struct kallsyms *kallsyms_of(const char *text, struct err *err)
{
	int fd = img_fd(text, strlen(text));
	struct kallsyms *k;

	lseek(fd, 0, SEEK_SET);
	k = kallsyms_read(fd, err);
	close(fd);
	return k;
}

static void expect_k(const struct kallsyms *k, uint64_t addr, const char *name, uint64_t off)
{
	struct sym s;
	int err = kallsyms_lookup(k, addr, &s);

	if (!name) {
		cr_expect(err == -ENOENT, "%#lx: %s", (long)addr, s.name ? s.name : "?");
		return;
	}
	cr_assert(!err, "%#lx", (long)addr);
	cr_expect_str_eq(s.name, name);
	cr_expect_eq(s.name_off, off);
}

Test(kallsyms, names)
{
	struct err err = {0};
	struct kallsyms *k = kallsyms_of("0000000000000000 A fixed_percpu_data\n"
	                                 "ffffffff81000000 T _stext\n"
	                                 "ffffffff81000000 T startup_64\n"
	                                 "ffffffff81000000 T _text\n"
	                                 "ffffffff81000100 t local\n"
	                                 "ffffffff81000100 T schedule\n"
	                                 "ffffffff81000200 W weak\n"
	                                 "ffffffff81000300 T _etext\n"
	                                 "ffffffff81000400 D data\n"
	                                 "ffffffffc0001000 t nf_hook\t[nf_tables]\n"
	                                 "ffffffffc0001040 d table\t[nf_tables]\n"
	                                 "ffffffffc0400000 t last\t[mod]",
	                                 &err);

	cr_assert(k, "%s", err.msg);
	expect_k(k, 0, NULL, 0);
	expect_k(k, 0xffffffff80ffffff, NULL, 0);
	expect_k(k, 0xffffffff81000000, "startup_64", 0);
	expect_k(k, 0xffffffff81000180, "schedule", 0x80);
	expect_k(k, 0xffffffff810002ff, "weak", 0xff);
	expect_k(k, 0xffffffff81000300, NULL, 0);
	expect_k(k, 0xffffffff81000400, NULL, 0);
	expect_k(k, 0xffffffffc000103f, "nf_hook [nf_tables]", 0x3f);
	expect_k(k, 0xffffffffc0001040, NULL, 0);
	expect_k(k, 0xffffffffc0001050, NULL, 0);
	expect_k(k, 0xffffffffc0400010, "last [mod]", 0x10);
	expect_k(k, 0xffffffffc0500000, NULL, 0);
	expect_k(k, UINT64_MAX, NULL, 0);
	kallsyms_free(k);
}

Test(kallsyms, hidden_or_empty)
{
	struct err err = {0};

	cr_expect_null(kallsyms_of("0000000000000000 T a\n0000000000000000 t b\n", &err));
	cr_expect(strstr(err.msg, "kptr_restrict"), "%s", err.msg);
	cr_expect_eq(err.status, MT_EXIT_PRIVILEGE);
	cr_expect_null(kallsyms_of("", &err));
	cr_expect_null(kallsyms_of("ffffffff81000400 D data\n", &err));
	cr_expect_null(kallsyms_read(-1, &err));
	cr_expect(strstr(err.msg, "Bad file"), "%s", err.msg);
}

Test(kallsyms, garbage)
{
	static const char *const texts[] = {
	        "\n\n\n",
	        "x",
	        "ffffffff81000000",
	        "ffffffff81000000 T",
	        "ffffffff81000000 T ",
	        "fffffffffffffffff T too_long\n",
	        "ffffffff81000000  T a\n",
	        "zz T a\n",
	        "ffffffff81000000 T a\n\t[m]\n",
	        "ffffffffffffffff T end\n",
	        "ffffffff81000000 T \t[m]\n",
	};
	char *line = malloc(200001);
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		kallsyms_free(kallsyms_of(texts[i], NULL));
	memset(line, 'a', 200000);
	line[200000] = 0;
	cr_expect_null(kallsyms_of(line, &err));
	cr_expect(strstr(err.msg, strerror(EBADMSG)), "%s", err.msg);
	free(line);
}

Test(kallsyms, many_lines)
{
	struct buf b = {0};
	struct kallsyms *k;

	for (uint64_t i = 0; i < 200000; i++)
		cr_assert(!buf_printf(&b, "%016lx t f%lu\n", (long)(0xffffffff81000000 + 64 * i),
		                      (long)i));
	k = kallsyms_of((char *)b.p, NULL);
	cr_assert(k);
	expect_k(k, 0xffffffff81000000 + 64 * 123456 + 5, "f123456", 5);
	expect_k(k, 0xffffffff81000000 + 64 * 199999ull, "f199999", 0);
	kallsyms_free(k);
	buf_release(&b);
}
