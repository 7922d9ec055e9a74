/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures_priv.h"
#include "report/spots_priv.h"

/* A worker that the kernel made in the process (io_uring's) has no code of its own: one frame,
 * which lies nowhere. */
static bool is_nowhere(const struct model *m, uint32_t ustack)
{
	struct frame f[2];

	return model_frames(m, ustack, f, ARRAY_LEN(f)) == 1 && !f[0].name && !f[0].module[0];
}

static int add_row(struct spots *s, const struct stack_row *row)
{
	struct spot_part part = {.task = row->task, .ns = row->blocked_ns};
	bool added = false, none = row->kstack && is_nowhere(s->m, row->ustack);
	uint64_t *slot;
	uint32_t text, stack;

	s->total = sat_add(s->total, row->blocked_ns);
	text = none ? 0 : stack_name(&s->names, row->ustack);
	stack = text ? row->ustack : row->kstack;
	text = text ? text : stack_name(&s->names, row->kstack);
	if (!text) {
		s->without = sat_add(s->without, row->blocked_ns);
		return s->names.err;
	}
	slot = hmap_put(&s->ids, text, row->cause, &added);
	if (!slot)
		return -ENOMEM;
	if (added) {
		struct spot fresh = {.text = text, .stack = stack, .cause = row->cause};

		*slot = s->list.n;
		if (vec_push(&s->list, fresh))
			return -ENOMEM;
	}
	part.spot = (uint32_t)*slot;
	s->list.v[part.spot].ns = sat_add(s->list.v[part.spot].ns, part.ns);
	return vec_push(&s->parts, part);
}

static int by_spot(const void *a, const void *b)
{
	const struct spot_part *x = a, *y = b;

	if (x->spot != y->spot)
		return x->spot < y->spot ? -1 : 1;
	return x->task < y->task ? -1 : x->task > y->task;
}

static int by_time(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns > y->ns ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

static int gather(struct spots *s, const char *task_filter)
{
	const struct stack_row *rows;
	size_t n = model_off_cpu(s->m, &rows);
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		const struct task *task = model_task(s->m, rows[i].task);

		if (rows[i].blocked_ns && rows[i].cause < BLOCK_N && task &&
		    task_wanted(task, task_filter))
			err = add_row(s, &rows[i]);
	}
	if (err || !s->list.n)
		return err;
	qsort(s->parts.v, s->parts.n, sizeof(*s->parts.v), by_spot);
	for (size_t i = 0; i < s->parts.n; i++) {
		struct spot *spot = &s->list.v[s->parts.v[i].spot];

		spot->first = spot->n++ ? spot->first : i;
	}
	qsort(s->list.v, s->list.n, sizeof(*s->list.v), by_time);
	return 0;
}

int spots_init(struct spots *s, const struct model *m, const char *task)
{
	int err;

	*s = (struct spots){.m = m};
	err = stack_names_init(&s->names, m);
	return err ? err : gather(s, task);
}

void spots_release(struct spots *s)
{
	vec_release(&s->list);
	vec_release(&s->parts);
	hmap_release(&s->ids);
	stack_names_release(&s->names);
}

/* How every program and every system call begins and ends: says nothing about this one. */
bool frame_is_dull(const char *frame, size_t n)
{
	static const char *const dull[] = {
	        "_start",
	        "__libc_start_main",
	        "__libc_start_call_main",
	        "__libc_start_main_impl",
	        "clone",
	        "clone3",
	        "__clone",
	        "__clone3",
	        "start_thread",
	        "ret_from_fork",
	        "ret_from_fork_asm",
	        "entry_SYSCALL_64_after_hwframe",
	        "do_syscall_64",
	        "x64_sys_call",
	        "el0t_64_sync",
	        "el0t_64_sync_handler",
	        "el0_svc",
	        "schedule",
	        "__schedule",
	        "[unknown]",
	};

	for (size_t i = 0; i < ARRAY_LEN(dull); i++) {
		if (strlen(dull[i]) == n && !memcmp(dull[i], frame, n))
			return true;
	}
	return false;
}
