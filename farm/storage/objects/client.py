"""One client a store and process; calls of the S3 API through it, tried again while that is worth it.

s3fs brings the client, its event loop and its credentials. Its files are not used: they publish what was written before
an exception.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from farm import __version__
from farm.errors import FarmError
from farm.storage import faults
from farm.storage.capability import Capabilities
from farm.storage.settings import StoreSettings, settings_of
from farm.storage.urls import split_key

if TYPE_CHECKING:
    from farm.storage.objects.retry import Gate

T = TypeVar("T")
Response = dict[str, Any]
"""what botocore makes of an answer"""

_CONNECT_S = 10
_READ_S = 20
"""without one byte of the answer"""
_SLOWEST_BYTES_S = 64 << 10
"""of one of several uploads that share a line; a slower one is taken for a hang"""


class Store:
    """A store as this process reaches it; threads share it."""

    def __init__(self, settings: StoreSettings) -> None:
        from farm.storage.objects.retry import Gate  # asyncio is 20 ms: a local run takes its lock before that

        endpoint = settings.endpoint_url
        self.shown = urlsplit(endpoint).netloc if endpoint else settings.title
        """what messages call it"""
        self.virtual_host = settings.addressing == "virtual" or (settings.addressing == "auto" and endpoint is None)
        self.gate: Gate = Gate()
        self.capabilities: dict[str, Capabilities] = {}
        """by bucket, as far as they have been tried"""
        self.md5_part_etags: dict[str, bool] = {}
        """the same"""
        self._filesystem = _filesystem(settings)

    def connect(self) -> None:
        """Make the client, which loads what botocore knows of S3; sends nothing."""
        import asyncio

        asyncio.run_coroutine_threadsafe(self._filesystem.set_session(), self._filesystem.loop).result()

    def submit(self, work: Callable[[Any, int], Awaitable[T]], nbytes: int | None) -> Future[T]:
        """Begin `work` in the store's event loop, again and again until it succeeds or is not worth it.

        It is given the botocore client, and how often it failed before. `nbytes` is how much it sends; None for a
        download, which ends by itself when nothing comes.
        """
        import asyncio

        from farm.storage.objects.retry import persist

        async def attempt(failures: int) -> T:
            return await work(await self._filesystem.set_session(), failures)

        limit_s = None if nbytes is None else _CONNECT_S + 2 * _READ_S + nbytes / _SLOWEST_BYTES_S
        return asyncio.run_coroutine_threadsafe(persist(attempt, self.gate, limit_s), self._filesystem.loop)


def warm_up(url: str) -> None:
    """Import and connect whatever the first request to that store would wait for (about a second of processor time).

    Raises UsageError, CredentialsError or ItemError (unsupported) as target() does.
    """
    target(url).store.connect()


@lru_cache(maxsize=8)
def _store(settings: StoreSettings, _pid: int) -> Store:
    """One for all threads of a process (s3fs by itself makes one a thread); never one from before a fork."""
    return Store(settings)


def forget_stores() -> None:
    """Make clients anew when they are next needed, with the credentials of then."""
    _store.cache_clear()


def _filesystem(settings: StoreSettings) -> Any:
    import s3fs  # 0.5 s: local runs do not pay for it
    from aiobotocore.session import AioSession

    for name in ("botocore", "aiobotocore"):
        logging.getLogger(name).setLevel(logging.INFO)  # at DEBUG they write session tokens into the log
    session: Any = cast(Any, AioSession)(profile=settings.profile)
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_time)
    if settings.keys:
        session.set_credentials(settings.keys.id, settings.keys.secret, settings.keys.token)
    config: dict[str, object] = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "retries": {"total_max_attempts": 1, "mode": "standard"},  # ours: see retry.py
        # Stores other than Amazon's refuse the newer checksums; the Content-MD5 of every write takes their place.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "max_pool_connections": 32,
        "user_agent": f"farm/{__version__}",  # botocore's own is put together anew for every request: 0.2 ms
    }
    if settings.addressing != "auto":
        config["s3"] = {"addressing_style": settings.addressing}
    return cast(Any, s3fs.S3FileSystem)(
        endpoint_url=settings.endpoint_url,
        client_kwargs={"region_name": settings.region} if settings.region else {},
        session=session,
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs=config,
    )


def parse_time(text: Any) -> datetime:
    """A time as stores write it, in a listing (ISO 8601) or in a header (RFC 9110), aware of its zone.

    botocore guesses the form of each, which takes longer than all else about the entry of a listing.
    """
    if isinstance(text, str):
        with suppress(ValueError):
            if text[:1].isdigit():
                return _in_utc(datetime.fromisoformat(text.replace("Z", "+00:00")))
            return _in_utc(parsedate_to_datetime(text))
    from botocore import utils

    return cast(Any, utils).parse_timestamp(text)


def _in_utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bucket and a key, or the beginning of keys, on a store that is configured."""

    url: str
    store: Store
    bucket: str
    key: str

    def call(self, operation: str, **params: Any) -> Response:
        """One call of the S3 API on this bucket. Raises what botocore raises: use it inside faults()."""
        return self.begin(operation, **params).result()

    def begin(self, operation: str, **params: Any) -> Future[Response]:
        """call() in the background."""

        async def work(client: Any, failures: int) -> Response:
            response: Response = await getattr(client, operation)(Bucket=self.bucket, **params)
            response["ResponseMetadata"]["RetryAttempts"] = failures
            return response

        return self.store.submit(work, len(params.get("Body", b"")))

    @contextmanager
    def faults(self, nbytes: int | None = None) -> Generator[None]:
        """Inside, what the store raises becomes one of our errors; `nbytes` is given while writing."""
        try:
            yield
        except FarmError:
            raise
        except Exception as error:
            raise faults.store_fault(self.url, error, endpoint=self.store.shown, nbytes=nbytes) from error


def target(url: str) -> Target:
    """The target of an object store's URL. Raises UsageError, CredentialsError or ItemError (unsupported)."""
    scheme, bucket, key = split_key(url)
    return Target(url=url, store=_store(settings_of(scheme), os.getpid()), bucket=bucket, key=key)
