from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from farm.errors import InterruptedRun
from farm.signals import stopped_by_signals

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _not_ignored() -> Iterator[None]:
    """Whatever these tests run under."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signum", ALL)
def test_the_first_signal_asks_and_handlers_are_given_back(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    asked: list[bool] = []
    with stopped_by_signals(lambda: asked.append(True)) as received:
        os.kill(os.getpid(), signum)
        assert asked == [True]
        assert received.signum == signum
    assert signal.getsignal(signum) is before
    assert "signals" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("signum", ALL)
def test_of_two_blocks_the_inner_one_is_asked(signum: signal.Signals) -> None:
    """As of a run in a command."""
    asked: list[str] = []
    with stopped_by_signals(lambda: asked.append("outer")):
        with stopped_by_signals(lambda: asked.append("inner")):
            os.kill(os.getpid(), signum)
        assert asked == ["inner"]
        os.kill(os.getpid(), signum)
    assert asked == ["inner", "outer"]


@pytest.mark.parametrize("signum", ALL)
def test_where_nobody_is_asked_it_ends_the_block(signum: signal.Signals) -> None:
    with pytest.raises(InterruptedRun, match="run the same command again") as stopped:
        interrupt_a_sleeper(signum)
    assert stopped.value.exit_code == 128 + signum


def interrupt_a_sleeper(signum: signal.Signals) -> None:
    with stopped_by_signals():
        try:
            os.kill(os.getpid(), signum)
            time.sleep(5)
        except Exception as error:  # as libraries do
            pytest.fail(f"taken for an error: {error!r}")
    pytest.fail("went on")


def test_what_a_library_makes_of_a_sigterm_is_one() -> None:
    with pytest.raises(InterruptedRun) as stopped:
        exit_in_the_block(signal.SIGTERM)
    assert stopped.value.exit_code == 143
    with pytest.raises(SystemExit):
        exit_in_the_block(2)


def exit_in_the_block(code: int) -> None:
    with stopped_by_signals():
        sys.exit(code)


def ended(body: str) -> subprocess.CompletedProcess[str]:
    program = f"""
import hashlib, os, signal, threading, time
from farm import signals
from farm.signals import stopped_by_signals
signals.STOP_LIMIT_S = 1.0
def kill(*signums):
    for at, signum in signums:
        threading.Timer(at, os.kill, (os.getpid(), signum)).start()
{body}
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_the_second_signal_ends_the_process_at_once() -> None:
    said = ended("""
with stopped_by_signals(lambda: None) as received:
    received.on_end = lambda: print("killed what would be left", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
""")
    assert (said.returncode, said.stdout) == (143, "killed what would be left\n")


@pytest.mark.parametrize("signum", ALL)
def test_a_stop_that_lasts_is_ended(signum: signal.Signals) -> None:
    started = time.monotonic()
    said = ended(f"""
with stopped_by_signals(lambda: None) as received:
    received.on_end = lambda: print("killed what would be left", flush=True)
    kill((0.2, {int(signum)}))
    time.sleep(50)
""")
    assert (said.returncode, said.stdout) == (128 + signum, "killed what would be left\n")
    assert f"stopped by signal {int(signum)}; run the same command again to finish" in said.stderr
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("second", [False, True])
def test_foreign_code_that_never_comes_back_is_ended_too(second: bool) -> None:
    """Handlers of Python wait for the main thread, which is in the middle of a billion rounds of SHA-256."""
    more = f", (0.4, {int(signal.SIGINT)})" if second else ""
    started = time.monotonic()
    said = ended(f"""
with stopped_by_signals():
    kill((0.2, {int(signal.SIGINT)}){more})
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
""")
    assert said.returncode == 130
    assert time.monotonic() - started < 20


def test_what_ends_in_time_is_left_alone() -> None:
    said = ended("""
with stopped_by_signals(lambda: None):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
time.sleep(1.5)
print("done")
""")
    assert (said.returncode, said.stdout) == (0, "done\n")


def test_a_second_hangup_ends_nothing() -> None:
    """A shell that ends sends one, and the kernel another."""
    said = ended("""
with stopped_by_signals(lambda: None):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(3):
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.3)
print("done")
""")
    assert (said.returncode, said.stdout) == (0, "done\n")
    said = ended("""
with stopped_by_signals(lambda: None):
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(5)
""")
    assert said.returncode == 129, "the limit of a stop stays"


def test_who_has_a_handler_of_his_own_for_hangups_keeps_it() -> None:
    """As a service that reads its configuration again."""
    said = ended("""
signal.signal(signal.SIGHUP, lambda *_: print("again"))
with stopped_by_signals(lambda: None):
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(1.5)
print("done")
""")
    assert (said.returncode, said.stdout) == (0, "again\ndone\n")


def test_a_hangup_that_is_ignored_stays_so() -> None:
    said = ended("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with stopped_by_signals(lambda: None):
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(1.5)
print("done", signal.getsignal(signal.SIGHUP).name)
""")
    assert (said.returncode, said.stdout) == (0, "done SIG_IGN\n")


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
