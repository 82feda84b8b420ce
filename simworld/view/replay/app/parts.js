// What several panels show: links to agents and moments, events in words, values of an observation, decisions, small lines.

import { h, fill, num, plural, shorten, money, whole, mindLabel } from "./dom.js";

const TEXT_SHOWN = 600;
const ITEMS_SHOWN = 12;
const WIDTH_OF_TABLE = 46; // characters that a table of records may need side by side; wider ones become a list
const SPARK_WIDTH = 132;
const SPARK_HEIGHT = 26;

/** Fields of an observation or an answer that hold numbers of agents. */
const AGENT_FIELDS = new Set([
  "agent", "agents", "author", "partner", "partners", "target", "source", "by", "player", "speaker", "listener", "other", "main_influence", "voter",
  "about", "who", "parent", "proposes", "accuses", "defends", "opponent", "recipient", "donor", "trustor", "trustee", "suspect", "talk_to", "follow", "unfollow",
  "follows", "winner", "victim", "friend", "friends", "neighbour", "neighbours", "neighbor", "neighbors",
]);

/** Fields that hold numbers of items: posts, pieces of news, … */
const ITEM_FIELDS = new Set(["post", "target_post", "news", "item", "mentions"]);

/** Fields that hold numbers of memories. */
const MEMORY_FIELDS = new Set(["record", "memory", "records", "memories"]);

/** Runs async work one at a time; a call in between makes it run once more. */
export function oneAtATime(work) {
  let isRunning = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    try {
      while (isWanted) {
        isWanted = false;
        await work();
      }
    } finally {
      isRunning = false;
    }
  };
}

export function emptyWords(...words) {
  return h("p", { class: "empty" }, ...words);
}

export function errorWords(error) {
  return h("p", { class: "failed", role: "alert" }, (error && error.message) || String(error));
}

/** A folding section that stays as the reader left it; `body` is its content's place. */
export function folding(title, { open = false, extra = null, kept = null } = {}) {
  const body = h("div", { class: "fold-body" });
  const count = h("span", { class: "fold-count" });
  const element = h("details", { class: "fold", open }, h("summary", {}, h("span", { class: "fold-title" }, title), " ", count, extra), body);
  if (kept) {
    if (kept.has(title)) element.open = kept.get(title);
    element.addEventListener("toggle", () => kept.set(title, element.open));
  }
  return { element, body, count };
}

/** Whether a number is that of an agent of this run. */
export function isAgent(model, a) {
  return Number.isInteger(a) && a >= 0 && a < model.n;
}

export function agentName(model, a) {
  return isAgent(model, a) ? model.name(a) : "the world";
}

/** Sets the clock, the agent and the event; what is left out stays. */
export function goTo(app, model, { step, agent, event, tab }) {
  const wanted = { run: model.index, playing: false };
  if (step !== undefined && step >= 0) wanted.step = Math.min(step, model.steps);
  if (agent !== undefined && agent >= 0) wanted.agent = agent;
  wanted.event = event === undefined ? -1 : event;
  if (tab) wanted.tab = tab;
  app.store.set(wanted);
}

export function agentLink(app, model, a, words) {
  if (!isAgent(model, a)) return h("span", { class: "nobody" }, words || agentName(model, a));
  return h("button", {
    type: "button", class: "link agent-link", "data-agent": a,
    onclick: (press) => {
      press.stopPropagation();
      goTo(app, model, { agent: a, tab: "agent" });
    },
  }, words || model.name(a));
}

export function momentLink(app, model, { step, agent, event, tab }, words) {
  return h("button", {
    type: "button", class: "link moment-link", "data-step": step,
    onclick: (press) => {
      press.stopPropagation();
      goTo(app, model, { step, agent, event, tab });
    },
  }, words || `step ${step}`);
}

export function whyButton(app, model, row, step, agent, words) {
  return h("button", {
    type: "button", class: "why-button", "data-row": row, title: "What led to this, and whom it reached",
    onclick: (press) => {
      press.stopPropagation();
      goTo(app, model, { step, agent, event: row, tab: "agent" });
    },
  }, words || "Why?");
}

