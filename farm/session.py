"""Ray comes and goes: an embedded one, gone with everything that it has started, or a cluster's, which stays.

An embedded Ray takes seconds to start, many on a busy machine, most of them in code of Ray: a signal breaks that off.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import ray
import ray._private.node as ray_node
import ray._private.parameter as ray_parameter
import ray._private.ray_constants as ray_constants
import ray._private.services as ray_services
import ray._private.utils as ray_utils
import ray._private.worker as ray_worker
import ray._raylet as raylet
import ray.exceptions as rx

from farm import access, idle, leftovers
from farm.errors import UnreachableError
from farm.head import HeadWatch
from farm.signals import Interrupt

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
_TEMP_BYTES = 24
_TEMP_PREFIX = "farm-ray-"
_ASKED_TO_LEAVE = 3
"""a head that is slow once is not left without goodbye: this process could join no other Ray then"""
_STORE_BYTES = 100 << 20
"""ids and small values only; pixels never pass through Ray"""
_ASK_S = 10.0
_LOOPBACK = "127.0.0.1"
_SERVED_DASHBOARD = b"webui:url"
"""under which Ray notes HOST:PORT of a dashboard that is served; empty where none is"""
_OF_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""environment: how Ray tells a job's driver of the job's environment, which a Ray inside it would be asked for, too"""
_AGENT_PORTS = ("METRICS_AGENT", "METRICS_EXPORT", "DASHBOARD_AGENT_LISTEN", "RUNTIME_ENV_AGENT")
"""of which Ray notes in a file of its session where they are: NAME_PORT_NAME says the file's name"""
_NOBODY = -1
"""in place of a port: the service is not in use"""
_TOKEN = "token"
"""a file in an embedded Ray's folder, for whoever looks at its dashboard"""
_LOG = logging.getLogger("farm.session")
logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters of Ray's troubles is said in our own words


def _keep_off_stdout(data: Mapping[str, Any], ignore_prefix: bool) -> None:  # noqa: ARG001 (Ray's name)
    """What Ray would print of its nodes, on the standard output, in the middle of what is said there to programs."""
    _LOG.info("%s: %s", data.get("pid"), " ".join(map(str, data.get("lines", ()))))


ray_worker.print_to_stdstream = _keep_off_stdout


