/* SPDX-License-Identifier: MIT */
/* Of whom each wait waited: locks by their holders (holders.c), the rest by who ended it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

/* Pieces of waits in all, about: long waits beside many short ones get coarser ones then. */
#define PIECES    (8u << 20)
#define PIECES_LO 4u
#define PIECES_HI 64u

static int add_piece(struct blames *to, struct wait *x, struct blame piece)
{
	struct blame *last = x->n_blame ? &to->v.v[x->blame + x->n_blame - 1] : NULL;

	if (last && last->end_ns == piece.start_ns && last->task == piece.task &&
	    last->state == piece.state && last->evidence == piece.evidence) {
		last->end_ns = piece.end_ns;
		last->agrees = piece.agrees;
		return 0;
	}
	x->n_blame++;
	return vec_push(&to->v, piece);
}

/* Who has to act at that moment for `task` to act later: before its birth, whoever then has to make
 * it. Not the waiter itself; it waits. *until: when that changes. */
static uint32_t alive_then(const struct model *m, uint32_t task, uint32_t waiter, uint64_t t_ns,
                           uint64_t *until)
{
	enum { MAX_DEPTH = 16 };
	const struct task *t = model_task(m, task);

	for (unsigned i = 0; t && t->start_ns > t_ns && i < MAX_DEPTH; i++) {
		const struct task *maker = model_task(m, t->parent);

		if (!maker || maker->id == waiter)
			break;
		*until = t->start_ns;
		t = maker;
	}
	return t ? t->id : task;
}

int blame_add(const struct model *m, struct blames *to, struct wait *x, struct blame piece)
{
	uint64_t end_ns = piece.end_ns;
	uint32_t task = piece.task;
	int err = 0;

	while (!err && piece.start_ns < end_ns) {
		piece.end_ns = end_ns;
		piece.task = alive_then(m, task, x->task, piece.start_ns, &piece.end_ns);
		if (piece.end_ns > end_ns)
			piece.end_ns = end_ns;
		err = add_piece(to, x, piece);
		piece.start_ns = piece.end_ns;
	}
	return err;
}

/* Of another process that ended meanwhile, the thread that ended it. */
static uint32_t ender_of(const struct build *b, const struct wait *x, uint32_t task)
{
	const struct task *t = model_task(b->m, task), *waiter = model_task(b->m, x->task);
	uint32_t ender;

	if (!t || t->proc == waiter->proc || !t->exit_ns || t->exit_ns > x->end_ns)
		return task;
	ender = waits_ender(b->w, t->proc);
	return ender ? ender : task;
}

/* One answer for the whole wait. */
static int blame_whole(const struct build *b, struct blames *to, struct wait *x, struct blame piece)
{
	const struct slice *s = &model_task(b->m, x->task)->slices.v[x->slice];
	int err = 0;

	piece.task = ender_of(b, x, piece.task);
	if (piece.task == x->task) /* nonsense: nobody wakes itself */
		piece.task = 0;
	if (!piece.task)
		piece.evidence = EVIDENCE_UNKNOWN;
	piece.state = piece.task ? BLAME_HELD : BLAME_NOBODY;
	x->blame = (uint32_t)to->v.n;
	for (uint32_t i = 0; !err && i < x->n_slices; i++, s++) {
		piece.start_ns = s->out_ns;
		piece.end_ns = s->queued_ns;
		if (piece.start_ns < piece.end_ns)
			err = blame_add(b->m, to, x, piece);
	}
	return err;
}

/* --- channels ------------------------------------------------------------------------ */

/* Who was last seen at each end of a channel. */
struct ends {
	uint32_t reader, writer;
};

static void see_ends(struct build *b, const struct wait *x, struct ends *ends)
{
	const struct slice *s = wait_last_slice(b, x);
	struct ends *e = &ends[x->channel];
	unsigned bits = call_bits(b, s->site), other = call_bits(b, s->waker_site);
	bool same = s->waker && channel_of_file(b, s->waker_file) == x->channel;

	if (bits & CALL_READ)
		e->reader = x->task;
	if (bits & CALL_WRITE)
		e->writer = x->task;
	if (same && other & CALL_WRITE)
		e->writer = s->waker;
	if (same && other & CALL_READ)
		e->reader = s->waker;
}

