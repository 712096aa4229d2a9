"""Keys of RRDBNet as ESRGAN's own repository had them, turned into those of basicsr, which ours are. No torch.

Two older namings are about: the first had one numbered sequence (`model.1.sub.0.RDB1.conv1.0.weight`), the second
names (`RRDB_trunk.0.RDB1.conv1.weight`). Which number is which is said by ESRGAN's `transer_RRDB_models.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

_NUMBERED: Mapping[str, str] = MappingProxyType(
    {
        "model.0": "conv_first",
        "model.3": "conv_up1",
        "model.6": "conv_up2",
        "model.8": "conv_hr",
        "model.10": "conv_last",
    }
)
"""of x4; networks of another scale have other numbers, and another tail than ours"""
_NAMED: Mapping[str, str] = MappingProxyType(
    {
        "conv_first": "conv_first",
        "trunk_conv": "conv_body",
        "upconv1": "conv_up1",
        "upconv2": "conv_up2",
        "HRconv": "conv_hr",
        "conv_last": "conv_last",
    }
)
_DENSE = re.compile(r"(?:model\.1\.sub|RRDB_trunk)\.(\d+)\.RDB([123])\.conv([1-5])(?:\.0)?\.(weight|bias)")
_BODY_END = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")


def modern_names(names: Collection[str]) -> dict[str, str]:
    """Our key of each old one; empty unless all are of one of the old namings, and no two mean the same."""
    if not any(_DENSE.fullmatch(name) for name in names):
        return {}
    found = {name: modern for name in names if (modern := _modern(name)) is not None}
    return found if len({*found.values()}) == len(names) else {}


def _modern(name: str) -> str | None:
    if dense := _DENSE.fullmatch(name):
        block, rdb, conv, what = dense.groups()
        return f"body.{block}.rdb{rdb}.conv{conv}.{what}"
    if end := _BODY_END.fullmatch(name):
        return f"conv_body.{end[1]}"
    stem, _, what = name.rpartition(".")
    modern = _NUMBERED.get(stem) or _NAMED.get(stem)
    return f"{modern}.{what}" if modern and what in ("weight", "bias") else None
