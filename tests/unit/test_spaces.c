/* SPDX-License-Identifier: MIT */
/* Address spaces and their maps; what the recorder hands over of them: files, generated code. */

#include "symbolizer_test.h"

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
