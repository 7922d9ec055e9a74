/* SPDX-License-Identifier: MIT */
/* The critical path, and the stretches in which one task ran alone while others waited. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures_priv.h"
#include "report/names_priv.h"
#include "report/text_priv.h"

#define MAX_STEPS      8 /* a path of so many steps is told step by step */
#define MAX_NAMED      5
#define MAX_TOLD_APART 16
#define MAX_COMPARED   1000
#define SMALL          200

/* --- the critical path ----------------------------------------------------------------------- */

/* What a piece of the path is, as one item of the summary. */
static const char *piece_text(const struct report *r, const struct path_row *p, char *out, size_t n)
{
	char name[200];

	if (p->state == 'R')
		return task_label(out, n, r->m, p->task);
	if (p->state == 'Q')
		snprintf(out, n, "%s", "no CPU free");
	else if (p->lock && r->w && p->lock <= r->w->locks.n)
		snprintf(
		        out, n, "%s",
		        fmt_safe(name, sizeof(name), lock_short_name(&r->w->locks.v[p->lock - 1])));
	else if (p->channel && r->w && p->channel <= r->w->channels.n)
		snprintf(out, n, "%s",
		         fmt_safe(name, sizeof(name), r->w->channels.v[p->channel - 1].name));
	else
		snprintf(out, n, "%s", cause_text((enum cause)p->cause));
	return out;
}

static bool same_piece(const struct path_row *a, const struct path_row *b)
{
	if (a->state != b->state)
		return false;
	if (a->state == 'R')
		return a->task == b->task;
	return a->state == 'Q' ||
	       (a->lock == b->lock && a->channel == b->channel && a->cause == b->cause);
}

static uint64_t length(const struct path_row *p)
{
	return p->end_ns > p->start_ns ? p->end_ns - p->start_ns : 0;
}

/* "main 0.05 s → worker-2 0.61 s → …", when the path has few steps; false otherwise. */
static bool print_steps(struct tx *t, const char *label)
{
	struct path_row steps[MAX_STEPS];
	char name[256], ns[32];
	struct buf b = {0};
	size_t n = 0;

	for (size_t i = 0; i < t->r->path.n; i++) {
		const struct path_row *p = &t->r->path.v[i];

		if (n && same_piece(&steps[n - 1], p)) {
			steps[n - 1].end_ns = p->end_ns;
			continue;
		}
		if (n == MAX_STEPS)
			return false;
		steps[n++] = *p;
	}
	for (size_t i = 0; i < n && !t->err; i++)
		t->err = buf_printf(&b, "%s%s %s", i ? " → " : "",
		                    piece_text(t->r, &steps[i], name, sizeof(name)),
		                    fmt_ns(ns, sizeof(ns), length(&steps[i])));
	if (!t->err && b.p)
		tx_items(t, TX_PLAIN, label, (const char *)b.p);
	buf_release(&b);
	return true;
}

/* Running pieces by task, the others by what they waited for. */
struct tally {
	struct strtab *texts;
	struct hmap by_what;
	VEC(struct group_item) items;
	uint64_t sum;
};

static int tally_add(struct tally *y, const struct report *r, const struct path_row *p)
{
	const struct task *t = p->state == 'R' ? model_task(r->m, p->task) : NULL;
	struct group_item fresh = {.tid = t ? t->tid : 0};
	char text[256];
	uint64_t *slot;
	uint32_t id;
	bool added;

	piece_text(r, p, text, sizeof(text));
	id = strtab_add(y->texts, text, strlen(text), NULL);
	slot = id ? hmap_put(&y->by_what, id, t ? p->task : 0, &added) : NULL;
	if (!slot)
		return -ENOMEM;
	if (added) {
		*slot = y->items.n;
		fresh.name = strtab_get(y->texts, id);
		if (vec_push(&y->items, fresh))
			return -ENOMEM;
	}
	y->items.v[*slot].weight = sat_add(y->items.v[*slot].weight, length(p));
	y->sum = sat_add(y->sum, length(p));
	return 0;
}

/* "worker-2 31 %", "python3 4711 31 %", "cc1 (2,000) 31 %" */
static int put_group(struct buf *b, const struct groups *g, size_t which,
                     const struct group_item *items, uint64_t wall)
{
	const struct group *one = &g->list.v[which];
	char label[300], extra[32] = "", share[16];
	uint32_t tid = items[one->first].tid;
	bool same = false;

	group_label(label, sizeof(label), items, one);
	for (size_t i = 0; i < g->list.n && i < MAX_COMPARED; i++)
		same |= i != which &&
		        !strcmp(items[g->list.v[i].first].name, items[one->first].name);
	if (one->n > 1)
		snprintf(extra, sizeof(extra), " (%zu)", one->n);
	else if (same && tid)
		snprintf(extra, sizeof(extra), " %" PRIu32, tid);
	return buf_printf(b, "\n%s%s %s", label, extra,
	                  fmt_share(share, sizeof(share), one->weight, wall));
}

