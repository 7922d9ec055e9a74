/* SPDX-License-Identifier: MIT */
/* drain_tasks.c: which tasks live, and in which address space. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "drain_priv.h"

struct live_task *drain_task(struct drain *d, uint32_t id)
{
	const uint64_t *i = hmap_get(&d->by_id, id, 0);

	return i ? &d->tasks.v[*i] : NULL;
}

static void new_space(struct drain *d, uint32_t space, uint32_t parent, uint32_t pid, uint64_t ts)
{
	struct rec_space r = {.id = space, .parent = parent};

	drain_put(d, REC_K_SPACE, ts, &r);
	pyspaces_fork(d->pyspaces, space, parent);
	if (symbolizer_space(d->sym, space, parent, ts) || symbolizer_pid(d->sym, space, pid))
		drain_check(d, -ENOMEM);
}

static void use_space(struct drain *d, uint32_t space, int more)
{
	if (symbolizer_use(d->sym, space, more))
		drain_check(d, -ENOMEM);
}

/* A process ends or begins another program. */
static void leave_space(struct drain *d, const struct live_task *t, uint32_t space)
{
	mapped_perf_map(d->sym, t, space);
	use_space(d, space, -1);
}

void drain_on_task(struct drain *d, const struct mt_hdr *h)
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
	                     .comm = drain_comm(d, e->comm),
	                     .site = drain_site(d, e->nr, e->arch, &e->args),
	                     .state = e->state,
	                     .call = e->call_ns,
	                     .ctid = e->ctid,
	                     .file = e->file,
	                     .kstack = drain_stack_id(d, e->kstack)};
	uint64_t *slot;
	bool new_proc = e->tid == e->tgid;

	if (new_proc)
		d->last_birth_ts = h->ts;

	if (e->wait_flags) {
		drain_check(d, ident_attached(d->ident, e, &r));
		r.ustack = drain_attached_stack(d, e);
		t.wait_addr = r.addr;
		t.wait_park = r.park;
	}
	if (e->space_parent || (new_proc && (e->flags & TASK_F_ATTACHED)))
		new_space(d, e->space, e->space_parent, e->tgid, h->ts);
	if (new_proc)
		use_space(d, e->space, 1);
	if (!d->run_mode && !d->following) {
		struct rec_mark m = {.what = MARK_FOLLOW};

		d->following = true;
		drain_put(d, REC_K_MARK, h->ts, &m);
	}
	drain_put(d, REC_K_TASK, h->ts, &r);
	slot = hmap_put(&d->by_id, t.id, 0, NULL);
	if (!slot || vec_push(&d->tasks, t)) {
		drain_check(d, -ENOMEM);
		return;
	}
	*slot = d->tasks.n - 1;
	slot = new_proc ? hmap_put(&d->by_tgid, e->tgid, 0, NULL) : NULL;
	if (slot)
		*slot = e->space;
}

void drain_on_base(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_counters *e = (const void *)h;
	struct rec_base r = {.task = h->task,
	                     .voluntary = e->voluntary,
	                     .involuntary = e->involuntary,
	                     .run = e->run_ns,
	                     .runnable = e->runnable_ns,
	                     .minflt = e->minflt,
	                     .majflt = e->majflt,
	                     .flags = e->flags,
	                     .reads = e->reads,
	                     .writes = e->writes,
	                     .read_bytes = e->read_bytes,
	                     .written_bytes = e->written_bytes};

	drain_put(d, REC_K_BASE, h->ts, &r);
}

void drain_on_end(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_counters *e = (const void *)h;
	struct live_task *t = drain_task(d, h->task);
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
	                    .reads = e->reads,
	                    .writes = e->writes,
	                    .read_bytes = e->read_bytes,
	                    .written_bytes = e->written_bytes,
	                    .state = e->state};

	drain_put(d, REC_K_END, h->ts, &r);
	if (t && !(e->flags & CNT_F_ALIVE))
		drain_forget(d, t);
}

void drain_on_exit(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_exit_ev *e = (const void *)h;
	const struct live_task *t = drain_task(d, h->task);
	const uint64_t *space;
	struct rec_exit r = {.task = h->task,
	                     .code = e->code,
	                     .last = e->last,
	                     .maxrss_bytes = e->maxrss_pages * (uint64_t)getpagesize(),
	                     .group_code = e->group_code};

	drain_put(d, REC_K_EXIT, h->ts, &r);
	if (!t || !e->last)
		return;
	/* Its number may soon be another process's, one that is none of ours. */
	drain_flush_maps(d, t->tgid, 0);
	hmap_del(&d->execing, t->tgid, 0);
	space = hmap_get(&d->by_tgid, t->tgid, 0);
	if (space)
		leave_space(d, t, (uint32_t)*space);
	hmap_del(&d->by_tgid, t->tgid, 0);
}

void drain_on_exec(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_exec *e = (const void *)h;
	struct live_task *t = drain_task(d, h->task);
	struct rec_exec r = {
	        .task = h->task, .space = e->space, .tid = e->tid, .comm = drain_comm(d, e->comm)};
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
	drain_put(d, REC_K_EXEC, h->ts, &r);
	drain_flush_maps(d, e->tid, e->space);
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
		drain_put(d, REC_K_MARK, h->ts, &m);
	}
}

void drain_on_rename(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_rename *e = (const void *)h;
	struct rec_rename r = {.task = h->task, .comm = drain_comm(d, e->comm)};

	drain_put(d, REC_K_RENAME, h->ts, &r);
}

void drain_on_rss(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_rss *e = (const void *)h;
	uint64_t page = (uint64_t)getpagesize();
	struct rec_rss r = {.task = h->task,
	                    .anon_bytes = e->anon_pages * page,
	                    .file_bytes = e->file_pages * page,
	                    .shmem_bytes = e->shmem_pages * page,
	                    .hiwater_bytes = e->hiwater_pages * page};
	struct live_task *t;

	drain_put(d, REC_K_RSS, h->ts, &r);
	t = drain_task(d, h->task);
	t = t && t->id != t->proc ? drain_task(d, t->proc) : t;
	if (t)
		t->rss_bytes = r.anon_bytes + r.file_bytes + r.shmem_bytes;
}

void drain_jit_maps(struct drain *d)
{
	for (size_t i = 0; i < d->tasks.n; i++) {
		const struct live_task *t = &d->tasks.v[i];

		if (t->tid == t->tgid)
			mapped_perf_map(d->sym, t, t->space);
	}
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

uint64_t drain_last_birth_ts(const struct drain *d)
{
	return d->last_birth_ts;
}

uint64_t drain_last_exec_ts(const struct drain *d)
{
	return d->last_exec_ts;
}

uint64_t drain_exec_ts(const struct drain *d)
{
	return d->exec_ts;
}
