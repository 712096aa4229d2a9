"""Manifests as things to make: listed once, looked at, changed in form, cut into shards.

`scan` lists what lies in a folder, a prefix or another manifest; `check` says what is wrong with a manifest, `convert`
writes it in another form, `split` in pieces. All stream: their memory does not grow with the rows.
"""

from __future__ import annotations

from farm.catalog.check import CheckConfig, CheckResult, check
from farm.catalog.convert import ConvertConfig, SplitConfig, convert, split
from farm.catalog.item import Written
from farm.catalog.scan import ScanConfig, scan

__all__ = [
    "CheckConfig",
    "CheckResult",
    "ConvertConfig",
    "ScanConfig",
    "SplitConfig",
    "Written",
    "check",
    "convert",
    "scan",
    "split",
]
