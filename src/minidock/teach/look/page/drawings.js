// Tiles that are not chips alone: layers as a stack, capabilities as dots that fall, the two roots,
// and the filter as a sieve.

const FALLS = 46;

/** Keep one group per thing in a tile, made by `make` the first time. */
function pieces(tile, things, scene, make) {
  tile.pieces ??= new Map();
  return things.map((thing, order) => {
    if (!tile.pieces.has(thing.at)) {
      const group = make(thing, order);
      scene.selectable(group, thing.at);
      tile.body.append(group);
      tile.pieces.set(thing.at, group);
    }
    const group = tile.pieces.get(thing.at);
    mark(group, thing);
    return group;
  });
}

/** Slabs: the topmost layer first; more than fit are thinner. */
function stack(tile, things, scene, { from, label }) {
  const room = tile.place.h - HEAD - 12;
  const shown = things.slice(0, 24);
  const height = Math.min(30, room / Math.max(shown.length, 1));
  pieces(tile, shown, scene, (thing) => {
    const text = height >= 18 ? fit(label(thing), tile.place.w - 4 * PAD, 14) : "";
    return svg("g", { class: `slab ${thing.name === "upper" ? "upper" : ""}` },
      svg("rect", { width: tile.place.w - 2 * PAD, height: height - 3, rx: 5 }),
      svg("text", { x: 10, y: height / 2 + 3.5 }, text));
  }).forEach((group, order) => {
    const [x, y] = [PAD, HEAD + 4 + order * height];
    const off = shown[order].state !== ON;
    group.setAttribute("transform", off && from ? `translate(${from[0]} ${from[1]})` : `translate(${x} ${y})`);
  });
}

function layerLabel(thing) {
  return thing.name === "upper" ? "upper · rw" : `${thing.note} · ${thing.name}`;
}

const DRAWINGS = {
  layers: {
    kinds: ["layer"], top: 400,
    // The container's own layer is the topmost; the image's follow in the order of lowerdir.
    show: (tile, things, scene) => stack(tile, [...things].sort((a, b) => (b.name === "upper") - (a.name === "upper")),
      scene, { from: [-400, 20], label: layerLabel }),
  },
  host_files: {
    kinds: ["image layer", "host root"], top: 400,
    show(tile, things, scene) {
      const layers = things.filter(({ kind }) => kind === "image layer");
      const root = things.filter(({ kind }) => kind === "host root");
      pieces(tile, root, scene, () => tree(124, word("host_root")))
        .forEach((group) => group.setAttribute("transform", `translate(8 ${HEAD})`));
      tile.caption ??= tile.body.appendChild(svg("text", { x: 160, y: HEAD + 14, class: "caption" }, fit(word("image_layers"), 150, 13)));
      const most = layers.slice(0, 12), height = Math.min(22, 74 / Math.max(most.length, 1));
      pieces(tile, most, scene, () => svg("g", { class: "slab source" },
        svg("rect", { width: 150, height: height - 3, rx: 4 })))
        .forEach((group, order) => group.setAttribute("transform", `translate(160 ${HEAD + 22 + order * height})`));
    },
  },
  capabilities: {
    kinds: ["capability"], top: 108, left: 156,
    show(tile, things, scene) {
      const left = things.filter(({ state }) => state === ON).length;
      const place = (order) => [PAD + 12 + (order % 16) * 21.7, HEAD + 16 + Math.floor(order / 16) * 23];
      tile.rings ??= tile.body.appendChild(svg("g", {}, ...things.map((_, order) =>
        svg("circle", { r: 7.5, cx: place(order)[0], cy: place(order)[1], class: "ring" }))));
      pieces(tile, things, scene, (thing) => svg("g", { class: "pip" }, svg("title", {}, thing.name),
        svg("circle", { r: 8, cx: 0, cy: 0 })))
        .forEach((group, order) => {
          const [x, y] = place(order);
          group.setAttribute("transform", `translate(${x} ${y + (things[order].state === ON ? 0 : FALLS)})`);
        });
      tile.caption ??= tile.body.appendChild(svg("text", { x: PAD, y: 128, class: "caption" }));
      tile.caption.textContent = word("left", { n: left, all: things.length });
    },
  },
  pivot_root: {
    kinds: ["root", "old root"], top: 400,
    show(tile, things, scene) {
      pieces(tile, things, scene, ({ kind }) => tree(82, kind === "root" ? "/" : word("old_root")))
        .forEach((group, order) => {
          const { kind, state } = things[order];
          const rest = kind === "root" ? [PAD + 2, state === ON ? HEAD : HEAD - 16]
            : [96, state === OFF ? HEAD + 70 : state === READY ? HEAD + 22 : HEAD];
          group.setAttribute("transform", `translate(${rest[0]} ${rest[1]})`);
        });
    },
  },
  seccomp: {
    kinds: ["filter"], top: 400,
    show(tile, things, scene) {
      pieces(tile, things, scene, sieve);
      tile.caption ??= tile.body.appendChild(svg("text", { x: tile.place.w / 2, y: 131, class: "caption middle" }));
      const on = things.find(({ state }) => state === ON);
      tile.caption.textContent = on ? fit(word("instructions", { n: on.note }), tile.place.w - 12, isLarge() ? 14 : 13) : "";
    },
  },
};

/** A directory tree as a small drawing, with its root's name. */
function tree(width, label) {
  const middle = width / 2;
  const branches = [-28, 0, 28].map((dx) => `M ${middle} 26 L ${middle} 40 L ${middle + dx} 40 L ${middle + dx} 54`).join(" ");
  const leaves = [-28, 0, 28].map((dx) => svg("rect", { x: middle + dx - 9, y: 54, width: 18, height: 14, rx: 3 }));
  return svg("g", { class: "tree" }, svg("path", { d: branches }), svg("circle", { cx: middle, cy: 18, r: 9 }), ...leaves,
    svg("text", { x: middle, y: 88, class: "tree-text" }, fit(label, width + 18, 13)));
}

/** A filter: a grid of holes, of which some are closed. */
function sieve() {
  const holes = [];
  for (let at = 0; at < 40; at++) {
    const open = (at * 7) % 5 !== 0;
    holes.push(svg("circle", { cx: 34 + (at % 8) * 14.5, cy: 46 + Math.floor(at / 8) * 14.5, r: 4.5, class: open ? "hole" : "closed" }));
  }
  return svg("g", { class: "sieve" }, ...holes);
}
