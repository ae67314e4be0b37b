// The cut-off of a marker: its histogram with a slider; nuclei above it are coloured while it is moved.

import { calm, element, get, post, say } from "./api.js";

const TYPES = "\n"; // no marker has this name
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export class GatePanel {
  constructor(root, page) {
    this.page = page;
    this.plot = root.querySelector(".plot");
    this.select = root.querySelector(".marker");
    this.unsure = root.querySelector(".unsure");
    const { markers, has_probability: hasTypes } = page.about;
    root.hidden = !markers.length && !hasTypes;
    const types = hasTypes ? [element("option", { value: TYPES }, "types: the least probable")] : [];
    this.select.append(element("option", { value: "" }, "marker ..."), ...types, ...markers.map((m) => element("option", { value: m }, m)));
    this.select.onchange = () => this.#show(this.select.value).catch((error) => say(error.message));
    this.moved = calm(() => this.#counted().catch((error) => say(error.message)), 60);
  }

  #path(marker) {
    return `api/gates/${encodeURIComponent(marker)}?field=${encodeURIComponent(this.page.name)}`;
  }

  async #show(marker) {
    this.unsure.replaceChildren();
    if (!marker || marker === TYPES) {
      this.plot.replaceChildren();
      this.page.gating = null;
      await this.page.showOutlines();
      if (marker) this.#list("Least probable types", await get(`${this.page.path}/unsure`));
      return;
    }
    const gate = await get(this.#path(marker));
    const n = gate.edges.length - 1;
    const cut = gate.cut ?? gate.edges[n];
    this.gate = gate;
    this.cut = cut;
    this.statement = element("p", {}, gate.statement);
    this.counts = element("p", { className: "positive" });
    this.line = svg("line", { y1: 0, y2: 100, stroke: "#ffdc3c", "stroke-width": 0.6 });
    this.slider = element("input", { type: "range", min: 0, max: 1000, className: "cut", title: "Cut-off" });
    this.slider.value = 1000 * this.#position(cut);
    this.slider.oninput = () => { this.cut = this.#value(this.slider.value / 1000); this.moved(); };
    const save = element("button", { className: "save", title: "Write it to corrections/gates.json" }, "save cut-off");
    save.onclick = () => this.#save().catch((error) => say(error.message));
    this.plot.replaceChildren(this.#histogram(), this.slider, this.counts, save, this.statement);
    await this.#counted();
  }

  // Bins are equally wide on the marker's logarithmic scale, so positions between them are interpolated.
  #position(value) {
    const { edges } = this.gate;
    const n = edges.length - 1;
    const i = Math.min(Math.max(edges.findIndex((e) => e > value) - 1, 0), n - 1);
    if (value >= edges[n]) return 1;
    return Math.max(0, (i + (value - edges[i]) / (edges[i + 1] - edges[i])) / n);
  }

  #value(position) {
    const { edges } = this.gate;
    const n = edges.length - 1;
    const i = Math.min(Math.floor(position * n), n - 1);
    return edges[i] + (edges[i + 1] - edges[i]) * (position * n - i);
  }

  #histogram() {
    const { edges, all, field } = this.gate;
    const n = edges.length - 1;
    const plot = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none" });
    for (const [counts, fill] of [[all, "#4a5361"], [field, "#4da3ff"]]) {
      const most = Math.max(...counts, 1);
      counts.forEach((count, i) => {
        const height = 100 * Math.sqrt(count / most);
        plot.append(svg("rect", { x: 100 * i / n, width: 100 / n, y: 100 - height, height, fill, opacity: 0.75 }));
      });
    }
    plot.append(this.line);
    plot.append(svg("title", {}));
    plot.lastChild.textContent = "Cells by intensity (logarithmic; heights are square roots): grey all, blue this field";
    return plot;
  }

  async #counted() {
    const { marker } = this.gate;
    const cut = this.cut;
    const x = 100 * this.#position(cut);
    this.line.setAttribute("x1", x);
    this.line.setAttribute("x2", x);
    this.page.gating = { marker, cut };
    const counts = await get(`${this.#path(marker)}&cut=${cut}`);
    if (cut !== this.cut) return;
    this.counts.textContent = `Above ${cut.toPrecision(4)}: ${counts.field} of ${counts.cells_of_field} cells here, `
      + `${counts.all} of ${counts.cells} in all.`;
    await this.page.showOutlines();
    const near = await get(`${this.page.path}/unsure?marker=${encodeURIComponent(marker)}&cut=${cut}`);
    if (cut === this.cut && marker === this.select.value) this.#list("Next to the cut-off", near);
  }

  // Cells that are hard to decide: a click shows one in the middle.
  #list(title, cells) {
    const buttons = cells.map((cell) => {
      const value = cell.value === null ? "?" : cell.value.toPrecision(3);
      return element("button", { title: `nucleus ${cell.label}`, onclick: () => this.page.showCellAt([cell.x, cell.y]) }, value);
    });
    this.unsure.replaceChildren(element("p", {}, cells.length ? `${title}:` : "There is no such cell."), ...buttons);
  }

  async #save() {
    const { marker } = this.gate;
    const saved = await post(`api/gates/${encodeURIComponent(marker)}`, { field: this.page.name, cut: this.cut });
    this.statement.textContent = `Saved. ${saved.statement}`;
  }
}
