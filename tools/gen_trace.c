/* SPDX-License-Identifier: MIT */
/*
 * gen_trace FILE MILLIONS [TASKS]: a synthetic recording of that many million switches and
 * wake-ups, to measure reports on. Pairs of threads hand a token to each other through a
 * futex, each pair on its own two CPUs; every thread now and then is preempted, sleeps, or
 * reads from a pipe. Deterministic.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rnd.h"
#include "trace.h"

#define EPOCH        1000000000000ull
#define STACKS       64
#define STACK_FRAMES 12

struct thread {
	uint64_t out, in, delay; /* since when off and on; wait for the CPU of this turn */
	uint64_t run, wait, voluntary, involuntary;
	bool preempted;
};

struct gen {
	struct trace_writer *w;
	struct thread *threads;
	unsigned n;
	uint64_t now, rng;
};

static uint64_t rnd_below(struct gen *g, uint64_t below)
{
	return rnd_next(&g->rng) % below;
}

static void put(struct gen *g, enum rec_kind kind, uint64_t ts, const void *rec)
{
	int rc = trace_write(g->w, kind, ts, rec);

	if (!rc)
		return;
	fprintf(stderr, "gen_trace: %s\n", strerror(-rc));
	exit(1);
}

static void put_text(struct gen *g, uint64_t id, const char *text)
{
	struct rec_string r = {.id = id, .text = {(const uint8_t *)text, strlen(text)}};

	put(g, REC_K_STRING, 0, &r);
}

static void put_meta(struct gen *g, const char *key, const char *value)
{
	struct rec_meta r = {.key = {(const uint8_t *)key, strlen(key)},
	                     .value = {(const uint8_t *)value, strlen(value)}};

	put(g, REC_K_META, 0, &r);
}

enum { STR_COMM = 1, STR_APP, STR_SYMBOL };

static void put_names(struct gen *g)
{
	struct rec_map map = {
	        .space = 1, .start = 0x400000, .end = 0x500000, .offset = 0, .file = STR_APP};
	struct rec_space space = {.id = 1};

	put_text(g, STR_COMM, "worker");
	put_text(g, STR_APP, "/usr/bin/app");
	put(g, REC_K_SPACE, EPOCH, &space);
	put(g, REC_K_MAP, EPOCH, &map);
	for (uint64_t i = 0; i < STACKS; i++) {
		uint64_t frames[STACK_FRAMES];
		struct rec_stack stack = {.id = i + 1,
		                          .kind = STACK_USER,
		                          .space = 1,
		                          .frames = {frames, STACK_FRAMES}};

		for (uint64_t k = 0; k < STACK_FRAMES; k++) {
			char name[32];
			struct rec_symbol symbol = {.module = STR_APP, .name_off = 4};

			frames[k] = 0x400000 + (k ? i / (k + 1) * 64 + k * 4096 : i * 64);
			symbol.offset = frames[k] - 0x400000;
			symbol.name = STR_SYMBOL + i * STACK_FRAMES + k;
			snprintf(name, sizeof(name), "function_%lu_%lu", (unsigned long)i,
			         (unsigned long)k);
			put_text(g, symbol.name, name);
			put(g, REC_K_SYMBOL, 0, &symbol);
		}
		put(g, REC_K_STACK, EPOCH, &stack);
	}
}

/* Sites 1 to n: futex word of each pair; then a read and a sleep; then its wake of each. */
static void put_sites(struct gen *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct rec_site r = {.id = i + 1,
		                     .nr_plus1 = 203,
		                     .a0 = 0x10000 + i / 2 * 64,
		                     .a1 = 128,
		                     .a2 = i};

		put(g, REC_K_SITE, 0, &r);
	}
	put(g, REC_K_SITE, 0, &(struct rec_site){.id = g->n + 1, .nr_plus1 = 1, .arch = 2 << 8});
	put(g, REC_K_SITE, 0, &(struct rec_site){.id = g->n + 2, .nr_plus1 = 36});
	for (unsigned i = 0; i < g->n; i++) {
		struct rec_site r = {.id = g->n + 3 + i,
		                     .nr_plus1 = 203,
		                     .a0 = 0x10000 + i / 2 * 64,
		                     .a1 = 129,
		                     .a2 = 1};

		put(g, REC_K_SITE, 0, &r);
	}
}

static void begin(struct gen *g)
{
	put_meta(g, META_VERSION, "synthetic");
	put_meta(g, META_COMMAND, "run");
	put_meta(g, META_MACHINE, "x86_64");
	put_meta(g, META_CPUS, "8");
	put_meta(g, META_PAGE_SIZE, "4096");
	put_names(g);
	put_sites(g);
	put(g, REC_K_MARK, EPOCH, &(struct rec_mark){.what = MARK_START});
	put(g, REC_K_MARK, EPOCH, &(struct rec_mark){.what = MARK_EXEC});
	for (unsigned i = 0; i < g->n; i++) {
		struct rec_task r = {.id = i + 1,
		                     .proc = 1,
		                     .space = 1,
		                     .tid = 100 + i,
		                     .tgid = 100,
		                     .ns_tid = 100 + i,
		                     .flags = i ? 0 : TASK_F_ROOT,
		                     .comm = STR_COMM};

		put(g, REC_K_TASK, EPOCH, &r);
		g->threads[i].out = EPOCH;
	}
	put(g, REC_K_BASE, EPOCH, &(struct rec_base){.task = 1});
}

