/* SPDX-License-Identifier: MIT */
/* Where the tasks' time went: all together, then the tasks or groups of like tasks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/table_priv.h"

#define SMALL    200 /* what is not half a percent of all waiting gets no column */
#define KEEP_ALL 99

/* --- sort keys ------------------------------------------------------------- */

static uint64_t key_run(const struct task *t)
{
	return t->run_ns;
}

static uint64_t key_runnable(const struct task *t)
{
	return t->runnable_ns;
}

static uint64_t key_blocked(const struct task *t)
{
	return t->blocked_ns;
}

static uint64_t key_switches(const struct task *t)
{
	return sat_add(t->voluntary, t->involuntary);
}

static uint64_t key_faults(const struct task *t)
{
	return sat_add(t->kernel.minflt, t->kernel.majflt);
}

/* Earliest first. */
static uint64_t key_start(const struct task *t)
{
	return UINT64_MAX - t->start_ns;
}

/* X(key, function, comma before the next): the first is the default. */
/* clang-format off */
#define SORT_KEYS(X) \
	X("run", key_run, ", ") X("runnable", key_runnable, ", ") X("blocked", key_blocked, ", ") \
	X("switches", key_switches, ", ") X("faults", key_faults, ", ") X("start", key_start, "")
/* clang-format on */

struct sort_key {
	const char *name;
	uint64_t (*of)(const struct task *t);
};

static const struct sort_key sort_keys[] = {
#define X(name, of, comma) {name, of},
        SORT_KEYS(X)
#undef X
};

const char *report_sort_keys(void)
{
#define X(name, of, comma) name comma
	return SORT_KEYS(X);
#undef X
}

static const struct sort_key *find_key(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(sort_keys); i++) {
		if (name && !strcmp(sort_keys[i].name, name))
			return &sort_keys[i];
	}
	return NULL;
}

bool report_sort_known(const char *key)
{
	return find_key(key) != NULL;
}

/* --- sums over tasks ------------------------------------------------------------------------- */

struct sums {
	size_t n, n_known; /* n_known: with the kernel's counters */
	uint64_t life, run, runnable, blocked, steal;
	uint64_t by_cause[BLOCK_N];
	bool faults_known; /* of one of them, so of all: touched_pages counts */
	uint64_t voluntary, involuntary, futex_waits, minor, major, touched_pages, cow;
	uint64_t run_min, run_max;
};

static void sums_add(struct sums *s, const struct task *t)
{
	s->run_min = !s->n || t->run_ns < s->run_min ? t->run_ns : s->run_min;
	s->run_max = t->run_ns > s->run_max ? t->run_ns : s->run_max;
	s->n++;
	s->life = sat_add(s->life, t->end_ns > t->start_ns ? t->end_ns - t->start_ns : 0);
	s->run = sat_add(s->run, t->run_ns);
	s->runnable = sat_add(s->runnable, t->runnable_ns);
	s->blocked = sat_add(s->blocked, t->blocked_ns);
	s->steal = sat_add(s->steal, t->steal_ns);
	for (unsigned c = 0; c < BLOCK_N; c++)
		s->by_cause[c] = sat_add(s->by_cause[c], t->blocked_by[c]);
	s->voluntary = sat_add(s->voluntary, t->voluntary);
	s->involuntary = sat_add(s->involuntary, t->involuntary);
	s->futex_waits = sat_add(s->futex_waits, t->futex_waits);
	if (!counters_known(t))
		return;
	s->n_known++;
	s->minor = sat_add(s->minor, t->kernel.minflt);
	s->major = sat_add(s->major, t->kernel.majflt);
	s->faults_known |= t->faults_known;
	s->touched_pages = sat_add(s->touched_pages,
	                           t->pages_known ? t->touched_pages : t->first_write_faults);
	if (t->pages_known)
		s->cow = sat_add(s->cow, t->cow_pages);
}

/* --- which causes get a column --------------------------------------------- */

static const char *const cause_heading[] = {
#define X(NAME, key, heading) heading,
        BLOCK_CAUSES(X)
#undef X
};

