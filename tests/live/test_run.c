/* SPDX-License-Identifier: MIT */
/*
 * What the workload and its caller see: statuses, users, terminal, signals, files, messages.
 */
#include "live.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pty.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

LIVE_SUITE(run);

static const char *out_file(const char *name)
{
	return fmt("%s/%s", live_dir, name);
}

/* `mpvtrace run -o t.mpv ARGS…`: a plain run, without JSON. */
static struct proc run_it(const char *const *args)
{
	const char *argv[32] = {mpvtrace(), "run", "-f", "-o", out_file("t.mpv")};
	size_t n = 5;

	for (; *args; args++)
		argv[n++] = *args;
	return run(argv);
}

static void fails(struct proc p, int status, const char *says)
{
	cr_expect_eq(p.status, status, "status %d, not %d; stderr:\n%s", p.status, status, p.err);
	cr_expect(strstr(p.err, says), "stderr does not say \"%s\":\n%s", says, p.err);
	cr_expect(strstr(p.err, "mpvtrace"), "stderr does not name the program:\n%s", p.err);
}

/* --- exit status --------------------------------------------------------------------------- */

Test(run, status_is_the_workloads)
{
	cr_expect_eq(run_it(ARGS("--", "/bin/true")).status, 0);
	cr_expect_eq(run_it(ARGS("--", "/bin/sh", "-c", "exit 3")).status, 3);
	cr_expect_eq(run_it(ARGS("--", "/bin/sh", "-c", "kill -TERM $$")).status, 143);
	cr_expect_eq(run_it(ARGS("--", "/bin/sh", "-c", "kill -KILL $$")).status, 137);
	cr_expect_eq(run_it(ARGS("/bin/sh", "-c", "exit 42")).status, 42, "without --");
}

Test(run, command_that_cannot_run)
{
	FILE *f = fopen(out_file("plain"), "w");

	cr_assert(f && !fclose(f));
	fails(run_it(ARGS("--", "no-such-command-here")), 127, "no-such-command-here");
	fails(run_it(ARGS("--", "/no/such/command")), 127, "/no/such/command");
	fails(run_it(ARGS("--", out_file("plain"))), 126, "plain");
	fails(run_it(ARGS("--", live_dir)), 126, live_dir);
}

/* --- who the workload is --------------------------------------------------------------------- */

static void check_is_user(json_t *self, const char *name)
{
	struct passwd *pw = getpwnam(name);
	char expected[512] = "";
	gid_t groups[64];
	int n = 64;

	cr_assert(pw);
	cr_expect_eq(u64_at(self, "uid"), pw->pw_uid);
	cr_expect_eq(u64_at(self, "euid"), pw->pw_uid);
	cr_expect_eq(u64_at(self, "gid"), pw->pw_gid);
	cr_expect_str_eq(str_at(self, "home"), pw->pw_dir);
	/* Root stays as it is, whatever groups it has. */
	if (!pw->pw_uid)
		return;
	cr_expect_str_eq(str_at(self, "caps"), "0000000000000000");
	cr_assert_geq(getgrouplist(name, pw->pw_gid, groups, &n), 0);
	for (int i = 0; i < n; i++)
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "%s%u",
		         i ? "," : "", groups[i]);
	/* The same set in any order. */
	cr_expect_eq(strlen(expected), strlen(str_at(self, "groups")), "groups %s, not %s",
	             str_at(self, "groups"), expected);
}

static void check_owner(const char *path, uid_t uid, gid_t gid)
{
	struct stat st;

	cr_assert(!stat(path, &st), "%s", path);
	cr_expect_eq(st.st_uid, uid, "%s belongs to %u", path, st.st_uid);
	cr_expect_eq(st.st_gid, gid, "%s belongs to group %u", path, st.st_gid);
	cr_expect_eq(st.st_mode & 07777, 0600, "%s has mode %o", path, st.st_mode & 07777);
}

static const char *const *sudo_env(const char *name)
{
	static const char *env[4];
	struct passwd *pw = getpwnam(name);

	cr_assert(pw);
	env[0] = fmt("SUDO_UID=%u", pw->pw_uid);
	env[1] = fmt("SUDO_GID=%u", pw->pw_gid);
	env[2] = fmt("SUDO_USER=%s", name);
	return env;
}

