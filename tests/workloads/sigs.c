/* SPDX-License-Identifier: MIT */
/*
 * sigs: says what it was given: ids, groups, terminal, process group, environment, working
 * directory, signal dispositions, limits, open files, capabilities. All of it as one "self"
 * line of the truth, so that a run with mpvtrace can be compared with a run without.
 *   --cat            copies stdin to stdout
 *   --create FILE    creates FILE
 *   --on-int CODE    waits for SIGINT (at most 20 s) and ends with CODE; says "ready" on stdout
 *   --ignore-int MS  ignores SIGINT and works on for MS milliseconds; says "ready" too
 *   --sleep MS       sleeps
 *   --status CODE    ends with CODE;  --kill SIG  ends by that signal
 */
#include "truth.h"
#include <dirent.h>
#include <grp.h>
#include <sys/stat.h>

static volatile sig_atomic_t interrupted;

static void on_int(int sig)
{
	(void)sig;
	interrupted = 1;
}

/* The line of /proc/self/status that begins with key, without it. */
static void status_line(const char *key, char *out, size_t n)
{
	char buf[4096], *p, *end;
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t got = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (fd >= 0)
		close(fd);
	snprintf(out, n, "?");
	if (got <= 0)
		return;
	buf[got] = 0;
	p = strstr(buf, key);
	if (!p)
		return;
	p += strlen(key);
	while (*p == '\t' || *p == ' ')
		p++;
	end = strchr(p, '\n');
	snprintf(out, n, "%.*s", end ? (int)(end - p) : 0, p);
}

static void groups_text(char *out, size_t n)
{
	gid_t g[64];
	int count = getgroups(64, g);
	size_t at = 0;

	out[0] = 0;
	for (int i = 0; i < count && at < n; i++)
		at += (size_t)snprintf(out + at, n - at, "%s%u", i ? "," : "", g[i]);
}

static void fds_text(char *out, size_t n)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	size_t at = 0;

	out[0] = 0;
	while (d && (e = readdir(d)) && at < n) {
		int fd = atoi(e->d_name);

		if (e->d_name[0] != '.' && fd != dirfd(d) && fd != truth_fd)
			at += (size_t)snprintf(out + at, n - at, "%s%d", at ? "," : "", fd);
	}
	if (d)
		closedir(d);
}

static void say_self(void)
{
	char groups[256], fds[128], ignored[32], blocked[32], caps[32], nnp[8], cwd[256];
	const char *home = getenv("HOME"), *user = getenv("USER"), *probe = getenv("MT_PROBE");
	struct rlimit nofile, memlock;

	groups_text(groups, sizeof(groups));
	fds_text(fds, sizeof(fds));
	status_line("SigIgn:", ignored, sizeof(ignored));
	status_line("SigBlk:", blocked, sizeof(blocked));
	status_line("CapEff:", caps, sizeof(caps));
	status_line("NoNewPrivs:", nnp, sizeof(nnp));
	getrlimit(RLIMIT_NOFILE, &nofile);
	getrlimit(RLIMIT_MEMLOCK, &memlock);
	truth("{\"t\":\"self\",\"uid\":%d,\"euid\":%d,\"gid\":%d,\"groups\":\"%s\",\"home\":\"%s\","
	      "\"user\":\"%s\",\"probe\":\"%s\",\"cwd\":\"%s\",\"fds\":\"%s\",\"sigign\":\"%s\","
	      "\"sigblk\":\"%s\",\"caps\":\"%s\",\"nnp\":\"%s\",\"tty\":%d,\"foreground\":%d,"
	      "\"session\":%d,\"nofile\":%llu,\"memlock\":%llu,\"umask\":%d,\"nice\":%d,"
	      "\"pid\":%d,\"ppid\":%d,\"pgrp\":%d}",
	      getuid(), geteuid(), getgid(), groups, home ? home : "", user ? user : "",
	      probe ? probe : "", getcwd(cwd, sizeof(cwd)) ? cwd : "?", fds, ignored, blocked, caps,
	      nnp, isatty(0), isatty(0) ? tcgetpgrp(0) == getpgrp() : -1,
	      getsid(0) == getsid(getppid()), (unsigned long long)nofile.rlim_cur,
	      (unsigned long long)memlock.rlim_cur, (int)umask(0), getpriority(PRIO_PROCESS, 0),
	      getpid(), getppid(), getpgrp());
}

static void cat(void)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(0, buf, sizeof(buf))) > 0)
		must(write(1, buf, (size_t)n) == n, "write");
}

static void ready(void)
{
	must(write(1, "ready\n", 6) == 6, "write");
}

int main(int argc, char **argv)
{
	truth_open(argc, argv);
	say_self();
	if (flag(argc, argv, "--cat"))
		cat();
	if (arg(argc, argv, "--create"))
		must(creat(arg(argc, argv, "--create"), 0644) >= 0, "create");
	if (arg(argc, argv, "--on-int")) {
		struct sigaction sa = {.sa_handler = on_int};

		sigaction(SIGINT, &sa, NULL);
		ready();
		for (int i = 0; i < 2000 && !interrupted; i++)
			sleep_ns(10 * MS);
		return interrupted ? (int)arg_u64(argc, argv, "--on-int", 0) : 97;
	}
	if (arg(argc, argv, "--ignore-int")) {
		signal(SIGINT, SIG_IGN);
		ready();
		sleep_ns(arg_u64(argc, argv, "--ignore-int", 0) * MS);
	}
	if (arg(argc, argv, "--sleep"))
		sleep_ns(arg_u64(argc, argv, "--sleep", 0) * MS);
	if (arg(argc, argv, "--kill"))
		raise((int)arg_u64(argc, argv, "--kill", 0));
	return (int)arg_u64(argc, argv, "--status", 0);
}
