"""What operations are asked in these tests: parameters, rows and contents as a worker would hand them over."""

from __future__ import annotations

import pickle

import cv2
import numpy as np

from farm.sample import Made, Options, PrepareParams, SourceRow
from farm.tasks.operations.base import Content, Operation


def params(operation: str, options: Options, max_pixels: int = 1 << 24) -> PrepareParams:
    return PrepareParams(
        operation=operation,
        options=options,
        form="tree",
        device_class="cpu",
        max_pixels_in=max_pixels,
        pixel_epoch=1,
        roles=("image",),
    )


def row(name: str = "a.png", lq: str | None = None) -> SourceRow:
    return SourceRow(url=f"/in/{name}", relative_path=name, key=name.rpartition(".")[0], lq_url=lq)


def make(operation: Operation, data: bytes, name: str = "a.png", lq: bytes | None = None) -> Made:
    """What is made of a file, after what every operation promises has been looked at."""
    lq_url = None if lq is None else f"/in/lq/{name}"
    made = operation.make(row(name, lq_url), Content(data=data, lq=lq), 0, 1)
    assert pickle.loads(pickle.dumps(made)) == made
    assert set(made.record) <= set(operation.source_columns)
    for sample in made.samples:
        assert set(sample.record) == set(operation.sample_columns)
        assert [member.role for member in sample.members] == ["image"]
    kinds = {**operation.source_columns, **operation.sample_columns}
    for record in (made.record, *(sample.record for sample in made.samples)):
        assert all(value is None or type(value) is kinds[name] for name, value in record.items())
    return made


def seen(data: bytes) -> np.ndarray:
    """The picture as upstream reads it, IMREAD_UNCHANGED, as HWC and RGB."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    if pixels.ndim == 2:
        return pixels[:, :, None]
    return np.concatenate([pixels[:, :, 2::-1], pixels[:, :, 3:]], axis=2)
