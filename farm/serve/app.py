"""The routes. Whoever gets here has shown the token; what blocks runs in threads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from farm import __version__
from farm.errors import FarmError
from farm.serve.answer import CancelledRun, Fault, Health, ModelList, RunList, RunLog, RunStatus, Started
from farm.serve.faults import SAID, RefusedRequest, fault, name_of, status_of
from farm.serve.request import RunRequest
from farm.serve.runs import Runs, model_list

_TOLD = 5
"""of the things that are wrong with a request; the rest is seen when these are mended"""
_ABOUT = "Runs of the farm, for who has the token. Nothing but what stands here can be asked for."
RunId = Annotated[str, Path(description="id of a run", pattern=r"^farm-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")]
Limit = Annotated[int, Query(ge=1, le=1000, description="how many at most")]
Lines = Annotated[int, Query(ge=1, le=10_000, description="how many of the last lines at most")]


def make_app(runs: Runs) -> FastAPI:
    """The service without its guard."""
    app = FastAPI(
        title="farm",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Security(HTTPBearer(auto_error=False, description="the service's token")), Depends(_check_query)],
        generate_unique_id_function=_name,
        responses={status: {"model": Fault} for status in SAID},
    )
    _explain(app)
    _add_runs(app, runs)

    @app.get("/v1/models")
    async def models() -> ModelList:
        """The models that `model` may name."""
        return model_list()

    @app.get("/v1/health")
    async def health() -> Health:
        """Whether the service answers."""
        return Health(status="ok", version=__version__)

    return app


def _add_runs(app: FastAPI, runs: Runs) -> None:
    @app.post("/v1/runs", status_code=202)
    def start_run(asked: RunRequest, response: Response) -> Started:
        """Start a run, as `farm submit --detach`. It goes on when the service ends."""
        started = runs.start(asked)
        response.headers["Location"] = f"/v1/runs/{started.id}"
        return started

    @app.get("/v1/runs")
    def list_runs(limit: Limit = 100) -> RunList:
        """Runs of the cluster, or of this user's head, and those of heads that have ended."""
        return runs.latest(limit)

    @app.get("/v1/runs/{run}", response_model=RunStatus, response_model_exclude_unset=True)
    def run_status(run: RunId) -> dict[str, Any]:
        """How far it is: the figures of `farm status --json`."""
        return runs.status(run)

    @app.get("/v1/runs/{run}/log")
    def run_log(run: RunId, lines: Lines = 200) -> RunLog:
        """The last lines of what it has said."""
        return runs.log(run, lines)

    @app.post("/v1/runs/{run}/cancel")
    def cancel_run(run: RunId) -> CancelledRun:
        """End it in order, and wait for that: some ten seconds. What is done stays done; the same request goes on."""
        return runs.cancel(run)


def _check_query(request: Request) -> None:
    """Raises RefusedRequest for a parameter that the description of the route has not: none is ignored."""
    described = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = {one["name"] for one in described.get("parameters", ()) if one["in"] == "query"}
    if more := sorted(set(request.query_params) - known):
        raise RefusedRequest(422, f"query.{more[0]}: is no parameter here; see /openapi.json")


def _name(route: APIRoute) -> str:
    return route.name


def _explain(app: FastAPI) -> None:
    """Every error is an answer of one shape."""

    async def of_farm(_: Request, error: Exception) -> Response:
        assert isinstance(error, FarmError)
        return _answer(status_of(error), type(error).__name__, str(error))

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedRequest)
        return _answer(error.status, name_of(error.status), str(error))

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = (
            {"Allow": ", ".join(_allowed(app, request))} if error.status_code == 405 else dict(error.headers or {})
        )
        return _answer(error.status_code, name_of(error.status_code), f"{error.detail}; see /openapi.json", headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _answer(422, name_of(422), _wrong(error))

    async def unforeseen(_: Request, error: Exception) -> Response:
        return _answer(500, name_of(500), f"a defect of the farm ({type(error).__name__}); its log says more")

    app.add_exception_handler(FarmError, of_farm)
    app.add_exception_handler(RefusedRequest, refused)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unforeseen)


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """Every method that there is for what was asked for: the router itself tells of its first route alone."""
    routes = (route for route in app.routes if isinstance(route, Route))
    there = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in there for method in route.methods or ()})


def _answer(status: int, name: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(fault(name, message), status, headers)


def _wrong(error: RequestValidationError) -> str:
    """Where and what, without the values that were sent."""
    found = error.errors()
    said = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found[:_TOLD]]
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return f"{'; '.join(said)}{more}; see /openapi.json"
