// The page: reads the session, builds header, graph, panels and timeline, and passes changes between them.

import { aboutPanel } from "./about.js";
import { agentPanel } from "./agent.js";
import { campaignPanel } from "./campaign.js";
import { Clock } from "./clock.js";
import { comparePanel } from "./compare.js";
import { fill, h, mindLabel, shorten } from "./dom.js";
import { feedPanel } from "./feed.js";
import { fieldWords, GraphView } from "./graph.js";
import { listenToKeys } from "./keys.js";
import { metricsPanel } from "./metrics.js";
import { RunModel } from "./model.js";
import { SearchBox } from "./search.js";
import { Source } from "./source.js";
import { firstVisit, helpDialog } from "./start.js";
import { Store } from "./store.js";
import { tablePanel } from "./table.js";
import { Timeline } from "./timeline.js";

const POLL_MS = 1000;
const PANEL_MS = 140; // while the clock moves fast the panels follow at about seven times a second
const NOTICE_MS = 6000;
const TITLES = { agent: "Agent", feed: "Feed", metrics: "Metrics", agents: "Agents", run: "Run", compare: "Compare", campaign: "Campaign" };
const STRUCTURE = new Set(["community", "mind"]);
const THEMES = ["auto", "light", "dark"];

class Page {
  constructor(source, session) {
    this.source = source;
    this.session = session;
    this.store = new Store();
    this.runs = [];
    this.loading = Promise.resolve();
    this.graphs = [];
    this.isScrubbing = false;
    this.isFollowing = false;
    this.panels = new Map();
    this.panelChanged = new Set();
    this.panelTimer = 0;
    this.panelAt = 0;
    this.darkness = matchMedia("(prefers-color-scheme: dark)");
  }

  /** The run the panels speak of. */
  get main() {
    return this.runs[this.store.state.run] || this.runs[0];
  }

  /** The runs with a graph: two in a comparison. */
  shownRuns() {
    if (this.session.compare && this.runs.length > 1) return this.runs.slice(0, 2);
    return this.main ? [this.main] : [];
  }

  // Acts that every part of the page may ask for ------------------------------------------------------------------------------

  /** Selects an agent; where it was not clicked in the graph, brings it into view. */
  select(agent, run = this.store.state.run, shouldReveal = false) {
    this.store.set({ agent, run, event: -1, tab: "agent" });
    if (shouldReveal) this.reveal(agent);
    this.announce(`${this.runs[run].name(agent)} selected`);
  }

  reveal(agent) {
    for (const graph of this.graphs) graph.reveal(agent);
  }

  /** Opens the tab of a run that came to the session later, as a campaign's do. */
  async openRun(index) {
    await this.loadRuns(index + 1);
    this.store.set({ run: index, step: 0, agent: -1, event: -1, tab: "run", playing: false, size: "" });
    this.store.set({ color: this.firstColour(), metric: this.firstMetric(), speed: this.clock.suggestedSpeed() });
    this.store.touch("first");
  }

  /** Says something to those who listen to the page instead of looking at it. */
  announce(words) {
    this.spoken.textContent = words;
  }

  /** A line at the bottom for a moment: what could not be done as asked. */
  notice(words) {
    this.noticed.textContent = words;
    this.noticed.hidden = false;
    clearTimeout(this.noticeTimer);
    this.noticeTimer = setTimeout(() => (this.noticed.hidden = true), NOTICE_MS);
  }

  /** Stays at the newest step of a growing run. */
  follow(should) {
    this.isFollowing = should;
    if (should) this.store.set({ step: this.clock.last, playing: false });
  }

  openHelp() {
    if (!this.help.open) this.help.showModal();
  }

  // Start --------------------------------------------------------------------------------------------------------------------

  async loadRuns(count) {
    // One after another: two that load at once would open one run twice, and leave the other out.
    const before = this.loading;
    this.loading = (async () => {
      await before.catch(() => null);
      while (this.runs.length < count) this.runs.push(await RunModel.open(this.source, this.runs.length));
    })();
    await this.loading;
  }

