/* SPDX-License-Identifier: MIT */
/*
 * CPU time that waits by spinning: on-CPU samples whose innermost functions are known to do nothing
 * else. The account of capacity has it as work, as the CPUs were busy. OpenMP's libraries are
 * mostly installed without names; what runs in them is then taken for it, and said with less
 * certainty. The kernel spins for its own locks, too: for some as long as their holder runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "analyze_priv.h"

#define INNERMOST  4  /* frames: a spinning function, what it calls, what is inlined into it */
#define DEEPEST    24 /* frames that are looked at for who called it */
#define ENOUGH     20 /* samples, below which shares say nothing */
#define MANY       10 /* one part in so many is worth telling */
#define MAX_PLACES 4096

/* A part of the name; library: only of functions of OpenMP's. */
static const struct {
	const char *part;
	bool library;
	uint8_t kind;
} functions[] = {
        {"pthread_spin_lock", false, SPIN_LOCK},
        {"gomp_mutex_lock_slow", false, SPIN_LOCK},
        {"__kmp_acquire_", false, SPIN_LOCK},
        {"gomp_barrier_wait", false, SPIN_BARRIER},
        {"gomp_team_barrier_wait", false, SPIN_BARRIER},
        {"gomp_simple_barrier_", false, SPIN_BARRIER},
        {"GOMP_barrier", false, SPIN_BARRIER},
        {"do_spin", true, SPIN_BARRIER},
        {"do_wait", true, SPIN_BARRIER},
        {"__kmp_wait_", false, SPIN_BARRIER},
        {"__kmp_hyper_barrier", false, SPIN_BARRIER},
        {"__kmp_hardware_timestamp", false, SPIN_BARRIER},
        {"kmp_flag", false, SPIN_BARRIER},
        {"spin_mutex::", false, SPIN_LOCK}, /* TBB's */
        {"spin_rw_mutex::", false, SPIN_LOCK},
        {"queuing_mutex::", false, SPIN_LOCK},
        {"queuing_rw_mutex::", false, SPIN_LOCK},
        {"spinlock::lock", false, SPIN_LOCK}, /* Boost's */
        {"sched_yield", false, SPIN_YIELD},
        {"thrd_yield", false, SPIN_YIELD},
        {"opal_progress", false, SPIN_MPI},
        {"ompi_request_default_wait", false, SPIN_MPI},
        {"ompi_sync_wait_mt", false, SPIN_MPI},
        {"MPIDI_CH3I_Progress", false, SPIN_MPI},
        {"MPIDI_progress_test", false, SPIN_MPI},
        {"MPID_Progress_wait", false, SPIN_MPI},
};

/* How names begin of what C++, Rust and TBB have around sched_yield: of nobody's program. */
static const char *const wrappers[] = {
        "__gthread_",   "std::this_thread::", "std::thread::yield_now", "std::sys::",
        "core::hint::", "core::sync::",       "tbb::detail::"};

/* Whole names. */
static const char *const kernel_spins[] = {
        "osq_lock",
        "rwsem_spin_on_owner",
        "rwsem_optimistic_spin",
        "mutex_spin_on_owner",
        "mutex_optimistic_spin",
        "native_queued_spin_lock_slowpath",
        "__pv_queued_spin_lock_slowpath",
        "queued_spin_lock_slowpath",
        "queued_read_lock_slowpath",
        "queued_write_lock_slowpath",
};

/* How names begin of what takes a lock there, whichever it is. */
static const char *const kernel_locking[] = {
        "osq_",         "rwsem_",  "mutex_", "__mutex_", "native_queued_",
        "__pv_queued_", "queued_", "down_",  "_raw_",    "__raw_callee_",
};

static bool begins_with(const char *name, const char *const *beginnings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strncmp(name, beginnings[i], strlen(beginnings[i])))
			return true;
	return false;
}

