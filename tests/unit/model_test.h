/* SPDX-License-Identifier: MIT */
/* model_test.h: what the tests of the model share. */
#ifndef MT_MODEL_TEST_H
#define MT_MODEL_TEST_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "../support/model_check.h"
#include "../support/tb.h"

static const struct model_opts with_slices = {.flags = MODEL_SLICES};

/* Loads, checks what always holds, frees the builder. */
static inline struct model *load(struct tb *tb, const struct model_opts *opts)
{
	struct model *m = tb_load(tb, opts ? opts : &with_slices);
	const char *broken;

	cr_assert(m, "the model loads");
	broken = model_broken(m, !opts || opts->flags & MODEL_SLICES);
	cr_assert(!broken, "%s", broken);
	tb_free(tb);
	return m;
}

static inline uint64_t rel(uint64_t t)
{
	return t - TB_EPOCH;
}

static inline void expect_states(const struct task *t, uint64_t run, uint64_t runnable,
                                 uint64_t blocked)
{
	cr_expect_eq(t->run_ns, run, "run %" PRIu64 ", not %" PRIu64, t->run_ns, run);
	cr_expect_eq(t->runnable_ns, runnable, "runnable %" PRIu64 ", not %" PRIu64, t->runnable_ns,
	             runnable);
	cr_expect_eq(t->blocked_ns, blocked, "blocked %" PRIu64 ", not %" PRIu64, t->blocked_ns,
	             blocked);
}

static inline void expect_kernel_equal(const struct task *t)
{
	uint64_t queue = t->runnable_ns - t->steal_ns;

	cr_expect(t->has_base && t->has_end);
	cr_expect_eq(t->voluntary, t->kernel.voluntary);
	cr_expect_eq(t->involuntary, t->kernel.involuntary);
	cr_expect_eq(t->run_ns, t->kernel.run_ns);
	cr_expect_eq(queue, t->kernel.runnable_ns, "%" PRIu64 ", not %" PRIu64, queue,
	             t->kernel.runnable_ns);
}

#endif
