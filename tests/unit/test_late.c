/* SPDX-License-Identifier: MIT */
/* test_late.c: stacks that are gone on with from a copy; what is copied may be anything. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collect/late_priv.h"
#include "collect/tables_priv.h"
#include "mt_abi.h"
#include "mt_flags.h"

#define SP 0x7ffe00001000ull

struct world {
	struct tables tables; /* none are known, nobody makes any */
	struct late *late;
	uint64_t code; /* without a file, so frame pointers lead */
	struct mt_copy copy;
	struct mt_stack stack;
	struct late_done done;
};

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(w && p != MAP_FAILED);
	w->tables.b.sock = -1;
	w->late = late_new(&w->tables);
	cr_assert(w->late);
	w->code = (uint64_t)(uintptr_t)p;
	return w;
}

static void world_free(struct world *w)
{
	late_free(w->late);
	munmap((void *)(uintptr_t)w->code, 4096);
	free(w);
}

static void put(struct world *w, unsigned at, uint64_t bp, uint64_t ra)
{
	memcpy(w->copy.data + at, &bp, 8);
	memcpy(w->copy.data + at + 8, &ra, 8);
}

/* Three frames: the first two lead on, the third is a thread's start. */
static void fill(struct world *w, uint32_t id)
{
	memset(&w->copy, 0, sizeof(w->copy));
	w->copy.id = id;
	w->copy.ip = w->code + 0x10;
	w->copy.sp = SP;
	w->copy.bp = SP + 0x20;
	w->copy.bytes = 0x100;
	put(w, 0x20, SP + 0x40, w->code + 0x20);
	put(w, 0x40, 0, w->code + 0x30);
	memset(&w->stack, 0, sizeof(w->stack));
	w->stack.wanted = id;
	w->stack.hash = id;
	w->stack.end = STACK_END_NO_TABLE;
	w->stack.flags = STACK_F_TABLE;
	w->stack.n = 2;
	w->stack.frames[0] = 0x1111;
	w->stack.frames[1] = w->copy.ip;
}

static void send_copy(struct world *w)
{
	late_copy(w->late, &w->copy, (uint32_t)getpid());
}

static bool next(struct world *w, bool force)
{
	bool any = late_next(w->late, force, &w->done);

	if (any)
		free(w->done.stack);
	return any;
}

Test(late, gone_on_with)
{
	struct world *w = world_new();

	for (unsigned turn = 0; turn < 2; turn++) {
		fill(w, MT_COPY_FIRST + turn);
		if (turn)
			send_copy(w);
		late_stack(w->late, &w->stack);
		cr_expect_eq(next(w, false), turn, "without its copy there is nothing to go by");
		if (turn)
			break;
		send_copy(w);
		cr_assert(late_next(w->late, false, &w->done));
		cr_expect_eq(w->done.stack->hash, MT_COPY_FIRST);
		cr_expect_eq(w->done.n, 4);
		cr_expect_eq(w->done.frames[0], 0x1111);
		cr_expect_eq(w->done.frames[1], w->code + 0x10);
		cr_expect_eq(w->done.frames[2], w->code + 0x20);
		cr_expect_eq(w->done.frames[3], w->code + 0x30);
		cr_expect_eq(w->done.end, STACK_END_BOTTOM);
		cr_expect_eq(w->done.flags, STACK_F_TABLE | STACK_F_FP | STACK_F_COPY);
		free(w->done.stack);
		cr_expect(!next(w, true), "each only once");
	}
	world_free(w);
}

/* What lies beyond the copied bytes was there, so the stack is deeper, also where the copy does not
 * even reach the next frame. */
Test(late, copy_too_short)
{
	struct world *w = world_new();

	fill(w, MT_COPY_FIRST);
	w->copy.bytes = 0x48;
	send_copy(w);
	late_stack(w->late, &w->stack);
	cr_assert(next(w, false));
	cr_expect_eq(w->done.n, 3);
	cr_expect_eq(w->done.end, STACK_END_DEPTH);
	cr_expect(w->done.flags & STACK_F_TRUNCATED);
	fill(w, MT_COPY_FIRST + 1);
	w->copy.bytes = 0x28;
	send_copy(w);
	late_stack(w->late, &w->stack);
	cr_assert(next(w, false));
	cr_expect_eq(w->done.n, 2);
	cr_expect_eq(w->done.end, STACK_END_DEPTH);
	cr_expect(!next(w, true));
	world_free(w);
}

