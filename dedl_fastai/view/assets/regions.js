// Regions to correct next: the list in the gallery, and the one that the page of a field shows.

import { element, get, say } from "./api.js";

const SIDES = ["x0", "y0", "x1", "y1"];

// The address of a region, after #/; without a region that of the field.
export function address(name, region) {
  return `#/${encodeURIComponent(name)}${region ? `@${SIDES.map((side) => region[side]).join(",")}` : ""}`;
}

// The field and the region that an address names.
export function addressed(hash) {
  const [name, box] = hash.replace(/^#\/?/, "").split("@");
  const sides = (box ?? "").split(",").map(Number);
  const isBox = sides.length === 4 && sides.every(Number.isFinite);
  return [decodeURIComponent(name), isBox ? Object.fromEntries(SIDES.map((side, i) => [side, sides[i]])) : null];
}

export function showRegions(root, regions) {
  root.hidden = !regions.length;
  root.querySelector("ol").replaceChildren(...regions.map((r) => element("li", {},
    element("a", { href: address(r.field, r), title: `x ${r.x0} to ${r.x1}, y ${r.y0} to ${r.y1}` }, r.field), ` ${r.cells} nuclei`)));
}

// What the page of a field has for its region: the frame, and the buttons to check it and to go on.
export class RegionPanel {
  constructor(page, region) {
    const { x0, y0, x1, y1 } = region;
    this.page = page;
    this.region = region;
    this.corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    page.marks.region = this.corners;
    page.find(".region").hidden = false;
    page.find(".check-region").onclick = () => this.#check();
    page.find(".next-region").onclick = () => this.#next();
  }

  show() {
    const { x0, y0, x1, y1 } = this.region;
    const { clientWidth, clientHeight } = this.page.picture.viewer.container;
    const width = Math.max(x1 - x0, (y1 - y0) * clientWidth / clientHeight);
    this.page.picture.goTo((x0 + x1) / 2, (y0 + y1) / 2, 1.15 * width);
  }

  async #check() {
    if (await this.page.act({ action: "check", points: this.corners })) await this.#next();
  }

  async #next() {
    try {
      const { look_at: regions } = await get("api/fields");
      const here = address(this.page.name, this.region);
      const at = regions.findIndex((r) => address(r.field, r) === here);
      const next = regions[at + 1] ?? regions[0]; // a checked one is no longer in the list
      if (next && address(next.field, next) !== here) location.hash = address(next.field, next);
      else say("No other region is left.");
    } catch (error) {
      say(error.message);
    }
  }
}
