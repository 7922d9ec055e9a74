/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <unistd.h>

#include "gil_truth.h"
#include "waits.h"

/* A model with slices from a file, and its timeline. */
struct loaded {
	struct model *m;
	struct gil_timeline *tl;
	const struct gil *gils;
	size_t n;
};

static int load(struct loaded *l, const char *path, struct err *err)
{
	struct model_opts opts = {.flags = MODEL_SLICES};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct trace_reader *r;

	if (fd < 0)
		return err_set(err, -errno, MT_EXIT_FAIL, "%s: %s", path, strerror(errno));
	r = trace_reader_new(trace_source_fd(&fd), err);
	l->m = r ? model_load(r, &opts, err) : NULL;
	l->tl = l->m ? gil_timeline_build(l->m, err) : NULL;
	trace_reader_free(r);
	close(fd);
	if (!l->tl)
		return -EINVAL;
	l->n = model_gils(l->m, &l->gils);
	return 0;
}

static void unload(struct loaded *l)
{
	gil_timeline_free(l->tl);
	model_free(l->m);
}

/* --- what the recording says ------------------------------------------------------------- */

static struct gil_holder *holder_add(struct gil_facts *f, uint32_t tid)
{
	for (size_t i = 0; i < f->n_holders; i++)
		if (f->holders[i].tid == tid)
			return &f->holders[i];
	if (f->n_holders == ARRAY_LEN(f->holders))
		return NULL;
	f->holders[f->n_holders].tid = tid;
	return &f->holders[f->n_holders++];
}

const struct gil_holder *gil_holder(const struct gil_facts *f, uint32_t tid)
{
	for (size_t i = 0; i < f->n_holders; i++)
		if (f->holders[i].tid == tid)
			return &f->holders[i];
	return NULL;
}

static void add_spans(struct gil_facts *f, const struct loaded *l, size_t gil)
{
	size_t n;
	const struct gil_span *s = gil_timeline_spans(l->tl, gil, &n);
	uint64_t by_gil[ARRAY_LEN(f->holders)] = {0};
	bool held = false;

	for (size_t i = 0; i < n; i++) {
		const struct task *t = s[i].task ? model_task(l->m, s[i].task) : NULL;
		struct gil_holder *h = t ? holder_add(f, t->tid) : NULL;
		uint64_t ns = s[i].end_ns - s[i].start_ns;

		if (s[i].end_ns <= s[i].start_ns || (i && s[i].start_ns != s[i - 1].end_ns))
			f->tiled = false;
		if (s[i].state == BLAME_NOBODY)
			f->unknown_ns += ns;
		if (h && s[i].state == BLAME_HELD) {
			h->hold_ns += ns;
			by_gil[h - f->holders] += ns;
			held = true;
		}
	}
	f->n_used += held;
	for (size_t i = 0; i < f->n_holders; i++)
		if (by_gil[i] > f->holders[i].most_ns) {
			f->holders[i].most_ns = by_gil[i];
			f->holders[i].gil = gil;
		}
}

static void add_waits(struct gil_facts *f, const struct loaded *l, const struct task *t)
{
	for (size_t j = 0; j < t->slices.n; j++) {
		const struct slice *s = &t->slices.v[j];
		const struct futex *x = s->futex ? model_futex_at(l->m, s->futex - 1) : NULL;
		struct gil_holder *h;

		if (!x || !gil_of_futex(l->m, x->space, x->addr))
			continue;
		f->wait_ns += s->queued_ns - s->out_ns;
		h = holder_add(f, t->tid);
		if (h)
			h->wait_ns += s->queued_ns - s->out_ns;
	}
}

int gil_facts(const char *trace, struct gil_facts *out, struct err *err)
{
	struct loaded l = {0};
	int rc = load(&l, trace, err);

	memset(out, 0, sizeof(*out));
	out->tiled = true;
	for (size_t i = 0; i < l.n && !rc; i++) {
		out->n_gils++;
		out->n_mains += l.gils[i].main;
		out->version = out->version ? out->version : l.gils[i].version;
		add_spans(out, &l, i);
	}
	for (size_t i = 0; !rc && i < model_n_tasks(l.m); i++)
		add_waits(out, &l, model_task_at(l.m, i));
	unload(&l);
	return rc;
}

/* --- against the truth -------------------------------------------------------------------- */

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

static void compare_task(struct truth *t, const struct loaded *l, const struct task *k)
{
	for (size_t j = 0; j < k->slices.n; j++) {
		const struct slice *s = &k->slices.v[j];
		const struct futex *f = s->futex ? model_futex_at(l->m, s->futex - 1) : NULL;
		uint32_t gil = f ? gil_of_futex(l->m, f->space, f->addr) : 0;

		if (!gil || f->addr - l->gils[gil - 1].addr >= 80)
			continue; /* not a wait for the GIL itself */
		t->out->waits++;
		gil_segments(l->tl, gil - 1, s->out_ns, s->queued_ns, compare_piece, t);
	}
}

int gil_truth_compare(const char *trace, const struct uprobe_hit *hits, size_t n,
                      struct gil_truth *out, struct err *err)
{
	struct truth t = {.out = out};
	struct loaded l = {0};
	int rc = load(&l, trace, err);

	memset(out, 0, sizeof(*out));
	rc = rc ? rc : read_truth(&t, l.m, hits, n);
	for (size_t i = 0; !rc && i < model_n_tasks(l.m); i++)
		compare_task(&t, &l, model_task_at(l.m, i));
	vec_release(&t.spans);
	unload(&l);
	return rc;
}
