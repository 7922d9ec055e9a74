/* SPDX-License-Identifier: MIT */
/* Folded stacks as the scripts for flame graphs read them. */
#include <errno.h>

#include "report_test.h"

static char *folded(const struct model *m, const struct export_opts *o)
{
	return export_of(m, "folded", o);
}

static uint64_t sum_of(const char *text)
{
	uint64_t sum = 0;

	while (*text) {
		const char *end = strchr(text, '\n'), *space;

		cr_assert(end, "the last line ends");
		space = memrchr(text, ' ', (size_t)(end - text));
		cr_assert(space);
		sum += strtoull(space + 1, NULL, 10);
		text = end + 1;
	}
	return sum;
}

/* Two processes of one program, the same stack in both; one thread without stacks. */
static struct tb *two_processes(void)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "app");
	tb_fork(tb, 2, 1, "app", 0);
	tb_thread(tb, 3, 1, "no stack", 0);
	for (uint32_t id = 1; id <= 3; id++) {
		tb_on(tb, id, id);
		tb_run(tb, id, 0, 1 * MS);
		if (id < 3) {
			app_symbols(tb, id);
			tb_stacks(tb, id, app_stack(tb, id), kernel_stack(tb));
		}
		tb_futex_wait(tb, id, 0x1000, 3 * MS, 0);
		tb_run(tb, id, 4 * MS, 5 * MS);
		tb_sample(tb, id, 4 * MS + 500 * US, id < 3 ? app_stack(tb, id) : 0, 0);
		tb_sample(tb, id, 4 * MS + 600 * US, id < 3 ? app_stack(tb, id) : 0, 0);
		tb_exit(tb, id, 0);
	}
	return tb;
}

/* The recorder's own frames are left out, the kernel's functions that are called alike are not. */
Test(folded, recorder_frames)
{
	static const uint64_t frames[] = {0xffffffff81000200, 0xffffffff81000300,
	                                  0xffffffff81000100};
	static const uint64_t loads[] = {0xffffffff81000400, 0xffffffff81000100};
	struct export_opts o = {.view = "off-cpu"};
	struct tb *tb = tb_new();
	struct model *m;
	char *text;

	tb_task(tb, 1, "app");
	app_symbols(tb, 1);
	tb_symbol(tb, "[kernel]", frames[0], "bpf_prog_6deef7357e7b4530_mt_switch", 0, 0);
	tb_symbol(tb, "[kernel]", frames[1], "__traceiter_sched_switch", 0, 0);
	tb_symbol(tb, "[kernel]", loads[0], "bpf_prog_load", 0, 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_stacks(tb, 1, 0, tb_stack(tb, STACK_KERNEL, 0, frames, 3));
	tb_futex_wait(tb, 1, 0x1000, 2 * MS, 0);
	tb_run(tb, 1, 2 * MS, 3 * MS);
	tb_stacks(tb, 1, 0, tb_stack(tb, STACK_KERNEL, 0, loads, 2));
	tb_futex_wait(tb, 1, 0x1000, 5 * MS, 0);
	tb_run(tb, 1, 5 * MS, 6 * MS);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = folded(m, &o);
	cr_expect(strstr(text, "futex_wait_[k] 1000"), "%s", text);
	cr_expect(strstr(text, "futex_wait_[k];bpf_prog_load_[k] 2000"), "%s", text);
	cr_expect(!strstr(text, "mt_switch") && !strstr(text, "traceiter"), "%s", text);
	free(text);
	model_free(m);
}

Test(folded, says_when_there_is_nothing)
{
	static const char *const views[] = {"off-cpu", "first-touch"};

	for (size_t i = 0; i < ARRAY_LEN(views); i++) {
		bool empty = !i;
		struct export_opts o = {.view = views[i], .empty = &empty};
		struct model *m = loaded(two_processes());
		char *text = folded(m, &o);

		cr_expect_eq(empty, i == 1);
		cr_expect_eq(!*text, i == 1, "%s", text);
		free(text);
		model_free(m);
	}
}

Test(folded, off_cpu)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu"};
	char *text = folded(m, &o);

	/* Blocked from 1 to 3 ms in both processes; the wait for a CPU until 4 ms is left out. */
	cr_expect_str_eq(text, "app;main;work;lock_wait;futex_wait_[k] 4000\n"
	                       "app;no_stack;[no_stack:_futex] 2000\n");
	free(text);
	model_free(m);
}

