// The timeline: play and step, the steps with their marks, the chosen metric behind them.

import { SPEEDS } from "./clock.js";
import { css, fill, h, icon, num, plural, shorten, whole } from "./dom.js";

const ICONS = {
  play: "M4 2 L14 8 L4 14 Z", pause: "M3 2 H7 V14 H3 Z M9 2 H13 V14 H9 Z", back: "M12 3 L5 8 L12 13 Z M3 3 H4.6 V13 H3 Z", forward: "M4 3 L11 8 L4 13 Z M11.4 3 H13 V13 H11.4 Z",
  first: "M14 3 L8.5 8 L14 13 Z M8.5 3 L3 8 L8.5 13 Z M1.6 3 H3 V13 H1.6 Z", last: "M2 3 L7.5 8 L2 13 Z M7.5 3 L13 8 L7.5 13 Z M13 3 H14.4 V13 H13 Z",
  markBack: "M10.5 2 L12 3.5 L7.5 8 L12 12.5 L10.5 14 L4.5 8 Z", markNext: "M5.5 2 L4 3.5 L8.5 8 L4 12.5 L5.5 14 L11.5 8 Z",
};
const TICK_GAP = 5; // px; marks nearer than this share one tick
const NEAR_PX = 7;
const TIP_LINES = 6;
const CHART_TOP = 6;

export class Timeline {
  constructor(app, clock) {
    this.app = app;
    this.clock = clock;
    this.marks = [];
    this.curves = [];
    this.wanted = -1;
    this.build();
    app.store.on((state, changed) => this.update(state, changed));
  }

