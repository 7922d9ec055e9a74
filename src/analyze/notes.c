/* SPDX-License-Identifier: MIT */
/*
 * What a reader of the report must know about what it does not say. Each function is one
 * subject and adds at most a sentence or two.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

#define CLONE_VM     0x100
#define MUCH_STOPPED 20 /* one part in so many of the run */

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static int of_recorder(struct report *r)
{
	const char *const *notes;
	size_t n = model_notes(r->m, &notes);
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++)
		rc = note_add(r, "%s", notes[i]);
	return rc;
}

static int of_file(struct report *r)
{
	const struct recording *rec = model_recording(r->m);
	const struct trace_info *info = model_trace_info(r->m);
	int rc = 0;

	if (rec->damaged && info->damaged_blocks)
		rc = note_add(r,
		              "the trace file is damaged: %" PRIu64 " block%s could not be read, "
		              "so counts and times are too low",
		              info->damaged_blocks, plural(info->damaged_blocks));
	else if (rec->damaged)
		rc = note_add(r, "the trace file is damaged: parts of it could not be read, so "
		                 "counts and times are too low");
	if (!rc && !rec->complete)
		rc = note_add(r, "the recording was not finished: it is still going on, or the "
		                 "recorder was killed; what it writes last (names of functions, "
		                 "the kernel's counters of tasks that live on) is missing");
	if (!rc && info->unknown_records)
		rc = note_add(r,
		              "%" PRIu64 " record%s of kinds that this version does not know: "
		              "the trace was written by a newer one",
		              info->unknown_records, plural(info->unknown_records));
	return rc;
}

static int of_losses(struct report *r)
{
	const struct loss *losses;
	size_t n = model_losses(r->m, &losses);
	char count[32];
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++)
		rc = note_add(r, "%s event%s lost (%s)",
		              fmt_count(count, sizeof(count), losses[i].count),
		              plural(losses[i].count), losses[i].cause);
	return rc;
}

static int of_oddities(struct report *r)
{
	const struct model_oddities *odd = model_oddities(r->m);
	int rc = 0;

	/* Harmless: the kernel's counters at the next switch tell when it got the CPU. Seen on
	 * kernels that hide switches away from some task. */
	if (odd->lost_in)
		rc = note_add(r,
		              "%" PRIu64 " time%s a task got a CPU without an event that says so; "
		              "when comes from the kernel's counters",
		              odd->lost_in, plural(odd->lost_in));
	if (!rc && odd->lost_out)
		rc = note_add(r,
		              "%" PRIu64 " time%s a task left a CPU without an event that says so: "
		              "some intervals are too long",
		              odd->lost_out, plural(odd->lost_out));
	if (!rc && odd->late)
		rc = note_add(r, "%" PRIu64 " event%s came too late to be put in order", odd->late,
		              plural(odd->late));
	if (!rc && odd->undefined_tasks)
		rc = note_add(r,
		              "%" PRIu64 " task%s known by number only: the definition is missing",
		              odd->undefined_tasks, odd->undefined_tasks == 1 ? " is" : "s are");
	if (!rc && odd->refused)
		rc = note_add(r, "%" PRIu64 " definition%s left out: more than this program holds",
		              odd->refused, plural(odd->refused));
	return rc;
}

static int of_kernel_counters(struct report *r)
{
	size_t n = model_n_tasks(r->m), missing = 0;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		const struct task *t = model_task_at(r->m, i);

		missing += !t->has_base || !t->has_end;
	}
	if (missing)
		rc = note_add(r, "the kernel's counters are not known for %zu of %zu tasks",
		              missing, n);
	for (size_t i = 0; !rc && i < r->checks.n; i++) {
		const struct report_check *c = &r->checks.v[i];

		if (!strcmp(c->name, "runnable_ns") && !c->known && c->tasks)
			rc = note_add(r, "this kernel does not count how long tasks wait for a "
			                 "CPU: these times are from wake-up to running");
	}
	if (!rc && model_recording(r->m)->windowed)
		rc = note_add(r, "page faults and memory peaks are those of the whole recording, "
		                 "not of the window");
	return rc;
}

static int of_memory(struct report *r)
{
	const char *thp = model_meta(r->m, META_THP);
	bool counted = false, ended = false, seen = false;

	/* Each page behind a fault was seen, and how large it was. */
	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);

		counted |= t->pages_known;
		ended |= t->has_end;
		seen |= t->faults_known;
	}
	if (ended && !seen)
		return note_add(r,
		                "page faults were not looked at (--no-pages, or the kernel has no "
		                "tracepoint of them): what tasks touched first and copied is not "
		                "known");
	/* With "madvise" only memory that a program asks to be so: rare, and said in the manual. */
	if (!counted && thp && !strcmp(thp, "always"))
		return note_add(r,
		                "transparent huge pages are on: one first touch can bring in 2 MB, "
		                "so first-touch bytes are a lower bound");
	return 0;
}

/* Before Linux 6.2, see mt_call. */
static int of_forks(struct report *r)
{
	const char *features = model_meta(r->m, META_FEATURES);
	size_t forks = 0;

	if (!features || !*features || strstr(features, FEATURE_FORK_CALLS))
		return 0;
	for (size_t i = 0; i < r->spawns.n; i++) {
		const struct spawn_row *s = &r->spawns.v[i];

		forks += strcmp(s->method, "thread") != 0 &&
		         !(model_task(r->m, s->task)->clone_flags & CLONE_VM);
	}
	if (!forks)
		return 0;
	return note_add(r,
	                "this kernel does not tell when a fork begins: how long %zu fork%s copied "
	                "page tables is not known, and what is told of the new processes counts "
	                "from when they were there",
	                forks, plural(forks));
}

