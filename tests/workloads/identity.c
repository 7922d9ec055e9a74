/* SPDX-License-Identifier: MIT */
/*
 * identity: what locks and channels are, each met by a thread (or process) that blocks on it and
 * one that lets it go on. Truth, one line per case, inodes as fstat(2) says, dev as the kernel has
 * it inside (major << 20 | minor):
 *   channel {kind, reader, writer, how, inode, other, lport, rport}   how: the blocking call
 *   reuse {reader, inodes}      one descriptor, many pipes, one after the other
 *   sysv {reader, id}  mqueue {reader, name}
 *   shared {dev, inode, offset, tids, addrs}        one mutex of two processes at two addresses
 *   remap {tid, addr, inodes}   one address, one file after the other; 0 = private memory
 *   park {tid, lock}            a word on the waiter's stack, the lock's address before it
 *   named {tid, addr, name}     a static mutex
 *   join {tid, joiner}
 */
#include "truth.h"
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define HOLD_NS    (10 * MS)
#define REVISIT_NS (150 * MS) /* more than the recorder believes an answer */

static uint64_t inode_of(int fd)
{
	struct stat st;

	must(!fstat(fd, &st), "fstat");
	return st.st_ino;
}

static uint64_t dev_of(int fd)
{
	struct stat st;

	must(!fstat(fd, &st), "fstat");
	return (uint64_t)major(st.st_dev) << 20 | minor(st.st_dev);
}

/* Waits until the task sleeps, and a little more. */
static void await_sleep(const int *tid)
{
	int id;

	while (!(id = __atomic_load_n(tid, __ATOMIC_ACQUIRE)) || task_state(id) != 'S')
		sleep_ns(MS / 10);
	sleep_ns(3 * MS);
	must(task_state(id) == 'S', "still asleep");
}

/* --- channels ------------------------------------------------------------------------------- */

enum how { READ, POLL, EPOLL, HOWS };
static const char *const how_names[] = {"read", "poll", "epoll"};

struct reader {
	int fd, tid;
	enum how how;
};

static void *read_one(void *p)
{
	struct reader *r = p;
	struct pollfd pfd = {.fd = r->fd, .events = POLLIN};
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = epoll_create1(0);
	char buf[8];

	must(!epoll_ctl(ep, EPOLL_CTL_ADD, r->fd, &ev), "epoll_ctl");
	__atomic_store_n(&r->tid, gettid_(), __ATOMIC_RELEASE);
	if (r->how == POLL)
		must(poll(&pfd, 1, -1) == 1, "poll");
	if (r->how == EPOLL)
		must(epoll_wait(ep, &ev, 1, -1) == 1, "epoll_wait");
	must(read(r->fd, buf, sizeof(buf)) > 0, "read");
	close(ep);
	return NULL;
}

static void ports(int fd, unsigned *local, unsigned *remote)
{
	struct sockaddr_in a = {0};
	socklen_t n = sizeof(a);

	*local = *remote = 0;
	if (!getsockname(fd, (struct sockaddr *)&a, &n) && a.sin_family == AF_INET)
		*local = ntohs(a.sin_port);
	n = sizeof(a);
	if (!getpeername(fd, (struct sockaddr *)&a, &n) && a.sin_family == AF_INET)
		*remote = ntohs(a.sin_port);
}

static void channel(const char *kind, int in, int out)
{
	unsigned lport, rport;

	ports(in, &lport, &rport);
	for (enum how how = READ; how < HOWS; how++) {
		struct reader r = {.fd = in, .how = how};
		pthread_t t = thread_start(read_one, &r, 0);

		await_sleep(&r.tid);
		must(write(out, "12345678", 8) == 8, "write");
		pthread_join(t, NULL);
		truth("{\"t\":\"channel\",\"kind\":\"%s\",\"how\":\"%s\",\"reader\":%d,\"writer\":%"
		      "d,"
		      "\"inode\":%llu,\"other\":%llu,\"lport\":%u,\"rport\":%u}",
		      kind, how_names[how], r.tid, gettid_(), (unsigned long long)inode_of(in),
		      (unsigned long long)inode_of(out), lport, rport);
	}
}

