// One agent at the clock's step: who it is, its state and how it moved, what it did and decided, its ties and its memory.

import { h, fill, num, plural, whole } from "./dom.js";
import { agentLink, callsView, decisionView, emptyWords, errorWords, eventWords, expandable, fieldName, folding, holdsAgents, isAgent, isSameDecision, kindChip } from "./parts.js";
import { memoryView, mindBadge, momentLink, oneAtATime, recalledFor, recalledView, sparkline, whoDecided, whyButton } from "./parts.js";
import { whyPanel } from "./why.js";

const MEMORIES_SHOWN = 50;
const TIES_SHOWN = 24;
const CHUNKS_READ_WHOLE = 6; // of a column: a line over more of them shows the steps around the clock's only
const PAUSE_MS = 250; // a step is repeated to see its decisions when the clock has rested so long

export function agentPanel(app) {
  const why = whyPanel(app);
  const card = h("div", { class: "agent-card" });
  const element = h("div", { class: "panel panel-agent" }, card, why.element);
  const kept = new Map([["Who this is", false]]);
  let shown = null;
  let timer = 0;
  let lastAgent = app.store.state.agent;
  let lastRun = app.store.state.run;

  const refresh = oneAtATime(async () => {
    const { state } = app.store;
    const model = app.runs[state.run] || app.main;
    if (!isAgent(model, state.agent)) {
      shown = null;
      fill(card, nobodyView(model, state.agent));
      return;
    }
    if (!shown || shown.model !== model || shown.agent !== state.agent) {
      shown = agentFrame(app, model, state.agent, kept);
      fill(card, shown.element);
      element.scrollTop = 0;
    }
    await shown.update(state.step, state.playing);
  });

  const decide = oneAtATime(async () => {
    const { state } = app.store;
    if (shown && !state.playing && state.event < 0) await shown.decide(state.step);
  });

  return {
    title: "Agent",
    element,
    update(changed) {
      const { state } = app.store;
      const isOther = state.agent !== lastAgent || state.run !== lastRun;
      lastAgent = state.agent;
      lastRun = state.run;
      // Another agent was chosen elsewhere: what is asked about is that agent, not the event from before.
      if (isOther && state.event >= 0 && !changed.has("event")) app.store.set({ event: -1 });
      const asksWhy = state.event >= 0;
      why.element.hidden = !asksWhy;
      card.hidden = asksWhy;
      if (asksWhy) {
        why.update(changed);
        return;
      }
      refresh().catch((error) => fill(card, errorWords(error)));
      clearTimeout(timer);
      timer = setTimeout(() => decide().catch(() => null), shown ? PAUSE_MS : PAUSE_MS / 2);
    },
  };
}

function nobodyView(model, agent) {
  if (agent >= 0) return emptyWords(`There is no agent ${agent} in this run: it has ${plural(model.n, "agent")}, counted from 0.`);
  if (!model.n) return emptyWords("This run has no agents.");
  return h("div", { class: "empty" },
    h("p", {}, "Nobody is selected."),
    h("p", {}, "Click an agent in the graph, pick one in the tab “Agents”, or press ", h("kbd", {}, "/"), " and type a name."),
    h("p", {}, "You will see who it is, what it did and decided at this step, its ties and what it remembers, and, behind every “Why?”, what led to it."));
}

