/* SPDX-License-Identifier: MIT */
/*
 * futexes: every kind of futex wait, each ended by a wake, by a timeout and by a signal. One
 * thread waits, the main thread wakes. Truth, one line per case:
 *   futex {tid, kind, variant, nr, addr, addrs, blocks, ret, errno}
 * blocks: voluntary switches that the waiter counted around the call: each is a futex wait.
 * A kind that this kernel does not have gives "missing" {kind}. "total" {tasks}.
 */
#include "truth.h"
#include <linux/futex.h>

#define NR_futex_waitv  449
#define NR_futex_wait   455
#define OP_LOCK_PI2     13
#define FUTEX2_U32      2
#define FUTEX2_PRIVATE_ 128
#define TIMEOUT_NS      (30 * MS)
#define WAKE_AFTER_NS   (5 * MS)

struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

enum variant { WAKE, TIMEOUT, INTERRUPT };
static const char *const variant_names[] = {"wake", "timeout", "interrupt"};

/* One futex word on a cache line of its own, as locks in real programs are. */
struct word {
	_Alignas(64) uint32_t v;
};

struct attempt {
	const struct kind *kind;
	enum variant variant;
	int tid; /* of the waiter, 0 before it is about to wait */
	int done;
	long ret;
	int error;
	long blocks;
	struct word w[3];    /* w[0] is waited on; w[1] is the PI target of a requeue */
	struct word *shared; /* instead of w[0] for kinds that are not private */
};

struct kind {
	const char *name;
	int nr;
	unsigned words;
	long (*wait)(struct attempt *a, const struct timespec *timeout);
	void (*before)(struct attempt *a); /* main thread: before the waiter starts */
	void (*wake)(struct attempt *a);
	int timeout_clock; /* -1: relative */
};

static long futex(uint32_t *addr, int op, uint32_t val, const void *timeout, uint32_t *addr2,
                  uint32_t val3)
{
	return syscall(SYS_futex, addr, op, val, timeout, addr2, val3);
}

static long wait_plain(struct attempt *a, const struct timespec *t)
{
	return futex(&a->w[0].v, FUTEX_WAIT_PRIVATE, 0, t, NULL, 0);
}

static long wait_shared(struct attempt *a, const struct timespec *t)
{
	return futex(&a->shared->v, FUTEX_WAIT, 0, t, NULL, 0);
}

static long wait_bitset(struct attempt *a, const struct timespec *t)
{
	return futex(&a->w[0].v, FUTEX_WAIT_BITSET_PRIVATE, 0, t, NULL, FUTEX_BITSET_MATCH_ANY);
}

static long wait_bitset_realtime(struct attempt *a, const struct timespec *t)
{
	return futex(&a->w[0].v, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, t, NULL,
	             FUTEX_BITSET_MATCH_ANY);
}

