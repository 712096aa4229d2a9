"""Classes of bad pictures do not depend on what other threads say: libvips keeps one list of complaints for all."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from farm.errors import ItemError
from farm.media.decode import decode, read_header
from farm.media.gate import GATE
from farm.media.picture import ReadLimits
from tests.corpus.case import DONE, Case
from tests.corpus.jpeg import jpeg_kinds, jpegs

THREADS, ROUNDS = 8, 6


def ended(case: Case) -> str:
    """`done`, or the class of the error."""
    try:
        decode(case.data, case.name, ReadLimits())
    except ItemError as error:
        return error.kind.value
    return DONE


def test_each_of_many_threads_is_told_of_its_own_file() -> None:
    """Files that are refused when they are opened or decoded, each in the class that it gets alone."""
    cases = [case for case in jpegs(7) if not case.header_only and ended(case) != DONE]
    alone = {case.name: ended(case) for case in cases}
    assert set(alone.values()) >= {"corrupt", "unsupported", "truncated"}
    work = [case for at in range(ROUNDS) for case in (*cases[at:], *cases[:at])]
    with ThreadPoolExecutor(THREADS) as pool:
        together = pool.map(ended, work)
        wrong = {(case.name, end) for case, end in zip(work, together, strict=True) if end != alone[case.name]}
    assert not wrong


def test_a_process_that_is_forked_while_a_thread_is_alone_opens_pictures() -> None:
    """As workers of a loader of training data are."""
    good = next(jpeg_kinds(7)).data
    inside = threading.Event()

    def is_alone() -> None:
        with GATE.alone():
            inside.set()
            time.sleep(0.3)

    thread = threading.Thread(target=is_alone)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # ends it where it would wait for ever
        os._exit(0 if read_header(good, "good.jpg", ReadLimits()).width else 1)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
