/* SPDX-License-Identifier: MIT */
/*
 * ident.c: what locks and channels are, as far as the recorder has to say it: the files that
 * shared futexes lie in, the ends of sockets, what attached tasks have been waiting for, and
 * in the end the data symbols around the futex words that were waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "collect_priv.h"

#define WORDS_MAX   65536u /* futex words remembered; of those beyond no object is told */
#define NAMES_MAX   8192u  /* files whose names are looked up: each reads a process's mappings */
#define OBJECTS_MAX 4096u  /* variables looked up at the end, for the words most waited for */
#define MAPS_MAX    (64u << 20)

#define FUTEX_PRIVATE  0x80
#define NR_FUTEX_WAITV 449
#define NR_FUTEX_WAIT  455

struct futex_word {
	uint64_t addr, uses;
	uint32_t space;
};

struct ident {
	struct drain *d;
	struct trace_writer *w;
	bool by_maps;      /* the kernel does not tell which object a shared futex is of */
	struct hmap words; /* (space, addr) -> index + 1 */
	struct hmap names; /* (dev, inode) -> string id */
	struct hmap keys;  /* (space, addr): told by us */
	VEC(struct futex_word) used;
};

struct ident *ident_new(struct drain *d, struct trace_writer *w)
{
	struct ident *id = calloc(1, sizeof(*id));

	if (id) {
		id->d = d;
		id->w = w;
	}
	return id;
}

void ident_free(struct ident *id)
{
	if (!id)
		return;
	hmap_release(&id->words);
	hmap_release(&id->names);
	hmap_release(&id->keys);
	vec_release(&id->used);
	free(id);
}

void ident_by_maps(struct ident *id)
{
	id->by_maps = true;
}

/* --- mappings of a process --------------------------------------------------------------- */

int maps_find(const char *text, uint64_t addr, struct mapping *out)
{
	const char *last = text + strlen(text);

	while (text < last) {
		const char *end = memchr(text, '\n', (size_t)(last - text));
		size_t n = (size_t)((end ? end : last) - text);
		unsigned major, minor;
		char perms[5] = "", line[128]; /* what is before the path has at most 100 */
		size_t head = n < sizeof(line) ? n : sizeof(line) - 1;
		int at = 0;

		/* sscanf() looks for the end of its text: of all lines that follow, each time. */
		memcpy(line, text, head);
		line[head] = 0;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 "%n",
		           &out->start, &out->end, perms, &out->offset, &major, &minor, &out->inode,
		           &at) == 7 &&
		    (size_t)at <= n && addr >= out->start && addr < out->end) {
			out->dev = major << 20 | minor;
			out->shared = perms[3] == 's';
			while ((size_t)at < n && text[at] == ' ')
				at++;
			out->path = text + at;
			out->path_n = n - (size_t)at;
			return 0;
		}
		text += n + (end != NULL);
	}
	return -ENOENT;
}

/* The mapping of that process around addr; b holds its path's text. */
static int mapping_of(uint32_t pid, uint64_t addr, struct buf *b, struct mapping *out)
{
	char path[32];
	int rc;

	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	rc = read_file_at(AT_FDCWD, path, MAPS_MAX, b);
	if (!rc)
		rc = buf_put(b, "", 1);
	return rc ? rc : maps_find((const char *)b->p, addr, out);
}

static uint32_t path_string(struct ident *id, const struct mapping *m)
{
	char path[4096];
	size_t n = m->path_n < sizeof(path) ? m->path_n : sizeof(path) - 1;

	memcpy(path, m->path, n);
	path[n] = 0;
	return drain_string(id->d, path);
}

/* --- shared futexes -------------------------------------------------------------------------- */

static int put_key(struct ident *id, uint64_t ts, const struct rec_futex_key *r)
{
	return trace_write(id->w, REC_K_FUTEX_KEY, ts, r);
}

/* A fixed array that need not end in a NUL. */
static uint32_t leaf_string(struct ident *id, const char leaf[MT_LEAF])
{
	char name[MT_LEAF + 1];

	memcpy(name, leaf, MT_LEAF);
	name[MT_LEAF] = 0;
	return drain_string(id->d, name);
}

