/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../support/trace_gen.h"

/* --- integers ------------------------------------------------------------------------ */

static const uint64_t edges[] = {
        0,
        1,
        127,
        128,
        16383,
        16384,
        (1ull << 32) - 1,
        1ull << 32,
        1ull << 62,
        1ull << 63,
        UINT64_MAX - 1,
        UINT64_MAX,
        (1ull << 63) - 1,
};

Test(varint, round_trip)
{
	uint8_t bytes[VARINT_MAX];
	struct cursor c;
	size_t i;

	for (i = 0; i < ARRAY_LEN(edges); i++) {
		c = (struct cursor){bytes, put_varint(bytes, edges[i]), false};
		cr_expect_eq(cursor_varint(&c), edges[i]);
		cr_expect(!c.bad && c.p == c.end);
		cr_expect_eq(unzigzag(zigzag(edges[i])), edges[i]);
	}
	cr_expect_eq(zigzag(UINT64_MAX), 1, "-1 is small");
	cr_expect_eq(zigzag(1), 2);
}

Test(varint, too_long_or_cut)
{
	static const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
	                                 0x80, 0x80, 0x80, 0x80, 0x01};
	static const uint8_t bits65[] = {0x80, 0x80, 0x80, 0x80, 0x80,
	                                 0x80, 0x80, 0x80, 0x80, 0x02};
	struct cursor c = {eleven, eleven + sizeof(eleven), false};

	cursor_varint(&c);
	cr_expect(c.bad);
	c = (struct cursor){bits65, bits65 + sizeof(bits65), false};
	cursor_varint(&c);
	cr_expect(c.bad);
	c = (struct cursor){eleven, eleven + 1, false};
	cursor_varint(&c);
	cr_expect(c.bad);
	c = (struct cursor){eleven, eleven + 5, false};
	cr_expect_null(cursor_bytes(&c, 6));
	cr_expect(c.bad);
	c = (struct cursor){eleven, eleven + 5, false};
	cr_expect_null(cursor_bytes(&c, UINT64_MAX));
}

/* --- one block through encoder and decoder ----------------------------------------------- */

struct block {
	struct buf packed, stored;
};

/* n random records of one kind; what was put is kept in `recs` by seed, not by value. */
static void encode(const struct schema *s, uint64_t seed, size_t n, struct block *b)
{
	struct gen g = {.seed = seed};
	struct enc_tables t;
	struct encoder e;
	struct gen_rec rec;

	cr_assert_eq(enc_tables_init(&t, s), 0);
	cr_assert_eq(encoder_init(&e, &t), 0);
	for (; n; n--) {
		const struct kind_desc *k = &s->kinds[gen_below(&g, s->n)];

		gen_fill(&g, k, &rec);
		cr_assert_eq(encoder_put(&e, k->number, gen_ts(&g), rec.words), 0);
	}
	cr_assert_eq(encoder_take(&e, &b->packed, &b->stored), 0);
	encoder_release(&e);
	enc_tables_release(&t);
}

/* Packed and stored part behind each other with the zeros that the decoder wants. */
static uint8_t *join(const struct block *b, size_t *n)
{
	uint8_t *p = calloc(1, b->packed.n + b->stored.n + DECODE_PAD);

	*n = b->packed.n + b->stored.n;
	memcpy(p, b->packed.p, b->packed.n);
	if (b->stored.n)
		memcpy(p + b->packed.n, b->stored.p, b->stored.n);
	return p;
}

static void block_release(struct block *b)
{
	buf_release(&b->packed);
	buf_release(&b->stored);
}

static int decoder_for(struct decoder *d, const struct schema *ours, const struct schema *file)
{
	struct buf b = {0};
	int err;

	cr_assert_eq(schema_encode(file, &b), 0);
	err = decoder_init(d, ours, b.p, b.n);
	buf_release(&b);
	return err;
}

