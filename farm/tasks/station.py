"""What the tasks of one worker share: the lane with its resident model, memory, the output root, sources, clocks.

Made once in the actor process. One lane means that exactly one thread calls torch, whatever mix of tasks a worker gets.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

import torch

from farm import __version__, lock, plan, storage, target
from farm.errors import BusyError, DiskError, ErrorKind, FarmError, ItemError, SuspectError
from farm.media import image
from farm.params import params_hash
from farm.records import Done, FileStat, Part, StageSeconds, WorkItem
from farm.tasks.base import WorkerContext
from farm.tasks.faces import Faces
from farm.tasks.lane import Lane
from farm.tasks.memory import MemoryBudget, budget_of
from farm.tasks.resident import ModelLoader, ResidentModels
from farm.tasks.restore import Restorer
from sr_kernel.fidelity import PixelStats, is_black
from sr_kernel.passes import Passes

_WHOLE_FILE_BYTES = 256 << 20
"""sources up to this size are read at once; larger ones are read while they are decoded"""
_PIECE_SUFFIX = "piece"
NO_PIXELS = PixelStats()


class Station:
    """One per worker. `budget`: of its pictures' memory, where that changes."""

    def __init__(self, context: WorkerContext, budget: MemoryBudget | None = None) -> None:
        self.context = context
        self.node = socket.gethostname()
        self.root = storage.OutputRoot(url=context.out, attempt=context.run)
        self.passes = Passes()
        self.budget = budget or budget_of(context.memory_bytes)
        self.resident = ResidentModels(context, ModelLoader(context, self.passes), self.budget)
        self.lane = Lane(self.resident.get)
        if context.device == "cpu":  # torch may have been loaded before anybody could set OMP_NUM_THREADS
            self.lane.call(partial(torch.set_num_threads, 1))
        self.restorer = Restorer(self.lane)
        self.faces = Faces(self.lane, context)
        with suppress(FarmError):  # the first request says it again, and of which item
            storage.warm_up(context.out)

    @property
    def name(self) -> str:
        """Of the worker."""
        return self.context.name

    def stop(self) -> None:
        """Stop at the next forward pass; whoever waits gets LaneStopped."""
        self.lane.stop()

    @contextmanager
    def held(self, item: WorkItem, wanted_bytes: int, advice: str) -> Generator[None]:
        """Wait for memory and keep it. Raises ItemError (out_of_memory) for more than a CPU worker has."""
        most_bytes = self.budget.total_bytes
        if self.context.device == "cpu" and wanted_bytes > most_bytes:
            found = f"needs about {wanted_bytes / 2**30:.1f} GiB, this worker may use {most_bytes / 2**30:.1f}"
            raise ItemError(ErrorKind.OUT_OF_MEMORY, item.row.source_url, found, advice)
        with self.budget.hold(wanted_bytes):
            yield

    @contextmanager
    def source(self, item: WorkItem, clock: Clock, *, version: str = "") -> Generator[Source]:
        """The source, checked against the version that was planned, and against the `version` that the item's first
        part saw where there was one."""
        url = item.row.source_url
        if storage.is_remote(url) and (found := self._small_object(item, clock, version)) is not None:
            yield found
            return
        with self.settled(item, storage.stat, clock, version=version) as settled:
            if settled.bytes <= _WHOLE_FILE_BYTES:
                with clock.stage("read"), reading(url):
                    data = storage.read_bytes(url)
                    if item.row.sha256 is not None:
                        check_digest(item, hashlib.sha256(data).hexdigest())
                yield Source(data=data, version=settled.version)
                return
            if item.row.sha256 is not None and not version:  # later parts compare with what this one sees
                with clock.stage("read"), reading(url):
                    check_digest(item, storage.sha256_of(url))
            with storage.open_read(url) as file:
                yield Source(data=file, version=settled.version)

    def _small_object(self, item: WorkItem, clock: Clock, version: str) -> Source | None:
        """A whole object by one request, all of one version: it may be replaced afterwards. None for a large one."""
        url = item.row.source_url
        with clock.stage("read"), reading(url):
            found, data = storage.read_small(url, _WHOLE_FILE_BYTES)
        check_version(item, found, version)
        if data is None:
            return None
        clock.source_bytes += len(data)
        if item.row.sha256 is not None:
            check_digest(item, hashlib.sha256(data).hexdigest())
        return Source(data=data, version=found.version)

    @contextmanager
    def settled(
        self, item: WorkItem, stat: Callable[[str], FileStat], clock: Clock, *, version: str = ""
    ) -> Generator[Settled]:
        """Checks, before and after the block, that the source is the one that was planned.

        `stat` tells the source's version; `version` is what it was when the item's first part saw it.
        """
        url = item.row.source_url
        with clock.stage("read"), reading(url):
            before = stat(url)
        check_version(item, before, version)
        clock.source_bytes += before.bytes
        settled = Settled(item=item, stat=stat, version=before.version, bytes=before.bytes)
        yield settled
        settled.check()

    def check_believable(self, stats: PixelStats, item: WorkItem, what: str = "the restored picture") -> None:
        """Raises ItemError (suspect_output) for an output that is black where its source is not."""
        if is_black(stats):
            raise ItemError(
                ErrorKind.SUSPECT_OUTPUT,
                item.row.source_url,
                f"{what} is black where the source is not",
                "try --precision fp32, and check the model's weights",
            )

    def judged(self, found: Mapping[str, float], item: WorkItem, what: str = "the restored picture") -> str:
        """Names of `found`, the figures of an output that are beyond belief, with spaces between.

        Raises SuspectError where there are some and the run wants such outputs refused.
        """
        suspect = " ".join(found)
        if found and item.upscale.suspect == "refuse":
            told = ", ".join(f"{name} {figure:g}" for name, figure in found.items())
            raise SuspectError(
                ErrorKind.SUSPECT_OUTPUT,
                item.row.source_url,
                f"{what} is not believable ({told})",
                "--suspect publish shows it, docs/fidelity.md says what the figures are",
                suspect,
            )
        return suspect

    def publish(self, url: str, data: bytes, *, key: str) -> storage.Published:
        """Make `data` the content of `url` in one step; `key` is its item or part. Raises BusyError for an orphan."""
        self.check_alive()
        return self.root.publish(url, data, key=key)

    def check_alive(self) -> None:
        """An orphan must not publish: actors were seen writing for seconds after their driver had been killed.

        On a store as it was some seconds ago; a disk's lock is seen on the driver's host alone. Raises BusyError.
        """
        context = self.context
        is_seen = storage.is_remote(context.out) or context.driver_host == self.node
        if is_seen and not lock.holds(context.out, context.run):
            raise BusyError(f"run {context.run} is over; nothing more is published in its name")

    def done(
        self,
        part: Part,
        published: storage.Published,
        clock: Clock,
        *,
        stats: PixelStats = NO_PIXELS,
        mode: str = "exact",
        precision: str = "fp32",
        suspect: str = "",
    ) -> Done:
        """A part of this worker that is published; what else is to be said of it is put in by `replace`."""
        return Done(
            part_id=part.part_id,
            url=published.url,
            sha256=published.sha256,
            bytes=published.bytes,
            width=0,
            height=0,
            source_px=0,
            mode=mode,
            precision=precision,
            stats=stats,
            seconds=clock.seconds,
            node=self.node,
            worker=self.name,
            suspect=suspect,
            source_bytes=clock.source_bytes,
            passes=self.passes.take(),
        )

    def piece_url(self, part: Part) -> str:
        """Where a band or a segment waits for its join."""
        name = f"{part.index:05d}.{_PIECE_SUFFIX}"
        return storage.join(self.context.out, ".farm", "parts", part.item.item_id, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A picture's file while it is worked on."""

    data: image.Source
    """its bytes, or an open file when it is large"""
    version: str
    """`FileStat.version`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A source while it is worked on."""

    item: WorkItem
    stat: Callable[[str], FileStat]
    version: str
    bytes: int

    def check(self) -> None:
        """Raises ItemError (changed_during_read) for a source that is another by now; asked before publishing."""
        url = self.item.row.source_url
        with reading(url):
            if self.stat(url).version != self.version:
                raise changed(self.item, "changed while it was read")


class Clock:
    """Seconds by stage of one part, and how large the sources are that it opened."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.source_bytes = 0

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time what happens inside."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - started_s)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were taken elsewhere."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @property
    def seconds(self) -> StageSeconds:
        """All of them."""
        return StageSeconds(**self._seconds)


@contextmanager
def reading(url: str) -> Generator[None]:
    """A source that cannot be read is the row's misfortune, not the run's."""
    try:
        yield
    except DiskError as error:
        raise ItemError(ErrorKind.STORAGE_ERROR, url, str(error), "check the disk or the store") from error


def stamp_of(item: WorkItem, *, precision: str, mode: str, faces: int | None = None) -> dict[str, str] | None:
    """What an output says of how it was made; None when it is to say nothing.

    `faces`: how many were restored, None where nobody counted. A picture without any says what it would say had nobody
    asked for faces: it is the same file.
    """
    params = item.upscale
    if not params.stamp:
        return None
    beside = {"Fit": params.fit if params.size else "", "MaxSide": params.max_side, "Light": params.light}
    plain = {"MaxSide": 0, "Light": "gamma", "Fit": ""}
    return {
        "Version": __version__,
        "Model": params.model,
        "ModelSHA256": params.model_sha256,
        "Scale": target.asked(params),
        **{name: str(value) for name, value in beside.items() if value != plain[name]},
        "Precision": precision,
        "Mode": mode,
        "Denoise": f"{params.denoise:g}",
        "Resize": params.resize,
        **({"Turns": "8"} if params.tta else {}),
        **({"KeptColour": "true"} if params.keep_colour else {}),
        **_stamped_faces(item, faces),
    }


def _stamped_faces(item: WorkItem, faces: int | None) -> dict[str, str]:
    params = item.upscale
    if params.face is None:
        return {"ParametersHash": item.params_hash}
    if faces == 0:
        return {"ParametersHash": params_hash(replace(params, face=None))}
    counted = {} if faces is None else {"Faces": str(faces)}
    strength = f"{params.face.strength:g}"
    return {"ParametersHash": item.params_hash, **counted, "FaceModel": params.face.model, "FaceStrength": strength}


def changed(item: WorkItem, found: str) -> ItemError:
    """The source is not what it was."""
    return ItemError(ErrorKind.CHANGED_DURING_READ, item.row.source_url, found, "run again when it is settled")


def check_version(item: WorkItem, found: FileStat, version: str) -> None:
    """Raises ItemError where the source is not the one that was planned, or that the item's first part saw.

    Where the manifest gives a sha256 the content decides about the first; see check_digest().
    """
    row = item.row
    if row.sha256 is None and row.etag is not None and found.etag not in (None, row.etag):
        raise changed(item, f"has the etag {found.etag}, the manifest says {row.etag}")
    if row.sha256 is None and plan.source_version(row, found) != item.source_version:
        raise changed(item, "is not the version that was planned")
    if version and found.version != version:
        raise changed(item, "is not the version that its first part saw")


def check_digest(item: WorkItem, found: str) -> None:
    """Raises ItemError when the source's sha256 is not the manifest's."""
    if found != item.row.sha256:
        raise ItemError(
            ErrorKind.CHANGED_DURING_READ,
            item.row.source_url,
            f"sha256 is {found}, the manifest says {item.row.sha256}",
            "copy the source again or correct the manifest",
        )
