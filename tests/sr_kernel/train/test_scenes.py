"""Scenes are pictures of all kinds, the same for the same seed."""

from __future__ import annotations

import numpy as np

from sr_kernel.train.scenes import SceneSpec, make_scene


def test_scenes_follow_from_their_seed_and_number() -> None:
    made = [make_scene(SceneSpec(seed=1, index=index, side_px=64)) for index in range(12)]
    assert all(one.shape == (64, 64, 3) and one.dtype == np.uint8 for one in made)
    assert np.array_equal(made[3], make_scene(SceneSpec(seed=1, index=3, side_px=64)))
    assert not np.array_equal(made[3], make_scene(SceneSpec(seed=2, index=3, side_px=64)))
    assert len({one.tobytes() for one in made}) == 12
    assert all(one.std() > 3 for one in made)
