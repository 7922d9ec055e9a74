/* SPDX-License-Identifier: MIT */
/* What the frames of a flame graph are called, and of which kind they are. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "report/flame_priv.h"

#define MAX_TEXT_BYTES (256u << 20) /* names of frames together */
#define MAX_LISTED     (64u << 20)  /* frames of all stacks together */

uint32_t flame_frame_as(struct flame *f, const char *text, const char *module, enum flame_kind kind)
{
	struct flame_frame fresh = {.kind = (uint8_t)kind};
	bool added = false;
	uint64_t *slot;

	fresh.text = strtab_add(f->texts, text, strlen(text), &added);
	f->text_bytes += added ? strlen(text) : 0;
	if (fresh.text && !f->folded && module && module[0]) {
		fresh.module = strtab_add(f->texts, module, strlen(module), &added);
		f->text_bytes += added ? strlen(module) : 0;
		if (!fresh.module)
			return 0;
	}
	/* Folded lines that read the same must be one line: kind and module do not tell. */
	slot = fresh.text
	               ? hmap_put(&f->frame_ids, fresh.text,
	                          f->folded ? 0 : (uint64_t)fresh.module << 8 | fresh.kind, &added)
	               : NULL;
	if (!slot)
		return 0;
	if (added) {
		*slot = f->frames.n;
		if (vec_push(&f->frames, fresh))
			return 0;
	}
	return (uint32_t)*slot;
}

uint32_t flame_frame(struct flame *f, const char *text, const char *module, enum flame_kind kind)
{
	static const char *const marks[FLAME_KIND_N] = {
	        [FLAME_KERNEL] = "_[k]", [FLAME_INLINED] = "_[i]", [FLAME_PYTHON] = "_[p]"};
	char safe[FRAME_MAX_BYTES], full[FRAME_MAX_BYTES + 8];
	const char *mark = f->folded && !f->o->no_marks && marks[kind] ? marks[kind] : "";

	if (f->folded)
		folded_name(safe, sizeof(safe), text);
	else
		fmt_safe(safe, sizeof(safe), text);
	snprintf(full, sizeof(full), "%s%s", safe, mark);
	return flame_frame_as(f, full, fmt_safe(safe, sizeof(safe), module ? module : ""), kind);
}

static int put(struct flame *f, uint32_t frame)
{
	return frame && !vec_push(&f->chain, frame) ? 0 : -ENOMEM;
}

