// Corrections with the mouse and the keyboard.

import { say } from "./api.js";

const OUTLINES = new Set(["draw", "redraw", "region"]);
const KEYS = { v: "look", n: "draw", r: "redraw", s: "split", k: "region" };
const STEP = 3; // screen pixels between the points of a drawn line

export class Tools {
  constructor(page) {
    this.page = page;
    this.tool = "look";
    const buttons = [...page.root.querySelectorAll("[data-tool]")];
    this.buttons = buttons;
    for (const button of buttons) button.onclick = () => this.choose(button.dataset.tool);
    for (const button of page.root.querySelectorAll("[data-do]")) button.onclick = () => this.do(button.dataset.do);
    page.find(".type").onchange = (e) => this.#type(e.target);
    page.find(".checked").onchange = (e) => page.act({ action: e.target.checked ? "check" : "uncheck", points: null });
    const { viewer } = page.picture;
    viewer.addHandler("canvas-press", (e) => this.#press(e));
    viewer.addHandler("canvas-drag", (e) => this.#drag(e));
    viewer.addHandler("canvas-release", (e) => this.#release(e));
    viewer.addHandler("canvas-click", (e) => this.#click(e));
    this.onKey = (e) => this.#key(e);
    addEventListener("keydown", this.onKey);
    this.choose("look");
  }

  choose(tool) {
    if (tool === "redraw" && this.page.selected.length !== 1) {
      say("Select the nucleus first that you want to draw again.");
      return;
    }
    this.tool = tool;
    this.page.marks.drawing = null; // begun with another tool
    this.page.marks.draw();
    for (const button of this.buttons) button.classList.toggle("active", button.dataset.tool === tool);
    this.page.find(".viewer").classList.toggle("drawing", tool !== "look");
  }

  update() {
    const n = this.page.selected.length;
    this.page.find('[data-do="delete"]').disabled = !n;
    this.page.find('[data-do="merge"]').disabled = n !== 2;
    this.page.find(".type").disabled = !n;
    if (this.tool === "redraw" && n !== 1) this.choose("look");
  }

  do(what) {
    if (what === "undo" || what === "redo") return this.page.act({ action: what });
    const cells = this.page.selected;
    return this.page.act({ action: what, labels: cells.map((c) => c.label), points: cells.map((c) => c.place) });
  }

  #type(select) {
    let name = select.value;
    select.value = "";
    if (name === "\n") name = prompt("Name of the type:")?.trim() ?? "";
    if (name) this.page.act({ action: "type", labels: this.page.selected.map((c) => c.label), type: name });
  }

  #press(e) {
    if (this.tool === "look") return;
    const { marks, picture } = this.page;
    marks.hovered = null;
    marks.drawing = [picture.toField(e.position)];
    marks.isClosed = OUTLINES.has(this.tool);
    this.last = e.position;
  }

  #drag(e) {
    const { marks, picture } = this.page;
    if (!marks.drawing) return;
    e.preventDefaultAction = true; // no panning
    if (this.last.distanceTo(e.position) < STEP) return;
    this.last = e.position;
    marks.drawing.push(picture.toField(e.position));
    marks.draw();
  }

  async #release(e) {
    const { marks, picture } = this.page;
    if (!marks.drawing) return;
    const points = [...marks.drawing, picture.toField(e.position)];
    marks.drawing = null;
    marks.draw();
    if (points.length > 2 || this.tool === "split") await this.#drawn(points);
  }

  async #drawn(points) {
    const { page } = this;
    if (this.tool === "draw") await page.act({ action: "draw", labels: [], points });
    else if (this.tool === "region") await page.act({ action: "check", points });
    else if (this.tool === "redraw") {
      await page.act({ action: "draw", labels: [page.selected[0].label], points }); // then nothing is selected
    } else await this.#split(points);
  }

  // The nucleus that is split is the one in the middle of the line.
  async #split(points) {
    const { page } = this;
    const lengths = points.map((p, i) => (i ? Math.hypot(p[0] - points[i - 1][0], p[1] - points[i - 1][1]) : 0));
    let left = lengths.reduce((a, b) => a + b, 0) / 2;
    const i = Math.max(1, lengths.findIndex((l, k) => k > 0 && (left -= l) <= 0));
    const [a, b] = [points[i - 1], points[i]];
    const share = lengths[i] ? 1 + left / lengths[i] : 0;
    const middle = [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share];
    const cell = await page.cellAt(middle).catch((error) => { say(error.message); });
    if (cell) await page.act({ action: "split", labels: [cell.label], points });
    else say("There is no nucleus under the middle of the line.");
  }

  async #click(e) {
    if (this.tool !== "look" || !e.quick) return;
    const { page } = this;
    try {
      const cell = await page.cellAt(page.picture.toField(e.position));
      const isMore = e.originalEvent.shiftKey;
      const others = isMore ? page.selected.filter((c) => c.label !== cell?.label) : [];
      const isAgain = isMore && page.selected.length !== others.length;
      page.select(cell && !isAgain ? [...others, cell] : others);
    } catch (error) {
      say(error.message);
    }
  }

  #key(e) {
    if (/^(input|select|textarea)$/i.test(e.target.tagName) && e.target.type !== "checkbox" && e.target.type !== "range") return;
    const key = e.key.toLowerCase();
    if ((e.ctrlKey || e.metaKey) && (key === "z" || key === "y")) {
      e.preventDefault();
      this.do(key === "y" || e.shiftKey ? "redo" : "undo");
    } else if (e.ctrlKey || e.metaKey || e.altKey) return;
    else if (key === "delete" || key === "d") { if (this.page.selected.length) this.do("delete"); }
    else if (key === "m") { if (this.page.selected.length === 2) this.do("merge"); }
    else if (key === "escape") { this.page.select([]); this.choose("look"); }
    else if (KEYS[key]) this.choose(KEYS[key]);
  }

  close() {
    removeEventListener("keydown", this.onKey);
  }
}
