// Two runs on one clock: where they part, what the agents saw there, whom the difference reached, and what it does to every metric.

import { h, fill, num, plain, plural, whole } from "./dom.js";
import { Chart, lineStyle } from "./chart.js";
import { agentLink, decisionView, emptyWords, errorWords, expandable, fieldName, isAgent, isSameDecision, momentLink, oneAtATime, rowsTable } from "./parts.js";

const AGENTS_SHOWN = 3; // of those that differ first: what they saw is laid side by side

export function comparePanel(app) {
  const body = h("div", {});
  const element = h("div", { class: "panel panel-compare" }, body);
  let key = "";
  let charts = [];

  const work = oneAtATime(async () => {
    if (app.runs.length < 2) {
      fill(body, h("div", { class: "empty" }, h("p", {}, "One run is open, so there is nothing to compare."), h("p", {}, "Open two: ", h("code", {}, "simworld view RUN OTHER"), ". A fork beside what it was forked from shows what the change did.")));
      return;
    }
    const now = app.runs.map((model) => `${model.index}:${model.steps}:${model.head.status}`).join("|");
    if (now !== key) {
      fill(body, h("p", { class: "waiting" }, "Comparing the two runs, step by step…"));
      const found = await app.source.json("compare").catch((error) => ({ error: error.message }));
      key = now;
      charts = [];
      fill(body, found.error ? errorWords(`These two cannot be compared. ${found.error}`) : compareView(app, found, charts));
    }
    for (const chart of charts) chart.setStep(app.store.state.step);
  });

  return {
    title: "Compare",
    element,
    update(changed) {
      if (changed.has("theme")) for (const chart of charts) chart.again();
      work().catch((error) => fill(body, errorWords(error)));
    },
  };
}

function compareView(app, found, charts) {
  const [a, b] = app.runs;
  const { first } = found;
  const parts = [h("dl", { class: "pairs" }, h("dt", {}, "A"), h("dd", {}, runName(a)), h("dt", {}, "B"), h("dd", {}, runName(b)))];
  if (!first) {
    parts.push(h("p", { class: "verdict" }, `The two are the same in every step that both have, up to step ${whole(found.same_until)}.`));
  } else {
    parts.push(firstView(app, found));
    const saw = h("div", { class: "saw" }, h("p", { class: "waiting" }, "Repeating the step in both runs to see what the agents saw…"));
    parts.push(saw);
    sawView(app, first).then((view) => fill(saw, view), (error) => fill(saw, errorWords(error)));
    parts.push(reachedPart(app, found, charts));
  }
  parts.push(metricsPart(app, found, charts), findingsPart(found));
  return parts;
}

function runName(model) {
  const { head } = model;
  return [h("strong", {}, head.name), h("span", { class: "muted" }, ` seed ${head.seed ?? "–"}, ${plural(head.steps, "step")}, ${(head.minds || []).join(", ") || head.mind || ""}`)];
}

function firstView(app, { first, same_until: same }) {
  const [a] = app.runs;
  const agents = (first.agents || []).filter((agent) => isAgent(a, agent));
  const where = { events: "in what happens", ties: "in a tie", memory: "in what is remembered", globals: "in the society's own record", agents: "in an agent's state" }[first.stream] || `in the table “${first.stream}”`;
  const who = agents.length ? [" of ", expandable(h("span", {}), agents, 6, (agent, i) => [i ? ", " : "", agentLink(app, a, agent)])] : null;
  return h("section", { class: "first-difference" },
    h("h3", {}, `They part at step ${whole(first.step)}`),
    h("p", { class: "verdict" }, same >= 0 ? `Up to step ${whole(same)} they are the same. ` : "They differ from the start. ", "At step ", momentLink(app, a, { step: first.step, agent: agents[0] }, String(first.step)), ` they first differ ${where}`, who, "."),
    h("p", {}, h("button", { type: "button", class: "primary jump", onclick: () => app.store.set({ step: first.step, agent: agents.length ? agents[0] : -1, event: -1, playing: false }) }, `Go to step ${first.step}`)),
    h("div", { class: "side-by-side" },
      h("div", {}, h("h5", {}, "First only in A"), h("p", { class: "text" }, first.a || "nothing")),
      h("div", {}, h("h5", {}, "First only in B"), h("p", { class: "text" }, first.b || "nothing"))),
    first.prompts ? h("details", { class: "fold", open: true }, h("summary", {}, "What the language model was told differently"), diffView(first.prompts)) : null);
}

