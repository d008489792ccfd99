// The page: one web socket, the view that is looked at, and what its parts do with it.

import { Charts } from "./charts.js";
import { Controls } from "./controls.js";
import { MapView, short } from "./map.js";

const get = (id) => document.getElementById(id);
let socket, catalogue, controls, session = "", view = null, facts = null, number = 0, most = 256000;
let started = 0, timings = { first: null, last: null }, query = location.search, stop = -1, retry = 500, quiet = 0;
let hovering = null, lastHover = 0, place = null;

const send = (message) => { if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); };

const map = new MapView(get("map"), {
  onWindow: (next) => later(next),
  onChoose: (x, y, add) => choose(x, y, add),
  onHover: (x, y, at) => hover(x, y, at),
  onLeave: () => { hovering = null; get("hover").hidden = true; },
});
map.onLimit = (name) => catalogue.methods.find((m) => m.name === view.method).params.find((p) => p.name === name) ?? { low: 0, high: null };
const charts = new Charts(get("cells"));

// ------------------------------------------------------------------ views

// The picture follows the hand at once; the numbers are asked for when the hand has not moved for a moment, or now and
// then while it moves. Each question ends the work on the one before.
let pending = null, timer = 0, lastSent = 0;
function later(next) {
  pending = next;
  clearTimeout(timer);
  const wait = Math.max(30, 120 - (performance.now() - lastSent));
  timer = setTimeout(() => ask(pending), wait);
}

let wanted = null;
function ask(next) {
  clearTimeout(timer);
  wanted = next;
  pending = null;
  lastSent = performance.now();
  const size = map.resolution(most);
  const sized = { ...next, x: { ...next.x, n: size.x }, y: { ...next.y, n: size.y } };
  begin();
  hovering = null; get("hover").hidden = true;
  send({ type: "view", n: number, view: sized });
}

function begin() {
  number += 1;
  started = performance.now();
  timings = { first: null, last: null };
  get("error").hidden = true;
  get("stop-button").disabled = false;
  document.body.dataset.state = "computing";
}

function take(message) {
  const kind = message.type;
  if (kind === "hello") {
    session = message.session;
    catalogue = message.catalogue;
    controls ??= new Controls(get("form"), catalogue, { onView: ask, onShow: show, most: () => most });
    controls.catalogue = catalogue;
    controls.onMost = (n) => { most = n; ask(view); };
    retry = 500;
    for (const [id, name] of [["picture-link", "picture.png"], ["data-link", "data.nc"]]) get(id).href = `save/${session}/${name}`;
    const size = map.resolution(most);
    begin();
    send({ type: "link", n: number, query, x: size.x, y: size.y });
  } else if (kind === "map" && message.n === number) {
    view = message.view; facts = message.facts;
    hovering = null; get("hover").hidden = true;
    remember(message.query);
    map.announce(message, catalogue);
    map.cells = view.cells;
    controls.set(view, facts);
    get("subject").textContent = facts.label;
    words("computing");
    if (view.cells.length) send({ type: "cells", n: number, cells: view.cells });
    else charts.set([], []);
  } else if (kind === "done" && message.n === number) {
    timings.last = performance.now() - started;
    if (timings.first === null) timings.first = timings.last;
    get("stop-button").disabled = true;
    get("bar").style.width = "100%";
    words(`${message.counts}; first picture ${(timings.first / 1000).toFixed(2)} s, all ${(timings.last / 1000).toFixed(2)} s`);
    map.later();
    legend();
    document.body.dataset.state = "done";
    document.body.dataset.first = timings.first;
    document.body.dataset.last = timings.last;
  } else if (kind === "stopped") {
    get("stop-button").disabled = true;
    words("stopped");
    document.body.dataset.state = "stopped";
  } else if (kind === "error" && (message.n === number || message.n === null || message.n === undefined || message.n === "q")) {
    fail(message.text);
  } else if (kind === "hover") {
    fillHover(message);
  } else if (kind === "cells") {
    charts.set(message.runs, [view.x.name, view.y.name].map(symbol));
    document.body.dataset.cells = message.runs.length;
  } else if (kind === "query") {
    remember(message.query);
  } else if (kind === "text") {
    get("text").textContent = message.text;
    get("file-link").href = `save/${session}/${message.what === "toml" ? "sweep.toml" : "view.py"}`;
    get("text-dialog").showModal();
  }
}

