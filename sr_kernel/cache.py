"""Where copies of what lies elsewhere, and what was compiled here, are kept for the next time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder of ours in the user's cache (XDG_CACHE_HOME); it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "farm" / name