static int put_tally(struct buf *b, struct tally *y, const char *what, uint64_t wall)
{
	struct groups g = {0};
	char ns[32], share[16];
	int err = buf_printf(b, "%s %s (%s)", what, fmt_ns(ns, sizeof(ns), y->sum),
	                     fmt_share(share, sizeof(share), y->sum, wall));

	err = err ? err : groups_make(&g, y->items.v, y->items.n, MAX_TOLD_APART, true);
	for (size_t i = 0; i < g.list.n && !err; i++) {
		if (i == MAX_NAMED || g.list.v[i].weight < wall / SMALL) {
			err = buf_printf(b, "\n+%zu", g.list.n - i);
			break;
		}
		err = put_group(b, &g, i, y->items.v, wall);
	}
	groups_release(&g);
	return err;
}

/* "running 1.9 s (88 %) · worker-2 31 % · worker-0 28 % · …", or the same of waiting. */
static void print_tally(struct tx *t, const char *label, const char *what, bool running)
{
	struct tally y = {.texts = strtab_new()};
	struct buf b = {0};
	int err = y.texts ? 0 : -ENOMEM;

	for (size_t i = 0; i < t->r->path.n && !err; i++) {
		if ((t->r->path.v[i].state == 'R') == running)
			err = tally_add(&y, t->r, &t->r->path.v[i]);
	}
	if (!err && y.sum)
		err = put_tally(&b, &y, what, t->r->wall_ns);
	if (!err && b.p)
		tx_items(t, TX_PLAIN, label, (const char *)b.p);
	t->err = err ? err : t->err;
	strtab_free(y.texts);
	hmap_release(&y.by_what);
	vec_release(&y.items);
	buf_release(&b);
}

/* The stack that most of the path's running time was in. */
static void print_hot_place(struct tx *t)
{
	struct hmap by_stack = {0};
	uint64_t best_ns = 0;
	uint32_t best = 0;
	char where[400], line[600], share[16];

	for (size_t i = 0; i < t->r->path.n; i++) {
		const struct path_row *p = &t->r->path.v[i];
		uint64_t *slot = p->ustack ? hmap_put(&by_stack, p->ustack, 0, NULL) : NULL;

		if (!slot)
			continue;
		*slot = sat_add(*slot, length(p));
		if (*slot > best_ns) {
			best_ns = *slot;
			best = p->ustack;
		}
	}
	hmap_release(&by_stack);
	if (best_ns < t->r->wall_ns / 10 || !where_text(where, sizeof(where), t->r->m, best, 0))
		return;
	snprintf(line, sizeof(line), "most often at %s (%s)", where,
	         fmt_share(share, sizeof(share), best_ns, t->r->wall_ns));
	tx_items(t, TX_PLAIN, "", line);
}

void text_path(struct tx *t)
{
	const char *label = "critical path";
	char safe[128], line[160];

	if (!t->r->path.n || !t->r->wall_ns)
		return;
	tx_section(t);
	if (t->r->opts.task) {
		snprintf(line, sizeof(line), "to the end of %s",
		         fmt_safe(safe, sizeof(safe), t->r->opts.task));
		tx_items(t, TX_PLAIN, "critical path", line);
		label = "";
	}
	if (t->r->path_of) {
		task_label(safe, sizeof(safe), t->r->m, t->r->path_of);
		snprintf(line, sizeof(line), "of %s %" PRIu32 ", the task that ran most", safe,
		         model_task(t->r->m, t->r->path_of)->tid);
		tx_items(t, TX_PLAIN, label, line);
		label = "";
	}
	if (!print_steps(t, label)) {
		print_tally(t, label, "running", true);
		print_tally(t, "", "waiting", false);
	}
	print_hot_place(t);
}

/* --- serial sections ------------------------------------------------------------------------- */

enum { MAX_LISTED = 200, MAX_TOLD = 3 };

/* A task alone at one place, however many stacks that place has. */
struct alone {
	const struct task *task; /* of several the one that was longest */
	size_t tasks;
	uint64_t ns, count;
	bool several; /* where: the first of several places in code without names */
	char where[400];
};

/* Addresses in code that has no names, one after the other, are no places to tell apart. */
static bool same_place(const char *a, const char *b)
{
	size_t n = strcspn(a, "+");

	return !strcmp(a, b) || (*a == '[' && a[n] && !strncmp(a, b, n + 1));
}

static size_t add_alone(struct alone *v, size_t n, const struct report *r,
                        const struct serial_row *s, const struct task *task)
{
	struct alone *x = &v[n];

	*x = (struct alone){.task = task, .tasks = 1, .ns = s->ns, .count = s->count};
	where_text(x->where, sizeof(x->where), r->m, s->ustack, s->kstack);
	for (size_t i = 0; i < n; i++)
		if (v[i].task == task && same_place(v[i].where, x->where)) {
			v[i].several |= strcmp(v[i].where, x->where) != 0;
			v[i].ns = sat_add(v[i].ns, x->ns);
			v[i].count = sat_add(v[i].count, x->count);
			return n;
		}
	return n + 1;
}

