"""Runs of the command over films, each made once for all tests that look at what came out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..media_reader import Probe
from ..runs import Farm, results


@dataclass
class FilmRuns:
    """Runs by name."""

    farm: Farm
    folder: Path
    sources: dict[str, Path] = field(default_factory=dict)
    """file name -> film that went in"""
    codes: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """what each run said on its standard error"""
    probes: dict[Path, Probe] = field(default_factory=dict)

    def submit(self, name: str, films: Iterable[Path], *flags: str) -> Path:
        """The output root of the run of that name, made now where it was not."""
        out = self.folder / name
        if name not in self.codes:
            source = self.folder / f"{name}-in"
            source.mkdir()
            for film in films:
                shutil.copyfile(film, source / film.name)
                self.sources[film.name] = film
            made = self.farm.submit(source, out, "--precision", "fp32", *flags)
            self.codes[name], self.errors[name] = made.returncode, made.stderr
            self._look(out)
        return out

    def _look(self, out: Path) -> None:
        """Reads all that came out at once: the reader is a process of its own for every question."""
        rows = results(out) if (out / "results.parquet").exists() else []
        done = [row for row in rows if row["status"] == "done"]
        paths = [
            path for row in done for path in (Path(str(row["output"])), self.sources[Path(str(row["source"])).name])
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda probe: probe.head and probe.rgb(), map(self.probe, dict.fromkeys(paths))))

    def probe(self, path: Path) -> Probe:
        return self.probes.setdefault(path, Probe(path))

    def source(self, film: str) -> Probe:
        """The film that went in."""
        return self.probe(self.sources[film])

    def made(self, name: str, film: str) -> Probe:
        """What a run made of a film."""
        row = self.row(name, film)
        assert row["status"] == "done", row["message"]
        return self.probe(Path(str(row["output"])))

    def row(self, name: str, film: str) -> dict[str, object]:
        """Of the result manifest."""
        assert (self.folder / name / "results.parquet").exists(), self.errors[name]
        rows = [row for row in results(self.folder / name) if Path(str(row["source"])).name == film]
        assert len(rows) == 1, self.errors[name]
        return rows[0]
