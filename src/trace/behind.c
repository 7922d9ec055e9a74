/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace_priv.h"

/* Compressed: many seconds of the fastest recording. */
#define QUEUE_BYTES_MAX ((size_t)64 << 20)

struct chunk {
	struct chunk *next;
	size_t n;
	uint8_t bytes[];
};

struct behind {
	struct trace_sink to;
	pthread_t thread;
	bool running; /* the caller's */
	/* Below: both threads', under lock. */
	pthread_mutex_t lock;
	pthread_cond_t more, room;
	struct chunk *first, **last;
	size_t bytes; /* handed over and not written yet */
	bool ending;
	int error; /* the first one; for ever */
};

struct behind *behind_new(struct trace_sink to)
{
	struct behind *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->to = to;
	b->last = &b->first;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->more, NULL);
	pthread_cond_init(&b->room, NULL);
	return b;
}

void behind_free(struct behind *b)
{
	if (!b)
		return;
	behind_stop(b);
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->more);
	pthread_cond_destroy(&b->room);
	free(b);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Everything that waits; NULL at the end. */
static struct chunk *take(struct behind *b)
{
	struct chunk *c;

	while (!b->first && !b->ending)
		pthread_cond_wait(&b->more, &b->lock);
	c = b->first;
	b->first = NULL;
	b->last = &b->first;
	return c;
}

/* After an error the rest would be behind a gap: it is dropped, and the caller told. */
static void put_chunks(struct behind *b, struct chunk *c)
{
	while (c) {
		struct chunk *next = c->next;
		int err = b->error;

		pthread_mutex_unlock(&b->lock);
		if (!err)
			err = b->to.write(b->to.ctx, c->bytes, c->n);
		pthread_mutex_lock(&b->lock);
		b->error = err;
		b->bytes -= c->n;
		pthread_cond_signal(&b->room);
		free(c);
		c = next;
	}
}

static void *run(void *arg)
{
	struct behind *b = arg;
	struct chunk *c;

	pthread_mutex_lock(&b->lock);
	while ((c = take(b)))
		put_chunks(b, c);
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

int behind_start(struct behind *b)
{
	int rc;

	if (b->running)
		return 0;
	b->ending = false;
	rc = pthread_create(&b->thread, NULL, run, b);
	b->running = !rc;
	return -rc;
}

int behind_stop(struct behind *b)
{
	if (!b->running)
		return b->error;
	pthread_mutex_lock(&b->lock);
	b->ending = true;
	pthread_cond_signal(&b->more);
	pthread_mutex_unlock(&b->lock);
	pthread_join(b->thread, NULL);
	b->running = false;
	return b->error;
}

/* --- the sink --------------------------------------------------------------------------------- */

static int hand_over(struct behind *b, const void *p, size_t n)
{
	struct chunk *c = malloc(sizeof(*c) + n);
	int err;

	if (!c)
		return -ENOMEM;
	c->next = NULL;
	c->n = n;
	memcpy(c->bytes, p, n);
	pthread_mutex_lock(&b->lock);
	while (!b->error && b->bytes && b->bytes + n > QUEUE_BYTES_MAX)
		pthread_cond_wait(&b->room, &b->lock);
	err = b->error;
	if (!err) {
		*b->last = c;
		b->last = &c->next;
		b->bytes += n;
		pthread_cond_signal(&b->more);
	}
	pthread_mutex_unlock(&b->lock);
	if (err)
		free(c);
	return err;
}

static int behind_write(void *ctx, const void *p, size_t n)
{
	struct behind *b = ctx;

	if (b->running)
		return hand_over(b, p, n);
	if (!b->error)
		b->error = b->to.write(b->to.ctx, p, n);
	return b->error;
}

static int behind_write_at(void *ctx, const void *p, size_t n, uint64_t off)
{
	struct behind *b = ctx;
	int err = 0;

	/* What it changes may not be written yet. */
	pthread_mutex_lock(&b->lock);
	while (b->running && !b->error && b->bytes)
		pthread_cond_wait(&b->room, &b->lock);
	err = b->error;
	pthread_mutex_unlock(&b->lock);
	return err ? err : b->to.write_at(b->to.ctx, p, n, off);
}

struct trace_sink behind_sink(struct behind *b)
{
	return (struct trace_sink){behind_write, behind_write_at, b};
}
