// What observers measured, on the clock, beside their null and what theory says; and how any column is spread at this step.

import { h, fill, num, plain, whole } from "./dom.js";
import { Chart, faded, lineStyle } from "./chart.js";
import { emptyWords, errorWords, fieldName, oneAtATime } from "./parts.js";

const METRICS_DRAWN = 8;
const HISTOGRAM_BINS = 24;
const CATEGORIES_DRAWN = 20;
const OWN_GROUP = "the scenario's own";
const Z95 = 1.959964; // 2.5 and 97.5 % of a normal distribution, where only a mean and a standard deviation are kept

export function metricsPanel(app) {
  const filter = h("input", { type: "search", placeholder: "Filter metrics", "aria-label": "Filter metrics", autocomplete: "off", spellcheck: "false" });
  const list = h("div", { class: "metric-list", role: "group", "aria-label": "Metrics" });
  const words = h("p", { class: "muted chart-words", role: "status" }, "\u00a0");
  const columns = h("select", { "aria-label": "Column" });
  const spreadWords = h("p", { class: "muted chart-words" }, "\u00a0");
  const hint = h("p", { class: "muted" }, "A click on a metric's name draws it behind the timeline; a click into the chart moves the clock.");
  let model = null;
  let series = null;
  let findings = null;
  let chosen = new Set();
  let drawnKey = "";
  let readSteps = -1; // of a growing run there are more each time
  let spread = null; // { header, rows } of the distribution as drawn
  let ranges = new Map(); // column -> [low, high] seen so far, so that the axis does not jump

  const chart = new Chart(app, {
    label: "Chosen metrics over the steps of the run", clock: true, height: 270,
    name: () => [model.head.name, "metrics"], data: () => metricRows(series, findings, [...chosen]),
    onClick: (point) => app.store.set({ step: Math.max(0, Math.min(model.steps, Math.round(point.x))), playing: false }),
  });
  const histogram = new Chart(app, { label: "How a column is spread over the agents at this step", height: 220, name: () => [model.head.name, columns.value, `step-${app.store.state.step}`], data: () => spread || { header: [], rows: [] } });
  const element = h("div", { class: "panel panel-metrics" },
    h("h3", {}, "Over time"), chart.element, words, h("div", { class: "metric-tools" }, filter, h("button", { type: "button", class: "small", onclick: () => pick(() => chosen.clear()) }, "clear")), list, hint,
    h("h3", {}, "Spread over agents at this step ", columns), histogram.element, spreadWords);

  filter.addEventListener("input", () => sift());
  columns.addEventListener("change", () => spreadOut());

  function pick(change) {
    change();
    while (chosen.size > METRICS_DRAWN) chosen.delete(chosen.values().next().value);
    for (const box of list.querySelectorAll("input")) box.checked = chosen.has(box.value);
    drawnKey = "";
    refresh();
  }

  function sift() {
    const sought = filter.value.trim().toLowerCase();
    for (const group of list.querySelectorAll("details")) {
      let hits = 0;
      for (const row of group.querySelectorAll(".metric-row")) {
        const isHit = !sought || row.dataset.metric.toLowerCase().includes(sought);
        row.hidden = !isHit;
        hits += isHit ? 1 : 0;
      }
      group.hidden = !hits;
      if (sought && hits) group.open = true;
    }
  }

  async function load(next) {
    const steps = next.steps;
    model = next;
    readSteps = -1; // until all is read: what failed is asked for again
    drawnKey = "";
    ranges = new Map();
    [series, findings] = await Promise.all([model.metrics(), model.findings().catch(() => ({}))]);
    readSteps = steps;
    const names = Object.keys(series.columns);
    const { metric } = app.store.state;
    chosen = new Set([...chosen].filter((name) => names.includes(name)));
    if (!chosen.size) {
      const first = names.includes(metric) ? metric : names.find((name) => isMoving(series.columns[name])) || names[0];
      if (first) chosen.add(first);
    }
    const shownNames = names.join("\n");
    if (list.dataset.names === shownNames && list.dataset.run === String(model.index)) return;
    Object.assign(list.dataset, { names: shownNames, run: model.index });
    fill(list, groupsOf(names).map(([group, inside]) => h("details", { class: "metric-group", open: inside.some((name) => chosen.has(name)) || names.length <= 12 },
      h("summary", {}, fieldName(group), " ", h("span", { class: "fold-count" }, whole(inside.length))),
      inside.map((name) => h("div", { class: "metric-row", "data-metric": name },
        h("input", { type: "checkbox", value: name, checked: chosen.has(name), "aria-label": `Draw ${name}`, onchange: (event) => pick(() => (event.target.checked ? chosen.add(name) : chosen.delete(name))) }),
        h("button", { type: "button", class: "link metric-name", title: "Draw it behind the timeline", onclick: () => pick(() => {
          chosen.add(name);
          app.store.set({ metric: name });
        }) }, shortName(name, group)),
        h("span", { class: "metric-now" }))))));
    if (!names.length) fill(list, emptyWords("Nothing was measured in this run."));
    sift();
    const state = (model.head.tables || {}).agents || [];
    const traits = (model.head.traits || []).filter((trait) => trait.type !== "text");
    const old = columns.value;
    fill(columns,
      state.some((column) => column.type !== "text") ? h("optgroup", { label: "State" }, state.filter((column) => column.type !== "text").map(({ name }) => h("option", { value: `column:${name}` }, fieldName(name)))) : null,
      traits.length ? h("optgroup", { label: "Persona" }, traits.map(({ name }) => h("option", { value: `trait:${name}` }, fieldName(name)))) : null);
    const number = state.find((column) => column.type === "number");
    if ([...columns.options].some((option) => option.value === old)) columns.value = old;
    else if (number) columns.value = `column:${number.name}`;
    histogram.element.hidden = !columns.options.length;
    columns.hidden = !columns.options.length;
    if (!columns.options.length) spreadWords.textContent = "The agents of this run have no columns.";
  }

  const work = oneAtATime(async () => {
    const { state } = app.store;
    const next = app.runs[state.run] || app.main;
    if (next !== model || next.steps !== readSteps) await load(next);
    const key = [...chosen].join("|") + model.steps;
    if (key !== drawnKey) {
      drawnKey = key;
      drawSeries();
    }
    mark(state.step);
    await spreadOut().catch((error) => (spreadWords.textContent = error.message));
  });

  function refresh() {
    work().catch((error) => {
      delete list.dataset.names;
      fill(list, errorWords(error));
    });
  }

  function mark(step) {
    chart.setStep(step);
    const at = placeOf(series.step, step);
    for (const row of list.querySelectorAll(".metric-row")) {
      if (row.hidden || !row.parentElement.open) continue;
      row.querySelector(".metric-now").textContent = at < 0 ? "" : num(series.columns[row.dataset.metric][at]);
      row.classList.toggle("is-behind", row.dataset.metric === app.store.state.metric);
    }
  }

  function drawSeries() {
    const names = [...chosen];
    const traces = [];
    const steps = Array.from(series.step);
    const notes = new Set();
    names.forEach((name, i) => {
      const style = lineStyle(i);
      const other = comparedWith(findings, name);
      if (other.band && names.length <= 3) {
        traces.push({ x: [...steps, ...steps.toReversed()], y: [...other.band.high, ...other.band.low.toReversed()].map(finiteOr), type: "scatter", mode: "lines", fill: "toself", fillcolor: faded(style.color, 0.15), line: { width: 0 }, hoverinfo: "skip", name: "null", showlegend: false });
        traces.push({ x: steps, y: other.band.mean.map(finiteOr), type: "scatter", mode: "lines", line: { color: style.color, width: 1, dash: "dot" }, name: plain(`${name}, null policy`), showlegend: false });
        notes.add("dotted line and band: the null policy's mean, 2.5 to 97.5 %");
      } else if (other.end && names.length <= 3 && steps.length) {
        const { mean, low, high } = other.end;
        traces.push({ x: [steps[steps.length - 1]], y: [mean], type: "scatter", mode: "markers", marker: { color: style.color, symbol: "diamond-open", size: 9 }, error_y: { type: "data", symmetric: false, array: [high - mean], arrayminus: [mean - low], color: style.color, thickness: 1.5 }, name: plain(`${name}, null`), cliponaxis: false, showlegend: false });
        notes.add("diamond: mean of the null at the last step, 2.5 to 97.5 %");
      }
      traces.push({ x: steps, y: Array.from(series.columns[name], finiteOr), type: "scatter", mode: steps.length > 1 ? "lines" : "markers", line: { ...style, width: 2 }, name: plain(name) });
      if (Number.isFinite(other.exact)) {
        traces.push({ x: [steps[0], steps[steps.length - 1]], y: [other.exact, other.exact], type: "scatter", mode: "lines", line: { color: style.color, width: 1.5, dash: "longdash" }, name: plain(`${name}, closed form`), showlegend: false });
        notes.add("long dashes: what theory says");
      }
    });
    words.textContent = names.length ? [names.length === 1 ? names[0] : `${names.length} metrics`, ...notes].join(" · ") : list.querySelector(".metric-row") ? "Choose a metric below." : "Nothing was measured in this run.";
    const last = Math.max(1, steps.length ? steps[steps.length - 1] : 1);
    chart.draw(traces, { xaxis: { title: { text: "step" }, range: [0, last] }, showlegend: names.length > 1, margin: names.length > 1 ? { t: 16 + 19 * names.length } : {}, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } });
  }

  const spreadOut = oneAtATime(async () => {
    const { step } = app.store.state;
    if (!model || !columns.value) return;
    const [sort, name] = [columns.value.slice(0, columns.value.indexOf(":")), columns.value.slice(columns.value.indexOf(":") + 1)];
    const column = sort === "trait" ? (await model.traits())[name] : await model.column(name, step);
    if (!column) return;
    if (column.labels) drawCategories(name, column, step);
    else drawHistogram(name, column, step);
  });

  function drawCategories(name, column, step) {
    const counts = new Map();
    for (const code of column.values) if (code < column.labels.length) counts.set(code, (counts.get(code) || 0) + 1);
    const ordered = [...counts].sort((a, b) => b[1] - a[1]);
    spread = { header: [name, "agents"], rows: ordered.map(([code, count]) => [column.labels[code], count]) };
    const shown = ordered.slice(0, CATEGORIES_DRAWN);
    spreadWords.textContent = `${fieldName(name)} of ${whole(ordered.reduce((sum, [, count]) => sum + count, 0))} agents at step ${step}${ordered.length > shown.length ? `, the ${shown.length} commonest of ${whole(ordered.length)} values` : ""}`;
    const labels = shown.map(([code]) => {
      const said = column.labels[code] || "(empty)";
      return plain(said.length > 24 ? `${said.slice(0, 23)}…` : said);
    });
    histogram.draw([{ x: labels.map((_, i) => i), y: shown.map(([, count]) => count), type: "bar", marker: { color: lineStyle(0).color }, hovertext: labels, hoverinfo: "y+text" }],
      { xaxis: { tickvals: labels.map((_, i) => i), ticktext: labels, tickangle: labels.length > 4 ? -35 : 0 }, yaxis: { title: { text: "agents" } }, margin: { b: labels.length > 4 ? 90 : 40 }, hovermode: "closest", bargap: 0.2 });
  }

  function drawHistogram(name, column, step) {
    const values = Array.from(column.values).filter(Number.isFinite);
    const range = ranges.get(name) || [Infinity, -Infinity];
    for (const value of values) {
      range[0] = Math.min(range[0], value);
      range[1] = Math.max(range[1], value);
    }
    ranges.set(name, range);
    const [low, high] = range;
    if (!values.length) {
      spread = { header: ["from", "to", "agents"], rows: [] };
      spreadWords.textContent = `No agent has a number in ${fieldName(name)} at step ${step}.`;
      histogram.draw([{ x: [], y: [], type: "bar" }], {});
      return;
    }
    const isWhole = values.every(Number.isInteger) && Number.isInteger(low) && high - low < HISTOGRAM_BINS;
    const bins = isWhole ? high - low + 1 : high > low ? HISTOGRAM_BINS : 1;
    const width = isWhole ? 1 : (high - low) / bins || 1;
    const start = isWhole ? low - 0.5 : low;
    const counts = new Array(bins).fill(0);
    let sum = 0;
    for (const value of values) {
      counts[Math.max(0, Math.min(bins - 1, Math.floor((value - start) / width)))]++;
      sum += value;
    }
    spread = { header: ["from", "to", "agents"], rows: counts.map((count, i) => [isWhole ? low + i : start + i * width, isWhole ? low + i : start + (i + 1) * width, count]) };
    values.sort((a, b) => a - b);
    spreadWords.textContent = `${fieldName(name)} of ${whole(values.length)} agents at step ${step}: mean ${num(sum / values.length)}, median ${num(values[Math.floor(values.length / 2)])}, ${num(values[0])} to ${num(values[values.length - 1])}`;
    histogram.draw([{ x: counts.map((_, i) => start + (i + 0.5) * width), y: counts, width: new Array(bins).fill(width * 0.94), type: "bar", marker: { color: lineStyle(0).color }, hovertemplate: "%{x:.4~g}: %{y} agents<extra></extra>" }],
      { xaxis: { title: { text: plain(fieldName(name)) }, range: [start - width * 0.2, start + bins * width + width * 0.2] }, yaxis: { title: { text: "agents" } }, hovermode: "closest" });
  }

  return {
    title: "Metrics",
    element,
    update(changed) {
      if (changed.has("theme")) drawnKey = "";
      refresh();
    },
  };
}

