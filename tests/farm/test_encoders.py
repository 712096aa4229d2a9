"""What no film at all could be encoded as is a contradiction of the configuration; all else depends on the film."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from farm.config import CODECS as CODEC_FLAGS
from farm.config import FILM_CONTAINERS, VideoConfig
from farm.encoders import CODECS, SCALES
from farm.errors import ItemError, UsageError
from farm.media.video.write.codecs import SourceFacts, choose_encoder
from sr_kernel.layout import FrameLayout
from tests.farm.media.films import facts, video_params


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"codec": "prores", "container": "webm"}, "--codec: prores does not go into webm; ask for --container mov or"),
        ({"codec": "h264", "preset": "p5"}, "--preset: libx264 has no preset p5; ask for one of placebo"),
        ({"codec": "av1", "preset": "14"}, "--preset: libsvtav1 has no preset 14"),
        ({"codec": "hevc", "crf": 52}, "--crf: libx265 has no CRF of 52; ask for one from 0"),
        ({"codec": "av1", "pix_fmt": "yuv444p"}, "--pix-fmt: av1 in mp4 takes no yuv444p; ask for one of yuv420p"),
        ({"codec": "vp9", "container": "mp4", "pix_fmt": "yuva420p"}, "--pix-fmt: vp9 in mp4 takes no yuva420p"),
        ({"codec": "vp9", "encoder": "nvenc"}, "--encoder: NVENC has no vp9; ask for --encoder software"),
        ({"codec": "h264", "encoder": "nvenc", "preset": "slow"}, "h264_nvenc has no preset slow; ask for one of p1"),
        ({"preset": "nonsense"}, "--preset: no codec has a preset nonsense"),
        ({"preset": "p5"}, "--preset: no codec has a preset p5"),
        ({"preset": "13", "container": "mov"}, "--preset: no codec for mov has a preset 13"),
        ({"preset": "hq", "container": "webm"}, "--preset: no codec for webm has a preset hq"),
        ({"crf": 60, "container": "mov"}, "--crf: no codec for mov has a CRF of 60; ask for one from 0 (best) to 51"),
        ({"pix_fmt": "nonsense"}, "--pix-fmt: no codec takes the pixel format nonsense; leave it at auto"),
        ({"encoder": "nvenc", "preset": "slow"}, "--preset: no NVENC has a preset slow; ask for one of p1"),
        ({"preset": "hq", "crf": 20}, "--preset: no codec takes --preset hq with --crf 20; leave one of them out"),
    ],
)
def test_what_contradicts_itself_is_said_with_what_to_do(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        VideoConfig(**options)  # pyright: ignore[reportArgumentType]
    assert says in str(refused.value)
    assert "; " in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "slow"},
        {"preset": "13"},  # of AV1: films of other codecs fail one by one
        {"preset": "hq"},
        {"crf": 63},
        {"crf": 60, "container": "webm"},
        {"pix_fmt": "yuva444p10le"},
        {"pix_fmt": "yuv420p10"},
        {"codec": "vp9", "pix_fmt": "yuva420p"},  # in all but one of the containers that `same` may mean
        {"codec": "ffv1", "crf": 20, "preset": "slow"},  # has no use for them, and says so
        {"codec": "h264", "preset": "nonsense", "container": "sequence"},  # pictures have none either
        {"encoder": "nvenc", "pix_fmt": "yuv420p10le"},
    ],
    ids=str,
)
def test_what_some_film_could_be_is_left_to_the_films(options: dict[str, object]) -> None:
    VideoConfig(**options)  # pyright: ignore[reportArgumentType]


def sources() -> Iterator[SourceFacts]:
    """Films of every family; what else they are decides nothing here but whether there is alpha."""
    for family, alpha in product(CODECS, (False, True)):
        yield facts(FrameLayout(width=160, height=96, chroma_shift=(1, 1), alpha=alpha), family)


def test_exactly_what_no_film_could_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables against the choice that is made for each film."""
    monkeypatch.setattr("farm.media.video.write.codecs._checked", lambda fit, *_: fit)
    films = list(sources())
    asked = product(CODEC_FLAGS, FILM_CONTAINERS, (None, 52), (None, "slow", "13", "hq"), ("auto", "yuva420p", "bgr0"))
    for codec, container, crf, preset, pix_fmt in asked:
        if container == "sequence":
            continue
        options = {"codec": codec, "container": container, "crf": crf, "preset": preset, "pix_fmt": pix_fmt}
        try:
            VideoConfig(**options)  # pyright: ignore[reportArgumentType]
            taken = True
        except UsageError:
            taken = False
        containers = FILM_CONTAINERS[1:-1] if container == "same" else [container]
        options["preset"] = preset or ""
        found = any(can(film, {**options, "container": one}) for film in films for one in containers)
        assert found is taken, options


def can(film: SourceFacts, options: dict[str, object]) -> bool:
    try:
        chosen = choose_encoder(film, (160, 96), video_params(**options), "film")
    except ItemError:
        return False
    return options["codec"] != "auto" or "has no use for" not in (chosen.warning or "")


def test_every_encoder_has_a_scale() -> None:
    assert set(SCALES) == {name for spec in CODECS.values() for name in (spec.encoder, spec.nvenc) if name}
