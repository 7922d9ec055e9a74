/* SPDX-License-Identifier: MIT */
/*
 * CPU time that waits by spinning: on-CPU samples whose innermost functions are known to do nothing
 * else. The account of capacity has it as work, as the CPUs were busy. OpenMP's libraries are
 * mostly installed without names; what runs in them is then taken for it, and said with less
 * certainty.
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
};

static bool in_openmp(const struct frame *f)
{
	static const char *const names[] = {"libgomp.so", "libomp.so", "libomp5.so", "libiomp5.so"};
	const char *module = path_base(f->module);

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strncmp(module, names[i], strlen(names[i])))
			return true;
	return false;
}

static enum spin_kind of_frame(const struct frame *f)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		if (strstr(f->name, functions[i].part) && (!functions[i].library || in_openmp(f)))
			return (enum spin_kind)functions[i].kind;
	return SPIN_NONE;
}

static enum spin_kind of_stack(const struct model *m, uint32_t ustack)
{
	struct frame frames[INNERMOST];
	size_t n = ustack ? model_frames(m, ustack, frames, INNERMOST) : 0;

	for (size_t i = 0; i < n; i++) {
		enum spin_kind kind;

		if (frames[i].kind == FRAME_PYTHON || frames[i].kind == FRAME_KERNEL)
			break;
		kind = frames[i].name ? of_frame(&frames[i]) : SPIN_NONE;
		if (kind)
			return kind;
	}
	return n && !frames[0].name && frames[0].kind == FRAME_NATIVE && in_openmp(&frames[0])
	               ? SPIN_OPENMP
	               : SPIN_NONE;
}

/* The program's function that called what spins; "" = unknown. */
static const char *caller(const struct model *m, uint32_t ustack, char *out, size_t n)
{
	struct frame frames[DEEPEST];
	size_t count = ustack ? model_frames(m, ustack, frames, DEEPEST) : 0;

	out[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		const struct frame *f = &frames[i];

		if (!f->name || in_openmp(f) || of_frame(f) || model_is_plumbing(f->module))
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
	struct hmap kinds;  /* user stack -> enum spin_kind + 1 */
	struct hmap places; /* where the program calls it, by strtab id -> samples */
	struct strtab *names;
	uint64_t all, of[SPIN_OPENMP + 1], most;
	uint32_t place;
};

/* The samples of a place of the program's; the place of most is kept. */
static int add_place(struct scan *s, uint32_t ustack, uint64_t count)
{
	char text[240];
	uint64_t *at;
	uint32_t id;

	if (strtab_count(s->names) >= MAX_PLACES || !*caller(s->m, ustack, text, sizeof(text)))
		return 0;
	id = strtab_add(s->names, text, strlen(text), NULL);
	at = id ? hmap_put(&s->places, id, 0, NULL) : NULL;
	if (!at)
		return -ENOMEM;
	*at = add_capped(*at, count);
	if (*at > s->most) {
		s->most = *at;
		s->place = id;
	}
	return 0;
}

static int add(struct scan *s, const struct stack_row *row)
{
	bool added = false;
	uint64_t *at = hmap_put(&s->kinds, row->ustack, 0, &added);
	enum spin_kind kind;

	if (!at)
		return -ENOMEM;
	if (added)
		*at = of_stack(s->m, row->ustack);
	kind = (enum spin_kind) * at;
	s->all = add_capped(s->all, row->count);
	if (!kind)
		return 0;
	s->of[kind] = add_capped(s->of[kind], row->count);
	return add_place(s, row->ustack, row->count);
}

static void set_note(struct report *r, const struct scan *s)
{
	static const char *const words[] = {
	        [SPIN_LOCK] = "spinning for a lock",
	        [SPIN_BARRIER] = "spinning at a barrier",
	        [SPIN_OPENMP] = "inside OpenMP's library, most likely spinning at a barrier",
	};
	enum spin_kind most = SPIN_LOCK;
	const char *where = strtab_get(s->names, s->place);

	for (enum spin_kind k = SPIN_BARRIER; k <= SPIN_OPENMP; k++)
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
		r->spinning = add_capped(r->spinning, s.of[k]);
	if (!rc)
		set_note(r, &s);
	hmap_release(&s.kinds);
	hmap_release(&s.places);
	strtab_free(s.names);
	return rc;
}
