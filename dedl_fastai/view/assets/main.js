// The page: the gallery, or the field that the address names after #/.

import { say } from "./api.js";
import { FieldPage } from "./field.js";
import { showGallery } from "./gallery.js";

const page = document.getElementById("page");
let current = null;

async function show() {
  current?.close();
  current = null;
  const name = decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  const template = document.getElementById(name ? "field-template" : "gallery-template");
  page.replaceChildren(template.content.cloneNode(true));
  try {
    if (name) {
      current = new FieldPage(page.firstElementChild, name);
      await current.open();
    } else {
      await showGallery(page.firstElementChild);
    }
  } catch (error) {
    say(error.message);
  }
}

addEventListener("hashchange", show);
show();
