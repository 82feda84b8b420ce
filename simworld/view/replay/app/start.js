// For a first visitor: one line that says what to press, and the help.

import { h } from "./dom.js";
import { KEYS } from "./keys.js";
import { remember } from "./store.js";

const SEEN = "simworld-seen";

/** The line at the timeline; gone for good once it is closed or the page was used. */
export function firstVisit(app) {
  const close = () => {
    element.hidden = true;
    remember(SEEN, "yes");
  };
  const element = h(
    "p", { class: "hint", hidden: remember(SEEN) === "yes" }, h("span", {}, "Press ", h("b", {}, "play"), ", or click an agent to see inside it. ", h("kbd", {}, "?"), " shows the keys."),
    h("button", { type: "button", class: "close", "aria-label": "Close this line", onClick: close }, "×"),
  );
  app.store.on((state, changed) => {
    if (!element.hidden && (changed.has("playing") || changed.has("agent")) && !changed.has("first")) close();
  });
  return element;
}

/** The help: what is where, and the keys. */
export function helpDialog() {
  const shut = () => dialog.close();
  const dialog = h(
    "dialog", { class: "help", "aria-labelledby": "help-title" },
    h("h2", { id: "help-title" }, "How to read this page"),
    h("p", {}, "The graph shows the society at one step of the run: a disc is an agent, a line is a tie. The timeline below moves the step for everything on the page. The panel at the right shows what you selected at that step."),
    h(
      "ul", {}, h("li", {}, "Press play, drag the timeline, or jump to a marked moment."), h("li", {}, "Click an agent to see its persona, memory, ties and decisions at this step."),
      h("li", {}, "“Why?” beside an action traces it back to what the agent saw and remembered, and forward to whom it reached."),
      h("li", {}, "The address of the page holds what you see: copy it to show somebody exactly this moment."),
    ),
    h("h3", {}, "Keys"),
    h("dl", { class: "keys" }, KEYS.map(([keys, words]) => h("div", {}, h("dt", {}, keys.map((key) => [h("kbd", {}, key), " "])), h("dd", {}, words)))),
    h("form", { method: "dialog" }, h("button", { type: "button", class: "primary", onClick: shut }, "Close")),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && shut());
  return dialog;
}
