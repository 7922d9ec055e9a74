/* SPDX-License-Identifier: MIT */
/* Which unwinding tables give way when there is no room for all. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "base.h"
#include "collect/tables_priv.h"

#define WORDS 800
#define OLD   (60 * 1000000000ull)

/* Eight tables fill the array; there is no kernel's map of them, so none has a mark. */
static struct tables *full(uint64_t age_ns)
{
	struct tables *t = calloc(1, sizeof(*t));

	cr_assert(t);
	t->k.files_fd = -1;
	t->n_words = WORDS;
	for (uint32_t i = 0; i < 8; i++) {
		const struct table_file f = {.key = 0x1000 + i,
		                             .first = 100 * i,
		                             .n_words = 100,
		                             .since_ns = now_ns() - age_ns,
		                             .answered = true};

		cr_assert(!vec_push(&t->files, f));
		t->used += f.n_words;
	}
	return t;
}

static void drop(struct tables *t)
{
	vec_release(&t->files);
	free(t);
}

Test(room, what_is_wanted_takes_another_place)
{
	struct tables *t = full(0);
	uint32_t first = WORDS;

	cr_expect_eq(room_take(t, 100, false, &first), 0);
	cr_expect_lt(first, WORDS);
	cr_expect_gt(t->totals.evicted, 0);
	drop(t);
}

/* The libraries of one program do not push each other out before any of them was seen in a stack;
 * those of an older one give way. */
Test(room, what_is_made_ahead_leaves_what_came_just_before)
{
	struct tables *t = full(0);
	uint32_t first = WORDS;

	cr_expect_eq(room_take(t, 100, true, &first), -ENOSPC);
	cr_expect_eq(t->totals.evicted, 0);
	cr_expect_eq(t->used, WORDS);
	drop(t);
	t = full(OLD);
	cr_expect_eq(room_take(t, 100, true, &first), 0);
	cr_expect_gt(t->totals.evicted, 0);
	drop(t);
}

/* Made ahead of any stack, and none has led there yet: these make room first, the last ones before
 * the first ones, and no more of them than it takes. */
Test(room, what_no_stack_led_to_gives_way)
{
	struct tables *t = full(0);
	uint32_t first;

	for (uint32_t i = 2; i < 6; i++)
		t->files.v[i].ahead = true;
	cr_expect_eq(room_take(t, 200, false, &first), 0);
	cr_expect_eq(first, 400);
	cr_expect_eq(t->totals.evicted, 2);
	for (uint32_t i = 0; i < 8; i++)
		cr_expect_eq(!t->files.v[i].key, i == 4 || i == 5, "%u", i);
	drop(t);
}

/* A mark that the hand has taken away was one all the same. */
Test(room, what_a_stack_led_to_once)
{
	struct mt_file_table v = {.used = 0};
	struct tables *t = full(OLD);
	uint32_t first;

	t->k.files_fd =
	        bpf_map_create(BPF_MAP_TYPE_HASH, "room", sizeof(uint64_t), sizeof(v), 8, NULL);
	if (t->k.files_fd < 0)
		cr_skip_test("a BPF map cannot be made here: not root");
	for (uint32_t i = 0; i < 8; i++) {
		t->files.v[i].ahead = true;
		v.used = i == 7;
		cr_assert(!bpf_map_update_elem(t->k.files_fd, &t->files.v[i].key, &v, BPF_ANY));
	}
	t->hand = 7;
	cr_expect_eq(room_take(t, 100, true, &first), 0);
	cr_expect_eq(first, 0);
	cr_expect_eq(room_take(t, 200, false, &first), 0);
	cr_expect_eq(first, 500);
	cr_expect_eq(t->totals.evicted, 3);
	cr_expect(t->files.v[7].key);
	close(t->k.files_fd);
	drop(t);
}

/* What is made ahead lies at the other end, so that there is room for a large one between them. */
Test(room, from_both_ends)
{
	struct tables *t = full(0);
	uint32_t first;

	t->n_words = 3 * WORDS;
	cr_expect_eq(room_take(t, 100, false, &first), 0);
	cr_expect_eq(first, WORDS);
	cr_expect_eq(room_take(t, 100, true, &first), 0);
	cr_expect_eq(first, 3 * WORDS - 100);
	cr_expect_eq(t->totals.evicted, 0);
	drop(t);
}

Test(room, larger_than_all_there_is)
{
	struct tables *t = full(OLD);
	uint32_t first;

	cr_expect_eq(room_take(t, WORDS + 1, true, &first), -ENOSPC);
	cr_expect_eq(room_take(t, WORDS + 1, false, &first), -ENOSPC);
	cr_expect_eq(t->totals.evicted, 0);
	drop(t);
}
