/* SPDX-License-Identifier: MIT */
/* What a reader should know first: a deadlock, the verdict, and where all CPU time went. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/text_priv.h"
#include "report/utf8_priv.h"

#define MAX_CYCLES  3
#define MAX_EDGES   8
#define MAX_PARTS   6
#define SMALL       200 /* what is not half a percent of all needs no part of its own */
#define MAX_CROWDS  16  /* names of tasks */
#define BAR_COLUMNS 60
#define LARGE_DOUBT 0.02 /* an uncertainty from here on is told */
#define MUCH_STOLEN 0.02 /* of a CPU: is told */
#define MUCH_OWN    0.1  /* … of what the recorder used itself */

/* --- deadlocks ------------------------------------------------------------------------------ */

static const char *lock_name(const struct report *r, uint32_t id, char *out, size_t n)
{
	if (!r->w || !id || id > r->w->locks.n)
		snprintf(out, n, "a lock");
	else
		fmt_safe(out, n, r->w->locks.v[id - 1].name);
	return out;
}

static void print_edge(struct tx *t, const struct deadlock *d, size_t i)
{
	const struct deadlock_edge *e = &d->edges.v[i];
	const struct task *task = model_task(t->r->m, e->task);
	uint64_t end = model_recording(t->r->m)->wall_end_ns;
	char who[160], name[200], where[400], ns[32], line[1100];
	size_t at;

	at = (size_t)snprintf(line, sizeof(line), "%s (%" PRIu32 ")",
	                      task_label(who, sizeof(who), t->r->m, e->task), task ? task->tid : 0);
	if (e->holds)
		at += (size_t)snprintf(line + at, sizeof(line) - at, " holds %s,",
		                       lock_name(t->r, e->holds, name, sizeof(name)));
	at += (size_t)snprintf(line + at, sizeof(line) - at, " waits for %s",
	                       e->waits_for == e->holds && e->waits_for
	                               ? "the same"
	                               : lock_name(t->r, e->waits_for, name, sizeof(name)));
	if (end > e->since_ns && e->since_ns)
		at += (size_t)snprintf(line + at, sizeof(line) - at, " since %s%s before the end",
		                       e->before ? "more than " : "",
		                       fmt_ns(ns, sizeof(ns), end - e->since_ns));
	if (where_text(where, sizeof(where), t->r->m, e->ustack, e->kstack))
		snprintf(line + at, sizeof(line) - at, "\nat %s", where);
	tx_items(t, TX_BAD, i ? "" : "deadlock", line);
}

void text_deadlocks(struct tx *t)
{
	const struct report *r = t->r;

	for (size_t i = 0; i < r->deadlocks.n && i < MAX_CYCLES; i++) {
		const struct deadlock *d = &r->deadlocks.v[i];

		tx_section(t);
		for (size_t k = 0; k < d->edges.n && k < MAX_EDGES; k++)
			print_edge(t, d, k);
		if (d->edges.n > MAX_EDGES)
			tx_line(t, TX_BAD, "%*s… and %zu more task%s", TX_LABEL, "",
			        d->edges.n - MAX_EDGES, d->edges.n - MAX_EDGES == 1 ? "" : "s");
	}
	if (r->deadlocks.n > MAX_CYCLES)
		tx_line(t, TX_BAD, "… and %zu more deadlock%s in --json",
		        r->deadlocks.n - MAX_CYCLES, r->deadlocks.n - MAX_CYCLES == 1 ? "" : "s");
}

/* --- verdict --------------------------------------------------------------------------------- */

/* A gain by less is nothing to tell. */
#define WORTH_TELLING 1.05
#define SMALL_CAUSE   33  /* one part of the capacity in so many */
#define SURE_GAIN     1.2 /* worth telling of what is not the verdict's cause */

/* If that cause were gone; NULL: not known, or hardly a gain. Nothing of a small cause that may
 * change nothing. */
static const struct what_if_row *what_if_of(const struct report *r, const struct cause_row *row)
{
	for (size_t i = 0; i < r->what_if.n; i++) {
		const struct what_if_row *w = &r->what_if.v[i];

		if (w->wall_high_ns >= r->wall_ns && row->ns < r->capacity_ns / SMALL_CAUSE)
			continue;
		if (w->cause == row->cause && w->id == row->id && w->cause != CAUSE_WORK &&
		    w->speedup > WORTH_TELLING)
			return w;
	}
	return NULL;
}

/* The most that is gained for sure, whatever takes the most time: that of a lock's holder may be
 * told as sleep or I/O. */
static const struct what_if_row *sure_gain(const struct report *r)
{
	const struct what_if_row *best = NULL;

	for (size_t i = 0; i < r->what_if.n; i++) {
		const struct what_if_row *w = &r->what_if.v[i];

		if (w->cause != CAUSE_WORK && w->wall_high_ns < r->wall_ns &&
		    w->speedup >= SURE_GAIN && (!best || w->speedup > best->speedup))
			best = w;
	}
	return best;
}

