// The page of one field: picture, layers, the cell under the pointer, and corrections.

import { calm, element, fieldPath, get, post, rgb, say } from "./api.js";
import { ordered, prepare } from "./gallery.js";
import { GatePanel } from "./gate.js";
import { LayerPanel } from "./layers.js";
import { Marks } from "./marks.js";
import { Picture } from "./picture.js";
import { address, RegionPanel } from "./regions.js";
import { Tools } from "./tools.js";

export class FieldPage {
  constructor(root, name, region) {
    this.root = root;
    this.name = name;
    this.region = region; // that the address names, or null
    this.path = fieldPath(name);
    this.selected = []; // cells, as the server describes them
    this.gating = null; // { marker, cut } while cells are coloured by a cut-off
    this.isClosed = false;
    this.answered = Promise.resolve(); // when all corrections so far are
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  async open() {
    const started = performance.now();
    document.title = `${this.name} - dedl-fastai view`;
    this.#neighbours();
    const asked = get(this.path);
    this.picture = new Picture(this.find(".picture")); // while the server reads
    this.about = await asked;
    if (this.isClosed) return;
    this.picture.about = this.about;
    this.state = this.about;
    this.find(".name").textContent = this.name;
    this.layers = new LayerPanel(this.find(".layers"), this.about, (query) => this.#showTiles(query));
    this.marks = new Marks(this.find(".marks"), this.picture);
    this.tools = new Tools(this);
    this.gate = new GatePanel(this.find(".gate"), this);
    const panel = this.region && new RegionPanel(this, this.region);
    this.#followPointer();
    for (const event of ["animation", "animation-finish", "open", "resize"]) this.picture.viewer.addHandler(event, () => this.#scaleBar());
    this.find(".outlined").onchange = (e) => this.picture.setOpacity("outlines", e.target.checked ? 1 : 0);
    await this.picture.show("tiles", this.layers.query());
    panel?.show();
    this.setState(this.state);
    this.select([]);
    const ready = () => { this.root.dataset.ready = Math.round(performance.now() - started); }; // ms, for the tests
    const { tiles } = this.picture.shown;
    if (tiles.getFullyLoaded()) ready();
    else tiles.addOnceHandler("fully-loaded-change", ready);
    await this.picture.show("outlines", this.#outlineQuery());
    this.#scaleBar();
    this.#poll();
    prepare(ordered()[ordered().indexOf(this.name) + 1]);
  }

  #showTiles(query) {
    this.picture.show("tiles", query);
    this.#poll();
  }

  // The overview of a slide is read in the background: shows what is there, until all is.
  async #poll() {
    if (this.polling) return;
    this.polling = true;
    let done = 0;
    while (!this.isClosed && done < 1) {
      const layers = this.layers.visible.map((l) => l.index).join(",");
      try {
        done = (await get(`${this.path}/state?layers=${layers}`)).done;
      } catch (error) {
        say(error.message);
        break;
      }
      this.progress = done;
      if (this.wasPartial && !this.isClosed) { // the same tiles have more in them now
        await this.picture.show("tiles", `${this.layers.query()}&part=${done.toFixed(2)}`);
        await this.picture.show("outlines", `${this.#outlineQuery()}&part=${done.toFixed(2)}`);
      }
      this.wasPartial = done < 1;
      this.#counts();
      if (done < 1) await new Promise((resolve) => setTimeout(resolve, 700));
    }
    this.polling = false;
  }

  #outlineQuery() {
    const gate = this.gating ? `&marker=${encodeURIComponent(this.gating.marker)}&cut=${this.gating.cut}` : "";
    return `revision=${this.state.revision}&table=${this.state.table}${gate}`; // what a browser may keep them by
  }

  showOutlines() {
    return this.picture.show("outlines", this.#outlineQuery());
  }

  // Takes over what the server says after a correction.
  setState(state) {
    this.state = state;
    this.marks.checks = state.checks;
    this.marks.draw();
    const last = state.checks.filter((c) => !c.points).at(-1);
    this.find(".checked").checked = last?.action === "check";
    this.find('[data-do="undo"]').disabled = !state.can_undo;
    this.find('[data-do="redo"]').disabled = !state.can_redo;
    this.find(".legend").replaceChildren(...state.types.map((t) => element("span", {},
      element("i", { className: "swatch", style: `background:${rgb(t.color)}` }), t.name)));
    const options = state.types.map((t) => element("option", { value: t.name }, t.name));
    const other = element("option", { value: "\n" }, "new type ...");
    this.find(".type").replaceChildren(element("option", { value: "" }, "type ..."), ...options, other);
    this.root.dataset.revision = state.revision;
    this.#counts();
    if (state.trouble) say(state.trouble);
  }

  #counts() {
    const { width, height } = this.about;
    const n = this.state.n_corrections;
    const read = this.progress < 1 ? ` · reading the picture: ${Math.round(100 * this.progress)} %` : "";
    this.find(".counts").textContent = `${width} x ${height} px · ${n} correction${n === 1 ? "" : "s"}${read}`;
  }

  // Sends a correction when those before it are answered, as it follows them. The page shows it when the server has it
  // on the disk.
  async act(action) {
    this.answered = this.answered.then(() => this.#send(action));
    const isDone = await this.answered;
    await this.showOutlines();
    return isDone;
  }

  async #send(action) {
    try {
      this.#takeOver(await post(`${this.path}/actions`, { ...action, revision: this.state.revision }));
      return true;
    } catch (error) {
      say(error.message);
      if (error.status === 409) await this.#reload();
      return false;
    }
  }

  async #reload() {
    try {
      this.#takeOver(await get(`${this.path}/state`));
    } catch (error) {
      say(error.message);
    }
  }

