/* SPDX-License-Identifier: MIT */
/* Two sides: medians, what the difference is made of, and what follows. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

#define NOTABLE    1.10 /* a price below this ratio is not named */
#define MUCH       2.0  /* so many times the memory … */
#define LITTLE     1.20 /* … is not obviously worth a speed-up below this */
#define GIL_SHARE  0.10 /* of capacity: the GIL is why */
#define SMALL_SIZE (1 << 20)

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

/* --- what the difference is made of ------------------------------------------------------------
 */

static const struct compare_run *typical(const struct compare *c, unsigned side)
{
	return &c->side[side].runs.v[c->typical[side]];
}

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

/* --- words -------------------------------------------------------------------------------------
 */

static int say(struct compare *c, bool caveat, const char *fmt, ...) MT_PRINTF(3, 4);
static int say(struct compare *c, bool caveat, const char *fmt, ...)
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

static const char *value(char *out, size_t n, const struct compare *c, unsigned side,
                         unsigned figure)
{
	double v = c->stat[side][figure].median;
	uint64_t whole = v > 0 && v < 1e19 ? (uint64_t)(v + 0.5) : 0;

	return compare_unit(figure) == 'b' ? fmt_bytes(out, n, whole) : fmt_ns(out, n, whole);
}

static char letter(unsigned side)
{
	return side ? 'B' : 'A';
}

/* Ranges that touch tell nothing, where there are ranges. */
static bool overlap(const struct compare *c, unsigned figure)
{
	const struct compare_stat *a = &c->stat[0][figure], *b = &c->stat[1][figure];

	return a->n > 1 && b->n > 1 && a->max >= b->min && b->max >= a->min;
}

/* How many times side `of` has what the other has; NAN unknown. */
static double times(const struct compare *c, unsigned of, unsigned figure)
{
	double x = c->stat[of][figure].median, y = c->stat[!of][figure].median;

	return x > 0 && y > 0 ? x / y : NAN;
}

/* Peak PSS where both have it, else the sum of the peak RSS, which overstates shared pages. */
static unsigned memory_figure(const struct compare *c)
{
	return c->stat[0][COMPARE_PSS].n && c->stat[1][COMPARE_PSS].n ? COMPARE_PSS : COMPARE_RSS;
}

/* --- why -----------------------------------------------------------------------------------------
 */

/* Of the CPUs that were free for it. */
static double gil_share(const struct compare_run *run)
{
	double had = 1 - run->v[COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE];

	return had > 0 ? run->v[COMPARE_CAUSE0 + CAUSE_GIL] / had : 0;
}

static int why_python(struct compare *c, unsigned fast)
{
	const struct compare_run *f = typical(c, fast), *s = typical(c, !fast);
	double gil_s = gil_share(s), gil_f = gil_share(f);
	char a[32], b[32];

	if (gil_s >= GIL_SHARE && gil_s >= 2 * gil_f)
		return say(c, false,
		           "Waits for the GIL left %.0f %% of the free CPUs idle in %c, and %.0f "
		           "%% in "
		           "%c: %s.",
		           100 * gil_s, letter(!fast), 100 * gil_f, letter(fast),
		           f->v[COMPARE_PROCS] > s->v[COMPARE_PROCS]
		                   ? "threads take turns at it, processes have one each"
		                   : "what holds it has changed");
	if (s->v[COMPARE_PROCS] > f->v[COMPARE_PROCS] && gil_f < GIL_SHARE)
		return say(
		        c, false,
		        "The GIL costs %c only %.0f %% of capacity (its threads mostly wait, or "
		        "run code that releases it), so processes gain nothing, and %c pays %s for "
		        "starting tasks and waits %s at channels.",
		        letter(fast), 100 * gil_f, letter(!fast),
		        value(a, sizeof(a), c, !fast, COMPARE_SPAWN),
		        value(b, sizeof(b), c, !fast, COMPARE_CHANNEL_WAIT));
	return 0;
}

/* The largest part of what the faster side saves. What the machine took, and CPUs that had nothing
 * to run, are named in the table but say nothing of the programs. */