Test(codec, every_kind_with_random_values)
{
	enum { N = 20000 };
	struct gen g = {.seed = 42};
	struct trace_record out;
	struct block b = {0};
	struct gen_rec rec;
	struct decoder d;
	uint8_t *p;
	size_t n, i;

	encode(&trace_schema, 42, N, &b);
	cr_assert(b.stored.n > 0, "random durations should not be compressed");
	p = join(&b, &n);
	cr_assert_eq(decoder_for(&d, &trace_schema, &trace_schema), 0);
	cr_assert_eq(decoder_start(&d, p, n, b.stored.n, N), 0);
	for (i = 0; i < N; i++) {
		const struct kind_desc *k = &trace_schema.kinds[gen_below(&g, trace_schema.n)];
		uint64_t ts;

		gen_fill(&g, k, &rec);
		ts = gen_ts(&g);
		cr_assert_eq(decoder_next(&d, &out), 1, "record %zu", i);
		cr_assert_eq((unsigned)out.kind, k->number);
		cr_assert_eq(out.ts, ts);
		cr_assert(gen_equal(k, rec.words, out.rec), "record %zu, %s", i, k->name);
	}
	cr_expect_eq(decoder_next(&d, &out), 0);
	free(p);
	decoder_release(&d);
	block_release(&b);
}

Test(codec, tables_match_the_structs)
{
	size_t i, j, size;

	for (i = 0; i < trace_schema.n; i++) {
		const struct kind_desc *k = &trace_schema.kinds[i];

		for (size = 0, j = 0; j < k->n_fields; j++)
			size += field_size(k->fields[j].type);
		cr_expect_eq(schema_kind(&trace_schema, k->number), k, "numbers are unique");
		switch (k->number) {
		case REC_K_SWITCH:
			cr_expect_eq(size, sizeof(struct rec_switch));
			break;
		case REC_K_STACK:
			cr_expect_eq(size, sizeof(struct rec_stack));
			break;
		case REC_K_MAP:
			cr_expect_eq(size, sizeof(struct rec_map));
			break;
		case REC_K_END:
			cr_expect_eq(size, sizeof(struct rec_end));
			break;
		}
	}
	cr_expect_str_eq(rec_kind_name(REC_K_SWITCH), "switch");
	cr_expect_str_eq(rec_kind_name(62), "?");
	cr_expect_str_eq(rec_kind_name(1000), "?");
}

/* --- other versions' schemas ---------------------------------------------------------------- */

/* What an older or newer writer may have: fields in another order, of another number type,
 * missing, new, of types that we have never seen, a kind that we do not know, and a number
 * that means something else. */
static const struct field_desc switch_fields[] = {
        {"next", FIELD_U},  {"prev", FIELD_D}, {"novel", FIELD_A},
        {"cpu", FIELD_U},   {"site", FIELD_B}, {"new2", FIELD_D},
        {"state", FIELD_D}, {"word", FIELD_U}, {"blob", FIELD_B},
};
static const struct field_desc stack_fields[] = {
        {"other", FIELD_A},
        {"id", FIELD_U},
        {"frames", FIELD_A},
        {"more", FIELD_A},
};
static const struct field_desc alien_fields[] = {{"x", FIELD_A}, {"y", FIELD_B}, {"z", FIELD_D}};
static const struct field_desc mark_fields[] = {{"what", FIELD_U}};
static const struct kind_desc other_kinds[] = {
        {"switch", switch_fields, REC_K_SWITCH, ARRAY_LEN(switch_fields), BLOCK_EVENTS},
        {"alien", alien_fields, 60, ARRAY_LEN(alien_fields), BLOCK_EVENTS},
        {"stack", stack_fields, REC_K_STACK, ARRAY_LEN(stack_fields), BLOCK_EVENTS},
        {"renamed", mark_fields, REC_K_MARK, ARRAY_LEN(mark_fields), BLOCK_EVENTS},
};
static const struct schema other = {other_kinds, ARRAY_LEN(other_kinds)};

static void check_switch(const struct gen_rec *in, const struct rec_switch *sw)
{
	cr_assert_eq(sw->next, in->words[0]);
	cr_assert_eq(sw->prev, in->words[1]);
	cr_assert_eq(sw->cpu, in->words[4]);
	cr_assert_eq(sw->site, 0, "bytes are no number");
	cr_assert_eq(sw->state, in->words[8]);
	cr_assert_eq(sw->word, in->words[9]);
	cr_assert_eq(sw->exec, 0, "absent in the file");
}

static void check_stack(const struct gen_rec *in, const struct rec_stack *st)
{
	cr_assert_eq(st->id, in->words[2]);
	cr_assert_eq(st->frames.n, in->words[4]);
	if (st->frames.n)
		cr_assert_eq(
		        memcmp(st->frames.v, (void *)(uintptr_t)in->words[3], st->frames.n * 8), 0);
	cr_assert_eq(st->kind, 0);
}

