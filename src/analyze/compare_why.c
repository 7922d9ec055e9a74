/* SPDX-License-Identifier: MIT */
/* What the recommended side gains, what the other pays, and at what price. */
#include <math.h>

#include "compare_priv.h"

#define GIL_SHARE  0.10 /* of the free CPUs: the GIL is why */
#define COST_SHARE 0.02 /* of the longer wall time: a cost below is not named */
#define CHATTY     3.0  /* so many times the waits, … */
#define CHATTY_N   1000 /* … at least so many more: it talks a lot */

/* Of the CPUs that were free for it. */
static double gil_share(const struct compare_run *run)
{
	double had = 1 - run->v[COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE];

	return had > 0 ? run->v[COMPARE_CAUSE0 + CAUSE_GIL] / had : 0;
}

/* By how much more `side` has than the other, when that is worth a word. */
static double excess(const struct compare *c, unsigned side, unsigned figure)
{
	double more = c->stat[side][figure].median - c->stat[!side][figure].median;
	double wall = fmax(c->stat[0][COMPARE_WALL].median, c->stat[1][COMPARE_WALL].median);

	return more >= COST_SHARE * wall && compare_told(c, !side, figure) ? more : NAN;
}

/* "1.1 s more CPU time, 30.7 ms more to start tasks"; empty when there is nothing to say. */
static int costs(const struct compare *c, unsigned of, struct buf *b)
{
	double cpu = excess(c, of, COMPARE_CPU), spawn = excess(c, of, COMPARE_SPAWN);
	double mine = c->stat[of][COMPARE_VOLUNTARY].median;
	double other = c->stat[!of][COMPARE_VOLUNTARY].median;
	char x[32], y[32];
	int err = 0;

	if (!isnan(cpu))
		err = buf_printf(b, "%s more CPU time", fmt_ns(x, sizeof(x), (uint64_t)cpu));
	if (!err && !isnan(cpu) && !isnan(excess(c, of, COMPARE_PICKLING)))
		err = buf_printf(b, " (pickling took about %s)",
		                 compare_value(x, sizeof(x), c, of, COMPARE_PICKLING));
	if (!err && !isnan(spawn))
		err = buf_printf(b, "%s%s more to start tasks", b->n ? ", " : "",
		                 fmt_ns(x, sizeof(x), (uint64_t)spawn));
	if (!err && mine >= CHATTY * other && mine - other >= CHATTY_N)
		err = buf_printf(b, "%s%s waits where %c has %s", b->n ? ", " : "",
		                 compare_value(x, sizeof(x), c, of, COMPARE_VOLUNTARY), letter(!of),
		                 compare_value(y, sizeof(y), c, !of, COMPARE_VOLUNTARY));
	return err;
}

/* Threads are the better: what processes could have gained, and what they cost. */
static int why_threads(struct compare *c, unsigned better, double gil)
{
	struct buf b = {0};
	int err;

	if (gil < GIL_SHARE)
		err = compare_say(
		        c, false,
		        "Waits for the GIL left %s %.0f %% of the free CPUs idle in %c (its "
		        "threads mostly wait, or run code that releases it): processes "
		        "have little to gain.",
		        gil < 0.01 ? "less than" : "only", fmax(1, 100 * gil), letter(better));
	else
		err = compare_say(c, false,
		                  "Waits for the GIL left %.0f %% of the free CPUs idle in %c, but "
		                  "processes cost more than they gain by it.",
		                  100 * gil, letter(better));
	err = err ? err : costs(c, !better, &b);
	if (!err && b.n)
		err = compare_say(c, false, "%c pays for its processes: %s.", letter(!better),
		                  (const char *)b.p);
	buf_release(&b);
	return err;
}

