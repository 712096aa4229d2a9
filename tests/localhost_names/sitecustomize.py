"""On PYTHONPATH, for processes whose buckets have host names: names below localhost lead to this machine (RFC 6761).

Where the system's resolver fails them, as glibc's does without systemd.
"""

from __future__ import annotations

import socket
from typing import Any

_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    """socket.getaddrinfo for them too."""
    name = host.decode() if isinstance(host, bytes) else host
    return _getaddrinfo("127.0.0.1" if name and name.endswith(".localhost") else host, *args, **kwargs)


if __name__ == "sitecustomize":
    socket.getaddrinfo = getaddrinfo
