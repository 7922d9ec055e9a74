/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

const char *lock_kind_key(enum lock_kind kind)
{
	static const char *const keys[] = {
#define X(NAME, key) key,
	        LOCK_KINDS(X)
#undef X
	};

	return (unsigned)kind < ARRAY_LEN(keys) ? keys[kind] : "futex";
}

bool lock_name_is_go_idle(const char *name)
{
	static const char place[] = "waited for in runtime.stopm ";

	return !strncmp(name, place, sizeof(place) - 1);
}

bool lock_names_itself(const struct lock *l)
{
	return l->kind == LOCK_GIL || l->kind == LOCK_JOIN || l->kind == LOCK_FILE ||
	       (l->name_from && !strcmp(l->name_from, LOCK_NAMED_SYSV));
}

const char *evidence_key(enum evidence e)
{
	static const char *const keys[] = {
#define X(NAME, key) key,
	        EVIDENCES(X)
#undef X
	};

	return (unsigned)e < ARRAY_LEN(keys) ? keys[e] : "unknown";
}

static int gil_build(struct build *b)
{
	const struct gil *gils;

	if (!model_gils(b->m, &gils))
		return 0;
	b->w->gil = gil_timeline_build(b->m, NULL);
	return b->w->gil ? 0 : -ENOMEM;
}

static int build(struct build *b)
{
	static int (*const steps[])(struct build *) = {
	        gil_build,           calls_gather,        waits_find_enders, words_gather,
	        locks_group,         channels_group,      waits_stitch,      locks_compact,
	        channels_compact,    locks_find_holds,    waits_blame,       waits_sum,
	        locks_find_families, locks_find_py_kinds, locks_name,        locks_find_semaphores,
	        traffic_sum,
	};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_LEN(steps); i++)
		err = steps[i](b);
	return err;
}

static void build_release(struct build *b)
{
	vec_release(&b->words);
	vec_release(&b->futex_locks);
	vec_release(&b->lock_futex);
	vec_release(&b->file_channels);
	vec_release(&b->order);
	vec_release(&b->calls);
	hmap_release(&b->far_calls);
	hmap_release(&b->stack_kinds);
	hmap_release(&b->joins);
	hmap_release(&b->holds);
	hmap_release(&b->file_locks);
	hmap_release(&b->channel_ids);
}

struct waits *waits_build(const struct model *m, struct err *err)
{
	const char *arch = model_meta(m, META_MACHINE);
	struct build b = {.m = m, .arch = arch ? arch : "", .w = calloc(1, sizeof(*b.w))};
	int code = -ENOMEM;

	if (b.w) {
		b.w->m = m;
		code = build(&b);
	}
	build_release(&b);
	if (!code)
		return b.w;
	err_set(err, code, MT_EXIT_FAIL, "not enough memory to find out who waited for whom");
	waits_free(b.w);
	return NULL;
}

void waits_free(struct waits *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->locks.n; i++) {
		vec_release(&w->locks.v[i].waiters);
		vec_release(&w->locks.v[i].blockers);
		vec_release(&w->locks.v[i].sites);
	}
	for (size_t i = 0; i < w->channels.n; i++) {
		vec_release(&w->channels.v[i].waiters);
		vec_release(&w->channels.v[i].blockers);
		vec_release(&w->channels.v[i].traffic);
		vec_release(&w->channels.v[i].ends);
	}
	gil_timeline_free(w->gil);
	vec_release(&w->locks);
	vec_release(&w->channels);
	vec_release(&w->waits);
	vec_release(&w->blames);
	vec_release(&w->task_waits);
	hmap_release(&w->task_index);
	hmap_release(&w->enders);
	free(w);
}

const struct wait *waits_of(const struct waits *w, uint32_t task, size_t *n)
{
	const uint64_t *at = hmap_get(&w->task_index, task, 0);

	*n = 0;
	if (!at)
		return NULL;
	*n = w->task_waits.v[*at + 1] - w->task_waits.v[*at];
	return *n ? w->waits.v + w->task_waits.v[*at] : NULL;
}

const struct blame *wait_blame_at(const struct waits *w, const struct wait *x, uint64_t t)
{
	uint32_t lo = x->blame, hi = x->blame + x->n_blame;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (w->blames.v[mid].end_ns <= t)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < x->blame + x->n_blame && w->blames.v[lo].start_ns <= t ? &w->blames.v[lo]
	                                                                   : NULL;
}
