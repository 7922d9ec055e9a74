/* SPDX-License-Identifier: MIT */
/* The text and JSON reports against recordings whose answers are known. */
#include <errno.h>
#include <signal.h>

#include "report_golden.h"
#include "report_test.h"

/* The size of the file depends on zlib's version, not on the report. */
static void mask_size(char *text)
{
	char *end = strstr(text, " KB in app.mpv"), *p;

	cr_assert(end, "%s", text);
	for (p = end; p[-1] != ' '; p--)
		;
	*p = 'N';
	memmove(p + 1, end, strlen(end) + 1);
}

Test(report, golden_text)
{
	static const struct {
		unsigned width;
		const char *want;
	} pages[] = {{80, GOLDEN_80}, {100, GOLDEN_100}, {200, GOLDEN_200}};
	struct model *m = loaded(workers());

	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		struct report_opts o = {.width = pages[i].width, .trace_path = "app.mpv"};
		char *text = text_of(m, &o);

		char name[16];

		mask_size(text);
		snprintf(name, sizeof(name), "GOLDEN_%u", pages[i].width);
		leave_golden(name, text);
		cr_expect_str_eq(text, pages[i].want, "at %u columns:\n%s", pages[i].width, text);
		expect_fits(text, pages[i].width);
		free(text);
	}
	model_free(m);
}

/* --- what must hold for any recording and any page ------------------------------------------- */

Test(report, every_page_width)
{
	static struct tb *(*const recordings[])(void) = {workers, hostile, bare, crowd_200};

	for (size_t i = 0; i < ARRAY_LEN(recordings); i++) {
		struct model *m = loaded(recordings[i]());

		for (unsigned width = 40; width <= 220; width += 3) {
			struct report_opts o = {.width = width,
			                        .top = width % 2 ? 300 : 0,
			                        .trace_path = "/a path/that is; long/x.mpv"};
			char *text = text_of(m, &o);

			expect_fits(text, width);
			free(text);
		}
		model_free(m);
	}
}

/* --- thousands of tasks ---------------------------------------------------------------------- */

Test(report, five_thousand_tasks)
{
	struct model *m = loaded(crowd(5000));
	struct report_opts o = {.width = 100};
	char *text = text_of(m, &o);
	json_t *doc;

	cr_expect(strstr(text, "5,001 processes"), "%s", text);
	cr_expect(strstr(text, "\ncc1                 2,500    10 µs "), "%s", text);
	cr_expect(strstr(text, "\nworker-0 … -4998    2,500    10 µs "), "%s", text);
	cr_expect_lt(count_lines(text), 40, "%s", text);
	free(text);
	o.top = 6000;
	text = text_of(m, &o);
	cr_expect(strstr(text, "\nworker-4998"), "all of them with --top");
	cr_expect_gt(count_lines(text), 5000);
	free(text);
	doc = json_of(m);
	cr_expect_eq(json_array_size(at(doc, "tasks")), 5001);
	json_decref(doc);
	model_free(m);
}

/* --- choices of the reader ------------------------------------------------------------------- */

/* The name in the first row of the task table. */
static void first_row(const struct model *m, const char *sort, char *out, size_t n)
{
	struct report_opts o = {.width = 120, .sort = sort};
	char *text = text_of(m, &o), *row = strstr(text, "\ntasks ");

	cr_assert(row, "%s", text);
	row = strchr(row + 1, '\n') + 1;
	snprintf(out, n, "%.*s", (int)strcspn(row, " "), row);
	free(text);
}

Test(report, sort_keys)
{
	static const struct {
		const char *key, *first;
	} cases[] = {
	        {NULL, "worker-0"}, {"run", "worker-0"},      {"runnable", "worker-3"},
	        {"blocked", "app"}, {"switches", "worker-0"}, {"faults", "app"},
	        {"start", "app"},
	};
	struct model *m = loaded(workers());
	char name[32];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cr_expect(!cases[i].key || report_sort_known(cases[i].key));
		cr_expect(!cases[i].key || strstr(report_sort_keys(), cases[i].key));
		first_row(m, cases[i].key, name, sizeof(name));
		cr_expect(!strcmp(name, cases[i].first) ||
		                  (cases[i].key && !strcmp(cases[i].key, "switches")),
		          "%s first by %s", name, cases[i].key);
	}
	cr_expect(!report_sort_known("start_ns"));
	cr_expect(!report_sort_known(""));
	model_free(m);
}

