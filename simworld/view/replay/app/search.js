// The search box: agents by name, and words in everything said.

import { fill, h, plural, shorten } from "./dom.js";

const MOST_AGENTS = 8;

export class SearchBox {
  constructor(app) {
    this.app = app;
    this.choices = [];
    this.at = -1;
    this.input = h("input", {
      class: "search", type: "search", placeholder: "Search agents and words  ( / )", "aria-label": "Search agents, or what was said", role: "combobox", "aria-expanded": "false",
      "aria-controls": "search-list", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false",
      onInput: () => this.offer(), onFocus: () => this.offer(), onBlur: () => this.close(), onKeydown: (event) => this.key(event),
    });
    this.list = h("div", { class: "search-list", id: "search-list", role: "listbox", "aria-label": "Found", hidden: true });
    this.element = h("div", { class: "search-box", role: "search" }, this.input, this.list);
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  offer() {
    const { main } = this.app;
    const text = this.input.value.trim();
    if (!main || !text) {
      this.close();
      return;
    }
    const sought = text.toLowerCase();
    const starts = [];
    const holds = [];
    for (let a = 0; a < main.n; a++) {
      const name = main.name(a).toLowerCase();
      const at = name.indexOf(sought);
      if (at === 0 || (at > 0 && name[at - 1] === " ")) starts.push(a);
      else if (at > 0 && holds.length < MOST_AGENTS) holds.push(a);
    }
    // A bare number is also an agent's number.
    const number = /^\d+$/.test(text) && Number(text) < main.n ? [Number(text)] : [];
    const found = [...new Set([...number, ...starts.slice(0, MOST_AGENTS), ...holds])].slice(0, MOST_AGENTS);
    this.choices = found.map((agent) => ({ words: shorten(main.name(agent), 60), note: `agent ${agent}`, act: () => this.app.select(agent, main.index, true) }));
    if (starts.length > MOST_AGENTS) this.choices.at(-1).note += `, first of ${plural(starts.length, "name")}`;
    if (main.head.event_kinds.some((kind) => kind.has_text)) {
      this.choices.push({ words: `“${shorten(text, 60)}” in everything said`, note: "", act: () => this.app.store.set({ query: text, tab: "feed", playing: false }) });
    }
    this.at = this.choices.length ? 0 : -1;
    this.show();
  }

  show() {
    fill(
      this.list,
      this.choices.map((choice, i) =>
        h("div", {
          class: "choice", role: "option", id: `search-${i}`, "aria-selected": i === this.at ? "true" : "false",
          // Before the box loses the focus and the list is gone.
          onMousedown: (event) => (event.preventDefault(), this.take(i)),
        }, h("span", {}, choice.words), h("span", { class: "count" }, choice.note)),
      ),
      this.choices.length ? null : h("div", { class: "choice none" }, "No agent has such a name, and nothing was said in this run."),
    );
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    if (this.at >= 0) this.input.setAttribute("aria-activedescendant", `search-${this.at}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!this.choices.length) return;
      this.at = (this.at + (event.key === "ArrowDown" ? 1 : this.choices.length - 1)) % this.choices.length;
      this.show();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (!this.list.hidden && this.at >= 0) this.take(this.at);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (this.list.hidden) this.input.blur();
      else this.close();
    }
  }

  take(i) {
    this.choices[i].act();
    this.input.value = "";
    this.close();
    this.input.blur();
  }
}
