/* SPDX-License-Identifier: MIT */
/*
 * The account in one word and one sentence.
 *
 * Of capacity, `held` is what locks, the GIL, serial sections, channels and children took,
 * `disk` I/O and page faults, `rest` sleep and the outside, `shortage` that of CPUs. What
 * cannot have been used, because there was no task for it (`no-task`), is left aside at
 * first: `usable` = capacity - no-task.
 * What is charged to sleep, but was waited for behind a lock whose holder slept, counts as held:
 * without the lock they would do so side by side. (With I/O it need not be so: the disk is one,
 * too; and who waits for the outside with a lock is often the one whose turn it is to do so.)
 * In this order:
 *
 *   - a deadlock: serialized;
 *   - of work, what samples say was spent spinning is the largest of what follows, and SPARE of
 *     usable or more: serialized where it is for locks, imbalanced where it is at barriers;
 *   - work is PARALLEL of usable or more, no-task less than SPARE: parallel (on one CPU:
 *     cpu-bound);
 *   - work is PARALLEL of usable or more: cpu-bound, for there are fewer tasks than CPUs;
 *   - the largest is held: serialized; or imbalanced, when most of it is waiting at barriers
 *     and for the end of siblings;
 *   - the largest is disk: io-bound;
 *   - the largest is shortage: cpu-starved. Only as far as other programs (and the hypervisor) used
 *     the CPUs, where that is known and nothing but the machine's size limits the workload: a task
 *     that is woken beside its waker is ready for a moment while another CPU is idle;
 *   - the largest is rest, but less than work: parallel or cpu-bound, as above, if work is
 *     PARALLEL of what is left without rest, too; else the largest of the others decides;
 *   - the largest is rest, or there is nothing of all that: idle.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"
#include "turns_priv.h"

#define PARALLEL 0.85
#define SPARE    0.15
#define ALONE    1.15 /* CPUs: more is not the work of one thread */
#define MENTION  0.03 /* further causes of at least this share are named */

struct tally {
	double capacity, work, held, disk, rest, shortage, no_task, unknown;
	double spun;                 /* part of work, an estimate by samples */
	bool spins;                  /* … which decides */
	double balance;              /* part of held: barriers, joins, children */
	double scarce;               /* of shortage, what others' use of the CPUs explains */
	const struct cause_row *top; /* of what decides */
	double behind;               /* of rest, what waited behind locks … */
	struct cause_row lock;       /* … most behind this */
	bool lent;                   /* … whose holder waited for others, who slept */
	double awaited;     /* of rest, sleep of those for whom others waited, but at no lock */
	struct turns turns; /* its n is set: many work one at a time, and that is the verdict */
};

const char *verdict_key(enum verdict v)
{
	static const char *const keys[] = {NULL,          "serialized", "cpu-bound", "io-bound",
	                                   "cpu-starved", "imbalanced", "parallel",  "idle"};

	return (unsigned)v < ARRAY_LEN(keys) ? keys[v] : NULL;
}

static double *group_of(struct tally *t, uint8_t cause)
{
	switch (cause) {
	case CAUSE_WORK:
		return &t->work;
	case CAUSE_GIL:
	case CAUSE_LOCK:
	case CAUSE_SERIAL:
	case CAUSE_CHANNEL:
	case CAUSE_CHILD:
		return &t->held;
	case CAUSE_IO:
	case CAUSE_FAULT:
		return &t->disk;
	case CAUSE_SLEEP:
	case CAUSE_EXTERNAL:
		return &t->rest;
	case CAUSE_CPU_SHORTAGE:
		return &t->shortage;
	case CAUSE_NO_TASK:
		return &t->no_task;
	default:
		return &t->unknown;
	}
}

static const struct cause_row *top_of(const struct report *r, struct tally *t, const double *group)
{
	for (size_t i = 0; i < r->breakdown.n; i++)
		if (group_of(t, r->breakdown.v[i].cause) == group)
			return &r->breakdown.v[i];
	return NULL;
}

static enum verdict judge_busy(const struct report *r, struct tally *t)
{
	t->top = top_of(r, t, &t->no_task);
	return t->no_task < SPARE * t->capacity && r->cpus > 1 ? VERDICT_PARALLEL
	                                                       : VERDICT_CPU_BOUND;
}

static size_t largest(const double *shares, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (shares[i] > shares[best])
			best = i;
	return best;
}