Test(codec, fields_map_by_name)
{
	enum { N = 5000 };
	struct gen g = {.seed = 7};
	struct trace_record out;
	struct block b = {0};
	struct gen_rec rec;
	struct decoder d;
	uint8_t *p;
	size_t n, i;

	encode(&other, 7, N, &b);
	p = join(&b, &n);
	cr_assert_eq(decoder_for(&d, &trace_schema, &other), 0);
	cr_assert_eq(decoder_start(&d, p, n, b.stored.n, N), 0);
	for (i = 0; i < N; i++) {
		const struct kind_desc *k = &other.kinds[gen_below(&g, other.n)];
		uint64_t ts;

		gen_fill(&g, k, &rec);
		ts = gen_ts(&g);
		cr_assert_eq(decoder_next(&d, &out), 1);
		cr_assert_eq(out.ts, ts);
		if (k->number == REC_K_SWITCH)
			check_switch(&rec, out.rec);
		else if (k->number == REC_K_STACK)
			check_stack(&rec, out.rec);
		else
			cr_assert_eq((unsigned)out.kind, 0, "%s is unknown here", k->name);
	}
	cr_expect_eq(decoder_next(&d, &out), 0);
	free(p);
	decoder_release(&d);
	block_release(&b);
}

Test(codec, field_types_of_the_future_are_passed_over)
{
	static const struct field_desc fields[] = {
	        {"what", FIELD_U}, {"pair", 'P'}, {"value", FIELD_U}};
	static const struct kind_desc kinds[] = {{"mark", fields, REC_K_MARK, 3, BLOCK_EVENTS}};
	static const struct schema newer = {kinds, 1};
	/* directory: 6 columns; kinds 1, ts 1, mask 1, what 1, pair 3, value 1 bytes */
	static const uint8_t block[8 + 7 + DECODE_PAD] = {
	        6, 2, 2, 2, 2, 6, 2, REC_K_MARK, 0, 7, 3, 0xff, 0xff, 0xff, 9,
	};
	const struct rec_mark *mark;
	struct trace_record out;
	struct decoder d;

	cr_assert_eq(decoder_for(&d, &trace_schema, &newer), 0);
	cr_assert_eq(decoder_start(&d, block, 15, 0, 1), 0);
	cr_assert_eq(decoder_next(&d, &out), 1);
	mark = out.rec;
	cr_expect_eq(mark->what, 3);
	cr_expect_eq(mark->value, 9);
	cr_expect_eq(decoder_next(&d, &out), 0);
	decoder_release(&d);
}

/* --- malformed ------------------------------------------------------------------------------- */

static int schema_status(const void *p, size_t n)
{
	struct decoder d;
	int err = decoder_init(&d, &trace_schema, p, n);

	if (!err)
		decoder_release(&d);
	return err;
}

#define STATUS(text) schema_status(text, sizeof(text) - 1)

