/* SPDX-License-Identifier: MIT */
/*
 * test_unwind.c: user stacks. Are they complete, from the blocking call to the program's or the
 * thread's start, in programs of all sorts; and are they, frame by frame, what gdb sees?
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "complete.h"
#include "live.h"
#include "mt_flags.h"
#include "pyframes.h"
#include "uframes.h"

LIVE_SUITE(unwind);

/* --- complete stacks ------------------------------------------------------------------------ */

Test(unwind, complete_c)
{
	static const char *const modes[] = {"deep", "qsort", "signal", "altstack", "thread"};

	for (size_t i = 0; i < 5; i++)
		check_complete(NONE, ARGS(workload("frames"), modes[i], "0.3"), 7);
}

Test(unwind, complete_with_every_stack)
{
	check_complete(ARGS("--stacks=all"), ARGS(workload("frames"), "deep", "0.3"), 10);
}

/* The microseconds of the folded stacks that this function is in. */
static uint64_t folded_sum_of(char *text, const char *function)
{
	uint64_t sum = 0;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strstr(line, function))
			sum += strtoull(strrchr(line, ' '), NULL, 10);
	return sum;
}

/* A wait is its caller's, also when another one waited at the same place just before: the share of
 * the seldom one is what the program asks for, or off by no more than `off`. */
static void check_callers(double off, const char *const *command)
{
	struct recording r = record(NONE, command);
	uint64_t often, seldom, found, rest;
	double truth, share;
	struct proc p;
	char *text;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	cr_assert_eq(sscanf(r.p.out, "often %" SCNu64 " seldom %" SCNu64, &often, &seldom), 2, "%s",
	             r.p.out);
	p = run(ARGS(mpvtrace(), "export", r.trace, "--format", "folded", "--view", "off-cpu"));
	cr_assert_eq(p.status, 0, "%s", p.err);
	text = strdup(p.out);
	found = folded_sum_of(text, "seldom");
	free(text);
	rest = folded_sum_of(p.out, "often");
	truth = (double)seldom / (double)(seldom + often);
	share = (double)found / (double)(found + rest);
	cr_expect(share > truth - off && share < truth + off,
	          "%s: seldom waits for %.3f of the time, found %.3f", command[0], truth, share);
	cr_expect_gt(found + rest, (often + seldom) / 2000, "%" PRIu64 " us of %" PRIu64 " ns",
	             found + rest, often + seldom);
}

/* An emulated kernel sleeps longer, which is more of a short sleep. */
static double callers_off(void)
{
	return slow_machine() ? 0.4 : 0.07;
}

Test(unwind, waits_are_their_callers)
{
	if (!has_tables())
		cr_skip_test("no tables on this machine");
	check_callers(callers_off(), ARGS(workload("callers"), "--often-us", "2000", "--seldom-us",
	                                  "100000", "--times", "9"));
	check_callers(callers_off(), ARGS(workload("callers"), "--often-us", "4000", "--seldom-us",
	                                  "4000", "--times", "3"));
	check_callers(callers_off(), ARGS(workload("callers"), "--often-us", "3000", "--seldom-us",
	                                  "30000", "--times", "1"));
}

/* Waits that are too short to look at the stack each time. Those of one length take the same time,
 * however much longer than asked for. */
Test(unwind, short_waits_are_their_callers)
{
	if (!has_tables())
		cr_skip_test("no tables on this machine");
	check_callers(0.07, ARGS(workload("callers"), "--often-us", "10", "--seldom-us", "10",
	                         "--times", "3", "--rounds", "5000"));
	check_callers(0.07, ARGS(workload("callers"), "--often-us", "10", "--seldom-us", "10",
	                         "--times", "9", "--rounds", "2000"));
	check_callers(0.07, ARGS(workload("callers"), "--often-us", "10", "--seldom-us", "10",
	                         "--times", "100", "--seldom-times", "100", "--rounds", "100"));
	check_callers(0.2, ARGS(workload("callers"), "--often-us", "10", "--seldom-us", "50000",
	                        "--times", "1000", "--rounds", "20"));
}

/* Python's functions that call each other leave no trace on the C stack. */
Test(unwind, waits_are_their_python_callers)
{
	check_callers(callers_off(), ARGS("/usr/bin/python3", workload("callers.py")));
}

/* More programs, one after the other, than there is room for their tables: the last ones have
 * whole stacks as the first ones have. (Each has 64,000 rows.) */
