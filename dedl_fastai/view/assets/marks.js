// What is drawn over the picture: the nucleus under the pointer, selected ones, checked regions, the line being drawn.

export class Marks {
  constructor(canvas, picture) {
    this.canvas = canvas;
    this.picture = picture;
    this.hovered = null; // an outline
    this.selected = []; // outlines
    this.checks = []; // { action, points }
    this.region = null; // the corners of the region that is to be corrected
    this.drawing = null; // points
    this.isClosed = false; // whether the drawing is an outline
    for (const event of ["animation", "open", "resize", "update-viewport"]) {
      picture.viewer.addHandler(event, () => this.draw());
    }
  }

  draw() {
    const { canvas, picture } = this;
    if (!picture.shown.tiles) return;
    const ratio = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== width * ratio || canvas.height !== height * ratio) {
      Object.assign(canvas, { width: width * ratio, height: height * ratio });
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#drawChecks(context);
    if (this.region) this.#drawRegion(context);
    if (this.hovered) this.#stroke(context, this.hovered, "#ffffff", 1.5, true);
    for (const outline of this.selected) this.#stroke(context, outline, "#ffffff", 3, true);
    if (this.drawing) this.#stroke(context, this.drawing, "#ff4fd8", 2, this.isClosed);
  }

  #path(points, close) {
    const path = new Path2D();
    for (const point of points) path.lineTo(...this.picture.toScreen(point));
    if (close) path.closePath();
    return path;
  }

  #stroke(context, points, color, width, close) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.stroke(this.#path(points, close));
  }

  #drawRegion(context) {
    context.setLineDash([8, 6]);
    this.#stroke(context, this.region, "#ffd24d", 2, true);
    context.setLineDash([]);
  }

  #drawChecks(context) {
    const { width, height } = this.picture.about;
    const whole = [[0, 0], [width, 0], [width, height], [0, height]];
    for (const { action, points } of this.checks) {
      const path = this.#path(points ?? whole, true);
      context.globalCompositeOperation = action === "check" ? "source-over" : "destination-out";
      context.fillStyle = action === "check" ? "#00d26a26" : "#000";
      if (points || action === "uncheck") context.fill(path); // a whole field has a green rim only
      context.globalCompositeOperation = "source-over";
      if (action === "check") {
        context.strokeStyle = "#00d26a";
        context.lineWidth = 2;
        context.stroke(path);
      }
    }
  }
}
