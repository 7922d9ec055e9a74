/* SPDX-License-Identifier: MIT */
/*
 * drain.c: the merged stream of ring records and mappings becomes trace records. What
 * repeats (strings, system calls with arguments, stacks) is written once and referred to
 * by a small id. Also keeps the little that the recorder itself has to know: which tasks
 * live, and in which address space.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collect_priv.h"

#define SITES_MAX  65536  /* remembered at a time; beyond that they are defined again */
#define STACKS_MAX 131072 /* more than the programs remember */

struct pending_map {
	struct map_event e;
	char *file;
};

struct drain {
	struct trace_writer *w;
	struct symbolizer *sym;
	struct tables *tables;
	struct remote *remote;
	bool run_mode;
	int error; /* of the trace file; sticky */
	struct strtab *strings;
	struct hmap sites, stacks, stacks_old, by_id, by_tgid, execing;
	uint32_t last_site, last_stack;
	VEC(struct live_task) tasks;
	VEC(struct pending_map) pending;
	struct mapped mapped;
	struct pyspaces *pyspaces;
	struct gils gils;
	struct pycodes *pycodes;
	VEC(struct mt_stack *) early_stacks; /* their code objects are on their way */
	uint64_t written, exec_ts, last_exec_ts;
	struct ident *ident;
};

static void put(struct drain *d, enum rec_kind kind, uint64_t ts, const void *rec)
{
	int rc = trace_write(d->w, kind, ts, rec);

	if (rc && !d->error)
		d->error = rc;
}

uint32_t drain_string(struct drain *d, const char *s)
{
	size_t n = strlen(s);
	bool added = false;
	uint32_t id = n ? strtab_add(d->strings, s, n, &added) : 0;

	if (id && added) {
		struct rec_string r = {.id = id, .text = {(const uint8_t *)s, n}};

		put(d, REC_K_STRING, 0, &r);
	}
	return id;
}

/* A fixed array that need not end in a NUL. */
static uint32_t comm_string(struct drain *d, const char comm[MT_COMM_LEN])
{
	char s[MT_COMM_LEN + 1];

	memcpy(s, comm, MT_COMM_LEN);
	s[MT_COMM_LEN] = 0;
	return drain_string(d, s);
}

static uint32_t intern_site(struct drain *d, int32_t nr, uint32_t arch, const struct mt_args *a)
{
	struct {
		int32_t nr;
		uint32_t arch;
		struct mt_args a;
	} key = {nr, arch, *a};
	struct rec_site r;
	uint64_t *id;
	bool added;

	if (nr < 0)
		return 0;
	if (d->sites.n >= SITES_MAX)
		hmap_release(&d->sites);
	id = hmap_put(&d->sites, hash_bytes(&key, sizeof(key), 1), hash_bytes(&key, sizeof(key), 2),
	              &added);
	if (!id)
		return 0;
	if (added) {
		*id = ++d->last_site;
		r = (struct rec_site){.id = *id,
		                      .nr_plus1 = (uint64_t)nr + 1,
		                      .a0 = a->a0,
		                      .a1 = a->a1,
		                      .a2 = a->a2,
		                      .a3 = a->a3,
		                      .arch = arch};
		put(d, REC_K_SITE, 0, &r);
	}
	return (uint32_t)*id;
}

/* The place of a stack's id and flags, NULL = not known. What was not mentioned for STACKS_MAX
 * others is forgotten: the programs forget sooner (stacks_sent), and send it again. */
static uint64_t *stack_slot(struct drain *d, uint64_t hash, bool add)
{
	uint64_t *slot = hmap_get(&d->stacks, hash, 0), *old, value;

	if (slot)
		return slot;
	old = hmap_get(&d->stacks_old, hash, 0);
	if (!old && !add)
		return NULL;
	value = old ? *old : 0;
	if (d->stacks.n >= STACKS_MAX) {
		hmap_release(&d->stacks_old);
		d->stacks_old = d->stacks;
		d->stacks = (struct hmap){0};
	}
	slot = hmap_put(&d->stacks, hash, 0, NULL);
	if (slot)
		*slot = value;
	return slot;
}

