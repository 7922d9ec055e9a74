/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

struct lproc *proc_get(const struct model *m, uint64_t id)
{
	uint32_t i = id ? idmap_get(&m->proc_ids, id) : NO_INDEX;

	return i == NO_INDEX ? NULL : &m->procs.v[i];
}

/* Valid until the next call. */
struct lproc *proc_need(struct model *m, uint32_t id, int *err)
{
	struct lproc *p = proc_get(m, id), fresh = {.p = {.id = id, .exit_status = -1}};

	if (p)
		return p;
	if (idmap_put(&m->proc_ids, id, (uint32_t)m->procs.n) || vec_push(&m->procs, fresh)) {
		*err = -ENOMEM;
		return NULL;
	}
	return &m->procs.v[m->procs.n - 1];
}

static struct lproc *proc_of_task(const struct model *m, uint64_t task)
{
	const struct ltask *lt = task_get(m, task);

	return lt ? proc_get(m, lt->t.proc) : NULL;
}

int on_rss(struct model *m, uint64_t ts, const struct rec_rss *r)
{
	struct lproc *p = proc_of_task(m, r->task);
	struct rss_sample s = {ts, r->anon_bytes, r->file_bytes, r->shmem_bytes};

	if (!p)
		return 0;
	if (r->hiwater_bytes > p->hiwater_bytes)
		p->hiwater_bytes = r->hiwater_bytes;
	return vec_push(&p->p.rss, s);
}

int on_footprint(struct model *m, uint64_t ts, const struct rec_footprint *r)
{
	struct lproc *p = proc_of_task(m, r->task);
	struct footprint_sample s = {
	        .t_ns = ts,
	        .rss_bytes = r->rss_bytes,
	        .pss_bytes = r->pss_bytes,
	        .uss_bytes = r->uss_bytes,
	        .shared_bytes = r->shared_bytes,
	        .swap_bytes = r->swap_bytes,
	        .took_ns = r->took_ns,
	};

	return p ? vec_push(&p->p.footprint, s) : 0;
}

int proc_touch(struct model *m, const struct ltask *lt, uint64_t ts, const struct rec_touch *r)
{
	struct lproc *p = proc_get(m, lt->t.proc);
	struct touch_sample s = {.t_ns = ts, .bytes = r->bytes, .what = (uint8_t)r->what};

	if (!p || (r->what != TOUCH_FIRST && r->what != TOUCH_COW))
		return 0;
	return vec_push(&p->p.touches, s);
}

/* Once the tasks are listed: what a process has of them. */
static void add_task(struct proc *p, const struct task *t)
{
	if (!p->n_tasks || t->start_ns < p->start_ns)
		p->start_ns = t->start_ns;
	if (!p->n_tasks || t->end_ns > p->end_ns)
		p->end_ns = t->end_ns;
	p->n_tasks++;
	p->alive |= t->alive;
	p->faults_known = (p->n_tasks == 1 || p->faults_known) && t->faults_known;
	p->cow_known = (p->n_tasks == 1 || p->cow_known) && t->pages_known;
	p->cow_pages = sat_add(p->cow_pages, t->cow_pages);
	p->touched_pages = sat_add(p->touched_pages, t->touched_pages);
	p->wp_faults = sat_add(p->wp_faults, t->wp_faults);
}

static void set_names(const struct model *m, struct lproc *lp)
{
	const struct ltask *leader = task_get(m, lp->p.id);

	lp->p.exe = model_text(m, lp->exe);
	lp->p.args = strtab_get(m->strings, lp->args);
	lp->p.comm = leader ? leader->t.comm : "?";
	if (leader) {
		lp->p.ppid = leader->t.ppid;
		lp->p.parent = leader->t.parent;
	}
}

/* Of what was sampled from then on. The counters, which each thread adds to in lumps, are behind
 * what is read of the pages. */
struct most {
	uint64_t counted, read;
	size_t n;
};

static struct most most_of(const struct lproc *lp, uint64_t from_ns)
{
	struct most most = {0};

	for (size_t i = 0; i < lp->p.rss.n; i++) {
		const struct rss_sample *s = &lp->p.rss.v[i];
		uint64_t sum = sat_add(sat_add(s->anon_bytes, s->file_bytes), s->shmem_bytes);

		if (s->t_ns < from_ns)
			continue;
		most.n++;
		if (sum > most.counted)
			most.counted = sum;
	}
	for (size_t i = 0; i < lp->p.footprint.n; i++) {
		const struct footprint_sample *s = &lp->p.footprint.v[i];

		if (s->t_ns < from_ns)
			continue;
		most.n++;
		if (s->rss_bytes > most.read)
			most.read = s->rss_bytes;
	}
	return most;
}

