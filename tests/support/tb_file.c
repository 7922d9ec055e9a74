/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "tb_priv.h"

void tb_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: trace builder: %s\n", file, line, what);
	abort();
}

struct item *tb_add(struct tb *tb, enum rec_kind kind, enum rank rank, uint64_t ts)
{
	struct item item = {
	        .ts = ts,
	        .at = ts,
	        .seq = (uint32_t)tb->items.n,
	        .rank = (uint8_t)rank,
	        .kind = (uint8_t)kind,
	        .cpu = UINT32_MAX,
	};

	CHECK(!tb->finished);
	CHECK(!vec_push(&tb->items, item));
	return &tb->items.v[tb->items.n - 1];
}

static struct tb *new_of(bool attach)
{
	struct tb *tb = calloc(1, sizeof(*tb));

	CHECK(tb && (tb->strings = strtab_new()));
	tb->attach = attach;
	tb->stop = TB_NEVER;
	tb->n_spaces = 1000000; /* those of exec; others have their process's id */
	tb_meta(tb, META_VERSION, "0.1.0");
	tb_meta(tb, META_COMMAND, attach ? "attach" : "run");
	tb_meta(tb, META_MACHINE, "x86_64");
	tb_meta(tb, META_CPUS, "2");
	tb_meta(tb, META_PAGE_SIZE, "4096");
	tb_add(tb, REC_K_MARK, RANK_DEF, tb_absolute(0) - (attach ? 0 : TB_START))->mark.what =
	        MARK_START;
	if (!attach)
		tb_add(tb, REC_K_MARK, RANK_FIRST, tb_absolute(0))->mark.what = MARK_EXEC;
	return tb;
}

struct tb *tb_new(void)
{
	return new_of(false);
}

struct tb *tb_new_attach(void)
{
	return new_of(true);
}

void tb_free(struct tb *tb)
{
	if (!tb)
		return;
	for (size_t i = 0; i < tb->kept.n; i++)
		free(tb->kept.v[i]);
	vec_release(&tb->items);
	vec_release(&tb->tasks);
	vec_release(&tb->kept);
	vec_release(&tb->drops);
	vec_release(&tb->skews);
	strtab_free(tb->strings);
	buf_release(&tb->bytes);
	free(tb);
}

/* --- names ----------------------------------------------------------------------------------- */

static struct rec_bytes bytes_of(struct tb *tb, const char *text)
{
	uint32_t id = strtab_add(tb->strings, text, strlen(text), NULL);

	CHECK(id);
	return (struct rec_bytes){(const uint8_t *)strtab_get(tb->strings, id), strlen(text)};
}

uint32_t tb_string(struct tb *tb, const char *text)
{
	bool added = false;
	uint32_t id = strtab_add(tb->strings, text, strlen(text), &added);
	struct rec_bytes bytes = bytes_of(tb, text);

	/* Texts that were only bytes of a record so far have no STRING record yet: a second
	 * definition does no harm. */
	tb_add(tb, REC_K_STRING, RANK_DEF, 0)->string =
	        (struct rec_string){.id = id, .text = bytes};
	return id;
}

void tb_meta(struct tb *tb, const char *key, const char *value)
{
	struct rec_meta r = {.key = bytes_of(tb, key), .value = bytes_of(tb, value)};

	tb_add(tb, REC_K_META, RANK_DEF, 0)->meta = r;
}

void tb_note(struct tb *tb, const char *text)
{
	uint32_t id = tb_string(tb, text);

	tb_add(tb, REC_K_NOTE, RANK_DEF, tb_absolute(0))->note.text = id;
}

void tb_loss(struct tb *tb, const char *cause, uint64_t count)
{
	struct rec_loss r = {.cause = tb_string(tb, cause), .count = count};

	tb_add(tb, REC_K_LOSS, RANK_LAST, tb_absolute(tb->last))->loss = r;
}

void tb_cost(struct tb *tb, const char *name, uint64_t count, uint64_t ns)
{
	struct rec_cost r = {.name = tb_string(tb, name), .count = count, .ns = ns};

	tb_add(tb, REC_K_COST, RANK_LAST, tb_absolute(tb->last))->cost = r;
}

