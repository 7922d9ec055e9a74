/* SPDX-License-Identifier: MIT */
/* Elements of the document: a task, a process, a lock, the stacks, the quality. */
#include <errno.h>

#include "report/figures_priv.h"
#include "report/json_priv.h"
#include "report/spots_priv.h"

#define MAX_SPOTS 200 /* stacks in the document; all of them are in `mpvtrace export` */

static const char *const block_keys[] = {
#define X(NAME, key, heading) key,
        BLOCK_CAUSES(X)
#undef X
};

/* --- tasks ----------------------------------------------------------------- */

static json_t *task_kernel(struct jout *j, const struct task *t)
{
	bool known = counters_known(t);
	json_t *o = json_object();

	j_set(j, o, "voluntary", j_known(known, t->kernel.voluntary));
	j_set(j, o, "involuntary", j_known(known, t->kernel.involuntary));
	j_set(j, o, "run_ns", j_known(known && t->kernel_run_exact, t->kernel.run_ns));
	j_set(j, o, "runnable_ns",
	      j_known(known && t->kernel_runnable_exact, t->kernel.runnable_ns));
	return o;
}

static json_t *task_faults(struct jout *j, const struct task *t)
{
	bool known = counters_known(t);
	json_t *o = json_object();

	j_set(j, o, "minor", j_known(known, t->kernel.minflt));
	j_set(j, o, "major", j_known(known, t->kernel.majflt));
	j_set(j, o, "cow", j_known(known && t->pages_known, t->cow_pages));
	j_set(j, o, "write_protect", j_known(known && t->faults_known, t->wp_faults));
	j_set(j, o, "first_read", j_known(known && t->faults_known, t->first_read_faults));
	j_set(j, o, "first_write", j_known(known && t->faults_known, t->first_write_faults));
	return o;
}

static void set_ids(struct jout *j, json_t *o, const struct task *t)
{
	j_set(j, o, "tid", j_known(!t->placeholder, t->tid));
	j_set(j, o, "pid", j_known(!t->placeholder, t->tgid));
	j_set(j, o, "ppid", j_known(!t->placeholder, t->ppid));
	j_set(j, o, "ns_tid", j_known(!t->placeholder, t->ns_tid));
	j_set(j, o, "ns_pid", j_known(!t->placeholder, t->ns_tgid));
	j_set(j, o, "comm", j_text(t->comm));
	j_set(j, o, "first_comm", j_text(t->first_comm));
	j_set(j, o, "python_function", j_text(job_of(&j->jobs, t->id)));
}

/* How the task was made: keys of a process's `spawn` and a thread's. */
static json_t *json_spawn(struct jout *j, uint32_t task)
{
	const struct spawn_row *s = report_spawn(j->r, task);
	json_t *o = json_object();
	const struct {
		const char *key;
		uint64_t ns;
	} steps[] = {
	        {"fork_ns", s ? s->call_ns : SPAWN_UNKNOWN},
	        {"first_run_ns", s ? s->first_run_ns : SPAWN_UNKNOWN},
	        {"exec_ns", s ? s->exec_ns : SPAWN_UNKNOWN},
	        {"ready_ns", s ? s->ready_ns : SPAWN_UNKNOWN},
	        {"ready_uncertainty_ns", s ? s->ready_off_ns : SPAWN_UNKNOWN},
	        {"teardown_ns", s ? s->teardown_ns : SPAWN_UNKNOWN},
	};

	j_set(j, o, "method", j_text(s ? s->method : NULL));
	j_set(j, o, "start_ns", s ? j_time(j, s->start_ns) : json_null());
	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		j_set(j, o, steps[i].key, j_known(steps[i].ns != SPAWN_UNKNOWN, steps[i].ns));
	return o;
}

static json_t *task_io(struct jout *j, const struct task *t)
{
	json_t *o = json_object();

	j_set(j, o, "reads", j_known(t->io_known, t->io.reads));
	j_set(j, o, "read_bytes", j_known(t->io_known, t->io.read_bytes));
	j_set(j, o, "writes", j_known(t->io_known, t->io.writes));
	j_set(j, o, "written_bytes", j_known(t->io_known, t->io.written_bytes));
	return o;
}