static void tcp(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int listener = socket(AF_INET, SOCK_STREAM, 0), out = socket(AF_INET, SOCK_STREAM, 0), in;
	socklen_t n = sizeof(a);

	must(!bind(listener, (struct sockaddr *)&a, n) && !listen(listener, 1) &&
	             !getsockname(listener, (struct sockaddr *)&a, &n) &&
	             !connect(out, (struct sockaddr *)&a, n),
	     "connect");
	in = accept(listener, NULL, NULL);
	must(in >= 0, "accept");
	channel("tcp", in, out);
}

static void channels(void)
{
	int fds[2], fd;

	must(!pipe(fds), "pipe");
	channel("pipe", fds[0], fds[1]);
	must(!mkfifo("identity.fifo", 0600), "mkfifo");
	fd = open("identity.fifo", O_RDWR);
	must(fd >= 0, "fifo");
	channel("fifo", fd, fd);
	unlink("identity.fifo");
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "socketpair");
	channel("socketpair", fds[0], fds[1]);
	/* Two of them: they share an inode. */
	for (int i = 0; i < 2; i++) {
		fd = eventfd(0, 0);
		channel(i ? "eventfd 2" : "eventfd 1", fd, fd);
	}
	tcp();
}

/* --- one descriptor, many pipes -------------------------------------------------------------- */

struct reuse {
	int fd, tid, go;
};

