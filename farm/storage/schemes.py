"""The object stores we speak to: one row a URL scheme, all through the S3 API. Facts only; choices are in settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVariables:
    """Environment variables of one set of a store's own credentials."""

    id: str
    secret: str
    token: str | None = None
    """of temporary credentials; None where the set has none"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeSpec:
    """How one URL scheme reaches its store."""

    title: str
    variables: Mapping[str, tuple[str, ...]]
    """for each setting the environment variables that give it; the first that is set counts"""
    keys: tuple[KeyVariables, ...] = ()
    """of the store's own credentials, before those that the AWS tools find; the first set that is there counts"""
    profile_rivals: tuple[str, ...] = ()
    """environment variables that go before the configuration file's profile"""
    host: str | None = None
    """the endpoint's URL with {region}; None: the AWS tools know it"""
    virtual_only: bool = False
    """the store answers only under a host name that holds the bucket"""
    bucket: re.Pattern[str] = field(default=re.compile(r"[^@]+"))
    """what the whole of a bucket's name looks like"""
    bucket_rule: str = ""
    """the same in words"""


SCHEMES: Mapping[str, SchemeSpec] = MappingProxyType(
    {
        "s3": SchemeSpec(
            title="S3",
            variables={
                "endpoint_url": ("FARM_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
                "region": ("FARM_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
                "addressing": ("FARM_S3_ADDRESSING",),
                "profile": ("FARM_S3_PROFILE",),
            },
            profile_rivals=("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
        ),
        "cos": SchemeSpec(
            title="Tencent COS",
            variables={
                "endpoint_url": ("FARM_COS_ENDPOINT_URL",),
                "region": ("FARM_COS_REGION", "TENCENTCLOUD_REGION", "COS_REGION"),
                "profile": ("FARM_COS_PROFILE",),
            },
            keys=(
                KeyVariables(
                    id="TENCENTCLOUD_SECRET_ID",
                    secret="TENCENTCLOUD_SECRET_KEY",
                    token="TENCENTCLOUD_SESSION_TOKEN",
                ),
                KeyVariables(id="COS_SECRET_ID", secret="COS_SECRET_KEY"),
            ),
            profile_rivals=("TENCENTCLOUD_SECRET_ID", "COS_SECRET_ID"),
            host="https://cos.{region}.myqcloud.com",
            virtual_only=True,  # buckets made since 2024 refuse the other way
            bucket=re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?-[0-9]+"),
            bucket_rule="NAME-APPID in small letters, digits and hyphens, such as photos-1250000000",
        ),
    }
)