Test(unwind, tables_give_way)
{
	const char *loop = "i=0; while [ $i -lt 75 ]; do cp /usr/bin/python3 p$i; ./p$i -S -c "
	                   "'import time\nfor i in range(12): time.sleep(0.01)'; rm p$i; "
	                   "i=$((i+1)); done";
	unsigned late = 0, early = 0;
	struct recording r;
	struct model *m;

	if (!has_tables() || slow_machine())
		cr_skip_test("no tables on this machine, or no time for it");
	r = record(NONE, ARGS("/bin/bash", "-c", loop));
	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	cr_expect_gt(part_count(r.json, "unwinding tables evicted"), 5);
	cr_expect_gt(part_count(r.json, "unwinding tables bytes"), 10u << 20);
	cr_expect_leq(part_count(r.json, "unwinding tables bytes"), 32u << 20);
	m = pyframes_load(r.trace);
	cr_assert(m);
	early = uframes_tasks_complete(m, 0, 9);
	late = uframes_tasks_complete(m, 65, 74);
	cr_expect_geq(early, 8);
	cr_expect_geq(late, 8, "%u of the last ten programs have a whole stack", late);
	pyframes_free(m);
}

/* One program has mapped more files than there is room for, and waits in the first of them only:
 * those leave the others no room. (Another file that a stack leads to makes some of them go.) */
Test(unwind, tables_of_one_program)
{
	const char *script = "import mmap, os, shutil, time\n"
	                     "names = ['p%d' % i for i in range(72)]\n"
	                     "kept = []\n"
	                     "for name in names:\n"
	                     "    shutil.copy('/usr/bin/python3', name)\n"
	                     "for name in names:\n"
	                     "    with open(name, 'rb') as f:\n"
	                     "        kept.append(mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE,\n"
	                     "                              mmap.PROT_READ | mmap.PROT_EXEC))\n"
	                     "for i in range(100):\n"
	                     "    time.sleep(0.01)\n"
	                     "for name in names:\n"
	                     "    os.remove(name)\n";
	struct recording r;

	if (!has_tables() || slow_machine())
		cr_skip_test("no tables on this machine, or no time for it");
	r = record(NONE, ARGS("/usr/bin/python3", "-S", "-c", script));
	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	cr_expect_gt(part_count(r.json, "unwinding tables bytes"), 10u << 20);
	cr_expect_lt(part_count(r.json, "unwinding tables evicted"), 12);
	cr_expect(!strstr(r.p.out, "are cut: they end in"), "%s", r.p.out);
}

/* A library that is loaded while the recording goes on: its table comes a moment later. */
Test(unwind, complete_after_dlopen)
{
	check_share(NONE, ARGS(workload("frames"), "zlib", "1"), 95, 8);
}

/* A stack that is deeper than what is recorded says so. */
Test(unwind, deeper_than_recorded)
{
	struct model *m;
	struct uframes_count c;
	uint64_t frames[UFRAMES_MAX];
	unsigned end, flags;
	bool found = false;
	size_t pos = 0;
	uint32_t s;

	if (!has_tables())
		cr_skip_test("no tables on this machine");
	m = recorded(NONE, ARGS(workload("frames"), "recurse", "0.2"));
	c = uframes_count(m, 200);
	cr_expect(c.deep);
	while ((s = pyframes_next(m, &pos))) {
		size_t n = uframes_get(m, s, frames, &end, &flags);

		if (n <= 200)
			continue;
		found = true;
		cr_expect_eq(end, STACK_END_DEPTH);
		cr_expect(flags & STACK_F_TRUNCATED);
	}
	cr_expect(found);
	pyframes_free(m);
}

/* Known files need nothing from user space: short-lived processes have whole stacks, too. Only the
 * first few of a program do without its table. */
Test(unwind, short_processes)
{
	check_share(NONE,
	            ARGS("/bin/sh", "-c",
	                 "i=0; while [ $i -lt 200 ]; do sleep 0.001; i=$((i+1)); done"),
	            85, 5); /* 95 and more where CPUs are free: a table must come in time */
}

/* A new program waits once, before its table is there: its stack is gone on with later, from a
 * copy. Not where a full machine lets the program end before anybody looks at it. */
Test(unwind, first_wait_of_a_new_file)
{
	struct model *m;
	struct uframes_count c;

	if (!has_tables() || slow_machine())
		cr_skip_test("no tables on this machine, or too slow to see");
	m = recorded(NONE, ARGS("/bin/bash", "-c",
	                        "i=0; while [ $i -lt 60 ]; do cp /bin/sleep p$i; ./p$i 0.01; "
	                        "rm p$i; i=$((i+1)); done"));
	c = uframes_count(m, 5);
	cr_expect_geq(c.copied, 10, "%lu stacks by a copy", (unsigned long)c.copied);
	cr_expect_geq(uframes_tasks_complete(m, 0, 59), 50, "of 60, %u have a whole stack",
	              uframes_tasks_complete(m, 0, 59));
	pyframes_free(m);
}

