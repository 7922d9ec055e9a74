/* SPDX-License-Identifier: MIT */
/*
 * The GIL of every CPython here: found, its holders and waiters by thread, and who held it
 * against what uprobes inside the interpreter saw at the same time.
 */
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "gil_truth.h"
#include "live.h"

LIVE_SUITE(gil);

/* A Python and the file that the interpreter's code is in. */
struct python {
	char program[300], library[300];
};

static size_t pythons(struct python *out, size_t max)
{
	static char paths[32][256];
	size_t n = live_pythons(paths, max < 32 ? max : 32, 15);

	for (size_t i = 0; i < n; i++) {
		const char *bin = strstr(paths[i], "/bin/python3");
		glob_t lib = {0};

		out[i] = (struct python){.library = ""};
		snprintf(out[i].program, sizeof(out[i].program), "%s", paths[i]);
		if (bin &&
		    !glob(fmt("%.*s/lib/libpython3.*.so.1.0", (int)(bin - paths[i]), paths[i]), 0,
		          NULL, &lib))
			snprintf(out[i].library, sizeof(out[i].library), "%s", lib.gl_pathv[0]);
		else
			snprintf(out[i].library, sizeof(out[i].library), "%s", paths[i]);
		globfree(&lib);
	}
	cr_assert(n, "no Python to test with");
	return n;
}

/* mpvtrace run … python3 gil.py KIND SECONDS. */
static void record_kind(struct recording *r, const char *python, const char *kind,
                        const char *seconds)
{
	*r = record(NONE, ARGS(python, workload("gil.py"), kind, seconds));
	cr_assert_eq(r->p.status, 0, "%s %s: %s", python, kind, r->p.err);
}

/* --- every version ---------------------------------------------------------------------------- */

/* Four threads that compute: each held it and waited for it. */
static void check_cpu4(const struct recording *r, const char *python)
{
	uint64_t held = 0, wall = u64_at(r->json, "workload.wall_ns");
	/* What else the program did: start, import; where that takes ten times as long as the
	 * threads, half of their time. */
	uint64_t least = slow_machine() ? SEC * 3 / 2 : wall / 3;
	struct err err = {0};
	struct gil_facts f;

	cr_assert_eq(gil_facts(r->trace, &f, &err), 0, "%s", err.msg);
	cr_assert_eq(f.n_gils, 1, "%s: %zu GILs", python, f.n_gils);
	cr_assert_eq(f.n_mains, 1, "%s: not the main interpreter's", python);
	cr_assert(f.version >> 24 == 3 && (f.version >> 16 & 0xff) >= 8, "%s: version %x", python,
	          f.version);
	cr_assert(f.tiled, "%s: a gap or an overlap", python);
	cr_assert_eq(json_array_size(r->truth), 4);
	for (size_t i = 0; i < 4; i++) {
		json_t *tid = json_object_get(json_array_get(r->truth, i), "tid");
		const struct gil_holder *h = gil_holder(&f, (uint32_t)json_integer_value(tid));

		cr_assert(h, "%s: thread %zu has nothing to do with it", python, i);
		cr_assert_gt(h->hold_ns, 0, "%s: thread %zu never held it", python, i);
		cr_assert_gt(h->wait_ns, 0, "%s: thread %zu never waited for it", python, i);
		held += h->hold_ns;
	}
	cr_assert_gt(held, least, "%s: held for %.1f of %.1f ms", python, (double)held / 1e6,
	             (double)wall / 1e6);
	cr_assert_leq(held, wall);
	cr_assert_leq(f.unknown_ns, held / 20, "%s: holder unknown for %.1f ms", python,
	              (double)f.unknown_ns / 1e6);
}

Test(gil, every_version)
{
	struct python py[16];
	size_t n = pythons(py, 16);

	for (size_t i = 0; i < n; i++) {
		struct recording r = record(NONE, ARGS(py[i].program, workload("gil.py"), "cpu4",
		                                       slow_machine() ? "3" : "0.6"));

		cr_assert_eq(r.p.status, 0, "%s", r.p.err);
		check_cpu4(&r, py[i].program);
	}
}

/* Where nobody waits for it the samples know how much of a thread's CPU time was with the GIL; what
 * came before the loop, start and imports, was so nearly all of the time. */
