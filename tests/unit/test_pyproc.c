/* SPDX-License-Identifier: MIT */
/* The walk through a Python process's memory: here our own, with structures made for it. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "collect/pyproc.h"

/* All of them: a next one at 0. */
struct node {
	uint64_t next, threads, ident, native_id, cframe, frame;
	uint64_t code, prev;
};

static const struct py_build build = {
        .off = {.frames = {.interp_head = 0,
                           .interp_next = offsetof(struct node, next),
                           .interp_threads = offsetof(struct node, threads),
                           .tstate_next = offsetof(struct node, next),
                           .tstate_thread_id = offsetof(struct node, ident),
                           .tstate_frame = offsetof(struct node, cframe),
                           .cframe_frame = offsetof(struct node, frame),
                           .frame_size = sizeof(struct node),
                           .frame_code = offsetof(struct node, code),
                           .frame_prev = offsetof(struct node, prev),
                           .code_mask = 3},
                .tstate_native_id = offsetof(struct node, native_id)}};

static uint64_t at(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static struct pyproc process(const uint64_t *runtime)
{
	return (struct pyproc){.pid = (uint32_t)getpid(),
	                       .runtime = at(runtime),
	                       .b = &build,
	                       .l = &build.off.frames};
}

struct seen {
	size_t n;
	uint32_t tids[8], stop_at;
};

static int see(void *ctx, const struct py_thread *t)
{
	struct seen *s = ctx;

	if (s->n < ARRAY_LEN(s->tids))
		s->tids[s->n] = t->tid;
	s->n++;
	return t->tid == s->stop_at ? 7 : 0;
}

Test(pyproc, threads_of_all_interpreters)
{
	struct node threads[3] = {{.native_id = 11, .ident = 1},
	                          {.native_id = 12, .ident = 2},
	                          {.native_id = 13, .ident = 3}};
	struct node interps[2] = {{.threads = at(&threads[0])}, {.threads = at(&threads[2])}};
	uint64_t runtime = at(&interps[0]);
	struct pyproc p = process(&runtime);
	struct seen s = {0};

	threads[0].next = at(&threads[1]);
	interps[0].next = at(&interps[1]);
	cr_expect_eq(pyproc_threads(&p, see, &s), 0);
	cr_assert_eq(s.n, 3);
	for (uint32_t i = 0; i < 3; i++)
		cr_expect_eq(s.tids[i], 11 + i);
	s = (struct seen){.stop_at = 12};
	cr_expect_eq(pyproc_threads(&p, see, &s), 7);
	cr_expect_eq(s.n, 2);
}

Test(pyproc, frames)
{
	struct node frames[2] = {{.code = 0x7001}, {.code = 0x8002}};
	struct node cframe = {.frame = at(&frames[0])}, thread = {.cframe = at(&cframe)};
	uint64_t runtime = 0;
	struct pyproc p = process(&runtime);
	struct py_frame f;

	frames[0].prev = at(&frames[1]);
	cr_assert_eq(pyproc_innermost(&p, at(&thread)), at(&frames[0]));
	cr_assert(pyproc_frame(&p, at(&frames[0]), &f));
	cr_expect_eq(f.code, 0x7000, "without the bits that are no address");
	cr_assert(pyproc_frame(&p, f.prev, &f));
	cr_expect_eq(f.code, 0x8000);
	cr_expect_eq(f.prev, 0);
	cr_expect_eq(py_frame_word(&f, offsetof(struct node, code)), 0x8002);
	cr_expect_eq(py_frame_word(&f, PY_FRAME_BYTES - 7), 0, "beyond its end");
	cr_expect_not(pyproc_frame(&p, 0, &f));
}

/* Lists that end in nothing or go in circles. */
Test(pyproc, hostile_memory)
{
	struct node thread = {.native_id = 11}, interp = {.threads = at(&thread)};
	uint64_t runtime = at(&interp);
	struct pyproc p = process(&runtime);
	struct seen s = {.stop_at = UINT32_MAX};

	thread.next = 0x10;
	interp.next = UINT64_MAX;
	cr_expect_eq(pyproc_threads(&p, see, &s), 0);
	cr_expect_eq(s.n, 2, "the second one is not readable");
	cr_expect_eq(s.tids[1], 0);
	thread.next = at(&thread);
	interp.next = at(&interp);
	s.n = 0;
	cr_expect_eq(pyproc_threads(&p, see, &s), 0);
	cr_expect_leq(s.n, 5000);
	p.reads = UINT32_MAX - 1;
	cr_expect_eq(pyproc_u64(&p, at(&runtime)), 0, "enough was read");
}
