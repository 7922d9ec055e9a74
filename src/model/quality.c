/* SPDX-License-Identifier: MIT */
/* Strings, facts about machine and recorder, losses, costs, notes. */
#include <errno.h>
#include <string.h>

#include "model_priv.h"

uint32_t model_string(const struct model *m, uint64_t id)
{
	uint32_t s = id ? idmap_get(&m->string_ids, id) : NO_INDEX;

	return s == NO_INDEX ? 0 : s;
}

const char *model_text(const struct model *m, uint64_t id)
{
	return strtab_get(m->strings, model_string(m, id));
}

static uint32_t keep(struct model *m, struct rec_bytes text)
{
	return strtab_add(m->strings, text.n ? (const char *)text.p : "", text.n, NULL);
}

int on_string(struct model *m, uint64_t ts, const struct rec_string *r)
{
	uint32_t s;

	(void)ts;
	if (!id32(r->id))
		return 0;
	s = keep(m, r->text);
	return s ? idmap_put(&m->string_ids, r->id, s) : -ENOMEM;
}

int on_meta(struct model *m, uint64_t ts, const struct rec_meta *r)
{
	struct meta meta = {.key = keep(m, r->key), .off = m->meta_bytes.n, .n = r->value.n};
	bool added = false;
	uint64_t *at = meta.key ? hmap_put(&m->meta_ids, meta.key, 0, &added) : NULL;

	(void)ts;
	if (!at || buf_put(&m->meta_bytes, r->value.p, r->value.n) ||
	    buf_put(&m->meta_bytes, "", 1))
		return -ENOMEM;
	if (r->key.n == strlen(META_FEATURES) && !memcmp(r->key.p, META_FEATURES, r->key.n))
		m->run_delay_known = r->value.n && memmem(r->value.p, r->value.n, FEATURE_RUN_DELAY,
		                                          strlen(FEATURE_RUN_DELAY));
	if (r->key.n == strlen(META_FEATURES) && !memcmp(r->key.p, META_FEATURES, r->key.n))
		m->rec.traffic_known =
		        r->value.n &&
		        memmem(r->value.p, r->value.n, FEATURE_MESSAGES, strlen(FEATURE_MESSAGES));
	if (r->key.n == strlen(META_MACHINE) && !memcmp(r->key.p, META_MACHINE, r->key.n)) {
		size_t n = r->value.n < sizeof(m->arch) ? r->value.n : sizeof(m->arch) - 1;

		if (n)
			memcpy(m->arch, r->value.p, n);
		m->arch[n] = '\0';
	}
	if (!added) {
		m->metas.v[*at] = meta;
		return 0;
	}
	*at = m->metas.n;
	return vec_push(&m->metas, meta);
}

/* The name's row with the last count: counts are cumulative. */
static int on_count(struct model *m, struct hmap *ids, struct named_cost **rows, size_t *n,
                    size_t *cap, const struct named_cost *r)
{
	bool added = false;
	uint64_t *at = hmap_put(ids, r->name, 0, &added);

	(void)m;
	if (!at || vec_grow_((void **)rows, cap, *n, 1, sizeof(**rows)))
		return -ENOMEM;
	if (added)
		*at = (*n)++;
	(*rows)[*at] = *r;
	return 0;
}

int on_loss(struct model *m, uint64_t ts, const struct rec_loss *r)
{
	struct named_cost row = {.name = model_string(m, r->cause), .count = r->count};

	(void)ts;
	return on_count(m, &m->loss_ids, &m->losses.v, &m->losses.n, &m->losses.cap, &row);
}

int on_cost(struct model *m, uint64_t ts, const struct rec_cost *r)
{
	struct named_cost row = {
	        .name = model_string(m, r->name),
	        .count = r->count,
	        .ns = r->ns,
	};

	(void)ts;
	return on_count(m, &m->cost_ids, &m->costs.v, &m->costs.n, &m->costs.cap, &row);
}

int on_note(struct model *m, uint64_t ts, const struct rec_note *r)
{
	uint32_t s = model_string(m, r->text);
	bool added = false;

	(void)ts;
	if (!s)
		return 0;
	if (!hmap_put(&m->note_ids, s, 0, &added))
		return -ENOMEM;
	return added ? vec_push(&m->note_strings, s) : 0;
}

int quality_finish(struct model *m)
{
	for (size_t i = 0; i < m->losses.n; i++) {
		const struct named_cost *c = &m->losses.v[i];
		struct loss loss = {strtab_get(m->strings, c->name), c->count};

		m->rec.lost = sat_add(m->rec.lost, c->count);
		if (c->count && vec_push(&m->loss_list, loss))
			return -ENOMEM;
	}
	for (size_t i = 0; i < m->costs.n; i++) {
		const struct named_cost *c = &m->costs.v[i];
		struct bpf_cost cost = {strtab_get(m->strings, c->name), c->count, c->ns};

		if (vec_push(&m->cost_list, cost))
			return -ENOMEM;
	}
	for (size_t i = 0; i < m->note_strings.n; i++)
		if (vec_push(&m->notes, strtab_get(m->strings, m->note_strings.v[i])))
			return -ENOMEM;
	return 0;
}

void quality_release(struct model *m)
{
	strtab_free(m->strings);
	idmap_release(&m->string_ids);
	vec_release(&m->metas);
	hmap_release(&m->meta_ids);
	buf_release(&m->meta_bytes);
	vec_release(&m->losses);
	vec_release(&m->costs);
	hmap_release(&m->loss_ids);
	hmap_release(&m->cost_ids);
	hmap_release(&m->note_ids);
	vec_release(&m->loss_list);
	vec_release(&m->cost_list);
	vec_release(&m->notes);
	vec_release(&m->note_strings);
}

size_t model_meta_bytes(const struct model *m, const char *key, const uint8_t **p)
{
	for (size_t i = 0; i < m->metas.n; i++) {
		if (strcmp(strtab_get(m->strings, m->metas.v[i].key), key))
			continue;
		*p = m->meta_bytes.p + m->metas.v[i].off;
		return m->metas.v[i].n;
	}
	*p = NULL;
	return 0;
}

bool model_meta_u64(const struct model *m, const char *key, uint64_t *out)
{
	const char *text = model_meta(m, key);

	return text && !parse_u64(text, 0, UINT64_MAX, out);
}

const char *model_meta(const struct model *m, const char *key)
{
	const uint8_t *p;

	model_meta_bytes(m, key, &p);
	return (const char *)p;
}

size_t model_losses(const struct model *m, const struct loss **out)
{
	*out = m->loss_list.v;
	return m->loss_list.n;
}

size_t model_costs(const struct model *m, const struct bpf_cost **out)
{
	*out = m->cost_list.v;
	return m->cost_list.n;
}

size_t model_notes(const struct model *m, const char *const **out)
{
	*out = m->notes.v;
	return m->notes.n;
}
