// The graph of one run at the clock's step: ties on one canvas, agents on a second, what happens now on a third.

import { css, fill, h, num, plural, shorten, whole } from "./dom.js";
import { HIDDEN, paintOf, rgbOf, sequential, tieColour } from "./palette.js";
import { DiscRaster, LineRaster } from "./raster.js";

const MANY_AGENTS = 1500; // from here on agents are drawn as pixels, as MANY_TIES ties are
const MANY_TIES = 4000;
const MOST_PIXELS = 2.5e6; // of a pixel layer: a sharper one would cost more than it shows
const MOST_MESSAGES = 1500; // drawn in one step; the legend says when there are more
const LABELS = 60;
const NEIGHBOUR_LABELS = 20;
const LEGEND_ROWS = 10;
const NARROW_ROWS = 5;
const NARROW_PX = 560;
const GRAPH_MARGIN = 34;
const STRETCH = 1.45; // a wide window may pull the layout so far apart
const ZOOM_STEP = 1.3;
const MOST_ZOOM = 60;
const CLICK_PX = 4;
const TRAITS_AGAIN_MS = 3000;
const MOST_ASKED = 60;
const OTHERS_ALPHA = 0.28; // of what happens elsewhere while an agent is selected
const SETTLE_MS = 450;
const FRAMES_KEPT = 1000;

/** A name for people of what colours or sizes: "column:balance" is "balance". */
export function fieldWords(field) {
  const cut = field.indexOf(":");
  return (cut < 0 ? field : field.slice(cut + 1)).replaceAll("_", " ");
}

export class GraphView {
  constructor(app, model) {
    this.app = app;
    this.model = model;
    this.view = { zoom: 1, x: 0, y: 0 };
    this.inset = { left: 0, bottom: 0 };
    this.viewVersion = 0;
    this.layoutNow = null;
    this.asked = 0;
    this.drawn = 0;
    this.shown = -1;
    this.hover = -1;
    this.hiddenKinds = new Set();
    this.layers = { messages: true, changes: true };
    this.ranges = new Map();
    this.traitsAsked = 0;
    this.scene = null;
    this.ties = { n: 0, source: new Int32Array(0), target: new Int32Array(0), kind: new Uint8Array(0), weight: new Float32Array(0) };
    this.linesSeen = null;
    this.lines = new LineRaster();
    this.discs = new DiscRaster();
    this.dirty = new Set();
    this.costs = { ties: 0, agents: 0, over: 0, frames: [] };
    this.build();
  }

  build() {
    this.tiesCanvas = h("canvas", { class: "layer" });
    this.agentsCanvas = h("canvas", { class: "layer" });
    this.overCanvas = h("canvas", { class: "layer" });
    this.tip = h("div", { class: "tip", hidden: true, role: "tooltip" });
    this.legend = h("div", { class: "legend", role: "group", "aria-label": "Legend" });
    this.note = h("p", { class: "graph-note", hidden: true, role: "status" });
    this.caption = h("div", { class: "graph-caption" });
    const tool = (sign, words, act) => h("button", { type: "button", class: "tool", title: words, "aria-label": words, onClick: act }, sign);
    this.stage = h("div", { class: "stage", tabindex: 0, role: "application", "aria-roledescription": "graph" }, this.tiesCanvas, this.agentsCanvas, this.overCanvas);
    this.element = h(
      "section", { class: "graph", "aria-label": `Graph of ${this.model.head.title || this.model.head.name}` },
      this.stage, this.caption, this.legend, this.tip, this.note,
      h(
        "div", { class: "tools" }, tool("+", "Zoom in (+)", () => this.zoomBy(ZOOM_STEP)), tool("−", "Zoom out (-)", () => this.zoomBy(1 / ZOOM_STEP)),
        tool("⤢", "Show everything (0)", () => this.fit()),
      ),
    );
    new ResizeObserver(() => this.resize()).observe(this.stage);
    this.listen();
  }

  /** Whether what is on the screen is the state's step. */
  isReady() {
    return this.shown === this.app.store.state.step || this.failed;
  }

  get isMain() {
    return this.app.store.state.run === this.model.index;
  }

  // What is shown ------------------------------------------------------------------------------------------------------------