  async start() {
    await this.loadRuns(this.session.runs.length);
    this.clock = new Clock(this, () => this.graphs.every((graph) => graph.isReady()));
    this.build();
    const { store } = this;
    const hasStep = new URLSearchParams(location.hash.slice(1)).has("step");
    if (this.runs.length) {
      this.correct();
      store.set({ speed: this.clock.suggestedSpeed() });
      if (this.main.head.is_growing && !hasStep) this.follow(true);
    } else store.set({ run: 0, agent: -1, event: -1, tab: "campaign" });
    if (!store.state.tab) store.set({ tab: this.session.campaign ? "campaign" : this.session.compare ? "compare" : store.state.agent >= 0 ? "agent" : "run" });
    if (!location.hash && this.main) store.set({ color: this.firstColour(), metric: this.firstMetric() });
    store.shouldPush = false;
    store.on((state, changed) => this.update(state, changed));
    store.touch("first", "step", "color", "size", "speed", "theme", "tab");
    this.poll();
    document.documentElement.dataset.ready = "";
  }

  /** A colouring that shows something of any run. */
  firstColour() {
    const { head } = this.main;
    if (head.minds.length > 1) return "mind";
    if (!head.is_growing && head.traits.some((trait) => trait.name === "community")) return "community";
    const { agents } = head.tables;
    const column = agents.find((one) => one.type === "category" && one.name !== "alive") || agents.find((one) => one.type === "number");
    return column ? `column:${column.name}` : "";
  }

  firstMetric() {
    return this.main.head.metrics[0] || "";
  }

  /** What the address asks for and the run does not have is left out, with a word about it. */
  correct() {
    const { state } = this.store;
    const said = [];
    const patch = {};
    if (state.run < 0 || state.run >= this.runs.length) {
      said.push(`run ${state.run}`);
      patch.run = 0;
    }
    const run = this.runs[patch.run ?? state.run];
    if (state.step < 0) patch.step = 0;
    else if (state.step > this.clock.last) {
      said.push(`step ${state.step} (the last is ${this.clock.last})`);
      patch.step = this.clock.last;
    }
    if (state.agent >= run.n || state.agent < -1) {
      said.push(`agent ${state.agent} (there are ${run.n}, from 0)`);
      patch.agent = -1;
    }
    if (state.event >= run.head.event_rows || state.event < -1) {
      said.push(`event ${state.event}`);
      patch.event = -1;
    }
    for (const key of ["color", "size"]) {
      if (state[key] && !this.fieldsOf(run).includes(state[key])) {
        said.push(`“${shorten(fieldWords(state[key]), 40)}” to ${key === "color" ? "colour" : "size"} by`);
        patch[key] = "";
      }
    }
    if (state.metric && !run.head.metrics.includes(state.metric)) {
      said.push(`metric “${shorten(state.metric, 40)}”`);
      patch.metric = "";
    }
    if (state.tab && !this.panels.has(state.tab)) {
      said.push(`tab “${shorten(state.tab, 40)}”`);
      patch.tab = "run";
    }
    if (said.length) this.notice(`The address asks for what this run does not have: ${said.join(", ")}.`);
    this.store.set(patch);
  }

  fieldsOf({ head }) {
    return [...head.tables.agents.map((column) => `column:${column.name}`), ...head.traits.map((trait) => (STRUCTURE.has(trait.name) ? trait.name : `trait:${trait.name}`))];
  }

  // The parts ----------------------------------------------------------------------------------------------------------------