uint32_t tb_site(struct tb *tb, int32_t nr, uint64_t a0, uint64_t a1, uint64_t a2, enum fd_kind fd)
{
	struct rec_site r = {
	        .id = ++tb->n_sites,
	        .nr_plus1 = (uint64_t)nr + 1,
	        .a0 = a0,
	        .a1 = a1,
	        .a2 = a2,
	        .arch = (uint64_t)fd << 8,
	};

	tb_add(tb, REC_K_SITE, RANK_DEF, 0)->site = r;
	return tb->n_sites;
}

void tb_stack_end(struct tb *tb, uint8_t end)
{
	tb->stack_end = end;
}

uint32_t tb_stack(struct tb *tb, int kind, uint32_t space, const uint64_t *frames, size_t n)
{
	uint64_t *copy = malloc((n + 1) * sizeof(*copy));
	struct rec_stack r = {
	        .id = ++tb->n_stacks,
	        .end = tb->stack_end,
	        .kind = (uint64_t)kind,
	        .space = space,
	        .frames = {copy, n},
	};

	CHECK(copy && !vec_push(&tb->kept, copy));
	memcpy(copy, frames, n * sizeof(*copy));
	tb_add(tb, REC_K_STACK, RANK_DEF, tb_absolute(0))->stack = r;
	return tb->n_stacks;
}

void tb_map(struct tb *tb, uint32_t space, uint64_t start, uint64_t end, uint64_t offset,
            const char *file)
{
	struct rec_map r = {
	        .space = space,
	        .start = start,
	        .end = end,
	        .offset = offset,
	        .file = tb_string(tb, file),
	};

	tb_add(tb, REC_K_MAP, RANK_DEF, tb_absolute(0))->map = r;
}

void tb_symbol(struct tb *tb, const char *module, uint64_t offset, const char *name,
               uint64_t name_off, unsigned depth)
{
	struct rec_symbol r = {
	        .module = tb_string(tb, module),
	        .offset = offset,
	        .name = name ? tb_string(tb, name) : 0,
	        .name_off = name_off,
	        .inline_depth = depth,
	};

	tb_add(tb, REC_K_SYMBOL, RANK_DEF, 0)->symbol = r;
}

/* --- the whole ------------------------------------------------------------------------------- */

void tb_stop(struct tb *tb, uint64_t t)
{
	tb->stop = t;
	tb_note_time(tb, t);
}

void tb_no_end(struct tb *tb, uint32_t id)
{
	tb_get(tb, id)->no_end = true;
}

void tb_killed(struct tb *tb)
{
	tb->killed = true;
}

void tb_raw(struct tb *tb, enum rec_kind kind, uint64_t abs_ts, const void *rec)
{
	/* clang-format off */
	static const size_t sizes[REC_K_MAX] = {
#define F(name, type) REC_T_##type name;
#define X(NAME, number, name, cls) [number] = sizeof(struct { REC_##NAME(F) }),
		TRACE_KINDS(X)
#undef X
#undef F
	};
	/* clang-format on */
	bool def = kind < REC_K_SWITCH || kind == REC_K_NOTE;
	struct item *item = tb_add(tb, kind, def ? RANK_DEF : RANK_LAST, abs_ts);

	CHECK(sizes[kind] <= sizeof(*item) - offsetof(struct item, task));
	memcpy(&item->task, rec, sizes[kind]);
}

void tb_skew(struct tb *tb, uint32_t cpu, uint64_t ns)
{
	while (tb->skews.n <= cpu)
		CHECK(!vec_push(&tb->skews, (uint64_t)0));
	tb->skews.v[cpu] = ns;
}

void tb_drop(struct tb *tb, enum rec_kind kind, unsigned nth)
{
	CHECK(!vec_push(&tb->drops, ((struct drop){kind, nth})));
}

static int by_time(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->ts != y->ts)
		return x->ts < y->ts ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

