// A campaign: a measure over its factors as a surface or a line; a point leads to its runs, a run opens in the replay.

import { h, fill, num, plain, plural, whole } from "./dom.js";
import { Chart, faded, lineStyle } from "./chart.js";
import { emptyWords, errorWords, expandable, fieldName, oneAtATime } from "./parts.js";

const LEVELS_AS_WORDS = 12; // so many values of a factor are drawn as they are written; more of them, numbers, on a scale

export function campaignPanel(app) {
  const element = h("div", { class: "panel panel-campaign" });
  let view = null;

  const work = oneAtATime(async () => {
    if (view) return;
    fill(element, h("p", { class: "waiting" }, "Reading the campaign…"));
    const found = await app.source.json("campaign");
    view = campaignView(app, found);
    fill(element, view.element);
  });

  return {
    title: "Campaign",
    element,
    update(changed) {
      if (view && changed.has("theme")) view.redraw();
      work().catch((error) => fill(element, errorWords(error)));
    },
  };
}

function campaignView(app, found) {
  const factors = (found.factors || []).map((factor) => ({ name: factor.name, values: factor.values || [] })).filter((factor) => factor.values.length > 0);
  const varied = factors.filter((factor) => factor.values.length > 1);
  const measures = (found.measures || []).map((measure) => (typeof measure === "string" ? measure : measure.name));
  const title = [h("h3", {}, found.title || found.name || "Campaign"), h("p", { class: "muted" }, `${found.scenario ? `${found.scenario} · ` : ""}${plural((found.points || []).length, "point")}, ${plural((found.results || []).length, "run")}`)];
  if (!measures.length || !(found.results || []).length) {
    return { element: h("div", {}, title, emptyWords("This campaign has no results yet.")), redraw: () => null };
  }
  const measure = h("select", { "aria-label": "Measure" }, measures.map((name) => h("option", { value: name, selected: name === found.outcome }, name)));
  const across = h("select", { "aria-label": "Factor across" }, varied.map(({ name }) => h("option", { value: name }, fieldName(name))));
  const up = h("select", { "aria-label": "Factor upwards" }, h("option", { value: "" }, "(none: a line)"), varied.map(({ name }) => h("option", { value: name }, fieldName(name))));
  const others = h("div", { class: "campaign-others" });
  const runs = h("div", { class: "campaign-runs", "aria-live": "polite" }, emptyWords("Click a point of the chart to list its runs."));
  const words = h("p", { class: "muted chart-words", role: "status" }, "\u00a0");
  if (varied.length > 1) up.value = varied[1].name;
  let cells = new Map();

  const chart = new Chart(app, {
    label: "Response surface of the campaign", height: 340, name: () => [found.name, measure.value], onClick: (point) => choose(point),
    data: () => ({ header: [across.value || "point", ...(up.value ? [up.value] : []), "runs", `mean ${measure.value}`], rows: [...cells.values()].map((cell) => [cell.x, ...(up.value ? [cell.y] : []), cell.numbers.length, mean(cell.numbers)]) }),
  });
  for (const select of [measure, across, up]) select.addEventListener("change", () => draw());

  function fixed() {
    return Object.fromEntries([...others.querySelectorAll("select")].filter((select) => select.value !== "").map((select) => [select.dataset.factor, JSON.parse(select.value)]));
  }

  function draw() {
    if (up.value === across.value) up.value = "";
    const free = varied.filter(({ name }) => name !== across.value && name !== up.value);
    if (others.dataset.key !== free.map(({ name }) => name).join("|")) {
      others.dataset.key = free.map(({ name }) => name).join("|");
      fill(others, free.map(({ name, values }) => h("label", {}, `${fieldName(name)} `, h("select", { "data-factor": name, onchange: () => draw() }, h("option", { value: "" }, "all values"), values.map((value) => h("option", { value: JSON.stringify(value) }, sayLevel(value)))))));
    }
    const held = fixed();
    const x = factors.find(({ name }) => name === across.value) || null;
    const y = factors.find(({ name }) => name === up.value) || null;
    cells = new Map();
    for (const row of found.results) {
      const point = valuesOf(found, row);
      if (Object.entries(held).some(([name, value]) => !isSame(point[name], value))) continue;
      const key = JSON.stringify([x ? point[x.name] : row.point, y ? point[y.name] : null]);
      if (!cells.has(key)) cells.set(key, { x: x ? point[x.name] : row.point, y: y ? point[y.name] : null, rows: [], numbers: [] });
      const cell = cells.get(key);
      cell.rows.push(row);
      const value = row[measure.value];
      if (typeof value === "number" && Number.isFinite(value)) cell.numbers.push(value);
    }
    const pooled = free.filter(({ name }) => !(name in held));
    words.textContent = `Mean of ${measure.value}${pooled.length ? `, over all values of ${pooled.map(({ name }) => fieldName(name)).join(", ")}` : ""}. Click a point to list its runs.`;
    if (x && y) drawSurface(x, y);
    else drawLine(x);
  }

  function drawSurface(x, y) {
    const [xs, ys] = [levels(x), levels(y)];
    const z = ys.map((v) => xs.map((u) => {
      const cell = cells.get(JSON.stringify([u, v]));
      return cell && cell.numbers.length ? mean(cell.numbers) : null;
    }));
    chart.draw([{
      type: "heatmap", x: xs.map((_, i) => i), y: ys.map((_, i) => i), z, colorscale: "Viridis", hoverongaps: false, xgap: 1, ygap: 1,
      text: ys.map((v) => xs.map((u) => hoverWords(x, u, y, v))), hovertemplate: "%{text}<br>mean %{z:.4~g}<extra></extra>", colorbar: { thickness: 12, outlinewidth: 0, tickfont: { size: 11 } },
    }], { xaxis: { ...ticks(xs), title: { text: plain(fieldName(x.name)) } }, yaxis: { ...ticks(ys), title: { text: plain(fieldName(y.name)) } }, hovermode: "closest", margin: { l: 96, b: 76 } });
  }

  function hoverWords(x, u, y, v) {
    const cell = cells.get(JSON.stringify([u, v]));
    return plain(`${fieldName(x.name)} ${sayLevel(u)}, ${fieldName(y.name)} ${sayLevel(v)}: ${plural(cell ? cell.rows.length : 0, "run")}`);
  }

  function drawLine(x) {
    const values = x ? levels(x) : [...cells.values()].map((cell) => cell.x);
    const isScale = x && values.every((value) => typeof value === "number") && values.length > 1;
    const at = (value, i) => (isScale ? value : i);
    const inOrder = values.map((value) => cells.get(JSON.stringify([value, null])));
    const means = inOrder.map((cell) => (cell && cell.numbers.length ? mean(cell.numbers) : null));
    const spread = inOrder.map((cell) => (cell ? deviation(cell.numbers) : null));
    const colour = lineStyle(0).color;
    const dots = inOrder.flatMap((cell, i) => (cell ? cell.numbers.map((value) => [at(values[i], i), value, i]) : []));
    chart.draw([
      { type: "scatter", mode: "markers", x: dots.map(([u]) => u), y: dots.map(([, v]) => v), customdata: dots.map(([, , i]) => i), marker: { color: faded(colour, 0.35), size: 6 }, hoverinfo: "y", name: "runs" },
      { type: "scatter", mode: isScale ? "lines+markers" : "markers", x: values.map(at), y: means, customdata: values.map((_, i) => i), error_y: { type: "data", array: spread, color: colour, thickness: 1 }, marker: { color: colour, size: 9 }, line: { color: colour, width: 2 }, hovertemplate: "mean %{y:.4~g}<extra></extra>", name: "mean ± sd" },
    ], { xaxis: { ...(isScale ? {} : ticks(values)), title: { text: plain(x ? fieldName(x.name) : "point") } }, yaxis: { title: { text: plain(measure.value) } }, hovermode: "closest", margin: { b: isScale ? 46 : 76 } });
  }

  function choose(point) {
    const x = factors.find(({ name }) => name === across.value) || null;
    const y = factors.find(({ name }) => name === up.value) || null;
    const xs = x ? levels(x) : [...cells.values()].map((cell) => cell.x);
    const cell = x && y ? cells.get(JSON.stringify([xs[point.x], levels(y)[point.y]])) : cells.get(JSON.stringify([xs[point.customdata ?? point.pointNumber], null]));
    fill(runs, cell ? runsView(app, found, cell, measure.value) : emptyWords("No run was made at this point."));
  }

  // Everything the chart leads to can be reached without a pointer.
  const byHand = h("select", { "aria-label": "Point to list the runs of", onchange: () => {
    const row = found.results.filter((each) => String(each.point) === byHand.value);
    if (row.length) fill(runs, runsView(app, found, { rows: row, numbers: [] }, measure.value));
  } }, h("option", { value: "" }, "or choose a point…"), [...new Set(found.results.map((row) => row.point))].slice(0, 2000).map((point) => h("option", { value: String(point) }, pointWords(found, point))));

  draw();
  return {
    element: h("div", {}, title, h("div", { class: "feed-tools" }, h("label", {}, "Measure ", measure), varied.length ? h("label", {}, "across ", across) : null, varied.length > 1 ? h("label", {}, "upwards ", up) : null), others, chart.element, words, byHand, runs),
    redraw: draw,
  };
}

