/* SPDX-License-Identifier: MIT */
/*
 * planted: a program that is kept from being parallel by one thing, which it measures itself.
 *
 *   --cause mutex     two threads, --serial PERCENT (100) of their work under one mutex
 *           hot       two mutexes, one held ten times as long as the other
 *           pshared   two processes, one mutex in memory that both map at addresses of their own
 *           producer  a slow producer, a fast consumer, a condition variable
 *           pipe      a slow process writes to a pipe, a fast one reads from it
 *           barrier   two threads at a barrier, one with three times the work
 *           rwlock    a writer that holds long, a reader that holds briefly
 *           starve    two threads that both may use the first CPU only
 *           join      a main thread joins workers that contend for a mutex
 *           io        two threads that write a file to disk, again and again
 *           sleep     two threads that sleep half of the time
 *           parallel  two busy threads beside --idle N (200) that wait for ever
 *           one       one busy thread, joined by main
 *           daemon    waits for a connection that never comes
 *           deadlock  two threads that take two mutexes in opposite order
 *           pdeadlock two processes and two shared mutexes, the same
 *           fdeadlock … and two locks on files
 *   --ms N (1000)     how long
 *
 * Truth: "planted" {cause, wall_ns, wait_ns, late_ns, tid}: what the threads were blocked by that
 * cause, all together, by their own measure (the starved: what they waited for a CPU); tid is whom
 * they waited for where that is one task; late_ns: what they waited for a CPU after such waits,
 * where an idle one would not have taken as long. A deadlock ends by SIGALRM after --life N (20)
 * seconds.
 */
#include "truth.h"
#include <netinet/in.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/socket.h>

#define WORK (MS / 2)

static uint64_t end_ns, serial_percent;
static _Atomic uint64_t wait_ns, late_ns;
static _Atomic int culprit;
static unsigned life_s;
static pthread_mutex_t a_lock = PTHREAD_MUTEX_INITIALIZER, b_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rw_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_cond_t ready = PTHREAD_COND_INITIALIZER;
static bool item;

static bool running(void)
{
	return now_ns() < end_ns;
}

/* What it takes an idle CPU to run who was woken: part of the wait. More is a lack of CPUs. */
#define LATENCY_NS 100000

struct moment {
	uint64_t blocked, delay;
};

/* Time that the calling thread was blocked so far (what is left of the clock's after running and
 * waiting for a CPU) and time that it waited for a CPU, both as the kernel counts them. */
static struct moment moment(void)
{
	static __thread int fd = -1;
	unsigned long long run = 0, delay = 0;
	char buf[128];
	ssize_t n;

	if (fd < 0)
		fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	n = pread(fd, buf, sizeof(buf) - 1, 0);
	must(n > 0, "schedstat");
	buf[n] = 0;
	sscanf(buf, "%llu %llu", &run, &delay);
	return (struct moment){now_ns() - run - delay, delay};
}

/* Adds a wait that began at t; the clocks differ by some ns. */
static void add_wait(struct moment t)
{
	struct moment now = moment();

	wait_ns += now.blocked > t.blocked ? now.blocked - t.blocked : 0;
	*(now.delay - t.delay <= LATENCY_NS ? &wait_ns : &late_ns) += now.delay - t.delay;
}

static void timed_lock(pthread_mutex_t *m)
{
	struct moment t = moment();

	pthread_mutex_lock(m);
	add_wait(t);
}

static pthread_t start(void *(*fn)(void *), void *arg, const char *name)
{
	pthread_t t;

	must(!pthread_create(&t, NULL, fn, arg), "pthread_create");
	pthread_setname_np(t, name);
	return t;
}

static void pair(void *(*one)(void *), void *(*two)(void *))
{
	pthread_t a = start(one, NULL, "planted-a"), b = start(two, NULL, "planted-b");

	pthread_join(a, NULL);
	pthread_join(b, NULL);
}

/* --- locks --- */

static void *in_mutex(void *unused)
{
	(void)unused;
	while (running()) {
		timed_lock(&a_lock);
		compute_ns(4 * WORK * serial_percent / 100);
		pthread_mutex_unlock(&a_lock);
		compute_ns(4 * WORK * (100 - serial_percent) / 100);
	}
	return NULL;
}

static void *in_two_mutexes(void *unused)
{
	(void)unused;
	while (running()) {
		timed_lock(&a_lock);
		compute_ns(2 * WORK);
		pthread_mutex_unlock(&a_lock);
		pthread_mutex_lock(&b_lock);
		compute_ns(WORK / 5);
		pthread_mutex_unlock(&b_lock);
		compute_ns(WORK / 5);
	}
	return NULL;
}

static void *write_long(void *unused)
{
	(void)unused;
	culprit = gettid_();
	while (running()) {
		struct moment t = moment();

		pthread_rwlock_wrlock(&rw_lock);
		add_wait(t);
		compute_ns(6 * WORK);
		pthread_rwlock_unlock(&rw_lock);
		compute_ns(2 * WORK);
	}
	return NULL;
}

