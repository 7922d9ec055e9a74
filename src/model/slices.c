/* SPDX-License-Identifier: MIT */
/*
 * The state machine: one slice per turn of a task, closed at the switch that ends it, for
 * only then is it known how long the kernel made it wait for a CPU (see model.h).
 *
 * What a whole recording never shows, but a file may, is answered so that times stay
 * ordered and tiled, and is counted in model_oddities: a switch-out without a switch-in
 * (it ran for as long as the kernel says), a switch-in without a switch-out (it ran on),
 * a record from before what is already closed (its time is clamped).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

/* A wake-up can overtake the switch-out of the task that it wakes: this much, no more, or
 * it was for an earlier wait that did not come to be. */
#define EARLY_WAKE_NS 50000u
/* A kernel without run-delay accounting reports 0: then the wake-up says when it was ready. */
#define NO_DELAY_NS 50000u
/* The kernel's own clock readings lie this close to our time stamps; what differs by more is
 * something else (time that the hypervisor took). */
#define SKEW_NS   20000
#define CLOCKS_NS 1000000u

#define STATE_STOPPED 4u
#define STATE_TRACED  8u

static bool in_window(const struct model *m, uint64_t ts)
{
	return ts >= m->lo_ns && ts <= m->hi_ns;
}

/* Share of exec that falls into the part of [in, end] that the window left. */
static uint64_t share(uint64_t exec, uint64_t part, uint64_t whole)
{
	if (part == whole)
		return exec;
	return (uint64_t)((unsigned __int128)exec * part / whole);
}

/* Adds a closed slice to everything it counts for, clipped to the window. */
static int account(struct model *m, struct ltask *lt, struct slice *s, uint64_t exec)
{
	uint64_t whole_on = s->end_ns - s->in_ns, blocked, queue;
	bool outside = s->end_ns < m->lo_ns || s->out_ns > m->hi_ns;
	bool waited = s->queued_ns >= m->lo_ns && s->out_ns <= m->hi_ns;
	int err;

	lt->all.run_ns = sat_add(lt->all.run_ns, exec);
	lt->all.queue_ns += s->in_ns - s->queued_ns;
	if (outside)
		return 0;
	s->out_ns = clamp_u64(s->out_ns, m->lo_ns, m->hi_ns);
	s->queued_ns = clamp_u64(s->queued_ns, m->lo_ns, m->hi_ns);
	s->in_ns = clamp_u64(s->in_ns, m->lo_ns, m->hi_ns);
	s->end_ns = clamp_u64(s->end_ns, m->lo_ns, m->hi_ns);
	blocked = s->queued_ns - s->out_ns;
	queue = s->in_ns - s->queued_ns;
	lt->t.run_ns = sat_add(lt->t.run_ns, share(exec, s->end_ns - s->in_ns, whole_on));
	lt->t.on_cpu_ns += s->end_ns - s->in_ns;
	lt->t.blocked_ns += blocked;
	lt->t.blocked_by[s->cause] += blocked;
	lt->queue_ns += queue;
	lt->t.futex_waits += waited && (s->cause == BLOCK_FUTEX || s->cause == BLOCK_JOIN);
	if (s->futex && waited) {
		err = futex_add_wait(m, lt, s->futex - 1, blocked);
		if (err)
			return err;
	}
	if (!lt->first_slice || blocked || queue) {
		err = stack_add_off(m, lt, blocked, queue);
		if (err)
			return err;
	}
	return m->opts.flags & MODEL_SLICES ? vec_push(&lt->t.slices, *s) : 0;
}

/* When it became runnable: the kernel's run delay, counted back from the switch-in. */
static uint64_t queued_at(const struct model *m, const struct ltask *lt, uint64_t in,
                          uint64_t delay)
{
	uint64_t queued;

	if (lt->runnable)
		return lt->out_ns;
	queued = sat_sub(in, delay);
	if (!delay && !m->run_delay_known && lt->woken && sat_sub(in, lt->wake_ns) > NO_DELAY_NS)
		queued = lt->wake_ns;
	return clamp_u64(queued, lt->out_ns, in);
}

