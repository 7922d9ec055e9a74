/* SPDX-License-Identifier: MIT */
/* Address spaces and their maps, and naming all the frames of a recording. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elfimg.h"
#include "symbol.h"
#include "symbol/symbolizer_priv.h"

#define FUNC(name, at, size)                                                    \
	{                                                                       \
		name, IMG_TEXT + (at), size, STB_GLOBAL, STT_FUNC, IMG_SEC_TEXT \
	}

/* --- spaces: op array ------------------------------------------------------------------------ */

enum { SPACE, MAP, FIND, LATE };

struct op {
	int what;
	uint32_t space;
	uint64_t ts;
	uint64_t a, b; /* SPACE: parent · MAP: start, end · FIND, LATE: address, then the answer */
	uint32_t file; /* MAP: file · FIND, LATE: expected file, 0 = none */
};

static void run_ops(const struct op *ops, size_t n)
{
	struct spaces *t = spaces_new();

	cr_assert(t);
	for (size_t i = 0; i < n; i++) {
		const struct op *o = &ops[i];
		struct mapping m = {o->a, o->b, 0x1000, o->ts, o->file};
		const struct mapping *found;

		if (o->what == SPACE) {
			cr_assert(!spaces_add(t, o->space, (uint32_t)o->a, o->ts));
		} else if (o->what == MAP) {
			cr_assert(!spaces_map(t, o->space, &m));
		} else {
			found = o->what == FIND ? spaces_find(t, o->space, o->ts, o->a)
			                        : spaces_find_at(t, o->space, o->ts, o->a);
			cr_expect_eq(found ? found->file : 0, o->file, "op %zu: file %u", i,
			             found ? found->file : 0);
			/* Whatever was cut off a mapping, offsets stay true. */
			if (found && o->b)
				cr_expect_eq(o->a - found->start + found->offset, o->b, "op %zu",
				             i);
		}
	}
	spaces_free(t);
}

#define RUN(...)                                               \
	do {                                                   \
		static const struct op ops_[] = {__VA_ARGS__}; \
		run_ops(ops_, ARRAY_LEN(ops_));                \
	} while (0)

/* clang-format off */
Test(spaces, later_maps_replace_earlier_ones)
{
	RUN({SPACE, 1, 5, 0, 0, 0},
	    {MAP, 1, 10, 0x1000, 0x9000, 1},
	    {FIND, 1, 9, 0x1000, 0, 0},
	    {FIND, 1, 10, 0x0fff, 0, 0}, {FIND, 1, 10, 0x1000, 0x1000, 1}, {FIND, 1, 10, 0x8fff, 0x8fff, 1},
	    {FIND, 1, 10, 0x9000, 0, 0},
	    {MAP, 1, 20, 0x3000, 0x5000, 2},
	    {FIND, 1, 20, 0x2fff, 0x2fff, 1}, {FIND, 1, 20, 0x3000, 0x1000, 2},
	    {FIND, 1, 20, 0x4fff, 0x2fff, 2}, {FIND, 1, 20, 0x5000, 0x5000, 1},
	    {FIND, 1, 15, 0x3000, 0, 0},	/* the layout is younger */
	    {LATE, 1, 15, 0x3000, 0x3000, 1}, {LATE, 1, 20, 0x3000, 0x1000, 2},
	    {LATE, 1, 9, 0x3000, 0x3000, 1},	/* before all: the next one */
	    {MAP, 1, 30, 0x0, 0xa000, 3},
	    {FIND, 1, 30, 0x4000, 0x5000, 3}, {FIND, 1, 30, 0x9fff, 0xafff, 3}, {LATE, 1, 25, 0x4000, 0x2000, 2});
}

Test(spaces, late_news_of_earlier_maps)
{
	RUN({SPACE, 1, 5, 0, 0, 0},
	    {MAP, 1, 20, 0x3000, 0x5000, 2},
	    {MAP, 1, 10, 0x1000, 0x9000, 1},
	    {FIND, 1, 20, 0x2fff, 0x2fff, 1}, {FIND, 1, 20, 0x3000, 0x1000, 2},
	    {FIND, 1, 20, 0x5000, 0x5000, 1},
	    {MAP, 1, 15, 0x4000, 0x6000, 3},
	    {FIND, 1, 20, 0x4fff, 0x2fff, 2}, {FIND, 1, 20, 0x5000, 0x2000, 3}, {FIND, 1, 20, 0x6000, 0x6000, 1},
	    {LATE, 1, 16, 0x4800, 0x1800, 3}, {LATE, 1, 14, 0x4800, 0x4800, 1});
}