static void set_peak(struct lproc *lp)
{
	struct most most = most_of(lp, 0);
	uint64_t peak = lp->maxrss_bytes;

	if (!peak)
		peak = most.counted > lp->hiwater_bytes ? most.counted : lp->hiwater_bytes;
	lp->p.rss_peak_from_kernel = lp->maxrss_bytes && most.read <= peak;
	lp->p.rss_peak_bytes = most.read > peak ? most.read : peak;
}

/* Fewer may all be of its first moments. */
#define ENOUGH_SAMPLES 3

/* The kernel carries its mark over an exec, and until then a new process has its starter's memory,
 * or a copy: only what is more than that one ever had is certainly the new program's. Of a starter
 * that lives on, samples may have missed the top. Else its own samples tell, where there are
 * enough, or where the mark leaves no room for much more. */
static void set_own_peak(const struct model *m, struct lproc *lp)
{
	const struct ltask *leader = task_get(m, lp->p.id), *by = task_get(m, lp->p.parent);
	const struct lproc *from = by ? proc_get(m, by->t.proc) : NULL;
	struct most most;
	uint64_t theirs;

	if (!lp->maxrss_bytes || !from || from == lp || !leader || !leader->t.exec_ns)
		return;
	theirs = from->maxrss_bytes;
	if (!theirs)
		theirs = sat_add(from->p.rss_peak_bytes, from->p.rss_peak_bytes / 8);
	if (theirs && lp->maxrss_bytes > theirs)
		return;
	lp->p.rss_peak_from_kernel = false;
	most = most_of(lp, leader->t.exec_ns);
	if (most.counted > lp->maxrss_bytes)
		most.counted = lp->maxrss_bytes;
	if (most.read < most.counted)
		most.read = most.counted;
	lp->p.rss_peak_bytes =
	        most.n >= ENOUGH_SAMPLES || most.read >= lp->maxrss_bytes / 2 ? most.read : 0;
}

/* Drops the samples outside the window. */
static void clip_samples(const struct model *m, struct proc *p)
{
	uint64_t lo = m->rec.wall_start_ns, hi = m->rec.wall_end_ns;
	size_t n = 0;

	for (size_t i = 0; i < p->rss.n; i++)
		if (p->rss.v[i].t_ns >= lo && p->rss.v[i].t_ns <= hi)
			p->rss.v[n++] = p->rss.v[i];
	p->rss.n = n;
	n = 0;
	for (size_t i = 0; i < p->footprint.n; i++)
		if (p->footprint.v[i].t_ns >= lo && p->footprint.v[i].t_ns <= hi)
			p->footprint.v[n++] = p->footprint.v[i];
	p->footprint.n = n;
	n = 0;
	for (size_t i = 0; i < p->touches.n; i++)
		if (p->touches.v[i].t_ns >= lo && p->touches.v[i].t_ns <= hi)
			p->touches.v[n++] = p->touches.v[i];
	p->touches.n = n;
}

/* CPython's multiprocessing tells itself by the arguments of what it starts. The fork server's
 * children are forked by it, not by the process that asked for them. */
static const char *start_method(const struct model *m, const struct lproc *lp)
{
	const struct ltask *by = task_get(m, lp->p.parent);
	const struct lproc *parent = by ? proc_get(m, by->t.proc) : NULL;

	if (!by)
		return lp->p.n_execs ? "exec" : NULL;
	if (strstr(lp->p.args, "from multiprocessing.spawn import") ||
	    strstr(lp->p.args, "--multiprocessing-fork"))
		return "spawn";
	if (lp->p.n_execs)
		return "exec";
	if (parent && strstr(strtab_get(m->strings, parent->args),
	                     "from multiprocessing.forkserver import main"))
		return "forkserver";
	return "fork";
}

/* --- readings that a fork fell into ------------------------------------------------------- */

/* A fork that shares pages: its parent's (a process), from its call until the child existed. */
struct fork_of {
	uint32_t parent;
	uint64_t lo_ns, hi_ns;
};
struct forks_of {
	VEC(struct fork_of) v;
};