/** The card of one agent: built once, then brought to each step. */
function agentFrame(app, model, agent, kept) {
  const now = folding("At this step", { open: true, kept });
  const state = folding("State", { open: true, kept });
  const ties = folding("Ties", { open: true, kept });
  const memory = folding("Memory", { open: true, kept });
  const persona = folding("Who this is", { kept });
  const gist = h("p", { class: "gist" }, "\u00a0");
  const events = h("div", { class: "did" });
  const decisions = h("div", { class: "decided" });
  const stateRows = stateTable(model, agent);
  now.body.append(events, decisions);
  state.body.append(stateRows.element);
  const hasMemory = Boolean(model.head.has_memory);
  const element = h("div", {},
    h("header", { class: "agent-head" }, h("h3", {}, model.name(agent)), h("span", { class: "muted" }, `agent ${agent}`), mindBadge(model.mindOf(agent))),
    gist, persona.element, now.element, state.element, ties.element, hasMemory ? memory.element : null);

  let asked = null;
  let askedAt = -1;
  let decidedAt = -1;
  let memoryKey = "";
  let memoryLimit = MEMORIES_SHOWN;

  /** The agent's whole story; of a growing run asked for again when it has grown. */
  function ask() {
    if (asked && askedAt === model.steps) return asked;
    askedAt = model.steps;
    asked = model.story(agent).then((story) => {
      const groups = personaGroups(story);
      fill(persona.body, personaView(groups));
      fill(gist, personaGist(groups));
      return story;
    });
    asked.catch((error) => fill(persona.body, errorWords(error)));
    return asked;
  }

  async function update(step) {
    ask();
    now.element.querySelector(".fold-title").textContent = `At step ${step}`;
    const [found, changes] = await Promise.all([
      model.events(step).catch((error) => error), model.tieChanges(step).catch(() => []), stateRows.update(step),
    ]);
    if (found instanceof Error) fill(events, errorWords(found));
    else fill(events, didView(app, model, agent, found, step));
    if (decidedAt !== step && step > 0) wait("What it saw and decided shows when the clock rests.");
    else if (step === 0) settle(null);
    const count = await model.tiesNow(step, (held) => tiesView(app, model, agent, held, changes, Array.isArray(found) ? found : [], step, ties.body));
    ties.count.textContent = whole(count);
    if (hasMemory) await remember(step);
  }

  /** Says that decisions are on their way, in the room that those before took: what stands below stays where it is. */
  function wait(words) {
    const room = decisions.offsetHeight;
    if (!decisions.style.minHeight && room) decisions.style.minHeight = `${room}px`;
    if (decisions.firstChild?.textContent !== words) fill(decisions, h("p", { class: "waiting" }, words));
  }

  function settle(view) {
    decisions.style.minHeight = "";
    fill(decisions, view);
  }

  async function remember(step) {
    let story;
    try {
      story = await ask();
    } catch (error) {
      fill(memory.body, errorWords(error));
      return;
    }
    const held = memoryAt(story, step);
    memory.count.textContent = whole(held.stream.length);
    const key = `${held.stream.length}:${held.stream.length ? held.stream[0].id : -1}:${held.version}:${memoryLimit}`;
    if (key === memoryKey) return;
    memoryKey = key;
    fill(memory.body, memorySection(app, model, story, held, memoryLimit, () => {
      memoryLimit *= 4;
      remember(step);
    }));
  }

  async function decide(step) {
    if (decidedAt === step || step < 1) return;
    wait("Repeating the step to see what it saw…");
    const story = await ask().catch(() => ({}));
    const found = await model.decisions(step, agent).catch((error) => ({ error: error.message }));
    if (app.store.state.step !== step) return;
    decidedAt = step;
    settle(decisionsView(app, model, story, step, found));
  }

  return { model, agent, element, update, decide };
}

/** What an agent did and what was done to it in a step, with the way to why. */
function didView(app, model, agent, events, step) {
  const own = events.filter((event) => event.agent === agent);
  const others = events.filter((event) => event.target === agent && event.agent !== agent);
  if (!own.length && !others.length) {
    return emptyWords(step === 0 ? "Step 0 is how everything stood at the beginning. Press play, or go to a later step." : "Nothing of it is recorded in this step.");
  }
  const item = (event) => h("li", { "data-row": event.row }, eventWords(app, model, event, { cut: 240, isOwn: event.agent === agent }), " ", whyButton(app, model, event.row, event.step, event.agent));
  return [
    own.length ? expandable(h("ul", { class: "events" }), own, 12, item) : null,
    others.length ? [h("h5", {}, "Done to it"), expandable(h("ul", { class: "events" }), others, 8, item)] : null,
  ];
}

