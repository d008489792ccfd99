// The map: a canvas of coloured cells with axes, a colour bar and theory's lines; zoom, move, choose.

export const CELL_COLORS = ["#e69f00", "#ff4f4f", "#56b4e9", "#cc79a7", "#8a5a00", "#000000"];
const LEFT = 74, RIGHT = 112, TOP = 12, BOTTOM = 46;
const FLAT = { missing: ["#ececec", null], not_run: ["#ffffff", "back"], diverged: ["#dcdcdc", "slash"],
  non_finite: ["#b4b4b4", "cross"], degenerate: ["#c8c8c8", "dots"] };
const WORDS = { not_run: "not run yet", diverged: "diverged", non_finite: "not finite", degenerate: "degenerate" };

const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
export const raised = (k) => String(k).replace(/[-0-9]/g, (c) => SUPER[c]);
export function power(v) {
  if (v === 0) return "0";
  const k = Math.round(Math.log10(Math.abs(v)));
  if (Math.abs(v / 10 ** k - 1) < 1e-9) return k >= -2 && k <= 3 ? String(+v.toPrecision(3)) : `10${raised(k)}`;
  return short(v);
}
export function short(v, digits = 3) {
  if (v === 0) return "0";
  const a = Math.abs(v);
  if (a >= 1e-3 && a < 1e5) return String(+v.toPrecision(digits));
  const [m, e] = v.toExponential(digits - 1).split("e");
  return `${+m}·10${raised(+e)}`;
}

const hex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));

// What an axis does: values to the unit interval and back, and its ticks.
export class Axis {
  constructor({ name, lo, hi, log }) { Object.assign(this, { name, lo, hi, log }); }
  to(v) {
    return this.log ? Math.log(v / this.lo) / Math.log(this.hi / this.lo) : (v - this.lo) / (this.hi - this.lo);
  }
  from(t) { return this.log ? this.lo * (this.hi / this.lo) ** t : this.lo + t * (this.hi - this.lo); }
  ticks(most) {
    const { lo, hi } = this;
    if (this.log && hi / lo > 30) {
      const first = Math.ceil(Math.log10(lo) - 1e-9), last = Math.floor(Math.log10(hi) + 1e-9);
      const step = Math.max(1, Math.ceil((last - first + 1) / most));
      const found = [];
      for (let k = Math.ceil(first / step) * step; k <= last; k += step) found.push([10 ** k, power(10 ** k)]);
      return found;
    }
    if (this.log && hi / lo > 3) {
      const found = [];
      for (let k = Math.floor(Math.log10(lo)); k <= Math.log10(hi); k++)
        for (const m of [1, 2, 5]) { const v = m * 10 ** k; if (v >= lo && v <= hi) found.push([v, short(v)]); }
      if (found.length >= 2) return found;
    }
    const raw = (hi - lo) / Math.max(2, most), unit = 10 ** Math.floor(Math.log10(raw));
    const step = unit * ([1, 2, 5, 10].find((m) => m * unit >= raw) ?? 10);
    const digits = Math.max(3, Math.ceil(Math.log10(Math.max(Math.abs(hi), Math.abs(lo)) / step)) + 1);
    const found = [];
    for (let k = Math.ceil(lo / step); k * step <= hi * (1 + 1e-14); k++) found.push([k * step, short(k * step, Math.min(17, digits))]);
    return found;
  }
}

