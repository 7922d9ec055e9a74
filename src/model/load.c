/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

/* Where the user wants it to end. */
static uint64_t wanted_end(const struct model *m)
{
	return m->opts.until_ns ? sat_add(m->origin_ns, m->opts.until_ns) : UINT64_MAX;
}

/* Tasks that live on are seen for different times after the recording's end was decided. */
static uint64_t window_end(const struct model *m)
{
	uint64_t end = wanted_end(m);

	if (m->stopping_ns && m->stopping_ns < end)
		end = m->stopping_ns;
	return end < m->lo_ns ? m->lo_ns : end;
}

static int on_mark(struct model *m, uint64_t ts, const struct rec_mark *r)
{
	switch (r->what) {
	case MARK_START:
		if (!m->have_start && !m->have_exec)
			model_set_origin(m, ts);
		if (!m->have_start)
			m->rec.start_ns = ts;
		m->have_start = true;
		break;
	case MARK_EXEC:
	case MARK_FOLLOW:
		if (!m->have_exec)
			model_set_origin(m, ts);
		m->have_exec = true;
		break;
	case MARK_STOPPING:
		m->stopping_ns = m->stopping_ns ? m->stopping_ns : ts;
		m->hi_ns = window_end(m);
		break;
	case MARK_STOP:
		m->have_stop = true;
		m->stop_ns = ts;
		break;
	case MARK_END:
		m->mark_end = r->value;
		break;
	default:
		break;
	}
	return 0;
}

/* Without START and EXEC (a damaged block), the first event is as far back as we know. */
void model_set_origin(struct model *m, uint64_t ts)
{
	m->have_origin = true;
	m->origin_ns = ts;
	m->lo_ns = sat_add(ts, m->opts.since_ns);
	m->hi_ns = window_end(m);
	for (size_t i = 0; i < m->tasks.n; i++) {
		struct ltask *lt = m->tasks.v[i];
		struct task *t = &lt->t;

		t->run_ns = t->blocked_ns = t->on_cpu_ns = lt->queue_ns = 0;
		t->voluntary = t->involuntary = 0;
		t->futex_waits = t->wakes_given = t->samples = 0;
		memset(t->blocked_by, 0, sizeof(t->blocked_by));
		t->slices.n = 0;
	}
	futexes_reset(m);
	stacks_reset(m);
	m->gil_samples.n = 0;
}

/* --- one row per kind ------------------------------------------------------------------------- */

/* Definitions are taken as they come, events once they are sorted. */
typedef int (*handler)(struct model *m, uint64_t ts, const void *rec);

struct kind_row {
	handler run;
	size_t size; /* of its struct */
	bool sorted;
};

/* Gives each handler the type of its record back. */
/* clang-format off */
#define HANDLERS(H)                                                                    \
	H(STRING, string, on_string, false)                                            \
	H(META, meta, on_meta, false)                                                  \
	H(TASK, task, on_task, false)                                                  \
	H(SPACE, space, on_space, false)                                               \
	H(SITE, site, on_site, false)                                                  \
	H(STACK, stack, on_stack, false)                                               \
	H(MAP, map, on_map, false)                                                     \
	H(SYMBOL, symbol, on_symbol, false)                                            \
	H(GIL, gil, on_gil, false)                                                     \
	H(FUTEX_KEY, futex_key, on_futex_key, false)                                   \
	H(FILE, file, on_file, false)                                                  \
	H(OBJECT, object, on_object, false)                                            \
	H(PYCODE, pycode, on_pycode, false)                                            \
	H(SWITCH, switch, on_switch, true)                                             \
	H(WAITV, waitv, on_waitv, true)                                                \
	H(WAKING, waking, on_waking, true)                                             \
	H(SAMPLE, sample, on_sample, true)                                             \
	H(TOUCH, touch, on_touch, true)                                                \
	H(BASE, base, on_base, true)                                                   \
	H(END, end, on_end, true)                                                      \
	H(EXIT, exit, on_exit_event, true)                                             \
	H(EXEC, exec, on_exec, true)                                                   \
	H(RENAME, rename, on_rename, true)                                             \
	H(RSS, rss, on_rss, false)                                                     \
	H(FOOTPRINT, footprint, on_footprint, false)                                   \
	H(LOSS, loss, on_loss, false)                                                  \
	H(NOTE, note, on_note, false)                                                  \
	H(COST, cost, on_cost, false)                                                  \
	H(MARK, mark, on_mark, true)                                                   \
	H(PYTHREAD, pythread, on_pythread, true)                                       \
	H(HOLDS, holds, on_holds, true)                                                \
	H(TRAFFIC, traffic, on_traffic, false)                                         \
	H(FLOW, flow, on_flow, false)