/** A unified difference with its lines marked. */
function diffView(text) {
  return h("pre", { class: "prompt diff", tabindex: "0" }, text.split("\n").map((line) => {
    const sort = line.startsWith("+") ? "added" : line.startsWith("-") ? "taken" : line.startsWith("@@") ? "muted" : null;
    return h("span", { class: sort }, line, "\n");
  }));
}

/** What the agents that differ first saw and answered in both runs. */
async function sawView(app, first) {
  const [a, b] = app.runs;
  const agents = (first.agents || []).filter((agent) => isAgent(a, agent) && isAgent(b, agent));
  if (!agents.length) return emptyWords("The difference belongs to no agent, so there is nothing that one of them saw otherwise.");
  const parts = [h("h3", {}, "What they saw")];
  let drawn = 0;
  let trouble = "";
  for (const agent of agents) {
    if (drawn >= AGENTS_SHOWN) break;
    const pair = await Promise.all([a, b].map(async (model) => ({ model, story: await model.story(agent).catch(() => ({})), found: await model.decisions(first.step, agent).catch((error) => ({ error: error.message })) })));
    const failed = pair.find((each) => !Array.isArray(each.found));
    if (failed) {
      trouble = (failed.found && failed.found.error) || "";
      continue;
    }
    const view = agentPair(app, agent, pair, first.step);
    if (!view) continue;
    parts.push(view);
    drawn++;
  }
  if (!drawn) parts.push(trouble ? h("p", { class: "muted" }, `What they saw is not known. ${trouble}`) : emptyWords("No decision of these agents differs in that step: the difference comes from the scenario itself, or from what was changed."));
  return parts;
}

function agentPair(app, agent, pair, step) {
  const [ours, theirs] = pair;
  const same = (x, y) => JSON.stringify(x) === JSON.stringify(y);
  const purposes = [...ours.found, ...theirs.found].reduce((seen, each) => (seen.some((one) => isSameDecision(one, each)) ? seen : [...seen, each]), []);
  const differing = purposes.map((purpose) => pair.map((each) => each.found.find((one) => isSameDecision(one, purpose)) || null)).filter(([x, y]) => !x || !y || !same(x.observation, y.observation) || !same(x.answer, y.answer) || x.refusal !== y.refusal);
  if (!differing.length) return null;
  return h("section", { class: "pair", "data-agent": agent }, h("h4", {}, agentLink(app, ours.model, agent)), differing.slice(0, 3).map((both) => {
    const differs = (part, field) => {
      const [x, y] = both.map((each) => (each && each[part] ? each[part][field] : undefined));
      return !same(x, y);
    };
    return h("div", { class: "side-by-side" }, both.map((decision, i) => h("div", { class: "one-side" }, h("h5", {}, i ? "In B" : "In A"),
      decision ? decisionView(app, pair[i].model, pair[i].story, step, decision, { differs }) : emptyWords("It was not asked this here."))));
  }), differing.length > 3 ? h("p", { class: "muted" }, `${plural(differing.length - 3, "further decision")} of it differ too.`) : null);
}

function reachedPart(app, found, charts) {
  const [a] = app.runs;
  const reached = (found.reached || []).map((row) => (Array.isArray(row) ? row : [row.agent, row.step]));
  if (!reached.length) return h("section", {}, h("h3", {}, "Whom it reached"), emptyWords("No agent's state or deeds ever differ."));
  const counts = new Map();
  for (const [, step] of reached) counts.set(step, (counts.get(step) || 0) + 1);
  const steps = [...counts.keys()].sort((x, y) => x - y);
  let sum = 0;
  const points = steps.map((step) => [step, (sum += counts.get(step))]);
  const last = Math.max(...app.runs.map((model) => model.steps), 1);
  const line = [[Math.max(0, points[0][0] - 1), 0], ...points, [last, sum]];
  const chart = new Chart(app, { label: "Agents that the difference has reached", clock: true, height: 200, name: () => ["reached", ...app.runs.map((model) => model.head.name)], data: () => ({ header: ["agent", "step"], rows: reached }) });
  chart.again = () => chart.draw([{ x: line.map(([x]) => x), y: line.map(([, y]) => y), type: "scatter", mode: "lines", line: { shape: "hv", color: lineStyle(0).color, width: 2 }, name: "agents reached" }],
    { xaxis: { title: { text: "step" }, range: [0, last] }, yaxis: { title: { text: "agents" }, rangemode: "tozero", ...(sum <= 6 ? { dtick: 1 } : {}) } });
  chart.again();
  charts.push(chart);
  const ordered = [...reached].sort((x, y) => x[1] - y[1] || x[0] - y[0]);
  return h("section", {}, h("h3", {}, `Whom it reached: ${whole(reached.length)} of ${plural(a.n, "agent")}`), chart.element,
    expandable(h("p", {}), ordered, 24, ([agent, step], i) => [i ? ", " : "", agentLink(app, a, agent), " ", momentLink(app, a, { step, agent }, `(${step})`)]));
}

