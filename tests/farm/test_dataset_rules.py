"""Rules choose as Python would, null counts as said, and nothing but a rule is ever run."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.dataset.rules import parse_rule
from farm.errors import UsageError

COLUMNS = {"width": int, "height": int, "blur": float, "format": str, "near_duplicate": bool, "empty": float}
BATCH = pa.record_batch(
    {
        "width": pa.array([400, 300, None]),
        "height": pa.array([100, 500, 600], pa.int32()),
        "blur": pa.array([1.5, None, 200.0]),
        "format": pa.array(["png", "jpg", None]),
        "near_duplicate": pa.array([True, None, False]),
        "empty": pa.nulls(3),
    }
)
T, F = True, False


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("width >= 400", [T, F, F]),
        ("width >= 300 and blur > 1", [T, F, F]),
        ("width == 300 or blur > 100", [F, T, T]),
        ("not blur > 100", [T, T, F]),  # null is not above 100
        ("blur != 1.5", [F, F, T]),  # nor is it anything else
        ("near_duplicate", [T, F, F]),
        ("not near_duplicate", [F, T, T]),
        ("near_duplicate == True", [T, F, F]),
        ("near_duplicate is None", [F, T, F]),
        ("blur is not None", [T, F, T]),
        ("100 < height <= 500", [F, T, F]),
        ("format == 'png'", [T, F, F]),
        ('format in ("png", "jpg")', [T, T, F]),
        ("format not in ['png']", [F, T, F]),
        ("height in (100, 600.0)", [T, F, T]),
        ("min(width, height) >= 300", [F, T, F]),  # of null nothing is made
        ("max(width, height, 450) == 500", [F, T, F]),
        ("abs(width - height) / 2 > 120", [T, F, F]),
        ("width * height >= 1e5", [F, T, F]),
        ("-width < -350", [T, F, F]),
        ("blur > -3", [T, F, T]),
        ("width / 0 > 1", [T, T, F]),
        ("(width - width) / 0 == 1", [F, F, F]),
        ("empty > 1 or empty is None", [T, T, T]),
        ("not empty > 1", [T, T, T]),
        ("True", [T, T, T]),
        ("1 > 2", [F, F, F]),
        ("  ( width\n > 350 ) # wide", [T, F, F]),
    ],
)
def test_rules_choose(text: str, kept: list[bool]) -> None:
    found = parse_rule(text, COLUMNS).keep(BATCH)
    assert found.type == pa.bool_()
    assert found.to_pylist() == kept


def test_a_rule_says_which_columns_it_asks() -> None:
    assert parse_rule("width > 4 and not near_duplicate", COLUMNS).columns == {"width", "near_duplicate"}
    assert parse_rule("empty is None", COLUMNS).columns == {"empty"}


def test_whole_numbers_are_compared_exactly() -> None:
    batch = pa.record_batch({"width": pa.array([2**53, 2**53 + 1])})
    assert parse_rule(f"width == {2**53 + 1}", {"width": int}).keep(batch).to_pylist() == [F, T]


def test_an_empty_batch_is_taken() -> None:
    assert parse_rule("width > 4", COLUMNS).keep(BATCH.slice(0, 0)).to_pylist() == []
    assert parse_rule("1 < 2", COLUMNS).keep(BATCH.slice(0, 0)).to_pylist() == []


def test_an_unknown_column_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no column widht; the columns are blur, empty, format, height, near_dup"):
        parse_rule("widht > 400", COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "", "width", "width >", "None", "width > 'a'", "width > None", "blur is 3", "width is None is None",
        "__import__('os').system('true')", "width.real > 1", "width[0] > 1", "print(width)", "min(width) > 1",
        "abs(1, 2) > 1", "min(*width, 2) > 1", "min(width, key=2) > 1", "width ** 9 ** 9 > 1", "width // 2 > 1",
        "width % 2 == 0", "~width > 1", "+width > 1", "width and near_duplicate", "near_duplicate + 1 > 1",
        "near_duplicate > near_duplicate", "f'{width}' == 'a'", "b'a' == format", "1j > width", "... == 1",
        "lambda: 1", "[w for w in width]", "width if near_duplicate else height", "(a := 1) > 0", "width = 1",
        "format in 'png'", "format in ()", "format in (width,)", "format in ('a', 1)", "format in ('a', None)",
        "width > 99999999999999999999", "format == '\\d'", "width > 1; height > 1", "\0", "await width", "yield",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"^rule: ") as caught:
        parse_rule(text, COLUMNS)
    assert "; " in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 300 + "1" + ")" * 300,
        "not " * 2400 + "near_duplicate",
        "-" * 9000 + "1 > width",
        "+".join(["width"] * 1600) + " > 1",
        "x" * 20_000,
        "min(" * 150 + "1" + ", 1)" * 150 + " > 1",
    ],
    ids=["parentheses", "not", "minus", "plus", "long", "calls"],
)
def test_what_goes_too_deep_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^rule: ") as caught:
        parse_rule(text, COLUMNS)
    assert len(str(caught.value)) < 500


@settings(deadline=None, max_examples=300)
@given(text=st.text(alphabet="wbfn_ <>=!()0123.'\"andortpi+-*/,\n", max_size=40))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    columns = {"w": int, "b": bool, "f": str, "n": float}
    batch = pa.record_batch({"w": [1, None], "b": [True, None], "f": ["a", None], "n": [0.5, None]})
    try:
        rule = parse_rule(text, columns)
    except UsageError:
        return
    assert rule.keep(batch).null_count == 0


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_rules_without_nulls_agree_with_python(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.booleans()), min_size=1))
    number = st.sampled_from(["w", "h", "3", "-2", "w + h", "w * 2 - h", "abs(w)", "min(w, h)"])
    compared = st.builds("({} {} {})".format, number, st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]), number)
    leaf = compared | st.just("d")
    joined = st.recursive(
        leaf, lambda part: st.builds("({} {} not {})".format, part, st.sampled_from(["and", "or"]), part)
    )
    text = data.draw(joined)
    w, h, d = (list(column) for column in zip(*values, strict=True))
    kept = parse_rule(text, {"w": int, "h": int, "d": bool}).keep(pa.record_batch({"w": w, "h": h, "d": d}))
    functions = {"abs": abs, "min": min}
    assert kept.to_pylist() == [eval(text, functions, {"w": a, "h": b, "d": c}) for a, b, c in values]
