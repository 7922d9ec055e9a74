/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "model_priv.h"

#define MAX_LOOKS (1u << 21)
#define HAS_GIL   (GIL_S_LOCKED | GIL_S_MINE)

int on_stack(struct model *m, uint64_t ts, const struct rec_stack *r)
{
	struct lstack s = {
	        .s =
	                {
	                        .kind = r->kind == STACK_USER ? STACK_USER : STACK_KERNEL,
	                        .flags = r->flags & 0xff,
	                        .end = r->end & 0xff,
	                        .space = id32(r->space),
	                        .n = (uint32_t)r->frames.n,
	                        .n_py = (uint32_t)r->py.n,
	                        .ts = ts,
	                },
	        .first = m->frames.n,
	        .first_py = m->py_frames.n,
	};

	if (!id32(r->id))
		return 0;
	if (vec_reserve(&m->frames, r->frames.n) || vec_reserve(&m->py_frames, r->py.n))
		return -ENOMEM;
	for (uint64_t i = 0; i < s.s.n; i++)
		m->frames.v[m->frames.n++] = r->frames.v[i];
	for (uint64_t i = 0; i < s.s.n_py; i++)
		m->py_frames.v[m->py_frames.n++] = r->py.v[i];
	if (idmap_put(&m->stack_ids, r->id, (uint32_t)m->stacks.n))
		return -ENOMEM;
	return vec_push(&m->stacks, s);
}

/* The frames no longer move. */
void stacks_finish(struct model *m)
{
	for (size_t i = 0; i < m->stacks.n; i++) {
		struct lstack *s = &m->stacks.v[i];

		s->s.frames = m->frames.v ? m->frames.v + s->first : NULL;
		s->s.py = m->py_frames.v ? m->py_frames.v + s->first_py : NULL;
	}
}

/* The recorder's own way into the kernel's tracepoint, as frames of the task's stack. */
static bool is_recorder_frame(const char *name)
{
	static const char *const starts[] = {"bpf_trace_run", "__traceiter_", "__bpf_trace_"};
	static const char prog[] = "bpf_prog_"; /* and its tag: bpf_prog_load() is the kernel's */
	enum { TAG_DIGITS = 16 };

	for (size_t i = 0; i < ARRAY_LEN(starts); i++)
		if (!strncmp(name, starts[i], strlen(starts[i])))
			return true;
	return !strncmp(name, prog, strlen(prog)) &&
	       strspn(name + strlen(prog), "0123456789abcdef") >= TAG_DIGITS;
}

/* Stacks of waits are taken from inside the programs on sched_switch: what lies above it is
 * not the workload's. Found by name, since the number of frames differs between kernels. */
void stacks_trim(struct model *m)
{
	enum { DEEPEST = 8 };

	for (size_t i = 0; i < m->stacks.n; i++) {
		struct mstack *s = &m->stacks.v[i].s;
		uint32_t own = 0;
		struct frame f;

		if (s->kind != STACK_KERNEL)
			continue;
		for (uint32_t j = 0; j < s->n && j < DEEPEST; j++)
			if (model_resolve(m, s, j, &f, 1) && f.name && is_recorder_frame(f.name))
				own = j + 1;
		s->frames += own;
		s->n -= own;
	}
}

const struct mstack *model_stack(const struct model *m, uint32_t id)
{
	uint32_t i = id ? idmap_get(&m->stack_ids, id) : NO_INDEX;

	return i == NO_INDEX ? NULL : &m->stacks.v[i].s;
}

/* --- rows ------------------------------------------------------------------------------------ */

static bool same_row(const struct stack_row *a, const struct stack_row *b)
{
	return a->task == b->task && a->ustack == b->ustack && a->kstack == b->kstack &&
	       a->cause == b->cause;
}

/* Index of the row with key's task, stacks and cause, added when new. */
static int row_need(struct hmap *ids, struct stack_row **rows, size_t *n, size_t *cap,
                    const struct stack_row *key, uint32_t *index)
{
	bool added = false;
	uint64_t *at = hmap_put(ids, (uint64_t)key->task << 32 | key->ustack,
	                        (uint64_t)key->kstack << 8 | key->cause, &added);

	if (!at || *n >= NO_INDEX)
		return -ENOMEM;
	if (added) {
		if (vec_grow_((void **)rows, cap, *n, 1, sizeof(**rows)))
			return -ENOMEM;
		*at = *n;
		(*rows)[(*n)++] = *key;
	}
	*index = (uint32_t)*at;
	return 0;
}

