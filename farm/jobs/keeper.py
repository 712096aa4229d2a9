"""The process below which everything of a head on this machine is: python -m farm.jobs.keeper CPUS GPUS [METRICS-PORT]

Started by `farm.jobs.head`, which sets what Ray reads when it is imported. SIGTERM ends it with all that it has
started, and so does Ray's end; kill -9 of it takes Ray's processes along, by the kernel.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from farm import leftovers
from farm.errors import FarmError, InterruptedRun
from farm.jobs.head import Head, forget_head, note_head
from farm.session import Session
from farm.signals import stopped_by_signals

_LOOK_S = 1.0


def keep(cpus: int, gpus: int, metrics_port: int | None = None) -> None:
    """Start Ray, say where it is, and stay until a signal comes or Ray is gone. Raises FarmError."""
    session = Session(None, cpus, gpus, dashboard=True, metrics_port=metrics_port)
    with stopped_by_signals() as received:
        received.on_end = session.abandon
        session.on_connected = received.arm  # Ray brings a SIGTERM handler of its own
        session.on_terminated = lambda: received.handle(signal.SIGTERM, None)
        try:
            session.connect()
            if received.signum is None:
                session.publish_address()
                note_head(_described(session, cpus, gpus, metrics_port))
                _stay(leftovers.children(os.getpid()) - leftovers.ray_scripts())
        finally:
            forget_head()
            session.disconnect()


def _described(session: Session, cpus: int, gpus: int, metrics_port: int | None) -> Head:
    me = leftovers.process_of(os.getpid())
    assert me is not None, "this process"
    return Head(
        pid=me.pid,
        started=me.started,
        address=session.address,
        dashboard=session.dashboard,
        folder=str(session.folder),
        cpus=cpus,
        gpus=gpus,
        metrics_port=metrics_port,
    )


def _stay(programs: frozenset[leftovers.Process]) -> None:
    """Until one of those has gone without which the rest is of no use: who places work, and who knows the nodes."""
    while all(map(leftovers.is_alive, programs)):
        time.sleep(_LOOK_S)


def main() -> None:
    try:
        keep(*map(int, sys.argv[1:]))
    except InterruptedRun:
        return
    except FarmError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
