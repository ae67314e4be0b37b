"""`dedl-fastai view`: look at results in the browser, correct them, and move cut-offs."""

from typing import Annotated

import typer


def view(
    results: Annotated[str, typer.Argument(metavar="RESULTS", help="Folder that predict wrote.")],
    port: Annotated[int, typer.Option(help="Port of the page on this machine; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open no browser.")] = False,
) -> None:
    """Show results in the browser: look at fields, correct nuclei and types by hand, and move cut-offs of markers.

    The page is served on this machine only, and its address holds a secret. Each correction is written at once to
    RESULTS/corrections. End it with Ctrl+C. Needs the extra "view".
    """
    import webbrowser

    from ..view.server import serve

    def show(address: str) -> None:
        typer.echo(f"page: {address}")
        if not no_browser:
            webbrowser.open(address)

    serve(results, port, on_ready=show)