static void *read_briefly(void *unused)
{
	(void)unused;
	while (running()) {
		struct moment t = moment();

		pthread_rwlock_rdlock(&rw_lock);
		add_wait(t);
		compute_ns(WORK);
		pthread_rwlock_unlock(&rw_lock);
	}
	return NULL;
}

/* --- shared memory --- */

struct shared {
	pthread_mutex_t a, b;
	_Atomic uint64_t wait_ns, late_ns;
	_Atomic int arrived;
};

static struct shared *map_shared(int fd)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	must(s != MAP_FAILED, "mmap");
	return s;
}

static int make_shared(void)
{
	int fd = memfd_create("planted", 0);
	pthread_mutexattr_t attr;
	struct shared *s;

	must(fd >= 0 && !ftruncate(fd, 4096), "memfd");
	s = map_shared(fd);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->a, &attr);
	pthread_mutex_init(&s->b, &attr);
	return fd;
}

static void contend_shared(struct shared *s)
{
	wait_ns = late_ns = 0;
	while (running()) {
		struct moment t = moment();

		pthread_mutex_lock(&s->a);
		add_wait(t);
		compute_ns(3 * WORK);
		pthread_mutex_unlock(&s->a);
		compute_ns(WORK);
	}
	s->wait_ns += wait_ns;
	s->late_ns += late_ns;
}

static void two_processes(void (*fn)(struct shared *s))
{
	int fd = make_shared();
	struct shared *s = map_shared(fd);
	pid_t child = fork();

	must(child >= 0, "fork");
	if (!child) {
		s = map_shared(fd); /* the old one stays: this is another address */
		alarm(life_s);      /* is not inherited */
	}
	fn(s);
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	wait_ns = s->wait_ns;
	late_ns = s->late_ns;
}

static void lock_in_order(pthread_mutex_t *first, pthread_mutex_t *second, _Atomic int *arrived)
{
	pthread_mutex_lock(first);
	++*arrived;
	while (*arrived < 2)
		sleep_ns(MS);
	pthread_mutex_lock(second);
}

/* The lock is that of an opened file, which processes do not have from their parent. */
static int open_again(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0, "open");
	return fd;
}

static int files[2];

static void deadlock_files(struct shared *s)
{
	bool parent = culprit == getpid();

	must(!flock(open_again(files[parent]), LOCK_EX), "flock");
	++s->arrived;
	while (s->arrived < 2)
		sleep_ns(MS);
	flock(open_again(files[!parent]), LOCK_EX);
}

static void deadlock_shared(struct shared *s)
{
	bool child = culprit != getpid(); /* main() set it before it forked */

	if (child)
		lock_in_order(&s->b, &s->a, &s->arrived);
	else
		lock_in_order(&s->a, &s->b, &s->arrived);
}

static _Atomic int arrived;

static void *take_a_b(void *unused)
{
	lock_in_order(&a_lock, &b_lock, &arrived);
	return unused;
}

static void *take_b_a(void *unused)
{
	lock_in_order(&b_lock, &a_lock, &arrived);
	return unused;
}

/* --- work handed on --- */

static void *produce(void *unused)
{
	(void)unused;
	culprit = gettid_();
	while (running()) {
		compute_ns(6 * WORK);
		pthread_mutex_lock(&a_lock);
		item = true;
		pthread_cond_signal(&ready);
		pthread_mutex_unlock(&a_lock);
	}
	return NULL;
}

static void *consume(void *unused)
{
	(void)unused;
	while (running()) {
		struct moment t = moment();

		pthread_mutex_lock(&a_lock);
		while (!item)
			pthread_cond_wait(&ready, &a_lock);
		item = false;
		pthread_mutex_unlock(&a_lock);
		add_wait(t);
		compute_ns(WORK);
	}
	return NULL;
}

static void stages(void)
{
	int fd[2];
	char c = 0;
	pid_t child;

	must(!pipe(fd), "pipe");
	child = fork();
	must(child >= 0, "fork");
	if (!child) {
		close(fd[0]);
		while (running()) {
			compute_ns(6 * WORK);
			must(write(fd[1], &c, 1) == 1, "write");
		}
		_exit(0);
	}
	culprit = child;
	close(fd[1]);
	for (;;) {
		struct moment t = moment();
		ssize_t n = read(fd[0], &c, 1);

		add_wait(t);
		if (n <= 0)
			break;
		compute_ns(WORK);
	}
	waitpid(child, NULL, 0);
}

/* The heavy one says before the barrier that this round is the last. */
static _Atomic int last_round = -1;

static void *at_barrier(void *heavy)
{
	if (heavy)
		culprit = gettid_();
	for (int i = 0; last_round < 0 || i <= last_round; i++) {
		struct moment t;

		compute_ns(heavy ? 6 * WORK : 2 * WORK);
		if (heavy && !running())
			last_round = i;
		t = moment();
		pthread_barrier_wait(&barrier);
		if (!heavy)
			add_wait(t);
	}
	return NULL;
}

static void barriers(void)
{
	pthread_t a, b;

	pthread_barrier_init(&barrier, NULL, 2);
	a = start(at_barrier, NULL, "light");
	b = start(at_barrier, &barrier, "heavy");
	pthread_join(a, NULL);
	pthread_join(b, NULL);
}