json_t *json_task(struct jout *j, const struct task *t)
{
	json_t *o = json_object(), *blocked = json_object(), *switches = json_object();
	uint64_t bytes = 0;
	bool known = first_touch_bytes(t, model_recording(j->m)->page_size, &bytes);

	for (unsigned c = 0; c < BLOCK_N; c++)
		j_set(j, blocked, block_keys[c], j_u64(t->blocked_by[c]));
	j_set(j, switches, "voluntary", j_u64(t->voluntary));
	j_set(j, switches, "involuntary", j_u64(t->involuntary));
	set_ids(j, o, t);
	j_set(j, o, "start_ns", j_time(j, t->start_ns));
	j_set(j, o, "end_ns", j_time(j, t->end_ns));
	j_set(j, o, "alive", json_boolean(t->alive));
	j_set(j, o, "exit_status", t->alive ? json_null() : j_status(t->exit_status));
	j_set(j, o, "run_ns", j_u64(t->run_ns));
	j_set(j, o, "runnable_ns", j_u64(t->runnable_ns));
	j_set(j, o, "blocked_ns", j_u64(t->blocked_ns));
	j_set(j, o, "steal_ns", j_u64(t->steal_ns));
	j_set(j, o, "blocked", blocked);
	j_set(j, o, "switches", switches);
	j_set(j, o, "kernel", task_kernel(j, t));
	j_set(j, o, "faults", task_faults(j, t));
	j_set(j, o, "first_touch_bytes", j_known(known, bytes));
	j_set(j, o, "io", task_io(j, t));
	j_set(j, o, "futex_waits", j_u64(t->futex_waits));
	j_set(j, o, "wakes_given", j_u64(t->wakes_given));
	j_set(j, o, "samples", j_u64(t->samples));
	j_set(j, o, "spawn", json_spawn(j, t->id));
	return o;
}

/* --- processes ------------------------------------------------------------- */

static json_t *rss_sample(struct jout *j, const struct rss_sample *s)
{
	json_t *o = json_object();

	j_set(j, o, "t_ns", j_time(j, s->t_ns));
	j_set(j, o, "rss_bytes",
	      j_u64(sat_add(sat_add(s->anon_bytes, s->file_bytes), s->shmem_bytes)));
	j_set(j, o, "pss_bytes", json_null());
	j_set(j, o, "uss_bytes", json_null());
	return o;
}

static json_t *footprint_sample(struct jout *j, const struct footprint_sample *s)
{
	json_t *o = json_object();

	j_set(j, o, "t_ns", j_time(j, s->t_ns));
	j_set(j, o, "rss_bytes", j_u64(s->rss_bytes));
	j_set(j, o, "pss_bytes", j_u64(s->pss_bytes));
	j_set(j, o, "uss_bytes", j_u64(s->uss_bytes));
	return o;
}

/* Both kinds in order of time. */
static json_t *samples(struct jout *j, const struct proc *p)
{
	json_t *a = json_array();
	size_t r = 0, f = 0;

	while (r < p->rss.n || f < p->footprint.n) {
		bool rss = f == p->footprint.n ||
		           (r < p->rss.n && p->rss.v[r].t_ns <= p->footprint.v[f].t_ns);

		if (rss)
			j_add(j, a, rss_sample(j, &p->rss.v[r++]));
		else
			j_add(j, a, footprint_sample(j, &p->footprint.v[f++]));
	}
	return a;
}

