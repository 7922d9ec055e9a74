/* SPDX-License-Identifier: MIT */
/* The comparison as data: schema mpvtrace.compare/1. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "compare.h"
#include "report/json_priv.h"

#define SCHEMA "mpvtrace.compare/1"

static json_t *number(double v, char unit)
{
	if (!isfinite(v))
		return json_null();
	if (unit == '%' || unit == 'f')
		return json_real(v);
	return j_u64(v > 0 && v < 1e18 ? (uint64_t)(v + 0.5) : 0);
}

static json_t *stat_json(struct jout *j, const struct compare_stat *s, char unit)
{
	json_t *o;

	if (!s->n)
		return json_null();
	o = json_object();
	j_set(j, o, "median", number(s->median, unit));
	j_set(j, o, "min", number(s->min, unit));
	j_set(j, o, "max", number(s->max, unit));
	j_set(j, o, "runs", j_u64(s->n));
	return o;
}

static json_t *figure_json(struct jout *j, const struct compare *c, unsigned f)
{
	const struct compare_stat *a = &c->stat[0][f], *b = &c->stat[1][f];
	json_t *o = json_object();
	char unit = compare_unit(f);

	j_set(j, o, "a", stat_json(j, a, unit));
	j_set(j, o, "b", stat_json(j, b, unit));
	j_set(j, o, "b_to_a_ratio",
	      a->median > 0 && b->n ? json_real(b->median / a->median) : json_null());
	j_set(j, o, "ranges_overlap",
	      a->n > 1 && b->n > 1 ? json_boolean(a->max >= b->min && b->max >= a->min)
	                           : json_null());
	return o;
}

static json_t *figures_json(struct jout *j, const struct compare *c, unsigned from, unsigned to)
{
	json_t *o = json_object();

	for (unsigned f = from; f < to; f++)
		j_set(j, o, compare_key(f), figure_json(j, c, f));
	return o;
}

static json_t *side_json(struct jout *j, const struct compare *c, unsigned side)
{
	const struct compare_side *s = &c->side[side];
	const struct compare_run *run = &s->runs.v[c->typical[side]];
	json_t *o = json_object(), *exits = json_array();

	for (size_t i = 0; i < s->runs.n; i++)
		j_add(j, exits, j_status(s->runs.v[i].exit_status));
	j_set(j, o, "name", j_text(s->name));
	j_set(j, o, "runs", j_u64(s->runs.n));
	j_set(j, o, "mode", *run->mode ? j_text(run->mode) : json_null());
	j_set(j, o, "verdict", j_text(verdict_key(run->verdict)));
	j_set(j, o, "cpus", run->cpus > 0 ? json_real(run->cpus) : json_null());
	j_set(j, o, "exit_statuses", exits);
	j_set(j, o, "events", j_u64(run->events));
	j_set(j, o, "lost", j_u64(run->lost));
	return o;
}

static json_t *parts_json(struct jout *j, const struct compare *c)
{
	json_t *a = j_array_or_null(c->parts.n);

	for (size_t i = 0; i < c->parts.n; i++) {
		json_t *o = json_object();

		j_set(j, o, "cause", j_text(cause_key(c->parts.v[i].cause)));
		j_set(j, o, "wall_difference_ns",
		      json_integer((json_int_t)llround(c->parts.v[i].wall_ns)));
		j_add(j, a, o);
	}
	return a;
}

static json_t *texts_json(struct jout *j, char *const *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		j_add(j, a, j_text(v[i]));
	return a;
}

static json_t *recommendation_json(struct jout *j, const struct compare *c)
{
	json_t *o = json_object();

	j_set(j, o, "choice", c->choice < 0 ? json_null() : j_text(c->choice ? "b" : "a"));
	j_set(j, o, "text", j_text(c->verdict));
	j_set(j, o, "reasons", texts_json(j, c->reasons.v, c->reasons.n));
	j_set(j, o, "notes", texts_json(j, c->caveats.v, c->caveats.n));
	return o;
}

int compare_json(const struct compare *c, FILE *out, struct err *err)
{
	struct jout j = {.out = out};

	fputs("{\n", out);
	j_member(&j, "schema", j_text(SCHEMA));
	j_member(&j, "a", side_json(&j, c, 0));
	j_member(&j, "b", side_json(&j, c, 1));
	j_member(&j, "speedup_ratio", isfinite(c->speedup) ? json_real(c->speedup) : json_null());
	j_member(&j, "figures", figures_json(&j, c, 0, COMPARE_CAUSE0));
	j_member(&j, "capacity_ratio", figures_json(&j, c, COMPARE_CAUSE0, COMPARE_N));
	j_member(&j, "explanation", parts_json(&j, c));
	j_member(&j, "recommendation", recommendation_json(&j, c));
	fputs("\n}\n", out);
	if (j.err)
		return err_set(err, j.err, MT_EXIT_FAIL, "cannot make the JSON comparison: %s",
		               strerror(-j.err));
	return stream_end(out, "the JSON comparison", err);
}
