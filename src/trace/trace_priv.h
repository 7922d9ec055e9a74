/* SPDX-License-Identifier: MIT */
/*
 * trace_priv.h: what the files of src/trace share. The format is specified in trace.h;
 * here are its numbers, once, and the pieces of writer and reader.
 *
 *   kinds.c    the record kinds as tables        schema.c  SCHEMA payload <-> tables
 *   encode.c   record -> columns                 decode.c  columns -> record
 *   block.c    header, block heads, zlib, CRC    index.c   INDEX payload
 *   writer.c   open blocks, flushing             reader.c  blocks in order, window, counting
 *   source.c   files and memory                  salvage.c the next whole block after damage
 */
#ifndef MT_TRACE_PRIV_H
#define MT_TRACE_PRIV_H

#include <zlib.h>

#include "trace.h"

/* --- numbers of the format -------------------------------------------------------- */

enum {
	HEADER_BYTES = 40,
	HEADER_BYTES_MAX = 65536, /* a later minor version may append to the header */
	HEADER_F_COMPLETE = 1 << 0,
	HEAD_BYTES = 52,
	BLOCK_RAW_MAX = 16 << 20, /* no block decompresses to more */
	FIELDS_MAX = 64,          /* bits of a record's mask */
	EVENTS_RAW_TARGET = 256 << 10,
	DEFS_RAW_TARGET = 64 << 10,
};
#define BLOCK_MAGIC "\xf7MVB"

enum block_type { BLOCK_SCHEMA = 1, BLOCK_DEFS = 2, BLOCK_EVENTS = 3, BLOCK_INDEX = 4 };

enum field_type { FIELD_U = 'U', FIELD_D = 'D', FIELD_B = 'B', FIELD_A = 'A' };

/* --- record kinds as tables (kinds.c) ----------------------------------------------- */

struct field_desc {
	const char *name;
	uint8_t type; /* enum field_type */
};

struct kind_desc {
	const char *name;
	const struct field_desc *fields;
	uint8_t number, n_fields;
	uint8_t block; /* BLOCK_DEFS or BLOCK_EVENTS */
};

/* A set of kinds. Tests use others than ours to play later versions. */
struct schema {
	const struct kind_desc *kinds;
	size_t n;
};

extern const struct schema trace_schema;
const struct kind_desc *schema_kind(const struct schema *s, unsigned number); /* NULL unknown */
/* Bytes that a field takes in a struct rec_…; members follow each other without padding. */
size_t field_size(uint8_t type);

/* --- integers ------------------------------------------------------------------------- */