export function kindOf(model, name) {
  return (model.head.event_kinds || []).find((kind) => kind.name === name) || { name };
}

export function lockMark() {
  return h("span", { class: "private-mark", title: "Only those who took part heard this" },
    h("svg", { class: "lock", viewBox: "0 0 12 14", width: 10, height: 12, "aria-hidden": "true" }, h("path", { d: "M2 6V4a4 4 0 0 1 8 0v2h1v8H1V6zm2 0h4V4a2 2 0 0 0-4 0z" })), " private");
}

export function kindChip(name) {
  return h("span", { class: "chip" }, name);
}

/** An event in words: who (left out where it is about its own), what, to whom, and its text. */
export function eventWords(app, model, event, { cut = TEXT_SHOWN, isOwn = false } = {}) {
  const words = isOwn ? [kindChip(event.kind)] : [agentLink(app, model, event.agent), " ", kindChip(event.kind)];
  if (event.target >= 0) words.push(" → ", agentLink(app, model, event.target));
  if (kindOf(model, event.kind).is_private) words.push(" ", lockMark());
  if (event.text) words.push(" ", h("span", { class: "said" }, longText(event.text, cut)));
  if (!event.text && Number.isFinite(event.value)) words.push(" ", h("span", { class: "muted" }, num(event.value)));
  return h("span", { class: "event-words" }, words);
}

/** A text, cut where it is long, with a button that shows the rest. */
export function longText(text, cut = TEXT_SHOWN) {
  const said = String(text);
  if (said.length <= cut * 1.2) return said;
  const shown = h("span", {}, shorten(said, cut), " ");
  const more = h("button", {
    type: "button", class: "link",
    onclick: (press) => {
      press.stopPropagation();
      fill(shown, said);
    },
  }, `show all ${whole(said.length)} characters`);
  shown.append(more);
  return shown;
}

/** Whether a column or field of this name holds numbers of agents. */
export function holdsAgents(name) {
  return AGENT_FIELDS.has(name);
}

export function fieldName(name) {
  return String(name).replaceAll("_", " ");
}

/** The agents and items that an answer names, as "agent:3" and "item:7": rows of an observation that hold them are marked. */
export function namedIn(answer) {
  const found = new Set();
  const look = (key, value) => {
    if (Array.isArray(value)) for (const each of value) look(key, each);
    else if (value && typeof value === "object") for (const [k, v] of Object.entries(value)) look(k, v);
    else if (Number.isInteger(value) && AGENT_FIELDS.has(key)) found.add(`agent:${value}`);
    else if (Number.isInteger(value) && ITEM_FIELDS.has(key)) found.add(`item:${value}`);
  };
  for (const [key, value] of Object.entries(answer || {})) look(key, value);
  return found;
}

function isMarked(record, marks) {
  for (const [key, value] of Object.entries(record)) {
    if (!Number.isInteger(value)) continue;
    if (AGENT_FIELDS.has(key) && marks.has(`agent:${value}`)) return true;
    if (ITEM_FIELDS.has(key) && marks.has(`item:${value}`)) return true;
  }
  return false;
}

/** A value of an observation or an answer. `marks` are what the answer names; `onItem` and `onMemory` make what is shown for a number of one. */
export function valueView(app, model, value, key = "", { marks = new Set(), onItem = null, onMemory = null, limit = 0, depth = 0 } = {}) {
  const inner = { marks, onItem, onMemory, limit, depth: depth + 1 };
  if (value === null || value === undefined || value === "") return h("span", { class: "muted" }, value === "" ? "(empty)" : "none");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    if (AGENT_FIELDS.has(key) && isAgent(model, value)) return agentLink(app, model, value);
    if (AGENT_FIELDS.has(key) && value === -1) return h("span", { class: "muted" }, "nobody");
    if (ITEM_FIELDS.has(key) && onItem && value >= 0) return onItem(value, key);
    if (MEMORY_FIELDS.has(key) && onMemory && value >= 0) return onMemory(value);
    return num(value);
  }
  if (typeof value === "string") return h("span", { class: "text" }, longText(value));
  if (Array.isArray(value)) return listView(app, model, value, key, inner);
  const pairs = Object.entries(value);
  if (!pairs.length) return h("span", { class: "muted" }, "none");
  if (depth > 5) return h("span", { class: "muted" }, "…");
  return pairsView(app, model, pairs, inner);
}

