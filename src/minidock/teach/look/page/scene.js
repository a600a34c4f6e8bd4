// The picture: tiles with chips, and what is drawn in its own way: layers, capabilities, the roots,
// the filter, the veth pair, and the line from the monitor to its child.

const SHOWN_MOST = 28; // chips of a tile that are elements; the rest is a number

class Scene {
  constructor(root, onSelect) {
    this.root = root;
    this.onSelect = onSelect;
    this.layout = WHOLE;
  }

  /** Draw a story's empty picture. */
  open(story) {
    this.story = story;
    const hadFocus = this.root.contains(document.activeElement);
    const focused = hadFocus ? document.activeElement.closest(".tile")?.dataset.tile : undefined;
    const { box, regions, tiles, links } = this.layout;
    this.root.setAttribute("viewBox", box);
    this.root.replaceChildren(...regions.map(([name, place]) => this.region(place, name)));
    this.links = this.root.appendChild(svg("g", { class: "links" }));
    this.tiles = {};
    for (const name of Object.keys(tiles)) this.tiles[name] = this.tile(name);
    this.lines = Object.fromEntries(Object.entries(links).map(([name, path]) => [name, this.link(path)]));
    this.tiles[focused]?.handle.focus();
  }

  region(place, name) {
    const title = svg("text", { x: place.x + 14, y: place.y + 27, class: "region-title" }, word(name));
    const box = svg("rect", { x: place.x, y: place.y, width: place.w, height: place.h, rx: 16 });
    return svg("g", { class: `region ${name}` }, box, title);
  }

  link(path) {
    return this.links.appendChild(svg("path", { d: path, class: "link", pathLength: 1 }));
  }

  tile(name) {
    const place = this.layout.tiles[name];
    const label = word(place.title ?? place.row ?? name);
    const title = svg("text", { x: PAD, y: 21, class: "tile-title" }, label);
    const count = svg("text", { x: place.w - PAD, y: 21, class: "tile-count" });
    const badge = svg("text", { x: PAD + 8 + widthOf(label, 16, 650), y: 21, class: "badge" });
    const body = svg("g", { class: "body" });
    const box = svg("rect", { width: place.w, height: place.h, rx: 10, class: "box" });
    // The tile's own button is beside its things, which are buttons too: a button contains no other.
    const handle = svg("g", { class: "handle", tabindex: 0, role: "button", "aria-label": label }, box, title, badge, count);
    const group = svg("g", {
      class: `tile ${groupOf(name)} ${place.dense ? "dense" : ""}`, "data-tile": name, transform: `translate(${place.x} ${place.y})`,
      role: "group", "aria-label": label,
    }, handle, body);
    group.addEventListener("click", () => this.onSelect({ tile: name }));
    this.root.append(group);
    return { name, place, label, group, handle, count, badge, body, chips: new Map() };
  }

  /** Show what is there once so many steps are done; `lit`: the things to light up; `selected`: a tile. */
  show(position, lit, selected) {
    this.position = position;
    for (const tile of Object.values(this.tiles)) {
      this.showTile(tile, lit);
      tile.group.classList.toggle("selected", tile.name === selected);
    }
    this.root.querySelector(".inside").classList.toggle("on", this.isOn("init", "command", "exec"));
    this.lines.fork?.classList.toggle("on", this.isOn("init"));
    this.lines.veth?.classList.toggle("on", this.isOn("interface") && this.isOn("veth"));
  }

  isOn(...kinds) {
    return this.story.things.some(([kind], at) => kinds.includes(kind) && this.story.at(at, this.position)[0] === ON);
  }

  showTile(tile, lit) {
    const things = (this.story.thingsOfTile[tile.name] ?? []).map((at) => {
      const [kind, name] = this.story.things[at];
      const [state, note] = this.story.at(at, this.position);
      return { at, kind, name, state, note, lit: lit.has(at) };
    });
    const namespace = things.find(({ kind }) => kind === tile.place.namespace);
    const isOn = tile.place.namespace ? namespace?.state === ON
      : things.some(({ state, kind }) => state === ON && kind !== "capability") || tile.name.startsWith("host");
    tile.group.classList.toggle("on", Boolean(isOn));
    tile.group.classList.toggle("lit", things.some((thing) => thing.lit));
    if (namespace) mark(tile.handle, namespace, `${tile.label}: `); else tile.handle.setAttribute("aria-label", tile.label);
    this.showCount(tile);
    const drawn = DRAWINGS[tile.name];
    const rest = things.filter((thing) => thing !== namespace && !drawn?.kinds.includes(thing.kind) && !tile.place.hides?.includes(thing.kind));
    rest.sort((a, b) => b.kind.endsWith("setting") - a.kind.endsWith("setting")); // the first ones are hidden first
    if (drawn) drawn.show(tile, things.filter((thing) => drawn.kinds.includes(thing.kind)), this);
    this.showNamespace(tile, namespace);
    this.showChips(tile, rest.filter((thing) => thing.state !== OFF), drawn?.top ?? HEAD + 4, drawn?.left ?? PAD);
  }

