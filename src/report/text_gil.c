/* SPDX-License-Identifier: MIT */
/* Python's locks: who held each process's GIL, and who waited for it; and watched tasks. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/table_priv.h"

#define MAX_GILS     3
#define MAX_COMPARED 1000
#define SELDOM       4    /* waited for by less than 1 part in this of the time that it was held */
#define SMALL        200  /* of the run: a GIL that nobody waited for longer is not worth a table */
#define DOUBT        0.02 /* of the run, or of the CPU time: an uncertainty from here on is told */
#define MUCH         10 /* Python that used less than 1 part in this of all CPU time is not told of */
#define MOST_DOUBT   0.15 /* of the CPU time: with more, what it allows threads is not told */

static const struct column columns[] = {
        {.left = true, .min = 12}, {.head = "Python", .left = true, .min = 10, .drop = 3},
        {.head = "held"},          {.head = "of the run", .brief = "share", .drop = 1},
        {.head = "waited"},        {.head = "waits", .drop = 2},
};

struct sums {
	uint64_t hold, wait, waits;
};

static struct sums sum_of(const struct gil_row *g, const struct group_item *items,
                          const struct group *one)
{
	struct sums s = {0};

	for (size_t i = one->first; i < one->first + one->n; i++) {
		const struct gil_task *t = &g->tasks.v[items[i].index];

		s.hold = sat_add(s.hold, t->time.hold_ns);
		s.wait = sat_add(s.wait, t->wait_ns);
		s.waits = sat_add(s.waits, t->waits);
	}
	return s;
}

/* Does another task have the name of this one? Items of a process: all threads of it. */
static bool is_shared_name(const struct gil_row *g, const struct group_item *items,
                           const struct group *one)
{
	for (size_t i = 0; i < g->tasks.n && i < MAX_COMPARED; i++) {
		if (i != one->first && !strcmp(items[i].name, items[one->first].name))
			return true;
	}
	return false;
}

/* One row for a task, or for a group of like tasks: their sums. */
static void add_row(struct table *tab, const struct tx *t, const struct gil_row *g,
                    const struct group_item *items, const struct group *one)
{
	struct sums s = sum_of(g, items, one);
	char label[300], share[16];

	group_label(label, sizeof(label), items, one);
	if (one->n > 1)
		table_cell(tab, "%s (%zu)", label, one->n);
	else if (is_shared_name(g, items, one))
		table_cell(tab, "%s %" PRIu32, label, items[one->first].tid);
	else
		table_cell(tab, "%s", label);
	table_job(tab, &t->jobs, one->n == 1 ? g->tasks.v[items[one->first].index].task : 0);
	table_ns(tab, s.hold);
	table_cell(tab, "%s", fmt_share(share, sizeof(share), s.hold, t->r->wall_ns));
	table_ns(tab, s.wait);
	table_count(tab, s.waits);
}

static void gil_name(char *out, size_t n, const struct report *r, const struct gil_row *g)
{
	const struct proc *p = model_proc(r->m, g->proc);

	snprintf(out, n, p ? "GIL (pid %" PRIu32 ")" : "GIL", p ? p->pid : 0);
}

static int print_tasks(struct tx *t, const struct gil_row *g, const char *head)
{
	struct group_item *items = calloc(g->tasks.n ? g->tasks.n : 1, sizeof(*items));
	struct groups groups = {0};
	struct table tab = {0};
	int err = items ? 0 : -ENOMEM;

	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		struct column c = columns[i];

		c.head = i ? c.head : head;
		table_column(&tab, &c);
	}
	for (size_t i = 0; i < g->tasks.n && !err; i++) {
		const struct task *task = model_task(t->r->m, g->tasks.v[i].task);

		items[i] = (struct group_item){
		        .name = task && task->comm ? task->comm : "unknown",
		        .weight = sat_add(g->tasks.v[i].time.hold_ns, g->tasks.v[i].wait_ns),
		        .index = i,
		        .tid = task ? task->tid : 0,
		};
	}
	err = err ? err : groups_make(&groups, items, g->tasks.n, t->top, true);
	for (size_t i = 0; i < groups.list.n && i < t->top && !err; i++)
		add_row(&tab, t, g, items, &groups.list.v[i]);
	if (!err)
		table_print(&tab, t);
	table_release(&tab);
	groups_release(&groups);
	free(items);
	return err;
}

