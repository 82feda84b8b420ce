// What ran: scenario, seed, parameters, minds, versions, cost, what was found beside its null, and everything the run noted.

import { h, fill, money, num, whole } from "./dom.js";
import { emptyWords, errorWords, fieldName, mindBadge, oneAtATime, rowsTable, valueView } from "./parts.js";

export function aboutPanel(app) {
  const element = h("div", { class: "panel panel-about" });
  let key = "";

  const work = oneAtATime(async () => {
    const model = app.runs[app.store.state.run] || app.main;
    const now = `${model.index}|${model.steps}|${model.head.status}`;
    if (now === key) return;
    const found = await model.findings().catch((error) => ({ error }));
    key = now;
    fill(element, runView(app, model, found));
  });

  return {
    title: "Run",
    element,
    update() {
      work().catch((error) => fill(element, errorWords(error)));
    },
  };
}

function runView(app, model, found) {
  const { head } = model;
  const pair = (label, value) => (value === null || value === undefined || value === "" ? null : [h("dt", {}, label), h("dd", {}, value)]);
  const steps = head.planned_steps && head.planned_steps !== head.steps ? `${whole(head.steps)} of ${whole(head.planned_steps)} planned` : whole(head.steps);
  const parameters = Object.entries(head.params || {});
  const findings = (found && found.findings) || [];
  return [
    h("h3", {}, head.title || head.name),
    exportView(app.session || {}),
    head.error ? h("p", { class: "failed", role: "alert" }, `It did not end well: ${head.error}`) : null,
    h("dl", { class: "pairs" },
      pair("run", head.name), pair("scenario", head.scenario), pair("status", statusWords(head)), pair("steps", steps), pair("agents", whole(model.n)), pair("seed", head.seed === undefined ? null : String(head.seed)),
      pair("minds", (head.minds || []).length ? head.minds.map((mind, i) => h("div", {}, mindBadge((head.mind_words || [])[i] || mind), mindCount(head, i))) : mindBadge(head.mind)), pair("about the minds", head.mind_note),
      pair("determinism", head.determinism), pair("digest", head.digest ? h("code", {}, head.digest) : null), pair("started", head.started), pair("simworld", head.version_of_simworld),
      pair("state recorded", head.recorded_steps === "all" || !head.recorded_steps ? "after every step" : `after ${whole(head.recorded_steps.length)} steps`)),
    notesView(head.notes || []),
    h("h3", {}, "Found"),
    found && found.error ? errorWords(found.error) : findings.length ? findingsView(findings) : emptyWords(head.is_growing ? "Findings come at the end of the run." : "This run has no findings: its observers report only series (tab “Metrics”)."),
    nullView((found && found.null_policy) || []),
    h("h3", {}, "Parameters"),
    parameters.length ? h("dl", { class: "pairs" }, parameters.map(([name, value]) => [h("dt", {}, fieldName(name)), h("dd", {}, valueView(app, model, value, ""))])) : emptyWords("The scenario has no parameters."),
    h("h3", {}, "Spending"), spendingView(head.spending || []),
    head.has_tape ? null : h("p", { class: "muted" }, "No language model was asked, so there are no prompts to show."),
  ];
}

/** What an exported file says of itself. */
function exportView(session) {
  if (!session.is_exported) return null;
  const left = [...(session.redacted || []), ...(session.left_out || [])];
  return [
    h("p", { class: "muted" }, `This is a file made by simworld ${session.version}: it holds all that it shows, and asks nobody.`),
    left.length ? [h("h3", {}, "Left out of this file"), h("ul", { class: "notes" }, left.map((words) => h("li", {}, words)))] : null,
  ];
}

function mindCount(head, i) {
  if (!head.agent_minds || head.minds.length < 2) return null;
  let count = 0;
  for (const mind of head.agent_minds) count += mind === i ? 1 : 0;
  return h("span", { class: "muted" }, ` ${whole(count)}`);
}

function statusWords(head) {
  if (head.is_growing) return "running";
  return head.status || "unknown";
}

function notesView(notes) {
  if (!notes.length) return null;
  return [h("h3", {}, "Notes"), h("ul", { class: "notes" }, notes.map((note) => h("li", {}, typeof note === "string" ? note : JSON.stringify(note))))];
}

function findingsView(findings) {
  const groups = new Map();
  for (const row of findings) {
    if (!groups.has(row.observer)) groups.set(row.observer, []);
    groups.get(row.observer).push(row);
  }
  const columns = [["value", "value"], ["null_mean", "null mean"], ["null_sd", "null sd"], ["p_value", "p"], ["closed_form", "theory"]];
  return [...groups].map(([observer, rows]) => {
    const shown = columns.filter(([key]) => rows.some((row) => Number.isFinite(row[key])));
    return h("div", { class: "scroll-x" }, h("table", { class: "records findings" }, h("caption", {}, fieldName(observer)),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "metric"), shown.map(([, title]) => h("th", { scope: "col", class: "number" }, title)))),
      h("tbody", {}, rows.map((row) => {
        // What the null is and what to keep in mind: in words, below the numbers.
        const words = [Number.isFinite(row.n) ? `n ${whole(row.n)}` : "", row.null ? `null: ${row.null}` : "", row.note || ""].filter(Boolean).join(" · ");
        return [
          h("tr", { class: words ? "has-note" : null }, h("th", { scope: "row" }, fieldName(row.metric)), shown.map(([key]) => h("td", { class: "number" }, num(row[key])))),
          words ? h("tr", {}, h("td", { class: "note", colspan: shown.length + 1 }, words)) : null,
        ];
      }))));
  });
}

function nullView(rows) {
  if (!rows.length) return null;
  const columns = Object.keys(rows[0]).map((name) => [name, fieldName(name)]);
  return h("details", { class: "fold" }, h("summary", {}, `The null policy on the same inputs (${whole(rows.length)} rows)`), rowsTable(rows, columns));
}

function spendingView(rows) {
  if (!rows.length) return h("p", { class: "muted" }, "Nothing was spent: no language model was asked.");
  const columns = Object.keys(rows[0]).map((name) => [name, fieldName(name), name.includes("usd") ? (value) => money(value) : name.includes("tokens") ? (value) => whole(value) : (value) => (typeof value === "number" ? num(value) : value ?? "–")]);
  return rowsTable(rows, columns);
}
