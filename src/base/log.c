/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

enum log_level log_level = LOG_INFO;

void log_msg(enum log_level level, const char *fmt, ...)
{
	static const char *const prefix[] = {
	        [LOG_QUIET] = "mpvtrace: ",
	        [LOG_WARN] = "mpvtrace: warning: ",
	        [LOG_INFO] = "mpvtrace: ",
	        [LOG_DEBUG] = "mpvtrace: debug: ",
	};
	int saved = errno;
	char line[2048];
	va_list ap;
	size_t n;

	if (level > log_level || (size_t)level >= ARRAY_LEN(prefix))
		return;
	n = (size_t)snprintf(line, sizeof(line), "%s", prefix[level]);
	errno = saved; /* for %m */
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	n = strlen(line);
	if (n == sizeof(line) - 1)
		n--;
	if (line[n - 1] != '\n')
		line[n++] = '\n';
	/* One write per line, so that lines of the workload do not get mixed into ours. */
	write_full(STDERR_FILENO, line, n);
	errno = saved;
}