  /** Takes places from the server; asks again while they are only a first sketch. */
  async loadLayout() {
    try {
      const { x, y, isFinal } = await this.model.layout();
      const old = this.layoutNow;
      const isSame = old && old.x.length === x.length;
      if (isSame && x.length <= 3000 && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.settle(old, { x, y });
      else this.layoutNow = { x, y };
      if (!old) this.resize();
      this.place();
      if (!isFinal) setTimeout(() => this.loadLayout(), 2000);
    } catch (error) {
      this.say(error.message);
    }
  }

  settle(from, to) {
    const began = performance.now();
    const mixed = { x: Float32Array.from(from.x), y: Float32Array.from(from.y) };
    this.layoutNow = mixed;
    const move = (now) => {
      if (this.layoutNow !== mixed) return;
      const t = Math.min(1, Math.max(0, (now - began) / SETTLE_MS));
      const part = t * t * (3 - 2 * t);
      for (let i = 0; i < to.x.length; i++) {
        mixed.x[i] = from.x[i] + (to.x[i] - from.x[i]) * part;
        mixed.y[i] = from.y[i] + (to.y[i] - from.y[i]) * part;
      }
      if (t < 1) requestAnimationFrame(move);
      else this.layoutNow = to;
      this.place();
    };
    requestAnimationFrame(move);
  }

  async valuesOf(field, step) {
    if (!field) return null;
    if (field.startsWith("column:")) {
      const column = await this.model.column(field.slice(7), step);
      return { ...column, range: this.rangeOf(field, column) };
    }
    // The graph does not wait for traits: communities of a large society take seconds to find.
    const name = field.startsWith("trait:") ? field.slice(6) : field;
    const trait = this.model.traitsNow && this.model.traitsNow[name];
    if (!trait) this.awaitTraits(name);
    return trait ? { ...trait, range: this.rangeOf(field, trait) } : null;
  }

  async awaitTraits(name) {
    if (this.isAwaiting) return;
    this.isAwaiting = true;
    try {
      const found = await this.model.traits();
      if (found[name]) this.load();
      else if (!this.model.head.is_growing && this.traitsAsked++ < MOST_ASKED) setTimeout(() => this.load(), TRAITS_AGAIN_MS);
      else this.showLegend();
    } catch (error) {
      this.say(error.message);
    } finally {
      this.isAwaiting = false;
    }
  }

  /** Lowest and highest value: of the whole run where its columns say so, else of the chunks seen so far, a short run's only one. */
  rangeOf(field, { values, labels, block }) {
    if (labels) return null;
    const said = block && block.header.range;
    if (Array.isArray(said) && said.every(Number.isFinite)) return said;
    let range = this.ranges.get(field);
    if (!range) this.ranges.set(field, (range = { low: Infinity, high: -Infinity, seen: new WeakSet() }));
    for (const part of block ? [block.columns.key, block.columns.value] : [values]) {
      if (range.seen.has(part)) continue;
      range.seen.add(part);
      for (let i = 0; i < part.length; i++) {
        if (part[i] < range.low) range.low = part[i];
        if (part[i] > range.high) range.high = part[i];
      }
    }
    return range.low <= range.high ? [range.low, range.high] : [0, 0];
  }

  update(changed) {
    if (changed.has("head")) {
      if (this.layoutNow && this.layoutNow.x.length !== this.model.n) this.loadLayout();
    }
    if (["step", "color", "size", "head", "event", "first"].some((word) => changed.has(word))) this.load();
    else if (changed.has("theme")) this.repaint();
    else if (changed.has("agent") || changed.has("run")) this.mark("over");
  }

  /** Gathers the step and draws it. A later step that is already drawn is not undone by an earlier one that arrives late. */
  async load() {
    const asked = ++this.asked;
    const { step, color, size, event } = this.app.store.state;
    const at = Math.min(step, this.model.steps);
    const hasAlive = this.model.head.tables.agents.some((column) => column.name === "alive");
    const slow = setTimeout(() => this.element.classList.add("loading"), 200);
    try {
      const [colour, sizes, alive, events, changes, chosen] = await Promise.all([
        this.valuesOf(color, at), this.valuesOf(size, at), hasAlive ? this.model.column("alive", at) : null,
        this.model.eventColumns(at), this.model.tieChanges(at), event >= 0 ? this.model.event(event) : null,
      ]);
      if (asked < this.drawn) return;
      await this.model.tiesNow(at, (state) => {
        if (asked < this.drawn) return;
        this.drawn = asked;
        this.scene = { step: at, color, size, colour, sizes, alive, events, changes, chosen };
        this.failed = false;
        this.takeTies(state);
        this.takeScene();
        this.shown = step;
      });
      if (asked === this.asked) this.say(step > this.model.steps && !this.model.head.is_growing ? `This run ended at step ${whole(this.model.steps)}.` : "");
    } catch (error) {
      if (asked === this.asked) {
        this.failed = true;
        this.say(error.message);
      }
    } finally {
      clearTimeout(slow);
      if (asked === this.asked) this.element.classList.remove("loading");
    }
  }

  say(words) {
    this.note.hidden = !words;
    this.note.textContent = words;
  }

  get isDark() {
    return document.documentElement.dataset.shade === "dark";
  }

  takeScene() {
    const { colour, sizes, alive } = this.scene;
    const { n } = this.model;
    this.paint = paintOf(colour, n, this.isDark, colour && colour.range);
    this.rgb = this.paint.palette.map(rgbOf);
    // Fewer agents are drawn larger, and more so in a larger picture; the figures are a matter of looks.
    const radius = Math.max(2.1, Math.min(9, 30 / n ** 0.28)) * Math.max(1, Math.min(1.8, Math.sqrt(Math.min(this.width || 0, this.height || 0) / 640)));
    this.baseRadius = radius;
    this.radii = null;
    if (sizes && !sizes.labels) {
      const [low, high] = sizes.range;
      this.radii = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        // By area: from a third of the usual disc to four times.
        const share = high > low ? (sizes.values[i] - low) / (high - low) : 0;
        this.radii[i] = radius * Math.sqrt(0.33 + 3.7 * (share > 0 ? Math.min(1, share) : 0));
      }
    }
    this.gone = null;
    if (alive && alive.labels) {
      for (let i = 0; i < n; i++) {
        const code = alive.values[i];
        if (code === alive.none) this.paint.index[i] = HIDDEN;
        else if (code === 0 && alive.labels[0] === "false") (this.gone ||= new Uint8Array(n))[i] = 1;
      }
    }
    this.mark("agents", "over");
    this.showLegend();
    this.describe();
    if (this.hover >= 0) this.showTip();
  }