  build() {
    const { clock } = this;
    const button = (name, picture, words, act) => {
      const element = h("button", { type: "button", class: `clock-button clock-${name}`, title: words, "aria-label": words, onClick: act }, icon(ICONS[picture]));
      // Pressed with a mouse it does not take the keys away from the page.
      element.addEventListener("mousedown", (event) => event.preventDefault());
      return element;
    };
    this.play = button("play", "play", "Play (space)", () => clock.toggle());
    this.speed = h(
      "select", { class: "speed", title: "Steps a second (< and >)", "aria-label": "Speed, in steps a second", onChange: () => this.app.store.set({ speed: Number(this.speed.value) }) },
      SPEEDS.map((speed) => h("option", { value: speed }, `${speed}/s`)),
    );
    this.number = h("input", {
      class: "step-number", type: "number", min: 0, step: 1, value: 0, "aria-label": "Step", onChange: () => clock.go(Number(this.number.value) || 0),
      onKeydown: (event) => event.key === "Enter" && (clock.go(Number(this.number.value) || 0), this.number.blur()),
    });
    this.total = h("span", { class: "step-total" });
    this.live = h("button", { type: "button", class: "live", hidden: true, title: "The run is still going: go to its newest step and stay there", onClick: () => this.app.follow(true) }, "● live");
    this.jump = h("select", { class: "jump", "aria-label": "Jump to a moment", onChange: () => this.jumpTo(this.jump.value) });
    this.metric = h("select", { class: "metric", "aria-label": "Metric behind the timeline", onChange: () => this.app.store.set({ metric: this.metric.value }) });
    this.value = h("output", { class: "metric-value" });
    this.chart = h("canvas", { class: "chart" });
    this.ticks = h("div", { class: "ticks" });
    this.head = h("div", { class: "playhead" }, h("div", { class: "grip" }));
    this.tip = h("div", { class: "tip", hidden: true, role: "tooltip" });
    this.track = h("div", {
      class: "track", role: "slider", tabindex: 0, "aria-label": "Step", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
    }, this.chart, this.ticks, this.head);
    this.element = h(
      "section", { class: "timeline", "aria-label": "Timeline" },
      h(
        "div", { class: "controls" },
        button("first", "first", "First step (Home)", () => clock.go(0)), button("back", "back", "Step back (←)", () => clock.by(-1)), this.play,
        button("forward", "forward", "Step forward (→)", () => clock.by(1)), button("last", "last", "Last step (End)", () => clock.go(clock.last)),
        this.speed, h("label", { class: "step-label" }, "step ", this.number), this.total, this.live,
        h("span", { class: "spacer" }),
        button("mark-back", "markBack", "Previous moment (p)", () => this.toMark(-1)), this.jump, button("mark-next", "markNext", "Next moment (n)", () => this.toMark(1)),
        h("span", { class: "metric-choice" }, this.metric, this.value),
      ),
      h("div", { class: "track-place" }, this.track, this.tip),
    );
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.track);
  }

  update(state, changed) {
    if (["run", "head", "first"].some((word) => changed.has(word))) this.load();
    else if (changed.has("metric")) this.loadCurves();
    else if (changed.has("theme")) this.draw();
    if (changed.has("playing")) {
      fill(this.play, icon(ICONS[state.playing ? "pause" : "play"]));
      const words = state.playing ? "Pause (space)" : "Play (space)";
      this.play.title = words;
      this.play.setAttribute("aria-label", words);
      this.play.classList.toggle("on", state.playing);
    }
    if (changed.has("speed")) this.speed.value = String(state.speed);
    if (["step", "head", "first"].some((word) => changed.has(word))) this.place();
  }

  place() {
    const { step } = this.app.store.state;
    const last = this.clock.last;
    const share = last > 0 ? step / last : 0;
    this.head.style.setProperty("left", `${(share * 100).toFixed(3)}%`);
    if (document.activeElement !== this.number) this.number.value = String(step);
    this.number.max = String(last);
    this.total.textContent = `of ${whole(last)}`;
    this.track.setAttribute("aria-valuemax", String(last));
    this.track.setAttribute("aria-valuenow", String(step));
    const here = this.marks.filter((mark) => mark.step === step).map((mark) => mark.label);
    this.track.setAttribute("aria-valuetext", [`step ${step} of ${last}`, ...here.slice(0, 3)].join("; "));
    const isLive = this.app.runs.some((run) => run.head.is_growing);
    this.live.hidden = !isLive;
    this.live.classList.toggle("on", isLive && step >= last);
    this.showValue();
  }

  async load() {
    const { main } = this.app;
    if (!main) return;
    const { metrics } = main.head;
    const groups = new Map();
    for (const name of metrics) {
      const cut = name.indexOf(".");
      const group = cut < 0 ? "of the scenario" : name.slice(0, cut);
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(name);
    }
    fill(
      this.metric, h("option", { value: "" }, metrics.length ? "no metric behind" : "this run has no metrics"),
      [...groups].map(([group, names]) => h("optgroup", { label: group.replaceAll("_", " ") }, names.map((name) => h("option", { value: name }, name.replaceAll("_", " "))))),
    );
    this.loadCurves();
    try {
      this.marks = (await main.marks()).filter((mark) => mark.step >= 0 && mark.step <= this.clock.last).sort((a, b) => a.step - b.step);
    } catch {
      // The graph says what is wrong with the run; without marks the timeline still works.
      this.marks = [];
    }
    fill(
      this.jump, h("option", { value: "" }, this.marks.length ? `jump to… (${plural(this.marks.length, "moment")})` : "no marked moments"),
      this.marks.slice(0, 500).map((mark, i) => h("option", { value: i }, `step ${mark.step}: ${shorten(mark.label, 70)}`)),
    );
    this.jump.disabled = this.marks.length === 0;
    this.draw();
    this.place();
  }

  async loadCurves() {
    const { metric } = this.app.store.state;
    this.metric.value = metric;
    const curves = [];
    for (const run of this.app.shownRuns()) {
      if (!metric || !run.head.metrics.includes(metric)) continue;
      try {
        const { step, columns } = await run.metrics();
        if (columns[metric]) curves.push({ run, step, values: columns[metric] });
      } catch {
        // As above.
      }
    }
    if (metric !== this.app.store.state.metric) return;
    this.curves = curves;
    this.draw();
    this.showValue();
  }

  valueAt(curve, step) {
    let low = 0;
    let high = curve.step.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (curve.step[middle] === step) return curve.values[middle];
      if (curve.step[middle] < step) low = middle + 1;
      else high = middle - 1;
    }
    return NaN;
  }

  showValue() {
    const { step } = this.app.store.state;
    this.value.textContent = this.curves.length ? this.curves.map((curve) => num(this.valueAt(curve, step))).join(" · ") : "";
  }

  draw() {
    const width = this.track.clientWidth;
    const height = this.track.clientHeight;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    this.chart.width = Math.round(width * scale);
    this.chart.height = Math.round(height * scale);
    const context = this.chart.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const last = Math.max(1, this.clock.last);
    this.drawScale(context, width, height, last);
    let low = Infinity;
    let high = -Infinity;
    for (const { values } of this.curves) {
      for (const value of values) {
        if (!Number.isFinite(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low <= high) {
      // Counts and shares are read from zero, unless that hides the movement.
      if (low > 0 && low < high * 0.5) low = 0;
      const base = height - 17;
      const y = (value) => (high > low ? base - ((value - low) / (high - low)) * (base - CHART_TOP) : (base + CHART_TOP) / 2);
      const colours = [css("curve"), css("curve-other")];
      this.curves.forEach((curve, k) => {
        context.beginPath();
        let isOpen = false;
        for (let i = 0; i < curve.step.length; i++) {
          const value = curve.values[i];
          if (!Number.isFinite(value)) {
            isOpen = false;
            continue;
          }
          const x = (curve.step[i] / last) * width;
          if (isOpen) context.lineTo(x, y(value));
          else context.moveTo(x, y(value));
          isOpen = true;
        }
        context.strokeStyle = colours[k] || colours[0];
        context.lineWidth = 1.5;
        context.stroke();
      });
      context.fillStyle = css("faint");
      context.strokeStyle = css("tint");
      context.lineWidth = 3;
      context.font = "10px system-ui, sans-serif";
      context.textAlign = "left";
      const write = (words, at, baseline) => {
        context.textBaseline = baseline;
        context.strokeText(words, 4, at);
        context.fillText(words, 4, at);
      };
      write(num(high), 2, "top");
      if (high > low) write(num(low), base, "bottom");
    }
    this.drawTicks(width, last);
  }

  drawScale(context, width, height, last) {
    const rough = last / Math.max(2, width / 90);
    const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
    const apart = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) || power * 10);
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "bottom";
    context.lineWidth = 1;
    for (let step = 0; step <= last; step += apart) {
      const x = (step / last) * width;
      context.strokeStyle = css("line");
      context.beginPath();
      context.moveTo(Math.round(x) + 0.5, 0);
      context.lineTo(Math.round(x) + 0.5, height - 14);
      context.stroke();
      context.fillStyle = css("faint");
      context.textAlign = x < 8 ? "left" : x > width - 12 ? "right" : "center";
      context.fillText(whole(step), Math.max(1, Math.min(width - 1, x)), height - 1);
    }
  }

  drawTicks(width, last) {
    const ticks = [];
    for (const mark of this.marks) {
      const x = (mark.step / last) * width;
      const before = ticks.at(-1);
      if (before && x - before.x < TICK_GAP) before.marks.push(mark);
      else ticks.push({ x, marks: [mark] });
    }
    this.shownTicks = ticks;
    fill(this.ticks, ticks.map(({ x, marks }) => h("span", { class: `tick ${marks.some((mark) => mark.kind !== "rare") ? "strong" : ""}`, style: { left: `${((100 * x) / width).toFixed(3)}%` } })));
  }

  /** To the next marked moment (1) or the one before (-1). */
  toMark(by) {
    const { step } = this.app.store.state;
    const found = by > 0 ? this.marks.find((mark) => mark.step > step) : this.marks.findLast((mark) => mark.step < step);
    if (found) this.toMoment(found);
  }

  jumpTo(i) {
    this.jump.value = "";
    if (i !== "" && this.marks[Number(i)]) this.toMoment(this.marks[Number(i)]);
  }

  toMoment(mark) {
    const patch = { step: mark.step, playing: false };
    if (mark.agent >= 0) patch.agent = mark.agent;
    if (mark.row >= 0) {
      patch.event = mark.row;
      // Who jumps to what somebody did wants to see why.
      if (!["agent", "feed"].includes(this.app.store.state.tab)) patch.tab = "agent";
    }
    this.app.store.set(patch);
    if (mark.agent >= 0) this.app.reveal(mark.agent);
    this.app.announce(`step ${mark.step}: ${mark.label}`);
  }

  listen() {
    let isDragging = false;
    const stepAt = (event) => {
      const box = this.track.getBoundingClientRect();
      return Math.round(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * this.clock.last);
    };
    // However often the pointer reports, the clock moves once a frame.
    const move = (step) => {
      if (this.wanted < 0) {
        requestAnimationFrame(() => {
          const wanted = this.wanted;
          this.wanted = -1;
          this.clock.go(wanted);
        });
      }
      this.wanted = step;
    };
    this.track.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      isDragging = true;
      this.app.isScrubbing = true;
      this.track.setPointerCapture(event.pointerId);
      move(stepAt(event));
    });
    this.track.addEventListener("pointermove", (event) => {
      if (isDragging) move(stepAt(event));
      this.showTip(event, stepAt(event));
    });
    const end = () => {
      isDragging = false;
      this.app.isScrubbing = false;
    };
    this.track.addEventListener("pointerup", end);
    this.track.addEventListener("pointercancel", end);
    this.track.addEventListener("pointerleave", () => (this.tip.hidden = true));
  }

  showTip(event, step) {
    const box = this.track.getBoundingClientRect();
    const x = event.clientX - box.left;
    const near = (this.shownTicks || []).filter((tick) => Math.abs(tick.x - x) <= NEAR_PX).flatMap((tick) => tick.marks);
    const values = this.curves.map((curve) => num(this.valueAt(curve, step))).join(" · ");
    fill(
      this.tip, h("strong", {}, `step ${whole(step)}`), this.curves.length ? h("div", { class: "tip-value" }, `${this.app.store.state.metric}: ${values}`) : null,
      near.slice(0, TIP_LINES).map((mark) => h("div", {}, `${mark.step === step ? "" : `step ${mark.step}: `}${shorten(mark.label, 80)}`)),
      near.length > TIP_LINES ? h("div", { class: "tip-value" }, `and ${plural(near.length - TIP_LINES, "more moment")}`) : null,
    );
    this.tip.hidden = false;
    this.tip.style.setProperty("left", `${Math.max(0, Math.min(x - this.tip.offsetWidth / 2, box.width - this.tip.offsetWidth))}px`);
  }
}