static bool in_openmp(const struct frame *f)
{
	static const char *const names[] = {"libgomp.so", "libomp.so", "libomp5.so", "libiomp5.so"};

	return begins_with(path_base(f->module), names, ARRAY_LEN(names));
}

static bool in_mpi(const struct frame *f)
{
	static const char *const names[] = {"libmpi.so",   "libmpi_", "libmpich",
	                                    "libopen-pal", "mca_",    "libopen-rte"};

	return begins_with(path_base(f->module), names, ARRAY_LEN(names));
}

static enum spin_kind of_frame(const struct frame *f)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		if (strstr(f->name, functions[i].part) && (!functions[i].library || in_openmp(f)))
			return (enum spin_kind)functions[i].kind;
	return SPIN_NONE;
}

static bool is_wrapper(const struct frame *f)
{
	return f->name && begins_with(f->name, wrappers, ARRAY_LEN(wrappers));
}

static enum spin_kind of_stack(const struct model *m, uint32_t ustack)
{
	struct frame frames[DEEPEST];
	size_t n = ustack ? model_frames(m, ustack, frames, DEEPEST) : 0;
	bool yields = false;

	for (size_t i = 0, looked_at = 0; i < n && looked_at < INNERMOST; i++) {
		enum spin_kind kind;

		if (frames[i].kind == FRAME_PYTHON || frames[i].kind == FRAME_KERNEL)
			break;
		kind = frames[i].name ? of_frame(&frames[i]) : SPIN_NONE;
		looked_at += kind || !is_wrapper(&frames[i]);
		/* What copies a message does its work. */
		if (kind == SPIN_MPI && !yields && model_is_libc(frames[0].module))
			return SPIN_NONE;
		if (kind && kind != SPIN_YIELD)
			return kind;
		yields |= kind == SPIN_YIELD; /* who calls it may say more */
	}
	if (yields)
		return SPIN_YIELD;
	return n && !frames[0].name && frames[0].kind == FRAME_NATIVE && in_openmp(&frames[0])
	               ? SPIN_OPENMP
	               : SPIN_NONE;
}

static bool kernel_spin(const struct model *m, uint32_t kstack)
{
	struct frame frames[INNERMOST];
	size_t n = kstack ? model_frames(m, kstack, frames, INNERMOST) : 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; frames[i].name && k < ARRAY_LEN(kernel_spins); k++)
			if (!strcmp(frames[i].name, kernel_spins[k]))
				return true;
	return false;
}

/* The kernel's function that wants the lock, as the beginning of a place; "" = unknown. */
static const char *kernel_place(const struct model *m, uint32_t kstack, char *out, size_t n)
{
	struct frame frames[DEEPEST];
	size_t count = model_frames(m, kstack, frames, DEEPEST);
	bool locking = false;

	out[0] = '\0';
	for (size_t i = 0; i < count && frames[i].name; i++) {
		bool is = begins_with(frames[i].name, kernel_locking, ARRAY_LEN(kernel_locking));

		if (locking && !is) {
			snprintf(out, n, "%s ← ", frames[i].name);
			break;
		}
		locking |= is;
	}
	return out;
}

/* The program's function that called what spins; "" = unknown. */
static const char *caller(const struct model *m, uint32_t ustack, char *out, size_t n)
{
	struct frame frames[DEEPEST];
	size_t count = ustack ? model_frames(m, ustack, frames, DEEPEST) : 0;

	out[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		const struct frame *f = &frames[i];

		if (!f->name || in_openmp(f) || in_mpi(f) || of_frame(f) || is_wrapper(f) ||
		    model_is_plumbing(f->module))
			continue;
		if (f->src && f->line)
			snprintf(out, n, "%s (%s:%" PRIu32 ")", f->name, path_label(f->src),
			         f->line);
		else
			snprintf(out, n, "%s", f->name);
		break;
	}
	return out;
}

