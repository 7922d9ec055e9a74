/* SPDX-License-Identifier: MIT */
/* What the analyses of waiting found: locks, channels, causes, critical path, deadlocks, GILs. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "report/figures_priv.h"
#include "report/json_priv.h"

static json_t *real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

void j_set_task(struct jout *j, json_t *o, uint32_t task)
{
	const struct task *t = task ? model_task(j->m, task) : NULL;

	j_set(j, o, "tid", j_known(t && !t->placeholder, t ? t->tid : 0));
	j_set(j, o, "start_ns", t && !t->placeholder ? j_time(j, t->start_ns) : json_null());
	j_set(j, o, "comm", j_text(t ? t->comm : NULL));
}

/* The user's frames; the kernel's when there are none. */
json_t *j_stack(struct jout *j, uint32_t ustack, uint32_t kstack)
{
	uint32_t text = stack_name(&j->names, ustack);

	text = text ? text : stack_name(&j->names, kstack);
	return j_frames(j, text, &j->names);
}

static json_t *tid_of(struct jout *j, uint32_t task)
{
	const struct task *t = task ? model_task(j->m, task) : NULL;

	return j_known(t && !t->placeholder, t ? t->tid : 0);
}

/* Ids that begin with 1; 0 is null. */
static json_t *id_of(uint32_t id)
{
	return j_known(id != 0, id);
}

/* --- locks and channels ---------------------------------------------------------------------- */

/* waiters (evidence false) or blockers. */
static json_t *lock_tasks(struct jout *j, const struct lock_task *v, size_t n, bool evidence)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++) {
		json_t *o = json_object();

		j_set_task(j, o, v[i].task);
		j_set(j, o, "waits", j_u64(v[i].waits));
		j_set(j, o, "wait_ns", j_u64(v[i].wait_ns));
		j_set(j, o, "max_wait_ns", j_u64(v[i].max_ns));
		if (evidence)
			j_set(j, o, "evidence", j_text(evidence_key((enum evidence)v[i].evidence)));
		j_add(j, a, o);
	}
	return a;
}

static json_t *lock_sites(struct jout *j, const struct lock *l)
{
	json_t *a = json_array();

	for (size_t i = 0; i < l->sites.n; i++) {
		const struct lock_site *s = &l->sites.v[i];
		json_t *o = json_object();

		j_set(j, o, "frames", j_stack(j, s->ustack, s->kstack));
		j_set(j, o, "waits", j_u64(s->waits));
		j_set(j, o, "wait_ns", j_u64(s->wait_ns));
		j_add(j, a, o);
	}
	return a;
}

/* CPU time that was idle because of it; null when nobody could account for it. */
static json_t *idle_cpu(const uint64_t *by_index, size_t n, uint32_t id)
{
	bool known = id && id <= n;

	return j_known(known, known ? by_index[id - 1] : 0);
}

json_t *json_lock(struct jout *j, const struct lock *l)
{
	json_t *o = json_object();

	j_set(j, o, "id", j_u64(l->id));
	j_set(j, o, "kind", j_text(lock_kind_key((enum lock_kind)l->kind)));
	j_set(j, o, "name", j_text(l->name[0] ? l->name : NULL));
	j_set(j, o, "name_from", j_text(l->name_from));
	j_set(j, o, "scope", j_text(l->shared ? "shared" : "private"));
	j_set(j, o, "python", json_boolean(l->py));
	j_set(j, o, "python_kind", j_text(l->py_kind));
	j_set(j, o, "family", j_known(l->family, l->family));
	j_set(j, o, "address", j_known(l->addr, l->addr));
	j_set(j, o, "waits", j_u64(l->waits));
	j_set(j, o, "wait_ns", j_u64(l->wait_ns));
	j_set(j, o, "max_wait_ns", j_u64(l->max_ns));
	j_set(j, o, "p50_wait_ns", j_known(l->waits, l->p50_ns));
	j_set(j, o, "p99_wait_ns", j_known(l->waits, l->p99_ns));
	j_set(j, o, "held_ns", j_u64(l->held_ns));
	j_set(j, o, "handoff_ns", j_u64(l->handoff_ns));
	j_set(j, o, "ready_ns", j_u64(l->ready_ns));
	j_set(j, o, "idle_cpu_ns", idle_cpu(j->r->lock_idle_ns.v, j->r->lock_idle_ns.n, l->id));
	j_set(j, o, "evidence_known", j_u64(l->owner_known));
	j_set(j, o, "evidence_agrees", j_u64(l->owner_agree));
	j_set(j, o, "evidence_differs", j_u64(l->owner_differ));
	j_set(j, o, "waiters", lock_tasks(j, l->waiters.v, l->waiters.n, false));
	j_set(j, o, "blockers", lock_tasks(j, l->blockers.v, l->blockers.n, true));
	j_set(j, o, "sites", lock_sites(j, l));
	return o;
}

