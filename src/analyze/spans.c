/* SPDX-License-Identifier: MIT */
#include "spans_priv.h"

/* What a blocked slice waits for when no wait says it. */
static enum wait_kind kind_of_cause(uint8_t cause)
{
	static const uint8_t kinds[BLOCK_N] = {
	        [BLOCK_FUTEX] = WAIT_LOCK,   [BLOCK_JOIN] = WAIT_LOCK,
	        [BLOCK_PIPE] = WAIT_CHANNEL, [BLOCK_SOCKET] = WAIT_EXTERNAL,
	        [BLOCK_POLL] = WAIT_POLL,    [BLOCK_FILE] = WAIT_IO,
	        [BLOCK_SLEEP] = WAIT_TIMER,  [BLOCK_CHILD] = WAIT_CHILD,
	        [BLOCK_FAULT] = WAIT_FAULT,  [BLOCK_STOPPED] = WAIT_STOPPED,
	        [BLOCK_OTHER] = WAIT_OTHER,
	};

	return cause < BLOCK_N ? kinds[cause] : WAIT_OTHER;
}

/* First slice that ends after t. */
static size_t slice_after(const struct task *t, uint64_t at_ns)
{
	size_t lo = 0, hi = t->slices.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->slices.v[mid].end_ns > at_ns)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static size_t wait_after(const struct wait *waits, size_t n, uint64_t at_ns)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (waits[mid].end_ns > at_ns)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void spans_begin(struct spans *s, const struct waits *w, const struct task *t, uint64_t at_ns)
{
	*s = (struct spans){.w = w, .t = t};
	s->waits = waits_of(w, t->id, &s->n_waits);
	s->at_ns = at_ns > t->start_ns ? at_ns : t->start_ns;
	s->slice = slice_after(t, s->at_ns);
	s->wait = wait_after(s->waits, s->n_waits, s->at_ns);
	if (s->wait < s->n_waits)
		s->blame = s->waits[s->wait].blame;
}

/* Cuts [at, end] at the next change of blame and says which it is. */
static void set_blame(struct spans *s, const struct wait *x, struct span *out)
{
	const struct blame *b;

	out->wait = x;
	out->kind = x->kind;
	out->lock = x->lock;
	out->channel = x->channel;
	if (x->end_ns < out->end_ns)
		out->end_ns = x->end_ns;
	while (s->blame < x->blame + x->n_blame && s->w->blames.v[s->blame].end_ns <= s->at_ns)
		s->blame++;
	if (s->blame >= x->blame + x->n_blame)
		return;
	b = &s->w->blames.v[s->blame];
	if (b->start_ns > s->at_ns) {
		if (b->start_ns < out->end_ns)
			out->end_ns = b->start_ns;
		return;
	}
	if (b->end_ns < out->end_ns)
		out->end_ns = b->end_ns;
	out->task = b->state == BLAME_NOBODY ? 0 : b->task;
	out->blame = b->state;
	out->evidence = b->evidence;
}

static void blocked(struct spans *s, const struct slice *sl, struct span *out)
{
	*out = (struct span){
	        .start_ns = s->at_ns,
	        .end_ns = sl->queued_ns,
	        .state = SPAN_BLOCKED,
	        .kind = kind_of_cause(sl->cause),
	        .blame = BLAME_NOBODY,
	        .slice = sl,
	};
	while (s->wait < s->n_waits && s->waits[s->wait].end_ns <= s->at_ns) {
		s->wait++;
		if (s->wait < s->n_waits)
			s->blame = s->waits[s->wait].blame;
	}
	if (s->wait < s->n_waits) {
		const struct wait *x = &s->waits[s->wait];

		if (x->start_ns <= s->at_ns)
			set_blame(s, x, out);
		else if (x->start_ns < out->end_ns)
			out->end_ns = x->start_ns;
	}
	s->last = *out;
}

bool spans_next(struct spans *s, struct span *out)
{
	const struct slice *sl;

	while (s->slice < s->t->slices.n && s->t->slices.v[s->slice].end_ns <= s->at_ns)
		s->slice++;
	if (s->slice >= s->t->slices.n)
		return false;
	sl = &s->t->slices.v[s->slice];
	if (s->at_ns < sl->queued_ns) {
		blocked(s, sl, out);
	} else if (s->at_ns < sl->in_ns) {
		*out = s->last.slice == sl ? s->last : (struct span){.slice = sl};
		out->woken = sl->queued_ns > sl->out_ns && s->last.slice == sl;
		out->start_ns = s->at_ns;
		out->end_ns = sl->in_ns;
		out->state = SPAN_READY;
	} else {
		*out = (struct span){
		        .start_ns = s->at_ns, .end_ns = sl->end_ns, .state = SPAN_RUN, .slice = sl};
	}
	s->at_ns = out->end_ns;
	return true;
}
