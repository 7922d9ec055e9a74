/* SPDX-License-Identifier: MIT */
/* Naming all the frames of a recording, and variables. Address spaces: test_spaces.c. */
#include <sys/auxv.h>

#include "symbolizer_test.h"

Test(symbolizer, return_addresses_belong_to_the_call_before)
{
	struct world w;

	world_open(&w);
	symbolizer_space(w.s, 1, 0, 0);
	map_at(&w, 1, w.lib, 0x10000, 1);
	stack(&w, 1, 2, 0x10018, 0x10020); /* inside caller; called by caller's last instruction */
	stack(&w, 1, 2, 0x10028, 0x10028); /* seen both ways, not at a start */
	stack(&w, 1, 2, 0x10100, 0x10118); /* at a start; past an end */
	stack(&w, 1, 2, 0x10101, 0x10100); /* at a start, both ways; nothing before it */
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "caller", 8);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x20, "caller", 0x10);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x28, "next", 8);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x100, "alone", 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x118, "", 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x101, "alone", 1);
	cr_expect_eq(w.seen.n, 6);
	cr_expect_eq(w.st.frames, 6);
	cr_expect_eq(w.st.resolved, 5);
	cr_expect_eq(w.st.files, 1);
	cr_expect_eq(w.st.files_failed, 0);
	cr_expect_not(w.st.timed_out);
	cr_expect_eq(w.notes.n, 0);
	world_close(&w);
}

Test(symbolizer, exact_at_a_start_and_both_ways)
{
	struct world w;

	world_open(&w);
	map_at(&w, 1, w.lib, 0x10000, 1);
	stack(&w, 1, 2, 0x10020, 0);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x20, "next", 0);
	stack(&w, 1, 2, 0x10020, 0x10020);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x20, "caller", 0x10);
	world_close(&w);
}

Test(symbolizer, a_file_is_opened_once_for_all_processes)
{
	struct world w;

	world_open(&w);
	symbolizer_space(w.s, 1, 0, 0);
	map_at(&w, 1, w.lib, 0x10000, 1);
	for (uint32_t i = 2; i < 5000; i++) {
		symbolizer_space(w.s, i, i % 2 ? 1 : 0, i);
		if (i % 2 == 0)
			map_at(&w, i, w.lib, (uint64_t)i << 16, i);
		stack(&w, i, 6000, i % 2 ? 0x10018 : ((uint64_t)i << 16) + 0x18, 0);
	}
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.seen.n, 1);
	cr_expect_eq(w.st.frames, 1);
	cr_expect_eq(w.st.files, 1);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "caller", 8);
	world_close(&w);
}

Test(symbolizer, maps_may_come_after_the_stacks)
{
	struct world w;

	world_open(&w);
	stack(&w, 1, 5, 0x10018, 0x20018);
	stack(&w, 1, 50, 0x20018, 0x10018);
	symbolizer_space(w.s, 1, 0, 0);
	map_at(&w, 1, w.lib, 0x10000, 9);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.seen.n, 1);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "caller", 8);
	world_close(&w);
}

Test(symbolizer, an_address_may_see_two_files)
{
	struct world w;

	world_open(&w);
	stack(&w, 1, 5, 0x10018, 0x10018);
	stack(&w, 1, 50, 0x10018, 0x10018);
	map_at(&w, 1, w.lib, 0x10000, 1);
	map_at(&w, 1, "/nonexistent/other.so", 0x10000, 20);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.seen.n, 2);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "caller", 8);
	expect(&w, "/nonexistent/other.so", IMG_TEXT_OFF + 0x18, "", 0);
	world_close(&w);
}

Test(symbolizer, what_is_no_file)
{
	static const char *const names[] = {"",
	                                    "//anon",
	                                    "[heap]",
	                                    "[stack]",
	                                    "anon_inode:[perf_event]",
	                                    "relative",
	                                    "/nonexistent/lib.so",
	                                    "/tmp",
	                                    "/tmp/gone (deleted)",
	                                    "/dev/null",
	                                    "/dev/zero"};
	struct world w;

	world_open(&w);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		map_at(&w, 1, names[i], (i + 1) << 16, 1);
		stack(&w, 1, 2, ((i + 1) << 16) + 0x18, ((i + 1) << 16) + 0x20);
	}
	cr_assert(!symbolizer_map(w.s, 1, &(struct sym_map){.start = 1 << 24, .end = 2 << 24}));
	stack(&w, 1, 2, 1 << 24, 0);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.st.resolved, 0);
	cr_expect_eq(w.st.files, 5);
	cr_expect_eq(w.st.files_failed, 5);
	expect(&w, "/nonexistent/lib.so", IMG_TEXT_OFF + 0x18, "", 0);
	cr_expect(noted(&w, "/nonexistent/lib.so: no symbols: No such file"));
	cr_expect(noted(&w, "/tmp/gone (deleted): no symbols: the file was gone"));
	cr_expect(noted(&w, "/dev/null: no symbols: not a regular file"));
	cr_expect_not(noted(&w, "anon"));
	world_close(&w);
}

