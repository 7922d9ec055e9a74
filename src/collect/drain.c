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

#include "drain_priv.h"

#define SITES_MAX 65536 /* remembered at a time; beyond that they are defined again */

void drain_check(struct drain *d, int rc)
{
	if (rc && !d->error)
		d->error = rc;
}

void drain_put(struct drain *d, enum rec_kind kind, uint64_t ts, const void *rec)
{
	drain_check(d, trace_write(d->w, kind, ts, rec));
}

uint32_t drain_string(struct drain *d, const char *s)
{
	size_t n = strlen(s);
	bool added = false;
	uint32_t id = n ? strtab_add(d->strings, s, n, &added) : 0;

	if (id && added) {
		struct rec_string r = {.id = id, .text = {(const uint8_t *)s, n}};

		drain_put(d, REC_K_STRING, 0, &r);
	}
	return id;
}

/* A fixed array that need not end in a NUL. */
uint32_t drain_comm(struct drain *d, const char comm[MT_COMM_LEN])
{
	char s[MT_COMM_LEN + 1];

	memcpy(s, comm, MT_COMM_LEN);
	s[MT_COMM_LEN] = 0;
	return drain_string(d, s);
}

uint32_t drain_site(struct drain *d, int32_t nr, uint32_t arch, const struct mt_args *a)
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
		drain_put(d, REC_K_SITE, 0, &r);
	}
	return (uint32_t)*id;
}

/* --- records of the rings ----------------------------------------------------------------- */

#define COPY_GIL(r, g)                           \
	do {                                     \
		(r).gil = (g).id;                \
		(r).gil_state = (g).locked & 1;  \
		(r).gil_holder = (g).holder;     \
		(r).gil_switches = (g).switches; \
	} while (0)

static void on_switch(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_switch *e = (const void *)h;
	struct live_task *t = e->flags & SW_F_FUTEX ? drain_task(d, h->task) : NULL;
	struct mt_args args = e->args;
	struct rec_switch r;

	if (t) {
		t->wait_addr = e->addr;
		t->wait_park = e->park;
		drain_check(d, ident_wait(d->ident, e, t->space, t->tgid));
	}
	if (e->flags & SW_F_FUTEX)
		args.a2 = 0; /* the expected value: in `word`, and different in every wait */
	r = (struct rec_switch){.cpu = h->cpu,
	                        .prev = h->task,
	                        .next = e->next,
	                        .state = e->state,
	                        .flags = e->flags,
	                        .site = drain_site(d, e->nr, e->arch, &args),
	                        .word = e->word,
	                        .owner = e->owner,
	                        .exec = e->exec_ns,
	                        .delay = e->delay_ns,
	                        .ustack = drain_stack_id(d, e->ustack),
	                        .kstack = drain_stack_id(d, e->kstack),
	                        .addr = e->addr,
	                        .park = e->park,
	                        .file = e->file};
	COPY_GIL(r, e->gil);
	drain_put(d, REC_K_SWITCH, h->ts, &r);
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
	drain_put(d, REC_K_SWITCH, h->ts, &r);
}

static void on_switch_in(struct drain *d, const struct mt_hdr *h)
{
	struct rec_switch r = {.cpu = h->cpu, .next = h->task};

	drain_put(d, REC_K_SWITCH, h->ts, &r);
}

static void put_waking(struct drain *d, const struct mt_hdr *h, const struct mt_waker *w,
                       uint32_t tid, uint32_t comm)
{
	struct rec_waking r = {.cpu = h->cpu,
	                       .task = h->task,
	                       .waker = w->waker,
	                       .flags = w->flags,
	                       .site = drain_site(d, w->nr, w->arch, &w->args),
	                       .waker_tid = tid,
	                       .comm = comm,
	                       .file = w->file,
	                       .ustack = drain_stack_id(d, w->ustack),
	                       .kstack = drain_stack_id(d, w->kstack)};

	COPY_GIL(r, w->gil);
	drain_put(d, REC_K_WAKING, h->ts, &r);
}

static void on_waking(struct drain *d, const struct mt_hdr *h)
{
	put_waking(d, h, &((const struct mt_waking *)h)->w, 0, 0);
}

static void on_waking_ext(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_waking_ext *e = (const void *)h;

	put_waking(d, h, &e->w, e->waker_tid, drain_comm(d, e->comm));
}

static void on_sample(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_sample *e = (const void *)h;
	struct rec_sample r = {.cpu = h->cpu,
	                       .task = h->task,
	                       .ustack = drain_stack_id(d, e->ustack),
	                       .kstack = drain_stack_id(d, e->kstack),
	                       .gil = e->gil,
	                       .gil_state = e->gil_state};

	drain_put(d, REC_K_SAMPLE, h->ts, &r);
}

static void on_touch(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_touch *e = (const void *)h;
	struct rec_touch r = {.task = h->task,
	                      .what = e->what,
	                      .bytes = e->bytes,
	                      .ustack = drain_stack_id(d, e->ustack)};

	drain_put(d, REC_K_TOUCH, h->ts, &r);
}

static void on_want(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_want *e = (const void *)h;
	const struct live_task *t = drain_task(d, h->task);

	if (t)
		tables_want(d->tables, e, t->tgid);
}