/* By the least that can be added; NULL: hardly for sure. */
static const struct what_if_row *more_cpus(const struct report *r)
{
	const struct what_if_row *least = NULL;

	for (size_t i = 0; i < r->what_if.n; i++) {
		const struct what_if_row *w = &r->what_if.v[i];

		if (w->cause == CAUSE_WORK && w->wall_high_ns < r->wall_ns &&
		    w->speedup >= SURE_GAIN && (!least || w->speedup < least->speedup))
			least = w;
	}
	return least;
}

/* Of the cause that the headline names; else of the largest that is half of it or more: what is
 * said of a lesser one would be read as the answer. Else, where no lock is named, what is gained
 * for sure. */
static const struct what_if_row *main_what_if(const struct report *r)
{
	const struct cause_row *named = &r->verdict_row;
	const struct what_if_row *w = what_if_of(r, named);

	if (r->verdict == VERDICT_CPU_BOUND && r->cpus <= 1)
		return more_cpus(r);
	for (size_t i = 0; !w && i < r->breakdown.n; i++)
		if (r->breakdown.v[i].ns >= named->ns / 2)
			w = what_if_of(r, &r->breakdown.v[i]);
	if (w || named->cause == CAUSE_LOCK || named->cause == CAUSE_GIL)
		return w;
	return sure_gain(r);
}

/* The GIL or lock that the headline names holds the run up, but without it the run would take as
 * long: silence would be read as the opposite. */
static const struct what_if_row *no_gain(const struct report *r)
{
	const struct cause_row *named = &r->verdict_row;

	if (named->cause != CAUSE_LOCK && named->cause != CAUSE_GIL)
		return NULL;
	for (size_t i = 0; i < r->what_if.n; i++) {
		const struct what_if_row *w = &r->what_if.v[i];

		if (w->cause == named->cause && w->id == named->id && w->speedup <= WORTH_TELLING)
			return w;
	}
	return NULL;
}

static void print_no_gain(struct tx *t, const struct what_if_row *w)
{
	char ns[32], low[32], high[32], free_ns[32], change[256], line[600];

	fmt_safe(change, sizeof(change), w->change);
	fmt_ns(ns, sizeof(ns), w->wall_ns);
	fmt_ns(low, sizeof(low), w->wall_low_ns);
	fmt_ns(high, sizeof(high), w->wall_high_ns);
	if (w->free_ns && (double)t->r->replay_ns >= SURE_GAIN * (double)w->free_ns)
		snprintf(line, sizeof(line),
		         "%s, the same work would take about %s (%s to %s) on CPUs that other "
		         "programs use as well, and about %s on free ones.",
		         change, ns, low, high, fmt_ns(free_ns, sizeof(free_ns), w->free_ns));
	else
		snprintf(line, sizeof(line), "%s, the same work would take %s: %s (%s to %s).",
		         change, w->speedup * WORTH_TELLING < 1 ? "longer" : "about as long", ns,
		         low, high);
	tx_items(t, TX_PLAIN, NULL, line);
}

static void print_cost(struct tx *t, const struct what_if_row *w)
{
	bool memory = w->memory_bytes != WHAT_IF_UNKNOWN, spawn = w->spawn_ns != WHAT_IF_UNKNOWN;
	char bytes[32], ns[32], line[200];

	if (!w->processes || (!memory && !spawn))
		return;
	snprintf(line, sizeof(line),
	         "%" PRIu32 " process%s instead of threads would cost %s%s%s%s.", w->processes,
	         w->processes == 1 ? "" : "es",
	         memory ? fmt_bytes(bytes, sizeof(bytes), w->memory_bytes) : "",
	         memory && spawn ? " and " : "", spawn ? fmt_ns(ns, sizeof(ns), w->spawn_ns) : "",
	         spawn ? w->processes == 1 ? " to start" : " each to start" : " each");
	tx_items(t, TX_PLAIN, NULL, line);
}

static void print_what_if(struct tx *t)
{
	const struct what_if_row *w = main_what_if(t->r), *none = w ? NULL : no_gain(t->r);
	char ns[32], low[32], high[32], faster[64], change[256], line[600];

	if (none)
		print_no_gain(t, none);
	if (!w)
		return;
	snprintf(faster, sizeof(faster), ": %.1f times faster.", w->speedup);
	snprintf(line, sizeof(line), "%s, the same work would take about %s (%s to %s)%s",
	         fmt_safe(change, sizeof(change), w->change), fmt_ns(ns, sizeof(ns), w->wall_ns),
	         fmt_ns(low, sizeof(low), w->wall_low_ns),
	         fmt_ns(high, sizeof(high), w->wall_high_ns),
	         w->wall_high_ns < t->r->wall_ns ? faster
	                                         : "; faster or not, this run does not show.");
	tx_items(t, TX_PLAIN, NULL, line);
	print_cost(t, w);
}

