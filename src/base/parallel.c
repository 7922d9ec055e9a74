/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base.h"

#define MAX_THREADS 16

struct crew {
	int (*fn)(void *ctx, size_t i);
	void *ctx;
	size_t n;
	_Atomic size_t next;
	pthread_mutex_t lock; /* of: */
	size_t failed;        /* the smallest number that did … */
	int err;              /* … and how */
};

static void *work(void *arg)
{
	struct crew *c = arg;
	size_t i;

	while ((i = atomic_fetch_add(&c->next, 1)) < c->n) {
		int err = c->fn(c->ctx, i);

		if (!err)
			continue;
		pthread_mutex_lock(&c->lock);
		if (!c->err || i < c->failed) {
			c->err = err;
			c->failed = i;
		}
		pthread_mutex_unlock(&c->lock);
	}
	return NULL;
}

static size_t usable_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (size_t)CPU_COUNT(&set);
}

int parallel(size_t n, int (*fn)(void *ctx, size_t i), void *ctx)
{
	struct crew c = {.fn = fn, .ctx = ctx, .n = n, .lock = PTHREAD_MUTEX_INITIALIZER};
	size_t want = usable_cpus(), started = 0;
	pthread_t threads[MAX_THREADS];

	if (want > n)
		want = n;
	/* Without any of them it takes longer, no more. */
	while (started + 1 < want && started < MAX_THREADS &&
	       !pthread_create(&threads[started], NULL, work, &c))
		started++;
	work(&c);
	while (started)
		pthread_join(threads[--started], NULL);
	pthread_mutex_destroy(&c.lock);
	return c.err;
}