function decisionsView(app, model, story, step, found) {
  if (Array.isArray(found) && found.length) {
    return found.map((decision) => h("details", { class: "fold inner" },
      h("summary", {}, `${whoDecided(decision.mind)}: ${fieldName(decision.decision || decision.purpose)}`, h("span", { class: "muted" }, answerGist(decision))),
      decisionView(app, model, story, step, decision, { title: false })));
  }
  // Where the step cannot be repeated, what the run recorded of it still stands.
  const recalls = (story.recalls || []).filter((recall) => recall.step === step);
  const calls = (story.calls || []).filter((call) => call.step === step);
  const purposes = [...recalls, ...calls].reduce((seen, each) => (seen.some((one) => isSameDecision(one, each)) ? seen : [...seen, each]), []);
  return [
    found && found.error ? h("p", { class: "muted" }, `What it saw is not known. ${found.error}`) : emptyWords("Nothing was asked of it in this step."),
    purposes.map((each) => h("details", { class: "fold inner" }, h("summary", {}, `Asked: ${fieldName(each.purpose)}`),
      recalls.some((recall) => isSameDecision(recall, each)) ? recalledView(app, model, recalledFor(story, step, each)) : null,
      callsView(calls.filter((call) => isSameDecision(call, each))))),
  ];
}

function answerGist(decision) {
  if (decision.refusal) return " no usable answer";
  const said = Object.entries(decision.answer || {}).filter(([, value]) => value !== null && value !== "" && value !== false && !(Array.isArray(value) && !value.length));
  const words = said.slice(0, 3).map(([key, value]) => `${fieldName(key)} ${typeof value === "number" ? num(value) : typeof value === "object" ? "…" : value}`).join(", ");
  return words ? ` ${words.length > 90 ? `${words.slice(0, 89)}…` : words}` : " nothing";
}

/** The columns of the state table for one agent, each with a small line over the steps. */
function stateTable(model, agent) {
  const tables = model.head.tables || {};
  const columns = tables.agents || [];
  if (!columns.length) return { element: emptyWords("The agents of this run have no state columns."), update: async () => {} };
  const rows = new Map();
  const body = h("tbody", {});
  for (const { name } of columns) {
    const value = h("td", { class: "state-value" }, "\u00a0");
    const line = h("td", { class: "state-line" });
    const row = h("tr", { "data-column": name }, h("th", { scope: "row" }, fieldName(name)), value, line);
    rows.set(name, { value, line, row, series: null });
    body.append(row);
  }
  const element = h("table", { class: "state" }, body);

  async function update(step) {
    await Promise.all(columns.map(async ({ name }) => {
      const place = rows.get(name);
      try {
        if (!place.series || step < place.series.first || step >= place.series.first + place.series.values.length) {
          place.series = await seriesAround(model, name, agent, step);
        }
      } catch (error) {
        fill(place.value, h("span", { class: "failed" }, error.message));
        return;
      }
      const { values, labels, first } = place.series;
      const at = values[step - first];
      const before = step > first ? values[step - first - 1] : at;
      const isMoved = !Object.is(at, before);
      const said = sayValue(model, name, at, labels);
      place.row.classList.toggle("moved", isMoved);
      fill(place.value, h("span", { class: said.length > 40 ? "long" : null, title: said }, said), isMoved ? h("span", { class: "was", title: "before this step" }, `was ${sayValue(model, name, before, labels)}`) : null);
      fill(place.line, sparkline(place.series, step));
    }));
  }

  return { element, update };
}

function sayValue(model, name, value, labels) {
  if (!Number.isFinite(value)) return "–";
  if (!labels && holdsAgents(name) && isAgent(model, value)) return model.name(value);
  if (!labels) return num(value);
  const said = labels[value];
  return said === undefined ? "–" : said === "true" ? "yes" : said === "false" ? "no" : said === "" ? "(empty)" : said;
}

async function seriesAround(model, name, agent, step) {
  const chunks = Math.floor(model.steps / model.size) + 1;
  if (chunks <= CHUNKS_READ_WHOLE) return { ...(await model.series(name, agent)), first: 0 };
  const c = model.chunkOf(step);
  const { columns, labels: said } = await model.stream(`column/agents/${encodeURIComponent(name)}`).get(c);
  const labels = said.key || said.value || null;
  const size = Math.min(model.size, model.steps + 1 - c * model.size);
  const values = new Float64Array(size);
  let now = agent < columns.key.length ? columns.key[agent] : NaN;
  for (let k = 0; k < size; k++) {
    for (let i = columns.step_offsets[k]; i < columns.step_offsets[k + 1]; i++) if (columns.id[i] === agent) now = columns.value[i];
    values[k] = labels && now >= labels.length ? NaN : now;
  }
  return { values, labels, first: c * model.size };
}

