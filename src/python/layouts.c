/* SPDX-License-Identifier: MIT */
/* layouts.c: which CPython version has what where. */
#include <errno.h>
#include <string.h>

#include "python.h"

#define MINOR(hex) ((hex) >> 16 & 0xff)

/* What a minor version says about itself only from 3.13 on. */
#define FRAMES_38(current, cframe, lasti, size, kind)                                             \
	{                                                                                         \
		.interp_head = 32, .tstate_current = (current), .interp_next = 0,                 \
		.interp_threads = 8, .tstate_next = 8, .tstate_thread_id = 176,                   \
		.tstate_frame = 24, .cframe_frame = MT_PY_NO, .frame_size = (size),               \
		.tstate_interp = 16, .tstate_cframe = (cframe), .tstate_size = 184,               \
		.frame_code = 32, .frame_prev = 24, .frame_instr = (lasti),                       \
		.frame_owner = MT_PY_NO, .frame_entry = MT_PY_NO, .frame_tlbc = MT_PY_NO,         \
		.code_file = 104, .code_name = 112, .code_qualname = MT_PY_NO, .code_table = 120, \
		.code_first_line = 40, .code_start = MT_PY_NO, .str_length = 16, .str_state = 32, \
		.str_ascii = 48, .str_wide = 72, .bytes_length = 16, .bytes_data = 32,            \
		.object_type = 8, .type_name = 24, .instr_kind = (kind), .kind_shift = 2,         \
	}

/* The GIL's own structure has never changed so far; a free-threaded build has one word more at
 * its start. */
#define GIL_FIELDS                                                                                 \
	.gil_size = 208, .gil_interval = 0, .gil_holder = 8, .gil_locked = 16, .gil_switches = 24, \
	.gil_cond = 32, .gil_mutex = 80, .gil_switch_cond = 120, .gil_switch_mutex = 168

