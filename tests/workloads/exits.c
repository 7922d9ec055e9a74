/* SPDX-License-Identifier: MIT */
/*
 * exits: processes and threads that end, change and rename themselves in every way. Truth:
 * "exit" {pid, how, status} (the shell's form), "name" {tid, comm} for a task's last name,
 * "reaped" of every child, "total" {tasks}. --self CMD is this program (for exec).
 */
#include "truth.h"
#include <sys/prctl.h>

static unsigned tasks = 1;

static void ended(const char *how, pid_t pid)
{
	siginfo_t si;
	int status;

	must(!waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), "waitid");
	status = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
	truth("{\"t\":\"exit\",\"pid\":%d,\"how\":\"%s\",\"status\":%d}", pid, how, status);
	truth_reap(pid);
}

static pid_t start(void (*body)(int), int p)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	tasks++;
	if (!pid) {
		body(p);
		_exit(98);
	}
	return pid;
}

static void exit_with(int code)
{
	_exit(code);
}

static void die_of(int sig)
{
	signal(sig, SIG_DFL);
	raise(sig);
}

static void segfault(int unused)
{
	volatile int *p = NULL;

	(void)unused;
	*p = 1;
}

static void *exit_group_later(void *p)
{
	sleep_ns(20 * MS);
	exit((int)(intptr_t)p);
}

/* The leader goes first; the process lives on and ends with the thread's status. */
static void leader_first(int code)
{
	thread_start(exit_group_later, (void *)(intptr_t)code, 0);
	pthread_exit(NULL);
}

static void *just_end(void *unused)
{
	return unused;
}

static void threads_end(int unused)
{
	pthread_t t[3];

	(void)unused;
	for (int i = 0; i < 3; i++)
		t[i] = thread_start(just_end, NULL, 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	_exit(0);
}

static void *do_exec(void *self)
{
	truth("{\"t\":\"exec-thread\",\"pid\":%d,\"tid\":%d}", getpid(), gettid_());
	execl(self, "exits", "--end", "6", (char *)NULL);
	_exit(98);
}

static const char *self_path;

/* exec by a thread that is not the leader: it takes over the leader's id. */
static void thread_exec(int unused)
{
	(void)unused;
	thread_start(do_exec, (void *)(uintptr_t)self_path, 0);
	for (;;)
		pause();
}

static void vfork_exec(void)
{
	pid_t pid = vfork();

	must(pid >= 0, "vfork");
	if (!pid) {
		execl(self_path, "exits", "--end", "9", (char *)NULL);
		_exit(98);
	}
	tasks++;
	ended("vfork+exec", pid);
}

static void rename_self(int unused)
{
	(void)unused;
	prctl(PR_SET_NAME, "renamed-1");
	sleep_ns(MS);
	prctl(PR_SET_NAME, "renamed-2");
	truth("{\"t\":\"name\",\"tid\":%d,\"comm\":\"renamed-2\"}", gettid_());
	sleep_ns(MS);
	_exit(0);
}

/* A name that would drive the terminal and break CSV, JSON and folded stacks. */
static void rename_hostile(int unused)
{
	(void)unused;
	prctl(PR_SET_NAME, "\033[31m\"a;b\n\377c");
	truth("{\"t\":\"hostile\",\"tid\":%d}", gettid_());
	sleep_ns(MS);
	_exit(0);
}

int main(int argc, char **argv)
{
	static const int signals[] = {SIGKILL, SIGTERM, SIGABRT, SIGHUP};
	static const int codes[] = {0, 1, 3, 127, 255};
	struct rlimit none = {0, 0};
	char how[32];

	if (arg(argc, argv, "--end"))
		return (int)arg_u64(argc, argv, "--end", 0);
	truth_open(argc, argv);
	setrlimit(RLIMIT_CORE, &none);
	self_path = "/proc/self/exe";
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		snprintf(how, sizeof(how), "code %d", codes[i]);
		ended(how, start(exit_with, codes[i]));
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		snprintf(how, sizeof(how), "signal %d", signals[i]);
		ended(how, start(die_of, signals[i]));
	}
	ended("segfault", start(segfault, 0));
	tasks++;
	ended("leader first", start(leader_first, 7));
	tasks += 3;
	ended("threads end", start(threads_end, 0));
	tasks++;
	ended("exec by a thread", start(thread_exec, 0));
	vfork_exec();
	ended("rename", start(rename_self, 0));
	ended("hostile name", start(rename_hostile, 0));
	truth("{\"t\":\"total\",\"tasks\":%u}", tasks);
	truth_task("main");
	return (int)arg_u64(argc, argv, "--status", 0);
}
