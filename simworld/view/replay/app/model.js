// One run as the page reads it: chunks of columns, asked for when needed, a few of each kept.

import { mindLabel } from "./dom.js";

const CHUNKS_KEPT = 6; // of each stream; scrubbing back and forth stays within them
const NONE_CODES = { Uint8Array: 255, Uint16Array: 65535, Uint32Array: 4294967295 };

/** Chunks of one stream, least recently used first out. Holds promises, so that two readers ask once. */
class ChunkCache {
  constructor(load) {
    this.load = load;
    this.kept = new Map();
    this.cursor = null;
  }

  get(c) {
    let chunk = this.kept.get(c);
    if (chunk) this.kept.delete(c);
    else {
      const asked = this.load(c);
      asked.catch(() => this.kept.get(c) === asked && this.kept.delete(c));
      chunk = asked;
    }
    this.kept.set(c, chunk);
    while (this.kept.size > CHUNKS_KEPT) this.kept.delete(this.kept.keys().next().value);
    return chunk;
  }

  /** Forgets chunks from this one on: a growing run has written more of them. */
  drop(first) {
    for (const c of [...this.kept.keys()]) if (c >= first) this.kept.delete(c);
    this.cursor = null;
  }
}

/** Ties at one step: columns with room to grow, and where each tie stands. */
class TieState {
  constructor(block, n, isDirected) {
    const { key_source: source, key_target: target, key_kind: kind, key_weight: weight } = block.columns;
    this.size = Math.max(1, n);
    this.isDirected = isDirected;
    this.n = source.length;
    // What came and went since the key, in order: +1 or -1, source, target, kind. A drawing that has seen part of it adds the rest.
    this.log = [];
    this.version = 0;
    this.source = Int32Array.from(source);
    this.target = Int32Array.from(target);
    this.kind = Uint8Array.from(kind);
    this.weight = Float32Array.from(weight);
    this.places = new Map();
    for (let i = 0; i < this.n; i++) this.places.set(this.key(source[i], target[i], kind[i]), i);
  }

  key(source, target, kind) {
    const low = this.isDirected || source < target ? source : target;
    return (kind * this.size + low) * this.size + (low === source ? target : source);
  }

  apply(columns, i) {
    const source = columns.source[i];
    const target = columns.target[i];
    const kind = columns.kind[i];
    const key = this.key(source, target, kind);
    this.version++;
    const place = this.places.get(key);
    if (columns.op[i]) {
      if (place === undefined) return;
      const last = --this.n;
      this.log.push(-1, this.source[place], this.target[place], kind);
      this.places.delete(key);
      if (place !== last) {
        this.source[place] = this.source[last];
        this.target[place] = this.target[last];
        this.kind[place] = this.kind[last];
        this.weight[place] = this.weight[last];
        this.places.set(this.key(this.source[place], this.target[place], this.kind[place]), place);
      }
    } else if (place !== undefined) this.weight[place] = columns.weight[i];
    else {
      if (this.n === this.source.length) this.grow();
      this.source[this.n] = source;
      this.target[this.n] = target;
      this.kind[this.n] = kind;
      this.weight[this.n] = columns.weight[i];
      this.places.set(key, this.n++);
      this.log.push(1, source, target, kind);
    }
  }

  grow() {
    for (const name of ["source", "target", "kind", "weight"]) {
      const longer = new this[name].constructor(Math.max(64, this[name].length * 2));
      longer.set(this[name]);
      this[name] = longer;
    }
  }
}

export class RunModel {
  constructor(source, index, head) {
    this.source = source;
    this.index = index;
    this.streams = new Map();
    this.firstRows = new Map();
    this.blocks = new Map();
    this.traitsNow = null;
    this.take(head);
  }

  static async open(source, index) {
    return new RunModel(source, index, await source.json(`run/${index}/head`));
  }

  take(head) {
    this.head = head;
    this.n = head.n_agents;
    this.steps = head.steps;
    this.size = head.chunk_steps;
    this.kinds = new Map(head.event_kinds.map((kind) => [kind.name, kind]));
  }

