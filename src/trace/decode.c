/* SPDX-License-Identifier: MIT */
/*
 * Bytes may be wrong in every way, yet ten million records should take a second. So varints
 * are read first and checked after: whatever a column holds, reading one varint that begins
 * before the column's end stays inside the block and the DECODE_PAD zeros behind it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace_priv.h"

/* --- mapping the file's fields to ours ------------------------------------------------- */

static bool names_equal(const char *ours, const uint8_t *name, size_t n)
{
	return strlen(ours) == n && !memcmp(ours, name, n);
}

static bool is_number(uint8_t type)
{
	return type == FIELD_U || type == FIELD_D;
}

/* Place of the file's field in our record, when we have it. */
static void map_field(struct dec_field *f, const struct kind_desc *ours, uint8_t type,
                      const uint8_t *name, size_t n)
{
	size_t i, off = 0;

	*f = (struct dec_field){.type = type};
	for (i = 0; i < ours->n_fields; i++) {
		uint8_t t = ours->fields[i].type;

		if (names_equal(ours->fields[i].name, name, n) &&
		    (t == type || (is_number(t) && is_number(type)))) {
			f->known = true;
			f->dst = (uint16_t)off;
			return;
		}
		off += field_size(t);
	}
}

/* Two fields of one name would share a place in the record. */
static bool is_twice(const struct schema_kind *file, unsigned at)
{
	unsigned i;

	for (i = 0; i < at; i++) {
		if (file->fields[i].name_n == file->fields[at].name_n &&
		    !memcmp(file->fields[i].name, file->fields[at].name, file->fields[at].name_n))
			return true;
	}
	return false;
}

static int map_kind(struct dec_kind *k, const struct kind_desc *ours,
                    const struct schema_kind *file)
{
	unsigned i;

	k->kind = ours->number;
	for (i = 0; i < ours->n_fields; i++)
		k->rec_bytes += field_size(ours->fields[i].type);
	k->rec = calloc(1, k->rec_bytes + 1);
	k->fields = calloc(file->n_fields + 1u, sizeof(*k->fields));
	if (!k->rec || !k->fields)
		return -ENOMEM;
	k->plain = true;
	for (i = 0; i < file->n_fields; i++) {
		struct dec_field *f = &k->fields[i];

		if (is_twice(file, i))
			return -EBADMSG;
		map_field(f, ours, file->fields[i].type, file->fields[i].name,
		          file->fields[i].name_n);
		if (!f->known)
			continue;
		k->known |= 1ull << i;
		if (f->type != FIELD_D)
			k->fade |= 1ull << i;
		if (!is_number(f->type))
			k->plain = false;
	}
	return 0;
}

/* The file's next kind with its columns; those of kinds that we do not have stay unread. */
static int add_kind(struct decoder *d, const struct schema *ours, const struct schema_kind *file)
{
	const struct kind_desc *mine = schema_kind(ours, file->number);
	struct dec_kind *k = &d->kind[file->number];

	if (k->defined)
		return -EBADMSG;
	k->defined = true;
	k->n = (uint8_t)file->n_fields;
	k->mask = (uint16_t)d->columns.n;
	if (vec_reserve(&d->columns, 1u + file->n_fields))
		return -ENOMEM;
	d->columns.n += 1u + file->n_fields;
	if (!mine || !names_equal(mine->name, file->name, file->name_n))
		return 0;
	return map_kind(k, mine, file);
}

int decoder_init(struct decoder *d, const struct schema *ours, const uint8_t *schema, size_t n)
{
	struct cursor c = {schema, schema + n, false};
	struct schema_kind kind;
	uint64_t kinds, i;
	int err = 0;

	*d = (struct decoder){0};
	kinds = cursor_varint(&c);
	if (c.bad || kinds > REC_K_MAX)
		return -EBADMSG;
	if (vec_reserve(&d->columns, COLUMNS_FIXED))
		return -ENOMEM;
	d->columns.n = COLUMNS_FIXED;
	for (i = 0; i < kinds && !err; i++) {
		err = schema_decode_kind(&c, &kind);
		if (!err)
			err = add_kind(d, ours, &kind);
	}
	if (err)
		decoder_release(d);
	return err;
}