Test(spaces, a_child_has_its_parents_maps_as_of_the_fork)
{
	RUN({SPACE, 1, 5, 0, 0, 0},
	    {MAP, 1, 10, 0x1000, 0x2000, 1},
	    {SPACE, 2, 20, 1, 0, 0},
	    {MAP, 1, 30, 0x1000, 0x2000, 2},
	    {MAP, 1, 30, 0x5000, 0x6000, 2},
	    {FIND, 2, 40, 0x1000, 0x1000, 1}, {FIND, 2, 40, 0x5000, 0, 0}, {FIND, 1, 40, 0x1000, 0x1000, 2},
	    {MAP, 2, 50, 0x5000, 0x6000, 3},
	    {FIND, 2, 50, 0x5000, 0, 3}, {FIND, 1, 50, 0x5000, 0, 2},
	    {LATE, 2, 45, 0x1000, 0, 1}, {LATE, 2, 45, 0x5000, 0, 3});
}

Test(spaces, a_fork_told_late)
{
	RUN({SPACE, 1, 5, 0, 0, 0},
	    {MAP, 1, 10, 0x1000, 0x2000, 1}, {MAP, 1, 30, 0x1000, 0x2000, 2},
	    {MAP, 2, 35, 0x7000, 0x8000, 4},	/* used before it is declared */
	    {SPACE, 2, 20, 1, 0, 0},
	    {FIND, 2, 40, 0x1000, 0, 0}, {LATE, 2, 40, 0x1000, 0, 1},	/* not 2: that came after the fork */
	    {FIND, 2, 40, 0x7000, 0, 4}, {FIND, 1, 40, 0x7000, 0, 0},
	    {SPACE, 2, 99, 0, 0, 0},		/* a second declaration changes nothing */
	    {LATE, 2, 40, 0x1000, 0, 1});
}

Test(spaces, odd_calls)
{
	RUN({SPACE, 1, 5, 1, 0, 0},		/* its own parent */
	    {SPACE, 3, 5, 4, 0, 0}, {SPACE, 4, 5, 3, 0, 0},	/* a circle */
	    {LATE, 3, 9, 0x1000, 0, 0},
	    {MAP, 1, 1, 0x2000, 0x1000, 1}, {MAP, 1, 1, 0x1000, 0x1000, 1},
	    {FIND, 1, 9, 0x1000, 0, 0}, {FIND, 77, 9, 0x1000, 0, 0}, {LATE, 77, 9, 0x1000, 0, 0},
	    {MAP, 1, 2, 0, UINT64_MAX, 5}, {FIND, 1, 9, UINT64_MAX - 1, 0xffe, 5}, {FIND, 1, 9, UINT64_MAX, 0, 0},
	    {MAP, 1, 3, 0x1000, 0x2000, 0},	/* no file: covers what was there */
	    {FIND, 1, 9, 0x0fff, 0, 5}, {FIND, 1, 9, 0x1000, 0, 0});
}
/* clang-format on */

/* The layout against the plain rule: the latest mapping of the address wins. */
Test(spaces, any_order_gives_the_same_layout)
{
	enum { N = 60, PAGES = 64 };
	uint64_t seed = 12345;

	for (int round = 0; round < 50; round++) {
		struct spaces *t = spaces_new();
		struct mapping maps[N];
		const struct mapping *m;

		for (int i = 0; i < N; i++) {
			uint64_t start = (seed = seed * 6364136223846793005u + 1) >> 33;
			uint64_t len = 1 + (start >> 8) % 16, ts = (start >> 16) % 1000 * N + i;

			start %= PAGES;
			maps[i] = (struct mapping){start << 12, (start + len) << 12, start << 12,
			                           ts, i + 1};
			cr_assert(!spaces_map(t, 1, &maps[i]));
		}
		for (uint64_t page = 0; page < PAGES + 16; page++) {
			const struct mapping *want = NULL;

			for (int i = 0; i < N; i++) {
				if (page << 12 >= maps[i].start && page << 12 < maps[i].end &&
				    (!want || maps[i].ts > want->ts))
					want = &maps[i];
			}
			m = spaces_find(t, 1, UINT64_MAX, page << 12);
			cr_expect_eq(m ? m->file : 0, want ? want->file : 0);
			m = spaces_find_at(t, 1, UINT64_MAX, page << 12);
			cr_expect_eq(m ? m->file : 0, want ? want->file : 0);
		}
		spaces_free(t);
	}
}

