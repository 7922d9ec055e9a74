/* SPDX-License-Identifier: MIT */
/* The call stacks in which most time was spent blocked, as two lines each. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/spots_priv.h"
#include "report/text_priv.h"
#include "report/utf8_priv.h"

#define DEFAULT_STACKS 5
#define SMALL          200 /* of all blocked time: stacks with less than 1/200 are left to "more" */
#define FRAME_COLUMNS  40  /* a longer name is shortened */
#define MIN_INNERMOST  3
#define ARROW          " → "
#define INDENT         4
#define NAMED_TASKS    3

static const char *const cause_name[] = {
#define X(NAME, key, heading) heading,
        BLOCK_CAUSES(X)
#undef X
};

/* --- frames ---------------------------------------------------------------- */

/* Frames of one stack, outermost first, shortened. */
struct frames {
	struct frame raw[STACK_MAX_FRAMES];
	char name[STACK_MAX_FRAMES][FRAME_COLUMNS * 4 + 16];
	size_t n;
	size_t own; /* number + 1 of the innermost of a Python program's own functions; 0: none */
};

/* How each of Python's threads begins. */
static bool begins_thread(const struct frame *f)
{
	const char *file = f->src ? strrchr(f->src, '/') : NULL, *name = strrchr(f->name, '.');

	name = name ? name + 1 : f->name;
	return f->kind == FRAME_PYTHON && file && !strcmp(file, "/threading.py") &&
	       (!strcmp(name, "_bootstrap") || !strcmp(name, "_bootstrap_inner") ||
	        !strcmp(name, "run"));
}

static bool has_python(const struct frame *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (f[i].kind == FRAME_PYTHON)
			return true;
	}
	return false;
}

/* One after the other of the same function at the same line are one. */
static void put_times(struct frames *f, unsigned times)
{
	size_t used;

	if (times < 2)
		return;
	used = strlen(f->name[f->n - 1]);
	snprintf(f->name[f->n - 1] + used, sizeof(f->name[0]) - used, " × %u", times);
}

/* Of the waiting code of libraries only the function that was called; of a Python program not the
 * interpreter. */
static void list_frames(struct frames *f, const struct model *m, uint32_t stack)
{
	size_t n = model_frames(m, stack, f->raw, STACK_MAX_FRAMES);
	bool waiting = false, python = has_python(f->raw, n);
	char safe[FRAME_MAX_BYTES] = "";
	unsigned times = 0;

	f->n = f->own = 0;
	while (n-- > 0) {
		char text[FRAME_MAX_BYTES], before[FRAME_MAX_BYTES];
		const struct frame *one = &f->raw[n];

		frame_text(text, sizeof(text), one);
		if (frame_is_dull(text, strlen(text)) || (one->name && begins_thread(one)) ||
		    (python && frame_is_runtime(one)) || (waiting && frame_is_wait_code(text)))
			continue;
		waiting = frame_is_wait_code(text);
		memcpy(before, safe, sizeof(before));
		fmt_safe(safe, sizeof(safe), text);
		if (f->n && !strcmp(safe, before)) {
			times++;
			continue;
		}
		put_times(f, times);
		times = 1;
		if (frame_is_own_python(one))
			f->own = f->n + 1;
		utf8_shorten(f->name[f->n++], sizeof(f->name[0]), safe, FRAME_COLUMNS);
	}
	put_times(f, times);
}

/* How many of the innermost frames fit beside `head` columns for what stands before them. */
static size_t innermost(const struct frames *f, unsigned columns, size_t head)
{
	size_t arrow = utf8_width(ARROW), used = 0, from = f->n;

	while (from > 0) {
		size_t more = utf8_width(f->name[from - 1]) + (from < f->n ? arrow : 0);

		if (used + more + (from > 1 ? head : 0) > columns && from < f->n)
			break;
		used += more;
		from--;
	}
	return f->n - from;
}

/* The program's own function and what it waits in, where what is between does not fit. */
static int put_own_frames(struct buf *b, const struct frames *f, unsigned columns)
{
	size_t arrow = utf8_width(ARROW), own = f->own - 1, head, told;
	int err;

	head = utf8_width(f->name[own]) + 3 * arrow + 2;
	told = innermost(f, columns, head);
	if (told > f->n - f->own)
		told = f->n - f->own;
	err = buf_printf(b, "%s%s" ARROW "%s", own ? "…" ARROW : "", f->name[own],
	                 own + 1 < f->n - told ? "…" ARROW : "");
	for (size_t i = f->n - told; i < f->n && !err; i++)
		err = buf_printf(b, "%s%s", f->name[i], i + 1 < f->n ? ARROW : "");
	return err;
}

