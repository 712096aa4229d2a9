"""A terminal that is gone, as after a lost connection: nobody reads what is said, and nothing fails for saying it."""

from __future__ import annotations

import errno
import os
import termios

_STANDARD = (0, 1, 2)


def leave_if_gone() -> bool:
    """Let what this process reads from a terminal that is gone, and says to it, go nowhere; whether there was one."""
    gone = [descriptor for descriptor in _STANDARD if _is_gone(descriptor)]
    if gone:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in gone:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return bool(gone)


def _is_gone(descriptor: int) -> bool:
    try:
        termios.tcgetattr(descriptor)
    except termios.error as error:
        return error.args[0] == errno.EIO  # what never was a terminal says otherwise
    return False
