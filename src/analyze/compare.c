/* SPDX-License-Identifier: MIT */
/* Two sides: medians, what the difference is made of, and what follows. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare_priv.h"

#define COLD 0.1 /* of the capacity: so much waiting for the disk is worth telling */

/* --- medians --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int stat_of(const struct compare_side *s, unsigned figure, struct compare_stat *out)
{
	double *v = calloc(s->runs.n + 1, sizeof(*v));
	unsigned n = 0;

	*out = (struct compare_stat){NAN, NAN, NAN, 0};
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < s->runs.n; i++)
		if (!isnan(s->runs.v[i].v[figure]))
			v[n++] = s->runs.v[i].v[figure];
	if (n) {
		qsort(v, n, sizeof(*v), by_value);
		*out = (struct compare_stat){(v[(n - 1) / 2] + v[n / 2]) / 2, v[0], v[n - 1], n};
	}
	free(v);
	return 0;
}

/* The run whose wall time is nearest to the median: the shares of one run add up, medians do not.
 */
static unsigned typical_run(const struct compare *c, unsigned side)
{
	const struct compare_side *s = &c->side[side];
	double median = c->stat[side][COMPARE_WALL].median, best = INFINITY;
	unsigned found = 0;

	for (size_t i = 0; i < s->runs.n; i++) {
		double off = fabs(s->runs.v[i].v[COMPARE_WALL] - median);

		if (off < best) {
			best = off;
			found = (unsigned)i;
		}
	}
	return found;
}

/* --- what the difference is made of ---------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	const struct compare_part *x = a, *y = b;
	double dx = fabs(x->wall_ns), dy = fabs(y->wall_ns);

	return dx == dy ? x->cause - y->cause : dx < dy ? 1 : -1;
}

static int explain(struct compare *c)
{
	const struct compare_run *a = typical(c, 0), *b = typical(c, 1);

	if (!a->causes_known || !b->causes_known || a->cpus <= 0 || b->cpus <= 0)
		return 0;
	for (unsigned k = 0; k < CAUSE_N; k++) {
		struct compare_part p = {.cause = (uint8_t)k,
		                         .wall_ns = (double)b->cause_ns[k] / b->cpus -
		                                    (double)a->cause_ns[k] / a->cpus};

		if ((a->cause_ns[k] || b->cause_ns[k]) && vec_push(&c->parts, p))
			return -ENOMEM;
	}
	if (c->parts.n)
		qsort(c->parts.v, c->parts.n, sizeof(*c->parts.v), by_size);
	return 0;
}

/* --- what the other parts ask ---------------------------------------------------------------- */

double compare_less(const struct compare *c, unsigned side, unsigned figure)
{
	const struct compare_side *a = &c->side[side], *b = &c->side[!side];
	double less = 0, pairs = 0;

	if (c->stat[0][figure].n < 2 || c->stat[1][figure].n < 2)
		return NAN;
	for (size_t i = 0; i < a->runs.n; i++)
		for (size_t k = 0; k < b->runs.n; k++) {
			double x = a->runs.v[i].v[figure], y = b->runs.v[k].v[figure];

			if (isnan(x) || isnan(y))
				continue;
			less += x < y ? 1 : x > y ? 0 : 0.5;
			pairs++;
		}
	return less / pairs;
}

bool compare_told(const struct compare *c, unsigned less, unsigned figure)
{
	double share = compare_less(c, less, figure);

	return isnan(share) || share >= COMPARE_TOLD;
}

double compare_times(const struct compare *c, unsigned of, unsigned figure)
{
	double x = c->stat[of][figure].median, y = c->stat[!of][figure].median;

	return x > 0 && y > 0 ? x / y : NAN;
}

unsigned compare_memory(const struct compare *c)
{
	return c->stat[0][COMPARE_PSS].n && c->stat[1][COMPARE_PSS].n ? COMPARE_PSS : COMPARE_RSS;
}

const char *compare_value(char *out, size_t n, const struct compare *c, unsigned side,
                          unsigned figure)
{
	double v = c->stat[side][figure].median;
	uint64_t whole = v > 0 && v < 1e19 ? (uint64_t)(v + 0.5) : 0;

	switch (compare_unit(figure)) {
	case 'b':
		return fmt_bytes(out, n, whole);
	case 'n':
		return fmt_count(out, n, whole);
	default:
		return fmt_ns(out, n, whole);
	}
}

int compare_say(struct compare *c, bool caveat, const char *fmt, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, fmt);
	n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		return -ENOMEM;
	if (caveat ? vec_push(&c->caveats, text) : vec_push(&c->reasons, text)) {
		free(text);
		return -ENOMEM;
	}
	return 0;
}

