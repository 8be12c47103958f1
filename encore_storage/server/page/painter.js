// When to paint: in a frame of the browser, and at most once a second.

export class Painter {
  constructor(paint, interval = 1000) {
    this._paint = paint;
    this._interval = interval;
    this._last = -Infinity;
    this._isDue = false;
  }

  /** Has what is new painted as soon as may be; while the page is hidden, not at all. */
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
