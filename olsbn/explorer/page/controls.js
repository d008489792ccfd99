// The controls, made from what the server says there is: problems, methods, their parameters, quantities.

const cells = { "64 000": 64000, "256 000": 256000, "1 000 000": 1000000 };

export class Controls {
  constructor(form, catalogue, { onView, onShow, most }) {
    Object.assign(this, { form, catalogue, onView, onShow });
    this.most = most;
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  // Show a view in the controls.
  set(view, facts) {
    this.view = view;
    if (this.form.contains(document.activeElement) && document.activeElement.tagName === "INPUT" && document.activeElement.type !== "checkbox"
      && JSON.stringify(this.layout(view)) === this.made) { this.update(); return; }
    this.build(facts);
  }

  layout(view) { return [view.problem && Object.keys(view.problem), view.method, view.x.name, view.y.name]; }

  update() { /* somebody types: what is typed stays */ }

  change(part) { this.onView({ ...structuredClone(this.view), ...part }); }

  build(facts) {
    const { view, catalogue, form } = this, method = catalogue.methods.find((m) => m.name === view.method);
    this.made = JSON.stringify(this.layout(view));
    const kept = document.activeElement?.name;
    form.replaceChildren();
    this.title("Problem");
    this.problem(view);
    if (facts?.reduced) this.note(`computed with ${facts.reduced.modes} of ${facts.dim} modes; estimated error of log(excess) ${facts.reduced.error.toExponential(1)}`);
    for (const remark of facts?.remarks ?? []) this.note(remark);
    if (facts?.target_unit) this.note(`ε counts in 1/${facts.target_unit}²`);
    this.title("Dynamics");
    this.select("method", "method", catalogue.methods.filter((m) => m.axes.length > 1).map((m) => [m.name, m.title]), view.method, (v) => this.toMethod(v), method.summary);
    for (const key of ["x", "y"]) {
      this.select(key, key === "x" ? "across" : "up", method.axes.map((n) => [n, n]), view[key].name, (v) => this.toAxis(key, v));
      this.range(key);
    }
    for (const param of method.params) {
      if (param.name === view.x.name || param.name === view.y.name) continue;
      const value = view.fixed[param.name] ?? param.default ?? 1;
      this.number(param.name, param.symbol === param.name ? param.name : `${param.name} ${param.symbol}`, value, (v) => this.fix(param.name, v), param.meaning, param);
    }
    for (const option of method.options) {
      const value = view.fixed[option.name] ?? option.default;
      if (option.choices.length) this.select(option.name, option.name, option.choices.map((c) => [c, c]), value, (v) => this.fix(option.name, v), option.meaning);
      else this.number(option.name, option.name, value, (v) => this.fix(option.name, v), option.meaning);
    }
    this.title("Run");
    this.number("n_steps", "steps", view.n_steps, (v) => this.change({ n_steps: v }), "steps that each cell runs");
    this.number("tol", "tolerance", view.tol, (v) => this.change({ tol: v }), "relative excess that counts as converged");
    this.check("check_rounding", "rounding flag", view.check_rounding, (v) => this.change({ check_rounding: v }), "find the cells that rounding may decide");
    this.check("reduce", "reduce modes", view.reduce, (v) => this.change({ reduce: v }), "replace a problem of many modes by one with the same moments");
    this.title("Picture");
    this.select("show", "quantity", method.quantities.map((n) => [n, n]), view.show, (v) => this.onShow(v), catalogue.quantities[view.show]?.label);
    this.select("cells", "cells", Object.entries(cells).map(([text, n]) => [String(n), text]), String(this.most()), (v) => this.onMost(+v), "at most so many cells are computed");
    if (kept) form.elements[kept]?.focus();
  }

  problem(view) {
    const { catalogue } = this, p = view.problem;
    const kinds = [...(catalogue.given ? [["given", catalogue.given]] : []), ...catalogue.data.map((n) => [`data ${n}`, n]), ...catalogue.spectra.map((n) => [`spectrum ${n}`, `random: ${n}`])];
    const now = p.given ? "given" : p.data ? `data ${p.data}` : `spectrum ${p.spectrum}`;
    this.select("problem", "problem", kinds, now, (v) => {
      const [kind, name] = v.split(" ");
      const next = kind === "given" ? { given: true } : kind === "data" ? { data: name, standardize: true }
        : { ...(p.spectrum ? p : { dim: 100, cond: 100 }), spectrum: name };
      this.anew({ problem: next });
    });
    if (p.data) this.check("standardize", "standardize", p.standardize === true, (v) => { const next = { data: p.data }; if (v) next.standardize = true; this.anew({ problem: next }); }, "divide inputs and target by their standard deviations");
    if (p.spectrum) {
      this.number("dim", "dimension d", p.dim, (v) => this.anew({ problem: { ...p, dim: v } }), "number of inputs");
      if (p.spectrum !== "identity") this.number("cond", "condition number", p.cond, (v) => this.anew({ problem: { ...p, cond: v } }));
      this.number("seed", "seed", p.seed ?? 0, (v) => this.anew({ problem: { ...p, seed: v } }));
      this.select("w0", "start w₀", [["sphere", "random"], ["gradient", "along the gradient"]], p.w0 ?? "sphere", (v) => this.anew({ problem: { ...p, w0: v } }));
    }
  }

  // Another problem: its whole range is shown, for its learning rates have other places.
  anew(part) {
    const bare = (axis) => ({ name: axis.name, n: axis.n });
    this.change({ ...part, x: bare(this.view.x), y: bare(this.view.y), cells: [] });
  }

  toMethod(name) {
    const method = this.catalogue.methods.find((m) => m.name === name), settings = [...method.params, ...method.options].map((s) => s.name);
    const keep = (axis) => method.axes.includes(axis.name) ? axis : { n: axis.n };
    const fixed = Object.fromEntries(Object.entries(this.view.fixed).filter(([n]) => settings.includes(n)));
    const show = method.quantities.includes(this.view.show) ? this.view.show : "excess";
    this.change({ method: name, x: keep(this.view.x), y: keep(this.view.y), fixed, show, cells: [] });
  }

  toAxis(key, name) {
    const other = key === "x" ? "y" : "x", part = { [key]: { name, n: this.view[key].n }, cells: [] };
    if (name === this.view[other].name) part[other] = { name: this.view[key].name, n: this.view[other].n };
    this.change(part);
  }

  fix(name, value) { this.change({ fixed: { ...this.view.fixed, [name]: value } }); }

  // ---------------------------------------------------------------- elements

  title(text) { const h = document.createElement("h3"); h.textContent = text; this.form.append(h); }
  note(text) { const p = document.createElement("div"); p.className = "note"; p.textContent = text; this.form.append(p); }

  row(name, text, element, title = "") {
    const label = document.createElement("label");
    label.textContent = text; label.htmlFor = `control-${name}`; label.title = title;
    element.id = `control-${name}`; element.name = name; element.title = title;
    this.form.append(label, element);
    return element;
  }

  select(name, text, pairs, value, then, title) {
    const element = document.createElement("select");
    for (const [key, words] of pairs) element.append(new Option(words, key, false, key === value));
    element.addEventListener("change", () => then(element.value));
    return this.row(name, text, element, title);
  }

  number(name, text, value, then, title) {
    const element = document.createElement("input");
    element.value = value; element.inputMode = "decimal"; element.autocomplete = "off";
    element.addEventListener("change", () => {
      const v = Number(element.value.trim());
      // what is not a number goes to the server as it is, which says what is wrong
      then(element.value.trim() !== "" && Number.isFinite(v) ? v : element.value);
    });
    return this.row(name, text, element, title);
  }

  check(name, text, value, then, title) {
    const element = document.createElement("input");
    element.type = "checkbox"; element.checked = value;
    element.addEventListener("change", () => then(element.checked));
    return this.row(name, text, element, title);
  }

  // The ends of an axis, and whether it is logarithmic.
  range(key) {
    const axis = this.view[key], box = document.createElement("div");
    box.className = "pair";
    const put = (end) => {
      const input = document.createElement("input");
      input.value = String(+axis[end].toPrecision(6)); input.name = `${key}-${end}`; input.title = end === "lo" ? "from" : "to";
      input.addEventListener("change", () => {
        const v = Number(input.value);
        this.change({ [key]: { ...axis, [end]: input.value.trim() !== "" && Number.isFinite(v) ? v : input.value } });
      });
      box.append(input);
    };
    put("lo"); put("hi");
    const label = document.createElement("label");
    const log = document.createElement("input");
    log.type = "checkbox"; log.checked = axis.log; log.name = `${key}-log`;
    log.addEventListener("change", () => {
      const lo = log.checked && axis.lo <= 0 ? axis.hi * 1e-3 : axis.lo;
      this.change({ [key]: { ...axis, lo, log: log.checked } });
    });
    label.append(log, " log");
    this.form.append(label, box);
  }
}