/* What the kernel counted for TCP. */
static json_t *channel_ends(struct jout *j, const struct channel *c)
{
	json_t *a = j_array_or_null(c->ends.n);

	for (size_t i = 0; i < c->ends.n; i++) {
		json_t *o = json_object();

		j_set(j, o, "address", j_text(c->ends.v[i].address));
		j_set(j, o, "bytes_sent", j_u64(c->ends.v[i].sent_bytes));
		j_set(j, o, "bytes_received", j_u64(c->ends.v[i].received_bytes));
		j_add(j, a, o);
	}
	return a;
}

/* Bytes without --messages: of both ends, as far as they are known. */
static void set_flow(struct jout *j, json_t *o, const struct channel *c)
{
	uint64_t sent = 0, received = 0;

	if (model_recording(j->m)->traffic_known || !c->ends.n)
		return;
	for (size_t i = 0; i < c->ends.n; i++) {
		sent = sat_add(sent, c->ends.v[i].sent_bytes);
		received = sat_add(received, c->ends.v[i].received_bytes);
	}
	j_set(j, o, "bytes_sent", j_u64(sent));
	j_set(j, o, "bytes_received", j_u64(received));
}

/* Null when it was not counted (--messages). */
static void set_traffic(struct jout *j, json_t *o, const struct channel_task *t)
{
	bool known = model_recording(j->m)->traffic_known;

	j_set(j, o, "messages_sent", j_known(known, t->sent));
	j_set(j, o, "bytes_sent", j_known(known, t->sent_bytes));
	j_set(j, o, "messages_received", j_known(known, t->received));
	j_set(j, o, "bytes_received", j_known(known, t->received_bytes));
	j_set(j, o, "messages_without_size", j_known(known, t->unsized));
}

static json_t *channel_tasks(struct jout *j, const struct channel *c)
{
	json_t *a;

	if (!model_recording(j->m)->traffic_known)
		return json_null();
	a = json_array();
	for (size_t i = 0; i < c->traffic.n; i++) {
		json_t *o = json_object();

		j_set_task(j, o, c->traffic.v[i].task);
		set_traffic(j, o, &c->traffic.v[i]);
		j_add(j, a, o);
	}
	return a;
}

static json_t *channel(struct jout *j, const struct channel *c)
{
	json_t *o = json_object();

	j_set(j, o, "id", j_u64(c->id));
	j_set(j, o, "kind", j_text(c->what));
	j_set(j, o, "name", j_text(c->name[0] ? c->name : NULL));
	j_set(j, o, "waits", j_u64(c->waits));
	j_set(j, o, "wait_ns", j_u64(c->wait_ns));
	j_set(j, o, "max_wait_ns", j_u64(c->max_ns));
	j_set(j, o, "read_wait_ns", j_u64(c->read_wait_ns));
	j_set(j, o, "write_wait_ns", j_u64(c->write_wait_ns));
	j_set(j, o, "idle_cpu_ns",
	      idle_cpu(j->r->channel_idle_ns.v, j->r->channel_idle_ns.n, c->id));
	set_traffic(j, o, &c->total);
	set_flow(j, o, c);
	j_set(j, o, "bytes_from",
	      j_text(model_recording(j->m)->traffic_known ? "calls"
	             : c->ends.n                          ? "tcp"
	                                                  : NULL));
	j_set(j, o, "ends", channel_ends(j, c));
	j_set(j, o, "tasks", channel_tasks(j, c));
	j_set(j, o, "waiters", lock_tasks(j, c->waiters.v, c->waiters.n, false));
	j_set(j, o, "blockers", lock_tasks(j, c->blockers.v, c->blockers.n, true));
	return o;
}

static void put_channels(struct jout *j)
{
	if (!j->r->w) {
		j_member(j, "channels", json_null());
		return;
	}
	j_array(j, "channels");
	for (size_t i = 0; i < j->r->w->channels.n && !j->err; i++) {
		if (j->r->w->channels.v[i].waits || j->r->w->channels.v[i].traffic.n)
			j_element(j, channel(j, &j->r->w->channels.v[i]));
	}
	j_array_end(j);
}

