/* SPDX-License-Identifier: MIT */
/* Recordings that lost events, came out of order, or were made to break the model. */
#include "model_test.h"
#include "rnd.h"

/* --- lost and late ---------------------------------------------------------------------------- */

static struct tb *two_tasks(void)
{
	struct tb *tb = tb_program(2, "main", "other");

	for (uint32_t id = 1; id <= 2; id++) {
		tb_run(tb, id, 1 * MS, 3 * MS);
		tb_futex_wait(tb, id, 0x1000, 5 * MS, 0);
		tb_run(tb, id, 6 * MS, 8 * MS);
		tb_preempt(tb, id);
		tb_run(tb, id, 9 * MS, 10 * MS);
		tb_exit(tb, id, 0);
	}
	return tb;
}

/* Whichever record is lost, the states still tile. */
Test(model_hostile, any_one_record_lost)
{
	static const enum rec_kind kinds[] = {REC_K_SWITCH, REC_K_WAKING, REC_K_TASK, REC_K_END,
	                                      REC_K_EXIT,   REC_K_BASE,   REC_K_MARK, REC_K_SITE,
	                                      REC_K_SPACE,  REC_K_STRING, REC_K_META};

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		for (unsigned nth = 0; nth < 12; nth++) {
			struct tb *tb = two_tasks();
			struct model *m;

			tb_drop(tb, kinds[k], nth);
			m = load(tb, NULL);
			cr_expect_eq(model_n_tasks(m), 2);
			model_free(m);
		}
	}
}

Test(model_hostile, lost_switch_in_is_rebuilt_from_exec)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 5 * MS, 0);
	tb_run(tb, 1, 5 * MS, 8 * MS);
	tb_exit(tb, 1, 0);
	tb_drop(tb, REC_K_SWITCH, 2);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 4 * MS, 0, 4 * MS);
	cr_expect_eq(model_oddities(m)->lost_in, 1);
	model_free(m);
}

Test(model_hostile, lost_switch_out_makes_one_long_turn)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 5 * MS, 0);
	tb_run(tb, 1, 5 * MS, 8 * MS);
	tb_exit(tb, 1, 0);
	tb_drop(tb, REC_K_SWITCH, 1);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 3 * MS, 5 * MS, 0);
	cr_expect_eq(model_oddities(m)->lost_out, 1);
	model_free(m);
}

Test(model_hostile, skew_of_a_cpu_is_sorted_out)
{
	struct tb *tb = two_tasks();
	struct model *m;

	tb_skew(tb, 1, 4 * MS);
	m = load(tb, NULL);
	for (uint32_t id = 1; id <= 2; id++) {
		expect_states(model_task(m, id), 5 * MS, 3 * MS, 2 * MS);
		expect_kernel_equal(model_task(m, id));
	}
	cr_expect_eq(model_oddities(m)->late, 0);
	model_free(m);
}

/* Records of one moment keep their order, also when they have to be put in front of others. */
Test(model_hostile, equal_times_keep_their_order)
{
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "other", 0);
	tb_on(tb, 1, 1);
	tb_run(tb, 1, 0, 5 * MS);
	tb_futex_wait(tb, 1, 0x1000, 5 * MS, 0);
	tb_run(tb, 1, 5 * MS, 6 * MS);
	tb_exit(tb, 1, 0);
	for (uint64_t t = 1; t < 9; t++) {
		tb_run(tb, 2, t * MS, t * MS + 100 * US);
		tb_futex_wait(tb, 2, 0x1000, t * MS + 200 * US, 0);
	}
	tb_run(tb, 2, 9 * MS, 9 * MS + 1);
	tb_exit(tb, 2, 0);
	tb_skew(tb, 1, 3 * MS);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 6 * MS, 0, 0);
	cr_expect_eq(model_task(m, 1)->futex_waits, 1);
	cr_expect_eq(model_oddities(m)->lost_in + model_oddities(m)->lost_out, 0);
	model_free(m);
}

