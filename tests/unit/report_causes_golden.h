/* SPDX-License-Identifier: MIT */
/* The text of test_report_causes.c's results, read line by line before it was put here. */
#ifndef MT_REPORT_CAUSES_GOLDEN_H
#define MT_REPORT_CAUSES_GOLDEN_H

/* clang-format off */
#define CAUSES_80 \
	"SERIALIZED by the GIL (pid 1001): 0.99 of 2 CPUs did the work.\n" \
	"Look at what worker-0 does while it holds GIL (pid 1001): most often lock_wait.\n" \
	"Without the GIL, the same work would take about 44 ms (40 ms to 50 ms): 1.9\n" \
	"times faster.\n" \
	"4 processes instead of threads would cost 9 MB and 45 ms each to start.\n" \
	"\n" \
	"where 2 CPUs × 84 ms went\n" \
	"                 ██████████████████████████████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▒▒▒▒░\n" \
	"                 █ work 49.4 % · ▓ GIL (pid 1001) 41.7 % (± 1.3 %)\n" \
	"                 ▒ app alone (lock_wait ← work) 7.1 % · ░ no CPU free 1.5 %\n" \
	"                 . 2 smaller 0.3 %\n" \
	"\n" \
	"parallelism      0.99 of 2 CPUs on average · none running 2.4 %\n" \
	"                 1 running 96.4 % · 2 running 1.2 %\n" \
	"\n" \
	"alone, awaited   app 7.1 % of the run (6 ms) in 2 stretches\n" \
	"                 at lock_wait ← work\n" \
	"\n" \
	"locks           waits   total    idle  held by                  waited for at\n" \
	"GIL (pid 1001)  1,204  110 ms  41.7 %  worker-0 45.5 %…         lock_wait ← work\n" \
	"results.mutex     311   12 ms     0 %  worker-2 75.0 %…\n" \
	"… and 1 lock more with 1 µs of waiting\n" \
	"\n" \
	"GIL (pid 1001)    held  of the run   waited  waits\n" \
	"worker-0         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-1         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-2         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-3         20 ms      23.8 %  27.5 ms    301\n" \
	"                 held 95.2 % of the run, 110 ms waited for in all, 1,204 times\n" \
	"                 handed over\n" \
	"\n" \
	"channels           waits  total wait  to read  longest  waiters  other end\n" \
	"pipe app | worker      3        9 ms     9 ms     4 ms  app      worker-3\n" \
	"\n" \
	"critical path    app 2 ms → worker-0 3 ms → GIL (pid 1001) 1 ms → no CPU free\n" \
	"                 77 ms → app 1 ms\n" \
	"\n" \
	"watched          app: 12 delays until it ran · p50 50 µs, p99 4 ms, longest 5 ms\n" \
	"                 by worker-0 4 ms\n"

#define CAUSES_100 \
	"SERIALIZED by the GIL (pid 1001): 0.99 of 2 CPUs did the work.\n" \
	"Look at what worker-0 does while it holds GIL (pid 1001): most often lock_wait.\n" \
	"Without the GIL, the same work would take about 44 ms (40 ms to 50 ms): 1.9 times faster.\n" \
	"4 processes instead of threads would cost 9 MB and 45 ms each to start.\n" \
	"\n" \
	"where 2 CPUs × 84 ms went\n" \
	"                 ██████████████████████████████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▒▒▒▒░\n" \
	"                 █ work 49.4 % · ▓ GIL (pid 1001) 41.7 % (± 1.3 %)\n" \
	"                 ▒ app alone (lock_wait ← work) 7.1 % · ░ no CPU free 1.5 % · . 2 smaller 0.3 %\n" \
	"\n" \
	"parallelism      0.99 of 2 CPUs on average · none running 2.4 % · 1 running 96.4 % · 2 running 1.2 %\n" \
	"\n" \
	"alone, awaited   app 7.1 % of the run (6 ms) in 2 stretches · at lock_wait ← work\n" \
	"\n" \
	"locks           waits   total    idle      p99  longest  held by                    waited for at\n" \
	"GIL (pid 1001)  1,204  110 ms  41.7 %   137 µs   183 µs  worker-0 45.5 %…           lock_wait ← work\n" \
	"results.mutex     311   12 ms     0 %  57.9 µs  77.2 µs  worker-2 75.0 %…\n" \
	"… and 1 lock more with 1 µs of waiting\n" \
	"\n" \
	"GIL (pid 1001)    held  of the run   waited  waits\n" \
	"worker-0         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-1         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-2         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-3         20 ms      23.8 %  27.5 ms    301\n" \
	"                 held 95.2 % of the run, 110 ms waited for in all, 1,204 times handed over\n" \
	"\n" \
	"channels           waits  total wait  to read  longest  waiters  other end\n" \
	"pipe app | worker      3        9 ms     9 ms     4 ms  app      worker-3\n" \
	"\n" \
	"critical path    app 2 ms → worker-0 3 ms → GIL (pid 1001) 1 ms → no CPU free 77 ms → app 1 ms\n" \
	"\n" \
	"watched          app: 12 delays until it ran · p50 50 µs, p99 4 ms, longest 5 ms · by worker-0 4 ms\n"

