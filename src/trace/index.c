/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "trace/trace_priv.h"

int index_encode(const struct index *ix, struct buf *out)
{
	uint64_t off = 0, ts = 0;
	size_t i;

	if (buf_put_varint(out, ix->blocks.n))
		return -ENOMEM;
	for (i = 0; i < ix->blocks.n; i++) {
		const struct index_entry *e = &ix->blocks.v[i];

		if (buf_put_varint(out, e->off - off) || buf_put_varint(out, e->type) ||
		    buf_put_varint(out, zigzag(e->first_ts - ts)) ||
		    buf_put_varint(out, zigzag(e->last_ts - e->first_ts)) ||
		    buf_put_varint(out, e->records))
			return -ENOMEM;
		off = e->off;
		ts = e->last_ts;
	}
	return 0;
}

int index_decode(struct index *ix, const uint8_t *p, size_t n)
{
	struct cursor c = {p, p + n, false};
	uint64_t count = cursor_varint(&c), off = 0, ts = 0, type, records, i;
	struct index_entry e;

	for (i = 0; i < count && !c.bad; i++) {
		e.off = off += cursor_varint(&c);
		type = cursor_varint(&c);
		e.first_ts = ts += unzigzag(cursor_varint(&c));
		e.last_ts = ts += unzigzag(cursor_varint(&c));
		records = cursor_varint(&c);
		if (c.bad || type > UINT8_MAX || records > UINT32_MAX)
			return -EBADMSG;
		e.type = (uint8_t)type;
		e.records = (uint32_t)records;
		if (vec_push(&ix->blocks, e))
			return -ENOMEM;
	}
	return c.bad ? -EBADMSG : 0;
}

void index_release(struct index *ix)
{
	vec_release(&ix->blocks);
}