function pairsView(app, model, pairs, options) {
  return h("dl", { class: "pairs" }, pairs.map(([key, value]) => {
    const wide = isWide(value) ? "wide" : null;
    return [h("dt", { class: wide }, fieldName(key)), h("dd", { class: wide }, valueView(app, model, value, key, options))];
  }));
}

/** Whether a value needs the whole width below its name. */
function isWide(value) {
  if (typeof value === "string") return value.length > 220;
  return value !== null && typeof value === "object" && JSON.stringify(value).length > 60;
}

function listView(app, model, values, key, options) {
  if (!values.length) return h("span", { class: "muted" }, "none");
  const isRecords = values.every((each) => each && typeof each === "object" && !Array.isArray(each));
  if (isRecords) return recordsView(app, model, values, options);
  const isShort = values.every((each) => each === null || typeof each !== "object") && values.every((each) => String(each).length < 40);
  const make = (each) => valueView(app, model, each, key, options);
  if (isShort) {
    const place = h("span", {});
    return expandable(place, values, ITEMS_SHOWN, (each, i) => [i ? ", " : "", make(each)]);
  }
  const place = h("ol", { class: "values" });
  return expandable(place, values, ITEMS_SHOWN, (each) => h("li", {}, make(each)));
}

function recordsView(app, model, records, options) {
  const keys = [...new Set(records.flatMap((record) => Object.keys(record)))];
  // What the answer names stands first, so that it is seen without scrolling.
  const ordered = [...records].sort((a, b) => Number(isMarked(b, options.marks)) - Number(isMarked(a, options.marks)));
  const width = keys.reduce((sum, key) => sum + Math.max(key.length, ...records.slice(0, ITEMS_SHOWN).map((record) => widthOf(key, record[key]))), 0);
  if (width > WIDTH_OF_TABLE) {
    return expandable(h("ol", { class: "values" }), ordered, options.limit || ITEMS_SHOWN, (record) => h("li", { class: isMarked(record, options.marks) ? "is-named" : null, title: isMarked(record, options.marks) ? "named in the answer" : null }, recordView(app, model, record, options)));
  }
  const body = h("tbody", {});
  const table = h("table", { class: "records" }, h("thead", {}, h("tr", {}, keys.map((key) => h("th", { scope: "col" }, fieldName(key))))), body);
  expandable(body, ordered, options.limit || ITEMS_SHOWN, (record) => {
    const named = isMarked(record, options.marks);
    return h("tr", { class: named ? "is-named" : null, title: named ? "named in the answer" : null }, keys.map((key) =>
      h("td", { class: typeof record[key] === "number" && !AGENT_FIELDS.has(key) ? "number" : null }, valueView(app, model, record[key], key, options))));
  }, (more) => h("tr", {}, h("td", { colspan: keys.length }, more)));
  return h("div", { class: "scroll-x" }, table);
}

/** About how many characters a field needs in a table. */
function widthOf(key, value) {
  if (AGENT_FIELDS.has(key)) return 14;
  if (MEMORY_FIELDS.has(key)) return WIDTH_OF_TABLE;
  if (value && typeof value === "object") return JSON.stringify(value).length;
  return typeof value === "number" ? 6 : String(value ?? "").length;
}