static const struct py_offsets
        fixed[] =
                {
                        [8] = {.frames = FRAMES_38(1368, MT_PY_NO, 104, 112, MT_PY_LASTI_BYTES),
                               .runtime_gil = 1152,
                               .interp_gil = PY_NONE,
                               .interp_own_gil = PY_NONE,
                               .interp_collecting = PY_NONE,
                               .tstate_interp = 16,
                               .tstate_native_id = PY_NONE,
                               GIL_FIELDS},
                        [9] = {.frames = FRAMES_38(568, MT_PY_NO, 104, 112, MT_PY_LASTI_BYTES),
                               .runtime_gil = 352,
                               .interp_gil = PY_NONE,
                               .interp_own_gil = PY_NONE,
                               .interp_collecting = 816,
                               .tstate_interp = 16,
                               .tstate_native_id = PY_NONE,
                               GIL_FIELDS},
                        [10] = {.frames = FRAMES_38(568, 48, 96, 104, MT_PY_LASTI_UNITS),
                                .runtime_gil = 352,
                                .interp_gil = PY_NONE,
                                .interp_own_gil = PY_NONE,
                                .interp_collecting = 816,
                                .tstate_interp = 16,
                                .tstate_native_id = PY_NONE,
                                GIL_FIELDS},
                        [11] = {.frames =
                                        {
                                                .interp_head = 40,
                                                .tstate_current = 576,
                                                .interp_next = 0,
                                                .interp_threads = 16,
                                                .tstate_next = 8,
                                                .tstate_thread_id = 152,
                                                .tstate_interp = 16,
                                                .tstate_cframe = 56,
                                                .tstate_size = 160,
                                                .tstate_frame = 56,
                                                .cframe_frame = 8,
                                                .frame_size = 72,
                                                .frame_code = 32,
                                                .frame_prev = 48,
                                                .frame_instr = 56,
                                                .frame_owner = 69,
                                                .frame_entry = 68,
                                                .frame_tlbc = MT_PY_NO,
                                                .code_file = 112,
                                                .code_name = 120,
                                                .code_qualname = 128,
                                                .code_table = 136,
                                                .code_first_line = 72,
                                                .code_start = 184,
                                                .str_length = 16,
                                                .str_state = 32,
                                                .str_ascii = 48,
                                                .str_wide = 72,
                                                .bytes_length = 16,
                                                .bytes_data = 32,
                                                .object_type = 8,
                                                .type_name = 24,
                                                .instr_kind = MT_PY_INSTR_PTR,
                                                .kind_shift = 2,
                                        },
                                .runtime_gil = 360,
                                .interp_gil = PY_NONE,
                                .interp_own_gil = PY_NONE,
                                .interp_collecting = 848,
                                .tstate_interp = 16,
                                .tstate_native_id = 160,
                                GIL_FIELDS},
                        [12] = {.frames =
                                        {
                                                .interp_head = 40,
                                                .tstate_current = MT_PY_NO,
                                                .interp_next = 0,
                                                .interp_threads = 72,
                                                .tstate_next = 8,
                                                .tstate_thread_id = 136,
                                                .tstate_interp = 16,
                                                .tstate_cframe = 56,
                                                .tstate_size = 144,
                                                .tstate_frame = 56,
                                                .cframe_frame = 0,
                                                .frame_size = 72,
                                                .frame_code = 0,
                                                .frame_prev = 8,
                                                .frame_instr = 56,
                                                .frame_owner = 70,
                                                .frame_entry = MT_PY_NO,
                                                .frame_tlbc = MT_PY_NO,
                                                .code_file = 112,
                                                .code_name = 120,
                                                .code_qualname = 128,
                                                .code_table = 136,
                                                .code_first_line = 68,
                                                .code_start = 192,
                                                .str_length = 16,
                                                .str_state = 32,
                                                .str_ascii = 40,
                                                .str_wide = 56,
                                                .bytes_length = 16,
                                                .bytes_data = 32,
                                                .object_type = 8,
                                                .type_name = 24,
                                                .instr_kind = MT_PY_INSTR_PTR,
                                                .kind_shift = 2,
                                        },
                                .runtime_gil = PY_NONE,
                                .interp_gil = 384,
                                .interp_own_gil = 1040,
                                .interp_collecting = 312,
                                .tstate_interp = 16,
                                .tstate_native_id = 144,
                                GIL_FIELDS},
};

/* --- the interpreter's own table (3.13 on) --------------------------------------------------- */

/* Places in _Py_DebugOffsets, in words of 8 bytes; each version has its own. */
struct table_places {
	uint16_t head;                                               /* runtime_state */
	uint16_t interp_next, threads, gc, ceval_gil, own_gil;       /* interpreter_state */
	uint16_t tstate_next, tstate_interp, tstate_frame, tid, nid; /* thread_state */
	uint16_t frame_size, frame_prev, frame_code, frame_instr, frame_owner;
	uint16_t code_size, file, name, qualname, table, first_line, start;
	uint16_t object_type, type_name;
	uint16_t bytes_size;            /* bytes_object: size, ob_size, ob_sval */
	uint16_t str_size;              /* unicode_object: size, state, length, asciiobject_size */
	uint16_t frame_tlbc, code_tlbc; /* 0 = none */
	uint16_t words;                 /* of what is used */
};
static const struct table_places places[] = {
        [13] = {.head = 5,
                .interp_next = 8,
                .threads = 9,
                .gc = 10,
                .ceval_gil = 14,
                .own_gil = 15,
                .tstate_next = 21,
                .tstate_interp = 22,
                .tstate_frame = 23,
                .tid = 24,
                .nid = 25,
                .frame_size = 28,
                .frame_prev = 29,
                .frame_code = 30,
                .frame_instr = 31,
                .frame_owner = 33,
                .code_size = 34,
                .file = 35,
                .name = 36,
                .qualname = 37,
                .table = 38,
                .first_line = 39,
                .start = 43,
                .object_type = 45,
                .type_name = 47,
                .bytes_size = 64,
                .str_size = 67,
                .words = 71},
        /* 3.14: interpreter_state has three more fields, frames two, code objects one. */
        [14] = {.head = 5,
                .interp_next = 8,
                .threads = 9,
                .gc = 11,
                .ceval_gil = 15,
                .own_gil = 16,
                .tstate_next = 24,
                .tstate_interp = 25,
                .tstate_frame = 26,
                .tid = 27,
                .nid = 28,
                .frame_size = 31,
                .frame_prev = 32,
                .frame_code = 33,
                .frame_instr = 34,
                .frame_owner = 36,
                .code_size = 39,
                .file = 40,
                .name = 41,
                .qualname = 42,
                .table = 43,
                .first_line = 44,
                .start = 48,
                .object_type = 51,
                .type_name = 53,
                .bytes_size = 74,
                .str_size = 77,
                .frame_tlbc = 38,
                .code_tlbc = 49,
                .words = 81},
};

