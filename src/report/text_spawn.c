/* SPDX-License-Identifier: MIT */
/* What it cost to make threads and processes: a row per method. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/table_priv.h"

/* Threads are worth a table when they are many, and making them took this part of the run. */
#define MANY  20
#define SMALL 200

static const char *const methods[] = {"thread", "fork", "exec", "spawn", "forkserver"};

static const struct {
	const char *head;
	size_t offset;
	unsigned drop;
} steps[] = {
        {"creation", offsetof(struct spawn_row, call_ns), 0},
        {"first run", offsetof(struct spawn_row, first_run_ns), 1},
        {"exec", offsetof(struct spawn_row, exec_ns), 2},
        {"ready", offsetof(struct spawn_row, ready_ns), 0},
        {"teardown", offsetof(struct spawn_row, teardown_ns), 3},
};

/* The tasks of a method that --task wants; `sorted`: room for one step of each. */
struct spawned {
	const struct spawn_row **rows;
	uint64_t *sorted;
	size_t n;
};

static uint64_t step_of(const struct spawn_row *s, size_t step)
{
	return *(const uint64_t *)((const char *)s + steps[step].offset);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Of a task whose beginning lies outside what was recorded nothing may be known. */
static bool says_something(const struct spawn_row *s)
{
	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		if (step_of(s, i) != SPAWN_UNKNOWN)
			return true;
	return false;
}

/* The known values of a step, sorted; how many. */
static size_t sort_step(const struct spawned *g, size_t step)
{
	size_t known = 0;

	for (size_t i = 0; i < g->n; i++) {
		uint64_t ns = step_of(g->rows[i], step);

		if (ns != SPAWN_UNKNOWN)
			g->sorted[known++] = ns;
	}
	if (known)
		qsort(g->sorted, known, sizeof(*g->sorted), by_size);
	return known;
}

static void gather(struct spawned *g, const struct tx *t, const char *method)
{
	g->n = 0;
	for (size_t i = 0; i < t->r->spawns.n; i++) {
		const struct spawn_row *s = &t->r->spawns.v[i];
		const struct task *task = model_task(t->r->m, s->task);

		if (task && says_something(s) && !strcmp(s->method, method) &&
		    task_wanted(task, t->o->task))
			g->rows[g->n++] = s;
	}
}

static bool worth_saying(const struct tx *t)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < t->r->spawns.n; i++) {
		const struct spawn_row *s = &t->r->spawns.v[i];

		if (strcmp(s->method, "thread") != 0 && says_something(s))
			return true;
		if (s->first_run_ns != SPAWN_UNKNOWN)
			sum = sat_add(sum, s->first_run_ns);
	}
	return t->r->spawns.n >= MANY && sum > t->r->wall_ns / SMALL;
}

static uint64_t median(const uint64_t *sorted, size_t n)
{
	uint64_t low = sorted[(n - 1) / 2], high = sorted[n / 2];

	return low + (high - low) / 2;
}

/* *last: is the last step, the way to its end, known? */
static void add_rows(struct table *tab, const struct spawned *g, const char *method, bool *last)
{
	unsigned rows = g->n > 1 ? 2 : 1;
	bool told;

	for (unsigned longest = 0; longest < rows; longest++) {
		table_cell(tab, "%s", longest ? "  longest" : method);
		if (longest)
			table_nothing(tab, "");
		else
			table_count(tab, g->n);
		for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
			size_t known = sort_step(g, i);

			/* Few that are known are no picture of all. */
			told = known && known >= g->n - known;
			if (!told)
				table_nothing(tab, "-");
			else
				table_ns(tab,
				         longest ? g->sorted[known - 1] : median(g->sorted, known));
			*last |= told && i + 1 == ARRAY_LEN(steps);
		}
	}
}

static void print_methods(struct tx *t, struct spawned *g)
{
	struct table tab = {0};
	size_t shown = 0;
	bool several = false, teardown = false;

	table_column(&tab, &(struct column){.head = "made by", .left = true});
	table_column(&tab, &(struct column){.head = "tasks"});
	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		table_column(&tab, &(struct column){.head = steps[i].head, .drop = steps[i].drop});
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		gather(g, t, methods[i]);
		if (g->n)
			add_rows(&tab, g, methods[i], &teardown);
		several |= g->n > 1;
		shown += g->n;
	}
	if (shown) {
		tx_section(t);
		table_print(&tab, t);
		tx_line(t, TX_PLAIN, "%*s%sfrom the creating call on%s", TX_LABEL, "",
		        several ? "medians, " : "", teardown ? "; teardown from its exit on" : "");
	}
	table_release(&tab);
}

void text_spawn(struct tx *t)
{
	size_t n = t->r->spawns.n;
	struct spawned g;

	if (!n || !worth_saying(t))
		return;
	g.rows = calloc(n, sizeof(const struct spawn_row *));
	g.sorted = calloc(n, sizeof(*g.sorted));
	if (g.rows && g.sorted)
		print_methods(t, &g);
	else
		t->err = -ENOMEM;
	free(g.rows);
	free(g.sorted);
}