static int by_time(const void *a, const void *b)
{
	const struct alone *x = a, *y = b;

	return x->ns > y->ns ? -1 : x->ns < y->ns;
}

static bool are_alike(const struct alone *a, const struct alone *b)
{
	return !strcmp(a->task->comm, b->task->comm) && same_place(a->where, b->where);
}

/* Tasks of one name that do the same, one after the other, are one line, unless it is nearly all
 * done by one of them. v: by time, and again when done. */
static void merge_alike(struct alone *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct alone sum = v[i];

		for (size_t k = i + 1; k < n && v[i].ns; k++) {
			if (!v[k].ns || !are_alike(&v[i], &v[k]))
				continue;
			sum.ns = sat_add(sum.ns, v[k].ns);
			sum.count = sat_add(sum.count, v[k].count);
			sum.several |= v[k].several || strcmp(v[i].where, v[k].where) != 0;
			sum.tasks++;
		}
		if (sum.tasks < 2 || v[i].ns > sum.ns / 3 * 2)
			continue;
		for (size_t k = i + 1; k < n; k++)
			if (are_alike(&v[i], &v[k]))
				v[k].ns = 0;
		v[i] = sum;
	}
	qsort(v, n, sizeof(*v), by_time);
}

static void print_alone(struct tx *t, const struct alone *v, size_t n, size_t which, bool first)
{
	char name[160], ns[32], times[64] = "", line[800], share[16], tid[48] = "";
	const struct alone *x = &v[which];

	if (x->tasks > 1)
		snprintf(tid, sizeof(tid), " (%zu, one at a time)", x->tasks);
	for (size_t i = 0; i < n && x->tasks == 1; i++)
		if (v[i].task != x->task && v[i].ns && !strcmp(v[i].task->comm, x->task->comm))
			snprintf(tid, sizeof(tid), " %" PRIu32, x->task->tid);
	/* They are shared out to the places by samples: a small one may get none. */
	if (x->count)
		snprintf(times, sizeof(times), " in %s",
		         fmt_n(name, sizeof(name), x->count, "stretch", "stretches"));
	snprintf(line, sizeof(line), "%s%s %s of the run (%s)%s%s%s%s",
	         task_label(name, sizeof(name), t->r->m, x->task->id), tid,
	         fmt_share(share, sizeof(share), x->ns, t->r->wall_ns),
	         fmt_ns(ns, sizeof(ns), x->ns), times, x->where[0] ? "\nat " : "", x->where,
	         x->several ? ", among others" : "");
	tx_items(t, TX_PLAIN, first ? "alone, awaited" : "", line);
}

/* Do CPUs idle for a lock more than for anything else? */
static bool is_locks_run(const struct report *r)
{
	const struct cause_row *most = NULL;

	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];

		if (row->cause != CAUSE_WORK && (!most || row->ns > most->ns))
			most = row;
	}
	return most && (most->cause == CAUSE_GIL || most->cause == CAUSE_LOCK);
}

/* Is it worth a line? There a lock's holders are alone for most of the run, one after the other,
 * and the locks' rows say so: only what is charged to a task itself, or is much of one, is. */
static bool is_told(const struct report *r, const struct alone *x, bool locks)
{
	if (x->ns < r->wall_ns / 50)
		return false;
	for (size_t i = 0; i < r->breakdown.n && locks; i++)
		locks = r->breakdown.v[i].cause != CAUSE_SERIAL ||
		        r->breakdown.v[i].id != x->task->id ||
		        r->breakdown.v[i].ns < r->capacity_ns / 50;
	return !locks || (x->tasks == 1 && x->ns >= r->wall_ns / 10);
}

void text_serial(struct tx *t)
{
	struct alone *v = calloc(MAX_LISTED, sizeof(*v));
	bool locks = is_locks_run(t->r);
	size_t n = 0, shown = 0;

	for (size_t i = 0; v && i < t->r->serial.n && i < MAX_LISTED; i++) {
		const struct serial_row *s = &t->r->serial.v[i];
		const struct task *task = model_task(t->r->m, s->task);

		if (task && task_wanted(task, t->o->task))
			n = add_alone(v, n, t->r, s, task);
	}
	if (n) {
		qsort(v, n, sizeof(*v), by_time);
		merge_alike(v, n);
	}
	for (size_t i = 0; i < n && shown < MAX_TOLD; i++) {
		if (!is_told(t->r, &v[i], locks))
			continue;
		if (!shown)
			tx_section(t);
		print_alone(t, v, n, i, !shown++);
	}
	t->err = v ? t->err : -ENOMEM;
	free(v);
}