void decoder_release(struct decoder *d)
{
	size_t i;

	for (i = 0; i < REC_K_MAX; i++) {
		free(d->kind[i].rec);
		free(d->kind[i].fields);
	}
	vec_release(&d->columns);
	vec_release(&d->numbers);
	*d = (struct decoder){0};
}

int decoder_start(struct decoder *d, const uint8_t *p, size_t n, size_t stored, uint32_t records)
{
	struct cursor packed = {p, p + n - stored, false};
	struct cursor tail = {packed.end, p + n, false};
	uint64_t lengths[COLUMNS_FIXED + REC_K_MAX * (1 + FIELDS_MAX)];
	size_t i;

	for (i = 0; i < REC_K_MAX; i++) {
		if (d->kind[i].kind)
			memset(d->kind[i].rec, 0, d->kind[i].rec_bytes);
		d->kind[i].last = 0;
	}
	d->ts = 0;
	if (cursor_varint(&packed) != d->columns.n)
		return -EBADMSG;
	for (i = 0; i < d->columns.n; i++)
		lengths[i] = cursor_varint(&packed);
	for (i = 0; i < d->columns.n; i++) {
		struct cursor *c = lengths[i] & 1 ? &tail : &packed;

		d->columns.v[i].p = cursor_bytes(c, lengths[i] >> 1);
		d->columns.v[i].end = c->p;
	}
	if (packed.bad || tail.bad || packed.p != packed.end || tail.p != tail.end)
		return -EBADMSG;
	return lengths[COLUMN_KIND] >> 1 == records ? 0 : -EBADMSG;
}

/* --- records ------------------------------------------------------------------------------ */

static __attribute__((noinline)) const uint8_t *long_varint(const uint8_t *p, uint64_t *v,
                                                            bool *bad)
{
	uint64_t x = 0;
	unsigned shift;

	for (shift = 0; shift < 63; shift += 7) {
		x |= (uint64_t)(*p & 0x7f) << shift;
		if (*p++ < 0x80) {
			*v = x;
			return p;
		}
	}
	if (*p > 1)
		*bad = true; /* more than 64 bits */
	*v = x | (uint64_t)(*p & 1) << 63;
	return p + 1;
}

static inline const uint8_t *get_varint(const uint8_t *p, uint64_t *v, bool *bad)
{
	if (p[0] < 0x80) {
		*v = p[0];
		return p + 1;
	}
	if (p[1] < 0x80) {
		*v = (p[0] & 0x7fu) | (uint64_t)p[1] << 7;
		return p + 2;
	}
	return long_varint(p, v, bad);
}

static inline void set_word(uint8_t *rec, const struct dec_field *f, uint64_t v)
{
	uint64_t *dst = (uint64_t *)(void *)(rec + f->dst);

	*dst = f->type == FIELD_D ? *dst + unzigzag(v) : v;
}

/* Fields that were present the last time and are absent now. */
static void fade(struct dec_kind *k, uint64_t gone)
{
	for (; gone; gone &= gone - 1) {
		const struct dec_field *f = &k->fields[__builtin_ctzll(gone)];

		memset(k->rec + f->dst, 0, field_size(f->type));
	}
}

static inline uint64_t column_varint(struct dec_column *c, bool *bad)
{
	uint64_t v;

	c->p = get_varint(c->p, &v, bad);
	*bad |= c->p > c->end;
	return v;
}

static int get_array(struct decoder *d, struct dec_column *c, uint64_t n, struct rec_array *a)
{
	uint64_t i, prev = 0;
	bool bad = false;

	if (vec_reserve(&d->numbers, n))
		return -ENOMEM;
	for (i = 0; i < n && !bad; i++) {
		prev += unzigzag(column_varint(c, &bad));
		d->numbers.v[d->numbers.n++] = prev;
	}
	*a = (struct rec_array){NULL, n}; /* see place_arrays() */
	return bad ? -EBADMSG : 0;
}

