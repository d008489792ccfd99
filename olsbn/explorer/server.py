"""The server of the explorer: one page, one web socket for each tab, and the files that a tab saves."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import logging
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import urlsplit

import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket

from olsbn._validate import as_real, one_of, shortened
from olsbn.explorer import cell, controls, saving, shown
from olsbn.explorer.computing import Computation, Part
from olsbn.explorer.view import Given, View
from olsbn.sweeps.pool import processors

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

# The files of the page: no other file is ever served.
_PAGE = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "map.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "controls.js": "text/javascript; charset=utf-8",
}
# Tabs at a time, and the size of a message of the page.
_MOST_TABS, _LARGEST_MESSAGE = 32, 2**16
# A tab whose network is gone is closed after about so many seconds.
_PING = 20
# What may be wrong with what the user asks: said in one sentence.
_BAD = (ValueError, TypeError, ImportError, OSError)


class Server:
    """A server on one address; every tab has a session of its own, and all share the threads that compute."""

    def __init__(
        self, given: Given, *, address: str = "127.0.0.1", port: int = 0, workers: int | None = None, first: str = ""
    ) -> None:
        self.given, self.first = given, first
        self.workers = processors() if workers is None else workers
        self.address = address
        self.sockets = tornado.netutil.bind_sockets(port, address)
        self.port = int(self.sockets[0].getsockname()[1])
        self.tiles = ThreadPoolExecutor(self.workers, "olsbn-tile")
        self.side = ThreadPoolExecutor(2, "olsbn-side")
        self.sessions: dict[str, Session] = {}
        self.tiles_computed = 0
        self._http: tornado.httpserver.HTTPServer | None = None
        self._ending: set[asyncio.Future[None]] = set()

    @property
    def url(self) -> str:
        """Where the page is."""
        host = self.address
        if host in ("0.0.0.0", "::", ""):
            host = "localhost"
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?{self.first}" if self.first else "")

    def allows(self, host: str) -> bool:
        """Whether a Host header names this server: a name that somebody else's DNS points here does not."""
        parts = urlsplit(f"//{host}")
        try:
            name, port = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or (port or 80) != self.port:
            return False
        if name in ("localhost", self.address):
            return True
        try:
            literal = ipaddress.ip_address(name)
        except ValueError:
            return not _is_loopback(self.address) and name in {socket.gethostname(), socket.getfqdn()}
        return literal.is_loopback or not _is_loopback(self.address)

    async def start(self) -> None:
        """Listen, in the running event loop."""
        pages = {name: (files("olsbn.explorer") / "page" / name).read_bytes() for name in _PAGE}
        application = tornado.web.Application(
            [
                (r"/", Page, {"server": self, "pages": pages}),
                (r"/page/([a-z.]+)", Page, {"server": self, "pages": pages}),
                (r"/socket", Socket, {"server": self}),
                (r"/save/([\w-]{1,64})/([a-z.]{1,20})", Save, {"server": self}),
            ],
            default_handler_class=Nothing,
            default_handler_args={"server": self},
            websocket_ping_interval=_PING,
            websocket_max_message_size=_LARGEST_MESSAGE,
            log_function=lambda handler: None,
        )
        self._http = tornado.httpserver.HTTPServer(application, max_body_size=_LARGEST_MESSAGE)
        self._http.add_sockets(self.sockets)
        self.side.submit(_warm, self.given)

    def end(self, session: Session) -> None:
        """End a session whose tab is gone."""
        task = asyncio.ensure_future(session.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def stop(self) -> None:
        """Close everything: no thread computes on."""
        if self._http is not None:
            self._http.stop()
        for session in list(self.sessions.values()):
            await session.close()
        if self._http is not None:
            await self._http.close_all_connections()
        for pool in (self.tiles, self.side):
            pool.shutdown(wait=False, cancel_futures=True)


def _warm(given: Given) -> None:
    """Load what the first picture needs while the browser starts: compiled code, and the theory."""
    computation = Computation(View.of({"x": {"n": 16}, "y": {"n": 16}, "n_steps": 10}, given), given)
    computation.marks()
    computation.compute(next(computation.parts()))


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Session:
    """What one tab looks at: its view, and the computation of it, which ends with the next view or with the tab."""

    def __init__(self, server: Server, send: Callable[[str | bytes, bool], Any]) -> None:
        self.key = secrets.token_urlsafe(16)
        self.server, self._write = server, send
        self.view: View | None = None
        self.computation: Computation | None = None
        self._following: asyncio.Task[None] | None = None
        self._others: set[asyncio.Task[None]] = set()

    async def greet(self) -> None:
        """Send what the controls are made of."""
        found = await self._aside(controls.catalogue, self.server.given)
        await self._send({"type": "hello", "session": self.key, "catalogue": found})

    async def close(self) -> None:
        """Stop all work of this tab."""
        self.server.sessions.pop(self.key, None)
        tasks = [task for task in (self._following, *self._others) if task is not None]
        if self.computation is not None:
            self.computation.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.computation = None

    def take(self, text: str | bytes) -> None:
        """Take a message of the page: a new view ends the work on the one before."""
        try:
            message = json.loads(text)
            if not isinstance(message, dict):
                raise ValueError
        except (ValueError, RecursionError):
            self._begin(self._complain(None, f"a message must be a JSON table, got {shortened(text)}"))
            return
        if message.get("type") in ("view", "link"):
            if self._following is not None:
                self._following.cancel()
            self._following = asyncio.create_task(self._follow(message))
        elif message.get("type") == "stop":
            if self._following is not None:
                self._following.cancel()
            self._begin(self._send({"type": "stopped"}))
        else:
            self._begin(self._answer(message))

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    # ------------------------------------------------------------------ a view

    async def _follow(self, message: dict[str, Any]) -> None:
        number = message.get("n")
        try:
            view = await self._aside(self._view, message)
            before = self.computation
            if before is not None and before.finished and before.view.computation == view.computation:
                self.view = view
                await self._announce(number, before)
                await self._frame(number, before)
                await self._finish(number, before)
                return
            if before is not None:
                before.cancel()
            computation = await self._aside(Computation, view, self.server.given)
            await self._aside(shown.check, computation, view.show)
            self.view, self.computation = view, computation
            await self._announce(number, computation)
            await self._fill(number, computation)
        except _BAD as err:
            await self._complain(number, str(err))
        except MemoryError:
            await self._complain(number, "the memory of this machine is exhausted")
        except tornado.websocket.WebSocketClosedError:
            return

    def _view(self, message: Mapping[str, Any]) -> View:
        """Return the view of a message: given as a table, or as the query of a link in cells of the page's size."""
        if message["type"] == "view":
            return View.of(message.get("view", {}), self.server.given)
        state = View.from_query(str(message.get("query", "")), self.server.given).state()
        for key in ("x", "y"):
            if key in message:
                state[key]["n"] = message[key]
        return View.of(state, self.server.given)

    async def _announce(self, number: Any, computation: Computation) -> None:
        view = self.view
        assert view is not None
        found = {
            "type": "map",
            "n": number,
            "view": view.state(),
            "query": view.query(),
            "marks": await self._aside(computation.marks),
            "facts": await self._aside(saving.facts, computation),
            "strides": computation.strides,
        }
        await self._send(found)

    async def _fill(self, number: Any, computation: Computation) -> None:
        """Compute all passes on the shared threads, and send each tile as it is done."""
        loop = asyncio.get_running_loop()
        waiting: dict[asyncio.Future[Any], Part] = {}
        parts = computation.parts()
        try:
            while True:
                while len(waiting) <= self.server.workers and (part := next(parts, None)) is not None:
                    waiting[loop.run_in_executor(self.server.tiles, computation.compute, part)] = part
                if not waiting:
                    break
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    part = waiting.pop(future)
                    self.server.tiles_computed += 1
                    await self._frame(number, computation, part.stride, *computation.put(part, future.result()))
            computation.finished = True
            await self._finish(number, computation)
        finally:
            if not computation.finished:
                computation.cancel()
            for future in waiting:
                future.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _frame(
        self,
        number: Any,
        computation: Computation,
        stride: int = 1,
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> None:
        """Send a block of cells: a length, a header in JSON, the numbers, the codes."""
        assert self.view is not None
        show = self.view.show
        values, codes = shown.drawn(computation, show, rows, columns)
        header = {
            "n": number,
            "show": show,
            "row": rows.start or 0,
            "column": columns.start or 0,
            "rows": values.shape[0],
            "columns": values.shape[1],
            "stride": stride,
            "limits": shown.limits(computation, show),
            "done": computation.done_work / computation.total_work,
        }
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        await self._write(
            struct.pack("<II", len(head), 0) + head + values.astype("<f8").tobytes() + codes.tobytes(), True
        )

    async def _finish(self, number: Any, computation: Computation) -> None:
        await self._send({"type": "done", "n": number, "counts": saving.counts(computation)})

    # ------------------------------------------------------------------ questions about it

    async def _answer(self, message: dict[str, Any]) -> None:
        kind, number = message.get("type"), message.get("n")
        computation, view = self.computation, self.view
        try:
            one_of("type of a message", kind, ("hover", "show", "cells", "text", "view", "link", "stop"))
            if computation is None or view is None:
                return
            if kind == "hover":
                if computation.columns:
                    x, y = as_real("x", message.get("x")), as_real("y", message.get("y"))
                    await self._send({"type": "hover", "n": number, **await self._aside(cell.hover, computation, x, y)})
            elif kind == "show":
                state = view.state() | {"show": message.get("show")}
                new = await self._aside(View.of, state, self.server.given)
                await self._aside(shown.check, computation, new.show)
                self.view = new
                await self._send({"type": "query", "query": self.view.query()})
                await self._frame(message.get("map"), computation)
            elif kind == "cells":
                state = view.state() | {"cells": message.get("cells")}
                new = await self._aside(View.of, state, self.server.given)
                self.view = dataclasses.replace(new, show=self.view.show) if self.view else new
                await self._send({"type": "query", "query": self.view.query()})
                runs = [
                    await self._aside(cell.steps, new, self.server.given, computation.attrs, x, y) for x, y in new.cells
                ]
                await self._send({"type": "cells", "n": number, "runs": runs})
            else:
                texts = {"toml": view.toml, "python": view.python}
                what = one_of("what", message.get("what"), texts)
                await self._send({"type": "text", "what": what, "text": texts[what](self.server.given)})
        except _BAD as err:
            await self._complain(number, str(err))
        except tornado.websocket.WebSocketClosedError:
            return

    async def _complain(self, number: Any, text: str) -> None:
        await self._send({"type": "error", "n": number, "text": " ".join(text.split())})

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._write(json.dumps(message), False)

    async def _aside(self, function: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.server.side, function, *args)


# -------------------------------------------------------------------- handlers


class _Checked(tornado.web.RequestHandler):
    """A handler that answers only requests which name this server as their host."""

    def initialize(self, server: Server) -> None:
        self.server = server

    def prepare(self) -> None:
        if not self.server.allows(self.request.headers.get("Host", "")):
            raise tornado.web.HTTPError(403)

    def set_default_headers(self) -> None:
        self.set_header("Server", "olsbn")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Content-Security-Policy", "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}\n")


class Nothing(_Checked):
    """What is asked for does not exist."""

    def prepare(self) -> None:
        """Refuse."""
        super().prepare()
        raise tornado.web.HTTPError(404)


class Page(_Checked):
    """The page and its parts, by name from what was read when the server started."""

    def initialize(self, server: Server, pages: dict[str, bytes]) -> None:  # type: ignore[override]
        """Keep what the application hands over."""
        super().initialize(server)
        self._pages = pages

    def get(self, name: str = "index.html") -> None:
        """Answer with a part."""
        if name not in self._pages:
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Type", _PAGE[name])
        self.finish(self._pages[name])


class Save(_Checked):
    """What a tab saves: picture, data, configuration; by the key of its session, which only it knows."""

    async def get(self, key: str, name: str) -> None:
        """Answer with a file."""
        session = self.server.sessions.get(key)
        if session is None or session.computation is None or session.view is None or name not in saving.FILES:
            raise tornado.web.HTTPError(404)
        try:
            body = await asyncio.get_running_loop().run_in_executor(
                self.server.side, saving.made, name, session.computation, session.view, self.server.given
            )
        except _BAD as err:
            self.set_status(409)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            await self.finish(" ".join(str(err).split()) + "\n")
            return
        self.set_header("Content-Type", saving.FILES[name])
        self.set_header("Content-Disposition", f'attachment; filename="olsbn-{name}"')
        await self.finish(body)


class Socket(tornado.websocket.WebSocketHandler):
    """The web socket of a tab."""

    def initialize(self, server: Server) -> None:
        """Keep what the application hands over."""
        self.server = server
        self.session: Session | None = None

    def prepare(self) -> None:
        """Refuse a foreign Host, and more tabs than there may be."""
        if not self.server.allows(self.request.headers.get("Host", "")):
            raise tornado.web.HTTPError(403)
        if len(self.server.sessions) >= _MOST_TABS:
            raise tornado.web.HTTPError(503)

    def check_origin(self, origin: str) -> bool:
        """Only the page of this server may connect; a program without an Origin is not a page of somebody else's."""
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == self.request.headers["Host"].lower()

    async def open(self, *args: str, **kwargs: str) -> None:
        """Begin a session."""
        self.set_nodelay(True)

        async def send(message: str | bytes, binary: bool) -> None:
            await self.write_message(message, binary)

        self.session = Session(self.server, send)
        self.server.sessions[self.session.key] = self.session
        await self.session.greet()

    def on_message(self, message: str | bytes) -> None:
        """Pass a message on."""
        if self.session is not None:
            self.session.take(message)

    def on_close(self) -> None:
        """End the session."""
        if self.session is not None:
            self.server.end(self.session)
            self.session = None


# -------------------------------------------------------------------- running


class Explorer:
    """An explorer that runs on a thread of its own; in a notebook it shows the page.

    Attributes
    ----------
    url : str
        Where the page is.
    """

    def __init__(self, server: Server, height: int) -> None:
        self._server, self._height = server, height
        self.url = server.url
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        def serve() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(server.start())
            ready.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=serve, name="olsbn-explorer", daemon=True)
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        """Stop the server and everything that it computes."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def __enter__(self) -> Explorer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Explorer({self.url!r})"

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{self.url.replace("&", "&amp;")}" width="100%" height="{self._height}" '
            'style="border: 1px solid #ccc"></iframe>'
        )