#define CAUSES_200 \
	"SERIALIZED by the GIL (pid 1001): 0.99 of 2 CPUs did the work.\n" \
	"Look at what worker-0 does while it holds GIL (pid 1001): most often lock_wait.\n" \
	"Without the GIL, the same work would take about 44 ms (40 ms to 50 ms): 1.9 times faster.\n" \
	"4 processes instead of threads would cost 9 MB and 45 ms each to start.\n" \
	"\n" \
	"where 2 CPUs × 84 ms went\n" \
	"                 ██████████████████████████████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▒▒▒▒░\n" \
	"                 █ work 49.4 % · ▓ GIL (pid 1001) 41.7 % (± 1.3 %) · ▒ app alone (lock_wait ← work) 7.1 % · ░ no CPU free 1.5 % · . 2 smaller 0.3 %\n" \
	"\n" \
	"parallelism      0.99 of 2 CPUs on average · none running 2.4 % · 1 running 96.4 % · 2 running 1.2 %\n" \
	"\n" \
	"alone, awaited   app 7.1 % of the run (6 ms) in 2 stretches · at lock_wait ← work\n" \
	"\n" \
	"locks            kind   waits  total wait  CPUs idle      p99  longest  waiters            held meanwhile by                     waited for at\n" \
	"GIL (pid 1001)          1,204      110 ms     41.7 %   137 µs   183 µs  worker-0 … -3 (4)  worker-0 45.5 %, worker-1 18.2 %, +2  lock_wait ← work\n" \
	"results.mutex    mutex    311       12 ms        0 %  57.9 µs  77.2 µs  worker-1           worker-2 75.0 %, unknown 25.0 %\n" \
	"… and 1 lock more with 1 µs of waiting\n" \
	"\n" \
	"GIL (pid 1001)    held  of the run   waited  waits\n" \
	"worker-0         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-1         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-2         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-3         20 ms      23.8 %  27.5 ms    301\n" \
	"                 held 95.2 % of the run, 110 ms waited for in all, 1,204 times handed over\n" \
	"\n" \
	"channels           waits  total wait  to read  longest  waiters  other end\n" \
	"pipe app | worker      3        9 ms     9 ms     4 ms  app      worker-3\n" \
	"\n" \
	"critical path    app 2 ms → worker-0 3 ms → GIL (pid 1001) 1 ms → no CPU free 77 ms → app 1 ms\n" \
	"\n" \
	"watched          app: 12 delays until it ran · p50 50 µs, p99 4 ms, longest 5 ms · by worker-0 4 ms\n"

#define CAUSES_ASCII \
	"SERIALIZED by the GIL (pid 1001): 0.99 of 2 CPUs did the work.\n" \
	"Look at what worker-0 does while it holds GIL (pid 1001): most often lock_wait.\n" \
	"Without the GIL, the same work would take about 44 ms (40 ms to 50 ms): 1.9 times faster.\n" \
	"4 processes instead of threads would cost 9 MB and 45 ms each to start.\n" \
	"\n" \
	"where 2 CPUs x 84 ms went\n" \
	"                 ##############################%%%%%%%%%%%%%%%%%%%%%%%%%++++:\n" \
	"                 # work 49.4 % | % GIL (pid 1001) 41.7 % (~ 1.3 %)\n" \
	"                 + app alone (lock_wait < work) 7.1 % | : no CPU free 1.5 % | . 2 smaller 0.3 %\n" \
	"\n" \
	"parallelism      0.99 of 2 CPUs on average | none running 2.4 % | 1 running 96.4 % | 2 running 1.2 %\n" \
	"\n" \
	"alone, awaited   app 7.1 % of the run (6 ms) in 2 stretches | at lock_wait < work\n" \
	"\n" \
	"locks           waits   total    idle      p99  longest  held by                    waited for at\n" \
	"GIL (pid 1001)  1,204  110 ms  41.7 %   137 us   183 us  worker-0 45.5 %~           lock_wait < work\n" \
	"results.mutex     311   12 ms     0 %  57.9 us  77.2 us  worker-2 75.0 %~\n" \
	"~ and 1 lock more with 1 us of waiting\n" \
	"\n" \
	"GIL (pid 1001)    held  of the run   waited  waits\n" \
	"worker-0         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-1         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-2         20 ms      23.8 %  27.5 ms    301\n" \
	"worker-3         20 ms      23.8 %  27.5 ms    301\n" \
	"                 held 95.2 % of the run, 110 ms waited for in all, 1,204 times handed over\n" \
	"\n" \
	"channels           waits  total wait  to read  longest  waiters  other end\n" \
	"pipe app | worker      3        9 ms     9 ms     4 ms  app      worker-3\n" \
	"\n" \
	"critical path    app 2 ms > worker-0 3 ms > GIL (pid 1001) 1 ms > no CPU free 77 ms > app 1 ms\n" \
	"\n" \
	"watched          app: 12 delays until it ran | p50 50 us, p99 4 ms, longest 5 ms | by worker-0 4 ms\n"

/* clang-format on */

#endif