static int close_slice(struct model *m, struct ltask *lt, uint64_t queued, uint64_t in,
                       uint64_t end, uint64_t exec)
{
	struct slice s = {
	        .out_ns = lt->out_ns,
	        .queued_ns = queued,
	        .in_ns = in,
	        .end_ns = end,
	        .site = lt->site,
	        .ustack = lt->ustack,
	        .kstack = lt->kstack,
	        .waker = lt->waker.task,
	        .futex = lt->futex,
	        .owner = lt->owner,
	        .file = lt->file,
	        .waker_site = lt->waker.site,
	        .waker_file = lt->waker.file,
	        .waker_ustack = lt->waker.ustack,
	        .waker_kstack = lt->waker.kstack,
	        .flags = lt->flags,
	        .cpu = lt->cpu,
	        .cause = lt->cause,
	        .waker_flags = lt->waker.flags,
	};
	int err = account(m, lt, &s, exec);

	lt->first_slice = false;
	lt->out_ns = lt->last_ns = end;
	return err;
}

/* A time of this task that must not lie before what is closed already. */
static uint64_t not_before(struct model *m, const struct ltask *lt, uint64_t ts)
{
	if (ts >= lt->last_ns)
		return ts;
	m->odd.late++;
	return lt->last_ns;
}

/* --- why it blocks -------------------------------------------------------------------------- */

/* The id of the thread whose end is waited for: the futex word, or what it is expected to be. */
static uint32_t joined_tid(const struct lsite *site, const struct rec_switch *r)
{
	return (uint32_t)(r->flags & SW_F_WORD ? r->word : site->s.a[2]);
}

/* A futex wait for a thread's end: on the word that holds its id, shared because the kernel
 * clears it. */
static bool is_join(const struct model *m, const struct ltask *lt, const struct lsite *site,
                    const struct rec_switch *r)
{
	const struct ltask *other;
	const uint64_t *id;
	uint32_t word;

	if (!site || !site->maybe_join)
		return false;
	word = joined_tid(site, r);
	id = word ? hmap_get(&m->proc_tids, lt->t.proc, word) : NULL;
	other = id ? task_get(m, *id) : NULL;
	return other && other != lt && other->phase != PHASE_DEAD;
}

static enum block_cause cause_of(const struct model *m, const struct ltask *lt,
                                 const struct rec_switch *r)
{
	const struct lsite *site = site_get(m, r->site);
	enum block_cause cause = BLOCK_OTHER;

	if (r->flags & (SW_F_RUNNABLE | SW_F_DEAD))
		return BLOCK_OTHER;
	if (r->flags & SW_F_FUTEX)
		return is_join(m, lt, site, r) ? BLOCK_JOIN : BLOCK_FUTEX;
	if (r->state & (STATE_STOPPED | STATE_TRACED))
		return BLOCK_STOPPED;
	if (r->flags & SW_F_FAULT)
		return BLOCK_FAULT;
	if (r->flags & SW_F_SYSCALL && site)
		cause = site->cause;
	/* A call without the futex flag waits for something else than the futex it names. */
	if (cause == BLOCK_FUTEX)
		cause = BLOCK_OTHER;
	if (cause == BLOCK_OTHER && r->flags & SW_F_IOWAIT)
		cause = BLOCK_FILE;
	return cause;
}

/* --- leaving and getting the CPU -------------------------------------------------------------- */

static void clear_open(struct ltask *lt)
{
	lt->site = lt->ustack = lt->kstack = lt->futex = lt->owner = lt->file = lt->flags = 0;
	lt->wake_ns = 0;
	lt->cause = BLOCK_OTHER;
	lt->waker = (struct wake){0};
	lt->runnable = lt->woken = false;
	lt->n_words = 0;
}

/* Who holds the lock, as far as the words at the futex say; which thread a join is for. */
static void set_owner(struct ltask *lt, const struct lsite *site, const struct rec_switch *r)
{
	const uint32_t tid_mask = 0x3fffffff; /* the kernel's FUTEX_TID_MASK */

	if (!(r->flags & SW_F_FUTEX))
		return;
	if (lt->cause == BLOCK_JOIN) {
		lt->owner = joined_tid(site, r);
		return;
	}
	lt->owner = r->flags & SW_F_OWNER ? (uint32_t)r->owner : 0;
	if (site && site->is_pi && r->flags & SW_F_WORD) {
		lt->owner = (uint32_t)r->word & tid_mask;
		lt->flags |= SW_F_OWNER;
	}
}

