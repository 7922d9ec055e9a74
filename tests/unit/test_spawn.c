/* SPDX-License-Identifier: MIT */
/* How tasks were made, and the memory of all of them, in the text report. */
#include "report_test.h"

/* A process that makes three others (their first runs come 1, 2 and 6 ms later; one calls exec)
 * and a thread, at 10 ms. */
static struct tb *family(void)
{
	static const uint64_t first_run[] = {1, 2, 6};
	struct tb *tb = tb_new();

	tb_task(tb, 1, "app");
	tb_on(tb, 1, 0);
	tb_run(tb, 1, 0, 20 * MS);
	for (uint32_t i = 0; i < 3; i++) {
		tb_fork(tb, 2 + i, 1, "worker", 10 * MS);
		tb_on(tb, 2 + i, 1 + i);
		tb_run(tb, 2 + i, (10 + first_run[i]) * MS, 19 * MS);
		tb_exit(tb, 2 + i, 0);
	}
	tb_exec(tb, 4, 18 * MS, "/bin/other", "other");
	tb_thread(tb, 5, 1, "helper", 10 * MS);
	tb_on(tb, 5, 4);
	tb_run(tb, 5, 10 * MS + 40 * US, 15 * MS);
	tb_exit(tb, 5, 0);
	tb_footprint(tb, 1, 12 * MS, 100 << 20, 60 << 20, 20 << 20);
	tb_footprint(tb, 2, 12 * MS, 90 << 20, 50 << 20, 10 << 20);
	tb_exit(tb, 1, 0);
	return tb;
}

Test(spawn, text_has_a_row_per_method)
{
	struct model *m = loaded(family());
	struct report_opts o = {.width = 100};
	char *text = text_of(m, &o);

	cr_expect(strstr(text, "\nmade by          tasks  first run  exec\n"
	                       "thread               1      40 µs     -\n"
	                       "fork                 2     1.5 ms     -\n"
	                       "  longest                    2 ms     -\n"
	                       "exec                 1       6 ms  8 ms\n"),
	          "%s", text);
	cr_expect(strstr(text, "                 medians, from the creating call on"), "%s", text);
	free(text);
	model_free(m);
}

/* A window shows part of a life; how it began and ended is what it was. */
Test(spawn, begun_before_the_window)
{
	struct rec_task task = {
	        .id = 2, .parent = 1, .proc = 2, .tid = 1002, .tgid = 1002, .call = 2 * MS};
	struct rec_switch in = {.next = 2, .cpu = 1};
	struct rec_switch out = {.prev = 2, .cpu = 1, .flags = SW_F_DEAD | SW_F_VOLUNTARY};
	struct rec_exit exit = {.task = 2, .last = 1};
	const uint64_t windows[][2] = {{0, 0}, {12, 0}, {0, 18}, {12, 18}, {14, 16}};
	struct tb *tb = tb_new();

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 30 * MS);
	tb_exit(tb, 1, 0);
	tb_raw(tb, REC_K_TASK, TB_EPOCH + 10 * MS, &task);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 15 * MS, &in);
	tb_raw(tb, REC_K_EXIT, TB_EPOCH + 17 * MS, &exit);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 20 * MS, &out);
	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		struct model_opts o = {.since_ns = windows[i][0] * MS,
		                       .until_ns = windows[i][1] * MS,
		                       .flags = MODEL_SLICES};
		struct model *m = tb_load(tb, &o);
		const struct spawn_row *s;
		struct report r = {0};
		struct err err = {0};

		cr_assert(m);
		cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
		s = report_spawn(&r, 2);
		cr_assert(s);
		cr_expect_eq(s->start_ns, TB_EPOCH + 8 * MS);
		cr_expect_eq(s->call_ns, 2 * MS, "%zu: %llu", i, (unsigned long long)s->call_ns);
		cr_expect_eq(s->first_run_ns, 7 * MS);
		cr_expect_eq(s->teardown_ns, 3 * MS, "%zu: %llu", i,
		             (unsigned long long)s->teardown_ns);
		report_release(&r);
		model_free(m);
	}
	tb_free(tb);
}

/* What is not in the table is not explained below it. */
Test(spawn, teardown_is_explained_where_it_is_told)
{
	for (unsigned ends = 0; ends < 2; ends++) {
		struct rec_exit exit = {.task = 2, .last = 1};
		struct report_opts o = {.width = 120};
		struct tb *tb = tb_new();
		struct model *m;
		char *text;

		tb_task(tb, 1, "app");
		tb_run(tb, 1, 0, 30 * MS);
		tb_fork(tb, 2, 1, "worker", 10 * MS);
		tb_on(tb, 2, 1);
		tb_run(tb, 2, 13 * MS, 19 * MS);
		if (ends) {
			tb_raw(tb, REC_K_EXIT, TB_EPOCH + 18 * MS, &exit);
			tb_exit(tb, 2, 0);
		}
		tb_stop(tb, 30 * MS);
		m = loaded(tb);
		text = text_of(m, &o);
		cr_expect(strstr(text, "from the creating call on"), "%s", text);
		cr_expect_eq(!!strstr(text, "teardown from its exit on"), ends, "%s", text);
		free(text);
		model_free(m);
	}
}