/* How long it was held, of the run. Where nobody waits a release leaves no trace but in samples. */
static void print_held(const struct tx *t, const struct gil_row *g, char *out, size_t n)
{
	const struct gil_time *time = &g->time;
	bool bound = !time->samples && g->wait_ns < time->hold_ns / SELDOM;
	char share[16], doubt[16], off[32] = "";

	if (time->samples && (double)time->doubt_ns >= DOUBT * (double)t->r->wall_ns)
		snprintf(off, sizeof(off), " (± %s)",
		         fmt_share(doubt, sizeof(doubt), time->doubt_ns, t->r->wall_ns));
	snprintf(out, n, "held %s%s%s of the run%s", bound ? "at most " : "",
	         fmt_share(share, sizeof(share), time->hold_ns, t->r->wall_ns), off,
	         bound ? " (code that had released it, with nobody waiting, counts as well)" : "");
}

static void print_gil(struct tx *t, const struct gil_row *g)
{
	char name[48], wait[32], switches[48], held[160], line[280];

	tx_section(t);
	gil_name(name, sizeof(name), t->r, g);
	t->err = print_tasks(t, g, name);
	print_held(t, g, held, sizeof(held));
	snprintf(line, sizeof(line), "%s, %s waited for in all, %s handed over", held,
	         fmt_ns(wait, sizeof(wait), g->wait_ns),
	         fmt_n(switches, sizeof(switches), g->switches, "time", "times"));
	tx_items(t, TX_PLAIN, "", line);
}

/* --- threads or processes? ---------------------------------------------------------------- */

/* All of Python's: CPU time, that with a GIL, and what that may be off by. */
struct python {
	size_t gils;
	uint32_t proc;
	bool procs; /* several */
	double cpu_ns, hold_ns, doubt_ns;
};

static void add_gil(struct python *p, const struct gil_row *g)
{
	if (!g->time.samples || !g->time.cpu_ns)
		return;
	p->procs |= p->gils && p->proc != g->proc;
	p->proc = g->proc;
	p->gils++;
	p->cpu_ns += (double)g->time.cpu_ns;
	p->hold_ns += (double)g->time.cpu_hold_ns;
	p->doubt_ns = hypot(p->doubt_ns, (double)g->time.doubt_ns);
}

static double cpu_of_all(const struct report *r)
{
	double ns = 0;

	for (size_t i = 0; i < model_n_tasks(r->m); i++)
		ns += (double)model_task_at(r->m, i)->run_ns;
	return ns;
}

/*
 * Only one thread at a time has the GIL: where that takes a part f of the CPU time, threads of one
 * process can use 1 / f CPUs, however the work is divided. Of several processes, or interpreters of
 * one with a GIL each: if they were threads of one.
 */
static bool threads_text(const struct report *r, char *out, size_t n)
{
	struct python p = {0};
	char cpu[32], cpus[40], off[24] = "";
	double share, most;

	for (size_t i = 0; i < r->gils.n; i++) {
		if (r->gils.v[i].others)
			return false;
		add_gil(&p, &r->gils.v[i]);
	}
	if (!p.gils || p.cpu_ns < cpu_of_all(r) / MUCH || r->cpus <= 1 ||
	    p.doubt_ns > MOST_DOUBT * p.cpu_ns)
		return false;
	share = p.hold_ns / p.cpu_ns;
	most = share > 0.01 ? 1 / share : 100;
	if (p.doubt_ns >= DOUBT * p.cpu_ns)
		snprintf(off, sizeof(off), " (± %.0f %%)", 100 * p.doubt_ns / p.cpu_ns);
	if (most < 1.05)
		snprintf(cpus, sizeof(cpus), "one CPU");
	else
		snprintf(cpus, sizeof(cpus), "at most %.*f CPUs", most < 9.95 ? 1 : 0, most);
	fmt_ns(cpu, sizeof(cpu), (uint64_t)p.cpu_ns);
	if (p.gils > 1)
		snprintf(out, n,
		         "Python's %s had their GILs for %.0f %%%s of their CPU time, %s: "
		         "as threads of one %s they could use %s at a time.",
		         p.procs ? "processes" : "interpreters", 100 * share, off, cpu,
		         p.procs ? "process" : "interpreter", cpus);
	else
		snprintf(out, n,
		         "Python had the GIL for %.0f %%%s of its CPU time, %s: so threads can use "
		         "%s at a time, processes any number.",
		         100 * share, off, cpu, cpus);
	return true;
}

