// Elements, texts and numbers. Texts of a run reach the page as text nodes only; nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "polyline", "polygon", "text", "title"]);

/** An element. props: `class`, `text`, `style` and `dataset` (objects), `on…` (functions), the rest attributes; null and false leave one out. */
export function h(tag, props, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (name === "text") element.textContent = value;
    else if (name === "style") for (const [key, said] of Object.entries(value)) element.style.setProperty(key, said);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
  }
}

/** A small picture from one path in a field of 16 by 16; drawn, because not every machine has the signs in a font. */
export function icon(path) {
  return h("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", class: "icon-picture" }, h("path", { d: path, fill: "currentColor" }));
}

/** Puts these children in the place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** A text as plotly shows it unchanged: it reads markup and, between dollars, formulas. */
export function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("$", "&#36;");
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A whole number with its thousands set apart. */
export function whole(value) {
  return Number.isFinite(value) ? WHOLE.format(value) : "–";
}

/** A number for reading: four significant digits, "–" for none. */
export function num(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return WHOLE.format(value);
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
  if (size >= 1e4) return WHOLE.format(value);
  return String(Number(value.toPrecision(4)));
}

/** US dollars, to the cent, or to the first two digits of a smaller sum. */
export function money(usd) {
  if (!Number.isFinite(usd)) return "–";
  return usd === 0 || usd >= 0.01 ? `$${usd.toFixed(2)}` : `$${Number(usd.toPrecision(2))}`;
}

/** One and many: `plural(2, "agent")` is "2 agents". */
export function plural(n, one, many) {
  return `${whole(n)} ${n === 1 ? one : many || `${one}s`}`;
}

/** A text cut at a length, with a mark that says so. */
export function shorten(text, length) {
  const said = String(text);
  return said.length > length ? `${said.slice(0, Math.max(1, length - 1))}…` : said;
}

/** What a mind is, in the words used everywhere. */
export function mindLabel(mind) {
  const known = {
    rules: "rules (hand-written, no language model)", null: "null (acts at random or not at all, no language model)",
    tape: "tape (answers recorded earlier)", human: "human", none: "no mind (nothing is decided)",
  };
  return known[mind] || mind;
}

/** Saves bytes or a text under a file name. */
export function save(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: type || "text/plain;charset=utf-8" }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** A colour of the style sheet, by its variable's name without the dashes. */
export function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