Test(report, only_some_tasks)
{
	static const struct {
		const char *want;
		bool worker_1, worker_2, app;
	} cases[] = {
	        {"worker-1", true, false, false}, {"1003", true, false, false},
	        {"3", true, false, false},        {"worker-*", true, true, false},
	        {"app", false, false, true},
	};
	struct model *m = loaded(workers());
	struct report_opts o = {.width = 120};
	char *text;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		o.task = cases[i].want;
		text = text_of(m, &o);
		cr_expect_eq(strstr(text, "\nworker-1 ") != NULL, cases[i].worker_1, "%s", text);
		cr_expect_eq(strstr(text, "\nworker-2 ") != NULL, cases[i].worker_2, "%s", text);
		cr_expect_eq(strstr(text, "\napp  ") != NULL, cases[i].app, "%s", text);
		free(text);
	}
	o.task = "nobody\x1b";
	text = text_of(m, &o);
	cr_expect(strstr(text, "\nno task has the id or name nobody\\x1b\n"), "%s", text);
	free(text);
	model_free(m);
}

Test(report, top_cuts_and_says_so)
{
	struct model *m = loaded(hostile());
	struct report_opts o = {.width = 100, .top = 2};
	char *text = text_of(m, &o);

	cr_expect(strstr(text, "\n… and "), "%s", text);
	free(text);
	model_free(m);
}

/* --- what is wrong comes first
 * --------------------------------------------------------------------- */

Test(report, losses_are_in_the_second_line)
{
	struct tb *tb = workers();
	struct report_opts o = {.width = 100};
	struct model *m;
	char *text;
	json_t *doc;

	tb_loss(tb, "ring full", 11);
	m = loaded(tb);
	text = text_of(m, &o);
	cr_expect(strstr(text, "\nLOSSY: 11 of "), "%s", text);
	cr_expect_eq(strchr(text, '\n') + 1, strstr(text, "LOSSY"), "%s", text);
	cr_expect(!strstr(text, "nothing lost"));
	cr_expect(!strchr(text, 0x1b), "no colour unless asked");
	free(text);
	o.colour = true;
	text = text_of(m, &o);
	cr_expect(strstr(text, "\n\x1b[1;31mLOSSY"), "%s", text);
	free(text);
	doc = json_of(m);
	cr_expect_eq(num(doc, "quality.lost"), 11);
	cr_expect_eq((uint64_t)json_integer_value(
	                     json_object_get(at(doc, "quality.lost_by"), "ring full")),
	             11);
	json_decref(doc);
	model_free(m);
}

Test(report, colour_only_where_something_is_wrong)
{
	struct model *m = loaded(workers());
	struct report_opts o = {.width = 100, .colour = true};
	char *text = text_of(m, &o);

	cr_expect(!strchr(text, 0x1b), "%s", text);
	free(text);
	model_free(m);
}

Test(report, unfinished_and_differing)
{
	struct tb *tb = workers();
	struct report_opts o = {.width = 100};
	struct model *m;
	json_t *doc, *check;
	char *text;

	tb_drop(tb, REC_K_SWITCH, 2);
	tb_killed(tb);
	m = loaded(tb);
	text = text_of(m, &o);
	doc = json_of(m);
	cr_expect(strstr(text, "\nINCOMPLETE: "), "%s", text);
	cr_expect(strstr(text, "voluntary switches DIFFER: 9 recorded, 1 less than the kernel's "
	                       "count; right for 4\n                 of 5 tasks\n"),
	          "%s", text);
	cr_expect(json_is_false(at(doc, "quality.complete")));
	check = json_array_get(at(doc, "quality.checks"), 0);
	cr_expect_str_eq(json_string_value(at(check, "name")), "voluntary");
	cr_expect(json_is_false(at(check, "ok")));
	cr_expect_neq(num(check, "recorded"), num(check, "kernel"));
	json_decref(doc);
	free(text);
	model_free(m);
}

