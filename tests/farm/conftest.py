"""What several rooms of these tests ask for by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farm.media.video.read.decoder import DecodedFrame, FrameSource


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The stamps of all frames that any decoder gives from now on."""
    stamps: list[int] = []
    frames = FrameSource.frames

    def counted(self: FrameSource) -> Iterator[DecodedFrame]:
        for one in frames(self):
            stamps.append(one.stamp)
            yield one

    monkeypatch.setattr(FrameSource, "frames", counted)
    return stamps
