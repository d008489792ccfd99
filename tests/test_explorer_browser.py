"""The explorer in a real headless browser. Skipped where there is none."""

from __future__ import annotations

import shutil
import threading
import time
import tomllib

import numpy as np
import pytest
import xarray as xr

import olsbn

pytest.importorskip("tornado")
playwright = pytest.importorskip("playwright.sync_api")

from olsbn.explorer.tour import STOPS  # noqa: E402
from olsbn.explorer.view import Given, View  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if BROWSER is None:
    pytest.skip("no chromium on this machine", allow_module_level=True)
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# A view that costs little: 10 modes, few steps.
LINK = (
    "problem.spectrum=logspace&problem.dim=10&problem.cond=100&x=eps&y=eps_a&eps=0.001:1000:200@log"
    "&eps_a=0.1:2.5:100@lin&steps=100&tol=1e-06"
)


@pytest.fixture(scope="module")
def explorer():
    with olsbn.explore(workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def context():
    """A browser, in which these tests may evaluate texts, as the page's own policy does not allow."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=ARGS)
        yield browser.new_context(viewport={"width": 820, "height": 460}, accept_downloads=True, bypass_csp=True)
        browser.close()


@pytest.fixture
def page(context, explorer):
    found = context.new_page()
    errors = []
    found.on("pageerror", lambda err: errors.append(str(err)))
    found.goto(f"{explorer.url}?{LINK}")
    finished(found)
    yield found
    found.close()
    assert not errors


def finished(page, state="done"):
    page.wait_for_selector(f"body[data-state={state}]", timeout=60_000)


def colours(page):
    """Return how many colours the plot of the map has on the screen."""
    return page.evaluate(
        """() => { const { plot: p, scale: s, pen } = explorer.map;
            const data = pen.getImageData(p.x * s, p.y * s, p.w * s, p.h * s).data, seen = new Set();
            for (let k = 0; k < data.length; k += 4) seen.add((data[k] << 16) | (data[k + 1] << 8) | data[k + 2]);
            return seen.size; }"""
    )


def test_the_map_shows_the_numbers_of_a_sweep(page):
    view = View.of(page.evaluate("explorer.view"), Given())
    values = np.array(page.evaluate("Array.from(explorer.map.shown.values, v => Number.isNaN(v) ? null : v)"), float)
    ds = olsbn.sweep(view.problem_of(Given()), **view.params, n_steps=100, tol=1e-6)
    excess = ds.excess.where(ds.status <= 1).values
    np.testing.assert_array_equal(values.reshape(excess.shape), np.log10(np.maximum(excess, 1e-290)))
    assert colours(page) > 30
    assert "edge of BNGD" in page.inner_text("#legend") and "diverged" in page.inner_text("#legend")


def test_scrolling_zooms_and_the_link_restores_the_view(page, context, explorer):
    before = page.evaluate("explorer.view")
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 120)
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"explorer.view.x.hi < {before['x']['hi']} && document.body.dataset.state === 'done'")
    after = page.evaluate("explorer.view")
    assert after["x"]["lo"] > before["x"]["lo"] and after["y"]["hi"] < before["y"]["hi"]
    other = context.new_page()
    other.goto(page.url)
    finished(other)
    restored = other.evaluate("explorer.view")
    other.close()
    for view in (after, restored):  # how many cells there are is a matter of the screen
        del view["x"]["n"], view["y"]["n"]
    assert restored == after


def test_hover_and_click_tell_a_cell(page):
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 120)
    page.wait_for_selector("#hover:not([hidden])")
    text = page.inner_text("#hover")
    assert all(word in text for word in ("excess", "eps_eff", "decades", "theory: ", "rate_sim"))
    page.mouse.click(box["x"] + 200, box["y"] + 120)
    page.wait_for_function("document.body.dataset.cells === '1'")
    [[x, y]] = page.evaluate("explorer.view.cells")
    run = olsbn.run(olsbn.ProblemFamily("logspace", cond=100.0)(10), eps=x, eps_a=y, n_steps=100, tol=1e-6)
    assert page.evaluate("explorer.charts.runs[0].series.excess") == run.excess.values.tolist()
    page.evaluate("explorer.charts.slider.value = 3; explorer.charts.slider.dispatchEvent(new Event('input'))")
    assert page.inner_text("#step-words") == "step 3"
    page.keyboard.down("Control")
    page.mouse.click(box["x"] + 250, box["y"] + 60)
    page.keyboard.up("Control")
    page.wait_for_function("document.body.dataset.cells === '2'")


def test_controls_change_the_dynamics_and_bad_values_get_a_message(page):
    assert page.locator("select[name=method] option").count() >= 5
    page.select_option("select[name=method]", "gd")
    page.wait_for_function("explorer.view.method === 'gd' && document.body.dataset.state === 'done'")
    assert page.evaluate("explorer.view.y.name") == "momentum"
    page.fill("input[name=n_steps]", "lots")
    page.press("input[name=n_steps]", "Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error") == "steps must be a whole number, got 'lots'"
    page.fill("input[name=n_steps]", "30")
    page.press("input[name=n_steps]", "Enter")
    page.wait_for_function("explorer.view.n_steps === 30 && document.body.dataset.state === 'done'")
    assert not page.is_visible("#error")


def test_what_is_saved_is_what_is_seen(page, tmp_path):
    for selector, name in (("#picture-link", "map.png"), ("#data-link", "map.nc")):
        with page.expect_download() as waiting:
            page.click(selector)
        waiting.value.save_as(tmp_path / name)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with xr.open_dataset(tmp_path / "map.nc") as ds:
        assert dict(ds.sizes) == {
            "eps_a": page.evaluate("explorer.view.y.n"),
            "eps": page.evaluate("explorer.view.x.n"),
        }
    page.click("#toml-button")
    page.wait_for_selector("#text-dialog[open]")
    assert tomllib.loads(page.inner_text("#text"))["n_steps"] == 100
    page.click("#close-button")
    page.click("#python-button")
    page.wait_for_function("document.getElementById('text').textContent.includes('olsbn.sweep')")


def test_the_stops_of_the_tour_set_the_controls(page, explorer):
    """Each stop at few cells: it sets what it says, without an error, and its text fits the screen."""
    page.set_viewport_size({"width": 1280, "height": 720})
    for k, stop in enumerate(STOPS):
        page.evaluate(f"explorer.setMost(2000); explorer.goTo({k})")
        page.wait_for_function(
            f"explorer.view.method === '{stop.view['method']}'"
            f" && explorer.view.show === '{stop.view.get('show', 'excess')}'"
            f" && explorer.view.n_steps === {stop.view['n_steps']} && document.body.dataset.state === 'done'"
            f" && explorer.charts.runs.length === {len(stop.view['cells'])}",
            timeout=60_000,
        )
        assert page.inner_text("#tour-title") == stop.title
        assert page.locator("#tour-look li").count() == 4
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight + 1")
        assert page.evaluate("parseFloat(getComputedStyle(document.getElementById('tour')).fontSize)") >= 19


def test_a_hundred_quick_zooms_and_a_closed_tab(context, explorer):
    page = context.new_page()
    page.goto(f"{explorer.url}?{LINK.replace('steps=100', 'steps=20000')}")
    page.wait_for_function("window.explorer?.view")
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 120)
    for k in range(100):
        page.mouse.wheel(0, -60 if k % 20 < 10 else 60)
    asked = page.evaluate("explorer.number")
    assert asked < 100  # the picture follows the hand, the server is asked now and then
    begin = time.perf_counter()
    page.evaluate("document.body.dataset.first = ''; explorer.ask({ ...explorer.view, n_steps: 20 })")
    page.wait_for_function("explorer.view.n_steps === 20 && document.body.dataset.state === 'done'", timeout=60_000)
    assert time.perf_counter() - begin < 20
    page.evaluate("explorer.ask({ ...explorer.view, n_steps: 1000000 })")
    page.wait_for_function("explorer.view.n_steps === 1000000")
    page.close()
    deadline = time.time() + 10
    while (explorer._server.sessions or not explorer._server.tiles._work_queue.empty()) and time.time() < deadline:
        time.sleep(0.05)
    assert not explorer._server.sessions
    before = explorer._server.tiles_computed
    time.sleep(0.3)
    assert explorer._server.tiles_computed == before
    assert threading.active_count() < 20


def test_a_foreign_page_cannot_use_it(context, explorer):
    """A page of another origin in the same browser: its web socket is refused, and it cannot read an answer."""
    page = context.new_page()
    page.goto("data:text/html,<p>elsewhere</p>")
    port = explorer._server.port
    assert (
        page.evaluate(
            f"""() => new Promise(resolve => {{ const s = new WebSocket('ws://127.0.0.1:{port}/socket');
            s.onopen = () => resolve('open'); s.onerror = () => resolve('refused'); }})"""
        )
        == "refused"
    )
    assert page.evaluate(f"fetch('http://127.0.0.1:{port}/').then(() => 'read', () => 'refused')") == "refused"
    page.close()