static void *reuse_reader(void *p)
{
	struct reuse *r = p;
	char c;

	for (int i = 1; i <= 16; i++) {
		while (__atomic_load_n(&r->go, __ATOMIC_ACQUIRE) != i)
			;
		__atomic_store_n(&r->tid, gettid_(), __ATOMIC_RELEASE);
		must(read(r->fd, &c, 1) == 1, "read");
		__atomic_store_n(&r->tid, 0, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void reuse(void)
{
	struct reuse r = {0};
	pthread_t t = thread_start(reuse_reader, &r, 0);
	char inodes[512];
	size_t n = 0;
	int tid = 0, first = -1;

	for (int i = 1; i <= 16; i++) {
		int fds[2];

		must(!pipe(fds), "pipe");
		must(first < 0 || fds[0] == first, "the same descriptor");
		first = r.fd = fds[0];
		n += (size_t)snprintf(inodes + n, sizeof(inodes) - n, "%s%llu", n ? "," : "",
		                      (unsigned long long)inode_of(fds[0]));
		__atomic_store_n(&r.go, i, __ATOMIC_RELEASE);
		await_sleep(&r.tid);
		tid = r.tid;
		must(write(fds[1], "x", 1) == 1, "write");
		while (__atomic_load_n(&r.tid, __ATOMIC_ACQUIRE))
			;
		close(fds[0]);
		close(fds[1]);
	}
	pthread_join(t, NULL);
	truth("{\"t\":\"reuse\",\"reader\":%d,\"inodes\":[%s]}", tid, inodes);
}

/* --- message queues
 * ------------------------------------------------------------------------------- */

struct queue {
	int id, tid;
	mqd_t mq;
};

static void *queue_reader(void *p)
{
	struct queue *q = p;
	struct {
		long type;
		char text[8];
	} msg;
	char text[64];

	__atomic_store_n(&q->tid, gettid_(), __ATOMIC_RELEASE);
	if (q->id >= 0)
		must(msgrcv(q->id, &msg, sizeof(msg.text), 0, 0) > 0, "msgrcv");
	else
		must(mq_receive(q->mq, text, sizeof(text), NULL) > 0, "mq_receive");
	return NULL;
}

static void queues(void)
{
	struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 64};
	struct queue q = {.id = msgget(IPC_PRIVATE, 0600)}, p = {.id = -1};
	struct {
		long type;
		char text[8];
	} msg = {1, "12345678"};
	pthread_t t;

	if (q.id >= 0) {
		t = thread_start(queue_reader, &q, 0);
		await_sleep(&q.tid);
		must(!msgsnd(q.id, &msg, sizeof(msg.text), 0), "msgsnd");
		pthread_join(t, NULL);
		truth("{\"t\":\"sysv\",\"reader\":%d,\"id\":%d}", q.tid, q.id);
		msgctl(q.id, IPC_RMID, NULL);
	}
	p.mq = mq_open("/mpvtrace-identity", O_RDWR | O_CREAT, 0600, &attr);
	if (p.mq < 0)
		return;
	t = thread_start(queue_reader, &p, 0);
	await_sleep(&p.tid);
	must(!mq_send(p.mq, "x", 1, 0), "mq_send");
	pthread_join(t, NULL);
	truth("{\"t\":\"mqueue\",\"reader\":%d,\"name\":\"mpvtrace-identity\"}", p.tid);
	mq_unlink("/mpvtrace-identity");
}

/* --- futexes
 * ------------------------------------------------------------------------------------------ */

struct both {
	pthread_mutex_t lock;
	int tids[2], turn;
};

static int memory_file(const char *name)
{
	int fd = memfd_create(name, 0);

	must(fd >= 0 && !ftruncate(fd, 4 * 4096), "memfd");
	return fd;
}

static struct both *map_at(int fd, int page)
{
	/* Somewhere else in each process. */
	void *p = mmap((void *)(0x20000000ul + 0x1000000ul * (unsigned)page), 3 * 4096,
	               PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 4096);

	must(p != MAP_FAILED, "mmap");
	return (struct both *)((char *)p + 4096 + 128);
}

/* Each waits once for the other. */
static void side(struct both *b, int me)
{
	for (int turn = 0; turn < 2; turn++) {
		if (turn == me) {
			while (__atomic_load_n(&b->turn, __ATOMIC_ACQUIRE) != turn * 2)
				sleep_ns(MS / 10);
			pthread_mutex_lock(&b->lock);
			__atomic_store_n(&b->turn, turn * 2 + 1, __ATOMIC_RELEASE);
			await_sleep(&b->tids[!me]);
			sleep_ns(HOLD_NS);
			pthread_mutex_unlock(&b->lock);
		} else {
			while (__atomic_load_n(&b->turn, __ATOMIC_ACQUIRE) != turn * 2 + 1)
				;
			__atomic_store_n(&b->tids[me], gettid_(), __ATOMIC_RELEASE);
			pthread_mutex_lock(&b->lock);
			pthread_mutex_unlock(&b->lock);
			__atomic_store_n(&b->turn, turn * 2 + 2, __ATOMIC_RELEASE);
		}
	}
}

static void shared(void)
{
	int fd = memory_file("identity");
	struct both *a = map_at(fd, 1), *b = (void *)((char *)a + 0x1000000);
	pthread_mutexattr_t attr;
	pid_t pid;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&a->lock, &attr);
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		must(map_at(fd, 2) == b, "another address");
		munmap((void *)((uintptr_t)a & ~0xffful), 4096);
		side(b, 1);
		_exit(0);
	}
	side(a, 0);
	truth_reap(pid);
	truth("{\"t\":\"shared\",\"dev\":%llu,\"inode\":%llu,\"offset\":%u,\"tids\":[%d,%d],"
	      "\"addrs\":[%llu,%llu]}",
	      (unsigned long long)dev_of(fd), (unsigned long long)inode_of(fd), 8192 + 128,
	      a->tids[0], a->tids[1], (unsigned long long)(uintptr_t)&a->lock,
	      (unsigned long long)(uintptr_t)&b->lock);
}