Test(model_hostile, hopelessly_late_events_are_clamped)
{
	struct tb *tb = tb_new();
	struct model *m;
	uint64_t t = 0;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "busy", 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 2 * MS, 0);
	tb_on(tb, 1, 1);
	tb_run(tb, 1, 2 * MS, 3 * MS);
	tb_preempt(tb, 1);
	tb_on(tb, 1, 0);
	tb_run(tb, 1, 200 * MS, 201 * MS);
	tb_exit(tb, 1, 0);
	tb_on(tb, 2, 2);
	for (int i = 0; i < 20000; i++, t += 30 * US) {
		tb_run(tb, 2, t, t + 4 * US);
		tb_futex_wait(tb, 2, 0x2000, t + 6 * US, 0);
	}
	tb_run(tb, 2, t, t + 1);
	tb_exit(tb, 2, 0);
	tb_skew(tb, 1, 500 * MS);
	m = load(tb, NULL);
	cr_expect_gt(model_oddities(m)->lost_in + model_oddities(m)->lost_out +
	                     model_oddities(m)->late,
	             0);
	model_free(m);
}

Test(model_hostile, killed_recorder)
{
	struct tb *tb = two_tasks();
	struct model *m;

	tb_thread(tb, 3, 1, "lives", 1 * MS);
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 2 * MS, 4 * MS);
	tb_killed(tb);
	m = load(tb, NULL);
	cr_expect_not(model_recording(m)->complete);
	cr_expect_not(model_recording(m)->damaged);
	cr_expect(model_task(m, 3)->alive);
	cr_expect_not(model_task(m, 3)->has_end);
	expect_states(model_task(m, 3), 8 * MS, 1 * MS, 0);
	model_free(m);
}

/* Times of a report count from the start. */
Test(model_hostile, a_start_after_the_beginning)
{
	struct rec_mark start = {.what = MARK_START};
	struct tb *tb = two_tasks();
	struct model *m;

	tb_drop(tb, REC_K_MARK, 0);
	tb_raw(tb, REC_K_MARK, TB_EPOCH + SEC, &start);
	m = load(tb, NULL);
	cr_expect_eq(model_recording(m)->start_ns, TB_EPOCH);
	model_free(m);
}

Test(model_hostile, empty_recordings)
{
	struct tb *tb = tb_new();
	struct model *m = load(tb, NULL);
	size_t n;

	cr_expect_eq(model_n_tasks(m), 0);
	cr_expect_eq(model_n_procs(m), 0);
	cr_expect_eq(model_recording(m)->exit_status, 0);
	model_running_histogram(m, &n);
	cr_expect_null(model_task(m, 0));
	cr_expect_null(model_task_at(m, 0));
	cr_expect_null(model_proc(m, 1));
	cr_expect_null(model_site(m, 1));
	cr_expect_null(model_stack(m, 1));
	cr_expect_null(model_meta(m, "no such key"));
	model_free(m);
	model_free(NULL);
}

/* --- ids ------------------------------------------------------------------------------------- */

Test(model_hostile, undefined_tasks_become_placeholders)
{
	struct rec_switch in = {.next = 77},
	                  out = {.prev = 77, .exec = MS, .flags = SW_F_VOLUNTARY};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 1 * MS, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 2 * MS, &out);
	tb_stop(tb, 5 * MS);
	m = load(tb, NULL);
	cr_assert_eq(model_n_tasks(m), 2);
	cr_expect(model_task(m, 77)->placeholder);
	cr_expect_str_eq(model_task(m, 77)->comm, "?");
	expect_states(model_task(m, 77), 1 * MS, 0, 3 * MS);
	cr_expect_eq(model_oddities(m)->undefined_tasks, 1);
	model_free(m);
}

/* A definition after the first use is a definition. */
Test(model_hostile, late_definition)
{
	struct rec_switch in = {.next = 7}, out = {.prev = 7, .exec = MS, .flags = SW_F_VOLUNTARY};
	struct tb *tb = tb_new();
	struct rec_task def = {.id = 7, .proc = 1, .tid = 1007, .comm = tb_string(tb, "late")};
	struct model *m;

	tb_task(tb, 1, "main");
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 1 * MS, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 2 * MS, &out);
	tb_raw(tb, REC_K_TASK, TB_EPOCH + 3 * MS, &def);
	tb_stop(tb, 5 * MS);
	m = load(tb, NULL);
	cr_expect_not(model_task(m, 7)->placeholder);
	cr_expect_str_eq(model_task(m, 7)->comm, "late");
	cr_expect_eq(model_proc(m, 1)->n_tasks, 2);
	cr_expect_eq(model_n_procs(m), 1);
	model_free(m);
}