/* A stack that was cut says so, and why. */
Test(folded, cut_stacks)
{
	static const struct {
		uint8_t end;
		const char *begins;
	} ends[] = {{STACK_END_BOTTOM, "app;"},
	            {STACK_END_NO_TABLE, "app;[no_unwinding_information];"},
	            {STACK_END_NOT_YET, "app;[unwinding_information_not_read_yet];"},
	            {STACK_END_NO_MAPPING, "app;[caller_in_no_known_file];"},
	            {STACK_END_BAD_READ, "app;[stack_not_readable];"},
	            {STACK_END_BAD_ROW, "app;[wrong_unwinding_information];"}};
	static const uint64_t frames[] = {0x401010};

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct export_opts o = {.view = "off-cpu"};
		struct tb *tb = tb_new();
		struct model *m;
		char *text;

		tb_task(tb, 1, "app");
		app_symbols(tb, 1);
		tb_run(tb, 1, 0, 1 * MS);
		tb_stack_end(tb, ends[i].end);
		tb_stacks(tb, 1, tb_stack(tb, STACK_USER, 1, frames, 1), 0);
		tb_futex_wait(tb, 1, 0x1000, 2 * MS, 0);
		tb_run(tb, 1, 2 * MS, 3 * MS);
		tb_exit(tb, 1, 0);
		m = loaded(tb);
		text = folded(m, &o);
		cr_expect(!strncmp(text, ends[i].begins, strlen(ends[i].begins)), "%s", text);
		cr_expect(i || strstr(text, "app;[app+0x1010] 1000"), "%s", text);
		free(text);
		model_free(m);
	}
}

Test(folded, by_task)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu", .by = EXPORT_BY_TASK};
	char *text = folded(m, &o);

	cr_expect_str_eq(text, "app-1001;main;work;lock_wait;futex_wait_[k] 2000\n"
	                       "app-1001;no_stack-1003;[no_stack:_futex] 2000\n"
	                       "app-1002;main;work;lock_wait;futex_wait_[k] 2000\n");
	free(text);
	model_free(m);
}

Test(folded, by_process_without_marks)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu", .by = EXPORT_BY_PROCESS, .no_marks = true};
	char *text = folded(m, &o);

	cr_expect_str_eq(text, "app-1001;[no_stack:_futex] 2000\n"
	                       "app-1001;main;work;lock_wait;futex_wait 2000\n"
	                       "app-1002;main;work;lock_wait;futex_wait 2000\n");
	free(text);
	model_free(m);
}

Test(folded, reverse)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu", .reverse = true};
	char *text = folded(m, &o);

	cr_expect_str_eq(text, "[no_stack:_futex];no_stack;app 2000\n"
	                       "futex_wait_[k];lock_wait;work;main;app 4000\n");
	free(text);
	model_free(m);
}

/* What is small is summed up where it was, and nothing gets lost. */
Test(folded, min)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu", .min_ratio = 0.5};
	char *text = folded(m, &o);

	cr_expect_str_eq(text, "app;[smaller] 2000\n"
	                       "app;main;work;lock_wait;futex_wait_[k] 4000\n");
	free(text);
	model_free(m);
}

Test(folded, on_cpu_and_default_view)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "on-cpu"};
	char *text = folded(m, &o);

	cr_expect_str_eq(text, "app;main;work;lock_wait 4\napp;no_stack;[no_stack] 2\n");
	free(text);
	o.view = NULL;
	text = folded(m, &o);
	cr_expect_eq(sum_of(text), 6000, "off-cpu is the default");
	free(text);
	model_free(m);
}

Test(folded, one_task)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu", .task = "1002"};
	struct err err = {0};
	char *text = folded(m, &o);

	cr_expect_str_eq(text, "app;main;work;lock_wait;futex_wait_[k] 2000\n");
	free(text);
	o.task = "nobody";
	cr_expect_lt(export_try(m, "folded", &o, stderr, &err), 0);
	cr_expect_eq(err.status, MT_EXIT_USAGE);
	cr_expect(strstr(err.msg, "nobody"));
	model_free(m);
}

Test(folded, unknown_view)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "no-such-view"};
	struct err err = {0};

	cr_expect_lt(export_try(m, "folded", &o, stderr, &err), 0);
	cr_expect_eq(err.status, MT_EXIT_USAGE);
	cr_expect(!exporter_find("no-such-format"));
	model_free(m);
}

/* A thousand waits of 1,999 ns are 1,999 µs, not 1,000 and not 2,000. */
Test(folded, rounding_does_not_add_up)
{
	struct tb *tb = tb_new();
	struct export_opts o = {.view = "off-cpu"};
	struct model *m;
	char *text, name[16];

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 100 * MS);
	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t t = i * 10 * US;

		snprintf(name, sizeof(name), "t%u", i);
		tb_thread(tb, 2 + i, 1, name, t);
		tb_on(tb, 2 + i, 1);
		tb_run(tb, 2 + i, t, t + 1 * US);
		tb_futex_wait(tb, 2 + i, 0x1000, t + 1 * US + 1999, 0);
		tb_run(tb, 2 + i, t + 3 * US, t + 4 * US);
		tb_exit(tb, 2 + i, 0);
	}
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = folded(m, &o);
	cr_expect_eq(count_lines(text), 1000);
	cr_expect_eq(sum_of(text), 1999);
	free(text);
	model_free(m);
}

