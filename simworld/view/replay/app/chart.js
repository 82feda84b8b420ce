// Charts by plotly in the page's own colours, with the clock's step as a line over them, and their picture and data to save.

import { h, css, fill, save } from "./dom.js";
import { csvText, errorWords, fileName } from "./parts.js";

const MARGIN = { l: 58, r: 14, t: 10, b: 42 };
const PICTURE_WIDTH = 900;
const PICTURE_HEIGHT = 480;

/** Colours of lines, told apart by colour-blind readers (Okabe and Ito 2008), the brighter ones first on dark paper. */
const LINE_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C"];
const LINE_COLOURS_DARK = ["#56B4E9", "#E69F00", "#3DC9A0", "#E39BC6", "#F0E442", "#F08A4B", "#A6ADB8"];
const LINE_DASHES = ["solid", "dash", "dot", "dashdot"];

/** The colour and the dash of the i-th line. */
export function lineStyle(i) {
  const colours = document.documentElement.dataset.shade === "dark" ? LINE_COLOURS_DARK : LINE_COLOURS;
  return { color: colours[i % colours.length], dash: LINE_DASHES[Math.floor(i / LINE_COLOURS.length) % LINE_DASHES.length] };
}

/** A colour with some of its strength, for bands. */
export function faded(colour, strength) {
  const value = parseInt(colour.slice(1), 16);
  return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${strength})`;
}

/**
 * One chart. `data()` returns { header, rows } for the CSV; `name()` the parts of a file's name; `onClick(point)` what a click does.
 * With `clock` a line stands at the step that `setStep` says.
 */
export class Chart {
  constructor(app, { label, name, data, height = 250, onClick = null, clock = false }) {
    this.app = app;
    this.name = name;
    this.data = data;
    this.onClick = onClick;
    this.height = height;
    this.step = null;
    this.isReady = false;
    this.drawn = null;
    this.width = 0;
    this.line = clock ? h("div", { class: "clock-line", hidden: true }) : null;
    this.place = h("div", { class: "plot", style: { height: `${height}px` } }, h("p", { class: "waiting" }, "Drawing…"));
    const button = (words, title, act) => h("button", { type: "button", class: "small", title, onclick: act }, words);
    this.tools = h("span", { class: "chart-tools" },
      button("PNG", "Save this chart as a picture", () => this.picture("png")), button("SVG", "Save this chart as a drawing", () => this.picture("svg")),
      button("CSV", "Save the numbers of this chart", () => this.csv()));
    this.element = h("figure", { class: "figure", role: "group", "aria-label": label }, h("div", { class: "plot-box" }, this.place, this.line), this.tools);
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  /** Draws traces; the words of axes and ticks are given as plotly reads them: through `plain`. */
  async draw(traces, layout = {}) {
    this.drawn = [traces, layout];
    let plotly;
    try {
      plotly = await this.app.source.plotly();
    } catch (error) {
      fill(this.place, errorWords(error));
      return;
    }
    if (this.drawn[0] !== traces) return;
    if (!this.isReady) fill(this.place);
    // plotly writes into what it is given.
    await plotly.react(this.place, structuredClone(traces), this.layout(layout), { displayModeBar: false, responsive: false, showTips: false, doubleClick: "reset" });
    this.width = this.place.clientWidth;
    if (!this.isReady) {
      this.isReady = true;
      this.place.on("plotly_relayout", () => this.mark());
      if (this.onClick) this.place.on("plotly_click", (said) => said.points && said.points[0] && this.onClick(said.points[0]));
    }
    this.mark();
  }

  layout(given) {
    const ink = css("ink") || "#1b1e23";
    const line = css("line") || "#d5d9e0";
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickfont: { size: 12 }, title: { standoff: 6 } };
    const { xaxis = {}, yaxis = {}, margin = {}, ...rest } = structuredClone(given);
    return {
      height: this.height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "x unified", dragmode: "zoom",
      font: { color: ink, size: 12, family: "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif" },
      hoverlabel: { bgcolor: css("paper") || "#ffffff", bordercolor: line, font: { color: ink }, align: "left" },
      legend: { orientation: "h", y: -0.25, bgcolor: "rgba(0,0,0,0)" },
      ...rest, margin: { ...MARGIN, ...margin }, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
    };
  }

  /** Moves the line of the clock: nothing is drawn anew. */
  setStep(step) {
    this.step = step;
    this.mark();
  }

  mark() {
    if (!this.line) return;
    const full = this.isReady ? this.place.layout : null;
    const range = full && full.xaxis && full.xaxis.range;
    if (!range || this.step === null) {
      this.line.hidden = true;
      return;
    }
    const { l, r, t, b } = { ...MARGIN, ...((this.drawn[1] || {}).margin || {}) };
    const share = (this.step - range[0]) / (range[1] - range[0]);
    this.line.hidden = !(share >= 0 && share <= 1);
    this.line.style.transform = `translateX(${l + share * Math.max(0, this.place.clientWidth - l - r)}px)`;
    this.line.style.top = `${t}px`;
    this.line.style.height = `${this.height - t - b}px`;
  }

  fit() {
    if (!this.isReady || !this.place.clientWidth || this.place.clientWidth === this.width) return;
    this.width = this.place.clientWidth;
    window.Plotly.relayout(this.place, { width: this.width });
  }

  async picture(format) {
    if (!this.isReady) return;
    const plotly = window.Plotly;
    // A picture stands on any page: on paper, in the text's dark ink.
    const figure = { data: structuredClone(this.drawn[0]), layout: { ...this.layout(this.drawn[1]), paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", width: PICTURE_WIDTH, height: PICTURE_HEIGHT } };
    figure.layout.font.color = "#1b1e23";
    for (const axis of [figure.layout.xaxis, figure.layout.yaxis]) Object.assign(axis, { gridcolor: "#d5d9e0", zerolinecolor: "#d5d9e0", linecolor: "#d5d9e0" });
    const url = await plotly.toImage(figure, { format, width: PICTURE_WIDTH, height: PICTURE_HEIGHT, scale: format === "png" ? 2 : 1 });
    const [head, body] = [url.slice(0, url.indexOf(",")), url.slice(url.indexOf(",") + 1)];
    const bytes = head.endsWith(";base64") ? Uint8Array.from(atob(body), (each) => each.charCodeAt(0)) : decodeURIComponent(body);
    save(`${fileName(...this.name())}.${format}`, new Blob([bytes], { type: format === "png" ? "image/png" : "image/svg+xml" }));
  }

  csv() {
    const { header, rows } = this.data();
    save(`${fileName(...this.name())}.csv`, csvText(header, rows), "text/csv;charset=utf-8");
  }
}
