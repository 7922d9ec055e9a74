/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/json_priv.h"
#include "report/utf8_priv.h"

json_t *j_u64(uint64_t v)
{
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

json_t *j_known(bool known, uint64_t v)
{
	return known ? j_u64(v) : json_null();
}

json_t *j_status(int status)
{
	return status < 0 ? json_null() : json_integer(status);
}

json_t *j_text_n(const void *s, size_t n)
{
	size_t len;
	char *valid = utf8_valid(s, n, &len);
	json_t *v = valid ? json_stringn(valid, len) : NULL;

	free(valid);
	return v;
}

json_t *j_text(const char *s)
{
	return s ? j_text_n(s, strlen(s)) : json_null();
}

json_t *j_time(const struct jout *j, uint64_t abs_ns)
{
	uint64_t start = model_recording(j->m)->start_ns;

	return j_u64(abs_ns > start ? abs_ns - start : 0);
}

void j_set(struct jout *j, json_t *o, const char *key, json_t *v)
{
	if (json_object_set_new(o, key, v))
		j->err = -ENOMEM;
}

void j_add(struct jout *j, json_t *array, json_t *v)
{
	if (json_array_append_new(array, v))
		j->err = -ENOMEM;
}

json_t *j_frames(struct jout *j, uint32_t text, const struct stack_names *names)
{
	const char *p = stack_text(names, text);
	json_t *frames;

	if (!text)
		return json_null();
	frames = json_array();
	while (*p && frames) {
		size_t n = strcspn(p, "\n");

		j_add(j, frames, j_text_n(p, n));
		p += n + (p[n] != '\0');
	}
	return frames;
}

/* jansson escapes the control characters below a blank; with the others (DEL, U+0080 to U+009F),
 * too, a name could drive the terminal that `--json -` goes to. It hands out whole characters. */
static int put_escaped(const char *s, size_t n, void *out)
{
	size_t from = 0, at = 0;

	while (at < n) {
		uint32_t cp = 0;
		size_t len = (unsigned char)s[at] < 0x7f ? 1 : utf8_decode(s + at, n - at, &cp);

		if (cp && utf8_is_unsafe(cp)) {
			fwrite(s + from, 1, at - from, out);
			fprintf(out, "\\u%04X", cp);
			from = at + len;
		}
		at += len ? len : 1;
	}
	fwrite(s + from, 1, n - from, out);
	return ferror((FILE *)out) ? -1 : 0;
}

static void dump(struct jout *j, json_t *v)
{
	if (!v)
		j->err = -ENOMEM;
	if (!j->err && json_dump_callback(v, put_escaped, j->out, JSON_COMPACT | JSON_ENCODE_ANY) &&
	    !ferror(j->out))
		j->err = -ENOMEM;
	json_decref(v);
}

static void begin_member(struct jout *j, const char *key)
{
	fprintf(j->out, "%s\"%s\":", j->members ? ",\n" : "", key);
	j->members = true;
}

void j_member(struct jout *j, const char *key, json_t *v)
{
	begin_member(j, key);
	dump(j, v);
}

void j_array(struct jout *j, const char *key)
{
	begin_member(j, key);
	fputc('[', j->out);
	j->open = false;
}

void j_element(struct jout *j, json_t *v)
{
	fputs(j->open ? ",\n" : "\n", j->out);
	j->open = true;
	dump(j, v);
}

void j_array_end(struct jout *j)
{
	fputc(']', j->out);
}

json_t *j_array_or_null(size_t n)
{
	return n ? json_array() : json_null();
}
