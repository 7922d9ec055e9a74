/* SPDX-License-Identifier: MIT */
/*
 * pylocks.c: who holds a threading.Lock or RLock that somebody waits for. The lock does not say.
 * But who is inside a `with lock:` has the lock's bound method __exit__ on the value stack of that
 * frame, for the end of the block. So the value stacks of all Python frames of the process are
 * searched for one whose lock is the one that is waited for. An RLock names its owner itself.
 *
 * Above the values that are in use is what was there before, and the memory of a bound method that
 * is gone is soon another one's: only what belongs to a block that the frame is in counts. To 3.10
 * the frame has a stack of its blocks, from 3.11 on the code object has a table of them
 * (Objects/exception_handling_notes.txt). From 3.14 on no bound method is made: nothing is found.
 *
 * CPython's structures, besides those of python.h, as in its headers of 3.8 to 3.13:
 *   PyCFunctionObject  m_ml 16, m_self 24;  PyMethodDef  ml_name 0
 *   lockobject, rlockobject  16: pointer to the sem_t (its futex word is the first; from
 *     3.13.1 on a lock's PyMutex itself);  rlock_owner 24: thread ident
 *   PyFrameObject (to 3.10)  f_valuestack 64; f_iblock 8, f_blockstack 16 after f_lasti, of 20
 *     { type, handler, level }
 *   _PyInterpreterFrame  localsplus 72
 *   PyCodeObject  co_firstlineno, right behind it co_nlocalsplus (3.11); co_exceptiontable 40
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "holds_priv.h"
#include "pyproc.h"

#define FRAMES_MAX 1000u
#define TABLE_MAX  8192u /* bytes of a code object's table of blocks */
#define STACK_MAX  256u  /* words of one frame's value stack */
#define FOUND_MAX  4096u

#define LOCALSPLUS 72
#define EXCEPTIONS 40
#define BLOCKS     20
#define VALUESTACK 64
#define MINOR(hex) ((hex) >> 16 & 0xff)

enum name_kind { NAME_OTHER = 1, NAME_EXIT, NAME_LOCK, NAME_RLOCK };

struct process {
	struct pyproc mem;
	struct holds *h;
	struct hmap names; /* address of a PyMethodDef or type -> enum name_kind */
};

/* What was found of one thread: a `with` block it is in. */
struct found {
	uint64_t exit;  /* address of the bound method */
	uint32_t slot;  /* place on the value stack */
	uint64_t lock;  /* address of the object */
	uint64_t sem;   /* word at 16 */
	uint64_t owner; /* RLock: thread ident; 0 = none */
	uint32_t task;
	bool rlock;
};
typedef VEC(struct found) found_vec;

/* The kind of the C string that the word at `holder + off` points to; each holder once. */
static enum name_kind name_at(struct process *p, uint64_t holder, uint64_t off)
{
	static const struct {
		const char *name;
		enum name_kind kind;
	} names[] = {{"__exit__", NAME_EXIT},
	             {"_thread.lock", NAME_LOCK},
	             {"_thread.RLock", NAME_RLOCK}};
	uint64_t *known = hmap_get(&p->names, holder, off), at;
	enum name_kind kind = NAME_OTHER;
	char text[16] = "";

	if (known)
		return (enum name_kind) * known;
	at = pyproc_u64(&p->mem, holder + off);
	if (at && pyproc_read(&p->mem, at, text, sizeof(text)))
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (!memcmp(text, names[i].name, strlen(names[i].name) + 1))
				kind = names[i].kind;
	known = hmap_put(&p->names, holder, off, NULL);
	if (known)
		*known = kind;
	return kind;
}

/* Is it a living bound __exit__ of a lock? */
static bool lock_of_exit(struct process *p, uint64_t at, struct found *f)
{
	const uint64_t refs_max = 1 << 20; /* of freed memory this is a pointer or 0 */
	uint64_t method[4], lock[4];
	enum name_kind kind;

	if (!at || at & 7 || !pyproc_read(&p->mem, at, method, sizeof(method)))
		return false;
	if (!method[0] || method[0] > refs_max || !method[2] || !method[3])
		return false;
	if (method[2] & 7 || method[3] & 7 || name_at(p, method[2], 0) != NAME_EXIT)
		return false;
	if (!pyproc_read(&p->mem, method[3], lock, sizeof(lock)) || !lock[0])
		return false;
	kind = name_at(p, lock[1], p->mem.l->type_name);
	if (kind != NAME_LOCK && kind != NAME_RLOCK)
		return false;
	*f = (struct found){.lock = method[3],
	                    .sem = lock[2],
	                    .owner = kind == NAME_RLOCK ? lock[3] : 0,
	                    .rlock = kind == NAME_RLOCK};
	return true;
}

/* --- frames ---------------------------------------------------------------------------------- */

/* Of a frame of 3.10 or older: how many values the blocks that it is in have below them. */
static uint32_t depth_by_blocks(struct process *p, const struct py_frame *f)
{
	uint64_t at = f->addr + p->mem.l->frame_instr + 8;
	struct {
		int32_t type, handler, level;
	} blocks[BLOCKS];
	uint32_t n = pyproc_u32(&p->mem, at), depth = 0;

	if (!n || n > BLOCKS || !pyproc_read(&p->mem, at + 8, blocks, n * sizeof(blocks[0])))
		return 0;
	for (uint32_t i = 0; i < n; i++)
		if (blocks[i].level > 0 && (uint32_t)blocks[i].level > depth)
			depth = (uint32_t)blocks[i].level;
	return depth;
}

