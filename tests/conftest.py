"""Options of the tests, and what runs beside what where several processes test at once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A busy machine is no failure.
hypothesis.settings.register_profile("farm", deadline=None)
hypothesis.settings.load_profile("farm")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--trials", type=int, default=0, help="disturbances of each test of tests/chaos; 0: a short form")
    parser.addoption("--record", metavar="FILE", help="append what tests/chaos did, as JSON lines")
    parser.addoption("--seed", type=int, default=secrets.randbelow(10**6), help="of what tests/chaos draws at random")


def pytest_report_header(config: pytest.Config) -> str:
    """Whoever sees a failure can draw the same again."""
    return f"chaos: --trials {config.getoption('--trials')} --seed {config.getoption('--seed')}"


def pytest_runtest_teardown() -> None:
    """No test that calls PyAV itself leaves real-time priority to later ones and to all that they start."""
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        from farm.media.video.write.priority import ordinary_priority

        with ordinary_priority():
            pass


FIRST: Sequence[str] = (
    "farm/test_storage.py",  # and with it all that asks the S3 server
    "farm/test_upscale_image.py",
    "sr_kernel/test_foreign.py",
    "farm/media/test_video_join.py",
    "farm/test_faces.py",
    "test_docs.py",
    "farm/test_upscale_video.py",
    "farm/test_shards.py",
    "sr_kernel/test_faces.py",
    "sr_kernel/test_golden.py",
    "sr_kernel/degrade/test_pipeline.py",
    "farm/media/test_video_encode.py",
    "farm/media/test_video_tags.py",
    "e2e/test_object_store.py",
    "chaos/test_failpoints.py",
    "e2e/test_faces.py",
    "chaos/test_nodes.py",
    "chaos/test_kills.py",
    "chaos/test_corpus.py",
    "e2e/test_metrics.py",
    "e2e/test_sharing.py",
    "e2e/test_documents.py",
    "e2e/test_submit.py",
    "e2e/test_training_watched.py",
    "e2e/test_training.py",
    "e2e/test_degrade.py",
    "e2e/test_detached.py",
    "e2e/test_serve.py",
    "e2e/test_sample_run.py",
    "e2e/test_video.py",
    "e2e/test_commands.py",
    "e2e/test_video_options.py",
    "e2e/test_video_real.py",
)
"""files that take long, the longest first: whoever ended with one of them would leave the other processes idle"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places = {config.rootpath / "tests" / name: place for place, name in enumerate(FIRST)}
    gone = [str(path) for path in places if not path.exists()]
    assert not gone, f"conftest: FIRST: names files that are not there: {gone}"
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """A file's tests share their fixtures and so a process; those of the S3 server, which some of them disturb, too.

    Groups of pytest-xdist would say this by marks, but 3.8 loses them under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "s3" if _wants_s3(config.rootpath / file) else file

    config.option.loadscopereorder = False  # the order is ours; a file of few tests may take the longest
    return ByFile(config, log)


@lru_cache
def _wants_s3(file: Path) -> bool:
    text = file.read_text("utf-8")
    return any(sign in text for sign in ("mark.s3", "s3_server", "stores import"))