/* Causes with a column, largest first; the others' sum is shown as "other". */
struct causes {
	unsigned v[BLOCK_N], n;
	bool rest;
};

static uint64_t rest_of(const struct causes *c, const struct sums *s)
{
	uint64_t rest = s->blocked;

	for (unsigned k = 0; k < c->n; k++)
		rest = rest > s->by_cause[c->v[k]] ? rest - s->by_cause[c->v[k]] : 0;
	return rest;
}

static struct causes pick_causes(const struct sums *all, unsigned max)
{
	struct causes c = {0};

	while (c.n < max) {
		unsigned best = BLOCK_N;

		for (unsigned i = 0; i < BLOCK_N; i++) {
			bool have = i == BLOCK_OTHER;

			for (unsigned k = 0; k < c.n; k++)
				have |= c.v[k] == i;
			if (!have && (best == BLOCK_N || all->by_cause[i] > all->by_cause[best]))
				best = i;
		}
		if (best == BLOCK_N || all->by_cause[best] <= all->blocked / SMALL)
			break;
		c.v[c.n++] = best;
	}
	c.rest = rest_of(&c, all) > all->blocked / SMALL;
	return c;
}

/* --- the table ------------------------------------------------------------- */

static const struct column before_causes[] = {
        {.head = "tasks", .left = true, .min = 18},
        {.head = "Python", .left = true, .min = 10, .drop = 3},
        {.head = "mean of"},
        {.head = "running"},
        {.head = "min … max", .drop = 7},
        {.head = "ready"},
        {.head = "blocked"},
};

static const struct column after_causes[] = {
        {.head = "futex waits", .brief = "waits", .drop = 6},
        {.head = "faults", .drop = 3},
        {.head = "major", .drop = 5},
        {.head = "first touch", .brief = "touch", .drop = 4},
};

static void add_columns(struct table *tab, const struct causes *c, const struct sums *all)
{
	for (size_t i = 0; i < ARRAY_LEN(before_causes); i++)
		table_column(tab, &before_causes[i]);
	for (unsigned k = 0; k < c->n; k++)
		table_column(tab, &(struct column){.head = cause_heading[c->v[k]], .paren = true});
	if (c->rest)
		table_column(tab, &(struct column){.head = "other", .paren = true});
	if (all->involuntary) {
		table_column(tab,
		             &(struct column){.head = "switches vol", .brief = "vol", .drop = 1});
		table_column(tab, &(struct column){.head = "invol", .glue = " + ", .drop = 2});
	} else {
		table_column(tab, &(struct column){.head = "switches", .drop = 1});
	}
	for (size_t i = 0; i < ARRAY_LEN(after_causes); i++)
		table_column(tab, &after_causes[i]);
}

static uint64_t mean(uint64_t sum, size_t n)
{
	return n ? sum / n + (sum % n >= n - n / 2) : 0;
}

static void known(struct table *tab, const struct sums *s, uint64_t sum, bool bytes)
{
	if (!s->n_known)
		table_nothing(tab, "?");
	else if (bytes)
		table_bytes(tab, mean(sum, s->n_known));
	else
		table_count(tab, mean(sum, s->n_known));
}

/* Values of a row: of one task, or the mean of a group. */
static void add_values(struct table *tab, const struct causes *c, const struct sums *s,
                       const struct sums *all, uint64_t page_size)
{
	char low[32], high[32];

	if (s->n > 1) {
		table_count(tab, s->n);
		table_ns(tab, mean(s->run, s->n));
		fmt_ns(low, sizeof(low), s->run_min);
		fmt_ns(high, sizeof(high), s->run_max);
		if (strcmp(low, high))
			table_cell(tab, "%s … %s", low, high);
		else
			table_nothing(tab, "");
	} else {
		table_nothing(tab, "");
		table_ns(tab, s->run);
		table_nothing(tab, "");
	}
	table_ns(tab, mean(s->runnable, s->n));
	table_ns(tab, mean(s->blocked, s->n));
	for (unsigned k = 0; k < c->n; k++)
		table_ns(tab, mean(s->by_cause[c->v[k]], s->n));
	if (c->rest)
		table_ns(tab, mean(rest_of(c, s), s->n));
	table_count(tab, mean(s->voluntary, s->n));
	if (all->involuntary)
		table_count(tab, mean(s->involuntary, s->n));
	table_count(tab, mean(s->futex_waits, s->n));
	known(tab, s, s->minor, false);
	known(tab, s, s->major, false);
	if (page_size && s->faults_known)
		known(tab, s, sat_mul(s->touched_pages, page_size), true);
	else
		table_nothing(tab, "?");
}

