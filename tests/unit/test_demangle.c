/* SPDX-License-Identifier: MIT */
/* C++ and Rust names, honest and hostile. Expected texts are c++filt's and rustfilt's. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "symbol/demangle_priv.h"
#include "rnd.h"

/* clang-format off */
static const struct { const char *raw, *want; } names[] = {
	{"main", "main"},
	{"", ""},
	{"_", "_"},
	{"_Z", "_Z"},
	{"_R", "_R"},
	{"_ZN3foo3barEv", "foo::bar()"},
	{"_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"},
	{"_Z3addIdET_S0_S0_", "add<double>(double, double)"},
	{"_ZZ4mainENKUliE_clEi", "main::{lambda(int)#1}::operator()(int) const"},
	{"_ZN3fooEv.isra.0", "foo() [clone .isra.0]"},
	{"_ZN3foo3barEv.cold", "foo::bar() [clone .cold]"},
	{"_ZN3foo3barEv@plt", "foo::bar()@plt"},
	{"malloc@plt", "malloc@plt"},
	{"_ZTV3foo", "vtable for foo"},
	{"_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE", "core::fmt::Formatter::write_str"},
	{"_ZN58_$LT$alloc..string..String$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE",
	 "<alloc::string::String as core::fmt::Debug>::fmt"},
	{"_RNvC6_123foo3bar", "123foo::bar"},
	{"_RNvXs_NtCsbmNqQUJIY6D_4core3fmtNtB4_9FormatterNtB4_5Write9write_str",
	 "<core::fmt::Formatter as core::fmt::Write>::write_str"},
	{"_ZN3foo3bar", "_ZN3foo3bar"},		/* ends too early */
	{"_ZN9999999999999foo3barEv", "_ZN9999999999999foo3barEv"},
	{"_RNvC6_123foo3barXXXX$$$", "_RNvC6_123foo3barXXXX$$$"},
	{"_Zgarbage", "_Zgarbage"},
};
/* clang-format on */

Test(demangle, names)
{
	struct demangler d;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		cr_expect_str_eq(demangle(&d, names[i].raw), names[i].want, "%s: %s", names[i].raw,
		                 d.text);
}

/* Each of its 36 parameters is a pair of the one before twice: some 2^36 characters. */
Test(demangle, names_that_stand_for_gigabytes, .timeout = 20)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	struct buf raw = {0};
	struct demangler d;
	const char *got;

	buf_printf(&raw, "_Z1f1pIiiE");
	for (size_t i = 0; digits[i]; i++)
		buf_printf(&raw, "S_IS%c_S%c_E", digits[i], digits[i]);
	got = demangle(&d, (char *)raw.p);
	cr_expect(got == (char *)raw.p || strlen(got) < DEMANGLE_MAX);
	buf_release(&raw);
}

Test(demangle, deep_and_long_names, .timeout = 20)
{
	static const char *const parts[] = {"P", "R", "N",   "I",  "1a", "F", "M", "DpT_", "X",
	                                    "L", "K", "A1_", "Ts", "S",  "B", "T", "C"};
	char *raw = malloc(70000);
	struct demangler d;
	const char *got;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		for (size_t max = 900; max < 60000; max += 700) {
			size_t n = strlen(parts[i]);

			strcpy(raw, i % 2 ? "_Z1f" : "_RNvC1a");
			for (size_t at = strlen(raw); at + n < max; at += n)
				memcpy(raw + at, parts[i], n + 1);
			got = demangle(&d, raw);
			cr_expect(got == raw || strlen(got) < DEMANGLE_MAX);
		}
	}
	free(raw);
}

Test(demangle, too_long_for_us)
{
	char raw[4000] = "_ZN";
	struct demangler d;
	const char *got;

	/* Parameters go first, then the end. */
	for (int i = 0; i < 60; i++)
		strcat(raw, "9abcdefghi");
	strcat(raw, "EiN");
	for (int i = 0; i < 60; i++)
		strcat(raw, "9ABCDEFGHI");
	strcat(raw, "E");
	got = demangle(&d, raw);
	cr_expect_eq(strlen(got), 60 * 11 - 2);
	cr_expect_null(strchr(got, '('));

	strcpy(raw, "_ZN");
	for (int i = 0; i < 200; i++)
		strcat(raw, "9abcdefghi");
	strcat(raw, "Ev");
	got = demangle(&d, raw);
	cr_expect_eq(strlen(got), DEMANGLE_MAX - 1);
	cr_expect(strstr(got, "…"));
}

Test(demangle, mutated, .timeout = 60)
{
	uint64_t seed = 88172645463325252ull;
	struct demangler d;
	char raw[256];

	for (int round = 0; round < 20000; round++) {
		const char *from = names[(size_t)round % ARRAY_LEN(names)].raw;
		size_t n = strlen(from);

		if (n < 4)
			continue;
		strcpy(raw, from);
		for (int k = 0; k < 3; k++) {
			rnd_next(&seed);
			raw[2 + seed % (n - 2)] = seed % 5 ? raw[2 + (seed >> 20) % (n - 2)]
			                                   : (char)(1 + (seed >> 32) % 255);
		}
		cr_expect_lt(strlen(demangle(&d, raw)), DEMANGLE_MAX);
	}
}
