// Predict first: the next step is hidden, and asked for with three answers to choose from. The
// wrong ones are other steps of the same story. What is still to come is hidden in the lanes, too.
// At the end of a story that is made step by step (step.js), the next step is not done yet.

const ANSWERS = 3;

class Predict {
  constructor(player) {
    this.player = player;
    this.isOn = false;
  }

  toggle() {
    this.isOn = !this.isOn;
    document.documentElement.classList.toggle("predicting", this.isOn);
    this.player.pause();
    const { story, position } = this.player;
    if (this.isOn && !story.next && position >= story.steps.length) this.player.seek(0);
    else this.player.changed(false);
  }

  /** The question for a position, or null if nothing is to come. */
  question(story, position) {
    const { stops, zoom } = this.player;
    const stop = stops.find((stop) => stop > position);
    const next = stop === undefined ? story.next : story.steps[stop - 1];
    if (!this.isOn || !next) return null;
    const right = this.label(story, next, zoom);
    const reveal = () => (next === story.next ? live.step.order("step") : this.player.step(1));
    const said = el("p", { role: "status" });
    const answers = this.answers(story, right, position).map((text) => {
      const answer = button(text, () => this.choose(answer, text === right, said), { class: "answer" });
      return el("li", {}, answer);
    });
    return el("section", { class: "question", "data-right": right }, el("h2", {}, word("what_next")), el("ol", {}, ...answers), said,
              button(word("reveal"), reveal, { class: "reveal" }));
  }

  choose(answer, isRight, said) {
    answer.classList.add(isRight ? "right" : "wrong");
    said.textContent = word(isRight ? "is_right" : "is_wrong");
    if (isRight) for (const each of answer.closest("ol").querySelectorAll("button")) each.disabled = each !== answer;
  }

  /** What a step is called at a zoom: why it is done, its phase's purpose, or its isolations. */
  label(story, step, zoom) {
    if (zoom === "operations") return data.ops[step.op].why || step.op;
    if (zoom === "phases") return story.phases[step.phase][2] || story.phases[step.phase][1];
    return step.rows.map((row) => `${rowTitle(row)}: ${data.rows[row].about}`).join("; ");
  }

  /** The right answer among others, in an order that the position determines. */
  answers(story, right, position) {
    const found = [right];
    for (let turn = 1; turn <= this.player.stops.length && found.length < ANSWERS; turn++) {
      const stop = this.player.stops[(position + turn * 7) % this.player.stops.length];
      const text = stop ? this.label(story, story.steps[stop - 1], this.player.zoom) : right;
      if (!found.includes(text)) found.push(text);
    }
    const start = position % found.length;
    return [...found.slice(start), ...found.slice(0, start)];
  }
}
