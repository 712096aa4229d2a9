"""Decodes files each in a process of its own, which may crash, hang or grow without taking anybody along.

`Container` starts one process that has loaded the decoders and used none; it forks for every file. What is said of a
file: how it ended, in which time, and by how much the memory of its process grew.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_S = 60
ADDRESS_SPACE = 12 << 30
"""what a process may ask for at all; how much it really took is judged by who reads `grown_mb`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What came of one file."""

    end: str
    """done, an error class, `crash: ...` or `hang`"""
    message: str = ""
    """of the error, or the warning of what is done"""
    seconds: float
    grown_mb: float
    """peak of the process that decoded, above what it began with"""
    same: str = ""
    """of what is done: `same` as it should be or as another decoder has it, `near`, or in which way other"""
    header_s: float = 0
    """of processor time, for judging the header alone"""
    frames: int = 0
    """of a film that is done"""


@contextmanager
def container() -> Iterator[Container]:
    """A process that decodes what it is told, for as long as the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.corpus.contained"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Container(process)
    finally:
        process.communicate(timeout=DEADLINE_S)


class Container:
    """The process, from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def decode(
        self, path: Path, *, film: bool = False, salvage: bool = False, expected: Path | None = None, near: int = 0
    ) -> End:
        """What comes of one file.

        Args:
            expected: a NumPy file that holds the pixels of a picture; None: what Pillow makes of it.
            near: levels by which they may differ.
        """
        asked = {"path": str(path), "film": film, "salvage": salvage, "expected": str(expected or ""), "near": near}
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("no pipes")
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return End(**json.loads(self._process.stdout.readline()))


def serve() -> None:
    """Answer each line of standard input with one line; ends with its input."""
    import PIL.AvifImagePlugin
    import PIL.ImageOps

    import farm.media.image
    import farm.media.video.film
    import tests.clips
    import tests.farm.media.films  # all before the fork: it must not be paid for every file

    loaded = (PIL.AvifImagePlugin, PIL.ImageOps, farm.media.image, tests.clips, tests.farm.media.films)
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(asdict(_forked(asked, loaded))) + "\n")
        sys.stdout.flush()


def _forked(asked: dict[str, object], loaded: tuple[object, ...]) -> End:
    reads, writes = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reads)
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.write(writes, f"{_resident_kb()}\n".encode())
            os.write(writes, json.dumps(_answer(asked)).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writes)
    said, hung = _heard(reads, begun + DEADLINE_S)
    if hung:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    own, _, told = said.partition(b"\n")
    answer = json.loads(told) if told else {}
    if hung:
        answer = {"end": "hang"}
    elif os.WIFSIGNALED(status):
        answer = {"end": f"crash: {signal.Signals(os.WTERMSIG(status)).name}"}
    elif not answer:
        answer = {"end": "crash: without a word"}
    grown = max(0, usage.ru_maxrss - int(own or 0)) / 1024
    return End(seconds=round(time.monotonic() - begun, 4), grown_mb=round(grown, 1), **answer)


def _resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def _heard(pipe: int, end: float) -> tuple[bytes, bool]:
    """What the child says until it is at its end, and whether it said it in time."""
    said = b""
    with os.fdopen(pipe, "rb", buffering=0) as file:
        while True:
            ready, _, _ = select.select([file], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return said, True
            part = file.read(1 << 16)
            if not part:
                return said, False
            said += part


def _answer(asked: dict[str, object]) -> dict[str, object]:
    from farm.errors import ItemError

    path = Path(str(asked["path"]))
    begun = time.process_time()
    try:
        return (_film if asked["film"] else _picture)(path, asked)
    except ItemError as error:
        # Where even the header is refused this is the time for it.
        return {"end": error.kind.value, "message": str(error), "header_s": round(time.process_time() - begun, 4)}
    except MemoryError:
        return {"end": "crash: MemoryError"}
    except Exception as error:  # an error that nobody foresaw is what this looks for
        return {"end": f"crash: {type(error).__name__}: {str(error)[:200]}"}


def _picture(path: Path, asked: dict[str, object]) -> dict[str, object]:
    import numpy as np

    from farm.errors import ItemError
    from farm.media.image import ReadLimits, decode, decode_rows, read_header

    data, limits = path.read_bytes(), ReadLimits(salvage=bool(asked["salvage"]))
    with path.open("rb") as file, suppress(ItemError):  # as who looks at headers, and who reads large pictures
        header = read_header(file, path.name, limits)
        decode_rows(file, path.name, limits, header.height // 2, header.height // 2 + 1)
    picture = decode(data, path.name, limits)
    expected = np.load(str(asked["expected"])) if asked["expected"] else None
    special = picture.header.converted or (picture.header.depth == 16 and expected is None)
    special = special or picture.header.area_px > 1_000_000
    same = "" if special else compared(picture.pixels, expected, data, int(str(asked["near"])))
    return {"end": "done", "message": picture.warning or "", "same": same}


def compared(found: Any, expected: Any, data: bytes, near: int) -> str:
    """How pixels HWC differ from those that are expected, or else from what Pillow makes of the same bytes."""
    import numpy as np

    if expected is None:
        try:
            expected = pillow_pixels(data)
        except (OSError, ValueError, SyntaxError, ArithmeticError) as error:
            if data[4:8] == b"ftyp" and "cannot identify" in str(error):
                return ""  # Pillow goes by brands of a box alone, in which a bit is turned, and has looked at no pixel
            return f"refused by Pillow: {error}"
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"other shape: {found.shape} {found.dtype} instead of {expected.shape} {expected.dtype}"
    most = int(np.abs(found.astype(int) - expected).max())
    return "same" if most == 0 else "near" if most <= near else f"other by {most} levels"


def pillow_pixels(data: bytes) -> Any:
    """HWC of 8 bits, upright, as Pillow reads a picture of at most 8 bits a sample."""
    import numpy as np
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None
    image = Image.open(BytesIO(data))
    image.load()
    with suppress(SyntaxError):  # of metadata that are none
        image = ImageOps.exif_transpose(image)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif "transparency" in image.info:
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _film(path: Path, asked: dict[str, object]) -> dict[str, object]:
    from farm.media.video.film import iter_frames, read_film
    from farm.media.video.read.reader import FilmReader
    from farm.media.video.values import ONE_THREAD
    from tests.farm.media.films import video_params

    params = video_params(salvage=bool(asked["salvage"]))
    with path.open("rb") as file:
        begun = time.process_time()
        cut = read_film(file, path.name, params)
        header_s = time.process_time() - begun
        frames, digests = 0, list[str]()
        reader = FilmReader.of(file, path.name)
        for span in cut.spans:
            for frame in iter_frames(reader, path.name, cut.film, span, params, ONE_THREAD):
                frames += 1
                digests.append(sha256(b"".join(plane.tobytes() for plane in frame.planes)).hexdigest())
    return {
        "end": "done",
        "message": cut.film.warning or "",
        "frames": frames,
        "same": _as_pyav(path, digests),
        "header_s": round(header_s, 4),
    }


def _as_pyav(path: Path, digests: list[str]) -> str:
    """Whether these are the frames that PyAV gives from the start of a film to its end."""
    from av.error import FFmpegError

    from tests.clips import sequential

    try:
        found = [sha256(b"".join(planes)).hexdigest() for _, planes in sequential(path.read_bytes())]
    except (FFmpegError, AssertionError) as error:
        return f"refused by PyAV: {error}"
    except IndexError:
        return ""  # PyAV's own: a packet of a stream that a damaged table adds on the way
    if found == digests:
        return "same"
    return f"other: {len(digests)} frames instead of {len(found)}, {len(set(found) & set(digests))} of them alike"


if __name__ == "__main__":
    serve()