/** Writes an agent's ties by kind and direction, and those that this step changed; returns how many it has. */
function tiesView(app, model, agent, ties, changes, events, step, place) {
  const groups = new Map();
  const add = (kind, way, other, weight) => {
    const key = `${kind}|${way}`;
    if (!groups.has(key)) groups.set(key, { kind: model.head.tie_kinds[kind] || "tie", way, others: [] });
    groups.get(key).others.push({ other, weight });
  };
  const isDirected = model.head.directed;
  let count = 0;
  for (let i = 0; i < ties.n; i++) {
    if (ties.source[i] !== agent && ties.target[i] !== agent) continue;
    count++;
    if (!isDirected) add(ties.kind[i], "with", ties.source[i] === agent ? ties.target[i] : ties.source[i], ties.weight[i]);
    else if (ties.source[i] === agent) add(ties.kind[i], "to", ties.target[i], ties.weight[i]);
    else add(ties.kind[i], "from", ties.source[i], ties.weight[i]);
  }
  const mine = changes.filter((change) => change.source === agent || change.target === agent);
  const changed = new Set(mine.filter((change) => change.op === "set").map((change) => `${change.kind}|${change.source}|${change.target}`));
  const isNew = (group, other) => changed.has(group.way === "from" ? `${group.kind}|${other}|${agent}` : `${group.kind}|${agent}|${other}`)
    || (group.way === "with" && changed.has(`${group.kind}|${other}|${agent}`));
  const ordered = [...groups.values()].sort((a, b) => (a.kind === b.kind ? b.way.localeCompare(a.way) : model.head.tie_kinds.indexOf(a.kind) - model.head.tie_kinds.indexOf(b.kind)));
  fill(place,
    mine.length ? [h("h5", {}, "Changed in this step"), expandable(h("ul", { class: "events tie-changes" }), mine, 10, (change) => changeView(app, model, change, events, step))] : null,
    ordered.map((group) => {
      group.others.sort((a, b) => b.weight - a.weight || a.other - b.other);
      const list = expandable(h("p", { class: "tie-list" }), group.others, TIES_SHOWN, ({ other, weight }, i) => [
        i ? ", " : "", h("span", { class: isNew(group, other) ? "is-new" : null }, agentLink(app, model, other), weight !== 1 ? h("span", { class: "muted" }, ` ${num(weight)}`) : null),
      ]);
      return h("div", { class: "tie-group" }, h("h5", {}, `${fieldName(group.kind)}${{ to: ", to others", from: ", from others", with: "" }[group.way]} `, h("span", { class: "fold-count" }, whole(group.others.length))), list);
    }),
    count || mine.length ? null : emptyWords("No ties at this step."));
  return count;
}

/** One change of a tie in words, and why: the event of the step that names both. */
function changeView(app, model, change, events, step) {
  const words = change.op === "removed" ? "ended" : change.isNew ? "made" : `now ${num(change.weight)}`;
  const arrow = model.head.directed ? " → " : " – ";
  const cause = causeOfTie(change, events);
  const why = cause
    ? whyButton(app, model, cause.row, step, cause.agent)
    : h("span", { class: "muted", title: "No event of this step names these two; the scenario changes such ties by itself." }, "no event names it");
  return h("li", { class: change.op === "removed" ? "tie-ended" : "tie-made" }, kindChip(change.kind), " ", agentLink(app, model, change.source), arrow, agentLink(app, model, change.target), ` ${words} `, why);
}

/** The event that a tie's change came from: of the same step, between the same two; best one of the tie's own name. */
function causeOfTie(change, events) {
  const between = events.filter((event) => (event.agent === change.source && event.target === change.target) || (event.agent === change.target && event.target === change.source));
  const named = (event) => event.kind.includes(change.kind) || change.kind.includes(event.kind);
  const forward = between.filter((event) => event.agent === change.source);
  return forward.find(named) || between.find(named) || forward[0] || between[0] || null;
}

