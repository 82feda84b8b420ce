// Colours: eight that colour-blind readers tell apart (Okabe and Ito 2008), and viridis (van der Walt and Smith 2015) for numbers.

const OKABE_ITO = ["#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442", "#8C8C8C"];
// Beyond eight no set is safe for everybody: further hues, told apart by the legend and the pointer.
const FURTHER = ["#7F5BD6", "#8A5A2B", "#00B8B0", "#B3386B", "#6B8E23", "#5570A6", "#C08A5B", "#3C6E47", "#A0A86B", "#9A4FB0", "#D98880", "#4F7C8A"];
const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37],
];
const TIE_COLOURS = ["", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const BINS = 64;
const OTHER = OKABE_ITO.length + FURTHER.length;
export const HIDDEN = 255;

/** #rrggbb as [red, green, blue]. */
export function rgbOf(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function hexOf(rgb) {
  return `#${rgb.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
}

/** Colours for numbers, low to high, without the end that vanishes on this theme's paper. */
export function sequential(isDark) {
  const [low, high] = isDark ? [0.22, 1] : [0, 0.93];
  return Array.from({ length: BINS }, (_, i) => {
    const at = (low + ((high - low) * i) / (BINS - 1)) * (VIRIDIS.length - 1);
    const left = Math.min(VIRIDIS.length - 2, Math.floor(at));
    return hexOf(VIRIDIS[left].map((part, k) => part + (VIRIDIS[left + 1][k] - part) * (at - left)));
  });
}

/** The colour of each kind of tie: the first, the commonest, keeps to the background. */
export function tieColour(kind, isDark) {
  return TIE_COLOURS[kind % TIE_COLOURS.length] || (isDark ? "#8fa3bf" : "#5d6f8a");
}

/** How agents are coloured: `index` into `palette` for each agent, HIDDEN for one that is not there yet, and what a legend says. */
export function paintOf(column, n, isDark, range) {
  const index = new Uint8Array(n);
  const grey = isDark ? "#737b87" : "#a9b0ba";
  if (!column) return { index, palette: [isDark ? "#6cb2e8" : "#0072B2"], kind: "plain" };
  const { values, labels, none } = column;
  if (!labels) {
    const palette = [...sequential(isDark), grey];
    const [low, high] = range;
    const scale = high > low ? (BINS - 1) / (high - low) : 0;
    for (let i = 0; i < n; i++) {
      const value = values[i];
      index[i] = Number.isFinite(value) ? Math.max(0, Math.min(BINS - 1, Math.round((value - low) * scale))) : BINS;
    }
    return { index, palette, kind: "number", low, high };
  }
  const isBool = labels.length === 2 && labels[0] === "false" && labels[1] === "true";
  const palette = isBool ? [grey, "#D55E00"] : [...OKABE_ITO, ...FURTHER];
  while (palette.length < OTHER) palette.push(grey);
  palette.push(grey, grey);
  const counts = new Map();
  for (let i = 0; i < n; i++) {
    const code = values[i];
    if (code === none || code === undefined || code >= labels.length) index[i] = OTHER + 1;
    else {
      index[i] = Math.min(code, OTHER);
      counts.set(code, (counts.get(code) || 0) + 1);
    }
  }
  const entries = [...counts].map(([code, count]) => ({ code, label: labels[code], count, colour: palette[Math.min(code, OTHER)] }));
  return { index, palette, kind: "category", entries };
}
