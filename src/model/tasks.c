/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "model_priv.h"

struct ltask *task_get(const struct model *m, uint64_t id)
{
	uint32_t i = id ? idmap_get(&m->task_ids, id) : NO_INDEX;

	return i == NO_INDEX ? NULL : m->tasks.v[i];
}

static struct ltask *task_add(struct model *m, uint32_t id, uint64_t ts, int *err)
{
	struct ltask *lt;

	if (m->tasks.n >= MAX_TASKS) {
		m->odd.refused++;
		return NULL;
	}
	lt = calloc(1, sizeof(*lt));
	if (!lt || idmap_put(&m->task_ids, id, (uint32_t)m->tasks.n) || vec_push(&m->tasks, lt)) {
		free(lt);
		*err = -ENOMEM;
		return NULL;
	}
	lt->t.id = id;
	lt->t.start_ns = ts;
	lt->t.exit_status = -1;
	lt->t.kernel_run_exact = lt->t.kernel_runnable_exact = true;
	lt->cause = BLOCK_OTHER;
	return lt;
}

struct ltask *task_need(struct model *m, uint64_t id, uint64_t ts, int *err)
{
	struct ltask *lt;

	if (!id32(id))
		return NULL;
	lt = task_get(m, id);
	if (lt)
		return lt;
	lt = task_add(m, id32(id), ts, err);
	if (!lt)
		return NULL;
	lt->t.placeholder = true;
	lt->t.proc = lt->t.id;
	m->odd.undefined_tasks++;
	return proc_need(m, lt->t.id, err) ? lt : NULL;
}

/* An attached task's wait, as if the switch that began it had been recorded at the attach. */
static int define_wait(struct ltask *lt, const struct rec_task *r)
{
	const uint64_t known = SW_F_SYSCALL | SW_F_FUTEX | SW_F_WORD | SW_F_OWNER | SW_F_IOWAIT |
	                       SW_F_FAULT | SW_F_VOLUNTARY;

	if (!(r->flags & TASK_F_ATTACHED) || !(r->wait_flags & known) || !r->state)
		return 0;
	lt->def_wait = malloc(sizeof(*lt->def_wait));
	if (!lt->def_wait)
		return -ENOMEM;
	*lt->def_wait = (struct rec_switch){
	        .state = r->state,
	        .flags = r->wait_flags & known,
	        .site = r->site,
	        .word = r->word,
	        .owner = r->owner,
	        .ustack = r->ustack,
	        .kstack = r->kstack,
	        .addr = r->addr,
	        .park = r->park,
	        .file = r->file,
	};
	return 0;
}

static void define(struct ltask *lt, const struct rec_task *r)
{
	struct task *t = &lt->t;

	t->placeholder = false;
	t->parent = id32(r->parent);
	t->proc = id32(r->proc) ? id32(r->proc) : t->id;
	t->space = id32(r->space);
	t->tid = (uint32_t)r->tid;
	t->tgid = (uint32_t)r->tgid;
	t->ns_tid = (uint32_t)r->ns_tid;
	t->ns_tgid = (uint32_t)r->ns_tgid;
	t->ppid = (uint32_t)r->ppid;
	t->flags = r->flags;
	t->clone_flags = r->clone_flags;
	t->call_ns = r->call && r->call <= t->start_ns ? t->start_ns - r->call : 0;
	lt->def_state = r->state;
	lt->def_site = id32(r->site);
	if (!lt->comm)
		lt->comm = id32(r->comm);
	lt->first_comm = id32(r->comm);
	/* A task that the recording saw begin had counters of 0 then. */
	if (!(r->flags & (TASK_F_ATTACHED | TASK_F_ROOT)))
		t->has_base = true;
}

int on_task(struct model *m, uint64_t ts, const struct rec_task *r)
{
	int err = 0;
	struct ltask *lt = task_get(m, r->id);
	struct lproc *proc;
	uint64_t *tid;

	if (!id32(r->id))
		return 0;
	if (lt && !lt->t.placeholder)
		return 0;
	if (!lt)
		lt = task_add(m, id32(r->id), ts, &err);
	if (!lt)
		return err;
	define(lt, r);
	err = define_wait(lt, r);
	if (err)
		return err;
	proc = proc_need(m, lt->t.proc, &err);
	tid = hmap_put(&m->proc_tids, lt->t.proc, lt->t.ns_tid ? lt->t.ns_tid : lt->t.tid, NULL);
	if (!proc || !tid)
		return -ENOMEM;
	*tid = lt->t.id;
	if (r->ctid) {
		uint64_t *ctid = hmap_put(&m->ctids, lt->t.space, r->ctid, NULL);

		if (!ctid)
			return -ENOMEM;
		*ctid = lt->t.id;
	}
	if (!proc->p.pid)
		proc->p.pid = lt->t.tgid;
	if (lt->phase == PHASE_NEW && r->flags & TASK_F_ATTACHED && r->flags & TASK_F_ON_CPU)
		return task_attach_running(m, lt);
	return 0;
}