/* The path as the process's mappings have it; what the kernel said when the process has gone. */
static uint32_t key_name(struct ident *id, const struct mt_futex_key *e, uint32_t pid)
{
	uint64_t *name = e->inode ? hmap_get(&id->names, e->dev, e->inode) : NULL;
	uint32_t path = 0;
	struct buf b = {0};
	struct mapping m;

	if (name || !e->inode)
		return name ? (uint32_t)*name : 0;
	if (pid && id->names.n < NAMES_MAX && !mapping_of(pid, e->addr, &b, &m) && m.shared &&
	    m.inode == e->inode) {
		path = path_string(id, &m);
		name = hmap_put(&id->names, e->dev, e->inode, NULL);
		if (name)
			*name = path;
	}
	buf_release(&b);
	return path ? path : leaf_string(id, e->name);
}

int ident_futex_key(struct ident *id, const struct mt_futex_key *e, uint32_t pid)
{
	struct rec_futex_key r = {.space = e->space,
	                          .addr = e->addr,
	                          .dev = e->dev,
	                          .inode = e->inode,
	                          .generation = e->generation,
	                          .offset = e->offset,
	                          .file = key_name(id, e, pid)};

	return put_key(id, e->h.ts, &r);
}

/* Before Linux 5.17, where the programs cannot tell: from /proc, once per address. */
static int key_from_maps(struct ident *id, const struct mt_switch *e, uint32_t space, uint32_t pid)
{
	struct rec_futex_key r = {.space = space, .addr = e->addr};
	struct buf b = {0};
	struct mapping m;
	bool added = false;
	int rc = 0;

	if (id->keys.n >= WORDS_MAX || !hmap_put(&id->keys, space, e->addr, &added) || !added)
		return 0;
	if (!mapping_of(pid, e->addr, &b, &m) && m.shared && m.inode) {
		r.dev = m.dev;
		r.inode = m.inode;
		r.offset = m.offset + (e->addr - m.start);
		r.file = path_string(id, &m);
		rc = put_key(id, e->h.ts, &r);
	}
	buf_release(&b);
	return rc;
}

static bool is_shared(const struct mt_switch *e)
{
	if (e->nr == NR_FUTEX_WAIT)
		return !(e->args.a3 & FUTEX_PRIVATE);
	/* Of futex_waitv the flags are in memory: it is not looked up here. */
	return e->nr != NR_FUTEX_WAITV && !(e->args.a1 & FUTEX_PRIVATE);
}

/* Counts a wait on that word. */
static int word_used(struct ident *id, uint32_t space, uint64_t addr)
{
	struct futex_word word = {.addr = addr, .space = space, .uses = 1};
	uint64_t *i = hmap_get(&id->words, space, addr);

	if (i) {
		id->used.v[*i - 1].uses++;
		return 0;
	}
	if (id->words.n >= WORDS_MAX)
		return 0;
	i = hmap_put(&id->words, space, addr, NULL);
	if (!i || vec_push(&id->used, word))
		return -ENOMEM;
	*i = id->used.n;
	return 0;
}

int ident_word(struct ident *id, uint32_t space, uint64_t addr)
{
	return addr ? word_used(id, space, addr) : 0;
}

int ident_wait(struct ident *id, const struct mt_switch *e, uint32_t space, uint32_t pid)
{
	int rc = word_used(id, space, e->park ? e->park : e->addr);

	return !rc && id->by_maps && is_shared(e) ? key_from_maps(id, e, space, pid) : rc;
}

/* --- files ------------------------------------------------------------------------------- */

