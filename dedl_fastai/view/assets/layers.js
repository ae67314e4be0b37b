// The panel of layers: which are shown, in which colour, and from which intensity to which.

import { calm, element, fieldPath, get, say } from "./api.js";

const POWER = 3; // sliders are finer where most pixels are, at low intensities

export class LayerPanel {
  constructor(root, about, onChange) {
    this.name = about.name;
    this.layers = about.layers.map((layer, index) => ({ ...layer, index }));
    this.changed = calm(() => onChange(this.query()), 60);
    root.append(...this.layers.map((layer) => this.#row(layer)));
  }

  get visible() {
    return this.layers.filter((l) => l.visible && l.contrast);
  }

  query() {
    const texts = this.visible.map((l) => `layer=${l.index},${l.contrast.low},${l.contrast.high},${l.color.slice(1)}`);
    return texts.join("&");
  }

  async #contrast(layer) {
    if (layer.contrast) return;
    layer.contrast = await get(`${fieldPath(this.name)}/contrast/${layer.index}`);
    this.#place(layer);
  }

  #place(layer) { // the sliders
    for (const end of ["low", "high"]) layer.sliders[end].value = this.#position(layer, layer.contrast[end]);
  }

  #position({ contrast }, value) {
    return 1000 * ((value - contrast.least) / (contrast.most - contrast.least)) ** (1 / POWER);
  }

  #row(layer) {
    const shown = element("input", { type: "checkbox", checked: layer.visible, title: "Show this layer" });
    const color = element("input", { type: "color", value: layer.color, title: "Colour" });
    layer.sliders = Object.fromEntries(["low", "high"].map((end) => {
      const title = end === "low" ? "Intensity that is black" : "Intensity that has the full colour";
      return [end, element("input", { type: "range", min: 0, max: 1000, title, className: end })];
    }));
    if (layer.contrast) this.#place(layer);
    shown.onchange = async () => {
      layer.visible = shown.checked;
      try {
        if (layer.visible) await this.#contrast(layer);
      } catch (error) {
        say(error.message);
      }
      this.changed();
    };
    color.oninput = () => { layer.color = color.value; this.changed(); };
    for (const [end, slider] of Object.entries(layer.sliders)) {
      slider.oninput = () => {
        if (!layer.contrast) return;
        const { least, most } = layer.contrast;
        layer.contrast[end] = least + (most - least) * (slider.value / 1000) ** POWER;
        this.changed();
      };
    }
    const name = element("span", { title: layer.name }, layer.name);
    const row = element("div", { className: "layer" }, shown, color, name, layer.sliders.low, layer.sliders.high);
    row.dataset.layer = layer.name;
    return row;
  }
}
