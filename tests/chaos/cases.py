"""What is run while something fails, where its outputs go, and what must be true of them afterwards."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import re
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq

from farm import failpoints

from ..runs import IDENTITY
from ..s3_server import BUCKET, S3Server
from .zygote import Ran, Zygote

RESULTS = "results.parquet"
SENTENCE = re.compile(r"^(farm: |  )\S.*: .+; .+$", re.M)
NEVER = sys.maxsize
NOTE = re.compile(r"\.farm/runs/\d{8}T\d{6}Z-[0-9a-f]{8}\.json")
"""every run leaves one, for people to look back"""
LEASE_S = 6
"""of the lock of a store"""
BUSY = 75
ENDED = (69, 74)
"""by an exception: a store or cluster that does not answer, an error of a disk"""
STEP_S = "3"
"""after which a worker that has not answered is taken for hung"""


class Place(ABC):
    """An output root that may be looked at without the code under test."""

    root: str
    environment: Mapping[str, str]

    @abstractmethod
    def contents(self) -> dict[str, bytes]:
        """All files or objects, by name below the root."""

    @abstractmethod
    def check_free(self) -> None:
        """Nobody holds the lock, no upload is open."""

    def outputs(self) -> dict[str, str]:
        """Digests of what is there for people, but of the results."""
        shown = {name: data for name, data in self.contents().items() if not name.startswith(".farm/")}
        return {name: hashlib.sha256(data).hexdigest() for name, data in shown.items() if name != RESULTS}

    def kept(self) -> set[str]:
        """Names of what the farm keeps for itself, but the lock, see check_free(), and whole notes of runs."""
        own = {name: data for name, data in self.contents().items() if name.startswith(".farm/")}
        notes = {name for name in own if NOTE.fullmatch(name) and json.loads(own[name])}
        return {name for name in own.keys() - notes if not name.startswith(".farm/lock")}

    def staged(self) -> set[str]:
        """Names of what waits to be published."""
        return {name for name in self.kept() if name.startswith(".farm/tmp/")}

    def identity(self) -> list[tuple[object, ...]]:
        """What must be equal after any disturbance, wherever the root lies."""
        found = []
        for row in pq.read_table(io.BytesIO(self.contents()[RESULTS])).to_pylist():
            for name in ("source", "output"):
                row[name] = str(row[name]).removeprefix(self.root)
            found.append(tuple(row[name] for name in IDENTITY))
        return sorted(found, key=repr)


class Disk(Place):
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder)
        self.environment = {}
        self._folder = folder

    def contents(self) -> dict[str, bytes]:
        found = (path for path in self._folder.rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): path.read_bytes() for path in found}

    def check_free(self) -> None:
        with (self._folder / ".farm" / "lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Bucket(Place):
    """A prefix on a real S3 server, which is reached by another way where one is given."""

    def __init__(self, server: S3Server, endpoint: str = "") -> None:
        self.root = f"{server.new_prefix()}/out"
        way = {"FARM_S3_ENDPOINT_URL": endpoint or server.endpoint}
        self.environment = {**server.environment, **way, "FARM_LOCK_LEASE_S": str(LEASE_S)}
        self._server = server

    def contents(self) -> dict[str, bytes]:
        client, prefix = self._server.client(), self.root.split("/", 3)[3] + "/"
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def check_free(self) -> None:
        assert self._server.open_uploads(self.root) == []


@dataclass(frozen=True, kw_only=True)
class Work:
    """One command, and what comes of it undisturbed on one kind of place."""

    zygote: Zygote
    scratch: Path
    args: tuple[str | Path, ...]
    """without --out"""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """digests by name"""
    identity: tuple[tuple[object, ...], ...] = ()
    kept: frozenset[str] = frozenset()
    """names of what the farm keeps for itself"""
    hits: Mapping[str, int] = field(default_factory=dict)
    """by point: how often it is hit"""

    def run(self, place: Place, rules: str = "", *, limit_s: float = 60.0, scratch: Path | None = None) -> Ran:
        """The command; `scratch`: another folder than our own."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        own = {
            "TMPDIR": str(self.scratch),
            "FARM_SCRATCH_DIR": str(scratch or ""),
            "FARM_STEP_LIMIT_S": STEP_S if "=hang" in rules else "",
        }
        until_s = time.monotonic() + 3 * LEASE_S
        while True:
            ran = self.zygote.run(
                *(*self.args, "--out", place.root), rules=rules, env={**place.environment, **own}, limit_s=limit_s
            )
            if ran.code != BUSY or isinstance(place, Disk) or time.monotonic() > until_s:
                return ran
            time.sleep(0.5)  # whoever was killed holds a lease on a store, until it is over

    def check_left(self, place: Place, ran: Ran, before: Set[str] | None = None) -> None:
        """After a disturbed run: all is done, or its end is explained; and every output that is there is right.

        `before`: what was staged when it began, by one that was killed: who ends before it has the lock leaves that.
        None: nothing is asked of staging, for the place may have failed to the end.
        """
        wrong = place.outputs().items() - self.outputs.items()
        assert not wrong, f"partial, wrong or unknown: {sorted(wrong)}"
        assert "Traceback" not in ran.said, ran.said
        assert "defect" not in ran.said, ran.said
        if ran.code in ENDED and before is not None:
            staged = sorted(place.staged() - before)
            assert not staged, f"left in the way of who frees space: {staged}"
        if ran.code == 0:
            self.check_finished(place)
        elif 0 < ran.code < 128:
            assert SENTENCE.search(ran.said), ran.said

    def check_finished(self, place: Place) -> None:
        """All outputs are there, and nothing else but what every run keeps."""
        wrong = place.outputs().items() ^ self.outputs.items()
        assert not wrong, f"lost or wrong: {sorted(wrong)}"
        said = set(place.identity()) ^ set(self.identity)
        assert not said, f"results say otherwise: {sorted(said, key=repr)}"
        left = place.kept() ^ self.kept
        assert not left, f"left behind, or not there any more: {sorted(left)}"
        scratch = sorted(self.scratch.iterdir())
        assert not scratch, f"left in scratch: {scratch}"
        place.check_free()

    def check_rerun(self, place: Place) -> None:
        """The same command, undisturbed, finishes all, and leaves nothing of what was before."""
        again = self.run(place)
        assert again.code == 0, again.said
        self.check_finished(place)


def undisturbed(work: Work, place: Place) -> Work:
    """What comes of a command on that kind of place, and how often its points are hit there."""
    ran = work.run(place, ";".join(f"{point}=EIO@{NEVER}" for point in failpoints.POINTS))
    assert ran.code == 0, ran.said
    return replace(
        work,
        outputs=place.outputs(),
        identity=tuple(place.identity()),
        kept=frozenset(place.kept()),
        hits=dict(zip(failpoints.POINTS, ran.counted, strict=True)),
    )
