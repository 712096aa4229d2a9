"""What a training leaves under its output root, on a disk or a store: each file in one step, the checkpoint last.

OUT/checkpoints/000005000.ckpt       to go on from       OUT/log/000005000.jsonl        losses up to there
OUT/weights/NAME-000005000.pth ...   to use              OUT/validation/000005000/      pictures
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from farm import storage
from farm.errors import ErrorKind, ItemError, UsageError
from farm.storage import OutputRoot, join
from farm.training.config import TrainConfig
from sr_kernel.train.checkpoint import CheckpointError, DamagedError, most_bytes, restore_state, save_state, too_large
from sr_kernel.train.export import ExportError, opponent_to_pth, to_onnx, to_pth, to_safetensors
from sr_kernel.train.state import TrainState

_CHECKPOINT = re.compile(r".*/checkpoints/(\d{9,})\.ckpt")
_LOG = re.compile(r".*/log/(\d{9,})\.jsonl")
_WEIGHTS = re.compile(r".*/weights/.*-(\d{9,})\.[a-z]+")
_FOLDERS = ("checkpoints", "weights", "log", "validation", "tensorboard")
Line = Mapping[str, float | int | str | None]


@dataclass(frozen=True, slots=True)
class Guard:
    """Who says whether the output root is still ours. Both raise LostLockError where it is not."""

    check: Callable[[], None]
    """asked before each file; costs little"""
    confirm: Callable[[], None]
    """by the word of the disk or store: before a checkpoint, which the next one goes on from, and before files go"""


@dataclass(slots=True)
class Kept:
    """The output root of one training."""

    root: OutputRoot
    config: TrainConfig
    fingerprint: str = ""
    """of what decides the curve; empty: of who neither saves nor resumes"""
    onnx: bool = False
    """whether weights are exported as ONNX too"""
    guard: Guard | None = None
    """None: nobody else can be there"""
    lines: list[Line] = field(default_factory=list[Line])
    """of the log, since the last checkpoint"""
    damaged: list[str] = field(default_factory=list[str])
    """checkpoints behind which this training goes on; they go with its next one"""
    saved_at: int = 0
    """iteration of the last checkpoint that was made or taken up"""
    log: str = ""
    """that ends there"""

    def checkpoints(self) -> list[int]:
        """Iterations of the checkpoints that are there, newest first."""
        return sorted({at for at, _ in _numbered(join(self.root.url, "checkpoints"), _CHECKPOINT)}, reverse=True)

    def resume(self, state: TrainState, at: int) -> list[str]:
        """Put a fresh state where the checkpoint of an iteration was made or, where that is damaged, the newest one
        before it that is whole. What is wrong with the damaged ones comes back.

        Raises UsageError, also where none is whole, and the storage's errors.
        """
        damaged: list[DamagedError] = []
        for earlier in [one for one in self.checkpoints() if one <= at] or [at]:
            try:
                self._restore(state, earlier)
                break
            except DamagedError as error:
                damaged.append(error)
                self.damaged.append(self._checkpoint(earlier))
        else:
            raise UsageError(str(damaged[0])) from damaged[0]
        return [str(one) for one in damaged]

    def _restore(self, state: TrainState, at: int) -> None:
        url = self._checkpoint(at)
        try:
            restore_state(state, storage.read_bytes(url, most_bytes(state)), self.fingerprint, url)
        except DamagedError:
            raise
        except CheckpointError as error:
            raise UsageError(str(error)) from error
        except ItemError as error:
            if error.kind is not ErrorKind.TOO_LARGE:
                raise
            raise UsageError(too_large(url)) from error
        self.saved_at, self.log = at, self._read_log(at)

    def save(self, state: TrainState) -> None:
        """Weights, log and, when these are there, the checkpoint; then older ones go. Does nothing where the iteration
        is kept already."""
        at, name = state.iteration, self.config.name
        if at == self.saved_at:
            return
        forms = {f"{name}-{at:09d}.pth": to_pth, f"{name}-{at:09d}.safetensors": to_safetensors}
        if self.onnx:
            forms[f"{name}-{at:09d}.onnx"] = onnx_of
        if state.opponent is not None:
            forms[f"{name}-netd-{at:09d}.pth"] = opponent_to_pth
        for file, form in forms.items():
            self.publish(join("weights", file), form(state))
        log = "".join(map(_as_text, self.lines))
        self.publish(_log(at), log.encode())
        content = save_state(state, self.fingerprint)
        self._confirm()
        self.root.publish(self._checkpoint(at), content)
        self.lines.clear()
        self.saved_at, self.log = at, log
        self._confirm()  # or of two that write here the one that is late removes what the other goes on from
        for url in self.damaged:
            if url != self._checkpoint(at):  # which is whole now
                storage.delete(url)
        self.damaged.clear()
        _drop(join(self.root.url, "checkpoints"), _CHECKPOINT, self.config.keep.checkpoints)
        _drop(join(self.root.url, "weights"), _WEIGHTS, self.config.keep.weights)

    def add_scores(self, at: int, line: Line) -> None:
        """What a validation found: a line more of the log that ends at this iteration, or else of the next one."""
        if at != self.saved_at:
            self.lines.append(line)
            return
        self.log += _as_text(line)
        self.publish(_log(at), self.log.encode())

    @property
    def has_scores(self) -> bool:
        """Whether the log says of the last checkpoint's iteration what a validation found."""
        return any("psnr" in line and line["iteration"] == self.saved_at for line in _lines(self.log))

    def forget_after(self, at: int) -> None:
        """Remove the log of what will be done again: of a checkpoint that did not come to be. Raises LostLockError."""
        self._confirm()
        for later, url in list(_numbered(join(self.root.url, "log"), _LOG)):
            if later > at:
                storage.delete(url)

    def forget(self) -> None:
        """Remove all that trainings have left, and nothing else that may lie there."""
        for folder in _FOLDERS:
            storage.delete_tree(join(self.root.url, folder))

    def publish(self, name: str, data: bytes) -> None:
        """A file below the root. Raises LostLockError where that is another's by now."""
        if self.guard is not None:
            self.guard.check()
        self.root.publish(join(self.root.url, name), data)

    def _confirm(self) -> None:
        if self.guard is not None:
            self.guard.confirm()

    def _read_log(self, at: int) -> str:
        """Empty where it is gone."""
        try:
            return storage.read_bytes(join(self.root.url, _log(at))).decode("utf-8", "replace")
        except ItemError as error:
            if error.kind is not ErrorKind.MISSING:
                raise
            return ""

    def _checkpoint(self, at: int) -> str:
        return join(self.root.url, "checkpoints", f"{at:09d}.ckpt")