struct waiter {
	uint32_t *word;
	int tid;
	uint64_t lock;
};

static void *wait_shared(void *p)
{
	struct waiter *w = p;

	__atomic_store_n(&w->tid, gettid_(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(w->word, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, w->word, FUTEX_WAIT, 0, NULL, NULL, 0);
	return NULL;
}

/* One thread does all the waiting: what is remembered per task is remembered by the same. */
static void remap(void)
{
	void *at = (void *)0x30000000ul;
	uint64_t inodes[3] = {0};

	for (int i = 0; i < 3; i++) {
		int fd = i < 2 ? memory_file("remap") : -1;
		uint32_t *word = mmap(at, 4096, PROT_READ | PROT_WRITE,
		                      fd >= 0 ? MAP_SHARED | MAP_FIXED
		                              : MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		                      fd, 0);
		struct waiter w = {.word = word};
		pthread_t t;

		must(word != MAP_FAILED, "mmap");
		inodes[i] = fd >= 0 ? inode_of(fd) : 0;
		t = thread_start(wait_shared, &w, 0);
		await_sleep(&w.tid);
		__atomic_store_n(word, 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
		pthread_join(t, NULL);
		sleep_ns(REVISIT_NS);
	}
	truth("{\"t\":\"remap\",\"addr\":%llu,\"inodes\":[%llu,%llu,0]}",
	      (unsigned long long)(uintptr_t)at, (unsigned long long)inodes[0],
	      (unsigned long long)inodes[1]);
}

/* As CPython's parking lot has it since 3.13: a queue's entry on the waiter's stack. */
struct entry {
	uint64_t arg, lock;
	uint32_t sema, nwaiters;
};
static struct entry *parked;

static void *park(void *p)
{
	struct waiter *w = p;
	struct entry e = {.lock = w->lock};

	__atomic_store_n(&parked, &e, __ATOMIC_RELEASE);
	__atomic_store_n(&w->tid, gettid_(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&e.sema, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &e.sema, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL,
		        FUTEX_BITSET_MATCH_ANY);
	return NULL;
}

pthread_mutex_t identity_lock = PTHREAD_MUTEX_INITIALIZER;

static void *lock_named(void *p)
{
	struct waiter *w = p;

	__atomic_store_n(&w->tid, gettid_(), __ATOMIC_RELEASE);
	pthread_mutex_lock(&identity_lock);
	pthread_mutex_unlock(&identity_lock);
	return NULL;
}

static void *nap(void *p)
{
	*(int *)p = gettid_();
	sleep_ns(HOLD_NS);
	return NULL;
}

static void private_words(void)
{
	struct waiter w = {.lock = 0x123456789ab0}, n = {0};
	pthread_t t = thread_start(park, &w, 0);
	int tid = 0;

	await_sleep(&w.tid);
	__atomic_store_n(&parked->sema, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &parked->sema, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	pthread_join(t, NULL);
	truth("{\"t\":\"park\",\"tid\":%d,\"lock\":%llu}", w.tid, (unsigned long long)w.lock);
	pthread_mutex_lock(&identity_lock);
	t = thread_start(lock_named, &n, 0);
	await_sleep(&n.tid);
	pthread_mutex_unlock(&identity_lock);
	pthread_join(t, NULL);
	truth("{\"t\":\"named\",\"tid\":%d,\"addr\":%llu,\"name\":\"identity_lock\"}", n.tid,
	      (unsigned long long)(uintptr_t)&identity_lock);
	t = thread_start(nap, &tid, 0);
	pthread_join(t, NULL);
	truth("{\"t\":\"join\",\"tid\":%d,\"joiner\":%d}", tid, gettid_());
}

int main(int argc, char **argv)
{
	truth_open(argc, argv);
	channels();
	reuse();
	queues();
	shared();
	remap();
	private_words();
	truth_task("main");
	return 0;
}