Test(model_hostile, wild_ids)
{
	static const uint64_t ids[] = {0,          5,          1u << 20,   UINT32_MAX - 1,
	                               UINT32_MAX, 1ull << 32, 1ull << 63, UINT64_MAX};
	struct tb *tb = tb_new();
	struct model *m;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 9 * MS);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		uint64_t id = ids[i];
		struct rec_string string = {.id = id};
		struct rec_task task = {.id = id,
		                        .parent = id,
		                        .proc = id,
		                        .space = id,
		                        .site = id,
		                        .comm = id,
		                        .flags = UINT64_MAX};
		struct rec_space space = {.id = id, .parent = id};
		struct rec_site site = {.id = id, .nr_plus1 = id, .arch = id};
		struct rec_stack stack = {.id = id, .kind = id, .space = id, .flags = id};
		struct rec_map map = {.space = id, .start = 0, .end = id, .file = id};
		struct rec_symbol symbol = {.module = id, .offset = id, .name = id};
		struct rec_switch sw = {.cpu = id,
		                        .prev = id,
		                        .next = ids[i ? i - 1 : 0],
		                        .site = id,
		                        .flags = id,
		                        .ustack = id,
		                        .addr = id,
		                        .exec = id,
		                        .delay = id};
		struct rec_waking wk = {.task = id, .waker = id, .cpu = id, .flags = id};
		struct rec_sample sample = {.task = id, .ustack = id, .kstack = id};
		struct rec_exit exit = {.task = id, .code = id, .last = id, .maxrss_bytes = id};
		struct rec_exec exec = {.task = id, .space = id, .tid = id, .file = id, .comm = id};
		struct rec_end end = {.task = id, .run = id, .flags = id};
		struct rec_mark mark = {.what = id, .value = id};
		struct rec_loss loss = {.cause = id, .count = UINT64_MAX};
		struct rec_note note = {.text = id};

		tb_raw(tb, REC_K_STRING, 0, &string);
		tb_raw(tb, REC_K_TASK, TB_EPOCH, &task);
		tb_raw(tb, REC_K_SPACE, TB_EPOCH, &space);
		tb_raw(tb, REC_K_SITE, 0, &site);
		tb_raw(tb, REC_K_STACK, 0, &stack);
		tb_raw(tb, REC_K_MAP, 0, &map);
		tb_raw(tb, REC_K_SYMBOL, 0, &symbol);
		tb_raw(tb, REC_K_SWITCH, TB_EPOCH + i, &sw);
		tb_raw(tb, REC_K_WAKING, TB_EPOCH + i, &wk);
		tb_raw(tb, REC_K_SAMPLE, TB_EPOCH + i, &sample);
		tb_raw(tb, REC_K_EXIT, TB_EPOCH + i, &exit);
		tb_raw(tb, REC_K_EXEC, TB_EPOCH + i, &exec);
		tb_raw(tb, REC_K_END, TB_EPOCH + 2 * MS, &end);
		tb_raw(tb, REC_K_MARK, TB_EPOCH + MS, &mark);
		tb_raw(tb, REC_K_LOSS, TB_EPOCH, &loss);
		tb_raw(tb, REC_K_NOTE, TB_EPOCH, &note);
	}
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	expect_states(model_task(m, 1), 9 * MS, 0, 0);
	cr_expect_eq(model_recording(m)->lost, UINT64_MAX, "sums do not wrap");
	model_free(m);
}

Test(model_hostile, duplicates_do_not_redefine_tasks)
{
	struct rec_task again = {.id = 1, .proc = 9, .tid = 5};
	struct tb *tb = two_tasks();
	struct model *m;

	tb_raw(tb, REC_K_TASK, TB_EPOCH + 1, &again);
	m = load(tb, NULL);
	cr_expect_eq(model_task(m, 1)->tid, 1001);
	cr_expect_eq(model_task(m, 1)->proc, 1);
	model_free(m);
}

/* --- one tid, many tasks
 * ------------------------------------------------------------------------------ */

static void short_life(struct tb *tb, uint32_t id, uint32_t proc, uint32_t ns_tid, uint64_t start,
                       uint64_t end)
{
	struct rec_task task = {.id = id, .proc = proc, .tid = 1000 + id, .ns_tid = ns_tid};
	struct rec_exit exit = {.task = id};

	tb_raw(tb, REC_K_TASK, TB_EPOCH + start, &task);
	tb_raw(tb, REC_K_EXIT, TB_EPOCH + end, &exit);
}

static bool has_tid(const struct task *t, uint32_t proc, uint32_t ns_tid, uint64_t ts)
{
	return t->ns_tid == ns_tid && (!proc || t->proc == proc) && t->start_ns <= ts &&
	       t->end_ns >= ts;
}