  /** Asks a growing run how far it is; true when it has moved or ended. */
  async refresh() {
    const path = `run/${this.index}/head`;
    this.source.forget(path);
    const head = await this.source.json(path);
    const old = this.head;
    if (head.steps === old.steps && head.is_growing === old.is_growing && head.status === old.status) return false;
    this.source.forget(`run/${this.index}/`);
    this.source.forget("compare");
    this.source.answers.set(path, Promise.resolve(head));
    const first = head.chunk_steps === old.chunk_steps ? Math.floor(Math.max(0, old.steps) / head.chunk_steps) : 0;
    for (const stream of this.streams.values()) stream.drop(first);
    for (const c of [...this.firstRows.keys()]) if (c >= first) this.firstRows.delete(c);
    for (const name of [...this.blocks.keys()]) if (name !== "layout" || head.n_agents !== old.n_agents) this.blocks.delete(name);
    if (head.n_agents !== old.n_agents || head.is_growing !== old.is_growing) this.traitsNow = null;
    this.take(head);
    return true;
  }

  /** An agent's name; agents without one are called by their number. */
  name(a) {
    if (a < 0) return "nobody";
    return this.head.names[a] || `agent ${a}`;
  }

  /** What makes this agent decide, in words. */
  mindOf(a) {
    const { minds, mind_words: words, agent_minds: of } = this.head;
    const at = of ? of[a] : -1;
    return (words && words[at]) || mindLabel((minds && minds[at]) || this.head.mind || "none");
  }

  path(rest) {
    return `run/${this.index}/${rest}`;
  }

  chunkOf(step) {
    return Math.floor(Math.min(Math.max(0, step), this.steps) / this.size);
  }

  stream(name) {
    let stream = this.streams.get(name);
    if (!stream) {
      stream = new ChunkCache((c) => this.source.block(this.path(`${name}/${c}`)));
      this.streams.set(name, stream);
    }
    return stream;
  }

  once(name) {
    let block = this.blocks.get(name);
    if (!block) {
      block = this.source.block(this.path(name));
      this.blocks.set(name, block);
      block.catch(() => this.blocks.delete(name));
    }
    return block;
  }

  /** Asks for the chunk of a step of these streams, ahead of its need. */
  prefetch(step, names) {
    if (step < 0 || step > this.steps) return;
    for (const name of names) this.stream(name).get(this.chunkOf(step)).catch(() => null);
  }

  /** Hands a column after a step to `use`, as the chunk's cursor holds it: read it at once, do not keep it. */
  async columnNow(name, step, table, use) {
    const at = Math.min(Math.max(0, step), this.steps);
    const stream = this.stream(`column/${table}/${encodeURIComponent(name)}`);
    const c = this.chunkOf(at);
    const block = await stream.get(c);
    const { key, step_offsets: offsets, id, value } = block.columns;
    let cursor = stream.cursor;
    if (!cursor || cursor.block !== block || cursor.step > at) {
      cursor = { block, step: c * this.size, values: key.slice() };
      stream.cursor = cursor;
    }
    const last = Math.min(offsets.length - 1, at - c * this.size + 1);
    for (let i = offsets[Math.min(last, cursor.step - c * this.size + 1)]; i < offsets[last]; i++) cursor.values[id[i]] = value[i];
    cursor.step = at;
    const labels = block.labels.key || block.labels.value || null;
    return use({ values: cursor.values, labels, block, none: labels ? NONE_CODES[key.constructor.name] : NaN });
  }

  /** A column after a step, one value an agent (or item): { values, labels }; codes into labels where there are any; NaN and `none` for none. */
  async column(name, step, table = "agents") {
    return this.columnNow(name, step, table, (now) => ({ ...now, values: now.values.slice() }));
  }

  /** One agent's values after every step from 0: { values, labels }, NaN for none. Reads the whole column. */
  async series(name, a, table = "agents") {
    const values = new Float64Array(this.steps + 1).fill(NaN);
    let labels = null;
    for (let c = 0; c * this.size <= this.steps; c++) {
      const { columns, labels: said } = await this.stream(`column/${table}/${encodeURIComponent(name)}`).get(c);
      labels = said.key || said.value || null;
      const none = labels ? NONE_CODES[columns.key.constructor.name] : NaN;
      let now = a < columns.key.length ? columns.key[a] : none;
      const last = Math.min(this.size, this.steps + 1 - c * this.size);
      for (let k = 0; k < last; k++) {
        for (let i = columns.step_offsets[k]; i < columns.step_offsets[k + 1]; i++) if (columns.id[i] === a) now = columns.value[i];
        values[c * this.size + k] = now === none ? NaN : now;
      }
    }
    return { values, labels };
  }

