#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the hooks cost a program while they record, to half a percent: in one recording they are
switched on and off many times a second, as a machine's speed drifts more within the seconds that
attaching takes than recording costs. Off, they return at once; what that costs is not seen here, nor
is the recorder's work that goes on. For bench.py."""
import ctypes
import json
import math
import mmap
import platform
import random
import re
import statistics
import struct
import subprocess
import time

SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_MAP_GET_FD_BY_ID = 14


def of_bpftool(*argv):
    return subprocess.run(["bpftool", *argv], check=True, stdout=subprocess.PIPE).stdout.decode()


class Phase:
    """The variable by which the recorder tells its hooks to record: of the recording begun last, as
    what one had that is over may be there for a while."""

    def __init__(self):
        maps = [m for m in json.loads(of_bpftool("-j", "map", "show"))
                if m.get("name") == "mpvtrace.bss"]
        if not maps:
            raise RuntimeError("nothing is recorded")
        last = max(maps, key=lambda m: m["id"])
        libc = ctypes.CDLL(None, use_errno=True)
        attr = ctypes.create_string_buffer(struct.pack("I", last["id"]), 128)
        fd = libc.syscall(SYS_BPF[platform.machine()], BPF_MAP_GET_FD_BY_ID, attr, 128)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "bpf")
        pages = -(-last["bytes_value"] // mmap.PAGESIZE)
        self.memory = mmap.mmap(fd, pages * mmap.PAGESIZE)
        self.offset = self.find(last["btf_id"])
        self.on = struct.unpack_from("I", self.memory, self.offset)[0]

    @staticmethod
    def find(btf_id):
        names = {}
        for line in of_bpftool("btf", "dump", "id", str(btf_id)).splitlines():
            m = re.match(r"\[(\d+)\] VAR '(\w+)'", line)
            if m:
                names[m[1]] = m[2]
            m = re.match(r"\s+type_id=(\d+) offset=(\d+)", line)
            if m and names.get(m[1]) == "phase":
                return int(m[2])
        raise RuntimeError("no variable phase")

    def set(self, on):
        struct.pack_into("I", self.memory, self.offset, self.on if on else 0)


def windows(pairs, seconds, now=time.time):
    """[(on, now() at the begin, at the end)] by twos; which comes first is left to chance."""
    phase, said = Phase(), []
    try:
        for _ in range(pairs):
            first = random.random() < 0.5
            for on in (first, not first):
                phase.set(on)
                begin = now()
                time.sleep(seconds)
                said.append((on, begin, now()))
    finally:
        phase.set(True)
    return said


def ratios(said, rate):
    """Sorted: of each two, rate(begin, end) off over that on. Where the machine stood still there is
    none."""
    found = []
    for a, b in zip(said[::2], said[1::2]):
        off, on = (rate(*w[1:]) for w in sorted((a, b), key=lambda w: w[0]))
        if off and on:
            found.append(off / on)
    return sorted(found)


def mean(found):
    """The geometric one, as of two equal and noisy rates the other is above 1; without the outermost
    tenths. And its standard error."""
    cut = len(found) // 10
    kept = [math.log(r) for r in found[cut:len(found) - cut]]
    return math.exp(statistics.mean(kept)), statistics.stdev(kept) / math.sqrt(len(kept))
