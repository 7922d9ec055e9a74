/* SPDX-License-Identifier: MIT */
/*
 * bench_codec [MILLIONS]: what writing and reading a trace costs, in memory, on the events
 * of a pipe ping-pong on one CPU: two switches and two wake-ups per 2.4 µs.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "trace.h"

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A sum of uniform values: most in the middle, as durations of repeated work are. */
static uint64_t jitter(uint64_t *seed, unsigned width)
{
	unsigned i, sum = 0;

	for (i = 0; i < 4; i++) {
		*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
		sum += (unsigned)(*seed >> 33) % (width / 4);
	}
	return sum;
}

static int ping_pong(struct trace_writer *w, uint64_t rounds)
{
	uint64_t seed = 1, ts = 1000000000000ull, i;
	int err = 0;

	for (i = 0; i < 2 * rounds && !err; i++) {
		uint64_t me = 1 + i % 2, other = 3 - me, step = 480 + jitter(&seed, 120);
		struct rec_waking wake = {
		        .cpu = 1, .task = other, .waker = me, .flags = WK_F_SYSCALL, .site = me};
		struct rec_switch sw = {.cpu = 1,
		                        .prev = me,
		                        .next = other,
		                        .state = 1,
		                        .flags = SW_F_VOLUNTARY | SW_F_SYSCALL,
		                        .site = 2 + me,
		                        .exec = 1000 + jitter(&seed, 240),
		                        .delay = 350 + jitter(&seed, 120)};

		ts += step;
		err = trace_write(w, REC_K_WAKING, ts, &wake);
		ts += 480 + jitter(&seed, 120);
		if (!err)
			err = trace_write(w, REC_K_SWITCH, ts, &sw);
	}
	return err;
}

static int measure_read(const struct buf *b, uint64_t events)
{
	struct trace_reader *r = trace_reader_new(trace_source_buf(b), NULL);
	struct trace_record rec;
	uint64_t begin = cpu_ns(), n = 0;
	int got;

	if (!r)
		return 1;
	while ((got = trace_read(r, &rec)) == 1)
		n++;
	printf("read   %6.1f ns per record, %.2f s for %llu\n",
	       (double)(cpu_ns() - begin) / (double)n, (double)(cpu_ns() - begin) / 1e9,
	       (unsigned long long)n);
	trace_reader_free(r);
	return got || n != events;
}

int main(int argc, char **argv)
{
	uint64_t millions = 10, events, begin;
	const struct trace_stats *st;
	struct trace_writer *w;
	struct buf b = {0};
	int err;

	if (argc > 1 && parse_u64(argv[1], 1, 1000, &millions))
		return 2;
	events = millions * 1000000;
	begin = cpu_ns();
	w = trace_writer_new(trace_sink_buf(&b), NULL);
	err = !w || ping_pong(w, events / 4) || trace_writer_finish(w);
	if (!err) {
		st = trace_writer_stats(w);
		printf("write  %6.1f ns per event\n", (double)(cpu_ns() - begin) / (double)events);
		printf("size   %6.2f bytes per event, %.2f before compression\n",
		       (double)st->file_bytes / (double)events,
		       (double)st->raw_bytes / (double)events);
		err = measure_read(&b, events);
	}
	trace_writer_free(w);
	buf_release(&b);
	return err;
}
