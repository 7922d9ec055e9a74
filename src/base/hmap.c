/* SPDX-License-Identifier: MIT */
/*
 * Open addressing with linear probing; deletion shifts the rest of the run back, so there
 * are no tombstones and no slowing down. At most 3 of 4 slots are in use.
 */
#include <stdlib.h>
#include <sys/auxv.h>

#include "base.h"

/* Keys may come from a hostile file: without a secret they could be chosen to collide. */
static uint64_t secret(void)
{
	static uint64_t cached;
	const void *random;

	if (!cached) {
		random = (const void *)getauxval(AT_RANDOM); /* 16 bytes, by the kernel */
		cached = hash_bytes(random ? random : "", random ? 16 : 0, 0) | 1;
	}
	return cached;
}

static inline size_t slot_of(uint64_t key, size_t cap, uint64_t k0, uint64_t k1)
{
	unsigned __int128 m;
	uint64_t h;

	m = (unsigned __int128)(k0 ^ key) * (0x9e3779b97f4a7c15ull ^ (key << 1));
	h = (uint64_t)m ^ (uint64_t)(m >> 64) ^ k1;
	m = (unsigned __int128)(h + key) * 0xd1342543de82ef95ull;
	return (size_t)((uint64_t)m ^ (uint64_t)(m >> 64)) & (cap - 1);
}

static struct hmap_slot *find(const struct hmap *h, uint64_t k0, uint64_t k1)
{
	size_t i = slot_of(secret(), h->cap, k0, k1);

	while (h->slots[i].used && (h->slots[i].k0 != k0 || h->slots[i].k1 != k1))
		i = (i + 1) & (h->cap - 1);
	return &h->slots[i];
}

static int grow(struct hmap *h)
{
	struct hmap bigger = {.cap = h->cap ? h->cap * 2 : 16};
	size_t i;

	if (bigger.cap < h->cap)
		return -1;
	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -1;
	for (i = 0; i < h->cap; i++) {
		if (h->slots[i].used)
			*find(&bigger, h->slots[i].k0, h->slots[i].k1) = h->slots[i];
	}
	free(h->slots);
	h->slots = bigger.slots;
	h->cap = bigger.cap;
	return 0;
}

uint64_t *hmap_get(const struct hmap *h, uint64_t k0, uint64_t k1)
{
	struct hmap_slot *s;

	if (!h->n)
		return NULL;
	s = find(h, k0, k1);
	return s->used ? &s->value : NULL;
}

uint64_t *hmap_put(struct hmap *h, uint64_t k0, uint64_t k1, bool *added)
{
	struct hmap_slot *s = h->cap ? find(h, k0, k1) : NULL;
	bool is_new = !s || !s->used;

	if (is_new) {
		if (h->n >= h->cap / 4 * 3) {
			if (grow(h))
				return NULL;
			s = find(h, k0, k1);
		}
		*s = (struct hmap_slot){.k0 = k0, .k1 = k1, .used = 1};
		h->n++;
	}
	if (added)
		*added = is_new;
	return &s->value;
}

void hmap_del(struct hmap *h, uint64_t k0, uint64_t k1)
{
	size_t hole, i, home, mask;
	struct hmap_slot *s;

	if (!h->n)
		return;
	s = find(h, k0, k1);
	if (!s->used)
		return;
	mask = h->cap - 1;
	hole = (size_t)(s - h->slots);
	for (i = (hole + 1) & mask; h->slots[i].used; i = (i + 1) & mask) {
		home = slot_of(secret(), h->cap, h->slots[i].k0, h->slots[i].k1);
		/* May move back only when the hole is not before its own place. */
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			h->slots[hole] = h->slots[i];
			hole = i;
		}
	}
	h->slots[hole] = (struct hmap_slot){0};
	h->n--;
}

void hmap_release(struct hmap *h)
{
	if (!h)
		return;
	free(h->slots);
	*h = (struct hmap){0};
}
