/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "unwind_priv.h"

#define DYNAMIC_MAX 4096
#define STRINGS_MAX (16u << 20)
#define NEEDED_MAX  512

static int put_string(const struct buf *strings, uint64_t at, struct buf *out)
{
	const uint8_t *s = at < strings->n ? strings->p + at : NULL;
	size_t n = s ? strnlen((const char *)s, strings->n - at) : 0;

	return buf_put(out, s ? s : (const uint8_t *)"", n) || buf_put(out, "", 1) ? -ENOMEM : 0;
}

/* The names of one kind, or its first one. */
static int put_names(const struct buf *dyn, const struct buf *strings, int64_t tag, bool all,
                     struct buf *out)
{
	unsigned n = 0;

	for (size_t i = 0; i + sizeof(Elf64_Dyn) <= dyn->n; i += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;

		memcpy(&d, dyn->p + i, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag != tag)
			continue;
		if (put_string(strings, d.d_un.d_val, out))
			return -ENOMEM;
		if (!all || ++n >= NEEDED_MAX)
			break;
	}
	return 0;
}

static uint64_t dynamic_value(const struct buf *dyn, int64_t tag)
{
	for (size_t i = 0; i + sizeof(Elf64_Dyn) <= dyn->n; i += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;

		memcpy(&d, dyn->p + i, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == tag)
			return d.d_un.d_val;
	}
	return 0;
}

static int read_dynamic(const struct image *im, struct buf *dyn, struct buf *strings)
{
	uint64_t off, left, size;
	int rc = 0;

	for (size_t i = 0; i < im->segments.n && !rc; i++) {
		const struct image_segment *s = &im->segments.v[i];

		if (s->type == PT_DYNAMIC && !dyn->n)
			rc = image_read(im, s->off,
			                s->filesz < DYNAMIC_MAX * sizeof(Elf64_Dyn)
			                        ? s->filesz
			                        : DYNAMIC_MAX * sizeof(Elf64_Dyn),
			                dyn);
	}
	size = dynamic_value(dyn, DT_STRSZ);
	if (!rc && size && size <= STRINGS_MAX &&
	    !image_offset(im, dynamic_value(dyn, DT_STRTAB), false, &off, &left) && size <= left)
		rc = image_read(im, off, size, strings);
	return rc;
}

static int put_interpreter(const struct image *im, struct buf *names)
{
	struct buf b = {0};
	int rc = 0;

	for (size_t i = 0; i < im->segments.n && !rc && !b.n; i++) {
		const struct image_segment *s = &im->segments.v[i];

		if (s->type == PT_INTERP && s->filesz < 4096)
			rc = image_read(im, s->off, s->filesz, &b);
	}
	if (!rc)
		rc = put_string(&b, 0, names);
	buf_release(&b);
	return rc;
}

int unwind_needed(int fd, struct buf *names)
{
	struct buf dyn = {0}, strings = {0};
	struct image im;
	size_t before;
	int rc = image_open(&im, fd);

	if (!rc)
		rc = put_interpreter(&im, names);
	if (!rc)
		rc = read_dynamic(&im, &dyn, &strings);
	before = names->n;
	if (!rc)
		rc = put_names(&dyn, &strings, DT_RUNPATH, false, names);
	if (!rc && names->n == before)
		rc = put_names(&dyn, &strings, DT_RPATH, false, names);
	if (!rc && names->n == before)
		rc = buf_put(names, "", 1);
	if (!rc)
		rc = put_names(&dyn, &strings, DT_NEEDED, true, names);
	buf_release(&dyn);
	buf_release(&strings);
	image_release(&im);
	return rc;
}