/* Begins the slice of a task that is off the CPU since `ts`. */
static int begin_off(struct model *m, struct ltask *lt, uint64_t ts, const struct rec_switch *r)
{
	clear_open(lt);
	lt->out_ns = lt->last_ns = ts;
	lt->phase = r->flags & SW_F_DEAD ? PHASE_DEAD : PHASE_OFF;
	lt->runnable = r->flags & SW_F_RUNNABLE;
	lt->cause = cause_of(m, lt, r);
	lt->site = id32(r->site);
	lt->ustack = id32(r->ustack);
	lt->kstack = id32(r->kstack);
	lt->file = file_number(m, r->file);
	if (file_used(m, lt->file, lt->t.proc))
		return -ENOMEM;
	lt->flags = (uint32_t)r->flags;
	set_owner(lt, site_get(m, lt->site), r);
	if (lt->early_wake_ns && !lt->runnable && ts - lt->early_wake_ns <= EARLY_WAKE_NS)
		lt->waker = lt->early_waker;
	lt->early_wake_ns = 0;
	return lt->cause == BLOCK_FUTEX ? futex_need(m, lt->t.space, r, &lt->futex) : 0;
}

/* The first event of a task: it was off the CPU since its life began. What an attached
 * task waited in is in its definition. */
static int begin_life(struct model *m, struct ltask *lt, uint64_t ts)
{
	bool attached = lt->t.flags & TASK_F_ATTACHED;
	struct rec_switch r = {.state = lt->def_state, .site = attached ? lt->def_site : 0};
	const struct lsite *site = site_get(m, r.site);
	int err;

	if (ts < lt->t.start_ns)
		lt->t.start_ns = ts;
	lt->first_slice = true;
	lt->early_wake_ns = 0;
	if (attached && lt->def_wait) {
		r = *lt->def_wait;
	} else if (site) {
		r.flags |= site->is_futex ? SW_F_SYSCALL | SW_F_FUTEX : SW_F_SYSCALL;
		r.addr = site->s.a[0];
	}
	if (attached && !lt->def_state) {
		r.flags |= SW_F_RUNNABLE;
		lt->t.kernel_runnable_exact = false;
	}
	err = begin_off(m, lt, lt->t.start_ns, &r);
	/* A new task is woken by its creator as soon as it is there. */
	if (!attached && !lt->t.placeholder) {
		lt->woken = true;
		lt->wake_ns = lt->out_ns;
	}
	return err;
}

int task_attach_running(struct model *m, struct ltask *lt)
{
	clear_open(lt);
	lt->out_ns = lt->in_ns = lt->last_ns = lt->t.start_ns;
	lt->first_slice = lt->on_at_start = true;
	lt->t.kernel_run_exact = false;
	lt->phase = PHASE_ON;
	return timeline_late(&m->running, lt->in_ns, 1);
}

/* A switch-out whose switch-in is missing. */
static int assume_in(struct model *m, struct ltask *lt, uint64_t ts, uint64_t exec)
{
	if (lt->phase == PHASE_NEW && (lt->t.flags & TASK_F_ATTACHED || lt->t.placeholder)) {
		if (ts < lt->t.start_ns)
			lt->t.start_ns = ts;
		return task_attach_running(m, lt);
	}
	m->odd.lost_in++;
	if (lt->phase == PHASE_NEW) {
		int err = begin_life(m, lt, ts);

		if (err)
			return err;
	}
	lt->in_ns = clamp_u64(sat_sub(ts, exec), lt->last_ns, ts < lt->last_ns ? lt->last_ns : ts);
	lt->phase = PHASE_ON;
	return timeline_late(&m->running, lt->in_ns, 1);
}

/* Nothing happens to a task after its last switch, or after the kernel's counters of it
 * were read; a record from before that comes too late. */