static uint32_t other_end(struct build *b, const struct wait *x, const struct ends *e)
{
	unsigned bits = call_bits(b, wait_last_slice(b, x)->site);
	uint32_t other = bits & CALL_WRITE ? e->reader : e->writer;
	const struct task *t = model_task(b->m, other);

	return t && other != x->task && t->end_ns > x->start_ns ? other : 0;
}

static int blame_channel(struct build *b, struct blames *to, struct wait *x,
                         const struct ends *ends)
{
	const struct slice *s = wait_last_slice(b, x);
	struct blame piece = {.task = x->waker, .evidence = EVIDENCE_WAKER};

	if (x->waker && x->channel && channel_of_file(b, s->waker_file) == x->channel)
		piece.evidence = EVIDENCE_POSTER;
	if (!x->waker && x->channel && x->kind == WAIT_CHANNEL) {
		piece.task = other_end(b, x, &ends[x->channel]);
		if (!piece.task)
			x->kind = WAIT_EXTERNAL;
	}
	if (!piece.task)
		piece.evidence = EVIDENCE_UNKNOWN;
	return blame_whole(b, to, x, piece);
}

/* --- children ------------------------------------------------------------------------ */

/* The youngest child process of each process that is still alive. */
static int find_children(struct build *b, struct hmap *youngest)
{
	for (size_t i = 0; i < model_n_procs(b->m); i++) {
		const struct proc *p = model_proc_at(b->m, i), *other;
		const struct task *parent = model_task(b->m, p->parent);
		uint64_t *at;

		if (!parent || !p->alive)
			continue;
		at = hmap_put(youngest, parent->proc, 0, NULL);
		if (!at)
			return -ENOMEM;
		other = *at ? model_proc(b->m, (uint32_t)*at) : NULL;
		if (!other || other->start_ns <= p->start_ns)
			*at = p->id;
	}
	return 0;
}

/* The child that the call's arguments name. */
static uint32_t named_child(const struct build *b, const struct slice *s)
{
	const struct site *site = model_site(b->m, s->site);
	const char *name = site && !site->arch ? syscall_name(b->arch, site->nr) : NULL;
	int32_t pid = 0;

	if (name && !strcmp(name, "wait4"))
		pid = (int32_t)site->a[0];
	else if (name && !strcmp(name, "waitid") && site->a[0] == 1) /* P_PID */
		pid = (int32_t)site->a[1];
	return pid > 0 ? model_task_by_ns_tid(b->m, 0, (uint32_t)pid, s->out_ns) : 0;
}

static int blame_child(struct build *b, struct blames *to, struct wait *x,
                       const struct hmap *youngest)
{
	const struct slice *s = wait_last_slice(b, x);
	const struct task *t = model_task(b->m, x->task), *waker = model_task(b->m, x->waker);
	struct blame piece = {.task = named_child(b, s), .evidence = EVIDENCE_CHILD};
	const uint64_t *child = hmap_get(youngest, t->proc, 0);

	if (piece.task && waker)
		piece.agrees = piece.task == waker->id || waker->proc == piece.task ? 1 : 2;
	else if (waker)
		piece.task = waker->id;
	else if (!piece.task && child && x->open)
		piece.task = (uint32_t)*child;
	return blame_whole(b, to, x, piece);
}

/* --- GILs ---------------------------------------------------------------------------- */

struct gil_tiling {
	const struct model *m;
	struct blames *to;
	struct wait *x;
	uint64_t until; /* what has its pieces */
	size_t left;
};

static int add_span(void *ctx, const struct gil_span *span)
{
	struct gil_tiling *g = ctx;
	struct blame piece = {
	        .start_ns = span->start_ns,
	        .end_ns = span->end_ns,
	        .task = span->state == BLAME_HELD ? span->task : 0,
	        .state = span->state,
	        .evidence = span->evidence,
	};

	if (!g->left--)
		return 1;
	/* Nobody waits for itself: it had it already, and was late to say so. */
	if (piece.state == BLAME_HELD && (!piece.task || piece.task == g->x->task)) {
		piece.state = piece.task ? BLAME_HANDOFF : BLAME_NOBODY;
		piece.task = 0;
	}
	g->until = span->end_ns;
	return blame_add(g->m, g->to, g->x, piece);
}

