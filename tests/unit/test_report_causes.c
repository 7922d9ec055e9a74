/* SPDX-License-Identifier: MIT */
/*
 * The part of the report that speaks of causes, from results filled in by hand: what the
 * renderers make of them, whoever found them. Three widths and plain ASCII, word for word.
 */
#include <ctype.h>
#include <errno.h>

#include "report_test.h"
#include "report_causes_golden.h"

#define AT(ms) (TB_EPOCH + (ms)*MS)

static struct lock *add_lock(struct report *r, enum lock_kind kind, const char *name,
                             uint64_t waits, uint64_t wait_ns)
{
	struct lock l = {
	        .id = (uint32_t)r->w->locks.n + 1,
	        .kind = (uint8_t)kind,
	        .addr = 0x1000 * (r->w->locks.n + 1),
	        .waits = waits,
	        .wait_ns = wait_ns,
	        .max_ns = waits ? 2 * wait_ns / waits : 0,
	        .p99_ns = waits ? 3 * wait_ns / waits / 2 : 0,
	        .p50_ns = waits ? wait_ns / waits : 0,
	        .held_ns = wait_ns,
	        .name_from = "symbol",
	};

	snprintf(l.name, sizeof(l.name), "%s", name);
	cr_assert(!vec_push(&r->w->locks, l));
	return &r->w->locks.v[r->w->locks.n - 1];
}

#define ADD(vec, ...) cr_assert(!vec_push(vec, ((__VA_ARGS__))))

static void fill_locks(struct report *r, uint32_t stack)
{
	struct lock *l = add_lock(r, LOCK_GIL, "GIL (pid 1001)", 1204, 110 * MS);
	struct channel c = {.id = 1,
	                    .kind = FD_PIPE,
	                    .what = "pipe",
	                    .name = "pipe app | worker",
	                    .waits = 3,
	                    .wait_ns = 9 * MS,
	                    .max_ns = 4 * MS,
	                    .read_wait_ns = 9 * MS};

	for (uint32_t id = 2; id <= 5; id++) {
		struct lock_task w = {.task = id, .waits = 301, .wait_ns = 110 * MS / 4};

		ADD(&l->waiters, w);
		w.wait_ns = (id == 2 ? 50 : 20) * MS;
		w.evidence = EVIDENCE_HOLDER;
		ADD(&l->blockers, w);
	}
	ADD(&l->sites, (struct lock_site){.ustack = stack, .waits = 1204, .wait_ns = 110 * MS});
	l = add_lock(r, LOCK_MUTEX, "results.mutex", 311, 12 * MS);
	ADD(&l->waiters, (struct lock_task){.task = 3, .waits = 311, .wait_ns = 12 * MS});
	ADD(&l->blockers,
	    (struct lock_task){
	            .task = 4, .waits = 311, .wait_ns = 9 * MS, .evidence = EVIDENCE_OWNER});
	ADD(&l->blockers, (struct lock_task){.task = 0, .waits = 3, .wait_ns = 3 * MS});
	l = add_lock(r, LOCK_FUTEX, "tiny", 1, 1000);
	l->shared = true;
	ADD(&c.waiters, (struct lock_task){.task = 1, .waits = 3, .wait_ns = 9 * MS});
	ADD(&c.blockers,
	    (struct lock_task){
	            .task = 5, .waits = 3, .wait_ns = 9 * MS, .evidence = EVIDENCE_POSTER});
	ADD(&r->w->channels, c);
}

static void fill_account(struct report *r, uint32_t stack)
{
	/* 84 ms on 2 CPUs. */
	r->causes_known = true;
	r->capacity_ns = 168 * MS;
	ADD(&r->breakdown, (struct cause_row){.cause = CAUSE_WORK, .ns = 83 * MS});
	ADD(&r->breakdown, (struct cause_row){.cause = CAUSE_GIL,
	                                      .id = 1,
	                                      .name = "GIL (pid 1001)",
	                                      .ns = 70 * MS,
	                                      .uncertainty_ratio = 0.031,
	                                      .task = 2,
	                                      .ustack = stack});
	ADD(&r->breakdown, (struct cause_row){.cause = CAUSE_SERIAL,
	                                      .id = 1,
	                                      .name = "app",
	                                      .ns = 12 * MS,
	                                      .task = 1,
	                                      .ustack = stack});
	ADD(&r->breakdown, (struct cause_row){.cause = CAUSE_CPU_SHORTAGE, .ns = 2500 * US});
	ADD(&r->breakdown, (struct cause_row){.cause = CAUSE_SLEEP, .ns = 400 * US});
	ADD(&r->breakdown, (struct cause_row){.cause = CAUSE_UNATTRIBUTED, .ns = 100 * US});
	ADD(&r->lock_idle_ns, 70 * MS);
	ADD(&r->lock_idle_ns, 0);
	ADD(&r->lock_idle_ns, 0);
	ADD(&r->channel_idle_ns, 0);
	for (uint32_t id = 1; id <= 5; id++)
		ADD(&r->shares,
		    (struct share_row){.task = id, .height_ns = id * MS, .critical_ns = MS});
	ADD(&r->proc_shares,
	    (struct share_row){.task = 1, .height_ns = 15 * MS, .critical_ns = 5 * MS});
	ADD(&r->serial, (struct serial_row){.task = 1, .ns = 6 * MS, .count = 2, .ustack = stack});
	r->verdict = VERDICT_SERIALIZED;
	snprintf(r->headline, sizeof(r->headline),
	         "SERIALIZED by the GIL (pid 1001): 0.99 of 2 CPUs did the work.");
	snprintf(r->next_step, sizeof(r->next_step),
	         "what worker-0 does while it holds GIL (pid 1001): most often lock_wait");
	ADD(&r->what_if, (struct what_if_row){.change = "Without the GIL",
	                                      .cause = CAUSE_GIL,
	                                      .id = 1,
	                                      .speedup = 1.9,
	                                      .low = 1.8,
	                                      .high = 2.0,
	                                      .wall_ns = 44 * MS,
	                                      .wall_low_ns = 40 * MS,
	                                      .wall_high_ns = 50 * MS,
	                                      .processes = 4,
	                                      .memory_bytes = 9 << 20,
	                                      .spawn_ns = 45 * MS});
}

