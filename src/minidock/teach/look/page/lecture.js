// A lecture: its steps, one at a time, and what the picture shows with each. lecture.py made the
// texts: lists of a tag and its contents.

class Lecture {
  constructor(root, steps, player) {
    this.root = root;
    this.steps = steps;
    this.player = player;
    this.at = 0;
    this.isDue = false; // the picture does not show what the step wants, yet
    root.hidden = false;
    this.go(0);
  }

  go(at) {
    this.at = Math.min(Math.max(at, 0), this.steps.length - 1);
    this.isDue = this.steps[this.at].show !== null;
    this.showText();
    this.showPicture();
  }

  showText() {
    const { title, blocks } = this.steps[this.at], hadFocus = this.root.contains(document.activeElement);
    const move = (text, label, by) => button(text, () => this.go(this.at + by), {
      "aria-label": word(label), title: word(label), "data-by": by, disabled: !this.steps[this.at + by] });
    const bar = el("div", { class: "lecture-bar" }, move("‹", "lecture_back", -1),
                   el("span", {}, `${this.at + 1} / ${this.steps.length}`), move("›", "lecture_next", 1));
    this.due = el("p", { class: "due", role: "status" });
    this.root.replaceChildren(bar, el("h2", {}, printable(title)), this.due, ...blocks.map(blockOf));
    this.root.scrollTop = 0;
    if (hadFocus) this.root.focus({ preventScroll: true });
  }

  /** Show what the step wants as soon as its container is there. */
  showPicture() {
    const { show } = this.steps[this.at];
    if (!this.isDue) return;
    const isIts = (story) => story?.title.split(":")[0] === show.container;
    const known = stories.find(isIts);
    this.due.textContent = known ? "" : word("lecture_due", { name: show.container });
    if (isIts(this.player.story)) {
      this.isDue = false;
      this.seek(show);
    } else if (known && !live) {
      choose(known);
      this.showPicture();
    } else if (known && live.wanted?.id !== known.id) { // else its story is on its way
      choose(known);
    }
  }

  seek({ side, place, zoom, predict: isPrediction }) {
    const { player } = this, position = side ? positionOf(player.story, side, place) : null;
    player.pause();
    if (zoom) player.setZoom(zoom);
    if (predict.isOn !== isPrediction) predict.toggle();
    if (position !== null) player.seek(position);
  }
}

/** The position after or before an operation, or the operations of a row; null if there is none. */
function positionOf(story, side, place) {
  if (place === "start") return 0;
  if (place === "end") return story.complete();
  const row = data.rows.findIndex(({ name }) => name === place), end = story.complete();
  const isIts = (step) => (row < 0 ? step.op === place : step.rows.includes(row));
  const found = story.steps.flatMap((step, at) => (at < end && isIts(step) ? [at] : []));
  if (!found.length) return null;
  return side === "before" ? found[0] : found.at(-1) + 1;
}

/** A block of the lecture as an element. */
function blockOf([tag, ...contents]) {
  if (tag === "pre") return consoleOf(contents[0]);
  return el(tag, {}, ...contents.map((each) => (typeof each === "string" ? printable(each) : blockOf(each))));
}

/** Commands, each with a button that copies it, and their output folded; or a text. */
function consoleOf(text) {
  const lines = text.split("\n"), commands = lines.filter((line) => /^[$#] /.test(line)).map((line) => line.slice(2));
  const whole = el("pre", { tabindex: 0, "aria-label": word("output") }, printableLines(text));
  if (!commands.length) return whole;
  const rows = commands.map((command) => el("li", {}, el("code", {}, printable(command)), copyButton(command)));
  const output = lines.length > commands.length ? el("details", {}, el("summary", {}, word("output")), whole) : null;
  return el("div", { class: "commands" }, el("ul", {}, ...rows), output);
}
