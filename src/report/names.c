/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"

/* All names of stacks together. A file may name a 1 KB symbol 256 times in each of a million
 * stacks that take a few bytes each. */
#define MAX_TOTAL_BYTES (256u << 20)

bool task_wanted(const struct task *t, const char *want)
{
	uint64_t tid;

	if (!want)
		return true;
	if (!parse_u64(want, 0, UINT32_MAX, &tid) && (tid == t->tid || tid == t->ns_tid))
		return true;
	if (t->first_comm && !strcmp(t->first_comm, want))
		return true;
	return t->comm && (!strcmp(t->comm, want) || !fnmatch(want, t->comm, 0));
}

bool report_has_task(const struct report *r, const char *want)
{
	for (size_t i = 0; i < model_n_tasks(r->m); i++)
		if (task_wanted(model_task_at(r->m, i), want))
			return true;
	return false;
}

char *task_name(char *out, size_t n, const struct task *t)
{
	if (t && t->comm && t->comm[0])
		return fmt_safe(out, n, t->comm);
	snprintf(out, n, t && t->tid ? "task %" PRIu32 : "task ?", t ? t->tid : 0);
	return out;
}

char *folded_name(char *out, size_t n, const char *name)
{
	fmt_safe(out, n, name);
	for (char *p = out; *p; p++) {
		if (*p == ';')
			*p = ':';
		else if (isspace((unsigned char)*p))
			*p = '_';
	}
	return out;
}

int stack_names_init(struct stack_names *s, const struct model *m)
{
	*s = (struct stack_names){.m = m};
	s->tab = strtab_new();
	return s->tab ? 0 : -ENOMEM;
}

void stack_names_release(struct stack_names *s)
{
	strtab_free(s->tab);
	hmap_release(&s->by_stack);
	*s = (struct stack_names){0};
}

/* "[libfoo.so+0x12]": the file's own name, without its directory or brackets. */
static void unresolved(char *out, size_t n, const struct frame *f)
{
	const char *base = path_base(f->module);
	size_t len = strlen(base);

	if (len > 2 && base[0] == '[' && base[len - 1] == ']') {
		base++;
		len -= 2;
	}
	if (len > 200)
		len = 200;
	if (len)
		snprintf(out, n, "[%.*s+0x%" PRIx64 "]", (int)len, base, f->offset);
	else
		snprintf(out, n, "[unknown]");
}

/* "resize.py:31 scale" */
static void python_text(char *out, size_t n, const struct frame *f)
{
	const char *file = path_label(f->src);

	if (file[0] && f->line)
		snprintf(out, n, "%.200s:%" PRIu32 " %s", file, f->line, f->name);
	else if (file[0])
		snprintf(out, n, "%.200s %s", file, f->name);
	else
		snprintf(out, n, "%s", f->name);
}

char *frame_text(char *out, size_t n, const struct frame *f)
{
	if (f->kind == FRAME_PYTHON && f->name && f->name[0])
		python_text(out, n, f);
	else if (f->name && f->name[0])
		snprintf(out, n, "%s", f->name);
	else
		unresolved(out, n, f);
	return out;
}

static int put_frame(struct buf *b, const struct frame *f)
{
	char raw[FRAME_MAX_BYTES], name[FRAME_MAX_BYTES];

	frame_text(raw, sizeof(raw), f);
	return buf_printf(b, "%s%s", b->n ? "\n" : "", fmt_safe(name, sizeof(name), raw));
}

const char *stack_cut(const struct mstack *s, size_t n)
{
	if (n == STACK_MAX_FRAMES || (n && s->flags & STACK_F_TRUNCATED))
		return "[truncated]";
	switch (n ? s->end : STACK_END_UNKNOWN) {
	case STACK_END_NO_TABLE:
		return "[no unwinding information]";
	case STACK_END_NOT_YET:
		return "[unwinding information not read yet]";
	case STACK_END_NO_MAPPING:
		return "[caller in no known file]";
	case STACK_END_BAD_READ:
		return "[stack not readable]";
	case STACK_END_BAD_ROW:
		return "[wrong unwinding information]";
	default:
		return NULL;
	}
}

/* Outermost first: the model has it the other way round. */
static int put_stack(const struct stack_names *s, struct buf *b, const struct mstack *st,
                     uint32_t stack)
{
	struct frame *f = malloc(STACK_MAX_FRAMES * sizeof(*f));
	size_t n = f ? model_frames(s->m, stack, f, STACK_MAX_FRAMES) : 0;
	int err = f ? 0 : -ENOMEM;

	if (stack_cut(st, n))
		err = buf_printf(b, "%s", stack_cut(st, n));
	while (n-- > 0 && !err)
		err = put_frame(b, &f[n]);
	free(f);
	return err;
}

uint32_t stack_name(struct stack_names *s, uint32_t stack)
{
	const struct mstack *st = stack ? model_stack(s->m, stack) : NULL;
	struct buf b = {0};
	uint64_t *slot;
	uint32_t id = 0;
	bool added = false;

	if (!st || !st->n || s->err)
		return 0;
	slot = hmap_put(&s->by_stack, stack, 0, &added);
	if (slot && !added)
		return (uint32_t)*slot;
	s->err = slot ? put_stack(s, &b, st, stack) : -ENOMEM;
	if (!s->err) {
		id = strtab_add(s->tab, (const char *)b.p, b.n, &added);
		s->bytes += added ? b.n : 0;
		s->err = !id ? -ENOMEM : s->bytes > MAX_TOTAL_BYTES ? -E2BIG : 0;
		*slot = id;
	}
	buf_release(&b);
	return id;
}

const char *stack_text(const struct stack_names *s, uint32_t id)
{
	return strtab_get(s->tab, id);
}