struct scan {
	const struct model *m;
	struct hmap kinds;  /* user and kernel stack -> enum spin_kind */
	struct hmap places; /* where the program calls it, by strtab id -> samples */
	struct strtab *names;
	uint64_t all, of[N_SPINS], most;
	uint32_t place;
};

/* The samples of a place of the program's; the place of most is kept. */
static int add_place(struct scan *s, const struct stack_row *row, enum spin_kind kind)
{
	char place[240], in[120] = "", text[sizeof(place) + sizeof(in)];
	uint64_t *at;
	uint32_t id;

	if (strtab_count(s->names) >= MAX_PLACES ||
	    !*caller(s->m, row->ustack, place, sizeof(place)))
		return 0;
	if (kind == SPIN_KERNEL)
		kernel_place(s->m, row->kstack, in, sizeof(in));
	snprintf(text, sizeof(text), "%s%s", in, place);
	id = strtab_add(s->names, text, strlen(text), NULL);
	at = id ? hmap_put(&s->places, id, 0, NULL) : NULL;
	if (!at)
		return -ENOMEM;
	*at = sat_add(*at, row->count);
	if (*at > s->most) {
		s->most = *at;
		s->place = id;
	}
	return 0;
}

static int add(struct scan *s, const struct stack_row *row)
{
	bool added = false;
	uint64_t *at = hmap_put(&s->kinds, row->ustack, row->kstack, &added);
	enum spin_kind kind;

	if (!at)
		return -ENOMEM;
	if (added) {
		kind = of_stack(s->m, row->ustack);
		*at = !kind && kernel_spin(s->m, row->kstack) ? SPIN_KERNEL : kind;
	}
	kind = (enum spin_kind) * at;
	s->all = sat_add(s->all, row->count);
	if (!kind)
		return 0;
	s->of[kind] = sat_add(s->of[kind], row->count);
	return add_place(s, row, kind);
}

static void set_note(struct report *r, const struct scan *s)
{
	static const char *const words[] = {
	        [SPIN_LOCK] = "spinning for a lock",
	        [SPIN_BARRIER] = "spinning at a barrier",
	        [SPIN_OPENMP] = "inside OpenMP's library, most likely spinning at a barrier or "
	                        "for a critical section",
	        [SPIN_MPI] = "polling for messages of other MPI processes",
	        [SPIN_YIELD] = "inside sched_yield, most likely spinning for what others have",
	        [SPIN_KERNEL] = "spinning for a lock inside the kernel",
	};
	enum spin_kind most = SPIN_LOCK;
	const char *where = strtab_get(s->names, s->place);

	for (enum spin_kind k = SPIN_BARRIER; k < N_SPINS; k++)
		most = s->of[k] > s->of[most] ? k : most;
	if (s->all < ENOUGH || r->spinning < s->all / MANY)
		return;
	r->spin_kind = most;
	snprintf(r->spin_place, sizeof(r->spin_place), "%s", where);
	snprintf(r->spin_note, sizeof(r->spin_note),
	         "%.0f %% of the CPU time is %s%s%s: no work, "
	         "though the account has it as that.",
	         100.0 * (double)r->spinning / (double)s->all, words[most],
	         *where ? ", most in " : "", where);
}

int analyze_spin(struct report *r, struct err *err)
{
	struct scan s = {.m = r->m, .names = strtab_new()};
	const struct stack_row *rows;
	size_t n = model_on_cpu(r->m, &rows);
	int rc = s.names ? 0 : -ENOMEM;

	(void)err;
	for (size_t i = 0; i < n && !rc; i++)
		rc = add(&s, &rows[i]);
	r->samples = s.all;
	for (size_t k = 0; k < ARRAY_LEN(s.of); k++)
		r->spinning = sat_add(r->spinning, s.of[k]);
	if (!rc)
		set_note(r, &s);
	hmap_release(&s.kinds);
	hmap_release(&s.places);
	strtab_free(s.names);
	return rc;
}
