/* SPDX-License-Identifier: MIT */
/*
 * The reader trusts nothing: a trace cut at every offset, and 10,000 mutated ones, half of
 * them with all CRCs made right again so that the mutation reaches the decoder. Each must
 * open or be refused; run under sanitizers, none may read outside, leak or hang.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../support/trace_gen.h"

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void expect_no_leak(void)
{
	if (__lsan_do_recoverable_leak_check)
		cr_expect_eq(__lsan_do_recoverable_leak_check(), 0);
}

/* A copy that ends where the heap block ends, so that reading on is seen. */
static int64_t read_exact(const uint8_t *p, size_t n, struct trace_info *info)
{
	struct buf b = {malloc(n ? n : 1), n, n};
	int64_t got;

	memcpy(b.p, p, n);
	got = gen_read_all(&b, info);
	free(b.p);
	return got;
}

/* A few blocks of each type, with all kinds of records; a few kilobytes. */
static void small_trace(struct buf *b)
{
	struct gen g = {.seed = 11};
	struct trace_writer *w = trace_writer_new(trace_sink_buf(b), NULL);
	struct gen_rec rec;
	size_t i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < trace_schema.n; i++) {
			const struct kind_desc *k = &trace_schema.kinds[i];
			gen_fill(&g, k, &rec);
			memset(g.bytes, 'x', sizeof(g.bytes)); /* compresses well */
			cr_assert_eq(trace_write(w, k->number, gen_ts(&g), rec.words), 0);
		}
		cr_assert_eq(trace_writer_flush(w), 0);
	}
	cr_assert_eq(trace_writer_finish(w), 0);
	trace_writer_free(w);
}

Test(corrupt, cut_at_every_offset, .timeout = 300)
{
	struct buf b = {0};
	struct trace_info info;
	int64_t n, last = -EBADMSG;
	size_t cut;

	small_trace(&b);
	for (cut = 0; cut <= b.n; cut++) {
		n = read_exact(b.p, cut, &info);
		cr_assert(n == last || n > last, "a longer file does not hold less: %zu", cut);
		if (n < 0)
			continue;
		last = n;
		cr_assert_eq(info.damaged_blocks, 0, "cut at %zu is not damage", cut);
		cr_assert(!info.truncated || info.skipped_bytes < cut);
	}
	cr_expect_eq(last, 3 * (int64_t)trace_schema.n);
	buf_release(&b);
	expect_no_leak();
}

/* --- mutations of bytes ------------------------------------------------------------------ */

