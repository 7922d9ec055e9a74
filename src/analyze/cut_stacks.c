/* SPDX-License-Identifier: MIT */
/* cut_stacks.c: which stacks end before they should, where, and why. */
#include <inttypes.h>
#include <string.h>

#include "analyze_priv.h"

#define WORTH_TELLING 100 /* one part in so many of the blocked time */

/* Time in stacks that ended so, in code of that file. */
struct cut {
	const char *module;
	uint8_t end;
	uint64_t ns;
};
typedef VEC(struct cut) cut_vec;

static const char *reason(const struct cut *c)
{
	switch (c->end) {
	case STACK_END_NO_TABLE:
		return "which has neither unwinding information nor frame pointers there";
	case STACK_END_NOT_YET:
		return "whose unwinding information was still being read then (its first waits)";
	case STACK_END_NO_MAPPING:
		return "whose caller is not in a file that is known";
	case STACK_END_BAD_READ:
		return "where the stack's memory could not be read";
	case STACK_END_BAD_ROW:
		return "whose unwinding information did not fit the stack";
	default:
		return NULL;
	}
}

static int add(const struct model *m, const struct mstack *s, uint64_t ns, cut_vec *cuts)
{
	struct frame f[64];
	struct cut new = {.end = s->end, .ns = ns};
	size_t n = s->n ? model_resolve(m, s, s->n - 1, f, ARRAY_LEN(f)) : 0;

	new.module = n &&f[0].module &&f[0].module[0] ? f[0].module : NULL;
	if (!new.module || !reason(&new))
		return 0;
	for (size_t i = 0; i < cuts->n; i++) {
		if (cuts->v[i].end == new.end && !strcmp(cuts->v[i].module, new.module)) {
			cuts->v[i].ns += ns;
			return 0;
		}
	}
	return cuts->n < 256 ? vec_push(cuts, new) : 0;
}

int cut_stacks_note(struct report *r)
{
	const struct stack_row *rows;
	size_t n = model_off_cpu(r->m, &rows);
	uint64_t all = 0;
	cut_vec cuts = {0};
	char safe[128];
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++) {
		const struct mstack *s = rows[i].ustack ? model_stack(r->m, rows[i].ustack) : NULL;

		all += rows[i].blocked_ns;
		if (s)
			rc = add(r->m, s, rows[i].blocked_ns, &cuts);
	}
	for (size_t i = 0; !rc && i < cuts.n; i++) {
		const struct cut *c = &cuts.v[i];

		if (c->ns && c->ns >= all / WORTH_TELLING)
			rc = note_add(r,
			              "stacks of %.0f %% of the blocked time are cut: they end in "
			              "%s, %s",
			              100.0 * (double)c->ns / (double)all,
			              fmt_safe(safe, sizeof(safe), path_base(c->module)),
			              reason(c));
	}
	vec_release(&cuts);
	return rc;
}