function metricsPart(app, found, charts) {
  const [a, b] = app.runs;
  const rows = [...(found.metrics || [])].sort((x, y) => size(y) - size(x));
  if (!rows.length) return h("section", {}, h("h3", {}, "Metrics"), emptyWords("The two have no metric in common."));
  const choice = h("select", { "aria-label": "Metric of both runs" }, rows.map((row) => h("option", { value: row.metric }, row.metric)));
  let series = [null, null];
  const chart = new Chart(app, {
    label: "A metric of both runs", clock: true, name: () => [choice.value, a.head.name, b.head.name],
    data: () => {
      const other = new Map(Array.from(series[1].step, (step, i) => [step, series[1].columns[choice.value]?.[i]]));
      const own = new Map(Array.from(series[0].step, (step, i) => [step, series[0].columns[choice.value]?.[i]]));
      return { header: ["step", `A ${choice.value}`, `B ${choice.value}`], rows: [...new Set([...own.keys(), ...other.keys()])].sort((x, y) => x - y).map((step) => [step, own.get(step), other.get(step)]) };
    },
    onClick: (point) => app.store.set({ step: Math.max(0, Math.round(point.x)), playing: false }),
  });
  const draw = async () => {
    series = await Promise.all([a.metrics(), b.metrics()]);
    const last = Math.max(a.steps, b.steps, 1);
    const traces = series.map(({ step, columns }, i) => ({
      x: Array.from(step), y: Array.from(columns[choice.value] || [], (value) => (Number.isFinite(value) ? value : null)), type: "scatter", mode: "lines",
      line: { color: lineStyle(i).color, width: 2, dash: i ? "dash" : "solid" }, name: plain(`${i ? "B" : "A"} · ${app.runs[i].head.name}`),
    }));
    await chart.draw(traces, { xaxis: { title: { text: "step" }, range: [0, last] }, showlegend: true, margin: { t: 34 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } });
  };
  choice.addEventListener("change", draw);
  chart.again = draw;
  draw();
  charts.push(chart);
  const choose = (name) => h("button", { type: "button", class: "link", onclick: () => {
    choice.value = name;
    draw();
  } }, name);
  const changed = rows.filter((row) => row.difference || row.largest);
  const table = changed.length
    ? rowsTable(changed, [["metric", "metric", choose], ["a", "A at the end"], ["b", "B at the end"], ["difference", "B − A"], ["mean_difference", "mean since"], ["largest", "largest"], ["largest_at", "at step"]])
    : emptyWords("No metric ever differs between the two.");
  const same = rows.length - changed.length;
  return h("section", {}, h("h3", {}, "Metrics of both ", choice), chart.element, table, changed.length && same ? h("p", { class: "muted" }, `${plural(same, "other metric")} ${same === 1 ? "is" : "are"} the same in both.`) : null);
}

/** How large a metric's difference is beside the metric itself, so that the most changed stands first. */
function size(row) {
  const most = Math.abs(row.largest ?? row.difference ?? 0);
  const scale = Math.max(Math.abs(row.a || 0), Math.abs(row.b || 0), 1e-12);
  return Number.isFinite(most) ? most / scale : 0;
}

function findingsPart(found) {
  const all = found.findings || [];
  const rows = all.filter((row) => row.difference);
  if (!all.length) return null;
  const table = rowsTable(rows, [["observer", "observer", (name) => fieldName(name)], ["metric", "metric", (name) => fieldName(name)], ["a", "A"], ["b", "B"], ["difference", "B − A", (value) => (typeof value === "number" ? num(value) : "–")]]);
  return h("section", {}, h("h3", {}, "Findings of both"), rows.length ? table : emptyWords(`All ${whole(all.length)} findings are the same.`));
}
