"""A store that answers badly, late or not at all (R7, R8): whole runs to a real server, by a way not to be trusted.

With --trials N: N runs, each with troubles that are drawn: answers of an overloaded or broken server, connections that
end in the middle of a request or of an answer, which may have been carried out; a server that takes two requests at
once, that hangs for some seconds, or that is full. Each is followed by the same command, undisturbed.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..faulty_proxy import FaultyProxy
from ..s3_server import S3Server, control
from .cases import Bucket, Work
from .record import Note

pytestmark = pytest.mark.s3
SHORT = ("way", "full")
CALLS = ("*", "put", "get", "head", "list", "delete")
STATUSES = {500: "InternalError", 502: "BadGateway", 503: "SlowDown", 504: "GatewayTimeout"}
RESETS = ("request", "answer", "body")
MOST_TIMES = 6
"""one fault happens on end; what is asked again is asked five times"""
PAUSE_S = (1.0, 12.0)
SERVER = ("throttled", "hung", "full")
ENDS = (0, 3, 69, 74)
STORM = 12
"""times as many requests as undisturbed, at most"""


def spoil(proxy: FaultyProxy, chance: random.Random) -> Counter[str]:
    """Put some faults on the way; what they are."""
    put: Counter[str] = Counter()
    for _ in range(chance.randint(1, 4)):
        what, times, delay_s = chance.choice(CALLS), chance.randint(1, MOST_TIMES), chance.choice((0.0, 0.0, 0.3))
        if chance.random() < 0.5:
            status = chance.choice(list(STATUSES))
            proxy.inject(what=what, times=times, status=status, code=STATUSES[status], delay_s=delay_s)
            put[str(status)] += 1
        else:
            reset = chance.choice(RESETS)
            proxy.inject(what=what, times=times, reset=reset, delay_s=delay_s)
            put[f"reset {reset}"] += 1
    return put


@contextmanager
def troubled(trouble: str, chance: random.Random) -> Iterator[None]:
    """The server itself."""
    timers: list[threading.Timer] = []
    try:
        if trouble == "throttled":
            control("limit", "2")
        elif trouble == "full":
            control("quota", str(chance.randint(1, 2)))
        elif trouble == "hung":
            begin_s = chance.uniform(0, 1)
            timers = [
                threading.Timer(begin_s, control, ["pause"]),
                threading.Timer(begin_s + chance.uniform(*PAUSE_S), control, ["resume"]),
            ]
            for timer in timers:
                timer.start()
        yield
    finally:
        for timer in timers:
            timer.join()
        control("resume")
        control("limit", "0")
        control("quota", "0")


def requests_undisturbed(work: Work, server: S3Server, proxy: FaultyProxy) -> int:
    place = Bucket(server, proxy.url)
    assert work.run(place).code == 0
    return proxy.count()


def test_whatever_a_store_does_nothing_is_lost_and_it_is_not_stormed(
    stored_works: dict[str, Work],
    server: S3Server,
    proxy: FaultyProxy,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    usual = {kind: requests_undisturbed(work, server, proxy) for kind, work in stored_works.items()}
    met: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    most = 0.0
    for at in range(trials or len(SHORT)):
        kind = chance.choice(list(stored_works))
        work, place = stored_works[kind], Bucket(server, proxy.url)
        trouble = chance.choice((*SERVER, *["way"] * len(SERVER))) if trials else SHORT[at]
        proxy.clear()
        put = spoil(proxy, chance) if trouble == "way" else Counter({trouble: 1})
        with troubled(trouble, chance):
            ran = work.run(place, limit_s=240)
        told = f"run {at} of {kind}, {dict(put)}, ended with {ran.code} after {ran.seconds:.1f} s: {ran.said}"
        assert ran.code in ENDS, told
        work.check_left(place, ran)
        assert proxy.count() < STORM * usual[kind], f"{proxy.count()} requests; {told}"
        most = max(most, proxy.count() / usual[kind])
        proxy.clear()
        work.check_rerun(place)
        met += put
        codes[ran.code] += 1
    note(runs=trials or len(SHORT), met=dict(met), codes=dict(codes), most_requests=round(most, 1))
