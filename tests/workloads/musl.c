/* SPDX-License-Identifier: MIT */
/*
 * musl SECONDS: built with musl's C library, whose code has neither unwinding information nor frame
 * pointers. A thread for each kind of wait waits there again and again, called by wait_KIND() and
 * that by outer(); main() does so in wait_join(). Prints "KIND TID" for each.
 */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef __clang__
#define KEEP __attribute__((noinline))
#else
#define KEEP __attribute__((noinline, noclone))
#endif
#define NO_TAIL() __asm__ volatile("" ::: "memory")

static int ends[2];
static time_t until;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t sem;

static struct timespec soon(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 20000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static KEEP void wait_nanosleep(void)
{
	const struct timespec t = {.tv_nsec = 20000000};

	nanosleep(&t, NULL);
	NO_TAIL();
}

static KEEP void wait_usleep(void)
{
	usleep(20000);
	NO_TAIL();
}

static KEEP void wait_poll(void)
{
	struct pollfd p = {.fd = ends[0], .events = POLLIN};

	poll(&p, 1, 20);
	NO_TAIL();
}

static KEEP void wait_select(void)
{
	struct timeval t = {.tv_usec = 20000};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	select(ends[0] + 1, &set, NULL, NULL, &t);
	NO_TAIL();
}

static KEEP void wait_epoll(void)
{
	static int fd = -1;
	struct epoll_event e;

	if (fd < 0)
		fd = epoll_create1(0);
	epoll_wait(fd, &e, 1, 20);
	NO_TAIL();
}

static KEEP void wait_recv(void)
{
	char c;

	recv(ends[1], &c, 1, 0);
	NO_TAIL();
}

static KEEP void wait_read(void)
{
	char c;

	if (read(ends[0], &c, 1) < 0)
		return;
}

static KEEP void wait_cond(void)
{
	struct timespec t = soon();

	pthread_mutex_lock(&mutex);
	pthread_cond_timedwait(&cond, &mutex, &t);
	pthread_mutex_unlock(&mutex);
	NO_TAIL();
}

static KEEP void wait_mutex(void)
{
	struct timespec t = soon();

	pthread_mutex_timedlock(&held, &t);
	NO_TAIL();
}

static KEEP void wait_lock(void)
{
	pthread_mutex_lock(&held);
	pthread_mutex_unlock(&held);
	NO_TAIL();
}

static KEEP void wait_sem(void)
{
	struct timespec t = soon();

	sem_timedwait(&sem, &t);
	NO_TAIL();
}

static KEEP void wait_barrier(void)
{
	pthread_barrier_wait(&barrier);
	NO_TAIL();
}

static KEEP void wait_fgetc(void)
{
	static FILE *f;

	if (!f)
		f = fdopen(dup(ends[0]), "r");
	if (f) {
		fgetc(f);
		clearerr(f);
	}
}

#define KINDS(X)     \
	X(nanosleep) \
	X(usleep)    \
	X(poll)      \
	X(select) X(epoll) X(recv) X(read) X(cond) X(mutex) X(lock) X(sem) X(barrier) X(fgetc)

static const struct kind {
	const char *name;
	void (*wait)(void);
} kinds[] = {
#define ROW(name) {#name, wait_##name},
        KINDS(ROW)
#undef ROW
};
#define N (sizeof(kinds) / sizeof(kinds[0]))

static KEEP void outer(const struct kind *k)
{
	do
		k->wait();
	while (time(NULL) < until);
	NO_TAIL();
}

static void *thread(void *arg)
{
	const struct kind *k = arg;

	printf("%s %ld\n", k->name, (long)syscall(SYS_gettid));
	outer(k);
	return NULL;
}

static KEEP void wait_join(pthread_t t)
{
	pthread_join(t, NULL);
	NO_TAIL();
}

int main(int argc, char **argv)
{
	const struct timeval timeout = {.tv_usec = 20000};
	pthread_t threads[N], last;

	until = time(NULL) + (argc > 1 ? atoi(argv[1]) : 1);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return 1;
	setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	sem_init(&sem, 0, 0);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_mutex_lock(&held);
	printf("join %ld\n", (long)syscall(SYS_gettid));
	for (size_t i = 0; i < N; i++)
		if (pthread_create(&threads[i], NULL, thread, (void *)&kinds[i]))
			return 1;
	pthread_create(&last, NULL, thread, (void *)&kinds[0]);
	wait_join(last);
	pthread_mutex_unlock(&held);
	pthread_barrier_wait(&barrier);
	fflush(stdout);
	_exit(0);
}
