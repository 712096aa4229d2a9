"""`python -m farm` is `farm`."""

from __future__ import annotations

from farm.cli import main

if __name__ == "__main__":
    main()