/* --- the account
 * ---------------------------------------------------------------------------------- */

json_t *json_shares(struct jout *j, bool processes)
{
	const struct share_row *v = processes ? j->r->proc_shares.v : j->r->shares.v;
	size_t n = processes ? j->r->proc_shares.n : j->r->shares.n;
	json_t *a;

	if (!j->r->causes_known)
		return json_null();
	a = json_array();
	for (size_t i = 0; i < n; i++) {
		const struct proc *p = processes ? model_proc(j->m, v[i].task) : NULL;
		json_t *o = json_object();

		if (processes)
			j_set(j, o, "pid", j_known(p, p ? p->pid : 0));
		else
			j_set_task(j, o, v[i].task);
		j_set(j, o, "height_ns", j_u64(v[i].height_ns));
		j_set(j, o, "critical_ns", j_u64(v[i].critical_ns));
		j_add(j, a, o);
	}
	return a;
}

/* id: of the lock or channel; of a serial section the task, by its tid. */
static json_t *cause(struct jout *j, const struct cause_row *c)
{
	double whole = (double)j->r->capacity_ns;
	bool is_task = c->cause == CAUSE_SERIAL || c->cause == CAUSE_CHILD;
	json_t *o = json_object();

	j_set(j, o, "cause", j_text(cause_key((enum cause)c->cause)));
	j_set(j, o, "id", is_task ? tid_of(j, c->id) : id_of(c->id));
	j_set(j, o, "name", j_text(c->name[0] ? c->name : NULL));
	j_set(j, o, "ns", j_u64(c->ns));
	j_set(j, o, "ratio", whole > 0 ? real((double)c->ns / whole) : json_null());
	j_set(j, o, "uncertainty_ratio", real(c->uncertainty_ratio));
	j_set(j, o, "tid", tid_of(j, c->task));
	j_set(j, o, "frames", j_stack(j, c->ustack, c->kstack));
	return o;
}

static json_t *sections(struct jout *j)
{
	json_t *a = json_array();

	for (size_t i = 0; i < j->r->serial.n; i++) {
		const struct serial_row *s = &j->r->serial.v[i];
		json_t *o = json_object();

		j_set_task(j, o, s->task);
		j_set(j, o, "ns", j_u64(s->ns));
		j_set(j, o, "count", j_u64(s->count));
		j_set(j, o, "frames", j_stack(j, s->ustack, s->kstack));
		j_add(j, a, o);
	}
	return a;
}

/* It may be read alone: what is doubtful about it is part of it. (The text report says so before.)
 */
static json_t *headline(const struct jout *j)
{
	const struct recording *rec = model_recording(j->m);
	size_t n = strlen(j->r->headline);
	char share[16], text[sizeof(j->r->headline) + 64];

	if (!n)
		return json_null();
	if (!rec->lost)
		return j_text(j->r->headline);
	n -= j->r->headline[n - 1] == '.';
	snprintf(text, sizeof(text), "%.*s (%s of the events were lost).", (int)n, j->r->headline,
	         fmt_share(share, sizeof(share), rec->lost, sat_add(rec->lost, rec->events)));
	return j_text(text);
}

json_t *json_serialization(struct jout *j)
{
	const struct report *r = j->r;
	json_t *o = json_object(), *breakdown = r->causes_known ? json_array() : json_null();

	for (size_t i = 0; i < r->breakdown.n && r->causes_known; i++)
		j_add(j, breakdown, cause(j, &r->breakdown.v[i]));
	j_set(j, o, "verdict", j_text(verdict_key(r->verdict)));
	j_set(j, o, "headline", headline(j));
	j_set(j, o, "next_step", j_text(r->next_step[0] ? r->next_step : NULL));
	j_set(j, o, "capacity_ns", j_known(r->causes_known, r->capacity_ns));
	j_set(j, o, "breakdown", breakdown);
	j_set(j, o, "samples", j_known(r->samples, r->samples));
	j_set(j, o, "spinning_samples", j_known(r->samples, r->spinning));
	j_set(j, o, "sections", r->causes_known ? sections(j) : json_null());
	return o;
}

/* --- path, deadlocks
 * -------------------------------------------------------------------------------- */

