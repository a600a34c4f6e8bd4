// The panel: the current operation, or what was clicked: a thing, or a tile with its isolation.

const LISTED_FIRST = 40; // operations of a list that are elements until more are asked for

class Details {
  constructor(root, player) {
    this.root = root;
    this.player = player;
  }

  /** Show these children; those that are null are left out (replaceChildren would write "null"). */
  fill(...children) {
    this.root.replaceChildren(...children.filter((child) => child !== null));
  }

  /** Show the step that was done last; at the beginning, the story. */
  showStep(story, position, zoom) {
    const step = story.steps[position - 1];
    if (!step) {
      this.root.replaceChildren(el("h2", {}, printable(story.title)), el("p", { class: "why" }, word("start")),
                                this.rowList(story));
      return;
    }
    const isEnd = position === story.steps.length && !story.next; // not while it is made step by step
    const heads = { isolations: () => (isEnd ? this.rowList(story) : this.rowHead(story, step.rows)),
                    phases: () => this.phaseHead(story, step), operations: () => "" };
    this.root.replaceChildren(heads[zoom](), this.stepCard(story, position - 1, { whole: true }));
  }

  rowHead(story, rows) {
    const names = rows.map((row) => rowTitle(row)).join(", ");
    const first = data.rows[rows[0]];
    return el("div", { class: "head" }, el("h2", {}, names), el("p", {}, rows.length === 1 ? first.about : ""),
              el("p", { class: "made" }, rows.length === 1 ? printable(story.phrases[first.name]) : ""));
  }

  phaseHead(story, step) {
    const [actor, name, purpose] = story.phases[step.phase];
    return el("div", { class: "head" }, el("h2", {}, `${actor} · ${name}`), el("p", {}, purpose));
  }

  /** All rows with their counts and what they made; each selects its tile. */
  rowList(story) {
    const rows = data.rows.map((row, at) => el("li", {},
      button(`${rowTitle(at)} `, () => this.player.select({ tile: row.name }), { class: `row-button ${GROUPS[row.name]}` }),
      el("span", { class: "count" }, String(story.stepsOfRow[at].length)),
      el("span", { class: "made" }, printable(story.phrases[row.name]))));
    return el("ul", { class: "rows" }, ...rows);
  }

  /** An operation: what it is, why, its arguments, its twin, what happens without it. */
  stepCard(story, at, { whole }) {
    const step = story.steps[at], op = data.ops[step.op];
    const head = el("h2", { class: "op" }, step.op.split(".").at(-1), el("small", {}, op.man));
    const where = el("p", { class: "where" }, el("span", { class: `actor ${LANE_OF[step.actor] ?? ""}` }, word(step.actor)),
                     ` ${word("step_of", { n: step.n, all: story.steps.length })}`,
                     step.us === null ? "" : ` · ${step.wait ? `${word("waits")} ` : ""}${duration(step.us)}`);
    return el("article", { class: "card", "data-step": at },
      whole ? where : null, whole ? head : null, el("p", { class: "why" }, op.why),
      step.failed ? el("p", { class: "failed" }, `${word("failed")}: ${printable(step.failed)}`) : null,
      whole ? this.changed(story, step) : null,
      this.twin(step), this.argumentsOf(step),
      op.without ? el("p", { class: "without" }, op.without) : null,
      this.manual(op));
  }

  changed(story, step) {
    const shown = step.changes.slice(0, 5).map(([at, state]) => {
      const [kind, name] = story.things[at];
      const text = printable(name ? `${word(`kind:${kind}`)} ${name}` : word(`kind:${kind}`));
      return el("li", {}, button(text, () => this.player.select({ thing: at }), { class: `thing state-${state}`, "data-thing-at": at }));
    });
    const more = step.changes.length - shown.length;
    return el("div", {}, el("h3", {}, word("what_changes")), el("ul", { class: "things" }, ...shown,
      more > 0 ? el("li", {}, word("hidden_more", { n: more })) : null));
  }

  twin(step) {
    if (!step.twin) return null;
    const text = el("pre", { tabindex: 0 }, printableLines(step.twin));
    return el("div", { class: "twin" }, el("h3", {}, word("in_shell"), copyButton(step.twin)), text);
  }