/* Ids are given at the first mention; the frames may come a moment later (another CPU's ring). */
static uint64_t stack_id(struct drain *d, uint64_t hash)
{
	uint64_t *id = hash ? stack_slot(d, hash, true) : NULL;

	if (!id)
		return 0;
	if (!*id)
		*id = ++d->last_stack;
	return *id & UINT32_MAX;
}

static struct live_task *task_get(struct drain *d, uint32_t id)
{
	const uint64_t *i = hmap_get(&d->by_id, id, 0);

	return i ? &d->tasks.v[*i] : NULL;
}

/* --- records of the rings ----------------------------------------------------------------- */

#define COPY_GIL(r, g)                           \
	do {                                     \
		(r).gil = (g).id;                \
		(r).gil_state = (g).locked & 1;  \
		(r).gil_holder = (g).holder;     \
		(r).gil_switches = (g).switches; \
	} while (0)

static void check(struct drain *d, int rc)
{
	if (rc && !d->error)
		d->error = rc;
}

static void on_switch(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_switch *e = (const void *)h;
	struct live_task *t = e->flags & SW_F_FUTEX ? task_get(d, h->task) : NULL;
	struct mt_args args = e->args;
	struct rec_switch r;

	if (t) {
		t->wait_addr = e->addr;
		t->wait_park = e->park;
		check(d, ident_wait(d->ident, e, t->space, t->tgid));
	}
	if (e->flags & SW_F_FUTEX)
		args.a2 = 0; /* the expected value: in `word`, and different in every wait */
	r = (struct rec_switch){.cpu = h->cpu,
	                        .prev = h->task,
	                        .next = e->next,
	                        .state = e->state,
	                        .flags = e->flags,
	                        .site = intern_site(d, e->nr, e->arch, &args),
	                        .word = e->word,
	                        .owner = e->owner,
	                        .exec = e->exec_ns,
	                        .delay = e->delay_ns,
	                        .ustack = stack_id(d, e->ustack),
	                        .kstack = stack_id(d, e->kstack),
	                        .addr = e->addr,
	                        .park = e->park,
	                        .file = e->file};
	COPY_GIL(r, e->gil);
	put(d, REC_K_SWITCH, h->ts, &r);
}

static void on_preempt(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_preempt *e = (const void *)h;
	struct rec_switch r = {.cpu = h->cpu,
	                       .prev = h->task,
	                       .next = e->next,
	                       .state = e->state,
	                       .flags = e->flags,
	                       .exec = e->exec_ns,
	                       .delay = e->delay_ns};

	COPY_GIL(r, e->gil);
	put(d, REC_K_SWITCH, h->ts, &r);
}

static void on_switch_in(struct drain *d, const struct mt_hdr *h)
{
	struct rec_switch r = {.cpu = h->cpu, .next = h->task};

	put(d, REC_K_SWITCH, h->ts, &r);
}

static void put_waking(struct drain *d, const struct mt_hdr *h, const struct mt_waker *w,
                       uint32_t tid, uint32_t comm)
{
	struct rec_waking r = {.cpu = h->cpu,
	                       .task = h->task,
	                       .waker = w->waker,
	                       .flags = w->flags,
	                       .site = intern_site(d, w->nr, w->arch, &w->args),
	                       .waker_tid = tid,
	                       .comm = comm,
	                       .file = w->file,
	                       .ustack = stack_id(d, w->ustack),
	                       .kstack = stack_id(d, w->kstack)};

	COPY_GIL(r, w->gil);
	put(d, REC_K_WAKING, h->ts, &r);
}

static void on_waking(struct drain *d, const struct mt_hdr *h)
{
	put_waking(d, h, &((const struct mt_waking *)h)->w, 0, 0);
}

static void on_waking_ext(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_waking_ext *e = (const void *)h;

	put_waking(d, h, &e->w, e->waker_tid, comm_string(d, e->comm));
}

