/* SPDX-License-Identifier: MIT */
/*
 * gil.bpf.c: CPython's global interpreter locks, as the memory of their processes shows them.
 *
 * A GIL is `struct _gil_runtime_state`, of the same layout from 3.8 to 3.14 (free-threaded builds
 * put one more field in front): interval, last_holder, locked, switch_number, two condition
 * variables and two mutexes. A thread waits for it in turns of the interval, on a word of the
 * first condition variable: a private FUTEX_WAIT_BITSET with a timeout. So the address of every
 * such wait is looked at, whether a GIL lies around it; no symbol is needed for that. Where user
 * space knows the address already, it leaves a hint.
 *
 * Under musl the word is another one: see gil_awaited().
 *
 * Once known, 32 bytes are read in the hooks that run anyway, in the context of a task of that
 * address space.
 */
#include "core.bpf.h"
#include "regs.bpf.h"

#define GILS_MAX     4    /* per space: the main interpreter's, and sub-interpreters' own */
#define TRIES_WORD   8    /* an address that was something else may become a GIL: not often */
#define TRIES_HINT   5000 /* the interpreter starts: looks at each switch meanwhile */
#define INTERVAL_MAX 10000000
#define USER_MAX     (1ULL << 56)

#define OFF_COND         32
#define OFF_MUTEX        80
#define OFF_SWITCH_COND  120
#define OFF_SWITCH_MUTEX 168
#define COND_WREFS       0x24 /* glibc to 2.40 */
#define COND_WREFS_241   0x1c
#define MUTEX_KIND       16

struct gil_head {
	u64 interval, holder;
	u32 locked, pad;
	u64 switches;
};

struct gil_slot {
	u64 addr;
	u32 id;
	u32 nodes; /* its condition variables have lists of nodes, see gil_awaited() */
};

struct space_gils {
	u32 n, pad; /* slots taken, also beyond what there is room for */
	struct gil_slot slots[GILS_MAX];
};

struct gil_at {
	u64 addr;
	u32 space, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct space_gils);
} space_gils SEC(".maps");

/* Who comes first gives a GIL its id. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct gil_at);
	__type(value, u32);
} gils_known SEC(".maps");

/* Words of timed waits that are no GIL's: how often it was looked. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct gil_at);
	__type(value, u32);
} words_tried SEC(".maps");

/* Space -> where its main interpreter's GIL will be; written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct mt_gil_hint);
} gil_hints SEC(".maps");

__u32 last_gil_id = 0;
volatile __u32 gil_generation = 0;

static __always_inline u32 word_at(u64 addr)
{
	u32 v = ~0u;

	bpf_probe_read_user(&v, sizeof(v), (void *)addr);
	return v;
}

/* Two low bits of __wrefs: 2 = waits by CLOCK_MONOTONIC. */
static __always_inline bool is_cond(u64 addr)
{
	return (word_at(addr + COND_WREFS) & 3) == 2 || (word_at(addr + COND_WREFS_241) & 3) == 2;
}

static __always_inline bool is_mutex(u64 addr)
{
	return word_at(addr) < 3 && !word_at(addr + MUTEX_KIND);
}

static __always_inline bool is_head(const struct gil_head *h)
{
	return h->interval && h->interval <= INTERVAL_MAX && h->locked <= 1 && !(h->holder & 7) &&
	       h->holder < USER_MAX && (!h->holder || h->holder > 4096);
}

/* Does a GIL begin at this address? (Not one that is not yet in use: locked is -1 then.) */
__noinline u32 gil_signature(u64 addr)
{
	struct gil_head h;

	if (bpf_probe_read_user(&h, sizeof(h), (void *)addr) || !is_head(&h))
		return 0;
	return is_cond(addr + OFF_COND) && is_mutex(addr + OFF_MUTEX) &&
	       is_cond(addr + OFF_SWITCH_COND) && is_mutex(addr + OFF_SWITCH_MUTEX);
}

/* On a stack of its own: what is called further on has little of it left. */
__noinline u32 slots_begin(u32 space)
{
	struct space_gils fresh = {};

	return (u32)bpf_map_update_elem(&space_gils, &space, &fresh, BPF_NOEXIST);
}

