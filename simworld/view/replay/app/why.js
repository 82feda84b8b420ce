// Why did this happen, and what came of it: from an event back to the decision, the memories and the others behind it, and forward to whom it reached.

import { h, fill, num, plural } from "./dom.js";
import { agentLink, agentName, decisionView, emptyWords, errorWords, eventWords, expandable, fieldName, folding, goTo, isAgent, kindChip } from "./parts.js";
import { kindOf, momentLink, namedIn, recalledFor, scoreView, whoDecided } from "./parts.js";

const DEPTH = 4; // steps back that one can unfold in place; from there, "Why?" of the last one begins anew
const CAUSES_SHOWN = 8;
const MEMORIES_TRACED = 5; // best of what came to mind: of those the events are looked up
const STEPS_BACK = 20; // how far what somebody did before is looked for
const EVERYBODY = 60; // agents whose memories are all looked through; with more of them, only those addressed
const TREE_SHOWN = 200;

export function whyPanel(app) {
  const body = h("div", { class: "why-body" });
  const title = h("h3", { class: "why-title", tabindex: "-1" }, "Why?");
  const back = h("button", { type: "button", class: "back", onclick: () => app.store.set({ event: -1 }) }, "← Back");
  const element = h("section", { class: "why", "aria-label": "Why did this happen" }, h("header", { class: "why-head" }, back, title), body);
  let shown = "";

  async function show(model, row) {
    const key = `${model.index}:${row}`;
    if (shown === key) return;
    shown = key;
    const event = await model.event(row).catch((error) => error);
    if (shown !== key) return;
    if (!event || event instanceof Error) {
      title.textContent = "Why?";
      fill(body, event ? errorWords(event) : emptyWords(`There is no event ${row} in this run: it has ${plural(model.head.event_rows, "event")}.`));
      return;
    }
    back.textContent = isAgent(model, event.agent) ? `← ${model.name(event.agent)}` : "← Back";
    title.textContent = `Why this? Step ${event.step}`;
    const cause = h("div", { class: "cause" }, h("p", { class: "waiting" }, "Repeating the step to see what led to this…"));
    const reached = folding("Whom it reached", { open: true });
    fill(reached.body, h("p", { class: "waiting" }, "Looking for what came of it…"));
    fill(body,
      h("p", { class: "why-event", "data-row": event.row }, eventWords(app, model, event), " ", momentLink(app, model, { step: event.step, agent: event.agent, event: event.row, tab: "agent" }, `go to step ${event.step}`)),
      h("h4", {}, "What led to it"), cause, reached.element);
    causeView(app, model, event, 0, new Set([event.row])).then((view) => fill(cause, view), (error) => fill(cause, errorWords(error)));
    reachedView(app, model, event).then((view) => fill(reached.body, view), (error) => fill(reached.body, errorWords(error)));
  }

  return {
    title: "Why",
    element,
    update() {
      const { state } = app.store;
      const model = app.runs[state.run] || app.main;
      if (state.event < 0) shown = "";
      else show(model, state.event).catch((error) => fill(body, errorWords(error)));
    },
  };
}

/** The decision that an event came from: { decision, isSure, all, error }. */
async function decisionOf(model, event) {
  if (!isAgent(model, event.agent) || event.step < 1) return { decision: null, all: [] };
  const found = await model.decisions(event.step, event.agent).catch((error) => ({ error: error.message }));
  if (!Array.isArray(found)) return { decision: null, all: [], error: (found && found.error) || "" };
  const rated = found.map((decision) => [fitOf(decision, event), decision]).sort((a, b) => b[0] - a[0]);
  if (!rated.length || rated[0][0] <= 0) return { decision: null, all: found };
  const best = rated.filter(([fit]) => fit === rated[0][0]);
  return { decision: rated[0][1], isSure: best.length === 1, all: found };
}