static int by_arrival(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

static bool is_half(const struct item *i)
{
	return i->kind == REC_K_SWITCH && !i->gone && (!i->sw.prev || !i->sw.next);
}

/* One switch of a CPU is one record: who leaves and who comes. */
static void join_switches(struct tb *tb)
{
	for (size_t i = 0; i < tb->items.n; i++) {
		struct item *out = &tb->items.v[i];

		if (!is_half(out) || !out->sw.prev)
			continue;
		for (size_t j = i + 1; j < tb->items.n && tb->items.v[j].ts == out->ts; j++) {
			struct item *in = &tb->items.v[j];

			if (!is_half(in) || in->sw.prev || in->cpu != out->cpu ||
			    in->sw.next == out->sw.prev)
				continue;
			out->sw.next = in->sw.next;
			in->gone = true;
			break;
		}
	}
}

static void drop_items(struct tb *tb)
{
	for (size_t d = 0; d < tb->drops.n; d++) {
		unsigned nth = 0;

		for (size_t i = 0; i < tb->items.n; i++) {
			struct item *item = &tb->items.v[i];

			if (item->kind != tb->drops.v[d].kind)
				continue;
			if (nth++ == tb->drops.v[d].nth)
				item->gone = true;
		}
	}
}

static void end_recording(struct tb *tb)
{
	uint64_t stop = tb->stop == TB_NEVER ? tb->last : tb->stop;
	bool alive = false;

	for (size_t i = 0; i < tb->tasks.n; i++) {
		struct btask *b = &tb->tasks.v[i];
		uint64_t exec;

		if (!b->known || b->dead)
			continue;
		alive = true;
		if (tb->killed)
			continue;
		if (b->on) {
			b->end = stop;
			tb_count_run(b, &exec);
		}
		tb_end_task(tb, b, stop, CNT_F_ALIVE);
	}
	if (tb->killed)
		return;
	tb_add(tb, REC_K_MARK, RANK_LAST, tb_absolute(stop))->mark.what = MARK_STOP;
	tb_add(tb, REC_K_MARK, RANK_LAST, tb_absolute(stop) + 1)->mark = (struct rec_mark){
	        .what = MARK_END,
	        .value = alive || tb->attach ? 0 : (uint64_t)shell_status(tb->exit_status) + 1,
	};
}

static void write_all(struct tb *tb)
{
	struct err err = {0};
	struct trace_writer *w = trace_writer_new(trace_sink_buf(&tb->bytes), &err);

	CHECK(w);
	for (size_t i = 0; i < tb->items.n; i++) {
		const struct item *item = &tb->items.v[i];

		if (!item->gone)
			CHECK(!trace_write(w, (enum rec_kind)item->kind, item->ts, &item->task));
	}
	CHECK(!(tb->killed ? trace_writer_flush(w) : trace_writer_finish(w)));
	trace_writer_free(w);
}

const struct buf *tb_bytes(struct tb *tb)
{
	if (tb->finished)
		return &tb->bytes;
	end_recording(tb);
	tb->finished = true;
	qsort(tb->items.v, tb->items.n, sizeof(*tb->items.v), by_time);
	join_switches(tb);
	drop_items(tb);
	for (size_t i = 0; i < tb->items.n; i++) {
		struct item *item = &tb->items.v[i];

		item->seq = (uint32_t)i;
		if (item->cpu < tb->skews.n)
			item->at += tb->skews.v[item->cpu];
	}
	qsort(tb->items.v, tb->items.n, sizeof(*tb->items.v), by_arrival);
	write_all(tb);
	return &tb->bytes;
}

struct model *tb_load_bytes(const struct buf *b, const struct model_opts *opts, struct err *err)
{
	struct trace_reader *r = trace_reader_new(trace_source_buf(b), err);
	struct model *m = r ? model_load(r, opts, err) : NULL;

	trace_reader_free(r);
	return m;
}

struct model *tb_load(struct tb *tb, const struct model_opts *opts)
{
	struct err err = {0};

	return tb_load_bytes(tb_bytes(tb), opts, &err);
}
