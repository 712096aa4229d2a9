"""Threads decode together, or one alone; and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from farm.media import gate
from farm.media.gate import Gate


def test_who_is_alone_is_and_may_go_in_again() -> None:
    made, inside, seen = Gate(), [0], list[int]()
    lock = threading.Lock()

    def work(alone: bool) -> None:
        with made.alone() if alone else made.together():
            with lock:
                inside[0] += 1
            time.sleep(0.002)
            if alone:
                seen.append(inside[0])
                with made.together():
                    assert made.is_alone
            assert made.is_alone is alone
            with lock:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [at % 4 == 0 for at in range(80)]))
    assert seen == [1] * 20
    assert not made.is_alone


def test_who_does_not_leave_is_waited_for_no_longer_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LONGEST_S", 0.1)
    made, entered, ends = Gate(), threading.Event(), threading.Event()

    def stays() -> None:
        with made.together():
            entered.set()
            ends.wait()

    thread = threading.Thread(target=stays)
    thread.start()
    entered.wait()
    with made.alone():
        assert made.is_alone
    ends.set()
    thread.join()
    with made.together():
        pass