int on_base(struct model *m, uint64_t ts, const struct rec_base *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);

	if (!lt)
		return err;
	/* A second one (the command's exec) begins the account anew, in the middle of a slice. */
	if (lt->t.has_base && lt->phase == PHASE_ON && !lt->ended) {
		err = task_split(m, lt, ts);
		lt->all = (struct totals){0};
		lt->t.kernel_run_exact = lt->t.kernel_runnable_exact = true;
	}
	lt->t.has_base = true;
	lt->base = (struct counters){
	        .voluntary = r->voluntary,
	        .involuntary = r->involuntary,
	        .run_ns = r->run,
	        .runnable_ns = r->runnable,
	        .minflt = r->minflt,
	        .majflt = r->majflt,
	};
	lt->io_base = (struct io_counters){r->reads, r->writes, r->read_bytes, r->written_bytes};
	lt->no_io_base = !(r->flags & CNT_F_IO);
	return err;
}

int on_end(struct model *m, uint64_t ts, const struct rec_end *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);

	if (!lt || lt->ended)
		return err;
	lt->ended = lt->t.has_end = true;
	lt->end_ts = ts;
	lt->end_flags = r->flags;
	lt->last = (struct counters){
	        .voluntary = r->voluntary,
	        .involuntary = r->involuntary,
	        .run_ns = r->run,
	        .runnable_ns = r->runnable,
	        .minflt = r->minflt,
	        .majflt = r->majflt,
	};
	if (r->flags & CNT_F_ON_CPU)
		lt->t.kernel_run_exact = false;
	lt->t.faults_known = !(r->flags & CNT_F_NO_FAULTS);
	lt->t.first_read_faults = r->first_read;
	lt->t.first_write_faults = r->first_write;
	lt->t.wp_faults = r->wp;
	lt->t.pages_known = r->flags & CNT_F_PAGES;
	lt->t.touched_pages = r->touched;
	lt->t.cow_pages = r->cow;
	lt->t.io_known = r->flags & CNT_F_IO;
	lt->t.io = (struct io_counters){r->reads, r->writes, r->read_bytes, r->written_bytes};
	return 0;
}

int on_exit_event(struct model *m, uint64_t ts, const struct rec_exit *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);
	struct lproc *p = lt ? proc_get(m, lt->t.proc) : NULL;

	if (!lt)
		return err;
	lt->exited = true;
	lt->exit_ts = lt->t.exit_ns = ts;
	lt->t.exit_status = shell_status(r->code);
	if (!p)
		return 0;
	if (lt->t.id == p->p.id || (lt->t.tid && lt->t.tid == lt->t.tgid))
		p->p.exit_status = lt->t.exit_status;
	if (r->last) {
		p->exited = true;
		p->maxrss_bytes = r->maxrss_bytes;
		if (r->group_code)
			p->p.exit_status = shell_status(r->group_code);
	}
	return 0;
}

/* Arguments as one line for a person. */
int exec_keep_args(struct model *m, struct rec_exec *r)
{
	const struct rec_bytes *args = &r->args;
	size_t n = args->n < 512 ? args->n : 512;
	char text[513] = "";
	uint32_t id;

	for (size_t i = 0; i < n; i++)
		text[i] = args->p[i] ? (char)args->p[i] : ' ';
	while (n && text[n - 1] == ' ')
		n--;
	text[n] = 0;
	id = strtab_add(m->strings, text, n, NULL);
	r->args = (struct rec_bytes){NULL, id};
	return id || !n ? 0 : -ENOMEM;
}

int on_exec(struct model *m, uint64_t ts, const struct rec_exec *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);
	struct lproc *p = lt ? proc_get(m, lt->t.proc) : NULL;

	if (!lt)
		return err;
	if (id32(r->space))
		lt->t.space = id32(r->space);
	if (r->tid) /* a thread that execs takes its leader's id */
		lt->t.tid = (uint32_t)r->tid;
	if (r->comm)
		lt->comm = id32(r->comm);
	if (p) {
		p->exe = id32(r->file);
		p->p.n_execs++;
		p->args = (uint32_t)r->args.n;
	}
	if (!lt->t.exec_ns)
		lt->t.exec_ns = ts;
	lt->t.last_exec_ns = ts;
	return 0;
}

int on_rename(struct model *m, uint64_t ts, const struct rec_rename *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);

	if (lt)
		lt->comm = id32(r->comm);
	return err;
}

/* --- once all is read ----------------------------------------------------------------------- */

static uint64_t end_of(const struct model *m, struct ltask *lt)
{
	uint64_t end = m->stop_ns;

	lt->t.alive = false;
	if (lt->phase == PHASE_DEAD) {
		end = lt->last_ns;
	} else if (lt->ended) {
		lt->t.alive = lt->end_flags & CNT_F_ALIVE;
		end = lt->end_ts;
	} else if (lt->exited) {
		end = lt->exit_ts;
	} else {
		lt->t.alive = true;
	}
	if (end < lt->last_ns)
		end = lt->last_ns;
	return end < lt->t.start_ns ? lt->t.start_ns : end;
}

