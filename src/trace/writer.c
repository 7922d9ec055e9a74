/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace_priv.h"

/* Beyond so many blocks (a day and more) the index would cost too much memory: none is
 * written then, and readers go from head to head. */
enum { INDEX_BLOCKS_MAX = 1 << 18 };

/* A block being filled. */
struct open_block {
	struct encoder enc;
	size_t target;
	uint32_t records;
	uint64_t first_ts, last_ts;
	uint8_t type;
};

struct trace_writer {
	struct trace_sink sink;
	struct header header;
	struct enc_tables tables;
	struct open_block defs, events;
	struct buf packed, stored; /* a block on its way to the packer */
	struct packer packer;
	struct index index;
	struct trace_stats stats;
	uint32_t seq;
	int error; /* of the sink; for ever */
	bool finished;
};

/* --- blocks --------------------------------------------------------------------------- */

static int put_bytes(struct trace_writer *w, const void *p, size_t n)
{
	w->error = w->sink.write(w->sink.ctx, p, n);
	if (!w->error)
		w->stats.file_bytes += n;
	return w->error;
}

/* Packs and writes; what had been written before stays readable whatever happens here. */
static int put_block(struct trace_writer *w, struct block_head *head, const struct buf *packed,
                     const struct buf *stored)
{
	struct index_entry e = {w->stats.file_bytes, head->first_ts, head->last_ts, head->records,
	                        head->type};
	int err;

	head->seq = w->seq++;
	err = packer_pack(&w->packer, head, packed, stored);
	if (!err && w->index.blocks.n <= INDEX_BLOCKS_MAX && vec_push(&w->index.blocks, e))
		err = -ENOMEM;
	if (err)
		return w->error = err;
	w->stats.raw_bytes += head->raw_len;
	w->stats.blocks++;
	return put_bytes(w, w->packer.out.p, w->packer.out.n);
}

static int close_block(struct trace_writer *w, struct open_block *b)
{
	struct block_head head = {.type = b->type,
	                          .records = b->records,
	                          .first_ts = b->first_ts,
	                          .last_ts = b->last_ts};

	if (!b->records)
		return 0;
	b->records = 0;
	w->packed.n = w->stored.n = 0;
	w->error = encoder_take(&b->enc, &w->packed, &w->stored);
	return w->error ? w->error : put_block(w, &head, &w->packed, &w->stored);
}

/* Definitions first, as events may refer to them. */
static int close_blocks(struct trace_writer *w)
{
	int err = close_block(w, &w->defs);

	return err ? err : close_block(w, &w->events);
}

static int close_one(struct trace_writer *w, struct open_block *b)
{
	return b == &w->events ? close_blocks(w) : close_block(w, b);
}

static int put_extra_block(struct trace_writer *w, uint8_t type, const struct buf *raw)
{
	struct block_head head = {.type = type};

	if (raw->n > BLOCK_RAW_MAX)
		return -E2BIG;
	return put_block(w, &head, raw, NULL);
}

/* --- life -------------------------------------------------------------------------------- */

static int open_block_init(struct open_block *b, const struct enc_tables *t, uint8_t type,
                           size_t target)
{
	b->type = type;
	b->target = target;
	return encoder_init(&b->enc, t);
}

static int put_header(struct trace_writer *w)
{
	uint8_t bytes[HEADER_BYTES];

	header_encode(&w->header, bytes);
	return put_bytes(w, bytes, sizeof(bytes));
}

static int writer_init(struct trace_writer *w, const struct schema *s)
{
	struct buf schema = {0};
	int err;

	err = enc_tables_init(&w->tables, s);
	if (!err)
		err = open_block_init(&w->defs, &w->tables, BLOCK_DEFS, DEFS_RAW_TARGET);
	if (!err)
		err = open_block_init(&w->events, &w->tables, BLOCK_EVENTS, EVENTS_RAW_TARGET);
	if (!err)
		err = packer_init(&w->packer);
	if (!err)
		err = schema_encode(s, &schema);
	if (!err)
		err = put_header(w);
	if (!err)
		err = put_extra_block(w, BLOCK_SCHEMA, &schema);
	buf_release(&schema);
	return err;
}