  describe() {
    const { head } = this.model;
    this.stage.setAttribute(
      "aria-label", `${plural(this.model.n, "agent")} and ${plural(this.ties.n, "tie")} at step ${whole(this.scene.step)} of ${whole(head.steps)}. Drag to move, + and - to zoom, 0 to show everything, click an agent to select it.`,
    );
  }

  // Drawing ------------------------------------------------------------------------------------------------------------------

  mark(...layers) {
    if (this.dirty.size === 0) requestAnimationFrame(() => this.draw());
    for (const layer of layers) this.dirty.add(layer);
  }

  repaint() {
    if (!this.scene) return;
    this.linesSeen = null;
    this.takeScene();
    this.mark("ties", "agents", "over");
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || !height) return;
    this.width = width;
    this.height = height;
    this.isNarrow = width < NARROW_PX;
    const scale = window.devicePixelRatio || 1;
    this.pixelScale = Math.min(scale, Math.sqrt(MOST_PIXELS / (width * height)));
    this.sharpScale = scale;
    this.isManyAgents = this.model.n > MANY_AGENTS;
    this.overCanvas.width = Math.round(width * scale);
    this.overCanvas.height = Math.round(height * scale);
    this.sizeLayer("ties", this.isManyTies);
    this.sizeLayer("agents", this.isManyAgents);
    if (this.scene) this.takeScene();
    this.place();
  }

  sizeLayer(layer, isRaster) {
    const canvas = layer === "ties" ? this.tiesCanvas : this.agentsCanvas;
    const scale = isRaster ? this.pixelScale : this.sharpScale;
    canvas.width = Math.max(1, Math.round(this.width * scale));
    canvas.height = Math.max(1, Math.round(this.height * scale));
    if (isRaster) (layer === "ties" ? this.lines : this.discs).resize(canvas.width, canvas.height);
    if (layer === "ties") this.linesSeen = null;
  }

  /** Where every agent is on the screen. */
  place() {
    if (!this.layoutNow || !this.width) return;
    const { x, y } = this.layoutNow;
    const { zoom, x: left, y: top } = this.view;
    const high = Math.max(10, (this.height - this.inset.bottom) / 2 - GRAPH_MARGIN);
    const wide = Math.max(10, (this.width - this.inset.left) / 2 - GRAPH_MARGIN);
    const scaleY = Math.min(high, wide * STRETCH) * zoom;
    const scaleX = Math.min(wide, high * STRETCH) * zoom;
    const n = x.length;
    if (!this.screenX || this.screenX.length !== n) {
      this.screenX = new Float32Array(n);
      this.screenY = new Float32Array(n);
    }
    const middleX = (this.width + this.inset.left) / 2 + left;
    const middleY = (this.height - this.inset.bottom) / 2 + top;
    for (let i = 0; i < n; i++) {
      this.screenX[i] = middleX + x[i] * scaleX;
      this.screenY[i] = middleY + y[i] * scaleY;
    }
    this.viewVersion++;
    this.mark("ties", "agents", "over");
  }

  takeTies(state) {
    const { ties } = this;
    if (ties.source.length < state.n) for (const name of ["source", "target", "kind", "weight"]) ties[name] = new ties[name].constructor(state.source.length);
    const seen = this.tiesSeen;
    const isSame = seen && seen.state === state && seen.version === state.version;
    ties.n = state.n;
    this.tiesSeen = { state, version: state.version, log: state.log, length: state.log.length };
    if (isSame) return;
    for (const name of ["source", "target", "kind", "weight"]) ties[name].set(state[name].subarray(0, state.n));
    this.kindCounts = new Array(this.model.head.tie_kinds.length).fill(0);
    for (let i = 0; i < ties.n; i++) this.kindCounts[ties.kind[i]]++;
    const isMany = ties.n > MANY_TIES || (this.isManyTies && ties.n > MANY_TIES * 0.8);
    if (isMany !== this.isManyTies) {
      this.isManyTies = isMany;
      if (this.width) this.sizeLayer("ties", isMany);
    }
    this.mark("ties");
  }

  draw() {
    const dirty = this.dirty;
    this.dirty = new Set();
    if (!this.screenX || !this.scene || !this.width || !this.stage.isConnected) return;
    const t0 = performance.now();
    if (dirty.has("ties")) this.drawTies();
    const t1 = performance.now();
    if (dirty.has("agents")) this.drawAgents();
    const t2 = performance.now();
    if (dirty.has("over")) this.drawOver();
    // Read by tests/bench: milliseconds of the last drawing of each layer, and of the last drawings in all.
    if (dirty.has("ties")) this.costs.ties = t1 - t0;
    if (dirty.has("agents")) this.costs.agents = t2 - t1;
    const now = performance.now();
    this.costs.over = now - t2;
    this.costs.frames.push(now - t0);
    if (this.costs.frames.length > FRAMES_KEPT) this.costs.frames.shift();
    if (!performance.getEntriesByName("simworld-painted").length) performance.mark("simworld-painted");
  }

  drawTies() {
    const { ties, screenX: x, screenY: y, hiddenKinds } = this;
    const context = this.tiesCanvas.getContext("2d");
    const kinds = Math.max(1, this.model.head.tie_kinds.length);
    // Many lines over each other: each is drawn fainter, so that the crowd does not turn solid.
    const alpha = Math.max(0.06, Math.min(0.55, 18 / Math.sqrt(ties.n + 1)));
    const colours = Array.from({ length: kinds }, (_, kind) => tieColour(kind, this.isDark));
    if (this.isManyTies) {
      const scale = this.pixelScale;
      const isHidden = colours.map((_, kind) => hiddenKinds.has(kind));
      const { state, log, length } = this.tiesSeen;
      const seen = this.linesSeen;
      const canAdd = seen && seen.state === state && seen.view === this.viewVersion && seen.length <= length && (length - seen.length) / 4 < ties.n / 3;
      if (canAdd) {
        for (let i = seen.length; i < length; i += 4) {
          const from = log[i + 1];
          const to = log[i + 2];
          if (!isHidden[log[i + 3]]) this.lines.line(x[from] * scale, y[from] * scale, x[to] * scale, y[to] * scale, log[i + 3], log[i]);
        }
      } else {
        this.lines.clear();
        for (let i = 0; i < ties.n; i++) {
          const from = ties.source[i];
          const to = ties.target[i];
          if (!isHidden[ties.kind[i]]) this.lines.line(x[from] * scale, y[from] * scale, x[to] * scale, y[to] * scale, ties.kind[i], 1);
        }
      }
      this.linesSeen = { state, view: this.viewVersion, length };
      this.lines.show(context, colours.map(rgbOf), Math.min(0.5, alpha * 1.2));
      return;
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.tiesCanvas.width, this.tiesCanvas.height);
    context.setTransform(this.sharpScale, 0, 0, this.sharpScale, 0, 0);
    const bands = this.weightBands();
    for (let kind = 0; kind < kinds; kind++) {
      if (hiddenKinds.has(kind)) continue;
      context.strokeStyle = colours[kind];
      for (let band = 0; band < bands.widths.length; band++) {
        context.globalAlpha = alpha * bands.strengths[band];
        context.lineWidth = bands.widths[band];
        context.beginPath();
        for (let i = 0; i < ties.n; i++) {
          if (ties.kind[i] !== kind || bands.of(ties.weight[i]) !== band) continue;
          context.moveTo(x[ties.source[i]], y[ties.source[i]]);
          context.lineTo(x[ties.target[i]], y[ties.target[i]]);
        }
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }

  /** Three widths by weight, where weights differ. */
  weightBands() {
    let low = Infinity;
    let high = -Infinity;
    for (let i = 0; i < this.ties.n; i++) {
      low = Math.min(low, this.ties.weight[i]);
      high = Math.max(high, this.ties.weight[i]);
    }
    if (!(high > low)) return { widths: [1], strengths: [1], of: () => 0 };
    return { widths: [0.7, 1.2, 2.2], strengths: [0.75, 1, 1.25], of: (weight) => (weight >= high ? 2 : Math.floor((3 * (weight - low)) / (high - low))) };
  }

  radiusOf(i) {
    const grown = Math.min(2.6, this.view.zoom ** 0.45);
    return (this.radii ? this.radii[i] : this.baseRadius) * Math.max(0.8, grown) * (this.gone && this.gone[i] ? 0.6 : 1);
  }

  drawAgents() {
    const { screenX: x, screenY: y, paint, gone } = this;
    const n = Math.min(x.length, paint.index.length);
    const context = this.agentsCanvas.getContext("2d");
    const faint = this.isDark ? "#4a515c" : "#cfd4db";
    if (this.isManyAgents) {
      const scale = this.pixelScale;
      const faintRgb = rgbOf(faint);
      this.discs.clear();
      for (let i = 0; i < n; i++) {
        if (paint.index[i] === HIDDEN) continue;
        this.discs.disc(x[i] * scale, y[i] * scale, this.radiusOf(i) * scale, gone && gone[i] ? faintRgb : this.rgb[paint.index[i]]);
      }
      this.discs.show(context);
      return;
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.agentsCanvas.width, this.agentsCanvas.height);
    context.setTransform(this.sharpScale, 0, 0, this.sharpScale, 0, 0);
    context.strokeStyle = css("paper");
    context.lineWidth = 1;
    const groups = new Map();
    for (let i = 0; i < n; i++) {
      if (paint.index[i] === HIDDEN) continue;
      const group = gone && gone[i] ? -1 : paint.index[i];
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(i);
    }
    for (const [group, members] of groups) {
      context.fillStyle = group < 0 ? faint : paint.palette[group];
      context.beginPath();
      for (const i of members) {
        const radius = this.radiusOf(i);
        context.moveTo(x[i] + radius, y[i]);
        context.arc(x[i], y[i], radius, 0, 2 * Math.PI);
      }
      context.fill();
      context.stroke();
    }
  }

  isShown(i) {
    return i >= 0 && i < this.screenX.length && this.paint.index[i] !== HIDDEN;
  }

  drawOver() {
    const { scene, ties } = this;
    const context = this.overCanvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.overCanvas.width, this.overCanvas.height);
    context.setTransform(this.sharpScale, 0, 0, this.sharpScale, 0, 0);
    context.lineCap = "round";
    const selected = this.app.store.state.agent;
    const isSelected = this.isShown(selected);
    this.tiesCanvas.style.opacity = isSelected ? "0.45" : "1";
    const named = new Set();
    if (isSelected) {
      const near = new Set();
      context.strokeStyle = css("ink");
      context.globalAlpha = 0.65;
      context.lineWidth = 1.3;
      context.beginPath();
      for (let i = 0; i < ties.n; i++) {
        if ((ties.source[i] !== selected && ties.target[i] !== selected) || this.hiddenKinds.has(ties.kind[i])) continue;
        near.add(ties.source[i] === selected ? ties.target[i] : ties.source[i]);
        this.between(context, ties.source[i], ties.target[i]);
      }
      context.stroke();
      context.globalAlpha = 1;
      if (near.size <= NEIGHBOUR_LABELS) for (const i of near) named.add(i);
    }
    if (this.layers.changes) this.drawChanges(context);
    if (this.layers.messages) this.drawMessages(context);
    if (isSelected) {
      this.ring(context, selected, css("ink"), 2.5, 3);
      named.add(selected);
    }
    if (this.isShown(this.hover)) {
      this.ring(context, this.hover, css("ink"), 1.5, 2);
      named.add(this.hover);
    }
    const { chosen } = scene;
    if (chosen && chosen.step === scene.step && this.isMain) for (const i of [chosen.agent, chosen.target]) if (this.isShown(i)) named.add(i);
    this.drawNames(context, named);
  }

  ring(context, i, colour, width, gap) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.arc(this.screenX[i], this.screenY[i], this.radiusOf(i) + gap, 0, 2 * Math.PI);
    context.stroke();
  }

  /** A line from the rim of one disc to the rim of another. */
  between(context, from, to) {
    const x0 = this.screenX[from];
    const y0 = this.screenY[from];
    const dx = this.screenX[to] - x0;
    const dy = this.screenY[to] - y0;
    const length = Math.hypot(dx, dy);
    const start = this.radiusOf(from) / length;
    const stop = 1 - this.radiusOf(to) / length;
    if (!(start < stop)) return;
    context.moveTo(x0 + dx * start, y0 + dy * start);
    context.lineTo(x0 + dx * stop, y0 + dy * stop);
  }

  drawChanges(context) {
    const focus = this.isShown(this.app.store.state.agent) ? this.app.store.state.agent : -1;
    for (const [isRemoved, isOthers] of focus < 0 ? [[false, false], [true, false]] : [[false, true], [true, true], [false, false], [true, false]]) {
      context.strokeStyle = css(isRemoved ? "removed" : "made");
      context.setLineDash(isRemoved ? [4, 4] : []);
      context.lineWidth = this.scene.changes.length > 400 ? 1 : 1.8;
      context.globalAlpha = isOthers ? OTHERS_ALPHA : this.scene.changes.length > 400 ? 0.5 : 0.85;
      context.beginPath();
      for (const change of this.scene.changes) {
        if ((change.op === "removed") !== isRemoved || (!isRemoved && !change.isNew)) continue;
        if (this.hiddenKinds.has(this.model.head.tie_kinds.indexOf(change.kind))) continue;
        if (!this.isShown(change.source) || !this.isShown(change.target)) continue;
        if (focus >= 0 && (change.source !== focus && change.target !== focus) !== isOthers) continue;
        this.between(context, change.source, change.target);
      }
      context.stroke();
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  drawMessages(context) {
    const { events, chosen, step } = this.scene;
    if (!events) return;
    let said = 0;
    const { columns, labels } = events.block;
    const isSpeech = labels.kind.map((name) => this.model.kinds.get(name)?.is_speech || this.model.kinds.get(name)?.is_private || false);
    const isPrivate = labels.kind.map((name) => this.model.kinds.get(name)?.is_private || false);
    const speakers = new Set();
    const accent = css("message");
    const quiet = css("private");
    const few = events.to - events.from <= 200;
    const focus = this.isShown(this.app.store.state.agent) ? this.app.store.state.agent : -1;
    for (let i = events.from; i < events.to; i++) {
      const agent = columns.agent[i];
      const target = columns.target[i];
      const code = columns.kind[i];
      if (!isSpeech[code] || !this.isShown(agent)) continue;
      if (++said > MOST_MESSAGES) break;
      if (target < 0 || target === agent) speakers.add(agent);
      else if (this.isShown(target)) {
        context.globalAlpha = focus < 0 || agent === focus || target === focus ? 1 : OTHERS_ALPHA;
        this.arrow(context, agent, target, isPrivate[code] ? quiet : accent, few ? 1.6 : 1, few, isPrivate[code]);
      }
    }
    context.globalAlpha = focus < 0 ? 1 : 2 * OTHERS_ALPHA;
    context.strokeStyle = accent;
    context.lineWidth = 2;
    context.beginPath();
    for (const i of speakers) {
      const radius = this.radiusOf(i) + 2.5;
      context.moveTo(this.screenX[i] + radius, this.screenY[i]);
      context.arc(this.screenX[i], this.screenY[i], radius, 0, 2 * Math.PI);
    }
    context.stroke();
    context.globalAlpha = 1;
    if (chosen && chosen.step === step && this.isMain && this.isShown(chosen.agent)) {
      if (this.isShown(chosen.target) && chosen.target !== chosen.agent) this.arrow(context, chosen.agent, chosen.target, accent, 3.5, true, false);
      this.ring(context, chosen.agent, accent, 3.5, 4);
    }
  }

  arrow(context, from, to, colour, width, hasHead, isDashed) {
    const x0 = this.screenX[from];
    const y0 = this.screenY[from];
    const dx = this.screenX[to] - x0;
    const dy = this.screenY[to] - y0;
    const length = Math.hypot(dx, dy);
    if (length < 1) return;
    const bendX = x0 + dx / 2 - dy * 0.14;
    const bendY = y0 + dy / 2 + dx * 0.14;
    // The curve ends at the rim of the disc it reaches, in the direction it arrives from.
    const inX = this.screenX[to] - bendX;
    const inY = this.screenY[to] - bendY;
    const arrives = Math.hypot(inX, inY) || 1;
    const stop = this.radiusOf(to) + 2;
    const endX = this.screenX[to] - (inX / arrives) * stop;
    const endY = this.screenY[to] - (inY / arrives) * stop;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(isDashed ? [2, 4] : []);
    const leaves = Math.hypot(bendX - x0, bendY - y0) || 1;
    const start = Math.min(this.radiusOf(from), leaves / 2) / leaves;
    context.beginPath();
    context.moveTo(x0 + (bendX - x0) * start, y0 + (bendY - y0) * start);
    context.quadraticCurveTo(bendX, bendY, endX, endY);
    context.stroke();
    context.setLineDash([]);
    if (!hasHead) return;
    const angle = Math.atan2(inY, inX);
    const head = 5 + width;
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(endX, endY);
    context.lineTo(endX - head * Math.cos(angle - 0.4), endY - head * Math.sin(angle - 0.4));
    context.lineTo(endX - head * Math.cos(angle + 0.4), endY - head * Math.sin(angle + 0.4));
    context.fill();
  }

  drawNames(context, named) {
    const { screenX: x, screenY: y } = this;
    let visible = [];
    for (let i = 0; i < x.length && visible.length <= LABELS; i++) {
      if (x[i] > 0 && x[i] < this.width && y[i] > 0 && y[i] < this.height && this.isShown(i)) visible.push(i);
    }
    if (visible.length > LABELS) visible = [];
    const letters = Math.round(0.75 * parseFloat(getComputedStyle(document.documentElement).fontSize));
    context.font = `${letters}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "top";
    context.lineJoin = "round";
    const taken = [];
    const paper = css("paper");
    const ink = css("ink");
    const must = [this.hover, this.app.store.state.agent].filter((i) => named.has(i));
    for (const i of new Set([...must, ...named, ...visible])) {
      const name = shorten(this.model.name(i).replace(/\s+/g, " "), 26);
      const half = context.measureText(name).width / 2 + 2;
      const top = y[i] + this.radiusOf(i) + 3;
      const middle = Math.max(half, Math.min(this.width - half, x[i]));
      const box = [middle - half, top, middle + half, top + letters + 2];
      const isFree = taken.every((other) => box[2] < other[0] || other[2] < box[0] || box[3] < other[1] || other[3] < box[1]);
      if (!isFree && !must.includes(i)) continue;
      taken.push(box);
      context.strokeStyle = paper;
      context.lineWidth = 3;
      context.globalAlpha = 0.85;
      context.strokeText(name, middle, top);
      context.globalAlpha = 1;
      context.fillStyle = ink;
      context.fillText(name, middle, top);
    }
  }

  // Legend -------------------------------------------------------------------------------------------------------------------

  showLegend() {
    const { paint, scene } = this;
    const { head } = this.model;
    const parts = [];
    if (scene.color && !scene.colour) {
      const words = head.is_growing ? "found when the run has ended" : this.traitsAsked > MOST_ASKED ? "could not be found" : "being found…";
      parts.push(h("div", { class: "legend-title" }, fieldWords(scene.color)), h("div", { class: "count" }, words));
    } else if (scene.color) {
      parts.push(h("div", { class: "legend-title" }, fieldWords(scene.color)));
      if (paint.kind === "number") {
        const isWhole = Boolean(!scene.colour.block || scene.colour.block.header.range || head.chunks === 1);
        parts.push(
          h("div", { class: "ramp", style: { background: `linear-gradient(to right, ${sequential(this.isDark).join(",")})` } }),
          h("div", { class: "ramp-ends", title: isWhole ? "Lowest and highest of the whole run" : "Lowest and highest seen so far" }, h("span", {}, num(paint.low)), h("span", {}, num(paint.high))),
        );
      } else if (paint.kind === "category") {
        // The commonest, each in its own place: rows do not jump about while the run plays.
        const most = this.isNarrow ? NARROW_ROWS : LEGEND_ROWS;
        const shown = [...paint.entries].sort((a, b) => b.count - a.count).slice(0, most).sort((a, b) => a.code - b.code);
        for (const { label, count, colour } of shown) {
          parts.push(h("div", { class: "legend-row" }, h("span", { class: "swatch", style: { background: colour } }), h("span", { class: "legend-label" }, shorten(label === "" ? "(empty)" : label, 28)), h("span", { class: "count" }, whole(count))));
        }
        if (paint.entries.length > most) parts.push(h("div", { class: "legend-row count" }, `and ${plural(paint.entries.length - most, "more value", "more values")}`));
      }
    }
    if (scene.size && scene.sizes && !scene.sizes.labels) parts.push(h("div", { class: "legend-row" }, h("span", { class: "size-mark" }, "●•"), h("span", { class: "legend-label" }, `size: ${fieldWords(scene.size)}, ${num(scene.sizes.range[0])} to ${num(scene.sizes.range[1])}`)));
    const toggle = (isOn, words, count, line, colour, act) =>
      h("button", { type: "button", class: "legend-row legend-toggle", "aria-pressed": isOn ? "true" : "false", title: isOn ? "Click to hide" : "Click to show", onClick: act }, h("span", { class: `line ${line}`, style: { "border-color": colour } }), h("span", { class: "legend-label" }, words), h("span", { class: "count" }, count));
    const switched = [];
    if (head.tie_changes || this.ties.n) {
      head.tie_kinds.forEach((kind, i) => {
        const count = (this.kindCounts && this.kindCounts[i]) || 0;
        if (head.tie_kinds.length > 6 && !count) return;
        switched.push(toggle(!this.hiddenKinds.has(i), shorten(kind, 24), whole(count), "", tieColour(i, this.isDark), () => this.switchKind(i)));
      });
      const made = scene.changes.filter((change) => change.isNew).length;
      const removed = scene.changes.filter((change) => change.op === "removed").length;
      switched.push(toggle(this.layers.changes, "made now", whole(made), "", css("made"), () => this.switchLayer("changes")));
      if (head.tie_changes) switched.push(toggle(this.layers.changes, "ended now", whole(removed), "dashed", css("removed"), () => this.switchLayer("changes")));
    }
    if (head.event_kinds.some((kind) => kind.is_speech || kind.is_private)) {
      const said = this.countSaid();
      const words = said > MOST_MESSAGES ? `said now (${whole(MOST_MESSAGES)} drawn)` : "said now";
      switched.push(toggle(this.layers.messages, words, whole(said), "", css("message"), () => this.switchLayer("messages")));
    }
    fill(this.legend, parts, switched.length && parts.length ? h("hr") : null, switched);
    this.legend.hidden = parts.length + switched.length === 0;
    const key = `${scene.color}|${Boolean(scene.colour)}|${scene.size}|${this.width}|${this.height}|${this.ties.n > 0}`;
    if (key !== this.legendKey && this.width) {
      this.legendKey = key;
      this.makeRoom();
    }
  }

  /** Keeps the agents clear of the legend: beside it or above it, wherever they have more room. Only when the legend turns into another one, so that nothing moves while the run plays. */
  makeRoom() {
    const room = (left, bottom) => {
      const wide = Math.max(10, (this.width - left) / 2 - GRAPH_MARGIN);
      const high = Math.max(10, (this.height - bottom) / 2 - GRAPH_MARGIN);
      return { left, bottom, size: Math.min(wide, high * STRETCH) * Math.min(high, wide * STRETCH) };
    };
    const none = room(0, 0);
    const beside = room(this.legend.offsetWidth, 0);
    const above = room(0, this.legend.offsetHeight);
    const best = beside.size >= above.size ? beside : above;
    // A legend that would take most of the picture lies over it instead.
    this.inset = this.legend.hidden || best.size < none.size * 0.35 ? none : best;
    this.place();
  }

  countSaid() {
    const { events } = this.scene;
    if (!events) return 0;
    const isSpeech = events.block.labels.kind.map((name) => this.model.kinds.get(name)?.is_speech || this.model.kinds.get(name)?.is_private || false);
    let said = 0;
    for (let i = events.from; i < events.to; i++) if (isSpeech[events.block.columns.kind[i]]) said++;
    return said;
  }

  switchKind(kind) {
    if (!this.hiddenKinds.delete(kind)) this.hiddenKinds.add(kind);
    this.linesSeen = null;
    this.mark("ties", "over");
    this.showLegend();
  }

  switchLayer(layer) {
    this.layers[layer] = !this.layers[layer];
    this.mark("over");
    this.showLegend();
  }

  // Moving about -------------------------------------------------------------------------------------------------------------

  zoomBy(by, x = this.width / 2, y = this.height / 2) {
    const zoom = Math.max(0.5, Math.min(MOST_ZOOM, this.view.zoom * by));
    const factor = zoom / this.view.zoom;
    // What lies under the pointer stays there.
    const middleX = (this.width + this.inset.left) / 2;
    const middleY = (this.height - this.inset.bottom) / 2;
    this.view.x = x - middleX - (x - middleX - this.view.x) * factor;
    this.view.y = y - middleY - (y - middleY - this.view.y) * factor;
    this.view.zoom = zoom;
    this.place();
  }

  fit() {
    this.view = { zoom: 1, x: 0, y: 0 };
    this.place();
  }

  /** Moves the picture so that an agent is well inside it. */
  reveal(i) {
    if (!this.screenX || i < 0 || i >= this.screenX.length) return;
    const isInside = this.screenX[i] > 30 && this.screenX[i] < this.width - 30 && this.screenY[i] > 30 && this.screenY[i] < this.height - 30;
    if (isInside) return;
    this.view.x += this.width / 2 - this.screenX[i];
    this.view.y += this.height / 2 - this.screenY[i];
    this.place();
  }

  /** The agent at a place of the screen, or -1: the nearest whose disc, or a little more, lies there. */
  agentAt(x, y) {
    if (!this.screenX || !this.paint) return -1;
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < this.screenX.length; i++) {
      const dx = this.screenX[i] - x;
      const dy = this.screenY[i] - y;
      const far = dx * dx + dy * dy;
      if (far < least && far < 400 && this.paint.index[i] !== HIDDEN && far <= Math.max(7, this.radiusOf(i) + 3) ** 2) {
        best = i;
        least = far;
      }
    }
    return best;
  }

  /** Where an agent is on the page, for whoever points at it: { x, y }. */
  pointOf(i) {
    const box = this.stage.getBoundingClientRect();
    return { x: box.left + this.screenX[i], y: box.top + this.screenY[i] };
  }

  listen() {
    const pointers = new Map();
    let moved = 0;
    let apart = 0;
    const at = (event) => {
      const box = this.stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 30 : 1;
      this.zoomBy(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) / 400), ...at(event));
    }, { passive: false });
    this.stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, at(event));
      if (pointers.size === 1) moved = 0;
      apart = 0;
    });
    this.stage.addEventListener("pointermove", (event) => {
      const here = at(event);
      const before = pointers.get(event.pointerId);
      if (!before) {
        this.point(this.agentAt(...here), here);
        return;
      }
      pointers.set(event.pointerId, here);
      moved += Math.hypot(here[0] - before[0], here[1] - before[1]);
      if (pointers.size === 2) {
        const [one, other] = [...pointers.values()];
        const now = Math.hypot(one[0] - other[0], one[1] - other[1]);
        if (apart > 0 && now > 0) this.zoomBy(now / apart, (one[0] + other[0]) / 2, (one[1] + other[1]) / 2);
        apart = now;
      } else if (moved > CLICK_PX) {
        this.stage.classList.add("dragging");
        this.point(-1);
        this.view.x += here[0] - before[0];
        this.view.y += here[1] - before[1];
        this.place();
      }
    });
    const end = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      this.stage.classList.remove("dragging");
      if (event.type === "pointerup" && moved <= CLICK_PX && pointers.size === 0) {
        const agent = this.agentAt(...at(event));
        if (agent >= 0) this.app.select(agent, this.model.index);
        else this.app.store.set({ agent: -1, event: -1 });
      }
    };
    this.stage.addEventListener("pointerup", end);
    this.stage.addEventListener("pointercancel", end);
    this.stage.addEventListener("pointerleave", () => this.point(-1));
    this.stage.addEventListener("dblclick", (event) => this.zoomBy(2, ...at(event)));
  }

  point(agent, here) {
    if (here) this.pointed = here;
    if (agent === this.hover) return;
    this.hover = agent;
    this.stage.classList.toggle("over-agent", agent >= 0);
    this.showTip();
    if (this.scene && this.screenX) this.mark("over");
  }

  showTip() {
    this.tip.hidden = this.hover < 0 || !this.scene;
    if (this.tip.hidden) return;
    const { scene } = this;
    const i = this.hover;
    const said = (field, column) => {
      if (!field || !column) return null;
      const value = column.values[i];
      const words = column.labels ? (value === column.none ? "–" : column.labels[value]) : num(value);
      return h("div", { class: "tip-value" }, `${fieldWords(field)}: ${shorten(words === "" ? "(empty)" : words, 60)}`);
    };
    let ties = 0;
    for (let k = 0; k < this.ties.n; k++) if (this.ties.source[k] === i || this.ties.target[k] === i) ties++;
    fill(this.tip, h("strong", {}, shorten(this.model.name(i), 60)), said(scene.color, scene.colour), scene.size === scene.color ? null : said(scene.size, scene.sizes), h("div", { class: "tip-value" }, plural(ties, "tie")));
    const x = this.screenX[i];
    const y = this.screenY[i];
    this.tip.style.setProperty("left", `${Math.round(Math.min(x + 14, this.width - this.tip.offsetWidth - 8))}px`);
    this.tip.style.setProperty("top", `${Math.round(Math.max(8, Math.min(y - 12, this.height - this.tip.offsetHeight - 8)))}px`);
  }
}