static int of_stacks(struct report *r)
{
	const char *stacks = model_meta(r->m, META_STACKS);
	const struct bpf_cost *costs;
	size_t n = model_costs(r->m, &costs);
	int rc = 0;

	if (stacks && !strcmp(stacks, "off"))
		return note_add(r, "recorded with --stacks=off: where tasks waited is not known");
	for (size_t i = 0; !rc && i < n; i++)
		if (!strcmp(costs[i].name, "waits without stack") && costs[i].count)
			rc = note_add(r,
			              "%" PRIu64 " wait%s have no stack, to keep the cost down; "
			              "--stacks=all takes every one",
			              costs[i].count, plural(costs[i].count));
	return rc;
}

static int of_futexes(struct report *r)
{
	uint64_t n = model_trace_info(r->m)->by_kind[REC_K_WAITV];

	if (!n)
		return 0;
	return note_add(r,
	                "%" PRIu64
	                " wait%s for several futexes at once (futex_waitv) count for the one "
	                "that ended them; for the first, where none of those seen did",
	                n, plural(n));
}

static int of_channels(struct report *r)
{
	const struct recording *rec = model_recording(r->m);
	size_t without = 0;

	for (size_t i = 0; r->w && i < r->w->channels.n; i++)
		without += r->w->channels.v[i].waits && !r->w->channels.v[i].ends.n;
	if (rec->traffic_known && rec->traffic_lost)
		return note_add(r,
		                "%" PRIu64 " message%s found no room: the counts of messages and "
		                "bytes are too low",
		                rec->traffic_lost, plural(rec->traffic_lost));
	if (rec->traffic_known || !without)
		return 0;
	return note_add(r,
	                "messages and bytes of channels were not counted, but for the bytes of TCP "
	                "connections; --messages counts all");
}

/* Whoever did that is not among the tasks, as a rule. */
static int of_stops(struct report *r)
{
	const struct task *most = NULL;
	uint64_t most_ns = 0;
	char name[64], ns[32];

	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);

		if (t->blocked_by[BLOCK_STOPPED] > most_ns) {
			most = t;
			most_ns = t->blocked_by[BLOCK_STOPPED];
		}
	}
	if (!most || most_ns < r->wall_ns / MUCH_STOPPED)
		return 0;
	return note_add(r,
	                "%s was stopped for %s, by a signal or a debugger: the account has that "
	                "as the outside",
	                who(r->m, most->id, name, sizeof(name)), fmt_ns(ns, sizeof(ns), most_ns));
}

/* Its threads wait for something to run, and that is all that the kernel sees. */
static int of_goroutines(struct report *r)
{
	bool go = false;

	for (size_t i = 0; r->w && i < r->w->locks.n && !go; i++)
		go = lock_name_is_go_idle(r->w->locks.v[i].name);
	if (!go || r->verdict == VERDICT_PARALLEL)
		return 0;
	return note_add(r, "of a Go program only threads are seen: goroutines that wait for each "
	                   "other (a sync.Mutex, a channel), or for their turn (GOMAXPROCS), are "
	                   "not; Go's mutex and block profiles tell");
}

static int of_machine(struct report *r)
{
	const char *arch = model_meta(r->m, META_MACHINE);
	int rc = 0;

	if (!(r->cpus > 0))
		rc = note_add(r, "how many CPUs the workload could use is not known");
	if (!rc && arch && !syscall_name(arch, 0))
		rc = note_add(
		        r,
		        "system calls of %s are not known here: only futex, fault and stopped "
		        "are told apart",
		        arch);
	return rc;
}

static int of_chains(struct report *r)
{
	return r->chains_too_long
	               ? note_add(r, "what kept CPUs idle was not worked out: too many tasks wait "
	                             "for one another, one behind the other")
	               : 0;
}

static int of_gils(struct report *r)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < r->gils.n; i++) {
		const struct proc *p = model_proc(r->m, r->gils.v[i].proc);

		if (p && r->gils.v[i].others)
			rc = note_add(r,
			              "Python of pid %u ran in sub-interpreters, too, whose own "
			              "GILs nobody waited for: for how much of its CPU time it had "
			              "one is not known",
			              p->pid);
	}
	return rc;
}

static int of_what_if(struct report *r)
{
	return r->what_if_cut
	               ? note_add(r, "the recording is long: not every change in what_if was tried")
	               : 0;
}

int analyze_notes(struct report *r, struct err *err)
{
	static int (*const subjects[])(struct report *) = {
	        of_chains,   of_gils,     of_what_if,         of_file,
	        of_losses,   of_oddities, of_kernel_counters, of_memory,
	        of_forks,    of_stacks,   cut_stacks_note,    of_futexes,
	        of_channels, of_stops,    of_goroutines,      of_machine,
	        of_recorder,
	};
	int rc = 0;

	(void)err;
	for (size_t i = 0; !rc && i < ARRAY_LEN(subjects); i++)
		rc = subjects[i](r);
	return rc;
}
