/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "trace_gen.h"

uint64_t gen_next(struct gen *g)
{
	uint64_t z = g->seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

uint64_t gen_below(struct gen *g, uint64_t n)
{
	return gen_next(g) % n;
}

/* Small numbers, large ones, and the ends of the range. */
static uint64_t gen_word(struct gen *g)
{
	switch (gen_below(g, 6)) {
	case 0:
		return 0;
	case 1:
		return gen_below(g, 4);
	case 2:
		return gen_below(g, 100000);
	case 3:
		return UINT64_MAX - gen_below(g, 2);
	case 4:
		return 1ull << gen_below(g, 64);
	default:
		return gen_next(g);
	}
}

static void fill_pools(struct gen *g)
{
	size_t i;

	for (i = 0; i < sizeof(g->bytes); i++)
		g->bytes[i] = (uint8_t)gen_next(g);
	for (i = 0; i < ARRAY_LEN(g->numbers); i++)
		g->numbers[i] = gen_word(g);
}

void gen_fill(struct gen *g, const struct kind_desc *k, struct gen_rec *rec)
{
	uint8_t *dst = (uint8_t *)rec->words;
	struct rec_bytes b;
	struct rec_array a;
	unsigned i;

	fill_pools(g);
	for (i = 0; i < k->n_fields; i++) {
		uint64_t v = gen_word(g);

		if (k->fields[i].type == FIELD_B) {
			b = (struct rec_bytes){g->bytes, v % sizeof(g->bytes)};
			memcpy(dst, &b, sizeof(b));
		} else if (k->fields[i].type == FIELD_A) {
			a = (struct rec_array){g->numbers, v % ARRAY_LEN(g->numbers)};
			memcpy(dst, &a, sizeof(a));
		} else {
			memcpy(dst, &v, sizeof(v));
		}
		dst += field_size(k->fields[i].type);
	}
}

uint64_t gen_ts(struct gen *g)
{
	uint64_t step = gen_below(g, 2000);

	g->ts += step;
	return g->ts - (step % 7 ? 0 : gen_below(g, 500)); /* now and then out of order */
}

bool gen_equal(const struct kind_desc *k, const void *a, const void *b)
{
	const uint8_t *pa = a, *pb = b;
	struct rec_bytes ba, bb;
	unsigned i;

	for (i = 0; i < k->n_fields; i++) {
		uint8_t type = k->fields[i].type;

		if (type == FIELD_B || type == FIELD_A) {
			/* rec_array has the same shape */
			memcpy(&ba, pa, sizeof(ba));
			memcpy(&bb, pb, sizeof(bb));
			if (ba.n != bb.n)
				return false;
			if (ba.n && memcmp(ba.p, bb.p, ba.n * (type == FIELD_A ? 8 : 1)))
				return false;
		} else if (memcmp(pa, pb, sizeof(uint64_t))) {
			return false;
		}
		pa += field_size(type);
		pb += field_size(type);
	}
	return true;
}

int gen_trace(struct gen *g, const struct schema *s, size_t n, bool finish, struct buf *out)
{
	struct trace_writer *w;
	struct gen_rec rec;
	int err = 0;

	w = trace_writer_new_schema(trace_sink_buf(out), s, TRACE_MAJOR, TRACE_MINOR, NULL);
	if (!w)
		return -ENOMEM;
	for (; n && !err; n--) {
		const struct kind_desc *k = &s->kinds[gen_below(g, s->n)];

		gen_fill(g, k, &rec);
		err = trace_write(w, k->number, gen_ts(g), rec.words);
	}
	if (!err)
		err = finish ? trace_writer_finish(w) : trace_writer_flush(w);
	trace_writer_free(w);
	return err;
}

static volatile uint64_t touched; /* so that looking is not optimised away */

/* Reads what the record points to, so that a wrong pointer or length shows. */
static uint64_t touch(const struct trace_record *rec)
{
	const struct kind_desc *k = schema_kind(&trace_schema, rec->kind);
	const uint8_t *p = rec->rec;
	struct rec_bytes b;
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < k->n_fields; i++) {
		uint8_t type = k->fields[i].type;

		if (type == FIELD_B || type == FIELD_A) {
			memcpy(&b, p, sizeof(b)); /* rec_array has the same shape */
			sum ^= hash_bytes(b.p, b.n * (type == FIELD_A ? 8 : 1), 0);
		}
		p += field_size(type);
	}
	return sum;
}

int64_t gen_read_all(const struct buf *b, struct trace_info *info)
{
	struct trace_reader *r = trace_reader_new(trace_source_buf(b), NULL);
	struct trace_record rec;
	int64_t n = 0;
	int got;

	if (!r)
		return -EBADMSG;
	for (; (got = trace_read(r, &rec)) == 1; n++)
		touched ^= touch(&rec);
	if (info)
		*info = *trace_reader_info(r);
	trace_reader_free(r);
	return got < 0 ? got : n;
}