static int why_part(struct compare *c, unsigned fast)
{
	const struct compare_run *slow = typical(c, !fast);

	for (size_t i = 0; i < c->parts.n; i++) {
		const struct compare_part *p = &c->parts.v[i];
		double gain = fast ? -p->wall_ns : p->wall_ns;
		const char *name = slow->cause_name[p->cause];
		char text[32];

		if (gain <= 0 || p->cause == CAUSE_NO_TASK || p->cause == CAUSE_CPU_SHORTAGE)
			continue;
		fmt_ns(text, sizeof(text), (uint64_t)gain);
		if (p->cause == CAUSE_WORK)
			return say(c, false, "Mostly because %c does less work: %s of wall time.",
			           letter(fast), text);
		return say(c, false, "Mostly because %c loses less to %s%s%s%s: %s of wall time.",
		           letter(fast), cause_text(p->cause), *name ? " (" : "", name,
		           *name ? ")" : "", text);
	}
	return 0;
}

static int price(struct compare *c, unsigned of, unsigned figure, const char *what)
{
	double ratio = times(c, of, figure);
	char a[32], b[32];

	if (isnan(ratio) || ratio < NOTABLE || overlap(c, figure))
		return 0;
	return say(c, false, "Price of %c: %.1f times the %s (%s against %s).", letter(of), ratio,
	           what, value(a, sizeof(a), c, of, figure), value(b, sizeof(b), c, !of, figure));
}

static int why(struct compare *c, unsigned fast)
{
	unsigned memory = memory_figure(c);
	size_t before = c->reasons.n;
	int err = 0;

	if (typical(c, 0)->python || typical(c, 1)->python)
		err = why_python(c, fast);
	if (!err && c->reasons.n == before)
		err = why_part(c, fast);
	err = err ? err
	          : price(c, fast, memory,
	                  memory == COMPARE_PSS ? "memory"
	                                        : "resident memory, shared pages counted "
	                                          "several times");
	err = err ? err : price(c, fast, COMPARE_CPU, "CPU time");
	return err;
}

/* --- the recommendation ---------------------------------------------------------------------- */

static void decide(struct compare *c, int choice, const char *fmt, ...) MT_PRINTF(3, 4);
static void decide(struct compare *c, int choice, const char *fmt, ...)
{
	va_list args;

	c->choice = choice;
	va_start(args, fmt);
	vsnprintf(c->verdict, sizeof(c->verdict), fmt, args);
	va_end(args);
}

