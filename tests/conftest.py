"""What all tests share: what this machine's processor cannot do is a reason to skip, said once for each test."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from sr_kernel.hardware import cpu_runs_bf16

_NO_BF16 = ("bf16 path needs the cpu support", "torch has no bf16 on this")
"""what torch says of a convolution, and what we say before"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skips tests in bf16 on processors for which torch has none; anywhere else its refusal is a failure."""
    try:
        yield
    except Exception as error:
        if not cpu_runs_bf16() and any(sign in str(error) for sign in _NO_BF16):
            pytest.skip("torch has no bf16 on this processor")
        raise
