/* SPDX-License-Identifier: MIT */
/*
 * Blocks in file order. Each carries a sequence number, so that blocks which are missing
 * are known by number, and copies or old blocks found in the wrong place are not read
 * twice. Work is linear in the size of the file whatever it contains: the bytes of a block
 * that turned out wrong are searched for whole blocks within a budget of one file size.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace_priv.h"

struct trace_reader {
	struct trace_source src;
	struct unpacker unpacker;
	struct decoder decoder;
	struct trace_info info;
	uint8_t *payload;
	size_t payload_cap;
	uint64_t size, pos;
	uint64_t first_block; /* where reading begins */
	uint64_t index_off;   /* 0 = none, or not finished */
	uint64_t next_seq;
	uint64_t wrong; /* damaged places since the last whole block */
	uint64_t rescan_budget;
	uint64_t since_ts, until_ts;
	bool in_block, bad_header, have_range;
};

/* --- blocks -------------------------------------------------------------------------- */

/* Moves to the next whole-looking block after damage at pos; bytes up to `known_bad` are
 * not searched. 0 or -errno. */
static int resync(struct trace_reader *r, uint64_t known_bad)
{
	int64_t at = salvage_find(&r->src, known_bad, r->size);

	if (at < 0)
		return (int)at;
	r->info.skipped_bytes += (uint64_t)at - r->pos;
	r->pos = (uint64_t)at;
	r->wrong++;
	return 0;
}

/* The block whose head is at pos was wrong inside. Other whole blocks may begin in it when
 * bytes were lost from the file. */
static int skip_wrong_block(struct trace_reader *r, const struct block_head *head)
{
	uint64_t whole = (uint64_t)HEAD_BYTES + head->comp_len;
	uint64_t inside = whole < r->size - r->pos ? whole : r->size - r->pos;

	if (inside > r->rescan_budget)
		return resync(r, r->pos + inside);
	r->rescan_budget -= inside;
	return resync(r, r->pos + HEAD_BYTES);
}

/* The rest of the file is less than the block that begins there. */
static int skip_cut_block(struct trace_reader *r, const struct block_head *head)
{
	int err = skip_wrong_block(r, head);

	if (!err && r->pos == r->size) {
		r->info.truncated = true;
		r->wrong--;
	}
	return err;
}

/* Head of the next block, with its payload inside the file. 1, 0 at the end, -errno. */
static int find_block(struct trace_reader *r, struct block_head *head)
{
	uint8_t bytes[HEAD_BYTES];
	ssize_t got;
	int err;

	while (r->pos < r->size) {
		got = source_read(&r->src, bytes, sizeof(bytes), r->pos);
		if (got < 0)
			return (int)got;
		if (got < HEAD_BYTES) {
			r->info.truncated = true;
			r->info.skipped_bytes += r->size - r->pos;
			r->pos = r->size;
			break;
		}
		if (!head_decode(bytes, head))
			err = resync(r, r->pos + 1);
		else if (head->comp_len > r->size - r->pos - HEAD_BYTES)
			err = skip_cut_block(r, head);
		else
			return 1;
		if (err)
			return err;
	}
	r->info.damaged_blocks += r->wrong;
	r->wrong = 0;
	return 0;
}

/* Payload of the block at pos into unpacker.raw. 0, -EBADMSG, other -errno. */
static int load_block(struct trace_reader *r, const struct block_head *head)
{
	ssize_t got;

	if (head->flags)
		return -EBADMSG; /* packed in a way that we do not know */
	if (vec_grow_((void **)&r->payload, &r->payload_cap, 0, head->comp_len, 1))
		return -ENOMEM;
	got = source_read(&r->src, r->payload, head->comp_len, r->pos + HEAD_BYTES);
	if (got < 0)
		return (int)got;
	if ((size_t)got < head->comp_len)
		return -EBADMSG; /* the file shrank */
	return unpacker_unpack(&r->unpacker, head, r->payload);
}

/* A whole block in its place: what is missing between it and the one before was damaged. */
static void accept_block(struct trace_reader *r, const struct block_head *head)
{
	uint64_t missing = head->seq - r->next_seq;

	r->info.damaged_blocks += missing > r->wrong ? missing : r->wrong;
	r->wrong = 0;
	r->next_seq = (uint64_t)head->seq + 1;
	r->pos += (uint64_t)HEAD_BYTES + head->comp_len;
	r->info.blocks++;
}

