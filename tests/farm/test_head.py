"""A head that does not answer any more is noticed, one that comes back is not lost, and nobody waits for ever."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from farm.head import HeadWatch

from ..waiting import wait_for

BLOCKED = """
import sys, time
from farm.head import HeadWatch
HeadWatch(sys.argv[1], lambda limit_s: True, lost_s=0.4, at_once_s=0.8)
time.sleep(60)
"""


def listen(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_a_head_that_is_silent_is_lost_until_it_answers() -> None:
    with listen() as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        watch = HeadWatch(address, lambda _: True, lost_s=0.4, at_once_s=60)
        time.sleep(0.6)
        assert not watch.is_lost
    wait_for(lambda: watch.is_lost, "it is lost", 20, 0.01)
    assert address in str(watch.error())
    with listen(int(address.rpartition(":")[2])):
        wait_for(lambda: not watch.is_lost, "it is back", 20, 0.01)
        watch.stop()


def test_a_head_that_takes_connections_and_answers_no_call_is_lost_until_it_does() -> None:
    answer = [False]
    with listen() as server:
        watch = HeadWatch(
            f"127.0.0.1:{server.getsockname()[1]}", lambda limit_s: limit_s > 0 and answer[0], lost_s=0.4, at_once_s=60
        )
        wait_for(lambda: watch.is_lost, "it is lost", 20, 0.01)
        answer[0] = True
        wait_for(lambda: not watch.is_lost, "it is back", 20, 0.01)
        watch.stop()


def test_who_waits_for_a_lost_head_is_ended_and_says_so() -> None:
    with listen() as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", BLOCKED, address], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 75
    assert "run the same command again" in ended.stderr
    assert time.monotonic() - began < 30
