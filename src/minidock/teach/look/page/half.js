// The picture of one container of two: its isolations, and at the foot its limits and its part of
// the host's network. The rest of the host is the same for both.

const HALF = {
  box: "0 0 808 510",
  regions: [["inside", { x: 8, y: 4, w: 792, h: 502 }]],
  tiles: {
    pid: { ...TILES.pid, x: 20, y: 40, w: 242, h: 90, hides: ["init"] },
    uts: { ...TILES.uts, x: 270, y: 40, w: 138, h: 90 },
    ipc: { ...TILES.ipc, x: 416, y: 40, w: 106, h: 90 },
    cgroup: { ...TILES.cgroup, x: 530, y: 40, w: 110, h: 90 },
    other: { ...TILES.other, x: 648, y: 40, w: 140, h: 90 },
    layers: { ...TILES.layers, x: 20, y: 138, w: 180, h: 110 },
    mount: { ...TILES.mount, x: 208, y: 138, w: 322, h: 110 },
    net: { ...TILES.net, x: 538, y: 138, w: 250, h: 110 },
    capabilities: { ...TILES.capabilities, x: 20, y: 256, w: 368, h: 142 },
    seccomp: { ...TILES.seccomp, x: 396, y: 256, w: 170, h: 142 },
    pivot_root: { ...TILES.pivot_root, x: 574, y: 256, w: 214, h: 142 },
    devices: { ...TILES.devices, x: 20, y: 406, w: 200, h: 88 },
    masks: { ...TILES.masks, x: 228, y: 406, w: 160, h: 88 },
    host_cgroup: { ...TILES.host_cgroup, x: 396, y: 406, w: 190, h: 88, title: "limits", hides: ["host cgroup"] },
    host_network: { ...TILES.host_network, x: 594, y: 406, w: 194, h: 88, hides: ["veth", "firewall", "host setting"] },
  },
  links: {},
};
