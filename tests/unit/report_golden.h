/* SPDX-License-Identifier: MIT */
/* The text report of test_report.c's four workers, read line by line before it was put here. */
#ifndef MT_REPORT_GOLDEN_H
#define MT_REPORT_GOLDEN_H

/* clang-format off */
#define GOLDEN_80 \
	"app --threads 4 · 84 ms on 2 CPUs · threaded: 5 threads in 1 process · exit 3\n" \
	"\n" \
	"parallelism      0.99 of 2 CPUs on average\n" \
	"                 ─▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒█\n" \
	"                 ─ none running 2.4 % · ▒ 1 running 96.4 % · █ 2 running 1.2 %\n" \
	"\n" \
	"futexes          waits  total wait    p50    p99  longest  waiters\n" \
	"at lock_wait         4      120 ms  30 ms  30 ms    30 ms  worker-0 … -3 (4)\n" \
	"\n" \
	"time of tasks    350 ms over 5 tasks · running 23.7 %\n" \
	"                 ready, no CPU free 18.9 %\n" \
	"                 blocked 57.4 %: futex 34.3 %, join 23.1 %\n" \
	"tasks     running  ready  blocked  (futex   join)  switches  faults  first touch\n" \
	"worker-0    20 ms   1 ms    30 ms   30 ms      0          2     100       256 KB\n" \
	"worker-1    20 ms  11 ms    30 ms   30 ms      0          2     101       256 KB\n" \
	"worker-2    20 ms  22 ms    30 ms   30 ms      0          2     102       256 KB\n" \
	"worker-3    20 ms  32 ms    30 ms   30 ms      0          2     103       256 KB\n" \
	"app          3 ms      0    81 ms       0  81 ms          2   2,000         2 MB\n" \
	"\n" \
	"memory           peak RSS 40 MB · PSS 30 MB · private 28 MB · shared 12 MB\n" \
	"                 first touch 3 MB · CoW copies 72 KB\n" \
	"\n" \
	"off-CPU stacks   of 201 ms blocked\n" \
	"  120 ms   59.7 %  futex    worker-0 … -3 (4)\n" \
	"    main → work → lock_wait\n" \
	"40.3 % of the blocked time has no stack\n" \
	"\n" \
	"recording        10 switches = the kernel's count for all 5 tasks\n" \
	"                 running time, time ready agree too\n" \
	"                 nothing lost · mpvtrace used 2 ms of CPU (2.4 % of one)\n" \
	"                 N KB in app.mpv for 33 events\n" \
	"next             mpvtrace export app.mpv --view off-cpu -o off-cpu.svg\n"

#define GOLDEN_100 \
	"/usr/bin/app --threads 4 · 84 ms on 2 CPUs · threaded: 5 threads in 1 process · exit 3\n" \
	"\n" \
	"parallelism      0.99 of 2 CPUs on average\n" \
	"                 ─▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒█\n" \
	"                 ─ none running 2.4 % · ▒ 1 running 96.4 % · █ 2 running 1.2 %\n" \
	"\n" \
	"futexes          waits  total wait    p50    p99  longest  waiters\n" \
	"at lock_wait         4      120 ms  30 ms  30 ms    30 ms  worker-0 … -3 (4)\n" \
	"\n" \
	"time of tasks    350 ms over 5 tasks · running 23.7 % · ready, no CPU free 18.9 %\n" \
	"                 blocked 57.4 %: futex 34.3 %, join 23.1 %\n" \
	"tasks     running  ready  blocked  (futex   join)  switches  futex waits  faults  major  first touch\n" \
	"worker-0    20 ms   1 ms    30 ms   30 ms      0          2            1     100      0       256 KB\n" \
	"worker-1    20 ms  11 ms    30 ms   30 ms      0          2            1     101      0       256 KB\n" \
	"worker-2    20 ms  22 ms    30 ms   30 ms      0          2            1     102      0       256 KB\n" \
	"worker-3    20 ms  32 ms    30 ms   30 ms      0          2            1     103      0       256 KB\n" \
	"app          3 ms      0    81 ms       0  81 ms          2            1   2,000      3         2 MB\n" \
	"\n" \
	"memory           peak RSS 40 MB · PSS 30 MB · private 28 MB · shared 12 MB · first touch 3 MB\n" \
	"                 CoW copies 72 KB\n" \
	"\n" \
	"off-CPU stacks   of 201 ms blocked\n" \
	"  120 ms   59.7 %  futex    worker-0 … -3 (4)\n" \
	"    main → work → lock_wait\n" \
	"40.3 % of the blocked time has no stack\n" \
	"\n" \
	"recording        10 switches = the kernel's count for all 5 tasks\n" \
	"                 running time, time ready agree too\n" \
	"                 nothing lost · mpvtrace used 2 ms of CPU (2.4 % of one)\n" \
	"                 N KB in app.mpv for 33 events\n" \
	"next             mpvtrace export app.mpv --view off-cpu -o off-cpu.svg\n"

#define GOLDEN_200 \
	"/usr/bin/app --threads 4 · 84 ms on 2 CPUs · threaded: 5 threads in 1 process · exit 3\n" \
	"\n" \
	"parallelism      0.99 of 2 CPUs on average\n" \
	"                 ─▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒█\n" \
	"                 ─ none running 2.4 % · ▒ 1 running 96.4 % · █ 2 running 1.2 %\n" \
	"\n" \
	"futexes          waits  total wait    p50    p99  longest  waiters\n" \
	"at lock_wait         4      120 ms  30 ms  30 ms    30 ms  worker-0 … -3 (4)\n" \
	"\n" \
	"time of tasks    350 ms over 5 tasks · running 23.7 % · ready, no CPU free 18.9 % · blocked 57.4 %: futex 34.3 %, join 23.1 %\n" \
	"tasks            running  ready  blocked  (futex   join)  switches  futex waits  faults  major  first touch\n" \
	"worker-0           20 ms   1 ms    30 ms   30 ms      0          2            1     100      0       256 KB\n" \
	"worker-1           20 ms  11 ms    30 ms   30 ms      0          2            1     101      0       256 KB\n" \
	"worker-2           20 ms  22 ms    30 ms   30 ms      0          2            1     102      0       256 KB\n" \
	"worker-3           20 ms  32 ms    30 ms   30 ms      0          2            1     103      0       256 KB\n" \
	"app                 3 ms      0    81 ms       0  81 ms          2            1   2,000      3         2 MB\n" \
	"\n" \
	"memory           peak RSS 40 MB · PSS 30 MB · private 28 MB · shared 12 MB · first touch 3 MB · CoW copies 72 KB\n" \
	"\n" \
	"off-CPU stacks   of 201 ms blocked\n" \
	"  120 ms   59.7 %  futex    worker-0 … -3 (4)\n" \
	"    main → work → lock_wait\n" \
	"40.3 % of the blocked time has no stack\n" \
	"\n" \
	"recording        10 switches = the kernel's count for all 5 tasks · running time, time ready agree too\n" \
	"                 nothing lost · mpvtrace used 2 ms of CPU (2.4 % of one) · N KB in app.mpv for 33 events\n" \
	"next             mpvtrace export app.mpv --view off-cpu -o off-cpu.svg\n"

/* clang-format on */

#endif
