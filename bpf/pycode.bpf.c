/* SPDX-License-Identifier: MIT */
/* pycode.bpf.c: the code objects of Python frames, each sent once. */
#include "pyread.bpf.h"

/* Code objects that were sent, with their check. */
struct py_code_key {
	u64 code;
	u64 space;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct py_code_key);
	__type(value, u64);
} py_codes SEC(".maps");

static __always_inline void read_str(struct mt_pystr *s, u8 *data, u32 room, u64 str,
                                     const struct mt_py_layout *l)
{
	u64 length, bytes, at;
	u32 state = 0, kind;

	s->length = 0;
	s->stored = 0;
	s->kind = s->ascii = 0;
	if (!str)
		return;
	length = word_at(str + l->str_length);
	if (bpf_probe_read_user(&state, sizeof(state), (void *)(str + l->str_state)))
		return;
	state >>= l->kind_shift & 31;
	kind = state & 7;
	if ((kind != 1 && kind != 2 && kind != 4) || length > 0x7fffffff)
		return;
	s->ascii = state >> 4 & 1;
	at = str + (s->ascii ? l->str_ascii : l->str_wide);
	if (!(state & 8)) /* not compact: the characters are elsewhere */
		at = word_at(str + l->str_wide);
	bytes = length * kind;
	if (bytes > room)
		bytes = room;
	if (bpf_probe_read_user(data, bytes, (void *)at))
		return;
	s->kind = kind;
	s->length = (u32)length;
	s->stored = (u16)bytes;
}

/* Is it a code object? By its type, which user space knows by its symbol; else by the type's name,
 * which no program itself reads, so its page may not be there. */
static __always_inline bool is_code(struct mt_py_space *sp, const struct mt_py_layout *l, u64 code)
{
	u64 type = word_at(code + l->object_type);
	char name[8] = {};

	if (!type)
		return false;
	if (type == sp->code_type)
		return true;
	if (bpf_probe_read_user(name, 5, (void *)word_at(type + l->type_name)))
		return false;
	if (name[0] != 'c' || name[1] != 'o' || name[2] != 'd' || name[3] != 'e' || name[4])
		return false;
	sp->code_type = type;
	return true;
}

enum { NOTE_KNOWN, NOTE_NEW, NOTE_CHANGED, NOTE_BAD };

/* One code object: NOTE_*. */
__noinline u32 py_note_code(u32 space, u64 code, u64 ts, u32 task)
{
	struct py_code_key key = {.code = code, .space = space};
	struct mt_py_space *sp = bpf_map_lookup_elem(&py_spaces, &space);
	struct py_scratch *sc = py_frames();
	u32 cpu = bpf_get_smp_processor_id(), stored, first_line = 0;
	const struct mt_py_layout *l;
	u64 name, file, table, check, *old;
	struct mt_pycode *e;
	void *ring;

	if (!sp || !sc)
		return NOTE_BAD;
	l = layout_of(sp);
	if (!l || !is_code(sp, l, code))
		return NOTE_BAD;
	name = word_at(code + (l->code_qualname != MT_PY_NO ? l->code_qualname : l->code_name));
	file = word_at(code + l->code_file);
	table = word_at(code + l->code_table);
	bpf_probe_read_user(&first_line, sizeof(first_line), (void *)(code + l->code_first_line));
	check = mix(mix(mix(mix(1, name), file), table), first_line);
	old = bpf_map_lookup_elem(&py_codes, &key);
	if (old && *old == check)
		return NOTE_KNOWN;
	e = &sc->code;
	e->h.ts = ts;
	e->h.kind = MT_EV_PYCODE;
	e->h.cpu = cpu;
	e->h.task = task;
	e->code = code;
	e->check = check;
	e->space = space;
	e->first_line = first_line;
	e->layout = sp->layout;
	read_str(&e->name, e->name_data, MT_PY_NAME, name, l);
	read_str(&e->file, e->file_data, MT_PY_FILE, file, l);
	e->table_len = (u32)word_at(table + l->bytes_length);
	stored = e->table_len;
	if (stored > MT_PY_TABLE)
		stored = MT_PY_TABLE;
	if (bpf_probe_read_user(e->table, stored, (void *)(table + l->bytes_data)))
		e->table_len = stored = 0;
	count_one(my_stats()->seen);
	ring = my_ring_now(cpu);
	if (!ring ||
	    bpf_ringbuf_output(ring, e, __builtin_offsetof(struct mt_pycode, table) + stored,
	                       ring_flags())) {
		count_one(my_stats()->lost_ring);
		return NOTE_NEW;
	}
	bpf_map_update_elem(&py_codes, &key, &check, BPF_ANY);
	return old ? NOTE_CHANGED : NOTE_NEW;
}

/* The frames from sc->noted on. Is there more to do? */
__noinline u32 py_note_some(struct py_scratch *sc, u32 space, u64 ts, u32 task)
{
	if (!sc)
		return 0;
	for (u32 step = 0; step < LOOP_STEPS; step++) {
		u32 i = sc->noted;
		u64 code = sc->frames[i & 127].code;

		if (i >= sc->n)
			return 0;
		sc->noted = i + 1;
		if (i && sc->frames[(i - 1) & 127].code == code) /* recursion */
			continue;
		sc->note = py_note_code(space, code, ts, task);
		sc->changed |= sc->note == NOTE_CHANGED;
		if (sc->note == NOTE_BAD) {
			/* Not a frame of Python's: neither it nor what is behind it. */
			sc->n = i;
			sc->cut = i + 1;
			sc->flags |= STACK_F_PY_PART;
			return 0;
		}
	}
	return 1;
}

u32 py_note_codes(u32 space, u64 ts, u32 task)
{
	struct mt_py_space *sp = bpf_map_lookup_elem(&py_spaces, &space);
	struct py_scratch *sc = py_frames();

	if (!sp || !sc)
		return 0;
	sc->noted = sc->changed = 0;
	for (u32 i = 0; i < MT_MAX_PY_FRAMES; i += LOOP_STEPS)
		if (!py_note_some(sc, space, ts, task))
			break;
	if (sc->changed)
		__sync_fetch_and_add(&sp->epoch, 1);
	sc->epoch = sp->epoch;
	return sc->changed;
}
