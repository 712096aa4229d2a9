"""Every error of the farm, in one tree.

FarmError                      1   something the farm can explain
├── UsageError                 2   the command line or the configuration contradicts itself
├── TooManyFailures            4   more rows failed than --max-failures allows, or are suspect of a sample
├── ManifestError             65   the manifest is invalid; nothing was started
├── UnreachableError          69   a store or a cluster does not answer
├── DiskError                 74   reading or writing failed; disk full
├── BusyError                 75   another run holds the lock
├── LostLockError             75   the lock could not be kept; the run can be resumed
├── OutOfTimeError            75   --until or --max-time is over; the run can be resumed
├── StalledError             75   every worker is gone and none comes back; the run can be resumed
├── CredentialsError          77   the store refused our credentials
├── ModelError                78   a model, its weights or the configuration is bad
├── ConfigurationError        78   what the farm is told to use is not safe to use
├── InterruptedRun   129/130/143   SIGHUP, SIGINT or SIGTERM
└── ItemError                  3   one row failed; the run goes on (never leaves a worker: it becomes a `Failed`)
    ├── LostPiecesError        3   what a join needs is gone: made anew by the next run
    └── SuspectError           3   an output is not believable, and the run wants such ones refused

Exit code 0 is "all done", 3 is "finished, some items failed"; codes are only ever added to.
Every message is one sentence of the form ``what: where: what was found; what to do``.
"""

from __future__ import annotations

import errno
import os
import re
from enum import Enum

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*@")
"""before the host of a URL; what follows is left as it is"""
_SIGNATURES = re.compile(
    r"(?i)(?<=[?&])(x-(?:amz|goog)-[a-z-]+|q-[a-z-]+|signature|awsaccesskeyid|googleaccessid|sig|[a-z_-]*token|policy)"
    r"=[^&\s#;]+"
)
"""what makes a URL open a private object: of S3, COS, Google's and Azure's stores"""


def without_credentials(text: str) -> str:
    """`text` without users and passwords in URLs, and without the signatures of presigned ones; somebody may write
    them there, and nobody else should read them."""
    text = _CREDENTIALS.sub("***@", text) if "@" in text else text
    return _SIGNATURES.sub(r"\1=***", text) if "=" in text else text


_MACHINE = frozenset(
    {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}
)
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""of an OSError: there is no room"""


def said_by(error: OSError) -> str:
    """What the system calls it."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def is_of_the_machine(error: OSError) -> bool:
    """Whether a disk, its file system or the kernel's limits refused, and not a mistake of ours."""
    return error.errno in _MACHINE


class ErrorKind(str, Enum):
    """Why a row failed; a closed set, written to the result manifest."""

    EMPTY_INPUT = "empty_input"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    NO_FRAMES = "no_frames"
    NO_VIDEO_STREAM = "no_video_stream"
    DECODE_ERRORS = "decode_errors"
    MISSING = "missing"
    FORBIDDEN = "forbidden"
    CHANGED_DURING_READ = "changed_during_read"
    UNSAFE_PATH = "unsafe_path"
    UNSAFE_CONTAINER = "unsafe_container"
    WORKER_DIED = "worker_died"
    TIMEOUT = "timeout"
    NONFINITE_OUTPUT = "nonfinite_output"
    SUSPECT_OUTPUT = "suspect_output"
    ENCODE_FAILED = "encode_failed"
    OUT_OF_MEMORY = "out_of_memory"
    STORAGE_ERROR = "storage_error"

    @property
    def retryable(self) -> bool:
        """Whether the same part may succeed when it is tried again."""
        return self in _RETRYABLE

    @property
    def settled(self) -> bool:
        """Whether the content alone decides it, whatever the machine, its libraries and the limits of the day."""
        return self in _SETTLED

    @property
    def lasting(self) -> bool:
        """Whether the same command fails again on the same source until the farm or its libraries change."""
        return self in _SETTLED or self in (ErrorKind.UNSUPPORTED, ErrorKind.TOO_LARGE)


_RETRYABLE = frozenset({ErrorKind.STORAGE_ERROR, ErrorKind.CHANGED_DURING_READ})
_SETTLED = frozenset(
    {
        ErrorKind.EMPTY_INPUT,
        ErrorKind.NOT_AN_IMAGE,
        ErrorKind.TRUNCATED,
        ErrorKind.CORRUPT,
        ErrorKind.SUSPECT_OUTPUT,
        ErrorKind.NONFINITE_OUTPUT,
        ErrorKind.NO_FRAMES,
        ErrorKind.NO_VIDEO_STREAM,
        ErrorKind.DECODE_ERRORS,
        ErrorKind.UNSAFE_CONTAINER,
    }
)


class FarmError(Exception):
    """Root of the tree: an error the farm can explain in one sentence."""

    exit_code: int = 1
    """what the command answers with"""

    def __str__(self) -> str:
        return without_credentials(super().__str__())


class UsageError(FarmError):
    """The command line or the configuration contradicts itself."""

    exit_code = 2


class TooManyFailures(FarmError):
    """More rows failed than the run may go on with; what is done is done."""

    exit_code = 4


class ManifestError(FarmError):
    """The manifest is invalid; nothing was started."""

    exit_code = 65


class UnreachableError(FarmError):
    """A store or a cluster does not answer."""

    exit_code = 69


class DiskError(FarmError):
    """Reading or writing failed below us: an I/O error, a full disk, a quota."""

    exit_code = 74


class BusyError(FarmError):
    """Another run holds the lock of this output root."""

    exit_code = 75


class LostLockError(FarmError):
    """The lock could not be kept, or another run has taken it; what is done is done, and the same command resumes."""

    exit_code = 75


class OutOfTimeError(FarmError):
    """The time that the run was given is over; what is done is done, and the same command resumes."""

    exit_code = 75


class StalledError(FarmError):
    """Every worker is gone and none comes back; what is done is done, and the same command resumes."""

    exit_code = 75


class CredentialsError(FarmError):
    """The store refused our credentials."""

    exit_code = 77


class ModelError(FarmError):
    """A model, its weights or the configuration is bad."""

    exit_code = 78


class ConfigurationError(FarmError):
    """What the farm is told to use is not safe to use."""

    exit_code = 78


class InterruptedRun(FarmError):
    """The run was asked to stop by a signal; it can be resumed."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}; run the same command again to finish")
        self.signum = signum
        self.exit_code = 128 + signum


class ItemError(FarmError):
    """One row failed. Carries its class; the message is ``class: uri: found; advice``."""

    exit_code = 3
    is_final = False
    """whether another try in the same run must fail too, whatever the class says"""
    suspect = ""
    """the figures for which an output was refused that would have been published under `--suspect publish`"""

    def __init__(self, kind: ErrorKind, url: str, found: str, advice: str) -> None:
        super().__init__(kind, url, found, advice)  # args must rebuild us when unpickled
        self.kind = kind
        self.url = url
        self.found = found
        self.advice = advice

    def __str__(self) -> str:
        return without_credentials(f"{self.kind.value}: {self.url}: {self.found}; {self.advice}")


class LostPiecesError(ItemError):
    """What a join needs is not there any more: only the next run makes it anew."""

    is_final = True


class SuspectError(ItemError):
    """An output is not believable, and the run wants such ones refused."""

    def __init__(self, kind: ErrorKind, url: str, found: str, advice: str, suspect: str) -> None:
        super().__init__(kind, url, found, advice)
        self.args = (kind, url, found, advice, suspect)
        self.suspect = suspect