struct trace_writer *trace_writer_new_schema(struct trace_sink sink, const struct schema *s,
                                             unsigned major, unsigned minor, struct err *err)
{
	struct trace_writer *w = calloc(1, sizeof(*w));
	int code = -ENOMEM;

	if (w) {
		w->sink = sink;
		w->header = (struct header){.major = major, .minor = minor, .bytes = HEADER_BYTES};
		code = writer_init(w, s);
	}
	if (!code)
		return w;
	err_set(err, code, code == -ENOSPC ? MT_EXIT_DISK_FULL : MT_EXIT_OUTPUT,
	        "cannot begin the trace: %s", strerror(-code));
	trace_writer_free(w);
	return NULL;
}

struct trace_writer *trace_writer_new(struct trace_sink sink, struct err *err)
{
	return trace_writer_new_schema(sink, &trace_schema, TRACE_MAJOR, TRACE_MINOR, err);
}

void trace_writer_free(struct trace_writer *w)
{
	if (!w)
		return;
	buf_release(&w->packed);
	buf_release(&w->stored);
	encoder_release(&w->defs.enc);
	encoder_release(&w->events.enc);
	enc_tables_release(&w->tables);
	packer_release(&w->packer);
	index_release(&w->index);
	free(w);
}

/* --- records --------------------------------------------------------------------------------- */

/* Whether a record of up to `bound` bytes still fits below BLOCK_RAW_MAX, after closing the
 * open block if need be. */
static int make_room(struct trace_writer *w, struct open_block *b, uint64_t bound)
{
	uint64_t max = BLOCK_RAW_MAX - encoder_overhead(&b->enc);

	if (bound > max)
		return -E2BIG;
	return bound > max - b->enc.bytes ? close_one(w, b) : 0;
}

int trace_write(struct trace_writer *w, enum rec_kind kind, uint64_t ts, const void *rec)
{
	struct open_block *b;
	uint64_t bound;
	int err;

	if (w->error)
		return w->error;
	if ((unsigned)kind >= REC_K_MAX || !w->tables.kind[kind].defined || w->finished)
		return -EINVAL;
	b = w->tables.kind[kind].block == BLOCK_EVENTS ? &w->events : &w->defs;
	if (!w->tables.kind[kind].plain) {
		bound = encoder_bound(&b->enc, kind, rec);
		err = make_room(w, b, bound);
		if (err)
			return err;
	}
	w->error = encoder_put(&b->enc, kind, ts, rec);
	if (w->error)
		return w->error;
	if (!b->records || ts < b->first_ts)
		b->first_ts = ts;
	if (!b->records || ts > b->last_ts)
		b->last_ts = ts;
	b->records++;
	w->stats.records++;
	w->stats.by_kind[kind]++;
	w->stats.events += b == &w->events;
	return b->enc.bytes >= b->target ? close_one(w, b) : 0;
}

int trace_writer_flush(struct trace_writer *w)
{
	return w->error ? w->error : close_blocks(w);
}

static int put_index(struct trace_writer *w)
{
	struct buf raw = {0};
	int err;

	w->header.index_off = w->stats.file_bytes;
	err = index_encode(&w->index, &raw);
	if (!err)
		err = put_extra_block(w, BLOCK_INDEX, &raw);
	buf_release(&raw);
	return err;
}

int trace_writer_finish(struct trace_writer *w)
{
	uint8_t bytes[HEADER_BYTES];
	int err;

	if (w->finished)
		return w->error;
	err = trace_writer_flush(w);
	if (!err && w->index.blocks.n <= INDEX_BLOCKS_MAX)
		err = put_index(w);
	if (err)
		return w->error = err;
	w->finished = true;
	w->header.flags |= HEADER_F_COMPLETE;
	header_encode(&w->header, bytes);
	return w->error = w->sink.write_at(w->sink.ctx, bytes, sizeof(bytes), 0);
}

const struct trace_stats *trace_writer_stats(const struct trace_writer *w)
{
	return &w->stats;
}