/* Is it the sleep of a lock's holders that decides? Of the lock that is the largest cause anyway,
 * only if they slept for a fair part of it. */
static bool slept_behind(const struct tally *t)
{
	const struct cause_row *top = t->top;

	if (!t->lock.id || !top)
		return t->lock.id;
	if (top->cause == t->lock.cause && top->id == t->lock.id)
		return t->lock.ns >= top->ns + top->ns / 8;
	return t->lock.ns > top->ns;
}

/* Do those who spin wait for others to get as far? */
static bool is_balance(const struct report *r)
{
	return r->spin_kind == SPIN_BARRIER || r->spin_kind == SPIN_MPI;
}

static enum verdict judge(const struct report *r, struct tally *t)
{
	double usable = t->capacity - t->no_task;
	const double *groups[] = {&t->held, &t->disk, &t->shortage, &t->rest};
	double shares[] = {t->held + t->behind, t->disk, t->scarce, t->rest - t->behind};
	static const enum verdict verdicts[] = {VERDICT_SERIALIZED, VERDICT_IO_BOUND,
	                                        VERDICT_CPU_STARVED, VERDICT_IDLE};
	size_t best;

	if (r->deadlocks.n)
		return VERDICT_SERIALIZED;
	t->spins =
	        t->spun >= SPARE * usable && t->spun > shares[largest(shares, ARRAY_LEN(shares))];
	if (t->spins)
		return is_balance(r) ? VERDICT_IMBALANCED : VERDICT_SERIALIZED;
	if (t->work > 0 && t->work >= PARALLEL * usable)
		return judge_busy(r, t);
	if (shares[largest(shares, ARRAY_LEN(shares))] < MENTION * t->capacity)
		shares[2] = t->shortage; /* there is nothing else to say */
	best = largest(shares, ARRAY_LEN(shares));
	if (groups[best] == &t->rest && t->work > t->rest) {
		if (t->work >= PARALLEL * (usable - t->rest))
			return judge_busy(r, t);
		best = largest(shares, ARRAY_LEN(shares) - 1);
	}
	t->top = top_of(r, t, groups[best]);
	if (!best && slept_behind(t)) {
		t->top = &t->lock;
		return VERDICT_SERIALIZED;
	}
	if (!t->top)
		return VERDICT_IDLE;
	if (!best && t->balance > t->held / 2)
		return VERDICT_IMBALANCED;
	return verdicts[best];
}

/* --- words --- */

static void append(char *out, size_t n, const char *fmt, ...) MT_PRINTF(3, 4);
static void append(char *out, size_t n, const char *fmt, ...)
{
	size_t at = strlen(out);
	va_list args;

	va_start(args, fmt);
	vsnprintf(out + at, n - at, fmt, args);
	va_end(args);
}

static double percent(const struct report *r, double ns)
{
	return r->capacity_ns ? 100 * ns / (double)r->capacity_ns : 0;
}

static void lock_text(const struct report *r, const struct cause_row *row, char *out, size_t n)
{
	const struct lock *l =
	        row->id && row->id <= r->w->locks.n ? &r->w->locks.v[row->id - 1] : NULL;
	char kind[48];

	if (!l || !*row->name)
		snprintf(out, n, "a lock that is not known");
	else if (lock_names_itself(l))
		snprintf(out, n, "the %s", row->name);
	else if (l->name_from && !strcmp(l->name_from, "site"))
		snprintf(out, n, "a %s %s",
		         l->family_n && !l->py ? "lock" : lock_kind_text(l, kind, sizeof(kind)),
		         row->name);
	else if (l->family_n)
		snprintf(out, n, "what %u tasks park for (%s, …)", l->family_n, row->name);
	else
		snprintf(out, n, "%s%s", strchr(row->name, ' ') ? "" : "lock ", row->name);
}

