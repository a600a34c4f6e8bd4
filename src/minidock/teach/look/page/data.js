// The data of the page: stories, things and their history. It reads what document.py wrote.

const OFF = 0, READY = 1, ON = 2;
const data = JSON.parse(document.getElementById("data").textContent);

/** A text in the reader's language, with its {places} filled. */
function word(key, values = {}) {
  const text = data.words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

/** One story: its steps, its things, and what is known of each thing at each position. */
class Story {
  constructor(raw) {
    Object.assign(this, raw);
    this.history = this.things.map((_, at) => (at < this.first ? [[0, ON, ""]] : [[0, OFF, ""]]));
    this.stepsOfRow = data.rows.map(() => []);
    this.steps.forEach((step, at) => {
      for (const [thing, state, note] of step.changes) this.history[thing].push([at + 1, state, note]);
      for (const row of step.rows) this.stepsOfRow[row].push(at);
    });
    this.thingsOfTile = {};
    this.things.forEach(([, , tile], at) => (this.thingsOfTile[tile] ??= []).push(at));
  }

  /** [state, note] of a thing once so many steps are done. */
  at(thing, position) {
    const history = this.history[thing];
    const found = history[below(history, position, (entry) => entry[0])];
    return [found[1], found[2]];
  }

  /** The steps that changed or concerned a thing. */
  stepsOf(thing) {
    return this.history[thing].slice(1).map(([at]) => at - 1);
  }

  commandHistory() {
    return this.history[this.things.findIndex(([kind]) => kind === "command")] ?? [];
  }

  /** The last position, or the one after the command began if it has ended since. */
  complete() {
    const history = this.commandHistory();
    const end = history.findLast(([, state]) => state === ON) ?? [this.steps.length];
    return (history.at(-1)?.[1] ?? ON) === ON ? this.steps.length : end[0];
  }

  /** The position at which the command had ended, or the last one. */
  ended() {
    const last = this.commandHistory().at(-1);
    return last?.[1] === OFF ? last[0] : this.steps.length;
  }

  /** The positions at which a zoom stops: after each operation, phase, or run of an isolation. */
  stops(zoom) {
    const key = { operations: (_, at) => at, phases: (step) => step.phase,
                  isolations: (step) => step.rows.join() }[zoom];
    const found = [0];
    this.steps.forEach((step, at) => {
      const next = this.steps[at + 1];
      if (next === undefined || key(next, at + 1) !== key(step, at)) found.push(at + 1);
    });
    return found;
  }
}

/** The index of the last entry whose key is at most `wanted`; the first one if none is. */
function below(entries, wanted, key) {
  let low = 0, high = entries.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (key(entries[middle]) <= wanted) low = middle; else high = middle - 1;
  }
  return low;
}

/** Bytes as text, as Docker has them. */
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes ? Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1) : 0;
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}

/** Microseconds as text. */
function duration(us) {
  if (us < 1000) return `${us} µs`;
  return us < 1e6 ? `${(us / 1000).toFixed(1)} ms` : `${(us / 1e6).toFixed(2)} s`;
}