static void new_space(struct drain *d, uint32_t space, uint32_t parent, uint32_t pid, uint64_t ts)
{
	struct rec_space r = {.id = space, .parent = parent};

	put(d, REC_K_SPACE, ts, &r);
	pyspaces_fork(d->pyspaces, space, parent);
	if (symbolizer_space(d->sym, space, parent, ts) || symbolizer_pid(d->sym, space, pid))
		d->error = d->error ? d->error : -ENOMEM;
}

static void use_space(struct drain *d, uint32_t space, int more)
{
	if (symbolizer_use(d->sym, space, more))
		d->error = d->error ? d->error : -ENOMEM;
}

#define STACK_WRITTEN (1ull << 32)

/* Of a task that blocked before the recording began. */
static uint64_t attached_stack(struct drain *d, const struct mt_task *e)
{
	uint64_t frames[MT_MAX_USER_FRAMES], hash, *slot, id;
	struct rec_stack r = {.kind = STACK_USER, .space = e->space};
	unsigned end, flags = 0;
	size_t n = remote_stack(d->remote, e, frames, ARRAY_LEN(frames), &end, &flags);

	if (!n)
		return 0;
	hash = hash_bytes(frames, n * sizeof(frames[0]), e->space) | 1;
	id = stack_id(d, hash);
	slot = hmap_get(&d->stacks, hash, 0);
	if (!slot || (*slot & STACK_WRITTEN))
		return id;
	*slot |= STACK_WRITTEN;
	r.id = id;
	r.end = end;
	r.flags = flags;
	r.frames = (struct rec_array){frames, n};
	put(d, REC_K_STACK, e->h.ts, &r);
	if (symbolizer_stack(d->sym, e->space, e->h.ts, frames, n))
		d->error = d->error ? d->error : -ENOMEM;
	return id;
}

static void on_task(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_task *e = (const void *)h;
	struct live_task t = {.id = h->task,
	                      .tid = e->tid,
	                      .tgid = e->tgid,
	                      .proc = e->proc,
	                      .space = e->space,
	                      .ns_tid = e->ns_tid,
	                      .ns_tgid = e->ns_tgid,
	                      .image_ns = e->flags & TASK_F_ATTACHED ? 0 : h->ts,
	                      .root = e->flags & TASK_F_ROOT};
	struct rec_task r = {.id = h->task,
	                     .parent = e->parent,
	                     .proc = e->proc,
	                     .space = e->space,
	                     .tid = e->tid,
	                     .tgid = e->tgid,
	                     .ns_tid = e->ns_tid,
	                     .ns_tgid = e->ns_tgid,
	                     .ppid = e->ppid,
	                     .flags = e->flags,
	                     .clone_flags = e->clone_flags,
	                     .comm = comm_string(d, e->comm),
	                     .site = intern_site(d, e->nr, e->arch, &e->args),
	                     .state = e->state,
	                     .call = e->call_ns,
	                     .ctid = e->ctid,
	                     .file = e->file,
	                     .kstack = stack_id(d, e->kstack)};
	uint64_t *slot;
	bool new_proc = e->tid == e->tgid;

	if (e->wait_flags) {
		check(d, ident_attached(d->ident, e, &r));
		r.ustack = attached_stack(d, e);
		t.wait_addr = r.addr;
		t.wait_park = r.park;
	}
	if (e->space_parent || (new_proc && (e->flags & TASK_F_ATTACHED)))
		new_space(d, e->space, e->space_parent, e->tgid, h->ts);
	if (new_proc)
		use_space(d, e->space, 1);
	put(d, REC_K_TASK, h->ts, &r);
	slot = hmap_put(&d->by_id, t.id, 0, NULL);
	if (!slot || vec_push(&d->tasks, t)) {
		d->error = d->error ? d->error : -ENOMEM;
		return;
	}
	*slot = d->tasks.n - 1;
	slot = new_proc ? hmap_put(&d->by_tgid, e->tgid, 0, NULL) : NULL;
	if (slot)
		*slot = e->space;
}