/* The rows to show: tasks or groups of them. */
struct rows {
	struct tx *t;
	struct group_item *items;
	size_t n;
	struct groups groups;
	struct sums all;
};

/* Two rows must not have the same name. */
static bool label_is_unique(const struct rows *r, size_t row, const char *label)
{
	size_t shown = r->groups.list.n < r->t->top ? r->groups.list.n : r->t->top;

	/* Who wants thousands of rows gets the ids always. */
	if (shown > 200)
		return false;
	for (size_t i = 0; i < shown; i++) {
		char other[300];

		if (i != row && !strcmp(label, group_label(other, sizeof(other), r->items,
		                                           &r->groups.list.v[i])))
			return false;
	}
	return true;
}

static bool has_threads(const struct rows *r, const struct task *t)
{
	const struct proc *p = model_proc(r->t->r->m, t->proc);

	return p && p->n_tasks > 1;
}

/* Do all of a group do the same? Equal names are one string. */
static bool one_job(const struct rows *r, const struct group *g)
{
	const struct model *m = r->t->r->m;
	const char *job = job_of(&r->t->jobs, model_task_at(m, r->items[g->first].index)->id);

	for (size_t i = g->first + 1; i < g->first + g->n; i++)
		if (job_of(&r->t->jobs, model_task_at(m, r->items[i].index)->id) != job)
			return false;
	return true;
}

static void add_row(struct table *tab, const struct rows *r, size_t row, const struct causes *c)
{
	const struct group *g = &r->groups.list.v[row];
	const struct task *first = model_task_at(r->t->r->m, r->items[g->first].index);
	bool thread = first->tid != first->tgid;
	char label[300], full[360];
	struct sums s = {0};

	for (size_t i = g->first; i < g->first + g->n; i++)
		sums_add(&s, model_task_at(r->t->r->m, r->items[i].index));
	group_label(label, sizeof(label), r->items, g);
	if (label_is_unique(r, row, label))
		snprintf(full, sizeof(full), "%s", label);
	else if (g->n > 1)
		snprintf(full, sizeof(full), "%s%s", label, thread ? " threads" : "");
	else
		snprintf(full, sizeof(full), "%s %u%s", label, first->tid,
		         thread || !has_threads(r, first) ? "" : " main");
	table_cell(tab, "%s", full);
	table_job(tab, &r->t->jobs, one_job(r, g) ? first->id : 0);
	add_values(tab, c, &s, &r->all, model_recording(r->t->r->m)->page_size);
}

static void fill(struct table *tab, const struct rows *r, const struct causes *c)
{
	size_t shown = r->groups.list.n < r->t->top ? r->groups.list.n : r->t->top;

	add_columns(tab, c, &r->all);
	for (size_t i = 0; i < shown; i++)
		add_row(tab, r, i, c);
}

static void print_more(const struct rows *r)
{
	struct tx *t = r->t;
	size_t top = t->top, tasks = 0;
	char groups[48], count[48];

	if (r->groups.list.n <= top)
		return;
	for (size_t i = top; i < r->groups.list.n; i++)
		tasks += r->groups.list.v[i].n;
	fmt_n(groups, sizeof(groups), r->groups.list.n - top, "group", "groups");
	fmt_n(count, sizeof(count), tasks, "task", "tasks");
	if (tasks == r->groups.list.n - top)
		tx_line(t, TX_PLAIN, "… and %s more (all with --top or --json)", count);
	else
		tx_line(t, TX_PLAIN, "… and %s more with %s (all with --top or --json)", groups,
		        count);
}

/* What to give up first on a narrow page: causes down to three, other columns, more causes. A
 * cause without a column goes to "other". */