static void fill_path(struct report *r, uint32_t stack, bool long_path)
{
	struct gil_row g = {.gil = 1,
	                    .proc = 1,
	                    .time = {.hold_ns = 80 * MS},
	                    .wait_ns = 110 * MS,
	                    .switches = 1204};
	struct watch_row w = {
	        .task = 1, .waits = 12, .p50_ns = 50 * US, .p99_ns = 4 * MS, .max_ns = 5 * MS};

	ADD(&r->path, (struct path_row){AT(0), AT(2), 1, 'R', CAUSE_WORK, 0, 0, stack, 0});
	for (unsigned i = 0; i < (long_path ? 20 : 1); i++) {
		uint64_t at = 2 + i * 4;

		ADD(&r->path, (struct path_row){AT(at), AT(at + 3), 2 + i % 4, 'R', CAUSE_WORK, 0,
		                                0, stack, 0});
		ADD(&r->path, (struct path_row){AT(at + 3), AT(at + 4), 2 + i % 4, 'B', CAUSE_GIL,
		                                1, 0, 0, 0});
	}
	ADD(&r->path, (struct path_row){AT(long_path ? 82 : 6), AT(83), 1, 'Q', CAUSE_CPU_SHORTAGE,
	                                0, 0, 0, 0});
	ADD(&r->path, (struct path_row){AT(83), AT(84), 1, 'R', CAUSE_WORK, 0, 0, 0, 0});
	for (uint32_t id = 2; id <= 5; id++)
		ADD(&g.tasks, (struct gil_task){.task = id,
		                                .time = {.hold_ns = 20 * MS},
		                                .wait_ns = 110 * MS / 4,
		                                .waits = 301});
	ADD(&r->gils, g);
	ADD(&w.by, (struct watch_by){.task = 2, .cause = CAUSE_GIL, .ns = 4 * MS});
	r->opts.watch = "main";
	ADD(&r->watch, w);
}

/* What analyses found is taken away, and the rest filled in by hand. */
static void fill(struct report *r, const struct model *m, bool long_path)
{
	uint32_t stack = 0;
	struct err err = {0};

	cr_assert_eq(report_build(r, m, &err), 0, "%s", err.msg);
	waits_free(r->w);
	r->w = waits_build(m, &err);
	cr_assert(r->w, "%s", err.msg);
	for (size_t i = 0; i < r->w->locks.n; i++) {
		vec_release(&r->w->locks.v[i].waiters);
		vec_release(&r->w->locks.v[i].blockers);
		vec_release(&r->w->locks.v[i].sites);
	}
	r->w->locks.n = r->w->channels.n = 0;
	r->breakdown.n = r->shares.n = r->proc_shares.n = r->serial.n = r->path.n = 0;
	r->lock_idle_ns.n = r->channel_idle_ns.n = 0;
	r->what_if.n = r->gils.n = r->watch.n = r->deadlocks.n = 0;
	for (size_t i = 0; i < model_n_tasks(m) && !stack; i++) {
		const struct task *t = model_task_at(m, i);

		for (size_t k = 0; k < t->slices.n && !stack; k++)
			stack = t->slices.v[k].ustack;
	}
	cr_assert(stack, "a stack is there");
	fill_locks(r, stack);
	fill_account(r, stack);
	fill_path(r, stack, long_path);
}

static char *print(const struct report *r, struct report_opts *o)
{
	struct err err = {0};
	char *text = NULL, *copy;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(report_text(r, o, out, &err), 0, "%s", err.msg);
	fclose(out);
	copy = strdup(text);
	cr_assert(copy);
	free(text);
	expect_fits(copy, o->width);
	return copy;
}