  argumentsOf(step) {
    const rows = step.args.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, printableLines(value.slice(0, 2000)))]);
    if (step.made) rows.push(el("dt", { class: "result" }, word("result")), el("dd", {}, printable(step.made)));
    return rows.length ? el("details", {}, el("summary", {}, word("arguments")), el("dl", {}, ...rows)) : null;
  }

  manual(op) {
    const [, name, section] = /^(.*?)\((\w+)\)$/.exec(op.man) ?? [];
    return name ? el("p", { class: "manual" }, `${word("manual")}: `, el("code", {}, `man ${section} ${name}`)) : null;
  }

  /** A thing: its state now, the operations that made it, and its isolation. */
  showThing(story, at, position) {
    const [kind, name, tile] = story.things[at];
    const [state, note] = story.at(at, position);
    const row = TILES[tile].row;
    this.fill(this.backButton(),
      el("h2", {}, printable(name || word(`kind:${kind}`))),
      el("p", { class: "where" }, `${word(`kind:${kind}`)} · ${word(["off", "ready", "on"][state])}`),
      note ? el("p", { class: "made" }, printable(note)) : null,
      el("h3", {}, word("made_by")), this.stepList(story, story.stepsOf(at)),
      row ? this.withoutRow(row) : null);
  }

  /** A tile: its isolation, what leaving it out does, and its operations. */
  showTile(story, tile) {
    const row = TILES[tile].row, at = data.rows.findIndex(({ name }) => name === row);
    const steps = at < 0 ? [...new Set((story.thingsOfTile[tile] ?? []).flatMap((thing) => story.stepsOf(thing)))].sort((a, b) => a - b)
      : story.stepsOfRow[at];
    this.fill(this.backButton(), el("h2", {}, word(row ?? tile)),
      at < 0 ? null : el("p", { class: "why" }, data.rows[at].about),
      at < 0 ? null : el("p", { class: "made" }, printable(story.phrases[row])),
      row ? this.withoutRow(row) : null,
      el("h3", {}, word("row_ops")), this.stepList(story, steps));
  }

  backButton() {
    return button(`← ${word("key_close")}`, () => this.player.select(null), { class: "back" });
  }

  withoutRow(name) {
    const row = data.rows.find((each) => each.name === name);
    if (!row?.without) return null;
    const command = `minidock run --without ${row.name} IMAGE`;
    return el("div", { class: "without" }, el("h3", {}, word("without")), el("p", {}, row.without),
      row.probes.length ? el("p", {}, `${word("probes")}: ${row.probes.join(", ")}`) : null,
      el("p", {}, `${word("try")}: `, el("code", {}, command)));
  }

  /** Operations, each with its card behind it; long lists grow on demand. */
  stepList(story, steps) {
    const list = el("ol", { class: "steps" });
    const grow = (from) => {
      const part = steps.slice(from, from + LISTED_FIRST);
      list.append(...part.map((at, order) => this.stepItem(story, at, from + order === 0)));
      if (from + LISTED_FIRST < steps.length) {
        const more = el("li", {}, button(word("more"), () => {
          more.remove();
          grow(from + LISTED_FIRST);
          list.children[from + LISTED_FIRST].querySelector("summary").focus();
        }));
        list.append(more);
      }
    };
    grow(0);
    return steps.length ? list : el("p", {}, word("none"));
  }

  stepItem(story, at, isOpen) {
    const step = story.steps[at];
    const item = el("details", { class: "step", open: isOpen, "data-step": at },
      el("summary", {}, `${step.n} `, el("b", {}, step.op.split(".").at(-1)), el("small", {}, ` ${word(step.actor)}`)));
    const show = () => {
      if (item.open && item.children.length === 1) {
        item.append(button(word("step_of", { n: step.n, all: story.steps.length }), () => this.player.seek(at + 1), { class: "seek" }),
                    this.stepCard(story, at, { whole: false }));
      }
    };
    item.addEventListener("toggle", show);
    show();
    return el("li", {}, item);
  }
}

/** Printable, with its lines kept. */
function printableLines(text) {
  return String(text).split("\n").map(printable).join("\n");
}

/** A button that copies a text. */
function copyButton(text) {
  const made = button(word("copy"), () => copy(text, made), { class: "copy" });
  return made;
}

async function copy(text, pressed) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(el("textarea", { class: "offscreen" }));
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
    pressed.focus();
  }
  pressed.textContent = word("copied");
  document.getElementById("said").textContent = word("copied");
}
