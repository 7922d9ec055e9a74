/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "whatif_priv.h"

#define LEAST_CPUS   0.01
#define START_STACKS 256 /* of a process that are looked at for its first own work */

/* --- processes instead of threads --- */

const struct proc *whatif_proc(const struct report *r, const struct lock *gil)
{
	for (size_t i = 0; i < r->gils.n; i++)
		if (r->gils.v[i].gil == gil->gil)
			return model_proc(r->m, r->gils.v[i].proc);
	return NULL;
}

static const struct task *next_thread(const struct model *m, const struct proc *p, size_t *i)
{
	while (*i < model_n_tasks(m)) {
		const struct task *t = model_task_at(m, (*i)++);

		if (t->proc == p->id)
			return t;
	}
	return NULL;
}

/* Who ever had a GIL of the process's or waited for one. */
static int find_python(const struct report *r, const struct proc *p, struct hmap *python)
{
	for (size_t i = 0; i < r->gils.n; i++) {
		const struct gil_row *g = &r->gils.v[i];

		for (size_t j = 0; g->proc == p->id && j < g->tasks.n; j++)
			if (!hmap_put(python, g->tasks.v[j].task, 0, NULL))
				return -ENOMEM;
	}
	return 0;
}

/* Threads of Python's beside the first that do at least a hundredth of the process's work: what a
 * library made for itself (numpy's threads, which wait by spinning) a process would have as well.
 * start_ns: each one's place is marked. */
static uint32_t find_workers(const struct model *m, const struct proc *p, const struct hmap *python,
                             uint64_t *first_ns, float *start_ns)
{
	uint64_t work = 0;
	uint32_t n = 0;
	const struct task *t;

	for (size_t i = 0; (t = next_thread(m, p, &i));)
		work += t->run_ns;
	*first_ns = UINT64_MAX;
	for (size_t i = 0; (t = next_thread(m, p, &i));) {
		if (t->id == p->id || t->run_ns < work / 100 || !hmap_get(python, t->id, 0))
			continue;
		n++;
		start_ns[i - 1] = (float)PROCESS_NS;
		if (t->start_ns < *first_ns)
			*first_ns = t->start_ns;
	}
	return n;
}

/* What a process had of its own before its first thread: a new one needs that again. */
static uint64_t own_bytes(const struct proc *p, uint64_t before_ns)
{
	uint64_t bytes = WHAT_IF_UNKNOWN;

	for (size_t i = 0; i < p->rss.n && p->rss.v[i].t_ns <= before_ns; i++)
		bytes = p->rss.v[i].anon_bytes;
	return bytes;
}

/* Is that a Python program at work, neither the interpreter's own start nor an import? A new
 * process imports what the program imports before it does anything else. */
static bool is_own_work(const struct model *m, uint32_t ustack)
{
	enum { FRAMES = 128 };
	static const char import[] = "<frozen importlib";
	struct frame frames[FRAMES];
	const struct mstack *k = model_stack(m, ustack);
	size_t n = k && k->n_py ? model_frames(m, ustack, frames, FRAMES) : 0;
	bool python = false;

	while (n-- > 0) {
		const char *src = frames[n].src ? frames[n].src : "";

		if (frames[n].kind != FRAME_PYTHON)
			continue;
		if (!strncmp(src, import, sizeof(import) - 1))
			return false;
		if (!python && (!src[0] || !strncmp(src, "<frozen", 7)))
			return false;
		python = true;
	}
	return python;
}

/* When the program that it runs last was first seen at work of its own; 0 = never. */
static uint64_t first_own_work(const struct model *m, const struct task *t)
{
	const struct cpu_sample *samples;
	size_t n = model_samples(m, &samples), left = START_STACKS;
	uint64_t at = 0;

	for (size_t i = 0; i < t->slices.n && left && !at; i++) {
		const struct slice *s = &t->slices.v[i];

		if (s->out_ns < t->last_exec_ns)
			continue;
		left -= s->ustack != 0;
		if (s->ustack && is_own_work(m, s->ustack))
			at = s->out_ns;
	}
	left = START_STACKS;
	for (size_t i = 0; i < n && left && (!at || samples[i].ts < at); i++) {
		if (samples[i].task != t->id || !samples[i].ustack ||
		    samples[i].ts < t->last_exec_ns)
			continue;
		left--;
		if (is_own_work(m, samples[i].ustack))
			at = samples[i].ts;
	}
	return at;
}

static uint64_t overlap(uint64_t a, uint64_t b, uint64_t lo, uint64_t hi)
{
	a = a > lo ? a : lo;
	b = b < hi ? b : hi;
	return b > a ? b - a : 0;
}

/* Of [lo, hi], when it was ready and had no CPU, or waited for the disk: what it read there is in
 * memory when the next process wants it. */
