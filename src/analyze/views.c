/* SPDX-License-Identifier: MIT */
/* Weights at places: what flame graphs are drawn from. Like rows are one, so that a view is as
 * large as the program's variety, not as its run. */
#include <errno.h>
#include <string.h>

#include "analyze_priv.h"

struct builder {
	const struct report *r;
	struct view_rows *out;
	struct hmap ids; /* (task, user stack), (kernel stack, lock or waker) -> row */
};

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* `other`: what tells rows of one stack apart, besides the task. */
static int put(struct builder *b, const struct view_row *row, uint32_t other)
{
	bool added;
	uint64_t *slot;

	if (!row->weight)
		return 0;
	slot = hmap_put(&b->ids, (uint64_t)row->task << 32 | row->ustack,
	                (uint64_t)row->kstack << 32 | other, &added);
	if (!slot)
		return -ENOMEM;
	if (added) {
		*slot = b->out->rows.n;
		return vec_push(&b->out->rows, *row) ? -ENOMEM : 0;
	}
	b->out->rows.v[*slot].weight = add(b->out->rows.v[*slot].weight, row->weight);
	return 0;
}

static int stack_rows(struct builder *b, bool on_cpu)
{
	const struct stack_row *rows;
	size_t n = on_cpu ? model_on_cpu(b->r->m, &rows) : model_off_cpu(b->r->m, &rows);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		const struct stack_row *s = &rows[i];
		struct view_row row = {
		        .task = s->task,
		        .ustack = s->ustack,
		        .kstack = s->kstack,
		        .cause = s->cause,
		        .weight = on_cpu ? s->count : s->blocked_ns,
		};

		err = put(b, &row, on_cpu ? 0 : s->cause);
	}
	return err;
}

static int off_cpu(struct builder *b)
{
	return stack_rows(b, false);
}

static int on_cpu(struct builder *b)
{
	return stack_rows(b, true);
}

static int touch_rows(struct builder *b, unsigned what)
{
	const struct stack_row *rows;
	size_t n = model_touch(b->r->m, &rows);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		struct view_row row = {
		        .task = rows[i].task, .ustack = rows[i].ustack, .weight = rows[i].count};

		if (rows[i].cause == what)
			err = put(b, &row, 0);
	}
	return err;
}

static int first_touch(struct builder *b)
{
	return touch_rows(b, TOUCH_FIRST);
}

static int cow(struct builder *b)
{
	return touch_rows(b, TOUCH_COW);
}

/* What woke a task when no task of ours did. */
static char other_waker(const struct slice *s)
{
	if (s->waker)
		return 0;
	if (s->waker_flags & WK_F_TIMER)
		return 'T';
	return s->waker_flags & (WK_F_IRQ | WK_F_SOFTIRQ | WK_F_KTHREAD) ? 'I' : 0;
}

/* What tells wakers of one stack apart. */
static uint32_t waker_key(const struct view_row *row)
{
	const uint32_t stacks[] = {row->waker, row->waker_ustack, row->waker_kstack};

	if (!row->waker)
		return UINT32_MAX - (uint8_t)row->state;
	if (!row->waker_ustack && !row->waker_kstack)
		return row->waker;
	return (uint32_t)hash_bytes(stacks, sizeof(stacks), 0);
}

/* The blocked slices of a wait, each with its own stacks. */
static int wait_rows(struct builder *b, const struct wait *x, bool wakers)
{
	const struct task *t = model_task(b->r->m, x->task);
	int err = 0;

	for (size_t i = x->slice; t && i < t->slices.n && i - x->slice < x->n_slices && !err; i++) {
		const struct slice *s = &t->slices.v[i];
		struct view_row row = {
		        .task = x->task,
		        .ustack = s->ustack,
		        .kstack = s->kstack,
		        .cause = s->cause,
		        .lock = wakers ? 0 : x->lock,
		        .waker = wakers ? s->waker : 0,
		        .waker_ustack = wakers && s->waker ? s->waker_ustack : 0,
		        .waker_kstack = wakers && s->waker ? s->waker_kstack : 0,
		        .state = (char)(wakers ? other_waker(s) : 0),
		        .weight = s->queued_ns > s->out_ns ? s->queued_ns - s->out_ns : 0,
		};

		if (wakers)
			err = put(b, &row, waker_key(&row));
		else
			err = put(b, &row, x->lock);
	}
	return err;
}

