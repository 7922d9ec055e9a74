/* SPDX-License-Identifier: MIT */
/*
 * Folded stacks: one line per stack, "comm;outermost;…;innermost weight", the user's part
 * before the kernel's. Lines that read the same are one line; they are sorted, so that two
 * exports of one trace are equal.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/export_priv.h"
#include "report/figures_priv.h"
#include "report/names_priv.h"

/* A line: three texts and a weight. */
struct line {
	const char *part[3]; /* who, user frames, kernel frames; the latter may be "" */
	uint64_t weight;
};

struct folded {
	const struct model *m;
	const struct export_opts *o;
	struct stack_names stacks;
	struct strtab *who; /* first parts, and what stands for a missing stack */
	struct hmap ids;    /* (who, user), kernel -> line */
	VEC(struct line) lines;
	size_t wanted; /* tasks that --task means */
};

static const char *const block_keys[] = {
#define X(NAME, key, heading) key,
        BLOCK_CAUSES(X)
#undef X
};

static uint32_t who_id(struct folded *f, const struct task *t)
{
	char name[128], safe[256], full[300];

	folded_name(safe, sizeof(safe), task_name(name, sizeof(name), t));
	if (f->o->by_task)
		snprintf(full, sizeof(full), "%s-%" PRIu32, safe, t->tid);
	else
		snprintf(full, sizeof(full), "%s", safe);
	return strtab_add(f->who, full, strlen(full), NULL);
}

/* Stands for frames that were not recorded, with the cause where there is one. */
static uint32_t missing_id(struct folded *f, int cause)
{
	char text[64];

	if (cause >= 0 && cause < BLOCK_N)
		snprintf(text, sizeof(text), "[no_stack:_%s]", block_keys[cause]);
	else
		snprintf(text, sizeof(text), "[no_stack]");
	return strtab_add(f->who, text, strlen(text), NULL);
}

static int add(struct folded *f, const struct stack_row *row, int cause, uint64_t weight)
{
	const struct task *t = model_task(f->m, row->task);
	uint32_t who, user, kernel, missing = 0;
	struct line fresh = {0};
	uint64_t *slot;
	bool added;

	if (!weight || !t || !task_wanted(t, f->o->task))
		return 0;
	who = who_id(f, t);
	user = stack_name(&f->stacks, row->ustack);
	kernel = stack_name(&f->stacks, row->kstack);
	if (f->stacks.err)
		return f->stacks.err;
	if (!user && !kernel)
		missing = missing_id(f, cause);
	if (!who || (!user && !kernel && !missing))
		return -ENOMEM;
	/* An id of either table in 32 bits; the kernel's word says which table it is. */
	slot = hmap_put(&f->ids, (uint64_t)who << 32 | (missing ? missing : user),
	                (uint64_t)kernel << 1 | (missing != 0), &added);
	if (!slot)
		return -ENOMEM;
	if (added) {
		*slot = f->lines.n;
		fresh.part[0] = strtab_get(f->who, who);
		fresh.part[1] =
		        missing ? strtab_get(f->who, missing) : stack_text(&f->stacks, user);
		fresh.part[2] = stack_text(&f->stacks, kernel);
		if (vec_push(&f->lines, fresh))
			return -ENOMEM;
	}
	f->lines.v[*slot].weight = sat_add(f->lines.v[*slot].weight, weight);
	return 0;
}

/* The next byte of the line "part;part;part"; '\0' at its end. */
static unsigned char next_byte(const struct line *l, unsigned *part, size_t *at)
{
	unsigned char c = (unsigned char)l->part[*part][*at];

	if (c) {
		++*at;
		return c;
	}
	while (*part < 2) {
		++*part;
		*at = 0;
		if (l->part[*part][0])
			return ';';
	}
	return 0;
}

static int by_text(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	unsigned px = 0, py = 0;
	size_t ax = 0, ay = 0;

	if (x->part[0] == y->part[0] && x->part[1] == y->part[1])
		return strcmp(x->part[2], y->part[2]);
	for (;;) {
		unsigned char cx = next_byte(x, &px, &ax), cy = next_byte(y, &py, &ay);

		if (cx != cy)
			return cx < cy ? -1 : 1;
		if (!cx)
			return 0;
	}
}

