"""What the control groups of this process leave it of the machine: memory, and time of its cores.

Containers, batch systems and systemd set such limits, on any group from the process's own up to the root of what it
sees, in version 1 of the kernel's files or in version 2 (cgroups(7)); the least of them counts. Where a file is missing
or may not be read no limit is known of: outside Linux there is none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")
_MOUNT = re.compile(r"\S+ \S+ \S+ (?P<shown>\S+) (?P<point>\S+) \S.* - (?P<kind>cgroup2?) (?:.* )?(?P<options>\S+)")
"""a line of proc_pid_mountinfo(5) where groups are mounted, of version 2 in a `cgroup2`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """A group that bounds this process."""

    folder: Path
    is_second: bool
    """whether its files are those of version 2"""


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes that the processes of the group may hold; None: no limit. `root`: below which /proc and /sys are read.

    Version 1 says a number near 2**63 where there is none.
    """
    names = {True: "memory.max", False: "memory.limit_in_bytes"}
    said = (_words(group.folder / names[group.is_second]) for group in _groups("memory", root))
    return min((int(words[0]) for words in said if words and _is_count(words[0])), default=None)


def cores_limit(root: Path = ROOT) -> float | None:
    """Cores whose time the processes of the group may take together, say 1.5; None: no limit."""
    quotas = map(_quota, _groups("cpu", root))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(group: _Group) -> float | None:
    """Time of a period that a group may take, by the length of the period."""
    files = ["cpu.max"] if group.is_second else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    words = [word for file in files for word in _words(group.folder / file)]
    if len(words) != 2 or not all(map(_is_count, words)):
        return None
    return int(words[0]) / int(words[1])


def _groups(controller: str, root: Path) -> Iterator[_Group]:
    """All that bound a resource of this process: the one that it is in, and those above."""
    member_of = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup") if line.count(":") >= 2]
    for mount in filter(None, map(_MOUNT.fullmatch, _lines(root / "proc/self/mountinfo"))):
        is_second = mount["kind"] == "cgroup2"
        for _, controllers, path in member_of:
            named = controller in controllers.split(",") and controller in mount["options"].split(",")
            if not controllers if is_second else named:
                below = _below(path, mount["shown"])
                for one in (below, *below.parents):
                    yield _Group(folder=root / mount["point"].lstrip("/") / one, is_second=is_second)


def _below(path: str, shown: str) -> PurePosixPath:
    """Where a group lies in a mount that shows the tree from `shown` on; its top where the group is not in it, as with
    a container that sees its own groups alone and is told their names outside."""
    group = PurePosixPath(path)
    below = group.relative_to(shown) if group.is_relative_to(shown) else PurePosixPath()
    return PurePosixPath() if ".." in below.parts else below


def _is_count(word: str) -> bool:
    """Not `max`, -1 or 0, with which nothing would run."""
    return word.isdecimal() and int(word) > 0


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    """Of a file of the kernel's; none where it is missing or may not be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