static int futex(struct builder *b)
{
	const struct waits *w = b->r->w;
	int err = 0;

	for (size_t i = 0; i < w->waits.n && !err; i++) {
		if (w->waits.v[i].lock)
			err = wait_rows(b, &w->waits.v[i], false);
	}
	return err;
}

static int wake(struct builder *b)
{
	const struct waits *w = b->r->w;
	int err = 0;

	for (size_t i = 0; i < w->waits.n && !err; i++)
		err = wait_rows(b, &w->waits.v[i], true);
	return err;
}

static int serial(struct builder *b)
{
	int err = 0;

	for (size_t i = 0; i < b->r->serial.n && !err; i++) {
		const struct serial_row *s = &b->r->serial.v[i];
		struct view_row row = {
		        .task = s->task,
		        .ustack = s->ustack,
		        .kstack = s->kstack,
		        .weight = s->ns,
		        .cause = CAUSE_SERIAL,
		};

		err = put(b, &row, 0);
	}
	return err;
}

static struct view_row path_view_row(const struct path_row *p)
{
	return (struct view_row){
	        .task = p->task,
	        .ustack = p->ustack,
	        .kstack = p->kstack,
	        .lock = p->lock,
	        .channel = p->channel,
	        .cause = p->cause,
	        .state = p->state,
	        .weight = p->end_ns > p->start_ns ? p->end_ns - p->start_ns : 0,
	};
}

/* 2 bits state, 5 cause, the rest lock or channel (never both). */
static uint32_t path_kind(const struct path_row *p)
{
	uint32_t state = p->state == 'R' ? 0 : p->state == 'Q' ? 1 : 2;

	return state | (uint32_t)p->cause << 2 | (p->lock ? p->lock : p->channel) << 7;
}

/*
 * Running pieces of one task and kind: most are shorter than the distance of two samples, so
 * their time all together is shared by the samples that fell into any of them.
 */
struct running {
	uint64_t ns, samples, left_ns, left_samples;
};

struct runnings {
	struct hmap ids; /* task, kind -> place + 1 */
	VEC(struct running) v;
};

static struct running *running_of(struct runnings *rs, const struct path_row *p)
{
	uint64_t *at = hmap_put(&rs->ids, p->task, path_kind(p), NULL);

	if (at && !*at && !vec_push(&rs->v, (struct running){0}))
		*at = rs->v.n;
	return at && *at ? &rs->v.v[*at - 1] : NULL;
}

/* Calls fn for each sample inside a running piece of its own task. Both lists are in time order. */
static int each_sample(struct builder *b, struct runnings *rs,
                       int (*fn)(struct builder *b, struct running *run, const struct path_row *p,
                                 const struct cpu_sample *s))
{
	const struct cpu_sample *samples;
	size_t n = model_samples(b->r->m, &samples), at = 0;
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		const struct path_row *p;
		struct running *run;

		while (at < b->r->path.n && b->r->path.v[at].end_ns <= samples[i].ts)
			at++;
		if (at == b->r->path.n)
			break;
		p = &b->r->path.v[at];
		if (p->state != 'R' || p->task != samples[i].task || p->start_ns > samples[i].ts)
			continue;
		run = running_of(rs, p);
		err = run ? fn(b, run, p, &samples[i]) : -ENOMEM;
	}
	return err;
}

