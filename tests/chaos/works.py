"""What whole runs in forked processes are given to do: pictures, one in bands, a film with sound, training data."""

from __future__ import annotations

from pathlib import Path

from ..clips import X264, clip, with_sound
from ..runs import save_picture
from ..seeded import save_srvgg

KINDS = ("restore", "degrade")
Command = tuple[str | Path, ...]
CUT = ("--band-px", "8000", "--tile-px", "64", "--segment-frames", "4")
FEW = ("--gpus", "0", "--workers", "1")


def make_commands(folder: Path) -> dict[str, Command]:
    """By kind of work, without --out; all that is read lies on a disk."""
    save_picture(folder / "restore" / "a.png", 40, 30, seed=1)
    save_picture(folder / "restore" / "large.png", 96, 160, seed=2)
    film = clip("libx264", "mp4", options=X264, frames=8, size=(32, 24))
    (folder / "restore" / "film.mp4").write_bytes(with_sound(film, "mp4"))
    for seed in range(3):
        save_picture(folder / "degrade" / f"{seed}.png", 110, 100, seed=seed)
    model = save_srvgg(folder / "tiny.pth", features=8, convs=2)
    return {
        "restore": ("submit", folder / "restore", "--model", model, *CUT, *FEW),
        "degrade": ("degrade", folder / "degrade", "--gt-size", "96", "--form", "tar", "--seed", "7", *FEW),
    }