/* A cause as the object of "by" or "for". */
static void row_text(const struct report *r, const struct cause_row *row, char *out, size_t n)
{
	const char *name = row->name;

	switch (row->cause) {
	case CAUSE_GIL:
		snprintf(out, n, "the %s", *name ? name : "GIL");
		break;
	case CAUSE_LOCK:
		lock_text(r, row, out, n);
		break;
	case CAUSE_SERIAL:
		snprintf(out, n, "what %s does alone", name);
		break;
	case CAUSE_CHANNEL:
		snprintf(out, n, "%s", *name ? name : "a channel");
		break;
	case CAUSE_CHILD:
		snprintf(out, n, "child processes");
		break;
	case CAUSE_IO:
		snprintf(out, n, "I/O");
		break;
	case CAUSE_FAULT:
		snprintf(out, n, "page faults");
		break;
	case CAUSE_SLEEP:
		snprintf(out, n, "sleep");
		break;
	case CAUSE_EXTERNAL:
		snprintf(out, n, "the outside");
		break;
	case CAUSE_CPU_SHORTAGE:
		snprintf(out, n, "no CPU free");
		break;
	case CAUSE_NO_TASK:
		snprintf(out, n, "no task to run");
		break;
	case CAUSE_UNATTRIBUTED:
		snprintf(out, n, "waits of unknown cause");
		break;
	default:
		snprintf(out, n, "%s", cause_text(row->cause));
		break;
	}
}

static void cpus_text(const struct report *r, const struct tally *t, char *out, size_t n)
{
	double used = r->wall_ns ? t->work / (double)r->wall_ns : 0;

	snprintf(out, n, "%.2f of %.3g CPU%s did the work", used, r->cpus, r->cpus == 1 ? "" : "s");
}

static void say_deadlock(struct report *r)
{
	const struct deadlock *d = &r->deadlocks.v[0];
	char name[64];

	append(r->headline, sizeof(r->headline), "DEADLOCK of %zu task%s: ", d->edges.n,
	       d->edges.n == 1 ? "" : "s");
	for (size_t i = 0; i < d->edges.n && i < 4; i++) {
		const struct deadlock_edge *e = &d->edges.v[i];

		append(r->headline, sizeof(r->headline), "%s%s waits for %s", i ? ", " : "",
		       who(r->m, e->task, name, sizeof(name)),
		       e->waits_for ? r->w->locks.v[e->waits_for - 1].name : "it");
		append(r->headline, sizeof(r->headline), ", which %s has",
		       who(r->m, d->edges.v[(i + 1) % d->edges.n].task, name, sizeof(name)));
	}
	append(r->headline, sizeof(r->headline), d->edges.n > 4 ? ", … ." : ".");
}

static void say(struct report *r, const char *fmt, ...) MT_PRINTF(2, 3);
static void say(struct report *r, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	append(r->headline, sizeof(r->headline), "%s", text);
}

/* It is the sum of all waits for each other that decides: each of them may be less than, say, the
 * lack of CPUs, which is one. */
static bool is_one_of_many(const struct report *r, const struct tally *t)
{
	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];

		if (row->cause == CAUSE_CPU_SHORTAGE && t->scarce <= (double)t->top->ns)
			continue;
		if (row->cause != CAUSE_WORK && row->cause != CAUSE_NO_TASK && row->ns > t->top->ns)
			return true;
	}
	return false;
}

static void say_serialized(struct report *r, struct tally *t, const char *cpus)
{
	char by[320];

	row_text(r, t->top, by, sizeof(by));
	if (t->top == &t->lock) {
		say(r, "SERIALIZED by %s, whose holder %sslept: %s", by,
		    t->lent ? "waited for one that " : "", cpus);
		return;
	}
	turns_find(r, t->top, &t->turns);
	if (!t->turns.n && is_one_of_many(r, t)) {
		say(r, "SERIALIZED by waits for each other (%.0f %%), most for %s (%.0f %%): %s",
		    percent(r, t->held), by, percent(r, (double)t->top->ns), cpus);
		return;
	}
	if (t->turns.n)
		turns_text(&t->turns, by, sizeof(by));
	say(r, "SERIALIZED by %s: %s", by, cpus);
}

static void say_imbalanced(struct report *r, const struct tally *t, const char *cpus)
{
	say(r, "IMBALANCED: %s; others were done and waited for %s for %.0f %% of the capacity",
	    cpus, t->top->name, percent(r, (double)t->top->ns));
}

