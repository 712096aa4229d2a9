"""One file of the corpus, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.corpus.contained import End

DONE = "done"
AVIF_NEAR = 48
"""levels by which single pixels differ between decoders of AVIF, which stretch halved chroma each in its own way"""
HEADER_S, HEADER_MB = 0.05, 50
"""within which a giant is refused"""
CANARY = b"CANARY-behind-the-end"
"""what polyglots carry behind the end of their picture"""
CUT = frozenset({"truncated"})
CORRUPT = frozenset({"corrupt"})
DAMAGED = frozenset({"corrupt", "truncated"})
"""whether damage looks like a missing end is left to the decoder"""
UNSUPPORTED = frozenset({"unsupported"})
TOO_LARGE = frozenset({"too_large"})
GOOD = frozenset({DONE})
FOREIGN = frozenset({"not_an_image", "unsupported"})
ANYTHING = frozenset({DONE, "corrupt", "truncated", "too_large", "unsupported", "not_an_image"})
"""after random damage: a picture or any class of pictures, never a crash or a hang"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A file, and how it may end."""

    name: str
    """path of the file below the corpus, family first; no two are equal"""
    data: bytes
    ends: frozenset[str]
    """`done` and error classes, of which one must come"""
    pixels: np.ndarray | None = None
    """HWC, what a picture that is done must hold; None: what a reference decoder makes of the same bytes"""
    near: int = 0
    """levels by which pixels may differ"""
    compared: bool = True
    """whether pixels mean anything where none are given: of bombs and of frames of no size they do not"""
    warning: str = ""
    """what is said of a file that is done"""
    memory_mb: int = 150
    """by which a process may grow that decodes it"""
    header_only: bool = False
    """whether it must be refused from its header, in less than 50 ms and 50 MB"""
    frames: int = 0
    """of a film that is done"""

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def is_bad(self) -> bool:
        return DONE not in self.ends

    @property
    def is_good(self) -> bool:
        return self.ends == GOOD


def faults(case: Case, end: End) -> list[str]:
    """In which ways a file ended otherwise than it must; empty: in none."""
    found: list[str] = []
    if end.end not in case.ends:
        found.append(f"ended as {end.end} instead of {' or '.join(sorted(case.ends))}")
    if end.grown_mb > case.memory_mb:
        found.append(f"took {end.grown_mb} MB (limit {case.memory_mb})")
    if case.header_only and end.end != DONE and (end.header_s > HEADER_S or end.grown_mb > HEADER_MB):
        found.append(f"its header took {end.header_s} s and {end.grown_mb} MB")
    if end.end == DONE:
        if case.compared and end.same not in ("", "same", "near") and not end.message:
            found.append(f"its pixels are {end.same}, and nothing is said")
        if case.warning not in end.message:
            found.append(f"{case.warning!r} is not said ({end.message!r})")
        if case.frames not in (0, end.frames):
            found.append(f"{end.frames} frames instead of {case.frames}")
    return [f"{case.name}: {one} ({end.message})" for one in found]


def write(cases: Iterable[Case], folder: Path) -> None:
    """The files of the cases below `folder`."""
    for case in cases:
        path = folder / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)


def stratified(cases: Sequence[Case], each: int, seed: int) -> Iterator[Case]:
    """Up to `each` cases of every family and every way to end, drawn by the seed."""
    strata: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        strata.setdefault((case.family, "+".join(sorted(case.ends))), []).append(case)
    random = np.random.default_rng(seed)
    for group in strata.values():
        chosen = random.permutation(len(group))[:each]
        yield from (group[at] for at in sorted(chosen))