static void widen_range(struct trace_reader *r, uint64_t first, uint64_t last)
{
	if (!r->have_range || first < r->info.first_ts)
		r->info.first_ts = first;
	if (!r->have_range || last > r->info.last_ts)
		r->info.last_ts = last;
	r->have_range = true;
}

static bool outside_window(const struct trace_reader *r, const struct block_head *head)
{
	return head->type == BLOCK_EVENTS &&
	       (head->last_ts < r->since_ts || head->first_ts > r->until_ts);
}

/* Block at pos, which is whole: unpacks it unless the window leaves it out. Moves past it.
 * 1 to be used, 0 to be passed over, -errno. */
static int take_block(struct trace_reader *r, const struct block_head *head, bool any)
{
	int err;

	if (head->seq < r->next_seq) { /* a copy, or a block in the wrong place */
		r->info.skipped_bytes += (uint64_t)HEAD_BYTES + head->comp_len;
		r->pos += (uint64_t)HEAD_BYTES + head->comp_len;
		r->wrong++;
		return 0;
	}
	if (head->type == BLOCK_EVENTS)
		widen_range(r, head->first_ts, head->last_ts);
	if (outside_window(r, head)) {
		accept_block(r, head);
		return 0;
	}
	err = load_block(r, head);
	if (err == -EBADMSG)
		return skip_wrong_block(r, head);
	if (err)
		return err;
	accept_block(r, head);
	return any || head->type == BLOCK_DEFS || head->type == BLOCK_EVENTS;
}

/* Next block of records (or, while opening, of any type), unpacked. 1, 0 at the end, -errno. */
static int next_block(struct trace_reader *r, struct block_head *head, bool any)
{
	int err;

	do {
		err = find_block(r, head);
		if (err <= 0)
			return err;
		err = take_block(r, head, any);
	} while (!err);
	return err;
}

/* --- records ---------------------------------------------------------------------------- */

static int begin_block(struct trace_reader *r)
{
	struct block_head head;
	int err = next_block(r, &head, false);

	if (err <= 0) {
		if (!err && r->index_off && r->index_off >= r->size)
			r->info.truncated = true; /* cut between two blocks */
		return err;
	}
	if (decoder_start(&r->decoder, r->unpacker.raw, head.raw_len, head.stored_len,
	                  head.records))
		r->info.damaged_blocks++;
	else
		r->in_block = true;
	return 1;
}

int trace_read(struct trace_reader *r, struct trace_record *out)
{
	int err;

	for (;;) {
		if (!r->in_block) {
			err = begin_block(r);
			if (err <= 0)
				return err;
			continue;
		}
		err = decoder_next(&r->decoder, out);
		if (err == 1 && out->kind) {
			r->info.records++;
			r->info.by_kind[out->kind]++;
			return 1;
		}
		if (err == 1) {
			r->info.unknown_records++;
			continue;
		}
		r->in_block = false;
		if (err == -EBADMSG)
			r->info.damaged_blocks++;
		else if (err)
			return err;
	}
}

void trace_reader_rewind(struct trace_reader *r)
{
	struct trace_info *i = &r->info;

	r->pos = r->first_block;
	r->next_seq = 0;
	r->wrong = r->bad_header;
	r->rescan_budget = r->size;
	r->in_block = false;
	i->blocks = i->damaged_blocks = i->skipped_bytes = i->records = i->unknown_records = 0;
	i->truncated = false;
	memset(i->by_kind, 0, sizeof(i->by_kind));
}

void trace_reader_window(struct trace_reader *r, uint64_t since_ts, uint64_t until_ts)
{
	r->since_ts = since_ts;
	r->until_ts = until_ts;
}

const struct trace_info *trace_reader_info(const struct trace_reader *r)
{
	return &r->info;
}

/* --- opening -------------------------------------------------------------------------------- */

static int read_error(struct err *err, ssize_t code)
{
	return err_set(err, (int)code, MT_EXIT_TRACE_UNREADABLE, "cannot be read: %s",
	               strerror((int)-code));
}

static int damaged(struct err *err, const char *what)
{
	return err_set(err, -EBADMSG, MT_EXIT_TRACE_DAMAGED, "%s: nothing in it can be read", what);
}

