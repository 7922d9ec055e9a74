/* SPDX-License-Identifier: MIT */
/*
 * Callers with habits: signals that they ignore, limits, PID namespaces; and processes that are
 * hardly there any more.
 */
#include "live.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

LIVE_SUITE(edges);

static struct proc python(const char *code)
{
	return run_with(ARGS("python3", "-c", code), &(struct proc_opts){.timeout_s = 20});
}

/* The kernel then reaps the command by itself: its status must be known all the same, and the
 * command ignores what it would ignore without mpvtrace. */
Test(edges, caller_ignores_sigchld)
{
	struct proc p = python(fmt("import os, signal\n"
	                           "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
	                           "os.execv('%s', ['mpvtrace', 'run', '-o', 't.mpv', 'python3',"
	                           " '-c', 'import signal, sys; sys.exit(40 + (signal.getsignal("
	                           "signal.SIGCHLD) == signal.SIG_IGN))'])\n",
	                           mpvtrace()));

	cr_expect_eq(p.status, 41, "status %d; stderr:\n%s", p.status, p.err);
}

/* nohup: the terminal's end is none of our business. */
Test(edges, caller_ignores_sighup)
{
	struct proc p = python(fmt("import signal, subprocess, time\n"
	                           "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
	                           "p = subprocess.Popen(['%s', 'run', '-o', 't.mpv', 'sh', '-c',"
	                           " 'sleep 4; exit 7'])\n"
	                           "time.sleep(1)\n"
	                           "p.send_signal(signal.SIGHUP)\n"
	                           "raise SystemExit(p.wait())\n",
	                           mpvtrace()));

	cr_expect_eq(p.status, 7, "status %d; stderr:\n%s", p.status, p.err);
}

Test(edges, file_size_limit)
{
	struct proc p = run(ARGS("sh", "-c",
	                         fmt("ulimit -f 16; exec %s run --no-report -o t.mpv -- %s "
	                             "--rounds 100000 --truth %s/truth",
	                             mpvtrace(), workload("pingpong"), live_dir)));

	cr_expect_eq(p.status, 10, "status %d; stderr:\n%s", p.status, p.err);
	cr_expect(strstr(p.err, "too large"), "stderr:\n%s", p.err);
	cr_expect(truth_line(load_truth(fmt("%s/truth", live_dir)), "total", NULL, 0),
	          "the workload did not go on to its end");
}

/* As in a container without the machine's root: what is missing is said, not what fails then. */
Test(edges, user_namespace)
{
	struct proc p;

	if (!have_command("unshare") ||
	    run(ARGS("unshare", "--user", "--map-root-user", "true")).status)
		cr_skip_test("no user namespaces");
	p = run(ARGS("unshare", "--user", "--map-root-user", mpvtrace(), "run", "-o", "t.mpv", "--",
	             "true"));
	cr_expect_eq(p.status, 3, "status %d; stderr:\n%s", p.status, p.err);
	cr_expect(strstr(p.err, "root in a user namespace only"), "stderr:\n%s", p.err);
	cr_expect(access("t.mpv", F_OK), "nothing to write");
	p = run(ARGS("unshare", "--user", "--map-root-user", mpvtrace(), "check"));
	cr_expect(strstr(p.out, "no   privileges                 those of a user namespace only"),
	          "stdout:\n%s", p.out);
}

/* As in a container that has the privileges: ids are those of its own /proc. */
Test(edges, pid_namespace)
{
	struct proc p;
	json_t *r;

	if (!have_command("unshare"))
		cr_skip_test("no unshare");
	p = run(ARGS("unshare", "-pf", "--mount-proc", mpvtrace(), "run", "-o", "t.mpv", "--json",
	             "r.json", "--", "sh", "-c", "sleep 0.4; exit 3"));
	cr_assert_eq(p.status, 3, "status %d; stderr:\n%s", p.status, p.err);
	r = load_json("r.json");
	check_recording(r, 0);
	cr_expect_eq(json_array_size(at(r, "tasks")), 2);
	cr_expect_lt(u64_at(r, "tasks[0].tid"), 100, "not an id of the new namespace");
	p = run(ARGS("unshare", "-pf", "--mount-proc", "sh", "-c",
	             fmt("sleep 9 & exec %s attach -p $! -d 0.3 -f -o t.mpv --json a.json",
	                 mpvtrace())));
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	cr_expect_eq(json_array_size(at(load_json("a.json"), "tasks")), 1);
}

