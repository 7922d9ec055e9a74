/* SPDX-License-Identifier: MIT */
/* demangle_priv.h: names of C++ and Rust functions as their authors wrote them. */
#ifndef MT_DEMANGLE_PRIV_H
#define MT_DEMANGLE_PRIV_H

#include "base.h"

#define DEMANGLE_MAX 1024 /* bytes of a name, its NUL included */

struct demangler {
	char text[DEMANGLE_MAX];
	size_t n;
};

/* The readable form of a symbol's name: C++ (Itanium ABI) and Rust (v0, and the older form
 * without its hash), compilers' suffixes (".cold", ".isra.0") and "@plt" as they do. A name that
 * would be too long loses first its parameters, then its end ("…"). What is not mangled, or
 * does not make sense, is returned as it is. The result is d->text or raw. */
const char *demangle(struct demangler *d, const char *raw);

#endif
