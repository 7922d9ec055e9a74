#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A multiprocessing Pool started by fork. Truth: see pools.py."""
import pools

if __name__ == "__main__":
    pools.main("fork")