static bool is_over(struct model *m, const struct ltask *lt, uint64_t ts)
{
	if (lt->phase == PHASE_DEAD && ts < lt->last_ns)
		m->odd.late++;
	return lt->phase == PHASE_DEAD || (lt->ended && ts > lt->end_ts);
}

static void count_switch(struct model *m, struct ltask *lt, uint64_t ts, const struct rec_switch *r)
{
	bool voluntary = r->flags & SW_F_VOLUNTARY, inside = in_window(m, ts);

	lt->all.voluntary += voluntary;
	lt->all.involuntary += !voluntary;
	lt->t.voluntary += voluntary && inside;
	lt->t.involuntary += !voluntary && inside;
	lt->all.delay_ns = sat_add(lt->all.delay_ns, r->delay);
}

/*
 * When a preempted task got the CPU again by the kernel's clock: `delay` after it left. Our time
 * stamps differ from that by a fraction of a microsecond, which a hundred thousand turns make
 * visible, and by what a hypervisor took in between. What does not fit before `latest` is made up
 * for by the end of the next wait, which only the kernel's counter tells.
 */
static uint64_t preempted_until(struct ltask *lt, uint64_t delay, uint64_t latest)
{
	uint64_t in = sat_add(lt->out_ns, delay);

	if (in <= latest)
		return in;
	if (in - latest < SKEW_NS)
		lt->skew_ns += in - latest;
	return latest;
}

static uint64_t settle_skew(struct ltask *lt, uint64_t queued)
{
	uint64_t room = queued - lt->out_ns;

	if (room > lt->skew_ns)
		room = lt->skew_ns;
	lt->skew_ns -= room;
	return queued - room;
}

/* A wait that a stop or a debugger cut short goes on under another number: restart_syscall, with
 * the arguments of the call that it was. */
static void resume_call(const struct model *m, struct ltask *lt, struct rec_switch *r)
{
	const struct lsite *site = r->flags & SW_F_SYSCALL ? site_get(m, r->site) : NULL;

	if (!site || r->flags & SW_F_RUNNABLE)
		return;
	if (!site->resumes) {
		lt->called = id32(r->site);
		return;
	}
	site = site_get(m, lt->called);
	if (!site)
		return;
	r->site = lt->called;
	if (site->is_futex) {
		r->flags |= SW_F_FUTEX;
		r->addr = site->s.a[0];
	}
}

static int switch_out(struct model *m, struct ltask *lt, uint64_t ts, const struct rec_switch *r)
{
	uint64_t exec = r->exec, latest, queued;
	int err = 0;

	count_switch(m, lt, ts, r);
	if (lt->phase != PHASE_ON)
		err = assume_in(m, lt, ts, exec);
	if (err)
		return err;
	ts = not_before(m, lt, ts);
	/* Its counter was stale when the recording began and holds older time. */
	if (lt->on_at_start && exec > ts - lt->in_ns)
		exec = ts - lt->in_ns;
	lt->on_at_start = false;
	/* It cannot have run for longer than since it last left a CPU, but for what the clocks of
	 * two CPUs differ by. */
	if (exec > ts - lt->out_ns + CLOCKS_NS)
		exec = ts - lt->out_ns;
	latest = exec < ts - lt->out_ns ? ts - exec : lt->out_ns;
	/* The kernel's clock of the run queue may be from before our time stamp (a wake-up out
	 * of idle): what it counted as run time began then, and the wait for a CPU ended. */
	if (latest < lt->in_ns)
		lt->in_ns = latest;
	if (m->run_delay_known && lt->runnable && !lt->first_slice)
		lt->in_ns = preempted_until(lt, r->delay, latest);
	queued = queued_at(m, lt, lt->in_ns, r->delay);
	if (m->run_delay_known && !lt->runnable)
		queued = settle_skew(lt, queued);
	err = close_slice(m, lt, queued, lt->in_ns, ts, exec);
	if (!err)
		err = begin_off(m, lt, ts, r);
	return err ? err : timeline_add(&m->running, ts, -1);
}

