/* SPDX-License-Identifier: MIT */
/*
 * locks.c: locks of each kind, waited for a known number of times, each time with a known
 * task to wait for. Truth:
 *   lock  {kind, name, waits, waiter, blocker, shared}: one per lock object. name: its variable
 *         (for a join, the thread). Each of the waits lasts until the blocker acts, who first sees
 *         the waiter asleep.
 *   hold  {tid, from, to}: with --contend N, when a thread had the lock `hot`, N times each
 *         of four threads (CLOCK_MONOTONIC, inside lock and unlock)
 * --open: ends with a thread asleep on a lock that another has, and kills itself then.
 */
#include "truth.h"
#include <linux/futex.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/sem.h>

#define ROUNDS    6
#define NR_WAITV  449
#define THREADS   4
#define HOLDS_MAX 20000

struct waitv {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};

/* Locks as programs have them: variables, and a field. */
static struct {
	long size;
	pthread_mutex_t lock;
} table = {0, PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER,
                       cond_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t pi_lock, hot = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ready = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t maps = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t gate;
static sem_t slots;
static _Alignas(64) uint32_t many[2][16];
static int tickets;

/* Shared by two processes, at two addresses. */
struct shared {
	int waiter, round, done;
	pthread_mutex_t lock;
	sem_t sem;
};

struct kind {
	const char *kind, *name;
	void (*prepare)(void); /* blocker, before the waiter may begin a round */
	void (*wait)(void);    /* waiter */
	void (*act)(void);     /* blocker, once the waiter sleeps */
	void (*after)(void);   /* waiter, once it has what it waited for */
};

static void mutex_take(void)
{
	pthread_mutex_lock(&cache_lock);
}
static void mutex_give(void)
{
	pthread_mutex_unlock(&cache_lock);
}
static void field_take(void)
{
	pthread_mutex_lock(&table.lock);
}
static void field_give(void)
{
	pthread_mutex_unlock(&table.lock);
}
static void pi_take(void)
{
	pthread_mutex_lock(&pi_lock);
}
static void pi_give(void)
{
	pthread_mutex_unlock(&pi_lock);
}
static void write_take(void)
{
	pthread_rwlock_wrlock(&maps);
}
static void read_take(void)
{
	pthread_rwlock_rdlock(&maps);
}
static void maps_give(void)
{
	pthread_rwlock_unlock(&maps);
}
static void sem_take(void)
{
	sem_wait(&slots);
}
static void sem_give(void)
{
	sem_post(&slots);
}
static void nothing(void)
{
}
static void gate_pass(void)
{
	pthread_barrier_wait(&gate);
}

static void cond_take(void)
{
	pthread_mutex_lock(&cond_lock);
	while (!tickets)
		pthread_cond_wait(&ready, &cond_lock);
	tickets--;
	pthread_mutex_unlock(&cond_lock);
}

static void cond_give(void)
{
	pthread_mutex_lock(&cond_lock);
	tickets++;
	pthread_mutex_unlock(&cond_lock);
	pthread_cond_signal(&ready);
}

/* Two descriptors of one file each, opened apart: flock()'s locks and those "of open file
 * descriptions"; and one that two processes have. */
static int flocks[2], ranges[2], records;

static void flock_take(void)
{
	must(!flock(flocks[0], LOCK_EX), "flock");
}
static void flock_wait(void)
{
	must(!flock(flocks[1], LOCK_EX), "flock");
}
static void flock_give(void)
{
	flock(flocks[0], LOCK_UN);
}
static void flock_after(void)
{
	flock(flocks[1], LOCK_UN);
}

static void range_lock(int fd, int cmd, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};

	must(!fcntl(fd, cmd, &l), "fcntl");
}
static void range_take(void)
{
	range_lock(ranges[0], F_OFD_SETLKW, F_WRLCK);
}
static void range_wait(void)
{
	range_lock(ranges[1], F_OFD_SETLKW, F_WRLCK);
}
static void range_give(void)
{
	range_lock(ranges[0], F_OFD_SETLK, F_UNLCK);
}
static void range_after(void)
{
	range_lock(ranges[1], F_OFD_SETLK, F_UNLCK);
}

static int open_lock(const char *dir, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0, "open");
	return fd;
}

