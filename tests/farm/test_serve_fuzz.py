"""The service is asked whatever its description allows, and what it does not: it always answers as described, is never
at fault, and hands over nothing that lies outside its roots."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from .service import SHOWN, Handed, Service, tree
from .test_serve import config_of

EXAMPLES = 40
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


_FOLDER = tempfile.TemporaryDirectory(prefix="farm-serve-")
"""there when tests are collected, as the description is made then; it goes with this process"""
SERVICE = Service((str(tree(Path(_FOLDER.name).resolve())), "s3://bucket/prefix"))
schema = schemathesis.openapi.from_asgi("/openapi.json", SERVICE.app, headers=SHOWN)


@pytest.fixture(scope="module", autouse=True)
def somebody() -> Iterator[None]:
    """A user without a head; in the end all that was handed over is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(Path(_FOLDER.name) / "state"))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
    assert SERVICE.handed.runs, "nothing that was asked for was right"
    check_handed(SERVICE.handed, SERVICE.roots)


@schema.parametrize()
@fuzzed
def test_every_answer_is_as_described(case: Any) -> None:
    """No 5xx, a status and a body that the description has, 401 without the token, nothing accepted that it rules out.
    What it allows may still be refused: bounds and contradictions are the configuration's to find."""
    excluded = [positive_data_acceptance]
    if (
        case.method == "GET"
    ):  # an empty list that is added to a query is not sent, and the header is ours: nothing is wrong
        excluded.append(negative_data_rejection)
    case.call_and_validate(headers=SHOWN, excluded_checks=excluded)


PIECES = (
    "photos",
    "a.png",
    "m.csv",
    "out-link",
    "file-link.csv",
    "new-link",
    "in-link",
    "round",
    "..",
    ".",
    "",
    "*",
    "new",
    "b.png",
)
places = st.builds(
    lambda start, names, end: start + "/".join(names) + end,
    st.sampled_from(
        [
            "ROOT/",
            "ROOT",
            "ROOT-beside/",
            "/",
            "file://ROOT/",
            "s3://bucket/prefix/",
            "s3://bucket/",
            "",
            "//ROOT/",
            "ROOT/../",
        ]
    ),
    st.lists(st.sampled_from(PIECES), max_size=4),
    st.sampled_from(["", "/", "%2e%2e", "\0", "?"]),
)


@settings(fuzzed, max_examples=300)
@given(manifest=places, out=places)
def test_whatever_is_named_only_what_lies_in_a_root_is_handed_over(manifest: str, out: str) -> None:
    assume("s3://bucket/prefix" not in manifest or not {"*", "?"} & set(manifest))  # a store would be asked for it
    root = SERVICE.roots[0]
    body = {"manifest": manifest.replace("ROOT", root), "out": out.replace("ROOT", root)}
    before = len(SERVICE.handed.runs)
    status, answer = SERVICE.start(**body)
    assert status in (202, 403, 422), answer
    assert len(SERVICE.handed.runs) - before == (status == 202)
    check_handed(Handed(SERVICE.handed.runs[before:]), SERVICE.roots)


def check_handed(handed: Handed, roots: tuple[str, ...]) -> None:
    """All that was handed over lies in a root, by the words of its command, and is what the words say."""
    for config, words in handed.runs:
        parsed = config_of(list(words))
        assert parsed == config
        for place in (parsed.manifest, parsed.output.out):
            assert place is not None
            real = place if "://" in place else os.path.realpath(place)
            assert any(real == root or real.startswith(f"{root}/") for root in roots), place
        for closed in (parsed.root, parsed.model.weights_dir, parsed.worker.address):
            assert closed is None
        assert not any(Path(name).suffix for name in (parsed.model.model, *parsed.model.models))