static __always_inline void slot_add(u32 space, u64 addr, u32 id)
{
	struct space_gils *g = bpf_map_lookup_elem(&space_gils, &space);
	u32 i;

	if (!g) {
		slots_begin(space);
		g = bpf_map_lookup_elem(&space_gils, &space);
		if (!g)
			return;
	}
	i = __sync_fetch_and_add(&g->n, 1);
	if (i >= GILS_MAX)
		return;
	g->slots[i].addr = addr;
	g->slots[i].nodes = !is_cond(addr + OFF_COND);
	g->slots[i].id = id;
}

/*
 * musl (src/thread/pthread_cond_timedwait.c): who waits for a condition variable lays a node on its
 * own stack, puts it in front of the condition's list and waits on a word of the node. Whose
 * condition it is, is known only by that list.
 */
#define NODE_NEXT    8
#define NODE_WORD    20
#define COND_LIST    8
#define NODES_BEFORE 8 /* that others put in front of it meanwhile */

static __always_inline bool in_list(u64 cond, u64 node)
{
	u64 at = cond + COND_LIST, p;

	for (int i = 0; i <= NODES_BEFORE; i++) {
		if (bpf_probe_read_user(&p, sizeof(p), (void *)at) || !p)
			return false;
		if (p == node)
			return true;
		at = p + NODE_NEXT;
	}
	return false;
}

__noinline u32 gil_awaited(u64 gil, u64 uaddr)
{
	u64 node = uaddr - NODE_WORD;

	if (in_list(gil + OFF_COND, node))
		return OFF_COND;
	return in_list(gil + OFF_SWITCH_COND, node) ? OFF_SWITCH_COND : 0;
}

/* Gives the GIL an id and tells of it; 0 = it has one already. */
__noinline u32 gil_add(u32 space, u64 addr, u32 task, u64 ts)
{
	struct gil_at at = {.addr = addr, .space = space};
	struct mt_gil_ev *e;
	u32 id = 0;

	if (bpf_map_update_elem(&gils_known, &at, &id, BPF_NOEXIST))
		return 0;
	id = __sync_fetch_and_add(&last_gil_id, 1) + 1;
	slot_add(space, addr, id);
	e = ring_reserve(mt_gil_ev, ts, MT_EV_GIL, task);
	if (e) {
		e->addr = addr;
		e->space = space;
		e->id = id;
		ring_submit(e);
	}
	return id;
}

/* A timed wait on this word: of a GIL's first condition variable? */
__noinline u32 gil_detect(u32 space, u64 uaddr, u32 task, u64 ts)
{
	struct gil_at at = {.addr = uaddr, .space = space};
	u32 one = 1, *tried = bpf_map_lookup_elem(&words_tried, &at);
	u64 addr = (uaddr & ~7ULL) - 0x48;

	if (tried) {
		if (*tried >= TRIES_WORD)
			return 0;
		(*tried)++;
	} else {
		bpf_map_update_elem(&words_tried, &at, &one, BPF_ANY);
	}
	if (!gil_signature(addr)) {
		addr += 8; /* glibc 2.41 */
		if (!gil_signature(addr))
			return 0;
	}
	if (gil_add(space, addr, task, ts))
		__sync_fetch_and_add(&gil_generation, 1);
	return 1;
}

void gil_fork(u32 parent, u32 child, u32 task, u64 ts)
{
	struct space_gils *g = bpf_map_lookup_elem(&space_gils, &parent);

	if (!g)
		return;
	for (int i = 0; i < GILS_MAX; i++)
		if (g->slots[i].id)
			gil_add(child, g->slots[i].addr, task, ts);
}

/* Address of a GIL that symbols lead to, once it is in use; 0 = not yet. Its C library may be
 * another than the signature's. */
static __always_inline u64 hinted(const struct mt_gil_hint *hint)
{
	u64 addr = hint->addr, interp = 0;
	struct gil_head h;

	if (!addr) {
		bpf_probe_read_user(&interp, sizeof(interp), (void *)hint->head);
		if (interp)
			bpf_probe_read_user(&addr, sizeof(addr), (void *)(interp + hint->off));
	}
	if (!addr || bpf_probe_read_user(&h, sizeof(h), (void *)addr) || !is_head(&h))
		return 0;
	return addr;
}

