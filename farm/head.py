"""Whether the head of a cluster still answers: Ray ends the processes of those whom it has not answered for a minute.

It does so from within, with exit code 1 and no word of ours. So a thread asks, and a run ends before that, in order.
That somebody takes a connection says little: the kernel does so for a head that is stopped, or swapping.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

from farm.errors import StalledError

ASK_EVERY_S = 3.0
_CONNECT_S = 2.0
_ANSWER_S = 4.0
LOST_S = 35.0
"""without an answer, after which the run is to end"""
AT_ONCE_S = 48.0
"""and after which it is ended, whatever it is in the middle of"""


class HeadWatch:
    """Asks from when it is made until `stop`. `address`: HOST:PORT of the head. `ask`: a call to it; whether it has
    answered within so many seconds."""

    def __init__(
        self, address: str, ask: Callable[[float], bool], *, lost_s: float = LOST_S, at_once_s: float = AT_ONCE_S
    ) -> None:
        host, _, port = address.rpartition(":")
        self._where = (host.strip("[]"), int(port))
        self._address = address
        self._ask = ask
        self._lost_s = lost_s
        self._at_once_s = at_once_s
        self._over = threading.Event()
        self.is_lost = False
        self._thread = threading.Thread(target=self._watch, name="head", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join()

    def error(self) -> StalledError:
        """What is said of a lost head."""
        return StalledError(
            f"the head of the cluster, {self._address}, has not answered for {self._lost_s:.0f} s; run the same "
            "command again to finish when it is back"
        )

    def _watch(self) -> None:
        silent_since_s: float | None = None
        while not self._over.wait(min(ASK_EVERY_S, self._lost_s / 4)):
            asked_s = time.monotonic()
            if self.answers():
                silent_since_s, self.is_lost = None, False
                continue
            silent_since_s = silent_since_s or asked_s
            silent_s = time.monotonic() - silent_since_s
            self.is_lost = silent_s > self._lost_s
            if silent_s > self._at_once_s:
                os.write(2, f"\nfarm: {self.error()}\n".encode())
                os._exit(StalledError.exit_code)

    def answers(self) -> bool:
        """Whether the head answers now; for whoever must not wait for one that is gone."""
        try:
            socket.create_connection(self._where, timeout=_CONNECT_S).close()  # who is refused need not wait
        except OSError:
            return False
        return self._ask(_ANSWER_S)
