"""Who holds a lock, and how that is said."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What a lock says about the run that holds it."""

    run: str
    pid: int
    host: str


def new_run_id() -> str:
    """A unique name of an attempt that sorts by time: 20260131T235959Z-1a2b3c4d (UTC)."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def begun_unix(run: str) -> float | None:
    """When the attempt of that name began; None for a name that new_run_id() does not give."""
    try:
        begun = datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return None
    return begun.replace(tzinfo=timezone.utc).timestamp()


def this_process(run: str) -> Holder:
    """This process as the holder."""
    return Holder(run=run, pid=os.getpid(), host=socket.gethostname())


def busy(root: str, holder: Holder | None, advice: str = "wait until it ends, or stop it") -> str:
    """The sentence of a BusyError."""
    who = f"run {holder.run} (process {holder.pid} on {holder.host})" if holder else "another run"
    return f"{root}: {who} is working there; {advice}"
