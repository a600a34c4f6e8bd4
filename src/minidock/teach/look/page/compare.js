// What differs between two stories, and which namespaces both are in. Pure: it reads two stories,
// each at a position, and draws nothing.
//
// It is here and not in the document, because a page compares any two of its stories at any two
// positions: for a hundred containers that cannot be written beforehand, and an exported file has
// no server to ask.

// Kinds that are compared. The others are of minidock (its processes, its ends of veth pairs, what
// it adds to the firewall), are pipes with a number of their own, or are told by memberships.
const COMPARED = new Set([
  "command", "mount", "interface", "route", "net setting", "port", "name", "ipc setting", "limit", "root", "old root",
  "filter", "capability", "capability setting", "mask", "device", "device rule", "layer", "files", "user", "process setting",
]);
const ROW_OF_TILE = { host_cgroup: "cgroup", host_network: "net" };
// Kinds of things that are in a namespace: two containers that share it have the same ones.
const INSIDE_NAMESPACE = {
  interface: "network namespace", route: "network namespace", "net setting": "network namespace",
  name: "UTS namespace", "ipc setting": "IPC namespace",
};
const NAMESPACE_TILE = { "user namespace": "other" }; // a tile that no namespace outlines

/**
 * The differences of two sides, each a story at a position with the things that are there:
 * [{row, first, second, other}] for each row that has any.
 * first, second: the things that are only there; other: [of the first, of the second] with different
 * values. A thing: {at, kind, name, note, tile}; at is null for a namespace.
 * shared: the namespaces that both are in, and so have all that is in them. A container's own id
 * counts as the same in both.
 */
function differencesOf(first, second, shared) {
  const same = new Set(shared.map(({ kind }) => kind));
  const found = new Map(data.rows.map(({ name }) => [name, { row: name, first: [], second: [], other: [] }]));
  const isSame = ({ kind }) => same.has(kind) || same.has(INSIDE_NAMESPACE[kind]);
  for (const [key, thing] of first.there) {
    if (isSame(thing)) continue;
    const twin = second.there.get(key), difference = found.get(rowOf(thing));
    if (!twin) difference.first.push(thing);
    else if (twin.value !== thing.value && twin.note !== thing.note) difference.other.push([thing, twin]);
  }
  for (const [key, thing] of second.there) if (!first.there.has(key) && !isSame(thing)) found.get(rowOf(thing)).second.push(thing);
  return [...found.values()].filter(({ first: one, second: two, other }) => one.length + two.length + other.length);
}

function rowOf({ tile }) {
  return TILES[tile].row ?? ROW_OF_TILE[tile] ?? "other";
}

/** The things that are there and compared, and the namespaces: key -> thing with a value. */
function thingsThere(story, position) {
  const found = new Map();
  const own = story.id ? story.id.slice(0, 12) : null;
  const plain = (text) => (own ? text.replaceAll(own, "ID") : text);
  story.things.forEach(([kind, name, tile], at) => {
    const [state, note] = COMPARED.has(kind) ? story.at(at, position) : [OFF, ""];
    if (state === ON) found.set(`${kind}\n${plain(name)}`, { at, kind, name, note, tile, value: plain(note) });
  });
  for (const [kind, { place, own: isOwn, at }] of Object.entries(story.memberships)) {
    const note = word(isOwn ? "own" : place ? "joined" : "hosts");
    if (position >= at) found.set(`${kind}\n`, { at: null, kind, name: "", note, tile: tileOfNamespace(kind), value: note });
  }
  return found;
}

function tileOfNamespace(kind) {
  return NAMESPACE_TILE[kind] ?? Object.keys(TILES).find((tile) => TILES[tile].namespace === kind);
}

/**
 * The namespaces that both are in: [{kind, isHosts}].
 * inodes: what the kernel says now, {first, second, host}, each kind -> inode; null: the journals tell.
 */
function sharedNamespaces(first, second, inodes) {
  const kinds = Object.keys(inodes?.first ?? first.story.memberships);
  const shared = inodes ? (kind) => inodes.first[kind] === inodes.second[kind]
    : (kind) => isJoined(first, second, kind);
  const isHosts = inodes ? (kind) => inodes.first[kind] === inodes.host[kind]
    : (kind) => first.story.memberships[kind].place === "";
  return kinds.filter(shared).map((kind) => ({ kind, isHosts: isHosts(kind) }));
}

/** Whether two journals say that both are in the same namespace. A pid may be used again: by two
 *  containers of which each has a namespace of its own, or with another inode. */
function isJoined(first, second, kind) {
  const [one, two] = [first.story.memberships[kind], second.story.memberships[kind]];
  if (!one || !two || first.position < one.at || second.position < two.at) return false;
  const isKnown = one.inode && two.inode;
  return one.place === two.place && !(one.own && two.own) && (!isKnown || one.inode === two.inode);
}