function isSame(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

function levels(factor) {
  const isNumber = factor.values.every((value) => typeof value === "number");
  return isNumber ? [...factor.values].sort((a, b) => a - b) : factor.values;
}

function ticks(values) {
  const step = Math.max(1, Math.ceil(values.length / (2 * LEVELS_AS_WORDS)));
  const shown = values.map((value, i) => [i, value]).filter(([i]) => i % step === 0);
  return { tickvals: shown.map(([i]) => i), ticktext: shown.map(([, value]) => plain(sayLevel(value).slice(0, 18))) };
}

function sayLevel(value) {
  if (value === "") return "(empty)";
  if (value === null || value === undefined) return "none";
  return typeof value === "number" ? num(value) : typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The factors' values of a result: its own columns, or those of its point. */
function valuesOf(found, row) {
  const point = (found.points || [])[row.point] || {};
  return Object.fromEntries((found.factors || []).map(({ name }) => [name, name in row ? row[name] : point[name]]));
}

function pointWords(found, point) {
  const row = found.results.find((each) => each.point === point);
  const said = Object.entries(valuesOf(found, row)).map(([name, value]) => `${fieldName(name)} ${sayLevel(value)}`).join(", ");
  return `point ${point}: ${said.length > 120 ? `${said.slice(0, 119)}…` : said}`;
}

function mean(numbers) {
  return numbers.length ? numbers.reduce((sum, value) => sum + value, 0) / numbers.length : NaN;
}

function deviation(numbers) {
  if (numbers.length < 2) return null;
  const middle = mean(numbers);
  return Math.sqrt(numbers.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (numbers.length - 1));
}

function runsView(app, found, cell, measure) {
  const recorded = new Map((found.runs || []).map(([point, replicate, name]) => [`${point}|${replicate}`, name]));
  const trouble = h("p", { class: "failed", role: "alert", hidden: true });
  const open = async (row, button) => {
    button.disabled = true;
    trouble.hidden = true;
    try {
      const { run } = await app.source.json(`campaign-run/${row.point}/${row.replicate}`);
      await app.openRun(run);
    } catch (error) {
      trouble.textContent = error.message;
      trouble.hidden = false;
    }
    button.disabled = false;
  };
  const any = cell.rows.some((row) => recorded.get(`${row.point}|${row.replicate}`));
  return [
    h("h4", {}, `${plural(cell.rows.length, "run")} here`), trouble,
    any ? null : h("p", { class: "muted" }, "None of these runs was kept, so none can be replayed. With ", h("code", {}, 'record = "runs"'), " in its file a campaign keeps its runs."),
    expandable(h("ul", { class: "events" }), cell.rows, 50, (row) => {
      const name = recorded.get(`${row.point}|${row.replicate}`);
      const value = row[measure];
      const words = [`point ${row.point}, replicate ${row.replicate}`, h("span", { class: "muted" }, ` ${Object.entries(valuesOf(found, row)).map(([key, level]) => `${fieldName(key)} ${sayLevel(level)}`).join(", ")}`), ": ", h("strong", {}, typeof value === "number" ? num(value) : "no number"), row.status && row.status !== "done" && row.status !== "finished" ? h("span", { class: "failed" }, ` ${row.status}`) : null];
      return h("li", {}, name ? [h("button", { type: "button", class: "small open-run", title: name, onclick: (press) => open(row, press.target) }, "Open"), " "] : null, words);
    }),
    h("p", { class: "muted" }, `${whole(cell.numbers.length || cell.rows.length)} with a number${cell.numbers.length ? `, mean ${num(mean(cell.numbers))}` : ""}`),
  ];
}