static void say_cpu_bound(struct report *r, const struct tally *t, const char *cpus)
{
	const struct cause_row *none = t->top;

	if (r->cpus < 1)
		say(r, "CPU-BOUND on the %.3g CPUs of its quota: %s", r->cpus, cpus);
	else if (r->cpus == 1)
		say(r, "CPU-BOUND on the one CPU that it may use: %s", cpus);
	else if (none && *none->name && t->work > ALONE * (double)r->wall_ns)
		say(r,
		    "CPU-BOUND: %s; for %.0f %% of the capacity %s ran with nothing beside it to "
		    "run",
		    cpus, percent(r, (double)none->ns), none->name);
	else if (none && *none->name)
		say(r, "CPU-BOUND in one thread: %s; %s ran with nothing beside it to run", cpus,
		    none->name);
	else
		say(r, "CPU-BOUND with fewer tasks than CPUs: %s", cpus);
}

static bool is_told(const struct report *r, const struct tally *t, const struct cause_row *row)
{
	return row == t->top || turns_have(r, &t->turns, row) ||
	       (t->top == &t->lock && row->cause == t->lock.cause && row->id == t->lock.id);
}

/* What an I/O-bound headline says is the sum of these. */
static bool is_summed(const struct report *r, const struct cause_row *row)
{
	return r->verdict == VERDICT_IO_BOUND &&
	       (row->cause == CAUSE_IO || row->cause == CAUSE_FAULT);
}

/* What else there is, in order; not what was named already, nor what nobody can use. */
static void say_others(struct report *r, const struct tally *t)
{
	unsigned named = 0;
	char text[200];

	for (size_t i = 0; i < r->breakdown.n && named < 3; i++) {
		const struct cause_row *row = &r->breakdown.v[i];
		double ns = (double)row->ns;

		/* The holder's sleep is what the lock was named for. */
		if (t->top == &t->lock && row->cause == CAUSE_SLEEP)
			ns -= t->behind < ns ? t->behind : ns;
		if (is_told(r, t, row) || is_summed(r, row) || row->cause == CAUSE_WORK ||
		    row->cause == CAUSE_NO_TASK || ns < MENTION * t->capacity)
			continue;
		row_text(r, row, text, sizeof(text));
		append(r->headline, sizeof(r->headline), "%s %s %.0f %%",
		       named ? "," : "; besides:", text, percent(r, ns));
		named++;
	}
}

/* That there was nobody to use the other CPUs is no cause to remove, but the limit of what removing
 * the causes can give. */
static void say_no_task(struct report *r, const struct tally *t)
{
	double waited = t->held + t->disk + t->shortage + t->rest + t->unknown;

	if (r->verdict == VERDICT_PARALLEL || r->verdict == VERDICT_CPU_BOUND ||
	    t->no_task <= waited || t->no_task < MENTION * t->capacity)
		return;
	append(r->headline, sizeof(r->headline), "; for %.0f %% there was no other task",
	       percent(r, t->no_task));
}

static void say_spinning(struct report *r, const struct tally *t)
{
	static const char *const words[] = {
	        [SPIN_LOCK] = "spun for a lock",
	        [SPIN_BARRIER] = "spun at a barrier",
	        [SPIN_OPENMP] = "spun inside OpenMP's library, most likely at a barrier or for a "
	                        "critical section",
	        [SPIN_MPI] = "polled for messages of other MPI processes",
	        [SPIN_YIELD] = "spun by sched_yield, most likely for what others have",
	        [SPIN_KERNEL] = "spun for a lock inside the kernel",
	};
	double wall = (double)r->wall_ns;

	say(r, "%s: %.2f of %g CPUs did the work, %.2f %s%s%s",
	    is_balance(r) ? "IMBALANCED" : "SERIALIZED by spinning", (t->work - t->spun) / wall,
	    r->cpus, t->spun / wall, words[r->spin_kind], *r->spin_place ? ", most in " : "",
	    r->spin_place);
}