Test(report, exit_status_in_words)
{
	struct tb *tb = tb_new();
	struct model *m;
	char *text;

	tb_task(tb, 1, "victim");
	tb_run(tb, 1, 0, 1 * MS);
	tb_exit(tb, 1, 9);
	m = loaded(tb);
	text = text_of(m, NULL);
	cr_expect(strstr(text, "exit 137 (128 + SIGKILL)\n"), "%s", text);
	free(text);
	model_free(m);
}

/* A worker that the kernel has killed, and one that its pool has ended. */
Test(report, workers_that_were_killed)
{
	struct report_opts o = {.width = 100};
	struct tb *tb = tb_new();
	struct model *m;
	char *text;

	tb_task(tb, 1, "pool");
	tb_run(tb, 1, 0, 10 * MS);
	for (uint32_t id = 2; id <= 4; id++) {
		tb_fork(tb, id, 1, "worker", 1 * MS);
		tb_on(tb, id, id);
		tb_run(tb, id, 1 * MS, 5 * MS);
		tb_exit(tb, id, id == 2 ? SIGTERM : SIGKILL);
	}
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = text_of(m, &o);
	cr_expect(strstr(text,
	                 "\nworker (1003) ended with status 137 (128 + SIGKILL), and so did 1 "
	                 "other.\n"),
	          "%s", text);
	cr_expect(!strstr(text, "SIGTERM"), "%s", text);
	free(text);
	model_free(m);
}

/* --- streams that fail
 * ----------------------------------------------------------------------------- */

Test(report, a_full_disk_is_an_error)
{
	struct model *m = loaded(workers());
	struct report r = {0};
	struct err err = {0};
	FILE *out = full_disk();

	cr_assert_eq(report_build(&r, m, &err), 0);
	cr_expect_lt(report_text(&r, NULL, out, &err), 0);
	cr_expect_eq(err.status, MT_EXIT_OUTPUT, "%s", err.msg);
	err = (struct err){0};
	cr_expect_lt(report_json(&r, NULL, out, &err), 0);
	cr_expect_eq(err.status, MT_EXIT_OUTPUT, "%s", err.msg);
	fclose(out);
	report_release(&r);
	model_free(m);
}

/* What has no column of its own is in "other": the parts always make the whole. */
Test(report, causes_that_do_not_fit_are_summed)
{
	struct tb *tb = tb_new();
	struct report_opts o = {.width = 200};
	struct model *m;
	char *text;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 41 * MS, 0);
	tb_run(tb, 1, 41 * MS, 42 * MS);
	tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 62 * MS, 0);
	tb_run(tb, 1, 62 * MS, 63 * MS);
	tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, 73 * MS, 0);
	tb_run(tb, 1, 73 * MS, 74 * MS);
	tb_call(tb, 1, TB_NR_poll, 0, FD_UNKNOWN, 79 * MS, 0);
	tb_run(tb, 1, 79 * MS, 80 * MS);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = text_of(m, &o);
	cr_expect(strstr(text, "blocked  (futex  sleep   pipe  poll)"), "%s", text);
	cr_expect(strstr(text, " 75 ms   40 ms  20 ms  10 ms  5 ms "), "%s", text);
	free(text);
	o.width = 60;
	text = text_of(m, &o);
	cr_expect(strstr(text, "blocked  (futex  sleep  other)"), "%s", text);
	cr_expect(strstr(text, " 75 ms   40 ms  20 ms  15 ms "), "%s", text);
	free(text);
	model_free(m);
}

Test(report, damage_in_words)
{
	struct trace_info cut = {.blocks = 9, .skipped_bytes = 3072, .truncated = true};
	struct trace_info holes = {.blocks = 7, .damaged_blocks = 2, .skipped_bytes = 3072};
	struct trace_info gap = {.blocks = 9, .skipped_bytes = 3072};
	struct trace_info only = {.damaged_blocks = 1, .skipped_bytes = 3072};
	char text[160];

	cr_expect_str_eq(report_damage(text, sizeof(text), &cut),
	                 "the end is missing (3 KB cannot be used)");
	cr_expect_str_eq(report_damage(text, sizeof(text), &holes),
	                 "2 of 9 blocks (3 KB) could not be read");
	cr_expect_str_eq(report_damage(text, sizeof(text), &only),
	                 "1 of 1 block (3 KB) could not be read");
	cr_expect_str_eq(report_damage(text, sizeof(text), &gap),
	                 "a part could not be read (3 KB cannot be used)");
}