class Session:
    """One connection to Ray. `address`: of a cluster, or None for a Ray inside this process with so many resources.

    `metrics_port`: where one inside this process serves metrics; None: nowhere, or on any free port beside its
    `dashboard`, which is on loopback. `at_first`: how many of our workers are wanted as soon as it is there; None
    where others may use it as well.
    """

    def __init__(
        self,
        address: str | None,
        cpus: int,
        gpus: int,
        *,
        metrics_port: int | None = None,
        dashboard: bool = False,
        at_first: int | None = None,
    ) -> None:
        self._address = address
        self._cpus = cpus
        self._gpus = gpus
        self._metrics_port = metrics_port
        self._with_dashboard = dashboard
        self._at_first = at_first
        self.dashboard = ""
        """URL of the dashboard once there is one; empty where there is none"""
        self._temp: Path | None = None
        """where an embedded Ray keeps its files and sockets"""
        self._claim = -1
        """descriptor that keeps it ours"""
        self.head: HeadWatch | None = None
        """of a cluster, while we are connected to it"""
        self._connecting = False
        self._broken_off = False
        self.on_connected: Callable[[], None] = lambda: None
        """called after Ray has started, or not; it brings signal handlers of its own"""
        self.on_terminated: Callable[[], None] = lambda: None
        """called when the one that it brings for SIGTERM has heard one, before ours was back"""

    def connect(self) -> None:
        """Start Ray, or join the cluster; comes back early when that is broken off. Raises UnreachableError."""
        access.check_version(ray.__version__)
        if not self._address:
            self._temp = _temp_folder()
            self._claim = leftovers.claim(self._temp)
            leftovers.remove_abandoned(self._temp.parent, _TEMP_PREFIX)
        self._connecting = True
        try:
            if not self._broken_off:
                self._start()
        except Interrupt:
            _LOG.debug("told to stop while Ray started")
        except SystemExit:  # Ray's own handler of SIGTERM
            self._connecting = False
            self.on_terminated()
        finally:
            self._connecting = False
            self.on_connected()

    def _start(self) -> None:
        if self._address:
            self.dashboard = _join_cluster(self._address)
            self.head = HeadWatch(self.address, head_call(self.address))
            return
        try:
            folder = str(self._temp)
            with (
                _deaf_to_hangups(),
                _signals_left_alone(),
                _workers_alone(self._at_first, folder, dashboard=self._with_dashboard, agents=self._with_agents),
            ):
                context = ray.init(
                    address="local",
                    num_cpus=self._cpus,
                    num_gpus=self._gpus,
                    include_dashboard=self._with_dashboard,
                    dashboard_host=_LOOPBACK,
                    object_store_memory=_STORE_BYTES,
                    _temp_dir=folder,
                    _metrics_export_port=self._metrics_port,
                    _skip_env_hook=not self._with_agents,
                    **_QUIET,
                )
            self.dashboard = _dashboard_url(context)
        except Exception as error:  # Ray raises anything here, a bare Exception for its own time-out
            raise UnreachableError(
                f"Ray does not start on this machine: {first_line(error)}; try again when it is less busy, "
                "and see `farm doctor`"
            ) from error

    @property
    def _with_agents(self) -> bool:
        """Whether somebody may ask the two agents of an embedded Ray: for metrics, for jobs, or for an environment of a
        worker's own, which none of our workers has."""
        own = self._at_first is not None and _OF_A_JOB not in os.environ
        return self._with_dashboard or self._metrics_port is not None or not own

    @property
    def address(self) -> str:
        """HOST:PORT of the head, once connected."""
        return cast("str", ray.get_runtime_context().gcs_address)

    @property
    def folder(self) -> Path | None:
        """Where an embedded Ray keeps its files; None on a cluster."""
        return self._temp

    def publish_address(self) -> None:
        """Let the jobs of an embedded Ray find it: they look into its folder, else among all Rays of the machine."""
        ray_utils.write_ray_address(self.address, str(self._temp))

    def write_token(self) -> Path | None:
        """Put the token that an embedded Ray asks for into its folder, for this user alone, until Ray ends; None where
        it asks for none of ours."""
        token = os.environ.get("RAY_AUTH_TOKEN")
        if self._temp is None or not token:
            return None
        path = self._temp / _TOKEN
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)
        return path

    def dashboard_words(self) -> str:
        """Where the dashboard is, and how one gets in: its token is written down for that."""
        token = self.write_token()
        return f"dashboard: {self.dashboard}" + (f" (it asks for a token: cat {token})" if token else "")

    def break_off(self) -> None:
        """For a signal handler of the main thread: raises Interrupt into a start that is under way."""
        self._broken_off = True
        if self._connecting:
            self._connecting = False
            raise Interrupt(signal.SIGINT)

    def disconnect(self) -> None:
        """End an embedded Ray with everything it has started; leave a cluster, unless its head does not answer: who
        says goodbye then waits until Ray ends the process, or for ever."""
        if self.head:
            is_there = not self.head.is_lost and any(self.head.answers() for _ in range(_ASKED_TO_LEAVE))
            self.head.stop()
            if not is_there:
                return
        ours = leftovers.ray_descendants() if self._temp else frozenset[leftovers.Process]()
        if self._temp:
            leftovers.end(leftovers.ray_scripts())  # they have nothing to save, and Ray waits a second for each
        try:
            ray.shutdown()
        except Exception:
            if not self._broken_off:
                raise
            _LOG.warning("Ray was broken off in the middle of its start", exc_info=True)
        finally:
            leftovers.end(ours)
            if self._temp:
                leftovers.remove_folder(self._temp)
                self._release()

    def _release(self) -> None:
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    def abandon(self) -> None:
        """Kill everything that an embedded Ray has started, at once; from any thread, when the process is to end."""
        if self._temp:
            leftovers.end(leftovers.ray_descendants())
            leftovers.remove_folder(self._temp)


def cluster_resource(address: str, name: str) -> int:
    """How much of a resource (GPU, CPU) a cluster has right now. Raises UnreachableError."""
    _join_cluster(address)
    try:
        return int(ray.cluster_resources().get(name, 0))
    finally:
        ray.shutdown()