static void on_base(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_counters *e = (const void *)h;
	struct rec_base r = {.task = h->task,
	                     .voluntary = e->voluntary,
	                     .involuntary = e->involuntary,
	                     .run = e->run_ns,
	                     .runnable = e->runnable_ns,
	                     .minflt = e->minflt,
	                     .majflt = e->majflt};

	put(d, REC_K_BASE, h->ts, &r);
}

static void on_end(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_counters *e = (const void *)h;
	struct live_task *t = task_get(d, h->task);
	struct rec_end r = {.task = h->task,
	                    .flags = e->flags,
	                    .voluntary = e->voluntary,
	                    .involuntary = e->involuntary,
	                    .run = e->run_ns,
	                    .runnable = e->runnable_ns,
	                    .minflt = e->minflt,
	                    .majflt = e->majflt,
	                    .first_read = e->first_read,
	                    .first_write = e->first_write,
	                    .wp = e->wp,
	                    .touched = e->touched,
	                    .cow = e->cow,
	                    .state = e->state};

	put(d, REC_K_END, h->ts, &r);
	if (t && !(e->flags & CNT_F_ALIVE))
		drain_forget(d, t);
}

static void put_map(struct drain *d, uint32_t space, const struct map_event *e, const char *file,
                    uint64_t flags)
{
	static const char deleted[] = " (deleted)";
	size_t n = strlen(file);
	struct sym_map m = {.start = e->start,
	                    .end = e->end,
	                    .offset = e->offset,
	                    .file = file,
	                    .build_id = e->build_id,
	                    .build_id_n = e->build_id_n,
	                    .ts = e->ts};
	struct rec_map r = {.space = space,
	                    .start = e->start,
	                    .end = e->end,
	                    .offset = e->offset,
	                    .build_id = {e->build_id, e->build_id_n},
	                    .dev = e->dev,
	                    .inode = e->inode,
	                    .flags = flags};
	bool jit = false;
	const char *module = symbolizer_module(d->sym, space, &m, &jit);
	int known = module ? symbolizer_map(d->sym, space, &m) : -ENOMEM;

	pyspaces_map(d->pyspaces, space, e, file);
	if (!d->error)
		d->error = gils_space(&d->gils, d->w, d->pyspaces, space);
	if (known < 0)
		d->error = d->error ? d->error : -ENOMEM;
	if (known) /* compilers of generated code change the rights of theirs all the time */
		return;
	if (!jit) {
		tables_path(d->tables, file);
		mapped_keep(&d->mapped, d->sym, space, e->pid, &m);
	} else {
		r.offset = e->start;
	}
	r.file = drain_string(d, module);
	if (n >= sizeof(deleted) && !strcmp(file + n - (sizeof(deleted) - 1), deleted))
		r.flags |= MAP_F_DELETED;
	put(d, REC_K_MAP, e->ts, &r);
}

/* The maps of the new image came before the event that tells its address space's id. */
static void flush_pending(struct drain *d, uint32_t tgid, uint32_t space)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->pending.n; i++) {
		struct pending_map *p = &d->pending.v[i];

		if (p->e.pid != tgid) {
			d->pending.v[kept++] = *p;
			continue;
		}
		if (space)
			put_map(d, space, &p->e, p->file, 0);
		free(p->file);
	}
	d->pending.n = kept;
}

/* A process ends or begins another program. */
static void leave_space(struct drain *d, const struct live_task *t, uint32_t space)
{
	mapped_perf_map(d->sym, t, space);
	use_space(d, space, -1);
}

static void on_task_exit(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_exit_ev *e = (const void *)h;
	const struct live_task *t = task_get(d, h->task);
	const uint64_t *space;
	struct rec_exit r = {.task = h->task,
	                     .code = e->code,
	                     .last = e->last,
	                     .maxrss_bytes = e->maxrss_pages * (uint64_t)getpagesize(),
	                     .group_code = e->group_code};

	put(d, REC_K_EXIT, h->ts, &r);
	if (!t || !e->last)
		return;
	/* Its number may soon be another process's, one that is none of ours. */
	flush_pending(d, t->tgid, 0);
	hmap_del(&d->execing, t->tgid, 0);
	space = hmap_get(&d->by_tgid, t->tgid, 0);
	if (space)
		leave_space(d, t, (uint32_t)*space);
	hmap_del(&d->by_tgid, t->tgid, 0);
}