/* The waker's stack, where it is asked for: it writes to the pipe that the other one reads. */
Test(unwind, wakers_on_request)
{
	struct proc p;

	cr_assert_eq(run(ARGS(mpvtrace(), "run", "-f", "-o", "t.mpv", "--wake-stacks", "--",
	                      workload("pingpong"), "--rounds", "300"))
	                     .status,
	             0);
	p = run(ARGS(mpvtrace(), "export", "--view", "wake", "--format", "folded", "-o", "-",
	             "t.mpv"));
	cr_assert_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.out, ";write;"), "no waker that writes:\n%s", p.out);
	cr_assert_eq(run(ARGS(mpvtrace(), "run", "-f", "-o", "t.mpv", "--", workload("pingpong"),
	                      "--rounds", "300"))
	                     .status,
	             0);
	p = run(ARGS(mpvtrace(), "export", "--view", "wake", "--format", "folded", "-o", "-",
	             "t.mpv"));
	cr_expect(!strstr(p.out, ";write;"), "not asked for:\n%s", p.out);
}

/* --- what gdb sees --------------------------------------------------------------------------- */

struct backtrace {
	size_t n;
	uint64_t pc[UFRAMES_MAX]; /* 0 = a signal frame, which gdb gives no address for */
	char name[UFRAMES_MAX][128];
};

static void parse_frame(const char *line, struct backtrace *b)
{
	const char *pc = strstr(line, "0x"), *in = strstr(line, " in ");
	uint64_t addr = 0;

	if (line[0] != '#' || b->n >= UFRAMES_MAX)
		return;
	if (!strstr(line, "<signal handler called>")) {
		if (!pc)
			return;
		addr = strtoull(pc, NULL, 16);
	}
	b->pc[b->n] = addr;
	b->name[b->n][0] = 0;
	if (in && sscanf(in + 4, "%127[^ (@]", b->name[b->n]) != 1)
		b->name[b->n][0] = 0;
	b->n++;
}

/* The backtrace of one thread of a process, by gdb. */
static void gdb_backtrace(pid_t pid, uint32_t tid, struct backtrace *b)
{
	struct proc p = run(ARGS("gdb", "-nx", "-batch", "-iex", "set auto-load off", "-iex",
	                         "set debuginfod enabled off", "-iex",
	                         /* With libc's it would add frames of calls that were jumps. */
	                         "set debug-file-directory /nonexistent", "-p", fmt("%d", pid),
	                         "-ex", "set print frame-info location-and-address", "-ex",
	                         "set backtrace past-main on", "-ex", "set backtrace past-entry on",
	                         "-ex", "thread apply all bt -frame-arguments none"));
	char *line, *save = NULL, *lwp = NULL;
	bool mine = false;

	b->n = 0;
	for (line = strtok_r(p.out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, "Thread ", 7)) {
			lwp = strstr(line, "LWP ");
			/* Without libthread_db: "Thread 1 (process 123)". */
			lwp = lwp                        ? lwp + 4
			      : strstr(line, "process ") ? strstr(line, "process ") + 8
			                                 : NULL;
			mine = lwp && (uint32_t)atoi(lwp) == tid;
		} else if (mine) {
			parse_frame(line, b);
		}
	}
	cr_assert(b->n, "gdb says nothing of %u:\n%s", tid, p.err);
}

static void print_both(const struct backtrace *b, const uint64_t *ours, size_t n)
{
	for (size_t i = 0; i < b->n || i < n; i++)
		fprintf(stderr, "  %2zu gdb %12lx %-30s ours %12lx\n", i,
		        i < b->n ? (unsigned long)b->pc[i] : 0, i < b->n ? b->name[i] : "",
		        i < n ? (unsigned long)ours[i] : 0);
}

