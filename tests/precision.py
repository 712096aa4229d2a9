"""Half precision in tests: computed where torch has it on this processor, full precision in its place elsewhere."""

from __future__ import annotations

from typing import Literal

import pytest

from sr_kernel.hardware import cpu_runs_bf16

Precision = Literal["fp32", "bf16"]
HALF: Precision = "bf16" if cpu_runs_bf16() else "fp32"
"""for tests whose matter is another: what they say must hold in both"""
PRECISIONS: tuple[Precision, ...] = tuple(dict.fromkeys(("fp32", HALF)))
"""those that can be computed here"""
needs_bf16 = pytest.mark.skipif(not cpu_runs_bf16(), reason="x86 without AVX-512: torch has no bf16 here")
"""for the few tests that are about half precision itself"""
