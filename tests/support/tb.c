/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "tb_priv.h"

/* --- tasks ----------------------------------------------------------------------------------- */

struct btask *tb_get(struct tb *tb, uint32_t id)
{
	CHECK(id < tb->tasks.n && tb->tasks.v[id].known);
	return &tb->tasks.v[id];
}

static struct btask *begin(struct tb *tb, uint32_t id, uint32_t proc, uint32_t space)
{
	struct btask fresh = {0}, *b;

	CHECK(id && id < 10000000);
	while (tb->tasks.n <= id)
		CHECK(!vec_push(&tb->tasks, fresh));
	b = &tb->tasks.v[id];
	CHECK(!b->known);
	b->known = true;
	b->id = id;
	b->proc = proc;
	b->space = space;
	b->c.task = id;
	return b;
}

static void define(struct tb *tb, const struct btask *b, uint32_t parent, uint64_t flags,
                   const char *comm, uint64_t t, const struct rec_task *more)
{
	struct rec_task r = {
	        .id = b->id,
	        .parent = parent,
	        .proc = b->proc,
	        .space = b->space,
	        .tid = 1000 + b->id,
	        .tgid = 1000 + b->proc,
	        .ns_tid = b->id,
	        .ns_tgid = b->proc,
	        .ppid = parent ? 1000 + parent : 1,
	        .flags = flags,
	        .comm = tb_string(tb, comm),
	};

	if (more) {
		r.site = more->site;
		r.state = more->state;
	}
	tb_add(tb, REC_K_TASK, RANK_DEF, tb_absolute(t))->task = r;
}

static void space(struct tb *tb, uint32_t id, uint32_t parent, uint64_t t)
{
	tb_add(tb, REC_K_SPACE, RANK_DEF, tb_absolute(t))->space =
	        (struct rec_space){.id = id, .parent = parent};
}

void tb_task(struct tb *tb, uint32_t id, const char *comm)
{
	struct btask *b = begin(tb, id, id, id);
	bool root = !tb->have_root;

	tb->have_root = true;
	space(tb, id, 0, 0);
	define(tb, b, 0, root ? TASK_F_ROOT : 0, comm, 0, NULL);
	if (root)
		tb_add(tb, REC_K_BASE, RANK_FIRST, tb_absolute(0))->base.task = id;
	b->end = b->queued = 0;
}

void tb_thread(struct tb *tb, uint32_t id, uint32_t proc, const char *comm, uint64_t t)
{
	uint32_t shared = tb_get(tb, proc)->space;
	struct btask *b = begin(tb, id, proc, shared);

	define(tb, b, proc, 0, comm, t, NULL);
	b->end = b->queued = t;
}

void tb_fork(struct tb *tb, uint32_t id, uint32_t parent, const char *comm, uint64_t t)
{
	uint32_t from = tb_get(tb, parent)->space;
	struct btask *b = begin(tb, id, id, id);

	space(tb, id, from, t);
	define(tb, b, parent, 0, comm, t, NULL);
	b->end = b->queued = t;
}

void tb_vfork(struct tb *tb, uint32_t id, uint32_t parent, const char *comm, uint64_t t)
{
	uint32_t shared = tb_get(tb, parent)->space;
	struct btask *b = begin(tb, id, id, shared);

	define(tb, b, parent, 0, comm, t, NULL);
	b->end = b->queued = t;
}

void tb_attached(struct tb *tb, uint32_t id, uint32_t proc, const char *comm, uint64_t flags,
                 uint64_t state, int32_t nr, uint64_t a0, uint64_t a1)
{
	struct rec_task more = {
	        .state = state,
	        .site = nr >= 0 ? tb_site(tb, nr, a0, a1, 0, FD_UNKNOWN) : 0,
	};
	struct btask *b = begin(tb, id, proc, proc);

	if (id == proc)
		space(tb, id, 0, 0);
	define(tb, b, 0, flags | TASK_F_ATTACHED, comm, 0, &more);
	b->base = (struct rec_base){
	        .task = id,
	        .voluntary = 1000,
	        .involuntary = 2000,
	        .run = 3000,
	        .runnable = 4000,
	        .minflt = 5000,
	        .majflt = 6000,
	};
	tb_add(tb, REC_K_BASE, RANK_FIRST, tb_absolute(0))->base = b->base;
	b->attached = true;
	b->on = flags & TASK_F_ON_CPU;
	b->queued = state ? TB_NEVER : 0;
}