int tasks_finish(struct model *m)
{
	uint64_t last_end = 0;

	for (size_t i = 0; i < m->tasks.n; i++) {
		struct ltask *lt = m->tasks.v[i];
		uint64_t end = end_of(m, lt);
		int err = task_close(m, lt, end);

		if (err)
			return err;
		lt->t.end_ns = end;
		err = lives_add(m, &lt->t);
		if (err)
			return err;
		if (end > last_end)
			last_end = end;
	}
	m->rec.wall_end_ns = m->tasks.n ? last_end : m->stop_ns;
	return lives_finish(m);
}

/* The kernel's growth over the same time: what was recorded outside the window is known. */
static void kernel_growth(struct ltask *lt)
{
	struct task *t = &lt->t;
	const struct counters *a = &lt->base, *b = &lt->last;

	if (!t->has_base || !t->has_end) {
		t->io_known = false;
		return;
	}
	t->io_known = t->io_known && !lt->no_io_base;
	t->io = (struct io_counters){
	        .reads = sat_sub(t->io.reads, lt->io_base.reads),
	        .writes = sat_sub(t->io.writes, lt->io_base.writes),
	        .read_bytes = sat_sub(t->io.read_bytes, lt->io_base.read_bytes),
	        .written_bytes = sat_sub(t->io.written_bytes, lt->io_base.written_bytes),
	};
	t->kernel_run_all_ns = sat_sub(b->run_ns, a->run_ns);
	t->kernel_runnable_all_ns = sat_sub(b->runnable_ns, a->runnable_ns);
	t->kernel = (struct counters){
	        .voluntary = sat_sub(sat_sub(b->voluntary, a->voluntary),
	                             sat_sub(lt->all.voluntary, t->voluntary)),
	        .involuntary = sat_sub(sat_sub(b->involuntary, a->involuntary),
	                               sat_sub(lt->all.involuntary, t->involuntary)),
	        .run_ns = sat_sub(t->kernel_run_all_ns, sat_sub(lt->all.run_ns, t->run_ns)),
	        .runnable_ns =
	                sat_sub(t->kernel_runnable_all_ns, sat_sub(lt->all.queue_ns, lt->queue_ns)),
	        .minflt = sat_sub(b->minflt, a->minflt),
	        .majflt = sat_sub(b->majflt, a->majflt),
	};
}

/* Whether any of its life lies in the window; lives of no length count at their moment. */
static bool clip_life(struct task *t, uint64_t lo, uint64_t hi)
{
	uint64_t start = clamp_u64(t->start_ns, lo, hi), end = clamp_u64(t->end_ns, lo, hi);
	bool point = t->start_ns == t->end_ns;
	bool inside = point ? start == t->start_ns : start < end;

	t->born_ns = t->start_ns;
	t->gone_ns = t->end_ns;
	t->start_ns = start;
	t->end_ns = end;
	return inside;
}

int tasks_list(struct model *m)
{
	uint64_t lo = m->rec.wall_start_ns, hi = m->rec.wall_end_ns;

	for (size_t i = 0; i < m->tasks.n; i++) {
		struct ltask *lt = m->tasks.v[i];
		struct task *t = &lt->t;
		uint64_t left;

		kernel_growth(lt);
		t->comm = lt->t.placeholder && !lt->comm ? "?" : model_text(m, lt->comm);
		t->first_comm = lt->first_comm ? model_text(m, lt->first_comm) : t->comm;
		if (!clip_life(t, lo, hi))
			continue;
		left = t->end_ns - t->start_ns - t->blocked_ns;
		if (t->run_ns > left)
			t->run_ns = left;
		t->runnable_ns = left - t->run_ns;
		t->steal_ns = sat_sub(t->on_cpu_ns, t->run_ns);
		if (vec_push(&m->listed, (const struct task *)t))
			return -ENOMEM;
	}
	return 0;
}

void tasks_release(struct model *m)
{
	for (size_t i = 0; i < m->tasks.n; i++) {
		vec_release(&m->tasks.v[i]->t.slices);
		free(m->tasks.v[i]->def_wait);
		free(m->tasks.v[i]->words);
		free(m->tasks.v[i]);
	}
	vec_release(&m->tasks);
	vec_release(&m->listed);
	idmap_release(&m->task_ids);
	hmap_release(&m->proc_tids);
	hmap_release(&m->ctids);
	lives_release(m);
}

size_t model_n_tasks(const struct model *m)
{
	return m->listed.n;
}

const struct task *model_task_at(const struct model *m, size_t i)
{
	return i < m->listed.n ? m->listed.v[i] : NULL;
}

const struct task *model_task(const struct model *m, uint32_t id)
{
	const struct ltask *lt = task_get(m, id);

	return lt ? &lt->t : NULL;
}

uint32_t model_task_by_ctid(const struct model *m, uint32_t space, uint64_t addr)
{
	const uint64_t *at = hmap_get(&m->ctids, space, addr);

	return at ? (uint32_t)*at : 0;
}