Test(schema, malformed)
{
	cr_expect_eq(STATUS("\x01\x10\x03\x01s\x01U\x01x"), 0);
	cr_expect_eq(STATUS("\x00"), 0, "no kinds");
	cr_expect_eq(STATUS(""), -EBADMSG, "nothing");
	cr_expect_eq(STATUS("\x01"), -EBADMSG, "fewer than announced");
	cr_expect_eq(STATUS("\x01\x10\x03\x01s\x01U\x05x"), -EBADMSG, "name is cut");
	cr_expect_eq(STATUS("\x01\x10\x03\x01s\x02U\x01x"), -EBADMSG, "field is missing");
	cr_expect_eq(STATUS("\x01\x00\x03\x01s\x00"), -EBADMSG, "kind 0");
	cr_expect_eq(STATUS("\x01\x40\x03\x01s\x00"), -EBADMSG, "kind 64");
	cr_expect_eq(STATUS("\x02\x10\x03\x01s\x00\x10\x03\x01s\x00"), -EBADMSG, "kind twice");
	cr_expect_eq(STATUS("\x01\x10\x03\x06switch\x02U\x03"
	                    "cpuU\x03"
	                    "cpu"),
	             -EBADMSG, "field twice");
	cr_expect_eq(STATUS("\x01\x10\x03\x01s\x41"), -EBADMSG, "65 fields");
	cr_expect_eq(STATUS("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -EBADMSG,
	             "2^64 - 1 kinds");
}

/* One "mark"-like kind: kind, ts, mask, then fields u (U) and a (A) in "stack". */
static int decode_status(const uint8_t *bytes, size_t n, uint32_t records)
{
	static const struct field_desc fields[] = {{"id", FIELD_U}, {"frames", FIELD_A}};
	static const struct kind_desc kinds[] = {{"stack", fields, REC_K_STACK, 2, BLOCK_DEFS}};
	static const struct schema s = {kinds, 1};
	uint8_t *p = calloc(1, n + DECODE_PAD);
	struct trace_record out;
	struct decoder d;
	int err;

	memcpy(p, bytes, n);
	cr_assert_eq(decoder_for(&d, &trace_schema, &s), 0);
	err = decoder_start(&d, p, n, 0, records);
	while (!err && (err = decoder_next(&d, &out)) == 1)
		err = 0;
	decoder_release(&d);
	free(p);
	return err;
}

#define BLOCK_STATUS(records, ...)                                                            \
	decode_status((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), \
	              records)

Test(codec, malformed_blocks)
{
	/* columns:                 n  kind ts mask id frames   */
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, /**/ 6, 0, 3, 9, 2, 2, 2), 0, "good");
	cr_expect_eq(BLOCK_STATUS(2, 5, 2, 2, 2, 2, 6, 6, 0, 3, 9, 2, 2, 2), -EBADMSG, "records");
	cr_expect_eq(BLOCK_STATUS(1, 4, 2, 2, 2, 2, 6, 0, 3, 9, 2, 2, 2), -EBADMSG, "columns");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 6, 0, 3, 9, 2, 2), -EBADMSG, "cut");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 6, 0, 3, 9, 2, 2, 2, 0), -EBADMSG, "rest");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 7, 0, 3, 9, 2, 2, 2), -EBADMSG, "kind");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 255, 0, 3, 9, 2, 2, 2), -EBADMSG,
	             "kind 255");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 6, 0, 7, 9, 2, 2, 2), -EBADMSG, "mask");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 6, 0, 2, 9, 2, 2, 2), -EBADMSG, "id unused");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 6, 0, 3, 9, 3, 2, 2), -EBADMSG, "count + 1");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 6, 0, 3, 9, 1, 2, 2), -EBADMSG, "count - 1");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 6, 6, 0, 3, 0x89, 2, 2, 2), -EBADMSG,
	             "over the end");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 0, 2, 2, 6, 6, 3, 9, 2, 2, 2), -EBADMSG, "no ts");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 3, 6, 6, 0, 3, 2, 2, 2, 9), -EBADMSG,
	             "stored, but nothing is");
	cr_expect_eq(BLOCK_STATUS(1, 5, 2, 2, 2, 2, 22, 6, 0, 3, 9, 0xff, 0xff, 0xff, 0xff, 0xff,
	                          0xff, 0xff, 0xff, 0xff, 0x01, 0),
	             -EBADMSG, "2^64 - 1 frames");
	cr_expect_eq(BLOCK_STATUS(0, 5, 0, 0, 0, 0, 0), 0, "empty");
	cr_expect_eq(BLOCK_STATUS(0, 5, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
	                          0, 0, 0, 0),
	             -EBADMSG, "huge column");
}

/* What runs over its column is not delivered, even when zeros follow. */
Test(codec, nothing_is_delivered_beyond_a_column)
{
	enum { N = 500 };
	struct trace_record out;
	struct decoder d;
	uint8_t *p, *at;
	size_t i;

	cr_assert_eq(decoder_for(&d, &trace_schema, &trace_schema), 0);
	p = at = calloc(1, d.columns.n + N + 4 + DECODE_PAD);
	at = put_varint(at, d.columns.n);
	at = put_varint(at, 2 * N); /* kinds; all other columns are empty */
	for (i = 1; i < d.columns.n; i++)
		*at++ = 0;
	memset(at, REC_K_SWITCH, N);
	at += N;
	cr_assert_eq(decoder_start(&d, p, (size_t)(at - p), 0, N), 0);
	for (i = 0; i < 10; i++)
		cr_assert_eq(decoder_next(&d, &out), -EBADMSG);
	decoder_release(&d);
	free(p);
}

/* --- header, heads, payloads ----------------------------------------------------------- */

