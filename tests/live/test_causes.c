/* SPDX-License-Identifier: MIT */
/*
 * Programs that are kept from being parallel by one planted thing, which they measure
 * themselves: it is the top cause, with that share. On a machine that others use as well,
 * tasks also wait for CPUs: that is told as well, and left aside here.
 */
#include "live.h"

#include <string.h>
#include <unistd.h>

LIVE_SUITE(causes);

static const char *const own_user[] = {"--user", "root", NULL};

/* --- sums --- */

static void check_sums(json_t *report)
{
	uint64_t wall = u64_at(report, "workload.wall_ns"), sum = 0, at_ns = 0;
	json_t *row;
	size_t i;

	json_array_foreach(at(report, "serialization.breakdown"), i, row) sum += u64_at(row, "ns");
	cr_expect_eq(sum, u64_at(report, "serialization.capacity_ns"), "breakdown = capacity");
	sum = 0;
	json_array_foreach(at(report, "parallelism.histogram_ns"), i, row) sum +=
	        (uint64_t)json_integer_value(row);
	cr_expect_eq(sum, wall, "histogram = wall");
	json_array_foreach(at(report, "critical_path"), i, row)
	{
		if (!i)
			at_ns = u64_at(row, "start_ns");
		cr_assert_eq(u64_at(row, "start_ns"), at_ns, "the path has no gap");
		at_ns = u64_at(row, "end_ns");
	}
	cr_expect_eq(at_ns - u64_at(report, "critical_path[0].start_ns"), wall, "path = wall");
}

/* --- what is planted is found --- */

static bool is_aside(const char *cause)
{
	return !strcmp(cause, "work") || !strcmp(cause, "cpu-shortage") ||
	       !strcmp(cause, "no-task");
}

static json_t *top_cause(json_t *report)
{
	json_t *row;
	size_t i;

	json_array_foreach(at(report, "serialization.breakdown"), i,
	                   row) if (!is_aside(str_at(row, "cause"))) return row;
	return NULL;
}

static uint64_t of_cause(json_t *report, const char *cause)
{
	uint64_t ns = 0;
	json_t *row;
	size_t i;

	json_array_foreach(at(report, "serialization.breakdown"), i,
	                   row) if (!strcmp(str_at(row, "cause"), cause)) ns += u64_at(row, "ns");
	return ns;
}

/* For messages. */
static const char *account(json_t *report)
{
	const char *text = "";
	json_t *row;
	size_t i;

	json_array_foreach(at(report, "serialization.breakdown"), i,
	                   row) if (u64_at(row, "ns") > MS) text =
	        fmt("%s %s %.1f ms", text, str_at(row, "cause"), (double)u64_at(row, "ns") / MS);
	return fmt("%s; wall %.1f ms", text, (double)u64_at(report, "workload.wall_ns") / MS);
}

static double of_two_cpus(json_t *report, uint64_t ns)
{
	return (double)ns / (2 * (double)u64_at(report, "workload.wall_ns"));
}

/* As much as the starting thread, which only waits for the others, was itself ready and got no CPU:
 * what the others' waits left idle is then charged to that. */
static double starved_main(json_t *report)
{
	json_t *tasks = at(report, "tasks");

	for (size_t i = 0; i < json_array_size(tasks); i++) {
		json_t *task = json_array_get(tasks, i);

		if (u64_at(task, "tid") == u64_at(task, "pid"))
			return of_two_cpus(report, u64_at(task, "runnable_ns"));
	}
	return 0;
}

/* Nobody is planned to want for a CPU here: what says so is other programs' doing, and takes as
 * much from the rest. Who has left a lock's queue and waits for a CPU waits for the lock again when
 * somebody else takes it meanwhile: up to that late, the cause has more. */
static bool is_near(json_t *report, json_t *truth, double got, double want)
{
	double late = of_two_cpus(report, u64_at(truth, "late_ns"));
	double starved = of_two_cpus(report, of_cause(report, "cpu-shortage")),
	       by_main = starved_main(report);

	return got > want - 0.03 - (starved > by_main ? starved : by_main) &&
	       got < want + late + 0.03;
}

static struct recording plant(const char *cause, const char *option, const char *value)
{
	const struct proc_opts patient = {.timeout_s = 200};
	const char *program = workload("planted");
	struct recording r = record_with(own_user,
	                                 ARGS(program, "--cause", cause, "--ms", "1000",
	                                      option ? option : "--serial", value ? value : "100"),
	                                 &patient);