/* Looks at every task; they are by order of their beginning. */
static uint32_t look_everywhere(const struct model *m, uint32_t proc, uint32_t ns_tid, uint64_t ts)
{
	const struct task *found = NULL;

	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		if (has_tid(t, proc, ns_tid, ts) && (!found || t->start_ns >= found->start_ns))
			found = t;
	}
	for (size_t i = 0; found && !proc && i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		if (t != found && has_tid(t, proc, ns_tid, ts) && t->end_ns > found->start_ns)
			return 0;
	}
	return found ? found->id : 0;
}

Test(model_hostile, who_had_this_tid)
{
	for (unsigned round = 0; round < 300; round++) {
		uint32_t n = (uint32_t)rnd(40);
		struct tb *tb = tb_new();
		struct model *m;

		for (uint32_t id = 1; id <= n; id++) {
			uint64_t start = rnd(60);

			short_life(tb, id, 1 + (uint32_t)rnd(3), 1 + (uint32_t)rnd(3), start,
			           start + rnd(round % 2 ? 20 : 100));
		}
		m = tb_load(tb, &with_slices);
		for (unsigned i = 0; i < 300; i++) {
			uint32_t proc = (uint32_t)rnd(5), tid = (uint32_t)rnd(5);
			uint64_t ts = TB_EPOCH + rnd(120);

			cr_assert_eq(model_task_by_ns_tid(m, proc, tid, ts),
			             look_everywhere(m, proc, tid, ts),
			             "round %u: %u in %u at %llu", round, tid, proc,
			             (unsigned long long)rel(ts));
		}
		model_free(m);
		tb_free(tb);
	}
}

/* Ten containers a second for hours, and each has a thread 7. */
Test(model_hostile, a_tid_in_a_hundred_thousand_namespaces, .timeout = 20)
{
	const uint32_t n = 100000;
	struct tb *tb = tb_new();
	struct model *m;

	short_life(tb, 1, 1, 7, 0, 4ull * n + 4);
	for (uint32_t id = 2; id <= n; id++)
		short_life(tb, id, id, 7, 4ull * id, 4ull * id + 2);
	m = tb_load(tb, &with_slices);
	for (uint32_t id = 2; id <= n; id++) {
		uint64_t ts = TB_EPOCH + 4ull * id;

		cr_assert_eq(model_task_by_ns_tid(m, id, 7, ts + 1), id);
		cr_assert_eq(model_task_by_ns_tid(m, 0, 7, ts + 1), 0);
		cr_assert_eq(model_task_by_ns_tid(m, 0, 7, ts - 1), 1);
		cr_assert_eq(model_task_by_ns_tid(m, 1, 7, ts + 1), 1);
	}
	model_free(m);
	tb_free(tb);
}

/* --- random events
 * ---------------------------------------------------------------------------------- */

static uint64_t wild(void)
{
	switch (rnd(6)) {
	case 0:
		return rnd(1 << 12);
	case 1:
		return UINT64_MAX - rnd(3);
	case 2:
		return 1ull << rnd(64);
	default:
		return rnd(6);
	}
}

static void random_record(struct tb *tb, uint64_t ts)
{
	struct rec_switch sw = {.cpu = rnd(3),
	                        .prev = rnd(8),
	                        .next = rnd(8),
	                        .state = wild(),
	                        .flags = rnd(2048),
	                        .site = rnd(5),
	                        .word = rnd(9),
	                        .exec = wild(),
	                        .delay = rnd(3) ? rnd(MS) : wild(),
	                        .ustack = rnd(3),
	                        .kstack = rnd(3),
	                        .addr = rnd(4)};
	struct rec_waking wk = {.task = rnd(8), .waker = rnd(8), .flags = rnd(128)};
	struct rec_end end = {.task = rnd(8), .flags = rnd(4), .run = wild(), .runnable = wild()};
	struct rec_base base = {.task = rnd(8), .run = wild(), .runnable = wild()};
	struct rec_exit exit = {.task = rnd(8), .code = wild(), .last = rnd(2)};
	struct rec_exec exec = {.task = rnd(8), .space = rnd(4)};
	struct rec_task task = {.id = rnd(8),
	                        .proc = rnd(8),
	                        .ns_tid = rnd(9),
	                        .flags = rnd(8),
	                        .state = rnd(5),
	                        .site = rnd(5)};
	struct rec_site site = {.id = rnd(5), .nr_plus1 = rnd(300), .a1 = wild(), .a2 = rnd(9)};
	struct rec_mark mark = {.what = rnd(5)};

	switch (rnd(60)) {
	case 0:
		return tb_raw(tb, REC_K_END, ts, &end);
	case 1:
		return tb_raw(tb, REC_K_BASE, ts, &base);
	case 2:
		return tb_raw(tb, REC_K_EXIT, ts, &exit);
	case 3:
		return tb_raw(tb, REC_K_EXEC, ts, &exec);
	case 4:
		return tb_raw(tb, REC_K_TASK, ts, &task);
	case 5:
		return tb_raw(tb, REC_K_SITE, ts, &site);
	case 6:
		return rnd(9) ? (void)0 : tb_raw(tb, REC_K_MARK, ts, &mark);
	case 7 ... 20:
		return tb_raw(tb, REC_K_WAKING, ts, &wk);
	default:
		return tb_raw(tb, REC_K_SWITCH, ts, &sw);
	}
}