static json_t *step(struct jout *j, const struct path_row *p)
{
	const char *state = p->state == 'R' ? "running" : p->state == 'Q' ? "runnable" : "blocked";
	json_t *o = json_object();

	j_set(j, o, "start_ns", j_time(j, p->start_ns));
	j_set(j, o, "end_ns", j_time(j, p->end_ns));
	j_set(j, o, "tid", tid_of(j, p->task));
	j_set(j, o, "state", j_text(state));
	j_set(j, o, "cause", j_text(cause_key((enum cause)p->cause)));
	j_set(j, o, "lock", id_of(p->lock));
	j_set(j, o, "channel", id_of(p->channel));
	return o;
}

static void put_path(struct jout *j)
{
	if (!j->r->path.n) {
		j_member(j, "critical_path", json_null());
		return;
	}
	j_array(j, "critical_path");
	for (size_t i = 0; i < j->r->path.n && !j->err; i++)
		j_element(j, step(j, &j->r->path.v[i]));
	j_array_end(j);
}

static json_t *deadlock(struct jout *j, const struct deadlock *d)
{
	json_t *o = json_object(), *tasks = json_array();

	for (size_t i = 0; i < d->edges.n; i++) {
		const struct deadlock_edge *e = &d->edges.v[i];
		json_t *t = json_object();

		j_set_task(j, t, e->task);
		j_set(j, t, "holds", id_of(e->holds));
		j_set(j, t, "waits_for", id_of(e->waits_for));
		j_set(j, t, "since_ns", j_time(j, e->since_ns));
		j_set(j, t, "since_before", json_boolean(e->before));
		j_set(j, t, "evidence", j_text(evidence_key((enum evidence)e->evidence)));
		j_set(j, t, "site", j_stack(j, e->ustack, e->kstack));
		j_add(j, tasks, t);
	}
	j_set(j, o, "tasks", tasks);
	return o;
}

static void put_deadlocks(struct jout *j)
{
	if (!j->r->w) {
		j_member(j, "deadlocks", json_null());
		return;
	}
	j_array(j, "deadlocks");
	for (size_t i = 0; i < j->r->deadlocks.n && !j->err; i++)
		j_element(j, deadlock(j, &j->r->deadlocks.v[i]));
	j_array_end(j);
}

static json_t *graph_row(struct jout *j, const struct graph_row *g)
{
	static const char *const kinds[] = {
#define X(NAME, key) key,
	        WAIT_KINDS(X)
#undef X
	};
	bool blocked = g->state == 'B';
	json_t *o = json_object();

	j_set_task(j, o, g->task);
	j_set(j, o, "state",
	      j_text(g->state == 'R' ? "running"
	             : blocked       ? "blocked"
	                             : "runnable"));
	j_set(j, o, "kind", j_text(blocked && g->kind < ARRAY_LEN(kinds) ? kinds[g->kind] : NULL));
	j_set(j, o, "lock", id_of(g->lock));
	j_set(j, o, "channel", id_of(g->channel));
	j_set(j, o, "waits_for", tid_of(j, g->waits_for));
	j_set(j, o, "evidence",
	      j_text(g->waits_for ? evidence_key((enum evidence)g->evidence) : NULL));
	j_set(j, o, "since_ns", j_time(j, g->since_ns));
	j_set(j, o, "since_before", json_boolean(g->before));
	j_set(j, o, "for_good", json_boolean(g->for_good));
	j_set(j, o, "frames", j_stack(j, g->ustack, g->kstack));
	return o;
}

/* Who waits for whom when recording ends: tasks that live on. */
static void put_graph(struct jout *j)
{
	if (!j->r->w) {
		j_member(j, "wait_graph", json_null());
		return;
	}
	j_array(j, "wait_graph");
	for (size_t i = 0; i < j->r->graph.n && !j->err; i++)
		j_element(j, graph_row(j, &j->r->graph.v[i]));
	j_array_end(j);
}

static json_t *what_if(struct jout *j)
{
	json_t *a;

	if (!j->r->what_if.n && !j->r->what_if_known)
		return json_null();
	a = json_array();
	for (size_t i = 0; i < j->r->what_if.n; i++) {
		const struct what_if_row *w = &j->r->what_if.v[i];
		json_t *o = json_object();

		j_set(j, o, "change", j_text(w->change));
		j_set(j, o, "cause", j_text(cause_key((enum cause)w->cause)));
		j_set(j, o, "id", id_of(w->id));
		j_set(j, o, "speedup", real(w->speedup));
		j_set(j, o, "low", real(w->low));
		j_set(j, o, "high", real(w->high));
		j_set(j, o, "wall_ns", j_u64(w->wall_ns));
		j_set(j, o, "wall_low_ns", j_u64(w->wall_low_ns));
		j_set(j, o, "wall_high_ns", j_u64(w->wall_high_ns));
		j_set(j, o, "free_ns", j_known(w->free_ns, w->free_ns));
		j_set(j, o, "processes", j_known(w->processes, w->processes));
		j_set(j, o, "memory_bytes",
		      j_known(w->processes && w->memory_bytes != WHAT_IF_UNKNOWN, w->memory_bytes));
		j_set(j, o, "spawn_ns",
		      j_known(w->processes && w->spawn_ns != WHAT_IF_UNKNOWN, w->spawn_ns));
		j_add(j, a, o);
	}
	return a;
}