	cr_expect_eq(r.p.status, 0);
	check_sums(r.json);
	return r;
}

static struct planted {
	const char *plant, *option, *value;
	const char *cause, *name; /* expected; name NULL: any */
	bool by_task;             /* the row's id is the truth's tid */
} table[] = {
        {"mutex", "--serial", "100", "lock", "a_lock", false},
        {"mutex", "--serial", "60", "lock", "a_lock", false},
        {"hot", NULL, NULL, "lock", "a_lock", false},
        {"pshared", NULL, NULL, "lock", NULL, false},
        {"producer", NULL, NULL, "serial-section", NULL, true},
        {"pipe", NULL, NULL, "serial-section", NULL, true},
        {"barrier", NULL, NULL, "serial-section", NULL, true},
        {"rwlock", NULL, NULL, "lock", "rw_lock", false},
        {"join", NULL, NULL, "lock", "a_lock", false},
        {"io", NULL, NULL, "io", NULL, false},
        {"sleep", NULL, NULL, "sleep", NULL, false},
};

Test(causes, planted_ones_are_found)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		const struct planted *p = &table[i];
		struct recording r = plant(p->plant, p->option, p->value);
		json_t *truth = truth_line(r.truth, "planted", NULL, 0), *top = top_cause(r.json);
		double want = of_two_cpus(r.json, u64_at(truth, "wait_ns")), got;

		cr_assert(truth && top, "%s", p->plant);
		/* A machine that has next to no CPU for it tells of little else. */
		if (want < 0.1 && strcmp(str_at(top, "cause"), p->cause)) {
			got = of_two_cpus(r.json, of_cause(r.json, p->cause));
			cr_expect(is_near(r.json, truth, got, want), "%s: %.1f %%; %s", p->plant,
			          100 * got, account(r.json));
			continue;
		}
		got = of_two_cpus(r.json, u64_at(top, "ns"));
		cr_expect_str_eq(str_at(top, "cause"), p->cause, "%s: %s", p->plant,
		                 str_at(r.json, "serialization.headline"));
		cr_expect(is_near(r.json, truth, got, want), "%s: %.1f %%, truth %.1f %%; %s",
		          p->plant, 100 * got, 100 * want, account(r.json));
		if (p->name)
			cr_expect_str_eq(str_at(top, "name"), p->name, "%s", p->plant);
		if (p->by_task)
			cr_expect_eq(u64_at(top, "id"), u64_at(truth, "tid"), "%s", p->plant);
	}
}

Test(causes, starved_of_cpus)
{
	struct recording r = plant("starve", NULL, NULL);
	json_t *truth = truth_line(r.truth, "planted", NULL, 0);
	double want = of_two_cpus(r.json, u64_at(truth, "wait_ns"));
	double got = of_two_cpus(r.json, of_cause(r.json, "cpu-shortage"));
	/* What other programs took of the CPU that is not planted, it was starved of as well. */
	double others = of_two_cpus(r.json, u64_at(r.json, "others_cpu_ns"));

	cr_expect(got > want - 0.03 && got < want + 0.06 + others,
	          "%.1f %%, truth %.1f %%, others %.1f %%", 100 * got, 100 * want, 100 * others);
	cr_expect_str_eq(str_at(r.json, "serialization.verdict"), "cpu-starved");
}

/* --- where nothing is planted nothing is found --- */

Test(causes, nothing_is_claimed_without_cause)
{
	static const char *const clean[] = {"parallel", "one", "daemon"};

	for (size_t i = 0; i < 3; i++) {
		struct recording r = plant(clean[i], NULL, NULL);
		const char *verdict = str_at(r.json, "serialization.verdict");
		uint64_t held = of_cause(r.json, "lock") + of_cause(r.json, "gil") +
		                of_cause(r.json, "serial-section") + of_cause(r.json, "channel") +
		                of_cause(r.json, "child");

		cr_expect_lt(of_two_cpus(r.json, held), 0.03, "%s: %s", clean[i],
		             str_at(r.json, "serialization.headline"));
		cr_expect(strcmp(verdict, "serialized") && strcmp(verdict, "imbalanced"), "%s: %s",
		          clean[i], verdict);
		cr_expect_eq(json_array_size(at(r.json, "deadlocks")), 0);
	}
}

/* --- deadlocks --- */