Test(run, as_the_user_who_called_sudo)
{
	struct proc_opts o = {.env = sudo_env("daemon")};
	struct passwd *pw = getpwnam("daemon");
	struct recording r;

	cr_assert(!chown(live_dir, pw->pw_uid, pw->pw_gid));
	r = record_with(NONE, ARGS(workload("sigs"), "--create", out_file("made")), &o);
	cr_expect_eq(r.p.status, 0, "stderr:\n%s", r.p.err);
	check_is_user(truth_line(r.truth, "self", NULL, 0), "daemon");
	check_recording(r.json, 0);
	check_owner(r.trace, pw->pw_uid, pw->pw_gid);
	check_owner(r.json_path, pw->pw_uid, pw->pw_gid);
}

Test(run, as_another_user)
{
	struct proc_opts o = {.env = sudo_env("daemon")};
	struct recording r;

	cr_assert(!chmod(live_dir, 0777));
	r = record(ARGS("--user", "nobody"), ARGS(workload("sigs")));
	check_is_user(truth_line(r.truth, "self", NULL, 0), "nobody");
	check_owner(r.trace, 0, 0);
	r = record_with(ARGS("--user", "root"), ARGS(workload("sigs")), &o);
	check_is_user(truth_line(r.truth, "self", NULL, 0), "root");
	check_owner(r.trace, getpwnam("daemon")->pw_uid, getpwnam("daemon")->pw_gid);
	fails(run_it(ARGS("--user", "no-such-user", "--", "/bin/true")), 2, "no-such-user");
}

/* A user who may call sudo mpvtrace must not get root's right to write anywhere by it. */
Test(run, output_is_opened_as_the_user)
{
	struct proc_opts o = {.env = sudo_env("daemon")};
	struct proc p;

	cr_assert(!mkdir(out_file("roots"), 0700));
	p = run_with(ARGS(mpvtrace(), "run", "-o", out_file("roots/t.mpv"), "--", "/bin/true"), &o);
	fails(p, 10, "roots/t.mpv");
	cr_assert(!mkdir(out_file("daemons"), 0777) && !chmod(out_file("daemons"), 0777));
	p = run_with(ARGS(mpvtrace(), "run", "-o", out_file("daemons/t.mpv"), "--json",
	                  out_file("roots/r.json"), "--", "/bin/true"),
	             &o);
	fails(p, 10, "roots/r.json");
	cr_assert(!symlink("/etc/mpvtrace-live-test", out_file("daemons/link.mpv")));
	p = run_with(ARGS(mpvtrace(), "run", "-f", "-o", out_file("daemons/link.mpv"), "--",
	                  "/bin/true"),
	             &o);
	cr_expect_neq(access("/etc/mpvtrace-live-test", F_OK), 0, "wrote through a symbolic link");
}

/* --- its surroundings ------------------------------------------------------------------------ */

static json_t *without(json_t *self, const char *const *keys)
{
	for (; *keys; keys++)
		json_object_del(self, *keys);
	return self;
}

Test(run, surroundings_are_as_without)
{
	struct proc_opts o = {.env = ARGS("MT_PROBE=seen, with \xc3\xa9"), .cwd = "/usr/lib"};
	const char *const moving[] = {"pid", "ppid", "pgrp", NULL};
	struct recording r = record_with(NONE, ARGS(workload("sigs")), &o);
	json_t *with, *plain;

	run_with(ARGS(workload("sigs"), "--truth", out_file("plain.truth")), &o);
	with = without(truth_line(r.truth, "self", NULL, 0), moving);
	plain = without(truth_line(load_truth(out_file("plain.truth")), "self", NULL, 0), moving);
	cr_expect(json_equal(with, plain), "with mpvtrace:\n%s\nwithout:\n%s",
	          fmt("%s", json_dumps(with, JSON_SORT_KEYS)),
	          fmt("%s", json_dumps(plain, JSON_SORT_KEYS)));
}

