/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gil_truth.h"

bool gil_truth_probe(struct uprobe_log *l, const char *libpython)
{
	return uprobe_add(l, libpython, "take_gil", true, GIL_TAKEN) > 0 &&
	       uprobe_add(l, libpython, "drop_gil", false, GIL_DROPPED) > 0;
}

/* The truth as spans: task 0 = free. */
struct truth_span {
	uint64_t start_ns;
	uint32_t task;
};
struct truth {
	VEC(struct truth_span) spans;
	struct gil_truth *out;
};

static uint32_t task_of_tid(const struct model *m, uint32_t tid)
{
	for (size_t i = 0; i < model_n_tasks(m); i++)
		if (model_task_at(m, i)->tid == tid)
			return model_task_at(m, i)->id;
	return 0;
}

static int read_truth(struct truth *t, const struct model *m, const struct uprobe_hit *hits,
                      size_t n)
{
	uint32_t now = 0, tid = 0, task = 0;

	for (size_t i = 0; i < n; i++) {
		struct truth_span s = {.start_ns = hits[i].ts};

		if (hits[i].tid != tid)
			task = task_of_tid(m, tid = hits[i].tid);
		if (!task)
			continue; /* some other process */
		if (hits[i].which == GIL_DROPPED && now != task)
			continue; /* its successor was quicker to be seen */
		s.task = hits[i].which == GIL_TAKEN ? task : 0;
		t->out->changes += s.task && s.task != now;
		now = s.task;
		if (vec_push(&t->spans, s))
			return -ENOMEM;
	}
	return 0;
}

/* A piece of our timeline during a wait: who really held it meanwhile? */
static int compare_piece(void *ctx, const struct gil_span *piece)
{
	struct truth *t = ctx;
	size_t lo = 0, hi = t->spans.n;

	while (lo < hi) { /* the first that begins after the piece does */
		size_t mid = lo + (hi - lo) / 2;

		if (t->spans.v[mid].start_ns <= piece->start_ns)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (uint64_t at = piece->start_ns; at < piece->end_ns; lo++) {
		uint64_t end = lo < t->spans.n ? t->spans.v[lo].start_ns : UINT64_MAX;
		uint32_t holder = lo ? t->spans.v[lo - 1].task : 0;
		uint64_t ns;

		if (end > piece->end_ns)
			end = piece->end_ns;
		ns = end - at;
		at = end;
		t->out->asleep += ns;
		if (!holder) {
			t->out->free_blamed += piece->state == BLAME_HELD ? ns : 0;
			continue;
		}
		t->out->held += ns;
		if (piece->state != BLAME_HELD)
			t->out->none += ns;
		else if (piece->task == holder)
			t->out->right += ns;
		else
			t->out->wrong += ns;
	}
	return 0;
}

int gil_truth_compare(const struct model *m, const struct gil_timeline *tl,
                      const struct uprobe_hit *hits, size_t n, struct gil_truth *out)
{
	struct truth t = {.out = out};
	const struct gil *gils;
	int rc;

	memset(out, 0, sizeof(*out));
	model_gils(m, &gils);
	rc = read_truth(&t, m, hits, n);
	for (size_t i = 0; i < model_n_tasks(m) && !rc; i++) {
		const struct task *k = model_task_at(m, i);

		for (size_t j = 0; j < k->slices.n; j++) {
			const struct slice *s = &k->slices.v[j];
			const struct futex *f = s->futex ? model_futex_at(m, s->futex - 1) : NULL;
			uint32_t gil = f ? gil_of_futex(m, f->space, f->addr) : 0;

			if (!gil || f->addr - gils[gil - 1].addr >= 80)
				continue; /* not a wait for the GIL itself */
			out->waits++;
			gil_segments(tl, gil - 1, s->out_ns, s->queued_ns, compare_piece, &t);
		}
	}
	vec_release(&t.spans);
	return rc;
}
