/* SPDX-License-Identifier: MIT */
/*
 * lines.c: from an instruction to its line. The tables belong to the workload: each step
 * consumes a byte at least, nothing is read beyond n, sums wrap without harm.
 */
#include "python.h"

#define UNIT 2 /* bytes of a code unit */

static uint32_t valid(int64_t line)
{
	return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

/* To 3.9: steps of (bytes of code, lines); the last line whose start is not beyond `at`. */
static uint32_t line_of_lnotab(uint32_t first, const uint8_t *t, size_t n, uint32_t at)
{
	uint64_t addr = 0;
	int64_t line = first;

	for (size_t i = 0; i + 1 < n; i += 2) {
		addr += t[i];
		if (addr > at)
			break;
		line += (int8_t)t[i + 1];
	}
	return valid(line);
}

/* 3.10: ranges of (bytes of code, step to their line); -128: they have none. */
static uint32_t line_of_ranges(uint32_t first, const uint8_t *t, size_t n, uint32_t at)
{
	uint64_t end = 0;
	int64_t line = first;

	for (size_t i = 0; i + 1 < n; i += 2) {
		int8_t step = (int8_t)t[i + 1];

		end += t[i];
		if (step != -128)
			line += step;
		if (at < end)
			return step == -128 ? 0 : valid(line);
	}
	return 0;
}

struct cursor {
	const uint8_t *p, *end;
};

/* Six bits a byte, lowest first; bit 6 says that more follow. */
static uint64_t varint(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; c->p < c->end; shift += 6) {
		uint8_t b = *c->p;

		if (b & 0x80)
			break; /* the next entry: this one was cut */
		c->p++;
		if (shift < 48)
			v |= (uint64_t)(b & 63) << shift;
		if (!(b & 64))
			break;
	}
	return v;
}

static int64_t signed_varint(struct cursor *c)
{
	uint64_t v = varint(c);

	return v & 1 ? -(int64_t)(v >> 1) : (int64_t)(v >> 1);
}

enum { LOC_ONE_LINE = 10, LOC_NO_COLUMNS = 13, LOC_LONG = 14, LOC_NONE = 15 };

/* From 3.11: entries that begin with a byte with bit 7 set: 4 bits of form, 3 of length. */
static uint32_t line_of_locations(uint32_t first, const uint8_t *t, size_t n, uint32_t at)
{
	struct cursor c = {t, t + n};
	uint64_t end = 0;
	int64_t line = first;

	while (c.p < c.end) {
		unsigned form = *c.p >> 3 & 15, units = (*c.p & 7u) + 1;

		if (!(*c.p & 0x80))
			return 0;
		c.p++;
		if (form == LOC_LONG || form == LOC_NO_COLUMNS)
			line += signed_varint(&c);
		else if (form >= LOC_ONE_LINE && form < LOC_NO_COLUMNS)
			line += form - LOC_ONE_LINE;
		end += (uint64_t)units * UNIT;
		if (at < end)
			return form == LOC_NONE ? 0 : valid(line);
		while (c.p < c.end && !(*c.p & 0x80))
			c.p++;
	}
	return 0;
}

uint32_t py_line(uint32_t hex, uint32_t first_line, const uint8_t *table, size_t n, uint32_t instr)
{
	unsigned minor = hex >> 16 & 0xff;

	if (instr == MT_PY_INSTR_NONE || !py_version_known(hex))
		return 0;
	if (instr == MT_PY_INSTR_START)
		return valid(first_line);
	if (minor <= 9)
		return line_of_lnotab(first_line, table, n, instr);
	if (minor == 10)
		return line_of_ranges(first_line, table, n, instr);
	return line_of_locations(first_line, table, n, instr);
}
