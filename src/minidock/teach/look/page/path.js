// The way of a packet as a picture: a column for each network namespace, the bridge in between, and
// a station for each hop, one below the other. A dot goes from station to station. The answer's way
// is dashed.

const PATH_WIDTH = 1100, FIRST_HOP = 58, HOP_GAP = 20, LINE = 19, TITLE = 16, SIDE = 46;
const MOVE_MS = 600;
const AT_BRIDGE = ["bridge", "veth"];
const CELL = { title: 7.6, rule: 7.3 }; // the width of a character, in the picture's units

class Path {
  constructor(root) {
    this.root = root;
  }

  /** Draw the stations of hops. names: what the columns are called: sender, host, bridge, container. */
  open(hops, names, onSelect) {
    this.hops = hops;
    this.place(hops);
    const bottom = this.stations.at(-1).bottom + SIDE / 2;
    this.root.setAttribute("viewBox", `0 0 ${PATH_WIDTH} ${bottom}`);
    this.lines = this.stations.slice(1).map((to, at) => this.line(this.stations[at], to));
    this.marks = this.stations.map((station, at) => this.station(station, at, onSelect));
    this.dot = svg("g", { class: "dot" }, svg("circle", { r: 13 }), svg("text", { y: 6 }));
    this.root.replaceChildren(...this.bands(names, bottom), ...this.lines, ...this.marks, this.dot);
    this.shown = 0;
  }

  /** Where each column and each station is. */
  place(hops) {
    const used = ["sender", "host", "bridge", "container"].filter((name) => name !== "sender" || hops.some(({ netns }) => netns === name));
    const share = { sender: SIDE, host: used.length > 3 ? 250 : SIDE, bridge: 600, container: PATH_WIDTH - SIDE };
    this.columns = used.map((name) => ({ name, x: share[name] }));
    let y = FIRST_HOP;
    this.stations = hops.map((hop) => {
      const x = share[AT_BRIDGE.includes(hop.place) ? "bridge" : hop.netns];
      const isLeft = x > PATH_WIDTH - x;
      const room = (isLeft ? x : PATH_WIDTH - x) - 34;
      const lines = this.text(hop, room);
      const station = { hop, x, y, isLeft, lines, bottom: y + (lines.length - 1) * LINE + HOP_GAP / 2 };
      y += lines.length * LINE + HOP_GAP;
      return station;
    });
  }

  /** The lines of a station: [class, text]. */
  text(hop, room) {
    const said = folded(`${hop.place}: ${hop.text}`, room / CELL.title);
    const rules = hop.rules.flatMap((rule) => folded(counted(rule), room / CELL.rule));
    const stop = hop.end ? [["stop", `✗ ${word("stopped_here")}`]] : [];
    return [...said.map((line) => ["said", line]), ...rules.map((line) => ["rule", line]), ...stop];
  }

  bands(names, bottom) {
    return this.columns.filter(({ name }) => name !== "bridge").map(({ name, x }) => {
      const from = name === "container" ? x - 150 : x - SIDE + 6;
      const to = { sender: x + 150, host: this.columns.at(-1).x - 160, container: PATH_WIDTH - 6 }[name];
      const title = svg("text", { x: from + 10, y: 26, class: "region-title" }, fit(names[name], to - from - (name === "host" ? 300 : 20), TITLE, 700));
      const bridge = name === "host" ? svg("text", { x: 612, y: 26, class: "caption" }, fit(names.bridge, 250, 13)) : null;
      return svg("g", { class: `region band ${name}` }, svg("rect", { x: from, y: 4, width: to - from, height: bottom - 8, rx: 12 }), title, bridge);
    });
  }

  line(from, to) {
    const points = corners(from, to).map(([x, y]) => `${x} ${y}`);
    return svg("path", { d: `M ${points.join(" L ")}`, class: to.hop.back && from.hop.back ? "way back" : "way" });
  }

  station({ hop, x, y, isLeft, lines }, at, onSelect) {
    const text = lines.map(([kind, line], row) => {
      const made = svg("text", { x: x + (isLeft ? -20 : 20), y: y + 5 + row * LINE, class: kind }, printable(line));
      return made;
    });
    const group = svg("g", { class: `station ${isLeft ? "left" : ""} ${hop.end ? "end" : ""}` }, svg("circle", { cx: x, cy: y, r: 7 }), ...text);
    group.addEventListener("click", () => onSelect(at + 1));
    return group;
  }

  /** Show the dot at hop `at`, from 1. status: of the whole way. */
  show(at, status) {
    const station = this.stations[at - 1], isLast = at === this.hops.length;
    const state = !isLast ? "" : status === "stopped" ? "stopped" : "arrived";
    this.dot.setAttribute("class", `dot ${state}`);
    this.dot.querySelector("text").textContent = { stopped: "✗", arrived: "✓", "": "" }[state];
    this.dot.setAttribute("transform", `translate(${station.x} ${station.y})`);
    this.lines.forEach((line, number) => line.classList.toggle("passed", number < at - 1));
    this.marks.forEach((mark, number) => {
      mark.classList.toggle("passed", number < at);
      mark.classList.toggle("here", number === at - 1);
    });
    this.marks[at - 1].scrollIntoView({ block: "nearest" });
    if (at === this.shown + 1 && at > 1) this.move(this.stations[at - 2], station);
    this.shown = at;
  }

  move(from, to) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.dot.animate(corners(from, to).map(([x, y]) => ({ transform: `translate(${x}px, ${y}px)` })), { duration: MOVE_MS, easing: "ease-in-out" });
  }

  /** The counters have changed: write the texts again. False if they need another number of lines. */
  count() {
    const before = this.stations;
    this.place(this.hops);
    if (this.stations.some(({ lines }, at) => lines.length !== before[at].lines.length)) return false;
    this.marks.forEach((mark, at) => mark.querySelectorAll("text").forEach((text, row) => {
      text.textContent = printable(this.stations[at].lines[row][1]);
    }));
    return true;
  }
}

/** Down past the text of the one, across, and down to the other. */
function corners(from, to) {
  return [[from.x, from.y], [from.x, from.bottom], [to.x, from.bottom], [to.x, to.y]];
}

/** A rule with its counter, as `iptables-save -c` writes them. */
function counted({ rule, counter }) {
  return counter ? `[${counter[0]}:${counter[1]}] ${rule}` : rule;
}

/** A text in lines of at most so many characters, broken at spaces where there are any. */
function folded(text, most) {
  const lines = [""];
  for (const piece of printable(text).split(" ")) {
    const line = lines.at(-1);
    if (line && line.length + piece.length >= most) lines.push(`  ${piece}`);
    else lines[lines.length - 1] = line ? `${line} ${piece}` : piece;
  }
  return lines.map((line) => cut(line, most, false).length < line.length ? cut(line, Math.floor(most) - 1, false) : line);
}
