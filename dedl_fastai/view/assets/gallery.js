// The gallery: a row for each field, sorted by any column; the most uncertain first.

import { calm, element, fieldPath, get, post, rgb, say } from "./api.js";
import { address, showRegions } from "./regions.js";

const KEY = "order"; // of the session: the field page goes through the fields in the order of the gallery
const number = (v) => (v === null || v === undefined ? "-" : Number.isInteger(v) ? String(v) : v.toPrecision(4));

function columns(types) {
  return [
    { title: "", cell: (f) => element("img", { src: `${fieldPath(f.field)}/thumbnail`, loading: "lazy", alt: "" }) },
    { title: "field", key: (f) => f.field, text: true },
    { title: "nuclei", key: (f) => f.cells },
    { title: "per mm²", key: (f) => f.per_mm2 },
    { title: "mm²", key: (f) => f.area_mm2 },
    { title: "uncertainty", key: (f) => f.uncertainty },
    ...types.map((t) => ({ title: t.name, color: t.color, key: (f) => f.types[t.name] ?? 0 })),
    { title: "corrections", key: (f) => f.corrections },
    { title: "checked", key: (f) => f.checked, text: true },
  ];
}

// Lets the server open a field before it is clicked.
export function prepare(name) {
  if (name !== undefined) get(fieldPath(name)).catch(() => {}); // the click will say what is wrong
}

export function ordered() {
  return JSON.parse(sessionStorage.getItem(KEY) || "[]");
}

async function updateTables(button, root) {
  button.disabled = true;
  try {
    await post("api/correct", {});
  } finally {
    button.disabled = false;
  }
  for (const part of ["thead tr", "tbody"]) root.querySelector(part).replaceChildren();
  await showGallery(root);
}

export async function showGallery(root) {
  const { folder, fields, types, look_at: regions } = await get("api/fields");
  document.title = `${folder} - dedl-fastai view`;
  const nuclei = fields.reduce((sum, f) => sum + f.cells, 0);
  root.querySelector("h1").textContent = `${folder}: ${fields.length} fields, ${nuclei} nuclei`;
  const button = root.querySelector(".correct");
  const behind = fields.filter((f) => f.is_behind).length;
  button.hidden = !behind;
  button.textContent = `update tables (${behind} behind their corrections)`;
  button.onclick = () => updateTables(button, root).catch((error) => say(error.message));
  showRegions(root.querySelector(".regions"), regions);
  const all = columns(types);
  const body = root.querySelector("tbody");
  const heads = all.map((column) => {
    const swatch = column.color ? [element("i", { className: "swatch", style: `background:${rgb(column.color)}` })] : [];
    const head = element("th", { className: column.text ? "text" : "" }, ...swatch, column.title);
    if (column.key) head.onclick = () => sortBy(column);
    return head;
  });
  root.querySelector("thead tr").append(...heads);

  const rows = new Map(fields.map((f) => {
    const cells = all.map((c) => element("td", { className: c.text ? "text" : "" },
      c.cell ? c.cell(f) : c.text ? c.key(f) : number(c.key(f))));
    const row = element("tr", {}, ...cells);
    row.dataset.field = f.field;
    row.onpointerenter = calm(() => prepare(f.field), 60);
    row.onclick = () => { location.hash = address(f.field); };
    return [f, row];
  }));

  let sorted = null;
  let down = true;
  function sortBy(column) {
    down = sorted === column ? !down : !column.text;
    sorted = column;
    const value = (f) => column.key(f) ?? -1;
    const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
    const order = [...fields].sort((a, b) => (down ? compare(b, a) : compare(a, b)));
    body.replaceChildren(...order.map((f) => rows.get(f)));
    heads.forEach((head, i) => head.classList.toggle("sorted", all[i] === column));
    sessionStorage.setItem(KEY, JSON.stringify(order.map((f) => f.field)));
  }
  sortBy(all.find((c) => c.title === "uncertainty"));
  prepare(ordered()[0]);
}
