"""TensorBoard's files, where it is installed: the same figures as the log's."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Protocol


class Board(Protocol):
    """Where figures go as curves."""

    def figures(self, at: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, folder: str, first: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        writer: Any = SummaryWriter(folder, purge_step=first)  # pyright: ignore[reportUnknownVariableType]
        self._writer = writer

    def figures(self, at: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, at)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Nowhere:
    def figures(self, at: int, figures: Mapping[str, float]) -> None:
        del at, figures

    def close(self) -> None: ...


def open_board(folder: str | None, first: int) -> Board:
    """A board below a folder of this machine; nowhere for None, and where TensorBoard is not installed. What it has of
    iterations from `first` on, which are done again, is no longer shown."""
    if folder is None or importlib.util.find_spec("tensorboard") is None:
        return _Nowhere()
    return _TensorBoard(folder, first)