  build() {
    const { session } = this;
    this.search = new SearchBox(this);
    this.help = helpDialog(this);
    this.spoken = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
    this.noticed = h("div", { class: "notice", role: "alert", hidden: true });
    this.title = h("h1", { class: "run-title" });
    this.subtitle = h("span", { class: "run-mind" });
    this.status = h("span", { class: "run-status", hidden: true });
    const choice = (key, words) => h("select", { class: key, "aria-label": words, title: words, onChange: (event) => this.store.set({ [key]: event.target.value }) });
    this.colorChoice = choice("color", "Colour the agents by");
    this.sizeChoice = choice("size", "Size of the agents by");
    this.themeButton = h("button", { type: "button", class: "icon theme", onClick: () => this.nextTheme() });
    const helpButton = h("button", { type: "button", class: "icon", title: "Help and keys (?)", "aria-label": "Help and keys", onClick: () => this.openHelp() }, "?");
    this.header = h(
      "header", { class: "top" }, h("div", { class: "names" }, this.title, h("div", { class: "under" }, this.subtitle, this.status)), this.search.element,
      h("label", { class: "choice-label" }, "Colour", this.colorChoice), h("label", { class: "choice-label" }, "Size", this.sizeChoice), this.themeButton, helpButton,
    );
    this.stages = h("div", { class: "stages" });
    this.timeline = new Timeline(this, this.clock);
    const wanted = ["agent", "feed", "metrics", "agents", "run"];
    if (session.compare) wanted.push("compare");
    if (session.campaign) wanted.push("campaign");
    const makers = { agent: agentPanel, feed: feedPanel, metrics: metricsPanel, agents: tablePanel, run: aboutPanel, compare: comparePanel, campaign: campaignPanel };
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Panels", onKeydown: (event) => this.moveTab(event) });
    this.body = h("div", { class: "panel-body" });
    for (const name of wanted) {
      const panel = makers[name](this);
      const key = wanted.indexOf(name) + 1;
      const tab = h("button", {
        type: "button", class: "tab", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, title: `${TITLES[name]} (${key})`, onClick: () => this.store.set({ tab: name }),
      }, TITLES[name]);
      // A tab that was clicked does not keep the arrow keys: they move the clock. One that was reached by keyboard does.
      tab.addEventListener("mousedown", (event) => event.preventDefault());
      const place = h("div", { class: "panel-place", role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, tabindex: -1, hidden: true }, panel.element);
      this.panels.set(name, { panel, tab, place });
      this.tabs.append(tab);
      this.body.append(place);
    }
    this.order = wanted;
    const left = h("div", { class: "left" }, this.stages, firstVisit(this));
    this.side = h("aside", { class: "side", "aria-label": "Details" }, this.tabs, this.body);
    document.body.replaceChildren(this.header, h("main", { class: "middle" }, left, this.side), this.timeline.element, this.spoken, this.noticed, this.help);
    document.body.classList.toggle("campaign-only", this.runs.length === 0);
    this.darkness.addEventListener("change", () => this.store.touch("theme"));
    // A panel that throws says so instead of staying empty; the rest of the page goes on.
    addEventListener("unhandledrejection", (event) => this.notice(`Something went wrong: ${shorten(event.reason && event.reason.message ? event.reason.message : event.reason, 200)}`));
    listenToKeys(this.keys());
  }

  keys() {
    const { clock } = this;
    const zoom = (by) => this.graphs.forEach((graph) => graph.zoomBy(by));
    const acts = {
      " ": () => clock.toggle(), ArrowLeft: () => clock.by(-1), ArrowRight: () => clock.by(1), "Shift+ArrowLeft": () => clock.by(-10), "Shift+ArrowRight": () => clock.by(10),
      Home: () => clock.go(0), End: () => clock.go(clock.last), n: () => this.timeline.toMark(1), p: () => this.timeline.toMark(-1), "<": () => clock.faster(-1), ">": () => clock.faster(1),
      "/": () => this.search.focus(), "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: () => this.graphs.forEach((graph) => graph.fit()), f: () => this.store.set({ tab: "feed" }),
      j: () => this.nextAgent(1), k: () => this.nextAgent(-1), d: () => this.nextTheme(), "?": () => this.openHelp(), Escape: (event) => this.escape(event),
    };
    this.order.forEach((name, i) => (acts[i + 1] = () => this.store.set({ tab: name })));
    return acts;
  }

  escape() {
    if (this.help.open) return;
    const { state } = this.store;
    if (document.activeElement && document.activeElement.matches("input, textarea, select")) document.activeElement.blur();
    else if (state.event >= 0) this.store.set({ event: -1 });
    else if (state.agent >= 0) this.store.set({ agent: -1 });
  }