  /** Hands the ties after a step to `use`, as the cursor holds them: read them at once, do not keep them. */
  async tiesNow(step, use) {
    const at = Math.min(Math.max(0, step), this.steps);
    const stream = this.stream("ties");
    const c = this.chunkOf(at);
    const block = await stream.get(c);
    const offsets = block.columns.step_offsets;
    let cursor = stream.cursor;
    if (!cursor || cursor.block !== block || cursor.step > at) {
      cursor = { block, step: c * this.size, state: new TieState(block, this.n, this.head.directed) };
      stream.cursor = cursor;
    }
    const last = Math.min(offsets.length - 1, at - c * this.size + 1);
    for (let i = offsets[Math.min(last, cursor.step - c * this.size + 1)]; i < offsets[last]; i++) cursor.state.apply(block.columns, i);
    cursor.step = at;
    return use(cursor.state);
  }

  /** Ties after a step: { source, target, kind, weight, n }; kind is an index into head.tie_kinds. */
  async ties(step) {
    return this.tiesNow(step, ({ n, source, target, kind, weight }) => ({
      n, source: source.slice(0, n), target: target.slice(0, n), kind: kind.slice(0, n), weight: weight.slice(0, n),
    }));
  }

  /** What a step changed: [{kind (words), op "set" | "removed", source, target, weight, isNew}]; a tie set that stood already is not new. */
  async tieChanges(step) {
    if (step < 0 || step > this.steps) return [];
    const c = this.chunkOf(step);
    const block = await this.stream("ties").get(c);
    const k = step - c * this.size;
    const { step_offsets: offsets, source, target, kind, op, weight } = block.columns;
    if (k + 1 >= offsets.length || offsets[k] === offsets[k + 1]) return [];
    const before = k > 0 ? block : step > 0 ? await this.stream("ties").get(c - 1) : null;
    const size = Math.max(1, this.n);
    const isDirected = this.head.directed;
    const keyOf = (s, t, code) => (code * size + (isDirected || s < t ? s : t)) * size + (isDirected || s < t ? t : s);
    const stood = new Map();
    for (let i = offsets[k]; i < offsets[k + 1]; i++) stood.set(keyOf(source[i], target[i], kind[i]), false);
    if (before) {
      const old = before.columns;
      for (let i = 0; i < old.key_source.length; i++) {
        const key = keyOf(old.key_source[i], old.key_target[i], old.key_kind[i]);
        if (stood.has(key)) stood.set(key, true);
      }
      const last = k > 0 ? offsets[k] : old.source.length;
      for (let i = old.step_offsets[1] || 0; i < last; i++) {
        const key = keyOf(old.source[i], old.target[i], old.kind[i]);
        if (stood.has(key)) stood.set(key, !old.op[i]);
      }
    }
    const found = [];
    for (let i = offsets[k]; i < offsets[k + 1]; i++) {
      const key = keyOf(source[i], target[i], kind[i]);
      const isNew = !op[i] && !stood.get(key);
      stood.set(key, !op[i]);
      found.push({ kind: this.head.tie_kinds[kind[i]], op: op[i] ? "removed" : "set", source: source[i], target: target[i], weight: weight[i], isNew });
    }
    return found;
  }

  async eventChunk(c) {
    const block = await this.stream("events").get(c);
    this.firstRows.set(c, [block.header.first_row, block.rows]);
    return block;
  }

  eventAt(block, i) {
    const { columns, labels } = block;
    return {
      row: block.header.first_row + i, step: columns.step[i], kind: labels.kind[columns.kind[i]], agent: columns.agent[i], target: columns.target[i],
      item: columns.item[i], value: columns.value[i], text: labels.text[columns.text[i]] || "", data: labels.data[columns.data[i]] || "",
    };
  }

  /** What happened in a step, in order: [{row, step, kind, agent, target, item, value, text, data}]; -1 and NaN for none. */
  async events(step) {
    return this.eventsBetween(step, step);
  }

  /** What happened from one step to another, both included. */
  async eventsBetween(first, last) {
    const found = [];
    const low = Math.max(0, first);
    const high = Math.min(last, this.steps);
    for (let c = this.chunkOf(low); low <= high && c <= this.chunkOf(high); c++) {
      const block = await this.eventChunk(c);
      const offsets = block.columns.step_offsets;
      const from = offsets[Math.max(0, low - c * this.size)];
      const to = offsets[Math.min(offsets.length - 1, high - c * this.size + 1)];
      for (let i = from; i < to; i++) found.push(this.eventAt(block, i));
    }
    return found;
  }

  /** The columns of one step's events, without an object for each: { block, from, to }. */
  async eventColumns(step) {
    if (step < 0 || step > this.steps) return null;
    const c = this.chunkOf(step);
    const block = await this.eventChunk(c);
    const offsets = block.columns.step_offsets;
    const k = step - c * this.size;
    return k + 1 < offsets.length ? { block, from: offsets[k], to: offsets[k + 1] } : null;
  }