static void on_waitv(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_waitv *e = (const void *)h;
	struct rec_waitv r = {
	        .task = h->task,
	        .addrs = {(const uint64_t *)e->addrs, e->n <= MT_MAX_WAITV ? e->n : 0}};

	const struct live_task *t = drain_task(d, h->task);

	for (uint64_t i = 1; t && i < r.addrs.n; i++)
		drain_check(d, ident_word(d->ident, t->space, e->addrs[i]));
	drain_put(d, REC_K_WAITV, h->ts, &r);
}

static void on_gil(struct drain *d, const struct mt_hdr *h)
{
	int rc = gils_found(&d->gils, d->w, d->pyspaces, (const struct mt_gil_ev *)h);

	drain_check(d, rc);
}

static void on_pythread(struct drain *d, const struct mt_hdr *h)
{
	struct rec_pythread r = {.task = h->task,
	                         .tstate = ((const struct mt_pythread *)h)->tstate};

	drain_put(d, REC_K_PYTHREAD, h->ts, &r);
}

static void on_futex_key(struct drain *d, const struct mt_hdr *h)
{
	const struct live_task *t = drain_task(d, h->task);

	drain_check(d, ident_futex_key(d->ident, (const void *)h, t ? t->tgid : 0));
}

static void on_file(struct drain *d, const struct mt_hdr *h)
{
	drain_check(d, ident_file(d->ident, (const void *)h));
}

static void on_flow(struct drain *d, const struct mt_hdr *h)
{
	const struct mt_flow *e = (const void *)h;
	struct rec_flow r = {.inode = e->inode,
	                     .sent_bytes = e->sent_bytes,
	                     .received_bytes = e->received_bytes};

	drain_put(d, REC_K_FLOW, h->ts, &r);
}

static const struct {
	void (*run)(struct drain *d, const struct mt_hdr *h);
	uint32_t size; /* at least */
} handlers[MT_EV_MAX] = {
        [MT_EV_SWITCH] = {on_switch, sizeof(struct mt_switch)},
        [MT_EV_SWITCH_IN] = {on_switch_in, sizeof(struct mt_switch_in)},
        [MT_EV_WAKING] = {on_waking, sizeof(struct mt_waking)},
        [MT_EV_WAKING_EXT] = {on_waking_ext, sizeof(struct mt_waking_ext)},
        [MT_EV_TASK] = {drain_on_task, sizeof(struct mt_task)},
        [MT_EV_BASE] = {drain_on_base, sizeof(struct mt_counters)},
        [MT_EV_END] = {drain_on_end, sizeof(struct mt_counters)},
        [MT_EV_EXIT] = {drain_on_exit, sizeof(struct mt_exit_ev)},
        [MT_EV_EXEC] = {drain_on_exec, sizeof(struct mt_exec)},
        [MT_EV_RENAME] = {drain_on_rename, sizeof(struct mt_rename)},
        [MT_EV_RSS] = {drain_on_rss, sizeof(struct mt_rss)},
        [MT_EV_SAMPLE] = {on_sample, sizeof(struct mt_sample)},
        [MT_EV_STACK] = {drain_on_stack, offsetof(struct mt_stack, frames)},
        [MT_EV_COPY] = {drain_on_copy, offsetof(struct mt_copy, data)},
        [MT_EV_PYCODE] = {drain_on_pycode, offsetof(struct mt_pycode, table)},
        [MT_EV_WAITV] = {on_waitv, sizeof(struct mt_waitv)},
        [MT_EV_WANT] = {on_want, sizeof(struct mt_want)},
        [MT_EV_GIL] = {on_gil, sizeof(struct mt_gil_ev)},
        [MT_EV_PYTHREAD] = {on_pythread, sizeof(struct mt_pythread)},
        [MT_EV_TOUCH] = {on_touch, sizeof(struct mt_touch)},
        [MT_EV_PREEMPT] = {on_preempt, sizeof(struct mt_preempt)},
        [MT_EV_FUTEX_KEY] = {on_futex_key, sizeof(struct mt_futex_key)},
        [MT_EV_FLOW] = {on_flow, sizeof(struct mt_flow)},
        [MT_EV_FILE] = {on_file, sizeof(struct mt_file)},
};

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
			drain_map(d, &m);
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
		drain_map(d, &m);
		have_map = perfmaps_next(maps, until_ts, &m);
	}
	if (early || until_ts == UINT64_MAX)
		drain_early_stacks(d, until_ts == UINT64_MAX ? d->early_stacks.n : early);
	drain_late_stacks(d, until_ts == UINT64_MAX);
	return d->error;
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
	for (size_t i = 0; i < d->attached.n; i++)
		free(d->attached.v[i]);
	vec_release(&d->attached);
	late_free(d->late);
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

void drain_tables(struct drain *d, struct tables *t)
{
	if (!d)
		return;
	d->tables = t;
	late_free(d->late);
	d->late = t ? late_new(t) : NULL;
}

void drain_remote(struct drain *d, struct remote *r)
{
	d->remote = r;
}

uint64_t drain_written(const struct drain *d)
{
	return d->written;
}

struct ident *drain_ident(struct drain *d)
{
	return d->ident;
}