static void switch_in(struct gen *g, unsigned i)
{
	struct thread *t = &g->threads[i];
	struct rec_switch r = {.cpu = i % 8, .next = i + 1};

	put(g, REC_K_SWITCH, g->now, &r);
	t->in = g->now;
}

static void switch_out(struct gen *g, unsigned i, uint64_t flags, uint64_t site)
{
	struct thread *t = &g->threads[i];
	struct rec_switch r = {
	        .cpu = i % 8,
	        .prev = i + 1,
	        .state = flags & SW_F_RUNNABLE ? 0 : 1,
	        .flags = flags,
	        .site = site,
	        .exec = g->now - t->in,
	        .delay = t->delay,
	};

	if (flags & SW_F_FUTEX) {
		r.addr = 0x10000 + i / 2 * 64;
		r.word = 2;
		/* Of every other pair the lock is a mutex, which the other thread has. */
		r.owner = i & 2 ? 100 + (i ^ 1) : 0;
		r.flags |= i & 2 ? SW_F_OWNER : 0;
	}
	if (!(flags & SW_F_RUNNABLE))
		r.ustack = 1 + (i * 7 + rnd_below(g, 2)) % STACKS;
	t->run += r.exec;
	t->wait += r.delay;
	t->voluntary += !!(flags & SW_F_VOLUNTARY);
	t->involuntary += !(flags & SW_F_VOLUNTARY);
	put(g, REC_K_SWITCH, g->now, &r);
	t->out = g->now;
	t->preempted = flags & SW_F_RUNNABLE;
}

static void wake(struct gen *g, unsigned i, unsigned waker)
{
	struct rec_waking r = {.cpu = waker % 8,
	                       .task = i + 1,
	                       .waker = waker + 1,
	                       .flags = WK_F_SYSCALL,
	                       .site = g->n + 3 + waker};

	put(g, REC_K_WAKING, g->now, &r);
}

/* One hand-over of a pair: wake the other, who comes in; then wait. Returns events written. */
static uint64_t hand_over(struct gen *g, unsigned from, unsigned to)
{
	uint64_t woken, flags = SW_F_VOLUNTARY | SW_F_SYSCALL, site = from + 1;

	g->now += 700 + rnd_below(g, 600);
	wake(g, to, from);
	woken = g->now;
	g->now += 300 + rnd_below(g, 2000);
	switch_in(g, to);
	g->threads[to].delay = g->now - (g->threads[to].preempted ? g->threads[to].out : woken);
	g->now += 200 + rnd_below(g, 400);
	switch (rnd_below(g, 64)) {
	case 0:
		flags = SW_F_RUNNABLE;
		site = 0;
		break;
	case 1:
		site = g->n + 1;
		break;
	case 2:
		site = g->n + 2;
		break;
	default:
		flags |= SW_F_FUTEX | SW_F_WORD;
	}
	switch_out(g, from, flags, site);
	return 3;
}

static void end(struct gen *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct thread *t = &g->threads[i];
		struct rec_end r = {.task = i + 1};

		g->now += 1000;
		/* Of each pair one runs, the other waits. */
		if (i % 2) {
			switch_in(g, i);
			t->delay = t->preempted ? g->now - t->out : 0;
			g->now += 1000;
		}
		switch_out(g, i, SW_F_VOLUNTARY | SW_F_DEAD, 0);
		r.run = t->run;
		r.runnable = t->wait;
		r.voluntary = t->voluntary;
		r.involuntary = t->involuntary;
		put(g, REC_K_EXIT, g->now,
		    &(struct rec_exit){.task = i + 1, .last = i + 1 == g->n});
		put(g, REC_K_END, g->now, &r);
	}
	put(g, REC_K_MARK, g->now + 1000, &(struct rec_mark){.what = MARK_STOP});
	put(g, REC_K_MARK, g->now + 2000, &(struct rec_mark){.what = MARK_END, .value = 1});
}

static void generate(struct gen *g, uint64_t events)
{
	uint64_t written = 0, turn = 0;

	begin(g);
	g->now = EPOCH + 1000;
	for (unsigned i = 0; i < g->n; i += 2)
		switch_in(g, i);
	/* Whose turn it is alternates, so that after an even number of rounds the even run. */
	for (; written < events || turn % 2; turn++)
		for (unsigned i = 0; i < g->n; i += 2)
			written += hand_over(g, i + turn % 2, i + 1 - turn % 2);
	end(g);
}

int main(int argc, char **argv)
{
	struct gen g = {.now = EPOCH, .rng = 88172645463325252ull, .n = 8};
	struct err err = {0};
	uint64_t millions, n = 8;
	int fd, rc;

	if (argc < 3 || parse_u64(argv[2], 1, 1000, &millions) ||
	    (argc > 3 && parse_u64(argv[3], 2, 100000, &n))) {
		fprintf(stderr, "usage: gen_trace FILE MILLIONS [TASKS]\n");
		return 2;
	}
	g.n = (unsigned)n & ~1u;
	g.threads = calloc(g.n, sizeof(*g.threads));
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!g.threads || fd < 0) {
		fprintf(stderr, "gen_trace: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	g.w = trace_writer_new(trace_sink_fd(&fd), &err);
	if (!g.w) {
		fprintf(stderr, "gen_trace: %s\n", err.msg);
		return 1;
	}
	generate(&g, millions * 1000000);
	rc = trace_writer_finish(g.w);
	if (rc)
		fprintf(stderr, "gen_trace: %s: %s\n", argv[1], strerror(-rc));
	trace_writer_free(g.w);
	free(g.threads);
	return close(fd) || rc ? 1 : 0;
}
