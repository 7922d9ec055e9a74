/* SPDX-License-Identifier: MIT */
/*
 * room.c: the array of all tables is as large as it is, and a long recording of many programs
 * may have more files than go in. Then those give way that no stack led to since they were last
 * asked: the kernel side marks a file when it looks for its table (not for each frame; many it
 * finds in its cache, without the table), and a hand goes round over all files, taking the
 * marks away and the files that have none (the clock algorithm of page replacement). Files
 * whose processes have gone are never marked again. A file that is wanted after all is made
 * anew.
 *
 * A program may have more libraries than go in, and most are never seen in a stack. What is made
 * ahead of any is not worth those that came just before: they are the same program's. Where a stack
 * has led to one, those that none has led to yet give way first; they lie at the array's other end,
 * so that it does not take all the others, too, to make room for a large one.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "tables_priv.h"

#define FILES_FREE 256           /* slots that evicting makes free at once */
#define ROOM_SHARE 8             /* … and this part of the array */
#define ROUNDS_MAX 3             /* the marks may come back while the hand goes round */
#define FRESH_NS   2000000000ull /* so long a file has come just before */

struct extent {
	uint32_t first, n;
};
typedef VEC(struct extent) extent_vec;

static int compare(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* The first place between tables where n words go, or the last. */
static int find_gap(const struct tables *t, uint32_t n, bool last, uint32_t *first)
{
	extent_vec used = {0};
	uint32_t at = 0;
	int rc = -ENOSPC;

	for (size_t i = 0; i < t->files.n; i++) {
		const struct table_file *f = &t->files.v[i];
		const struct extent e = {f->first, f->n_words};

		if (e.n && vec_push(&used, e))
			goto out;
	}
	if (used.n)
		qsort(used.v, used.n, sizeof(used.v[0]), compare);
	for (size_t i = 0; i <= used.n; i++) {
		uint32_t end = i < used.n ? used.v[i].first : t->n_words;

		if (end - at >= n) {
			*first = last ? end - n : at;
			rc = 0;
			if (!last)
				break;
		}
		if (i < used.n)
			at = end + used.v[i].n;
	}
out:
	vec_release(&used);
	return rc;
}

static bool in_use(struct tables *t, struct table_file *f, bool ask, uint64_t fresh_ns)
{
	struct mt_file_table v;

	if (f->key == MT_FILE_KEY_VDSO || !f->answered || f->since_ns > fresh_ns)
		return true;
	if (!ask || bpf_map_lookup_elem(t->k.files_fd, &f->key, &v) || !v.used)
		return false;
	v.used = 0;
	f->ahead = false;
	return !bpf_map_update_elem(t->k.files_fd, &f->key, &v, BPF_EXIST);
}

/* Has a stack led to the file by now? */
static bool is_seen(const struct tables *t, struct table_file *f)
{
	struct mt_file_table v;

	if (f->ahead && !bpf_map_lookup_elem(t->k.files_fd, &f->key, &v) && v.used)
		f->ahead = false;
	return !f->ahead;
}

/* Those that no stack has led to, until so many words are free: the last ones first, as a program's
 * own libraries come before those that they need. How many files; *freed: words. */
static uint32_t evict_unseen(struct tables *t, uint32_t words, uint32_t *freed)
{
	uint32_t n = 0;

	for (size_t i = t->files.n; i-- > 0 && *freed < words;) {
		struct table_file *f = &t->files.v[i];

		if (!f->n_words || f->key == MT_FILE_KEY_VDSO || is_seen(t, f))
			continue;
		*freed += f->n_words;
		n++;
		tables_forget(t, (uint32_t)i + 1);
	}
	return n;
}

/* Until so many words and slots are free that were not; or there is nothing more to take: false =
 * nothing at all. What has come after fresh_ns stays. */
static bool evict(struct tables *t, uint32_t words, uint32_t slots, uint64_t fresh_ns)
{
	size_t steps = t->files.n * (ROUNDS_MAX + 1);
	uint32_t freed = 0, n = fresh_ns == UINT64_MAX ? evict_unseen(t, words, &freed) : 0;

	for (size_t i = 0; i < steps && (freed < words || n < slots); i++) {
		uint32_t at = t->hand++ % (uint32_t)t->files.n;
		struct table_file *f = &t->files.v[at];

		if (!f->key || in_use(t, f, i < t->files.n * ROUNDS_MAX, fresh_ns))
			continue;
		freed += f->n_words;
		n++;
		tables_forget(t, at + 1);
	}
	t->totals.evicted += n;
	/* Who still walks by one of these has got it before now, with preemption off. */
	if (n && syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(1000);
	return n;
}

int room_take(struct tables *t, uint32_t n, bool ahead, uint32_t *first)
{
	uint32_t share = t->n_words / ROOM_SHARE;
	uint64_t fresh_ns = ahead ? now_ns() - FRESH_NS : UINT64_MAX;

	if (n > t->n_words)
		return -ENOSPC;
	for (int tries = 0; find_gap(t, n, ahead, first); tries++) {
		if (tries > ROOM_SHARE || !evict(t, n > share ? n : share, 0, fresh_ns))
			return -ENOSPC;
	}
	return 0;
}

static uint32_t free_slot(const struct tables *t)
{
	for (size_t i = 0; i < t->files.n; i++)
		if (!t->files.v[i].key)
			return (uint32_t)i + 1;
	return 0;
}

uint32_t room_id(struct tables *t)
{
	const struct table_file none = {0};

	if (t->files.n < MT_FILES_MAX - FILES_FREE && !vec_push(&t->files, none))
		return (uint32_t)t->files.n;
	if (t->files.n && !free_slot(t))
		evict(t, 0, FILES_FREE, UINT64_MAX);
	return free_slot(t);
}