static void expect_cycle(json_t *report, const char *what)
{
	json_t *one, *two;

	cr_assert_eq(json_array_size(at(report, "deadlocks")), 1, "%s", what);
	cr_assert_eq(json_array_size(at(report, "deadlocks[0].tasks")), 2, "%s", what);
	one = at(report, "deadlocks[0].tasks[0]");
	two = at(report, "deadlocks[0].tasks[1]");
	cr_expect_neq(u64_at(one, "tid"), u64_at(two, "tid"));
	cr_expect_eq(u64_at(one, "holds"), u64_at(two, "waits_for"), "%s", what);
	cr_expect_eq(u64_at(two, "holds"), u64_at(one, "waits_for"), "%s", what);
}

Test(causes, deadlocks_are_named)
{
	static const char *const kinds[] = {"deadlock", "pdeadlock", "fdeadlock"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct recording r =
		        record(ARGS("--user", "root", "-d", "1"),
		               ARGS(workload("planted"), "--cause", kinds[i], "--life", "5"));

		expect_cycle(r.json, kinds[i]);
		cr_expect(strstr(str_at(r.json, "serialization.headline"), "DEADLOCK"));
		check_sums(r.json);
	}
}

/* Of a program that hangs already. */
Test(causes, snapshot_shows_a_deadlock)
{
	static const char *const kinds[] = {"deadlock", "pdeadlock", "fdeadlock"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct proc victim, shot;
		const char *json = fmt("%s/%s.json", live_dir, kinds[i]);

		proc_start(&victim, ARGS(workload("planted"), "--cause", kinds[i], "--life", "40"),
		           NULL);
		sleep_s(0.5);
		shot = run(
		        ARGS(mpvtrace(), "snapshot", "-p", fmt("%d", victim.pid), "--json", json));
		kill(-victim.pid, SIGKILL);
		proc_wait(&victim);
		cr_assert_eq(shot.status, 0, "%s", shot.err);
		cr_expect(strstr(shot.out, "DEADLOCK of 2 tasks"), "%s: %s", kinds[i], shot.out);
		if (!strcmp(kinds[i], "deadlock"))
			cr_expect(strstr(shot.out, "holds a_lock") &&
			                  strstr(shot.out, "holds b_lock"),
			          "%s", shot.out);
		if (!strcmp(kinds[i], "deadlock")) /* both processes only when both are named */
			expect_cycle(load_json(json), kinds[i]);
	}
}

/* --- OpenMP --- */

/* The same program with threads that spin at its barriers, and with threads that sleep there. */
static struct recording openmp(const char *policy)
{
	const char *const env[] = {policy, NULL};
	const struct proc_opts o = {.env = env};

	return record_with(ARGS("--user", "root", "-F", "499"), ARGS(workload("openmp")), &o);
}

Test(causes, spinning_at_a_barrier)
{
	struct recording r = openmp("OMP_WAIT_POLICY=active");
	uint64_t run_ns = 0, computed;
	double want, is;
	json_t *task;
	size_t i;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	json_array_foreach(at(r.json, "tasks"), i, task) run_ns += u64_at(task, "run_ns");
	computed = u64_at(truth_line(r.truth, "computed", NULL, 0), "ns");
	want = 1 - (double)computed / (double)run_ns;
	is = (double)u64_at(r.json, "serialization.spinning_samples") /
	     (double)u64_at(r.json, "serialization.samples");
	cr_expect(is > want - 0.12 && is < want + 0.12, "%.3f of the samples spin, truly %.3f", is,
	          want);
	if (want > 0.25)
		cr_expect(strstr(r.p.out, "of the CPU time is "), "%s", r.p.out);
	/* Where other programs take the CPUs that may well be the worse. */
	if (want > 0.25 && real_at(r.json, "parallelism.average") > 1.8)
		/* The latter where OpenMP's library is without names. */
		cr_expect(!strcmp(str_at(r.json, "serialization.verdict"), "imbalanced") ||
		                  !strcmp(str_at(r.json, "serialization.verdict"), "serialized"),
		          "%s", r.p.out);
}

Test(causes, sleeping_at_a_barrier)
{
	struct recording r = openmp("OMP_WAIT_POLICY=passive");
	uint64_t waits = 0;
	json_t *lock;
	size_t i;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	json_array_foreach(at(r.json, "locks"), i, lock)
	{
		cr_expect_str_neq(str_at(lock, "kind"), "futex", "%s", str_at(lock, "name"));
		if (!strcmp(str_at(lock, "kind"), "barrier"))
			waits += u64_at(lock, "waits");
	}
	cr_expect_geq(waits, 10, "two barriers in each of ten rounds: %d waits", (int)waits);
	cr_expect(!strstr(r.p.out, "of the CPU time is "), "%s", r.p.out);
}