/* A file that nothing is known of, and a process that is gone. */
Test(late, nothing_to_go_by)
{
	struct world *w = world_new();

	fill(w, MT_COPY_FIRST);
	w->copy.ip = (uint64_t)(uintptr_t)world_new;
	send_copy(w);
	late_stack(w->late, &w->stack);
	cr_expect(!next(w, false));
	cr_expect(!next(w, true));
	fill(w, MT_COPY_FIRST);
	late_copy(w->late, &w->copy, 0x7ffffff0);
	late_stack(w->late, &w->stack);
	cr_expect(!next(w, true));
	world_free(w);
}

/* Copies whose stacks never come do not pile up; the newest are kept. */
Test(late, bounded)
{
	struct world *w = world_new();
	unsigned n = 0;

	for (uint32_t i = 0; i < 2 * LATE_MAX; i++) {
		fill(w, MT_COPY_FIRST + i);
		send_copy(w);
	}
	for (uint32_t i = 0; i < 2 * LATE_MAX; i++) {
		fill(w, MT_COPY_FIRST + i);
		late_stack(w->late, &w->stack);
		n += next(w, false);
	}
	/* Each stack without its copy takes the place of the oldest. */
	cr_expect_leq(n, LATE_MAX);
	fill(w, MT_COPY_FIRST + 3 * LATE_MAX);
	send_copy(w);
	late_stack(w->late, &w->stack);
	cr_expect(next(w, false));
	world_free(w);
}

static uint64_t odd(struct world *w, unsigned *seed)
{
	const uint64_t some[] = {0,           UINT64_MAX,     SP,    SP + 8, SP + MT_COPY_BYTES,
	                         w->code + 5, UINT64_MAX - 8, SP - 8};
	unsigned k = (unsigned)rand_r(seed);

	return some[k % ARRAY_LEN(some)] + (k >> 8 & 1 ? (k >> 9 & 0x3f) * 8 : 0);
}

Test(late, hostile_copies)
{
	struct world *w = world_new();
	unsigned seed = 7;

	for (uint32_t i = 0; i < 3000; i++) {
		fill(w, MT_COPY_FIRST + i % 5);
		w->copy.bp = odd(w, &seed);
		if (i % 3 == 0)
			w->copy.sp = odd(w, &seed);
		if (i % 4 == 0)
			w->copy.bytes = i % 8 ? (uint32_t)odd(w, &seed) : MT_COPY_BYTES;
		for (unsigned at = 0; at < 0x100; at += 8) {
			uint64_t v = odd(w, &seed);

			memcpy(w->copy.data + at, &v, 8);
		}
		w->copy.exact = i & 1;
		w->stack.n = i % 7 == 0 ? MT_MAX_USER_FRAMES : i % 11 == 0 ? 0 : i % 3;
		send_copy(w);
		late_stack(w->late, &w->stack);
		if (next(w, i % 2)) {
			cr_expect_gt(w->done.n, 0);
			cr_expect_leq(w->done.n, MT_MAX_USER_FRAMES);
		}
	}
	world_free(w);
}

/* --- the files that a copy may lead to -------------------------------------------------------- */

static struct proc_map maps[] = {
        {.start = 0x1000, .end = 0x2000, .inode = 1}, {.start = 0x2000, .end = 0x3000, .inode = 2},
        {.start = 0x5000, .end = 0x6000, .inode = 3}, {.start = 0x6000, .end = 0x7000, .inode = 4},
        {.start = 0x8000, .end = 0x9000, .inode = 5},
};
static const struct proc_maps all = {.v = maps, .n = 5, .cap = 5};

/* Of five mappings: where it ended, and where words point to, to the last whole one. */
Test(late, files_that_words_point_to)
{
	static const uint64_t words[] = {0x4fff, 0x2fff, 0x3000, 42, 0x2000, 0x8fff, 0x6000};
	static struct mt_copy e = {.ip = 0x5000, .bytes = sizeof(words) - 1};
	static const bool truth[] = {false, true, true, false, true};
	bool pointed[5] = {false};

	memcpy(e.data, words, sizeof(words));
	late_pointed(&e, &all, pointed);
	for (size_t i = 0; i < 5; i++)
		cr_expect_eq(pointed[i], truth[i], "mapping %zu", i);
	e.bytes = sizeof(words);
	late_pointed(&e, &all, pointed);
	cr_expect(pointed[3]);
}

Test(late, nothing_was_copied)
{
	static struct mt_copy e = {.ip = 0x7000};
	bool pointed[5] = {false};

	e.data[0] = 1;
	late_pointed(&e, &all, pointed);
	for (size_t i = 0; i < 5; i++)
		cr_expect(!pointed[i], "mapping %zu", i);
}
