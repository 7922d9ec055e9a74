/* SPDX-License-Identifier: MIT */
/*
 * make_golden FILE: the trace that tests/golden/v<major>.mpv keeps for ever: 100 records of
 * every kind. Run it once per released major version; never replace an older file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../tests/support/trace_gen.h"

/* Values that a person can check: field i of record r is i + r, with a few known ones. */
static void fill(const struct kind_desc *k, uint64_t r, struct gen_rec *rec)
{
	static const uint64_t frames[] = {0x401000, 0x402000, 0x7f0000000000};
	static const char text[] = "golden";
	uint8_t *dst = (uint8_t *)rec->words;
	unsigned i;

	for (i = 0; i < k->n_fields; i++) {
		struct rec_bytes b = {(const uint8_t *)text, sizeof(text) - 1};
		struct rec_array a = {frames, ARRAY_LEN(frames)};
		uint64_t v = i + r;

		if (k->fields[i].type == FIELD_B)
			memcpy(dst, &b, sizeof(b));
		else if (k->fields[i].type == FIELD_A)
			memcpy(dst, &a, sizeof(a));
		else
			memcpy(dst, &v, sizeof(v));
		dst += field_size(k->fields[i].type);
	}
	if (k->number == REC_K_SWITCH) {
		struct rec_switch sw = {.cpu = r,
		                        .prev = r + 1,
		                        .next = r + 2,
		                        .exec = 3 + r,
		                        .flags = SW_F_VOLUNTARY | SW_F_SYSCALL};

		memcpy(rec->words, &sw, sizeof(sw));
	}
}

static int write_all(struct trace_writer *w)
{
	struct gen_rec rec;
	uint64_t r;
	size_t i;
	int err = 0;

	for (r = 1; r <= 100 && !err; r++) {
		for (i = 0; i < trace_schema.n && !err; i++) {
			fill(&trace_schema.kinds[i], r, &rec);
			err = trace_write(w, trace_schema.kinds[i].number, 1000 * r, rec.words);
		}
		if (r % 25 == 0 && !err)
			err = trace_writer_flush(w);
	}
	return err ? err : trace_writer_finish(w);
}

int main(int argc, char **argv)
{
	struct trace_writer *w;
	struct err err = {0};
	int fd, code;

	if (argc != 2) {
		fprintf(stderr, "usage: make_golden FILE\n");
		return MT_EXIT_USAGE;
	}
	fd = open(argv[1], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return MT_EXIT_OUTPUT;
	}
	w = trace_writer_new(trace_sink_fd(&fd), &err);
	code = w ? write_all(w) : -1;
	trace_writer_free(w);
	if (close(fd) || code) {
		fprintf(stderr, "%s: not written\n", argv[1]);
		return MT_EXIT_OUTPUT;
	}
	return MT_EXIT_OK;
}