static long unlock_own_pi(uint32_t *addr, long ret)
{
	if (!ret)
		futex(addr, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	return ret;
}

static long wait_lock_pi(struct attempt *a, const struct timespec *t)
{
	return futex(&a->w[0].v, FUTEX_LOCK_PI_PRIVATE, 0, t, NULL, 0);
}

static long wait_lock_pi2(struct attempt *a, const struct timespec *t)
{
	return futex(&a->w[0].v, OP_LOCK_PI2 | FUTEX_PRIVATE_FLAG, 0, t, NULL, 0);
}

static long wait_requeue_pi(struct attempt *a, const struct timespec *t)
{
	return futex(&a->w[0].v, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, t, &a->w[1].v, 0);
}

static long wait_waitv(struct attempt *a, const struct timespec *t)
{
	struct waitv v[3];

	for (int i = 0; i < 3; i++)
		v[i] = (struct waitv){0, (uintptr_t)&a->w[i].v, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
	return syscall(NR_futex_waitv, v, 3, 0, t, CLOCK_MONOTONIC);
}

static long wait_futex2(struct attempt *a, const struct timespec *t)
{
	return syscall(NR_futex_wait, &a->w[0].v, 0ul, (unsigned long)FUTEX_BITSET_MATCH_ANY,
	               FUTEX2_U32 | FUTEX2_PRIVATE_, t, CLOCK_MONOTONIC);
}

static void wake_plain(struct attempt *a)
{
	futex(&a->w[0].v, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wake_shared(struct attempt *a)
{
	futex(&a->shared->v, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wake_second(struct attempt *a)
{
	futex(&a->w[1].v, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void own_pi(struct attempt *a)
{
	a->w[0].v = (uint32_t)gettid_();
}

static void release_pi(struct attempt *a)
{
	futex(&a->w[0].v, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
}

/* The target is free, so the kernel gives it to the waiter as it requeues it. */
static void requeue_pi(struct attempt *a)
{
	futex(&a->w[0].v, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)0, &a->w[1].v, 0);
}

static const struct kind kinds[] = {
        {"WAIT", SYS_futex, 1, wait_plain, NULL, wake_plain, -1},
        {"WAIT shared", SYS_futex, 1, wait_shared, NULL, wake_shared, -1},
        {"WAIT_BITSET", SYS_futex, 1, wait_bitset, NULL, wake_plain, CLOCK_MONOTONIC},
        {"WAIT_BITSET realtime", SYS_futex, 1, wait_bitset_realtime, NULL, wake_plain,
         CLOCK_REALTIME},
        {"LOCK_PI", SYS_futex, 1, wait_lock_pi, own_pi, release_pi, CLOCK_REALTIME},
        {"LOCK_PI2", SYS_futex, 1, wait_lock_pi2, own_pi, release_pi, CLOCK_MONOTONIC},
        {"WAIT_REQUEUE_PI", SYS_futex, 1, wait_requeue_pi, NULL, requeue_pi, CLOCK_MONOTONIC},
        {"futex_waitv", NR_futex_waitv, 3, wait_waitv, NULL, wake_second, CLOCK_MONOTONIC},
        {"futex_wait", NR_futex_wait, 1, wait_futex2, NULL, wake_plain, CLOCK_MONOTONIC},
};

static struct timespec deadline(int clock)
{
	uint64_t ns = TIMEOUT_NS + (clock < 0 ? 0 : clock_ns(clock));

	return (struct timespec){(time_t)(ns / 1000000000ull), (long)(ns % 1000000000ull)};
}

static long switches(void)
{
	struct rusage ru;

	must(!getrusage(RUSAGE_THREAD, &ru), "getrusage");
	return ru.ru_nvcsw;
}

static void *waiter(void *p)
{
	struct attempt *a = p;
	struct timespec t = deadline(a->kind->timeout_clock);
	long before;

	before = switches();
	__atomic_store_n(&a->tid, gettid_(), __ATOMIC_SEQ_CST);
	a->ret = a->kind->wait(a, a->variant == TIMEOUT ? &t : NULL);
	a->error = a->ret < 0 ? errno : 0;
	a->blocks = switches() - before;
	__atomic_store_n(&a->done, 1, __ATOMIC_SEQ_CST);
	if (a->kind->wait == wait_lock_pi || a->kind->wait == wait_lock_pi2)
		unlock_own_pi(&a->w[0].v, a->ret);
	if (a->kind->wait == wait_requeue_pi)
		unlock_own_pi(&a->w[1].v, a->ret);
	return NULL;
}

static void on_signal(int sig)
{
	(void)sig;
}

/* Ends the wait once it has begun; repeats, as a wake may come before it. */
static void end_wait(struct attempt *a, pthread_t t)
{
	while (!__atomic_load_n(&a->tid, __ATOMIC_SEQ_CST) ||
	       (task_state(a->tid) != 'S' && !__atomic_load_n(&a->done, __ATOMIC_SEQ_CST)))
		sleep_ns(MS / 10);
	sleep_ns(WAKE_AFTER_NS);
	if (a->variant == INTERRUPT) {
		pthread_kill(t, SIGUSR1);
		sleep_ns(WAKE_AFTER_NS); /* some kinds go on waiting after the handler */
	}
	while (a->variant != TIMEOUT && !__atomic_load_n(&a->done, __ATOMIC_SEQ_CST)) {
		a->kind->wake(a);
		sleep_ns(MS);
	}
}

static void state(const struct attempt *a)
{
	char addrs[128] = "";
	uint32_t *first =
	        a->kind->wait == wait_shared ? &a->shared->v : (uint32_t *)(uintptr_t)&a->w[0].v;
	size_t n = 0;

	for (unsigned i = 0; i < a->kind->words; i++)
		n += (size_t)snprintf(addrs + n, sizeof(addrs) - n, "%s%llu", i ? "," : "",
		                      (unsigned long long)(uintptr_t)(i ? &a->w[i].v : first));
	truth("{\"t\":\"futex\",\"tid\":%d,\"kind\":\"%s\",\"variant\":\"%s\",\"nr\":%d,\"addr\":%"
	      "llu,"
	      "\"addrs\":[%s],\"blocks\":%ld,\"ret\":%ld,\"errno\":%d}",
	      a->tid, a->kind->name, variant_names[a->variant], a->kind->nr,
	      (unsigned long long)(uintptr_t)first, addrs, a->blocks, a->ret, a->error);
}

/* False when the kernel does not know this kind. The attempt is leaked on purpose: no two
 * cases may share an address. */
static bool attempt(const struct kind *kind, enum variant variant)
{
	struct attempt *a = aligned_alloc(64, sizeof(*a));
	pthread_t t;

	must(a, "aligned_alloc");
	memset(a, 0, sizeof(*a));
	a->kind = kind;
	a->variant = variant;
	a->shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(a->shared != MAP_FAILED, "mmap");
	if (kind->before)
		kind->before(a);
	t = thread_start(waiter, a, 0);
	end_wait(a, t);
	pthread_join(t, NULL);
	if (kind->before && variant == TIMEOUT)
		release_pi(a);
	if (a->ret < 0 && a->error == ENOSYS) {
		truth("{\"t\":\"missing\",\"kind\":\"%s\"}", kind->name);
		return false;
	}
	state(a);
	return true;
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};
	unsigned tasks = 1;

	truth_open(argc, argv);
	must(!sigaction(SIGUSR1, &sa, NULL), "sigaction");
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int v = WAKE; v <= INTERRUPT; v++) {
			tasks++;
			if (!attempt(&kinds[k], v))
				break;
		}
	truth("{\"t\":\"total\",\"tasks\":%u}", tasks);
	truth_task("main");
	return 0;
}
