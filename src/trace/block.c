/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trace/trace_priv.h"

/* What zlib makes of BLOCK_RAW_MAX bytes that do not compress, generously. */
#define BLOCK_COMP_MAX (BLOCK_RAW_MAX + BLOCK_RAW_MAX / 64)

static uint32_t crc(const void *p, size_t n)
{
	return (uint32_t)crc32_z(0, p, n);
}

/* --- header ---------------------------------------------------------------------------- */

void header_encode(const struct header *h, uint8_t out[HEADER_BYTES])
{
	memset(out, 0, HEADER_BYTES);
	memcpy(out, TRACE_MAGIC, 8);
	put_u16(out + 8, (uint16_t)h->major);
	put_u16(out + 10, (uint16_t)h->minor);
	put_u32(out + 12, h->bytes);
	put_u32(out + 16, h->flags);
	put_u64(out + 24, h->index_off);
	put_u32(out + 36, crc(out, 36));
}

bool header_decode(const uint8_t p[HEADER_BYTES], struct header *h)
{
	h->major = get_u16(p + 8);
	h->minor = get_u16(p + 10);
	h->bytes = get_u32(p + 12);
	h->flags = get_u32(p + 16);
	h->index_off = get_u64(p + 24);
	return get_u32(p + 36) == crc(p, 36);
}

/* --- block heads ------------------------------------------------------------------------ */

void head_encode(const struct block_head *h, uint8_t out[HEAD_BYTES])
{
	memset(out, 0, HEAD_BYTES);
	memcpy(out, BLOCK_MAGIC, 4);
	out[4] = h->type;
	out[5] = h->flags;
	put_u32(out + 8, h->seq);
	put_u32(out + 12, h->raw_len);
	put_u32(out + 16, h->stored_len);
	put_u32(out + 20, h->comp_len);
	put_u32(out + 24, h->records);
	put_u64(out + 28, h->first_ts);
	put_u64(out + 36, h->last_ts);
	put_u32(out + 44, h->payload_crc);
	put_u32(out + 48, crc(out, 48));
}

bool head_decode(const uint8_t p[HEAD_BYTES], struct block_head *h)
{
	if (memcmp(p, BLOCK_MAGIC, 4) || get_u32(p + 48) != crc(p, 48))
		return false;
	h->type = p[4];
	h->flags = p[5];
	h->seq = get_u32(p + 8);
	h->raw_len = get_u32(p + 12);
	h->stored_len = get_u32(p + 16);
	h->comp_len = get_u32(p + 20);
	h->records = get_u32(p + 24);
	h->first_ts = get_u64(p + 28);
	h->last_ts = get_u64(p + 36);
	h->payload_crc = get_u32(p + 44);
	return h->raw_len <= BLOCK_RAW_MAX && h->comp_len <= BLOCK_COMP_MAX &&
	       h->stored_len <= h->raw_len && h->stored_len <= h->comp_len;
}

/* --- payloads ----------------------------------------------------------------------------- */

int packer_init(struct packer *p)
{
	*p = (struct packer){0};
	if (deflateInit(&p->z, 1) != Z_OK)
		return -ENOMEM;
	p->ready = true;
	return 0;
}

void packer_release(struct packer *p)
{
	if (p->ready)
		deflateEnd(&p->z);
	buf_release(&p->out);
	*p = (struct packer){0};
}

int packer_pack(struct packer *p, struct block_head *h, const struct buf *packed,
                const struct buf *stored)
{
	size_t bound = deflateBound(&p->z, packed->n), stored_n = stored ? stored->n : 0;

	p->out.n = HEAD_BYTES;
	if (vec_grow_((void **)&p->out.p, &p->out.cap, p->out.n, bound, 1))
		return -ENOMEM;
	if (deflateReset(&p->z) != Z_OK)
		return -EINVAL;
	p->z.next_in = packed->p;
	p->z.avail_in = (uInt)packed->n;
	p->z.next_out = p->out.p + HEAD_BYTES;
	p->z.avail_out = (uInt)bound;
	if (deflate(&p->z, Z_FINISH) != Z_STREAM_END)
		return -EINVAL;
	p->out.n += bound - p->z.avail_out;
	if (stored_n && buf_put(&p->out, stored->p, stored_n))
		return -ENOMEM;
	h->raw_len = (uint32_t)(packed->n + stored_n);
	h->stored_len = (uint32_t)stored_n;
	h->comp_len = (uint32_t)(p->out.n - HEAD_BYTES);
	h->payload_crc = crc(p->out.p + HEAD_BYTES, h->comp_len);
	head_encode(h, p->out.p);
	return 0;
}

int unpacker_init(struct unpacker *u)
{
	*u = (struct unpacker){0};
	if (inflateInit(&u->z) != Z_OK)
		return -ENOMEM;
	u->ready = true;
	return 0;
}

void unpacker_release(struct unpacker *u)
{
	if (u->ready)
		inflateEnd(&u->z);
	free(u->raw);
	*u = (struct unpacker){0};
}

int unpacker_unpack(struct unpacker *u, const struct block_head *h, const uint8_t *payload)
{
	int status;

	if (crc(payload, h->comp_len) != h->payload_crc)
		return -EBADMSG;
	if (vec_grow_((void **)&u->raw, &u->cap, h->raw_len, DECODE_PAD, 1))
		return -ENOMEM;
	if (inflateReset(&u->z) != Z_OK)
		return -EINVAL;
	u->z.next_in = (uint8_t *)(uintptr_t)payload;
	u->z.avail_in = h->comp_len - h->stored_len;
	u->z.next_out = u->raw;
	u->z.avail_out = h->raw_len - h->stored_len;
	status = inflate(&u->z, Z_FINISH);
	if (status == Z_MEM_ERROR)
		return -ENOMEM;
	/* Neither more nor less than announced, and nothing behind it. */
	if (status != Z_STREAM_END || u->z.avail_out || u->z.avail_in)
		return -EBADMSG;
	memcpy(u->raw + h->raw_len - h->stored_len, payload + h->comp_len - h->stored_len,
	       h->stored_len);
	memset(u->raw + h->raw_len, 0, DECODE_PAD);
	return 0;
}