function frame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  if (header.n !== number) return;
  const count = header.rows * header.columns;
  const values = new Float64Array(buffer, 8 + length, count), codes = new Uint8Array(buffer, 8 + length + 8 * count, count);
  map.take(header, values, codes);
  get("bar").style.width = `${(100 * header.done).toFixed(1)}%`;
  if (timings.first === null) {
    timings.first = performance.now() - started;
    document.body.dataset.first = timings.first;
    legend();
  } else if (performance.now() - quiet > 400) {
    quiet = performance.now();
    legend();
    const left = (performance.now() - started) / Math.max(header.done, 1e-6) * (1 - header.done) / 1000;
    words(`computing, about ${left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`} to go`);
  }
}

function words(text) { get("words").textContent = text; }

function fail(text) {
  const error = get("error");
  error.textContent = text; error.hidden = false;
  get("stop-button").disabled = true;
  words("");
  document.body.dataset.state = "error";
  if (controls && view) controls.build(facts);
}

function remember(text) {
  query = `?${text}`;
  history.replaceState(null, "", query);
}

function show(name) {
  view = { ...view, show: name };
  send({ type: "show", n: number, map: number, show: name });
  setTimeout(legend, 300);
}

function legend() {
  get("legend").replaceChildren(...map.keys().map(([text, draw]) => {
    const span = document.createElement("span"), key = document.createElement("canvas");
    key.width = 22; key.height = 13;
    draw(key.getContext("2d"));
    span.append(key, text);
    return span;
  }));
}

// ------------------------------------------------------------------ cells

const symbol = (name) => catalogue.methods.find((m) => m.name === view.method).params.find((p) => p.name === name)?.symbol ?? name;

function choose(x, y, add) {
  const cells = add ? [...view.cells, [x, y]].slice(-catalogue.limits.chosen) : [[x, y]];
  view = { ...view, cells };
  map.cells = cells;
  map.later();
  charts.chosen = cells.length - 1;
  send({ type: "cells", n: number, cells });
}

function hover(x, y, at) {
  place = at;
  hovering = [x, y];
  if (performance.now() - lastHover < 50) { clearTimeout(hover.timer); hover.timer = setTimeout(() => hovering && hover(...hovering, place), 55); return; }
  lastHover = performance.now();
  send({ type: "hover", n: "h", x, y });
}

function fillHover(message) {
  const box = get("hover");
  if (!hovering) { box.hidden = true; return; }
  const table = document.createElement("table");
  table.createCaption().textContent = message.at.map((a) => `${a.symbol} = ${short(a.value, 5)}`).join(", ") + (message.stride > 1 ? "  (near cell)" : "");
  for (const row of message.rows) {
    const tr = table.insertRow();
    tr.title = row.words;
    for (const [text, kind] of [[row.name, ""], [row.value, "value"], [row.theory ? `theory: ${row.theory}` : "", "theory"]]) {
      const td = tr.insertCell();
      td.textContent = text; td.className = kind;
    }
  }
  box.replaceChildren(table);
  box.hidden = false;
  const room = get("map-box").getBoundingClientRect(), own = box.getBoundingClientRect();
  const left = place.px + 18 + own.width < room.width ? place.px + 18 : place.px - own.width - 18;
  box.style.left = `${Math.max(0, left)}px`;
  box.style.top = `${Math.max(0, Math.min(place.py + 12, room.height - own.height))}px`;
}

// ------------------------------------------------------------------ tour

function goTo(k) {
  const { tour } = catalogue;
  stop = Math.max(0, Math.min(tour.length - 1, k));
  const one = tour[stop];
  get("tour").hidden = false;
  get("controls").open = false;
  document.body.classList.add("touring");
  get("tour-count").textContent = `Stop ${stop + 1} of ${tour.length}`;
  get("tour-title").textContent = one.title;
  get("tour-look").replaceChildren(...one.look.map((text) => { const li = document.createElement("li"); li.append(...rich(text)); return li; }));
  get("tour-back").disabled = stop === 0;
  get("tour-next").disabled = stop === tour.length - 1;
  get("cells").hidden = !one.view.cells?.length;
  charts.chosen = 0;
  charts.setLog(one.log_steps);
  charts.wish = one.at;
  // the map has its new size before its cells are counted
  requestAnimationFrame(() => { map.resize(); ask(structuredClone(one.view)); });
}

// Text with what follows an underscore after a symbol below the line.
function rich(text) {
  return text.split(/([λεμ*]_(?:max|\w))/).map((part) => {
    const [head, below] = /^[λεμ*]_/.test(part) ? part.split("_") : [part];
    if (!below) return head;
    const span = document.createElement("span"), sub = document.createElement("sub");
    span.className = "symbol";
    sub.textContent = below;
    span.append(head, sub);
    return span;
  });
}

function endTour() {
  stop = -1;
  get("tour").hidden = true;
  get("controls").open = true;
  document.body.classList.remove("touring");
}

// ------------------------------------------------------------------ buttons

get("tour-button").addEventListener("click", () => stop < 0 ? goTo(0) : endTour());
get("tour-back").addEventListener("click", () => goTo(stop - 1));
get("tour-next").addEventListener("click", () => goTo(stop + 1));
get("tour-end").addEventListener("click", endTour);
get("whole-button").addEventListener("click", () => ask({ ...view, x: { name: view.x.name }, y: { name: view.y.name } }));
get("stop-button").addEventListener("click", () => send({ type: "stop" }));
get("clear-button").addEventListener("click", () => { view.cells = []; map.cells = []; map.later(); send({ type: "cells", n: number, cells: [] }); });
get("toml-button").addEventListener("click", () => send({ type: "text", n: "q", what: "toml" }));
get("python-button").addEventListener("click", () => send({ type: "text", n: "q", what: "python" }));
get("close-button").addEventListener("click", () => get("text-dialog").close());
get("copy-button").addEventListener("click", () => copy(get("text").textContent, get("copy-button")));
get("link-button").addEventListener("click", () => copy(location.href, get("link-button")));

async function copy(text, button) {
  const before = button.textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
  catch { prompt("Copy this:", text); }
  setTimeout(() => { button.textContent = before; }, 1200);
}

document.addEventListener("keydown", (event) => {
  if (stop < 0 || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  if (event.key === "PageDown") { event.preventDefault(); goTo(stop + 1); }
  if (event.key === "PageUp") { event.preventDefault(); goTo(stop - 1); }
});

let sized = 0;
map.onResize = () => {
  if (!view) return;
  clearTimeout(sized);
  sized = setTimeout(() => {
    const size = map.resolution(most);
    // of a smaller picture the cells are finer than its dots: nothing is to be computed
    if (size.x > 1.08 * view.x.n || size.y > 1.08 * view.y.n) ask(wanted ?? view);
  }, 250);
};

// ------------------------------------------------------------------ the socket

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", (event) => typeof event.data === "string" ? take(JSON.parse(event.data)) : frame(event.data));
  socket.addEventListener("close", () => {
    document.body.dataset.state = "lost";
    words("the explorer is not reachable; trying again");
    setTimeout(connect, retry);
    retry = Math.min(10000, retry * 2);
  });
}
connect();
// for tests and for those who look under the hood
window.explorer = { map, charts, setMost(n) { most = n; }, get view() { return view; }, get number() { return number; }, ask, later, goTo, get timings() { return timings; } };
