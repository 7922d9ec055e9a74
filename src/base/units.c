/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

struct unit {
	const char *name;
	uint64_t size;
	uint64_t from; /* smallest value shown in this unit */
};

static void trim_zeros(char *s)
{
	size_t n = strlen(s);

	if (!strchr(s, '.'))
		return;
	while (n && s[n - 1] == '0')
		s[--n] = '\0';
	if (n && s[n - 1] == '.')
		s[n - 1] = '\0';
}

/* Three digits, without zeros that say nothing. */
static void three_digits(char *out, size_t n, double v)
{
	snprintf(out, n, "%.*f", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v);
	trim_zeros(out);
}

/* Units from small to large; goes on to the next one when rounding reaches it. */
static char *fmt_unit(char *out, size_t n, uint64_t value, const struct unit *u, size_t units)
{
	char digits[32];
	double v;

	while (units > 1 && (double)value >= (double)u[1].from - 0.0005 * (double)u[1].from) {
		u++;
		units--;
	}
	v = (double)value / (double)u->size;
	if (value && v < 0.005)
		v = 0.01; /* something is not nothing */
	if (v >= 999.5) {
		fmt_count(digits, sizeof(digits), (uint64_t)(v + 0.5));
	} else {
		three_digits(digits, sizeof(digits), v);
	}
	snprintf(out, n, "%s %s", digits, u->name);
	return out;
}

char *fmt_ns(char *out, size_t n, uint64_t ns)
{
	static const struct unit units[] = {
	        {"µs", 1000, 0},
	        {"ms", 1000 * 1000, 1000 * 1000},
	        {"s", 1000 * 1000 * 1000, 1000 * 1000 * 1000},
	        {"min", 60000000000ull, 1000000000000ull},
	        {"h", 3600000000000ull, 60000000000000ull},
	};

	if (!ns) {
		snprintf(out, n, "0 s");
		return out;
	}
	return fmt_unit(out, n, ns, units, ARRAY_LEN(units));
}

char *fmt_bytes(char *out, size_t n, uint64_t bytes)
{
	static const struct unit units[] = {
	        {"B", 1, 0},
	        {"KB", 1ull << 10, 1000},
	        {"MB", 1ull << 20, 1000ull << 10},
	        {"GB", 1ull << 30, 1000ull << 20},
	        {"TB", 1ull << 40, 1000ull << 30},
	};

	return fmt_unit(out, n, bytes, units, ARRAY_LEN(units));
}

char *fmt_count(char *out, size_t n, uint64_t count)
{
	char plain[24], grouped[32];
	size_t len, i, o = 0;

	len = (size_t)snprintf(plain, sizeof(plain), "%llu", (unsigned long long)count);
	for (i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			grouped[o++] = ',';
		grouped[o++] = plain[i];
	}
	grouped[o] = '\0';
	snprintf(out, n, "%s", grouped);
	return out;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits from *s on; *s is left after them. -EINVAL when none or too large. */
static int digits_u64(const char **s, uint64_t *out)
{
	uint64_t v = 0;

	if (!is_digit(**s))
		return -EINVAL;
	for (; is_digit(**s); (*s)++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**s - '0'), &v))
			return -EINVAL;
	}
	*out = v;
	return 0;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v;

	if (digits_u64(&s, &v) || *s || v < min || v > max)
		return -EINVAL;
	*out = v;
	return 0;
}

/* "whole[.fraction]" times `unit`, exactly as far as whole units go. */
static int scale(uint64_t whole, const char *frac, size_t frac_n, uint64_t unit, uint64_t *out)
{
	uint64_t v, part = 0, place = unit;
	size_t i;

	if (__builtin_mul_overflow(whole, unit, &v))
		return -EINVAL;
	for (i = 0; i < frac_n; i++) {
		/* place keeps a remainder for units that are no power of ten (minutes) */
		part += (uint64_t)(frac[i] - '0') * place / 10;
		place /= 10;
	}
	if (__builtin_add_overflow(v, part, &v))
		return -EINVAL;
	*out = v;
	return 0;
}

int parse_duration_ns(const char *s, uint64_t *ns)
{
	static const struct unit units[] = {
	        {"", 1000000000, 0},   {"s", 1000000000, 0},    {"ms", 1000000, 0},
	        {"us", 1000, 0},       {"µs", 1000, 0},         {"ns", 1, 0},
	        {"m", 60000000000, 0}, {"min", 60000000000, 0}, {"h", 3600000000000, 0},
	};
	const char *frac = s;
	size_t frac_n = 0, i;
	uint64_t whole = 0;

	if (*s != '.' && digits_u64(&s, &whole))
		return -EINVAL;
	if (*s == '.') {
		frac = ++s;
		while (is_digit(*s))
			s++;
		frac_n = (size_t)(s - frac);
		if (!frac_n)
			return -EINVAL;
	}
	for (i = 0; i < ARRAY_LEN(units); i++) {
		if (!strcmp(s, units[i].name))
			return scale(whole, frac, frac_n, units[i].size, ns);
	}
	return -EINVAL;
}

int parse_bytes(const char *s, uint64_t *bytes)
{
	static const char letters[] = "KMGT";
	const char *letter;
	unsigned shift = 0;
	uint64_t v;

	if (digits_u64(&s, &v))
		return -EINVAL;
	if (*s) {
		letter = strchr(letters, *s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s);
		if (!letter)
			return -EINVAL;
		shift = 10 * (unsigned)(letter - letters + 1);
		s++;
		if (!strcmp(s, "B") || !strcmp(s, "iB"))
			s = "";
	}
	if (*s || v > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes = v << shift;
	return 0;
}