struct table {
	const uint8_t *p;
	bool bad;
};

static uint64_t word(const struct table *t, unsigned i)
{
	uint64_t v;

	memcpy(&v, t->p + 8 * i, 8);
	return v;
}

/* A field's offset inside a structure: small, as all are, and aligned as its type has to be. */
static uint16_t offset(struct table *t, unsigned i, unsigned align)
{
	uint64_t v = word(t, i);

	if (v >= MT_PY_NO || v % align)
		t->bad = true;
	return (uint16_t)v;
}

/* Where a str and a bytes have what; with 3.14's free-threaded build, where a thread's own copy of
 * the bytecode is, which then is what the frame's instruction pointer points into. */
static void strings_from_table(struct table *t, const struct table_places *at,
                               struct mt_py_layout *f)
{
	uint64_t own = at->code_tlbc ? word(t, at->code_tlbc) : 0;
	uint16_t size = offset(t, at->str_size, 8);

	f->bytes_length = offset(t, at->bytes_size + 1u, 8);
	f->bytes_data = offset(t, at->bytes_size + 2u, 8);
	f->str_state = offset(t, at->str_size + 1u, 4);
	f->str_length = offset(t, at->str_size + 2u, 8);
	f->str_ascii = offset(t, at->str_size + 3u, 8);
	f->str_wide = (uint16_t)(size - 8);
	if (size < 8 || f->str_state >= size || f->str_length >= size)
		t->bad = true;
	f->frame_tlbc = f->code_tlbc = MT_PY_NO;
	if (own) {
		f->frame_tlbc = offset(t, at->frame_tlbc, 4);
		f->code_tlbc = offset(t, at->code_tlbc, 8);
	}
}

