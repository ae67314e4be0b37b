// The page: the gallery, or the field, and a region of it, that the address names after #/.

import { say } from "./api.js";
import { FieldPage } from "./field.js";
import { showGallery } from "./gallery.js";
import { addressed } from "./regions.js";

const page = document.getElementById("page");
let current = null;

async function show() {
  current?.close();
  current = null;
  const [name, region] = addressed(location.hash);
  const template = document.getElementById(name ? "field-template" : "gallery-template");
  page.replaceChildren(template.content.cloneNode(true));
  try {
    if (name) {
      current = new FieldPage(page.firstElementChild, name, region);
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
