"""The explorer without a browser: views, their computation, the server's web socket and what it refuses."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import struct
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import xarray as xr

import olsbn

pytest.importorskip("tornado")

import tornado.httpclient
import tornado.websocket

from olsbn.explorer import cell, computing, controls, shown
from olsbn.explorer.tour import STOPS
from olsbn.explorer.view import Given, View
from olsbn.sweeps import running, toml

SMALL = {"spectrum": "logspace", "dim": 10, "cond": 100.0}
NONE = Given()


def small(**parts):
    state = {
        "problem": SMALL,
        "x": {"name": "eps", "lo": 1e-3, "hi": 1e3, "n": 24, "log": True},
        "y": {"name": "eps_a", "lo": 0.1, "hi": 2.5, "n": 18, "log": False},
        "n_steps": 50,
    }
    return View.of(state | parts, NONE)


def computed(view, given=NONE):
    found = computing.Computation(view, given)
    for part in found.parts():
        found.put(part, found.compute(part))
    found.finished = True
    return found


VIEWS = [
    {},
    {"fixed": {"momentum": 0.5, "schedule": "cosine"}, "show": "eps_eff", "cells": [[1.0, 0.5], [2.0, 1.0]]},
    {"method": "gd", "y": {"name": "momentum", "lo": 0.0, "hi": 0.9, "n": 7, "log": False}},
    {"x": {"name": "eps_a", "lo": 0.1, "hi": 2.5, "n": 9, "log": False},
     "y": {"name": "eps", "lo": 1e-3, "hi": 1e3, "n": 8, "log": True}},
    {"show": "eps_eff_ratio"},
    {"method": "wngd", "check_rounding": False, "tol": 1e-4},
    {"problem": {"spectrum": "linspace", "dim": 2000, "cond": 10.0}, "n_steps": 20},
]  # fmt: skip


@pytest.mark.parametrize("parts", VIEWS)
def test_a_view_comes_back_from_its_link_and_its_table(parts):
    view = small(**parts)
    assert View.from_query(view.query(), NONE) == view
    assert View.of(json.loads(json.dumps(view.state())), NONE) == view


@pytest.mark.parametrize("parts", VIEWS)
def test_toml_python_and_the_map_give_the_same_bits(parts, tmp_path):
    view = small(**parts)
    ours = computed(view).dataset()
    path = tmp_path / "sweep.toml"
    path.write_text(view.toml(NONE))
    spec = toml.load(path)
    theirs = running.Memory(spec)
    running.run(theirs, range(len(theirs.tiling)))
    xr.testing.assert_identical(ours.drop_attrs(), theirs.dataset().drop_attrs())
    lines = "\n".join(line for line in view.python(NONE).splitlines() if not line.startswith("ax ="))
    names: dict = {}
    exec(lines, names)
    xr.testing.assert_identical(ours.drop_attrs(), names["ds"].drop_attrs())
    assert ours.attrs["n_steps"] == view.n_steps
    if view.cells:
        assert names["run"].attrs["eps"] == view.cells[-1][0]


def test_coarse_cells_are_some_of_the_fine_ones(monkeypatch):
    monkeypatch.setattr(computing, "_FIRST_WORK", 1e5)
    view = small(x={"name": "eps", "lo": 1e-3, "hi": 1e3, "n": 41, "log": True})
    whole = computing.Computation(view, NONE)
    assert whole.strides == [4, 1]
    parts = list(whole.parts())
    first = [part for part in parts if part.stride == 4]
    for part in first:
        whole.put(part, whole.compute(part))
    assert (whole.stride == 4).all()
    coarse = {name: values.copy() for name, values in whole.columns.items()}
    for part in parts[len(first) :]:
        whole.put(part, whole.compute(part))
    assert (whole.stride == 1).all()
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(coarse[name][2::4, 2::4], values[2::4, 2::4], err_msg=name)
    # a late tile of an earlier pass does not overwrite a finer one
    before = whole.columns["excess"].copy()
    whole.put(first[0], whole.compute(first[0]))
    np.testing.assert_array_equal(before, whole.columns["excess"])


def test_cancelled_kernels_return_at_once():
    view = small(
        problem={"spectrum": "linspace", "dim": 1000, "cond": 10.0}, n_steps=5_000_000, reduce=False,
        fixed={"weight_decay": 1e-3},  # so that no cell comes to rest
    )  # fmt: skip
    whole = computing.Computation(view, NONE)
    part = next(whole.parts())
    worker = threading.Thread(target=whole.compute, args=(part,))
    worker.start()
    time.sleep(0.2)
    assert worker.is_alive()
    whole.cancel()
    worker.join(5)
    assert not worker.is_alive()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"method": "adam"}, "method must be one of"),
        ({"x": {"name": "eps", "lo": 2.0, "hi": 1.0, "n": 5, "log": True}}, "LO < HI"),
        ({"x": {"name": "eps", "lo": float("nan"), "hi": 1.0, "n": 5}}, "must be finite"),
        ({"x": {"name": "eps", "lo": 0.0, "hi": 1.0, "n": 5, "log": True}}, "logarithmic"),
        ({"x": {"name": "eps", "lo": 1.0, "hi": 1.0 + 1e-15, "n": 500, "log": True}}, "float64"),
        ({"x": {"name": "eps", "lo": 1.0, "hi": 2.0, "n": 8192, "log": True},
          "y": {"name": "eps_a", "lo": 0.1, "hi": 1.0, "n": 8192, "log": False}}, "cells"),
        ({"y": {"name": "eps", "n": 5}}, "different"),
        ({"n_steps": "many"}, "steps must be a whole number"),
        ({"n_steps": 10**9}, "steps must be <="),
        ({"tol": 2.0}, "tol must lie in"),
        ({"show": "price"}, "show must be one of"),
        ({"fixed": {"momentun": 0.5}}, "momentum"),
        ({"fixed": {"momentum": 2.0}}, "momentum must be <= 1"),
        ({"fixed": {"momentum": "high"}}, "momentum must hold real numbers"),
        ({"problem": {"spectrum": "logspace", "dim": 10**7, "cond": 10.0}}, "dim must be <="),
        ({"problem": {"data": "/etc/passwd"}}, "unknown problem.data"),
        ({"problem": {"csv": "/etc/passwd", "target": "x"}}, "named when the explorer is started"),
        ({"problem": {"given": True}}, "problem of the start"),
        ({"method": "gdnp"}, "two parameters"),
        ({"cells": [[1, 2, 3]]}, "pair"),
        ({"cells": [[1.0, 1.0]] * 7}, "at most 6"),
        ({"colour": "red"}, "unknown part of a view"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_in_one_sentence(parts, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        small(**parts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("query", ["eps", "method=bngd&method=gd", "methd=gd", "cell=1;2", "problem.csv=/etc/passwd"])
def test_bad_links_are_refused(query):
    with pytest.raises((ValueError, TypeError)):
        View.from_query(query, NONE)


def test_hovering_tells_every_quantity_with_theory():
    view = small(problem={"spectrum": "identity", "dim": 3})
    whole = computed(view)
    found = cell.hover(whole, 1.0, 1.0)
    rows = {row["name"]: row for row in found["rows"]}
    own = set(olsbn.methods()["bngd"].variables) - {"rate_theory"}
    assert set(rows) >= own | {"decades", "eps_eff_ratio", "loss"}
    assert float(rows["decades"]["value"]) == pytest.approx(
        -np.log10(whole.columns["excess"][whole.at(1.0, 1.0)]), 1e-5
    )
    at = whole.at(1.0, 1.0)
    assert float(rows["excess"]["value"]) == pytest.approx(whole.columns["excess"][at], rel=1e-5)
    assert "edge" in str(cell.hover(computed(small()), 1.0, 1.0)["rows"])


def test_a_cell_is_the_run_of_its_parameters():
    view = small(fixed={"momentum": 0.5})
    found = cell.steps(view, NONE, view.spec(NONE).attrs(), 2.0, 0.5)
    run = olsbn.run(view.problem_of(NONE), "bngd", eps=2.0, eps_a=0.5, momentum=0.5, n_steps=50)
    assert found["series"]["excess"] == run.excess.values.tolist()
    report = olsbn.spectral_report(view.problem_of(NONE))
    assert found["mu"] == report.eigvals_star[1:].tolist()
    assert found["edge"] == pytest.approx(1.5 * report.eps_eff_max)


def test_controls_have_every_method_parameter_and_quantity():
    found = controls.catalogue(NONE)
    for method in found["methods"]:
        own = olsbn.methods()[method["name"]]
        assert [param["name"] for param in method["params"]] == [param.name for param in own.params]
        assert method["quantities"] == shown.names(own)
    json.dumps(found, allow_nan=False)


def test_the_stops_of_the_tour_say_what_is_there():
    """Each sentence of the tour with a number in it, against the engine."""
    views = [View.of(stop.view, NONE) for stop in STOPS]
    assert [len(stop.look) for stop in STOPS] == [4] * 5
    runs = [
        [olsbn.run(view.problem_of(NONE), view.method, n_steps=view.n_steps, **view.cell(x, y)) for x, y in view.cells]
        for view in views
    ]
    below, above = runs[0]
    edge = below.attrs["eps_max"]
    assert below.attrs["eps"] == pytest.approx(0.99 * edge) and above.attrs["eps"] == pytest.approx(1.01 * edge)
    assert below.excess[-1] < 1e-6 < 1 < above.excess[-1]
    one, two = runs[1]
    assert two.attrs["eps"] / one.attrs["eps"] == pytest.approx(200)
    for run in runs[2]:
        relative = run.eps_eff.values / run.attrs["eps_eff_max"]
        assert relative.max() > 1.5 and 0.98 < relative[-1] < 1
    [run] = runs[3]
    assert run.eps_eff.values[-1] > run.attrs["eps_eff_max"] and bool(run.by_rounding[-1])
    assert run.excess.values[-1] < 1e-25
    textbook = plain_loop(views[3].problem_of(NONE), run.attrs["eps"], 1000)
    assert textbook[700] < 1e-9 and 5e-4 < textbook[750:850].max() < 2e-3
    [run] = runs[4]
    x = run.excess.values
    assert x[100:].max() > 1e3 * x[100:].min() and run.attrs["status"] != "diverged"
    assert run.eps_eff.values.max() > 1.5 * run.attrs["eps_eff_max"]


def plain_loop(problem, eps, n_steps):
    """BNGD as printed, in float64, with eps_a = 1."""
    lam, u, w, a = problem.eigvals, problem.u, problem.w0.copy(), problem.a0
    g = lam * u
    found = []
    for _ in range(n_steps + 1):
        sigma = np.sqrt(w @ (lam * w))
        q = w @ g / sigma
        found.append(((a - q) ** 2 + u @ g - q * q) / (u @ g))
        a, w = q, w + eps * a / sigma * (g - (w @ g) / sigma**2 * lam * w)
    return np.array(found)


# -------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def explorer():
    with olsbn.explore(workers=2) as found:
        yield found


def asked(explorer, work):
    """Run ``work(open)`` in an event loop of its own; ``open(**headers)`` opens a web socket."""

    async def run():
        opened = []

        async def open_socket(**headers):
            request = tornado.httpclient.HTTPRequest(
                f"ws://127.0.0.1:{explorer._server.port}/socket", headers={k.title(): v for k, v in headers.items()}
            )
            socket = await tornado.websocket.websocket_connect(request)
            opened.append(socket)
            return socket

        try:
            return await asyncio.wait_for(work(open_socket), 60)
        finally:
            for socket in opened:
                socket.close()
                while await socket.read_message() is not None:
                    pass
            await asyncio.sleep(0.05)

    return asyncio.run(run())


async def until(socket, kind, n=None):
    """Read messages until one of a kind; return it and the number of binary frames before it."""
    frames = []
    while True:
        message = await socket.read_message()
        assert message is not None
        if isinstance(message, bytes):
            length = struct.unpack_from("<I", message)[0]
            header = json.loads(message[8 : 8 + length])
            frames.append((header, message[8 + length :]))
            continue
        found = json.loads(message)
        if found["type"] == kind and (n is None or found.get("n") == n):
            return found, frames


def test_a_view_arrives_with_its_numbers(explorer):
    view = small()

    async def work(connect):
        socket = await connect()
        await until(socket, "hello")
        await socket.write_message(json.dumps({"type": "view", "n": 7, "view": view.state()}))
        announced, _ = await until(socket, "map")
        _, frames = await until(socket, "done")
        return announced, frames

    announced, frames = asked(explorer, work)
    assert View.from_query(announced["query"], NONE) == view
    picture = np.full((18, 24), np.nan)
    for header, body in frames:
        rows, columns = header["rows"], header["columns"]
        values = np.frombuffer(body[: 8 * rows * columns]).reshape(rows, columns)
        picture[header["row"] : header["row"] + rows, header["column"] : header["column"] + columns] = values
    values, _ = shown.drawn(computed(view), "excess")
    np.testing.assert_array_equal(picture, values)


def test_a_hundred_quick_views_leave_one_computation(explorer):
    """Old work ends: the last view is answered soon, and of the others nothing is computed to the end."""
    state = small(n_steps=200_000).state()
    last = small(n_steps=20).state()
    server = explorer._server

    async def work(connect):
        socket = await connect()
        await until(socket, "hello")
        before = server.tiles_computed
        for k in range(100):
            await socket.write_message(json.dumps({"type": "view", "n": k, "view": state | {"tol": 1e-3 + k * 1e-6}}))
            await asyncio.sleep(0.005)
        begin = time.perf_counter()
        await socket.write_message(json.dumps({"type": "view", "n": 100, "view": last}))
        await until(socket, "done", 100)
        return time.perf_counter() - begin, server.tiles_computed - before

    seconds, tiles = asked(explorer, work)
    assert seconds < 5
    assert tiles < 100


def test_a_closed_tab_stops_its_work(explorer):
    server = explorer._server
    state = small(problem={"spectrum": "linspace", "dim": 1000, "cond": 10.0}, n_steps=1_000_000, reduce=False).state()

    async def work(connect):
        socket = await connect()
        await until(socket, "hello")
        await socket.write_message(json.dumps({"type": "view", "n": 1, "view": state}))
        await until(socket, "map")
        await asyncio.sleep(0.3)

    asked(explorer, work)
    deadline = time.time() + 5
    while (server.sessions or not server.tiles._work_queue.empty()) and time.time() < deadline:
        time.sleep(0.02)
    assert not server.sessions
    assert server.tiles._work_queue.empty()
    # both threads are free again
    assert [future.result(5) for future in [server.tiles.submit(int, 1), server.tiles.submit(int, 2)]] == [1, 2]


def test_two_tabs_have_views_of_their_own(explorer):
    async def work(connect):
        first, second = await connect(), await connect()
        for socket in (first, second):
            await until(socket, "hello")
        await first.write_message(json.dumps({"type": "view", "n": 1, "view": small().state()}))
        await second.write_message(json.dumps({"type": "view", "n": 1, "view": small(n_steps=5).state()}))
        return [(await until(socket, "map"))[0]["view"]["n_steps"] for socket in (first, second)]

    assert asked(explorer, work) == [50, 5]


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"type": "evil"}', '{"type": "view", "view": 3}', '{"type":"link","query":"x"}']
)
def test_bad_messages_get_a_sentence(explorer, text):
    async def work(connect):
        socket = await connect()
        await until(socket, "hello")
        await socket.write_message(text)
        return (await until(socket, "error"))[0]["text"]

    assert "\n" not in asked(explorer, work)


def get(explorer, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{explorer._server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as err:
        return err.code, err.read()


@pytest.mark.parametrize(
    "path",
    [
        "/page/../view.py", "/page/..%2fview.py", "/page//etc/passwd", "/page/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd",
        "/page/server.py", "/save/none/data.nc", "/save/none/../../etc/passwd", "/.git/config",
    ],
)  # fmt: skip
def test_no_other_file_is_served(explorer, path):
    status, body = get(explorer, path)
    assert status in (403, 404) and b"root:" not in body and len(body) < 100


def test_the_page_is_served(explorer):
    for name in ("/", "/page/page.js", "/page/map.js", "/page/page.css"):
        assert get(explorer, name)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "127.0.0.1:1", ""]
)
def test_a_foreign_host_is_refused(explorer, host):
    assert get(explorer, "/", Host=host.format(port=explorer._server.port))[0] in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"host": "evil.example", "origin": "http://evil.example"},
    ],
)
def test_a_foreign_page_gets_no_socket(explorer, headers):
    with pytest.raises(tornado.httpclient.HTTPError) as caught:
        asked(explorer, lambda connect: connect(**headers))
    assert caught.value.code == 403


def test_it_listens_on_the_loopback_address_alone(explorer):
    assert {socket.getsockname()[0] for socket in explorer._server.sockets} == {"127.0.0.1"}
    assert explorer.url.startswith("http://127.0.0.1:")
    assert f'src="{explorer.url}"' in explorer._repr_html_()


def test_a_given_problem_is_in_the_list(tmp_path):
    problem = olsbn.OLSProblem([1.0, 4.0, 9.0], u=[1.0, 2.0, 3.0])
    given = Given(problem)
    view = View.of({"n_steps": 10}, given)
    assert view.problem_of(given) is problem
    with pytest.raises(ValueError, match="given as an object"):
        view.toml(given)
    described = dataclasses.replace(given, table={"data": "diabetes", "standardize": True})
    assert 'data = "diabetes"' in view.toml(described)
    with pytest.raises(TypeError, match="problem must be"):
        olsbn.explore(3)