static unsigned most(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

static int from_table(const uint8_t *start, unsigned minor, struct py_build *out)
{
	const struct table_places *at = &places[minor];
	struct mt_py_layout *f = &out->off.frames;
	struct table t = {.p = start};
	uint64_t code_size = word(&t, at->code_size), frame_size = word(&t, at->frame_size);

	out->free_threaded = word(&t, 2) == 1;
	*f = fixed[12].frames;
	f->interp_head = offset(&t, at->head, 8);
	f->interp_next = offset(&t, at->interp_next, 8);
	f->interp_threads = offset(&t, at->threads, 8);
	f->tstate_next = offset(&t, at->tstate_next, 8);
	f->tstate_frame = offset(&t, at->tstate_frame, 8);
	f->tstate_thread_id = offset(&t, at->tid, 8);
	f->cframe_frame = f->tstate_cframe = MT_PY_NO;
	f->tstate_interp = offset(&t, at->tstate_interp, 8);
	f->tstate_size =
	        (uint16_t)(most(most(f->tstate_thread_id, f->tstate_frame), f->tstate_interp) + 8);
	f->frame_prev = offset(&t, at->frame_prev, 8);
	f->frame_code = offset(&t, at->frame_code, 8);
	f->frame_instr = offset(&t, at->frame_instr, 8);
	f->frame_owner = offset(&t, at->frame_owner, 1);
	f->code_file = offset(&t, at->file, 8);
	f->code_name = offset(&t, at->name, 8);
	f->code_qualname = offset(&t, at->qualname, 8);
	f->code_table = offset(&t, at->table, 8);
	f->code_first_line = offset(&t, at->first_line, 4);
	f->code_start = offset(&t, at->start, 2);
	f->frame_size = (uint16_t)((f->frame_owner + 8) & ~7);
	f->object_type = offset(&t, at->object_type, 8);
	f->type_name = offset(&t, at->type_name, 8);
	f->code_mask = minor >= 14 ? 3 : 0;
	strings_from_table(&t, at, f);
	if (t.bad || f->tstate_size > 256 || f->frame_prev + 8 > f->frame_size ||
	    f->frame_code + 8 > f->frame_size || f->frame_instr + 8 > f->frame_size ||
	    f->frame_size > 112 || f->frame_owner >= frame_size ||
	    (f->frame_tlbc != MT_PY_NO && f->frame_tlbc + 4 > f->frame_size) ||
	    f->code_file >= code_size || f->code_name >= code_size ||
	    f->code_qualname >= code_size || f->code_table >= code_size ||
	    f->code_first_line >= code_size || f->code_start > code_size)
		return -EINVAL;
	out->off.interp_gil = offset(&t, at->ceval_gil, 8);
	out->off.interp_own_gil = offset(&t, at->own_gil, 8);
	out->off.tstate_interp = offset(&t, at->tstate_interp, 8);
	out->off.tstate_native_id = offset(&t, at->nid, 8);
	return t.bad ? -EINVAL : 0;
}

/* What a free-threaded build does not tell: it has a whole byte for a str's `interned`, and a
 * GIL that begins with `enabled`. */
static void make_free_threaded(struct py_offsets *o)
{
	o->frames.kind_shift = 8;
	o->gil_size += 8;
	o->gil_interval += 8;
	o->gil_holder += 8;
	o->gil_locked += 8;
	o->gil_switches += 8;
	o->gil_cond += 8;
	o->gil_mutex += 8;
	o->gil_switch_cond += 8;
	o->gil_switch_mutex += 8;
}

static bool is_table(const uint8_t *start, size_t n)
{
	return start && n >= 24 && !memcmp(start, "xdebugpy", 8);
}

bool py_version_known(uint32_t hex)
{
	return hex >> 24 == 3 && MINOR(hex) >= 8 && MINOR(hex) <= 14;
}

int py_build_for(uint32_t hex, const uint8_t *start, size_t n, struct py_build *out)
{
	unsigned minor;
	int rc;

	if (is_table(start, n)) {
		uint64_t own;

		memcpy(&own, start + 8, 8);
		if (own > UINT32_MAX)
			return -EINVAL;
		hex = (uint32_t)own;
	}
	if (!py_version_known(hex))
		return -ENOTSUP;
	minor = MINOR(hex);
	out->version = hex;
	out->free_threaded = false;
	if (minor <= 12) {
		out->off = fixed[minor];
		return 0;
	}
	if (!is_table(start, n) || n < 8u * places[minor].words)
		return -EINVAL;
	out->off = fixed[12];
	out->off.interp_collecting = PY_NONE;
	rc = from_table(start, minor, out);
	if (!rc && out->free_threaded)
		make_free_threaded(&out->off);
	return rc;
}

uint32_t py_version_of_name(const char *file)
{
	const char *s = strrchr(file, '/');
	unsigned minor = 0;

	s = s ? s + 1 : file;
	if (!strncmp(s, "lib", 3))
		s += 3;
	if (strncmp(s, "python3.", 8))
		return 0;
	s += 8;
	if (*s < '0' || *s > '9')
		return 0;
	while (*s >= '0' && *s <= '9' && minor < 1000)
		minor = minor * 10 + (unsigned)(*s++ - '0');
	return minor && minor < 256 ? 3u << 24 | minor << 16 : 0;
}
