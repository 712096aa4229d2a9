"""Faces on a GPU: the CPU's within a level, on the device that is named, and the same bytes in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sr_kernel.backend import keep_to_fp32

from ..outside import require_face

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine"),
]


def test_faces_agree_with_the_cpu_and_depend_on_no_batch() -> None:
    require_face()
    from sr_kernel.faces.restore import Generator

    from ..face_files import new_gfpgan

    rng = np.random.default_rng(0)
    faces = [rng.integers(0, 256, (512, 512, 3), dtype=np.uint8) for _ in range(3)]
    cpu = Generator(new_gfpgan(narrow=1 / 16), torch.device("cpu")).restore(faces, batch=1)
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    keep_to_fp32(device)
    generator = Generator(new_gfpgan(narrow=1 / 16).to(device), device)
    together = generator.restore(faces, batch=8)
    for expected, made, face in zip(cpu, together, faces, strict=True):
        assert np.abs(expected - made).max() < 1
        np.testing.assert_array_equal(generator.restore([face], batch=8)[0], made)
