/* SPDX-License-Identifier: MIT */
/*
 * many_threads: --threads N (5000) threads with small stacks, all alive at once: each waits at
 * a gate until the last one is there, takes one mutex and ends. Truth: "task" of every thread
 * with --each, "total" {tasks}.
 */
#include "truth.h"

#define STACK_BYTES (64 << 10)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate = PTHREAD_COND_INITIALIZER;
static bool open_, each;
static unsigned long passed;

static void *waiter(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&lock);
	while (!open_)
		pthread_cond_wait(&gate, &lock);
	passed++;
	pthread_mutex_unlock(&lock);
	if (each)
		truth_task("waiter");
	return NULL;
}

int main(int argc, char **argv)
{
	size_t n = arg_u64(argc, argv, "--threads", 5000);
	pthread_t *t = calloc(n, sizeof(*t));

	truth_open(argc, argv);
	must(t, "calloc");
	each = flag(argc, argv, "--each");
	for (size_t i = 0; i < n; i++)
		t[i] = thread_start(waiter, NULL, STACK_BYTES);
	pthread_mutex_lock(&lock);
	open_ = true;
	pthread_cond_broadcast(&gate);
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	must(passed == n, "every thread passed the gate");
	free(t);
	truth("{\"t\":\"total\",\"tasks\":%zu}", n + 1);
	truth_task("main");
	return 0;
}
