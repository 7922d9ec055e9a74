/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base.h"

/* Strings live in chunks that never move, so that strtab_get() stays valid until the end. */
#define CHUNK_BYTES (64 * 1024)

struct chunk {
	struct chunk *next;
	char text[];
};

struct entry {
	const char *s;
	size_t n;
	uint32_t next; /* with the same hash, 0 = none */
};

struct strtab {
	struct hmap by_hash;       /* hash -> first id */
	VEC(struct entry) entries; /* id - 1 */
	struct chunk *chunks;
	char *free;
	size_t left;
};

struct strtab *strtab_new(void)
{
	return calloc(1, sizeof(struct strtab));
}

void strtab_free(struct strtab *t)
{
	struct chunk *c, *next;

	if (!t)
		return;
	for (c = t->chunks; c; c = next) {
		next = c->next;
		free(c);
	}
	vec_release(&t->entries);
	hmap_release(&t->by_hash);
	free(t);
}

static char *store(struct strtab *t, const char *s, size_t n)
{
	/* A long string gets its own chunk and leaves the open one as it is. */
	bool own = n >= CHUNK_BYTES / 4;
	struct chunk *c;
	char *p;

	if (own || n + 1 > t->left) {
		size_t size = own ? n + 1 : CHUNK_BYTES;

		if (size < n || sizeof(*c) + size < size)
			return NULL;
		c = malloc(sizeof(*c) + size);
		if (!c)
			return NULL;
		c->next = t->chunks;
		t->chunks = c;
		if (own) {
			p = c->text;
			goto copy;
		}
		t->free = c->text;
		t->left = size;
	}
	p = t->free;
	t->free += n + 1;
	t->left -= n + 1;
copy:
	if (n)
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

uint32_t strtab_add(struct strtab *t, const char *s, size_t n, bool *added)
{
	/* hmap keys its own hash; the chain below is for strings equal in both words. */
	uint64_t h0 = hash_bytes(s, n, 1), h1 = hash_bytes(s, n, (uint64_t)(uintptr_t)t), *first;
	struct entry e = {.n = n};
	uint32_t id;

	if (added)
		*added = false;
	first = hmap_get(&t->by_hash, h0, h1);
	for (id = first ? (uint32_t)*first : 0; id; id = t->entries.v[id - 1].next) {
		const struct entry *have = &t->entries.v[id - 1];

		if (have->n == n && (!n || !memcmp(have->s, s, n)))
			return id;
	}
	if (t->entries.n >= UINT32_MAX - 1 || vec_reserve(&t->entries, 1))
		return 0;
	e.s = store(t, s, n);
	if (!e.s)
		return 0;
	first = hmap_put(&t->by_hash, h0, h1, NULL);
	if (!first)
		return 0;
	e.next = (uint32_t)*first;
	t->entries.v[t->entries.n++] = e;
	*first = t->entries.n;
	if (added)
		*added = true;
	return (uint32_t)t->entries.n;
}

const char *strtab_get(const struct strtab *t, uint32_t id)
{
	return id && id <= t->entries.n ? t->entries.v[id - 1].s : "";
}

size_t strtab_count(const struct strtab *t)
{
	return t->entries.n;
}
