// What differs between two stories, as text: a card for each isolation, and as a table.

const NAMED_MOST = 3; // things of an isolation that are named; more are a number

/** The panel: shared namespaces, a card for each isolation that differs, and those that do not. */
function differencesPanel({ first, second, differs, shared, source }) {
  const cards = differs.map((each) => differenceCard(first, second, each));
  const rows = new Set(differs.map(({ row }) => row));
  const same = data.rows.flatMap(({ name }, at) => (rows.has(name) ? [] : [rowTitle(at)]));
  return [el("h2", {}, word("beside_title", { n: differs.length, all: data.rows.length })), sharedLine(shared, source),
          cards.length ? el("ul", { class: "cards" }, ...cards) : null,
          same.length ? el("p", { class: "same" }, `${word("beside_same")}: ${same.join(", ")}`) : null];
}

function sharedLine(shared, source) {
  const kinds = shared.map(({ kind, isHosts }) => (isHosts ? `${word(`kind:${kind}`)} (${word("hosts")})` : word(`kind:${kind}`)));
  return el("p", { class: "shared-line" }, el("b", {}, `${word("beside_shared")}: `), kinds.join(", ") || word("beside_none"),
            el("span", { class: "made" }, ` · ${word(source)}`));
}

function differenceCard(first, second, { row, first: one, second: two, other }) {
  const count = one.length + two.length + other.length, group = GROUPS[row];
  const at = data.rows.findIndex(({ name }) => name === row);
  const values = [first, second].flatMap((side, order) => [
    el("dt", { title: side.story.title }, shortTitle(side.story)), el("dd", {}, rowValue(side, row, [one, two][order], other.map((pair) => pair[order])))]);
  const lists = el("div", { hidden: true }, ...differenceLists(first, second, { one, two, other }));
  const more = button(`≠ ${count}`, () => {
    lists.hidden = !lists.hidden;
    more.setAttribute("aria-expanded", !lists.hidden);
  }, { "aria-expanded": "false", "aria-label": `${rowTitle(at)}: ≠ ${count}`, title: word("beside_list") });
  return el("li", { class: `difference ${group}`, "data-row": row, "data-count": count },
    el("h3", {}, rowTitle(at)), more, el("dl", {}, ...values), lists);
}

/** The things of an isolation that differ: only in the one, only in the other, with other values. */
function differenceLists(first, second, { one, two, other }) {
  const only = [[first, one], [second, two]].filter(([, things]) => things.length);
  const lists = only.map(([{ story }, things]) => el("div", {}, el("h4", {}, word("beside_only", { name: shortTitle(story) })), list(things.map(thingText))));
  const values = other.map(([a, b]) => `${thingName(a)}: ${a.note || "—"} ≠ ${b.note || "—"}`);
  return values.length ? [...lists, el("div", {}, el("h4", {}, word("beside_other")), list(values))] : lists;
}

/** An isolation of one of the two in a few words. own, other: its things that differ. */
function rowValue(side, row, own, other) {
  const there = [...side.there.values()].filter((thing) => rowOf(thing) === row && thing.at !== null);
  if (row === "capabilities") {
    const isOne = ({ kind }) => kind === "capability", all = side.story.things.filter(([kind]) => isOne({ kind }));
    return word("left", { n: there.filter(isOne).length, all: all.length });
  }
  if (row === "seccomp") return there.length ? word("instructions", { n: there[0].note }) : word("beside_none");
  const differing = [...own, ...other];
  if (differing.length && differing.length <= NAMED_MOST) return differing.map(plainText).join(", ");
  const kinds = [...new Set(there.map(({ kind }) => kind))];
  const counts = kinds.map((kind) => `${word(`kind:${kind}`)}: ${there.filter((each) => each.kind === kind).length}`);
  return counts.join(", ") || word("beside_none");
}

/** A thing of a row without its kind, if its name or note says enough. */
function plainText({ kind, name, note }) {
  const isOnly = name && name !== kind;
  return printable(isOnly ? `${name} ${note}` : name ? note : `${word(`kind:${kind}`)} ${note}`);
}

function thingName({ kind, name }) {
  return name && name !== kind ? `${word(`kind:${kind}`)} ${name}` : word(`kind:${kind}`);
}

function thingText(thing) {
  return printable(thing.note ? `${thingName(thing)} ${thing.note}` : thingName(thing));
}

/** The name of a container, or the whole title of another story. */
function shortTitle({ title }) {
  return printable(/^([\w.-]+): /.exec(title)?.[1] ?? title);
}

/** The same as rows of a table. */
function differencesTable({ first, second, differs, shared, source }) {
  const heads = [word("row"), word("thing"), shortTitle(first.story), shortTitle(second.story)];
  const yes = (note) => note || word("on"), no = word("beside_none");
  const rows = differs.flatMap(({ row, first: one, second: two, other }) => {
    const title = rowTitle(data.rows.findIndex(({ name }) => name === row));
    return [...one.map((thing) => [title, thingName(thing), yes(thing.note), no]), ...two.map((thing) => [title, thingName(thing), no, yes(thing.note)]),
            ...other.map(([a, b]) => [title, thingName(a), yes(a.note), yes(b.note)])];
  });
  const namespaces = shared.map(({ kind, isHosts }) => {
    const text = isHosts ? `${word("joined")} (${word("hosts")})` : word("joined");
    return [word("beside_shared"), word(`kind:${kind}`), text, text];
  });
  return grownTable(`${word("beside")} · ${word(source)}`, heads, [...namespaces, ...rows]);
}