static void check_part(const struct recording *r, const char *python)
{
	json_t *truth = truth_line(r->truth, "gil", NULL, 0);
	double before = real_at(truth, "before_s");
	double with = real_at(truth, "with_s");
	double cpu = real_at(truth, "cpu_s");
	double want = (with + before) / (cpu + before);
	double doubt = (double)u64_at(r->json, "gil[0].hold_uncertainty_ns") / 1e9;
	double got_cpu = (double)u64_at(r->json, "gil[0].cpu_ns") / 1e9;
	double got = (double)u64_at(r->json, "gil[0].cpu_hold_ns") / 1e9 / got_cpu;

	cr_assert_gt(cpu, 0, "%s: no truth", python);
	cr_assert(got_cpu > cpu * 0.9 && got_cpu < (cpu + before) * 1.2,
	          "%s: %.2f s of CPU, %.2f s by its own count", python, got_cpu, cpu);
	cr_assert(doubt > 0 && doubt < got_cpu / 4, "%s: doubt %.2f of %.2f s", python, doubt,
	          got_cpu);
	/* Three standard deviations: with ten interpreters two would fail every other time. */
	cr_assert(fabs(got - want) <= 1.5 * doubt / got_cpu + 0.03,
	          "%s: %.3f of its CPU time with the GIL (doubt %.3f), by its own count %.3f",
	          python, got, doubt / got_cpu, want);
}

Test(gil, released_in_part_by_one_thread)
{
	struct python py[16];
	size_t n = pythons(py, 16);

	for (size_t i = 0; i < n; i++) {
		struct recording r;

		record_kind(&r, py[i].program, "part", slow_machine() ? "4" : "0.8");
		check_part(&r, py[i].program);
	}
}

/* Who is there already is found as well. */
Test(gil, attached)
{
	struct python py[16];
	struct gil_facts f;
	struct err err = {0};
	struct proc target, p;
	size_t n = pythons(py, 16);

	cr_assert(n);
	proc_start(&target, ARGS(py[0].program, workload("gil.py"), "cpu4", "60"), NULL);
	await_tasks(target.pid, 5);
	p = run(ARGS(mpvtrace(), "attach", "-p", fmt("%d", (int)target.pid), "-d", "1", "-o",
	             "a.mpv"));
	kill(target.pid, SIGKILL);
	proc_wait(&target);
	cr_assert_eq(p.status, 0, "%s", p.err);
	cr_assert_eq(gil_facts(fmt("%s/a.mpv", live_dir), &f, &err), 0, "%s", err.msg);
	cr_assert_eq(f.n_gils, 1);
	cr_assert_eq(f.n_mains, 1);
	cr_assert_eq(f.version >> 24, 3);
	cr_assert_geq(f.n_holders, 4);
	cr_assert(f.tiled);
}

/* The child of subprocess runs for a moment as the thread that made it. What that one holds later
 * is not held by the child. */
Test(gil, beside_a_subprocess)
{
	static const char *const program = "import os, subprocess, threading, time\n"
	                                   "def loop(s):\n"
	                                   "    end = time.thread_time() + s\n"
	                                   "    while time.thread_time() < end: pass\n"
	                                   "for _ in range(3): subprocess.run(['true'])\n"
	                                   "thread = threading.Thread(target=loop, args=(0.2,))\n"
	                                   "thread.start()\n"
	                                   "loop(0.2)\n"
	                                   "thread.join()\n";
	struct python py[16];
	size_t n = pythons(py, 16);

	for (size_t i = 0; i < n; i++) {
		struct recording r = record(NONE, ARGS(py[i].program, "-c", program));
		const struct gil_holder *main;
		struct err err = {0};
		struct gil_facts f;

		cr_assert_eq(r.p.status, 0, "%s: %s", py[i].program, r.p.err);
		cr_assert_eq(gil_facts(r.trace, &f, &err), 0, "%s", err.msg);
		main = gil_holder(&f,
		                  (uint32_t)u64_at(json_array_get(at(r.json, "tasks"), 0), "tid"));
		cr_assert(main, "%s", py[i].program);
		cr_expect_gt(main->hold_ns, 150 * MS, "%s: %.1f ms", py[i].program,
		             (double)main->hold_ns / 1e6);
	}
}

/* --- several GILs ------------------------------------------------------------------------- */

/* Threads of one GIL in the truth have one GIL in the recording, others another one. */
static void check_apart(const struct recording *r, size_t threads, size_t gils)
{
	const struct gil_holder *h[16];
	uint64_t number[16];
	struct err err = {0};
	struct gil_facts f;
	size_t n = 0;

	cr_assert_eq(gil_facts(r->trace, &f, &err), 0, "%s", err.msg);
	cr_assert(f.tiled);
	cr_assert_eq(json_array_size(r->truth), threads, "%zu lines of %zu",
	             json_array_size(r->truth), threads);
	for (; n < threads; n++) {
		json_t *line = json_array_get(r->truth, n);
		uint64_t tid = u64_at(line, "tid");

		number[n] = u64_at(line, "gil");
		h[n] = gil_holder(&f, (uint32_t)tid);
		cr_assert(h[n] && h[n]->hold_ns, "thread %" PRIu64 " never held its GIL", tid);
		cr_assert_gt(h[n]->most_ns, h[n]->hold_ns / 10 * 9,
		             "thread %" PRIu64 " held several", tid);
		for (size_t k = 0; k < n; k++)
			cr_assert_eq(h[k]->gil == h[n]->gil, number[k] == number[n],
			             "GILs of threads %u and %u", h[k]->tid, h[n]->tid);
	}
	cr_assert_geq(f.n_used, gils, "%zu GILs were used", f.n_used);
}

