/* SPDX-License-Identifier: MIT */
/* What futex words and descriptors refer to: keys of shared words, data symbols, files. */
#include <errno.h>
#include <string.h>

#include "model_priv.h"

#define MAX_OBJECTS (1u << 20)

/* While loading, names are string ids of the trace, kept in the pointer's place. */
static const char *name_later(uint64_t string)
{
	return (const char *)(uintptr_t)id32(string);
}

static const char *name_now(const struct model *m, const char *later)
{
	return model_text(m, (uintptr_t)later);
}

/* --- sockets of the internet: which file is the other end ---------------------------- */

static uint64_t ends_hash(const struct mfile *f, bool other)
{
	const uint8_t *from = other ? f->raddr : f->laddr, *to = other ? f->laddr : f->raddr;
	uint64_t h = hash_bytes(from, sizeof(f->laddr), f->family);

	return hash_bytes(to, sizeof(f->laddr), h);
}

static uint64_t ends_ports(const struct mfile *f, bool other)
{
	return other ? (uint64_t)f->rport << 32 | f->lport : (uint64_t)f->lport << 32 | f->rport;
}

static int note_ends(struct model *m, const struct mfile *f, size_t index)
{
	uint64_t *at;

	if (f->kind != FD_SOCKET || !f->lport || !f->rport)
		return 0;
	at = hmap_put(&m->socket_ends, ends_hash(f, false), ends_ports(f, false), NULL);
	if (!at)
		return -ENOMEM;
	*at = index + 1;
	return 0;
}

int file_used(struct model *m, uint32_t file, uint32_t proc)
{
	while (file && m->file_users.n < file)
		if (vec_push(&m->file_users, (uint32_t)0))
			return -ENOMEM;
	if (file)
		m->file_users.v[file - 1] = proc;
	return 0;
}

bool file_leads_to(const struct model *m, uint32_t file, uint32_t proc)
{
	const struct mfile *f = file ? &m->files.v[file - 1] : NULL;
	uint64_t at = 0, *known;
	uint32_t user;

	if (!f || !proc || f->kind != FD_SOCKET || !f->lport || !f->rport)
		return false;
	known = hmap_get(&m->socket_ends, ends_hash(f, true), ends_ports(f, true));
	if (known && files_meet(m, file, (uint32_t)*known))
		at = *known;
	user = at && at <= m->file_users.n ? m->file_users.v[at - 1] : 0;
	/* Connections that live for one question are often seen at one end only. */
	return user ? user == proc : !memcmp(f->laddr, f->raddr, sizeof(f->laddr));
}

/* --- records --- */

int on_file(struct model *m, uint64_t ts, const struct rec_file *r)
{
	struct mfile f = {
	        .kind = r->kind <= FD_SYSV ? (uint8_t)r->kind : FD_UNKNOWN,
	        .name = name_later(r->name),
	        .dev = r->dev,
	        .inode = r->inode,
	        .peer = r->peer,
	        .family = (uint32_t)r->family,
	        .lport = (uint32_t)r->lport,
	        .rport = (uint32_t)r->rport,
	};
	uint32_t at = idmap_get(&m->file_ids, r->id);

	(void)ts;
	if (r->laddr.n && r->laddr.n <= sizeof(f.laddr))
		memcpy(f.laddr, r->laddr.p, r->laddr.n);
	if (r->raddr.n && r->raddr.n <= sizeof(f.raddr))
		memcpy(f.raddr, r->raddr.p, r->raddr.n);
	if (!id32(r->id))
		return 0;
	if (at != NO_INDEX) { /* more became known of it */
		m->files.v[at] = f;
		return note_ends(m, &f, at);
	}
	if (m->files.n >= MAX_OBJECTS) {
		m->odd.refused++;
		return 0;
	}
	if (idmap_put(&m->file_ids, r->id, (uint32_t)m->files.n) || note_ends(m, &f, m->files.n))
		return -ENOMEM;
	return vec_push(&m->files, f);
}

uint32_t file_number(const struct model *m, uint64_t id)
{
	uint32_t i = id ? idmap_get(&m->file_ids, id) : NO_INDEX;

	return i == NO_INDEX ? 0 : i + 1;
}

bool files_meet(const struct model *m, uint32_t a, uint32_t b)
{
	const struct mfile *x, *y;

	if (!a || !b)
		return false;
	x = &m->files.v[a - 1];
	y = &m->files.v[b - 1];
	if (x->kind != FD_SOCKET || y->kind != FD_SOCKET || x->family != y->family)
		return a == b;
	if (x->peer || y->peer)
		return x->peer == y->inode || y->peer == x->inode || x->inode == y->inode;
	return x->lport && x->lport == y->rport && x->rport == y->lport &&
	       !memcmp(x->laddr, y->raddr, sizeof(x->laddr)) &&
	       !memcmp(x->raddr, y->laddr, sizeof(x->raddr));
}

/* Index of (space, addr) in a vector of n elements, its end when new. NO_INDEX: over the limit. */
static int place(struct model *m, struct hmap *ids, uint64_t space, uint64_t addr, size_t n,
                 size_t *at)
{
	bool added = false;
	uint64_t *slot = hmap_get(ids, space, addr);

	if (!slot && n >= MAX_OBJECTS) {
		m->odd.refused++;
		*at = NO_INDEX;
		return 0;
	}
	slot = hmap_put(ids, space, addr, &added);
	if (!slot)
		return -ENOMEM;
	if (added)
		*slot = n;
	*at = *slot;
	return 0;
}