def head_client(address: str) -> Any:
    """Through which the head of a cluster, HOST:PORT, is asked itself. Raises UnreachableError."""
    try:
        return cast(Any, raylet).GcsClient(address=address)
    except rx.RayError as error:
        raise UnreachableError(
            f"cluster {address} does not answer any more ({first_line(error)}); run the same command again when it does"
        ) from error


def head_call(address: str) -> Callable[[float], bool]:
    """A call to the head of a cluster: whether it has answered within so many seconds. Raises UnreachableError."""
    gcs = head_client(address)

    def answers(limit_s: float) -> bool:
        try:
            gcs.check_alive([], timeout=limit_s)  # asks about no node: the answer is what counts
        except rx.RayError:
            return False
        return True

    return answers


def dashboard_of(address: str) -> str:
    """URL of a cluster's dashboard. Raises UnreachableError where it serves none, or nobody listens.

    Ray notes an address under two names. Only this one tells a dashboard that is served from a port that would be
    tried first, behind which another cluster's may be: that one must not be shown our token.
    """
    access.check_answers(address)
    try:
        gcs = cast(Any, raylet).GcsClient(address=ray_services.canonicalize_bootstrap_address_or_die(address))
        found: bytes | None = gcs.internal_kv_get(
            _SERVED_DASHBOARD, ray_constants.KV_NAMESPACE_DASHBOARD, timeout=_ASK_S
        )
    except (OSError, rx.RayError, RuntimeError, ValueError) as error:
        raise UnreachableError(
            f"cluster {address} does not say where its dashboard is ({first_line(error)}); check --address and its "
            "token"
        ) from error
    if not found:
        raise UnreachableError(f"cluster {address} serves no dashboard, through which jobs are asked for; start one")
    return f"http://{found.decode()}"


def first_line(error: BaseException) -> str:
    """What an error says first; Ray's say much."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def start_failure(error: BaseException) -> str:
    """Why an actor did not start: what its own process raised, which Ray puts last, after where it was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines and "creation task" in lines[0] else first_line(error)


class _Bare(ray_parameter.RayParams):
    """What a node of Ray is started with, less an autoscaler and a reader of logs; its agent takes any free port, where
    the usual one would be that of another Ray."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.no_monitor = True
        self.include_log_monitor = False
        self.dashboard_agent_listen_port = None


class _Apart(subprocess.Popen[bytes]):
    """A process of an embedded Ray, in a session of its own: a signal to the whole group of a run, as from `timeout`
    or a batch system, is one to the run, which ends Ray when it has done with it. Its death ends Ray as well."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given, start_new_session=True)