/* Told first of what ran alone: to divide that is what there is to gain. */
static bool is_asked(const struct report *r)
{
	return r->verdict == VERDICT_CPU_BOUND ||
	       (r->verdict == VERDICT_SERIALIZED && r->verdict_row.cause == CAUSE_SERIAL);
}

void text_threads(struct tx *t)
{
	char line[320];

	if (is_asked(t->r) && !t->o->task && threads_text(t->r, line, sizeof(line)))
		tx_items(t, TX_PLAIN, NULL, line);
}

void text_gil(struct tx *t)
{
	size_t shown = 0, quiet = 0;
	char count[48], line[320];

	for (size_t i = 0; i < t->r->gils.n && !t->err; i++) {
		const struct gil_row *g = &t->r->gils.v[i];

		if (shown < MAX_GILS && g->wait_ns > t->r->wall_ns / SMALL) {
			print_gil(t, g);
			shown++;
		} else {
			quiet++;
		}
	}
	if (shown && quiet)
		tx_line(t, TX_PLAIN, "… and %s more",
		        fmt_n(count, sizeof(count), quiet, "GIL", "GILs"));
	if (t->err || is_asked(t->r) || t->o->task || !threads_text(t->r, line, sizeof(line)))
		return;
	if (!shown)
		tx_section(t);
	tx_items(t, TX_PLAIN, shown ? "" : "GIL", line);
}

/* --- watched tasks ---------------------------------------------------------------------------- */

#define SMALL_PART 10 /* of the delays: what came besides is not worth a word */

/* With its id where others have the same name. */
static const char *watch_label(char *out, size_t n, const struct model *m, uint32_t task)
{
	const struct task *t = model_task(m, task);
	const char *name = task_label(out, n, m, task);
	size_t at = strlen(name);

	for (size_t i = 0; t && i < model_n_tasks(m); i++) {
		const struct task *other = model_task_at(m, i);

		if (other != t && !strcmp(other->comm, t->comm)) {
			snprintf(out + at, n - at, " %" PRIu32, t->tid);
			break;
		}
	}
	return out;
}

static int delays_text(struct buf *b, const struct watch_row *w)
{
	char p50[32], p99[32], longest[32], count[48];

	if (!w->waits)
		return buf_printf(b, "no delay, as it waited for nothing of its own");
	return buf_printf(b, "%s until it ran\np50 %s, p99 %s, longest %s",
	                  fmt_n(count, sizeof(count), w->waits, "delay", "delays"),
	                  fmt_ns(p50, sizeof(p50), w->p50_ns), fmt_ns(p99, sizeof(p99), w->p99_ns),
	                  fmt_ns(longest, sizeof(longest), w->max_ns));
}

void text_watch(struct tx *t)
{
	char name[160], part[32], by[160];
	struct buf b = {0};
	uint64_t told;

	for (size_t i = 0; i < t->r->watch.n && !t->err; i++) {
		const struct watch_row *w = &t->r->watch.v[i];

		if (!i)
			tx_section(t);
		b.n = 0;
		told = 0;
		t->err = buf_printf(&b, "%s: ", watch_label(name, sizeof(name), t->r->m, w->task));
		t->err = t->err ? t->err : delays_text(&b, w);
		for (size_t k = 0; k < w->by.n; k++)
			told = sat_add(told, w->by.v[k].ns);
		for (size_t k = 0; k < w->by.n && k < 3 && !t->err; k++)
			t->err = buf_printf(
			        &b, "%s%s %s", k ? ", " : "\nby ",
			        w->by.v[k].task
			                ? watch_label(by, sizeof(by), t->r->m, w->by.v[k].task)
			                : cause_text((enum cause)w->by.v[k].cause),
			        fmt_ns(part, sizeof(part), w->by.v[k].ns));
		if (!t->err && w->at_work_ns > told / SMALL_PART)
			t->err = buf_printf(&b, "\nat work %s ready or kept by locks",
			                    fmt_ns(part, sizeof(part), w->at_work_ns));
		if (!t->err)
			tx_items(t, TX_PLAIN, i ? "" : "watched", (const char *)b.p);
	}
	buf_release(&b);
}