void tb_exec(struct tb *tb, uint32_t id, uint64_t t, const char *file, const char *comm)
{
	struct btask *b = tb_get(tb, id);
	struct rec_exec r = {.task = id, .tid = 1000 + b->proc};

	r.comm = tb_string(tb, comm);
	r.file = tb_string(tb, file);
	r.space = b->space = ++tb->n_spaces;
	space(tb, b->space, 0, t);
	tb_add(tb, REC_K_EXEC, RANK_FIRST, tb_absolute(t))->exec = r;
}

void tb_rename(struct tb *tb, uint32_t id, uint64_t t, const char *comm)
{
	struct rec_rename r = {.task = id, .comm = tb_string(tb, comm)};

	tb_add(tb, REC_K_RENAME, RANK_FIRST, tb_absolute(t))->rename = r;
}

/* --- on and off the CPU ---------------------------------------------------------------------- */

struct tb *tb_program(unsigned n, const char *main, const char *others)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, main);
	for (uint32_t id = 2; id <= n; id++) {
		tb_thread(tb, id, 1, others, 0);
		tb_on(tb, id, id - 1);
	}
	return tb;
}

void tb_on(struct tb *tb, uint32_t id, uint32_t cpu)
{
	tb_get(tb, id)->cpu = cpu;
}

void tb_stacks(struct tb *tb, uint32_t id, uint32_t ustack, uint32_t kstack)
{
	tb_get(tb, id)->ustack = ustack;
	tb_get(tb, id)->kstack = kstack;
}

void tb_note_time(struct tb *tb, uint64_t t)
{
	if (t > tb->last)
		tb->last = t;
}

void tb_run(struct tb *tb, uint32_t id, uint64_t t0, uint64_t t1)
{
	struct btask *b = tb_get(tb, id);
	struct item *item;

	CHECK(!b->dead && t1 >= t0 && t0 >= b->end);
	tb_note_time(tb, t1);
	if (b->on) {
		CHECK(t0 == b->end);
		b->end = t1;
		return;
	}
	CHECK(b->queued <= t0);
	item = tb_add(tb, REC_K_SWITCH, RANK_IN, tb_absolute(t0));
	item->cpu = b->cpu;
	item->sw = (struct rec_switch){.cpu = b->cpu, .next = id};
	b->delay = t0 - b->queued;
	b->on = true;
	b->in = t0;
	b->end = t1;
}

void tb_steal(struct tb *tb, uint32_t id, uint64_t ns)
{
	struct btask *b = tb_get(tb, id);

	CHECK(b->on);
	b->steal += ns;
}

void tb_count_run(struct btask *b, uint64_t *exec)
{
	uint64_t on = b->end - b->in;

	CHECK(b->steal <= on);
	*exec = on - b->steal;
	b->c.run += *exec;
	b->c.runnable += b->delay;
}