/** What an agent remembered after a step: { core: [[name, text]], stream newest first, reflections, version }. */
function memoryAt(story, step) {
  const gone = new Set();
  const ended = new Map();
  const core = new Map();
  let version = 0;
  for (const change of story.changes || []) {
    if (change.step > step) continue;
    version++;
    const ids = change.ids || change.refs || (change.id >= 0 ? [change.id] : []);
    if (change.op === "forget" || change.op === "evict") for (const id of ids) gone.add(id);
    if (change.op === "close") for (const id of ids) ended.set(id, change.valid_to ?? change.step);
    if (change.op === "core" || change.op === "tree") core.set(change.predicate || change.name || change.op, change.text || "");
  }
  const stream = (story.memory || []).filter((memory) => memory.t <= step && !gone.has(memory.id))
    .map((memory) => ({ ...memory, valid_to: ended.has(memory.id) ? ended.get(memory.id) : memory.valid_to ?? -1 }));
  stream.reverse();
  return { core: [...core], stream, version };
}

function memorySection(app, model, story, held, limit, more) {
  const known = new Map((story.memory || []).map((memory) => [memory.id, memory]));
  const isCore = (memory) => memory.is_core || memory.kind === "formative";
  const isReflection = (memory) => memory.kind === "reflection";
  const core = held.stream.filter(isCore).reverse();
  const reflections = held.stream.filter(isReflection);
  const stream = held.stream.filter((memory) => !isCore(memory) && !isReflection(memory));
  const evidence = (memory) => {
    const ids = [...new Set([...(memory.links || []), ...(memory.refs || [])])].filter((id) => known.has(id));
    if (!ids.length) return null;
    return h("div", { class: "evidence" }, "because of ", ids.slice(0, 8).map((id, i) => {
      const from = known.get(id);
      const text = from.text.length > 60 ? `${from.text.slice(0, 59)}…` : from.text;
      return [i ? "; " : "", momentLink(app, model, { step: from.t, event: from.event_row >= 0 ? from.event_row : undefined, tab: "agent" }, `“${text}” (step ${from.t})`)];
    }));
  };
  const item = (memory) => h("li", {}, memoryView(app, model, memory, { extra: evidence(memory) }));
  if (!held.stream.length && !held.core.length) return emptyWords("It remembers nothing yet.");
  return [
    held.core.length ? [h("h5", {}, "What it keeps in mind"), h("dl", { class: "pairs" }, held.core.map(([name, text]) => [h("dt", {}, fieldName(name)), h("dd", {}, text || "(empty)")]))] : null,
    reflections.length ? [h("h5", {}, `Reflections (${whole(reflections.length)})`), expandable(h("ol", { class: "memories" }), reflections, 10, item)] : null,
    stream.length ? [h("h5", {}, `Stream, newest first (${whole(stream.length)})`), h("ol", { class: "memories" }, stream.slice(0, limit).map(item)),
      stream.length > limit ? h("button", { type: "button", class: "link more", onclick: more }, `show more (${whole(stream.length - limit)} older)`) : null] : null,
    core.length ? [h("h5", {}, `Core and formative (${whole(core.length)})`), expandable(h("ol", { class: "memories" }), core, 8, item)] : null,
  ];
}

/** Groups of a persona's card: [[group, [[label, value]]]]. */
function personaGroups(story) {
  const persona = story.persona || {};
  return Array.isArray(persona) ? persona : persona.groups || persona.card || [];
}

function personaView(groups) {
  if (!groups.length) return emptyWords("This agent has no persona.");
  return groups.map(([group, pairs]) => h("section", { class: "persona-group" }, h("h5", {}, fieldName(group)),
    h("dl", { class: "pairs" }, pairs.map(([label, value]) => [h("dt", {}, fieldName(label)), h("dd", {}, typeof value === "number" ? num(value) : String(value ?? "–"))]))));
}

/** The first lines of the card in one, so that a glance says who this is. */
function personaGist(groups) {
  const words = groups.slice(0, 2).flatMap(([, pairs]) => pairs).filter(([label, value]) => String(value).length < 40 && !["name", "id", "kind"].includes(String(label).toLowerCase()))
    .slice(0, 5).map(([label, value]) => `${fieldName(label)} ${typeof value === "number" ? num(value) : value}`);
  return words.length ? words.join(" · ") : "\u00a0";
}