static int count_sample(struct builder *b, struct running *run, const struct path_row *p,
                        const struct cpu_sample *s)
{
	(void)b;
	(void)p;
	(void)s;
	run->samples++;
	run->left_samples++;
	return 0;
}

static int weigh_sample(struct builder *b, struct running *run, const struct path_row *p,
                        const struct cpu_sample *s)
{
	struct view_row row = path_view_row(p);
	uint64_t part = run->left_samples > 1 ? run->ns / run->samples : run->left_ns;

	row.ustack = s->ustack;
	row.kstack = s->kstack;
	row.weight = part;
	run->left_ns -= part;
	run->left_samples--;
	return put(b, &row, path_kind(p));
}

static int critical_path(struct builder *b)
{
	struct runnings rs = {0};
	int err = 0;

	for (size_t i = 0; i < b->r->path.n && !err; i++) {
		const struct path_row *p = &b->r->path.v[i];
		struct view_row row = path_view_row(p);
		struct running *run = p->state == 'R' ? running_of(&rs, p) : NULL;

		if (run) {
			run->ns = add(run->ns, row.weight);
			run->left_ns = run->ns;
		} else {
			err = p->state == 'R' ? -ENOMEM : put(b, &row, path_kind(p));
		}
	}
	if (!err)
		err = each_sample(b, &rs, count_sample);
	if (!err)
		err = each_sample(b, &rs, weigh_sample);
	/* Never sampled: no stack, but its time is there. */
	for (size_t i = 0; i < b->r->path.n && !err; i++) {
		const struct path_row *p = &b->r->path.v[i];
		struct view_row row = path_view_row(p);
		struct running *run = p->state == 'R' ? running_of(&rs, p) : NULL;

		if (!run || !run->left_ns)
			continue;
		row.ustack = row.kstack = 0;
		row.weight = run->left_ns;
		run->left_ns = 0;
		err = put(b, &row, path_kind(p));
	}
	hmap_release(&rs.ids);
	vec_release(&rs.v);
	return err;
}

enum need { NEED_NOTHING, NEED_WAITS, NEED_CAUSES, NEED_PATH };

static const struct {
	const char *name, *unit;
	enum need need;
	int (*rows)(struct builder *b);
} views[] = {
        {"off-cpu", "us", NEED_NOTHING, off_cpu},
        {"on-cpu", "samples", NEED_NOTHING, on_cpu},
        {"futex", "us", NEED_WAITS, futex},
        {"wake", "us", NEED_WAITS, wake},
        {"serial", "us", NEED_CAUSES, serial},
        {"critical-path", "us", NEED_PATH, critical_path},
        {"first-touch", "bytes", NEED_NOTHING, first_touch},
        {"cow", "bytes", NEED_NOTHING, cow},
};

static bool has(const struct report *r, enum need need)
{
	return need == NEED_NOTHING || (need == NEED_WAITS && r->w) ||
	       (need == NEED_CAUSES && r->causes_known) || (need == NEED_PATH && r->path.n);
}

int report_view(const struct report *r, const char *view, struct view_rows *out, struct err *err)
{
	struct builder b = {.r = r, .out = out};
	char safe[64];
	size_t i = 0;
	int code;

	memset(out, 0, sizeof(*out));
	while (i < ARRAY_LEN(views) && strcmp(views[i].name, view))
		i++;
	if (i == ARRAY_LEN(views))
		return err_set(err, -ENOENT, MT_EXIT_USAGE, "there is no view %s",
		               fmt_safe(safe, sizeof(safe), view));
	if (!has(r, views[i].need))
		return err_set(err, -ENODATA, MT_EXIT_FAIL,
		               "view %s: this recording does not hold what it needs", view);
	out->unit = views[i].unit;
	code = views[i].rows(&b);
	hmap_release(&b.ids);
	if (code) {
		vec_release(&out->rows);
		return err_set(err, code, MT_EXIT_FAIL, "view %s: %s", view, strerror(-code));
	}
	return 0;
}