static void on_exec(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_exec *e = (const void *)h;
	struct live_task *t = task_get(d, h->task);
	struct rec_exec r = {
	        .task = h->task, .space = e->space, .tid = e->tid, .comm = comm_string(d, e->comm)};
	char file[MT_FILE_LEN + 1];
	uint64_t *slot;

	memcpy(file, e->file, MT_FILE_LEN);
	file[MT_FILE_LEN] = 0;
	r.args = (struct rec_bytes){(const uint8_t *)e->args,
	                            e->args_len <= MT_ARGS_LEN ? e->args_len : 0};
	r.file = drain_string(d, file);
	slot = hmap_get(&d->by_tgid, e->tid, 0);
	if (slot && t)
		leave_space(d, t, (uint32_t)*slot);
	d->last_exec_ts = h->ts;
	new_space(d, e->space, 0, e->tid, h->ts);
	use_space(d, e->space, 1);
	put(d, REC_K_EXEC, h->ts, &r);
	flush_pending(d, e->tid, e->space);
	hmap_del(&d->execing, e->tid, 0);
	slot = hmap_put(&d->by_tgid, e->tid, 0, NULL);
	if (slot)
		*slot = e->space;
	if (!t)
		return;
	t->space = e->space;
	t->image_ns = h->ts;
	t->tid = e->tid; /* exec by another thread than the leader takes the leader's id */
	t->proc = t->id;
	if (d->run_mode && t->root && !d->exec_ts) {
		struct rec_mark m = {.what = MARK_EXEC};

		d->exec_ts = h->ts;
		put(d, REC_K_MARK, h->ts, &m);
	}
}

static void on_rename(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_rename *e = (const void *)h;
	struct rec_rename r = {.task = h->task, .comm = comm_string(d, e->comm)};

	put(d, REC_K_RENAME, h->ts, &r);
}

static void on_rss(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_rss *e = (const void *)h;
	uint64_t page = (uint64_t)getpagesize();
	struct rec_rss r = {.task = h->task,
	                    .anon_bytes = e->anon_pages * page,
	                    .file_bytes = e->file_pages * page,
	                    .shmem_bytes = e->shmem_pages * page,
	                    .hiwater_bytes = e->hiwater_pages * page};
	struct live_task *t;

	put(d, REC_K_RSS, h->ts, &r);
	t = task_get(d, h->task);
	t = t && t->id != t->proc ? task_get(d, t->proc) : t;
	if (t)
		t->rss_bytes = r.anon_bytes + r.file_bytes + r.shmem_bytes;
}

static void on_sample(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_sample *e = (const void *)h;
	struct rec_sample r = {.cpu = h->cpu,
	                       .task = h->task,
	                       .ustack = stack_id(d, e->ustack),
	                       .kstack = stack_id(d, e->kstack)};

	put(d, REC_K_SAMPLE, h->ts, &r);
}

static void on_touch(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_touch *e = (const void *)h;
	struct rec_touch r = {.task = h->task,
	                      .what = e->what,
	                      .bytes = e->bytes,
	                      .ustack = stack_id(d, e->ustack)};

	put(d, REC_K_TOUCH, h->ts, &r);
}

static void on_pycode(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_pycode *e = (const void *)h;
	const struct py_build *b = d->pyspaces ? pyspaces_build(d->pyspaces, e->layout) : NULL;
	const struct live_task *t = task_get(d, h->task);
	struct pycode_new code;

	if (!b)
		return;
	if (pycodes_add(d->pycodes, e, b, t ? t->tgid : 0, &code)) {
		d->error = d->error ? d->error : -ENOMEM;
	} else if (code.added) {
		struct rec_pycode r = {.id = code.id,
		                       .name = drain_string(d, code.name),
		                       .file = drain_string(d, code.file),
		                       .first_line = e->first_line};

		put(d, REC_K_PYCODE, 0, &r);
	}
}

