/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"

#define MAX_INLINED 16

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Nearest rank: the smallest wait that at least this share of the waits do not exceed. */
static uint64_t quantile(const uint64_t *sorted, size_t n, unsigned percent)
{
	size_t rank = n / 100 * percent + (n % 100 * percent + 99) / 100;

	return n ? sorted[rank ? rank - 1 : 0] : 0;
}

static int set_quantiles(struct report_lock *lock)
{
	size_t n = lock->futex->durations_ns.n;
	uint64_t *sorted = malloc((n + 1) * sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	if (n)
		memcpy(sorted, lock->futex->durations_ns.v, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_value);
	lock->p50_ns = quantile(sorted, n, 50);
	lock->p99_ns = quantile(sorted, n, 99);
	free(sorted);
	return 0;
}

/* --- a name for it ---------------------------------------------------------------------------- */

/* The innermost frame with a name, of the program itself if there is one. */
static bool named_frame(const struct model *m, uint32_t stack, struct frame *out)
{
	const struct mstack *s = model_stack(m, stack);
	struct frame frames[MAX_INLINED];
	bool found = false;

	for (uint32_t i = 0; s && i < s->n; i++) {
		size_t n = model_resolve(m, s, i, frames, MAX_INLINED);

		for (size_t k = 0; k < n; k++) {
			if (!frames[k].name)
				continue;
			if (!found || !model_is_libc(frames[k].module))
				*out = frames[k];
			found = true;
			if (!model_is_libc(frames[k].module))
				return true;
		}
	}
	return found;
}

static const struct futex_site *top_site(const struct futex *f)
{
	const struct futex_site *top = NULL;

	for (size_t i = 0; i < f->sites.n; i++)
		if (f->sites.v[i].ustack && (!top || f->sites.v[i].wait_ns > top->wait_ns))
			top = &f->sites.v[i];
	return top;
}

static const struct task *top_waiter(const struct model *m, const struct futex *f)
{
	const struct futex_waiter *top = NULL;

	for (size_t i = 0; i < f->waiters.n; i++)
		if (!top || f->waiters.v[i].wait_ns > top->wait_ns)
			top = &f->waiters.v[i];
	return top ? model_task(m, top->task) : NULL;
}

/* A variable of a file that is mapped there; known when its address was resolved. */
static bool named_word(const struct model *m, const struct futex *f, struct frame *out)
{
	const struct mstack word = {
	        .kind = STACK_USER,
	        .space = f->space,
	        .n = 1,
	        .frames = &f->addr,
	        .ts = UINT64_MAX,
	};

	return model_resolve(m, &word, 0, out, 1) && out->name;
}

static void set_name(const struct model *m, struct report_lock *lock)
{
	const struct futex *f = lock->futex;
	const struct futex_site *site = top_site(f);
	const struct task *waiter = top_waiter(m, f);
	const char *comm = waiter ? waiter->comm : "?";
	struct frame frame;

	if (named_word(m, f, &frame)) {
		snprintf(lock->name, sizeof(lock->name), "%s (%s)", frame.name,
		         path_base(frame.module));
	} else if (site && named_frame(m, site->ustack, &frame)) {
		snprintf(lock->name, sizeof(lock->name), "futex in %s, waited for at %s", comm,
		         frame.name);
	} else {
		snprintf(lock->name, sizeof(lock->name), "futex in %s, 0x%" PRIx64, comm, f->addr);
	}
}

/* --- the table ------------------------------------------------------------------------------- */

static int by_wait(const void *a, const void *b)
{
	const struct report_lock *x = a, *y = b;

	if (x->futex->wait_ns != y->futex->wait_ns)
		return x->futex->wait_ns > y->futex->wait_ns ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

int analyze_futex(struct report *r, struct err *err)
{
	(void)err;
	for (size_t i = 0; i < model_n_futexes(r->m); i++) {
		struct report_lock lock = {
		        .id = (uint32_t)i + 1,
		        .futex = model_futex_at(r->m, i),
		        .kind = "futex",
		};

		if (!lock.futex->waits)
			continue;
		if (set_quantiles(&lock))
			return -ENOMEM;
		set_name(r->m, &lock);
		if (vec_push(&r->locks, lock))
			return -ENOMEM;
	}
	if (r->locks.n)
		qsort(r->locks.v, r->locks.n, sizeof(*r->locks.v), by_wait);
	return 0;
}