/** How well a decision fits an event of the same agent and step: by its text, its target, its item and its name. */
function fitOf(decision, event) {
  let fit = 0;
  const data = parsed(event.data);
  if (data && data.decision === decision.decision) fit += (data.occurrence || 0) === (decision.occurrence || 0) ? 6 : 1;
  const named = namedIn(decision.answer);
  if (event.target >= 0 && named.has(`agent:${event.target}`)) fit += 2;
  if (event.item >= 0 && named.has(`item:${event.item}`)) fit += 2;
  const values = Object.values(decision.answer || {});
  if (event.text && values.includes(event.text)) fit += 4;
  if (values.includes(event.kind)) fit += 3;
  const names = [decision.decision, decision.purpose].map((name) => String(name || "").toLowerCase());
  const kind = event.kind.toLowerCase();
  if (names.some((name) => name && (name === kind || kind.includes(name) || name.startsWith(kind)))) fit += 2;
  const phase = data && typeof data.phase === "string" ? data.phase.toLowerCase() : "";
  if (phase && names.some((name) => name.includes(phase))) fit += 2;
  return fit;
}

function parsed(data) {
  if (!data) return null;
  try {
    const said = JSON.parse(data);
    return said && typeof said === "object" ? said : null;
  } catch {
    return null;
  }
}

/** Everything behind one event: its decision, and the events of others that the decision drew on, each to be unfolded in turn. */
async function causeView(app, model, event, depth, seen) {
  const { decision, isSure, all, error } = await decisionOf(model, event);
  const story = isAgent(model, event.agent) ? await model.story(event.agent).catch(() => ({})) : {};
  const causes = await causesOf(model, event, decision, story, seen);
  const others = [...new Set(causes.map((cause) => cause.event.agent))].filter((a) => isAgent(model, a) && a !== event.agent);
  const isOpen = depth === 0;
  const from = causes.length
    ? [h("h5", {}, "Which came from"), others.length ? h("p", { class: "muted" }, "Others behind this: ", others.map((a, i) => [i ? ", " : "", agentLink(app, model, a)]), ".") : null,
      expandable(h("ol", { class: "causes" }), causes, CAUSES_SHOWN, (cause) => causeItem(app, model, cause, depth, seen))]
    : emptyWords("Nothing that anybody did before is recorded as a cause of it.");
  if (decision) {
    const view = (between) => decisionView(app, model, story, event.step, decision, { onItem: (item, key) => itemLink(app, model, item, key), limit: 4, between });
    const doubt = isSure ? null : h("p", { class: "muted" }, "More than one decision of this step could be behind it; most likely this one.");
    if (isOpen) return [doubt, view(h("div", {}, from))];
    return [doubt, unfolding(`${whoDecided(decision.mind)}: ${fieldName(decision.decision || decision.purpose)}. What it answered, saw and remembered`, async () => view(null)), from];
  }
  const parts = [];
  if (error) parts.push(h("p", { class: "muted" }, `What was decided is not known. ${error}`));
  else if (!isAgent(model, event.agent)) parts.push(h("p", {}, "No agent did this: it is the scenario's own doing."));
  else if (event.step < 1) parts.push(h("p", {}, "This stood at the beginning: the scenario set it so, nobody decided it."));
  else if (all.length) {
    parts.push(h("p", {}, "No decision of this step names this; it follows by the scenario's own rules, after what was decided:"));
    parts.push(expandable(h("ul", { class: "events" }), all, 6, (one) => h("li", {}, unfolding(`${whoDecided(one.mind)}: ${fieldName(one.decision || one.purpose)}`, async () => decisionView(app, model, story, event.step, one)))));
  } else parts.push(h("p", {}, `${agentName(model, event.agent)} was asked nothing in this step: this follows by the scenario's own rules.`));
  return [parts, from];
}

function causeItem(app, model, cause, depth, seen) {
  const { event, how, memory, score, parts } = cause;
  const line = [h("span", { class: "how" }, how), " ", eventWords(app, model, event, { cut: 200 }), h("span", { class: "muted" }, ` step ${event.step}`)];
  const held = memory ? h("div", { class: "meta" }, h("span", {}, "held as “", memory.text.length > 140 ? `${memory.text.slice(0, 139)}…` : memory.text, "”"), score === null ? null : scoreView(score, parts)) : null;
  const go = momentLink(app, model, { step: event.step, agent: event.agent, event: event.row, tab: "agent" }, "Why that?");
  go.classList.add("why-button");
  const deeper = depth + 1 < DEPTH
    ? unfolding("What led to that", () => causeView(app, model, event, depth + 1, new Set([...seen, event.row])))
    : null;
  return h("li", { class: "cause-item", "data-row": event.row, "data-agent": event.agent }, h("div", {}, line, " ", go), held, deeper);
}

