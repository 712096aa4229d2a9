"""The files of a numbered sequence of pictures.

The frames of `dir/frame%04d.png` are the files of that folder whose names are that pattern with a number in it: of at
least four digits and no zeros in front beyond them, as printf writes it; `%d` has none in front. All else of a name
stands for itself, other percent signs too. The first number may be any; between the first and the last none may lack.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, pairwise

from farm import storage
from farm.errors import ErrorKind, ItemError
from farm.records import FileStat

_NUMBERED = re.compile(r"%(?:0(\d+))?d(?![A-Za-z0-9])")
_DIGITS = re.compile("[0-9]+")
_MOST_DIGITS = 18
"""longer numbers are names of something else"""
_SHOWN = 12
"""ranges of missing numbers that a message names"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedFiles:
    """Where the pictures of a sequence lie and what they are called."""

    folder: str
    before: str
    after: str
    digits: int
    """at least; 0 for %d"""

    def url(self, number: int) -> str:
        """The picture of that number."""
        return storage.join(self.folder, f"{self.before}{number:0{self.digits}d}{self.after}")

    def number(self, url: str) -> int | None:
        """The number of a file below the folder; None when it is no picture of the sequence."""
        digits = self.between(url)
        return int(digits) if digits and f"{int(digits):0{self.digits}d}" == digits else None

    def between(self, url: str) -> str:
        """The digits in a name that is the pattern's but perhaps for how many they are; empty when it is not."""
        name = url[len(self.folder.rstrip("/")) + 1 :]
        if not name.startswith(self.before) or not name.endswith(self.after):
            return ""
        found = name[len(self.before) : len(name) - len(self.after)]
        return found if _DIGITS.fullmatch(found) and len(found) <= _MOST_DIGITS else ""


def numbered_files(url: str) -> NumberedFiles:
    """The pattern of a sequence's URL."""
    name = url.rpartition("/")[2]
    found = _NUMBERED.search(name)
    if found is None:
        raise ValueError(f"no numbered sequence: {url}")
    parent = storage.parent(url)
    folder = storage.local_path(parent)
    return NumberedFiles(
        folder=str(folder) if folder else parent,
        before=name[: found.start()],
        after=name[found.end() :],
        digits=int(found.group(1) or 0),
    )


def list_numbered(url: str) -> dict[int, FileStat]:
    """The pictures that there are, by number, ascending.

    Raises:
        ItemError: MISSING when there is none, UNSAFE_PATH for links out of the folder, or what the store says.
    """
    files = numbered_files(url)
    found: dict[int, FileStat] = {}
    others: Counter[int] = Counter()
    for one in storage.list_files(files.folder):
        number = files.number(one.url)
        if number is not None:
            _refuse_link(one.url, files.folder)
            found[number] = one
        elif digits := files.between(one.url):
            others[len(digits)] += 1
    if not found:
        advice = "check the folder and the pattern"
        if others:
            advice = f"{others.total()} names have other numbers of digits: try %0{others.most_common(1)[0][0]}d"
        raise ItemError(ErrorKind.MISSING, url, "no picture has such a name", advice)
    return dict(sorted(found.items()))


def _refuse_link(url: str, folder: str) -> None:
    """Refuse a picture on this machine's disks that is a link out of its folder, as folders of pictures do."""
    if storage.is_remote(url) or not os.path.islink(url):
        return
    target, root = os.path.realpath(url), os.path.realpath(folder)
    if os.path.commonpath((target, root)) == root:
        return
    shown = os.fsencode(target).decode("utf-8", "replace")
    raise ItemError(ErrorKind.UNSAFE_PATH, url, f"is a link out of its folder to {shown}", "put that picture there")


def stat(url: str) -> FileStat:
    """All pictures of a sequence together: the sum of their bytes, and a digest of their names and versions.

    Raises:
        ItemError: as `list_numbered` says.
    """
    found = list_numbered(url)
    digest = sha256()
    for one in found.values():
        digest.update(f"{storage.name(one.url)}\0{one.version}\n".encode("utf-8", "surrogateescape"))
    return FileStat(url=url, bytes=sum(one.bytes for one in found.values()), etag=digest.hexdigest()[:32])


def refuse_gaps(numbers: Sequence[int], url: str) -> None:
    """Refuse a sequence some of whose numbers, ascending, have no picture.

    Raises:
        ItemError: MISSING, naming the numbers.
    """
    gaps = [(before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1]
    if not gaps:
        return
    named = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in islice(gaps, _SHOWN))
    more = f" and {len(gaps) - _SHOWN} ranges more" if len(gaps) > _SHOWN else ""
    count = sum(last - first + 1 for first, last in gaps)
    found = f"{count} of the numbers {numbers[0]}-{numbers[-1]} have no picture: {named}{more}"
    raise ItemError(ErrorKind.MISSING, url, found, "make them again, or number the pictures without gaps")