static void open_locks(void)
{
	char dir[] = "/tmp/mpvtrace-locks-XXXXXX";
	static const char *const names[] = {"rows.lock", "range.lock", "records.lock"};
	char path[4096];

	must(mkdtemp(dir), "mkdtemp");
	for (int i = 0; i < 2; i++) {
		flocks[i] = open_lock(dir, names[0]);
		ranges[i] = open_lock(dir, names[1]);
	}
	records = open_lock(dir, names[2]);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static int set = -1;
static char set_name[48];

static void change_set(short by)
{
	struct sembuf op = {.sem_op = by};

	must(!semop(set, &op, 1), "semop");
}
static void set_take(void)
{
	change_set(-1);
}
static void set_give(void)
{
	change_set(1);
}

static void make_set(void)
{
	set = semget(IPC_PRIVATE, 1, 0600);
	must(set >= 0, "semget");
	snprintf(set_name, sizeof(set_name), "System V semaphore %d", set);
}

static const struct kind kinds[] = {
        {"mutex", "cache_lock", mutex_take, mutex_take, mutex_give, mutex_give},
        {"mutex", "table", field_take, field_take, field_give, field_give},
        {"mutex", "pi_lock", pi_take, pi_take, pi_give, pi_give},
        {"rwlock", "maps", write_take, read_take, maps_give, maps_give},
        {"rwlock", "maps", read_take, write_take, maps_give, maps_give},
        {"cond", "ready", nothing, cond_take, cond_give, nothing},
        {"semaphore", "slots", nothing, sem_take, sem_give, nothing},
        {"semaphore", set_name, nothing, set_take, set_give, nothing},
        {"barrier", "gate", nothing, gate_pass, gate_pass, nothing},
        {"file", "file lock rows.lock", flock_take, flock_wait, flock_give, flock_after},
        {"file", "file lock range.lock", range_take, range_wait, range_give, range_after},
};

/* --- rounds ---------------------------------------------------------------------------------- */

static volatile int go, waiter_tid, finished;

/* Of any process's task, as task_state() is of ours. */
static char state_of(int tid)
{
	char path[64], buf[256], *p = NULL;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (fd >= 0)
		close(fd);
	if (n > 0) {
		buf[n] = 0;
		p = strrchr(buf, ')');
	}
	return p && p[1] ? p[2] : 0;
}

static void wait_asleep(int tid)
{
	do
		sleep_ns(MS / 2);
	while (state_of(tid) != 'S');
	sleep_ns(MS);
}

static void *waiter(void *p)
{
	const struct kind *k = p;

	waiter_tid = gettid_();
	for (int i = 1; i <= ROUNDS; i++) {
		while (go < i)
			sleep_ns(MS / 4);
		k->wait();
		k->after();
		finished = i;
	}
	return NULL;
}

static void play(const struct kind *k)
{
	pthread_t t;

	go = waiter_tid = finished = 0;
	t = thread_start(waiter, (void *)k, 0);
	while (!waiter_tid)
		sleep_ns(MS / 4);
	for (int i = 1; i <= ROUNDS; i++) {
		k->prepare();
		go = i;
		/* It sleeps in a nanosleep at first, which ends soon. */
		sleep_ns(3 * MS);
		wait_asleep(waiter_tid);
		k->act();
		while (finished < i)
			sleep_ns(MS / 4);
	}
	truth("{\"t\":\"lock\",\"kind\":\"%s\",\"name\":\"%s\",\"waits\":%d,\"waiter\":%d,"
	      "\"blocker\":%d,\"shared\":%s}",
	      k->kind, k->name, ROUNDS, waiter_tid, gettid_(),
	      strcmp(k->kind, "file") && k->name != set_name ? "false" : "true");
	/* It has ended when it is joined, or nearly. */
	while (!pthread_tryjoin_np(t, NULL) ? false : true)
		sleep_ns(MS / 4);
}

/* --- joins, futex_waitv
 * ---------------------------------------------------------------------------- */

static void *sleeper(void *p)
{
	pthread_setname_np(pthread_self(), p);
	waiter_tid = gettid_();
	sleep_ns(20 * MS);
	return NULL;
}

static void join(const char *name)
{
	pthread_t t;
	int tid;

	waiter_tid = 0;
	t = thread_start(sleeper, (void *)name, 0);
	while (!waiter_tid)
		sleep_ns(MS / 4);
	tid = waiter_tid;
	pthread_join(t, NULL);
	truth("{\"t\":\"lock\",\"kind\":\"join\",\"name\":\"join of %s\",\"waits\":1,"
	      "\"waiter\":%d,\"blocker\":%d,\"shared\":false}",
	      name, gettid_(), tid);
}

static void many_wait(void)
{
	struct waitv w[2] = {{0, (uintptr_t)many[0], 2 | 128, 0},
	                     {0, (uintptr_t)many[1], 2 | 128, 0}};

	syscall(NR_WAITV, w, 2, 0, NULL, 0);
}

static void many_wake(void)
{
	syscall(SYS_futex, many[1], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static const struct kind waitv = {"futex", "many+0x40", nothing, many_wait, many_wake, nothing};

/* --- two processes
 * ------------------------------------------------------------------------------------ */

static struct shared *map_shared(int fd, size_t before)
{
	/* Something of the size before it: another address. */
	if (before)
		mmap(NULL, before, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static void child(int fd)
{
	struct shared *s = map_shared(fd, 16 << 20);

	s->waiter = getpid();
	for (int i = 1; i <= ROUNDS; i++) {
		while (__atomic_load_n(&s->round, __ATOMIC_ACQUIRE) < i)
			sleep_ns(MS / 4);
		pthread_mutex_lock(&s->lock);
		pthread_mutex_unlock(&s->lock);
		sem_wait(&s->sem);
		range_lock(records, F_SETLKW, F_WRLCK);
		range_lock(records, F_SETLK, F_UNLCK);
		__atomic_store_n(&s->done, i, __ATOMIC_RELEASE);
	}
	_exit(0);
}

static void shared_init(struct shared *s)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	must(!pthread_mutex_init(&s->lock, &a), "pthread_mutex_init");
	must(!sem_init(&s->sem, 1, 0), "sem_init");
}

static void shared_play(void)
{
	int fd = memfd_create("shared-locks", 0);
	struct shared *s;
	pid_t pid;

	must(fd >= 0 && !ftruncate(fd, 4096), "memfd");
	s = map_shared(fd, 0);
	must(s != MAP_FAILED, "mmap");
	shared_init(s);
	pid = fork();
	if (!pid)
		child(fd);
	while (!__atomic_load_n(&s->waiter, __ATOMIC_ACQUIRE))
		sleep_ns(MS / 4);
	for (int i = 1; i <= ROUNDS; i++) {
		pthread_mutex_lock(&s->lock);
		__atomic_store_n(&s->round, i, __ATOMIC_RELEASE);
		sleep_ns(3 * MS);
		wait_asleep(pid);
		pthread_mutex_unlock(&s->lock);
		sleep_ns(3 * MS);
		wait_asleep(pid);
		range_lock(records, F_SETLK, F_WRLCK);
		sem_post(&s->sem);
		sleep_ns(3 * MS);
		wait_asleep(pid);
		range_lock(records, F_SETLK, F_UNLCK);
		while (__atomic_load_n(&s->done, __ATOMIC_ACQUIRE) < i)
			sleep_ns(MS / 4);
	}
	truth("{\"t\":\"lock\",\"kind\":\"mutex\",\"name\":\"shared-locks\",\"waits\":%d,"
	      "\"waiter\":%d,\"blocker\":%d,\"shared\":true}",
	      ROUNDS, pid, gettid_());
	truth("{\"t\":\"lock\",\"kind\":\"semaphore\",\"name\":\"shared-locks\",\"waits\":%d,"
	      "\"waiter\":%d,\"blocker\":%d,\"shared\":true}",
	      ROUNDS, pid, gettid_());
	truth("{\"t\":\"lock\",\"kind\":\"file\",\"name\":\"file lock records.lock\",\"waits\":%d,"
	      "\"waiter\":%d,\"blocker\":%d,\"shared\":true}",
	      ROUNDS, pid, gettid_());
	waitpid(pid, NULL, 0);
}

/* --- a contended mutex with its history
 * -------------------------------------------------------------- */

struct hold {
	uint64_t from, to;
};
struct contender {
	struct hold *holds;
	uint64_t n;
	int tid;
};

static void *contender(void *p)
{
	struct contender *c = p;

	c->tid = gettid_();
	for (uint64_t i = 0; i < c->n; i++) {
		pthread_mutex_lock(&hot);
		c->holds[i].from = now_ns();
		compute_ns(60000);
		c->holds[i].to = now_ns();
		pthread_mutex_unlock(&hot);
		compute_ns(20000);
	}
	return NULL;
}

static void contend(uint64_t n)
{
	struct contender c[THREADS];
	pthread_t t[THREADS];

	must(n <= HOLDS_MAX, "--contend");
	for (int i = 0; i < THREADS; i++) {
		c[i] = (struct contender){calloc(n, sizeof(struct hold)), n, 0};
		t[i] = thread_start(contender, &c[i], 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < THREADS; i++)
		for (uint64_t j = 0; j < n; j++)
			truth("{\"t\":\"hold\",\"tid\":%d,\"from\":%llu,\"to\":%llu}", c[i].tid,
			      (unsigned long long)c[i].holds[j].from,
			      (unsigned long long)c[i].holds[j].to);
}

static void leave_open(void)
{
	pthread_mutex_lock(&cache_lock);
	waiter_tid = go = 0;
	thread_start(waiter, (void *)&kinds[0], 0);
	go = 1;
	sleep_ns(20 * MS);
	wait_asleep(waiter_tid);
	truth("{\"t\":\"open\",\"waiter\":%d,\"blocker\":%d}", waiter_tid, gettid_());
	kill(getpid(), SIGKILL);
}

int main(int argc, char **argv)
{
	uint64_t n = arg_u64(argc, argv, "--contend", 0);
	pthread_mutexattr_t a;

	truth_open(argc, argv);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	must(!pthread_mutex_init(&pi_lock, &a), "pi mutex");
	open_locks();
	must(!pthread_barrier_init(&gate, NULL, 2) && !sem_init(&slots, 0, 0), "locks");
	if (n) {
		contend(n);
		return 0;
	}
	make_set();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		play(&kinds[i]);
	semctl(set, 0, IPC_RMID);
	if (syscall(NR_WAITV, NULL, 0, 0, NULL, 0) >= 0 || errno != ENOSYS)
		play(&waitv);
	join("first");
	join("second");
	shared_play();
	if (flag(argc, argv, "--open"))
		leave_open();
	return 0;
}
