/* SPDX-License-Identifier: MIT */
/*
 * core_types.c: the kernel's types that the BPF programs name, and no others, as a BTF of its own.
 * To relocate, libbpf looks each type that a program names up among all that it is given, and the
 * kernel has more than a hundred thousand: 2 ms for each of ours. Of these few hundred it is
 * nothing.
 *
 * What a struct has inside goes with it. What it only points to does not: a relocation has no need
 * of it, as fields that are pointers match whatever they point to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/btf.h>

#include <bpf/btf.h>

#include "session_priv.h"

#define DEPTH_MAX 32 /* structs in structs */

struct choice {
	const struct btf *from;
	struct btf *to;
	int *ids;           /* by id in `from`: id in `to`, 0 = not there yet */
	const char **names; /* sorted */
	size_t n_names;
	int int_id, ptr_id;
};

static int copy_type(struct choice *c, uint32_t id, unsigned depth);

static int copy_struct(struct choice *c, const struct btf_type *t, unsigned depth)
{
	const struct btf_member *m = btf_members(t);
	const char *name = btf__name_by_offset(c->from, t->name_off);
	int id;

	for (unsigned i = 0; i < btf_vlen(t); i++) {
		id = copy_type(c, m[i].type, depth + 1);
		if (id < 0)
			return id;
	}
	id = btf_is_struct(t) ? btf__add_struct(c->to, name, t->size)
	                      : btf__add_union(c->to, name, t->size);
	for (unsigned i = 0; i < btf_vlen(t) && id > 0; i++) {
		int rc =
		        btf__add_field(c->to, btf__name_by_offset(c->from, m[i].name_off),
		                       copy_type(c, m[i].type, depth + 1),
		                       btf_member_bit_offset(t, i), btf_member_bitfield_size(t, i));

		if (rc)
			return rc;
	}
	return id;
}

static int copy_array(struct choice *c, const struct btf_type *t, unsigned depth)
{
	const struct btf_array *a = btf_array(t);
	int elem = copy_type(c, a->type, depth + 1);

	if (elem < 0)
		return elem;
	return btf__add_array(c->to, c->int_id, elem, (int)a->nelems);
}

/* The id in c->to, or -errno. */
static int copy_type(struct choice *c, uint32_t id, unsigned depth)
{
	const struct btf_type *t = btf__type_by_id(c->from, id);
	int to;

	if (!t || depth > DEPTH_MAX)
		return -EINVAL;
	while (btf_is_mod(t) || btf_is_typedef(t) || btf_kind(t) == BTF_KIND_TYPE_TAG) {
		id = t->type;
		t = btf__type_by_id(c->from, id);
		if (!t)
			return -EINVAL;
	}
	if (btf_is_ptr(t))
		return c->ptr_id;
	if (c->ids[id])
		return c->ids[id];
	if (btf_is_composite(t))
		to = copy_struct(c, t, depth);
	else if (btf_is_array(t))
		to = copy_array(c, t, depth);
	else if (btf_is_int(t) || btf_is_float(t) || btf_is_any_enum(t) || btf_is_fwd(t))
		to = btf__add_type(c->to, c->from, t);
	else
		to = c->int_id; /* nothing that can be a member */
	if (to > 0)
		c->ids[id] = to;
	return to;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names as the programs have them, without the ___suffix of another version's layout. */
static int collect_names(struct choice *c, const struct btf *programs)
{
	uint32_t n = btf__type_cnt(programs);

	c->names = calloc(n, sizeof(*c->names));
	for (uint32_t i = 1; c->names && i < n; i++) {
		const struct btf_type *t = btf__type_by_id(programs, i);
		const char *name = btf__name_by_offset(programs, t->name_off), *suffix;
		char *copy;

		if (!*name || !(btf_is_composite(t) || btf_is_any_enum(t) || btf_is_typedef(t)))
			continue;
		suffix = strstr(name, "___");
		copy = suffix ? strndup(name, (size_t)(suffix - name)) : strdup(name);
		if (!copy)
			return -ENOMEM;
		c->names[c->n_names++] = copy;
	}
	if (!c->names)
		return -ENOMEM;
	qsort(c->names, c->n_names, sizeof(c->names[0]), by_name);
	return 0;
}

static int copy_named(struct choice *c)
{
	uint32_t n = btf__type_cnt(c->from);

	c->ids = calloc(n, sizeof(*c->ids));
	c->to = btf__new_empty();
	if (!c->ids || !c->to)
		return -ENOMEM;
	c->int_id = btf__add_int(c->to, "int", 4, BTF_INT_SIGNED);
	c->ptr_id = btf__add_ptr(c->to, 0);
	for (uint32_t i = 1; i < n; i++) {
		const struct btf_type *t = btf__type_by_id(c->from, i);
		const char *name;
		int rc;

		if (!t->name_off || !(btf_is_composite(t) || btf_is_any_enum(t)))
			continue;
		name = btf__name_by_offset(c->from, t->name_off);
		if (!bsearch(&name, c->names, c->n_names, sizeof(c->names[0]), by_name))
			continue;
		rc = copy_type(c, i, 0);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int write_types(const struct btf *types, int fd)
{
	const char *p;
	uint32_t n;
	ssize_t k;

	for (p = btf__raw_data(types, &n); p && n; p += k, n -= (uint32_t)k) {
		k = write(fd, p, n);
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
	}
	return p ? 0 : -ENOMEM;
}

int core_types_write(const struct btf *kernel, const struct btf *programs, int fd)
{
	struct choice c = {.from = kernel};
	int rc = collect_names(&c, programs);

	rc = rc ? rc : copy_named(&c);
	rc = rc ? rc : write_types(c.to, fd);
	while (c.n_names)
		free((char *)c.names[--c.n_names]);
	free(c.names);
	free(c.ids);
	btf__free(c.to);
	return rc;
}