Test(spaces, thousands_of_children_and_too_many_maps, .timeout = 60)
{
	struct spaces *t = spaces_new();
	struct mapping m = {.file = 1, .offset = 0};
	const struct mapping *found;

	for (uint64_t i = 0; i < 100; i++) {
		m.start = i << 20;
		m.end = m.start + 4096;
		cr_assert(!spaces_map(t, 1, &m));
	}
	for (uint32_t i = 2; i < 20000; i++) /* each the child of the one before */
		cr_assert(!spaces_add(t, i, i - 1, i));
	found = spaces_find(t, 19999, 20000, 50 << 20);
	cr_expect(found && found->file == 1);

	for (uint64_t i = 0; i < SPACE_MAX_MAPS + 10; i++) {
		m.start = i << 13;
		m.end = m.start + 4096;
		m.ts = i;
		cr_assert(!spaces_map(t, 30000, &m));
	}
	cr_expect_eq(spaces_dropped(t), 10);
	spaces_free(t);
}

/* --- the whole -------------------------------------------------------------------------------- */

struct seen {
	char module[256];
	uint64_t offset;
	char name[64]; /* "" = not found */
	uint64_t name_off;
};

struct world {
	struct symbolizer *s;
	VEC(struct seen) seen;
	struct symbolizer_stats st;
	struct buf notes;
	char dir[64], lib[128];
	int stop_after;
};

static int on_symbol(void *ctx, const struct symbol_out *o)
{
	struct world *w = ctx;
	struct seen s = {.offset = o->offset, .name_off = o->sym.name_off};

	snprintf(s.module, sizeof(s.module), "%s", o->module);
	snprintf(s.name, sizeof(s.name), "%s", o->sym.name ? o->sym.name : "");
	cr_assert(!vec_push(&w->seen, s));
	return w->stop_after && (int)w->seen.n >= w->stop_after ? -77 : 0;
}

static const struct img_sym lib_syms[] = {
        FUNC("caller", 0x10, 0x10),
        FUNC("next", 0x20, 0x10),
        FUNC("alone", 0x100, 0x10),
};
static const struct img lib_img = {
        .syms = lib_syms, .n_syms = 3, .build_id = "0123456789abcdefghij"};

static void put_file(const char *path, const struct img *o)
{
	struct buf b = {0};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	img_make(o, &b);
	cr_assert(fd >= 0 && !write_full(fd, b.p, b.n));
	close(fd);
	buf_release(&b);
}

static void world_open(struct world *w)
{
	*w = (struct world){.s = symbolizer_new(), .dir = "/tmp/mt-symbolizer-XXXXXX"};
	cr_assert(w->s && mkdtemp(w->dir));
	snprintf(w->lib, sizeof(w->lib), "%s/lib.so", w->dir);
	put_file(w->lib, &lib_img);
}

static void world_close(struct world *w)
{
	symbolizer_free(w->s);
	vec_release(&w->seen);
	buf_release(&w->notes);
	unlink(w->lib);
	rmdir(w->dir);
}

/* Maps all of a file's code at base in the space. */
static void map_at(struct world *w, uint32_t space, const char *file, uint64_t base, uint64_t ts)
{
	struct sym_map m = {base, base + 0x2000, IMG_TEXT_OFF, file, NULL, 0, ts};

	if (!strcmp(file, w->lib)) {
		m.build_id = (const uint8_t *)"0123456789abcdefghij";
		m.build_id_n = 20;
	}
	cr_assert(!symbolizer_map(w->s, space, &m));
}

static void stack(struct world *w, uint32_t space, uint64_t ts, uint64_t f0, uint64_t f1)
{
	uint64_t frames[] = {f0, f1};

	cr_assert(!symbolizer_stack(w->s, space, ts, frames, 2));
}

static int resolve(struct world *w, const struct kallsyms *k, const struct symbolizer_limits *lim)
{
	w->seen.n = 0;
	w->notes.n = 0;
	return symbolizer_resolve(w->s, k, lim, on_symbol, w, &w->st, &w->notes);
}

static const struct seen *find(const struct world *w, const char *module, uint64_t offset)
{
	const struct seen *found = NULL;

	for (size_t i = 0; i < w->seen.n; i++) {
		if (!strcmp(w->seen.v[i].module, module) && w->seen.v[i].offset == offset) {
			cr_expect_null(found, "%s+%#lx twice", module, (long)offset);
			found = &w->seen.v[i];
		}
	}
	return found;
}

