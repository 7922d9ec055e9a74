/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry_priv.h"

/* The vdso of a 32-bit process is another one than ours. */
#define FIRST_64BIT (1ull << 32)

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

enum map_kind registry_kind(const struct sym_map *m)
{
	static const char *const memory[] = {"//anon",  "[heap]",    "[stack]", "[anon",
	                                     "/memfd:", "/dev/zero", "/SYSV",   "/anon_hugepage"};

	if (!m->file || !*m->file)
		return KIND_JIT;
	if (!strcmp(m->file, VDSO_NAME))
		return m->start >= FIRST_64BIT ? KIND_FILE : KIND_NOTHING;
	for (size_t i = 0; i < ARRAY_LEN(memory); i++)
		if (starts(m->file, memory[i]))
			return KIND_JIT;
	return m->file[0] == '/' && m->file[1] != '/' ? KIND_FILE : KIND_NOTHING;
}

int registry_init(struct registry *g)
{
	g->strings = strtab_new();
	return g->strings ? 0 : -ENOMEM;
}

static void drop_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void registry_release(struct registry *g)
{
	for (size_t i = 0; i < g->v.n; i++) {
		drop_fd(&g->v.v[i].fd);
		drop_fd(&g->v.v[i].dump_fd);
	}
	if (g->strings)
		strtab_free(g->strings);
	vec_release(&g->v);
	hmap_release(&g->by_name);
	hmap_release(&g->jit);
	*g = (struct registry){0};
}

static uint32_t get(struct registry *g, const char *path, const uint8_t *build_id, size_t n)
{
	struct sym_file f = {.build_id_n = (uint8_t)n, .fd = -1, .dump_fd = -1};
	uint32_t path_id = strtab_add(g->strings, path, strlen(path), NULL), bid_id = 0;
	uint64_t *slot;

	if (n)
		bid_id = strtab_add(g->strings, (const char *)build_id, n, NULL);
	if (!path_id || (n && !bid_id))
		return 0;
	slot = hmap_put(&g->by_name, path_id, bid_id, NULL);
	if (!slot)
		return 0;
	if (!*slot) {
		f.path = strtab_get(g->strings, path_id);
		if (n)
			memcpy(f.build_id, build_id, n);
		if (vec_push(&g->v, f))
			return 0;
		*slot = g->v.n;
	}
	return (uint32_t)*slot;
}

uint32_t registry_file(struct registry *g, const struct sym_map *m)
{
	size_t n = m->build_id && m->build_id_n <= SYM_BUILD_ID_MAX ? m->build_id_n : 0;

	return get(g, m->file, m->build_id, n);
}

uint32_t registry_jit_of(const struct registry *g, uint32_t space)
{
	const uint64_t *slot = hmap_get(&g->jit, space, 0);

	return slot ? (uint32_t)*slot : 0;
}

uint32_t registry_jit(struct registry *g, uint32_t space, uint32_t pid)
{
	uint32_t id = registry_jit_of(g, space);
	uint64_t *slot;
	char name[64];

	if (id)
		return id;
	snprintf(name, sizeof(name), "[jit %u]", pid);
	id = pid ? get(g, name, NULL, 0) : 0;
	/* After an exec the process is the same and its code another. */
	if (!id || g->v.v[id - 1].jit) {
		snprintf(name, sizeof(name), "[jit %u.%u]", pid, space);
		id = get(g, name, NULL, 0);
	}
	slot = id ? hmap_put(&g->jit, space, 0, NULL) : NULL;
	if (!slot)
		return 0;
	g->v.v[id - 1].jit = true;
	*slot = id;
	return id;
}

void registry_keep(struct registry *g, uint32_t file, int fd)
{
	uint32_t *slot = &g->kept[g->next_kept % SYM_FDS_KEPT];

	if (!file || g->v.v[file - 1].fd >= 0) {
		close(fd);
		return;
	}
	if (*slot)
		drop_fd(&g->v.v[*slot - 1].fd);
	g->next_kept++;
	g->v.v[file - 1].fd = fd;
	*slot = file;
}

void registry_keep_jit(struct registry *g, uint32_t file, int fd, bool dump)
{
	int *have = file ? dump ? &g->v.v[file - 1].dump_fd : &g->v.v[file - 1].fd : NULL;

	if (!have || (*have < 0 && g->jit_fds >= SYM_JIT_FDS_KEPT)) {
		close(fd);
		return;
	}
	g->jit_fds += *have < 0;
	drop_fd(have);
	*have = fd;
}

void registry_forget_space(struct registry *g, uint32_t space)
{
	hmap_del(&g->jit, space, 0);
}