static int get_field(struct decoder *d, struct dec_kind *k, unsigned i)
{
	struct dec_column *c = &d->columns.v[k->mask + 1u + i];
	const struct dec_field *f = &k->fields[i];
	struct rec_array a = {NULL, 0};
	struct rec_bytes b;
	bool bad = false;
	uint64_t v;
	int err;

	v = column_varint(c, &bad);
	if (bad)
		return -EBADMSG;
	if (is_number(f->type)) {
		set_word(k->rec, f, v);
		return 0;
	}
	/* An element takes a byte at least, so this bounds memory by the file's size. */
	if (v > (uint64_t)(c->end - c->p))
		return -EBADMSG;
	if (f->type == FIELD_B) {
		b = (struct rec_bytes){c->p, v};
		c->p += v;
		memcpy(k->rec + f->dst, &b, sizeof(b));
		return 0;
	}
	err = get_array(d, c, v, &a);
	memcpy(k->rec + f->dst, &a, sizeof(a));
	return err;
}

/* Once all numbers of the record are there and the vector does not move any more. */
static void place_arrays(struct decoder *d, struct dec_kind *k, uint64_t present)
{
	const uint64_t *v = d->numbers.v;

	for (; present; present &= present - 1) {
		const struct dec_field *f = &k->fields[__builtin_ctzll(present)];
		struct rec_array a;

		if (f->type != FIELD_A)
			continue;
		memcpy(&a, k->rec + f->dst, sizeof(a));
		a.v = v;
		v += a.n;
		memcpy(k->rec + f->dst, &a, sizeof(a));
	}
}

static int get_mixed(struct decoder *d, struct dec_kind *k, uint64_t present)
{
	uint64_t m;
	int err;

	d->numbers.n = 0;
	for (m = present; m; m &= m - 1) {
		err = get_field(d, k, (unsigned)__builtin_ctzll(m));
		if (err)
			return err;
	}
	if (d->numbers.n)
		place_arrays(d, k, present);
	return 0;
}

static int get_plain(struct decoder *d, struct dec_kind *k, uint64_t present)
{
	struct dec_column *c = &d->columns.v[k->mask + 1u];
	bool bad = false;

	for (; present; present &= present - 1) {
		unsigned i = (unsigned)__builtin_ctzll(present);

		set_word(k->rec, &k->fields[i], column_varint(&c[i], &bad));
	}
	return bad ? -EBADMSG : 0;
}

/* All that was there must have been used: else what was read was not what was written. */
static int check_end(const struct decoder *d)
{
	const struct dec_column *c = d->columns.v;
	unsigned kind, i;

	if (c[COLUMN_TS].p != c[COLUMN_TS].end)
		return -EBADMSG;
	for (kind = 0; kind < REC_K_MAX; kind++) {
		const struct dec_kind *k = &d->kind[kind];

		if (!k->kind)
			continue;
		if (c[k->mask].p != c[k->mask].end)
			return -EBADMSG;
		for (i = 0; i < k->n; i++) {
			if ((k->known >> i & 1) && c[k->mask + 1u + i].p != c[k->mask + 1u + i].end)
				return -EBADMSG;
		}
	}
	return 0;
}

int decoder_next(struct decoder *d, struct trace_record *out)
{
	struct dec_column *c = d->columns.v;
	struct dec_kind *k;
	bool bad = false;
	uint64_t present;
	int err;

	if (c[COLUMN_KIND].p == c[COLUMN_KIND].end)
		return check_end(d);
	if (*c[COLUMN_KIND].p >= REC_K_MAX)
		return -EBADMSG;
	k = &d->kind[*c[COLUMN_KIND].p++];
	d->ts += unzigzag(column_varint(&c[COLUMN_TS], &bad));
	if (k->kind) {
		present = column_varint(&c[k->mask], &bad);
		if (bad || (k->n < 64 && present >> k->n))
			return -EBADMSG;
		present &= k->known;
		if (k->last & k->fade & ~present)
			fade(k, k->last & k->fade & ~present);
		k->last = present;
		err = k->plain ? get_plain(d, k, present) : get_mixed(d, k, present);
		if (err)
			return err;
	} else if (bad || !k->defined) {
		return -EBADMSG;
	}
	*out = (struct trace_record){k->kind, d->ts, k->rec};
	return 1;
}