static void expect(const struct world *w, const char *module, uint64_t offset, const char *name,
                   uint64_t name_off)
{
	const struct seen *s = find(w, module, offset);

	cr_assert(s, "%s+%#lx was not emitted", module, (long)offset);
	cr_expect_str_eq(s->name, name, "%s+%#lx: %s", module, (long)offset, s->name);
	cr_expect_eq(s->name_off, name_off, "%s+%#lx: +%lu", module, (long)offset,
	             (long)s->name_off);
}

static bool noted(const struct world *w, const char *what)
{
	return w->notes.n && strstr((char *)w->notes.p, what);
}

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

/* --- what the recorder hands over ------------------------------------------------------------ */

Test(symbolizer, a_deleted_file_that_was_kept_open)
{
	struct world w;
	struct sym_map m = {0x10000, 0x12000, IMG_TEXT_OFF, NULL, NULL, 0, 1};

	world_open(&w);
	m.file = w.lib;
	cr_expect(symbolizer_wants_file(w.s, &m));
	cr_assert_eq(symbolizer_map(w.s, 1, &m), 0);
	cr_expect_eq(symbolizer_map(w.s, 1, &m), 1, "known already");
	cr_assert_eq(symbolizer_file(w.s, &m, open(w.lib, O_RDONLY | O_CLOEXEC)), 0);
	cr_expect_not(symbolizer_wants_file(w.s, &m));
	unlink(w.lib);
	stack(&w, 1, 2, 0x10018, 0x10020);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "caller", 8);
	cr_expect_eq(w.notes.n, 0);
	world_close(&w);
}

static size_t open_fds(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 2000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

Test(symbolizer, descriptors_are_bounded_and_closed)
{
	struct world w;
	size_t before = open_fds();

	world_open(&w);
	for (uint64_t i = 0; i < 1000; i++) {
		char name[64];
		struct sym_map m = {i << 16, (i << 16) + 0x1000, 0, name, NULL, 0, 1};

		snprintf(name, sizeof(name), "/nonexistent/%lu", (long)i);
		cr_assert_eq(symbolizer_file(w.s, &m, open(w.lib, O_RDONLY | O_CLOEXEC)), 0);
		cr_assert_eq(symbolizer_jit(w.s, (uint32_t)i + 1, open(w.lib, O_RDONLY | O_CLOEXEC),
		                            i % 2),
		             0);
	}
	cr_expect_lt(open_fds() - before, 410);
	world_close(&w);
	cr_expect_eq(open_fds(), before);
}

Test(symbolizer, generated_code)
{
	static const char text[] = "30010 20 js:first\n30030 10 js:second\n";
	struct sym_map m = {0x30000, 0x40000, 0x1234000, "//anon", NULL, 0, 1};
	struct world w;
	bool jit;

	world_open(&w);
	symbolizer_space(w.s, 1, 0, 0);
	symbolizer_pid(w.s, 1, 4711);
	symbolizer_space(w.s, 2, 0, 0); /* after an exec: the same process */
	symbolizer_pid(w.s, 2, 4711);
	cr_expect_not(symbolizer_wants_jit(w.s, 1));
	cr_expect_str_eq(symbolizer_module(w.s, 1, &m, &jit), "[jit 4711]");
	cr_expect(jit);
	cr_assert_eq(symbolizer_map(w.s, 1, &m), 0);
	m.start += 0x1000; /* its rights changed in parts: nothing new */
	cr_expect_eq(symbolizer_map(w.s, 1, &m), 1);
	cr_assert_eq(symbolizer_map(w.s, 2, &m), 0);
	cr_expect(symbolizer_wants_jit(w.s, 1));
	cr_assert_eq(symbolizer_jit(w.s, 1, img_fd(text, strlen(text)), false), 0);
	cr_expect_not(symbolizer_wants_jit(w.s, 1));
	stack(&w, 1, 2, 0x30018, 0x30030); /* called by first's last instruction */
	stack(&w, 1, 2, 0x30031, 0x3fff0);
	stack(&w, 2, 2, 0x31018, 0x31018);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, "[jit 4711]", 0x30018, "js:first", 8);
	expect(&w, "[jit 4711]", 0x30030, "js:first", 0x20);
	expect(&w, "[jit 4711]", 0x30031, "js:second", 1);
	expect(&w, "[jit 4711]", 0x3fff0, "", 0);
	expect(&w, "[jit 4711.2]", 0x31018, "", 0);
	cr_expect(noted(&w, "[jit 4711.2]: generated code without names"));
	cr_expect_not(noted(&w, "[jit 4711]:"));
	m.file = "/bin/true";
	cr_expect_str_eq(symbolizer_module(w.s, 1, &m, &jit), "/bin/true");
	cr_expect_not(jit);
	m.file = "[vsyscall]";
	cr_expect_str_eq(symbolizer_module(w.s, 1, &m, &jit), "[vsyscall]");
	world_close(&w);
}

