"""`farm serve`: parse, call, print, exit code."""

from __future__ import annotations

from pathlib import Path

import click

from farm.console import explained, leave, printable
from farm.serve.settings import HOST, PORT, ServeConfig


@click.command(short_help="Runs over HTTP: start, look, cancel, for who has the token.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=PORT, show_default=True, help="Port to listen on; 0: any that is free.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the token lies; made if missing. Default: ~/.local/state/farm/serve/token.",
)
@click.option(
    "--allow-root",
    "roots",
    multiple=True,
    metavar="DIR_OR_URL",
    help="Folder or prefix that manifests and outputs lie in. At least one.",
)
@click.option("--insecure", is_flag=True, help="Listen where others can reach it, although nothing is encrypted.")
@explained
def serve(host: str, port: int, token_file: Path | None, roots: tuple[str, ...], insecure: bool) -> None:
    """Serve an API of JSON until SIGINT or SIGTERM; /openapi.json describes it. Whoever shows the token may start runs,
    as `farm submit --detach` does, on what lies below the roots, look at them and cancel them. Runs go on when it ends.
    """
    from farm.serve.server import serve as run

    config = ServeConfig(roots=roots, host=host, port=port, token_file=token_file, insecure=insecure)
    signum = run(config, _show)
    leave(128 + signum if signum else 0, stopped=True)


def _show(url: str, token: Path, roots: str) -> None:
    click.echo(printable(f"listening: {url} (it asks for a token: cat {token})"), err=True)
    click.echo(printable(f"roots: {roots}"), err=True)