/* What first tells of it says that it left a CPU, after it had called exec there. */
Test(spawn, no_run_after_exec)
{
	struct tb *tb = tb_new();
	struct report r = {0};
	struct err err = {0};
	struct model *m;

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 20 * MS);
	tb_fork(tb, 2, 1, "worker", 10 * MS);
	tb_on(tb, 2, 1);
	tb_exec(tb, 2, 12 * MS, "/bin/other", "other");
	tb_run(tb, 2, 13 * MS, 19 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	cr_assert_eq(r.spawns.n, 1);
	cr_expect_eq(r.spawns.v[0].first_run_ns, SPAWN_UNKNOWN);
	cr_expect_eq(r.spawns.v[0].exec_ns, 2 * MS);
	report_release(&r);
	model_free(m);
}

static bool says_of_forks(const char *features)
{
	struct tb *tb = family();
	struct report_opts o = {.width = 400};
	struct model *m;
	char *text;
	bool said;

	if (features)
		tb_meta(tb, META_FEATURES, features);
	m = loaded(tb);
	text = text_of(m, &o);
	said = strstr(text, "does not tell when a fork begins: how long 3 fork");
	free(text);
	model_free(m);
	return said;
}

/* What is null on kernels before 6.2, and why. */
Test(spawn, beginning_of_forks_that_is_not_known)
{
	cr_expect(says_of_forks("prev-state,first-touch"));
	cr_expect_not(says_of_forks("prev-state," FEATURE_FORK_CALLS));
	cr_expect_not(says_of_forks(NULL));
}

Test(spawn, only_of_the_tasks_asked_for)
{
	struct model *m = loaded(family());
	struct report_opts o = {.width = 100, .task = "helper"};
	char *text = text_of(m, &o);

	cr_expect(strstr(text, "\nthread"), "%s", text);
	cr_expect(!strstr(text, "\nfork"), "%s", text);
	cr_expect(!strstr(text, "medians"), "%s", text);
	cr_expect(!strstr(text, "memory in all"), "%s", text);
	free(text);
	model_free(m);
}

Test(spawn, a_few_cheap_threads_are_not_news)
{
	struct tb *tb = tb_new();
	struct report_opts o = {.width = 100};
	struct model *m;
	char *text;

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 100 * MS);
	tb_thread(tb, 2, 1, "helper", 10 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 10 * MS + 40 * US, 15 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = text_of(m, &o);
	cr_expect(!strstr(text, "made by"), "%s", text);
	free(text);
	model_free(m);
}

Test(spawn, memory_of_all_processes_is_counted_once)
{
	struct model *m = loaded(family());
	struct report_opts o = {.width = 120};
	char *text = text_of(m, &o);

	cr_expect(strstr(text,
	                 "\nmemory in all    at least 110 MB at the peak of 4 processes together · "
	                 "2 of them not read yet"
	                 "\n                 RSS, which counts shared pages several times, "
	                 "adds up to 190 MB\n"),
	          "%s", text);
	free(text);
	model_free(m);
}

static void expect_line(const struct report *r, const char *line)
{
	struct report_opts o = {.width = 100};
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(report_text(r, &o, out, &err), 0, "%s", err.msg);
	fclose(out);
	cr_expect(strstr(text, line), "%s in\n%s", line, text);
	free(text);
}

/* The one that is known may be an odd one. */
Test(spawn, few_that_are_known_are_no_median)
{
	struct model *m = loaded(family());
	struct report r = {0};
	struct err err = {0};
	unsigned told = 0;

	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	for (size_t i = 0; i < r.spawns.n; i++) {
		struct spawn_row *s = &r.spawns.v[i];

		s->method = "fork";
		s->ready_ns = told++ ? SPAWN_UNKNOWN : 3 * MS;
	}
	cr_assert_eq(told, 4);
	expect_line(&r, "made by          tasks  first run\n");
	r.spawns.v[1].ready_ns = 3 * MS;
	expect_line(&r, "made by          tasks  first run  ready\n");
	report_release(&r);
	model_free(m);
}

/* A file may say that a process was read before it was there, and after it had gone. */
Test(spawn, read_without_a_process)
{
	struct tb *tb = family();
	struct report r = {0};
	struct err err = {0};
	struct model *m;

	tb_footprint(tb, 3, 5 * MS, 90 << 20, 50 << 20, 10 << 20);
	tb_footprint(tb, 3, 19500 * US, 90 << 20, 50 << 20, 10 << 20);
	m = loaded(tb);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	for (size_t i = 0; i < r.tree.n; i++)
		cr_expect(r.tree.v[i].unread <= r.tree.v[i].procs, "%zu: %u of %u not read", i,
		          (unsigned)r.tree.v[i].unread, (unsigned)r.tree.v[i].procs);
	report_release(&r);
	model_free(m);
}
