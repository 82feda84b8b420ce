// The keyboard: everything the mouse can do to the clock, the graph and the tabs.

/** Keys and what they do, as the help shows them. */
export const KEYS = [
  [["space"], "play or pause"], [["←", "→"], "one step back or forward"], [["shift ←", "shift →"], "ten steps"], [["Home", "End"], "first or last step"],
  [["n", "p"], "next or previous marked moment"], [["<", ">"], "slower or faster"], [["/"], "search agents and everything said"], [["1", "…", "7"], "the tabs at the right"],
  [["j", "k"], "next or previous agent"], [["+", "-", "0"], "zoom in, out, show everything"], [["d"], "light or dark"], [["Esc"], "close, or select nothing"], [["?"], "this help"],
];

/** Whether a key belongs to what has the focus: a field one types into, a list one chooses from. */
function isTaken(event) {
  const at = event.target;
  if (!(at instanceof Element)) return false;
  if (at.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable], dialog, [data-keys=own]")) return true;
  const key = event.key;
  if ((key === " " || key === "Enter") && at.closest("button, a, summary, [role=button], [role=option], input")) return true;
  return key.startsWith("Arrow") && Boolean(at.closest("[role=tablist], [role=listbox], [role=grid], input"));
}

/** Listens for keys. `acts` is by key: what to do. */
export function listenToKeys(acts) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") {
      acts.Escape(event);
      return;
    }
    if (isTaken(event)) return;
    const act = acts[(event.shiftKey && event.key.startsWith("Arrow") ? "Shift+" : "") + event.key];
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}