/* --- not held by each other --- */

static void *spin(void *unused)
{
	(void)unused;
	while (running())
		compute_ns(WORK);
	return NULL;
}

static void *starve(void *unused)
{
	unsigned long long run = 0, delay = 0;
	cpu_set_t first;
	char buf[128];
	ssize_t n;
	int fd;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	must(!sched_setaffinity(0, sizeof(first), &first), "sched_setaffinity");
	spin(unused);
	fd = open("/proc/thread-self/schedstat", O_RDONLY);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	must(n > 0, "schedstat");
	buf[n] = 0;
	sscanf(buf, "%llu %llu", &run, &delay);
	wait_ns += delay;
	close(fd);
	return NULL;
}

static void *sync_file(void *unused)
{
	char path[] = "/var/tmp/planted-XXXXXX", block[4096] = {0};
	struct moment t = moment();
	int fd = mkstemp(path);

	must(fd >= 0, "mkstemp");
	unlink(path);
	add_wait(t); /* for the journal, where that is busy */
	while (running()) {
		t = moment();
		must(pwrite(fd, block, sizeof(block), 0) == sizeof(block), "pwrite");
		add_wait(t);
		t = moment();
		must(!fsync(fd), "fsync");
		add_wait(t);
		compute_ns(WORK / 3);
	}
	close(fd);
	return unused;
}

static void *doze(void *unused)
{
	while (running()) {
		struct moment t;

		compute_ns(4 * WORK);
		t = moment();
		sleep_ns(4 * WORK);
		add_wait(t);
	}
	return unused;
}

static void *for_ever(void *unused)
{
	pthread_mutex_lock(&b_lock);
	for (;;)
		pthread_cond_wait(&ready, &b_lock);
	return unused;
}

static void parallel(uint64_t idle)
{
	for (uint64_t i = 0; i < idle; i++)
		pthread_detach(start(for_ever, NULL, "idle"));
	end_ns += 20 * MS;
	pair(spin, spin);
}

static void wait_for_connection(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval most = {.tv_usec = (suseconds_t)((end_ns - now_ns()) / 1000 % 1000000),
	                       .tv_sec = (time_t)((end_ns - now_ns()) / 1000000000)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof(at)) && !listen(fd, 1), "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
	accept(fd, NULL, NULL);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *cause = arg(argc, argv, "--cause");
	uint64_t ms = arg_u64(argc, argv, "--ms", 1000), began;

	truth_open(argc, argv);
	must(cause, "--cause");
	serial_percent = arg_u64(argc, argv, "--serial", 100);
	if (strstr(cause, "deadlock"))
		life_s = (unsigned)arg_u64(argc, argv, "--life", 20);
	began = now_ns();
	end_ns = began + ms * MS;
	if (!strcmp(cause, "mutex") || !strcmp(cause, "join")) {
		pair(in_mutex, in_mutex);
	} else if (!strcmp(cause, "hot")) {
		pair(in_two_mutexes, in_two_mutexes);
	} else if (!strcmp(cause, "pshared")) {
		two_processes(contend_shared);
	} else if (!strcmp(cause, "producer")) {
		pair(produce, consume);
	} else if (!strcmp(cause, "pipe")) {
		stages();
	} else if (!strcmp(cause, "barrier")) {
		barriers();
	} else if (!strcmp(cause, "rwlock")) {
		pair(write_long, read_briefly);
	} else if (!strcmp(cause, "starve")) {
		pair(starve, starve);
	} else if (!strcmp(cause, "io")) {
		pair(sync_file, sync_file);
	} else if (!strcmp(cause, "sleep")) {
		pair(doze, doze);
	} else if (!strcmp(cause, "parallel")) {
		parallel(arg_u64(argc, argv, "--idle", 200));
	} else if (!strcmp(cause, "one")) {
		pthread_join(start(spin, NULL, "planted-a"), NULL);
	} else if (!strcmp(cause, "daemon")) {
		wait_for_connection();
	} else if (!strcmp(cause, "deadlock")) {
		alarm(life_s);
		pair(take_a_b, take_b_a);
	} else if (!strcmp(cause, "pdeadlock")) {
		alarm(life_s);
		culprit = getpid();
		two_processes(deadlock_shared);
	} else if (!strcmp(cause, "fdeadlock")) {
		alarm(life_s);
		culprit = getpid();
		files[0] = memfd_create("one", MFD_CLOEXEC);
		files[1] = memfd_create("two", MFD_CLOEXEC);
		two_processes(deadlock_files);
	} else {
		errno = EINVAL;
		die(cause);
	}
	truth("{\"t\":\"planted\",\"cause\":\"%s\",\"wall_ns\":%llu,\"wait_ns\":%llu,\"late_ns\":%"
	      "llu,"
	      "\"tid\":%d}",
	      cause, (unsigned long long)(now_ns() - began), (unsigned long long)wait_ns,
	      (unsigned long long)late_ns, culprit);
	return 0;
}
