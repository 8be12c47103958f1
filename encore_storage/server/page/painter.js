// Paints in an animation frame, at most once per second.

export class Painter {
  constructor(paint, interval = 1000) {
    this._paint = paint;
    this._interval = interval;
    this._last = -Infinity;
    this._isDue = false;
  }

  /** Schedules a paint for the next possible frame. A hidden page is not painted. */
  request() {
    if (this._isDue) return;
    this._isDue = true;
    const wait = this._last + this._interval - performance.now();
    if (wait > 0) setTimeout(() => this._inNextFrame(), wait);
    else this._inNextFrame();
  }

  _inNextFrame() {
    requestAnimationFrame(() => {
      this._isDue = false;
      this._paint();
      this._last = performance.now();
    });
  }
}
