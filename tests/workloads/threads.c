/* SPDX-License-Identifier: MIT */
/*
 * threads: --threads N (8) threads, half of them contending for one mutex, the others handing
 * a token round under a condition variable; all compute and sleep in between, --rounds N (40)
 * times. Truth: "task" of every thread, "total" {tasks}.
 */
#include "truth.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ring_cond = PTHREAD_COND_INITIALIZER;
static unsigned token, ring_size, rounds;
static uint64_t shared_sum;

static void contend(void)
{
	for (unsigned i = 0; i < rounds; i++) {
		pthread_mutex_lock(&lock);
		compute_ns(MS / 2);
		shared_sum += i;
		pthread_mutex_unlock(&lock);
		if (i % 8 == 0)
			sleep_ns(MS);
		compute_ns(MS / 4);
	}
}

static void pass_token(unsigned me)
{
	for (unsigned i = 0; i < rounds; i++) {
		pthread_mutex_lock(&ring_lock);
		while (token != me)
			pthread_cond_wait(&ring_cond, &ring_lock);
		token = (me + 1) % ring_size;
		pthread_cond_broadcast(&ring_cond);
		pthread_mutex_unlock(&ring_lock);
		compute_ns(MS / 8);
	}
}

static void *worker(void *p)
{
	unsigned id = (unsigned)(uintptr_t)p;
	char name[16];

	snprintf(name, sizeof(name), "worker-%u", id);
	pthread_setname_np(pthread_self(), name);
	if (id % 2)
		contend();
	else
		pass_token(id / 2);
	truth_task(name);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned n = (unsigned)arg_u64(argc, argv, "--threads", 8);
	pthread_t *t = calloc(n, sizeof(*t));

	truth_open(argc, argv);
	must(t, "calloc");
	rounds = (unsigned)arg_u64(argc, argv, "--rounds", 40);
	ring_size = (n + 1) / 2;
	for (unsigned i = 0; i < n; i++)
		t[i] = thread_start(worker, (void *)(uintptr_t)i, 0);
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	free(t);
	truth("{\"t\":\"total\",\"tasks\":%u}", n + 1);
	truth_task("main");
	return 0;
}