  /** The event of a row, or null where there is none. */
  async event(row) {
    if (row < 0 || row >= this.head.event_rows) return null;
    let low = 0;
    let high = this.chunkOf(this.steps);
    while (low <= high) {
      let c = Math.floor((low + high) / 2);
      for (const [known, [first, rows]] of this.firstRows) if (row >= first && row < first + rows) c = known;
      const block = await this.eventChunk(c);
      if (row < block.header.first_row) high = c - 1;
      else if (row >= block.header.first_row + block.rows) low = c + 1;
      else return this.eventAt(block, row - block.header.first_row);
    }
    return null;
  }

  /** Traits of the personas, community and mind: {name: {values, labels, none}}. Communities may take their time: then they are missing, and asked for anew the next time. */
  async traits() {
    const { columns, labels, header } = await this.once("traits");
    const isPartial = header.community === "none" && this.head.traits.some((trait) => trait.name === "community");
    if (isPartial) this.blocks.delete("traits");
    this.traitsNow = Object.fromEntries(
      header.columns.map(({ name }) => [name, { values: columns[name], labels: labels[name] || null, none: labels[name] ? NONE_CODES[columns[name].constructor.name] : NaN }]),
    );
    return this.traitsNow;
  }

  /** Every metric: { step, columns: {name: Float64Array} }. */
  async metrics() {
    const { columns } = await this.once("metrics");
    const { step, ...rest } = columns;
    return { step, columns: rest };
  }

  /** Places of the agents: { x, y, isFinal }. */
  async layout() {
    const { columns, header } = await this.once("layout");
    if (header.quality !== "final") this.blocks.delete("layout");
    return { x: columns.x, y: columns.y, isFinal: header.quality === "final" };
  }

  findings() {
    return this.source.json(this.path("findings"));
  }

  marks() {
    return this.source.json(this.path("marks"));
  }

  story(a) {
    return this.source.json(this.path(`agent/${a}`));
  }

  /** What an agent decided in a step, found by repeating it; {error} where that cannot be done. */
  async decisions(step, a) {
    if (!this.source.isOffline) return this.source.json(this.path(`decisions/${step}/${a}`));
    // An exported file keeps a step's decisions together.
    const path = this.path(`decisions/${step}`);
    if (!this.source.has(path)) return { error: "This file was exported without what agents saw and decided in that step." };
    return (await this.source.json(path))[a] || [];
  }

  /** The tree of an item: { nodes, edges }; of a row, only the tree which that event is part of. */
  async lineage(item, row = -1) {
    if (!this.source.isOffline) return this.source.json(this.path(`lineage/${item}${row >= 0 ? `?row=${row}` : ""}`));
    const kept = await this.source.json(this.path("lineage"));
    const at = row >= 0 ? kept.rows[row] : kept.items[item];
    return at === undefined ? { nodes: [], edges: [], total: 0 } : kept.trees[at];
  }

  /** Events whose text holds some words, of these kinds, of or to one agent: { rows: [events], total, first_steps }. */
  async search({ text = "", kinds = [], agent = -1, from = 0, limit = 200 } = {}) {
    if (!this.source.isOffline) {
      const asked = new URLSearchParams({ text, from, limit });
      if (kinds.length) asked.set("kinds", kinds.join(","));
      if (agent >= 0) asked.set("agent", agent);
      return this.source.json(this.path(`search?${asked}`));
    }
    const sought = text.toLowerCase();
    const wanted = new Set(kinds);
    const rows = [];
    const steps = new Set();
    let total = 0;
    for (let c = 0; c * this.size <= this.steps; c++) {
      const block = await this.eventChunk(c);
      const { columns, labels } = block;
      const hits = labels.text.map((said) => !sought || said.toLowerCase().includes(sought));
      const ofKind = labels.kind.map((name) => !wanted.size || wanted.has(name));
      for (let i = 0; i < block.rows; i++) {
        if (!ofKind[columns.kind[i]] || !(hits[columns.text[i]] ?? !sought)) continue;
        if (agent >= 0 && columns.agent[i] !== agent && columns.target[i] !== agent) continue;
        steps.add(columns.step[i]);
        if (total++ >= from && rows.length < limit) rows.push(this.eventAt(block, i));
      }
    }
    return { rows, total, first_steps: [...steps] };
  }
}
