/* SPDX-License-Identifier: MIT */
/*
 * rss: a child grows to --peak MB (96), gives back down to --keep MB (32), holds that for
 * --hold ms (600), and ends; a second child shares --shared MB (16) with the parent and holds
 * too. Truth: "smaps" {pid, mono_ns, rss_kb, pss_kb, uss_kb, moment}, what smaps_rollup said at
 * known moments (at the begin and the end of the hold: in between nothing changes), "reaped"
 * of both with maxrss_kb, "total" {tasks}.
 */
#include "truth.h"

static char *grow(uint64_t mb)
{
	char *p = mmap(NULL, mb << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED, "mmap");
	madvise(p, mb << 20, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < mb << 20; i += 4096)
		p[i] = 1;
	return p;
}

static long field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtol(p + strlen(name), NULL, 10) : -1;
}

static void look(const char *moment)
{
	static char buf[8192];
	uint64_t now = now_ns();
	ssize_t n;
	int fd = open("/proc/self/smaps_rollup", O_RDONLY);

	must(fd >= 0, "smaps_rollup");
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	must(n > 0, "smaps_rollup");
	buf[n] = 0;
	truth("{\"t\":\"smaps\",\"pid\":%d,\"mono_ns\":%llu,\"rss_kb\":%ld,\"pss_kb\":%ld,"
	      "\"uss_kb\":%ld,\"moment\":\"%s\"}",
	      getpid(), (unsigned long long)now, field(buf, "\nRss:"), field(buf, "\nPss:"),
	      field(buf, "\nPrivate_Clean:") + field(buf, "\nPrivate_Dirty:"), moment);
}

static void hold(uint64_t ms)
{
	look("warm-up"); /* the look itself touches pages */
	look("begin");
	sleep_ns(ms * MS);
	look("end");
}

static void grower(uint64_t peak, uint64_t keep, uint64_t ms)
{
	char *p = grow(peak);

	sleep_ns(50 * MS);
	munmap(p + (keep << 20), (peak - keep) << 20);
	hold(ms);
	_exit(0);
}

int main(int argc, char **argv)
{
	uint64_t peak = arg_u64(argc, argv, "--peak", 96), keep = arg_u64(argc, argv, "--keep", 32);
	uint64_t ms = arg_u64(argc, argv, "--hold", 600);
	uint64_t shared = arg_u64(argc, argv, "--shared", 16);
	pid_t pid;

	truth_open(argc, argv);
	must(keep < peak, "--keep below --peak");
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid)
		grower(peak, keep, ms);
	truth_reap(pid);
	grow(shared);
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		hold(ms);
		_exit(0);
	}
	truth_reap(pid);
	truth("{\"t\":\"total\",\"tasks\":3}");
	truth_task("main");
	return 0;
}