static void set_headline(struct report *r, struct tally *t)
{
	char cpus[80];

	cpus_text(r, t, cpus, sizeof(cpus));
	if (r->deadlocks.n) {
		say_deadlock(r);
		return;
	}
	if (t->spins) {
		say_spinning(r, t);
		say_others(r, t);
		append(r->headline, sizeof(r->headline), ".");
		return;
	}
	switch (r->verdict) {
	case VERDICT_SERIALIZED:
		say_serialized(r, t, cpus);
		break;
	case VERDICT_IMBALANCED:
		say_imbalanced(r, t, cpus);
		break;
	case VERDICT_CPU_BOUND:
		say_cpu_bound(r, t, cpus);
		break;
	case VERDICT_IO_BOUND:
		say(r, "I/O-BOUND: %s; %.0f %% of the capacity waited for I/O", cpus,
		    percent(r, t->disk));
		break;
	case VERDICT_CPU_STARVED:
		say(r,
		    "CPU-STARVED: %s; for %.0f %% of the capacity a task was ready and got no CPU",
		    cpus, percent(r, t->shortage));
		break;
	case VERDICT_PARALLEL:
		say(r, "PARALLEL: %s", cpus);
		break;
	default:
		say(r, "IDLE: %s; it %s", cpus,
		    !t->top                        ? "had nothing to do"
		    : t->top->cause != CAUSE_SLEEP ? "waited for the outside"
		    : 3 * t->awaited < t->rest     ? "slept"
		                               : "slept, while others waited for the one who did");
		break;
	}
	say_others(r, t);
	say_no_task(r, t);
	append(r->headline, sizeof(r->headline), ".");
}

static void set_next_step(struct report *r, const struct tally *t)
{
	const struct cause_row *row = t->top;
	char where[220], name[64], lock[200], call[160];

	if (t->spins && *r->spin_place && (r->spin_kind == SPIN_LOCK || r->spin_kind == SPIN_YIELD))
		append(r->next_step, sizeof(r->next_step), "how long %s has what others spin for",
		       r->spin_place);
	else if (t->spins && *r->spin_place && r->spin_kind != SPIN_KERNEL)
		append(r->next_step, sizeof(r->next_step), "how the work of %s is divided",
		       r->spin_place);
	if (!row || r->verdict == VERDICT_PARALLEL)
		return;
	place(r->m, row->ustack, where, sizeof(where));
	/* An address helps nobody: as of the command sleep itself. Nor does where Go's scheduler
	 * waits for something to do. */
	if (strstr(where, "+0x") || (row->cause == CAUSE_SLEEP && !strncmp(where, "runtime.", 8)))
		*where = '\0';
	who(r->m, row->task, name, sizeof(name));
	row_text(r, row, lock, sizeof(lock));
	called_module(r->m, row->ustack, call, sizeof(call));
	switch (row->cause) {
	case CAUSE_GIL:
	case CAUSE_LOCK:
		if (*where && row == &t->lock && t->lent)
			append(r->next_step, sizeof(r->next_step),
			       "where %s sleeps while %s is held: most often %s", name, lock,
			       where);
		else if (*where)
			append(r->next_step, sizeof(r->next_step),
			       "what %s does while it holds %s: most often %s%s%s", name, lock,
			       where, *call ? ", which calls " : "", call);
		break;
	case CAUSE_SERIAL:
	case CAUSE_NO_TASK:
		if (*where && row->task)
			append(r->next_step, sizeof(r->next_step),
			       "what %s does while nothing else can run: most often %s%s%s", name,
			       where, *call ? ", which calls " : "", call);
		break;
	case CAUSE_CPU_SHORTAGE:
		append(r->next_step, sizeof(r->next_step),
		       t->scarce < t->shortage / 2
		               ? "who wakes whom, and where: tasks were ready beside a CPU that no "
		                 "other program used"
		               : "what else runs on these CPUs, and the CPUs (affinity, quota) "
		                 "that "
		                 "this workload may use");
		break;
	case CAUSE_FAULT:
		if (*where)
			append(r->next_step, sizeof(r->next_step),
			       "where %s waits in page faults: most often %s", name, where);
		break;
	case CAUSE_SLEEP:
		if (*where)
			append(r->next_step, sizeof(r->next_step), "where %s sleeps: most often %s",
			       name, where);
		break;
	default:
		if (*where)
			append(r->next_step, sizeof(r->next_step), "where %s waits: most often %s",
			       name, where);
		break;
	}
}

/* Of what serial sections took, the part of those who wait for a task to arrive or to end. */
static double balance_of(const struct sweep *s)
{
	double ns = 0;

	for (size_t i = 0; i < s->chains.charges.n; i++) {
		const struct charge *c = &s->chains.charges.v[i];

		if (c->what.cause == CAUSE_SERIAL &&
		    (c->label == LABEL_BARRIER || c->label == LABEL_JOIN))
			ns += c->ns;
	}
	return ns;
}

/* --- behind locks --- */

