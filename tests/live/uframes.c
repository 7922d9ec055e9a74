/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "mt_flags.h"
#include "uframes.h"

struct uframes_count uframes_count(const struct model *m, unsigned deep)
{
	struct uframes_count c = {0};
	const struct stack_row *rows;
	size_t n = model_off_cpu(m, &rows);

	for (size_t i = 0; i < n; i++) {
		const struct mstack *s = rows[i].ustack ? model_stack(m, rows[i].ustack) : NULL;

		if (!s)
			continue;
		c.waits += rows[i].count;
		c.complete += s->end == STACK_END_BOTTOM ? rows[i].count : 0;
		c.deep += s->n > deep ? rows[i].count : 0;
		c.copied += s->flags & STACK_F_COPY ? rows[i].count : 0;
	}
	return c;
}

static bool has_complete(const struct model *m, const char *comm)
{
	const struct stack_row *rows;
	size_t n = model_off_cpu(m, &rows);

	for (size_t i = 0; i < n; i++) {
		const struct mstack *s = rows[i].ustack ? model_stack(m, rows[i].ustack) : NULL;
		const struct task *t = model_task(m, rows[i].task);

		if (s && t && s->n > 4 && s->end == STACK_END_BOTTOM && !strcmp(t->comm, comm))
			return true;
	}
	return false;
}

unsigned uframes_tasks_complete(const struct model *m, unsigned first, unsigned last)
{
	unsigned n = 0;

	for (unsigned i = first; i <= last; i++) {
		char comm[16];

		snprintf(comm, sizeof(comm), "p%u", i);
		n += has_complete(m, comm);
	}
	return n;
}

size_t uframes_get(const struct model *m, uint32_t stack, uint64_t *out, unsigned *end,
                   unsigned *flags)
{
	const struct mstack *s = model_stack(m, stack);
	size_t n = s ? s->n < UFRAMES_MAX ? s->n : UFRAMES_MAX : 0;

	if (n)
		memcpy(out, s->frames, n * sizeof(*out));
	*end = s ? s->end : 0;
	*flags = s ? s->flags : 0;
	return n;
}

const char *uframes_name(const struct model *m, uint32_t stack, size_t i)
{
	const struct mstack *s = model_stack(m, stack);
	struct frame f[64];
	size_t n = s && i < s->n ? model_resolve(m, s, (uint32_t)i, f, 64) : 0;

	return n && f[n - 1].name ? f[n - 1].name : "";
}

static bool has_line(const struct model *m, const struct mstack *s, const char *function,
                     const char *file, unsigned line)
{
	struct frame f[64];

	for (uint32_t i = 0; i < s->n; i++) {
		size_t n = model_resolve(m, s, i, f, 64);

		for (size_t k = 0; k < n; k++) {
			size_t all = f[k].src ? strlen(f[k].src) : 0, end = strlen(file);

			if (f[k].name && !strcmp(f[k].name, function) && f[k].line == line &&
			    all >= end && !strcmp(f[k].src + all - end, file))
				return true;
		}
	}
	return false;
}

bool uframes_has_line(const struct model *m, const char *function, const char *file, unsigned line)
{
	const struct stack_row *rows;
	size_t n = model_off_cpu(m, &rows);

	for (size_t i = 0; i < n; i++) {
		const struct mstack *s = rows[i].ustack ? model_stack(m, rows[i].ustack) : NULL;

		if (s && has_line(m, s, function, file, line))
			return true;
	}
	return false;
}

uint32_t uframes_of_task(const struct model *m, uint32_t tid, size_t n)
{
	const struct stack_row *rows;
	size_t n_rows = model_off_cpu(m, &rows);

	for (size_t i = 0; i < n_rows; i++) {
		const struct task *t = model_task(m, rows[i].task);

		if (t && t->tid == tid && rows[i].ustack && !n--)
			return rows[i].ustack;
	}
	return 0;
}
