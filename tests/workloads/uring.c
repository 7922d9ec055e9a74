/* SPDX-License-Identifier: MIT */
/*
 * uring: --reads N (40) reads of a pipe by io_uring, each left to a worker thread that the
 * kernel makes for it; another thread writes into the pipe, a little later each time. Truth:
 * "worker" {tid} of each thread of the process that io_uring made, "total" {tasks}, or "none"
 * where io_uring is not to be had.
 */
#include <dirent.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "truth.h"

struct ring {
	int fd;
	struct io_uring_params p;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static void *map_ring(const struct ring *r, size_t size, off_t what)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, what);

	must(p != MAP_FAILED, "mmap");
	return p;
}

static bool ring_open(struct ring *r)
{
	r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		return false;
	r->sq = map_ring(r, r->p.sq_off.array + r->p.sq_entries * sizeof(unsigned),
	                 IORING_OFF_SQ_RING);
	r->cq = map_ring(r, r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe),
	                 IORING_OFF_CQ_RING);
	r->sqes = map_ring(r, r->p.sq_entries * sizeof(*r->sqes), IORING_OFF_SQES);
	return true;
}

#define WORD(base, off) ((unsigned *)(void *)((base) + (off)))

/* One read by a worker; waits for it. */
static void read_by_worker(struct ring *r, int fd, char *buf)
{
	unsigned *tail = WORD(r->sq, r->p.sq_off.tail), at = *tail & (r->p.sq_entries - 1);
	unsigned *head = WORD(r->cq, r->p.cq_off.head);

	r->sqes[at] = (struct io_uring_sqe){.opcode = IORING_OP_READ,
	                                    .flags = IOSQE_ASYNC,
	                                    .fd = fd,
	                                    .addr = (uintptr_t)buf,
	                                    .len = 1,
	                                    .off = (uint64_t)-1};
	WORD(r->sq, r->p.sq_off.array)[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	must(syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1,
	     "io_uring_enter");
	must(__atomic_load_n(WORD(r->cq, r->p.cq_off.tail), __ATOMIC_ACQUIRE) != *head,
	     "no completion");
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
}

static int pipe_fds[2];
static uint64_t reads;

static void *writer(void *arg)
{
	for (uint64_t i = 0; i < reads; i++) {
		sleep_ns(2 * MS);
		must(write(pipe_fds[1], "x", 1) == 1, "write");
	}
	return arg;
}

/* Threads of ours that have a name of the kernel's. */
static unsigned tell_workers(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	unsigned n = 0;

	must(d != NULL, "/proc/self/task");
	while ((e = readdir(d))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strncmp(name, "iou-", 4)) {
			truth("{\"t\":\"worker\",\"tid\":%s}", e->d_name);
			n++;
		}
		fclose(f);
	}
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	struct ring r = {0};
	pthread_t t;
	unsigned n;
	char byte;

	truth_open(argc, argv);
	reads = arg_u64(argc, argv, "--reads", 40);
	if (!ring_open(&r)) {
		truth("{\"t\":\"none\"}");
		return 0;
	}
	must(!pipe(pipe_fds), "pipe");
	must(!pthread_create(&t, NULL, writer, NULL), "thread");
	for (uint64_t i = 0; i < reads; i++)
		read_by_worker(&r, pipe_fds[0], &byte);
	pthread_join(t, NULL);
	n = tell_workers();
	must(n > 0, "no worker");
	truth("{\"t\":\"total\",\"tasks\":%u}", n + 2);
	return 0;
}