static int switch_in(struct model *m, struct ltask *lt, uint64_t ts, uint64_t cpu)
{
	int err;

	if (lt->phase == PHASE_NEW) {
		err = begin_life(m, lt, ts);
		if (err)
			return err;
	}
	if (lt->phase == PHASE_ON) {
		m->odd.lost_out++;
		return 0;
	}
	lt->in_ns = lt->last_ns = not_before(m, lt, ts);
	if (!lt->t.first_in_ns)
		lt->t.first_in_ns = lt->in_ns;
	lt->cpu = cpu < UINT16_MAX ? (uint16_t)cpu : UINT16_MAX;
	lt->phase = PHASE_ON;
	return timeline_add(&m->running, lt->in_ns, 1);
}

int on_switch(struct model *m, uint64_t ts, const struct rec_switch *r)
{
	int err = 0;
	struct ltask *prev = task_need(m, r->prev, ts, &err), *next;

	if (r->gil) {
		const struct gil_reading reading = {.gil = r->gil,
		                                    .state = r->gil_state,
		                                    .holder = r->gil_holder,
		                                    .switches = r->gil_switches,
		                                    .blocked = !(r->flags & SW_F_RUNNABLE)};

		err = gil_read(m, ts, r->prev, &reading);
	}
	if (!err && prev && !is_over(m, prev, ts)) {
		struct rec_switch left = *r;

		resume_call(m, prev, &left);
		err = switch_out(m, prev, ts, &left);
	}
	if (err || r->next == r->prev)
		return err;
	next = task_need(m, r->next, ts, &err);
	if (next && !is_over(m, next, ts))
		err = switch_in(m, next, ts, r->cpu);
	return err;
}

/* Is what it sends for the one that wakes up? A poll names no socket: then the other end has to
 * be one of its process's. */
static bool sends_to(const struct model *m, const struct ltask *lt, uint32_t file)
{
	return files_meet(m, lt->file, file) ||
	       (lt->cause == BLOCK_POLL && file_leads_to(m, file, lt->t.proc));
}

/* In interrupt context the current task only happened to be there; but a packet that it sends
 * through the loopback is delivered in its context, by a soft interrupt. */
static struct ltask *waker_of(struct model *m, const struct ltask *lt, const struct rec_waking *r)
{
	if (r->flags & (WK_F_IRQ | WK_F_NMI))
		return NULL;
	if (r->flags & WK_F_SOFTIRQ &&
	    !(lt && r->flags & WK_F_SYSCALL && sends_to(m, lt, file_number(m, r->file))))
		return NULL;
	return task_get(m, r->waker);
}

/* Also a packet that wakes nobody of ours, or not for sure, says who uses that socket. */
static int note_sender(struct model *m, const struct rec_waking *r)
{
	const struct ltask *sender = r->flags & WK_F_SYSCALL ? task_get(m, r->waker) : NULL;

	return sender ? file_used(m, file_number(m, r->file), sender->t.proc) : 0;
}

static int read_gil_of_waker(struct model *m, uint64_t ts, const struct rec_waking *r)
{
	const struct lsite *site = r->flags & WK_F_SYSCALL ? site_get(m, r->site) : NULL;
	const struct gil_reading reading = {.gil = r->gil,
	                                    .state = r->gil_state,
	                                    .holder = r->gil_holder,
	                                    .switches = r->gil_switches,
	                                    .woke = site && site->is_futex ? site->s.a[0] : 0,
	                                    .waking = true};

	return gil_read(m, ts, r->waker, &reading);
}

int on_waitv(struct model *m, uint64_t ts, const struct rec_waitv *r)
{
	struct ltask *lt = task_get(m, r->task);

	if (!lt || lt->phase != PHASE_OFF || !lt->futex || lt->out_ns > ts)
		return 0;
	if (!lt->words)
		lt->words = malloc(MAX_WAITV * sizeof(*lt->words));
	if (!lt->words)
		return -ENOMEM;
	memcpy(lt->words, r->addrs.v, r->addrs.n * sizeof(*lt->words));
	lt->n_words = (uint32_t)r->addrs.n;
	return 0;
}

/* Who waits for several words waits for the one on which it is woken: the waker's call says which.
 * What was read of an owner is the first one's. */