static struct btask *leave(struct tb *tb, uint32_t id, uint64_t flags, uint64_t state,
                           uint32_t site, uint64_t addr, uint64_t word)
{
	struct btask *b = tb_get(tb, id);
	struct item *item = tb_add(tb, REC_K_SWITCH, RANK_OUT, tb_absolute(b->end));

	CHECK(b->on);
	item->cpu = b->cpu;
	item->sw = (struct rec_switch){
	        .cpu = b->cpu,
	        .prev = id,
	        .state = state,
	        .flags = flags | (addr ? SW_F_FUTEX | SW_F_WORD : 0),
	        .site = site,
	        .word = word,
	        .delay = b->delay,
	        .ustack = b->ustack,
	        .kstack = b->kstack,
	        .addr = addr,
	        .owner = addr ? b->owner : 0,
	        .park = addr ? b->park : 0,
	        .file = addr ? 0 : b->file,
	        .gil = b->gil.id,
	        .gil_state = b->gil.state,
	        .gil_holder = b->gil.holder,
	        .gil_switches = b->gil.switches,
	};
	if (addr && b->owner)
		item->sw.flags |= SW_F_OWNER;
	tb_count_run(b, &item->sw.exec);
	b->c.voluntary += !!(flags & SW_F_VOLUNTARY);
	b->c.involuntary += !(flags & SW_F_VOLUNTARY);
	b->on = false;
	b->steal = b->delay = 0;
	return b;
}

static void wake(struct tb *tb, struct btask *b, uint64_t t, uint32_t waker)
{
	struct item *item;

	b->queued = t;
	if (t == TB_NEVER)
		return;
	CHECK(t >= b->end);
	tb_note_time(tb, t);
	item = tb_add(tb, REC_K_WAKING, RANK_WAKE, tb_absolute(t));
	item->cpu = waker ? tb_get(tb, waker)->cpu : b->cpu;
	item->wk = (struct rec_waking){
	        .cpu = item->cpu,
	        .task = b->id,
	        .waker = waker,
	        .flags = waker ? WK_F_SYSCALL : WK_F_IRQ,
	};
	if (waker) {
		const struct btask *by = tb_get(tb, waker);

		item->wk.flags |= by->wake_flags;
		item->wk.site = by->wake_site;
		item->wk.file = by->wake_file;
		item->wk.gil = by->gil.id;
		item->wk.gil_state = by->gil.state;
		item->wk.gil_holder = by->gil.holder;
		item->wk.gil_switches = by->gil.switches;
	}
}

void tb_preempt(struct tb *tb, uint32_t id)
{
	struct btask *b = leave(tb, id, SW_F_RUNNABLE, 0, 0, 0, 0);

	b->queued = b->end;
}

void tb_futex_wait(struct tb *tb, uint32_t id, uint64_t addr, uint64_t t_wake, uint32_t waker)
{
	uint32_t site = tb_site(tb, TB_NR_futex, addr, 128 | 9, 2, FD_UNKNOWN);

	wake(tb, leave(tb, id, SW_F_VOLUNTARY | SW_F_SYSCALL, 1, site, addr, 2), t_wake, waker);
}

void tb_futex(struct tb *tb, uint32_t id, uint64_t addr, uint32_t op, uint32_t val,
              uint64_t timeout, uint64_t t_wake, uint32_t waker)
{
	struct rec_site r = {
	        .id = tb_site(tb, TB_NR_futex, addr, op, val, FD_UNKNOWN),
	        .nr_plus1 = TB_NR_futex + 1,
	        .a0 = addr,
	        .a1 = op,
	        .a2 = val,
	        .a3 = timeout,
	};

	/* tb_site() knows three arguments. */
	tb->items.v[tb->items.n - 1].site = r;
	wake(tb, leave(tb, id, SW_F_VOLUNTARY | SW_F_SYSCALL, 1, (uint32_t)r.id, addr, val), t_wake,
	     waker);
}

void tb_join(struct tb *tb, uint32_t id, uint32_t other, uint64_t t_wake)
{
	uint64_t addr = 0x7f0000000000 + 4096ull * other;
	uint32_t site = tb_site(tb, TB_NR_futex, addr, 256 | 9, 0, FD_UNKNOWN);

	wake(tb, leave(tb, id, SW_F_VOLUNTARY | SW_F_SYSCALL, 1, site, addr, other), t_wake, other);
}

void tb_call_with(struct tb *tb, uint32_t id, int32_t nr, uint64_t a0, uint64_t a1, enum fd_kind fd,
                  uint64_t t_wake, uint32_t waker)
{
	uint32_t site = tb_site(tb, nr, a0, a1, 0, fd);

	wake(tb,
	     leave(tb, id, SW_F_VOLUNTARY | SW_F_SYSCALL | tb_get(tb, id)->call_flags, 1, site, 0,
	           0),
	     t_wake, waker);
}