/* Keeps the stack for the next round: true. Its code objects were sent by another CPU a moment
 * before, by a clock that is a moment behind. */
static bool keep_early(struct drain *d, const struct mt_stack *e)
{
	size_t n = offsetof(struct mt_stack, frames) + e->n * sizeof(e->frames[0]) +
	           e->n_py * sizeof(struct mt_pyframe);
	struct mt_stack *copy = d->early_stacks.n < 1024 ? malloc(n) : NULL;

	if (!copy)
		return false;
	memcpy(copy, e, n);
	if (!vec_push(&d->early_stacks, copy))
		return true;
	free(copy);
	return false;
}

static void write_stack(struct drain *d, const struct mt_stack *e, bool again)
{
	struct rec_stack r = {.id = stack_id(d, e->hash),
	                      .kind = e->kind,
	                      .space = e->space,
	                      .flags = e->flags,
	                      .end = e->end};
	uint64_t *slot = stack_slot(d, e->hash, false);
	uint64_t py[MT_MAX_PY_FRAMES];
	size_t n_py = 0;

	if (!slot || (*slot & STACK_WRITTEN) || e->n > MT_MAX_USER_FRAMES ||
	    e->n_py > MT_MAX_PY_FRAMES)
		return;
	if (d->pycodes && e->n_py &&
	    !pycodes_stack(d->pycodes, e->space, (const void *)(e->frames + e->n), e->n_py, py,
	                   &n_py) &&
	    !again && keep_early(d, e))
		return;
	*slot |= STACK_WRITTEN;
	r.frames = (struct rec_array){(const uint64_t *)e->frames, e->n};
	r.py = (struct rec_array){py, n_py};
	put(d, REC_K_STACK, e->h.ts, &r);
	if (symbolizer_stack(d->sym, e->space, e->h.ts, (const uint64_t *)e->frames, e->n))
		d->error = d->error ? d->error : -ENOMEM;
}

static void on_stack(struct drain *d, const struct mt_hdr *h)
{
	write_stack(d, (const void *)h, false);
}

/* Once a round has brought what there was. */
static void write_early(struct drain *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		write_stack(d, d->early_stacks.v[i], true);
		free(d->early_stacks.v[i]);
	}
	d->early_stacks.n -= n;
	memmove(d->early_stacks.v, d->early_stacks.v + n,
	        d->early_stacks.n * sizeof(d->early_stacks.v[0]));
}

static void on_want(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_want *e = (const void *)h;
	const struct live_task *t = task_get(d, h->task);

	if (t)
		tables_want(d->tables, e, t->tgid);
}

static void on_waitv(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_waitv *e = (const void *)h;
	struct rec_waitv r = {
	        .task = h->task,
	        .addrs = {(const uint64_t *)e->addrs, e->n <= MT_MAX_WAITV ? e->n : 0}};

	put(d, REC_K_WAITV, h->ts, &r);
}

static void on_gil(struct drain *d, const struct mt_hdr *h)
{
	int rc = gils_found(&d->gils, d->w, d->pyspaces, (const struct mt_gil_ev *)h);

	d->error = d->error ? d->error : rc;
}

static void on_pythread(struct drain *d, const struct mt_hdr *h)
{
	struct rec_pythread r = {.task = h->task,
	                         .tstate = ((const struct mt_pythread *)h)->tstate};

	put(d, REC_K_PYTHREAD, h->ts, &r);
}

static void on_futex_key(struct drain *d, const struct mt_hdr *h)
{
	const struct live_task *t = task_get(d, h->task);

	check(d, ident_futex_key(d->ident, (const void *)h, t ? t->tgid : 0));
}

static void on_file(struct drain *d, const struct mt_hdr *h)
{
	check(d, ident_file(d->ident, (const void *)h));
}

