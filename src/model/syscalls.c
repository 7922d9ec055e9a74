/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "model_priv.h"
#include "syscall_table.h"

enum call_class {
	CLASS_OTHER,
	CLASS_FUTEX,
	CLASS_SLEEP,
	CLASS_POLL,
	CLASS_SOCKET,
	CLASS_CHILD,
	CLASS_FILE,
	CLASS_FD,
	CLASS_CLONE,
};

struct call {
	const char *name;
	int16_t x86_64, aarch64;
	uint8_t cls;
};

static const struct call calls[] = {
#define S(call, x86_64, aarch64, cls) {#call, x86_64, aarch64, CLASS_##cls},
        SYSCALLS(S)
#undef S
};

/* A few hundred rows, once per site: a search is fast enough. */
static const struct call *call_find(const char *arch, int32_t nr)
{
	bool x86_64 = !strcmp(arch, "x86_64");

	if (nr < 0 || (!x86_64 && strcmp(arch, "aarch64") && strcmp(arch, "arm64")))
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if ((x86_64 ? calls[i].x86_64 : calls[i].aarch64) == nr)
			return &calls[i];
	return NULL;
}

const char *syscall_name(const char *arch, int32_t nr)
{
	const struct call *call = call_find(arch, nr);

	return call ? call->name : NULL;
}

static enum block_cause fd_cause(uint8_t kind)
{
	switch (kind) {
	case FD_FILE:
	case FD_BLOCK:
		return BLOCK_FILE;
	case FD_PIPE:
		return BLOCK_PIPE;
	case FD_SOCKET:
		return BLOCK_SOCKET;
	default:
		return BLOCK_OTHER;
	}
}

/* clone waits for the child only after vfork; clone3 has its flags in memory, and the one
 * caller that waits there is posix_spawn, which asks for that. */
static enum block_cause clone_cause(const struct call *call, const struct site *site)
{
	const uint64_t clone_vfork = 0x4000;

	if (!strcmp(call->name, "clone3") || site->a[0] & clone_vfork)
		return BLOCK_CHILD;
	return BLOCK_OTHER;
}

/* Of no descriptors, for a time: how sleep was written, and Python's up to 3.10. */
static bool polls_nothing(const struct call *call, const struct site *site)
{
	if (!strcmp(call->name, "select") || !strcmp(call->name, "pselect6"))
		return !site->a[0];
	if (!strcmp(call->name, "poll"))
		return !site->a[1] && (int32_t)site->a[2] > 0;
	return !strcmp(call->name, "ppoll") && !site->a[1] && site->a[2];
}

enum block_cause syscall_cause(const char *arch, const struct site *site)
{
	/* A 32-bit process has other numbers: better no cause than a wrong one. */
	const struct call *call = site->arch ? NULL : call_find(arch, site->nr);

	if (!call)
		return BLOCK_OTHER;
	switch ((enum call_class)call->cls) {
	case CLASS_FUTEX:
		return BLOCK_FUTEX;
	case CLASS_SLEEP:
		return BLOCK_SLEEP;
	case CLASS_POLL:
		return polls_nothing(call, site) ? BLOCK_SLEEP : BLOCK_POLL;
	case CLASS_SOCKET:
		return BLOCK_SOCKET;
	case CLASS_CHILD:
		return BLOCK_CHILD;
	case CLASS_FILE:
		return BLOCK_FILE;
	case CLASS_FD:
		return fd_cause(site->fd_kind);
	case CLASS_CLONE:
		return clone_cause(call, site);
	case CLASS_OTHER:
		break;
	}
	return BLOCK_OTHER;
}

/* futex has op and flags in its second argument; futex_wait its flags in the fourth, and
 * futex_waitv per word: both wait as WAIT_BITSET does. */
static void set_futex(struct lsite *s, const char *name)
{
	const uint32_t private_flag = 128, wait = 0, wait_bitset = 9, lock_pi = 6, lock_pi2 = 13;

	s->is_futex = true;
	s->op = wait_bitset;
	if (!strcmp(name, "futex")) {
		s->op = s->s.a[1] & (private_flag - 1);
		s->is_private = s->s.a[1] & private_flag;
		s->is_pi = s->op == lock_pi || s->op == lock_pi2;
		s->maybe_join = !s->is_private && (s->op == wait || s->op == wait_bitset);
	} else if (!strcmp(name, "futex_wait")) {
		s->is_private = s->s.a[3] & private_flag;
	}
}

int on_site(struct model *m, uint64_t ts, const struct rec_site *r)
{
	struct lsite s = {
	        .s =
	                {
	                        .nr = (int32_t)(r->nr_plus1 & INT32_MAX) - 1,
	                        .a = {r->a0, r->a1, r->a2, r->a3},
	                        .arch = r->arch & 0xff,
	                        .fd_kind = r->arch >> 8 & 0xff,
	                },
	};
	const char *name;

	(void)ts;
	if (!id32(r->id))
		return 0;
	s.cause = syscall_cause(m->arch, &s.s);
	name = s.s.arch ? NULL : syscall_name(m->arch, s.s.nr);
	s.resumes = name && !strcmp(name, "restart_syscall");
	if (s.cause == BLOCK_FUTEX)
		set_futex(&s, name);
	if (idmap_put(&m->site_ids, r->id, (uint32_t)m->sites.n))
		return -ENOMEM;
	return vec_push(&m->sites, s);
}

const struct lsite *site_get(const struct model *m, uint64_t id)
{
	uint32_t i = id ? idmap_get(&m->site_ids, id) : NO_INDEX;

	return i == NO_INDEX ? NULL : &m->sites.v[i];
}

const struct site *model_site(const struct model *m, uint32_t id)
{
	const struct lsite *s = site_get(m, id);

	return s ? &s->s : NULL;
}

int shell_status(uint64_t wait_status)
{
	unsigned signal = wait_status & 0x7f;

	return signal ? 128 + (int)signal : (int)(wait_status >> 8 & 0xff);
}