int flame_put_mark(struct flame *f, const char *fmt, ...)
{
	char text[FRAME_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return put(f, flame_frame(f, text, NULL, FLAME_MARK));
}

/* --- stacks -------------------------------------------------------------------------------- */

static uint32_t frame_id(struct flame *f, const struct frame *fr)
{
	const char *module = path_base(fr->module);
	char text[FRAME_MAX_BYTES];
	struct frame where = *fr;
	enum flame_kind kind;

	if (f->o->base && fr->kind == FRAME_PYTHON)
		where.line = 0; /* another version of the file has other lines */
	frame_text(text, sizeof(text), &where);
	if (fr->kind == FRAME_KERNEL)
		kind = FLAME_KERNEL;
	else if (fr->kind == FRAME_PYTHON)
		kind = FLAME_PYTHON;
	else if (fr->kind == FRAME_INLINED && (f->folded || !frame_is_runtime(fr)))
		kind = FLAME_INLINED; /* folded stacks have a mark for these, none for runtimes */
	else if (frame_is_runtime(fr))
		kind = FLAME_RUNTIME;
	else
		kind = fr->name && fr->name[0] ? FLAME_NATIVE : FLAME_UNKNOWN;
	if (kind == FLAME_KERNEL || kind == FLAME_PYTHON)
		module = NULL;
	return flame_frame(f, text, module, kind);
}

/* Outermost first: the model has it the other way round. */
static int list_frames(struct flame *f, const struct mstack *st, uint32_t stack)
{
	size_t n = model_frames(f->r->m, stack, f->buffer, STACK_MAX_FRAMES);
	bool worker = false;
	uint32_t id;

	if (flame_aligned(f))
		n = flame_align(f->buffer, n, &worker);
	if (worker) {
		id = f->workers = flame_frame(f, "[workers]", NULL, FLAME_MARK);
		if (!id || vec_push(&f->lists, id))
			return -ENOMEM;
	} else if (stack_cut(st, n)) {
		id = flame_frame(f, stack_cut(st, n), NULL, FLAME_UNKNOWN);
		if (!id || vec_push(&f->lists, id))
			return -ENOMEM;
	}
	while (n-- > 0) {
		id = frame_id(f, &f->buffer[n]);
		if (!id || vec_push(&f->lists, id))
			return -ENOMEM;
	}
	return f->text_bytes > MAX_TEXT_BYTES || f->lists.n > MAX_LISTED ? -E2BIG : 0;
}

/* Where the stack's list is in f->lists; each stack is named once. */
static int list_of(struct flame *f, uint32_t stack, size_t *at)
{
	const struct mstack *st = stack ? model_stack(f->r->m, stack) : NULL;
	uint64_t *slot;
	bool added;
	int err;

	*at = 0;
	if (!st || !st->n)
		return 0;
	slot = hmap_put(&f->stacks, stack, 0, &added);
	if (!slot)
		return -ENOMEM;
	if (added) {
		*slot = f->lists.n;
		if (vec_push(&f->lists, 0u))
			return -ENOMEM;
		err = list_frames(f, st, stack);
		if (err)
			return err;
		f->lists.v[*slot] = (uint32_t)(f->lists.n - *slot - 1);
	}
	*at = *slot;
	return 0;
}

bool flame_is_worker(struct flame *f, uint32_t stack)
{
	size_t at;

	return flame_aligned(f) && !list_of(f, stack, &at) && at && f->lists.v[at] &&
	       f->lists.v[at + 1] == f->workers;
}

int flame_put_stack(struct flame *f, uint32_t stack, bool innermost_first)
{
	size_t at;
	int err = list_of(f, stack, &at);
	uint32_t n = !err && at ? f->lists.v[at] : 0;

	for (uint32_t i = 0; i < n && !err; i++)
		err = put(f, f->lists.v[at + (innermost_first ? n - i : i + 1)]);
	return err;
}

/* --- whose ---------------------------------------------------------------------------------- */

static uint32_t process_frame(struct flame *f, const struct task *t)
{
	const struct proc *p = model_proc(f->r->m, t->proc);
	char text[160], name[128];

	if (p && p->comm && p->comm[0])
		fmt_safe(name, sizeof(name), p->comm);
	else
		task_name(name, sizeof(name), t);
	if (f->by == EXPORT_BY_NAME || f->by == EXPORT_BY_LOCK)
		snprintf(text, sizeof(text), "%s", name);
	else
		snprintf(text, sizeof(text), "%s-%" PRIu32, name, p ? p->pid : t->tgid);
	return flame_frame(f, text, NULL, FLAME_PROC);
}

/* 0 and no thread: its process says it all. */
static int thread_frame(struct flame *f, const struct task *t, uint32_t *id)
{
	const struct proc *p = model_proc(f->r->m, t->proc);
	char text[160], name[128];

	*id = 0;
	if (f->by == EXPORT_BY_PROCESS)
		return 0;
	task_name(name, sizeof(name), t);
	if (f->by == EXPORT_BY_TASK) {
		if (t->tid == (p ? p->pid : t->tgid))
			return 0;
		snprintf(text, sizeof(text), "%s-%" PRIu32, name, t->tid);
	} else {
		if (!p || !p->comm || !t->comm || !strcmp(t->comm, p->comm))
			return 0;
		snprintf(text, sizeof(text), "%s", name);
	}
	*id = flame_frame(f, text, NULL, FLAME_PROC);
	return *id ? 0 : -ENOMEM;
}

int flame_put_who(struct flame *f, const struct task *t, bool thread_first)
{
	uint32_t process = process_frame(f, t), thread;
	int err = process ? thread_frame(f, t, &thread) : -ENOMEM;

	if (!err && thread && thread_first)
		err = put(f, thread);
	err = err ? err : put(f, process);
	if (!err && thread && !thread_first)
		err = put(f, thread);
	return err;
}
