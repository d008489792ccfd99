// The chosen cells step by step: excess, effective learning rate against its edge, and the spectrum's factors.

import { Axis, CELL_COLORS, power, short } from "./map.js";

const LEFT = 58, RIGHT = 10, TOP = 24, BOTTOM = 34;

function begin(canvas, title) {
  const scale = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.round(box.width * scale); canvas.height = Math.round(box.height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  pen.font = "bold 13px 'DejaVu Sans', sans-serif"; pen.fillStyle = "#1a1a1a"; pen.textAlign = "left"; pen.textBaseline = "top";
  pen.fillText(title, LEFT - 40, 3);
  return [pen, { x: LEFT, y: TOP, w: box.width - LEFT - RIGHT, h: box.height - TOP - BOTTOM }, box];
}

function frame(pen, p, x, y, xLabel) {
  pen.strokeStyle = "#000"; pen.lineWidth = 1; pen.fillStyle = "#000";
  pen.strokeRect(p.x + 0.5, p.y + 0.5, p.w - 1, p.h - 1);
  pen.font = "12px 'DejaVu Sans', sans-serif";
  pen.textAlign = "center"; pen.textBaseline = "top";
  let free = -Infinity;
  for (const [v, text] of x.ticks(Math.max(3, Math.floor(p.w / 90)))) {
    const at = p.x + p.w * x.to(v), width = pen.measureText(text).width;
    if (at < p.x - 1 || at > p.x + p.w + 1 || at - width / 2 < free) continue;
    pen.beginPath(); pen.moveTo(at, p.y + p.h); pen.lineTo(at, p.y + p.h + 4); pen.stroke();
    pen.fillText(text, Math.min(at, p.x + p.w - width / 2 + 6), p.y + p.h + 5);
    free = at + width / 2 + 8;
  }
  pen.textBaseline = "bottom";
  pen.fillText(xLabel, p.x + p.w / 2, p.y + p.h + BOTTOM);
  pen.textAlign = "right"; pen.textBaseline = "middle";
  for (const [v, text] of y.ticks(Math.max(3, Math.floor(p.h / 30)))) {
    const at = p.y + p.h * (1 - y.to(v));
    if (at < p.y - 1 || at > p.y + p.h + 1) continue;
    pen.beginPath(); pen.moveTo(p.x - 4, at); pen.lineTo(p.x, at); pen.stroke();
    pen.fillText(text, p.x - 6, Math.max(p.y + 5, at));
  }
}

function level(pen, p, y, v, label, color = "#000", dash = []) {
  if (!(v > y.lo && v < y.hi)) return;
  const at = p.y + p.h * (1 - y.to(v));
  pen.strokeStyle = color; pen.lineWidth = 1.5; pen.setLineDash(dash);
  pen.beginPath(); pen.moveTo(p.x, at); pen.lineTo(p.x + p.w, at); pen.stroke();
  pen.setLineDash([]);
  pen.font = "12px 'DejaVu Sans', sans-serif"; pen.textAlign = "right"; pen.textBaseline = "bottom";
  pen.lineWidth = 3; pen.strokeStyle = "#fff"; pen.strokeText(label, p.x + p.w - 4, at - 2);
  pen.fillStyle = color; pen.fillText(label, p.x + p.w - 4, at - 2);
}

// The modulus of the larger root of a mode's recursion with momentum; |1 - mu| without.
export function factor(mu, m, nesterov) {
  const half = Math.abs(1 + m - (1 + m * nesterov) * mu) / 2, product = m * (1 - nesterov * mu), square = half * half - product;
  return square < 0 ? Math.sqrt(Math.abs(product)) : half + Math.sqrt(square);
}

export class Charts {
  constructor(box, onPick) {
    this.box = box; this.runs = []; this.chosen = 0; this.at = 0; this.onPick = onPick;
    this.canvases = ["excess-chart", "rate-chart", "spectrum-chart"].map((id) => document.getElementById(id));
    this.slider = document.getElementById("step-slider");
    this.words = document.getElementById("step-words");
    this.names = document.getElementById("cell-names");
    this.play = document.getElementById("play-button");
    this.slider.addEventListener("input", () => { this.at = +this.slider.value; this.paint(); });
    this.play.addEventListener("click", () => this.toggle());
    this.logBox = document.getElementById("log-steps");
    this.logBox.addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(box);
  }

  set(runs, axes) {
    this.runs = runs; this.axes = axes;
    this.chosen = Math.min(this.chosen, Math.max(0, runs.length - 1));
    this.box.hidden = !runs.length;
    if (!runs.length) { this.halt(); return; }
    const last = runs[0].step.length - 1;
    this.slider.max = last;
    // a stop of the tour begins at a step of its own
    this.at = this.wish ? runs[0].step.findIndex((k) => k >= this.wish) : last;
    this.slider.value = this.at;
    this.wish = null;
    this.paint();
  }

  setLog(on) { this.logBox.checked = Boolean(on); }

  toggle() {
    if (this.timer) { this.halt(); return; }
    if (this.at >= +this.slider.max) this.at = 0;
    this.play.textContent = "⏸";
    this.timer = setInterval(() => {
      const last = +this.slider.max;
      this.at = Math.min(last, this.at + Math.max(1, Math.round(last / 300)));
      this.slider.value = this.at;
      this.paint();
      if (this.at >= last) this.halt();
    }, 50);
  }

  halt() { clearInterval(this.timer); this.timer = 0; this.play.textContent = "▶"; }

  paint() {
    if (!this.runs.length || this.box.hidden) return;
    const run = this.runs[this.chosen], k = Math.min(this.at, run.step.length - 1);
    this.words.textContent = `step ${run.step[k]}`;
    this.names.replaceChildren(...this.runs.map((one, i) => {
      const span = document.createElement("span");
      span.style.color = CELL_COLORS[i % 6];
      span.className = i === this.chosen ? "chosen" : "";
      span.textContent = `● ${this.axes[0]} = ${short(one.x, 4)}, ${this.axes[1]} = ${short(one.y, 4)}`;
      span.title = `${one.status}${one.steps_to_tol >= 0 ? `, ${one.steps_to_tol} steps to ${power(one.tol)}` : ""}`;
      span.addEventListener("click", () => { this.chosen = i; this.paint(); });
      return span;
    }));
    this.series(this.canvases[0], "relative excess loss", "excess", 1e-30, null);
    this.series(this.canvases[1], "effective learning rate ε̂", "eps_eff", 0, run.edge);
    this.spectrum(this.canvases[2], run, k);
  }

  series(canvas, title, name, floor, edge) {
    const [pen, p] = begin(canvas, title);
    const all = this.runs.flatMap((run) => (run.series[name] ?? []).filter((v) => v !== null && v > 0)).sort((a, b) => a - b);
    let lo = all.length ? all[0] : Infinity, hi = all.length ? all.at(-1) : -Infinity;
    // the first few steps of an effective rate would take most of the room
    if (name === "eps_eff") lo = Math.max(lo, Math.min(all[Math.floor(all.length / 20)] ?? lo, (edge ?? hi) / 3));
    if (name === "excess") { lo = Math.max(lo, floor); hi = Math.min(Math.max(hi, lo * 10), 1e10); }
    if (edge) { lo = Math.min(lo, edge / 1.5); hi = Math.max(hi, edge * 1.5); }
    if (!(hi > 0)) return;
    if (!(hi > lo * 1.05)) { lo /= 1.5; hi *= 1.5; }
    const last = this.runs[0].step.at(-1);
    const log = this.logBox.checked && last > 3;
    const x = new Axis({ lo: log ? 1 : 0, hi: last, log }), y = new Axis({ lo: lo / 1.25, hi: hi * 1.25, log: true });
    pen.save();
    pen.beginPath(); pen.rect(p.x, p.y, p.w, p.h); pen.clip();
    this.runs.forEach((run, i) => {
      pen.strokeStyle = CELL_COLORS[i % 6]; pen.lineWidth = i === this.chosen ? 2.4 : 1.6;
      pen.beginPath();
      let down = false;
      run.step.forEach((step, k) => {
        const v = run.series[name]?.[k];
        if (v === null || v === undefined || !(v > 0)) { down = false; return; }
        const at = [p.x + p.w * x.to(log ? Math.max(step, 0.5) : step), p.y + p.h * (1 - y.to(Math.max(v, y.lo)))];
        if (down) pen.lineTo(...at); else pen.moveTo(...at);
        down = true;
      });
      pen.stroke();
    });
    const here = this.runs[this.chosen], step = here.step[Math.min(this.at, here.step.length - 1)];
    pen.strokeStyle = "#777"; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(p.x + p.w * x.to(step || x.lo), p.y); pen.lineTo(p.x + p.w * x.to(step || x.lo), p.y + p.h); pen.stroke();
    const flags = here.series.by_rounding, from = flags ? flags.findIndex(Boolean) : -1;
    if (from >= 0) {
      const at = p.x + p.w * x.to(here.step[from]);
      pen.fillStyle = "#00000012"; pen.fillRect(at, p.y, p.x + p.w - at, p.h);
      pen.font = "12px 'DejaVu Sans', sans-serif"; pen.fillStyle = "#555"; pen.textAlign = "left"; pen.textBaseline = "bottom";
      pen.fillText("flagged: rounding may decide", Math.min(at + 4, p.x + p.w - 190), p.y + p.h - 4);
    }
    pen.restore();
    if (edge) level(pen, p, y, edge, `edge ${short(edge)}`);
    if (name === "excess") level(pen, p, y, here.tol, `tolerance ${power(here.tol)}`, "#777", [4, 3]);
    frame(pen, p, x, y, "step");
  }

  spectrum(canvas, run, k) {
    const hat = run.series.eps_eff?.[k], title = `factors ${run.momentum ? "of the modes" : `|1 − ε̂ μ|`}, μ of ${run.of}`;
    const [pen, p] = begin(canvas, title);
    pen.font = "13px 'DejaVu Sans', sans-serif"; pen.fillStyle = "#555"; pen.textAlign = "center"; pen.textBaseline = "middle";
    if (run.why_not || hat === null || hat === undefined || !run.mu.length) {
      const words = run.why_not || (run.mu.length ? "no effective learning rate at this step" : "no modes across the solution");
      const half = words.length > 40 ? words.lastIndexOf(" ", words.length / 2) : words.length;
      pen.fillText(words.slice(0, half), p.x + p.w / 2, p.y + p.h / 2 - 9);
      pen.fillText(words.slice(half), p.x + p.w / 2, p.y + p.h / 2 + 9);
      return;
    }
    const mu = run.mu, found = mu.map((m) => factor(hat * m, run.momentum, run.nesterov));
    const x = new Axis({ lo: 0.5, hi: mu.length + 0.5, log: false }), y = new Axis({ lo: 0, hi: 2, log: false });
    const w = p.w / mu.length;
    found.forEach((f, i) => {
      const h = p.h * Math.min(1, f / 2);
      pen.fillStyle = f > 1 ? "#d55e00" : "#0072b2";
      pen.fillRect(p.x + i * w + Math.min(1, w * 0.1), p.y + p.h - h, Math.max(1, w * 0.85), h);
    });
    if (found.at(-1) > 2) {
      pen.fillStyle = "#fff"; pen.font = "bold 12px 'DejaVu Sans', sans-serif"; pen.textAlign = "right"; pen.textBaseline = "top";
      pen.fillText("↑", p.x + p.w - 1, p.y + 3);
    }
    level(pen, p, y, 1, "1", "#000");
    const many = run.modes > mu.length + 1 ? ` (${mu.length} of ${run.modes})` : "";
    const above = found.filter((f) => f > 1).length;
    frame(pen, p, x, y, `mode, by eigenvalue${many}`);
    pen.font = "12px 'DejaVu Sans', sans-serif"; pen.textAlign = "left"; pen.textBaseline = "top";
    const text = above ? `${above} above 1, largest ${short(Math.max(...found), 4)}` : "all shrink";
    pen.lineWidth = 3; pen.strokeStyle = "#fff"; pen.strokeText(text, p.x + 6, p.y + 5);
    pen.fillStyle = above ? "#d55e00" : "#0072b2"; pen.fillText(text, p.x + 6, p.y + 5);
  }
}
