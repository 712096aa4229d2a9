"""Weight files that want to do something (S4): nothing in them is run, unpacked without end or written anywhere."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from farm.cli import main
from sr_kernel.weights import WeightsError, describe_file, load_state, unpickled
from tests.seeded import seeded_state, srvgg_spec


class Reduces:
    """Unpickled without care, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (self.command,))


class Evaluates(Reduces):
    def __reduce__(self) -> tuple[object, ...]:
        return (eval, (f"__import__('os').system({self.command!r})",))


class Builds(Reduces):
    """Its state is set by an item of a tensor's class, which is allowed, and holds what is not."""

    def __reduce__(self) -> tuple[object, ...]:
        return (OrderedDict, (), {"hook": Reduces(self.command)})


class Rebuilds(Reduces):
    """torch's own way of making a parameter, given something else to make."""

    def __reduce__(self) -> tuple[object, ...]:
        return (torch._utils._rebuild_parameter, (Reduces(self.command), False, OrderedDict()))


class Subclasses(OrderedDict[str, object]):
    """A state dict of a class of the file's own."""


def pickled_by_hand(command: str) -> bytes:
    return b"cos\nsystem\n(S'" + command.encode() + b"'\ntR."


def extended(command: str) -> bytes:
    """By an import of protocol 4, whose name is put together on the stack."""
    text = lambda one: b"\x8c" + bytes([len(one)]) + one.encode()  # noqa: E731
    return b"\x80\x04" + text("posix") + text("system") + b"\x93" + text(command) + b"\x85R."


def deep() -> bytes:
    return b"\x80\x02" + b"(" * 50_000 + b"t" * 50_000 + b"."


def torch_file(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def archive(entries: dict[str, bytes], *, squeezed: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if squeezed else zipfile.ZIP_STORED) as to:
        for name, data in entries.items():
            to.writestr(name, data)
    return file.getvalue()


def with_entry(name: str, data: bytes) -> bytes:
    """A good file with one more entry."""
    file = io.BytesIO(torch_file(seeded_state(srvgg_spec())))
    with zipfile.ZipFile(file, "a") as to:
        to.writestr(name, data)
    return file.getvalue()


def huge_storage() -> bytes:
    """A tensor that says it has 2^40 values, of a storage that is not there."""
    storage = b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    storage += b"\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"K\x00\x8a\x06" + (1 << 40).to_bytes(6, "little")
    data = b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"\x85K\x01\x85\x89}tRs."
    return archive({"a/data.pkl": data, "a/version": b"3\n", "a/data/0": bytes(16)})


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int, end: int, shape: list[int], kind: str = "F32") -> dict[str, object]:
    return {"conv_first.weight": {"dtype": kind, "shape": shape, "data_offsets": [start, end]}}


PTH: dict[str, Callable[[str], bytes]] = {
    "reduce": lambda command: pickle.dumps(Reduces(command)),
    "reduce, protocol 0": lambda command: pickle.dumps(Reduces(command), protocol=0),
    "reduce, by hand": pickled_by_hand,
    "global of protocol 4": extended,
    "reduce in torch's form": lambda command: torch_file(Reduces(command)),
    "nested": lambda command: torch_file({"params": {"a": [({"b": Reduces(command)},)]}}),
    "key": lambda command: torch_file({(1, Reduces(command)): torch.zeros(1)}),
    "eval": lambda command: torch_file({"params": Evaluates(command)}),
    "build": lambda command: torch_file({"params": Builds(command)}),
    "rebuild": lambda command: torch_file({"conv_first.weight": Rebuilds(command)}),
    "subclass": lambda _: torch_file(Subclasses(seeded_state(srvgg_spec()))),
    "function": lambda _: torch_file({"hook": os.system}),
    "deep": lambda _: deep(),
    "huge storage": lambda _: huge_storage(),
    "code of TorchScript": lambda _: archive({"a/code/__torch__.py": b"import os", "a/data.pkl": b"\x80\x02}."}),
    "traversal alone": lambda _: archive({"../../owned": b"x", "/tmp/owned-by-farm": b"x"}),
    "traversal beside": lambda _: with_entry("../../owned", b"x"),
    "an absolute path beside": lambda _: with_entry("/tmp/owned-by-farm", b"x"),
    "squeezed": lambda _: archive({"a/data.pkl": bytes(65 << 20)}, squeezed=True),
}
SAFETENSORS: dict[str, bytes] = {
    "header without end": safetensors({}, length=1 << 62),
    "header longer than the file": safetensors({}, length=1000),
    "negative header": struct.pack("<q", -1) + b"{}",
    "no JSON": safetensors(b"\x80\x02cos\nsystem\n."),
    "deep JSON": safetensors(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a list": safetensors([]),
    "behind the end": safetensors(tensor(0, 1 << 40, [1 << 38])),
    "backwards": safetensors(tensor(8, 0, [2]), bytes(8)),
    "another size": safetensors(tensor(0, 8, [1 << 62, 4]), bytes(8)),
    "negative size": safetensors(tensor(0, 8, [-2]), bytes(8)),
    "unknown kind": safetensors(tensor(0, 8, [2], "PICKLE"), bytes(8)),
    "a hole": safetensors(tensor(8, 16, [2]), bytes(16)),
    "more than it names": safetensors(tensor(0, 8, [2]), bytes(100)),
}


def refused(path: Path) -> None:
    began = time.monotonic()
    for attempt in (lambda: describe_file(path), lambda: load_state(path, None)):
        with pytest.raises(WeightsError):
            attempt()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("how", PTH)
def test_a_hostile_file_is_refused_and_has_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    path = Path("evil.pth")
    path.write_bytes(PTH[how](f"touch {tmp_path}/owned"))
    refused(path)
    assert [one.name for one in tmp_path.rglob("*")] == ["a", "b", "evil.pth"]
    assert not Path("/tmp/owned-by-farm").exists()


@pytest.mark.parametrize("how", SAFETENSORS)
def test_a_hostile_header_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(SAFETENSORS[how])
    refused(path)


@pytest.mark.parametrize("version", ["2.9.1", "2.6.0+cu124", "1.13.1"])
def test_an_older_torch_reads_no_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    path = tmp_path / "net.pth"
    torch.save(seeded_state(srvgg_spec()), path)
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(WeightsError, match=r"install torch >= 2\.10"):
        describe_file(path)


def test_faces_read_their_files_by_the_same_rules(tmp_path: Path) -> None:
    from sr_kernel.faces import networks

    assert networks.unpickled is unpickled
    bomb = archive({"a/data.pkl": bytes(65 << 20)}, squeezed=True)
    with pytest.raises(WeightsError, match="unpacks to"):
        unpickled(bomb, tmp_path / "face.pth")


def test_the_command_ends_with_78(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(PTH["nested"](f"touch {tmp_path}/owned"))
    ran = CliRunner().invoke(main, ["models", "info", str(path)])
    assert ran.exit_code == 78, ran.output
    assert "holds more than tensors" in ran.output
    assert not (tmp_path / "owned").exists()