function finiteOr(value) {
  return Number.isFinite(value) ? value : null;
}

function isMoving(values) {
  let first = NaN;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (Number.isNaN(first)) first = value;
    else if (value !== first) return true;
  }
  return false;
}

function shortName(name, group) {
  return name.startsWith(`${group}.`) ? name.slice(group.length + 1) : name;
}

/** Metrics by observer, in order: [[observer, [names]]]. */
function groupsOf(names) {
  const groups = new Map();
  for (const name of names) {
    const group = name.includes(".") ? name.slice(0, name.indexOf(".")) : OWN_GROUP;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(name);
  }
  return [...groups];
}

/** The place of a step in the rows of metrics, or of the last before it; -1 where there is none. */
function placeOf(steps, step) {
  let low = 0;
  let high = steps.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle - 1;
  }
  return high;
}

/** What a metric is compared with: { band: {mean, low, high} over steps, end: {mean, low, high} at the last, exact }. */
function comparedWith(findings, name) {
  const found = { band: null, end: null, exact: NaN };
  if (!findings) return found;
  const kept = (findings.series_null || {})[name];
  if (kept && Array.isArray(kept.mean)) found.band = kept;
  else if (kept && Number.isFinite(kept.mean)) found.end = kept;
  const exact = (findings.closed_form || {})[name];
  if (Number.isFinite(exact)) found.exact = exact;
  const row = (findings.findings || []).find((each) => `${each.observer}.${each.metric}` === name || each.metric === name);
  if (!row) return found;
  if (!found.band && !found.end && Number.isFinite(row.null_mean)) {
    const sd = Number.isFinite(row.null_sd) ? row.null_sd : 0;
    found.end = { mean: row.null_mean, low: row.null_mean - Z95 * sd, high: row.null_mean + Z95 * sd };
  }
  if (!Number.isFinite(found.exact) && Number.isFinite(row.closed_form)) found.exact = row.closed_form;
  return found;
}

function metricRows(series, findings, names) {
  const header = ["step"];
  const made = names.map((name) => {
    const { band, exact } = comparedWith(findings, name);
    header.push(name, ...(band ? [`${name} null mean`, `${name} null low`, `${name} null high`] : []), ...(Number.isFinite(exact) ? [`${name} closed form`] : []));
    return (i) => [series.columns[name][i], ...(band ? [band.mean[i], band.low[i], band.high[i]] : []), ...(Number.isFinite(exact) ? [exact] : [])];
  });
  return { header, rows: Array.from(series.step, (step, i) => [step, ...made.flatMap((make) => make(i))]) };
}
