"""Nobody gets in and no secret gets out (S1 to S3, S8), whatever a run serves and whatever secrets it knows.

With --trials N: N runs on Ray of their own, of which is drawn what they serve, their secrets, and where somebody has
written some; N hundred versions of Ray; and N hundred requests to the service, of which some know the token.
"""

from __future__ import annotations

import base64
import os
import random
import string
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from packaging.version import Version

from farm import access
from farm.errors import UnreachableError

from ..e2e.test_security import JOBS, listeners, post
from ..farm.service import TOKEN, Service
from ..farm.service import tree as service_tree
from ..nodes import free_port
from ..runs import Farm, results
from .record import Note

Make = Callable[..., Path]
pytestmark = pytest.mark.timeout(900)
SHORT = 1
SECRETS = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN", "HF_TOKEN"),
    *("RAY_AUTH_TOKEN_OF_ANOTHER", "DATABASE_URL"),
)
"""variables that hold one in whoever starts a run"""
LETTERS = string.ascii_letters + string.digits + "/+=$'\"% "
FIRST_SAFE = Version("2.52.0")

# -- runs ----------------------------------------------------------------------------------------------------------


def draw_secret(chance: random.Random) -> str:
    return "S3cr" + "".join(chance.choice(LETTERS) for _ in range(chance.randint(20, 60))).strip()


def forms(secret: str) -> set[str]:
    """In which somebody may find it again."""
    plain = secret.encode()
    return {
        secret,
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        base64.b64encode(plain).decode(),
        plain.hex(),
        repr(secret)[1:-1],
    }


def rows_with(secrets: Mapping[str, str], chance: random.Random) -> Iterator[str]:
    """Sources in which somebody has written some of them."""
    for secret in secrets.values():
        quoted = urllib.parse.quote(secret, safe="")
        yield chance.choice(
            (
                f"s3://KEY:{quoted}@bucket/a.png",
                f"https://host.example/a.png?X-Amz-Credential=KEY&X-Amz-Signature={quoted}",
                f"https://user:{quoted}@host.example/a.png",
                f"https://host.example/a.png?Signature={quoted}&Expires=1",
            )
        )


def search(said: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    for place, text in said.items():
        for name, secret in secrets.items():
            found = [form for form in forms(secret) if form in text]
            assert not found, f"{name} is in {place}, as {found}"


def written(folder: Path) -> dict[str, str]:
    """All that lies below a folder, Parquet as what it holds."""
    found: dict[str, str] = {}
    paths = (Path(place) / name for place, _, names in os.walk(folder) for name in names)  # folders may go meanwhile
    for path in paths:
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                found[str(path)] = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found[f"{path}, read"] = f"{table.to_pylist()} {table.schema.metadata}"
    return found


def command_lines(driver: int) -> str:
    lines: list[str] = []
    for process in (psutil.Process(driver), *psutil.Process(driver).children(recursive=True)):
        with suppress(psutil.Error):  # it has ended
            lines.append(" ".join(process.cmdline()))
    return "\n".join(lines)


def served(chance: random.Random) -> tuple[str, ...]:
    flags: tuple[str, ...] = ()
    if chance.random() < 0.5:
        flags += ("--metrics-port", str(free_port()))
    if chance.random() < 0.5:
        flags += ("--dashboard",)
    return flags


def test_whatever_a_run_serves_nobody_gets_in_and_no_secret_out(
    slow_farm: Farm,
    make_picture: Make,
    tmp_path: Path,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    for at in range(trials or SHORT):
        folder = tmp_path / f"{at}"
        secrets = {name: draw_secret(chance) for name in SECRETS}
        for number in range(4):
            make_picture(folder / f"{number}.png", 128, 96, seed=number)
        (folder / "bad.png").write_bytes(b"no picture")
        sources = [*(f"{number}.png" for number in range(4)), "bad.png", *rows_with(secrets, chance)]
        (folder / "m.txt").write_text("".join(f"{source}\n" for source in sources))
        flags, out = served(chance), tmp_path / f"out-{at}"
        command = ("submit", folder / "m.txt", "--model", slow_farm.model, "--workers", "1", "--out", out, *flags)
        temp = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))  # short: sockets lie in it
        process = slow_farm.start(*command, env={**secrets, "TMPDIR": str(temp)})
        said, listening, answers = "", set[tuple[str, int]](), dict[tuple[int, str], tuple[int, str]]()
        logs = 0
        while process.poll() is None:
            with suppress(psutil.Error):
                said += command_lines(process.pid)
                seen = listeners(process.pid)
                for _, port in seen - listening:
                    answers |= {(port, path): post(port, path) for path in JOBS}
                listening |= seen
            of_ray = written(temp)
            search(of_ray, secrets)
            logs = max(logs, len(of_ray))
            time.sleep(0.3)
        output, errors = process.communicate(timeout=120)
        told = f"run {at} with {flags}: {errors}"
        assert process.returncode == 3, told
        assert len(results(out)) == len(sources), told
        assert logs > 5, f"those of Ray were there; {told}"
        assert not list(temp.iterdir()), told
        temp.rmdir()
        assert len(listening) >= 3, f"Ray was seen; {told}"
        assert all(host in ("127.0.0.1", "::1", "::ffff:127.0.0.1") for host, _ in listening), f"{listening}; {told}"
        taken = {where: answer for where, answer in answers.items() if answer[0] and answer[0] < 400}
        assert not [one for one in taken.values() if "submission_id" in one[1] or "job_id" in one[1]], taken
        if "--dashboard" in flags:
            assert 401 in {status for status, _ in answers.values()}, answers
        everything = {"command lines": said, "standard output": output, "standard error": errors}
        search(everything | written(out), secrets)
    note(runs=trials or SHORT, secrets=len(SECRETS) * (trials or SHORT))