Test(gil, forked)
{
	struct python py[16];
	size_t n = pythons(py, 16);

	for (size_t i = 0; i < n; i++) {
		struct recording r = record(NONE, ARGS(py[i].program, workload("gils.py"), "fork",
		                                       slow_machine() ? "3" : "0.4"));

		cr_assert_eq(r.p.status, 0, "%s: %s", py[i].program, r.p.err);
		check_apart(&r, 6, 3);
	}
}

Test(gil, sub_interpreters)
{
	struct python py[16];
	size_t n = pythons(py, 16), tested = 0;

	for (size_t i = 0; i < n; i++) {
		struct proc p = run(ARGS(py[i].program, "-c",
		                         "import sys; sys.exit(sys.version_info < (3, 12))"));
		struct recording r;

		if (p.status)
			continue;
		r = record(NONE, ARGS(py[i].program, workload("gils.py"), "sub",
		                      slow_machine() ? "3" : "0.4"));
		cr_assert_eq(r.p.status, 0, "%s: %s", py[i].program, r.p.err);
		check_apart(&r, 4, 3);
		tested++;
	}
	if (!tested)
		cr_skip("no Python here has interpreters with GILs of their own");
}

/* --- the right one is blamed -------------------------------------------------------------- */

struct limits {
	const char *kind;
	double wrong; /* of the time that a waiter slept while somebody held it */
};

static void check_truth_of(const struct python *py, const struct limits *l)
{
	struct uprobe_log *log = uprobe_new();
	const struct uprobe_hit *hits;
	struct gil_truth t;
	struct err err = {0};
	struct recording r;
	uint64_t lost = 0;
	size_t n = 0;

	cr_assert(log);
	cr_assert(gil_truth_probe(log, py->library), "%s", py->library);
	cr_assert_eq(uprobe_start(log), 0);
	record_kind(&r, py->program, l->kind, "1");
	hits = uprobe_stop(log, &n, &lost);
	cr_assert_eq(lost, 0);
	cr_assert_eq(gil_truth_compare(r.trace, hits, n, &t, &err), 0, "%s", err.msg);
	cr_assert_gt(t.changes, 10, "%s %s: probes saw nothing", py->program, l->kind);
	cr_log_info("%s %s: held %.1f ms of %.1f ms asleep, wrong %.2f %%, nobody %.2f %%",
	            py->program, l->kind, (double)t.held / 1e6, (double)t.asleep / 1e6,
	            100.0 * (double)t.wrong / (double)t.held,
	            100.0 * (double)t.none / (double)t.held);
	cr_assert_leq((double)t.wrong, l->wrong * (double)t.held + 100000,
	              "%s %s: %.1f of %.1f ms blamed on the wrong thread", py->program, l->kind,
	              (double)t.wrong / 1e6, (double)t.held / 1e6);
	cr_assert_leq((double)t.none, 0.1 * (double)t.held + 100000,
	              "%s %s: %.1f of %.1f ms blamed on nobody", py->program, l->kind,
	              (double)t.none / 1e6, (double)t.held / 1e6);
	uprobe_free(log);
}

/* Each kind on every other version, so that each version is seen with two kinds or three. */
static void check_kind(const char *kind, double wrong, size_t first)
{
	const struct limits l = {kind, wrong};
	struct uprobe_log *log = uprobe_new();
	struct python py[16];
	size_t n = pythons(py, 16), usable = 0;

	if (!log)
		cr_skip("this kernel offers no uprobes as perf events");
	uprobe_free(log);
	for (size_t i = 0; i < n; i++) {
		log = uprobe_new();
		if (py[i].library[0] && gil_truth_probe(log, py[i].library))
			py[usable++] = py[i];
		uprobe_free(log);
	}
	if (!usable)
		cr_skip("no Python here has the symbols take_gil and drop_gil");
	for (size_t i = usable > 1 ? first : 0; i < usable; i += 2)
		check_truth_of(&py[i], &l);
}

Test(gil, truth_cpu2)
{
	check_kind("cpu2", 0.005, 0);
}

Test(gil, truth_cpu4)
{
	check_kind("cpu4", 0.005, 1);
}

Test(gil, truth_mix)
{
	check_kind("mix", 0.005, 0);
}

Test(gil, truth_hash)
{
	check_kind("hash4", 0.05, 1);
}

Test(gil, truth_queue)
{
	check_kind("queue", 0.05, 0);
}
