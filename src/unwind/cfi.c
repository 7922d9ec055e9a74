/* SPDX-License-Identifier: MIT */
/*
 * cfi.c: the entries of .eh_frame and .debug_frame. The two differ in how an FDE names its
 * CIE (backwards from itself, or by offset) and in how addresses are written.
 */
#include <errno.h>
#include <string.h>

#include "unwind_priv.h"

enum { ENC_ABS = 0, ENC_PCREL = 0x10, ENC_INDIRECT = 0x80, ENC_OMIT = 0xff };

uint64_t cursor_uint(struct cursor *c, unsigned bytes)
{
	uint64_t v = 0;

	if (cursor_left(c) < bytes) {
		c->bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)c->p[i] << (8 * i);
	c->p += bytes;
	return v;
}

int64_t cursor_sint(struct cursor *c, unsigned bytes)
{
	uint64_t v = cursor_uint(c, bytes);

	return bytes < 8 && (v >> (8 * bytes - 1)) ? (int64_t)(v - (1ull << (8 * bytes)))
	                                           : (int64_t)v;
}

uint64_t cursor_uleb(struct cursor *c)
{
	uint64_t v = 0;
	unsigned shift = 0;
	uint8_t b;

	do {
		b = (uint8_t)cursor_uint(c, 1);
		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
	} while ((b & 0x80) && !c->bad);
	return v;
}

int64_t cursor_sleb(struct cursor *c)
{
	uint64_t v = 0;
	unsigned shift = 0;
	uint8_t b;

	do {
		b = (uint8_t)cursor_uint(c, 1);
		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
	} while ((b & 0x80) && !c->bad);
	if ((b & 0x40) && shift < 64)
		v |= ~0ull << shift;
	return (int64_t)v;
}

void cursor_skip(struct cursor *c, uint64_t n)
{
	if (cursor_left(c) < n)
		c->bad = true;
	else
		c->p += n;
}

/* A pointer in encoding enc; vaddr: where it is loaded itself. */
static uint64_t read_encoded(struct cursor *c, uint8_t enc, uint64_t vaddr)
{
	uint64_t v;

	switch (enc & 0x0f) {
	case 0x00:
	case 0x04:
	case 0x0c:
		v = cursor_uint(c, 8);
		break;
	case 0x01:
		v = cursor_uleb(c);
		break;
	case 0x02:
		v = cursor_uint(c, 2);
		break;
	case 0x03:
		v = cursor_uint(c, 4);
		break;
	case 0x09:
		v = (uint64_t)cursor_sleb(c);
		break;
	case 0x0a:
		v = (uint64_t)cursor_sint(c, 2);
		break;
	case 0x0b:
		v = (uint64_t)cursor_sint(c, 4);
		break;
	default:
		c->bad = true;
		return 0;
	}
	switch (enc & 0x70) {
	case ENC_ABS:
		return v;
	case ENC_PCREL:
		return v + vaddr;
	default:
		c->bad = true; /* relative to text, data or function: not on this machine */
		return 0;
	}
}

/* One entry's frame: *c is left at its body's first byte behind the id. 0 = no more. */
struct entry {
	uint64_t at;    /* offset of its length field */
	uint64_t id_at; /* … of its id */
	uint64_t id;
	struct cursor body;
	uint64_t next;
};

static bool read_entry(const struct image_bytes *sec, bool debug, uint64_t at, struct entry *e)
{
	struct cursor c;
	uint64_t len;
	bool wide;

	if (at >= sec->data.n)
		return false;
	c = (struct cursor){sec->data.p + at, sec->data.p + sec->data.n, false};
	len = cursor_uint(&c, 4);
	wide = len == 0xffffffff;
	if (wide)
		len = cursor_uint(&c, 8);
	if (c.bad || len > cursor_left(&c))
		return false;
	e->at = at;
	e->id_at = (uint64_t)(c.p - sec->data.p);
	e->next = e->id_at + len;
	e->body = (struct cursor){c.p, c.p + len, false};
	e->id = 0;
	if (!len)
		return true; /* the terminator; more may follow, as files are joined by the linker
		              */
	e->id = cursor_uint(&e->body, wide && debug ? 8 : 4);
	if (debug && !wide && e->id == 0xffffffff)
		e->id = ~0ull;
	return true;
}

static bool is_cie(const struct entry *e, bool debug)
{
	return debug ? e->id == ~0ull : e->id == 0;
}

