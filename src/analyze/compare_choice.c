/* SPDX-License-Identifier: MIT */
/* Which of two sides, by the rules in compare.h. */
#include <math.h>

#include "compare_priv.h"

static void decide(struct compare *c, int choice, const char *fmt, ...) MT_PRINTF(3, 4);
static void decide(struct compare *c, int choice, const char *fmt, ...)
{
	va_list args;

	c->choice = choice;
	va_start(args, fmt);
	vsnprintf(c->verdict, sizeof(c->verdict), fmt, args);
	va_end(args);
}

static unsigned time_figure(const struct compare *c)
{
	return c->busy ? COMPARE_QUIET : COMPARE_WALL;
}

static double settled_at(const struct compare *c)
{
	return c->busy ? COMPARE_BUSY_SETTLED : COMPARE_SETTLED;
}

static bool memory_tells(const struct compare *c, unsigned less)
{
	unsigned figure = compare_memory(c);
	double a = c->stat[0][figure].median, b = c->stat[1][figure].median;

	return !isnan(a) && !isnan(b) && fabs(a - b) >= SMALL_SIZE &&
	       compare_times(c, !less, figure) >= NOTABLE && compare_told(c, less, figure);
}

/* The times are equal as far as they tell: memory may decide. */
static int by_memory(struct compare *c, double gain, unsigned fast)
{
	unsigned figure = compare_memory(c);
	unsigned less = c->stat[1][figure].median < c->stat[0][figure].median;
	char x[32], y[32], times[128];

	if (gain - 1 < settled_at(c))
		snprintf(times, sizeof(times), "the wall times%s differ by less than %.0f %%",
		         c->busy ? ", estimated for CPUs that are free," : "", 100 * settled_at(c));
	else
		snprintf(times, sizeof(times),
		         "%c is %.0f %% faster by the medians%s, but not in all of its runs",
		         letter(fast), 100 * (gain - 1), c->busy ? " with CPUs free" : "");
	if (!memory_tells(c, less)) {
		decide(c, -1,
		       "These numbers do not settle it: %s, and memory does not tell A and B "
		       "apart.",
		       times);
		return -1;
	}
	c->by_memory = true;
	decide(c, (int)less, "%c, for its memory: %s, and %c needs %s where %c needs %s.",
	       letter(less), times, letter(less), compare_value(x, sizeof(x), c, less, figure),
	       letter(!less), compare_value(y, sizeof(y), c, !less, figure));
	return (int)less;
}

static int by_time(struct compare *c, double gain, unsigned fast)
{
	unsigned figure = time_figure(c);
	double cost = compare_times(c, fast, compare_memory(c));
	const char *free_cpus = c->busy ? ", with CPUs free" : "";
	char x[32], y[32];

	compare_value(x, sizeof(x), c, fast, figure);
	compare_value(y, sizeof(y), c, !fast, figure);
	if (gain < COMPARE_LITTLE && cost >= COMPARE_MUCH)
		decide(c, -1,
		       "It depends: %c is %.*f times as fast (%s against %s%s), but needs %.1f "
		       "times the memory. %c when time counts, %c when memory does.",
		       letter(fast), compare_decimals(gain), gain, x, y, free_cpus, cost,
		       letter(fast), letter(!fast));
	else if (c->busy)
		decide(c, (int)fast,
		       "%c: with the CPUs free it would be about %.1f times as fast (estimated: %s "
		       "against %s).",
		       letter(fast), gain, x, y);
	else
		decide(c, (int)fast, "%c: it is %.*f times as fast (%s against %s).", letter(fast),
		       compare_decimals(gain), gain, x, y);
	return (int)fast;
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

int compare_choose(struct compare *c)
{
	unsigned figure = time_figure(c), fast;
	double a = c->stat[0][figure].median, b = c->stat[1][figure].median, gain, share;

	if (spoiled(c))
		return -1;
	if (!(a > 0) || !(b > 0)) {
		decide(c, -1, "These numbers settle nothing: a wall time is not known.");
		return -1;
	}
	fast = b < a;
	gain = fmax(a / b, b / a);
	if (gain - 1 >= settled_at(c) && compare_told(c, fast, figure))
		return by_time(c, gain, fast);
	if (gain < COMPARE_LITTLE)
		return by_memory(c, gain, fast);
	share = compare_less(c, fast, figure);
	decide(c, -1,
	       "These numbers do not settle it: by the medians %c is %.*f times as fast%s, but it "
	       "was the faster one in only %.0f %% of the pairings of their runs. More runs (-n) "
	       "may "
	       "tell.",
	       letter(fast), compare_decimals(gain), gain, c->busy ? " with CPUs free" : "",
	       100 * share);
	return -1;
}
