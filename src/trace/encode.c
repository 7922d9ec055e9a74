/* SPDX-License-Identifier: MIT */
/*
 * Runs for every event while recording, so: tables made once, and for the kinds that consist
 * of numbers only no branch per field type. Memory grows by column and is kept from block
 * to block.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace_priv.h"

enum { COLUMN_MIN = 256 };

int enc_tables_init(struct enc_tables *t, const struct schema *s)
{
	size_t i, j, at = COLUMNS_FIXED;

	*t = (struct enc_tables){.n_columns = COLUMNS_FIXED};
	for (i = 0; i < s->n; i++)
		t->n_columns += 1u + s->kinds[i].n_fields;
	t->types = calloc(t->n_columns, sizeof(*t->types));
	t->delta = calloc(t->n_columns, sizeof(*t->delta));
	if (!t->types || !t->delta) {
		enc_tables_release(t);
		return -ENOMEM;
	}
	for (i = 0; i < s->n; i++) {
		const struct kind_desc *k = &s->kinds[i];
		struct enc_kind *e = &t->kind[k->number % REC_K_MAX];

		*e = (struct enc_kind){.n = k->n_fields,
		                       .block = k->block,
		                       .defined = true,
		                       .plain = true,
		                       .mask = (uint16_t)at++};
		for (j = 0; j < k->n_fields; j++, at++) {
			t->types[at] = k->fields[j].type;
			t->delta[at] = k->fields[j].type == FIELD_D ? ~0ull : 0;
			e->plain = e->plain && field_size(k->fields[j].type) == sizeof(uint64_t);
		}
	}
	return 0;
}

void enc_tables_release(struct enc_tables *t)
{
	free(t->types);
	free(t->delta);
	*t = (struct enc_tables){0};
}

int encoder_init(struct encoder *e, const struct enc_tables *t)
{
	*e = (struct encoder){.tables = t};
	e->prev = calloc(t->n_columns, sizeof(*e->prev));
	e->columns = calloc(t->n_columns, sizeof(*e->columns));
	return e->prev && e->columns ? 0 : -ENOMEM;
}

void encoder_release(struct encoder *e)
{
	size_t i;

	for (i = 0; e->columns && i < e->tables->n_columns; i++)
		free(e->columns[i].base);
	free(e->columns);
	free(e->prev);
	*e = (struct encoder){0};
}

/* --- one record ---------------------------------------------------------------------- */

uint64_t encoder_bound(const struct encoder *e, unsigned kind, const void *rec)
{
	const struct enc_kind *k = &e->tables->kind[kind];
	const uint8_t *types = e->tables->types + k->mask + 1, *src = rec;
	uint64_t bound = 1 + 2 * VARINT_MAX + (uint64_t)k->n * VARINT_MAX;
	unsigned i;

	if (k->plain)
		return bound;
	for (i = 0; i < k->n; src += field_size(types[i]), i++) {
		uint64_t n, each = types[i] == FIELD_A ? VARINT_MAX : 1;

		if (field_size(types[i]) == sizeof(n))
			continue;
		memcpy(&n, src + sizeof(void *), sizeof(n));
		if (n > UINT32_MAX)
			return UINT64_MAX; /* far beyond a block; keeps the sum from wrapping */
		bound += n * each;
	}
	return bound;
}

/* Room for n more bytes in a column that is full. */
static __attribute__((noinline)) bool grow(struct encoder *e, struct enc_column *c, uint64_t n)
{
	size_t cap = (size_t)(c->end - c->base), used = (size_t)(c->p - c->base);

	if (vec_grow_((void **)&c->base, &cap, used, n < COLUMN_MIN ? COLUMN_MIN : n, 1)) {
		e->no_memory = true;
		return false;
	}
	c->p = c->base + used;
	c->end = c->base + cap;
	return true;
}

static inline bool has_room(struct encoder *e, struct enc_column *c, uint64_t n)
{
	return __builtin_expect((uint64_t)(c->end - c->p) >= n, 1) || grow(e, c, n);
}

/* Returns how many bytes it put. The caller adds up: a counter in memory would be the longest
 * chain of dependent instructions in here. */
static inline size_t put(struct encoder *e, struct enc_column *c, uint64_t v)
{
	uint8_t *p = c->p;

	if (!has_room(e, c, VARINT_MAX))
		return 0;
	p = c->p;
	c->p = put_varint(p, v);
	return (size_t)(c->p - p);
}

static size_t put_plain(struct encoder *e, const struct enc_kind *k, const uint64_t *src)
{
	struct enc_column *c = e->columns + k->mask;
	const uint64_t *delta = e->tables->delta + k->mask + 1;
	uint64_t *prev = e->prev + k->mask + 1;
	uint64_t mask = 0, m, v;
	unsigned i, n = k->n;
	size_t bytes;

	/* U fields have delta = 0, and so prev = 0: absent when 0, and d is the value. */
	for (i = 0; i < n; i++)
		mask |= (uint64_t)(src[i] != prev[i]) << i;
	bytes = put(e, c++, mask);
	for (m = mask; m; m &= m - 1) {
		i = (unsigned)__builtin_ctzll(m);
		v = src[i] - prev[i];
		prev[i] = src[i] & delta[i];
		bytes += put(e, &c[i], (v << (delta[i] & 1)) ^ (-(v >> 63) & delta[i]));
	}
	return bytes;
}