/* --- GILs, watched tasks
 * --------------------------------------------------------------------------- */

static void gil_time(struct jout *j, json_t *o, const struct gil_time *t)
{
	j_set(j, o, "hold_ns", j_u64(t->hold_ns));
	j_set(j, o, "hold_uncertainty_ns", j_u64(t->doubt_ns));
	j_set(j, o, "cpu_ns", j_u64(t->cpu_ns));
	j_set(j, o, "cpu_hold_ns", j_known(t->samples, t->cpu_hold_ns));
	j_set(j, o, "samples", j_u64(t->samples));
}

static json_t *gil_row(struct jout *j, const struct gil_row *g)
{
	const struct proc *p = model_proc(j->m, g->proc);
	json_t *o = json_object(), *tasks = json_array();

	j_set(j, o, "pid", j_known(p, p ? p->pid : 0));
	gil_time(j, o, &g->time);
	j_set(j, o, "wait_ns", j_u64(g->wait_ns));
	j_set(j, o, "switches", j_u64(g->switches));
	for (size_t i = 0; i < g->tasks.n; i++) {
		json_t *t = json_object();

		j_set_task(j, t, g->tasks.v[i].task);
		gil_time(j, t, &g->tasks.v[i].time);
		j_set(j, t, "wait_ns", j_u64(g->tasks.v[i].wait_ns));
		j_set(j, t, "waits", j_u64(g->tasks.v[i].waits));
		j_add(j, tasks, t);
	}
	j_set(j, o, "tasks", tasks);
	return o;
}

static json_t *gils(struct jout *j)
{
	json_t *a;

	if (!j->r->gils.n)
		return json_null();
	a = json_array();
	for (size_t i = 0; i < j->r->gils.n; i++)
		j_add(j, a, gil_row(j, &j->r->gils.v[i]));
	return a;
}

static json_t *watch_row(struct jout *j, const struct watch_row *w)
{
	json_t *o = json_object(), *by = json_array();

	j_set_task(j, o, w->task);
	j_set(j, o, "waits", j_u64(w->waits));
	j_set(j, o, "p50_ns", j_known(w->waits, w->p50_ns));
	j_set(j, o, "p99_ns", j_known(w->waits, w->p99_ns));
	j_set(j, o, "max_ns", j_known(w->waits, w->max_ns));
	j_set(j, o, "at_work_ns", j_u64(w->at_work_ns));
	for (size_t i = 0; i < w->by.n; i++) {
		json_t *b = json_object();

		j_set(j, b, "tid", tid_of(j, w->by.v[i].task));
		j_set(j, b, "cause", j_text(cause_key((enum cause)w->by.v[i].cause)));
		j_set(j, b, "ns", j_u64(w->by.v[i].ns));
		j_add(j, by, b);
	}
	j_set(j, o, "by", by);
	return o;
}

static json_t *watch(struct jout *j)
{
	json_t *a;

	if (!j->r->opts.watch)
		return json_null();
	a = json_array();
	for (size_t i = 0; i < j->r->watch.n; i++)
		j_add(j, a, watch_row(j, &j->r->watch.v[i]));
	return a;
}

void json_causes(struct jout *j)
{
	put_channels(j);
	put_path(j);
	put_deadlocks(j);
	put_graph(j);
	j_member(j, "what_if", what_if(j));
	j_member(j, "replay_ns", j_known(j->r->replay_ns, j->r->replay_ns));
	j_member(j, "others_cpu_ns", j_known(j->r->others_ns != WHAT_IF_UNKNOWN, j->r->others_ns));
	j_member(j, "recorder_cpu_ns",
	         j_known(j->r->recorder_ns != WHAT_IF_UNKNOWN, j->r->recorder_ns));
	j_member(j, "gil", gils(j));
	j_member(j, "watch", watch(j));
}