static int by_parent(const void *a, const void *b)
{
	const struct fork_of *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return x->hi_ns < y->hi_ns ? -1 : x->hi_ns > y->hi_ns;
}

/* The process of whose pages it has a copy; 0 = none. */
static uint32_t copied_from(const struct model *m, const struct proc *p)
{
	const struct ltask *by = p->n_execs ? NULL : task_get(m, p->parent);

	return by && by->t.proc != p->id ? by->t.proc : 0;
}

static int find_forks(const struct model *m, struct forks_of *f)
{
	for (size_t i = 0; i < m->listed_procs.n; i++) {
		const struct proc *p = m->listed_procs.v[i];
		const struct ltask *leader = task_get(m, p->id);
		struct fork_of x = {.parent = copied_from(m, p), .hi_ns = p->start_ns};
		uint64_t call = leader ? leader->t.call_ns : 0;

		x.lo_ns = call && call < x.hi_ns ? call : x.hi_ns;
		if (x.parent && vec_push(&f->v, x))
			return -ENOMEM;
	}
	if (f->v.n)
		qsort(f->v.v, f->v.n, sizeof(f->v.v[0]), by_parent);
	return 0;
}

/* Did the process fork while this was read? */
static bool forked_during(const struct forks_of *f, uint32_t parent,
                          const struct footprint_sample *s)
{
	const struct fork_of want = {.parent = parent, .hi_ns = s->t_ns};
	size_t lo = 0, hi = f->v.n;

	while (lo < hi) { /* the first one that was over at t or later */
		size_t mid = lo + (hi - lo) / 2;

		if (by_parent(&f->v.v[mid], &want) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return parent && lo < f->v.n && f->v.v[lo].parent == parent &&
	       f->v.v[lo].lo_ns <= sat_add(s->t_ns, s->took_ns);
}

/* What a process shares changes when it forks, and when the one forks whose copy it is. */
static int drop_torn(struct model *m)
{
	struct forks_of f = {0};
	int err = find_forks(m, &f);

	for (size_t i = 0; i < m->procs.n && f.v.n && !err; i++) {
		struct proc *p = &m->procs.v[i].p;
		uint32_t from = copied_from(m, p);
		size_t n = 0;

		for (size_t k = 0; k < p->footprint.n; k++) {
			const struct footprint_sample *s = &p->footprint.v[k];

			if (!s->took_ns ||
			    (!forked_during(&f, p->id, s) && !forked_during(&f, from, s)))
				p->footprint.v[n++] = *s;
		}
		p->footprint.n = n;
	}
	vec_release(&f.v);
	return err;
}

int procs_finish(struct model *m)
{
	for (size_t i = 0; i < m->listed.n; i++) {
		struct lproc *lp = proc_get(m, m->listed.v[i]->proc);

		if (lp)
			add_task(&lp->p, m->listed.v[i]);
	}
	for (size_t i = 0; i < m->procs.n; i++) {
		set_names(m, &m->procs.v[i]);
		set_peak(&m->procs.v[i]);
	}
	for (size_t i = 0; i < m->procs.n; i++)
		set_own_peak(m, &m->procs.v[i]);
	for (size_t i = 0; i < m->procs.n; i++) {
		struct lproc *lp = &m->procs.v[i];

		lp->p.start_method = start_method(m, lp);
		clip_samples(m, &lp->p);
		if (lp->p.alive)
			lp->p.exit_status = -1;
		if (lp->p.n_tasks && vec_push(&m->listed_procs, (const struct proc *)&lp->p))
			return -ENOMEM;
	}
	return drop_torn(m);
}

void procs_release(struct model *m)
{
	for (size_t i = 0; i < m->procs.n; i++) {
		vec_release(&m->procs.v[i].p.rss);
		vec_release(&m->procs.v[i].p.footprint);
		vec_release(&m->procs.v[i].p.touches);
	}
	vec_release(&m->procs);
	vec_release(&m->listed_procs);
	idmap_release(&m->proc_ids);
}

size_t model_n_procs(const struct model *m)
{
	return m->listed_procs.n;
}

const struct proc *model_proc_at(const struct model *m, size_t i)
{
	return i < m->listed_procs.n ? m->listed_procs.v[i] : NULL;
}

const struct proc *model_proc(const struct model *m, uint32_t id)
{
	const struct lproc *lp = proc_get(m, id);

	return lp ? &lp->p : NULL;
}
