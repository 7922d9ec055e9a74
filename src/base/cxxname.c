/* SPDX-License-Identifier: MIT */
/* Names of functions as demanglers write them. */
#include <string.h>

#include "base.h"

/* What may follow the parameters, outermost last: "f() const & [clone .isra.0]". */
static int without_suffix(const char *name, int n)
{
	static const char *const suffixes[] = {" const", " volatile", " &", " &&", " noexcept"};

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		int k = (int)strlen(suffixes[i]);

		if (n > k && !memcmp(name + n - k, suffixes[i], (size_t)k))
			return n - k;
	}
	if (n && name[n - 1] == ']')
		for (const char *p = name + n - 1; p > name; p--)
			if (!strncmp(p, " [clone ", strlen(" [clone ")))
				return (int)(p - name);
	return n;
}

/* Where the bracket is that the last of these bytes closes; 0: not in there. */
static int opening(const char *name, int n)
{
	int depth = 0;

	for (int i = n - 1; i > 0; i--) {
		depth += (name[i] == ')') - (name[i] == '(');
		if (!depth)
			return i;
	}
	return 0;
}

/* C++'s operator(), as debug information has it: these are no parameters. */
static bool is_call_operator(const char *name, int open, int n)
{
	static const char word[] = "operator";
	int k = (int)strlen(word);

	return n == open + 2 && open >= k && !memcmp(name + open - k, word, (size_t)k) &&
	       (open == k || name[open - k - 1] == ':');
}

size_t name_without_parameters(const char *name)
{
	int n = (int)strlen(name), k = without_suffix(name, n), open;

	for (int before = n; k < before; k = without_suffix(name, k))
		before = k;
	open = k && name[k - 1] == ')' ? opening(name, k) : 0;
	if (open && is_call_operator(name, open, k))
		return (size_t)k;
	return (size_t)(open ? open : n);
}
