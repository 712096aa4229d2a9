"""Two workers of farm train through Ray Train learn what one learns, and go on where they were."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from tests.farm.training.sets import make_config
from tests.outside import require

from ..runs import Farm


def test_two_workers_learn_what_one_learns(farm: Farm, tmp_path: Path) -> None:
    require("ray-train", all(map(find_spec, ("pandas", "tensorboardX"))))
    config, weights = make_config(tmp_path / "set"), {}
    for workers in ("1", "2"):
        out = tmp_path / f"with-{workers}"
        command = ("train", config, "--stage", "net", "--workers", workers, "--threads", "1", "--out", out)
        made = farm.run(*command, env={"RAY_ADDRESS": ""})
        assert made.returncode == 0, made.stderr
        assert "12 validated on 2: PSNR" in made.stderr
        assert "trained to iteration 12" in made.stderr
        weights[workers] = torch.load(out / "weights/tiny-000000012.pth", weights_only=True)["params_ema"]
    assert all(torch.allclose(one, weights["1"][name], atol=1e-4) for name, one in weights["2"].items())
