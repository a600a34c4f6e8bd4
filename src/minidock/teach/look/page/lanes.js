// The processes as lanes in time. An interval is drawn by the logarithm of its length, so that a
// pause of a second and a call of ten microseconds are both seen; long pauses say how long they are.
// All blocks of one colour in a lane are one path: the number of elements does not depend on the
// number of operations.

const LANES = ["engine", "monitor", "init", "command"];
const LANE_OF = { engine: "engine", monitor: "monitor", task: "monitor", init: "init", stage: "init", exec: "init" };
const LANE_LABEL = 92, LANE_HEIGHT = 24, TOP = 20, TAIL = 90; // TAIL: after the last operation
const LONG_PAUSE_US = 5000, PAUSES_MOST = 6, LABELS_MOST = 40, WAITS_MOST = 60;

class Lanes {
  constructor(root, onSeek) {
    this.root = root;
    root.addEventListener("pointerdown", (event) => {
      const seek = ({ clientX }) => onSeek(this.positionAt(clientX - root.getBoundingClientRect().left));
      root.setPointerCapture(event.pointerId);
      root.onpointermove = seek;
      seek(event);
    });
    for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, () => (root.onpointermove = null));
  }

  open(story, zoom) {
    this.story = story;
    this.width = Math.max(widthOnScreen(this.root), 400);
    const height = TOP + LANES.length * LANE_HEIGHT + 4;
    this.root.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.root.setAttribute("height", height);
    this.measure();
    this.root.replaceChildren(...this.lives(), ...this.blocks(zoom), ...this.waits(), ...this.pauses());
    if (zoom !== "operations") this.root.append(...this.labels(zoom));
    this.cover = this.root.appendChild(svg("rect", { class: "cover", y: 0, height, width: this.width }));
    this.head = this.root.appendChild(svg("line", { class: "playhead", y1: TOP - 6, y2: height }));
  }

  /** this.edges[n]: where the time after n steps is, in pixels. */
  measure() {
    const steps = this.story.steps, weights = [];
    this.gaps = [];
    let before = 0;
    for (const [at, step] of steps.entries()) {
      const end = step.t + (step.us ?? 0);
      const gap = Math.max(end - before, 0);
      if (gap > LONG_PAUSE_US) this.gaps.push([gap, at]);
      weights.push(1 + Math.log2(1 + gap / 50));
      before = Math.max(before, end);
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0) || 1;
    const scale = (this.width - LANE_LABEL - TAIL) / total;
    this.edges = [LANE_LABEL];
    for (const weight of weights) this.edges.push(this.edges.at(-1) + weight * scale);
  }

  positionAt(x) {
    return below(this.edges, x, (edge) => edge - 1);
  }

  lane(step) {
    return LANES.indexOf(LANE_OF[step.actor] ?? "engine");
  }

  /** Each lane's name, and a line from its first step to its last. */
  lives() {
    const steps = this.story.steps, found = [];
    const begun = steps.findIndex((step) => step.op === "process.execute" && step.actor === "init" && !step.failed);
    LANES.forEach((name, lane) => {
      const mine = steps.flatMap((step, at) => (this.lane(step) === lane ? [at] : []));
      const y = TOP + lane * LANE_HEIGHT + 11;
      const isCommand = name === "command";
      const from = isCommand ? begun : mine[0] ?? -1;
      found.push(svg("text", { x: 10, y: y + 5, class: `lane-label ${from < 0 ? "absent" : ""}` }, word(name)));
      if (from < 0) return;
      const hasEnded = isCommand && this.story.ended() < steps.length;
      const to = hasEnded ? this.edges[this.story.ended()]
        : isCommand || name === "monitor" ? this.width - 8 : this.edges[mine.at(-1) + 1];
      found.push(svg("line", { x1: this.edges[from + (isCommand ? 1 : 0)], x2: Math.max(to, this.edges[from + 1]), y1: y, y2: y,
                               class: `life ${name}` }));
    });
    return found;
  }

  /** Blocks of operations, phases or isolations: one path per lane and colour. */
  blocks(zoom) {
    const paths = new Map();
    for (const [from, to] of this.runs(zoom)) {
      const step = this.story.steps[from];
      if (step.wait) continue;
      const lane = this.lane(step), key = `${lane} ${groupOfStep(step)}`;
      const x = this.edges[from] + 0.5, w = Math.max(this.edges[to] - this.edges[from] - 1, 0.8);
      const y = TOP + lane * LANE_HEIGHT + 1;
      if (!paths.has(key)) paths.set(key, []);
      paths.get(key).push(`M${x.toFixed(1)} ${y}h${w.toFixed(1)}v20h-${w.toFixed(1)}z`);
    }
    return [...paths].map(([key, d]) => svg("path", { d: d.join(""), class: `block ${key.split(" ")[1]}` }));
  }

  /** [first step, step after the last] of each block, of one process. */
  runs(zoom) {
    const stops = this.story.stops(zoom), found = [];
    for (let at = 1; at < stops.length; at++) {
      let from = stops[at - 1];
      for (let step = from + 1; step <= stops[at]; step++) {
        const ends = step === stops[at] || this.lane(this.story.steps[step]) !== this.lane(this.story.steps[from]);
        if (ends) { found.push([from, step]); from = step; }
      }
    }
    return found;
  }

  /** Waiting: from the moment it began, which is before operations of others that end earlier. */
  waits() {
    const found = [];
    this.story.steps.forEach((step, at) => {
      if (!step.wait || found.length >= WAITS_MOST) return;
      let from = at;
      while (from > 0 && this.story.steps[from - 1].t > step.t) from--;
      const x = this.edges[from], y = TOP + this.lane(step) * LANE_HEIGHT + 3;
      const w = Math.max(this.edges[at + 1] - x, 2);
      found.push(svg("g", { class: "wait" }, svg("title", {}, `${word("waits")} ${duration(step.us ?? 0)}`),
        svg("rect", { x, y, width: w, height: 16, rx: 3 }),
        w > 90 ? svg("text", { x: x + 8, y: y + 12.5 }, `${word("waits")} ${duration(step.us ?? 0)}`) : null));
    });
    return found;
  }

  pauses() {
    let end = -Infinity;
    return this.gaps.sort((a, b) => b[0] - a[0]).slice(0, PAUSES_MOST).sort((a, b) => a[1] - b[1]).flatMap(([gap, at]) => {
      const x = (this.edges[at] + this.edges[at + 1]) / 2, text = duration(gap);
      if (x - 30 < end) return [];
      end = x + 30;
      return [svg("text", { x, y: 13, class: "pause" }, text)];
    });
  }

  labels(zoom) {
    const wide = this.runs(zoom).filter(([from, to]) => this.edges[to] - this.edges[from] > 44 && !this.story.steps[from].wait);
    return wide.slice(0, LABELS_MOST).map(([from, to]) => {
      const step = this.story.steps[from];
      const name = zoom === "phases" ? this.story.phases[step.phase][1].split(".").at(-1)
        : step.rows.length > 1 ? "clone" : rowTitle(step.rows[0]);
      const text = fit(name, this.edges[to] - this.edges[from] - 10, 13);
      return svg("text", { x: this.edges[from] + 6, y: TOP + this.lane(step) * LANE_HEIGHT + 16, class: "block-label" },
                 text.length > 2 ? text : "");
    });
  }

  show(position) {
    const x = this.edges[position];
    this.cover.setAttribute("x", x);
    this.head.setAttribute("x1", x);
    this.head.setAttribute("x2", x);
  }
}

function widthOnScreen(root) {
  return Math.floor(root.getBoundingClientRect().width);
}

/** The title of a row: the word of --without, or that of the rest. */
function rowTitle(row) {
  return word(data.rows[row].name);
}
