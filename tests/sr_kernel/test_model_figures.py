"""What the list of models says of a network is what the network is."""

from __future__ import annotations

import math

import pytest

from sr_kernel.archs import ARCHS
from sr_kernel.model_figures import parameters, window_bytes
from sr_kernel.models import MODELS, ModelSpec
from tests.networks import rrdb_spec, srvgg_spec

SPECS = [spec for spec in MODELS.values() if spec.arch in ARCHS] + [
    rrdb_spec(1),
    rrdb_spec(2, blocks=3),
    srvgg_spec(2, convs=7),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_parameters_are_those_of_the_state_dict(spec: ModelSpec) -> None:
    assert parameters(spec) == sum(math.prod(shape) for shape in ARCHS[spec.arch].shapes(spec).values())


def test_networks_without_shapes_have_no_figures() -> None:
    unknown = {spec.name for spec in MODELS.values() if parameters(spec) is None}
    assert unknown == {spec.name for spec in MODELS.values() if spec.arch not in ARCHS}
    assert all(window_bytes(MODELS[name]) is None for name in unknown)


def test_memory_grows_with_the_network() -> None:
    sizes = [window_bytes(MODELS[name]) or 0 for name in ("animevideov3", "general-x4v3", "x4plus-anime", "x4plus")]
    assert sizes == sorted(sizes)
    assert sizes[0] > 4 * (parameters(MODELS["animevideov3"]) or 0)
