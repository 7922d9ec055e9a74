/* SPDX-License-Identifier: MIT */
/*
 * spawner --mode thread|fork|vfork [--megabytes N] [--count N]: makes tasks, one after the other,
 * and says when each step was by its own clock. vfork: and exec.
 * Truth, CLOCK_MONOTONIC in ns, a line "made" for each: tid; before, after: the call in the
 * creator; first: its first instruction; exec: the last one before its exec; main: the first of
 * main() after it; exit: its last one; gone: its creator knew.
 */
#include "truth.h"

struct steps {
	uint64_t before, after, first, exec, main, exit, gone;
	int tid;
};

/* Shared with children: for one that was exec'ed under this descriptor. */
#define SHARED_FD 9

static struct steps *shared;

static void *thread(void *unused)
{
	shared->first = now_ns();
	shared->tid = gettid_();
	shared->exit = now_ns();
	return unused;
}

static void thread_one(void)
{
	pthread_t t;

	shared->before = now_ns();
	must(!pthread_create(&t, NULL, thread, NULL), "pthread_create");
	shared->after = now_ns();
	must(!pthread_join(t, NULL), "pthread_join");
}

static void await(pid_t pid)
{
	must(pid > 0 && waitpid(pid, NULL, 0) == pid, "child");
}

static void fork_one(void)
{
	uint64_t before = now_ns();
	pid_t pid = (pid_t)syscall(SYS_fork);

	if (!pid) {
		shared->first = now_ns();
		shared->exit = now_ns();
		_exit(0);
	}
	shared->after = now_ns();
	shared->before = before;
	await(pid);
	shared->tid = pid;
}

static void vfork_one(char *self)
{
	char *const argv[] = {self, "child", NULL};
	pid_t pid;

	shared->before = now_ns();
	pid = vfork();
	if (!pid) {
		shared->exec = now_ns();
		execv(self, argv);
		_exit(127);
	}
	shared->after = now_ns();
	await(pid);
	shared->tid = pid;
}

static void map_shared(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED_FD, 0);
	must(shared != MAP_FAILED, "mmap");
}

static void share(void)
{
	int fd = memfd_create("steps", 0);

	must(fd >= 0 && !ftruncate(fd, sizeof(*shared)) && dup2(fd, SHARED_FD) == SHARED_FD,
	     "memfd");
	map_shared();
}

static void make(const char *mode, char *self)
{
	memset(shared, 0, sizeof(*shared));
	if (!strcmp(mode, "thread"))
		thread_one();
	else if (!strcmp(mode, "fork"))
		fork_one();
	else
		vfork_one(self);
	shared->gone = now_ns();
	truth("{\"t\":\"made\",\"tid\":%d,\"before\":%llu,\"after\":%llu,\"first\":%llu,\"exec\":%"
	      "llu,\"main\":%llu,\"exit\":%llu,\"gone\":%llu}",
	      shared->tid, shared->before + 0ull, shared->after + 0ull, shared->first + 0ull,
	      shared->exec + 0ull, shared->main + 0ull, shared->exit + 0ull, shared->gone + 0ull);
}

int main(int argc, char **argv)
{
	uint64_t begun = now_ns(), bytes = arg_u64(argc, argv, "--megabytes", 1) << 20;
	const char *mode = arg(argc, argv, "--mode");
	char *heap;

	if (argc == 2) {
		map_shared();
		shared->main = begun;
		shared->exit = now_ns();
		_exit(0);
	}
	must(mode != NULL, "--mode");
	truth_open(argc, argv);
	share();
	heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(heap != MAP_FAILED, "mmap");
	madvise(heap, bytes, MADV_NOHUGEPAGE); /* a page table for each 2 MB, all to be copied */
	memset(heap, 1, bytes);
	for (uint64_t n = arg_u64(argc, argv, "--count", 8); n; n--)
		make(mode, argv[0]);
	return 0;
}
