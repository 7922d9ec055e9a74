/* SPDX-License-Identifier: MIT */
/*
 * frames MODE SECONDS: blocks again and again (5 ms) at the bottom of a stack of known functions,
 * compiled without frame pointers. Prints "tid N" of the task that does.
 *
 *   deep     functions of all sorts: small, with a large frame, of variable size, realigned
 *   qsort    called back from libc
 *   signal   in a signal handler; altstack: on a stack of its own
 *   thread   in a thread
 *   recurse  deeper than is recorded
 *   zlib     in a library loaded by then
 */
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Other compilers build it, to be checked; the tests run what GCC made. */
#ifdef __clang__
#define FN __attribute__((noinline))
#else
#pragma GCC optimize("O2", "omit-frame-pointer", "no-optimize-sibling-calls")
#define FN __attribute__((noinline, noclone))
#endif
#define BARRIER() __asm__ volatile("" ::: "memory")

static volatile int sink;
static double seconds;

static FN void nap(void)
{
	const struct timespec t = {.tv_nsec = 5000000};

	nanosleep(&t, NULL);
	BARRIER();
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static FN void bottom(void)
{
	double end = now() + seconds;

	while (now() < end)
		nap();
	BARRIER();
}

static FN void realigned(int n)
{
	__attribute__((aligned(64))) char buf[128];

	memset(buf, n, sizeof(buf));
	__asm__ volatile("" ::"r"(buf) : "memory");
	bottom();
	sink += buf[n & 127];
}

static FN void variable(int n)
{
	char *buf = alloca((size_t)n);

	memset(buf, n, (size_t)n);
	__asm__ volatile("" ::"r"(buf) : "memory");
	realigned(n);
	sink += buf[n / 2];
}

static FN void large(int n)
{
	char buf[100000];

	memset(buf, n, sizeof(buf));
	__asm__ volatile("" ::"r"(buf) : "memory");
	variable(n);
	sink += buf[n];
}

static FN int many_args(int a, int b, int c, int d, int e, int f, int g, int h)
{
	large(a + b);
	BARRIER();
	return c + d + e + f + g + h;
}

static FN void deep(void)
{
	sink += many_args(100, 28, 1, 2, 3, 4, 5, 6);
	BARRIER();
}

static FN int compare(const void *a, const void *b)
{
	if (seconds > 0)
		bottom();
	seconds = 0;
	return *(const int *)a - *(const int *)b;
}

static FN void sort(void)
{
	int v[8] = {5, 3, 8, 1, 9, 2, 7, 4};

	qsort(v, 8, sizeof(v[0]), compare);
	sink += v[0];
}

static FN void on_signal(int sig)
{
	sink += sig;
	bottom();
	BARRIER();
}

static FN void by_signal(int flags)
{
	static char stack[65536];
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};

	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	BARRIER();
}

static FN void recurse(int n)
{
	if (n)
		recurse(n - 1);
	else
		bottom();
	BARRIER();
}

static void tell(void)
{
	printf("tid %ld\n", syscall(SYS_gettid));
	fflush(stdout);
}

static FN void *thread(void *arg)
{
	tell();
	deep();
	return arg;
}

static FN void *feed(void *arg)
{
	int fd = *(int *)arg;
	double end = now() + seconds;

	while (now() < end) {
		nap();
		if (write(fd, "x", 1) != 1)
			break;
	}
	close(fd);
	return NULL;
}

/* read() is called by the library, which waits for as much as it has room for. */
static FN void read_by_library(void)
{
	void *lib = dlopen("libz.so.1", RTLD_NOW);
	void *(*open)(int, const char *) = NULL;
	int (*get)(void *, void *, unsigned) = NULL;
	pthread_t t;
	int fds[2];
	char buf[64];
	void *gz;

	if (lib) {
		*(void **)&open = dlsym(lib, "gzdopen");
		*(void **)&get = dlsym(lib, "gzread");
	}
	if (!open || !get || pipe(fds) || pthread_create(&t, NULL, feed, &fds[1]))
		exit(77);
	gz = open(fds[0], "r");
	tell();
	while (gz && get(gz, buf, sizeof(buf)) > 0)
		BARRIER();
	pthread_join(t, NULL);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "deep";
	pthread_t t;

	seconds = argc > 2 ? atof(argv[2]) : 1;
	if (!strcmp(mode, "thread")) {
		pthread_create(&t, NULL, thread, NULL);
		pthread_join(t, NULL);
		return 0;
	}
	if (!strcmp(mode, "zlib")) {
		read_by_library();
		return 0;
	}
	tell();
	if (!strcmp(mode, "deep"))
		deep();
	else if (!strcmp(mode, "qsort"))
		sort();
	else if (!strcmp(mode, "signal"))
		by_signal(0);
	else if (!strcmp(mode, "altstack"))
		by_signal(SA_ONSTACK);
	else if (!strcmp(mode, "recurse"))
		recurse(400);
	BARRIER();
	return 0;
}