Test(run, stdin_reaches_the_workload)
{
	struct proc_opts o = {.input = out_file("input")};
	FILE *f = fopen(o.input, "w");
	struct proc p;

	cr_assert(f && fputs("line one\nline two\n", f) >= 0 && !fclose(f));
	p = run_with(ARGS(mpvtrace(), "run", "-o", out_file("t.mpv"), "--no-report", "--",
	                  workload("sigs"), "--cat"),
	             &o);
	cr_expect_str_eq(p.out, "line one\nline two\n");
	cr_expect_eq(p.status, 0);
}

Test(run, report_on_stdout_talk_on_stderr)
{
	struct proc p = run_it(ARGS("--", workload("threads")));

	cr_expect(strstr(p.out, "threads"), "no report on stdout:\n%s", p.out);
	cr_expect(!strstr(p.out, "mpvtrace: "), "talk on stdout:\n%s", p.out);
}

/* --- Ctrl-C ---------------------------------------------------------------------------------- */

/* Runs on a terminal of its own, presses Ctrl-C once "ready" was read; returns the status in
 * the shell's form, and in out (n bytes) all that the terminal showed. */
static int on_terminal(const char *const *argv, int presses, char *out, size_t n)
{
	uint64_t deadline = mono_ns() + 40 * SEC;
	int master, status = -1;
	size_t at_ = 0;
	pid_t pid = forkpty(&master, NULL, NULL, NULL);

	cr_assert(pid >= 0);
	if (!pid) {
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	while (mono_ns() < deadline) {
		struct pollfd p = {.fd = master, .events = POLLIN};
		ssize_t got = 0;

		if (poll(&p, 1, 100) > 0 && at_ < n - 1)
			got = read(master, out + at_, n - 1 - at_);
		if (got < 0)
			break; /* EIO: everybody has left the terminal */
		at_ += (size_t)got;
		out[at_] = 0;
		for (; presses && strstr(out, "ready"); presses--) {
			sleep_s(0.3);
			cr_assert_eq(write(master, "\003", 1), 1);
		}
	}
	if (waitpid(pid, &status, WNOHANG) != pid) {
		sleep_s(1);
		if (waitpid(pid, &status, WNOHANG) != pid)
			kill(pid, SIGKILL);
	}
	close(master);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static const char *const *terminal_run(const char *const *cmd)
{
	static const char *argv[32];
	size_t n = 0;

	for (const char *const *a = ARGS(mpvtrace(), "run", "-f", "-o", out_file("t.mpv"), "--json",
	                                 out_file("t.json"), "--");
	     *a; a++)
		argv[n++] = *a;
	for (; *cmd; cmd++)
		argv[n++] = *cmd;
	argv[n] = NULL;
	return argv;
}

Test(run, terminal_is_the_workloads)
{
	static char out[65536];
	json_t *self;
	int status = on_terminal(terminal_run(ARGS(workload("sigs"), "--truth", out_file("s"))),
	                         false, out, sizeof(out));

	cr_expect_eq(status, 0, "%s", out);
	self = truth_line(load_truth(out_file("s")), "self", NULL, 0);
	cr_assert(self);
	cr_expect_eq(u64_at(self, "tty"), 1);
	cr_expect_eq(u64_at(self, "foreground"), 1, "not in the terminal's foreground");
	cr_expect_eq(u64_at(self, "session"), 1, "in another session than mpvtrace");
}

Test(run, ctrl_c_reaches_a_workload_that_handles_it)
{
	static char out[65536];
	int status = on_terminal(terminal_run(ARGS(workload("sigs"), "--on-int", "4")), 1, out,
	                         sizeof(out));

	cr_expect_eq(status, 4, "status %d; terminal:\n%s", status, out);
	check_recording(load_json(out_file("t.json")), 0);
	cr_expect(strstr(out, "sigs"), "no report on the terminal:\n%s", out);
}

Test(run, ctrl_c_ends_a_workload_that_does_not)
{
	static char out[65536];
	int status = on_terminal(
	        terminal_run(ARGS("/bin/sh", "-c", "echo ready; sleep 20; echo nev''er")), 1, out,
	        sizeof(out));

	cr_expect_eq(status, 130, "status %d; terminal:\n%s", status, out);
	cr_expect(!strstr(out, "never"));
	check_recording(load_json(out_file("t.json")), 0);
}

Test(run, ctrl_c_with_a_workload_that_ignores_it)
{
	static char out[65536];
	uint64_t t0 = mono_ns();

	on_terminal(terminal_run(ARGS(workload("sigs"), "--ignore-int", "1500")), 1, out,
	            sizeof(out));
	check_recording(load_json(out_file("t.json")), LENIENT_ALIVE);
	cr_expect_lt(mono_ns() - t0, 20 * SEC);
}

/* However long the workload takes after Ctrl-C, its status is waited for. */
Test(run, ctrl_c_that_the_workload_survives)
{
	static char out[65536];
	int status = on_terminal(
	        terminal_run(ARGS("/bin/sh", "-c",
	                          "trap 'echo han''dled' INT; echo ready; for i in 1 2 3 4 5 6; "
	                          "do sleep 0.5; done; exit 9")),
	        1, out, sizeof(out));

	cr_expect(strstr(out, "handled"), "%s", out);
	cr_expect_eq(status, 9, "status %d: %s", status, out);
	check_recording(load_json(out_file("t.json")), 0);
}

Test(run, ctrl_c_twice_leaves_the_workload)
{
	static char out[65536];
	uint64_t t0 = mono_ns();
	int status = on_terminal(terminal_run(ARGS(workload("sigs"), "--ignore-int", "6000")), 2,
	                         out, sizeof(out));
	json_t *json = load_json(out_file("t.json"));

	check_recording(json, LENIENT_ALIVE);
	cr_expect_eq(status, 0, "status %d: %s", status, out);
	cr_expect(null_at(json, "workload.exit_status"), "it was waited for");
	cr_expect_lt(mono_ns() - t0, 30 * SEC);
}

/* --- duration and attach
 * -------------------------------------------------------------------------- */

Test(run, duration_ends_the_recording_not_the_workload)
{
	/* It would be killed before it had waited so long. */
	struct recording r =
	        record(ARGS("-d", "0.4"), ARGS(workload("sigs"), "--sleep", "1000000"));

	cr_expect_eq(r.p.status, 0, "status %d", r.p.status);
	check_recording(r.json, LENIENT_ALIVE);
	cr_expect(null_at(r.json, "workload.exit_status"));
	cr_expect(null_at(r.json, "tasks[0].exit_status"));
	cr_expect(strstr(r.p.err, "still"), "stderr does not say that it still runs:\n%s", r.p.err);
}

/* Its first child, 0 = none yet. */
static pid_t first_child(pid_t pid)
{
	FILE *f = fopen(fmt("/proc/%d/task/%d/children", pid, pid), "re");
	int child = 0;

	if (f && fscanf(f, "%d", &child) != 1)
		child = 0;
	if (f)
		fclose(f);
	return child;
}

static struct proc attach(pid_t pid, const char *seconds)
{
	return run(ARGS(mpvtrace(), "attach", "-p", fmt("%d", pid), "-d", seconds, "-f", "-o",
	                out_file("a.mpv"), "--json", out_file("a.json")));
}

Test(run, attach_to_threads)
{
	struct proc w, p;
	json_t *json;

	proc_start(&w, ARGS(workload("threads"), "--rounds", "100000"), NULL);
	await_tasks(w.pid, 9);
	p = attach(w.pid, "0.7");
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	json = load_json(out_file("a.json"));
	check_recording(json, LENIENT_ALIVE);
	cr_expect_eq(json_array_size(at(json, "tasks")), 9, "%zu tasks",
	             json_array_size(at(json, "tasks")));
	cr_expect(null_at(json, "workload.exit_status"));
	cr_expect_geq(u64_at(json, "workload.wall_ns"), 600 * MS);
	cr_expect_eq(kill(w.pid, SIGKILL), 0, "the workload ended with the recording");
	proc_wait(&w);
}

/* What never stops leaves no time without a task: the wall is the time in which it is followed, and
 * -d is as much of it. */
Test(run, attach_to_the_busy)
{
	struct proc w, p;
	json_t *json, *t;
	uint64_t start, wall;
	size_t i;

	proc_start(&w, ARGS("/bin/sh", "-c", "while :; do :; done & while :; do :; done"), NULL);
	while (!first_child(w.pid))
		sleep_s(0.01);
	p = attach(w.pid, "0.3");
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	json = load_json(out_file("a.json"));
	check_recording(json, LENIENT_ALIVE);
	start = u64_at(json, "workload.start_ns");
	wall = u64_at(json, "workload.wall_ns");
	cr_expect_geq(wall, 300 * MS);
	cr_expect_eq(json_array_size(at(json, "tasks")), 2);
	json_array_foreach(at(json, "tasks"), i, t)
	{
		cr_expect_leq(u64_at(t, "start_ns") - start, 10 * MS, "task %zu begins late", i);
		cr_expect_eq(u64_at(t, "end_ns"), start + wall, "task %zu does not end with it", i);
	}
	kill(first_child(w.pid), SIGKILL);
	kill(w.pid, SIGKILL);
	proc_wait(&w);
}

/* A thread's id stands for its process. */
Test(run, attach_by_a_threads_id)
{
	struct dirent *e;
	struct proc w, p;
	pid_t tid = 0;
	DIR *tasks;

	proc_start(&w, ARGS(workload("threads"), "--rounds", "100000"), NULL);
	await_tasks(w.pid, 9);
	tasks = opendir(fmt("/proc/%d/task", w.pid));
	cr_assert(tasks);
	while ((e = readdir(tasks)))
		tid = atoi(e->d_name) > w.pid ? atoi(e->d_name) : tid;
	closedir(tasks);
	cr_assert_neq(tid, 0);
	p = attach(tid, "0.3");
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	cr_expect(strstr(p.err, fmt("%d is a thread of process %d", tid, w.pid)), "%s", p.err);
	cr_expect_eq(json_array_size(at(load_json(out_file("a.json")), "tasks")), 9);
	kill(w.pid, SIGKILL);
	proc_wait(&w);
}

/* From attach to the end of the process, with a child made meanwhile. */
Test(run, attach_until_the_end)
{
	const char *fifo = out_file("fifo");
	struct proc w, p;
	json_t *json;
	int fd;

	cr_assert(!mkfifo(fifo, 0600));
	proc_start(&w, ARGS("/bin/sh", "-c", fmt("cat %s; /bin/true; sleep 0.3; exit 3", fifo)),
	           NULL);
	fd = open(fifo, O_WRONLY | O_CLOEXEC); /* cat is there */
	cr_assert(fd >= 0);
	proc_start(&p,
	           ARGS(mpvtrace(), "attach", "-v", "-p", fmt("%d", w.pid), "-o", out_file("a.mpv"),
	                "--json", out_file("a.json")),
	           NULL);
	await_recording(&p);
	close(fd);
	proc_wait(&w);
	proc_wait(&p);
	cr_expect_eq(w.status, 3);
	cr_expect_eq(p.status, 0, "status %d; stderr:\n%s", p.status, p.err);
	json = load_json(out_file("a.json"));
	check_recording(json, 0);
	/* the shell, the cat it had running, true, and the sleep */
	cr_expect_eq(json_array_size(at(json, "tasks")), 4, "%zu tasks",
	             json_array_size(at(json, "tasks")));
}

Test(run, attach_to_nobody)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	fails(attach(pid, "0.2"), 5, fmt("%d", pid));
	fails(run(ARGS(mpvtrace(), "attach", "-p", "0")), 2, "0");
	fails(run(ARGS(mpvtrace(), "attach", "-p", "12x")), 2, "12x");
	fails(run(ARGS(mpvtrace(), "attach")), 2, "-p");
}

/* --- files and options
 * ---------------------------------------------------------------------------- */

Test(run, output_is_never_overwritten_silently)
{
	struct proc p = run(ARGS(mpvtrace(), "run", "-o", "x.mpv", "--", "/bin/true"));

	cr_expect_eq(p.status, 0, "%s", p.err);
	fails(run(ARGS(mpvtrace(), "run", "-o", "x.mpv", "--", "/bin/true")), 10, "x.mpv");
	cr_expect_eq(run(ARGS(mpvtrace(), "run", "-f", "-o", "x.mpv", "--", "/bin/true")).status,
	             0);
	cr_expect_eq(run(ARGS(mpvtrace(), "run", "--", "/bin/true")).status, 0);
	p = run(ARGS(mpvtrace(), "run", "--", "/bin/true"));
	cr_expect_eq(p.status, 0);
	cr_expect(!access("mpvtrace.mpv", R_OK) && !access("mpvtrace.1.mpv", R_OK));
	cr_expect(strstr(p.err, "mpvtrace.1.mpv"), "does not say where the trace went:\n%s", p.err);
}

Test(run, output_that_cannot_be_written)
{
	cr_assert(!mkdir("dir", 0755));
	fails(run(ARGS(mpvtrace(), "run", "-o", "dir", "--", "/bin/true")), 10, "dir");
	fails(run(ARGS(mpvtrace(), "run", "-o", "no/such/t.mpv", "--", "/bin/true")), 10,
	      "no/such/t.mpv");
	fails(run(ARGS(mpvtrace(), "run", "-o", "t.mpv", "--json", "no/such.json", "--",
	               "/bin/true")),
	      10, "no/such.json");
}

Test(run, bad_options)
{
	fails(run(ARGS(mpvtrace(), "run")), 2, "run");
	fails(run(ARGS(mpvtrace(), "run", "--no-such-option", "--", "true")), 2, "no-such-option");
	fails(run(ARGS(mpvtrace(), "run", "-F", "many", "--", "true")), 2, "many");
	fails(run(ARGS(mpvtrace(), "run", "-d", "-1", "--", "true")), 2, "-1");
	fails(run(ARGS(mpvtrace(), "run", "--stacks", "some", "--", "true")), 2, "some");
	fails(run(ARGS(mpvtrace(), "run", "--buffer", "0x", "--", "true")), 2, "0x");
	fails(run(ARGS(mpvtrace(), "rum", "--", "true")), 2, "rum");
	fails(run(ARGS(mpvtrace(), "report", "--sort", "colour", "x.mpv")), 2, "colour");
	cr_expect_eq(run(ARGS(mpvtrace(), "--version")).status, 0);
	cr_expect_eq(run(ARGS(mpvtrace(), "help")).status, 0);
}

Test(run, without_root)
{
	struct proc p;

	if (!have_command("setpriv"))
		cr_skip_test("no setpriv");
	cr_assert(!chmod(live_dir, 0777));
	p = run(ARGS("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
	             "--inh-caps=-all", mpvtrace(), "run", "-o", "t.mpv", "--", "/bin/true"));
	/* From a build directory that nobody may enter this cannot be tried. */
	if (p.status == 127)
		cr_skip_test("another user may not execute %s", mpvtrace());
	fails(p, 3, "sudo");
	cr_expect_neq(access("t.mpv", F_OK), 0, "a trace file was left behind");
	/* That is what is wrong, even where no file could be written either. */
	p = run(ARGS("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
	             "--inh-caps=-all", mpvtrace(), "run", "-o", "/proc/t.mpv", "--", "/bin/true"));
	fails(p, 3, "sudo");
}

/* It would believe anybody's SUDO_UID, and write files as that user. */
Test(run, not_setuid)
{
	char copy[300];
	struct proc p;

	if (!have_command("setpriv"))
		cr_skip_test("no setpriv");
	snprintf(copy, sizeof(copy), "%s/mpvtrace", live_dir);
	cr_assert_eq(run(ARGS("cp", mpvtrace(), copy)).status, 0);
	cr_assert(!chmod(copy, 04755));
	p = run(ARGS("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, "run",
	             "--", "/bin/true"));
	if (strstr(p.err, "recording needs root"))
		cr_skip_test("setuid means nothing here");
	fails(p, 3, "setuid");
	p = run(ARGS("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, "report",
	             "x.mpv"));
	fails(p, 3, "setuid");
}
