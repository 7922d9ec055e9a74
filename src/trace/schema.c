/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "trace/trace_priv.h"

uint64_t cursor_varint(struct cursor *c)
{
	uint64_t v = 0;
	unsigned shift;
	uint8_t b;

	for (shift = 0; shift < 64 && c->p < c->end; shift += 7) {
		b = *c->p++;
		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80)
			return v;
	}
	c->bad = true;
	c->p = c->end;
	return 0;
}

const uint8_t *cursor_bytes(struct cursor *c, uint64_t n)
{
	const uint8_t *p = c->p;

	if (n > (uint64_t)(c->end - c->p)) {
		c->bad = true;
		c->p = c->end;
		return NULL;
	}
	c->p += n;
	return p;
}

int buf_put_varint(struct buf *b, uint64_t v)
{
	uint8_t bytes[VARINT_MAX];

	return buf_put(b, bytes, (size_t)(put_varint(bytes, v) - bytes));
}

static int put_name(struct buf *out, const char *name)
{
	size_t n = strlen(name);

	return buf_put_varint(out, n) || buf_put(out, name, n) ? -ENOMEM : 0;
}

int schema_encode(const struct schema *s, struct buf *out)
{
	size_t i, j;

	if (buf_put_varint(out, s->n))
		return -ENOMEM;
	for (i = 0; i < s->n; i++) {
		const struct kind_desc *k = &s->kinds[i];

		if (buf_put_varint(out, k->number) || buf_put_varint(out, k->block) ||
		    put_name(out, k->name) || buf_put_varint(out, k->n_fields))
			return -ENOMEM;
		for (j = 0; j < k->n_fields; j++) {
			if (buf_put(out, &k->fields[j].type, 1) || put_name(out, k->fields[j].name))
				return -ENOMEM;
		}
	}
	return 0;
}

int schema_decode_kind(struct cursor *c, struct schema_kind *out)
{
	uint64_t number, block, n, i;
	const uint8_t *type;

	number = cursor_varint(c);
	block = cursor_varint(c);
	out->name_n = cursor_varint(c);
	out->name = cursor_bytes(c, out->name_n);
	n = cursor_varint(c);
	if (c->bad || !number || number >= REC_K_MAX || block > UINT8_MAX || n > FIELDS_MAX)
		return -EBADMSG;
	out->number = (unsigned)number;
	out->block = (unsigned)block;
	out->n_fields = (unsigned)n;
	for (i = 0; i < n; i++) {
		type = cursor_bytes(c, 1);
		out->fields[i].name_n = cursor_varint(c);
		out->fields[i].name = cursor_bytes(c, out->fields[i].name_n);
		if (c->bad)
			return -EBADMSG;
		out->fields[i].type = *type;
	}
	return 0;
}