static void print_line(FILE *out, const struct line *l, uint64_t weight)
{
	if (!weight)
		return;
	fputs(l->part[0], out);
	for (unsigned i = 1; i < 3; i++) {
		if (l->part[i][0])
			fprintf(out, ";%s", l->part[i]);
	}
	fprintf(out, " %" PRIu64 "\n", weight);
}

/* Weights in whole units; what a line's rounding takes or gives, the next line gets, so that
 * the sum of all lines is right to one unit. */
static void print_lines(struct folded *f, uint64_t unit, FILE *out)
{
	uint64_t carry = 0;

	if (f->lines.n)
		qsort(f->lines.v, f->lines.n, sizeof(*f->lines.v), by_text);
	for (size_t i = 0; i < f->lines.n; i++) {
		const struct line *l = &f->lines.v[i];
		uint64_t weight = l->weight;

		/* Names chosen to imitate others (a function called "x;y_[k]") end up here. */
		while (i + 1 < f->lines.n && !by_text(l, &f->lines.v[i + 1]))
			weight = sat_add(weight, f->lines.v[++i].weight);
		carry = sat_add(carry, weight);
		print_line(out, l, carry / unit);
		carry %= unit;
	}
}

static int add_off_cpu(struct folded *f)
{
	const struct stack_row *rows;
	size_t n = model_off_cpu(f->m, &rows);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = add(f, &rows[i], rows[i].cause, rows[i].blocked_ns);
	return err;
}

static int add_on_cpu(struct folded *f)
{
	const struct stack_row *rows;
	size_t n = model_on_cpu(f->m, &rows);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		err = add(f, &rows[i], -1, rows[i].count);
	return err;
}

static int check_task(struct folded *f, struct err *err)
{
	char safe[128];

	for (size_t i = 0; f->o->task && i < model_n_tasks(f->m); i++)
		f->wanted += task_wanted(model_task_at(f->m, i), f->o->task);
	if (!f->o->task || f->wanted)
		return 0;
	return err_set(err, -ENOENT, MT_EXIT_USAGE, "no task has the id or name %s",
	               fmt_safe(safe, sizeof(safe), f->o->task));
}

static const struct {
	const char *name;
	int (*add)(struct folded *f);
	uint64_t unit; /* of the weight, in what the rows count */
} views[] = {
        {"off-cpu", add_off_cpu, 1000},
        {"on-cpu", add_on_cpu, 1},
};

static int export_view(struct folded *f, size_t view, FILE *out, struct err *err)
{
	int code = check_task(f, err);

	if (code)
		return code;
	code = stack_names_init(&f->stacks, f->m, true);
	f->who = strtab_new();
	code = code ? code : f->who ? views[view].add(f) : -ENOMEM;
	if (code == -E2BIG)
		return err_set(
		        err, code, MT_EXIT_FAIL,
		        "cannot export: the names of this trace's stacks would fill the memory");
	if (code)
		return err_set(err, code, MT_EXIT_FAIL, "cannot export: %s", strerror(-code));
	print_lines(f, views[view].unit, out);
	errno = 0;
	if (!fflush(out) && !ferror(out))
		return 0;
	code = errno ? errno : EIO;
	return err_set(err, -code, MT_EXIT_OUTPUT, "cannot write the export: %s", strerror(code));
}

int export_folded(const struct model *m, const struct export_opts *o, FILE *out, struct err *err)
{
	struct folded f = {.m = m, .o = o};
	size_t view = 0;
	int code;

	while (view < ARRAY_LEN(views) && o->view && strcmp(views[view].name, o->view))
		view++;
	if (view == ARRAY_LEN(views))
		return err_set(err, -EINVAL, MT_EXIT_USAGE,
		               "format folded has no view '%s': off-cpu or on-cpu", o->view);
	code = export_view(&f, view, out, err);
	hmap_release(&f.ids);
	vec_release(&f.lines);
	strtab_free(f.who);
	stack_names_release(&f.stacks);
	return code;
}
