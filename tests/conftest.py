"""What runs beside what where several processes test at once."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share their fixtures and so a process; those of the S3 server, which some of them disturb, too."""
    for item in items:
        group = "s3" if item.get_closest_marker("s3") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
