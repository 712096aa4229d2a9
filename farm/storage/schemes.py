"""The object stores we speak to: one row a URL scheme, all through the S3 API."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from farm.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeSpec:
    """How one URL scheme reaches its store. Credentials are never here: they come from the standard AWS
    environment, configuration files or instance roles."""

    title: str
    endpoint: Callable[[], str | None]
    """the endpoint's URL from the environment; None means the store's own default"""
    addressing: str
    """auto, or virtual (the bucket is part of the host's name)"""


def _s3_endpoint() -> str | None:
    names = ("FARM_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next((value for name in names if (value := os.environ.get(name))), None)


def _cos_endpoint() -> str | None:
    region = os.environ.get("FARM_COS_REGION")
    if not region:
        raise UsageError("cos://: the region is not known; set FARM_COS_REGION, for instance to ap-guangzhou")
    return f"https://cos.{region}.myqcloud.com"


SCHEMES: Mapping[str, SchemeSpec] = {
    "s3": SchemeSpec(title="S3", endpoint=_s3_endpoint, addressing="auto"),
    # Buckets made since 2024 answer under their own host name only.
    "cos": SchemeSpec(title="Tencent COS", endpoint=_cos_endpoint, addressing="virtual"),
}
