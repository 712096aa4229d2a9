"""Freed memory is kept from layer to layer, and its holes are given back when asked."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt and malloc_trim are glibc's")

PROGRAM = """
import psutil
from sr_kernel.hardware import give_back_freed_memory, keep_freed_memory

def resident_mb():
    return psutil.Process().memory_info().rss / 1e6

assert keep_freed_memory()
blocks = [bytearray(b"x") * 1_000_000 for _ in range(300)]
full = resident_mb()
del blocks[::2]
kept = resident_mb()
assert give_back_freed_memory()
print(full - kept, full - resident_mb(), all(block == b"x" * 1_000_000 for block in blocks))
"""


def test_holes_between_blocks_in_use_are_kept_until_they_are_asked_back() -> None:
    made = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, after, whole = made.stdout.split()
    assert float(before) < 5
    assert 140 < float(after) < 160
    assert whole == "True"