/* --- what the reader must know --------------------------------------------------------------- */

/* Was either side kept from the CPUs by what is not part of it? */
static bool is_busy(const struct compare *c)
{
	for (unsigned side = 0; side < 2; side++)
		if (!c->stat[side][COMPARE_QUIET].n)
			return false;
	return c->stat[0][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median >= COMPARE_BUSY ||
	       c->stat[1][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median >= COMPARE_BUSY;
}

/* Of its capacity, what the run waited for the disk; 0 = unknown, too. */
static double disk_share(const struct compare_run *run)
{
	double ns = (double)run->cause_ns[CAUSE_IO] + (double)run->cause_ns[CAUSE_FAULT];
	double capacity = run->v[COMPARE_WALL] * run->cpus;

	return run->causes_known && capacity > 0 ? ns / capacity : 0;
}

/* Whoever comes first reads its files from the disk, and leaves them in memory for the others. */
static int warn_of_cold(struct compare *c, unsigned side)
{
	const struct compare_run *runs = c->side[side].runs.v;
	double first = disk_share(&runs[0]), others = 0;

	for (size_t i = 1; i < c->side[side].runs.n; i++)
		others = fmax(others, disk_share(&runs[i]));
	if (c->side[side].runs.n < 2 || first < COLD || first < 3 * others)
		return 0;
	return compare_say(
	        c, true,
	        "The first run of %c waited for the disk for %.0f %% of its capacity, the "
	        "others for at most %.0f %%: most likely its files were not in memory yet. "
	        "--warmup 1 runs each command once before.",
	        'A' + (int)side, 100 * first, 100 * others);
}

static int warn(struct compare *c)
{
	const struct compare_run *a = typical(c, 0), *b = typical(c, 1);
	int err = 0;

	if (c->side[0].runs.n < 2 || c->side[1].runs.n < 2)
		err = compare_say(
		        c, true,
		        "One run of a side does not show how much runs vary: mpvtrace compare "
		        "--a CMD --b CMD runs both several times.");
	if (!err && a->cpus > 0 && b->cpus > 0 && a->cpus != b->cpus)
		err = compare_say(c, true,
		                  "A had %.3g CPUs and B %.3g: the difference may be theirs.",
		                  a->cpus, b->cpus);
	if (!err && c->busy)
		err = compare_say(
		        c, true,
		        "The CPUs were not free for %.0f %% of the capacity of A and %.0f %% of "
		        "B (other load, or the hypervisor): the wall times are estimated without "
		        "that. Repeat it on a quiet machine.",
		        100 * c->stat[0][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median,
		        100 * c->stat[1][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median);
	for (unsigned side = 0; side < 2 && !err; side++)
		err = warn_of_cold(c, side);
	for (unsigned side = 0; side < 2 && !err; side++) {
		uint64_t lost = 0;

		for (size_t i = 0; i < c->side[side].runs.n; i++)
			lost |= c->side[side].runs.v[i].lost;
		if (lost)
			err = compare_say(
			        c, true,
			        "Events of %c were lost: its counts are too low, and its waits "
			        "less certain.",
			        letter(side));
	}
	return err;
}

int compare_build(struct compare *c, struct err *err)
{
	double a, b;
	int code = 0, better;

	c->choice = -1;
	if (!c->side[0].runs.n || !c->side[1].runs.n)
		return err_set(err, -EINVAL, MT_EXIT_FAIL, "there is nothing to compare");
	for (unsigned side = 0; side < 2; side++) {
		for (unsigned f = 0; f < COMPARE_N && !code; f++)
			code = stat_of(&c->side[side], f, &c->stat[side][f]);
		if (!code)
			c->typical[side] = typical_run(c, side);
	}
	a = c->stat[0][COMPARE_WALL].median;
	b = c->stat[1][COMPARE_WALL].median;
	c->speedup = a > 0 && b > 0 ? a / b : NAN;
	c->busy = is_busy(c);
	code = code ? code : explain(c);
	if (!code) {
		better = compare_choose(c);
		code = better < 0 ? 0 : compare_why(c, (unsigned)better);
	}
	code = code ? code : warn(c);
	return code ? err_set(err, code, MT_EXIT_FAIL, "cannot compare: %s", strerror(-code)) : 0;
}

void compare_release(struct compare *c)
{
	for (size_t i = 0; i < c->reasons.n; i++)
		free(c->reasons.v[i]);
	for (size_t i = 0; i < c->caveats.n; i++)
		free(c->caveats.v[i]);
	vec_release(&c->reasons);
	vec_release(&c->caveats);
	vec_release(&c->parts);
	vec_release(&c->side[0].runs);
	vec_release(&c->side[1].runs);
}