/** A folded part whose content is made when it is first opened. */
function unfolding(words, make) {
  const place = h("div", { class: "fold-body" });
  const element = h("details", { class: "fold inner" }, h("summary", {}, words), place);
  element.addEventListener("toggle", () => {
    if (!element.open || place.firstChild) return;
    fill(place, h("p", { class: "waiting" }, "Looking…"));
    make().then((view) => fill(place, view), (error) => fill(place, errorWords(error)));
  });
  return element;
}

/** A number of a post, a piece of news, …: leads to where it began. */
function itemLink(app, model, item, key) {
  return h("button", {
    type: "button", class: "link item-link", title: "Where this came from",
    onclick: async (press) => {
      press.stopPropagation();
      const first = await firstOfItem(model, item, { key }).catch(() => null);
      if (first) goTo(app, model, { step: first.step, agent: first.agent, event: first.row, tab: "agent" });
      else press.target.replaceWith(h("span", { class: "muted", title: "No event carries it" }, `${fieldName(key)} ${item}`));
    },
  }, `${item}`);
}

/** Where an item began: the first event that carries it; `key` names the field that holds it, `row` an event that does. */
async function firstOfItem(model, item, { key = "", row = -1 } = {}) {
  const { nodes = [] } = await model.lineage(item, row);
  const family = { post: "post", target_post: "post", news: "news" }[key] || (nodes.find((node) => node.row === row) || {}).family;
  const fitting = nodes.filter((node) => node.row >= 0 && (!family || node.family === family));
  return fitting.length ? model.event(Math.min(...fitting.map((node) => node.row))) : null;
}

/** Events that an event drew on, nearest first, each with how: [{event, how, memory?, score?, parts?}]. */
async function causesOf(model, event, decision, story, seen) {
  const found = [];
  const rows = new Set(seen);
  const add = (cause) => {
    if (!cause.event || rows.has(cause.event.row) || cause.event.row >= event.row) return;
    rows.add(cause.event.row);
    found.push(cause);
  };
  // What was said or done to it earlier in the same step, and the conversation so far.
  const now = await model.events(event.step).catch(() => []);
  const before = now.filter((each) => each.row < event.row);
  const isTurn = (each) => each.kind === event.kind && each.item >= 0 && each.item === event.item && each.agent !== event.agent;
  const heard = before.filter((each) => isTurn(each) && (each.target === event.agent || (each.target < 0 && event.target < 0)));
  for (const each of heard.slice(-2).reverse()) add({ event: each, how: "just before" });
  for (const each of before.filter((one) => one.target === event.agent && one.agent !== event.agent).slice(-3).reverse()) add({ event: each, how: "done to it in this step" });
  // What it reacted to: the post or the news that the event or the answer names.
  const named = namedIn(decision ? decision.answer : null);
  const isReaction = kindOf(model, event.kind).is_reply && event.item >= 0;
  const items = new Set(isReaction ? [event.item] : []);
  for (const name of named) if (name.startsWith("item:")) items.add(Number(name.slice(5)));
  for (const item of items) {
    const row = item === event.item ? event.row : -1;
    add({ event: await firstOfItem(model, item, { key: row < 0 ? keyOfItem(decision, item) : "", row }).catch(() => null), how: "what it reacted to" });
  }
  // What came to mind, best first.
  if (decision) {
    const recalled = recalledFor(story, event.step, decision).found.filter((each) => each.memory.event_row >= 0);
    // What it knew of those whom the answer names first: that is what the answer is about.
    const isAbout = (each) => named.has(`agent:${each.memory.source}`);
    for (const each of [...recalled.filter(isAbout).slice(0, MEMORIES_TRACED), ...recalled.slice(0, MEMORIES_TRACED)]) {
      const from = await model.event(each.memory.event_row).catch(() => null);
      add({ event: from, how: from && from.agent !== event.agent ? "remembered from another" : "remembered", memory: each.memory, score: each.score, parts: each.parts });
    }
  }
  // What the one it turned to had let be seen before.
  const towards = event.target >= 0 ? event.target : Number([...named].find((name) => name.startsWith("agent:"))?.slice(6) ?? -1);
  if (isAgent(model, towards) && towards !== event.agent) {
    for (const each of await lastSaid(model, towards, event, 3)) add({ event: each, how: `${agentName(model, towards)} before` });
  }
  return found;
}

