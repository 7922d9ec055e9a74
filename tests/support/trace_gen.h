/* SPDX-License-Identifier: MIT */
/*
 * trace_gen.h: records with random values in every field of every kind, driven by the
 * same tables as the codec, so that a new kind or field is covered as soon as it exists.
 * Deterministic: the same seed gives the same records.
 */
#ifndef MT_TRACE_GEN_H
#define MT_TRACE_GEN_H

#include "trace/trace_priv.h"

struct gen {
	uint64_t seed;
	uint64_t ts;
	uint8_t bytes[512];   /* what B fields point to */
	uint64_t numbers[64]; /* what A fields point to */
};

/* Large enough for any record. */
struct gen_rec {
	uint64_t words[2 * FIELDS_MAX];
};

uint64_t gen_next(struct gen *g);              /* 64 random bits */
uint64_t gen_below(struct gen *g, uint64_t n); /* [0, n) */
void gen_fill(struct gen *g, const struct kind_desc *k, struct gen_rec *rec);
uint64_t gen_ts(struct gen *g); /* mostly a bit later than the one before */
bool gen_equal(const struct kind_desc *k, const void *a, const void *b);

/* A trace with n records of random kinds of `s`. The buffer is the caller's. */
int gen_trace(struct gen *g, const struct schema *s, size_t n, bool finish, struct buf *out);
/* Reads everything; returns the records read, or -errno when it cannot be opened or read.
 * *info may be NULL. */
int64_t gen_read_all(const struct buf *b, struct trace_info *info);

#endif