int stack_add_off(struct model *m, struct ltask *lt, uint64_t blocked_ns, uint64_t runnable_ns)
{
	struct stack_row key = {
	        .task = lt->t.id,
	        .ustack = lt->ustack,
	        .kstack = lt->kstack,
	        .cause = lt->cause,
	};
	uint32_t i = lt->row - 1;
	struct stack_row *row;

	if (!lt->row || !same_row(&m->off_cpu.v[i], &key)) {
		int err = row_need(&m->off_ids, &m->off_cpu.v, &m->off_cpu.n, &m->off_cpu.cap, &key,
		                   &i);

		if (err)
			return err;
		lt->row = i + 1;
	}
	row = &m->off_cpu.v[i];
	row->blocked_ns = sat_add(row->blocked_ns, blocked_ns);
	row->runnable_ns = sat_add(row->runnable_ns, runnable_ns);
	row->count++;
	return 0;
}

int on_sample(struct model *m, uint64_t ts, const struct rec_sample *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);
	struct stack_row key;
	uint32_t i;
	bool own;

	if (!lt || ts < m->lo_ns || ts > m->hi_ns)
		return err;
	key = (struct stack_row){
	        .task = lt->t.id,
	        .ustack = id32(r->ustack),
	        .kstack = id32(r->kstack),
	};
	err = row_need(&m->on_ids, &m->on_cpu.v, &m->on_cpu.n, &m->on_cpu.cap, &key, &i);
	if (err)
		return err;
	m->on_cpu.v[i].count++;
	lt->t.samples++;
	if (!(m->opts.flags & MODEL_SLICES))
		return 0;
	own = r->gil && gil_state_owner(m, lt) == lt->t.id;
	/* Beyond what sorting repairs: time stays ordered. */
	if (m->samples.n && ts < m->samples.v[m->samples.n - 1].ts)
		ts = m->samples.v[m->samples.n - 1].ts;
	return vec_push(&m->samples,
	                ((struct cpu_sample){.ts = ts,
	                                     .task = key.task,
	                                     .ustack = key.ustack,
	                                     .kstack = key.kstack,
	                                     .gil = own ? id32(r->gil) : 0,
	                                     .has_gil = (r->gil_state & HAS_GIL) == HAS_GIL}));
}

static int add_look(struct model *m, uint64_t ts, uint32_t task, uint32_t ustack)
{
	struct cpu_sample look = {.ts = ts, .task = task, .ustack = ustack};

	if (m->looks.n >= MAX_LOOKS) {
		m->odd.refused++;
		return 0;
	}
	return vec_push(&m->looks, look);
}

int on_touch(struct model *m, uint64_t ts, const struct rec_touch *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);
	struct stack_row key;
	uint32_t i;

	if (!lt || ts < m->lo_ns || ts > m->hi_ns)
		return err;
	if (r->what == TOUCH_LOOK)
		return add_look(m, ts, lt->t.id, id32(r->ustack));
	err = proc_touch(m, lt, ts, r);
	if (err)
		return err;
	key = (struct stack_row){
	        .task = lt->t.id,
	        .ustack = id32(r->ustack),
	        .cause = r->what < UINT8_MAX ? (uint8_t)r->what : UINT8_MAX,
	};
	err = row_need(&m->touch_ids, &m->touch.v, &m->touch.n, &m->touch.cap, &key, &i);
	if (!err)
		m->touch.v[i].count = sat_add(m->touch.v[i].count, r->bytes);
	return err;
}

void stacks_reset(struct model *m)
{
	m->touch.n = m->looks.n = 0;
	hmap_release(&m->touch_ids);
	m->off_cpu.n = m->on_cpu.n = m->samples.n = 0;
	hmap_release(&m->off_ids);
	hmap_release(&m->on_ids);
	for (size_t i = 0; i < m->tasks.n; i++)
		m->tasks.v[i]->row = 0;
}

void stacks_release(struct model *m)
{
	vec_release(&m->stacks);
	vec_release(&m->frames);
	vec_release(&m->py_frames);
	vec_release(&m->off_cpu);
	vec_release(&m->on_cpu);
	vec_release(&m->samples);
	idmap_release(&m->stack_ids);
	hmap_release(&m->off_ids);
	hmap_release(&m->on_ids);
	vec_release(&m->touch);
	vec_release(&m->looks);
	hmap_release(&m->touch_ids);
}

size_t model_looks(const struct model *m, const struct cpu_sample **out)
{
	*out = m->looks.v;
	return m->looks.n;
}

size_t model_touch(const struct model *m, const struct stack_row **out)
{
	*out = m->touch.v;
	return m->touch.n;
}

size_t model_off_cpu(const struct model *m, const struct stack_row **out)
{
	*out = m->off_cpu.v;
	return m->off_cpu.n;
}

size_t model_on_cpu(const struct model *m, const struct stack_row **out)
{
	*out = m->on_cpu.v;
	return m->on_cpu.n;
}

size_t model_samples(const struct model *m, const struct cpu_sample **out)
{
	*out = m->samples.v;
	return m->samples.n;
}
