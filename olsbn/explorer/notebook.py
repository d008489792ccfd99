"""`olsbn.explore`: the explorer from Python, in a notebook or beside a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from olsbn._validate import as_count
from olsbn.explorer.view import Given, View
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.sweeps.pool import WORKERS

if TYPE_CHECKING:
    from olsbn.explorer.server import Explorer


def explore(
    problem: OLSProblem | ProblemFamily | None = None,
    *,
    dim: int = 100,
    port: int = 0,
    address: str = "127.0.0.1",
    workers: int | None = None,
    height: int = 900,
) -> Explorer:
    """Start the explorer, a map in the browser, and return it; a notebook shows the page.

    Parameters
    ----------
    problem : OLSProblem or ProblemFamily, optional
        What to look at. Default: a random problem, which the page can change. Of a family the problem of dimension
        `dim`.
    dim : int, optional
        See `problem`.
    port : int, optional
        In [0, 65535]; 0 takes a free one.
    address : str, optional
        Where to listen. The default is reached from this machine alone.
    workers : int, optional
        Threads that compute. Default: one for each processor this process may use.
    height : int, optional
        Of the page in a notebook, in pixels.

    Returns
    -------
    Explorer
        With ``url``; ``close()`` stops it, and so does ``with``. Without that it runs until the process ends.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above.
    ImportError
        Without the extra "explore".
    OSError
        Where the address or the port cannot be used.

    Notes
    -----
    A map of 640 x 400 cells costs what the same `olsbn.sweep` costs, and about 60 bytes a cell for each open tab.

    Examples
    --------
    >>> import olsbn
    >>> with olsbn.explore(olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0])) as explorer:  # doctest: +SKIP
    ...     explorer.url
    'http://127.0.0.1:40123/'
    """
    given, first = Given(), ""
    if isinstance(problem, OLSProblem):
        given = Given(problem)
    elif isinstance(problem, ProblemFamily):
        facts = {("spectrum" if name == "kind" else name): value for name, value in problem.facts().items()}
        first = View.of({"problem": facts | {"dim": as_count("dim", dim, minimum=1)}}, given).query()
    elif problem is not None:
        raise TypeError(f"problem must be an OLSProblem or a ProblemFamily, got {type(problem).__name__}")
    as_count("height", height, minimum=100, maximum=10_000)
    return started(given, port=port, address=address, workers=workers, first=first, height=height)


def started(given: Given, *, port: int, address: str, workers: int | None, first: str = "", height: int = 900) -> Any:
    """Start a server on a thread of its own."""
    as_count("port", port, maximum=65535)
    if workers is not None:
        as_count("workers", workers, minimum=1, maximum=WORKERS)
    if not isinstance(address, str) or not address:
        raise TypeError(f"address must be a host name or an IP address, got {address!r}")
    try:
        from olsbn.explorer.server import Explorer, Server
    except ImportError as err:
        raise ImportError("the explorer needs tornado (pip install 'olsbn[explore]')") from err
    return Explorer(Server(given, address=address, port=port, workers=workers, first=first), height)
