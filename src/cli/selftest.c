/* SPDX-License-Identifier: MIT */
/*
 * check's own recording: a workload of ours whose numbers are known, recorded by the same
 * collect() as any other, read back and compared. The workload is this program again
 * (hidden command), so that nothing has to be installed.
 *
 * It hands a token round a ring of threads with a condition variable each, so that a thread must
 * wait in a futex once per turn, and then every thread sleeps for a known time.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define RING_THREADS  4
#define RING_ROUNDS   250
#define RING_SLEEP_NS 20000000l
#define RING_TASKS    (RING_THREADS + 1)
/* A thread whose turn comes before it could block does not wait; on a quiet machine that is rare.
 */
#define RING_MIN_WAITS ((uint64_t)RING_THREADS * RING_ROUNDS / 2)

struct ring {
	pthread_mutex_t mutex;
	pthread_cond_t turn[RING_THREADS];
	unsigned holder;
};

struct ring_thread {
	struct ring *ring;
	unsigned number;
	pthread_t thread;
};

static void *ring_main(void *arg)
{
	const struct timespec nap = {.tv_nsec = RING_SLEEP_NS};
	const struct ring_thread *me = arg;
	struct ring *r = me->ring;

	for (unsigned i = 0; i < RING_ROUNDS; i++) {
		pthread_mutex_lock(&r->mutex);
		while (r->holder != me->number)
			pthread_cond_wait(&r->turn[me->number], &r->mutex);
		r->holder = (me->number + 1) % RING_THREADS;
		pthread_cond_signal(&r->turn[r->holder]);
		pthread_mutex_unlock(&r->mutex);
	}
	nanosleep(&nap, NULL);
	return NULL;
}

int cmd_selftest_workload(const struct command *cmd, int argc, char **argv)
{
	struct ring ring = {.mutex = PTHREAD_MUTEX_INITIALIZER};
	struct ring_thread threads[RING_THREADS];

	(void)cmd, (void)argc, (void)argv;
	for (unsigned i = 0; i < RING_THREADS; i++)
		pthread_cond_init(&ring.turn[i], NULL);
	for (unsigned i = 0; i < RING_THREADS; i++) {
		threads[i] = (struct ring_thread){.ring = &ring, .number = i};
		/* The others would wait for ever for one that is missing. */
		if (pthread_create(&threads[i].thread, NULL, ring_main, &threads[i]))
			_exit(MT_EXIT_FAIL);
	}
	for (unsigned i = 0; i < RING_THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	return MT_EXIT_OK;
}

/* --- what must have been recorded ----------------------------------------------------- */

struct sums {
	uint64_t waits, sleep_ns, states_ns, life_ns;
};

static void add_up(const struct model *m, struct sums *s)
{
	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		s->waits += t->futex_waits;
		s->sleep_ns += t->blocked_by[BLOCK_SLEEP];
		s->states_ns += t->run_ns + t->runnable_ns + t->blocked_ns;
		s->life_ns += t->end_ns - t->start_ns;
	}
}

static bool check_tasks(const struct model *m, const struct sums *s)
{
	const uint64_t sleep_ns = (uint64_t)RING_THREADS * RING_SLEEP_NS;
	char a[32], b[32];
	bool ok, all;

	all = ok = model_n_tasks(m) == RING_TASKS;
	check_line(ok, "tasks", "%zu; it had %d", model_n_tasks(m), RING_TASKS);
	all &= ok = s->waits >= RING_MIN_WAITS;
	check_line(ok, "futex waits", "%llu; at least %llu are certain",
	           (unsigned long long)s->waits, (unsigned long long)RING_MIN_WAITS);
	all &= ok = s->sleep_ns >= sleep_ns && s->sleep_ns < 10 * sleep_ns;
	check_line(ok, "sleep", "%s; %s was asked for", fmt_ns(a, sizeof(a), s->sleep_ns),
	           fmt_ns(b, sizeof(b), sleep_ns));
	all &= ok = s->states_ns == s->life_ns && s->life_ns;
	check_line(ok, "states", "running + runnable + blocked = %s; the tasks lived %s",
	           fmt_ns(a, sizeof(a), s->states_ns), fmt_ns(b, sizeof(b), s->life_ns));
	return all;
}

static bool check_against_kernel(const struct report *r)
{
	bool all = r->checks.n > 0;

	if (!all)
		check_line(false, "kernel's counters", "none were recorded");
	for (size_t i = 0; i < r->checks.n; i++)
		all &= print_check(&r->checks.v[i]);
	return all;
}

static int compare(const char *path, const struct collect_result *res, struct err *err)
{
	const struct model_opts opts = {};
	struct sums sums = {};
	struct session s;
	bool all, ok;
	int rc;

	rc = session_open(&s, path, err);
	if (!rc)
		rc = session_load(&s, &opts, err);
	if (rc) {
		session_release(&s);
		return fail(rc, err);
	}
	add_up(s.model, &sums);
	all = ok = res->exit_status == 0;
	check_line(ok, "exit status", "%d", res->exit_status);
	all &= check_tasks(s.model, &sums);
	all &= check_against_kernel(&s.report);
	all &= ok = !res->lost;
	check_line(ok, "lost events", "%llu", (unsigned long long)res->lost);
	session_release(&s);
	return all ? MT_EXIT_OK : MT_EXIT_UNSUPPORTED;
}

/* A name that nobody can have put something under; the file is opened with O_EXCL besides. */
static int temporary_name(char *out, size_t n, struct err *err)
{
	const char *dir = secure_getenv("TMPDIR");
	uint64_t random[2];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_set(err, -EIO, MT_EXIT_FAIL, "getrandom: %s", strerror(errno));
	if ((size_t)snprintf(out, n, "%s/mpvtrace-check-%016llx%016llx.mpv",
	                     dir && *dir ? dir : "/tmp", (unsigned long long)random[0],
	                     (unsigned long long)random[1]) >= n)
		return err_set(err, -ENAMETOOLONG, MT_EXIT_FAIL, "TMPDIR is too long");
	return 0;
}

int check_self_recording(void)
{
	/* Also where the user whom the workload runs as may not walk to the program's path. */
	static char program[] = "/proc/self/exe", command[] = "selftest-workload";
	char *const argv[] = {program, command, NULL};
	struct collect_result res = {.exit_status = -1};
	struct record_settings set;
	struct err err = {};
	char path[512];
	int rc, status;

	record_defaults(&set);
	rc = temporary_name(path, sizeof(path), &err);
	if (rc)
		return fail(rc, &err);
	set.collect.argv = argv;
	set.collect.output = path;
	say("\ntrial recording: %d threads hand a token round %d times, then sleep %ld ms\n",
	    RING_THREADS, RING_ROUNDS, RING_SLEEP_NS / 1000000);
	fflush(stdout); /* the workload shares it */
	rc = collect(&set.collect, &res, &err);
	if (rc) {
		check_line(false, "recording", "%s", err.msg);
		status = err.status ? err.status : MT_EXIT_FAIL;
	} else {
		status = compare(path, &res, &err);
	}
	unlink(path);
	return status;
}
