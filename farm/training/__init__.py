"""`farm train`: configuration, order of samples, the loop, its workers, what is kept and said."""

from __future__ import annotations

from farm.training.config import TrainConfig
from farm.training.read import load_config

__all__ = ["TrainConfig", "load_config"]
