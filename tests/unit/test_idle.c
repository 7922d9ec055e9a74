/* SPDX-License-Identifier: MIT */
/* Idle CPUs that nobody held: clocks, and schedulers with nothing to run. */
#include "causes_test.h"
#include "model_test.h"

#define CODE 0x400000

/* A user stack of one frame, in that function of the program. */
static uint32_t in_function(struct tb *tb, const char *name)
{
	const uint64_t frame = CODE + 0x100;

	tb_map(tb, 1, CODE, CODE + 0x10000, 0, "/usr/bin/app");
	tb_symbol(tb, "/usr/bin/app", frame - CODE, name, 4, 0);
	return tb_stack(tb, STACK_USER, 1, &frame, 1);
}

/* main works; worker sleeps for 1 ms again and again. */
static struct tb *naps(const char *function)
{
	struct tb *tb = tb_program(2, "main", "worker");

	tb_stacks(tb, 2, in_function(tb, function), 0);
	tb_run(tb, 1, 0, 40 * MS);
	tb_exit(tb, 1, 0);
	for (uint64_t t = 0; t < 39; t += 2) {
		tb_run(tb, 2, t * MS, t * MS + MS);
		if (t < 38)
			tb_call(tb, 2, TB_NR_nanosleep, 0, FD_UNKNOWN, (t + 2) * MS, 0);
	}
	tb_exit(tb, 2, 0);
	return tb;
}

Test(idle, a_programs_own_sleep)
{
	struct built b = build(naps("backoff"));

	cr_expect_eq(of_cause(&b, CAUSE_SLEEP), 19 * MS);
	drop(&b);
}

/* Go's threads nap between two looks for something to run: the program does not sleep. */
Test(idle, a_scheduler_without_work_does_not_sleep)
{
	struct built b = build(naps("runtime.usleep.abi0"));

	cr_expect_eq(of_cause(&b, CAUSE_SLEEP), 0);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 20 * MS);
	drop(&b);
}

/* Both wait with a timeout that runs out, on a word on which there are wake-ups at other times. */
Test(idle, a_timeout_that_nobody_came_before)
{
	struct tb *tb = tb_program(2, "main", "worker");
	struct built b;

	tb_run(tb, 2, 0, 10 * MS);
	tb_futex(tb, 2, COND, TB_FUTEX_BITSET, 0, 0x7fff, 20 * MS, 1);
	tb_run(tb, 2, 20 * MS, 30 * MS);
	tb_futex(tb, 2, COND, TB_FUTEX_BITSET, 0, 0x7fff, 130 * MS, 0);
	tb_run(tb, 2, 130 * MS, 130 * MS + 20 * US);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 0, 30 * MS);
	tb_futex(tb, 1, COND + 0x1000, TB_FUTEX_BITSET, 0, 0x7fff, 130 * MS, 0);
	tb_run(tb, 1, 130 * MS, 130 * MS + 20 * US);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_SLEEP), 200 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_UNATTRIBUTED), 0);
	drop(&b);
}

/* It sleeps for long, but works more; and where it works it does so one by one. */
Test(idle, what_is_not_sleep_decides)
{
	struct tb *tb = tb_program(2, "main", "worker");
	struct built b;

	tb_run(tb, 1, 0, 40 * MS);
	tb_owner(tb, 1, 2);
	tb_futex_wait(tb, 1, MUTEX, 70 * MS, 2);
	tb_run(tb, 1, 70 * MS, 71 * MS);
	tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 110 * MS, 0);
	tb_run(tb, 1, 110 * MS, 111 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 0, 70 * MS);
	tb_call(tb, 2, TB_NR_nanosleep, 0, FD_UNKNOWN, 110 * MS, 0);
	tb_run(tb, 2, 110 * MS, 111 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	cr_expect_gt(of_cause(&b, CAUSE_SLEEP), of_cause(&b, CAUSE_LOCK));
	expect_verdict(&b, VERDICT_SERIALIZED, "besides: sleep 36 %");
	drop(&b);
}

/* One task that waits for the disk in code of the program, of which the function may be known. */
static struct built disk(const char *function)
{
	struct tb *tb = tb_program(1, "main", "");

	tb_stacks(tb, 1, in_function(tb, function), 0);
	tb_run(tb, 1, 0, 5 * MS);
	tb_call(tb, 1, TB_NR_fsync, 3, FD_FILE, 90 * MS, 0);
	tb_run(tb, 1, 90 * MS, 95 * MS);
	tb_exit(tb, 1, 0);
	return build(tb);
}

/* Files are read by calls and by page faults: the headline has the sum, so neither is told again.
 */