/* Six bits a byte, highest first; bit 6: more follow. */
static uint32_t table_number(const uint8_t *t, size_t n, size_t *at)
{
	uint32_t v = 0;

	while (*at < n) {
		uint8_t byte = t[(*at)++];

		v = v << 6 | (byte & 0x3f);
		if (!(byte & 0x40))
			break;
	}
	return v;
}

/* From 3.11 on: the same of the block that the instruction lies in, by the code's table. */
static uint32_t depth_by_table(struct process *p, const struct py_frame *f)
{
	uint64_t instr = py_frame_word(f, p->mem.l->frame_instr) - (f->code + p->mem.l->code_start);
	uint64_t bytes = pyproc_u64(&p->mem, f->code + EXCEPTIONS);
	uint64_t n = bytes ? pyproc_u64(&p->mem, bytes + p->mem.l->bytes_length) : 0;
	uint8_t table[TABLE_MAX];
	uint32_t depth = 0;

	if (!n || n > sizeof(table) ||
	    !pyproc_read(&p->mem, bytes + p->mem.l->bytes_data, table, n))
		return 0;
	for (size_t at = 0; at < n;) {
		uint32_t start = table_number(table, n, &at);
		uint32_t length = table_number(table, n, &at);
		uint32_t below;

		table_number(table, n, &at); /* the handler */
		below = table_number(table, n, &at) >> 1;
		if (instr / 2 >= start && instr / 2 - start < length)
			depth = below;
	}
	return depth;
}

static int search_frame(struct process *p, uint32_t task, const struct py_frame *frame,
                        found_vec *out)
{
	bool old = MINOR(p->mem.b->version) < 11;
	uint32_t words = old ? depth_by_blocks(p, frame) : depth_by_table(p, frame);
	uint64_t stack[STACK_MAX], at;
	struct found f;

	if (!words || words > STACK_MAX)
		return 0;
	if (old)
		at = pyproc_u64(&p->mem, frame->addr + VALUESTACK);
	else
		at = frame->addr + LOCALSPLUS +
		     8ull * pyproc_u32(&p->mem, frame->code + p->mem.l->code_first_line + 4);
	if (!pyproc_read(&p->mem, at, stack, words * sizeof(stack[0])))
		return 0;
	for (uint32_t i = 0; i < words; i++) {
		if (out->n >= FOUND_MAX || !lock_of_exit(p, stack[i], &f))
			continue;
		f.task = task;
		if (vec_push(out, f))
			return -ENOMEM;
	}
	return 0;
}

struct search {
	struct process *p;
	struct hmap *tasks; /* what Python calls each thread -> its task */
	found_vec *found;
};

static int search_thread(void *ctx, const struct py_thread *t)
{
	struct search *s = ctx;
	struct pyproc *mem = &s->p->mem;
	const struct live_task *task = holds_task(s->p->h, t->tid);
	uint64_t *slot, at;
	struct py_frame f;
	int rc = 0;

	if (!task || task->space != mem->space)
		return 0;
	slot = hmap_put(s->tasks, t->ident, 0, NULL);
	if (!slot)
		return -ENOMEM;
	*slot = task->id;
	at = pyproc_innermost(mem, t->state);
	for (unsigned i = 0; at && i < FRAMES_MAX && !rc && pyproc_frame(mem, at, &f); i++) {
		if (f.code)
			rc = search_frame(s->p, task->id, &f, s->found);
		at = f.prev;
	}
	return rc;
}

/* --- holders --------------------------------------------------------------------------------- */

static bool is_for(const struct found *f, const struct held_wait *w)
{
	return f->sem == w->addr || f->lock + 16 == w->addr;
}

static int holder_of(struct process *p, const struct held_wait *w, const struct hmap *tasks,
                     const found_vec *found)
{
	uint32_t holder = 0;

	for (size_t i = 0; i < found->n; i++) {
		const struct found *f = &found->v[i];
		const uint64_t *task;

		if (!is_for(f, w))
			continue;
		if (f->rlock) {
			task = f->owner ? hmap_get(tasks, f->owner, 0) : NULL;
			return task ? holds_put(p->h, (uint32_t)*task, w, HOLD_OBJECT_OWNER) : 0;
		}
		if (holder && holder != f->task)
			return 0; /* two: it changed hands while we read */
		holder = f->task;
	}
	return holder ? holds_put(p->h, holder, w, HOLD_WITH_BLOCK) : 0;
}

/* All waits of one space; those that come later are of it, too. */
static int write_space(struct process *p, size_t first)
{
	struct hmap tasks = {0};
	found_vec found = {0};
	struct search s = {.p = p, .tasks = &tasks, .found = &found};
	int rc = pyproc_threads(&p->mem, search_thread, &s);

	for (size_t i = first; i < p->h->waits.n && !rc; i++)
		if (p->h->waits.v[i].space == p->mem.space)
			rc = holder_of(p, &p->h->waits.v[i], &tasks, &found);
	hmap_release(&tasks);
	vec_release(&found);
	return rc;
}

int pylocks_write(struct holds *h)
{
	struct hmap done = {0};
	bool added;
	int rc = 0;

	for (size_t i = 0; i < h->waits.n && !rc; i++) {
		struct process p = {.h = h};

		if (!pyproc_open(&p.mem, h->py, h->waits.v[i].pid, h->waits.v[i].space) ||
		    !hmap_put(&done, p.mem.space, 0, &added) || !added)
			continue;
		rc = write_space(&p, i);
		hmap_release(&p.names);
	}
	hmap_release(&done);
	return rc;
}