/* Does who woke it agree with who is said to have held it last? */
static void check_waker(struct lock_blame *lb, const struct wait *x)
{
	struct lock *l = lb->l;
	struct blame *last = NULL;

	for (uint32_t i = x->blame; i < x->blame + x->n_blame; i++)
		if (lb->pieces.v.v[i].state == BLAME_HELD)
			last = &lb->pieces.v.v[i];
	if (!last || !x->waker || !wait_posted(lb->b, x))
		return;
	last->agrees = last->task == x->waker ? 1 : 2;
	l->owner_known++;
	l->owner_agree += last->agrees == 1;
	l->owner_differ += last->agrees == 2;
}

/* While it is free, they wait for the one who takes it next. */
static void name_next(struct lock_blame *lb, const struct wait *x)
{
	struct blame *v = lb->pieces.v.v + x->blame;

	for (uint32_t i = 0; i + 1 < x->n_blame; i++)
		if (v[i].state == BLAME_HANDOFF && v[i + 1].state == BLAME_HELD) {
			v[i].task = v[i + 1].task;
			v[i].evidence = v[i + 1].evidence;
		}
}

static int blame_gil(struct lock_blame *lb, size_t gil, struct wait *x)
{
	const struct build *b = lb->b;
	const struct slice *s = &model_task(b->m, x->task)->slices.v[x->slice];
	int err = 0;

	x->blame = (uint32_t)lb->pieces.v.n;
	for (uint32_t i = 0; err >= 0 && i < x->n_slices; i++, s++) {
		struct gil_tiling g = {.m = b->m,
		                       .to = &lb->pieces,
		                       .x = x,
		                       .until = s->out_ns,
		                       .left = lb->limit};
		struct blame rest = {.end_ns = s->queued_ns, .state = BLAME_NOBODY};

		if (s->out_ns >= s->queued_ns)
			continue;
		err = gil_segments(b->w->gil, gil, s->out_ns, s->queued_ns, add_span, &g);
		rest.start_ns = g.until;
		if (err > 0)
			err = blame_add(b->m, &lb->pieces, x, rest);
	}
	check_waker(lb, x);
	name_next(lb, x);
	return err;
}

/* Index of a GIL by its id, if anything is known of it over time. */
static bool has_timeline(const struct build *b, const struct lock *l, size_t *gil)
{
	uint32_t number = model_gil_number(b->m, l->gil);
	size_t spans = 0;

	*gil = number ? number - 1 : 0;
	return number && b->w->gil && gil_timeline_spans(b->w->gil, *gil, &spans) && spans;
}

/* --- locks --------------------------------------------------------------------------- */

/* Which thread it is for says the word; of CPython's own joins, who ended them. */
static int blame_join(struct lock_blame *lb, struct wait *x)
{
	struct lock *l = lb->l;
	struct blame piece = {.task = l->join_task, .evidence = EVIDENCE_OWNER};

	if (piece.task && x->waker) {
		piece.agrees = piece.task == x->waker ? 1 : 2;
		l->owner_known++;
		l->owner_agree += piece.agrees == 1;
		l->owner_differ += piece.agrees == 2;
	} else if (x->waker) {
		piece = (struct blame){.task = x->waker, .evidence = EVIDENCE_POSTER};
		l->join_task = x->waker;
	}
	return blame_whole(lb->b, &lb->pieces, x, piece);
}

static int blame_direct(const struct build *b, struct blames *to, struct wait *x)
{
	bool posted = x->waker && wait_posted(b, x);
	struct blame piece = {
	        .task = x->waker,
	        .evidence = posted     ? EVIDENCE_POSTER
	                    : x->waker ? EVIDENCE_WAKER
	                               : EVIDENCE_UNKNOWN,
	};

	return blame_whole(b, to, x, piece);
}

static int blame_lock(struct lock_blame *lb)
{
	struct wait *waits = lb->b->w->waits.v;
	bool timeline;
	size_t gil;
	int err = 0;

	switch ((enum lock_kind)lb->l->kind) {
	case LOCK_GIL:
		timeline = has_timeline(lb->b, lb->l, &gil);
		for (size_t i = 0; timeline && !err && i < lb->n; i++)
			err = blame_gil(lb, gil, &waits[lb->waits[i]]);
		return timeline ? err : holders_blame(lb);
	case LOCK_BARRIER:
		for (size_t i = 0; !err && i < lb->n; i++)
			err = blame_direct(lb->b, &lb->pieces, &waits[lb->waits[i]]);
		return err;
	case LOCK_JOIN:
		for (size_t i = 0; !err && i < lb->n; i++)
			err = blame_join(lb, &waits[lb->waits[i]]);
		return err;
	default:
		return holders_blame(lb);
	}
}

