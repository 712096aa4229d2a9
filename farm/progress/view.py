"""What a person is shown of an outlook: the run in a line, failures by class, films under way, workers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from farm.progress.crew import Crew, doing
from farm.progress.figures import duration, pixel_rate
from farm.progress.outlook import Film, Outlook
from farm.progress.screen import cut, printable

_FILMS_SHOWN = 4
_WORKERS_SHOWN = 16
_CLASSES_SHOWN = 4
_NAME_COLUMNS = 24
_BAR = 20
_WORKER_BAR = 8
UNKNOWN = "time left unknown yet"


def overall(outlook: Outlook, now_s: float, note: str) -> list[str]:
    """The words of ``[#####.....] 12/40  0.24 MP/s  1 failed  3 min left``; `note`: what is going on instead."""
    ended = outlook.done + outlook.failed
    parts = [f"{bar(outlook.reached, _BAR)} {ended}/{outlook.total}"]
    if note:
        return [*parts, note]
    if outlook.frames.amount:
        parts.append(f"{outlook.frames.rate(now_s):.2f} frames/s")
    elif outlook.px.amount:
        parts.append(pixel_rate(outlook.px.rate(now_s)))
    if failed := sum(outlook.failures.values()):
        parts.append(f"{failed} failed")
    if ended < outlook.total:
        parts.append(_left(outlook, now_s))
    return parts


def _left(outlook: Outlook, now_s: float) -> str:
    """``3 min 20 s left``; ``about`` where some rows are guessed by their bytes alone."""
    left_s = outlook.left_s(now_s)
    if left_s is None:
        return UNKNOWN
    return f"{'' if outlook.is_sure else 'about '}{duration(left_s)} left"


def failures(outlook: Outlook) -> list[list[str]]:
    """A line of ``failed: 2 truncated, 1 too_large``, once there is one."""
    found = outlook.failures.most_common()
    if not found:
        return []
    words = [f"{count} {kind}" for kind, count in found[:_CLASSES_SHOWN]]
    more = sum(count for _, count in found[_CLASSES_SHOWN:])
    return [["", f"failed: {', '.join([*words, *([f'{more} others'] if more else [])])}"]]


def films(outlook: Outlook, now_s: float) -> list[list[str]]:
    """A line for each film under way; of many for some."""
    lines = [["", *_film(film, now_s)] for film in islice(outlook.films.values(), _FILMS_SHOWN)]
    if len(outlook.films) > _FILMS_SHOWN:
        lines.append(["", f"and {len(outlook.films) - _FILMS_SHOWN} more films"])
    return lines


def _film(film: Film, now_s: float) -> list[str]:
    """``holiday.mp4``, ``48/181``, ``4.80 frames/s``, ``27 s left``"""
    words = [cut(printable(film.name), _NAME_COLUMNS), f"{film.frames}/{film.total}"]
    if rate := film.pace.rate(now_s):
        words.append(f"{rate:.2f} frames/s")
    left_s = film.left_s(now_s)
    if film.frames >= film.total:
        words.append("joining")
    else:
        words.append(UNKNOWN if left_s is None else f"{duration(left_s)} left")
    return words


def workers(crew: Crew, room: int) -> list[list[str]]:
    """A line for each worker, and one for all those that `room` lines have no place for; none without room."""
    names = crew.names
    room = min(room, _WORKERS_SHOWN + 1)
    if room < 1:
        return []
    shown = names if len(names) <= room else names[: room - 1]
    columns = max((len(_short(name)) for name in shown), default=0)
    lines = [["", *_worker(crew, name, columns)] for name in shown]
    if others := names[len(shown) :]:
        lines.append(["", f"and {len(others)} more: {_share(crew.busy(others)).strip()} busy"])
    return lines


def _worker(crew: Crew, name: str, columns: int) -> Sequence[str]:
    """``upscale-x4plus-3``, ``[######..]  82 % busy``, ``12 done``, ``holiday.mp4 frames 96-143 +1``"""
    hand = crew.hand(name)
    busy = hand.busy if hand else None
    what, more = doing(crew.running(name))
    at = printable(what) or "waits"
    return (
        f"{_short(name):{columns}}",
        f"{bar(busy or 0.0, _WORKER_BAR)} {_share(busy)} busy",
        f"{hand.parts if hand else 0} done",
        f"{at} +{more}" if more else at,
    )


def _short(name: str) -> str:
    """A worker's name, whose number is at its end."""
    return printable(name if len(name) <= _NAME_COLUMNS else f"{name[: _NAME_COLUMNS - 9]}…{name[-8:]}")


def _share(share: float | None) -> str:
    """`` 82 %``, five columns"""
    return "  - %" if share is None else f"{round(100 * share):3d} %"


def bar(share: float, columns: int) -> str:
    """``[#####.....]``"""
    filled = int(columns * share)
    return f"[{'#' * filled}{'.' * (columns - filled)}]"
