#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The program of `make demo`: counts the words of generated texts by a pool of workers. The
same work by threads (which share one interpreter lock) or by processes (which do not)."""
import argparse
import collections
import concurrent.futures
import random
import re
import time

WORD = re.compile(r"[a-z]+")


def make_text(seed, words):
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choice("abcdefghijklmnop") for _ in range(rng.randint(2, 9)))
                  for _ in range(500)]
    return " ".join(rng.choice(vocabulary) for _ in range(words))


def count_words(job):
    """One job: a text, its words, the most common ones."""
    seed, words = job
    counts = collections.Counter()
    for match in WORD.finditer(make_text(seed, words)):
        word = match.group()
        counts[word] += 1
        if sum(ord(c) for c in word) % 97 == 0:
            counts["*"] += 1
    return counts.most_common(3)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--mode", choices=["threads", "processes"], default="threads")
    p.add_argument("--workers", type=int, default=4)
    p.add_argument("--jobs", type=int, default=24)
    p.add_argument("--words", type=int, default=22000, help="words of one text")
    a = p.parse_args()
    executor = {"threads": concurrent.futures.ThreadPoolExecutor,
                "processes": concurrent.futures.ProcessPoolExecutor}[a.mode]
    start = time.perf_counter()
    with executor(max_workers=a.workers) as pool:
        results = list(pool.map(count_words, [(i, a.words) for i in range(a.jobs)]))
    print("%d texts of %d words by %d %s: %.2f s (most common: %s)" % (
        a.jobs, a.words, a.workers, a.mode, time.perf_counter() - start, results[0][0][0]))


if __name__ == "__main__":
    main()