  #takeOver(state) {
    this.setState(state);
    this.select([]);
  }

  select(cells) {
    this.selected = cells;
    this.marks.selected = cells.map((c) => c.outline);
    this.marks.hovered = null;
    this.marks.draw();
    this.#showCell(cells.at(-1));
    this.tools?.update();
  }

  async cellAt([x, y]) {
    const cell = await get(`${this.path}/at?x=${x.toFixed(2)}&y=${y.toFixed(2)}`);
    return cell.label ? { ...cell, place: [x, y] } : null;
  }

  // Moves to a cell and selects it.
  async showCellAt([x, y]) {
    try {
      this.picture.goTo(x, y, Math.min(this.about.width, 40 / (this.about.um_per_px || 0.5)));
      const cell = await this.cellAt([x, y]);
      this.select(cell ? [cell] : []);
      if (!cell) say("There is no nucleus any more at this place.");
    } catch (error) {
      say(error.message);
    }
  }

  #followPointer() {
    const viewer = this.find(".viewer");
    const look = calm(async (position) => {
      if (this.isClosed || this.marks.drawing) return;
      const cell = await this.cellAt(this.picture.toField(position)).catch(() => null);
      this.marks.hovered = cell?.outline ?? null;
      this.marks.draw();
      if (!this.selected.length) this.#showCell(cell);
    }, 70);
    viewer.addEventListener("pointermove", (e) => {
      const box = viewer.getBoundingClientRect();
      if (this.picture.shown.tiles) look(new OpenSeadragon.Point(e.clientX - box.left, e.clientY - box.top));
    });
  }

  #showCell(cell) {
    const root = this.find(".cell");
    if (!cell) {
      root.replaceChildren(element("p", {}, "Move the pointer over a nucleus, or click it."));
      return;
    }
    const rows = { nucleus: cell.label, type: cell.type, "area (px)": cell.area_px, ...cell.row };
    for (const name of ["label", "phenotype", "area_px"]) delete rows[name];
    const cells = Object.entries(rows).filter(([, v]) => v !== "").map(([name, value]) =>
      element("tr", {}, element("td", {}, name), element("td", {}, String(value))));
    const note = cell.is_changed ? [element("p", {}, "Its outline was corrected: measurements are of the predicted one.")] : [];
    root.replaceChildren(...note, element("table", {}, ...cells));
  }

  #scaleBar() {
    const { um_per_px: size } = this.about;
    const bar = this.find(".scale");
    if (!size || !this.picture.shown.tiles) return;
    const most = 160 / this.picture.screenPixelsPerPixel * size;
    const unit = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((f) => f * unit).find((l) => l <= most);
    bar.style.width = `${length / size * this.picture.screenPixelsPerPixel}px`;
    bar.textContent = `${Number(length.toPrecision(2))} µm`;
  }

  #neighbours() {
    const names = ordered();
    const at = names.indexOf(this.name);
    for (const [selector, name] of [[".previous", names[at - 1]], [".next", at < 0 ? undefined : names[at + 1]]]) {
      this.find(selector).disabled = name === undefined;
      this.find(selector).onclick = () => { location.hash = address(name); };
    }
  }

  close() {
    this.isClosed = true;
    this.tools?.close();
    this.picture?.close();
  }
}
