// Where each tile of the picture is, and the group of isolations whose colour it has.

const HOST = { x: 12, y: 8, w: 348, h: 628 };
const INSIDE = { x: 436, y: 8, w: 792, h: 628 };

const GROUPS = {
  pid: "process", uts: "process", ipc: "process", other: "process",
  mount: "files", pivot_root: "files", layers: "files",
  net: "network", cgroup: "limits", devices: "limits",
  capabilities: "rights", seccomp: "rights", masks: "rights",
};

// tile: x, y, width, height; the row whose operations it counts; whether a namespace outlines it.
const TILES = {
  host_processes: { x: 24, y: 48, w: 324, h: 140, group: "process" },
  host_files: { x: 24, y: 196, w: 324, h: 134, group: "files" },
  host_cgroup: { x: 24, y: 338, w: 324, h: 138, group: "limits", dense: true },
  host_network: { x: 24, y: 484, w: 324, h: 142, group: "network" },
  pid: { x: 448, y: 48, w: 300, h: 124, row: "pid", namespace: "PID namespace" },
  uts: { x: 756, y: 48, w: 166, h: 124, row: "uts", namespace: "UTS namespace" },
  ipc: { x: 930, y: 48, w: 138, h: 124, row: "ipc", namespace: "IPC namespace" },
  cgroup: { x: 1076, y: 48, w: 140, h: 124, row: "cgroup", namespace: "cgroup namespace" },
  layers: { x: 448, y: 180, w: 232, h: 150, row: "layers" },
  pivot_root: { x: 688, y: 180, w: 186, h: 150, row: "pivot_root" },
  mount: { x: 882, y: 180, w: 334, h: 150, row: "mount", namespace: "mount namespace", dense: true },
  net: { x: 448, y: 338, w: 258, h: 138, row: "net", namespace: "network namespace" },
  devices: { x: 714, y: 338, w: 247, h: 138, row: "devices", dense: true },
  masks: { x: 969, y: 338, w: 247, h: 138, row: "masks", dense: true },
  capabilities: { x: 448, y: 484, w: 368, h: 142, row: "capabilities" },
  seccomp: { x: 824, y: 484, w: 170, h: 142, row: "seccomp" },
  other: { x: 1002, y: 484, w: 214, h: 142, row: "other" },
};
// The whole picture: its box, its regions, its tiles, and the lines between them.
const WHOLE = {
  box: "0 0 1240 644", regions: [["host", HOST], ["inside", INSIDE]], tiles: TILES,
  links: { fork: "M 348 118 C 404 118 392 100 448 100", veth: "M 348 560 C 410 560 384 420 448 420" },
};
const HEAD = 30; // the height of a tile's title
const PAD = 10;

function groupOf(tile) {
  return TILES[tile].group ?? GROUPS[tile];
}

/** The colour group of a step: that of its only row; of several rows, none. */
function groupOfStep(step) {
  return step.rows.length === 1 ? GROUPS[data.rows[step.rows[0]].name] : "several";
}

/** Whether the type is large, for a class. */
function isLarge() {
  return document.documentElement.classList.contains("large");
}

/** The height of a tile's chips, and the size of their text. */
function chipSize(tile) {
  if (isLarge()) return tile.dense ? { height: 25, gap: 4, size: 16 } : { height: 28, gap: 5, size: 17 };
  return tile.dense ? { height: 22, gap: 4, size: 13 } : { height: 26, gap: 6, size: 14 };
}

/** Chips in lines: the places of those that fit, from the newest back; the rest is a number. */
function flow(chips, tile, top, left) {
  const { height, gap } = chipSize(tile), right = tile.w - PAD;
  const lines = Math.floor((tile.h - top - 2 + gap) / (height + gap));
  for (let skipped = 0; ; skipped++) {
    const shown = chips.slice(skipped);
    const more = skipped ? 44 : 0;
    const places = [];
    let x = left + more, line = 0;
    for (const chip of shown) {
      if (x + chip.w > right && x > left) { x = left; line++; }
      places.push([x, top + line * (height + gap)]);
      x += chip.w + gap;
    }
    if (line < lines || !shown.length) return { skipped, places };
  }
}