/* From the verdict up to the tasks: what this file is about. */
static char *middle(char *text)
{
	char *begin = strstr(text, "\n\n"), *end = strstr(text, "\ntime of tasks");

	cr_assert(begin && end, "%s", text);
	*end = '\0';
	return begin + 2;
}

Test(report_causes, golden_text)
{
	static const struct {
		unsigned width;
		bool ascii;
		const char *name, *want;
	} pages[] = {{80, false, "CAUSES_80", CAUSES_80},
	             {100, false, "CAUSES_100", CAUSES_100},
	             {200, false, "CAUSES_200", CAUSES_200},
	             {100, true, "CAUSES_ASCII", CAUSES_ASCII}};
	struct model *m = with_slices(workers());
	struct report r = {0};

	fill(&r, m, false);
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		struct report_opts o = {.width = pages[i].width, .ascii = pages[i].ascii};
		char *text = print(&r, &o), *part = middle(text);

		leave_golden(pages[i].name, part);
		cr_expect_str_eq(part, pages[i].want, "at %u columns:\n%s", pages[i].width, text);
		free(text);
	}
	report_release(&r);
	model_free(m);
}

/* What kept CPUs idle comes before what was only waited for, however long; so little idle time that
 * it may be an error does not. */
Test(report_causes, what_costs_comes_first)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct report r = {0};
	const char *mutex, *gil, *pool;
	char *text;

	fill(&r, m, false);
	r.lock_idle_ns.v[0] = MS / 2; /* the GIL */
	r.lock_idle_ns.v[1] = 50 * MS;
	add_lock(&r, LOCK_COND, "pool", 8, 5000 * MS);
	ADD(&r.lock_idle_ns, 0);
	text = print(&r, &o);
	mutex = strstr(text, "\nresults.mutex");
	pool = strstr(text, "\npool");
	gil = strstr(pool ? pool : text, "\nGIL (pid 1001)");
	cr_expect(mutex && pool && gil && mutex < pool && pool < gil, "%s", text);
	cr_expect(mutex && strstr(mutex, "29.8 %"), "of the capacity of 168 ms:\n%s", text);
	free(text);
	/* What the order is by stays on a narrow page. */
	o.width = 72;
	text = print(&r, &o);
	mutex = strstr(text, "\nresults.mutex");
	cr_expect(mutex && !strncmp(mutex + strcspn(mutex, "%") - 5, "29.8 %", 6), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Locks of one place are one row, of the kind of the one that was waited for most. */
Test(report_causes, kind_of_many_locks)
{
	static const char *const kinds[] = {"thread start", "event", "thread start"};
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 200};
	struct report r = {0};
	char *text, *row;

	fill(&r, m, false);
	for (unsigned i = 0; i < 3; i++) {
		struct lock *l = add_lock(&r, LOCK_SEMAPHORE, "waited for in main (app.py:8)", 1,
		                          (i == 1 ? 50 : 2) * MS);

		l->name_from = "site";
		l->py = true;
		l->py_kind = kinds[i];
		ADD(&r.lock_idle_ns, 0);
	}
	text = print(&r, &o);
	row = strstr(text, "\nin main (app.py:8) (3)");
	cr_assert(row, "%s", text);
	cr_expect(!strncmp(row + 1 + strcspn(row + 1, "P"), "Python event ", 13), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Pipes of a start script, which was over when the program began, are not listed. */
Test(report_causes, channels_of_the_launcher)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 120};
	struct report r = {0};
	char *text;

	fill(&r, m, false);
	text = print(&r, &o);
	cr_expect(strstr(text, "\npipe app | worker "), "%s", text);
	free(text);
	r.launcher_procs = 1;
	r.launcher_ns = UINT32_MAX;
	text = print(&r, &o);
	cr_expect(!strstr(text, "\npipe app | worker "), "%s", text);
	cr_expect(strstr(text, "\nchannels         1, of its launcher only · 9 ms of waiting\n"),
	          "%s", text);
	free(text);
	r.launcher_ns = 1; /* its other end lives on */
	text = print(&r, &o);
	cr_expect(strstr(text, "\npipe app | worker "), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Holders of one name are told apart where one has more than its part. */
Test(report_causes, holders_that_stand_out)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 140};
	struct report r = {0};
	struct lock *l;
	char *text;

	fill(&r, m, false);
	l = add_lock(&r, LOCK_MUTEX, "even", 90, 90 * MS);
	for (uint32_t id = 2; id <= 4; id++)
		ADD(&l->blockers, (struct lock_task){.task = id, .waits = 30, .wait_ns = 30 * MS});
	ADD(&r.lock_idle_ns, 100 * MS);
	text = print(&r, &o);
	cr_expect(strstr(text, "worker-0 … -2 (3)"), "%s", text);
	free(text);
	l = &r.w->locks.v[r.w->locks.n - 1];
	l->blockers.v[0].wait_ns = 50 * MS;
	l->blockers.v[1].wait_ns = 20 * MS;
	l->blockers.v[2].wait_ns = 20 * MS;
	text = print(&r, &o);
	cr_expect(strstr(text, "worker-0 55.6 %, "), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* What is told to be the cause has the prediction; that of another which takes less than half of
 * that is none. */
Test(report_causes, prediction_of_what_the_headline_names)
{
	const struct cause_row lock = {.cause = CAUSE_LOCK, .id = 3, .ns = 150 * MS};
	struct what_if_row without = {.change = "Without the mutex",
	                              .cause = CAUSE_LOCK,
	                              .id = 3,
	                              .speedup = 1.5,
	                              .wall_ns = 56 * MS,
	                              .wall_low_ns = 50 * MS,
	                              .wall_high_ns = 60 * MS};
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct report r = {0};
	char *text;

	fill(&r, m, false); /* GIL 70 ms */
	r.verdict_row = lock;
	text = print(&r, &o);
	cr_expect(!strstr(text, "Without the "), "%s", text);
	free(text);
	/* Nobody can be without sleep; but what slept may have held a lock. */
	r.verdict_row.cause = CAUSE_SLEEP;
	text = print(&r, &o);
	cr_expect(strstr(text, "Without the GIL"), "%s", text);
	free(text);
	r.what_if.v[0].wall_high_ns = r.wall_ns;
	text = print(&r, &o);
	cr_expect(!strstr(text, "Without the "), "%s", text);
	free(text);
	r.what_if.v[0].wall_high_ns = 50 * MS;
	r.verdict_row = lock;
	r.verdict_row.ns = 140 * MS;
	text = print(&r, &o);
	cr_expect(strstr(text, "Without the GIL"), "%s", text);
	free(text);
	ADD(&r.what_if, without);
	text = print(&r, &o);
	cr_expect(strstr(text, "Without the mutex") && !strstr(text, "Without the GIL"), "%s",
	          text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Where the headline names a GIL without which the run would take as long, that is said. */
Test(report_causes, prediction_of_no_gain)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 200};
	struct report r = {0};
	char *text;

	fill(&r, m, false);
	r.verdict_row = (struct cause_row){.cause = CAUSE_GIL, .id = 1, .ns = 70 * MS};
	r.what_if.v[0].speedup = 1.04;
	r.what_if.v[0].wall_ns = 80 * MS;
	r.what_if.v[0].wall_high_ns = 90 * MS;
	r.what_if.v[0].free_ns = 78 * MS;
	r.replay_ns = 80 * MS;
	text = print(&r, &o);
	cr_expect(strstr(text, "Without the GIL, the same work would take about as long: 80 ms "
	                       "(40 ms to 90 ms)."),
	          "%s", text);
	cr_expect(!strstr(text, "instead of threads"), "%s", text);
	free(text);
	r.what_if.v[0].speedup = 0.9;
	text = print(&r, &o);
	cr_expect(strstr(text, "Without the GIL, the same work would take longer: 80 ms"), "%s",
	          text);
	free(text);
	r.what_if.v[0].free_ns = 50 * MS;
	text = print(&r, &o);
	cr_expect(strstr(text,
	                 "about 80 ms (40 ms to 90 ms) on CPUs that other programs use as well, "
	                 "and about 50 ms on free ones."),
	          "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Nothing but more CPUs helps who has one, or less by a quota, and uses it up. */
Test(report_causes, prediction_of_more_cpus)
{
	struct what_if_row more = {.change = "With one more CPU",
	                           .cause = CAUSE_WORK,
	                           .speedup = 1.5,
	                           .wall_ns = 56 * MS,
	                           .wall_low_ns = 50 * MS,
	                           .wall_high_ns = 60 * MS};
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct report r = {0};
	char *text;

	fill(&r, m, false);
	ADD(&r.what_if, more);
	more.change[0] = '\0';
	more.speedup = 1.9;
	ADD(&r.what_if, more);
	text = print(&r, &o);
	cr_expect(!strstr(text, "With one more CPU"), "%s", text);
	free(text);
	r.verdict = VERDICT_CPU_BOUND;
	r.cpus = 0.5;
	text = print(&r, &o);
	cr_expect(strstr(text, "With one more CPU, the same work would take about 56 ms (50 ms to "
	                       "60 ms): 1.5"),
	          "%s", text);
	free(text);
	r.what_if.v[1].speedup = r.what_if.v[2].speedup = 1.01;
	text = print(&r, &o);
	cr_expect(!strstr(text, "With one more CPU"), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* What most of the CPU time goes into is said first. */
Test(report_causes, much_pickling)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct report r = {0};
	char *text;

	fill(&r, m, false);
	ADD(&r.pickling, (struct pickle_row){.proc = 1, .samples = 100, .dumps = 10, .loads = 20});
	text = print(&r, &o);
	cr_expect(!strstr(text, "of Python's CPU time is pickling"), "%s", text);
	free(text);
	ADD(&r.pickling, (struct pickle_row){.proc = 2, .samples = 60, .dumps = 50});
	text = print(&r, &o);
	cr_expect(strstr(text, "50.0 % of Python's CPU time is pickling"), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* What is known of a GIL that hardly anybody waits for is a bound. */
Test(report_causes, gil_that_nobody_waits_for)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct report r = {0};
	char *text;

	fill(&r, m, false);
	text = print(&r, &o);
	cr_expect(strstr(text, " held ") && !strstr(text, "held at most "), "%s", text);
	free(text);
	r.gils.v[0].wait_ns = r.wall_ns / 100;
	text = print(&r, &o);
	cr_expect(strstr(text, "held at most "), "%s", text);
	free(text);
	/* Samples have looked. */
	r.gils.v[0].time.samples = 100;
	r.gils.v[0].time.doubt_ns = r.wall_ns / 20;
	text = print(&r, &o);
	cr_expect(strstr(text, " (± 5.0 %) of the run") && !strstr(text, "held at most "), "%s",
	          text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* What Python's CPU time allows threads to do is told where that is the question: first of all of
 * a program that computes alone; below its locks of others. */
Test(report_causes, threads_or_processes)
{
	static const struct {
		uint64_t with_ms, doubt_ms;
		const char *want;
	} cases[] = {{80, 0,
	              "Python had the GIL for 80 % of its CPU time, 100 ms: so threads can use"
	              " at most 1.2 CPUs at a time, processes any number."},
	             {99, 0, "so threads can use one CPU at a time, processes"},
	             {25, 6, "the GIL for 25 % (± 6 %) of its CPU time"},
	             {5, 0, "at most 20 CPUs at a time"},
	             {0, 0, "at most 100 CPUs at a time"}};
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 200};
	struct report r = {0};
	char *text, *line;

	fill(&r, m, false);
	r.gils.v[0].time.cpu_ns = 100 * MS;
	text = print(&r, &o);
	cr_expect(!strstr(text, "CPUs at a time"), "without samples: %s", text);
	free(text);
	r.gils.v[0].time.samples = 400;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		r.gils.v[0].time.cpu_hold_ns = cases[i].with_ms * MS;
		r.gils.v[0].time.doubt_ns = cases[i].doubt_ms * MS;
		text = print(&r, &o);
		line = strstr(text, cases[i].want);
		cr_expect(line && line > strstr(text, "where "), "%s: %s", cases[i].want, text);
		free(text);
	}
	r.gils.v[0].time.doubt_ns = 30 * MS;
	text = print(&r, &o);
	cr_expect(!strstr(text, "at a time"), "too few samples: %s", text);
	free(text);
	r.gils.v[0].time.doubt_ns = MS;
	r.verdict = VERDICT_CPU_BOUND;
	text = print(&r, &o);
	line = strstr(text, "Python had the GIL");
	cr_expect(line && line < strstr(text, "\nwhere ") && !strstr(line + 1, "Python had"), "%s",
	          text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Several GILs: of processes, or of interpreters in one. */
Test(report_causes, several_gils)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 300};
	struct report r = {0};
	struct gil_row other;
	char *text;

	fill(&r, m, false);
	r.gils.v[0].time =
	        (struct gil_time){.cpu_ns = 100 * MS, .cpu_hold_ns = 80 * MS, .samples = 400};
	other = (struct gil_row){.gil = 2, .proc = r.gils.v[0].proc, .time = r.gils.v[0].time};
	ADD(&r.gils, other);
	text = print(&r, &o);
	cr_expect(strstr(text, "Python's interpreters had their GILs for 80 % of their CPU time, "
	                       "200 ms: as threads of one interpreter they could use at most"),
	          "%s", text);
	free(text);
	r.gils.v[1].proc++;
	text = print(&r, &o);
	cr_expect(strstr(text, "Python's processes had their GILs for 80 % of their CPU time, "
	                       "200 ms: as threads of one process they could use at most"),
	          "%s", text);
	free(text);
	r.gils.v[0].others = true;
	text = print(&r, &o);
	cr_expect(!strstr(text, "CPUs at a time"), "another GIL that is not known: %s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Of a workload that got no CPUs the report says who had them, if that is known. */
Test(report_causes, other_programs_cpus)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct report r = {0};
	char *text;

	fill(&r, m, false);
	r.others_ns = r.wall_ns / 4;
	text = print(&r, &o);
	cr_expect(!strstr(text, "Other programs"), "%s", text);
	free(text);
	r.verdict = VERDICT_CPU_STARVED;
	text = print(&r, &o);
	cr_expect(strstr(text, "Other programs used 0.25 CPUs meanwhile."), "%s", text);
	free(text);
	r.recorder_ns = r.wall_ns / 2;
	text = print(&r, &o);
	cr_expect(strstr(text, "Other programs used 0.25 CPUs meanwhile, mpvtrace 0.50."), "%s",
	          text);
	free(text);
	r.others_ns = WHAT_IF_UNKNOWN;
	text = print(&r, &o);
	cr_expect(!strstr(text, "Other programs"), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

Test(report_causes, the_hypervisor_is_told_apart)
{
	struct report_opts o = {.width = 100};
	struct report r = {0};
	struct err err = {0};
	struct tb *tb = tb_new();
	struct model *m;
	char *text;

	tb_meta(tb, META_CPUS, "1");
	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 100 * MS);
	tb_steal(tb, 1, 30 * MS);
	tb_exit(tb, 1, 0);
	m = with_slices(tb);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	cr_assert_eq(r.verdict, VERDICT_CPU_STARVED);
	r.others_ns = 5 * MS;
	text = print(&r, &o);
	cr_expect(strstr(text, "Other programs used 0.05 CPUs meanwhile; the hypervisor and "
	                       "interrupts took 0.30.\n"),
	          "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Addresses without names are not told apart: the task is one line with all of its time. */
Test(report_causes, alone_in_code_without_names)
{
	struct tb *tb = tb_new();
	struct report_opts o = {.width = 100};
	struct report r = {0};
	struct model *m;
	uint32_t stacks[3];
	char *text, *line;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, 0x400000, 0x500000, 0, "/usr/bin/app");
	tb_map(tb, 1, 0x600000, 0x700000, 0, "/usr/lib/libother.so");
	for (size_t i = 0; i < ARRAY_LEN(stacks); i++) {
		uint64_t frame = i < 2 ? 0x400100 + 16 * i : 0x600100;

		stacks[i] = tb_stack(tb, STACK_USER, 1, &frame, 1);
		tb_run(tb, 1, 10 * MS * i, 10 * MS * i + MS);
		tb_stacks(tb, 1, stacks[i], 0);
		tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 10 * MS * (i + 1), 0);
	}
	tb_run(tb, 1, 30 * MS, 31 * MS);
	tb_exit(tb, 1, 0);
	m = with_slices(tb);
	cr_assert_eq(report_build(&r, m, &(struct err){0}), 0);
	r.serial.n = 0;
	for (size_t i = 0; i < ARRAY_LEN(stacks); i++)
		ADD(&r.serial,
		    (struct serial_row){
		            .task = 1, .ns = (4 - i) * MS, .count = 5, .ustack = stacks[i]});
	text = print(&r, &o);
	line = strstr(text, "alone, awaited");
	cr_assert(line, "%s", text);
	cr_expect(strstr(line, "app 22.6 % of the run (7 ms) in 10 stretches"), "%s", line);
	cr_expect(strstr(line, "at [app+0x100], among others"), "%s", line);
	cr_expect(strstr(line, "at [libother.so+0x100]\n"), "%s", line);
	free(text);
	report_release(&r);
	model_free(m);
}

/* Like tasks that were alone at one place are one line; unless one of them was for most of it. */
Test(report_causes, alone_one_at_a_time)
{
	static const uint64_t cases[2][3] = {{9 * MS, 8 * MS, 7 * MS}, {20 * MS, 3 * MS, 3 * MS}};
	struct report_opts o = {.width = 120};

	for (size_t i = 0; i < 2; i++) {
		struct tb *tb = workers();
		uint64_t frame = 0x400100;
		uint32_t stack;
		struct report r = {0};
		struct model *m;
		char *text, *line;

		tb_map(tb, 1, 0x400000, 0x500000, 0, "/usr/bin/app");
		stack = tb_stack(tb, STACK_USER, 1, &frame, 1);
		tb_rename(tb, 3, 1, "worker-0");
		tb_rename(tb, 4, 1, "worker-0");
		m = with_slices(tb);
		cr_assert_eq(report_build(&r, m, &(struct err){0}), 0);
		r.serial.n = 0;
		for (uint32_t k = 0; k < 3; k++)
			ADD(&r.serial,
			    (struct serial_row){
			            .task = 2 + k, .ns = cases[i][k], .count = 5, .ustack = stack});
		text = print(&r, &o);
		line = strstr(text, "alone, awaited");
		cr_assert(line, "%s", text);
		if (i)
			cr_expect(strstr(line, "worker-0 1002 ") && strstr(line, "worker-0 (2, "),
			          "%s", line);
		else
			cr_expect(strstr(line, "worker-0 (3, one at a time) ") &&
			                  strstr(line, "(24 ms) in 15 stretches"),
			          "%s", line);
		free(text);
		report_release(&r);
		model_free(m);
	}
}

/* Two tasks that wait for each other come first of all; a thread that waits for itself is one. */
Test(report_causes, deadlocks)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct deadlock two = {0}, self = {0};
	struct report r = {0};
	char *text;

	fill(&r, m, false);
	ADD(&two.edges,
	    (struct deadlock_edge){.task = 2, .holds = 2, .waits_for = 3, .since_ns = AT(14)});
	ADD(&two.edges,
	    (struct deadlock_edge){
	            .task = 3, .holds = 3, .waits_for = 2, .ustack = r.serial.v[0].ustack});
	ADD(&self.edges, (struct deadlock_edge){.task = 99, .holds = 2, .waits_for = 2});
	ADD(&r.deadlocks, two);
	ADD(&r.deadlocks, self);
	text = print(&r, &o);
	cr_expect(strstr(text,
	                 "exit 3\n\n"
	                 "deadlock         worker-0 (1002) holds results.mutex, waits for tiny "
	                 "since 70 ms before the end\n"
	                 "                 worker-1 (1003) holds tiny, waits for results.mutex · "
	                 "at lock_wait ← work\n\n"
	                 "deadlock         unknown (0) holds results.mutex, waits for the same\n"
	                 "\nSERIALIZED"),
	          "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* A path of many steps is summed up: what ran on it, what it waited for. */
Test(report_causes, long_path)
{
	struct model *m = with_slices(workers());
	struct report_opts o = {.width = 100};
	struct report r = {0};
	char *text;

	fill(&r, m, true);
	text = print(&r, &o);
	cr_expect(strstr(text, "critical path    running 63 ms (75.0 %) · worker-0 17.9 % · "
	                       "worker-1 17.9 % "
	                       "· worker-2 17.9 %\n"
	                       "                 worker-3 17.9 % · app 3.6 %\n"
	                       "                 waiting 21 ms (25.0 %) · GIL (pid 1001) 23.8 % · "
	                       "no CPU free "
	                       "1.2 %\n"
	                       "                 most often at lock_wait ← work (73.8 %)\n"),
	          "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
}

/* A number does not end a line whose next one begins with its unit. */
static void expect_units(const char *text)
{
	for (const char *p = text; (p = strchr(p, '\n')); p++) {
		const char *next = p + 1 + strspn(p + 1, " ");

		if (p == text || !isdigit((unsigned char)p[-1]))
			continue;
		cr_expect(*next != '%' && strncmp(next, "ms", 2) != 0 &&
		                  strncmp(next, "CPU", 3) != 0,
		          "%s", text);
	}
}

Test(report_causes, every_width)
{
	struct model *m = with_slices(workers());
	struct report r = {0};

	fill(&r, m, true);
	for (unsigned width = 40; width < 220; width += 3) {
		struct report_opts o = {.width = width, .ascii = width % 2};
		char *text = print(&r, &o);

		expect_units(text);
		for (const char *p = text; *p && o.ascii; p++)
			cr_assert(!(*p & 0x80), "ASCII only at %u columns:\n%s", width, text);
		cr_assert(strstr(text, "over\n"), "the GIL's last line is whole:\n%s", text);
		free(text);
	}
	report_release(&r);
	model_free(m);
}

/* --- as data --------------------------------------------------------------------------------- */

static json_t *as_json(const struct report *r)
{
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	json_error_t why;
	json_t *doc;

	cr_assert_eq(report_json(r, NULL, out, &err), 0, "%s", err.msg);
	fclose(out);
	doc = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	cr_assert(doc, "%s at line %d", why.text, why.line);
	free(text);
	return doc;
}

static const char *str(json_t *doc, const char *path)
{
	const char *s = json_string_value(at(doc, path));

	cr_assert(s, "%s is a text", path);
	return s;
}

static uint64_t sum_of(json_t *array, const char *key)
{
	uint64_t sum = 0;
	json_t *v;
	size_t i;

	json_array_foreach(array, i, v) sum += num(v, key);
	return sum;
}

static void expect_locks(json_t *doc)
{
	json_t *gil = json_array_get(at(doc, "locks"), 0),
	       *c = json_array_get(at(doc, "channels"), 0);
	json_t *holder = json_array_get(at(gil, "blockers"), 0);

	cr_expect_eq(json_array_size(at(doc, "locks")), 3);
	cr_expect_str_eq(str(gil, "kind"), "gil");
	cr_expect_str_eq(str(gil, "name"), "GIL (pid 1001)");
	cr_expect_str_eq(str(gil, "scope"), "private");
	cr_expect_eq(num(gil, "waits"), 1204);
	cr_expect_eq(num(gil, "wait_ns"), 110 * MS);
	cr_expect_eq(sum_of(at(gil, "waiters"), "wait_ns"), 110 * MS);
	cr_expect_eq(sum_of(at(gil, "blockers"), "wait_ns"), 110 * MS);
	cr_expect_eq(num(holder, "tid"), 1002);
	cr_expect_str_eq(str(holder, "evidence"), "holder");
	cr_expect_eq(json_array_size(at(json_array_get(at(gil, "sites"), 0), "frames")), 3);
	cr_expect(json_is_null(
	                  at(json_array_get(at(json_array_get(at(doc, "locks"), 1), "blockers"), 1),
	                     "tid")),
	          "a holder that is not known is null");
	cr_expect_str_eq(str(json_array_get(at(doc, "locks"), 2), "scope"), "shared");
	cr_expect_str_eq(str(c, "kind"), "pipe");
	cr_expect_eq(num(c, "read_wait_ns"), 9 * MS);
	cr_expect_eq(num(json_array_get(at(c, "blockers"), 0), "tid"), 1005);
}

Test(report_causes, json)
{
	struct model *m = with_slices(workers());
	struct deadlock d = {0};
	struct report r = {0};
	json_t *doc, *gil, *path, *first, *cycle;
	uint64_t at_ns;
	size_t i;

	fill(&r, m, true);
	ADD(&d.edges, (struct deadlock_edge){.task = 2,
	                                     .holds = 2,
	                                     .waits_for = 2,
	                                     .evidence = EVIDENCE_OWNER,
	                                     .since_ns = AT(14)});
	ADD(&r.deadlocks, d);
	doc = as_json(&r);
	expect_locks(doc);
	cr_expect_str_eq(str(doc, "serialization.verdict"), "serialized");
	cr_expect_eq(num(doc, "serialization.capacity_ns"), 168 * MS);
	cr_expect_eq(sum_of(at(doc, "serialization.breakdown"), "ns"), 168 * MS);
	gil = json_array_get(at(doc, "serialization.breakdown"), 1);
	cr_expect_str_eq(str(gil, "cause"), "gil");
	cr_expect_eq(num(gil, "id"), 1);
	cr_expect_float_eq(json_real_value(at(gil, "ratio")), 70.0 / 168, 1e-9);
	cr_expect_float_eq(json_real_value(at(gil, "uncertainty_ratio")), 0.031, 1e-9);
	gil = json_array_get(at(doc, "serialization.breakdown"), 2);
	cr_expect_eq(num(gil, "id"), 1001, "of a serial section the id is the task's");
	cr_expect_eq(num(json_array_get(at(doc, "serialization.sections"), 0), "count"), 2);
	cr_expect_eq(json_array_size(at(doc, "parallelism.tasks")), 5);
	cr_expect_eq(sum_of(at(doc, "parallelism.tasks"), "height_ns"), 15 * MS);
	cr_expect_eq(num(json_array_get(at(doc, "parallelism.processes"), 0), "pid"), 1001);
	path = at(doc, "critical_path");
	at_ns = num(json_array_get(path, 0), "start_ns");
	json_array_foreach(path, i, first)
	{
		cr_expect_eq(num(first, "start_ns"), at_ns, "the path has no gaps");
		at_ns = num(first, "end_ns");
	}
	cr_expect_eq(at_ns - num(json_array_get(path, 0), "start_ns"),
	             num(doc, "workload.wall_ns"));
	first = json_array_get(path, 2);
	cr_expect_str_eq(str(first, "state"), "blocked");
	cr_expect_str_eq(str(first, "cause"), "gil");
	cr_expect_eq(num(first, "lock"), 1);
	cycle = json_array_get(at(json_array_get(at(doc, "deadlocks"), 0), "tasks"), 0);
	cr_expect_eq(num(cycle, "tid"), 1002);
	cr_expect_eq(num(cycle, "holds"), 2);
	cr_expect_str_eq(str(cycle, "evidence"), "owner");
	cr_expect_eq(num(json_array_get(at(doc, "gil"), 0), "pid"), 1001);
	cr_expect_eq(sum_of(at(json_array_get(at(doc, "gil"), 0), "tasks"), "hold_ns"), 80 * MS);
	cr_expect_eq(num(json_array_get(at(doc, "watch"), 0), "waits"), 12);
	cr_expect_float_eq(json_real_value(at(json_array_get(at(doc, "what_if"), 0), "speedup")),
	                   1.9, 1e-9);
	json_decref(doc);
	report_release(&r);
	model_free(m);
}

/* In text there is a line of its own about it; who reads the JSON may read no more than the
 * headline. */
Test(report_causes, losses_are_told_once)
{
	struct tb *tb = workers();
	struct report_opts o = {.width = 100};
	struct report r = {0};
	struct model *m;
	char *text, *told;
	json_t *doc;

	tb_loss(tb, "ring full", 1000000);
	m = with_slices(tb);
	fill(&r, m, false);
	text = print(&r, &o);
	told = strstr(text, "were lost");
	cr_assert(told, "%s", text);
	cr_expect(!strstr(told + 1, "were lost"), "%s", text);
	free(text);
	doc = as_json(&r);
	cr_expect_str_eq(str(doc, "serialization.headline"),
	                 "SERIALIZED by the GIL (pid 1001): 0.99 of 2 CPUs did the work (100 % of "
	                 "the events were lost).");
	json_decref(doc);
	report_release(&r);
	model_free(m);
}