void tb_call(struct tb *tb, uint32_t id, int32_t nr, uint64_t a0, enum fd_kind fd, uint64_t t_wake,
             uint32_t waker)
{
	tb_call_with(tb, id, nr, a0, 0, fd, t_wake, waker);
}

void tb_iowait(struct tb *tb, uint32_t id, bool on)
{
	tb_get(tb, id)->call_flags = on ? SW_F_IOWAIT : 0;
}

void tb_block(struct tb *tb, uint32_t id, uint64_t flags, uint64_t state, uint64_t t_wake,
              uint32_t waker)
{
	wake(tb, leave(tb, id, flags | SW_F_VOLUNTARY, state, 0, 0, 0), t_wake, waker);
}

void tb_faults(struct tb *tb, uint32_t id, uint64_t minor, uint64_t major, uint64_t first_write,
               uint64_t wp)
{
	struct btask *b = tb_get(tb, id);

	b->c.minflt += minor;
	b->c.majflt += major;
	b->c.first_write += first_write;
	b->c.wp += wp;
	b->c.touched += first_write;
	b->c.cow += wp;
}

void tb_end_task(struct tb *tb, struct btask *b, uint64_t t, uint64_t flags)
{
	struct rec_end r = b->c;

	r.flags = flags | CNT_F_PAGES;
	r.voluntary += b->base.voluntary;
	r.involuntary += b->base.involuntary;
	r.run += b->base.run;
	r.runnable += b->base.runnable;
	r.minflt += b->base.minflt;
	r.majflt += b->base.majflt;
	if (!b->no_end)
		tb_add(tb, REC_K_END, RANK_LAST, tb_absolute(t))->end = r;
	b->dead = true;
}

void tb_exit(struct tb *tb, uint32_t id, uint64_t wait_status)
{
	struct btask *b = tb_get(tb, id);
	struct rec_exit r = {.task = id, .code = wait_status, .last = 1};

	for (size_t i = 0; i < tb->tasks.n; i++)
		if (tb->tasks.v[i].known && tb->tasks.v[i].proc == b->proc && i != id &&
		    !tb->tasks.v[i].dead)
			r.last = 0;
	tb_add(tb, REC_K_EXIT, RANK_FIRST, tb_absolute(b->end))->exit = r;
	if (id == 1)
		tb->exit_status = wait_status;
	leave(tb, id, SW_F_VOLUNTARY | SW_F_DEAD, 0x80, 0, 0, 0);
	tb_end_task(tb, b, b->end, 0);
}

void tb_rss(struct tb *tb, uint32_t id, uint64_t t, uint64_t anon_bytes, uint64_t file_bytes)
{
	tb_add(tb, REC_K_RSS, RANK_LAST, tb_absolute(t))->rss =
	        (struct rec_rss){.task = id, .anon_bytes = anon_bytes, .file_bytes = file_bytes};
}

void tb_footprint(struct tb *tb, uint32_t id, uint64_t t, uint64_t rss_bytes, uint64_t pss_bytes,
                  uint64_t uss_bytes)
{
	tb_add(tb, REC_K_FOOTPRINT, RANK_LAST, tb_absolute(t))->footprint = (struct rec_footprint){
	        .task = id,
	        .rss_bytes = rss_bytes,
	        .pss_bytes = pss_bytes,
	        .uss_bytes = uss_bytes,
	        .shared_bytes = rss_bytes > uss_bytes ? rss_bytes - uss_bytes : 0,
	};
}

void tb_sample(struct tb *tb, uint32_t id, uint64_t t, uint32_t ustack, uint32_t kstack)
{
	tb_add(tb, REC_K_SAMPLE, RANK_LAST, tb_absolute(t))->sample =
	        (struct rec_sample){.task = id, .ustack = ustack, .kstack = kstack};
}