Test(symbolizer, a_child_runs_its_parents_generated_code)
{
	static const char text[] = "30010 20 js:first\n";
	struct sym_map m = {0x30000, 0x40000, 0, "//anon", NULL, 0, 1};
	struct world w;

	world_open(&w);
	symbolizer_space(w.s, 1, 0, 0);
	symbolizer_pid(w.s, 1, 4711);
	cr_assert_eq(symbolizer_map(w.s, 1, &m), 0);
	symbolizer_space(w.s, 2, 1, 2);
	symbolizer_pid(w.s, 2, 4712);
	stack(&w, 2, 3, 0x30018, 0x30018);
	cr_assert_eq(symbolizer_jit(w.s, 1, img_fd(text, strlen(text)), false), 0);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, "[jit 4711]", 0x30018, "js:first", 8);
	world_close(&w);
}

/* Millions of processes: those that ended are forgotten, their frames and children are not. */
Test(symbolizer, processes_without_end, .timeout = 60)
{
	struct world w;

	world_open(&w);
	symbolizer_space(w.s, 1, 0, 0);
	symbolizer_use(w.s, 1, 1);
	map_at(&w, 1, w.lib, 0x10000, 1);
	for (uint32_t i = 2; i < 50000; i++) {
		symbolizer_space(w.s, i, 1, i);
		cr_assert_eq(symbolizer_use(w.s, i, 1), 0);
		if (i == 2)
			stack(&w, i, 1, 0x10018, 0x10018); /* before its maps are known to be */
		map_at(&w, i, w.lib, 0x20000, i);
		cr_assert_eq(symbolizer_use(w.s, i, -1), 0);
	}
	/* The grandparent is forgotten, its mappings are inherited. */
	symbolizer_space(w.s, 60000, 1, 60000);
	symbolizer_use(w.s, 60000, 1);
	cr_assert_eq(symbolizer_use(w.s, 1, -1), 0);
	for (uint32_t i = 70000; i < 75000; i++) {
		symbolizer_space(w.s, i, 0, i);
		symbolizer_use(w.s, i, 1);
		symbolizer_use(w.s, i, -1);
	}
	stack(&w, 60000, 60001, 0x10028, 0x10028);
	cr_assert_eq(resolve(&w, NULL, NULL), 0);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x18, "caller", 8);
	expect(&w, w.lib, IMG_TEXT_OFF + 0x28, "next", 8);
	world_close(&w);
}

Test(spaces, are_forgotten)
{
	struct spaces *t = spaces_new();
	struct mapping m = {0x1000, 0x2000, 0, 1, 7};

	cr_assert(!spaces_add(t, 1, 0, 0) && !spaces_map(t, 1, &m) && !spaces_add(t, 2, 1, 5));
	cr_expect_not(spaces_use(t, 1, 1));
	cr_expect_not(spaces_use(t, 1, 1)); /* vfork */
	cr_expect_not(spaces_use(t, 1, -1));
	cr_expect(spaces_use(t, 1, -1));
	cr_expect_not(spaces_use(t, 1, -1), "once");
	cr_expect_not(spaces_use(t, 99, -1), "unknown");
	spaces_forget(t, 1);
	spaces_forget(t, 1);
	spaces_forget(t, 99);
	cr_expect_eq(spaces_count(t), 1);
	cr_expect_null(spaces_find(t, 1, 9, 0x1000));
	cr_expect_eq(spaces_find(t, 2, 9, 0x1000)->file, 7);
	cr_expect_eq(spaces_find_at(t, 2, 9, 0x1000)->file, 7);
	for (uint32_t i = 10; i < 1000; i++) {
		cr_assert(!spaces_add(t, i, i - 1, i));
		spaces_forget(t, i - 1);
	}
	cr_expect_eq(spaces_count(t), 2);
	spaces_free(t);
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