static int open_header(struct trace_reader *r, struct header *h, struct err *err)
{
	uint8_t bytes[HEADER_BYTES] = {0};
	ssize_t got = source_read(&r->src, bytes, sizeof(bytes), 0);

	if (got < 0)
		return read_error(err, got);
	if (!got)
		return damaged(err, "the file is empty");
	if (memcmp(bytes, TRACE_MAGIC, got < 8 ? (size_t)got : 8))
		return err_set(err, -EINVAL, MT_EXIT_TRACE_FOREIGN,
		               "not an mpvtrace trace file (one begins with \"%s\")", TRACE_MAGIC);
	if (got < HEADER_BYTES)
		return damaged(err, "cut within the file's header");
	r->bad_header = !header_decode(bytes, h);
	if (r->bad_header) { /* the blocks may be whole all the same */
		*h = (struct header){.major = TRACE_MAJOR, .bytes = HEADER_BYTES};
		return 0;
	}
	if (h->major > TRACE_MAJOR)
		return err_set(
		        err, -ENOTSUP, MT_EXIT_TRACE_NEWER,
		        "the trace was written by format %u.%u; this mpvtrace reads up to %u.x: "
		        "use a newer mpvtrace",
		        h->major, h->minor, TRACE_MAJOR);
	if (h->major < 1 || h->bytes < HEADER_BYTES || h->bytes > HEADER_BYTES_MAX)
		return damaged(err, "the file's header makes no sense");
	return 0;
}

/* Time range of the whole recording, when it was finished. Failing only means not to know. */
static void open_index(struct trace_reader *r, const struct header *h)
{
	struct index ix = {0};
	struct block_head head;
	size_t i;

	r->pos = r->index_off;
	if (r->pos < h->bytes || r->pos >= r->size)
		return;
	if (find_block(r, &head) == 1 && r->pos == r->index_off && head.type == BLOCK_INDEX &&
	    !load_block(r, &head) && !index_decode(&ix, r->unpacker.raw, head.raw_len)) {
		for (i = 0; i < ix.blocks.n; i++) {
			if (ix.blocks.v[i].type == BLOCK_EVENTS)
				widen_range(r, ix.blocks.v[i].first_ts, ix.blocks.v[i].last_ts);
		}
	}
	index_release(&ix);
}

/* SCHEMA is the first block. When that is lost, ours will do if it was of our version. */
static int open_schema(struct trace_reader *r, const struct header *h, struct err *err)
{
	struct block_head head;
	struct buf own = {0};
	int code;

	trace_reader_rewind(r); /* reading the index may have counted damage */
	code = next_block(r, &head, true);
	if (code < 0)
		return read_error(err, code);
	if (!code)
		return damaged(err, r->info.truncated ? "cut before its first whole block"
		                                      : "no whole block found");
	if (head.type == BLOCK_SCHEMA) {
		code = decoder_init(&r->decoder, &trace_schema, r->unpacker.raw, head.raw_len);
		if (code == -EBADMSG)
			return damaged(err, "its description of the records makes no sense");
	} else if (r->bad_header || h->major != TRACE_MAJOR || h->minor != TRACE_MINOR) {
		return damaged(err, "its description of the records is damaged");
	} else {
		code = schema_encode(&trace_schema, &own);
		if (!code)
			code = decoder_init(&r->decoder, &trace_schema, own.p, own.n);
		buf_release(&own);
	}
	return code ? read_error(err, code) : 0;
}

static int reader_open(struct trace_reader *r, struct err *err)
{
	struct header h;
	int64_t size;
	int code = open_header(r, &h, err);

	if (code)
		return code;
	size = source_size(&r->src);
	if (size < 0)
		return read_error(err, size);
	r->size = r->info.file_bytes = (uint64_t)size;
	r->rescan_budget = r->size;
	r->first_block = h.bytes < r->size ? h.bytes : r->size;
	r->info.major = h.major;
	r->info.minor = h.minor;
	r->info.complete = h.flags & HEADER_F_COMPLETE;
	r->index_off = r->info.complete ? h.index_off : 0;
	r->until_ts = UINT64_MAX;
	if (unpacker_init(&r->unpacker))
		return read_error(err, -ENOMEM);
	open_index(r, &h);
	code = open_schema(r, &h, err);
	if (!code)
		trace_reader_rewind(r);
	return code;
}

struct trace_reader *trace_reader_new(struct trace_source src, struct err *err)
{
	struct trace_reader *r = calloc(1, sizeof(*r));

	if (!r) {
		read_error(err, -ENOMEM);
		return NULL;
	}
	r->src = src;
	if (reader_open(r, err)) {
		trace_reader_free(r);
		return NULL;
	}
	return r;
}

void trace_reader_free(struct trace_reader *r)
{
	if (!r)
		return;
	decoder_release(&r->decoder);
	unpacker_release(&r->unpacker);
	free(r->payload);
	free(r);
}
