"""Classes of bad pictures do not depend on what other threads say: libvips keeps one list of complaints for all."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from farm.errors import ItemError
from farm.media import load
from farm.media.decode import read_header
from farm.media.picture import ReadLimits
from tests.corpus.case import DONE, Case
from tests.corpus.jpeg import jpegs

THREADS, ROUNDS = 8, 6


def ended(case: Case) -> str:
    try:
        read_header(case.data, case.name, ReadLimits())
    except ItemError as error:
        return f"{error.kind.value} {error.found}"
    return DONE


def test_each_of_many_threads_is_told_of_its_own_file() -> None:
    """Files that are refused when they are opened, each as when it is opened alone, words included."""
    cases = [case for case in jpegs(7) if not case.header_only and ended(case) != DONE]
    alone = {case.name: ended(case) for case in cases}
    assert {words.partition(" ")[0] for words in alone.values()} >= {"corrupt", "unsupported", "truncated"}
    assert not [words for words in alone.values() if words.endswith("()")]
    work = [case for at in range(ROUNDS) for case in (*cases[at:], *cases[:at])]
    with ThreadPoolExecutor(THREADS) as pool:
        together = pool.map(ended, work)
        wrong = {f"{case.name}: {said}" for case, said in zip(work, together, strict=True) if said != alone[case.name]}
    assert not wrong


def test_a_process_that_is_forked_while_a_thread_tries_again_opens_pictures() -> None:
    """As workers of a loader of training data are."""
    (bad, *_) = (case for case in jpegs(7) if ended(case).startswith("corrupt"))
    trying = threading.Event()

    def tries_again() -> None:
        with load._RETRYING:
            trying.set()
            time.sleep(0.3)

    thread = threading.Thread(target=tries_again)
    thread.start()
    trying.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends it where it would wait for ever
        os._exit(0 if ended(bad).startswith("corrupt") else 1)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
