"""Workers that gloo joins, without Ray: they go on where one alone has left, say the losses of all, and end as one."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from farm import storage
from farm.errors import LostLockError
from farm.training import load_config
from farm.training.config import DataConfig, SourceConfig, TrainConfig
from farm.training.loop import Around, Job, Progress, Scored, train
from farm.training.order import Order
from farm.training.pairs import Share, Waits, ahead_of, loaders_of
from farm.training.run import Request, run
from farm.training.workers import Deaths, guard_of
from sr_kernel.train.parallel import average_gradients, average_losses
from tests.farm.training.sets import CONFIG, make_config, make_pairs

LEARNED = CONFIG.replace('[validation]\npairs = "pairs"', "[validation]").replace("log = 2", "log = 1")


def worker(rank: int, meet: str, job: Job) -> list[Progress | Scored | str]:
    """One of two; what the first one says."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    said: list[Progress | Scored | str] = []
    try:
        train(
            job,
            Around(
                share=Share(rank=rank, world=2),
                said=said.append,
                stopping=stopping,
                hurried=bool,
                average=average_gradients,
                average_losses=average_losses,
            ),
        )
    finally:
        dist.destroy_process_group()
    return said


def stopping(stuck: bool) -> bool:
    flag = torch.tensor([int(stuck)])
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def other(meet: str, job: Job, named: str) -> None:
    """The second one, which is to end with a complaint of `named`."""
    if not named:
        worker(1, meet, job)
    else:
        with pytest.raises(storage.ItemError, match=named):
            worker(1, meet, job)
    os._exit(0)  # gloo's threads may outlive the group, and C++ aborts a process that ends in order around them


def both(config: TrainConfig, out: Path, meet: Path, *, resume_at: int = 0, stuck: str = "") -> list[Progress]:
    job = Job(config=config, out=str(out), attempt="a", threads=1, resume_at=resume_at)
    process = get_context("spawn").Process(target=other, args=(str(meet), job, stuck))
    process.start()
    said = worker(0, str(meet), job)
    process.join(60)
    assert process.exitcode == 0
    return [one for one in said if isinstance(one, Progress)]


def alone(config: TrainConfig, out: Path, iterations: int) -> list[Progress]:
    schedule = replace(config.plan.schedule, iterations=iterations)
    said: list[Progress | Scored | str] = []
    asked = replace(config, plan=replace(config.plan, schedule=schedule))
    run(Request(config=asked, out=str(out), threads=1), said.append)
    return [one for one in said if isinstance(one, Progress)]


def weights(out: Path, at: int) -> dict[str, torch.Tensor]:
    return torch.load(out / f"weights/tiny-{at:09d}.pth", weights_only=True)["params_ema"]


def test_two_workers_go_on_where_one_has_left(tmp_path: Path) -> None:
    """With the losses of the whole batch, and to the same weights."""
    config = load_config(str(make_config(tmp_path / "set", LEARNED)), "net")
    whole = alone(config, tmp_path / "whole", 12)
    alone(config, tmp_path / "parts", 8)
    said = both(config, tmp_path / "parts", tmp_path / "meet", resume_at=8)
    assert [one.iteration for one in said] == [9, 10, 11, 12]
    for one, wanted in zip(said, whole[8:], strict=True):
        assert one.losses == pytest.approx(wanted.losses, rel=1e-4)
    made, wanted = weights(tmp_path / "parts", 12), weights(tmp_path / "whole", 12)
    assert all(torch.allclose(one, wanted[name], atol=1e-5) for name, one in made.items())


def test_a_gpu_is_fed_by_the_cores_of_its_machine() -> None:
    """Unless somebody says otherwise; and where it waits nonetheless that is said once, but for the first report."""
    source = SourceConfig(pairs="pairs")
    auto, told = DataConfig(sources=(source,)), DataConfig(sources=(source,), loaders=3)
    found = [
        loaders_of(auto, "cuda", Share(beside=beside), cores) for beside, cores in ((1, 16), (4, 32), (2, 2), (1, 64))
    ]
    assert found == [15, 7, 1, 16]
    assert loaders_of(auto, "cpu", Share(), 16) == 1
    assert [loaders_of(told, device, Share(), 16) for device in ("cpu", "cuda")] == [3, 3]
    waits = Waits(7)
    said = [waits.words(share) for share in (0.9, 0.1, 0.11, 0.9)]
    assert [bool(one) for one in said] == [False, False, True, False]
    assert "11% of the time; set data.loaders above 7" in str(said[2])


def test_what_is_ahead_of_the_network_fits_into_shared_memory() -> None:
    """A gigabyte of it is what clusters give: 48 patches of 256 pixels and their quarters take 40 MB."""
    assert ahead_of(0) is None
    assert [loaders * (ahead_of(loaders) or 0) for loaders in (1, 2, 7, 16)] == [4, 8, 7, 16]


def test_a_worker_on_another_host_than_its_command_asks_no_disk(tmp_path: Path) -> None:
    """The lock of a disk that a cluster shares is seen on the command's host alone."""
    job = Job(
        config=load_config(str(make_config(tmp_path / "set", CONFIG)), "net"),
        out=str(tmp_path),
        attempt="gone",
        host=socket.gethostname(),
    )
    guard = guard_of(job)
    assert guard is not None
    with pytest.raises(LostLockError):
        guard.check()
    assert guard_of(replace(job, host="elsewhere")) is None


def test_three_deaths_without_a_checkpoint_between_them_are_too_many() -> None:
    deaths = Deaths(0)
    assert [deaths.are_too_many(at) for at in (0, 0, 40, 40, 80, 80, 80)] == [False] * 6 + [True]
    assert [Deaths(80).are_too_many(80) for _ in range(3)] == [False] * 3
    fresh = Deaths(0)
    assert [fresh.are_too_many(0) for _ in range(3)] == [False, False, True]


def test_a_pair_that_one_of_two_cannot_read_costs_no_iteration(tmp_path: Path) -> None:
    """The second one's, of iteration 6: the first one has kept the fifth before the other complains."""
    text = (
        LEARNED.replace("every = 4", "every = 100").replace("batch = 4", "batch = 2").replace("patch = 32", "patch = 0")
    )
    config = load_config(str(make_config(tmp_path / "set", text)), "net")
    places = Order([16], [1.0], config.seed)
    spoilt = places[11].number
    make_pairs(str(tmp_path / "many"), 16, spoilt=spoilt)
    many = replace(config.data, sources=(replace(config.data.sources[0], pairs=str(tmp_path / "many")),))
    config = replace(config, data=many)
    said = both(config, tmp_path / "out", tmp_path / "meet", stuck=f"pic_{spoilt}, lq")
    assert [one.iteration for one in said] == [1, 2, 3, 4, 5]
    assert [path.name for path in (tmp_path / "out/checkpoints").iterdir()] == ["000000005.ckpt"]
