from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from farm.signals import stopped_by_signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_handlers_are_given_back(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    asked: list[bool] = []
    with stopped_by_signals(lambda: asked.append(True)) as received:
        os.kill(os.getpid(), signum)
        assert asked == [True]
        assert received.signum == signum
    assert signal.getsignal(signum) is before


def test_the_second_signal_ends_the_process_at_once() -> None:
    program = """
import os, signal
from farm.signals import stopped_by_signals
with stopped_by_signals(lambda: None):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 143
    assert ended.stdout == ""


def test_a_run_in_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def run() -> None:
        with stopped_by_signals(lambda: None) as received:
            received.arm()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
