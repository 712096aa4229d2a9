"""The report as one page of HTML that needs nothing beside it and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence

from farm import __version__
from farm.ledger import RunNote
from farm.progress import duration
from farm.report import words
from farm.report.account import FIGURES, FLOORS, STAGES, Account, Failure, Group, Suspect
from farm.report.chart import bars, stacked
from farm.report.dress import POLICY, SCRIPT, STYLE
from farm.report.embed import embedded
from farm.report.excerpt import Excerpt, section_of
from farm.report.shown import Shown, title_of
from farm.report.words import count, figure, hours, moment, share, text
from farm.status import Status

_FEWEST_PARTS, _MOST_PARTS = 12, 60
"""bars of the throughput; of few rows there are few"""
_DB_LOW, _DB_HIGH = 10, 55
"""range of the bars of consistency; what lies beyond is in the first and the last"""
_RUNS_SHOWN = 20
_WORKERS_SHOWN = 24
STAGE_WORDS = {
    "read": "read the source",
    "decode": "decode",
    "wait": "wait for the network",
    "infer": "infer",
    "encode": "encode",
    "write": "write and publish",
}
_FIGURE_WORDS = {
    "consistency": "consistency with the source, dB",
    "colour": "shift of colour, levels",
    "off": "share of blocks that are off",
    "stripes": "share of blocks with stripes",
    "lattice": "lattice, levels",
    "seam": "seams",
    "niqe": "NIQE",
}
_STATES = {
    "running": ("at work", "warn"),
    "finished": ("finished", "good"),
    "stopped": ("stopped, rows are left", "warn"),
    "killed": ("ended without a word", "bad"),
    "unclear": ("no end noted", "warn"),
    "idle": ("", ""),
}


def page_of(
    status: Status,
    notes: Sequence[RunNote],
    account: Account,
    shown: Sequence[Shown],
    now: float,
    excerpt: Excerpt | None = None,
) -> bytes:
    """The page, in UTF-8; `account` and `shown` are of the rows of the `excerpt`, if it is one."""
    title = status.root.rstrip("/").rpartition("/")[2] or status.root
    sections = (
        section_of(excerpt) if excerpt else "",
        _totals(status, account),
        _throughput(notes, account),
        f'<div class="two">{_stages(account)}{_models(account)}</div>',
        _failures(account),
        f'<div class="two">{_fidelity(account)}{_suspects(status, account)}</div>',
        _pairs(shown),
        f'<div class="two">{_runs(notes, account)}{_workers(account)}</div>',
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">',
        f"<title>{text(title)}: farm report</title><style>{STYLE}</style></head><body><main>",
        _header(title, status),
        *sections,
        f"<footer>farm {text(__version__)}, {moment(now)}. Figures of fidelity are those of docs/fidelity.md; "
        "times are wall clock of workers.</footer>",
        f"</main><script>{SCRIPT}</script></body></html>\n",
    ]
    return "\n".join(filter(None, parts)).encode()


def _header(title: str, status: Status) -> str:
    said, kind = _STATES[status.state]
    chip = f'<span class="chip {kind}">{said}</span>' if said else ""
    lines = [f'<p class="path soft">{text(status.root)}</p>']
    if status.manifest:
        lines.append(f'<p class="soft">of <span class="path">{text(status.manifest)}</span></p>')
    return f'<header><div class="over">farm report</div><h1>{text(title)}{chip}</h1>{"".join(lines)}</header>'


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{heading}</h2>{body}</section>" if body else ""


# -- totals and time -----------------------------------------------------------------------------------------------


def _totals(status: Status, account: Account) -> str:
    rows = account.done + account.failed
    films = f"{count(account.films)} films, {count(account.frames)} frames" if account.films else "no films"
    infer_s = sum(group.infer_s for group in account.models.values())
    tiles = [
        _tile("done", count(account.done), share(account.done, rows), ""),
        _tile("failed", count(account.failed), share(account.failed, rows), "bad" if account.failed else ""),
        _tile("suspect", count(account.suspect), "of the done ones", "warn" if account.suspect else ""),
        _tile("source", words.pixels(account.source_px), films, ""),
        _tile("outputs", words.size(account.output_bytes), f"{words.pixels(account.output_px)} of pictures", ""),
        _tile("inference", hours(infer_s), "summed over workers", ""),
    ]
    left = status.left or 0
    if left:
        tiles.insert(2, _tile("left", count(left), f"of {count(status.rows or 0)} rows", "warn"))
    segments = [
        ("good-fill", float(account.done), f"{account.done} done"),
        ("bad-fill", float(account.failed), f"{account.failed} failed"),
        ("rest-fill", float(left), f"{left} left"),
    ]
    label = f"{account.done} done, {account.failed} failed, {left} left"
    return f'<section><dl class="tiles">{"".join(tiles)}</dl>{stacked(segments, label)}</section>'


def _tile(name: str, value: str, more: str, kind: str) -> str:
    return f'<div class="{kind}"><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>'


def _throughput(notes: Sequence[RunNote], account: Account) -> str:
    """Source pixels a second over the latest run that restored something."""
    runs = [(name, group) for name, group in account.runs.items() if group.rows]
    if not runs:
        return ""
    name, group = max(runs, key=lambda one: one[1].last_unix)
    note = next((one for one in notes if one.run == name), None)
    begin = note.started_unix if note else group.first_unix
    end = max(note.ended_unix if note else 0.0, group.last_unix, begin + 1)
    parts = min(_MOST_PARTS, max(_FEWEST_PARTS, group.rows // 2))
    each_s = (end - begin) / parts
    amounts = [px / each_s for px in group.restored.parts(begin, end, parts)]
    said = [f"{words.pixels(px)}/s from {duration(each_s * at)} on" for at, px in enumerate(amounts)]
    mean = group.source_px / (end - begin)
    chart = bars(amounts, said, f"source pixels a second over {duration(end - begin)}")
    frames = f", {count(group.frames)} frames" if group.frames else ""
    caption = (
        f"{count(group.rows)} rows{frames} in {duration(end - begin)}: {words.pixels(mean)}/s on average, "
        f"{words.pixels(max(amounts))}/s at most. A row counts when it is published, a film when it is joined."
    )
    axis = f'<div class="axis"><span>{moment(begin)}</span><span>{moment(end)}</span></div>'
    return _section("Throughput", f"<figure>{chart}{axis}<figcaption>{caption}</figcaption></figure>")


def _stages(account: Account) -> str:
    total = sum(account.seconds.values())
    if not account.staged or not total:
        return ""
    segments = [
        (stage, account.seconds[stage], f"{STAGE_WORDS[stage]}: {hours(account.seconds[stage])}") for stage in STAGES
    ]
    rows = [
        f'<tr><td><span class="key {stage}"></span>{STAGE_WORDS[stage]}</td>'
        f'<td class="n">{hours(account.seconds[stage])}</td><td class="n">{share(account.seconds[stage], total)}</td>'
        f'<td class="n">{account.seconds[stage] / account.staged:.2f} s</td></tr>'
        for stage in STAGES
    ]
    head = ("stage", "time", "share", "a row")
    known = (
        "" if account.staged == account.done else f" Known of {count(account.staged)} of {count(account.done)} rows."
    )
    note = f'<p class="soft">Summed over workers; several stages of one worker run side by side.{known}</p>'
    return _section("Where the time went", stacked(segments, "seconds by stage") + _table(head, rows, 1) + note)


def _models(account: Account) -> str:
    rows = [_group_row(name, group) for name, group in _by_pixels(account.models)]
    return _section("Models", _table(("model", "done", "failed", "source", "inferred at"), rows, 1) if rows else "")


def _workers(account: Account) -> str:
    found = _by_pixels(account.workers)
    rows = [_group_row(name, group) for name, group in found[:_WORKERS_SHOWN]]
    more = f'<p class="soft">and {len(found) - _WORKERS_SHOWN} more</p>' if len(found) > _WORKERS_SHOWN else ""
    head = ("worker", "done", "failed", "source", "inferred at")
    return _section("Workers", _table(head, rows, 1) + more if rows else "")


def _by_pixels(groups: dict[str, Group]) -> list[tuple[str, Group]]:
    return sorted(groups.items(), key=lambda one: (-one[1].source_px, one[0]))


def _group_row(name: str, group: Group) -> str:
    rate = f"{words.pixels(group.source_px / group.infer_s)}/s" if group.infer_s else ""
    figures = (count(group.rows), count(group.failed), words.pixels(group.source_px), rate)
    return f'<tr><td class="path">{text(name)}</td>{_numbers(figures)}</tr>'


def _runs(notes: Sequence[RunNote], account: Account) -> str:
    noted = {note.run: note for note in notes}
    names = sorted({*noted, *account.runs}, reverse=True)
    rows = [_run_row(name, noted.get(name), account.runs.get(name, Group())) for name in names[:_RUNS_SHOWN]]
    more = f'<p class="soft">and {len(names) - _RUNS_SHOWN} earlier ones</p>' if len(names) > _RUNS_SHOWN else ""
    head = ("run", "took", "done", "failed", "exit")
    note = '<p class="soft">Rows count for the run that settled them.</p>' if len(names) > 1 else ""
    return _section("Runs", _table(head, rows, 1) + more + note if rows else "")


def _run_row(name: str, note: RunNote | None, group: Group) -> str:
    began = note.started_unix if note else group.first_unix
    seconds = note.seconds if note else group.last_unix - group.first_unix
    took = duration(seconds) if seconds is not None else ""
    code = str(note.exit_code) if note and note.exit_code is not None else ""
    when = f'<td>{moment(began)}<br><span class="path soft">{text(name)}</span></td>'
    return f"<tr>{when}{_numbers((took, count(group.rows), count(group.failed), code))}</tr>"


def _numbers(values: Sequence[str]) -> str:
    return "".join(f'<td class="n">{value}</td>' for value in values)


def _table(head: Sequence[str], rows: Sequence[str], words_first: int) -> str:
    """`words_first`: columns that hold no numbers."""
    cells = (f'<th scope="col"{"" if at < words_first else " class=n"}>{name}</th>' for at, name in enumerate(head))
    return f'<div class="scroll"><table><tr>{"".join(cells)}</tr>{"".join(rows)}</table></div>'


# -- what is wrong -------------------------------------------------------------------------------------------------


def _failures(account: Account) -> str:
    found = sorted(account.failures.items(), key=lambda one: (-one[1].count, one[0]))
    return _section("Failures", "".join(_failure(name, one, account.failed) for name, one in found))


def _failure(name: str, failure: Failure, whole: int) -> str:
    examples = "".join(f'<li class="path">{text(message)}</li>' for message in failure.examples)
    hidden = failure.count - len(failure.examples)
    more = f'<li class="soft">and {count(hidden)} more in results.parquet</li>' if hidden else ""
    bar = stacked([("bad-fill", float(failure.count), name)], f"{failure.count} of {whole}", whole=whole, thin=True)
    head = f"<summary><b>{text(name)}</b>{_number(count(failure.count))}</summary>"
    return f"<details open>{head}{bar}<ul>{examples}{more}</ul></details>"


def _number(value: str) -> str:
    return f'<span class="n">{value}</span>'


def _fidelity(account: Account) -> str:
    spread = account.figures["consistency"]
    rows = [_figure_row(name, account) for name in FIGURES if account.figures[name].count]
    if not rows:
        return ""
    chart = ""
    if spread.count:
        floor, _ = FLOORS["consistency"]
        amounts = spread.bars(_DB_LOW, _DB_HIGH, _DB_HIGH - _DB_LOW)
        said = [f"{_DB_LOW + at} to {_DB_LOW + at + 1} dB: {amount} outputs" for at, amount in enumerate(amounts)]
        drawn = bars(amounts, said, "outputs by consistency in dB", beyond=int(floor) - _DB_LOW)
        axis = f'<div class="axis"><span>{_DB_LOW} dB and less</span><span>{_DB_HIGH} dB and more</span></div>'
        caption = f"Outputs by consistency with their source. Below {floor:g} dB an output is suspect."
        chart = f"<figure>{drawn}{axis}<figcaption>{caption}</figcaption></figure>"
    head = ("figure", "outputs", "median", "worst", "floor")
    return _section("Fidelity", chart + _table(head, rows, 1))


def _figure_row(name: str, account: Account) -> str:
    spread = account.figures[name]
    bound, sign = FLOORS.get(name, (float("nan"), 1))
    worst = spread.ends[1] if sign > 0 else spread.ends[0]
    numbers = (
        count(spread.count),
        figure(spread.quantile(0.5)),
        figure(worst),
        figure(bound) if name in FLOORS else "",
    )
    return f"<tr><td>{_FIGURE_WORDS[name]}</td>{_numbers(numbers)}</tr>"


def _suspects(status: Status, account: Account) -> str:
    rows = [_suspect_row(title_of(status.root, one.output), one) for one in account.suspects]
    hidden = account.suspect - len(account.suspects)
    more = f'<p class="soft">and {count(hidden)} more in results.parquet</p>' if hidden else ""
    return _section("Suspect outputs", _table(("output", "beyond belief in", "figure"), rows, 2) + more if rows else "")


def _suspect_row(title: str, one: Suspect) -> str:
    figures = ", ".join(figure(one.figures[name]) for name in one.suspect.split() if name in one.figures)
    named = f'<td class="path">{text(title)}</td><td class="suspect">{text(one.suspect)}</td>'
    return f'<tr>{named}<td class="n">{figures}</td></tr>'


# -- pictures ------------------------------------------------------------------------------------------------------


def _pairs(shown: Sequence[Shown]) -> str:
    pairs = sum(one.pair is not None for one in shown)
    figures = "".join(_pair(one, pairs) for one in shown)
    note = (
        '<p class="soft">The busiest place of each, the source in its own pixels, enlarged by the browser. '
        "Drag, or use the arrow keys.</p>"
    )
    return _section("Before and after", f'{note}<div class="pairs">{figures}</div>' if figures else "")


def _pair(one: Shown, pairs: int) -> str:
    if one.pair is None:
        return f'<figure><div class="notice">{text(one.notice)}</div>{_caption(one)}</figure>'
    before, after = embedded(one.pair, pairs)
    height, width, _ = one.pair.after.shape
    title = text(one.title)
    size = f'width="{width}" height="{height}"'
    view = (
        f'<div class="view"><img src="{after}" {size} alt="restored: {title}" draggable="false">'
        f'<img class="before" src="{before}" {size} alt="source of {title}" draggable="false">'
        '<span class="tag left">source</span><span class="tag right">restored</span>'
        f'<input type="range" min="0" max="100" value="50" aria-label="share of the source shown of {title}"></div>'
    )
    return f"<figure>{view}{_caption(one)}</figure>"


def _caption(one: Shown) -> str:
    row = one.row
    scale = f"x{row.scale}" if row.scale and "x" not in row.scale else row.scale
    said = [f"{row.model} {scale}".strip()]
    consistency = row.figures.get("consistency")
    said += [f"{figure(consistency)} dB"] if consistency is not None else []
    said += [f"{count(row.frames)} frames"] if row.frames else []
    said += [f"flicker {row.flicker:.2f}"] if row.frames and row.flicker is not None else []
    said += [one.pair.place] if one.pair else []
    suspect = f'<span class="suspect">suspect: {text(row.suspect)}</span><br>' if row.suspect else ""
    return f"<figcaption><b>{text(one.title)}</b>{suspect}{text(', '.join(said))}</figcaption>"