static void mutate(struct gen *g, struct buf *b)
{
	static const uint8_t nasty[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
	size_t at = b->n ? gen_below(g, b->n) : 0, len;

	if (!b->n)
		return;
	switch (gen_below(g, 6)) {
	case 0:
		b->p[at] ^= (uint8_t)(1 << gen_below(g, 8));
		break;
	case 1:
		b->p[at] = nasty[gen_below(g, sizeof(nasty))];
		break;
	case 2: /* a huge count */
		for (len = 1 + gen_below(g, 9); len && at < b->n; len--)
			b->p[at++] = 0xff;
		break;
	case 3: /* bytes lost */
		len = 1 + gen_below(g, b->n - at < 64 ? b->n - at : 64);
		memmove(b->p + at, b->p + at + len, b->n - at - len);
		b->n -= len;
		break;
	case 4: /* bytes from elsewhere */
		len = gen_below(g, b->n - at < 64 ? b->n - at : 64);
		memmove(b->p + at, b->p + gen_below(g, b->n - len), len);
		break;
	default:
		b->p[at] = (uint8_t)gen_next(g);
	}
}

Test(corrupt, mutated_files, .timeout = 600)
{
	struct gen g = {.seed = 12};
	struct buf good = {0}, b = {0};
	int i, opened = 0;
	uint64_t times;

	small_trace(&good);
	for (i = 0; i < 5000; i++) {
		b.n = 0;
		cr_assert_eq(buf_put(&b, good.p, good.n), 0);
		for (times = 1 + gen_below(&g, 4); times; times--)
			mutate(&g, &b);
		opened += read_exact(b.p, b.n, NULL) >= 0;
	}
	cr_expect(opened > 4000, "one wrong place should not cost the file: %d", opened);
	buf_release(&good);
	buf_release(&b);
	expect_no_leak();
}

/* --- mutations of what the CRCs protect ------------------------------------------------------ */

static const uint8_t *next_block(const struct buf *b, size_t *at, struct block_head *h)
{
	const uint8_t *p = b->p + *at;

	if (b->n - *at < HEAD_BYTES || !head_decode(p, h))
		return NULL;
	*at += HEAD_BYTES + h->comp_len;
	return p + HEAD_BYTES;
}

static void mutate_head(struct gen *g, struct block_head *h)
{
	static const uint32_t nasty[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, BLOCK_RAW_MAX};
	uint32_t v = gen_below(g, 2) ? nasty[gen_below(g, ARRAY_LEN(nasty))]
	                             : (uint32_t)gen_below(g, 4096);

	switch (gen_below(g, 8)) {
	case 0:
		h->type = (uint8_t)gen_below(g, 7);
		break;
	case 1:
		h->flags = (uint8_t)v;
		break;
	case 2:
		h->seq = v;
		break;
	case 3:
		h->raw_len = v;
		break;
	case 4:
		h->stored_len = v;
		break;
	case 5:
		h->comp_len = v;
		break;
	case 6:
		h->records = v;
		break;
	default:
		h->first_ts = gen_next(g);
		h->last_ts = gen_next(g);
	}
}

struct tools {
	struct unpacker u;
	struct packer p;
};

/* One block again, perhaps with other contents, and with CRCs that say it is right. */
static void copy_block(struct gen *g, struct tools *t, struct block_head *h, const uint8_t *payload,
                       struct buf *out)
{
	struct buf packed = {0}, stored = {0};
	uint8_t head[HEAD_BYTES];
	size_t at;

	cr_assert_eq(unpacker_unpack(&t->u, h, payload), 0);
	buf_put(&packed, t->u.raw, h->raw_len - h->stored_len);
	buf_put(&stored, t->u.raw + packed.n, h->stored_len);
	if (gen_below(g, 3)) {
		mutate(g, &packed);
		mutate(g, &stored);
	}
	cr_assert_eq(packer_pack(&t->p, h, &packed, &stored), 0);
	at = out->n;
	buf_put(out, t->p.out.p, t->p.out.n);
	if (!gen_below(g, 3)) {
		mutate_head(g, h);
		head_encode(h, head);
		memcpy(out->p + at, head, sizeof(head));
	}
	buf_release(&packed);
	buf_release(&stored);
}

static void mutate_header(struct gen *g, uint8_t *p)
{
	struct header h;

	header_decode(p, &h);
	switch (gen_below(g, 4)) {
	case 0:
		h.minor = (unsigned)gen_below(g, 65536);
		break;
	case 1:
		h.bytes = (uint32_t)gen_below(g, 200);
		break;
	case 2:
		h.index_off = gen_below(g, 2) ? gen_next(g) : gen_below(g, 6000);
		break;
	default:
		h.flags = (uint32_t)gen_next(g);
	}
	header_encode(&h, p);
}

/* `good` with some blocks changed, left out, doubled or swapped; every CRC is right. */
static void rebuild(struct gen *g, struct tools *t, const struct buf *good, struct buf *out)
{
	struct buf block = {0}, held = {0};
	struct block_head h;
	size_t at = HEADER_BYTES;
	const uint8_t *payload;

	out->n = 0;
	buf_put(out, good->p, HEADER_BYTES);
	if (!gen_below(g, 4))
		mutate_header(g, out->p);
	while ((payload = next_block(good, &at, &h))) {
		block.n = 0;
		if (gen_below(g, 2))
			copy_block(g, t, &h, payload, &block);
		else
			buf_put(&block, payload - HEAD_BYTES, HEAD_BYTES + h.comp_len);
		switch (gen_below(g, 12)) {
		case 0: /* left out */
			break;
		case 1: /* twice */
			buf_put(out, block.p, block.n);
			buf_put(out, block.p, block.n);
			break;
		case 2: /* later */
			buf_put(&held, block.p, block.n);
			break;
		default:
			buf_put(out, block.p, block.n);
			buf_put(out, held.p, held.n);
			held.n = 0;
		}
	}
	buf_release(&block);
	buf_release(&held);
}

Test(corrupt, mutated_contents_with_right_crcs, .timeout = 600)
{
	struct gen g = {.seed = 13};
	struct buf good = {0}, b = {0};
	struct trace_info info = {0};
	uint64_t damaged = 0, whole = 0;
	struct tools t;
	int i, opened = 0;

	small_trace(&good);
	cr_assert_eq(packer_init(&t.p), 0);
	cr_assert_eq(unpacker_init(&t.u), 0);
	for (i = 0; i < 5000; i++) {
		rebuild(&g, &t, &good, &b);
		if (read_exact(b.p, b.n, &info) >= 0) {
			opened++;
			damaged += info.damaged_blocks > 0;
			whole += info.damaged_blocks == 0;
		}
	}
	cr_expect(opened > 1000 && damaged > 1000 && whole > 10,
	          "%d opened, %llu damaged, %llu whole", opened, (unsigned long long)damaged,
	          (unsigned long long)whole);
	packer_release(&t.p);
	unpacker_release(&t.u);
	buf_release(&good);
	buf_release(&b);
	expect_no_leak();
}