def onnx_of(state: TrainState) -> bytes:
    """Raises UsageError where the network cannot be exported."""
    try:
        return to_onnx(state)
    except ExportError as error:
        raise UsageError(f"--onnx: {error}") from error


def _log(at: int) -> str:
    return f"log/{at:09d}.jsonl"


def _as_text(line: Line) -> str:
    """JSON has no word for what is infinite, as the PSNR of equal pictures is."""
    finite = {key: None if isinstance(one, float) and not math.isfinite(one) else one for key, one in line.items()}
    return json.dumps(finite) + "\n"


def _lines(log: str) -> Iterator[Line]:
    """Those that can be read: somebody may have been at the file."""
    for line in log.splitlines():
        with suppress(ValueError):
            if isinstance(found := json.loads(line), dict):
                yield cast(Line, found)


def _numbered(folder: str, form: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Iteration and URL of the files of a folder; none where there is no folder."""
    try:
        for file in storage.list_files(folder):
            if match := form.fullmatch(file.url):
                yield int(match[1]), file.url
    except ItemError as error:
        if error.kind is not ErrorKind.MISSING:
            raise


def _drop(folder: str, form: re.Pattern[str], stay: int) -> None:
    """Remove the files of all iterations but the newest `stay`; 0: none."""
    found = list(_numbered(folder, form))
    newest = sorted({at for at, _ in found}, reverse=True)
    for at, url in found:
        if stay and at in newest[stay:]:
            storage.delete(url)