function keyOfItem(decision, item) {
  const found = Object.entries((decision && decision.answer) || {}).find(([, value]) => value === item);
  return found ? found[0] : "";
}

async function lastSaid(model, agent, event, many) {
  const found = [];
  for (let t = event.step; t >= Math.max(0, event.step - STEPS_BACK) && found.length < many; t--) {
    const said = (await model.events(t).catch(() => [])).filter((each) => each.agent === agent && each.row < event.row && each.text && !kindOf(model, each.kind).is_private);
    const speech = said.filter((each) => kindOf(model, each.kind).is_speech);
    found.push(...(speech.length ? speech : said).reverse().slice(0, many - found.length));
  }
  return found;
}

/** Forward: whose memory holds it and what they did with it; the tie it changed; the tree of what it carried. */
async function reachedView(app, model, event) {
  const [held, changes, tree] = await Promise.all([heldBy(model, event), model.tieChanges(event.step).catch(() => []), treeOf(model, event)]);
  const parts = [];
  const tied = changes.filter((change) => (change.source === event.agent && change.target === event.target) || (change.source === event.target && change.target === event.agent));
  if (tied.length) {
    parts.push(h("ul", { class: "events" }, tied.map((change) => h("li", {}, kindChip(change.kind), " ", agentLink(app, model, change.source), " → ", agentLink(app, model, change.target),
      change.op === "removed" ? " ended" : change.isNew ? " made" : ` now ${num(change.weight)}`))));
  }
  const answers = await answersTo(model, event);
  if (answers.length) parts.push(h("h5", {}, answers[0].target === event.agent ? `Answers to it (${answers.length})` : "Said next"), expandable(h("ul", { class: "events" }), answers, 8, (each) => reachedEvent(app, model, each)));
  if (held.length) {
    parts.push(h("p", {}, `${plural(held.length, "other")} ${held.length === 1 ? "remembers" : "remember"} it: `, held.map((each, i) => [i ? ", " : "", agentLink(app, model, each.agent)]), "."));
    parts.push(expandable(h("ul", { class: "reached" }), held, 10, (each) => heldView(app, model, each)));
  }
  if (tree) parts.push(h("h5", {}, tree.words), tree.view(app));
  if (!parts.length) parts.push(emptyWords(event.target >= 0 ? `${agentName(model, event.target)} was addressed; nothing later refers to it.` : "Nothing later refers to it: no memory, no answer, no tie."));
  return parts;
}

function reachedEvent(app, model, event) {
  const go = momentLink(app, model, { step: event.step, agent: event.agent, event: event.row, tab: "agent" }, `step ${event.step}`);
  return h("li", { "data-row": event.row }, eventWords(app, model, event, { cut: 160 }), " ", go);
}

/** What was said back in the same thread: later events of the same item that turn to the one who acted. */
async function answersTo(model, event) {
  if (event.item < 0) return [];
  const isThread = (each) => each.item === event.item && each.agent !== event.agent && each.row > event.row && (each.kind === event.kind || kindOf(model, each.kind).is_reply);
  const found = [];
  for (let t = event.step; t <= Math.min(model.steps, event.step + 5) && found.length < 40; t++) found.push(...(await model.events(t).catch(() => [])).filter(isThread));
  const toIt = found.filter((each) => each.target === event.agent);
  // In talk that is addressed to nobody, the next words are the nearest to an answer.
  return toIt.length || event.target >= 0 ? toIt : found.filter((each) => each.target < 0 && each.text).slice(0, 3);
}

/** Memories of others that came from an event, and what they were recalled for. */
async function heldBy(model, event) {
  if (!model.head.has_memory) return [];
  const ids = model.n <= EVERYBODY ? [...Array(model.n).keys()] : event.target >= 0 ? [event.target] : [];
  const stories = await Promise.all(ids.filter((a) => a !== event.agent).map(async (a) => [a, await model.story(a).catch(() => null)]));
  const found = [];
  for (const [agent, story] of stories) {
    for (const memory of (story && story.memory) || []) {
      if (memory.event_row !== event.row) continue;
      const uses = (story.recalls || []).filter((recall) => recall.step >= event.step && recall.found.some((each) => each.id === memory.id));
      const rank = (recall) => recall.found.findIndex((each) => each.id === memory.id);
      found.push({ agent, memory, uses: uses.map((recall) => ({ recall, rank: rank(recall) })) });
      break;
    }
  }
  return found.sort((a, b) => b.uses.length - a.uses.length || a.agent - b.agent);
}

