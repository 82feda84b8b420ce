// Where answers come from: the viewer's server, or the data kept inside an exported file.

import { decodeBlock, fromBase64, gunzip } from "./pack.js";

const JSON_KEPT = 400;

/** Reads answers by path: `json` and `block` return promises; a failure is an Error with one line for people. */
export class Source {
  constructor() {
    const kept = document.getElementById("simworld-data");
    this.files = kept ? JSON.parse(kept.textContent) : null;
    if (kept) kept.remove();
    this.isOffline = this.files !== null;
    this.answers = new Map();
    this.plotlyAsked = null;
  }

  /** True where an exported file holds an answer to this path; a server is asked for any. */
  has(path) {
    return !this.isOffline || Object.hasOwn(this.files, path);
  }

  /** An answer as JSON, kept until forgotten. */
  async json(path) {
    const known = this.answers.get(path);
    if (known) {
      this.answers.delete(path);
      this.answers.set(path, known);
      return known;
    }
    const asked = this.bytes(path).then((buffer) => JSON.parse(new TextDecoder().decode(buffer)));
    this.answers.set(path, asked);
    if (this.answers.size > JSON_KEPT) this.answers.delete(this.answers.keys().next().value);
    asked.catch(() => this.answers.get(path) === asked && this.answers.delete(path));
    return asked;
  }

  /** An answer as typed columns; not kept, its reader keeps what it needs. */
  async block(path) {
    return decodeBlock(await this.bytes(path));
  }

  /** Forgets every JSON answer whose path starts so. */
  forget(prefix) {
    for (const path of [...this.answers.keys()]) if (path.startsWith(prefix)) this.answers.delete(path);
  }

  async bytes(path) {
    if (this.isOffline) {
      if (!Object.hasOwn(this.files, path)) throw new Error("This file was exported without that part of the run.");
      return gunzip(fromBase64(this.files[path]));
    }
    let answer;
    try {
      answer = await fetch(`/api/${path}`);
    } catch {
      throw new Error("The viewer's server does not answer. Was it stopped? Start it again: simworld view RUN");
    }
    if (answer.ok) return answer.arrayBuffer();
    let words = `The viewer's server answered ${answer.status}.`;
    try {
      words = (await answer.json()).error || words;
    } catch {
      // Not an answer of ours: the number has to do.
    }
    throw new Error(words);
  }

  /** plotly, asked for when the first chart is shown. */
  plotly() {
    if (window.Plotly) return Promise.resolve(window.Plotly);
    if (!this.plotlyAsked) {
      this.plotlyAsked = new Promise((done, failed) => {
        const script = document.createElement("script");
        const kept = document.getElementById("simworld-plotly");
        if (this.isOffline) {
          // It rests in the file as text, so that the page opens without reading it; its hash is in the page's policy.
          if (kept) script.textContent = kept.textContent;
          document.head.append(script);
          if (window.Plotly) done(window.Plotly);
          else failed(new Error("This file was exported without charts."));
          return;
        }
        script.src = "/plotly.js";
        script.onload = () => (window.Plotly ? done(window.Plotly) : failed(new Error("The charts' script did not start.")));
        script.onerror = () => failed(new Error("The charts' script did not load. Reload the page."));
        document.head.append(script);
      });
      this.plotlyAsked.catch(() => (this.plotlyAsked = null));
    }
    return this.plotlyAsked;
  }
}
