/* SPDX-License-Identifier: MIT */
#include "trace/trace_priv.h"

/* clang-format off */
#define F(name, type) { #name, FIELD_##type },
#define X(NAME, number, name, cls) static const struct field_desc fields_##NAME[] = { REC_##NAME(F) };
TRACE_KINDS(X)
#undef X
#undef F

/* Offsets are computed by adding up; that needs members of whole words. */
_Static_assert(sizeof(struct rec_bytes) == 16, "rec_bytes: two words");
_Static_assert(sizeof(struct rec_array) == 16, "rec_array: two words");

static const struct kind_desc kinds[] = {
#define X(NAME, number, name, cls) \
	{ name, fields_##NAME, number, ARRAY_LEN(fields_##NAME), BLOCK_##cls },
	TRACE_KINDS(X)
#undef X
};

#define X(NAME, number, name, cls) \
	_Static_assert((number) > 0 && (number) < REC_K_MAX, #NAME ": number"); \
	_Static_assert(ARRAY_LEN(fields_##NAME) <= FIELDS_MAX, #NAME ": too many fields");
TRACE_KINDS(X)
#undef X
/* clang-format on */

const struct schema trace_schema = {kinds, ARRAY_LEN(kinds)};

const struct kind_desc *schema_kind(const struct schema *s, unsigned number)
{
	size_t i;

	for (i = 0; i < s->n; i++) {
		if (s->kinds[i].number == number)
			return &s->kinds[i];
	}
	return NULL;
}

size_t field_size(uint8_t type)
{
	return type == FIELD_B || type == FIELD_A ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

const char *rec_kind_name(enum rec_kind kind)
{
	const struct kind_desc *k = schema_kind(&trace_schema, kind);

	return k ? k->name : "?";
}