json_t *json_process(struct jout *j, size_t i)
{
	const struct proc *p = model_proc_at(j->m, i);
	const struct footprint_sample *own = &j->r->proc_peaks[i], *f = own->t_ns ? own : NULL;
	json_t *o = json_object();

	j_set(j, o, "pid", j_u64(p->pid));
	j_set(j, o, "ppid", j_u64(p->ppid));
	j_set(j, o, "comm", j_text(p->comm));
	j_set(j, o, "exe", j_text(p->exe && p->exe[0] ? p->exe : NULL));
	j_set(j, o, "start_ns", j_time(j, p->start_ns));
	j_set(j, o, "end_ns", j_time(j, p->end_ns));
	j_set(j, o, "tasks", j_u64(p->n_tasks));
	j_set(j, o, "exit_status", p->alive ? json_null() : j_status(p->exit_status));
	j_set(j, o, "start_method", j_text(p->start_method));
	j_set(j, o, "rss_peak_bytes", j_known(p->rss_peak_bytes, p->rss_peak_bytes));
	j_set(j, o, "rss_peak_from_kernel", json_boolean(p->rss_peak_from_kernel));
	j_set(j, o, "pss_bytes", j_known(f, f ? f->pss_bytes : 0));
	j_set(j, o, "uss_bytes", j_known(f || own->uss_bytes, own->uss_bytes));
	j_set(j, o, "shared_bytes", j_known(f, f ? f->shared_bytes : 0));
	j_set(j, o, "swap_bytes", j_known(f, f ? f->swap_bytes : 0));
	j_set(j, o, "cow_bytes",
	      j_known(p->cow_known, sat_mul(p->cow_pages, model_recording(j->m)->page_size)));
	j_set(j, o, "cow_faults", j_known(p->faults_known, p->wp_faults));
	j_set(j, o, "args", j_text(p->args && p->args[0] ? p->args : NULL));
	j_set(j, o, "spawn", json_spawn(j, p->id));
	j_set(j, o, "samples", samples(j, p));
	return o;
}

static json_t *tree_sample(struct jout *j, const struct tree_sample *s)
{
	json_t *o = json_object();

	j_set(j, o, "t_ns", j_time(j, s->t_ns));
	j_set(j, o, "rss_bytes", j_u64(s->rss_bytes));
	j_set(j, o, "pss_bytes", j_u64(s->pss_bytes));
	j_set(j, o, "uss_bytes", j_u64(s->uss_bytes));
	j_set(j, o, "processes", j_u64(s->procs));
	j_set(j, o, "unread", j_u64(s->unread));
	return o;
}

static void set_pickling(struct jout *j, json_t *o, const struct pickle_row *p)
{
	uint64_t ns = j->r->sample_ns;

	j_set(j, o, "samples", j_u64(p->samples));
	j_set(j, o, "pickling_samples", j_u64(sat_add(p->dumps, p->loads)));
	j_set(j, o, "cpu_ns", j_u64(sat_mul(sat_add(p->dumps, p->loads), ns)));
	j_set(j, o, "dumps_ns", j_u64(sat_mul(p->dumps, ns)));
	j_set(j, o, "loads_ns", j_u64(sat_mul(p->loads, ns)));
}

json_t *json_pickling(struct jout *j)
{
	struct pickle_row sum = {0};
	json_t *o, *a;

	if (!j->r->sample_ns)
		return json_null();
	o = json_object();
	a = json_array();
	for (size_t i = 0; i < j->r->pickling.n; i++) {
		const struct pickle_row *p = &j->r->pickling.v[i];
		const struct proc *proc = model_proc(j->m, p->proc);
		json_t *row = json_object();

		sum.samples = sat_add(sum.samples, p->samples);
		sum.dumps = sat_add(sum.dumps, p->dumps);
		sum.loads = sat_add(sum.loads, p->loads);
		j_set(j, row, "pid", j_known(proc, proc ? proc->pid : 0));
		set_pickling(j, row, p);
		j_add(j, a, row);
	}
	set_pickling(j, o, &sum);
	j_set(j, o, "processes", a);
	return o;
}

json_t *json_memory(struct jout *j)
{
	const struct tree_sample *peak = &j->r->peak;
	json_t *o = json_object(), *a = json_array();

	for (size_t i = 0; i < j->r->tree.n; i++)
		j_add(j, a, tree_sample(j, &j->r->tree.v[i]));
	j_set(j, o, "pss_peak_bytes", j_known(peak->t_ns, peak->pss_bytes));
	j_set(j, o, "peak", peak->t_ns ? tree_sample(j, peak) : json_null());
	j_set(j, o, "samples", a);
	return o;
}

/* --- futexes: the locks of a report whose waits were not worked out --------------------- */

