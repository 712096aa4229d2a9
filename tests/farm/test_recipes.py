"""A recipe is found by its name or read from a file, and what is wrong with it is said in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farm.errors import UsageError
from farm.recipes import load_recipe
from sr_kernel.degrade.recipe import RECIPES
from sr_kernel.degrade.recipe_toml import recipe_to_toml
from tests.sr_kernel.degrade.recipe_files import X4PLUS_YML


def test_a_name_is_one_of_the_package() -> None:
    assert load_recipe("x2plus") == RECIPES["x2plus"]
    assert load_recipe("x4plus", 512) == replace(RECIPES["x4plus"], gt_size=512)


@pytest.mark.parametrize(
    ("name", "text"), [("own.toml", recipe_to_toml(RECIPES["x4plus"])), ("up.YML", X4PLUS_YML), ("a.yaml", X4PLUS_YML)]
)
def test_a_file_is_read_by_its_extension(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert load_recipe(str(path)) == RECIPES["x4plus"]
    assert load_recipe(f"file://{path}", 256).gt_size == 256


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x5plus", None, "x4plus, x2plus, bicubic, bsrgan, light"),
        ("gone.toml", None, "gone.toml"),
        ("folder.toml", "folder", "folder.toml"),
        ("latin.toml", b"# \xfc\n", "UTF-8"),
        ("wrong.toml", b"scale = 4\nzoom = 3\n", "zoom"),
        ("wrong.yml", b"[1, 2", "not YAML"),
        ("huge.toml", b"#" * (2 << 20), "too_large"),
    ],
)
def test_what_is_no_recipe_is_named(name: str, data: bytes | str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data == "folder":
        path.mkdir()
    text = name if "." not in name else str(path)
    with pytest.raises(UsageError, match=said) as caught:
        load_recipe(text)
    assert str(caught.value).startswith("--recipe: ")


def test_a_size_that_does_not_fit_is_named() -> None:
    with pytest.raises(UsageError, match=r"--recipe: x4plus: .*gt_size = 401"):
        load_recipe("x4plus", 401)
