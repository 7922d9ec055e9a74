/* SPDX-License-Identifier: MIT */
/*
 * touch: memory that is touched and copied in known amounts. A parent writes --mb MB (64), three
 * forked children write 0, 1/8 and 1/2 of it while all of them live, then, when they have
 * gone, the parent writes all of it again; then four threads each touch an area of their own:
 * 16 and 24 MB of small pages, 16 and 32 MB of huge ones (where the machine gives them).
 * Truth: "touch" {tid, name, copied, touched} in bytes, "huge" {bytes} as smaps counted the
 * last area's huge pages, "task"s, "reaped", "total" {tasks}.
 */
#include "truth.h"
#include <pthread.h>

#define HUGE (2ul << 20)

static char *area(size_t n, bool huge)
{
	char *p = mmap(NULL, n + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED, "mmap");
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, n, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

static void write_all(volatile char *p, size_t n)
{
	for (size_t i = 0; i < n; i += 4096)
		p[i] = 1;
}

static uint64_t huge_bytes(void)
{
	static char buf[4096];
	int fd = open("/proc/self/smaps_rollup", O_RDONLY);
	ssize_t n = fd >= 0 ? read(fd, buf, sizeof(buf) - 1) : -1;
	const char *p;

	close(fd);
	buf[n > 0 ? n : 0] = 0;
	p = strstr(buf, "\nAnonHugePages:");
	return p ? strtoull(p + 15, NULL, 10) * 1024 : 0;
}

struct job {
	size_t bytes;
	bool huge;
};

static void *toucher(void *arg)
{
	const struct job *j = arg;
	uint64_t before = huge_bytes();

	write_all(area(j->bytes, j->huge), j->bytes);
	truth("{\"t\":\"touch\",\"tid\":%d,\"name\":\"%s\",\"copied\":0,\"touched\":%zu,"
	      "\"huge\":%llu}",
	      gettid_(), j->huge ? "huge" : "small", j->bytes,
	      (unsigned long long)(huge_bytes() - before));
	return NULL;
}

static void child(char *p, size_t n, int wait_fd)
{
	char c;

	write_all(p, n);
	truth("{\"t\":\"touch\",\"tid\":%d,\"name\":\"child\",\"copied\":%zu,\"touched\":0}",
	      gettid_(), n);
	must(read(wait_fd, &c, 1) >= 0, "read");
	_exit(0);
}

int main(int argc, char **argv)
{
	static struct job jobs[] = {
	        {16 << 20, false}, {24 << 20, false}, {16 << 20, true}, {32 << 20, true}};
	size_t n, parts[3];
	pid_t pids[3];
	int fds[2];
	char *p;

	truth_open(argc, argv);
	n = arg_u64(argc, argv, "--mb", 64) << 20;
	p = area(n, false);
	write_all(p, n);
	parts[0] = 0, parts[1] = n / 8, parts[2] = n / 2;
	must(!pipe(fds), "pipe");
	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		must(pids[i] >= 0, "fork");
		if (!pids[i]) {
			close(fds[1]);
			child(p, parts[i], fds[0]);
		}
	}
	sleep_ns(arg_u64(argc, argv, "--hold", 700) * MS);
	close(fds[1]);
	for (int i = 0; i < 3; i++)
		truth_reap(pids[i]);
	write_all(p, n);
	truth("{\"t\":\"touch\",\"tid\":%d,\"name\":\"parent\",\"copied\":0,\"touched\":%zu}",
	      gettid_(), n);
	for (size_t i = 0; i < 4; i++)
		pthread_join(thread_start(toucher, &jobs[i], 0), NULL);
	truth("{\"t\":\"total\",\"tasks\":8}");
	return 0;
}