/* An IPv6 socket that speaks IPv4 is the other end of one that only knows IPv4. */
static bool is_v4_mapped(const uint8_t a[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(a, prefix, sizeof(prefix));
}

/* Of a long path of a UNIX socket the kernel's side sent the end. */
static uint32_t file_name(struct ident *id, const struct mt_file *e)
{
	char name[MT_LEAF + 4];

	if (e->family != AF_UNIX || strnlen(e->name, MT_LEAF) < MT_LEAF - 1 ||
	    strchr("/@", e->name[0]))
		return leaf_string(id, e->name);
	snprintf(name, sizeof(name), "…%.*s", MT_LEAF, e->name);
	return drain_string(id->d, name);
}

int ident_file(struct ident *id, const struct mt_file *e)
{
	struct rec_file r = {.id = e->id,
	                     .kind = e->kind,
	                     .dev = e->dev,
	                     .inode = e->inode,
	                     .peer = e->peer,
	                     .family = e->family,
	                     .lport = e->lport,
	                     .rport = e->rport};

	if (e->family == AF_INET6 && is_v4_mapped(e->laddr) && is_v4_mapped(e->raddr)) {
		r.family = AF_INET;
		r.laddr = (struct rec_bytes){e->laddr + 12, 4};
		r.raddr = (struct rec_bytes){e->raddr + 12, 4};
	} else if (e->family == AF_INET || e->family == AF_INET6) {
		r.laddr = (struct rec_bytes){e->laddr, e->family == AF_INET ? 4 : 16};
		r.raddr = (struct rec_bytes){e->raddr, e->family == AF_INET ? 4 : 16};
	}
	r.name = file_name(id, e);
	return trace_write(id->w, REC_K_FILE, e->h.ts, &r);
}

/* --- tasks that were blocked before the recording ---------------------------------------- */

/* Is the task still in that very call? What was read between two looks belongs to the wait. */
static bool still_waits(const struct mt_task *e)
{
	unsigned long long a0, a1, a2, a3, a4, a5, sp;
	char path[64], text[256];
	struct buf b = {0};
	int nr;
	bool same;

	snprintf(path, sizeof(path), "/proc/%u/task/%u/syscall", e->tgid, e->tid);
	if (read_file_at(AT_FDCWD, path, sizeof(text), &b) || buf_put(&b, "", 1)) {
		buf_release(&b);
		return false;
	}
	same = sscanf((const char *)b.p, "%d %llx %llx %llx %llx %llx %llx %llx", &nr, &a0, &a1,
	              &a2, &a3, &a4, &a5, &sp) == 8 &&
	       nr == e->nr && a0 == e->args.a0 && a1 == e->args.a1 && sp == e->sp;
	buf_release(&b);
	return same;
}

static uint64_t futex_address(const struct mt_task *e)
{
	struct {
		uint64_t val, uaddr;
		uint32_t flags, reserved;
	} v;

	if (e->nr != NR_FUTEX_WAITV)
		return e->args.a0;
	return process_read(e->tgid, e->args.a0, &v, sizeof(v)) ? v.uaddr : 0;
}

int ident_attached(struct ident *id, const struct mt_task *e, struct rec_task *r)
{
	const uint64_t park_bytes = 1024; /* as in the programs */
	uint32_t words[3];
	uint64_t addr = 0, park = 0, flags;
	bool words_ok, owner_ok;

	r->wait_flags = e->wait_flags & ~(uint64_t)SW_F_FUTEX;
	if (!(e->wait_flags & SW_F_FUTEX))
		return 0;
	addr = futex_address(e);
	if (!addr)
		return 0;
	r->wait_flags |= SW_F_FUTEX;
	r->addr = addr;
	owner_ok = process_read(e->tgid, addr, words, sizeof(words));
	words_ok = owner_ok || process_read(e->tgid, addr, words, sizeof(words[0]));
	if (addr - e->sp < park_bytes)
		process_read(e->tgid, addr - sizeof(park), &park, sizeof(park));
	if (!still_waits(e))
		return 0;
	flags = (words_ok ? SW_F_WORD : 0) | (owner_ok ? SW_F_OWNER : 0);
	r->wait_flags |= flags;
	r->word = words_ok ? words[0] : 0;
	r->owner = owner_ok ? words[2] : 0;
	r->park = park;
	return word_used(id, e->space, park ? park : addr);
}

/* --- the end: variables around futex words ----------------------------------------------- */

static int by_uses(const void *a, const void *b)
{
	const struct futex_word *x = a, *y = b;

	return x->uses < y->uses ? 1 : x->uses > y->uses ? -1 : 0;
}

int ident_objects(struct ident *id, struct symbolizer *sym)
{
	struct symbol_object o;
	int rc = 0;

	if (id->used.n)
		qsort(id->used.v, id->used.n, sizeof(id->used.v[0]), by_uses);
	for (size_t i = 0; i < id->used.n && i < OBJECTS_MAX && !rc; i++) {
		const struct futex_word *w = &id->used.v[i];
		struct rec_object r = {.space = w->space, .addr = w->addr};

		if (symbolizer_object(sym, w->space, w->addr, &o))
			continue;
		r.name = drain_string(id->d, o.name);
		r.module = drain_string(id->d, o.module);
		r.off = o.off;
		r.size = o.size;
		rc = trace_write(id->w, REC_K_OBJECT, 0, &r);
	}
	return rc;
}