static int why_python(struct compare *c, unsigned better)
{
	const struct compare_run *f = typical(c, better), *s = typical(c, !better);
	double gil_s = gil_share(s), gil_f = gil_share(f);

	if (gil_s >= GIL_SHARE && gil_s >= 2 * gil_f)
		return compare_say(c, false,
		                   "Waits for the GIL left %.0f %% of the free CPUs idle in %c, "
		                   "and %.0f %% in %c: %s.",
		                   100 * gil_s, letter(!better), 100 * gil_f, letter(better),
		                   f->v[COMPARE_PROCS] > s->v[COMPARE_PROCS]
		                           ? "threads take turns at it, processes have one each"
		                           : "what holds it has changed");
	if (s->v[COMPARE_PROCS] > f->v[COMPARE_PROCS])
		return why_threads(c, better, gil_f);
	return 0;
}

/* Who waits by spinning is at work to the account. */
static int why_less_work(struct compare *c, unsigned better, const char *gain)
{
	char x[32];

	if (isnan(excess(c, !better, COMPARE_SPINNING)))
		return compare_say(c, false, "Mostly because %c does less work: %s of wall time.",
		                   letter(better), gain);
	return compare_say(c, false,
	                   "Mostly because %c takes less CPU time: %s of wall time. %c spins for "
	                   "about %s of its own.",
	                   letter(better), gain, letter(!better),
	                   compare_value(x, sizeof(x), c, !better, COMPARE_SPINNING));
}

/* The largest part of what the faster side saves. What the machine took, and CPUs that had nothing
 * to run, are named in the table but say nothing of the programs. */
static int why_part(struct compare *c, unsigned better)
{
	const struct compare_run *slow = typical(c, !better);

	for (size_t i = 0; i < c->parts.n; i++) {
		const struct compare_part *p = &c->parts.v[i];
		double gain = better ? -p->wall_ns : p->wall_ns;
		const char *name = slow->cause_name[p->cause];
		char text[32];

		if (gain <= 0 || p->cause == CAUSE_NO_TASK || p->cause == CAUSE_CPU_SHORTAGE)
			continue;
		fmt_ns(text, sizeof(text), (uint64_t)gain);
		if (p->cause == CAUSE_WORK)
			return why_less_work(c, better, text);
		return compare_say(c, false,
		                   "Mostly because %c loses less to %s%s%s%s: %s of wall time.",
		                   letter(better), cause_text(p->cause), *name ? " (" : "", name,
		                   *name ? ")" : "", text);
	}
	return 0;
}

/* The better side's price, or what the other needs more of on top. */
static int price(struct compare *c, unsigned better, unsigned figure, const char *what)
{
	unsigned of = compare_times(c, better, figure) >= 1 ? better : !better;
	double ratio = compare_times(c, of, figure);
	char a[32], b[32];

	if (isnan(ratio) || ratio < NOTABLE || !compare_told(c, !of, figure))
		return 0;
	compare_value(a, sizeof(a), c, of, figure);
	compare_value(b, sizeof(b), c, !of, figure);
	if (of == better)
		return compare_say(c, false, "Price of %c: %.1f times the %s (%s against %s).",
		                   letter(of), ratio, what, a, b);
	return compare_say(c, false, "%c also needs %.1f times the %s (%s against %s).", letter(of),
	                   ratio, what, a, b);
}

int compare_why(struct compare *c, unsigned better)
{
	unsigned memory = compare_memory(c);
	size_t before = c->reasons.n;
	int err = 0;

	if (typical(c, 0)->python || typical(c, 1)->python)
		err = why_python(c, better);
	if (!err && c->reasons.n == before && !c->by_memory)
		err = why_part(c, better);
	if (!err && !c->by_memory)
		err = price(c, better, memory,
		            memory == COMPARE_PSS ? "memory"
		                                  : "resident memory, shared pages counted "
		                                    "several times");
	if (!err && compare_times(c, better, COMPARE_CPU) >= NOTABLE)
		err = price(c, better, COMPARE_CPU, "CPU time");
	return err;
}
