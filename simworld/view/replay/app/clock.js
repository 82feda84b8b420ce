// The one clock of the page: it plays through the steps and waits for what is not loaded yet.

/** Steps a second one can choose. */
export const SPEEDS = [0.5, 1, 2, 4, 8, 16, 30, 60];
const PLAY_S = 25; // a run is played in about so many seconds unless a speed is chosen; arbitrary

export class Clock {
  /** ready(): whether what is shown has caught up with the state. */
  constructor(app, ready) {
    this.app = app;
    this.ready = ready;
    this.before = 0;
    this.owed = 0;
    app.store.on((state, changed) => {
      if (changed.has("playing") && state.playing) this.start();
    });
  }

  /** The last step of the longest run shown. */
  get last() {
    return Math.max(0, ...this.app.runs.map((run) => run.steps));
  }

  suggestedSpeed() {
    const wanted = this.last / PLAY_S;
    return SPEEDS.find((speed) => speed >= wanted && speed >= 1) || SPEEDS.at(-1);
  }

  /** Goes to a step, within the run; whoever moves the clock by hand stops it, unless told otherwise. */
  go(step, shouldStop = true) {
    const patch = { step: Math.max(0, Math.min(this.last, Math.round(step))) };
    if (shouldStop) patch.playing = false;
    this.app.store.set(patch);
  }

  by(steps) {
    this.go(this.app.store.state.step + steps);
  }

  toggle() {
    const { state } = this.app.store;
    if (!state.playing && state.step >= this.last) this.app.store.set({ step: 0, playing: true });
    else this.app.store.set({ playing: !state.playing });
  }

  faster(by) {
    const at = SPEEDS.indexOf(this.app.store.state.speed);
    this.app.store.set({ speed: SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, (at < 0 ? 3 : at) + by))] });
  }

  start() {
    this.before = performance.now();
    this.owed = 0;
    requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    const { state } = this.app.store;
    if (!state.playing) return;
    // A tab that was in the background does not leap; time spent waiting for data is not made up for.
    const passed = Math.min(250, Math.max(0, now - this.before));
    this.before = now;
    if (this.ready()) this.owed += (passed / 1000) * state.speed;
    if (this.owed >= 1) {
      const steps = Math.floor(this.owed);
      this.owed -= steps;
      const next = Math.min(this.last, state.step + steps);
      const isLive = this.app.runs.some((run) => run.head.is_growing);
      this.app.store.set({ step: next, playing: next < this.last || isLive });
    }
    requestAnimationFrame((later) => this.tick(later));
  }
}