/** A record in a few lines: its short fields in one, then its longest text, then what is nested in it. */
function recordView(app, model, record, options) {
  const entries = Object.entries(record);
  const isLong = ([key, value]) => MEMORY_FIELDS.has(key) || (typeof value === "string" ? value.length > 24 : Boolean(value) && typeof value === "object" && JSON.stringify(value).length > 40);
  const short = entries.filter((entry) => !isLong(entry));
  const long = entries.filter(isLong);
  return [
    short.length ? h("div", { class: "meta" }, short.map(([key, value]) => h("span", {}, `${fieldName(key)} `, h("span", { class: "meta-value" }, valueView(app, model, value, key, options))))) : null,
    long.map(([key, value]) => (typeof value === "string" ? h("div", { class: "text" }, longText(value, 300)) : h("div", {}, h("span", { class: "muted" }, `${fieldName(key)}: `), valueView(app, model, value, key, options)))),
  ];
}

/** Fills a place with the first of many, and a button that shows the rest. */
export function expandable(place, values, limit, make, wrap = null) {
  const shown = values.slice(0, limit);
  fill(place, shown.map(make));
  if (values.length > limit) {
    const tag = place.tagName === "OL" || place.tagName === "UL" ? (more) => h("li", { class: "more" }, more) : (more) => more;
    const more = h("button", {
      type: "button", class: "link more",
      onclick: (press) => {
        press.stopPropagation();
        expandable(place, values, Math.max(limit * 10, 200), make, wrap);
      },
    }, `show ${whole(values.length - limit)} more`);
    place.append(" ", (wrap || tag)(more));
  }
  return place;
}

/** What decided, as a sentence's beginning. */
export function whoDecided(mind) {
  const said = String(mind || "");
  if (said.startsWith("rules")) return "A rule decided";
  if (said.startsWith("null")) return "The null policy decided";
  if (said.startsWith("human")) return "A person decided";
  if (said.startsWith("none") || !said) return "Decided";
  return "A language model decided";
}

export function mindBadge(mind) {
  const said = String(mind || "none");
  const sort = said.startsWith("rules") ? "rules" : said.startsWith("null") ? "null" : said.startsWith("human") ? "human" : "model";
  return h("span", { class: `badge mind-${sort}` }, mindLabel(said));
}

/** The three parts of a retrieval's score as bars; a score alone where the parts are not known. */
export function scoreView(score, parts) {
  const place = h("span", { class: "score" }, h("span", { class: "score-total", title: "score of the retrieval" }, num(score)));
  for (const [name, value] of Object.entries(parts || {})) {
    if (!Number.isFinite(value)) continue;
    const bar = h("span", { class: "bar" });
    bar.style.setProperty("--share", String(Math.max(0, Math.min(1, value))));
    place.append(h("span", { class: "score-part", title: `${name} ${num(value)}` }, h("span", { class: "score-name" }, name), bar, num(value)));
  }
  return place;
}

/** One memory in a line or two: text, kind, when, from whom, and the moment it came from. */
export function memoryView(app, model, memory, { extra = null, cut = 400 } = {}) {
  const words = [h("span", { class: "text" }, longText(memory.text || "(no text)", cut)), " ", kindChip(memory.kind || "memory")];
  if (memory.is_core) words.push(" ", h("span", { class: "chip" }, "core"));
  if (memory.is_private) words.push(" ", lockMark());
  const meta = [];
  if (memory.event_row >= 0) {
    meta.push(momentLink(app, model, { step: memory.t_event, event: memory.event_row, tab: "agent" }, `from an event of step ${memory.t_event}`));
  } else if (Number.isInteger(memory.t)) meta.push(momentLink(app, model, { step: memory.t }, `step ${memory.t}`));
  if (isAgent(model, memory.source)) meta.push(h("span", {}, "from ", agentLink(app, model, memory.source)));
  if (memory.place) meta.push(h("span", { class: "muted" }, memory.place));
  if (Number.isFinite(memory.importance)) meta.push(h("span", { class: "muted" }, `importance ${num(memory.importance)}`));
  if (memory.valid_to >= 0) meta.push(h("span", { class: "muted" }, `held until step ${memory.valid_to}`));
  return h("div", { class: "memory", "data-memory": memory.id }, h("div", {}, words), h("div", { class: "meta" }, meta), extra);
}