/* The outermost frame and as many of the innermost as fit; the latter alone, when few would. */
static int put_frames(struct buf *b, const struct frames *f, unsigned columns)
{
	size_t arrow = utf8_width(ARROW), told;
	bool outermost = true;
	int err = 0;

	if (!f->n)
		return 0;
	told = innermost(f, columns, utf8_width(f->name[0]) + 2 * arrow + 1);
	if (told < f->n && told < MIN_INNERMOST) {
		outermost = false;
		told = innermost(f, columns, arrow + 1);
	}
	if (f->own && f->own <= f->n - told && (f->own > 1 || !outermost))
		return put_own_frames(b, f, columns);
	if (told < f->n && outermost)
		err = buf_printf(b, "%s" ARROW, f->name[0]);
	if (!err && told + outermost < f->n)
		err = buf_printf(b, "…" ARROW);
	for (size_t i = f->n - told; i < f->n && !err; i++)
		err = buf_printf(b, "%s%s", f->name[i], i + 1 < f->n ? ARROW : "");
	return err;
}

/* --- printing -------------------------------------------------------------------------------- */

static bool same_names(const struct group_item *items, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (strcmp(items[i].name, items[0].name))
			return false;
	}
	return true;
}

static int put_tasks(struct buf *b, const struct spots *s, const struct spot *spot)
{
	struct group_item *items = calloc(spot->n, sizeof(*items));
	struct groups g = {0};
	size_t n = 0;
	int err = items ? 0 : -ENOMEM;

	for (size_t i = spot->first; i < spot->first + spot->n && !err; i++) {
		const struct spot_part *p = &s->parts.v[i];
		const struct task *t = model_task(s->m, p->task);

		if (n && p->task == p[-1].task)
			items[n - 1].weight = sat_add(items[n - 1].weight, p->ns);
		else
			items[n++] = (struct group_item){
			        .name = t && t->comm ? t->comm : "",
			        .weight = p->ns,
			        .tid = t ? t->tid : 0,
			};
	}
	err = err ? err : groups_make(&g, items, n, same_names(items, n) ? 1 : NAMED_TASKS, true);
	err = err ? err : groups_put(b, items, &g, NAMED_TASKS, 0);
	groups_release(&g);
	free(items);
	return err;
}

static int print_spot(struct tx *t, const struct spots *s, const struct spot *spot,
                      struct frames *f)
{
	struct buf tasks = {0}, frames = {0};
	char ns[32], share[16];
	int err = put_tasks(&tasks, s, spot), pad;

	list_frames(f, s->m, spot->stack);
	err = err ? err : put_frames(&frames, f, t->width - INDENT);
	if (!err) {
		fmt_ns(ns, sizeof(ns), spot->ns);
		pad = 8 - (int)utf8_width(ns);
		tx_line(t, TX_PLAIN, "%*s%s  %7s  %-7s  %s", pad > 0 ? pad : 0, "", ns,
		        fmt_share(share, sizeof(share), spot->ns, s->total),
		        cause_name[spot->cause], tasks.p ? (const char *)tasks.p : "");
		tx_line(t, TX_PLAIN, "%*s%s", INDENT, "",
		        frames.p ? (const char *)frames.p : "(start-up code only)");
	}
	buf_release(&tasks);
	buf_release(&frames);
	return err;
}

/* How much the list cannot explain; the notes say why. */
static void print_missing(struct tx *t, const struct spots *s)
{
	char share[16];

	if (s->without && s->list.n)
		tx_line(t, TX_PLAIN, "%s of the blocked time has no stack",
		        fmt_share(share, sizeof(share), s->without, s->total));
}

static size_t how_many(const struct tx *t, const struct spots *s)
{
	size_t n = 0;

	if (t->o->top)
		return t->o->top < s->list.n ? t->o->top : s->list.n;
	while (n < s->list.n && n < DEFAULT_STACKS && s->list.v[n].ns >= s->total / SMALL)
		n++;
	return n;
}

static int print_spots(struct tx *t, const struct spots *s)
{
	struct frames *f = malloc(sizeof(*f));
	size_t top = how_many(t, s);
	uint64_t rest = 0;
	char ns[32], count[48];
	int err = f ? 0 : -ENOMEM;

	tx_section(t);
	snprintf(count, sizeof(count), "of %s blocked", fmt_ns(ns, sizeof(ns), s->total));
	tx_items(t, TX_PLAIN, "off-CPU stacks", count);
	for (size_t i = 0; i < s->list.n && !err; i++) {
		if (i < top)
			err = print_spot(t, s, &s->list.v[i], f);
		else
			rest = sat_add(rest, s->list.v[i].ns);
	}
	if (s->list.n > top)
		tx_line(t, TX_PLAIN, "… and %s more with %s",
		        fmt_n(count, sizeof(count), s->list.n - top, "stack", "stacks"),
		        fmt_ns(ns, sizeof(ns), rest));
	print_missing(t, s);
	free(f);
	return err;
}

void text_stacks(struct tx *t)
{
	struct spots s;
	int err = spots_init(&s, t->r->m, t->o->task);

	if (!err && s.list.n)
		err = print_spots(t, &s);
	if (err == -E2BIG)
		tx_line(t, TX_BAD, "off-CPU stacks   not shown: their names would fill the memory");
	else
		t->err = err;
	spots_release(&s);
}
