// Everything said or posted, in threads or in order of time; what happens at the clock's step is marked and followed.

import { h, fill, plural, whole } from "./dom.js";
import { agentLink, agentName, emptyWords, errorWords, goTo, isAgent, kindChip, kindOf, lockMark, longText, momentLink, oneAtATime, whyButton } from "./parts.js";

const EVENTS_WHOLE = 30000; // runs with as many are read whole; of larger ones, what is around the clock's step
const AROUND_BEFORE = 150; // matching events before the step and
const AROUND_AFTER = 350; // after it that are read of a large run
const STEPS_LOOKED = 400; // at most so many steps to either side are looked through for them
const ROWS_DRAWN = 120;
const ROWS_MORE = 80;
const FOUND_SHOWN = 500; // hits of a search in a large run
const DEPTH_SHOWN = 2;
const NOT_SAID = new Set(["interview"]); // answers to the observer, whom nobody in the society hears
const TYPING_MS = 200;

export function feedPanel(app) {
  const search = h("input", { type: "search", class: "feed-search", placeholder: "Words in what was said", "aria-label": "Search in what was said", autocomplete: "off", spellcheck: "false" });
  const whose = h("select", { "aria-label": "Whose words" });
  const kinds = h("div", { class: "kinds-list" });
  const kindsWords = h("summary", {}, "Kinds");
  const kindsFold = h("details", { class: "kinds" }, kindsWords, kinds);
  const order = h("select", { "aria-label": "Order" }, h("option", { value: "threads" }, "in threads"), h("option", { value: "time" }, "in order of time"));
  const follow = h("input", { type: "checkbox", checked: true });
  const count = h("p", { class: "feed-count muted", role: "status" }, "\u00a0");
  const list = h("ol", { class: "feed-list", tabindex: "0", "aria-label": "What was said" });
  const element = h("div", { class: "panel panel-feed" },
    h("div", { class: "feed-tools" }, search, kindsFold), h("div", { class: "feed-tools" }, whose, order, h("label", { class: "check", title: "Keep what happens at the clock's step in view" }, follow, "follow")), count, list);

  let loaded = null; // { key, model, events, low, high, isWhole, total }
  let entries = [];
  let places = new Map(); // row of an event -> its place in entries
  let drawn = [0, 0];
  let drawnStep = -1;
  let listKey = ""; // of what is drawn: what was asked for, and how much of it there is
  let listOf = ""; // what was asked for
  let timer = 0;

  const chosen = (model) => {
    const { state } = app.store;
    const known = new Set((model.head.event_kinds || []).map((kind) => kind.name));
    const named = state.kinds ? state.kinds.split(",").filter((name) => known.has(name)) : [];
    return named.length ? named : usualKinds(model);
  };

  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => app.store.set({ query: search.value.trim() }), TYPING_MS);
  });
  whose.addEventListener("change", () => refresh());
  order.addEventListener("change", () => refresh());
  follow.addEventListener("change", () => follow.checked && seek(true));
  // A reader who scrolls wants to read on, not to be brought back at the next step.
  for (const kind of ["wheel", "touchmove"]) list.addEventListener(kind, () => app.store.state.playing && (follow.checked = false), { passive: true });
  list.addEventListener("scroll", () => {
    if (list.scrollTop + list.clientHeight > list.scrollHeight - 300) drawMore(1);
    if (list.scrollTop < 200) drawMore(-1);
  }, { passive: true });
  element.addEventListener("keydown", (press) => {
    if (press.key === "Escape" && kindsFold.open) kindsFold.open = false;
  });

  const work = oneAtATime(async () => {
    const { state } = app.store;
    const model = app.runs[state.run] || app.main;
    tools(model);
    const agent = whose.value === "agent" && isAgent(model, state.agent) ? state.agent : -1;
    const names = chosen(model);
    const key = JSON.stringify([model.index, model.head.event_rows, names, agent, state.query]);
    const isWhole = model.head.event_rows <= EVENTS_WHOLE;
    if (!loaded || loaded.key !== key || (!loaded.isWhole && !loaded.isFound && (state.step < loaded.low || state.step > loaded.high))) {
      list.setAttribute("aria-busy", "true");
      loaded = { ...(await loadEvents(model, { names, agent, text: state.query, step: state.step, isWhole })), key, model };
      list.removeAttribute("aria-busy");
    }
    const shape = `${key}|${loaded.low}|${loaded.high}|${order.value}`;
    if (shape !== listKey) {
      const top = listKey && !follow.checked ? topRow() : null;
      const asked = JSON.stringify([model.index, names, agent, state.query, order.value]);
      const wasSame = asked === listOf;
      listOf = asked;
      listKey = shape;
      entries = order.value === "threads" ? threadsOf(model, loaded.events) : loaded.events.map((event) => ({ event, depth: 0 }));
      places = new Map(entries.map((entry, i) => [entry.event ? entry.event.row : `head${i}`, i]));
      drawnStep = -1;
      drawn = [0, 0];
      say(model, names, agent);
      // A run that has grown is no reason to leave the place one reads at.
      if (top && wasSame && places.has(top.row)) stayAt(top);
      else seek(true);
    } else seek(false);
    markRows();
  });

  function refresh() {
    work().catch((error) => {
      list.removeAttribute("aria-busy");
      loaded = null;
      listKey = "";
      fill(list, h("li", {}, errorWords(error)));
    });
  }

  function tools(model) {
    const { state } = app.store;
    if (document.activeElement !== search && search.value !== state.query) search.value = state.query;
    const value = whose.value || "all";
    fill(whose, h("option", { value: "all" }, "of everybody"), h("option", { value: "agent", disabled: !isAgent(model, state.agent) },
      isAgent(model, state.agent) ? `of and to ${model.name(state.agent)}` : "of the selected agent"));
    whose.value = value === "agent" && isAgent(model, state.agent) ? "agent" : "all";
    const names = chosen(model);
    const all = model.head.event_kinds || [];
    const key = `${model.index}|${all.map((kind) => kind.name)}`;
    if (kinds.dataset.key !== key) {
      kinds.dataset.key = key;
      fill(kinds,
        h("p", {}, h("button", { type: "button", class: "link", onclick: () => app.store.set({ kinds: "" }) }, "what was said"), " · ",
          h("button", { type: "button", class: "link", onclick: () => app.store.set({ kinds: all.map((kind) => kind.name).join(",") }) }, "everything")),
        all.map((kind) => h("label", { class: "check" }, h("input", { type: "checkbox", value: kind.name, onchange: pickKinds }), ` ${kind.name} `, h("span", { class: "muted" }, whole(kind.count)),
          kind.is_private ? [" ", lockMark()] : null)));
    }
    for (const box of kinds.querySelectorAll("input")) box.checked = names.includes(box.value);
    kindsWords.textContent = names.length === all.length ? "every kind" : names.length <= 2 ? names.join(", ") || "Kinds" : `${names.length} of ${all.length} kinds`;
  }

  function pickKinds() {
    const names = [...kinds.querySelectorAll("input:checked")].map((box) => box.value);
    app.store.set({ kinds: names.join(",") });
  }

  function say(model, names, agent) {
    const { state } = app.store;
    const { events, isWhole, isFound, total, low, high } = loaded;
    const of = agent >= 0 ? ` of or to ${model.name(agent)}` : "";
    const where = isWhole ? "" : isFound ? (total > events.length ? `, the first ${whole(events.length)} shown` : "") : ` in steps ${low} to ${high}, around the clock`;
    count.textContent = `${plural(isFound ? total : events.length, "entry", "entries")}${of}${state.query ? ` with “${state.query}”` : ""}${where}`;
    if (entries.length) return;
    const hasAny = (model.head.event_kinds || []).some((kind) => names.includes(kind.name) && kind.count);
    const words = state.query ? [`Nothing${of} contains “${state.query}”. `] : hasAny ? [`Nothing${of} here. `] : ["Nothing was said in this run. "];
    fill(list, h("li", {}, emptyWords(...words, state.kinds || state.query ? h("button", { type: "button", class: "link", onclick: () => app.store.set({ kinds: "", query: "" }) }, "Show what was said") :
      (model.head.event_kinds || []).length ? h("button", { type: "button", class: "link", onclick: () => app.store.set({ kinds: model.head.event_kinds.map((kind) => kind.name).join(",") }) }, "Show everything that happened") : null)));
  }

  /** The row that is read now: of the event at the list's upper edge, and how far it is scrolled. */
  function topRow() {
    const edge = list.scrollTop + list.offsetTop;
    const row = [...list.querySelectorAll(".feed-row")].find((each) => each.offsetTop + each.offsetHeight > edge);
    return row ? { row: Number(row.dataset.row), by: edge - row.offsetTop } : null;
  }

  function stayAt(top) {
    const at = places.get(top.row);
    drawAround(at);
    const row = list.querySelector(`[data-place="${at}"]`);
    list.scrollTop = row.offsetTop - list.offsetTop + top.by;
    drawnStep = app.store.state.step;
  }

  /** Brings the entry of the selected event, or else of the clock's step, into view. */
  function seek(isForced) {
    const { state } = app.store;
    if (!entries.length) return;
    const isSelected = state.event >= 0 && places.has(state.event);
    const isAnew = isForced || drawn[1] === 0;
    if (!isAnew && (!follow.checked || drawnStep === state.step)) return;
    drawnStep = state.step;
    const at = isSelected && isAnew ? places.get(state.event) : placeOfStep(state.step);
    if (at < drawn[0] || at >= drawn[1] || isAnew) drawAround(at);
    const row = list.querySelector(`[data-place="${at}"]`);
    if (!row) return;
    const top = row.offsetTop - list.offsetTop;
    const isSeen = top >= list.scrollTop && top + row.offsetHeight <= list.scrollTop + list.clientHeight;
    if (!isSeen || isAnew) list.scrollTop = Math.max(0, top - 40);
  }

  /** The first thread that began in a step, else the first entry of it, else of the last step before it that has any. */
  function placeOfStep(step) {
    let best = 0;
    let bestStep = -1;
    let inside = -1;
    for (let i = 0; i < entries.length; i++) {
      const { event, depth } = entries[i];
      const at = event ? event.step : entries[i + 1].event.step;
      if (at === step && (!event || depth === 0)) return i;
      if (at === step && inside < 0) inside = i;
      if (at <= step && at > bestStep) {
        bestStep = at;
        best = i;
      }
    }
    return inside >= 0 ? inside : best;
  }

  function drawAround(at) {
    const low = Math.max(0, at - ROWS_DRAWN / 3);
    drawn = [Math.floor(low), Math.min(entries.length, Math.floor(low) + ROWS_DRAWN)];
    fill(list, entries.slice(...drawn).map((entry, i) => rowView(entry, drawn[0] + i)));
  }

  function drawMore(way) {
    if (!entries.length || drawn[1] === 0) return;
    if (way > 0 && drawn[1] < entries.length) {
      const end = Math.min(entries.length, drawn[1] + ROWS_MORE);
      list.append(...entries.slice(drawn[1], end).map((entry, i) => rowView(entry, drawn[1] + i)));
      drawn = [drawn[0], end];
      markRows();
    } else if (way < 0 && drawn[0] > 0) {
      const start = Math.max(0, drawn[0] - ROWS_MORE);
      const height = list.scrollHeight;
      const top = list.scrollTop;
      list.prepend(...entries.slice(start, drawn[0]).map((entry, i) => rowView(entry, start + i)));
      list.scrollTop = top + list.scrollHeight - height;
      drawn = [start, drawn[1]];
      markRows();
    }
  }

  function rowView(entry, place) {
    const { model } = loaded;
    if (!entry.event) return h("li", { class: "thread-head", "data-place": place }, entry.words, entry.isPrivate ? [" ", lockMark()] : null);
    const { event } = entry;
    const isPrivate = Boolean(kindOf(model, event.kind).is_private);
    const data = entry.hasHead ? "" : dataWords(event);
    const row = h("li", {
      class: `feed-row depth-${Math.min(entry.depth, DEPTH_SHOWN)}${isPrivate ? " is-private" : ""}`, "data-place": place, "data-row": event.row, "data-step": event.step,
      onclick: () => goTo(app, model, { step: event.step, agent: event.agent, event: event.row }),
    },
    h("div", { class: "feed-who" },
      momentLink(app, model, { step: event.step, agent: event.agent, event: event.row }, `step ${event.step}`), " ", agentLink(app, model, event.agent), " ", kindChip(event.kind),
      event.target >= 0 && !entry.isPair ? [" → ", agentLink(app, model, event.target)] : null, isPrivate ? [" ", lockMark()] : null, data ? h("span", { class: "muted" }, ` ${data}`) : null,
      h("span", { class: "feed-why" }, whyButton(app, model, event.row, event.step, event.agent))),
    event.text ? h("div", { class: "feed-text" }, longText(event.text, 500)) : null);
    return row;
  }

  function markRows() {
    const { state } = app.store;
    for (const row of list.querySelectorAll(".feed-row")) {
      row.classList.toggle("is-now", Number(row.dataset.step) === state.step);
      row.classList.toggle("is-later", Number(row.dataset.step) > state.step);
      const isHere = Number(row.dataset.row) === state.event;
      row.classList.toggle("is-selected", isHere);
      if (isHere) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  return { title: "Feed", element, update: refresh };
}

/** Kinds of events that are words: what was said and answered; else whatever has a text; else all. */
function usualKinds(model) {
  const all = model.head.event_kinds || [];
  const said = all.filter((kind) => !NOT_SAID.has(kind.name) && (kind.is_speech || (kind.is_reply && kind.has_text)));
  const texts = said.length ? said : all.filter((kind) => kind.has_text);
  return (texts.length ? texts : all).map((kind) => kind.name);
}

function dataWords(event) {
  if (!event.data) return "";
  try {
    const { phase } = JSON.parse(event.data) || {};
    return typeof phase === "string" ? phase : "";
  } catch {
    return "";
  }
}

async function loadEvents(model, { names, agent, text, step, isWhole }) {
  const wanted = new Set(names);
  const sought = text.toLowerCase();
  const fits = (event) => wanted.has(event.kind) && (agent < 0 || event.agent === agent || event.target === agent) && (!sought || event.text.toLowerCase().includes(sought));
  if (isWhole) {
    const events = (await model.eventsBetween(0, model.steps)).filter(fits);
    return { events, isWhole: true, isFound: false, low: 0, high: model.steps, total: events.length };
  }
  if (sought || agent >= 0) {
    const found = await model.search({ text, kinds: names, agent, limit: FOUND_SHOWN });
    return { events: found.rows, isWhole: false, isFound: true, low: 0, high: model.steps, total: found.total };
  }
  const side = async (from, way, many) => {
    const events = [];
    let t = from;
    for (; t >= 0 && t <= model.steps && events.length < many && Math.abs(t - from) < STEPS_LOOKED; t += way) {
      const found = await stepEvents(model, t, wanted);
      events.push(...(way > 0 ? found : found.reverse()));
    }
    return { events, end: t - way };
  };
  const after = await side(Math.max(0, step), 1, AROUND_AFTER);
  const before = await side(step - 1, -1, AROUND_BEFORE);
  return { events: [...before.events.reverse(), ...after.events], isWhole: false, isFound: false, low: Math.min(step, before.end < 0 ? 0 : before.end), high: Math.max(step, after.end), total: 0 };
}

/** Events of some kinds in a step, made only for the rows that are wanted. */
async function stepEvents(model, step, wanted) {
  const found = await model.eventColumns(step);
  if (!found) return [];
  const { block, from, to } = found;
  const ofKind = block.labels.kind.map((name) => wanted.has(name));
  const events = [];
  for (let i = from; i < to; i++) if (ofKind[block.columns.kind[i]]) events.push(model.eventAt(block, i));
  return events;
}

/** Events as threads: answers under what they answer, conversations together; a head before what several said. */
function threadsOf(model, events) {
  const threads = new Map();
  const roots = new Map(); // item -> { key, agent } of the thread that began it
  const isReply = new Map((model.head.event_kinds || []).map((kind) => [kind.name, kind.is_reply]));
  const isSpeech = new Map((model.head.event_kinds || []).map((kind) => [kind.name, kind.is_speech]));
  const latest = new Map(); // kind and item -> { key, step } of what was said of it last
  const counts = new Map();
  const several = new Set(); // kinds of which one item has several, as a conversation has turns: nothing reacts to such an item
  for (const event of events) {
    const key = `${event.kind}:${event.item}`;
    counts.set(key, (counts.get(key) || 0) + 1);
    if (counts.get(key) > 1) several.add(event.kind);
  }
  for (const event of events) {
    let key = `row:${event.row}`;
    if (event.item >= 0) {
      const root = roots.get(event.item);
      // What names an item and turns to the one who began it reacts to it: a share, a like.
      const isReaction = root && root.agent === event.target && !several.has(root.kind) && event.kind !== root.kind;
      if (isReply.get(event.kind)) key = root ? root.key : `answers:${event.item}`;
      else if (isReaction) key = root.key;
      else if (isSpeech.get(event.kind)) {
        // What is said of one thing at different times is no conversation.
        const spoken = `${event.kind}:${event.item}:${dataWords(event)}`;
        const before = latest.get(spoken);
        key = before && event.step - before.step <= 1 ? before.key : `${spoken}:${event.row}`;
        latest.set(spoken, { key, step: event.step });
        if (!root) roots.set(event.item, { key, agent: event.agent, kind: event.kind });
      }
    }
    if (!threads.has(key)) threads.set(key, []);
    threads.get(key).push(event);
  }
  const entries = [];
  for (const thread of threads.values()) {
    if (thread.length > 1 && thread.every((event) => event.kind === thread[0].kind) && !isReply.get(thread[0].kind)) {
      entries.push({ event: null, words: headWords(model, thread), isPrivate: Boolean(kindOf(model, thread[0].kind).is_private) });
      const isPair = new Set(thread.flatMap((event) => [event.agent, event.target])).size === 2;
      for (const event of thread) entries.push({ event, depth: 1, isPair, hasHead: true });
    } else entries.push(...nested(model, thread));
  }
  return entries;
}

function headWords(model, thread) {
  const people = [...new Set(thread.flatMap((event) => [event.agent, event.target]))].filter((a) => isAgent(model, a));
  const names = people.length <= 3 ? people.map((a) => agentName(model, a)).join(", ") : `${agentName(model, people[0])} and ${people.length - 1} others`;
  const steps = thread[0].step === thread[thread.length - 1].step ? `step ${thread[0].step}` : `steps ${thread[0].step} to ${thread[thread.length - 1].step}`;
  const phase = dataWords(thread[0]);
  return `${phase ? `${phase} · ` : ""}${names} · ${steps} · ${plural(thread.length, "turn")}`;
}

/** Answers under the last thing that the one they turn to said in the thread; else under its beginning. */
function nested(model, thread) {
  const [root, ...rest] = thread;
  const below = new Map([[root.row, []]]);
  for (let i = 0; i < rest.length; i++) {
    const event = rest[i];
    let parent = root;
    // A comment is on what was posted; only an answer to somebody's words goes under these.
    for (let k = i - 1; k >= 0 && event.text; k--) {
      if (rest[k].agent === event.target && rest[k].text && rest[k].target === event.agent) {
        parent = rest[k];
        break;
      }
    }
    below.get(parent.row).push(event);
    below.set(event.row, []);
  }
  const entries = [];
  const walk = (event, depth) => {
    entries.push({ event, depth });
    for (const each of below.get(event.row)) walk(each, depth + 1);
  };
  walk(root, 0);
  return entries;
}