Test(symbolizer, another_build_than_the_one_that_ran)
{
	struct world w;
	struct img other = lib_img;

	world_open(&w);
	map_at(&w, 1, w.lib, 0x10000, 1);
	stack(&w, 1, 2, 0x10018, 0x10020);
	other.build_id = "X123456789abcdefghij";
	put_file(w.lib, &other);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "", 0);
	cr_expect_eq(w.st.files_failed, 1);
	cr_expect(noted(&w, "build id differs"));
	world_close(&w);
}

Test(symbolizer, two_builds_of_one_path)
{
	struct world w;
	struct sym_map m = {0x20000, 0x22000, IMG_TEXT_OFF, NULL, (const uint8_t *)"other", 5, 1};

	world_open(&w);
	m.file = w.lib;
	map_at(&w, 1, w.lib, 0x10000, 1);
	cr_assert(!symbolizer_map(w.s, 1, &m));
	stack(&w, 1, 2, 0x10018, 0x20018);
	stack(&w, 1, 2, 0x20028, 0);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.seen.n, 2); /* find() sees to it that no key comes twice */
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "caller", 8);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x28, "", 0);
	world_close(&w);
}

Test(symbolizer, kernel_frames)
{
	static const char text[] = "ffffffff81000000 T schedule\nffffffff81000100 T next\n";
	int fd = img_fd(text, strlen(text));
	struct kallsyms *k;
	struct world w;

	lseek(fd, 0, SEEK_SET);
	k = kallsyms_read(fd, NULL);
	close(fd);
	cr_assert(k);
	world_open(&w);
	stack(&w, 0, 1, 0xffffffff81000010, 0xffffffff81000100);
	stack(&w, 0, 1, 0xffffffff80000000, 0);
	cr_assert_eq(resolve(&w, k, NULL), 0);
	expect(&w, "[kernel]", 0xffffffff81000010, "schedule", 0x10);
	expect(&w, "[kernel]", 0xffffffff81000100, "schedule", 0x100);
	expect(&w, "[kernel]", 0xffffffff80000000, "", 0);
	cr_expect_eq(w.st.files, 0);
	cr_expect_eq(w.st.resolved, 2);
	stack(&w, 0, 1, 0xffffffff81000010, 0xffffffff81000100);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.seen.n, 0);
	kallsyms_free(k);
	world_close(&w);
}

/* The start of __vdso_clock_gettime in our own vdso, by its dynamic symbols. */
static uint64_t vdso_function(uint64_t base)
{
	const Elf64_Ehdr *eh = (const void *)base;
	const Elf64_Shdr *sh = (const void *)(base + eh->e_shoff);

	for (int i = 0; i < eh->e_shnum; i++) {
		const Elf64_Sym *sym = (const void *)(base + sh[i].sh_offset);
		const char *names = (const char *)base + sh[sh[i].sh_link].sh_offset;

		for (size_t k = 0; sh[i].sh_type == SHT_DYNSYM && k < sh[i].sh_size / sizeof(*sym);
		     k++) {
			if (!strcmp(names + sym[k].st_name, "__vdso_clock_gettime"))
				return sym[k].st_value;
		}
	}
	return 0;
}

Test(symbolizer, vdso)
{
	uint64_t base = getauxval(AT_SYSINFO_EHDR), f;
	struct world w;

	if (!base)
		cr_skip_test("no vdso here");
	f = vdso_function(base);
	if (!f)
		cr_skip_test("the vdso names its functions otherwise");
	world_open(&w);
	cr_assert(!symbolizer_map(w.s, 1,
	                          &(struct sym_map){base, base + 0x4000, 0, "[vdso]", NULL, 0, 1}));
	cr_assert(!symbolizer_map(
	        w.s, 2, &(struct sym_map){0xf7700000, 0xf7704000, 0, "[vdso]", NULL, 0, 1}));
	stack(&w, 1, 2, base + f + 1, 0);
	stack(&w, 2, 2, 0xf7700200, 0); /* 32-bit: another image */
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.seen.n, 1);
	cr_expect_eq(w.seen.v[0].offset, f + 1);
	cr_expect(strstr(w.seen.v[0].name, "clock_gettime"), "%s", w.seen.v[0].name);
	cr_expect_eq(w.seen.v[0].name_off, 1);
	world_close(&w);
}