/* Names that would break lines or fields; unresolved, inlined and unmapped frames. */
Test(folded, names_cannot_break_lines)
{
	static const uint64_t frames[] = {0x700100, 0x700200, 0x700300, 0x10};
	struct tb *tb = tb_new();
	struct export_opts o = {.view = "off-cpu"};
	struct model *m;
	char *text;

	tb_task(tb, 1, "a;b c\n\xff");
	tb_map(tb, 1, 0x700000, 0x800000, 0, "/tmp/x;y/lib z.so");
	tb_symbol(tb, "/tmp/x;y/lib z.so", 0x100, "operator new(unsigned long)", 0, 0);
	tb_symbol(tb, "/tmp/x;y/lib z.so", 0x200, NULL, 0, 0);
	tb_symbol(tb, "/tmp/x;y/lib z.so", 0x300, "outer;\n7", 0, 0);
	tb_symbol(tb, "/tmp/x;y/lib z.so", 0x300, "inner", 0, 1);
	tb_stacks(tb, 1, tb_stack(tb, STACK_USER, 1, frames, 4), 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 2 * MS, 0);
	tb_run(tb, 1, 2 * MS, 3 * MS);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = folded(m, &o);
	cr_expect_str_eq(text,
	                 "a:b_c\\x0a\\xff;[unknown];outer:\\x0a7;inner_[i];"
	                 "[lib_z.so+0x200];operator_new(unsigned_long) 1000\n",
	                 "%s", text);
	free(text);
	model_free(m);
}

/* What the reader of the text sees as blocked is what the graph shows. */
Test(folded, agrees_with_the_tasks)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu"};
	char *text = folded(m, &o);
	uint64_t blocked = 0;

	for (size_t i = 0; i < model_n_tasks(m); i++)
		blocked += model_task_at(m, i)->blocked_ns;
	cr_expect_eq(sum_of(text), blocked / 1000);
	free(text);
	model_free(m);
}

Test(folded, a_full_disk_is_an_error)
{
	struct model *m = loaded(two_processes());
	struct export_opts o = {.view = "off-cpu"};
	struct err err = {0};
	FILE *out = full_disk();

	cr_expect_lt(export_try(m, "folded", &o, out, &err), 0);
	cr_expect_eq(err.status, MT_EXIT_OUTPUT, "%s", err.msg);
	fclose(out);
	model_free(m);
}

/* --- views of what was waited for ------------------------------------------------------------- */

/* All that was blocked on locks is in the view, below the lock's name. */
Test(folded, futex_by_lock)
{
	struct model *m = with_slices(workers());
	struct export_opts o = {.view = "futex", .no_marks = true};
	char *text = folded(m, &o), *line = text;

	cr_expect_eq(sum_of(text), 201000, "four workers 30 ms each, the join 81 ms: %s", text);
	while (*line) {
		cr_expect(strncmp(line, "app;", 4), "a lock comes first: %s", line);
		line = strchr(line, '\n') + 1;
	}
	cr_expect(strstr(text, ";app;worker-2;main;work;lock_wait;futex_wait 30000\n"), "%s", text);
	free(text);
	o.by = EXPORT_BY_TASK;
	text = folded(m, &o);
	cr_expect(strstr(text, "app-1001;worker-2-1004;main;work;lock_wait;futex_wait 30000\n"),
	          "%s", text);
	free(text);
	model_free(m);
}

/* Below the waiter's stack who woke it. */
Test(folded, wake)
{
	struct model *m = with_slices(workers());
	struct export_opts o = {.view = "wake"};
	char *text = folded(m, &o);

	cr_expect(strstr(text, "app;worker-1;main;work;lock_wait;futex_wait_[k];--;worker-0;app "
	                       "30000\n"),
	          "%s", text);
	free(text);
	model_free(m);
}

Test(folded, views_need_their_data)
{
	struct model *with = with_slices(two_processes()), *without = loaded(two_processes());
	struct export_opts o = {.view = "futex"};
	struct err err = {0};

	cr_expect_lt(export_try(without, "folded", &o, stderr, &err), 0);
	cr_expect(strstr(err.msg, "futex"), "%s", err.msg);
	o = (struct export_opts){.view = "off-cpu", .by = EXPORT_BY_LOCK};
	cr_expect_lt(export_try(with, "folded", &o, stderr, &err), 0);
	cr_expect_eq(err.status, MT_EXIT_USAGE, "%s", err.msg);
	model_free(with);
	model_free(without);
}

/* Every view of the table is known to report_view(), and makes an export or says why not. */
Test(folded, every_view)
{
	static const char *const names[] = {
#define X(NAME, name, slices, help) name,
	        VIEWS(X)
#undef X
	};
	struct model *m = with_slices(workers());

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		for (size_t f = 0; f < n_exporters; f++) {
			struct export_opts o = {.view = names[i], .reverse = i % 2};
			struct err err = {0};
			char *text = NULL;
			size_t n = 0;
			FILE *out = open_memstream(&text, &n);
			int code = export_try(m, exporters[f].name, &o, out, &err);

			fclose(out);
			cr_expect(!code || code == -ENODATA, "%s: %s", names[i], err.msg);
			free(text);
		}
	}
	model_free(m);
}