static const struct {
	unsigned causes, keep; /* keep: columns with a .drop above it may go */
	bool no_rest;          /* "other" goes: on the narrowest pages names need its place */
} compromises[] = {
        {6, KEEP_ALL, false}, {5, KEEP_ALL, false}, {4, KEEP_ALL, false},
        {3, KEEP_ALL, false}, {3, 2, false},        {2, 2, false},
        {2, 1, false},        {1, 0, false},        {1, 0, true},
};

static void print_table(struct tx *t, const struct rows *r)
{
	bool done = false;

	for (size_t i = 0; i < ARRAY_LEN(compromises) && !done; i++) {
		struct causes c = pick_causes(&r->all, compromises[i].causes);
		struct table tab = {0};

		c.rest &= !compromises[i].no_rest;
		fill(&tab, r, &c);
		done = tab.err || i + 1 == ARRAY_LEN(compromises) ||
		       table_fits(&tab, t->width, compromises[i].keep);
		if (done)
			table_print(&tab, t);
		table_release(&tab);
	}
	print_more(r);
}

/* --- all together ---------------------------------------------------------- */

static void print_total(struct tx *t, const struct sums *s)
{
	struct causes c = pick_causes(s, BLOCK_N);
	char v[32], share[16], n[48];
	struct buf b = {0};

	buf_printf(&b, "%s over %s", fmt_ns(v, sizeof(v), s->life),
	           fmt_n(n, sizeof(n), s->n, "task", "tasks"));
	buf_printf(&b, "\nrunning %s", fmt_share(share, sizeof(share), s->run, s->life));
	if (s->runnable)
		buf_printf(&b, "\nready, no CPU free %s",
		           fmt_share(share, sizeof(share), s->runnable, s->life));
	if (s->runnable && s->steal > s->run / 100)
		buf_printf(&b, " (of it %s taken by the hypervisor)",
		           fmt_share(share, sizeof(share), s->steal, s->life));
	if (s->blocked)
		buf_printf(&b, "\nblocked %s",
		           fmt_share(share, sizeof(share), s->blocked, s->life));
	for (unsigned k = 0; k < c.n; k++)
		buf_printf(&b, "%s%s %s", k ? ", " : ": ", cause_heading[c.v[k]],
		           fmt_share(share, sizeof(share), s->by_cause[c.v[k]], s->life));
	if (b.p)
		tx_items(t, TX_PLAIN, "time of tasks", (const char *)b.p);
	buf_release(&b);
}

/* The tasks that --task wants as items for grouping. */
static int gather(struct rows *r, const struct sort_key *key)
{
	const struct model *m = r->t->r->m;
	size_t n = model_n_tasks(m);

	r->items = calloc(n ? n : 1, sizeof(*r->items));
	if (!r->items)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct task *t = model_task_at(m, i);
		bool leader = t->tid == t->tgid;

		if (!task_wanted(t, r->t->o->task))
			continue;
		sums_add(&r->all, t);
		r->items[r->n++] = (struct group_item){
		        .name = t->comm ? t->comm : "",
		        .fine = (uint64_t)t->proc << 1 | leader,
		        .coarse = leader,
		        .weight = key->of(t),
		        .index = i,
		};
	}
	return groups_make(&r->groups, r->items, r->n, r->t->top, key->of != key_start);
}

void text_tasks(struct tx *t)
{
	const struct sort_key *key = find_key(t->o->sort);
	struct rows r = {.t = t};
	char safe[128];

	tx_section(t);
	t->err = gather(&r, key ? key : &sort_keys[0]);
	if (!t->err && !r.n && t->o->task)
		tx_line(t, TX_BAD, "no task has the id or name %s",
		        fmt_safe(safe, sizeof(safe), t->o->task));
	else if (!t->err && !r.n)
		tx_line(t, TX_BAD, "%s",
		        model_recording(t->r->m)->windowed ? "no task lived in this part of the run"
		                                           : "no task was recorded");
	if (!t->err && r.n) {
		print_total(t, &r.all);
		print_table(t, &r);
	}
	groups_release(&r.groups);
	free(r.items);
}