  /** Mark the tiles whose things are now not as the journal says: row -> their number. */
  markDifferences(counts) {
    for (const tile of Object.values(this.tiles ?? {})) {
      const count = counts.get(tile.place.row);
      tile.badge.textContent = count ? `≠ ${count}` : "";
    }
  }

  showCount(tile) {
    const row = data.rows.findIndex(({ name }) => name === tile.place.row);
    if (row < 0) return;
    const steps = this.story.stepsOfRow[row];
    const done = steps.length && steps[0] < this.position ? below(steps, this.position - 1, (at) => at) + 1 : 0;
    tile.count.textContent = steps.length ? `${done}/${steps.length}` : "—";
  }

  /** At the foot of a small tile: that its namespace is its own, or another's. */
  showNamespace(tile, namespace) {
    if (!namespace || !hasFoot(tile)) return;
    tile.foot ??= tile.body.appendChild(svg("text", { x: PAD, y: tile.place.h - 12, class: "caption foot" }));
    const text = namespace.state !== ON ? "" : word(namespace.note === "joined" ? "joined" : "own");
    tile.foot.textContent = fit(text, tile.place.w - 2 * PAD, 13);
  }

  showChips(tile, things, top, left) {
    const { size } = chipSize(tile.place), width = tile.place.w - left - PAD;
    const shown = things.slice(-SHOWN_MOST).map((thing) => ({ ...thing, ...chipText(thing, width, size) }));
    const { skipped, places } = flow(shown, tile.place, top, left);
    const hidden = things.length - shown.length + skipped;
    const kept = new Set();
    shown.slice(skipped).forEach((chip, at) => {
      kept.add(chip.at);
      this.showChip(tile, chip, places[at]);
    });
    for (const [at, group] of tile.chips) {
      if (kept.has(at)) continue;
      if (group === document.activeElement) tile.handle.focus();
      group.remove();
      tile.chips.delete(at);
    }
    tile.more ??= tile.body.appendChild(svg("text", { x: left + 2, y: top + 17, class: "more" }));
    tile.more.textContent = hidden ? `+${hidden}` : "";
  }

  showChip(tile, chip, [x, y]) {
    let group = tile.chips.get(chip.at);
    if (!group) {
      group = svg("g", { class: "chip entering", "data-kind": chip.kind }, svg("rect", { height: chipSize(tile.place).height, rx: 7 }),
                  svg("text", { x: 9, y: chipSize(tile.place).height * 0.5 + chipSize(tile.place).size * 0.36 }, svg("tspan"), svg("tspan", { class: "note", dx: 6 })));
      this.selectable(group, chip.at);
      tile.body.append(group);
      tile.chips.set(chip.at, group);
      requestAnimationFrame(() => group.classList.remove("entering"));
    }
    group.setAttribute("transform", `translate(${x} ${y})`);
    group.firstChild.setAttribute("width", chip.w);
    const [name, note] = group.lastChild.children;
    name.textContent = chip.text;
    note.textContent = chip.noteText;
    mark(group, chip);
  }

  /** A thing that can be clicked, and reached by the arrow keys. */
  selectable(group, at) {
    group.setAttribute("tabindex", -1);
    group.setAttribute("role", "button");
    group.addEventListener("click", (event) => {
      event.stopPropagation();
      this.onSelect({ thing: at });
    });
  }
}

/** The thing, its state, and whether it is lit, as attributes: for style, screen readers and tests. */
function mark(group, thing, before = "") {
  if (!thing) return;
  group.setAttribute("data-thing", `${thing.kind}:${thing.name}`);
  group.setAttribute("data-at", thing.at);
  group.setAttribute("data-state", ["off", "ready", "on"][thing.state]);
  group.classList.toggle("lit", thing.lit);
  const label = `${word(`kind:${thing.kind}`)} ${thing.name} ${thing.note}`;
  group.setAttribute("aria-label", printable(`${before}${label}: ${word(["off", "ready", "on"][thing.state])}`));
}

/** Whether a tile says of its namespace, at its foot, whose it is. */
function hasFoot({ name, place }) {
  return place.namespace && !place.dense && name !== "net";
}

/** The texts of a chip, cut to a width, and its width. A long note is left to the panel. */
function chipText(thing, width, size) {
  const name = (VALUES.has(thing.kind) && thing.note) || thing.name || word(`kind:${thing.kind}`);
  const text = fit(PREFIXES[thing.kind] ? `${PREFIXES[thing.kind]} ${name}` : name, width - 18, size);
  const used = widthOf(text, size), room = width - 18 - used - 6;
  const isShort = thing.note.length <= (LONG_NOTES.has(thing.kind) ? 200 : 12);
  const noteText = thing.note && thing.note !== name && isShort && room > 40 ? fit(thing.note, room, size) : "";
  return { text, noteText, w: Math.ceil(used + (noteText ? 6 + widthOf(noteText, size) : 0) + 18) };
}

const VALUES = new Set(["name"]); // kinds of which the value says more than the name
const LONG_NOTES = new Set(["command", "exec", "interface", "route", "limit", "bridge"]);
const PREFIXES = { monitor: "●", engine: "●", init: "●", command: "▶", exec: "▶", port: "⇄", bridge: "═", veth: "⟝" };