static size_t put_bytes(struct encoder *e, struct enc_column *c, const struct rec_bytes *b)
{
	size_t n = put(e, c, b->n);

	if (!has_room(e, c, b->n))
		return 0;
	memcpy(c->p, b->p, b->n);
	c->p += b->n;
	return n + b->n;
}

static size_t put_array(struct encoder *e, struct enc_column *c, const struct rec_array *a)
{
	size_t n = put(e, c, a->n);
	uint64_t i, prev = 0;

	for (i = 0; i < a->n; i++) {
		n += put(e, c, zigzag(a->v[i] - prev));
		prev = a->v[i];
	}
	return n;
}

static size_t put_field(struct encoder *e, unsigned column, const uint8_t *src)
{
	struct enc_column *c = &e->columns[column];
	struct rec_bytes b;
	struct rec_array a;
	uint64_t v, d;

	switch (e->tables->types[column]) {
	case FIELD_B:
		memcpy(&b, src, sizeof(b));
		return put_bytes(e, c, &b);
	case FIELD_A:
		memcpy(&a, src, sizeof(a));
		return put_array(e, c, &a);
	case FIELD_D:
		memcpy(&v, src, sizeof(v));
		d = v - e->prev[column];
		e->prev[column] = v;
		return put(e, c, zigzag(d));
	default:
		memcpy(&v, src, sizeof(v));
		return put(e, c, v);
	}
}

static size_t put_mixed(struct encoder *e, const struct enc_kind *k, const uint8_t *rec)
{
	const uint8_t *types = e->tables->types, *src = rec;
	unsigned i, column = k->mask + 1u;
	uint64_t mask = 0, v;
	size_t bytes;

	for (i = 0; i < k->n; i++, column++) {
		/* For bytes and arrays the second word, their length, decides. */
		memcpy(&v, src + field_size(types[column]) - sizeof(v), sizeof(v));
		if (v != (types[column] == FIELD_D ? e->prev[column] : 0))
			mask |= 1ull << i;
		src += field_size(types[column]);
	}
	bytes = put(e, &e->columns[k->mask], mask);
	for (i = 0, column = k->mask + 1u, src = rec; i < k->n; i++, column++) {
		if (mask >> i & 1)
			bytes += put_field(e, column, src);
		src += field_size(types[column]);
	}
	return bytes;
}

int encoder_put(struct encoder *e, unsigned kind, uint64_t ts, const void *rec)
{
	const struct enc_kind *k = &e->tables->kind[kind];
	size_t bytes;

	bytes = put(e, &e->columns[COLUMN_KIND], kind);
	bytes += put(e, &e->columns[COLUMN_TS], zigzag(ts - e->ts));
	e->ts = ts;
	bytes += k->plain ? put_plain(e, k, rec) : put_mixed(e, k, rec);
	e->bytes += bytes;
	return __builtin_expect(e->no_memory, 0) ? -ENOMEM : 0;
}

/* --- the block ------------------------------------------------------------------------- */

size_t encoder_overhead(const struct encoder *e)
{
	return (e->tables->n_columns + 1) * VARINT_MAX;
}

/*
 * Whether compressing the column would cost time and save little: durations and times hardly
 * ever repeat, while ids, masks and flags repeat all the time. Judged by a piece of the middle:
 * how often do four bytes in a row come again?
 */
static bool is_noise(const uint8_t *p, size_t n)
{
	enum { SAMPLE_BYTES = 512, WORTH = SAMPLE_BYTES / 4 };
	uint32_t seen[256] = {0}, v;
	unsigned i, again = 0;

	if (n < 2 * SAMPLE_BYTES)
		return false;
	p += n / 2 - SAMPLE_BYTES / 2;
	for (i = 0; i < SAMPLE_BYTES; i++) {
		uint32_t *slot;

		memcpy(&v, p + i, sizeof(v));
		slot = &seen[v * 0x9e3779b1u >> 24];
		again += *slot == v;
		*slot = v;
	}
	return again < WORTH;
}

int encoder_take(struct encoder *e, struct buf *packed, struct buf *stored)
{
	size_t i, n = e->tables->n_columns, len;
	struct enc_column *c = e->columns;
	int err;

	err = buf_put_varint(packed, n);
	for (i = 0; i < n && !err; i++) {
		len = (size_t)(c[i].p - c[i].base);
		err = buf_put_varint(packed, (uint64_t)len << 1 | is_noise(c[i].base, len));
	}
	for (i = 0; i < n && !err; i++) {
		len = (size_t)(c[i].p - c[i].base);
		err = buf_put(is_noise(c[i].base, len) ? stored : packed, c[i].base, len);
		c[i].p = c[i].base;
	}
	memset(e->prev, 0, n * sizeof(*e->prev));
	e->ts = 0;
	e->bytes = 0;
	return err;
}