Test(edges, attach_to_a_zombie)
{
	pid_t pid = fork();
	struct proc p;

	if (!pid)
		_exit(0);
	cr_assert(file_holds(fmt("/proc/%d/status", (int)pid), "State:\tZ", 60));
	p = run(ARGS(mpvtrace(), "attach", "-p", fmt("%d", (int)pid), "-o", "t.mpv"));
	waitpid(pid, NULL, 0);
	cr_expect_eq(p.status, 5, "status %d; stderr:\n%s", p.status, p.err);
}

Test(edges, attach_to_a_thread)
{
	struct proc p =
	        python(fmt("import subprocess, threading, time\n"
	                   "t = threading.Thread(target=time.sleep, args=(60,), daemon=True)\n"
	                   "t.start()\n"
	                   "raise SystemExit(subprocess.call(['%s', 'attach', '-o', 't.mpv',"
	                   " '-d', '0.2', '-p', str(t.native_id)]))\n",
	                   mpvtrace()));

	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	cr_expect(strstr(p.err, "is a thread"), "stderr:\n%s", p.err);
}

/* The first thread has gone, the others work on. */
Test(edges, attach_without_leader)
{
	struct proc w, p;
	json_t *r;

	proc_start(&w,
	           ARGS("python3", "-c",
	                "import ctypes, threading, time\n"
	                "threading.Thread(target=lambda: [time.sleep(.01) for i in range(6000)])"
	                ".start()\n"
	                "ctypes.CDLL(None).pthread_exit(None)\n"),
	           NULL);
	cr_assert(file_holds(fmt("/proc/%d/status", (int)w.pid), "State:\tZ", 60));
	p = run(ARGS(mpvtrace(), "attach", "-p", fmt("%d", (int)w.pid), "-d", "0.3", "-o", "t.mpv",
	             "--json", "r.json"));
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	r = load_json("r.json");
	check_recording(r, LENIENT_ALIVE);
	cr_expect_geq(json_array_size(at(r, "tasks")), 1);
	kill(w.pid, SIGKILL);
	proc_wait(&w);
}

/* A page fault that only looks (here: along a frame pointer that is none) touches nothing. */
Test(edges, first_touch_is_no_more_than_the_faults)
{
	struct recording r =
	        record(ARGS("--stacks", "all"), ARGS(workload("badframe"), "--rounds", "500"));
	uint64_t minor = u64_at(r.json, "tasks[0].faults.minor");

	if (null_at(r.json, "tasks[0].faults.first_read"))
		cr_skip_test("this kernel does not tell faults apart");
	cr_expect_lt(u64_at(r.json, "tasks[0].faults.first_read"), minor + 50, "%llu minor faults",
	             (unsigned long long)minor);
}

/* The kernel's own threads are never in user space, and wait for no page of it. */
Test(edges, kernel_threads)
{
	struct proc p;
	json_t *r, *task;
	size_t i;

	if (!file_holds("/proc/2/comm", "kthreadd", 1))
		cr_skip_test("process 2 is not the kernel's here");
	p = run(ARGS(mpvtrace(), "attach", "-p", "2", "-d", "0.3", "-o", "t.mpv", "--json",
	             "r.json"));
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	r = load_json("r.json");
	task = task_by_tid(r, 2);
	cr_assert(task);
	cr_expect_gt(u64_at(task, "blocked_ns"), 0);
	json_array_foreach(at(r, "tasks"), i, task)
	        cr_expect_eq(u64_at(task, "blocked.fault"), 0, "%s", str_at(task, "comm"));
}

/* Threads that the kernel makes in a process to do what it asked of io_uring. */
Test(edges, io_uring_workers)
{
	struct recording r = record(NONE, ARGS(workload("uring")));
	size_t workers = 0;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	if (truth_line(r.truth, "none", NULL, 0))
		cr_skip_test("no io_uring here");
	check_recording(r.json, 0);
	cr_expect_eq(json_array_size(at(r.json, "tasks")),
	             u64_at(truth_line(r.truth, "total", NULL, 0), "tasks"));
	for (size_t i = 0; i < json_array_size(r.truth); i++) {
		json_t *line = json_array_get(r.truth, i), *task;

		if (strcmp(str_at(line, "t"), "worker"))
			continue;
		task = task_by_tid(r.json, u64_at(line, "tid"));
		cr_assert(task, "worker %llu is not in the report",
		          (unsigned long long)u64_at(line, "tid"));
		cr_expect(!strncmp(str_at(task, "comm"), "iou-wrk-", 8), "%s",
		          str_at(task, "comm"));
		/* It waits inside the kernel, where it is at home: for no page. */
		cr_expect_gt(u64_at(task, "blocked_ns"), 40 * MS);
		cr_expect_eq(u64_at(task, "blocked.fault"), 0);
		workers++;
	}
	cr_expect_gt(workers, 0);
}