static uint64_t steal_ns(const struct model *m)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < model_n_tasks(m); i++)
		ns = sat_add(ns, model_task_at(m, i)->steal_ns);
	return ns;
}

/* Who had the CPUs that this workload was ready for: others, the recorder (which reads large files'
 * unwinding tables meanwhile), the hypervisor, or (a quota, more tasks than CPUs) nobody but
 * itself. */
static void print_others(struct tx *t)
{
	const struct report *r = t->r;
	double wall = (double)r->wall_ns, steal = (double)steal_ns(r->m);
	double own = r->recorder_ns == WHAT_IF_UNKNOWN ? 0 : (double)r->recorder_ns;
	char line[200], took[80] = "", recorder[40] = "";

	if (r->verdict != VERDICT_CPU_STARVED || r->others_ns == WHAT_IF_UNKNOWN || !r->wall_ns)
		return;
	if (steal >= MUCH_STOLEN * wall)
		snprintf(took, sizeof(took), "; the hypervisor and interrupts took %.2f",
		         steal / wall);
	if (own >= MUCH_OWN * wall)
		snprintf(recorder, sizeof(recorder), ", mpvtrace %.2f", own / wall);
	snprintf(line, sizeof(line), "Other programs used %.2f CPUs meanwhile%s%s.",
	         (double)r->others_ns / wall, recorder, took);
	tx_items(t, TX_PLAIN, NULL, line);
}

void text_verdict(struct tx *t)
{
	const struct report *r = t->r;
	bool bad = r->verdict == VERDICT_SERIALIZED || r->verdict == VERDICT_CPU_STARVED ||
	           r->verdict == VERDICT_IMBALANCED;
	char line[1500], safe[1300];

	if (!r->headline[0])
		return;
	tx_section(t);
	tx_items(t, bad ? TX_BAD : TX_PLAIN, NULL, fmt_safe(safe, sizeof(safe), r->headline));
	if (r->next_step[0]) {
		snprintf(line, sizeof(line), "Look at %s.",
		         fmt_safe(safe, sizeof(safe), r->next_step));
		tx_items(t, TX_PLAIN, NULL, line);
	}
	print_others(t);
	if (r->spin_note[0])
		tx_items(t, TX_PLAIN, NULL, fmt_safe(safe, sizeof(safe), r->spin_note));
	text_much_pickling(t);
	text_threads(t);
	print_what_if(t);
}

/* --- account --------------------------------------------------------------------------------- */

struct part {
	char text[448];
	uint64_t ns;
	double doubt; /* of its ns: 0 … 1 */
	const char *shade;
};

static void name_part(struct part *p, const struct report *r, const struct cause_row *row)
{
	char name[200], where[200];

	fmt_safe(name, sizeof(name), row->name);
	switch (row->cause) {
	case CAUSE_GIL:
	case CAUSE_CHANNEL:
		snprintf(p->text, sizeof(p->text), "%s", name[0] ? name : cause_text(row->cause));
		break;
	case CAUSE_LOCK:
		snprintf(p->text, sizeof(p->text), "%s%s", strchr(name, ' ') ? "" : "lock ",
		         name[0] ? name : "unknown");
		break;
	case CAUSE_SERIAL:
		if (where_text(where, sizeof(where), r->m, row->ustack, 0))
			snprintf(p->text, sizeof(p->text), "%s alone (%s)", name, where);
		else
			snprintf(p->text, sizeof(p->text), "%s alone", name);
		break;
	default:
		snprintf(p->text, sizeof(p->text), "%s", cause_text(row->cause));
	}
}

/* What many tasks of one name do alone, each too little to be told. */
struct crowd {
	const char *comm;
	uint64_t ns;
	size_t n;
	bool told;
};

struct parts {
	struct part v[MAX_PARTS + 1];
	struct part rest;
	size_t n, others;
	struct crowd crowds[MAX_CROWDS];
};

static bool is_small(const struct report *r, uint64_t ns)
{
	return ns < r->capacity_ns / SMALL;
}

static struct crowd *crowd_of(const struct report *r, const struct cause_row *row, struct parts *p)
{
	const struct task *t = row->cause == CAUSE_SERIAL ? model_task(r->m, row->id) : NULL;

	for (size_t i = 0; t && is_small(r, row->ns) && i < MAX_CROWDS; i++) {
		struct crowd *c = &p->crowds[i];

		if (!c->n)
			c->comm = t->comm;
		if (!strcmp(c->comm, t->comm))
			return c;
	}
	return NULL;
}

