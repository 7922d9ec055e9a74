/* SPDX-License-Identifier: MIT */
/*
 * holds.c: who holds the locks that tasks still wait for when the recording stops, by what their
 * memory says: a mutex's owner word as it is now, and for Python's locks pylocks.c; for locks on
 * files what the kernel says, filelocks.c. In a deadlock nothing happens any more, so nothing else
 * would tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "holds_priv.h"

#define WAITS_MAX 4096u /* looked at: each is a file of /proc */

#define FUTEX_CMD_MASK  0x7f
#define FUTEX_PRIVATE   0x80
#define FUTEX_LOCK_PI   6
#define FUTEX_LOCK_PI2  13
#define FUTEX_TID_MASK  0x3fffffff
#define MUTEX_CONTENDED 2 /* glibc's low-level lock: held, and somebody waits */

int holds_put(struct holds *h, uint32_t task, const struct held_wait *w, uint64_t evidence)
{
	struct rec_holds r = {
	        .task = task, .space = w->space, .addr = w->addr, .evidence = evidence};

	return trace_write(h->w, REC_K_HOLDS, h->ts, &r);
}

/* Still in the futex call that its last switch-out began; its command. */
static bool still_waits(const struct live_task *t, uint32_t *op)
{
	unsigned long long addr = 0, arg = 0;
	struct buf b = {0};
	char path[64];
	int nr = -1, n = 0;

	snprintf(path, sizeof(path), "/proc/%u/task/%u/syscall", t->tgid, t->tid);
	if (!read_file_at(AT_FDCWD, path, 256, &b) && !buf_put(&b, "", 1))
		n = sscanf((const char *)b.p, "%d %llx %llx", &nr, &addr, &arg);
	buf_release(&b);
	*op = (uint32_t)arg;
	return n == 3 && nr == SYS_futex && addr == t->wait_addr;
}

static int collect_waits(struct holds *h)
{
	struct live_task *t;
	size_t pos = 0, looked = 0;
	uint64_t *id;
	uint32_t op;

	while ((t = drain_next_alive(h->d, &pos))) {
		struct held_wait w = {.task = t->id, .pid = t->tgid, .space = t->space};

		id = hmap_put(&h->by_ns_tid, t->ns_tid, 0, NULL);
		if (!id)
			return -ENOMEM;
		*id = h->tasks.n + 1;
		if (vec_push(&h->tasks, *t))
			return -ENOMEM;
		if (!t->wait_addr || looked++ >= WAITS_MAX || !still_waits(t, &op))
			continue;
		w.word = t->wait_addr;
		w.addr = t->wait_park ? t->wait_park : t->wait_addr;
		w.op = op;
		if (vec_push(&h->waits, w))
			return -ENOMEM;
	}
	return 0;
}

const struct live_task *holds_task(const struct holds *h, uint32_t ns_tid)
{
	const uint64_t *i = ns_tid ? hmap_get(&h->by_ns_tid, ns_tid, 0) : NULL;

	return i ? &h->tasks.v[*i - 1] : NULL;
}

/* The owner that the words at the futex name, when they look like a mutex's. */
static int by_owner_word(struct holds *h, const struct held_wait *w)
{
	uint32_t cmd = w->op & FUTEX_CMD_MASK, words[3], owner = 0;
	const struct live_task *t;

	if (w->addr != w->word || !process_read(w->pid, w->word, words, sizeof(words)))
		return 0;
	if (cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2)
		owner = words[0] & FUTEX_TID_MASK;
	else if (words[0] == MUTEX_CONTENDED)
		owner = words[2];
	t = holds_task(h, owner);
	if (!t || (t->space != w->space && w->op & FUTEX_PRIVATE))
		return 0;
	return holds_put(h, t->id, w, HOLD_OWNER_WORD);
}

int holds_write(struct drain *d, struct trace_writer *w, const struct pyspaces *py)
{
	struct holds h = {.d = d, .w = w, .py = py, .ts = now_ns()};
	int rc = collect_waits(&h);

	for (size_t i = 0; i < h.waits.n && !rc; i++)
		rc = by_owner_word(&h, &h.waits.v[i]);
	if (!rc)
		rc = filelocks_write(&h);
	if (!rc && py)
		rc = pylocks_write(&h);
	hmap_release(&h.by_ns_tid);
	vec_release(&h.tasks);
	vec_release(&h.waits);
	return rc;
}
