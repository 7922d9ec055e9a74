/* SPDX-License-Identifier: MIT */
/*
 * truth.h: how a workload states its own truth. With `--truth FILE` each task appends JSON
 * lines, one write each (so lines of several processes never mix). "t" says what a line is:
 *
 *   task     a task's own counters at its last look: tid, pid, name, nvcsw, nivcsw, minflt,
 *            majflt (getrusage), run_ns, delay_ns (schedstat). Lower bounds: ending costs more.
 *   start    the same of the first task as main() begins: what it counted before its exec
 *   reaped   what the parent got from wait4() for a process that is gone, exact for faults and
 *            the memory peak: pid, status (the shell's form), minflt, majflt, nvcsw, nivcsw,
 *            maxrss_kb
 *   others   what a workload's own head comment lists
 *
 * Header only, as each workload is one file. Failures end the workload with status 99.
 */
#ifndef TRUTH_H
#define TRUTH_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS     1000000ull
#define UNUSED __attribute__((unused))

static int truth_fd UNUSED = -1;

static UNUSED void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	_exit(99);
}

static UNUSED void must(bool ok, const char *what)
{
	if (!ok)
		die(what);
}

/* Value of `--name VALUE` among the arguments, or NULL. */
static UNUSED const char *arg(int argc, char **argv, const char *name)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return NULL;
}

static UNUSED bool flag(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

static UNUSED uint64_t arg_u64(int argc, char **argv, const char *name, uint64_t fallback)
{
	const char *s = arg(argc, argv, name);
	char *end;
	uint64_t v;

	if (!s)
		return fallback;
	v = strtoull(s, &end, 10);
	must(*s && !*end, name);
	return v;
}

static UNUSED __attribute__((format(printf, 1, 2))) void truth(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n;

	if (truth_fd < 0)
		return;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	must(n > 0 && (size_t)n < sizeof(line) - 1, "truth line");
	line[n++] = '\n';
	must(write(truth_fd, line, n) == n, "truth file");
}

static UNUSED int gettid_(void)
{
	return (int)syscall(SYS_gettid);
}

static UNUSED uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static UNUSED uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static UNUSED void sleep_ns(uint64_t ns)
{
	struct timespec ts = {(time_t)(ns / 1000000000ull), (long)(ns % 1000000000ull)};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* Computes for so much of the calling thread's own CPU time. */
static UNUSED void compute_ns(uint64_t ns)
{
	uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	volatile uint64_t x = 1;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		for (int i = 0; i < 500; i++)
			x = x * 6364136223846793005ull + 1442695040888963407ull;
}

/* The calling task's counters now. */
static UNUSED void truth_counters(const char *type, const char *name)
{
	unsigned long long run = 0, delay = 0;
	struct rusage ru;
	char buf[128];
	ssize_t n;
	int fd;

	if (truth_fd < 0)
		return;
	fd = open("/proc/thread-self/schedstat", O_RDONLY);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (fd >= 0)
		close(fd);
	if (n > 0) {
		buf[n] = 0;
		sscanf(buf, "%llu %llu", &run, &delay);
	}
	must(!getrusage(RUSAGE_THREAD, &ru), "getrusage");
	truth("{\"t\":\"%s\",\"tid\":%d,\"pid\":%d,\"name\":\"%s\",\"nvcsw\":%ld,\"nivcsw\":%ld,"
	      "\"minflt\":%ld,\"majflt\":%ld,\"run_ns\":%llu,\"delay_ns\":%llu}",
	      type, gettid_(), getpid(), name, ru.ru_nvcsw, ru.ru_nivcsw, ru.ru_minflt,
	      ru.ru_majflt, run, delay);
}

static UNUSED void truth_task(const char *name)
{
	truth_counters("task", name);
}

static UNUSED void truth_open(int argc, char **argv)
{
	const char *path = arg(argc, argv, "--truth");

	if (!path)
		return;
	truth_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	must(truth_fd >= 0, path);
	truth_counters("start", "");
}

static UNUSED int shell_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Waits for one child (or any: -1) and states its truth. Returns its pid, or -1: none left. */
static UNUSED pid_t truth_reap(pid_t pid)
{
	struct rusage ru;
	int status;
	pid_t got;

	do
		got = wait4(pid, &status, 0, &ru);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -1;
	truth("{\"t\":\"reaped\",\"pid\":%d,\"status\":%d,\"minflt\":%ld,\"majflt\":%ld,"
	      "\"nvcsw\":%ld,\"nivcsw\":%ld,\"maxrss_kb\":%ld}",
	      got, shell_status(status), ru.ru_minflt, ru.ru_majflt, ru.ru_nvcsw, ru.ru_nivcsw,
	      ru.ru_maxrss);
	return got;
}

static UNUSED void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static UNUSED pthread_t thread_start(void *(*fn)(void *), void *p, size_t stack)
{
	pthread_attr_t attr;
	pthread_t t;
	int rc;

	pthread_attr_init(&attr);
	if (stack)
		pthread_attr_setstacksize(&attr, stack);
	rc = pthread_create(&t, &attr, fn, p);
	pthread_attr_destroy(&attr);
	errno = rc;
	must(!rc, "pthread_create");
	return t;
}

/* The state letter of a task ('R', 'S', 'D', …), or 0. */
static UNUSED char task_state(int tid)
{
	char path[64], buf[256], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = 0;
	p = strrchr(buf, ')');
	return p && p[1] ? p[2] : 0;
}

#endif