static const struct {
	void (*run)(struct drain *d, const struct mt_hdr *h);
	uint32_t size; /* at least */
} handlers[MT_EV_MAX] = {
        [MT_EV_SWITCH] = {on_switch, sizeof(struct mt_switch)},
        [MT_EV_SWITCH_IN] = {on_switch_in, sizeof(struct mt_switch_in)},
        [MT_EV_WAKING] = {on_waking, sizeof(struct mt_waking)},
        [MT_EV_WAKING_EXT] = {on_waking_ext, sizeof(struct mt_waking_ext)},
        [MT_EV_TASK] = {on_task, sizeof(struct mt_task)},
        [MT_EV_BASE] = {on_base, sizeof(struct mt_counters)},
        [MT_EV_END] = {on_end, sizeof(struct mt_counters)},
        [MT_EV_EXIT] = {on_task_exit, sizeof(struct mt_exit_ev)},
        [MT_EV_EXEC] = {on_exec, sizeof(struct mt_exec)},
        [MT_EV_RENAME] = {on_rename, sizeof(struct mt_rename)},
        [MT_EV_RSS] = {on_rss, sizeof(struct mt_rss)},
        [MT_EV_SAMPLE] = {on_sample, sizeof(struct mt_sample)},
        [MT_EV_STACK] = {on_stack, offsetof(struct mt_stack, frames)},
        [MT_EV_PYCODE] = {on_pycode, offsetof(struct mt_pycode, table)},
        [MT_EV_WAITV] = {on_waitv, sizeof(struct mt_waitv)},
        [MT_EV_WANT] = {on_want, sizeof(struct mt_want)},
        [MT_EV_GIL] = {on_gil, sizeof(struct mt_gil_ev)},
        [MT_EV_PYTHREAD] = {on_pythread, sizeof(struct mt_pythread)},
        [MT_EV_TOUCH] = {on_touch, sizeof(struct mt_touch)},
        [MT_EV_PREEMPT] = {on_preempt, sizeof(struct mt_preempt)},
        [MT_EV_FUTEX_KEY] = {on_futex_key, sizeof(struct mt_futex_key)},
        [MT_EV_FILE] = {on_file, sizeof(struct mt_file)},
};

/* --- mappings ------------------------------------------------------------------------------ */

static void on_map(struct drain *d, const struct map_event *e)
{
	const uint64_t *space = hmap_get(&d->by_tgid, e->pid, 0);
	struct pending_map p;

	if (!space)
		return; /* some other process of this machine */
	if (e->is_exec) {
		flush_pending(d, e->pid, 0); /* of an exec that failed half-way */
		hmap_put(&d->execing, e->pid, 0, NULL);
	} else if (hmap_get(&d->execing, e->pid, 0)) {
		p = (struct pending_map){.e = *e, .file = strdup(e->file)};
		if (!p.file || vec_push(&d->pending, p))
			free(p.file);
	} else {
		put_map(d, (uint32_t)*space, e, e->file, 0);
	}
}

/* One line of /proc/PID/maps, when it is executable. */
static bool parse_maps_line(char *line, struct map_event *e, char **file)
{
	uint64_t inode;
	unsigned maj, min;
	char perms[5];
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &e->start,
	           &e->end, perms, &e->offset, &maj, &min, &inode, &at) < 7 ||
	    perms[2] != 'x')
		return false;
	e->dev = maj << 20 | min;
	e->inode = inode;
	*file = line + at;
	return true;
}

int drain_existing_maps(struct drain *d, uint32_t pid)
{
	const uint64_t *space = hmap_get(&d->by_tgid, pid, 0);
	struct buf b = {0};
	char path[32], *line, *save = NULL, *file;
	int rc;

	if (!space)
		return 0;
	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	rc = read_file_at(AT_FDCWD, path, 64u << 20, &b);
	if (!rc && !buf_put(&b, "", 1)) {
		for (line = strtok_r((char *)b.p, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save)) {
			struct map_event e = {.pid = pid};

			if (parse_maps_line(line, &e, &file))
				put_map(d, (uint32_t)*space, &e, file, MAP_F_SYNTHETIC);
		}
	}
	buf_release(&b);
	return rc;
}

