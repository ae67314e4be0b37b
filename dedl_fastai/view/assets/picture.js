// The picture of a field: OpenSeadragon with two stacks of tiles, the image and the outlines above it.

import { fieldPath } from "./api.js";

export class Picture {
  constructor(root) {
    this.about = null; // what the server says of the field, before anything is shown
    this.shown = { tiles: null, outlines: null }; // the newest TiledImage of each stack
    this.queries = {};
    this.viewer = OpenSeadragon({
      element: root,
      drawer: "canvas",
      showNavigationControl: false,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      animationTime: 0.3,
      maxZoomPixelRatio: 24,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.3,
      preserveImageSizeOnResize: true,
      imageLoaderLimit: 6,
      immediateRender: true,
      maxTilesPerFrame: 16,
      minPixelRatio: 0.75, // a level may be enlarged by a half before the next one, with four times as many tiles, is read
      blendTime: 0,
      crossOriginPolicy: false,
    });
    this.viewer.innerTracker.keyHandler = null; // its keys (r, f, wasd) are not ours
    this.viewer.innerTracker.keyDownHandler = null;
  }

  // Shows a stack with this query; the earlier tiles stay until the new ones are there.
  show(kind, query) {
    if (this.queries[kind] === query) return Promise.resolve();
    this.queries[kind] = query;
    return this.#replace(kind);
  }

  #source(kind) {
    const { width, height, tile, levels, name } = this.about;
    const query = this.queries[kind];
    const path = `${fieldPath(name)}/${kind}`;
    const getTileUrl = (level, x, y) => `${path}/${levels - level}/${x}/${y}?${query}`;
    return { width, height, tileSize: tile, tileOverlap: 0, minLevel: 0, maxLevel: levels, getTileUrl };
  }

  #replace(kind) {
    const world = this.viewer.world;
    const query = this.queries[kind];
    const old = this.shown[kind];
    const index = kind === "tiles" && this.shown.outlines ? world.getIndexOfItem(this.shown.outlines) : undefined;
    return new Promise((resolve) => {
      this.viewer.addTiledImage({
        tileSource: this.#source(kind),
        index: index === undefined ? undefined : Math.max(index, 0),
        success: ({ item }) => {
          if (this.queries[kind] !== query) { // a newer one was asked for
            world.removeItem(item);
            resolve();
            return;
          }
          item.kind = kind;
          this.shown[kind] = item;
          const finish = () => {
            for (let i = world.getItemCount() - 1; i >= 0; i--) {
              const other = world.getItemAt(i);
              if (other.kind === kind && other !== this.shown[kind]) world.removeItem(other);
            }
            resolve();
          };
          if (!old || item.getFullyLoaded()) finish();
          else item.addOnceHandler("fully-loaded-change", finish);
        },
        error: resolve,
      });
    });
  }

  setOpacity(kind, opacity) {
    this.shown[kind]?.setOpacity(opacity);
  }

  toField(position) { // of the viewer's element, to pixels of the field
    const point = this.shown.tiles.viewerElementToImageCoordinates(position);
    return [point.x, point.y];
  }

  toScreen([x, y]) {
    const point = this.shown.tiles.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
    return [point.x, point.y];
  }

  get screenPixelsPerPixel() {
    return this.shown.tiles.viewportToImageZoom(this.viewer.viewport.getZoom(true));
  }

  goTo(x, y, width) { // shows a place with `width` pixels of the field across
    const item = this.shown.tiles;
    const height = width * this.viewer.container.clientHeight / this.viewer.container.clientWidth;
    const box = item.imageToViewportRectangle(x - width / 2, y - height / 2, width, height);
    this.viewer.viewport.fitBounds(box, true);
  }

  close() {
    this.viewer.destroy();
  }
}
