"""What a disk or a store can do beyond keeping objects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Found by trying, never assumed."""

    conditional_create: bool
    """of several that make the same object at once, exactly one succeeds and the others are told: what a lock needs"""
    metadata: bool
    """an object says who published it: user metadata of a write comes back"""
    md5_etags: bool
    """the etag of an object of one write is the MD5 of its content"""
    virtual_host: bool
    """the bucket was reached under a host name of its own, as Tencent COS wants it"""


LOCAL = Capabilities(conditional_create=True, metadata=False, md5_etags=False, virtual_host=False)
"""of a disk: names are made exclusively, and there are no etags"""
