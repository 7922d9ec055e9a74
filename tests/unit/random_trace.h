/* SPDX-License-Identifier: MIT */
/* random_trace.h: recordings in which nothing need make sense, for what must hold of any. */
#ifndef MT_RANDOM_TRACE_H
#define MT_RANDOM_TRACE_H

#include "../support/tb.h"

static uint64_t random_state;

static inline uint64_t below(uint64_t n)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 33) % n;
}

/* Tasks that run, wait for locks with owners right and wrong, for each other, for anything, and
 * are woken by anybody, at a few places, where they are seen on CPUs, too: nothing in it need make
 * sense. */
static inline struct tb *anything(uint64_t seed)
{
	static const char *const cpus[] = {"1", "2", "4", "0.7", "2.5"};
	struct tb *tb = tb_new();
	uint64_t born[16] = {0};
	uint32_t n, files[3] = {0}, stacks[4] = {0};

	random_state = seed;
	n = 2 + (uint32_t)below(12);
	tb_meta(tb, META_CPUS, cpus[below(5)]);
	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id <= n; id++) {
		uint64_t t = born[id] = below(MS);

		if (below(4))
			tb_thread(tb, id, 1, "t", t);
		else
			tb_fork(tb, id, 1 + (uint32_t)below(id - 1), "p", t);
	}
	for (unsigned i = 1; i < 3; i++)
		files[i] = tb_file(tb, FD_PIPE, 70 + i, 0, "pipe");
	for (unsigned i = 1; i < 4; i++) {
		const uint64_t frames[] = {0x1000 * i, 0x9000};

		stacks[i] = tb_stack(tb, STACK_USER, 1, frames, 2);
	}
	for (uint32_t id = 1; id <= n; id++) {
		uint64_t t = born[id];

		for (unsigned i = 0; i < 30; i++) {
			uint64_t run = t + 1 + below(MS), wake = run + 1 + below(2 * MS);
			uint32_t other = 1 + (uint32_t)below(n + 1);

			tb_on(tb, id, id);
			if (!below(3))
				tb_sample(tb, id, t + below(run - t), stacks[below(4)], 0);
			tb_run(tb, id, t, run);
			tb_stacks(tb, id, stacks[below(4)], 0);
			tb_on_file(tb, id, files[below(3)]);
			t = wake + below(300 * US);
			tb_owner(tb, id, (uint32_t)below(n + 2));
			switch (below(6)) {
			case 0:
				tb_preempt(tb, id);
				break;
			case 1:
				tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, wake, 0);
				break;
			case 2:
				tb_call(tb, id, TB_NR_read, 3, FD_PIPE, wake,
				        other <= n ? other : 0);
				break;
			default:
				tb_futex_wait(tb, id, 0x601000 + 64 * below(3), wake,
				              other <= n ? other : 0);
				break;
			}
		}
		if (below(3)) {
			tb_run(tb, id, t, t + 1 + below(MS));
			tb_exit(tb, id, 0);
		}
	}
	tb_stop(tb, 200 * MS);
	return tb;
}

#endif