export function isSameDecision(a, b) {
  return a.purpose === b.purpose && (a.occurrence || 0) === (b.occurrence || 0);
}

/** What came to mind for a decision: { found: [{memory, score, parts}], question, policy } from the agent's story. */
export function recalledFor(story, step, decision) {
  const recall = (story.recalls || []).find((each) => each.step === step && isSameDecision(each, decision));
  const known = new Map((story.memory || []).map((memory) => [memory.id, memory]));
  // A repeated step knows the parts of each score, the run's log only their sum.
  const own = decision.found || [];
  const from = own.length || !recall ? own : recall.found;
  const found = from.map((each) => ({ ...each, memory: known.get(each.id) || null })).filter((each) => each.memory);
  return { found, question: recall ? recall.question : "", policy: recall ? recall.policy : "" };
}

export function recalledView(app, model, recalled, { limit = 8 } = {}) {
  if (!recalled.found.length) return emptyWords("No memory was retrieved for this.");
  const list = expandable(h("ol", { class: "memories" }), recalled.found, limit, (one) =>
    h("li", {}, memoryView(app, model, one.memory, { extra: h("div", { class: "meta" }, scoreView(one.score, one.parts)) })));
  const words = [];
  if (recalled.question) words.push("Asked of memory: ", h("q", {}, recalled.question));
  if (recalled.policy) words.push(`${words.length ? " · " : ""}retrieval “${recalled.policy}”`);
  return h("div", {}, words.length ? h("p", { class: "muted" }, words) : null, list);
}

/** Calls of a language model for one decision, folded, with tokens and cost. */
export function callsView(calls) {
  return calls.map((call) => {
    const cost = [`${plural(call.input_tokens || 0, "token")} in`, `${whole(call.output_tokens || 0)} out`];
    if (Number.isFinite(call.usd)) cost.push(money(call.usd));
    if (Number.isFinite(call.seconds)) cost.push(`${num(call.seconds)} s`);
    const attempt = call.attempt ? `, attempt ${call.attempt + 1}` : "";
    const part = (title, text) => (text ? [h("h5", {}, title), h("pre", { class: "prompt", tabindex: "0" }, text)] : null);
    return h("details", { class: "call" },
      h("summary", {}, `Prompt and reply: ${call.model || "model"}${attempt} `, h("span", { class: "muted" }, cost.join(" · "))),
      part("System", call.system), part("Prompt", call.user), part(`Reply${call.finish ? ` (${call.finish})` : ""}`, call.reply));
  });
}

/** A decision whole: what the agent saw, what came to mind, what it answered, and what a model was told. `limit`: of long lists so many are shown at first; `between` stands after the answer. */
export function decisionView(app, model, story, step, decision, { onItem = null, differs = null, limit = 8, title = true, between = null } = {}) {
  const marks = namedIn(decision.answer);
  const known = new Map((story.memory || []).map((memory) => [memory.id, memory]));
  const onMemory = (id) => (known.has(id) ? memoryView(app, model, known.get(id), { cut: 120 }) : num(id));
  const pairs = (values, part) => {
    const entries = Object.entries(values || {});
    if (!entries.length) return emptyWords("Nothing.");
    return h("dl", { class: "pairs" }, entries.map(([key, value]) => {
      const wide = isWide(value) ? "wide" : "";
      return [h("dt", { class: wide }, fieldName(key)), h("dd", { class: `${wide}${differs && differs(part, key) ? " differs" : ""}` }, valueView(app, model, value, key, { marks, onItem, onMemory, limit }))];
    }));
  };
  const calls = (story.calls || []).filter((call) => call.step === step && isSameDecision(call, decision));
  const recalled = recalledFor(story, step, decision);
  const hasMemory = recalled.found.length > 0 || recalled.question;
  return h("div", { class: "decision" },
    h(title ? "h4" : "p", {}, title ? [`${whoDecided(decision.mind)}: `, h("span", { class: "decision-name" }, fieldName(decision.decision || decision.purpose)), " "] : null, mindBadge(decision.mind_label || decision.mind)),
    h("h5", {}, "It answered"),
    decision.refusal ? h("p", { class: "failed" }, "No usable answer: ", decision.refusal) : null,
    decision.answer ? pairs(decision.answer, "answer") : decision.refusal ? null : emptyWords("No answer is recorded."),
    between,
    h("h5", {}, "It saw"), pairs(decision.observation, "observation"),
    hasMemory ? [h("h5", {}, `It remembered (${recalled.found.length})`), recalledView(app, model, recalled, { limit })] : null,
    callsView(calls));
}