export class MapView {
  constructor(canvas, { onWindow, onChoose, onHover, onLeave }) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.image = document.createElement("canvas");
    Object.assign(this, { onWindow, onChoose, onHover, onLeave });
    this.view = null; this.shown = null; this.marks = []; this.cells = []; this.box = null;
    this.listen();
    new ResizeObserver(() => { this.resize(); this.onResize?.(); }).observe(canvas);
    this.resize();
  }

  resize() {
    const scale = window.devicePixelRatio || 1, box = this.canvas.getBoundingClientRect();
    this.width = box.width; this.height = box.height;
    this.canvas.width = Math.round(box.width * scale);
    this.canvas.height = Math.round(box.height * scale);
    this.scale = scale;
    this.paint();
  }

  get plot() {
    return { x: LEFT, y: TOP, w: Math.max(20, this.width - LEFT - RIGHT), h: Math.max(20, this.height - TOP - BOTTOM) };
  }

  // So many cells as there are dots on the screen, but at most `most`.
  resolution(most) {
    const { w, h } = this.plot, dots = w * h * this.scale ** 2, part = Math.min(1, Math.sqrt(most / dots));
    return { x: Math.max(16, Math.floor(w * this.scale * part)), y: Math.max(16, Math.floor(h * this.scale * part)) };
  }

  // ---------------------------------------------------------------- what is shown

  // A new map is announced: the picture of the last one stays, where it was, until the first cells come.
  announce(message, catalogue) {
    this.catalogue = catalogue;
    this.next = { number: message.n, view: message.view };
    this.marks = message.marks;
    this.setWindow(message.view);
  }

  setWindow(view) {
    this.view = view;
    this.x = new Axis(view.x);
    this.y = new Axis(view.y);
    this.paint();
  }

  begin() {
    const { view } = this.next, nx = view.x.n, ny = view.y.n;
    const same = this.shown && this.shown.number === this.next.number;
    if (same) return;
    this.shown = { number: this.next.number, x: new Axis(view.x), y: new Axis(view.y), nx, ny, show: view.show,
      values: new Float64Array(nx * ny).fill(NaN), codes: new Uint8Array(nx * ny).fill(this.catalogue.codes.not_run),
      limits: null, done: 0, stride: 0 };
    this.image.width = nx; this.image.height = ny;
  }

  take(header, values, codes) {
    if (!this.next || header.n !== this.next.number) return;
    this.begin();
    const s = this.shown, { row, column, rows, columns } = header;
    for (let i = 0; i < rows; i++) {
      s.values.set(values.subarray(i * columns, (i + 1) * columns), (row + i) * s.nx + column);
      s.codes.set(codes.subarray(i * columns, (i + 1) * columns), (row + i) * s.nx + column);
    }
    s.done = header.done; s.stride = header.stride;
    const changed = s.show !== header.show || JSON.stringify(s.limits) !== JSON.stringify(header.limits);
    s.show = header.show;
    s.limits = header.limits;
    if (changed) this.color(0, 0, s.ny, s.nx);
    else this.color(Math.max(0, row - 1), Math.max(0, column - 1), Math.min(s.ny, row + rows + 1), Math.min(s.nx, column + columns + 1));
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
  }

  // Where on its scale, from 0 to 1, a number is.
  position(v) {
    const s = this.shown, q = this.catalogue.quantities[s.show];
    if (!s.limits) return 0.5;
    let [lo, hi] = s.limits;
    if (q.scale === "digits" && hi === 0) return 1 - Math.sqrt(Math.min(1, Math.max(0, v / lo)));
    if (!(hi > lo)) return 0.5;
    if (q.scale === "log" && lo > 0 && hi > 2 * lo) return Math.log(v / lo) / Math.log(hi / lo);
    return (v - lo) / (hi - lo);
  }

  color(row0, column0, row1, column1) {
    const s = this.shown, { nx, ny, values, codes } = s, { codes: code, flags } = this.catalogue;
    const q = this.catalogue.quantities[s.show];
    const lut = q.rgb ??= q.colors.map(hex);
    const flat = {};
    for (const [name, k] of Object.entries(code)) flat[k] = [hex(FLAT[name][0]), FLAT[name][1]];
    const w = column1 - column0, h = row1 - row0;
    if (w <= 0 || h <= 0) return;
    const picture = new ImageData(w, h), data = picture.data, hatch = [110, 110, 110];
    const outlined = s.show === "excess";
    for (let i = row0; i < row1; i++) {
      for (let j = column0; j < column1; j++) {
        const at = i * nx + j, c = codes[at] & 31;
        let rgb;
        if (c === 0) {
          rgb = lut[Math.max(0, Math.min(255, Math.floor(256 * this.position(values[at]))))];
          if (outlined && codes[at] & flags.reached && (
            (j > 0 && !(codes[at - 1] & flags.reached)) || (j < nx - 1 && !(codes[at + 1] & flags.reached)) ||
            (i > 0 && !(codes[at - nx] & flags.reached)) || (i < ny - 1 && !(codes[at + nx] & flags.reached)))) rgb = [255, 255, 255];
          else if (codes[at] & flags.rounding && i % 6 === 0 && (j + 3 * ((i / 6) & 1)) % 6 === 0) rgb = [255, 255, 255];
        } else {
          const [base, kind] = flat[c] ?? [[255, 0, 255], null];
          const marked = kind === "slash" ? (i - j + 8e4) % 8 === 0 : kind === "back" ? (i + j) % 8 === 0
            : kind === "cross" ? (i + j) % 8 === 0 || (i - j + 8e4) % 8 === 0 : kind === "dots" ? i % 4 === 0 && j % 4 === 0 : false;
          rgb = marked ? hatch : base;
        }
        const k = 4 * ((row1 - 1 - i) * w + (j - column0));
        data[k] = rgb[0]; data[k + 1] = rgb[1]; data[k + 2] = rgb[2]; data[k + 3] = 255;
      }
    }
    this.image.getContext("2d").putImageData(picture, column0, ny - row1);
  }

  // ---------------------------------------------------------------- painting

  paint() {
    const pen = this.pen, p = this.plot;
    pen.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    if (!this.view) return;
    pen.fillStyle = "#f7f7f7";
    pen.fillRect(p.x, p.y, p.w, p.h);
    pen.save();
    pen.beginPath(); pen.rect(p.x, p.y, p.w, p.h); pen.clip();
    if (this.shown && this.shown.x.name === this.x.name && this.shown.y.name === this.y.name
      && this.shown.x.log === this.x.log && this.shown.y.log === this.y.log) {
      const s = this.shown, half = { x: 0.5 / (s.nx - 1), y: 0.5 / (s.ny - 1) };
      const [x0, x1] = [-half.x, 1 + half.x].map((t) => p.x + p.w * this.x.to(s.x.from(t)));
      const [y0, y1] = [-half.y, 1 + half.y].map((t) => p.y + p.h * (1 - this.y.to(s.y.from(t))));
      pen.imageSmoothingEnabled = false;
      pen.drawImage(this.image, x0, y1, x1 - x0, y0 - y1);
    }
    this.paintMarks(p);
    this.paintCells(p);
    if (this.box) {
      const b = this.box;
      pen.strokeStyle = "#000"; pen.setLineDash([4, 3]); pen.lineWidth = 1.5;
      pen.strokeRect(Math.min(b.x0, b.x1), Math.min(b.y0, b.y1), Math.abs(b.x1 - b.x0), Math.abs(b.y1 - b.y0));
      pen.setLineDash([]);
    }
    pen.restore();
    this.paintAxes(p);
    if (this.shown?.limits) this.paintBar(p);
  }

  paintMarks(p) {
    const pen = this.pen;
    pen.font = "bold 17px 'DejaVu Sans', sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    for (const mark of this.marks) {
      mark.values.forEach((v, k) => {
        const across = mark.param === this.x.name, up = mark.param === this.y.name;
        if (!across && !up) return;
        const axis = across ? this.x : this.y;
        if (!(v > axis.lo && v < axis.hi)) return;
        const t = axis.to(v);
        if (mark.range) {
          if (!across) return;
          const one = this.y.name === "eps_a" && this.y.lo < 1 && 1 < this.y.hi ? this.y.to(1) : this.y.name === "eps_a" ? null : 0.03;
          if (one === null) return;
          const x = p.x + p.w * t, y = p.y + p.h * (1 - one), d = k ? -9 : 9;
          pen.beginPath(); pen.moveTo(x + d, y - 7); pen.lineTo(x, y); pen.lineTo(x + d, y + 7); pen.closePath();
          pen.fillStyle = "#000"; pen.strokeStyle = "#fff"; pen.lineWidth = 2; pen.stroke(); pen.fill();
          return;
        }
        const line = across ? [p.x + p.w * t, p.y, p.x + p.w * t, p.y + p.h] : [p.x, p.y + p.h * (1 - t), p.x + p.w, p.y + p.h * (1 - t)];
        for (const [color, width] of [["#fff", 4.5], ["#000", 2]]) {
          pen.strokeStyle = color; pen.lineWidth = width;
          pen.setLineDash(mark.exact ? [] : [8, 5]);
          pen.beginPath(); pen.moveTo(line[0], line[1]); pen.lineTo(line[2], line[3]); pen.stroke();
        }
        pen.setLineDash([]);
        const name = mark.names[k];
        if (name) {
          const x = across ? line[0] + (k ? 16 : -16) : p.x + 30, y = across ? p.y + p.h * 0.35 : line[1] - 12;
          pen.lineWidth = 4; pen.strokeStyle = "#fff"; pen.strokeText(name, x, y);
          pen.fillStyle = "#000"; pen.fillText(name, x, y);
        }
      });
    }
  }

  paintCells(p) {
    const pen = this.pen;
    this.cells.forEach(([x, y], k) => {
      if (!(x >= this.x.lo && x <= this.x.hi && y >= this.y.lo && y <= this.y.hi)) return;
      const at = [p.x + p.w * this.x.to(x), p.y + p.h * (1 - this.y.to(y))];
      for (const [color, width] of [["#fff", 6], ["#000", 4], [CELL_COLORS[k % 6], 2.5]]) {
        pen.beginPath(); pen.arc(at[0], at[1], 7, 0, 2 * Math.PI);
        pen.strokeStyle = color; pen.lineWidth = width; pen.stroke();
      }
    });
  }

  paintAxes(p) {
    const pen = this.pen;
    pen.strokeStyle = "#000"; pen.fillStyle = "#000"; pen.lineWidth = 1;
    pen.strokeRect(p.x + 0.5, p.y + 0.5, p.w - 1, p.h - 1);
    pen.font = "14px 'DejaVu Sans', sans-serif"; pen.textAlign = "center"; pen.textBaseline = "top";
    let free = -Infinity;
    for (const [v, text] of this.x.ticks(Math.floor(p.w / 80))) {
      const x = p.x + p.w * this.x.to(v);
      pen.beginPath(); pen.moveTo(x, p.y + p.h); pen.lineTo(x, p.y + p.h + 5); pen.stroke();
      const width = pen.measureText(text).width;
      if (x - width / 2 < free || x + width / 2 > p.x + p.w + 40) continue;
      pen.fillText(text, x, p.y + p.h + 7);
      free = x + width / 2 + 8;
    }
    pen.textAlign = "right"; pen.textBaseline = "middle";
    let top = Infinity;
    for (const [v, text] of this.y.ticks(Math.floor(p.h / 34))) {
      const y = p.y + p.h * (1 - this.y.to(v));
      pen.beginPath(); pen.moveTo(p.x - 5, y); pen.lineTo(p.x, y); pen.stroke();
      if (y > top) continue;
      pen.fillText(text, p.x - 8, y);
      top = y - 18;
    }
    pen.font = "16px 'DejaVu Sans', sans-serif"; pen.textAlign = "center"; pen.textBaseline = "bottom";
    pen.fillText(this.label(this.x.name), p.x + p.w / 2, this.height - 2);
    pen.save();
    pen.translate(15, p.y + p.h / 2); pen.rotate(-Math.PI / 2);
    pen.textBaseline = "middle";
    pen.fillText(this.label(this.y.name), 0, 0);
    pen.restore();
  }

  label(name) {
    const param = this.catalogue.methods.find((m) => m.name === this.view.method)?.params.find((q) => q.name === name);
    return param ? `${param.meaning.split(",")[0]}  ${param.symbol === name ? "" : param.symbol}`.trim() : name;
  }

  paintBar(p) {
    const pen = this.pen, s = this.shown, q = this.catalogue.quantities[s.show], x = p.x + p.w + 12, w = 16;
    for (let k = 0; k < 256; k++) {
      pen.fillStyle = q.colors[k];
      pen.fillRect(x, p.y + p.h * (1 - (k + 1) / 256), w, p.h / 256 + 1);
    }
    pen.strokeStyle = "#000"; pen.lineWidth = 1; pen.strokeRect(x + 0.5, p.y + 0.5, w - 1, p.h - 1);
    pen.fillStyle = "#000"; pen.font = "13px 'DejaVu Sans', sans-serif"; pen.textAlign = "left"; pen.textBaseline = "middle";
    const [lo, hi] = s.limits;
    let ticks;
    if (q.scale === "digits") {
      const wanted = hi === 0 ? [0, -1, -2, -5, -10, -20, -40, -70, -110, -160, -220, -290]
        : new Axis({ lo, hi, log: false }).ticks(6).map(([v]) => v);
      ticks = wanted.filter((v) => v >= lo && v <= hi).map((v) => [v, Number.isInteger(v) ? (v === 0 ? "1" : `10${raised(v)}`) : power(10 ** v)]);
    } else if (!(hi > lo)) ticks = [[lo, short(lo, 6)]];
    else ticks = new Axis({ lo, hi, log: q.scale === "log" && lo > 0 && hi > 2 * lo }).ticks(6);
    let free = Infinity;
    for (const [v, text] of ticks.sort((a, b) => a[0] - b[0])) {
      const y = p.y + p.h * (1 - Math.max(0, Math.min(1, this.position(v))));
      if (y > free - 15) continue;
      pen.beginPath(); pen.moveTo(x + w, y); pen.lineTo(x + w + 4, y); pen.stroke();
      pen.fillText(text, x + w + 7, Math.max(p.y + 6, Math.min(p.y + p.h - 4, y)));
      free = y;
    }
    pen.save();
    pen.translate(this.width - 9, p.y + p.h / 2); pen.rotate(-Math.PI / 2);
    pen.textAlign = "center"; pen.font = "14px 'DejaVu Sans', sans-serif";
    pen.fillText(q.label, 0, 0);
    pen.restore();
  }

  // What the cells without a colour and the marks are, as legend entries: [words, painter of a small canvas].
  keys() {
    const s = this.shown, found = [];
    if (!s) return found;
    const { codes: code, flags } = this.catalogue, seen = new Set();
    let reached = false, rounding = false;
    for (const c of s.codes) { seen.add(c & 31); reached ||= (c & flags.reached) > 0; rounding ||= (c & flags.rounding) > 0; }
    if (reached && s.show === "excess") found.push([`white line: reached ${power(this.next.view.tol)}`, (g) => { g.fillStyle = "#21908c"; g.fillRect(0, 0, 22, 13); g.fillStyle = "#fff"; g.fillRect(0, 6, 22, 2); }]);
    if (rounding) found.push(["flagged: rounding may decide", (g) => { g.fillStyle = "#21908c"; g.fillRect(0, 0, 22, 13); g.fillStyle = "#fff"; for (let i = 2; i < 22; i += 6) for (let j = 2; j < 13; j += 5) g.fillRect(i, j, 2, 2); }]);
    for (const [name, k] of Object.entries(code)) {
      if (!seen.has(k) || (name === "not_run" && s.done < 1)) continue;
      const [base, kind] = FLAT[name];
      found.push([name === "missing" ? this.catalogue.quantities[s.show].missing : WORDS[name], (g) => {
        g.fillStyle = base; g.fillRect(0, 0, 22, 13);
        g.strokeStyle = "#6e6e6e"; g.beginPath();
        for (let i = -14; kind && i < 24; i += 6) {
          if (kind !== "back") { g.moveTo(i, 13); g.lineTo(i + 13, 0); }
          if (kind !== "slash") { g.moveTo(i, 0); g.lineTo(i + 13, 13); }
        }
        g.stroke();
      }]);
    }
    for (const mark of this.marks) {
      const axis = [this.x, this.y].find((a) => a.name === mark.param);
      if (!axis || !mark.values.some((v) => v > axis.lo && v < axis.hi)) continue;
      found.push([mark.label, (g) => {
        g.strokeStyle = "#000"; g.fillStyle = "#000"; g.lineWidth = 2;
        if (mark.range) { g.beginPath(); g.moveTo(16, 1); g.lineTo(6, 6.5); g.lineTo(16, 12); g.fill(); return; }
        if (!mark.exact) g.setLineDash([5, 3]);
        g.beginPath(); g.moveTo(0, 6.5); g.lineTo(22, 6.5); g.stroke();
      }]);
    }
    return found;
  }

  // ---------------------------------------------------------------- hands

  point(event) {
    const box = this.canvas.getBoundingClientRect(), p = this.plot;
    const px = event.clientX - box.left, py = event.clientY - box.top;
    return { px, py, tx: (px - p.x) / p.w, ty: 1 - (py - p.y) / p.h,
      inside: px >= p.x && px <= p.x + p.w && py >= p.y && py <= p.y + p.h };
  }

  windowOf(tx0, tx1, ty0, ty1) {
    const cut = (axis, a, b) => {
      const limit = this.onLimit(axis.name);
      let lo = axis.from(a), hi = axis.from(b);
      if (axis.log) { lo = Math.max(lo, 1e-280); hi = Math.min(hi, 1e280); }
      else if (lo < limit.low) { hi = Math.min(hi + limit.low - lo, limit.high ?? Infinity); lo = limit.low; }
      if (limit.high !== null && hi > limit.high) { if (!axis.log) lo = Math.max(limit.low, lo - hi + limit.high); hi = limit.high; }
      return { ...this.view[axis === this.x ? "x" : "y"], lo, hi };
    };
    return { ...this.view, x: cut(this.x, tx0, tx1), y: cut(this.y, ty0, ty1) };
  }

  listen() {
    const c = this.canvas;
    let held = null;
    c.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (!this.view) return;
      const at = this.point(event);
      if (!at.inside) return;
      const f = Math.exp(Math.max(-0.6, Math.min(0.6, (event.deltaY || event.deltaX) * 0.0022)));
      const fx = event.altKey ? 1 : f, fy = event.shiftKey ? 1 : f;
      this.moved(this.windowOf(at.tx * (1 - fx), at.tx + (1 - at.tx) * fx, at.ty * (1 - fy), at.ty + (1 - at.ty) * fy));
    }, { passive: false });
    c.addEventListener("pointerdown", (event) => {
      const at = this.point(event);
      if (!this.view || !at.inside || event.button) return;
      held = { ...at, view: this.view, x: this.x, y: this.y, moved: false, box: event.shiftKey };
      c.setPointerCapture(event.pointerId);
    });
    c.addEventListener("pointermove", (event) => {
      const at = this.point(event);
      if (!held) {
        if (at.inside && this.view) this.onHover(this.x.from(at.tx), this.y.from(at.ty), at);
        else this.onLeave();
        return;
      }
      if (Math.hypot(at.px - held.px, at.py - held.py) > 4) held.moved = true;
      if (!held.moved) return;
      this.onLeave();
      if (held.box) { this.box = { x0: held.px, y0: held.py, x1: at.px, y1: at.py }; this.later(); return; }
      const dx = held.tx - at.tx, dy = held.ty - at.ty;
      this.setQuietly(held);
      this.moved(this.windowOf(dx, 1 + dx, dy, 1 + dy));
    });
    c.addEventListener("pointerup", (event) => {
      if (!held) return;
      const at = this.point(event), from = held;
      held = null;
      if (this.box) {
        this.box = null;
        const cut = (v) => Math.max(0, Math.min(1, v));
        const [a, b] = [cut(from.tx), cut(at.tx)].sort((u, v) => u - v), [e, d] = [cut(from.ty), cut(at.ty)].sort((u, v) => u - v);
        if (b - a > 0.01 && d - e > 0.01) this.moved(this.windowOf(a, b, e, d));
        else this.later();
      } else if (!from.moved) this.onChoose(this.snap(this.x, at.tx), this.snap(this.y, at.ty), event.ctrlKey || event.metaKey || event.shiftKey);
    });
    c.addEventListener("pointerleave", () => this.onLeave());
    c.addEventListener("keydown", (event) => {
      if (!this.view) return;
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowDown: [0, -0.1], ArrowUp: [0, 0.1] }[event.key];
      const factor = { "+": 0.7, "=": 0.7, "-": 1 / 0.7 }[event.key];
      if (!step && !factor) return;
      event.preventDefault();
      if (step) this.moved(this.windowOf(step[0], 1 + step[0], step[1], 1 + step[1]));
      else this.moved(this.windowOf(0.5 - factor / 2, 0.5 + factor / 2, 0.5 - factor / 2, 0.5 + factor / 2));
    });
  }

  setQuietly(held) { this.view = held.view; this.x = held.x; this.y = held.y; }

  // The middle of the cell at a place.
  snap(axis, t) {
    const n = this.view[axis === this.x ? "x" : "y"].n;
    const k = Math.max(0, Math.min(n - 1, Math.round(t * (n - 1))));
    return k === 0 ? axis.lo : k === n - 1 ? axis.hi : axis.from(k / (n - 1));
  }

  moved(view) {
    this.view = view;
    this.x = new Axis(view.x); this.y = new Axis(view.y);
    this.later();
    this.onWindow(view);
  }
}