int on_futex_key(struct model *m, uint64_t ts, const struct rec_futex_key *r)
{
	struct futex_key key = {
	        .dev = r->dev,
	        .inode = r->inode,
	        .generation = r->generation,
	        .offset = r->offset,
	        .file = name_later(r->file),
	};
	size_t at;
	int err = place(m, &m->key_ids, id32(r->space), r->addr, m->futex_keys.n, &at);

	(void)ts;
	if (err || at == NO_INDEX)
		return err;
	if (at == m->futex_keys.n)
		return vec_push(&m->futex_keys, key);
	m->futex_keys.v[at] = key;
	return 0;
}

int on_object(struct model *m, uint64_t ts, const struct rec_object *r)
{
	struct futex_object object = {
	        .name = name_later(r->name),
	        .module = name_later(r->module),
	        .off = r->off,
	        .size = r->size,
	};
	size_t at;
	int err = place(m, &m->object_ids, id32(r->space), r->addr, m->futex_objects.n, &at);

	(void)ts;
	if (err || at == NO_INDEX)
		return err;
	if (at == m->futex_objects.n)
		return vec_push(&m->futex_objects, object);
	m->futex_objects.v[at] = object;
	return 0;
}

int on_holds(struct model *m, uint64_t ts, const struct rec_holds *r)
{
	struct hold hold = {
	        .task = id32(r->task),
	        .space = id32(r->space),
	        .addr = r->addr,
	        .evidence = r->evidence & 0xff,
	};

	(void)ts;
	if (m->holds.n >= MAX_OBJECTS) {
		m->odd.refused++;
		return 0;
	}
	return vec_push(&m->holds, hold);
}

/* File ids become numbers when all are known. */
int on_traffic(struct model *m, uint64_t ts, const struct rec_traffic *r)
{
	struct traffic t = {
	        .task = id32(r->task),
	        .file = id32(r->file),
	        .write = r->write != 0,
	        .messages = r->messages,
	        .bytes = r->bytes,
	        .unsized = r->unsized,
	};

	(void)ts;
	if (!t.file) {
		m->rec.traffic_lost = sat_add(m->rec.traffic_lost, t.messages);
		return 0;
	}
	if (m->traffic.n >= MAX_OBJECTS) {
		m->odd.refused++;
		return 0;
	}
	return vec_push(&m->traffic, t);
}

int on_flow(struct model *m, uint64_t ts, const struct rec_flow *r)
{
	bool added = false;
	uint64_t *at;
	struct flow *f;

	(void)ts;
	if (m->flows.n >= MAX_OBJECTS && !hmap_get(&m->flow_ids, r->inode, 0)) {
		m->odd.refused++;
		return 0;
	}
	at = hmap_put(&m->flow_ids, r->inode, 0, &added);
	if (!at)
		return -ENOMEM;
	if (added) {
		*at = m->flows.n;
		if (vec_push(&m->flows, (struct flow){0}))
			return -ENOMEM;
	}
	f = &m->flows.v[*at];
	if (r->flags & FLOW_F_FIRST) {
		f->first_sent = r->sent_bytes;
		f->first_received = r->received_bytes;
	}
	f->sent = r->sent_bytes > f->sent ? r->sent_bytes : f->sent;
	f->received = r->received_bytes > f->received ? r->received_bytes : f->received;
	return 0;
}

/* A socket that was open before the recording counts from its beginning. */
static void set_flow(const struct model *m, struct mfile *f)
{
	const uint64_t *at = f->kind == FD_SOCKET ? hmap_get(&m->flow_ids, f->inode, 0) : NULL;
	const struct flow *x = at ? &m->flows.v[*at] : NULL;

	if (!x)
		return;
	f->bytes_known = true;
	f->sent_bytes = x->sent - x->first_sent;
	f->received_bytes = x->received - x->first_received;
}

int referents_finish(struct model *m)
{
	for (size_t i = 0; i < m->traffic.n; i++)
		m->traffic.v[i].file = file_number(m, m->traffic.v[i].file);
	for (size_t i = 0; i < m->files.n; i++) {
		m->files.v[i].name = name_now(m, m->files.v[i].name);
		set_flow(m, &m->files.v[i]);
	}
	for (size_t i = 0; i < m->futex_keys.n; i++)
		m->futex_keys.v[i].file = name_now(m, m->futex_keys.v[i].file);
	for (size_t i = 0; i < m->futex_objects.n; i++) {
		struct futex_object *o = &m->futex_objects.v[i];

		o->name = name_now(m, o->name);
		o->module = name_now(m, o->module);
	}
	return 0;
}

void referents_release(struct model *m)
{
	vec_release(&m->files);
	vec_release(&m->file_users);
	hmap_release(&m->socket_ends);
	vec_release(&m->futex_keys);
	vec_release(&m->futex_objects);
	vec_release(&m->holds);
	vec_release(&m->traffic);
	vec_release(&m->flows);
	hmap_release(&m->flow_ids);
	idmap_release(&m->file_ids);
	hmap_release(&m->key_ids);
	hmap_release(&m->object_ids);
}

size_t model_n_files(const struct model *m)
{
	return m->files.n;
}

const struct mfile *model_file_at(const struct model *m, size_t i)
{
	return i < m->files.n ? &m->files.v[i] : NULL;
}

size_t model_traffic(const struct model *m, const struct traffic **out)
{
	*out = m->traffic.v;
	return m->traffic.n;
}

const struct futex_key *model_futex_key(const struct model *m, uint32_t space, uint64_t addr)
{
	const uint64_t *at = hmap_get(&m->key_ids, space, addr);

	return at ? &m->futex_keys.v[*at] : NULL;
}

const struct futex_object *model_futex_object(const struct model *m, uint32_t space, uint64_t addr)
{
	const uint64_t *at = hmap_get(&m->object_ids, space, addr);

	return at ? &m->futex_objects.v[*at] : NULL;
}

size_t model_holds(const struct model *m, const struct hold **out)
{
	*out = m->holds.v;
	return m->holds.n;
}