@contextmanager
def _workers_alone(at_first: int | None, folder: str, *, dashboard: bool, agents: bool) -> Generator[None]:
    """Inside the block a Ray starts without the programs that serve a cluster and its watchers, not a run: autoscaler,
    reader of logs, dashboard (with `dashboard` it has that one), and without `agents` two more.

    Nothing here scales, log_to_driver is off, and without its pages the dashboard only reports usage. Each is a Python
    process to wait for and to end. Ray has a switch for two of them, but `ray.init` hands none on. `at_first`: see
    Session. `folder`: of the Ray; its dashboard is killed in the end, and would leave temporary ones elsewhere.
    """
    with ExitStack() as changes:
        _change(changes, ray_parameter, "RayParams", _Bare)
        if not dashboard:
            _change(changes, ray_node.Node, "start_api_server", _no_api_server)
        if not agents:
            _change(changes, ray_utils, "get_dashboard_dependency_error", _minimal)
            _change(changes, ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", value=False)
        if sys.platform == "linux":  # elsewhere only the group makes sure that all of them end with this process
            _change(changes, ray_services, "ConsolePopen", _Apart)
        launch = cast(Any, ray_services).start_ray_process

        def launch_bare(command: list[str], process_type: str, *args: Any, **given: Any) -> Any:
            if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
                given["env_updates"] = {**(given.get("env_updates") or {}), "TMPDIR": folder}
            is_raylet = process_type == ray_constants.PROCESS_TYPE_RAYLET
            if is_raylet and not agents:
                command = _without_agents(command)
            if is_raylet and at_first is not None:
                command = _early(command, at_first)
                given["env_updates"] = {**(given.get("env_updates") or {}), **_preloading()}
            return launch(command, process_type, *args, **given)

        _change(changes, ray_services, "start_ray_process", launch_bare)
        yield


@contextmanager
def _deaf_to_hangups() -> Generator[None]:
    """Processes that are started inside the block outlive a terminal that is gone: to end them is ours, once what is in
    flight has ended. Ray does as much for SIGINT."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _signals_left_alone() -> Generator[None]:
    """A core of Ray that starts inside the block hears no signal: its handler would abort who is told to stop three
    seconds later, whatever the orderly end is in the middle of. Signals are farm/signals.py's."""
    with ExitStack() as changes:
        _change(changes, ray_constants, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", value=True)
        yield


def _change(changes: ExitStack, holder: Any, name: str, value: Any) -> None:
    """Put a value into a place of Ray's until the changes are undone."""
    changes.callback(setattr, holder, name, getattr(holder, name))
    setattr(holder, name, value)


def _early(command: list[str], at_first: int) -> list[str]:
    """A raylet's command: it starts so many workers before they are asked for, instead of one a core."""
    prestarted = "--num_prestart_python_workers="
    return [f"{prestarted}{at_first}" if word.startswith(prestarted) else word for word in command]


def _preloading() -> dict[str, str]:
    """Variables of a raylet whose workers load torch while the driver is still on its way to ask for an actor.

    OMP_NUM_THREADS must be known by then. It is one, whatever a user's shell says, as each of our workers has one core.
    """
    return {"RAY_preload_python_modules": "torch", "OMP_NUM_THREADS": "1"}


def _without_agents(command: list[str]) -> list[str]:
    """A raylet's command, with programs that do nothing in place of its two agents.

    One serves metrics and runs jobs, the other prepares environments of workers: nobody asks for either here, but a
    raylet waits for both, which is two seconds of Python's imports on two cores. It is told, as by the agents of a Ray
    that is installed without its dashboard, that nobody listens.
    """
    words = (word.removeprefix("--").partition("=") for word in command)
    told = {name: value for name, _, value in words}
    ports = cast(Any, raylet)
    for name in _AGENT_PORTS:
        ports.persist_port(told["session_dir"], told["node_id"], getattr(ports, f"{name}_PORT_NAME"), _NOBODY)
    changed: list[str] = []
    for word in command:
        agent, found, _ = word.partition("_agent_command=")
        if found:
            stands_for = Path(ray.__file__).parent / agent.removeprefix("--")
            idling = [sys.executable, "-S", "-E", idle.__file__, f"{stands_for}", told["session_dir"]]
            changed.append(f"{agent}{found}{subprocess.list2cmdline(idling)}")
        else:
            changed.append(word)
    return changed


def _minimal() -> ImportError:
    """In place of importing all of the dashboard to see whether it is installed."""
    return ImportError("not asked for")


def _no_api_server(self: ray_node.Node, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
    """In place of the dashboard of an embedded Ray."""


def _temp_folder() -> Path:
    """A folder for Ray's files and sockets; a socket's path must stay below 108 bytes, whatever TMPDIR says."""
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=base if len(os.fsencode(base)) <= _TEMP_BYTES else "/tmp"))


def _dashboard_url(context: Any) -> str:
    """Of what ray.init() gives; empty where no dashboard is served, and through Ray Client."""
    url = getattr(context, "dashboard_url", None)
    return f"http://{url}" if url else ""


def _join_cluster(address: str) -> str:
    """Connect to a cluster and return its dashboard's URL; Ray itself would try for minutes where nobody listens."""
    access.check_answers(address)
    try:
        with _signals_left_alone():
            return _dashboard_url(ray.init(address=address, **_QUIET))
    except (OSError, rx.RayError, RuntimeError, ValueError) as error:
        raise UnreachableError(
            f"cluster {address} does not answer ({first_line(error)}); check --address, and that RAY_AUTH_MODE and "
            "the token are those of the cluster"
        ) from error
