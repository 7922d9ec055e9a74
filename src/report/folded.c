/* SPDX-License-Identifier: MIT */
/*
 * Folded stacks: one line per stack, "process;outermost;…;innermost weight", the user's part
 * before the kernel's. Lines that read the same are one line; they are sorted, so that two
 * exports of one trace are equal.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/export_priv.h"
#include "report/flame_priv.h"

static void print_path(FILE *out, const struct flame *f, uint32_t node, uint32_t *path)
{
	unsigned n = 0;

	for (uint32_t at = node; at; at = f->nodes.v[at].parent)
		path[n++] = at;
	while (n-- > 0)
		fprintf(out, "%s%s", flame_text(f, path[n]), n ? ";" : " ");
}

/* Weights in whole units; what a line's rounding takes or gives, the next line gets, so that
 * the sum of all lines is right to one unit. */
static uint64_t whole_units(uint64_t weight, uint64_t unit, uint64_t *carry)
{
	uint64_t whole = weight / unit;

	*carry += weight % unit;
	whole += *carry / unit;
	*carry %= unit;
	return whole;
}

static void print_lines(struct flame *f, FILE *out)
{
	uint64_t carry = 0, base_carry = 0, unit = strcmp(f->unit, "us") ? 1 : 1000;
	uint32_t path[FLAME_MAX_DEPTH + 2];

	for (uint32_t at = flame_next(f, 0); at; at = flame_next(f, at)) {
		const struct flame_node *n = &f->nodes.v[at];
		uint64_t whole, base;

		if (!n->self && !n->base_self)
			continue;
		whole = whole_units(n->self, unit, &carry);
		base = whole_units(n->base_self, unit, &base_carry);
		if (!whole && !base)
			continue;
		print_path(out, f, at, path);
		if (f->o->base)
			fprintf(out, "%" PRIu64 " ", base);
		fprintf(out, "%" PRIu64 "\n", whole);
	}
}

static int prune_and_print(struct flame *f, FILE *out, struct err *err)
{
	double min = f->o->min_ratio * (double)f->nodes.v[0].total;
	int code = 0;

	if (min > 0)
		code = flame_prune(f, min < 1e19 ? (uint64_t)ceil(min) : UINT64_MAX);
	code = code ? code : flame_sort(f, FLAME_BY_NAME);
	if (code)
		return err_set(err, code, MT_EXIT_FAIL, "cannot export: %s", strerror(-code));
	print_lines(f, out);
	return stream_end(out, "the export", err);
}

int export_folded(const struct report *r, const struct export_opts *o, FILE *out, struct err *err)
{
	struct flame f;
	int code = flame_build(&f, r, o, true, err);

	code = code ? code : prune_and_print(&f, out, err);
	flame_release(&f);
	return code;
}