static uint64_t waited(const struct task *t, uint64_t lo, uint64_t hi)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < t->slices.n && t->slices.v[i].out_ns < hi; i++) {
		const struct slice *s = &t->slices.v[i];

		ns += overlap(s->queued_ns, s->in_ns, lo, hi);
		if (s->cause == BLOCK_FILE || s->cause == BLOCK_FAULT)
			ns += overlap(s->out_ns, s->queued_ns, lo, hi);
	}
	return ns;
}

/* What it takes the process on a free CPU to get from its exec to work of its own. What ran in it
 * before (a script that finds the right interpreter) a new interpreter does not need again. */
static uint64_t start_ns_of(const struct model *m, const struct proc *p)
{
	const struct task *t = model_task(m, p->id);
	uint64_t ready = t && t->last_exec_ns ? first_own_work(m, t) : 0;

	if (!t || ready <= t->last_exec_ns)
		return WHAT_IF_UNKNOWN;
	return ready - t->last_exec_ns - waited(t, t->last_exec_ns, ready);
}

int whatif_cost(const struct report *r, const struct proc *p, struct what_if_row *row,
                float *start_ns)
{
	const struct model *m = r->m;
	struct hmap python = {0};
	const struct task *t;
	uint64_t first = UINT64_MAX;
	int err = p ? find_python(r, p, &python) : 0;

	row->processes = p && !err ? find_workers(m, p, &python, &first, start_ns) : 0;
	hmap_release(&python);
	/* A window shows how neither the process nor its threads began. */
	if (!row->processes || model_recording(m)->windowed)
		return err;
	row->memory_bytes = own_bytes(p, first);
	row->spawn_ns = start_ns_of(m, p);
	if (row->memory_bytes == WHAT_IF_UNKNOWN)
		return 0;
	for (size_t i = 0; (t = next_thread(m, p, &i));)
		if (start_ns[i - 1] > 0)
			start_ns[i - 1] += (float)(PROCESS_NS_BY_BYTE * (double)row->memory_bytes);
	return 0;
}

double whatif_more_ns(const struct what_if_row *row, double cpus)
{
	double each = 0;

	if (!row->processes)
		return 0;
	if (row->memory_bytes != WHAT_IF_UNKNOWN)
		each = COPY_NS_BY_BYTE * (double)row->memory_bytes;
	if (row->spawn_ns != WHAT_IF_UNKNOWN)
		each = fmax(each, SPAWN_MORE * (double)row->spawn_ns);
	/* One after the other has to be made; starting is work for the CPUs. */
	return each * fmax(1, row->processes / cpus);
}

/* --- other programs --- */

/* The kernel counts idle time in ticks of 10 ms on each CPU: of less than this it says nothing. */
#define LEAST_LOOK_NS 50000000

void whatif_others(struct report *r)
{
	const struct recording *rec = model_recording(r->m);
	uint64_t busy, capacity, n, own = 0;
	double others, wall;

	r->others_ns = WHAT_IF_UNKNOWN;
	if (rec->windowed || !model_meta_u64(r->m, META_RECORDER, &r->recorder_ns))
		r->recorder_ns = WHAT_IF_UNKNOWN;
	if (rec->windowed || !model_meta_u64(r->m, META_BUSY, &busy) ||
	    !model_meta_u64(r->m, META_CAPACITY, &capacity) || busy > capacity ||
	    !model_meta_u64(r->m, META_CAPACITY_CPUS, &n) || !n || capacity / n < LEAST_LOOK_NS)
		return;
	/* With what the hypervisor took meanwhile, which the CPUs' idle time does not tell from
	 * use. */
	for (size_t i = 0; i < model_n_tasks(r->m); i++)
		own = sat_add(own, model_task_at(r->m, i)->on_cpu_ns);
	/* The looks are a little before the wall time and after it. */
	wall = (double)r->wall_ns * (double)n;
	others = busy > own ? (double)(busy - own) * wall / (double)capacity : 0;
	r->others_ns = (uint64_t)fmin(others, fmax(0, wall - (double)own));
}

struct cpus_left whatif_cpus_left(const struct report *r, double cpus, uint32_t tasks)
{
	struct cpus_left left = {cpus, cpus};
	double own = tasks ? tasks : 1, all, others, free_cpus;
	uint64_t n;

	if (r->others_ns == WHAT_IF_UNKNOWN || !r->wall_ns ||
	    !model_meta_u64(r->m, META_CAPACITY_CPUS, &n) || !n)
		return left;
	/* A quota may be less than the CPUs, and others may use what is beyond it. */
	all = fmax(cpus, (double)n);
	others = all * fmin(1, (double)r->others_ns / ((double)r->wall_ns * (double)n));
	/* As much as it had it would get again. */
	free_cpus = fmax(all - others, fmax(r->avg_parallelism, LEAST_CPUS));
	left.worst = fmin(cpus, free_cpus);
	left.fair = fmin(cpus, fmax(free_cpus, all * own / (own + others)));
	return left;
}