  nextAgent(by) {
    const n = this.main ? this.main.n : 0;
    if (!n) return;
    const { agent } = this.store.state;
    this.select(agent < 0 ? (by > 0 ? 0 : n - 1) : (agent + by + n) % n, this.store.state.run, true);
  }

  moveTab(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = this.order.indexOf(this.store.state.tab);
    const next = this.order[(at + by + this.order.length) % this.order.length];
    this.store.set({ tab: next });
    this.panels.get(next).tab.focus();
  }

  nextTheme() {
    const at = THEMES.indexOf(this.store.state.theme);
    // From what the machine says to the other one first: a press always shows something.
    const isDark = this.darkness.matches;
    const order = isDark ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    this.store.set({ theme: order[(order.indexOf(THEMES[at]) + 1) % 3] });
  }

  // Changes ------------------------------------------------------------------------------------------------------------------

  update(state, changed) {
    if (changed.has("run") || changed.has("agent") || changed.has("event") || changed.has("tab")) this.correctQuietly(state);
    if (changed.has("theme")) this.showTheme();
    if (["first", "run", "head"].some((word) => changed.has(word))) this.showRun(changed.has("first") || changed.has("run"));
    if (changed.has("color")) this.colorChoice.value = state.color;
    if (changed.has("size")) this.sizeChoice.value = state.size;
    if (changed.has("step") && this.isFollowing && state.step < this.clock.last) this.isFollowing = false;
    for (const graph of this.graphs) graph.update(changed);
    if (changed.has("tab") || changed.has("first")) this.showTab();
    this.updatePanel(changed);
  }

  /** The back button may bring a place this session does not have. */
  correctQuietly(state) {
    if (!this.main) {
      if (state.tab !== "campaign") this.store.set({ tab: "campaign" });
      return;
    }
    if (!this.runs[state.run]) this.store.set({ run: 0 });
    if (state.agent >= this.main.n) this.store.set({ agent: -1 });
    if (!this.panels.has(state.tab)) this.store.set({ tab: this.session.campaign ? "campaign" : "run" });
  }

  showTheme() {
    const { theme } = this.store.state;
    const shade = theme === "auto" ? (this.darkness.matches ? "dark" : "light") : theme;
    document.documentElement.dataset.shade = shade;
    this.themeButton.textContent = theme === "auto" ? "◐" : theme === "light" ? "☀" : "☾";
    const words = { auto: "Colours: as your machine has them (d)", light: "Colours: light (d)", dark: "Colours: dark (d)" }[theme];
    this.themeButton.title = words;
    this.themeButton.setAttribute("aria-label", words);
  }

  showRun(isOther) {
    document.body.classList.toggle("campaign-only", this.runs.length === 0);
    const { main } = this;
    if (!main) {
      this.title.textContent = this.session.title || "Campaign";
      this.subtitle.textContent = "pick a point to open its run";
      document.title = "campaign · simworld viewer";
      return;
    }
    const { head } = main;
    const name = head.title || head.name;
    const others = this.shownRuns().filter((run) => run !== main);
    this.title.textContent = [name, ...others.map((run) => run.head.title || run.head.name)].join("  |  ");
    this.title.title = [main, ...others].map((run) => `${run.head.title}\n${run.head.name}`).join("\n");
    this.subtitle.textContent = `mind: ${mindLabel(head.mind)}`;
    if (head.mind_note) this.subtitle.title = head.mind_note;
    const words = head.is_growing ? `● live, step ${head.steps}${head.planned_steps ? ` of ${head.planned_steps}` : ""}` : head.status === "finished" ? "" : head.error ? `${head.status}: ${head.error}` : head.status;
    this.status.textContent = shorten(words, 160);
    this.status.title = words;
    this.status.hidden = !words;
    this.status.classList.toggle("bad", !head.is_growing);
    document.title = `${name} · simworld viewer`;
    if (!isOther) return;
    this.showChoices(head);
    const shown = this.shownRuns();
    if (this.graphs.length !== shown.length || this.graphs.some((graph, i) => graph.model !== shown[i])) {
      this.graphs = shown.map((run) => this.graphs.find((graph) => graph.model === run) || new GraphView(this, run));
      fill(this.stages, this.graphs.map((graph) => graph.element));
      for (const graph of this.graphs) {
        if (!graph.layoutNow) graph.loadLayout();
        graph.load();
      }
    }
    this.graphs.forEach((graph) => {
      graph.caption.textContent = shown.length > 1 ? `${"AB"[graph.model.index] || ""} · ${graph.model.head.name}` : "";
      graph.element.classList.toggle("main", shown.length > 1 && graph.isMain);
    });
  }

