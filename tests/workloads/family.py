# SPDX-License-Identifier: MIT
"""family.py: a parent with 64 MB, three forked children that write 0, 8 and 32 MB of it, all of which
then stay as they are for --hold seconds.

Truth: "family": moment (begin, end: in between nothing changes), mono_ns, pss_kb, uss_kb, rss_kb: of all four
together, as smaps_rollup of each says.
"""
import os
import time

import truth


def kb(pid, *names):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        fields = dict(line.split(":") for line in f.read().splitlines()[1:])
    return sum(int(fields[n].split()[0]) for n in names)


def look(pids, moment):
    before = time.monotonic_ns()
    sums = [sum(kb(p, *names) for p in pids)
            for names in (["Pss"], ["Private_Clean", "Private_Dirty"], ["Rss"])]
    after = time.monotonic_ns()
    truth.line(t="family", moment=moment, mono_ns=after if moment == "begin" else before, pss_kb=sums[0],
               uss_kb=sums[1], rss_kb=sums[2])


def touch(memory, mb):
    for at in range(0, mb << 20, 4096):
        memory[at] = 1


def main():
    p = truth.parser(__doc__)
    p.add_argument("--hold", type=float, default=2)
    args = p.parse_args()
    truth.open_file(args.truth)
    memory = bytearray(64 << 20)
    touch(memory, 64)
    time.sleep(0.2)  # read once before it forks
    read, write = os.pipe()
    stop, go_on = os.pipe()
    children = []
    for mb in (0, 8, 32):
        child = os.fork()
        if not child:
            os.close(go_on)
            touch(memory, mb)
            os.write(write, b"x")
            os.read(stop, 1)
            os._exit(0)
        children.append(child)
    for _ in children:
        os.read(read, 1)
    pids = [os.getpid()] + children
    look(pids, "warm-up")
    look(pids, "begin")
    time.sleep(args.hold)
    look(pids, "end")
    os.close(go_on)
    for c in children:
        os.waitpid(c, 0)


main()
