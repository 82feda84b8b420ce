// Every agent at the clock's step as a table: sorted, filtered, and drawn only where it is seen.

import { h, fill, num, plural, save, whole } from "./dom.js";
import { csvText, emptyWords, errorWords, fieldName, fileName, isAgent, oneAtATime } from "./parts.js";

const ROW_HEIGHT = 28; // CSS pixels, as panels.css has it
const ROWS_BEYOND = 8;
const COLUMNS_AT_FIRST = 5;
const COMPARED = /^([^<>=!]+?)\s*(<=|>=|!=|=|<|>)\s*(.+)$/;

export function tablePanel(app) {
  const filter = h("input", { type: "search", class: "table-filter", placeholder: "Name, or column > 3", "aria-label": "Filter agents", autocomplete: "off", spellcheck: "false" });
  const choose = h("div", { class: "kinds-list" });
  const chooseFold = h("details", { class: "kinds" }, h("summary", {}, "Columns"), choose);
  const count = h("p", { class: "muted", role: "status" }, "\u00a0");
  const head = h("div", { class: "grid-head", role: "row", "aria-rowindex": "1" });
  const space = h("div", { class: "grid-space", role: "rowgroup" });
  const grid = h("div", { class: "grid", role: "grid", tabindex: "0", "aria-label": "Agents at this step" }, h("div", { role: "rowgroup", class: "grid-top" }, head), space);
  const csv = h("button", { type: "button", class: "small", title: "Save the table at this step", onclick: () => saveTable() }, "CSV");
  const element = h("div", { class: "panel panel-table" }, h("div", { class: "feed-tools" }, filter, chooseFold, csv), count, grid);
  let model = null;
  let all = []; // every column there is: {key, title, read(step)}
  let shown = []; // keys of those shown
  let columns = new Map(); // key -> {values, labels} at the step
  let order = [];
  let sort = { key: "agent", isDown: false };
  let lastDrawn = "";
  let step = 0;

  filter.addEventListener("input", () => refresh());
  grid.addEventListener("scroll", () => drawRows(), { passive: true });
  grid.addEventListener("keydown", (press) => {
    const way = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[press.key];
    if (press.target.closest(".grid-head")) return;
    if (way !== undefined && order.length) {
      press.preventDefault();
      press.stopPropagation();
      const at = order.indexOf(app.store.state.agent);
      const next = Math.max(0, Math.min(order.length - 1, at < 0 ? (way > 0 ? 0 : order.length - 1) : at + way));
      app.store.set({ run: model.index, agent: order[next], event: -1 });
      reveal(next);
    } else if (press.key === "Enter" && isAgent(model, app.store.state.agent)) {
      press.preventDefault();
      app.store.set({ tab: "agent" });
    }
  });
  new ResizeObserver(() => drawRows()).observe(grid);

  function load(next) {
    model = next;
    const tables = model.head.tables || {};
    all = [{ key: "agent", title: "number", isNumber: true, read: async () => ({ values: Array.from({ length: model.n }, (_, i) => i), labels: null }) }];
    if ((model.head.minds || []).length > 1) all.push({ key: "mind", title: "mind", read: async () => ({ values: model.head.agent_minds, labels: model.head.minds }) });
    for (const { name, type } of tables.agents || []) all.push({ key: `column:${name}`, title: fieldName(name), isNumber: type === "number", isText: type === "text", read: (at) => model.column(name, at) });
    if ((model.head.tie_kinds || []).length) {
      if (model.head.directed) all.push({ key: "ties:out", title: "ties out", isNumber: true, read: (at) => degrees(model, at, "source") }, { key: "ties:in", title: "ties in", isNumber: true, read: (at) => degrees(model, at, "target") });
      else all.push({ key: "ties", title: "ties", isNumber: true, read: (at) => degrees(model, at, "both") });
    }
    for (const { name, type } of model.head.traits || []) {
      if (name !== "mind") all.push({ key: `trait:${name}`, title: fieldName(name), isNumber: type === "number", read: async () => (await model.traits())[name] });
    }
    const kept = shown.filter((key) => all.some((column) => column.key === key));
    const isTelling = ({ key, isText }) => key !== "agent" && key !== "column:alive" && !isText && !key.startsWith("trait:");
    const first = all.filter((column) => isTelling(column) && !column.key.startsWith("ties")).slice(0, COLUMNS_AT_FIRST);
    shown = kept.length ? kept : ["agent", ...first.map((column) => column.key), ...all.filter(({ key }) => key.startsWith("ties")).map(({ key }) => key)];
    fill(choose, all.map((column) => h("label", { class: "check" }, h("input", { type: "checkbox", value: column.key, checked: shown.includes(column.key), onchange: pickColumns }), ` ${column.title}`,
      column.key.startsWith("trait:") ? h("span", { class: "muted" }, " persona") : null)));
    drawHead();
  }

  function pickColumns() {
    const picked = new Set([...choose.querySelectorAll("input:checked")].map((box) => box.value));
    shown = all.map((column) => column.key).filter((key) => picked.has(key));
    drawHead();
    refresh();
  }

  function drawHead() {
    grid.style.setProperty("--columns", String(shown.length));
    const cell = (key, title, isNumber) => {
      const way = sort.key === key ? (sort.isDown ? "descending" : "ascending") : "none";
      return h("div", { class: `cell head${isNumber ? " number" : ""}`, role: "columnheader", "aria-sort": way }, h("button", {
        type: "button", onclick: () => {
          sort = { key, isDown: sort.key === key ? !sort.isDown : Boolean(isNumber) && key !== "agent" };
          drawHead();
          refresh();
        },
      }, title, h("span", { "aria-hidden": "true" }, way === "none" ? "" : sort.isDown ? " ▼" : " ▲")));
    };
    fill(head, cell("name", "name", false), shown.map((key) => {
      const column = all.find((each) => each.key === key);
      return cell(key, column.title, column.isNumber);
    }));
  }

  const work = oneAtATime(async () => {
    const { state } = app.store;
    const next = app.runs[state.run] || app.main;
    if (next !== model) load(next);
    step = state.step;
    // A filter may name a column that is not shown.
    const terms = termsOf(filter.value, all);
    const wanted = new Set([...shown, sort.key, ...terms.map((term) => term.key)].filter((key) => key && key !== "name"));
    const read = await Promise.all([...wanted].map(async (key) => [key, await all.find((column) => column.key === key)?.read(step)]));
    columns = new Map(read.filter(([, column]) => column));
    arrange(terms);
    space.style.height = `${order.length * ROW_HEIGHT}px`;
    grid.setAttribute("aria-rowcount", String(order.length + 1));
    count.textContent = `${order.length === model.n ? plural(model.n, "agent") : `${whole(order.length)} of ${plural(model.n, "agent")}`} at step ${step}`;
    lastDrawn = "";
    drawRows();
  });

  function refresh() {
    work().catch((error) => {
      fill(space, errorWords(error));
      lastDrawn = "failed";
    });
  }

  function arrange(terms) {
    order = [];
    for (let a = 0; a < model.n; a++) if (terms.every((term) => isHit(term, a))) order.push(a);
    const column = columns.get(sort.key);
    const turn = sort.isDown ? -1 : 1;
    if (sort.key === "name") order.sort((a, b) => turn * model.name(a).localeCompare(model.name(b)) || a - b);
    else if (column && column.labels) {
      const rank = new Map([...column.labels.keys()].sort((a, b) => String(column.labels[a]).localeCompare(String(column.labels[b]))).map((code, i) => [code, i]));
      const of = (a) => rank.get(column.values[a]) ?? Infinity;
      order.sort((a, b) => compareNumbers(of(a), of(b), turn) || a - b);
    } else if (column) order.sort((a, b) => compareNumbers(column.values[a], column.values[b], turn) || a - b);
  }

  function isHit(term, a) {
    if (!term.key) {
      if (model.name(a).toLowerCase().includes(term.text) || String(a) === term.text) return true;
      return shown.some((key) => {
        const column = columns.get(key);
        return column && column.labels && String(column.labels[column.values[a]] ?? "").toLowerCase().includes(term.text);
      });
    }
    const column = columns.get(term.key);
    if (!column) return false;
    const value = column.labels ? String(column.labels[column.values[a]] ?? "").toLowerCase() : column.values[a];
    const other = column.labels ? term.text : Number(term.text);
    if (column.labels && (term.operator === "<" || term.operator === ">" || term.operator === "<=" || term.operator === ">=")) return false;
    switch (term.operator) {
      case "<": return value < other;
      case ">": return value > other;
      case "<=": return value <= other;
      case ">=": return value >= other;
      case "!=": return value !== other;
      // Numbers are kept in single precision: what reads alike is alike.
      default: return column.labels ? value === other : Math.abs(value - other) <= 1e-6 * Math.max(1, Math.abs(other));
    }
  }

  function cellText(key, a) {
    const column = columns.get(key);
    if (!column) return "";
    if (!column.labels) return num(column.values[a]);
    const said = column.labels[column.values[a]];
    return said === undefined ? "–" : said === "true" ? "yes" : said === "false" ? "no" : said;
  }

  function drawRows() {
    if (!model) return;
    if (!order.length) {
      const words = model.n ? "No agent fits this filter." : "This run has no agents.";
      if (lastDrawn !== words) fill(space, h("div", { role: "row" }, h("div", { role: "gridcell" }, emptyWords(words))));
      lastDrawn = words;
      return;
    }
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW_HEIGHT) - ROWS_BEYOND);
    const last = Math.min(order.length, Math.ceil((grid.scrollTop + grid.clientHeight) / ROW_HEIGHT) + ROWS_BEYOND);
    const key = `${first}|${last}|${app.store.state.agent}|${step}`;
    if (key === lastDrawn) return;
    lastDrawn = key;
    const rows = [];
    for (let i = first; i < last; i++) {
      const a = order[i];
      const isHere = a === app.store.state.agent;
      rows.push(h("div", { class: `grid-row${isHere ? " is-selected" : ""}`, role: "row", "aria-rowindex": i + 2, "aria-selected": isHere ? "true" : "false", "data-agent": a, style: { transform: `translateY(${i * ROW_HEIGHT}px)` },
        onclick: () => app.store.set({ run: model.index, agent: a, event: -1 }), ondblclick: () => app.store.set({ tab: "agent" }) },
      h("div", { class: "cell name", role: "rowheader", title: model.name(a) }, model.name(a)),
      shown.map((each) => {
        const said = cellText(each, a);
        return h("div", { class: `cell${columns.get(each)?.labels ? "" : " number"}`, role: "gridcell", title: said }, said);
      })));
    }
    fill(space, rows);
  }

  function reveal(place) {
    const top = place * ROW_HEIGHT;
    const seen = grid.clientHeight - ROW_HEIGHT;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW_HEIGHT > grid.scrollTop + seen) grid.scrollTop = top + ROW_HEIGHT - seen;
  }

  function saveTable() {
    if (!model) return;
    const keys = shown.filter((key) => key !== "agent");
    const value = (key, a) => {
      const column = columns.get(key);
      return column.labels ? column.labels[column.values[a]] ?? "" : column.values[a];
    };
    const header = ["agent", "name", ...keys.map((key) => key.replace(/^(column|trait):/, ""))];
    save(`${fileName(model.head.name, "agents", `step-${step}`)}.csv`, csvText(header, order.map((a) => [a, model.name(a), ...keys.map((key) => value(key, a))])), "text/csv;charset=utf-8");
  }

  return { title: "Agents", element, update: refresh };
}

/** None goes last whichever way is sorted. */
function compareNumbers(a, b, turn) {
  const hasA = Number.isFinite(a);
  const hasB = Number.isFinite(b);
  if (!hasA || !hasB) return Number(hasB) - Number(hasA);
  return turn * (a - b);
}

/** A filter's terms, set apart by commas or "and": words, or a column compared with a value. */
function termsOf(text, all) {
  return text.toLowerCase().split(/,|\band\b/).map((term) => term.trim()).filter(Boolean).map((term) => {
    const parts = COMPARED.exec(term);
    const column = parts && all.find((each) => each.title.toLowerCase() === parts[1].replaceAll("_", " ").trim() || each.key.toLowerCase() === parts[1].trim());
    return column ? { key: column.key, operator: parts[2], text: parts[3].trim() } : { key: "", operator: "", text: term };
  });
}

function degrees(model, step, side) {
  return model.tiesNow(step, ({ n, source, target }) => {
    const values = new Float64Array(model.n);
    for (let i = 0; i < n; i++) {
      if (side !== "target") values[source[i]]++;
      if (side !== "source") values[target[i]]++;
    }
    return { values, labels: null };
  });
}
