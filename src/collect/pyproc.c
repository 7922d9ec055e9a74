/* SPDX-License-Identifier: MIT */
/* pyproc.c: see the header. */
#include <string.h>

#include "pyproc.h"

#define INTERPRETERS_MAX 64u
#define THREADS_MAX      4096u
#define READS_MAX        400000u
#define PTHREAD_TID      0x2d0 /* glibc, x86-64 and aarch64: struct pthread.tid */

bool pyproc_open(struct pyproc *p, const struct pyspaces *py, uint32_t pid, uint32_t space)
{
	*p = (struct pyproc){.pid = pid, .space = space};
	p->b = pyspaces_at(py, space, &p->runtime);
	if (p->b)
		p->l = &p->b->off.frames;
	return p->b;
}

bool pyproc_read(struct pyproc *p, uint64_t addr, void *out, size_t n)
{
	if (p->reads >= READS_MAX || addr < 4096 || addr >> 56)
		return false;
	p->reads++;
	return process_read(p->pid, addr, out, n);
}

uint64_t pyproc_u64(struct pyproc *p, uint64_t addr)
{
	uint64_t v = 0;

	return pyproc_read(p, addr, &v, sizeof(v)) ? v : 0;
}

uint32_t pyproc_u32(struct pyproc *p, uint64_t addr)
{
	uint32_t v = 0;

	return pyproc_read(p, addr, &v, sizeof(v)) ? v : 0;
}

static struct py_thread thread_at(struct pyproc *p, uint64_t state)
{
	struct py_thread t = {.state = state,
	                      .ident = pyproc_u64(p, state + p->l->tstate_thread_id)};

	if (p->b->off.tstate_native_id != PY_NONE)
		t.tid = (uint32_t)pyproc_u64(p, state + p->b->off.tstate_native_id);
	else
		t.tid = t.ident ? pyproc_u32(p, t.ident + PTHREAD_TID) : 0;
	return t;
}

int pyproc_threads(struct pyproc *p, int (*fn)(void *ctx, const struct py_thread *t), void *ctx)
{
	uint64_t interp = pyproc_u64(p, p->runtime + p->l->interp_head);
	unsigned threads = 0;

	for (unsigned i = 0; interp && i < INTERPRETERS_MAX; i++) {
		uint64_t state = pyproc_u64(p, interp + p->l->interp_threads);

		for (; state && threads < THREADS_MAX; threads++) {
			struct py_thread t = thread_at(p, state);
			int rc = fn(ctx, &t);

			if (rc)
				return rc;
			state = pyproc_u64(p, state + p->l->tstate_next);
		}
		interp = pyproc_u64(p, interp + p->l->interp_next);
	}
	return 0;
}

uint64_t pyproc_innermost(struct pyproc *p, uint64_t tstate)
{
	uint64_t frame = pyproc_u64(p, tstate + p->l->tstate_frame);

	if (p->l->cframe_frame == MT_PY_NO || !frame)
		return frame;
	return pyproc_u64(p, frame + p->l->cframe_frame);
}

uint64_t py_frame_word(const struct py_frame *f, unsigned at)
{
	uint64_t v = 0;

	if (at + sizeof(v) <= sizeof(f->bytes))
		memcpy(&v, f->bytes + at, sizeof(v));
	return v;
}

bool pyproc_frame(struct pyproc *p, uint64_t addr, struct py_frame *f)
{
	uint32_t size = p->l->frame_size < PY_FRAME_BYTES ? p->l->frame_size : PY_FRAME_BYTES;

	*f = (struct py_frame){.addr = addr};
	if (!pyproc_read(p, addr, f->bytes, size))
		return false;
	f->code = py_frame_word(f, p->l->frame_code) & ~(uint64_t)p->l->code_mask;
	f->prev = py_frame_word(f, p->l->frame_prev);
	return true;
}