Test(symbolizer, limits)
{
	struct world w;

	world_open(&w);
	map_at(&w, 1, w.lib, 0x10000, 1);
	stack(&w, 1, 2, 0x10018, 0x10020);
	cr_assert_eq(resolve(&w, NULL, &(struct symbolizer_limits){.max_total_ns = 1}), 0);
	cr_expect(w.st.timed_out);
	cr_expect_eq(w.seen.n, 0);
	cr_expect(noted(&w, "2 of 2 frames"));

	stack(&w, 1, 2, 0x10018, 0x10020);
	cr_assert_eq(resolve(&w, NULL, &(struct symbolizer_limits){.max_file_bytes = 1000}), 0);
	cr_expect_not(w.st.timed_out);
	cr_expect_eq(w.st.resolved, 0);
	cr_expect(noted(&w, "too large"));

	stack(&w, 1, 2, 0x10018, 0x10020);
	w.stop_after = 1;
	cr_expect_eq(resolve(&w, NULL, NULL), -77);
	cr_expect_eq(w.seen.n, 1);
	world_close(&w);
}

Test(symbolizer, notes_are_bounded_and_of_one_line)
{
	struct world w;
	size_t lines = 0;

	world_open(&w);
	for (uint64_t i = 1; i <= 200; i++) {
		char name[64];

		snprintf(name, sizeof(name), "/nonexistent/a\nb\x1b[31m%lu", (long)i);
		map_at(&w, 1, name, i << 16, 1);
		stack(&w, 1, 2, (i << 16) + 0x18, 0);
	}
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	for (size_t i = 0; i < w.notes.n; i++)
		lines += w.notes.p[i] == '\n';
	cr_expect_eq(lines, 51);
	cr_expect(noted(&w, "150 more files"));
	cr_expect_null(memchr(w.notes.p, 0x1b, w.notes.n));
	world_close(&w);
}

Test(symbolizer, a_million_frames, .timeout = 60)
{
	struct world w;
	uint64_t frames[100];

	world_open(&w);
	map_at(&w, 1, w.lib, 0x10000, 1);
	for (uint64_t i = 0; i < 10000; i++) {
		for (uint64_t k = 0; k < ARRAY_LEN(frames); k++)
			frames[k] = 0x10000 + (i * 7 + k) % 0x1000;
		cr_assert(!symbolizer_stack(w.s, 1, 2, frames, ARRAY_LEN(frames)));
	}
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.st.frames, 0x1000);
	cr_expect_eq(w.seen.n, 0x1000);
	world_close(&w);
}

Test(symbolizer, nothing)
{
	struct world w;

	world_open(&w);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	cr_expect_eq(w.seen.n + w.st.frames + w.notes.n, 0);
	cr_assert_eq(symbolizer_resolve(w.s, NULL, NULL, on_symbol, &w, NULL, NULL), 0);
	symbolizer_free(NULL);
	world_close(&w);
}

/* --- variables: this very program's --------------------------------------------------------- */

extern int object_in_bss[40], object_in_data;
extern __thread int object_of_thread;
int object_in_bss[40], object_in_data = 1;
__thread int object_of_thread = 1;

/* Tells s of the executable mappings of this process. */
static void map_self(struct symbolizer *s, uint32_t space)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[4200], perms[5], file[4096];
	struct sym_map m = {.ts = 1, .file = file};

	cr_assert(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long start, end, off;

		if (sscanf(line, "%lx-%lx %4s %lx %*s %*s %4095s", &start, &end, perms, &off,
		           file) != 5 ||
		    perms[2] != 'x')
			continue;
		m.start = start;
		m.end = end;
		m.offset = off;
		cr_assert(!symbolizer_map(s, space, &m));
	}
	fclose(f);
}

static void expect_object(struct symbolizer *s, const void *at, const char *name, uint64_t off,
                          uint64_t size)
{
	struct symbol_object o;

	cr_assert_eq(symbolizer_object(s, 1, (uintptr_t)at, &o), 0, "%s", name);
	cr_expect_str_eq(o.name, name);
	cr_expect_eq(o.off, off);
	cr_expect_eq(o.size, size);
	cr_expect(strstr(o.module, "test_symbolizer"), "%s", o.module);
}

Test(object, variables_of_a_running_program)
{
	struct symbolizer *s = symbolizer_new();
	struct symbol_object o;
	void *heap = malloc(100);

	map_self(s, 1);
	expect_object(s, &object_in_bss[0], "object_in_bss", 0, sizeof(object_in_bss));
	expect_object(s, (char *)&object_in_bss[40] - 1, "object_in_bss", sizeof(object_in_bss) - 1,
	              sizeof(object_in_bss));
	expect_object(s, &object_in_data, "object_in_data", 0, sizeof(int));
	cr_expect_eq(symbolizer_object(s, 1, (uintptr_t)&object_of_thread, &o), -ENOENT);
	cr_expect_eq(symbolizer_object(s, 1, (uintptr_t)heap, &o), -ENOENT);
	cr_expect_eq(symbolizer_object(s, 1, (uintptr_t)&o, &o), -ENOENT, "a stack");
	cr_expect_eq(symbolizer_object(s, 1, 0, &o), -ENOENT);
	cr_expect_eq(symbolizer_object(s, 9, (uintptr_t)object_in_bss, &o), -ENOENT);
	cr_expect_null(o.name);
	free(heap);
	symbolizer_free(s);
}