  showChoices(head) {
    const columns = head.tables.agents;
    const persona = head.traits.filter(({ name }) => !STRUCTURE.has(name));
    const option = (value, words) => h("option", { value }, shorten(words, 40));
    const group = (label, options) => (options.length ? h("optgroup", { label }, options) : null);
    const of = (prefix, list) => list.map(({ name }) => option(`${prefix}:${name}`, fieldWords(name)));
    const isNumber = ({ type }) => type === "number";
    const isColour = ({ type }) => type !== "text";
    fill(
      this.colorChoice, option("", "one colour"), group("structure", head.traits.filter(({ name }) => STRUCTURE.has(name)).map(({ name }) => option(name, name))), group("state", of("column", columns.filter(isColour))),
      group("persona", of("trait", persona.filter(isColour))),
    );
    fill(this.sizeChoice, option("", "one size"), group("state", of("column", columns.filter(isNumber))), group("persona", of("trait", persona.filter(isNumber))));
    this.colorChoice.value = this.store.state.color;
    this.sizeChoice.value = this.store.state.size;
  }

  showTab() {
    const { tab } = this.store.state;
    for (const [name, parts] of this.panels) {
      const isOn = name === tab;
      parts.tab.setAttribute("aria-selected", isOn ? "true" : "false");
      parts.tab.tabIndex = isOn ? 0 : -1;
      parts.place.hidden = !isOn;
    }
  }

  /** Tells the visible panel, at once when something was pressed and at a bearable rate while the clock runs. */
  updatePanel(changed) {
    for (const word of changed) this.panelChanged.add(word);
    if (changed.has("tab") || changed.has("first")) for (const word of ["first", "run", "step", "agent", "event", "metric", "kinds", "query", "color", "size", "theme", "head", "tab"]) this.panelChanged.add(word);
    if (this.panelTimer) return;
    const { playing } = this.store.state;
    const wait = playing || this.isScrubbing ? Math.max(0, this.panelAt + PANEL_MS - performance.now()) : 0;
    const tell = () => {
      this.panelTimer = 0;
      this.panelAt = performance.now();
      const what = this.panelChanged;
      this.panelChanged = new Set();
      const shown = this.panels.get(this.store.state.tab);
      if (shown && (this.main || this.store.state.tab === "campaign")) shown.panel.update(what);
    };
    if (wait > 0) this.panelTimer = setTimeout(tell, wait);
    else tell();
  }

  async poll() {
    for (const run of this.shownRuns()) {
      if (!run.head.is_growing) continue;
      const wasAtEnd = this.isFollowing || (this.store.state.step >= this.clock.last && this.store.state.step > 0 && !this.store.state.playing);
      try {
        if (!(await run.refresh())) continue;
        if (wasAtEnd) this.store.set({ step: this.clock.last });
        this.store.touch("head");
      } catch (error) {
        this.notice(error.message);
      }
    }
    setTimeout(() => this.poll(), POLL_MS);
  }
}

async function open() {
  const shade = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.shade = shade;
  try {
    const source = new Source();
    document.body.replaceChildren(h("p", { class: "opening", role: "status" }, "Opening the run…"));
    const page = new Page(source, await source.json("session"));
    await page.start();
    // For a developer's console and for tests/bench.
    window.simworld = page;
  } catch (error) {
    document.body.replaceChildren(h("div", { class: "opening", role: "alert" }, h("h1", {}, "The run cannot be shown"), h("p", {}, error.message)));
    document.documentElement.dataset.ready = "";
  }
}

open();