Test(report, cost_is_a_share_of_runs_only)
{
	struct report_opts o = {.width = 100};
	struct model_opts part = {.since_ns = 1 * MS, .until_ns = 20 * MS};
	struct model_opts none = {.since_ns = 3600 * 1000 * MS};
	struct tb *tb = workers();
	struct model *whole = tb_load(tb, NULL), *some = tb_load(tb, &part);
	struct model *after = tb_load(tb, &none);
	char *text;

	cr_assert(whole && some && after);
	text = text_of(whole, &o);
	cr_expect(strstr(text, "mpvtrace used 2 ms of CPU ("), "%s", text);
	cr_expect(!strstr(text, " (of "), "%s", text);
	free(text);
	text = text_of(some, &o);
	cr_expect(strstr(text, "19 ms on 2 CPUs (of 84 ms, from 1 ms on)"), "%s", text);
	cr_expect(strstr(text, "mpvtrace used 2 ms of CPU\n") ||
	                  strstr(text, "mpvtrace used 2 ms of CPU ·"),
	          "%s", text);
	free(text);
	text = text_of(after, &o);
	cr_expect(strstr(text, "no task lived in this part of the run\n"), "%s", text);
	cr_expect(strstr(text, " · no tasks"), "%s", text);
	free(text);
	model_free(whole);
	model_free(some);
	model_free(after);
	tb_free(tb);
}

/* --- the first line -------------------------------------------------------------------------- */

Test(report, attached_to_programs_by_name)
{
	struct tb *tb = tb_new_attach();
	struct report_opts o = {.width = 100};
	struct model *m;
	char *text;

	tb_attached(tb, 1, 1, "redis-server", TASK_F_ON_CPU, 0, -1, 0, 0);
	tb_attached(tb, 2, 2, "nginx", TASK_F_ON_CPU, 1, -1, 0, 0);
	tb_meta(tb, META_PIDS, "1001,1002,77");
	tb_preempt(tb, 1);
	tb_preempt(tb, 2);
	m = loaded(tb);
	text = text_of(m, &o);
	cr_expect(!strncmp(text, "attached to redis-server (1001), nginx (1002), 77 · ", 52), "%s",
	          text);
	free(text);
	model_free(m);
}

/* As it can be given to a shell again. */
Test(report, command_in_single_quotes)
{
	static const struct {
		const char *arg, *want;
	} args[] = {{"kill -SEGV $$", "'kill -SEGV $$'"},
	            {"say \"it's\"", "'say \"it'\\''s\"'"},
	            {"--plain=x.py", "--plain=x.py"},
	            {"*.c", "'*.c'"},
	            {"'", "''\\'''"},
	            {"", "''"}};
	struct report_opts o = {.width = 100};

	for (size_t i = 0; i < ARRAY_LEN(args); i++) {
		struct tb *tb = tb_new();
		char command[64], want[64], *text;
		struct model *m;
		int n = snprintf(command, sizeof(command), "sh%c%s", 0, args[i].arg);

		argv(tb, command, (size_t)n + 1);
		tb_task(tb, 1, "sh");
		tb_run(tb, 1, 0, 2 * MS);
		tb_exit(tb, 1, 0);
		m = loaded(tb);
		text = text_of(m, &o);
		snprintf(want, sizeof(want), "sh %s · ", args[i].want);
		cr_expect(!strncmp(text, want, strlen(want)), "%s", text);
		free(text);
		model_free(m);
	}
}

Test(report, one_switch)
{
	struct tb *tb = tb_new();
	struct report_opts o = {.width = 100};
	struct model *m;
	char *text;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 2 * MS);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = text_of(m, &o);
	cr_expect(strstr(text, "  1 switch = the kernel's count"), "%s", text);
	free(text);
	model_free(m);
}
