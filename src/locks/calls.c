/* SPDX-License-Identifier: MIT */
/* What a system call means for waits, worked out once per site. */
#include <errno.h>
#include <string.h>

#include "locks_priv.h"

#define WAKE_BITS (WK_F_IRQ | WK_F_SOFTIRQ | WK_F_TIMER | WK_F_NMI)

static const struct {
	const char *name;
	unsigned bits;
} calls[] = {
        {"futex", CALL_FUTEX},
        {"futex_wait", CALL_FUTEX},
        {"futex_waitv", CALL_FUTEX},
        {"futex_wake", CALL_FUTEX | CALL_FUTEX_WAKE},
        {"futex_requeue", CALL_FUTEX | CALL_FUTEX_WAKE},
        {"exit", CALL_EXIT},
        {"exit_group", CALL_EXIT_GROUP},
        {"read", CALL_READ},
        {"readv", CALL_READ},
        {"preadv", CALL_READ},
        {"preadv2", CALL_READ},
        {"pread64", CALL_READ},
        {"recvfrom", CALL_READ},
        {"recvmsg", CALL_READ},
        {"recvmmsg", CALL_READ},
        {"accept", CALL_READ | CALL_ACCEPT},
        {"accept4", CALL_READ | CALL_ACCEPT},
        {"write", CALL_WRITE},
        {"writev", CALL_WRITE},
        {"pwritev", CALL_WRITE},
        {"pwritev2", CALL_WRITE},
        {"pwrite64", CALL_WRITE},
        {"sendto", CALL_WRITE},
        {"sendmsg", CALL_WRITE},
        {"sendmmsg", CALL_WRITE},
        {"sendfile", CALL_WRITE},
        {"splice", CALL_WRITE},
        {"tee", CALL_WRITE},
        {"vmsplice", CALL_WRITE},
        {"mq_timedreceive", CALL_READ},
        {"msgrcv", CALL_READ},
        {"mq_timedsend", CALL_WRITE},
        {"msgsnd", CALL_WRITE},
        {"connect", CALL_WRITE},
        {"vfork", CALL_VFORK},
        {"clone", CALL_VFORK},
        {"clone3", CALL_VFORK},
        {"pause", CALL_SIGNAL},
        {"rt_sigsuspend", CALL_SIGNAL},
        {"rt_sigtimedwait", CALL_SIGNAL},
        {"kill", CALL_KILL},
        {"tkill", CALL_KILL},
        {"tgkill", CALL_KILL},
        {"rt_sigqueueinfo", CALL_KILL},
        {"rt_tgsigqueueinfo", CALL_KILL},
        {"pidfd_send_signal", CALL_KILL},
};

static unsigned futex_bits(const struct site *s)
{
	enum {
		WAKE = 1,
		REQUEUE = 3,
		CMP_REQUEUE,
		WAKE_OP,
		UNLOCK_PI = 7,
		WAKE_BITSET = 10,
		CMP_REQUEUE_PI = 12
	};

	switch (s->a[1] & 127) {
	case WAKE:
	case REQUEUE:
	case CMP_REQUEUE:
	case WAKE_OP:
	case UNLOCK_PI:
	case WAKE_BITSET:
	case CMP_REQUEUE_PI:
		return CALL_FUTEX | CALL_FUTEX_WAKE;
	default:
		return s->a[3] ? CALL_FUTEX | CALL_TIMED : CALL_FUTEX;
	}
}

/* Calls for a lock on a file that wait for it: 64-bit processes have one number for each. */
static unsigned file_lock_bits(const struct site *s, const char *name)
{
	enum { SETLKW = 7, OFD_SETLKW = 38, DO_NOT_WAIT = 4 };

	if (!strcmp(name, "flock"))
		return s->a[1] & DO_NOT_WAIT ? 0 : CALL_FILE_LOCK;
	return !strcmp(name, "fcntl") && (s->a[1] == SETLKW || s->a[1] == OFD_SETLKW)
	               ? CALL_FILE_LOCK
	               : 0;
}

static unsigned work_out(const struct build *b, uint32_t site)
{
	const struct site *s = model_site(b->m, site);
	const char *name = s && !s->arch ? syscall_name(b->arch, s->nr) : NULL;

	if (!name)
		return 0;
	if (!strcmp(name, "futex"))
		return CALL_KNOWN | futex_bits(s);
	if (!strcmp(name, "futex_waitv") && s->a[3])
		return CALL_KNOWN | CALL_FUTEX | CALL_TIMED;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (!strcmp(calls[i].name, name))
			return CALL_KNOWN | calls[i].bits;
	return CALL_KNOWN | file_lock_bits(s, name);
}

/* Ids are small and dense in any real file. */
#define CALLS_MAX (1u << 20)

static int learn(struct build *b, uint32_t site)
{
	bool added = false;
	uint64_t *at;

	if (site < CALLS_MAX) {
		while (b->calls.n <= site)
			if (vec_push(&b->calls, 0))
				return -ENOMEM;
		if (site && !b->calls.v[site])
			b->calls.v[site] = (uint16_t)(work_out(b, site) | CALL_SEEN);
		return 0;
	}
	at = hmap_put(&b->far_calls, site, 0, &added);
	if (at && added)
		*at = work_out(b, site);
	return at ? 0 : -ENOMEM;
}

int calls_gather(struct build *b)
{
	for (size_t i = 0; i < model_n_tasks(b->m); i++) {
		const struct task *t = model_task_at(b->m, i);

		for (size_t k = 0; k < t->slices.n; k++)
			if (learn(b, t->slices.v[k].site) || learn(b, t->slices.v[k].waker_site))
				return -ENOMEM;
	}
	return 0;
}

unsigned call_bits(const struct build *b, uint32_t site)
{
	const uint64_t *at;

	if (site < b->calls.n)
		return b->calls.v[site];
	at = hmap_get(&b->far_calls, site, 0);
	return at ? (unsigned)*at : 0;
}

bool slice_timed_out(const struct slice *s)
{
	return !s->waker && s->waker_flags & WAKE_BITS;
}

/* A thread's end clears a word, and lets go of robust locks; that of a process kills its other
 * threads. Who woke it from another call sent it a signal. */
bool slice_posted(const struct build *b, const struct task *t, const struct slice *s)
{
	unsigned bits = call_bits(b, s->waker_site);
	const struct task *waker;

	if (bits & CALL_EXIT_GROUP) {
		waker = model_task(b->m, s->waker);
		return waker && waker->proc != t->proc;
	}
	if (slice_is_file_lock(b, s) || slice_is_sysv(b, s))
		return s->waker && !(bits & CALL_KILL);
	if (s->cause != BLOCK_FUTEX && s->cause != BLOCK_JOIN)
		return s->waker;
	if (bits & CALL_KNOWN)
		return bits & (CALL_FUTEX_WAKE | CALL_EXIT);
	return s->waker;
}

uint32_t slice_owner(const struct build *b, const struct task *t, const struct slice *s,
                     bool shared)
{
	uint32_t owner;

	if (!(s->flags & SW_F_OWNER) || !s->owner)
		return 0;
	owner = model_task_by_ns_tid(b->m, shared ? 0 : t->proc, s->owner, s->out_ns);
	return owner == t->id ? 0 : owner;
}