static void find_crowds(const struct report *r, struct parts *p)
{
	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];
		struct crowd *c = row->ns ? crowd_of(r, row, p) : NULL;

		if (!c)
			continue;
		c->ns = sat_add(c->ns, row->ns);
		c->n++;
	}
}

static struct part *new_part(struct parts *p, uint64_t ns)
{
	static const char *const shades[MAX_PARTS] = {"█", "▓", "▒", "░", "─", "╌"};
	struct part *x = &p->v[p->n];

	*x = (struct part){.ns = ns, .shade = shades[p->n]};
	p->n++;
	return x;
}

/* Those larger than that, the largest first, while there is room. */
static void put_crowds(const struct report *r, struct parts *p, uint64_t than)
{
	while (p->n < MAX_PARTS) {
		struct crowd *best = NULL;
		struct part *x;
		char name[64];

		for (size_t i = 0; i < MAX_CROWDS; i++) {
			struct crowd *c = &p->crowds[i];

			if (c->n > 1 && !c->told && c->ns > than && !is_small(r, c->ns) &&
			    (!best || c->ns > best->ns))
				best = c;
		}
		if (!best)
			return;
		x = new_part(p, best->ns);
		snprintf(x->text, sizeof(x->text), "%zu %s alone, one by one", best->n,
		         fmt_safe(name, sizeof(name), best->comm));
		best->told = true;
	}
}

static void put_row(const struct report *r, struct parts *p, const struct cause_row *row)
{
	const struct crowd *c = crowd_of(r, row, p);

	if (c && c->told)
		return;
	if (p->n < MAX_PARTS && !is_small(r, row->ns)) {
		struct part *x = new_part(p, row->ns);

		if (row->cause != CAUSE_UNATTRIBUTED) /* nothing but doubt */
			x->doubt = row->uncertainty_ratio;
		name_part(x, r, row);
		return;
	}
	p->others++;
	p->rest.ns = sat_add(p->rest.ns, row->ns);
	name_part(&p->rest, r, row);
}

/* The largest parts in the order given, then one for all others. Small rows come after all that are
 * told, so that every crowd with room is told by then. */
static void make_parts(const struct report *r, struct parts *p)
{
	*p = (struct parts){.rest.shade = "."};
	find_crowds(r, p);
	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];

		if (!row->ns)
			continue;
		if (row->cause != CAUSE_WORK)
			put_crowds(r, p, is_small(r, row->ns) ? 0 : row->ns);
		put_row(r, p, row);
	}
	if (p->others > 1)
		snprintf(p->rest.text, sizeof(p->rest.text), "%zu smaller", p->others);
	if (p->others)
		p->v[p->n++] = p->rest;
}

static int put_bar(struct buf *b, const struct part *p, size_t n, unsigned columns)
{
	double total = 0, sum = 0;
	unsigned at = 0;
	int err = 0;

	for (size_t i = 0; i < n; i++)
		total += (double)p[i].ns;
	for (size_t i = 0; i < n && total > 0 && !err; i++) {
		sum += (double)p[i].ns;
		for (; at < (unsigned)(sum / total * columns + 0.5) && !err; at++)
			err = buf_printf(b, "%s", p[i].shade);
	}
	return err;
}

static int put_legend(struct buf *b, const struct part *p, size_t n, uint64_t whole)
{
	char share[16], doubt[16];
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		uint64_t doubt_ns = (uint64_t)(p[i].doubt * (double)p[i].ns);

		err = buf_printf(b, "%s%s %s %s", i ? "\n" : "", p[i].shade, p[i].text,
		                 fmt_share(share, sizeof(share), p[i].ns, whole));
		if (!err && p[i].doubt >= LARGE_DOUBT)
			err = buf_printf(b, " (± %s)",
			                 fmt_share(doubt, sizeof(doubt), doubt_ns, whole));
	}
	return err;
}

void text_account(struct tx *t)
{
	struct parts parts;
	struct buf bar = {0}, legend = {0};
	unsigned columns = t->width - TX_LABEL;
	char wall[32];

	if (!t->r->capacity_ns || !t->r->breakdown.n)
		return;
	tx_section(t);
	tx_line(t, TX_PLAIN, "where %.3g CPU%s × %s went", t->r->cpus, t->r->cpus == 1 ? "" : "s",
	        fmt_ns(wall, sizeof(wall), t->r->wall_ns));
	make_parts(t->r, &parts);
	t->err = put_bar(&bar, parts.v, parts.n, columns < BAR_COLUMNS ? columns : BAR_COLUMNS);
	t->err = t->err ? t->err : put_legend(&legend, parts.v, parts.n, t->r->capacity_ns);
	if (!t->err && bar.p && legend.p) {
		tx_items(t, TX_PLAIN, "", (const char *)bar.p);
		tx_items(t, TX_PLAIN, "", (const char *)legend.p);
	}
	buf_release(&bar);
	buf_release(&legend);
}
