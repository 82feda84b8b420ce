// The page's state, and the address bar that holds it: a link shows exactly this moment.

const ABSENT = { run: 0, step: 0, agent: -1, event: -1, color: "", size: "", metric: "", tab: "", kinds: "", query: "" };
const NUMBERS = new Set(["run", "step", "agent", "event"]);
// A change of these is a place one comes back to with the browser's button; the rest only rewrites the address.
const PLACES = new Set(["run", "agent", "event", "tab"]);
const WRITE_MS = 250; // browsers allow about 100 changes of the address in 30 seconds
const THEME = "simworld-theme";

/** What a browser keeps for this page, where it keeps anything. */
export function remember(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch {
    // Storage is switched off or full: then it holds for this visit only.
  }
  return value === undefined ? null : value;
}

/** State with listeners. `set` merges and tells; `on(fn(state, changed))`; the address follows, and the back button sets. */
export class Store {
  constructor() {
    this.listeners = [];
    this.changed = new Set();
    this.isTold = true;
    this.timer = 0;
    this.shouldPush = false;
    const theme = remember(THEME);
    this.state = { ...ABSENT, ...this.read(), playing: false, speed: 4, theme: theme === "light" || theme === "dark" ? theme : "auto" };
    addEventListener("hashchange", () => this.follow());
    addEventListener("popstate", () => this.follow());
  }

  /** Merges what changed; tells listeners once for all that is set in the same turn. */
  set(patch) {
    for (const [key, value] of Object.entries(patch)) {
      if (this.state[key] === value) continue;
      this.state[key] = value;
      this.changed.add(key);
      if (PLACES.has(key)) this.shouldPush = true;
      if (key === "theme") remember(THEME, value);
    }
    if (this.changed.size) this.tell();
  }

  /** Tells listeners that something outside the state changed, by a word of its own. */
  touch(...words) {
    for (const word of words) this.changed.add(word);
    this.tell();
  }

  on(listener) {
    this.listeners.push(listener);
    return () => (this.listeners = this.listeners.filter((one) => one !== listener));
  }

  tell() {
    if (!this.isTold) return;
    this.isTold = false;
    queueMicrotask(() => {
      this.isTold = true;
      const changed = this.changed;
      this.changed = new Set();
      for (const listener of this.listeners) listener(this.state, changed);
      if ([...changed].some((key) => key in ABSENT)) this.write();
    });
  }

  /** The address of this moment, from its "#". */
  address() {
    const said = new URLSearchParams();
    for (const [key, absent] of Object.entries(ABSENT)) if (this.state[key] !== absent) said.set(key, this.state[key]);
    return `#${said}`;
  }

  write() {
    if (this.shouldPush && !this.state.playing) {
      this.shouldPush = false;
      clearTimeout(this.timer);
      this.timer = 0;
      if (this.address() !== location.hash) history.pushState(null, "", this.address());
    } else if (!this.timer) {
      this.timer = setTimeout(() => {
        this.timer = 0;
        this.shouldPush = false;
        if (this.address() !== location.hash) history.replaceState(null, "", this.address());
      }, WRITE_MS);
    }
  }

  read() {
    const said = new URLSearchParams(location.hash.slice(1));
    const found = {};
    for (const key of Object.keys(ABSENT)) {
      if (!said.has(key)) continue;
      if (!NUMBERS.has(key)) found[key] = said.get(key);
      else if (/^-?\d{1,12}$/.test(said.get(key))) found[key] = Number(said.get(key));
    }
    return found;
  }

  follow() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (location.hash === this.address()) return;
    this.set({ ...ABSENT, ...this.read(), playing: false });
    this.shouldPush = false;
  }
}