# -- versions and tokens -------------------------------------------------------------------------------------------


def draw_version(chance: random.Random) -> str:
    major, minor = chance.choice((1, 2, 2, 2, 3)), chance.choice((9, 50, 51, 52, 53, 60, 100))
    return f"{major}.{minor}.{chance.randint(0, 9)}" + chance.choice(("", "", "rc1", ".dev0", ".post1", "+local"))


def test_no_ray_without_authentication_is_taken(trials: int, chance: random.Random, note: Note) -> None:
    refused = 0
    for _ in range(100 * (trials or SHORT)):
        version = draw_version(chance)
        try:
            access.check_version(version)
        except UnreachableError as error:
            safe, refused = False, refused + 1
            assert version in str(error)  # noqa: PT017
        else:
            safe = True
        release = Version(Version(version).base_version)
        assert safe == (release >= FIRST_SAFE), version
    note(versions=100 * (trials or SHORT), refused=refused)


# -- the service ---------------------------------------------------------------------------------------------------

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")
PATHS = ("/v1/runs", "/v1/runs/x", "/v1/runs/x/log", "/v1/models", "/v1/health", "/openapi.json", "/", "//v1", "/docs")


def draw_headers(chance: random.Random) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Headers, and whether they hold the token as they must."""
    wrong = list(TOKEN)
    wrong[chance.randrange(len(wrong))] = "x"
    values = {
        b"": False,
        f"Bearer {TOKEN}".encode(): True,
        f"Bearer {''.join(wrong)}".encode(): False,
        f"Bearer {TOKEN[: chance.randrange(len(TOKEN))]}".encode(): False,
        f"Bearer {TOKEN}{chance.choice(string.hexdigits)}".encode(): False,
        f"Basic {TOKEN}".encode(): False,
        f"Token {TOKEN}".encode(): False,
        bytes(chance.randrange(33, 256) for _ in range(20)): False,
    }
    value = chance.choice([*values, *[one for one, right in values.items() if right] * 4])
    name = chance.choice((b"authorization", b"authorization", b"Authorization", b"x-authorization", b"cookie"))
    return [(name, value)], values[value] and name.lower() == b"authorization"


def test_whoever_asks_the_service_without_the_token_gets_nothing(
    trials: int, chance: random.Random, tmp_path: Path, note: Note
) -> None:
    root = service_tree(tmp_path)
    service, met = Service((str(root),)), Counter[str]()
    client = service.client(shown=False)
    for _ in range(100 * (trials or SHORT)):
        headers, knows = draw_headers(chance)
        beside = (f"{root}/../root-beside/m.csv", f"{root}/out-link/m.csv", "/etc/passwd", f"{root}-beside")
        outside = chance.choice(beside)
        body = {"manifest": chance.choice((outside, f"{root}/m.csv")), "out": f"{root}/new-{met.total()}"}
        method, path = chance.choice(METHODS), chance.choice(PATHS)
        before = len(service.handed.runs)
        answer = client.request(method, path, headers=headers, json=body if method == "POST" else None)
        told = f"{method} {path} {headers} {body}: {answer.status_code} {answer.text}"
        assert TOKEN not in answer.text, told
        if not knows:
            assert answer.status_code == 401, told
        if not knows or body["manifest"] == outside:
            assert len(service.handed.runs) == before, told
        met["known" if knows else "unknown"] += 1
    assert met["known"] > 0
    note(requests=met.total(), met=dict(met), handed=len(service.handed.runs))
