/* SPDX-License-Identifier: MIT */
/* bench_load FILE: CPU time (so that a busy machine does not matter) of reading a trace, of
 * loading it into a model (which reads it again), of the analyses; peak memory. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static double read_only(struct trace_reader *r, uint64_t *records)
{
	struct trace_record rec;
	double start = now();

	for (*records = 0; trace_read(r, &rec) > 0; ++*records)
		;
	return now() - start;
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	struct trace_reader *reader;
	struct report report = {0};
	struct err err = {0};
	struct model *m = NULL;
	struct rusage ru;
	uint64_t records;
	double start;

	if (fd < 0) {
		fprintf(stderr, "usage: bench_load FILE (%s)\n", strerror(errno));
		return 2;
	}
	reader = trace_reader_new(trace_source_fd(&fd), &err);
	if (reader) {
		printf("read    %.2f s", read_only(reader, &records));
		printf(", %" PRIu64 " records\n", records);
		start = now();
		m = model_load(reader, NULL, &err);
		printf("load    %.2f s\n", now() - start);
		start = now();
	}
	if (m && !report_build(&report, m, &err)) {
		getrusage(RUSAGE_SELF, &ru);
		printf("analyze %.2f s\npeak    %ld MiB\n", now() - start, ru.ru_maxrss / 1024);
		for (size_t i = 0; i < report.checks.n; i++)
			printf("check   %s %s\n", report.checks.v[i].name,
			       report.checks.v[i].ok      ? "ok"
			       : report.checks.v[i].known ? "differs"
			                                  : "unknown");
	}
	if (err.msg[0])
		fprintf(stderr, "bench_load: %s\n", err.msg);
	report_release(&report);
	model_free(m);
	trace_reader_free(reader);
	close(fd);
	return err.msg[0] ? 1 : 0;
}