/* The lock's own charge is part of what it cost; its place is that where the holder slept. */
static void set_lock(const struct report *r, struct tally *t, uint32_t id, double ns)
{
	const struct lock *l = &r->w->locks.v[id - 1];

	t->lock = (struct cause_row){
	        .cause = l->kind == LOCK_GIL ? CAUSE_GIL : CAUSE_LOCK,
	        .id = id,
	        .ns = ns < t->capacity ? (uint64_t)ns : (uint64_t)t->capacity,
	};
	snprintf(t->lock.name, sizeof(t->lock.name), "%s", l->name);
	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];

		if (row->cause == CAUSE_SLEEP && !t->lock.task) {
			t->lock.task = row->task;
			t->lock.ustack = row->ustack;
		}
		if (row->cause == t->lock.cause && row->id == id)
			t->lock.ns += row->ns;
	}
}

/* Of what is charged to sleep, that for whose end others wait: for what a task is to do, or in turn
 * (a database's locks on rows look so). */
static double awaited_of(const struct sweep *s)
{
	double ns = 0;

	for (size_t i = 0; i < s->chains.charges.n; i++) {
		const struct charge *c = &s->chains.charges.v[i];

		if (c->what.cause == CAUSE_SLEEP &&
		    (c->label == LABEL_WORK || c->label == LABEL_BARRIER))
			ns += c->ns;
	}
	return ns;
}

/* ns, via: room for each lock. */
static void sum_behind(const struct report *r, const struct sweep *s, struct tally *t, double *ns,
                       double *via)
{
	uint32_t best = 0;

	for (size_t i = 0; i < s->chains.charges.n; i++) {
		const struct charge *c = &s->chains.charges.v[i];
		uint32_t id = label_lock(c->label);

		if (c->what.cause != CAUSE_SLEEP || !id || id > r->w->locks.n)
			continue;
		if (r->w->locks.v[id - 1].family)
			id = r->w->locks.v[id - 1].family;
		t->behind += c->ns;
		ns[id] += c->ns;
		via[id] += c->label & LABEL_VIA ? c->ns : 0;
		if (ns[id] > ns[best])
			best = id;
	}
	/* Charges are estimates that the account has evened out. */
	t->behind = t->behind < t->rest ? t->behind : t->rest;
	t->lent = via[best] > ns[best] / 2;
	if (best)
		set_lock(r, t, best, ns[best]);
}

static int find_behind(const struct report *r, const struct sweep *s, struct tally *t)
{
	size_t n = r->w ? r->w->locks.n + 1 : 0;
	double *ns = n ? calloc(2 * n, sizeof(*ns)) : NULL;

	if (!ns)
		return n ? -ENOMEM : 0;
	sum_behind(r, s, t, ns, ns + n);
	free(ns);
	return 0;
}

static double scarce_of(const struct report *r, const struct tally *t)
{
	uint64_t busy, cpus, own = 0;
	const struct model *m = r->m;

	if (model_recording(m)->windowed || !model_meta_u64(m, META_BUSY, &busy) ||
	    !model_meta_u64(m, META_CAPACITY_CPUS, &cpus) || r->cpus < (double)cpus)
		return t->shortage;
	for (size_t i = 0; i < model_n_tasks(m); i++)
		own = sat_add(own, model_task_at(m, i)->run_ns);
	busy -= own < busy ? own : busy;
	return (double)busy < t->shortage ? (double)busy : t->shortage;
}

int verdict_fill(struct report *r, const struct sweep *s)
{
	struct tally t = {.capacity = (double)r->capacity_ns,
	                  .balance = balance_of(s),
	                  .awaited = awaited_of(s)};

	if (!r->capacity_ns)
		return 0;
	for (size_t i = 0; i < r->breakdown.n; i++)
		*group_of(&t, r->breakdown.v[i].cause) += (double)r->breakdown.v[i].ns;
	t.scarce = scarce_of(r, &t);
	if (find_behind(r, s, &t))
		return -ENOMEM;
	if (r->spin_kind && r->samples)
		t.spun = t.work * (double)r->spinning / (double)r->samples;
	r->verdict = judge(r, &t);
	if (t.top)
		r->verdict_row = *t.top;
	r->holder_slept = t.top == &t.lock;
	set_headline(r, &t);
	set_next_step(r, &t);
	if (r->verdict == VERDICT_IDLE)
		pools_say(r);
	return 0;
}