Test(idle, both_kinds_of_reading)
{
	struct tb *tb = tb_program(1, "main", "");
	struct built b;

	tb_stacks(tb, 1, in_function(tb, "load"), 0);
	tb_run(tb, 1, 0, 5 * MS);
	tb_call(tb, 1, TB_NR_fsync, 3, FD_FILE, 40 * MS, 0);
	tb_run(tb, 1, 40 * MS, 41 * MS);
	tb_block(tb, 1, SW_F_FAULT, 2, 90 * MS, 0);
	tb_run(tb, 1, 90 * MS, 95 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_verdict(&b, VERDICT_IO_BOUND, "I/O-BOUND");
	cr_expect(!strstr(b.r.headline, "besides: I/O"), "%s", b.r.headline);
	cr_expect_str_eq(b.r.next_step, "where main waits in page faults: most often load");
	drop(&b);
}

/* They do so little that nobody is charged with it: still there is a place where they sleep. */
Test(idle, where_all_sleep)
{
	struct tb *tb = tb_program(2, "main", "worker");
	uint32_t stack = in_function(tb, "backoff");
	struct built b;

	for (uint32_t id = 1; id <= 2; id++) {
		tb_stacks(tb, id, stack, 0);
		tb_run(tb, id, 0, 100 * US);
		tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, 90 * MS, 0);
		tb_run(tb, id, 90 * MS, 90 * MS + 100 * US);
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	expect_verdict(&b, VERDICT_IDLE, "slept");
	cr_expect_str_eq(b.r.next_step, "where main sleeps: most often backoff");
	drop(&b);
}

#define LIBPYTHON "/usr/lib/libpython3.11.so.1.0"
#define MODULE    "/usr/lib/python3/dist-packages/spin.cpython-311-x86_64-linux-gnu.so"

/* An interpreter, whose code is at CODE + 0x100, and these Python functions as codes 1 …. */
static void interpreter(struct tb *tb, const char *const codes[][2], size_t n)
{
	tb_map(tb, 1, CODE, CODE + 0x10000, 0, LIBPYTHON);
	tb_symbol(tb, LIBPYTHON, 0x100, "_PyEval_EvalFrameDefault", 4, 0);
	for (size_t i = 0; i < n; i++) {
		struct rec_pycode c = {.id = i + 1,
		                       .name = tb_string(tb, codes[i][0]),
		                       .file = tb_string(tb, codes[i][1]),
		                       .first_line = 1};

		tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &c);
	}
}

/* The interpreter's code for imports says nothing: the module that imports does. */
Test(idle, an_import_is_where_it_is_asked_for)
{
	static const char *const codes[][2] = {
	        {"<module>", "/home/me/app.py"},
	        {"_call_with_frames_removed", "<frozen importlib._bootstrap>"},
	        {"_find_and_load", "<frozen importlib._bootstrap>"}};
	static const uint64_t native = CODE + 0x100;
	static const uint64_t py[] = {PY_FRAME(2, 241, 0), PY_FRAME(3, 1176, 0), PY_FRAME(1, 7, 1)};
	const struct rec_stack stack = {.id = 900,
	                                .kind = STACK_USER,
	                                .space = 1,
	                                .flags = STACK_F_PY,
	                                .frames = {&native, 1},
	                                .py = {py, 3}};
	struct tb *tb = tb_program(1, "main", "");
	struct built b;

	interpreter(tb, codes, ARRAY_LEN(codes));
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &stack);
	tb_stacks(tb, 1, 900, 0);
	tb_run(tb, 1, 0, 5 * MS);
	tb_call(tb, 1, TB_NR_fsync, 3, FD_FILE, 90 * MS, 0);
	tb_run(tb, 1, 90 * MS, 95 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect(strstr(b.r.next_step, "most often <module> (app.py"), "%s", b.r.next_step);
	drop(&b);
}

/* Of a line that calls a module in C, what it calls is told as well: the line may call several. */
Test(idle, a_python_line_calls_c_code)
{
	static const char *const codes[][2] = {{"work", "/home/me/app.py"}};
	static const uint64_t native[] = {2 * CODE + 0x80, 2 * CODE + 0x40, CODE + 0x100};
	static const uint64_t py[] = {PY_FRAME(1, 7, 1)};
	const struct rec_stack stack = {.id = 900,
	                                .kind = STACK_USER,
	                                .space = 1,
	                                .flags = STACK_F_PY,
	                                .frames = {native, 3},
	                                .py = {py, 1}};
	struct tb *tb = tb_program(1, "main", "");
	struct built b;

	interpreter(tb, codes, ARRAY_LEN(codes));
	tb_map(tb, 1, 2 * CODE, 2 * CODE + 0x10000, 0, MODULE);
	tb_symbol(tb, MODULE, 0x40, "held", 4, 0);
	tb_symbol(tb, MODULE, 0x80, "spin", 4, 0);
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &stack);
	tb_run(tb, 1, 0, 90 * MS);
	tb_sample(tb, 1, 50 * MS, 900, 0);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect(strstr(b.r.next_step, "most often work (app.py:"), "%s", b.r.next_step);
	cr_expect(strstr(b.r.next_step, ", which calls held of spin"), "%s", b.r.next_step);
	drop(&b);
}

/* Nobody can look at an address. */
Test(idle, the_next_step_is_a_function)
{
	struct built b = disk("save");

	cr_expect_str_eq(b.r.next_step, "where main waits: most often save");
	drop(&b);
	b = disk(NULL);
	expect_verdict(&b, VERDICT_IO_BOUND, "I/O");
	cr_expect_str_eq(b.r.next_step, "");
	drop(&b);
}