/* clang-format on */

#define H(NAME, name, fn, sort)                                              \
	static int run_##name(struct model *m, uint64_t ts, const void *rec) \
	{                                                                    \
		return fn(m, ts, (const struct rec_##name *)rec);            \
	}
HANDLERS(H)
#undef H

static const struct kind_row kinds[REC_K_MAX] = {
#define H(NAME, name, fn, sort) [REC_K_##NAME] = {run_##name, sizeof(struct rec_##name), sort},
        HANDLERS(H)
#undef H
};

static int run_event(struct model *m, const struct event *e)
{
	if (e->ts > m->last_ts)
		m->last_ts = e->ts;
	if (!m->have_origin)
		model_set_origin(m, e->ts);
	return kinds[e->kind].run(m, e->ts, &e->sw);
}

/* The reader's array lives until the next record only. */
static void keep_words(struct event *e)
{
	struct rec_array *a = &e->waitv.addrs;

	if (a->n > MAX_WAITV)
		a->n = MAX_WAITV;
	if (a->n)
		memcpy(e->words, a->v, a->n * sizeof(*e->words));
	a->v = e->words;
}

static int take(struct model *m, const struct trace_record *r)
{
	const struct kind_row *row = r->kind < REC_K_MAX ? &kinds[r->kind] : NULL;
	const struct event *oldest;
	struct event *e;

	if (!row || !row->run)
		return 0;
	if (!row->sorted)
		return row->run(m, r->ts, r->rec);
	e = order_push(m->order, r->ts, &oldest);
	e->kind = r->kind;
	memcpy(&e->sw, r->rec, row->size);
	if (r->kind == REC_K_EXEC && exec_keep_args(m, &e->exec))
		return -ENOMEM;
	if (r->kind == REC_K_WAITV)
		keep_words(e);
	return oldest ? run_event(m, oldest) : 0;
}

static int read_all(struct model *m, struct trace_reader *r)
{
	struct trace_record rec;
	const struct event *e;
	int err;

	while ((err = trace_read(r, &rec)) > 0) {
		err = take(m, &rec);
		if (err)
			return err;
	}
	while (!err && (e = order_pop(m->order)))
		err = run_event(m, e);
	return err;
}

/* --- once all is read ------------------------------------------------------------------------ */

static double meta_number(const struct model *m, const char *key)
{
	const char *text = model_meta(m, key);
	double v = text ? strtod(text, NULL) : 0;

	return isfinite(v) && v > 0 ? v : 0;
}

/* What the hooks saw: the rest is the recorder's own bookkeeping. */
static uint64_t count_events(const struct trace_info *info)
{
	uint64_t n = 0;

	for (unsigned kind = REC_K_SWITCH; kind < REC_K_MAX; kind++)
		if (kind != REC_K_LOSS && kind != REC_K_NOTE && kind != REC_K_COST &&
		    kind != REC_K_MARK)
			n = sat_add(n, info->by_kind[kind]);
	return n;
}

static void set_exit_status(struct model *m)
{
	m->rec.exit_status = -1;
	if (m->rec.attached)
		return;
	if (m->mark_end) {
		m->rec.exit_status = m->mark_end <= 256 ? (int)m->mark_end - 1 : -1;
		return;
	}
	for (size_t i = 0; i < m->tasks.n; i++) {
		const struct task *t = &m->tasks.v[i]->t;
		const struct lproc *p = proc_get(m, t->proc);

		if (t->flags & TASK_F_ROOT && p && !p->p.alive) {
			m->rec.exit_status = p->p.exit_status;
			return;
		}
	}
}

/* The window, cut to the wall. */
static void set_wall(struct model *m)
{
	struct recording *rec = &m->rec;

	/* A start after the beginning is none: all times would be 0 that count from it. */
	if (!m->have_start || (m->have_origin && rec->start_ns > m->origin_ns))
		rec->start_ns = m->have_origin ? m->origin_ns : 0;
	rec->stop_ns = m->stop_ns;
	if (rec->wall_end_ns < m->origin_ns)
		rec->wall_end_ns = m->origin_ns;
	if (m->stopping_ns && rec->wall_end_ns > m->stopping_ns && m->stopping_ns >= m->origin_ns)
		rec->wall_end_ns = m->stopping_ns;
	rec->windowed = m->opts.since_ns || rec->wall_end_ns > wanted_end(m);
	rec->whole_ns = rec->wall_end_ns - m->origin_ns;
	rec->wall_start_ns = m->lo_ns < rec->wall_end_ns ? m->lo_ns : rec->wall_end_ns;
	if (rec->wall_end_ns > m->hi_ns)
		rec->wall_end_ns = m->hi_ns;
	rec->since_ns = rec->wall_start_ns > m->origin_ns ? rec->wall_start_ns - m->origin_ns : 0;
}

static void set_recording(struct model *m)
{
	struct recording *rec = &m->rec;
	const char *command = model_meta(m, META_COMMAND);
	double page = meta_number(m, META_PAGE_SIZE);

	rec->attached = command && !strcmp(command, "attach");
	rec->complete = m->info_copy.complete;
	/* Of a file that is being written, or whose writer was killed, the last block may be cut.
	 */
	rec->damaged =
	        m->info_copy.damaged_blocks ||
	        (m->info_copy.truncated ? m->info_copy.complete : m->info_copy.skipped_bytes > 0);
	rec->cpus = meta_number(m, META_CPUS);
	rec->events = count_events(&m->info_copy);
	rec->page_size = page >= 1 && page < 1e9 ? (uint64_t)page : 4096;
}

static int finish(struct model *m)
{
	int err;

	if (!m->have_stop)
		m->stop_ns = m->last_ts;
	err = tasks_finish(m);
	if (err)
		return err;
	set_wall(m);
	set_recording(m);
	futexes_finish(m);
	err = gils_finish(m);
	if (err)
		return err;
	stacks_finish(m);
	pycodes_finish(m);
	err = maps_finish(m);
	if (!err)
		stacks_trim(m);
	if (!err)
		err = referents_finish(m);
	if (!err)
		err = tasks_list(m);
	if (!err)
		err = procs_finish(m);
	if (!err)
		err = quality_finish(m);
	if (!err)
		err = timeline_histogram(&m->running, m->rec.wall_start_ns, m->rec.wall_end_ns);
	set_exit_status(m);
	return err;
}

struct model *model_load(struct trace_reader *r, const struct model_opts *opts, struct err *err)
{
	struct model *m = calloc(1, sizeof(*m));
	int code = -ENOMEM;

	if (!m)
		goto fail;
	if (opts)
		m->opts = *opts;
	m->random = 0x9e3779b97f4a7c15;
	m->strings = strtab_new();
	m->order = order_new();
	if (!m->strings || !m->order)
		goto fail;
	trace_reader_rewind(r);
	code = read_all(m, r);
	if (code)
		goto fail;
	m->info_copy = *trace_reader_info(r);
	code = finish(m);
	if (code)
		goto fail;
	order_free(m->order);
	m->order = NULL;
	return m;
fail:
	if (code == -ENOMEM)
		err_set(err, code, MT_EXIT_FAIL, "not enough memory to load the recording");
	else
		err_set(err, code, MT_EXIT_TRACE_UNREADABLE, "cannot read the trace file: %s",
		        strerror(-code));
	model_free(m);
	return NULL;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	order_free(m->order);
	tasks_release(m);
	procs_release(m);
	futexes_release(m);
	stacks_release(m);
	referents_release(m);
	gil_release(m);
	pycodes_release(m);
	maps_release(m);
	timeline_release(&m->running);
	vec_release(&m->sites);
	idmap_release(&m->site_ids);
	quality_release(m);
	free(m);
}

const struct recording *model_recording(const struct model *m)
{
	return &m->rec;
}

bool model_has_slices(const struct model *m)
{
	return m->opts.flags & MODEL_SLICES;
}

const struct trace_info *model_trace_info(const struct model *m)
{
	return &m->info_copy;
}

const struct model_oddities *model_oddities(const struct model *m)
{
	return &m->odd;
}

const uint64_t *model_running_histogram(const struct model *m, size_t *n)
{
	*n = m->running.histogram.n;
	return m->running.histogram.v;
}
