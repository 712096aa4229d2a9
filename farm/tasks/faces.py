"""Faces of the pictures that a worker restores: found, restored in batches, pasted.

The networks are called in the lane, a detection or a batch a call, so that windows of pictures go on in between;
cutting out and pasting are done by the thread that has the picture. Faces that wait are put into one batch whichever
pictures they are of, oldest first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from farm import fetch
from farm.errors import ErrorKind, ItemError, ModelError
from farm.face import FACE_RESIDENT_BYTES, FaceParams
from farm.media import video
from farm.tasks.base import WorkerContext
from farm.tasks.lane import Lane
from sr_kernel import pixels as px
from sr_kernel.weights import WeightsError

if TYPE_CHECKING:
    from sr_kernel.faces.align import Matrix
    from sr_kernel.faces.networks import DetectorKind
    from sr_kernel.faces.restorer import FaceRestorer, RestoredFace

Pixels = NDArray[Any]
FACE_WHOLE_PX = 16_777_216
"""source pixels of the largest picture whose faces are restored: they are found in whole pictures only"""


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting:
    """A face that waits for its batch."""

    levels: NDArray[Any]
    made: Future[RestoredFace] = field(default_factory=Future["RestoredFace"])
    infer_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PastedFaces:
    """What became of a picture's faces."""

    count: int = 0
    infer_s: float = 0.0
    """in the networks"""


