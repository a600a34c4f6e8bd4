// A `run --step`, driven from the page while it is served: the operation that it waits before, and
// its commands. Each command names that operation: a second click, or another page, is too late.

const ORDERS = { step: "order_step", next: "order_next", chapter: "order_chapter", continue: "order_continue", abort: "order_abort" };
const ORDER_KEYS = { s: "step", n: "next", c: "continue" };

class StepPanel {
  constructor(root) {
    this.root = root;
    this.head = el("h2", { "aria-live": "polite" });
    this.about = el("div", { class: "about" });
    this.buttons = Object.entries(ORDERS).map(([command, key]) =>
      button(word(key), () => this.click(command), { "data-order": command }));
    this.answer = el("p", { role: "alert", class: "failed" });
    root.append(this.head, el("div", { class: "orders", role: "group", "aria-label": word("stepping") }, ...this.buttons), this.answer, this.about);
    this.shown = {}; // the story and operation that it tells of
  }

  /** What to add to the keys of the page. */
  keys() {
    return Object.fromEntries(Object.entries(ORDER_KEYS).map(([key, command]) => [key, () => this.order(command)]));
  }

  /** Show where the `run --step` of a story waits, if it has one. */
  show(story) {
    this.root.hidden = !story?.pause;
    if (this.root.hidden) return;
    const next = story.next?.id === story.pause.before ? story.next : null;
    this.open = next !== null && story.pause.is_open;
    if (this.shown.story !== story || this.shown.id !== next?.id) this.tell(story, next);
    this.head.textContent = next ? word("waits_before", { n: next.n, op: next.op.split(".").at(-1) }) : word("goes_on");
    if (next && !this.open && this.sentFor !== next.id) this.answer.textContent = word("terminal_busy");
    for (const each of this.buttons) each.setAttribute("aria-disabled", !this.open);
    this.arm(false);
  }

  tell(story, next) {
    this.shown = { story, id: next?.id };
    this.answer.textContent = "";
    if (!next) return this.about.replaceChildren();
    const op = data.ops[next.op], [actor, phase] = story.phases[next.phase];
    this.about.replaceChildren(...[el("p", { class: "where" }, `${actor} · ${phase} · ${op.man}`), el("p", { class: "why" }, op.why),
      details.twin(next), details.argumentsOf(next)].filter(Boolean));
  }

  /** Abort is asked for twice. */
  click(command) {
    if (command !== "abort" || this.isArmed) return this.order(command);
    this.arm(this.open);
  }

  arm(isArmed) {
    this.isArmed = isArmed;
    this.buttons.at(-1).textContent = word(isArmed ? "order_sure" : "order_abort");
  }

  async order(command) {
    if (this.root.hidden || !this.open) return;
    const { story, id } = this.shown;
    this.open = false; // until the next pause
    this.sentFor = id;
    const said = await order({ container: story.id, before: id, command });
    if (said && this.shown.id === id) this.answer.textContent = printable(said);
  }
}

/** Send a command; returns why it was refused, or "". */
async function order(fields) {
  try {
    // "same-origin", since some browsers send no origin without a referrer.
    const answer = await fetch("step", { method: "POST", body: new URLSearchParams(fields), referrerPolicy: "same-origin" });
    return answer.ok ? "" : await answer.text();
  } catch {
    return word("lost");
  }
}