/* Takes over what is known of the task's space by now. */
static __always_inline void refresh(struct task_state *s, u64 ts)
{
	u32 space = s->space, generation = gil_generation;
	struct mt_gil_hint *hint = bpf_map_lookup_elem(&gil_hints, &space);
	struct space_gils *g;

	if (hint && hint->tries < TRIES_HINT) {
		u64 addr = hinted(hint);

		hint->tries++;
		if (addr) {
			gil_add(space, addr, s->id, ts);
			hint->tries = TRIES_HINT;
		} else {
			generation--; /* look again next time */
		}
	}
	g = bpf_map_lookup_elem(&space_gils, &space);
	s->gil_n = g ? g->n : 0;
	s->gil_id = g ? g->slots[0].id : 0;
	s->gil_addr = g ? g->slots[0].addr : 0;
	s->gil_nodes = g ? g->slots[0].nodes : 0;
	s->gil_generation = generation;
}

/* Is the thread state the current thread's? Its thread_id is the thread pointer, at an offset
 * that differs between versions: 136 (3.12), 152 (3.11, from 3.13), 176 (3.8 to 3.10). */
static __always_inline bool is_mine(u64 tstate, u64 tp)
{
	u64 w[6];

	if (!tp || bpf_probe_read_user(w, sizeof(w), (void *)(tstate + 136)))
		return false;
	return w[0] == tp || w[2] == tp || w[5] == tp;
}

static __always_inline bool read_slot(u64 addr, u32 id, struct mt_gil *out)
{
	struct gil_head h;

	/* Memory that was a GIL's may be something else by now. */
	if (!addr || bpf_probe_read_user(&h, sizeof(h), (void *)addr) || !is_head(&h))
		return false;
	out->holder = h.holder;
	out->switches = h.switches;
	out->locked = h.locked;
	out->id = id;
	return true;
}

/* Several GILs: the one that the futex is a word of, else the one that this thread had last. */
static __always_inline void choose(struct task_state *s, u64 uaddr, u64 tp)
{
	struct space_gils *g;
	struct gil_head h;
	u32 space = s->space;
	u32 mine = GILS_MAX;

	g = bpf_map_lookup_elem(&space_gils, &space);
	if (!g)
		return;
	for (int i = 0; i < GILS_MAX; i++) {
		const struct gil_slot *slot = &g->slots[i];

		if (!slot->id)
			continue;
		if (uaddr - slot->addr < MT_GIL_BYTES) {
			mine = i;
			break;
		}
		if (mine == GILS_MAX && !bpf_probe_read_user(&h, sizeof(h), (void *)slot->addr) &&
		    is_head(&h) && h.locked && h.holder &&
		    (h.holder == s->tstate || is_mine(h.holder, tp)))
			mine = i;
	}
	if (mine < GILS_MAX) {
		s->gil_addr = g->slots[mine].addr;
		s->gil_id = g->slots[mine].id;
		s->gil_nodes = g->slots[mine].nodes;
	}
}

__noinline u32 gil_read(struct task_state *s, struct mt_gil *out, u64 uaddr, u32 flags, u64 ts)
{
	struct mt_pythread *e;
	u64 tp;

	if (!s || !out)
		return 0;
	if (s->gil_generation != gil_generation)
		refresh(s, ts);
	if ((flags & GIL_TIMED) && uaddr - s->gil_addr >= MT_GIL_BYTES) {
		gil_detect(s->space, uaddr, s->id, ts);
		if (s->gil_generation != gil_generation)
			refresh(s, ts);
	}
	if (!s->gil_n)
		return 0;
	tp = thread_pointer(bpf_get_current_task_btf());
	if (s->gil_n > 1)
		choose(s, uaddr, tp);
	if (!read_slot(s->gil_addr, s->gil_id, out))
		return 0;
	if (!(flags & GIL_MINE) || !out->holder || out->holder == s->tstate ||
	    !is_mine(out->holder, tp))
		return 1;
	s->tstate = out->holder;
	e = ring_reserve(mt_pythread, ts, MT_EV_PYTHREAD, s->id);
	if (e) {
		e->tstate = s->tstate;
		ring_submit(e);
	}
	return 1;
}