/* The innermost function of a known name must be the same; addresses all. */
static void compare(const char *what, const struct model *m, uint32_t stack,
                    const struct backtrace *b)
{
	uint64_t ours[UFRAMES_MAX];
	unsigned end, flags;
	size_t n = uframes_get(m, stack, ours, &end, &flags), bad = 0;

	for (size_t i = 0; i < n && i < b->n; i++)
		bad += b->pc[i] && b->pc[i] != ours[i];
	if (bad || n != b->n)
		print_both(b, ours, n);
	cr_expect_eq(n, b->n, "%s: %zu frames, gdb has %zu", what, n, b->n);
	cr_expect_eq(bad, 0, "%s: %zu frames are others", what, bad);
	cr_expect_eq(end, STACK_END_BOTTOM, "%s: end %u", what, end);
	for (size_t i = 0; i < n && i < b->n; i++) {
		const char *name = uframes_name(m, stack, i);

		/* Names of ours, which have no aliases. */
		if (strstr("main nap bottom realigned variable large many_args deep compare sort "
		           "on_signal by_signal thread read_by_library",
		           b->name[i][0] ? b->name[i] : "-"))
			cr_expect_str_eq(name, b->name[i], "%s: frame %zu", what, i);
	}
}

/* Attaches to the process, which blocks for good or again and again at one place, and compares each
 * stack of that thread. */
static void check_against_gdb(const char *what, pid_t pid, uint32_t tid)
{
	static struct backtrace b;
	struct model *m;
	struct proc p;
	uint32_t stack;
	size_t i;

	p = run(ARGS(mpvtrace(), "attach", "-f", "-o", "t.mpv", "-d", "0.3", "-p", fmt("%d", pid)));
	cr_assert_eq(p.status, 0, "%s: status %d; stderr:\n%s", what, p.status, p.err);
	gdb_backtrace(pid, tid, &b);
	m = pyframes_load("t.mpv");
	cr_assert(m);
	for (i = 0; (stack = uframes_of_task(m, tid, i)); i++)
		compare(what, m, stack, &b);
	cr_expect(i, "%s: no stack of task %u", what, tid);
	pyframes_free(m);
}

static void need_gdb(void)
{
	if (!has_tables())
		cr_skip_test("no tables on this machine");
	if (!have_command("gdb") || slow_machine())
		cr_skip_test("no gdb, or no time for it");
}

static void check_frames_mode(const char *mode)
{
	struct proc p;
	uint32_t tid;

	proc_start(&p, ARGS(workload("frames"), mode, "60"), NULL);
	cr_assert(file_holds(p.out_path, "tid ", 20), "%s does not start", mode);
	tid = (uint32_t)atoi(strstr(slurp(p.out_path), "tid ") + 4);
	sleep_s(0.1);
	check_against_gdb(mode, p.pid, tid);
	kill(p.pid, SIGKILL);
	proc_wait(&p);
}

Test(unwind, gdb_functions_of_all_sorts)
{
	need_gdb();
	check_frames_mode("deep");
}

Test(unwind, gdb_callback)
{
	need_gdb();
	check_frames_mode("qsort");
}

Test(unwind, gdb_signal_handlers)
{
	need_gdb();
	check_frames_mode("signal");
	check_frames_mode("altstack");
}

Test(unwind, gdb_thread)
{
	need_gdb();
	check_frames_mode("thread");
}

Test(unwind, gdb_loaded_library)
{
	need_gdb();
	check_frames_mode("zlib");
}

/* Programs of the system, blocked for good since before the attach. */
static void check_program(const char *const *argv)
{
	struct proc_opts o = {.timeout_s = 120};
	struct proc p;
	int fd;

	if (!have_command(argv[0]))
		return;
	if (mkfifo("fifo", 0600) && errno != EEXIST)
		cr_assert(false, "no FIFO");
	fd = open("fifo", O_RDWR | O_CLOEXEC); /* a writer that never writes */
	o.input = "fifo";
	proc_start(&p, argv, &o);
	sleep_s(1);
	check_against_gdb(argv[0], p.pid, (uint32_t)p.pid);
	kill(p.pid, SIGKILL);
	proc_wait(&p);
	close(fd);
}

Test(unwind, gdb_programs)
{
	need_gdb();
	check_program(ARGS("sleep", "100"));
	check_program(ARGS("cat"));
	check_program(ARGS("sort"));
	check_program(ARGS("sed", "p"));
	check_program(ARGS("perl", "-e", "sub f { sleep 100 } f()"));
	check_program(ARGS("bash", "-c", "f() { read x; }; f"));
	check_program(ARGS("/usr/bin/python3", "-c",
	                   "import time\ndef f(n):\n  f(n - 1) if n else time.sleep(100)\n"
	                   "list(map(f, [5]))"));
	check_program(ARGS("/usr/bin/python3", "-c", "import sys; sys.stdin.read()"));
	check_program(ARGS("openssl", "enc", "-base64"));
}