static json_t *waiters(struct jout *j, const struct futex *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->waiters.n; i++) {
		const struct futex_waiter *w = &f->waiters.v[i];
		const struct task *t = model_task(j->m, w->task);
		json_t *o = json_object();

		j_set(j, o, "tid", j_known(t && !t->placeholder, t ? t->tid : 0));
		j_set(j, o, "start_ns", t ? j_time(j, t->start_ns) : json_null());
		j_set(j, o, "comm", j_text(t ? t->comm : NULL));
		j_set(j, o, "waits", j_u64(w->waits));
		j_set(j, o, "wait_ns", j_u64(w->wait_ns));
		j_set(j, o, "max_wait_ns", j_u64(w->max_ns));
		j_add(j, a, o);
	}
	return a;
}

static json_t *sites(struct jout *j, const struct futex *f)
{
	json_t *a = json_array();

	for (size_t i = 0; i < f->sites.n; i++) {
		const struct futex_site *s = &f->sites.v[i];
		uint32_t text = stack_name(&j->names, s->ustack);
		json_t *o = json_object();

		text = text ? text : stack_name(&j->names, s->kstack);
		j_set(j, o, "frames", j_frames(j, text, &j->names));
		j_set(j, o, "waits", j_u64(s->waits));
		j_set(j, o, "wait_ns", j_u64(s->wait_ns));
		j_add(j, a, o);
	}
	return a;
}

json_t *json_futex(struct jout *j, const struct report_lock *l)
{
	const struct futex *f = l->futex;
	bool timed = f->durations_ns.n > 0;
	json_t *o = json_object();

	j_set(j, o, "id", j_u64(l->id));
	j_set(j, o, "kind", j_text(l->kind));
	j_set(j, o, "name", j_text(l->name));
	j_set(j, o, "scope", j_text(f->is_private ? "private" : "shared"));
	j_set(j, o, "address", j_u64(f->addr));
	j_set(j, o, "waits", j_u64(f->waits));
	j_set(j, o, "wait_ns", j_u64(f->wait_ns));
	j_set(j, o, "max_wait_ns", j_u64(f->max_ns));
	j_set(j, o, "p50_wait_ns", j_known(timed, l->p50_ns));
	j_set(j, o, "p99_wait_ns", j_known(timed, l->p99_ns));
	j_set(j, o, "python_kind", json_null());
	j_set(j, o, "idle_cpu_ns", json_null());
	j_set(j, o, "waiters", waiters(j, f));
	j_set(j, o, "blockers", json_null());
	j_set(j, o, "sites", sites(j, f));
	return o;
}

/* --- stacks ---------------------------------------------------------------- */

static json_t *spot(struct jout *j, const struct spots *s, const struct spot *at)
{
	json_t *o = json_object(), *tasks = json_array();

	j_set(j, o, "cause", j_text(block_keys[at->cause]));
	j_set(j, o, "blocked_ns", j_u64(at->ns));
	j_set(j, o, "frames", j_frames(j, at->text, &s->names));
	for (size_t i = at->first; i < at->first + at->n; i++) {
		const struct task *t = model_task(j->m, s->parts.v[i].task);
		json_t *part = json_object();

		j_set(j, part, "tid", j_known(t && !t->placeholder, t ? t->tid : 0));
		j_set(j, part, "blocked_ns", j_u64(s->parts.v[i].ns));
		j_add(j, tasks, part);
	}
	j_set(j, o, "tasks", tasks);
	return o;
}

json_t *json_off_cpu(struct jout *j)
{
	json_t *o = json_object(), *stacks = json_array();
	struct spots s;
	int err = spots_init(&s, j->m, NULL);
	uint64_t rest = 0;

	for (size_t i = 0; i < s.list.n && !err; i++) {
		if (i < MAX_SPOTS)
			j_add(j, stacks, spot(j, &s, &s.list.v[i]));
		else
			rest = sat_add(rest, s.list.v[i].ns);
	}
	j_set(j, o, "blocked_ns", j_known(!err, s.total));
	j_set(j, o, "without_stack_ns", j_known(!err, s.without));
	j_set(j, o, "left_out_ns", j_known(!err, rest));
	j_set(j, o, "stacks", stacks);
	spots_release(&s);
	if (err && err != -E2BIG) /* names that would fill memory stay out, as nulls */
		j->err = err;
	return o;
}