/* No sequence of records, however senseless, breaks what the model promises. */
Test(model_hostile, random_records_never_break_the_model)
{
	for (unsigned round = 0; round < 3000; round++) {
		struct model_opts opts = {.flags = MODEL_SLICES};
		unsigned n = (unsigned)rnd(120);
		struct tb *tb = tb_new();
		struct model *m;
		uint64_t ts = TB_EPOCH;
		const char *broken;

		if (round % 3 == 0)
			opts.since_ns = rnd(20 * MS);
		if (round % 5 == 0)
			opts.until_ns = rnd(30 * MS);
		if (round % 7 == 0)
			tb_killed(tb);
		if (round % 2)
			tb_skew(tb, 1, rnd(5 * MS));
		for (unsigned i = 0; i < n; i++) {
			ts = rnd(50) ? ts + rnd(MS) : TB_EPOCH - SEC + rnd(2 * SEC);
			random_record(tb, ts);
		}
		m = tb_load(tb, &opts);
		cr_assert(m);
		broken = model_broken(m, true);
		cr_assert(!broken, "round %u: %s", round, broken);
		model_free(m);
		tb_free(tb);
	}
}

/* --- random schedules
 * --------------------------------------------------------------------------------- */

static uint64_t random_turn(struct tb *tb, uint32_t id, uint64_t t)
{
	uint64_t end = t + 1 + rnd(2 * MS), wake = end + rnd(MS);

	tb_run(tb, id, t, end);
	if (!rnd(4))
		tb_steal(tb, id, rnd(end - t));
	switch (rnd(4)) {
	case 0:
		tb_preempt(tb, id);
		wake = end;
		break;
	case 1:
		tb_call(tb, id, TB_NR_read, 0, FD_PIPE, wake, 1);
		break;
	default:
		tb_futex_wait(tb, id, 0x1000 + 64 * rnd(3), wake, (uint32_t)rnd(2));
	}
	return wake + rnd(MS);
}

/* Whatever tasks do, a whole recording equals the kernel's counters to the ns. */
Test(model_hostile, random_schedules_equal_the_kernel)
{
	for (unsigned round = 0; round < 300; round++) {
		unsigned tasks = 1 + (unsigned)rnd(6);
		struct tb *tb = tb_new();
		struct model *m;

		tb_task(tb, 1, "main");
		for (uint32_t id = 2; id <= tasks; id++)
			rnd(2) ? tb_thread(tb, id, 1, "thread", rnd(MS))
			       : tb_fork(tb, id, 1, "child", rnd(MS));
		for (uint32_t id = 1; id <= tasks; id++) {
			uint64_t t = MS + rnd(MS);

			tb_on(tb, id, id);
			for (unsigned i = (unsigned)rnd(40); i; i--)
				t = random_turn(tb, id, t);
			tb_run(tb, id, t, t + rnd(MS));
			if (rnd(3))
				tb_exit(tb, id, 0);
		}
		for (uint32_t cpu = 1; cpu <= tasks; cpu++)
			tb_skew(tb, cpu, rnd(2 * MS));
		m = load(tb, NULL);
		cr_assert_eq(model_n_tasks(m), tasks);
		for (uint32_t id = 1; id <= tasks; id++)
			expect_kernel_equal(model_task(m, id));
		cr_expect_eq(model_oddities(m)->lost_in + model_oddities(m)->lost_out, 0);
		model_free(m);
	}
}