function heldView(app, model, { agent, memory, uses }) {
  const near = [...uses].sort((a, b) => a.rank - b.rank || a.recall.step - b.recall.step).slice(0, 4).sort((a, b) => a.recall.step - b.recall.step);
  return h("li", { "data-agent": agent }, agentLink(app, model, agent), " holds “", memory.text.length > 160 ? `${memory.text.slice(0, 159)}…` : memory.text, "”",
    uses.length
      ? h("div", { class: "meta" }, `came to mind ${plural(uses.length, "time")}: `, near.map(({ recall, rank }, i) => [i ? ", " : "",
        momentLink(app, model, { step: recall.step, agent, tab: "agent" }, `step ${recall.step}`), ` for ${fieldName(recall.purpose)} (number ${rank + 1})`]))
      : h("div", { class: "meta muted" }, "never came to mind again"));
}

/** The tree of the item that an event carries, where it spreads; null where it does not. */
async function treeOf(model, event) {
  if (event.item < 0 && event.kind !== "strategy") return null;
  const tree = await model.lineage(event.item, event.row).catch(() => null);
  const here = tree && (tree.nodes || []).find((node) => node.row === event.row);
  if (!here) return null;
  const nodes = tree.nodes.filter((node) => node.family === here.family);
  if (nodes.length < 2) return null;
  const people = new Set(nodes.map((node) => node.agent).filter((a) => a >= 0));
  const steps = nodes.map((node) => node.step);
  const name = { news: "The way of this news", talk: "This conversation", post: "What became of this post", strategy: "Where this strategy comes from and goes" }[here.family] || "What else carries this";
  return { words: `${name}: ${plural(people.size, "agent")}, steps ${Math.min(...steps)} to ${Math.max(...steps)}`, view: (app) => treeView(app, model, { nodes, edges: tree.edges || [] }, event.row) };
}

/** A tree as nested lists, the event at hand marked. */
function treeView(app, model, tree, row) {
  const children = new Map();
  const isChild = new Set();
  for (const [from, to] of tree.edges || []) {
    if (!children.has(from)) children.set(from, []);
    children.get(from).push(to);
    isChild.add(to);
  }
  const nodes = new Map(tree.nodes.map((node) => [node.id, node]));
  const drawn = new Set();
  // A chain stays in one list; only where it branches does a list go inwards.
  const chain = (first) => {
    const items = [];
    let id = first;
    while (nodes.has(id) && !drawn.has(id) && drawn.size < TREE_SHOWN) {
      drawn.add(id);
      const next = (children.get(id) || []).filter((each) => !drawn.has(each));
      items.push(nodeView(app, model, nodes.get(id), row, next.length > 1 ? next.map(chain).filter((list) => list.length) : []));
      id = next.length === 1 ? next[0] : undefined;
    }
    return items;
  };
  const roots = tree.nodes.filter((node) => !isChild.has(node.id)).map((node) => chain(node.id));
  const left = tree.nodes.length - drawn.size;
  return h("div", { class: "tree" }, h("ul", {}, roots), left > 0 ? h("p", { class: "muted" }, `${plural(left, "further event")} not shown.`) : null);
}

function nodeView(app, model, node, row, below) {
  const words = node.label && node.label !== node.kind ? ` “${node.label}”` : node.kind ? ` ${node.kind}` : "";
  return h("li", { class: node.row === row && row >= 0 ? "is-here" : null, "data-row": node.row },
    isAgent(model, node.agent) ? agentLink(app, model, node.agent) : h("span", {}, "the world"), words, " ",
    momentLink(app, model, { step: node.step, agent: node.agent, event: node.row >= 0 ? node.row : undefined, tab: "agent" }, `step ${node.step}`),
    below.map((list) => h("ul", {}, list)));
}