class Faces:
    """One per worker; called from its input/output threads."""

    def __init__(self, lane: Lane, context: WorkerContext) -> None:
        self._lane = lane
        self._context = context
        self._files = dict(context.face_files)
        self._resident: FaceRestorer | None = None
        """of the one FaceParams that a run has"""
        self._queue: deque[_Waiting] = deque()
        self._order = threading.Lock()
        """of what is queued and the calls for it"""

    def restore(
        self,
        source: Pixels,
        restored: Pixels,
        params: FaceParams | None,
        url: str,
        rotation: Sequence[int] = (),
    ) -> PastedFaces | None:
        """Paste the faces of a whole picture into its output, in place; None where nobody asks for faces.

        Both are HWC of 1 to 4 channels and one depth; alpha stays. `rotation`: a film's display matrix: faces are
        looked for in its frames as they are shown. A picture without faces keeps its bytes. Raises ItemError
        (nonfinite_output), ModelError, MemoryError, LaneStopped.
        """
        if params is None:
            return None
        planes = px.split_planes(source)
        filled = planes.rgb if planes.alpha is None else px.fill_transparent(planes.rgb, planes.alpha)
        rgb: Any = filled
        shown: Any = px.expand_gray(restored[:, :, :1]) if planes.gray else restored[:, :, :3]
        if rotation:
            rgb, shown = video.turned(rgb, rotation), video.turned(shown, rotation)
        pasted = self._upright(rgb, shown, params, url)
        if pasted.count and rotation:
            shown = video.turned(shown, _back(rotation))
        if pasted.count and (rotation or planes.gray):
            colour = restored[:, :, :1] if planes.gray else restored[:, :, :3]
            colour[:] = px.luma(shown) if planes.gray else shown
        return pasted

    def _upright(self, source: Pixels, restored: Pixels, params: FaceParams, url: str) -> PastedFaces:
        """Faces of (H, W, 3) into (H, W, 3)."""
        from sr_kernel.faces.restorer import align_faces, paste_faces

        found, find_s = self._lane.call(lambda: self._find(source, params)).result()
        aligned = align_faces(source, found)
        if not aligned:
            return PastedFaces(infer_s=find_s)
        waiting = self._through([face.levels for face in aligned])
        made = [face.made.result() for face in waiting]
        if not all(face.finite for face in made):
            raise ItemError(
                ErrorKind.NONFINITE_OUTPUT,
                url,
                "what GFPGAN made of a face holds NaN or infinity",
                "check its weights with `farm models verify`",
            )
        size = (source.shape[1], source.shape[0])
        paste_faces(restored, size, aligned, made, strength=params.strength)
        return PastedFaces(count=len(made), infer_s=find_s + sum(face.infer_s for face in waiting))

    def _find(self, source: Pixels, params: FaceParams) -> tuple[tuple[Matrix, ...], float]:
        """In the lane: where the faces are, and how many seconds that took."""
        restorer, started_s = self._get(params), time.monotonic()
        return restorer.find(source, only_center=params.only_center), time.monotonic() - started_s

    def _through(self, faces: list[Pixels]) -> list[_Waiting]:
        """All faces of one picture, restored or failed.

        There are as many calls in the lane as there are faces before and in this picture, and each takes at least one
        from the head of the queue: when the last call has run, so have all faces up to it.
        """
        waiting = [_Waiting(levels=levels) for levels in faces]
        with self._order:
            self._queue.extend(waiting)
            calls = [self._lane.call(self._step) for _ in waiting]
        for call in calls:
            call.result()
        return waiting

    def _step(self) -> None:
        """In the lane: one batch of the faces that wait longest, whichever pictures they are of."""
        taken: list[_Waiting] = []
        try:
            if self._queue and (restorer := self._resident):  # who found the faces has loaded it
                taken = [self._queue.popleft() for _ in range(min(restorer.batch, len(self._queue)))]
                started_s = time.monotonic()
                results = restorer.restore([face.levels for face in taken])
                each_s = (time.monotonic() - started_s) / len(taken)
                for face, made in zip(taken, results, strict=True):
                    face.infer_s = each_s
                    face.made.set_result(made)
        except BaseException as error:  # theirs, whoever's call this was
            for face in taken or [self._queue.popleft()]:
                face.made.set_exception(error)

    def _get(self, params: FaceParams) -> FaceRestorer:
        """In the lane: the networks, loaded when first asked for. Raises ModelError."""
        self._resident = self._resident or self._load(params)
        return self._resident

    def _load(self, params: FaceParams) -> FaceRestorer:
        try:
            from sr_kernel.faces.networks import FaceFile
            from sr_kernel.faces.restorer import FaceFiles, FaceRestorer

            files = FaceFiles(
                model=FaceFile(path=self._path(params.model), sha256=params.model_sha256),
                detector=FaceFile(
                    path=self._path(fetch.DETECTOR_FILES[params.detector]), sha256=params.detector_sha256
                ),
                detector_kind=cast("DetectorKind", params.detector),
                parser=FaceFile(path=self._path(params.parser), sha256=params.parser_sha256),
            )
            return FaceRestorer.load(files, self._context.device)
        except ImportError as error:
            raise ModelError(f"faces: {fetch.FACE_EXTRA} ({error})") from error
        except WeightsError as error:
            raise ModelError(f"faces: {error}") from error

    def _path(self, name: str) -> Path:
        return fetch.ensure_face_file(name, self._files.get(name), self._context.weights_dir)


def _back(rotation: Sequence[int]) -> tuple[int, ...]:
    """The display matrix that turns back: a matrix of quarter turns and mirrors is inverted by its transpose."""
    a, b, u, c, d, v, *rest = rotation
    return (a, c, u, b, d, v, *rest)


def check_whole(params: FaceParams | None, url: str, width: int, height: int) -> None:
    """Raises ItemError (too_large) for a picture, or a film's frame, whose faces cannot be found in one piece."""
    if params is not None and width * height > FACE_WHOLE_PX:
        raise ItemError(
            ErrorKind.TOO_LARGE,
            url,
            f"{width} x {height} is {width * height} pixels, and faces are found in whole pictures of at most "
            f"{FACE_WHOLE_PX}",
            "restore it without --face-enhance, or make it smaller first",
        )


def face_bytes(params: FaceParams | None, width: int, height: int, device: str) -> int:
    """What faces add to the memory that a picture needs: on a CPU the networks too, which lie elsewhere on a GPU."""
    if params is None:
        return 0
    source = width * height * 3 * 4  # a float copy of a 16-bit source
    if device != "cpu":
        return source
    from sr_kernel.faces.detect import DETECT_PX_BYTES

    return source + FACE_RESIDENT_BYTES + width * height * DETECT_PX_BYTES[params.detector]