static int blame_one_lock(void *ctx, size_t i)
{
	struct lock_blame *all = ctx;

	return blame_lock(&all[i]);
}

/* Places of the waits by lock: first[l] to first[l + 1] in b->order. */
static uint32_t *sort_by_lock(struct build *b)
{
	const struct waits *w = b->w;
	uint32_t *first = calloc(w->locks.n + 3, sizeof(*first));

	if (!first || vec_reserve(&b->order, w->waits.n)) {
		free(first);
		return NULL;
	}
	for (size_t i = 0; i < w->waits.n; i++)
		first[w->waits.v[i].lock + 2]++;
	for (size_t i = 2; i < w->locks.n + 3; i++)
		first[i] += first[i - 1];
	for (size_t i = 0; i < w->waits.n; i++)
		b->order.v[first[w->waits.v[i].lock + 1]++] = (uint32_t)i;
	b->order.n = w->waits.n;
	return first;
}

/* The lock's pieces go to where all are. */
static int collect(struct blames *all, struct lock_blame *lb)
{
	struct wait *waits = lb->b->w->waits.v;
	size_t n = lb->pieces.v.n;

	if (!n)
		return 0;
	if (all->v.n + n > UINT32_MAX || vec_reserve(&all->v, n))
		return -ENOMEM;
	for (size_t i = 0; i < lb->n; i++)
		waits[lb->waits[i]].blame += (uint32_t)all->v.n;
	memcpy(all->v.v + all->v.n, lb->pieces.v.v, n * sizeof(*all->v.v));
	all->v.n += n;
	vec_release(&lb->pieces.v);
	return 0;
}

static int blame_locks(struct build *b, struct blames *to)
{
	struct waits *w = b->w;
	size_t limit = w->waits.n ? PIECES / w->waits.n : PIECES_HI;
	uint32_t *first = sort_by_lock(b);
	struct lock_blame *each = calloc(w->locks.n + 1, sizeof(*each));
	int err = first && each ? 0 : -ENOMEM;

	limit = limit < PIECES_LO ? PIECES_LO : limit > PIECES_HI ? PIECES_HI : limit;
	for (size_t i = 0; !err && i < w->locks.n; i++)
		each[i] = (struct lock_blame){.b = b,
		                              .l = &w->locks.v[i],
		                              .waits = b->order.v + first[i + 1],
		                              .n = first[i + 2] - first[i + 1],
		                              .limit = limit};
	if (!err)
		err = parallel(w->locks.n, blame_one_lock, each);
	for (size_t i = 0; !err && i < w->locks.n; i++)
		err = collect(to, &each[i]);
	for (size_t i = 0; each && i < w->locks.n; i++)
		vec_release(&each[i].pieces.v);
	free(each);
	free(first);
	return err;
}

/* --- all ----------------------------------------------------------------------------- */

static int blame_one(struct build *b, struct blames *to, struct wait *x, const struct ends *ends,
                     const struct hmap *youngest)
{
	switch ((enum wait_kind)x->kind) {
	case WAIT_LOCK:
		return 0;
	case WAIT_CHANNEL:
	case WAIT_EXTERNAL:
	case WAIT_POLL:
		return blame_channel(b, to, x, ends);
	case WAIT_CHILD:
		return blame_child(b, to, x, youngest);
	case WAIT_TIMER:
	case WAIT_STOPPED:
		return blame_whole(b, to, x, (struct blame){0});
	default: /* a kernel lock, a page that another reads in */
		return blame_direct(b, to, x);
	}
}

int waits_blame(struct build *b)
{
	struct waits *w = b->w;
	struct ends *ends = calloc(w->channels.n + 1, sizeof(*ends));
	struct hmap youngest = {0};
	struct blames all = {0};
	int err = ends ? find_children(b, &youngest) : -ENOMEM;

	for (size_t i = 0; !err && i < w->waits.n; i++)
		if (w->waits.v[i].channel)
			see_ends(b, &w->waits.v[i], ends);
	if (!err)
		err = blame_locks(b, &all);
	for (size_t i = 0; !err && i < w->waits.n; i++)
		err = blame_one(b, &all, &w->waits.v[i], ends, &youngest);
	w->blames.v = all.v.v;
	w->blames.n = all.v.n;
	w->blames.cap = all.v.cap;
	hmap_release(&youngest);
	free(ends);
	return err;
}