/* --- the round ------------------------------------------------------------------------------- */

int drain_round(struct drain *d, struct rings *rings, struct perfmaps *maps, uint64_t until_ts)
{
	const struct mt_hdr *h;
	struct map_event m;
	bool have_map = perfmaps_next(maps, until_ts, &m);
	size_t early = d->early_stacks.n;
	uint32_t len;

	rings_refresh(rings);
	while ((h = rings_next(rings, until_ts, &len))) {
		while (have_map && m.ts <= h->ts) {
			on_map(d, &m);
			have_map = perfmaps_next(maps, until_ts, &m);
		}
		d->written++;
		if (h->kind < MT_EV_MAX && handlers[h->kind].run && len >= handlers[h->kind].size)
			handlers[h->kind].run(d, h);
		if (d->error)
			break;
	}
	rings_release_consumed(rings);
	while (have_map) {
		on_map(d, &m);
		have_map = perfmaps_next(maps, until_ts, &m);
	}
	if (early || until_ts == UINT64_MAX)
		write_early(d, until_ts == UINT64_MAX ? d->early_stacks.n : early);
	return d->error;
}

int drain_python(struct drain *d, struct pyspaces *p)
{
	d->pyspaces = p;
	d->pycodes = pycodes_new();
	return d->pycodes ? 0 : -ENOMEM;
}

struct drain *drain_new(struct trace_writer *w, struct symbolizer *sym, bool run_mode)
{
	struct drain *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->w = w;
	d->sym = sym;
	d->run_mode = run_mode;
	d->strings = strtab_new();
	d->ident = ident_new(d, w);
	if (!d->strings || !d->ident) {
		drain_free(d);
		return NULL;
	}
	return d;
}

void drain_free(struct drain *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->pending.n; i++)
		free(d->pending.v[i].file);
	vec_release(&d->pending);
	gils_release(&d->gils);
	for (size_t i = 0; i < d->early_stacks.n; i++)
		free(d->early_stacks.v[i]);
	vec_release(&d->early_stacks);
	pycodes_free(d->pycodes);
	vec_release(&d->tasks);
	hmap_release(&d->sites);
	hmap_release(&d->stacks);
	hmap_release(&d->stacks_old);
	hmap_release(&d->by_id);
	hmap_release(&d->by_tgid);
	hmap_release(&d->execing);
	strtab_free(d->strings);
	ident_free(d->ident);
	free(d);
}

void drain_jit_maps(struct drain *d)
{
	for (size_t i = 0; i < d->tasks.n; i++) {
		const struct live_task *t = &d->tasks.v[i];

		if (t->tid == t->tgid)
			mapped_perf_map(d->sym, t, t->space);
	}
}

void drain_tables(struct drain *d, struct tables *t)
{
	if (d)
		d->tables = t;
}

void drain_remote(struct drain *d, struct remote *r)
{
	d->remote = r;
}

size_t drain_alive(const struct drain *d)
{
	return d->tasks.n;
}

struct live_task *drain_next_alive(struct drain *d, size_t *pos)
{
	return *pos < d->tasks.n ? &d->tasks.v[(*pos)++] : NULL;
}

void drain_forget(struct drain *d, struct live_task *t)
{
	uint64_t *slot;

	/* The last one takes its place: memory goes with the tasks that live, not with all ever. */
	hmap_del(&d->by_id, t->id, 0);
	*t = d->tasks.v[--d->tasks.n];
	slot = hmap_get(&d->by_id, t->id, 0);
	if (slot)
		*slot = (uint64_t)(t - d->tasks.v);
}

uint64_t drain_written(const struct drain *d)
{
	return d->written;
}

uint64_t drain_last_exec_ts(const struct drain *d)
{
	return d->last_exec_ts;
}

struct ident *drain_ident(struct drain *d)
{
	return d->ident;
}

uint64_t drain_exec_ts(const struct drain *d)
{
	return d->exec_ts;
}