/** A small line of numbers over steps, or blocks for categories, with the step of the clock marked. */
export function sparkline(series, step) {
  const { values, labels, first } = series;
  const n = values.length;
  const x = (i) => (n < 2 ? SPARK_WIDTH / 2 : (i / (n - 1)) * (SPARK_WIDTH - 2) + 1);
  const svg = h("svg", { class: "spark", viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`, width: SPARK_WIDTH, height: SPARK_HEIGHT, "aria-hidden": "true" });
  if (labels) {
    for (let i = 0; i < n;) {
      let end = i;
      while (end < n && Object.is(values[end], values[i])) end++; // NaN, of somebody not born yet, is itself
      if (values[i] < labels.length) {
        svg.append(h("rect", { x: x(i), y: 7, width: Math.max(1.2, x(Math.min(end, n - 1)) - x(i) - 0.6), height: 12, class: `tone tone-${values[i] % 8}` }, h("title", {}, labels[values[i]])));
      }
      i = end;
    }
  } else {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low > high) return svg;
    const y = (value) => (high === low ? SPARK_HEIGHT / 2 : SPARK_HEIGHT - 3 - ((value - low) / (high - low)) * (SPARK_HEIGHT - 6));
    let path = "";
    let isPen = false;
    for (let i = 0; i < n; i++) {
      if (!Number.isFinite(values[i])) {
        isPen = false;
        continue;
      }
      path += `${isPen ? "L" : "M"}${x(i).toFixed(1)} ${y(values[i]).toFixed(1)}`;
      isPen = true;
    }
    svg.append(h("path", { d: path, class: "spark-line" }));
    const now = values[step - first];
    if (Number.isFinite(now)) svg.append(h("circle", { cx: x(step - first), cy: y(now), r: 2.6, class: "spark-now" }));
  }
  if (step >= first && step < first + n) svg.append(h("line", { x1: x(step - first), x2: x(step - first), y1: 0, y2: SPARK_HEIGHT, class: "spark-step" }));
  return svg;
}

/** A table of rows (objects): columns are [key, title, format?]; numbers stand to the right. */
export function rowsTable(rows, columns, { caption = null } = {}) {
  const isNumber = (key) => rows.some((row) => typeof row[key] === "number");
  const shown = columns.filter(([key]) => rows.some((row) => row[key] !== null && row[key] !== undefined && row[key] !== ""));
  return h("div", { class: "scroll-x" }, h("table", { class: "records" }, caption ? h("caption", {}, caption) : null,
    h("thead", {}, h("tr", {}, shown.map(([key, title]) => h("th", { scope: "col", class: isNumber(key) ? "number" : null }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, shown.map(([key, , format]) => {
      const value = row[key];
      const said = format ? format(value, row) : typeof value === "number" ? num(value) : value ?? "–";
      return h("td", { class: typeof value === "number" ? "number" : null }, said);
    }))))));
}

/** Rows as CSV, quoted where needed; what a spreadsheet would run as a formula gets an apostrophe. */
export function csvText(header, rows) {
  const cell = (value) => {
    if (value === null || value === undefined || (typeof value === "number" && Number.isNaN(value))) return "";
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    const said = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(said) ? `"${said.replaceAll('"', '""')}"` : said;
  };
  return [header, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

export function fileName(...parts) {
  return parts.filter((part) => part !== "" && part !== null && part !== undefined).map((part) => String(part).replace(/[^\w.-]+/g, "-").slice(0, 60)).join("_");
}