static inline void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)v);
	put_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void put_u64(uint8_t *p, uint64_t v)
{
	put_u32(p, (uint32_t)v);
	put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_u32(const uint8_t *p)
{
	return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

static inline uint64_t get_u64(const uint8_t *p)
{
	return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static inline uint64_t zigzag(uint64_t v)
{
	return v << 1 ^ -(v >> 63);
}

static inline uint64_t unzigzag(uint64_t v)
{
	return v >> 1 ^ -(v & 1);
}

enum { VARINT_MAX = 10 };

static inline uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)v | 0x80;
	*p++ = (uint8_t)v;
	return p;
}

/* Reading bytes that may be wrong: stays inside, and remembers that something was. */
struct cursor {
	const uint8_t *p, *end;
	bool bad;
};
uint64_t cursor_varint(struct cursor *c);
/* n bytes, or NULL (and bad) when there are fewer. */
const uint8_t *cursor_bytes(struct cursor *c, uint64_t n);

int buf_put_varint(struct buf *b, uint64_t v); /* 0 or -ENOMEM */

/* --- columns ---------------------------------------------------------------------------- */

/*
 * Columns of a block, in the order of its directory: the kinds, the times, and for each kind
 * as SCHEMA lists them, first its masks and then its fields.
 */
enum { COLUMN_KIND, COLUMN_TS, COLUMNS_FIXED };

/* --- encoding (encode.c) ---------------------------------------------------------------- */

struct enc_kind {
	uint8_t n, block;
	bool defined, plain; /* plain: only U and D fields */
	uint16_t mask;       /* column of the masks; those of the fields follow */
};

/* What encoding needs to know of a schema; shared by all open blocks. */
struct enc_tables {
	struct enc_kind kind[REC_K_MAX];
	size_t n_columns;
	uint8_t *types;  /* by column: enum field_type, 0 = not a field */
	uint64_t *delta; /* by column: all ones for D, else 0 */
};
int enc_tables_init(struct enc_tables *t, const struct schema *s); /* 0 or -ENOMEM */
void enc_tables_release(struct enc_tables *t);

/* Bytes of one column: [base, p) written, [p, end) free. */
struct enc_column {
	uint8_t *base, *p, *end;
};

/* The records of one open block. */
struct encoder {
	const struct enc_tables *tables;
	struct enc_column *columns;
	uint64_t *prev; /* by column: value before, for D */
	uint64_t ts;
	size_t bytes;   /* in all columns */
	bool no_memory; /* a record was lost half-way: give up the block */
};
int encoder_init(struct encoder *e, const struct enc_tables *t);
void encoder_release(struct encoder *e);
/* Upper bound of the bytes that this record takes; UINT64_MAX when its sizes are absurd. */
uint64_t encoder_bound(const struct encoder *e, unsigned kind, const void *rec);
/* 0, or -ENOMEM and the block is lost. */
int encoder_put(struct encoder *e, unsigned kind, uint64_t ts, const void *rec);
/* Appends the directory and the columns worth compressing to `packed`, the others to
 * `stored`, and begins anew. 0 or -ENOMEM. */
int encoder_take(struct encoder *e, struct buf *packed, struct buf *stored);
/* Most bytes that encoder_take() puts before the columns. */
size_t encoder_overhead(const struct encoder *e);

/* --- decoding (decode.c) ------------------------------------------------------------------ */

/* Zero bytes behind the columns in memory: a varint that begins before the end may be read
 * before the one check behind it finds that it ran over. */
enum { DECODE_PAD = 2 * VARINT_MAX };

struct dec_field {
	uint8_t type; /* as in the file */
	bool known;   /* ours has it, and it can be converted */
	uint16_t dst; /* byte offset into the record */
};

struct dec_column {
	const uint8_t *p, *end;
};

struct dec_kind {
	bool defined, plain; /* plain: the fields known to us are all numbers */
	uint8_t n;
	uint8_t kind;   /* ours, 0 = unknown to us */
	uint16_t mask;  /* column of the masks */
	uint64_t known; /* fields that we read */
	uint64_t fade;  /* of these, those that read 0 when absent (all but D) */
	uint64_t last;  /* of these, those present in the record before */
	uint8_t *rec;   /* the record as delivered; D fields keep their state in it */
	size_t rec_bytes;
	struct dec_field *fields;
};

struct decoder {
	struct dec_kind kind[REC_K_MAX];
	VEC(struct dec_column) columns;
	VEC(uint64_t) numbers; /* of the record's A fields */
	uint64_t ts;
};
/* Maps the file's schema (SCHEMA payload) to `ours`. 0, -ENOMEM, -EBADMSG malformed. */
int decoder_init(struct decoder *d, const struct schema *ours, const uint8_t *schema, size_t n);
void decoder_release(struct decoder *d);
/* Begins with a block's n bytes at p, of which the last `stored` were stored, followed by
 * DECODE_PAD zeros. 0 or -EBADMSG. */
int decoder_start(struct decoder *d, const uint8_t *p, size_t n, size_t stored, uint32_t records);
/* 1 record in *out (kind 0: unknown to us), 0 end of the block, -EBADMSG malformed, -ENOMEM. */
int decoder_next(struct decoder *d, struct trace_record *out);

/* --- schema (schema.c) ---------------------------------------------------------------------- */

int schema_encode(const struct schema *s, struct buf *out); /* appends; 0 or -ENOMEM */
/* One kind from the cursor; fields' names point into it. 0 or -EBADMSG. */
struct schema_kind {
	unsigned number, block, n_fields;
	const uint8_t *name;
	size_t name_n;
	struct {
		uint8_t type;
		const uint8_t *name;
		size_t name_n;
	} fields[FIELDS_MAX];
};
int schema_decode_kind(struct cursor *c, struct schema_kind *out);

/* --- header, blocks (block.c) ------------------------------------------------------------------
 */

struct header {
	unsigned major, minor;
	uint32_t bytes, flags;
	uint64_t index_off;
};
void header_encode(const struct header *h, uint8_t out[HEADER_BYTES]);
bool header_decode(const uint8_t p[HEADER_BYTES], struct header *h); /* false: wrong CRC */

struct block_head {
	uint8_t type, flags;
	uint32_t seq;        /* 0, 1, … in file order */
	uint32_t raw_len;    /* bytes in memory: unpacked and stored */
	uint32_t stored_len; /* of these, the last ones, stored as they are */
	uint32_t comp_len;   /* bytes in the file: zlib stream and stored */
	uint32_t records, payload_crc;
	uint64_t first_ts, last_ts;
};
void head_encode(const struct block_head *h, uint8_t out[HEAD_BYTES]);
/* False unless magic and CRC are right and the lengths are within the limits. */
bool head_decode(const uint8_t p[HEAD_BYTES], struct block_head *h);

struct packer {
	z_stream z;
	bool ready;
	struct buf out; /* head and payload of the last block packed */
};
int packer_init(struct packer *p); /* 0 or -ENOMEM */
void packer_release(struct packer *p);
/* Compresses `packed`, appends `stored` (may be NULL) and fills in the lengths and the CRC of
 * *h; result in p->out. */
int packer_pack(struct packer *p, struct block_head *h, const struct buf *packed,
                const struct buf *stored);

struct unpacker {
	z_stream z;
	bool ready;
	uint8_t *raw; /* raw_len bytes and DECODE_PAD zeros */
	size_t cap;
};
int unpacker_init(struct unpacker *u); /* 0 or -ENOMEM */
void unpacker_release(struct unpacker *u);
/* 0: u->raw holds h->raw_len bytes. -EBADMSG: CRC or contents wrong. -ENOMEM. */
int unpacker_unpack(struct unpacker *u, const struct block_head *h, const uint8_t *payload);

/* --- index (index.c)
 * ------------------------------------------------------------------------------ */

struct index_entry {
	uint64_t off, first_ts, last_ts;
	uint32_t records;
	uint8_t type;
};
struct index {
	VEC(struct index_entry) blocks;
};
int index_encode(const struct index *ix, struct buf *out);      /* 0 or -ENOMEM */
int index_decode(struct index *ix, const uint8_t *p, size_t n); /* 0, -ENOMEM, -EBADMSG */
void index_release(struct index *ix);

/* --- salvage (salvage.c), source (source.c)
 * ---------------------------------------------------------- */

/* First offset >= from, < size, where a valid block head stands; size when none.
 * Negative errno when the source fails. */
int64_t salvage_find(const struct trace_source *src, uint64_t from, uint64_t size);
/* Size of what src holds; found by reading, as a source has no other question. Or -errno. */
int64_t source_size(const struct trace_source *src);
/* read_at() until n bytes or the end. Bytes read or -errno. */
ssize_t source_read(const struct trace_source *src, void *p, size_t n, uint64_t off);

/* --- writer with other kinds than ours, for tests
 * ------------------------------------------------------ */

struct trace_writer *trace_writer_new_schema(struct trace_sink sink, const struct schema *s,
                                             unsigned major, unsigned minor, struct err *err);

#endif