static int set_woken_word(struct model *m, struct ltask *lt, const struct rec_waking *r)
{
	const struct lsite *site = r->flags & WK_F_SYSCALL ? site_get(m, r->site) : NULL;
	uint64_t addr = site && site->is_futex ? site->s.a[0] : 0;
	struct rec_switch word = {.site = lt->site, .addr = addr};

	for (uint32_t i = 1; addr && i < lt->n_words; i++) {
		if (lt->words[i] != addr || lt->words[0] == addr)
			continue;
		lt->owner = 0;
		lt->flags &= ~(uint32_t)SW_F_OWNER;
		lt->n_words = 0;
		return futex_need(m, lt->t.space, &word, &lt->futex);
	}
	return 0;
}

int on_waking(struct model *m, uint64_t ts, const struct rec_waking *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err), *waker = waker_of(m, lt, r);
	struct wake wake = {.flags = (uint8_t)r->flags};

	if (waker) {
		wake.task = waker->t.id;
		wake.ustack = id32(r->ustack);
		wake.kstack = id32(r->kstack);
		waker->t.wakes_given += in_window(m, ts);
	}
	if (waker && r->flags & WK_F_SYSCALL) {
		wake.site = id32(r->site);
		wake.file = file_number(m, r->file);
	}
	if (!err)
		err = note_sender(m, r);
	if (r->gil && !err)
		err = read_gil_of_waker(m, ts, r);
	if (err || !lt || is_over(m, lt, ts))
		return err;
	if (lt->phase == PHASE_NEW)
		err = begin_life(m, lt, ts);
	if (lt->phase == PHASE_ON) {
		lt->early_wake_ns = ts;
		lt->early_waker = wake;
	} else if (!lt->runnable && (!lt->woken || r->flags & WK_F_NEW)) {
		lt->woken = true;
		lt->wake_ns = ts > lt->out_ns ? ts : lt->out_ns;
		lt->waker = wake;
		if (!err && lt->n_words && waker)
			err = set_woken_word(m, lt, r);
	}
	return err;
}

/* The kernel's counters were read while it ran: what comes counts from here. */
int task_split(struct model *m, struct ltask *lt, uint64_t ts)
{
	int err;

	ts = not_before(m, lt, ts);
	err = close_slice(m, lt, queued_at(m, lt, lt->in_ns, 0), lt->in_ns, ts, ts - lt->in_ns);
	clear_open(lt);
	lt->in_ns = ts;
	lt->first_slice = true;
	lt->on_at_start = false;
	return err;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* Still on a CPU: what the kernel counted since the last switch, where it did. */
static int close_running(struct model *m, struct ltask *lt, uint64_t end)
{
	uint64_t exec = end - lt->in_ns, delay = 0;
	uint64_t grown = sat_sub(lt->last.run_ns, lt->base.run_ns);

	if (lt->t.has_base && lt->t.has_end) {
		if (lt->t.kernel_run_exact && grown >= lt->all.run_ns)
			exec = grown - lt->all.run_ns;
		delay = sat_sub(sat_sub(lt->last.runnable_ns, lt->base.runnable_ns),
		                lt->all.delay_ns);
	}
	return close_slice(m, lt, queued_at(m, lt, lt->in_ns, delay), lt->in_ns, end, exec);
}

static int close_waiting(struct model *m, struct ltask *lt, uint64_t end)
{
	uint64_t queued = lt->runnable ? lt->out_ns : lt->woken ? lt->wake_ns : end;

	if (queued < end)
		lt->t.kernel_runnable_exact = false;
	return close_slice(m, lt, clamp_u64(queued, lt->out_ns, end), end, end, 0);
}

int task_close(struct model *m, struct ltask *lt, uint64_t end)
{
	int err = 0;

	if (lt->phase == PHASE_NEW)
		err = begin_life(m, lt, end);
	if (!err && lt->phase == PHASE_OFF)
		err = close_waiting(m, lt, end);
	else if (!err && lt->phase == PHASE_ON)
		err = close_running(m, lt, end) || timeline_late(&m->running, end, -1);
	return err ? -ENOMEM : 0;
}
