"""What this machine has, what is missing and how to get it: `farm doctor`. Returns records; printing is cli's.

Everything heavy is asked in a process of its own, so that a broken torch or libvips is a finding and not a traceback,
and so that this room loads neither.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

from farm import access
from farm.config import WorkerConfig
from farm.encoders import CODECS
from farm.errors import FarmError
from farm.fleet import cluster_address
from sr_kernel import hardware

_PROBE_S = 120
_AWS_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_SHM_BYTES = 2 << 30
"""below this Ray keeps its object store on disk"""

_TORCH_PROBE = """
import json, time, torch
answer = {"version": torch.__version__, "built_for": torch.version.cuda, "available": torch.cuda.is_available()}
answer["arches"] = torch.cuda.get_arch_list()
answer["devices"] = [
    {"name": torch.cuda.get_device_name(i), "capability": torch.cuda.get_device_capability(i),
     "bytes": torch.cuda.get_device_properties(i).total_memory}
    for i in range(torch.cuda.device_count())
] if answer["available"] else []
torch.set_num_threads(1)
size, features = 128, 64
def best_s(dtype):
    net = torch.nn.Conv2d(features, features, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.rand(1, features, size, size).to(dtype=dtype, memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(6):
            started = time.perf_counter(); net(x); times.append(time.perf_counter() - started)
    return min(times)
answer["flop"] = 2 * 9 * features * features * size * size
answer["fp32_s"] = best_s(torch.float32)
answer["bf16_s"] = best_s(torch.bfloat16) if BF16 else None
print(json.dumps(answer))
"""

_CODEC_PROBE = """
import json, pyvips
answer = {"version": ".".join(str(pyvips.version(i)) for i in range(3)), "formats": {}}
for name, suffix, loader in FORMATS:
    can = {"read": bool(pyvips.type_find("VipsForeignLoad", loader)), "write": False}
    try:
        data = pyvips.Image.black(16, 16, bands=3).cast("uchar").write_to_buffer(suffix)
        can["write"] = pyvips.Image.new_from_buffer(data, "").width == 16
    except pyvips.Error as error:
        can["why"] = str(error)[:200]
    answer["formats"][name] = can
print(json.dumps(answer))
"""

_FILM_PROBE = """
import json, av
have = {}
for name, encoder in ENCODERS:
    try:
        have[name] = av.Codec(encoder, "w").name == encoder
    except ValueError:  # what PyAV's UnknownCodecError is
        have[name] = False
print(json.dumps({"version": av.__version__, "ffmpeg": av.ffmpeg_version_info, "have": have}))
"""

_FORMATS = (
    ("png", ".png", "pngload"),
    ("jpg", ".jpg", "jpegload"),
    ("webp", ".webp", "webpload"),
    ("tiff", ".tiff", "tiffload"),
    ("avif", ".avif", "heifload"),
    ("gif", ".gif", "gifload"),
    ("jxl", ".jxl", "jxlload"),
    ("jp2", ".jp2", "jp2kload"),
    ("svg", ".none", "svgload"),
    ("pdf", ".none", "pdfload"),
)
_NEEDED_FORMATS = frozenset({"png", "jpg", "webp", "tiff", "avif"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about this machine."""

    topic: str
    """python, ray, torch, gpu, cpu, memory, codecs, films, weights, storage, face or train"""
    ok: bool
    """false: something the farm offers does not work here; `advice` says how to get it"""
    found: str
    """one sentence without a line break"""
    advice: str = ""

    def __str__(self) -> str:
        line = f"{'ok' if self.ok else '!!'}  {self.topic:8} {self.found}"
        return f"{line}\n{' ' * 13}-> {self.advice}" if self.advice else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as the driver or torch reports it."""

    name: str
    capability: tuple[int, int]
    """compute capability, major and minor"""
    bytes: int | None = None


def examine(weights_dir: str | None = None) -> tuple[Finding, ...]:
    """Everything about this machine, in the order a person reads it; takes seconds, most of them torch's import.

    `weights_dir` is searched before the usual folders. Raises nothing: what cannot be found out is a finding.
    """
    from sr_kernel.hardware import cpu_has_bf16

    native = cpu_has_bf16()
    encoders = [(spec.name, spec.encoder) for spec in CODECS.values()]
    with ThreadPoolExecutor(4) as pool:
        torch_answer = pool.submit(_ask, f"BF16 = {native}\n{_TORCH_PROBE}")
        codec_answer = pool.submit(_ask, f"FORMATS = {_FORMATS!r}\n{_CODEC_PROBE}")
        film_answer = pool.submit(_ask, f"ENCODERS = {encoders!r}\n{_FILM_PROBE}")
        driver_answer = pool.submit(_driver_gpus)
        torch_found, codecs_found, driver_gpus = torch_answer.result(), codec_answer.result(), driver_answer.result()
    return (
        _python(),
        _ray(),
        _torch(torch_found),
        *_gpus(torch_found, driver_gpus),
        _cpu(torch_found, native),
        _memory(),
        *_codecs(codecs_found),
        _films(film_answer.result()),
        *_weights(weights_dir),
        *_storage(),
        _extra("face", ("gfpgan", "facexlib", "basicsr")),
        _extra("foreign", ("spandrel", "einops")),
        _extra("train", ("pandas", "tensorboardX")),
        _extra("serve", ("fastapi", "uvicorn")),
    )


def examine_root(root: str) -> tuple[Finding, ...]:
    """What the disk or store of an output root can do, tried with one small object. Raises as farm.storage."""
    from farm import manifest, storage

    root = manifest.canonical(root)
    found = storage.capabilities(root)
    abilities = (
        (found.conditional_create, "makes an object only where there is none", "no lock can be had there"),
        (found.metadata, "keeps who published an object", "its objects do not say who made them"),
        (found.md5_etags, "answers a write with the MD5 of what it holds", "the length alone is checked after a write"),
    )
    if not storage.is_remote(root):
        return (Finding(topic="storage", ok=True, found=f"{root}: a disk; {abilities[0][1]}"),)
    where = "its own host name" if found.virtual_host else "a path of the endpoint"
    return (
        Finding(topic="storage", ok=True, found=f"{root}: can be written to; the bucket is reached under {where}"),
        *(
            Finding(topic="storage", ok=ok, found=what if ok else f"does not: {what}", advice="" if ok else without)
            for ok, what, without in abilities
        ),
    )


def supports(arches: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether a torch built for `arches` (as torch.cuda.get_arch_list says) runs on a GPU of this capability.

    Binary code (sm_XY) runs on its own major version from its minor upwards; PTX (compute_XY) on everything newer.
    Suffixed ones (sm_90a) run on exactly theirs. Source: CUDA C++ programming guide, binary and PTX compatibility.
    """
    for arch in arches:
        kind, _, number = arch.partition("_")
        digits = number.rstrip("af")
        if not digits.isdecimal():
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        if digits != number:
            fits = built == capability
        elif kind == "sm":
            fits = built[0] == capability[0] and built[1] <= capability[1]
        else:
            fits = kind == "compute" and built <= capability
        if fits:
            return True
    return False


def _ask(program: str) -> dict[str, Any]:
    """What a program prints as JSON; {"error": ...} where it fails."""
    try:
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=_PROBE_S)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {_PROBE_S} s"}
    if ran.returncode != 0:
        lines = ran.stderr.strip().splitlines() or [f"ended with {ran.returncode}"]
        return {"error": lines[-1][:300]}
    return json.loads(ran.stdout.splitlines()[-1])


def _driver_gpus() -> tuple[Gpu, ...]:
    """The GPUs the NVIDIA driver knows, whatever torch thinks of them; () without a driver."""
    return tuple(Gpu(name=name, capability=capability) for name, capability in hardware.driver_gpus())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    fits = (3, 10) <= sys.version_info[:2] <= (3, 12)
    advice = "" if fits else "the locked versions are for Python 3.10 to 3.12; run scripts/setup with one of them"
    return Finding(topic="python", ok=fits, found=f"{platform.python_version()} at {sys.executable}", advice=advice)


def _ray() -> Finding:
    version = _version("ray")
    if version is None:
        return Finding(topic="ray", ok=False, found="not installed", advice="pip install sr-farm installs it")
    where = cluster_address(WorkerConfig())
    found = f"{version}, {f'cluster at {where}' if where else 'embedded'}"
    exposed = access.exposed_token() if where else None
    try:
        access.check_version(version)
        if where:
            access.check_cluster(where, insecure=False)
    except FarmError as error:
        return Finding(topic="ray", ok=False, found=found, advice=str(error))
    return Finding(topic="ray", ok=exposed is None, found=found, advice=exposed or "")


def _torch(answer: dict[str, Any]) -> Finding:
    if "error" in answer:
        return Finding(topic="torch", ok=False, found=f"does not import: {answer['error']}", advice="run scripts/setup")
    built = f"built for CUDA {answer['built_for']}" if answer["built_for"] else "built for CPUs only"
    return Finding(topic="torch", ok=True, found=f"{answer['version']}, {built}")


def _gpus(answer: dict[str, Any], driver: Sequence[Gpu]) -> Iterator[Finding]:
    """One finding a GPU, or one that says what runs instead."""
    devices: list[dict[str, Any]] = answer.get("devices", [])
    seen = [Gpu(name=one["name"], capability=tuple(one["capability"]), bytes=one["bytes"]) for one in devices]
    if seen:
        yield from (_gpu(index, gpu, answer["arches"]) for index, gpu in enumerate(seen))
    elif driver:
        why = "torch cannot use the driver" if answer.get("built_for") else "torch is built for CPUs only"
        yield Finding(
            topic="gpu",
            ok=False,
            found=f"{', '.join(gpu.name for gpu in driver)}: {why}; CPU actors run instead (--gpus 0)",
            advice="install a torch built for this driver's CUDA version, or a newer driver",
        )
    else:
        yield Finding(topic="gpu", ok=True, found="none; CPU actors run instead (--gpus 0)")


def _gpu(index: int, gpu: Gpu, arches: Sequence[str]) -> Finding:
    capability = f"{gpu.capability[0]}.{gpu.capability[1]}"
    size = f"{(gpu.bytes or 0) / 2**30:.0f} GiB"
    found = f"{index}: {gpu.name}, compute capability {capability}, {size}"
    if supports(arches, gpu.capability):
        return Finding(topic="gpu", ok=True, found=f"{found}; the installed torch supports it")
    return Finding(
        topic="gpu",
        ok=False,
        found=f"{found}; the installed torch supports only {' '.join(arches)}; CPU actors run instead (--gpus 0)",
        advice=f"install a torch whose wheels hold sm_{gpu.capability[0]}{gpu.capability[1]} (torch >= 2.10)",
    )


def _cpu(answer: dict[str, Any], native: bool) -> Finding:
    cores = len(hardware.cores_here())
    busy = hardware.busy_cores(cores)
    shared = f" (control groups leave us the time of {busy})" if busy < cores else ""
    found = f"{cores} cores{shared}, bf16 {'native' if native else 'not native: fp32 is used'}"
    if "fp32_s" in answer:
        rate = f"{answer['flop'] / answer['fp32_s'] / 1e9:.0f} GFLOP/s a core in fp32"
        if answer["bf16_s"]:
            faster = answer["fp32_s"] / answer["bf16_s"]
            rate += f", {answer['flop'] / answer['bf16_s'] / 1e9:.0f} in bf16 ({faster:.1f} times)"
        found += f"; measured on a 3x3 convolution: {rate}"
    return Finding(topic="cpu", ok=True, found=found)


def _memory() -> Finding:
    ram, ours = hardware.physical_bytes(), hardware.memory_bytes()
    limited = f" (control groups leave us {ours / 2**30:.1f} GiB)" if ours < ram else ""
    shm = shutil.disk_usage("/dev/shm").total if os.path.isdir("/dev/shm") else 0
    advice = (
        "" if shm >= _SHM_BYTES else "Ray keeps its object store on disk; in a container, --shm-size 2g avoids that"
    )
    return Finding(
        topic="memory", ok=True, found=f"{ram / 2**30:.0f} GiB{limited}, /dev/shm {shm / 2**30:.1f} GiB", advice=advice
    )


def _codecs(answer: dict[str, Any]) -> Iterator[Finding]:
    if "error" in answer:
        advice = "pip install 'pyvips[binary]'"
        yield Finding(topic="codecs", ok=False, found=f"libvips does not load: {answer['error']}", advice=advice)
        return
    formats: dict[str, dict[str, bool]] = answer["formats"]
    both = [name for name, can in formats.items() if can["read"] and can["write"]]
    only = [name for name, can in formats.items() if can["read"] and not can["write"]]
    missing = sorted(_NEEDED_FORMATS - set(both))
    yield Finding(
        topic="codecs",
        ok=not missing,
        found=f"libvips {answer['version']} reads and writes {' '.join(both)}; only reads {' '.join(only) or 'none'}",
        advice=f"pip install 'pyvips[binary]' brings {' '.join(missing)}" if missing else "",
    )


def _films(answer: dict[str, Any]) -> Finding:
    advice = "pip install av, whose wheel brings FFmpeg's libraries"
    if "error" in answer:
        return Finding(topic="films", ok=False, found=f"PyAV does not load: {answer['error']}", advice=advice)
    have: dict[str, bool] = answer["have"]
    missing = [name for name, there in have.items() if not there]
    found = f"PyAV {answer['version']} (FFmpeg {answer['ffmpeg']}) encodes {' '.join(n for n in have if have[n])}"
    if missing:
        return Finding(topic="films", ok=False, found=f"{found}; not {' '.join(missing)}", advice=advice)
    return Finding(topic="films", ok=True, found=found)


def _weights(weights_dir: str | None) -> Iterator[Finding]:
    """One finding a model that restores; a missing file is no fault, the first run fetches it."""
    from farm.fetch import locate
    from sr_kernel.models import MODELS

    for spec in MODELS.values():
        if spec.role != "restore":
            continue
        try:
            path = locate(spec, weights_dir)
        except FarmError as error:
            yield Finding(topic="weights", ok=False, found=f"{spec.name}: {error}", advice="delete it and fetch again")
            continue
        size = f"{(spec.bytes or 0) / 1e6:.1f} MB"
        found = f"{spec.name}: {path}" if path else f"{spec.name}: not here yet, fetched when first used ({size})"
        advice = "" if path else f"farm models fetch {spec.name}"
        yield Finding(topic="weights", ok=True, found=found, advice=advice)


def _storage() -> Iterator[Finding]:
    """One finding a URL scheme. Says whether credentials are configured, never what they are, and asks no network."""
    from farm.storage.schemes import SCHEMES
    from farm.storage.settings import settings_of

    yield Finding(topic="storage", ok=True, found="plain paths and file://")
    if _version("s3fs") is None:
        yield Finding(topic="storage", ok=False, found="object stores need s3fs", advice="pip install s3fs")
        return
    for name, spec in SCHEMES.items():
        title = f"{name}:// ({spec.title})"
        try:
            settings = settings_of(name)
        except FarmError as error:
            yield Finding(topic="storage", ok=True, found=f"{title} is not configured", advice=str(error))
            continue
        keys = settings.keys is not None or settings.profile is not None or _has_credentials()
        names = f"{spec.keys[0].id} and {spec.keys[0].secret}" if spec.keys else _AWS_KEYS
        advice = "" if keys else f"set {names}, or a profile of the AWS tools, if the store wants them"
        where = settings.endpoint_url or "its default endpoint"
        found = f"{title} at {where}, {'credentials' if keys else 'no credentials'} configured"
        yield Finding(topic="storage", ok=True, found=found, advice=advice)


def _has_credentials() -> bool:
    """Whether the AWS tools would find some; says nothing of a machine's role."""
    if any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")):
        return True
    return os.path.exists(os.path.expanduser(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")))


def _extra(topic: str, packages: Sequence[str]) -> Finding:
    missing = [package for package in packages if util.find_spec(package) is None]
    if missing:
        advice = (
            f"scripts/setup does it; by hand: torch first, then pip install --no-build-isolation 'sr-farm[{topic}]'"
        )
        return Finding(topic=topic, ok=True, found=f"not installed: {', '.join(missing)}", advice=advice)
    versions = ", ".join(f"{package} {_version(package)}" for package in packages)
    return Finding(topic=topic, ok=True, found=f"installed: {versions}")