/* Was either side kept from the CPUs by what is not part of it? */
static bool is_busy(const struct compare *c)
{
	for (unsigned side = 0; side < 2; side++)
		if (!c->stat[side][COMPARE_QUIET].n)
			return false;
	return c->stat[0][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median >= COMPARE_BUSY ||
	       c->stat[1][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median >= COMPARE_BUSY;
}

static double settled_at(const struct compare *c)
{
	return c->busy ? COMPARE_BUSY_SETTLED : COMPARE_SETTLED;
}

/* Equal times: memory may tell. */
static void by_memory(struct compare *c)
{
	unsigned figure = memory_figure(c), less;
	double a = c->stat[0][figure].median, b = c->stat[1][figure].median;
	char x[32], y[32];

	less = a <= b ? 0 : 1;
	if (isnan(a) || isnan(b) || fabs(a - b) < SMALL_SIZE || times(c, !less, figure) < NOTABLE ||
	    overlap(c, figure) || c->busy) {
		decide(c, -1,
		       "These numbers do not settle it: the wall times%s differ by less "
		       "than %.0f %%%s.",
		       c->busy ? ", estimated for CPUs that are free," : "", 100 * settled_at(c),
		       c->busy ? "" : ", and memory does not tell A and B apart");
		return;
	}
	decide(c, (int)less,
	       "%c, for its memory: the wall times differ by less than %.0f %%, and %c needs %s "
	       "where %c needs %s.",
	       letter(less), 100 * COMPARE_SETTLED, letter(less),
	       value(x, sizeof(x), c, less, figure), letter(!less),
	       value(y, sizeof(y), c, !less, figure));
}

static void by_time(struct compare *c, unsigned figure, unsigned fast)
{
	double gain = times(c, !fast, figure), cost = times(c, fast, memory_figure(c));
	const char *free_cpus = c->busy ? ", with CPUs free" : "";
	char x[32], y[32];

	value(x, sizeof(x), c, fast, figure);
	value(y, sizeof(y), c, !fast, figure);
	if (overlap(c, figure))
		decide(c, -1,
		       "These numbers do not settle it: by the medians %c is %.2f times as fast%s, "
		       "but the ranges of their runs overlap. More runs (-n) may tell.",
		       letter(fast), gain, free_cpus);
	else if (gain < LITTLE && cost >= MUCH)
		decide(c, -1,
		       "It depends: %c is %.2f times as fast (%s against %s%s), but needs %.1f "
		       "times the memory. %c when time counts, %c when memory does.",
		       letter(fast), gain, x, y, free_cpus, cost, letter(fast), letter(!fast));
	else if (c->busy)
		decide(c, (int)fast,
		       "%c: with the CPUs free it would be about %.1f times as fast (estimated: %s "
		       "against %s).",
		       letter(fast), gain, x, y);
	else
		decide(c, (int)fast, "%c: it is %.2f times as fast (%s against %s).", letter(fast),
		       gain, x, y);
}

/* What makes a comparison of wall times meaningless. */
static bool spoiled(struct compare *c)
{
	for (unsigned side = 0; side < 2; side++) {
		const struct compare_side *s = &c->side[side];

		for (size_t i = 0; i < s->runs.n; i++) {
			const struct compare_run *run = &s->runs.v[i];

			if (run->exit_status > 0) {
				decide(c, -1,
				       "These numbers settle nothing: %c failed (exit status %d).",
				       letter(side), run->exit_status);
				return true;
			}
			if (run->attached || run->partial || run->exit_status < 0) {
				decide(c, -1,
				       "The wall times settle nothing: of %c only a part was "
				       "recorded. Shares and rates can be compared.",
				       letter(side));
				return true;
			}
		}
	}
	return false;
}

static int recommend(struct compare *c)
{
	unsigned figure = c->busy ? COMPARE_QUIET : COMPARE_WALL, fast;
	double a = c->stat[0][figure].median, b = c->stat[1][figure].median;

	if (spoiled(c))
		return 0;
	if (!(a > 0) || !(b > 0)) {
		decide(c, -1, "These numbers settle nothing: a wall time is not known.");
		return 0;
	}
	fast = b < a;
	if (fmax(a / b, b / a) - 1 < settled_at(c)) {
		by_memory(c);
		return 0;
	}
	by_time(c, figure, fast);
	return overlap(c, figure) ? 0 : why(c, fast);
}

static int warn(struct compare *c)
{
	const struct compare_run *a = typical(c, 0), *b = typical(c, 1);
	int err = 0;

	if (c->side[0].runs.n < 2 || c->side[1].runs.n < 2)
		err = say(c, true,
		          "One run of a side does not show how much runs vary: mpvtrace compare "
		          "--a CMD --b CMD runs both several times.");
	if (!err && a->cpus > 0 && b->cpus > 0 && a->cpus != b->cpus)
		err = say(c, true, "A had %.3g CPUs and B %.3g: the difference may be theirs.",
		          a->cpus, b->cpus);
	if (!err && c->busy)
		err = say(c, true,
		          "The CPUs were not free for %.0f %% of the capacity of A and %.0f %% of "
		          "B (other load, or the hypervisor): the wall times are estimated without "
		          "that. Repeat it on a quiet machine.",
		          100 * c->stat[0][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median,
		          100 * c->stat[1][COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE].median);
	for (unsigned side = 0; side < 2 && !err; side++) {
		uint64_t lost = 0;

		for (size_t i = 0; i < c->side[side].runs.n; i++)
			lost |= c->side[side].runs.v[i].lost;
		if (lost)
			err = say(c, true,
			          "Events of %c were lost: its counts are too low, and its waits "
			          "less certain.",
			          letter(side));
	}
	return err;
}

int compare_build(struct compare *c, struct err *err)
{
	double a, b;
	int code = 0;

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
	code = code ? code : recommend(c);
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
