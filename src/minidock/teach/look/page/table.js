// The table behind the picture: the same facts as rows, for screen readers and for reading.

const ROWS_AT_ONCE = 500; // rows that are elements until more are asked for

class Table {
  constructor(root) {
    this.root = root;
  }

  /** Show a story's tables; at another position only what is there changes. */
  show(story, position) {
    if (this.story !== story) {
      this.story = story;
      this.now = el("div");
      this.root.replaceChildren(this.rows(story), this.now, this.operations(story));
    }
    const heads = [word("thing"), word("row"), word("state")];
    this.now.replaceChildren(grownTable(word("table_now"), heads, this.things(story, position)));
  }

  rows(story) {
    const heads = [word("row"), word("count"), word("made")];
    return grownTable(word("table_rows"), heads,
      data.rows.map((row, at) => [rowTitle(at), story.stepsOfRow[at].length, story.phrases[row.name]]));
  }

  things(story, position) {
    return story.things.flatMap(([kind, name, tile], at) => {
      const [state, note] = story.at(at, position);
      if (state === OFF) return [];
      const row = word(TILES[tile].row ?? tile);
      return [[`${word(`kind:${kind}`)} ${name} ${note}`, row, word(["off", "ready", "on"][state])]];
    });
  }

  operations(story) {
    const heads = [word("number"), word("process"), word("operation"), word("thing"), word("time")];
    const thing = ([at]) => `${word(`kind:${story.things[at][0]}`)} ${story.things[at][1]}`;
    return grownTable(word("table_ops"), heads, story.steps.map((step) => [
      step.n, word(step.actor), step.op, step.changes.slice(0, 3).map(thing).join(", "),
      step.us === null ? "" : duration(step.us),
    ]));
  }
}

/** A table with its first rows, and a button for more. */
function grownTable(title, heads, rows) {
  const body = el("tbody");
  const more = button(word("more"), () => grow());
  const grow = () => {
    const from = body.rows.length;
    body.append(...rows.slice(from, from + ROWS_AT_ONCE).map(tableRow));
    more.hidden = body.rows.length >= rows.length;
  };
  grow();
  const head = el("thead", {}, el("tr", {}, ...heads.map((each) => el("th", { scope: "col" }, each))));
  return el("div", {}, el("table", {}, el("caption", {}, title), head, body), more);
}

function tableRow(cells) {
  const [first, ...rest] = cells.map((cell) => printable(cell));
  return el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", {}, cell)));
}