/* "zPLR…": each letter has its data, in that order. */
static bool read_augmentation(struct cursor *c, const char *aug, struct cie *cie)
{
	struct cursor data;
	uint64_t n;

	if (*aug != 'z')
		return !*aug;
	cie->augmented = true;
	n = cursor_uleb(c);
	data = (struct cursor){c->p, c->p + (cursor_left(c) < n ? 0 : n), false};
	cursor_skip(c, n);
	for (aug++; *aug; aug++) {
		uint8_t enc;

		switch (*aug) {
		case 'R':
			cie->fde_enc = (uint8_t)cursor_uint(&data, 1);
			break;
		case 'L':
			cursor_uint(&data, 1);
			break;
		case 'P':
			enc = (uint8_t)cursor_uint(&data, 1);
			if (enc != ENC_OMIT)
				read_encoded(&data, enc & 0x0f, 0);
			break;
		case 'S':
			cie->signal = true;
			break;
		default:
			return cie->fde_enc !=
			       ENC_OMIT; /* unknown: what we need is there, or not */
		}
	}
	return !data.bad && !c->bad;
}

bool cfi_cie(const struct image_bytes *sec, bool debug, uint64_t at, struct cie *cie)
{
	struct entry e;
	const char *aug;
	struct cursor *c = &e.body;
	unsigned version;
	size_t n;

	if (cie->valid && cie->at == at)
		return true;
	*cie = (struct cie){.at = at};
	if (!read_entry(sec, debug, at, &e) || !is_cie(&e, debug))
		return false;
	version = (unsigned)cursor_uint(c, 1);
	if (version != 1 && version != 3 && version != 4)
		return false;
	aug = (const char *)c->p;
	n = strnlen(aug, cursor_left(c));
	if (n == cursor_left(c))
		return false;
	cursor_skip(c, n + 1);
	if (version == 4 && (cursor_uint(c, 1) != 8 || cursor_uint(c, 1) != 0))
		return false; /* addresses of 8 bytes, no segments */
	cie->code_align = cursor_uleb(c);
	cie->data_align = cursor_sleb(c);
	if ((version == 1 ? cursor_uint(c, 1) : cursor_uleb(c)) != 16 || c->bad)
		return false; /* the return address's column is the machine's */
	if (!read_augmentation(c, aug, cie))
		return false;
	cie->initial = (struct cfa_state){.cfa = CFA_BAD, .ra = RA_CFA, .ra_off = -8};
	if (cfa_run(cie, &cie->initial, c, 0, 0, NULL, NULL))
		return false;
	cie->valid = true;
	return true;
}

static bool read_fde(const struct image_bytes *sec, const struct entry *e, const struct cie *cie,
                     bool debug, struct fde *out)
{
	struct cursor c = e->body;
	uint64_t here = sec->vaddr + (uint64_t)(c.p - sec->data.p), n;

	if (cie->fde_enc & ENC_INDIRECT)
		return false;
	out->start = read_encoded(&c, cie->fde_enc, here);
	n = read_encoded(&c, cie->fde_enc & 0x0f, 0);
	out->end = out->start + n;
	if (cie->augmented)
		cursor_skip(&c, cursor_uleb(&c));
	if (c.bad || out->end <= out->start)
		return false;
	out->ins = (uint32_t)(c.p - sec->data.p);
	out->ins_n = (uint32_t)cursor_left(&c);
	out->source = debug ? FDE_DEBUG : FDE_EH;
	return true;
}

int cfi_list(const struct image *im, const struct image_bytes *sec, bool debug, fde_vec *out)
{
	struct cie cie = {0};
	uint64_t work = 0, off, left;
	struct entry e;

	for (uint64_t at = 0; read_entry(sec, debug, at, &e); at = e.next) {
		struct fde f = {0};
		uint64_t cie_at;

		if (e.next == e.id_at || is_cie(&e, debug) || e.body.bad)
			continue;
		cie_at = debug ? e.id : e.id_at - e.id;
		if (cie_at >= sec->data.n)
			continue;
		if (cie_at != cie.at) {
			work += 64; /* hostile: each FDE with another CIE, each a long one */
			if (cie_at < e.at)
				work += e.at - cie_at < 4096 ? e.at - cie_at : 4096;
		}
		if (work > UNWIND_MAX_WORK)
			return -E2BIG;
		if (!cfi_cie(sec, debug, cie_at, &cie) || !read_fde(sec, &e, &cie, debug, &f) ||
		    image_offset(im, f.start, true, &off, &left))
			continue;
		f.cie = (uint32_t)cie_at;
		if (vec_push(out, f))
			return -ENOMEM;
	}
	return 0;
}
