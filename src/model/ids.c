/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "model_priv.h"

uint32_t idmap_get(const struct idmap *map, uint64_t id)
{
	const uint64_t *v;

	if (id < map->direct.n && map->direct.v[id])
		return map->direct.v[id] - 1;
	if (!map->far.n)
		return NO_INDEX;
	v = hmap_get(&map->far, id, 0);
	return v ? (uint32_t)*v : NO_INDEX;
}

static int put_direct(struct idmap *map, uint64_t id, uint32_t index)
{
	while (map->direct.n <= id)
		if (vec_push(&map->direct, 0u))
			return -ENOMEM;
	map->direct.v[id] = index + 1;
	return 0;
}

/* The array may be eight times as long as ids were given: a gap of a lost block stays in
 * it, an id made up to exhaust memory does not. */
int idmap_put(struct idmap *map, uint64_t id, uint32_t index)
{
	uint64_t *v;
	bool added = false;

	if (index == NO_INDEX)
		return -ENOMEM;
	if (id < map->direct.n || id < 1024 + 8 * (uint64_t)map->n) {
		if (map->far.n)
			hmap_del(&map->far, id, 0);
		map->n++;
		return put_direct(map, id, index);
	}
	v = hmap_put(&map->far, id, 0, &added);
	if (!v)
		return -ENOMEM;
	*v = index;
	map->n += added;
	return 0;
}

void idmap_release(struct idmap *map)
{
	vec_release(&map->direct);
	hmap_release(&map->far);
	map->n = 0;
}