Test(block, head_round_trip_and_limits)
{
	struct block_head h = {.type = 3,
	                       .flags = 0,
	                       .seq = 7,
	                       .raw_len = 100,
	                       .stored_len = 10,
	                       .comp_len = 50,
	                       .records = 9,
	                       .payload_crc = 0xdeadbeef,
	                       .first_ts = 1,
	                       .last_ts = UINT64_MAX};
	struct block_head back;
	uint8_t bytes[HEAD_BYTES];
	size_t i;

	head_encode(&h, bytes);
	cr_assert(head_decode(bytes, &back));
	cr_expect_eq(memcmp(bytes, BLOCK_MAGIC, 4), 0);
	cr_expect(back.type == 3 && back.seq == 7 && back.raw_len == 100 && back.stored_len == 10);
	cr_expect(back.comp_len == 50 && back.records == 9 && back.payload_crc == 0xdeadbeef);
	cr_expect(back.first_ts == 1 && back.last_ts == UINT64_MAX);
	for (i = 0; i < 8 * sizeof(bytes); i++) {
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		cr_expect(!head_decode(bytes, &back), "bit %zu", i);
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	h.raw_len = BLOCK_RAW_MAX + 1;
	head_encode(&h, bytes);
	cr_expect(!head_decode(bytes, &back));
	h.raw_len = 100;
	h.stored_len = 101;
	head_encode(&h, bytes);
	cr_expect(!head_decode(bytes, &back));
	h.stored_len = 51; /* of 50 */
	head_encode(&h, bytes);
	cr_expect(!head_decode(bytes, &back));
	h.stored_len = 0;
	h.comp_len = UINT32_MAX;
	head_encode(&h, bytes);
	cr_expect(!head_decode(bytes, &back));
}

Test(block, payload_must_be_exactly_as_long_as_announced)
{
	char text[1000] = "zeros compress well";
	struct buf packed = {(uint8_t *)text, sizeof(text), sizeof(text)};
	struct buf stored = {(uint8_t *)"tail", 4, 4};
	struct block_head h = {.type = BLOCK_EVENTS}, wrong;
	struct unpacker u;
	struct packer p;

	cr_assert_eq(packer_init(&p), 0);
	cr_assert_eq(unpacker_init(&u), 0);
	cr_assert_eq(packer_pack(&p, &h, &packed, &stored), 0);
	cr_expect(h.raw_len == 1004 && h.stored_len == 4 && h.comp_len < 200);
	cr_expect_eq(unpacker_unpack(&u, &h, p.out.p + HEAD_BYTES), 0);
	cr_expect_eq(memcmp(u.raw, text, sizeof(text)), 0);
	cr_expect_eq(memcmp(u.raw + sizeof(text), "tail\0", 5), 0);
	wrong = h;
	wrong.raw_len--;
	cr_expect_eq(unpacker_unpack(&u, &wrong, p.out.p + HEAD_BYTES), -EBADMSG);
	wrong.raw_len = BLOCK_RAW_MAX;
	cr_expect_eq(unpacker_unpack(&u, &wrong, p.out.p + HEAD_BYTES), -EBADMSG);
	wrong = h;
	wrong.payload_crc ^= 1;
	cr_expect_eq(unpacker_unpack(&u, &wrong, p.out.p + HEAD_BYTES), -EBADMSG);
	cr_expect_eq(unpacker_unpack(&u, &h, p.out.p + HEAD_BYTES), 0, "usable after errors");
	unpacker_release(&u);
	packer_release(&p);
}

Test(index, round_trip_and_malformed)
{
	struct index ix = {0}, back = {0};
	struct gen g = {.seed = 3};
	struct buf b = {0};
	size_t i;

	for (i = 0; i < 1000; i++) {
		struct index_entry e = {i * 77, gen_next(&g), gen_next(&g), (uint32_t)gen_next(&g),
		                        (uint8_t)gen_next(&g)};
		cr_assert_eq(vec_push(&ix.blocks, e), 0);
	}
	cr_assert_eq(index_encode(&ix, &b), 0);
	cr_assert_eq(index_decode(&back, b.p, b.n), 0);
	cr_assert_eq(back.blocks.n, 1000);
	for (i = 0; i < 1000; i++) {
		const struct index_entry *x = &ix.blocks.v[i], *y = &back.blocks.v[i];

		cr_assert(x->off == y->off && x->first_ts == y->first_ts &&
		          x->last_ts == y->last_ts && x->records == y->records &&
		          x->type == y->type);
	}
	index_release(&back);
	cr_expect_eq(index_decode(&back, b.p, b.n - 1), -EBADMSG);
	index_release(&back);
	cr_expect_eq(index_decode(&back,
	                          (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10),
	             -EBADMSG);
	index_release(&back);
	index_release(&ix);
	buf_release(&b);
}
