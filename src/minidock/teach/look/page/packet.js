// Packet: the reader sends one packet, and a dot follows its hops: what `minidock packet` prints, as
// stations with their rules. It stops where the packet does.

const WAYS = { host: "to_port", outside: "to_port", container: "to_port", between: "to_container", dns: "to_name" };
const COUNTERS_MS = 1000;

class PacketView {
  constructor(root) {
    this.root = root;
    this.player = new Player();
    this.player.zoom = "phases"; // how long it stays at a hop
    this.places = [];
    this.isBusy = false;
    this.build();
    this.player.views.push(() => this.show());
    setInterval(() => this.askCounters(), COUNTERS_MS);
  }

  get isOpen() {
    return !this.root.hidden;
  }

  build() {
    this.way = el("select", { "aria-label": word("way") }, ...Object.keys(WAYS).map((way) => el("option", { value: way }, word(`way:${way}`))));
    this.container = el("select", { "aria-label": word("container") });
    this.destination = el("input", { type: "text", maxlength: 300, list: "destinations", autocomplete: "off", spellcheck: "false" });
    this.suggested = el("datalist", { id: "destinations" });
    this.to = el("span");
    const form = el("form", { class: "packet-form" }, this.way, this.container, el("label", {}, this.to, " ", this.destination), this.suggested,
                    el("button", { type: "submit" }, word("send")));
    form.addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    this.way.addEventListener("change", () => this.suggest());
    this.container.addEventListener("change", () => this.suggest());
    this.picture = svg("svg", { id: "path", role: "img", "aria-label": word("path_picture") });
    this.list = el("ol", { class: "hops", tabindex: 0, role: "list", "aria-label": word("hops") });
    this.said = el("div", { class: "verdict", role: "status" });
    this.stage = el("div", { class: "packet-stage", hidden: true }, this.picture, el("div", { class: "packet-side" }, this.said, this.list));
    this.message = el("p", { class: "message", role: "status" });
    this.root.replaceChildren(el("h2", { class: "offscreen" }, word("packet")), form, this.message, this.stage, this.controls());
  }

  controls() {
    const { player } = this;
    this.play = button("▶", () => player.toggle());
    this.position = el("output");
    const named = (text, key, act) => button(text, act, { "aria-label": word(key), title: word(key) });
    this.buttons = el("div", { class: "packet-controls", hidden: true },
      named("«", "first", () => player.seek(1)), named("‹", "back", () => this.step(-1)), this.play,
      named("›", "forward", () => this.step(1)), named("»", "last", () => player.seek(Infinity)), this.position);
    return this.buttons;
  }

  /** Show or hide the view. story: of the container that is shown. */
  async toggle(story) {
    this.root.hidden = !this.root.hidden;
    document.documentElement.classList.toggle("packet-open", this.isOpen);
    this.player.pause();
    if (!this.isOpen) return;
    this.way.focus();
    this.places = (await ask("places")) ?? [];
    if (this.places.error) this.places = [];
    const chosen = this.container.value || this.places.find(({ id }) => id === story?.id)?.name;
    this.container.replaceChildren(...this.places.map(({ name }) => el("option", { value: name, selected: name === chosen }, printable(name))));
    this.suggest();
  }

  /** Fit the form to the way: what is asked for, and what could be answered. */
  suggest() {
    const way = this.way.value, names = this.places.map(({ name }) => name);
    const chosen = this.places.find(({ name }) => name === this.container.value);
    this.container.hidden = way === "host" || way === "outside";
    this.to.textContent = word(WAYS[way]);
    const ports = [...(chosen?.ports ?? []), ...this.places.flatMap(({ ports }) => ports)];
    const found = WAYS[way] === "to_port" ? [...new Set(ports)] : names.filter((name) => name !== this.container.value);
    this.suggested.replaceChildren(...found.map((value) => el("option", { value })));
    if (!this.destination.value || this.destination.value === this.filled) this.destination.value = this.filled = found[0] ?? "";
  }

  async send() {
    if (this.isBusy) return;
    this.isBusy = true;
    this.player.pause();
    this.message.textContent = word("on_its_way");
    this.stage.hidden = this.buttons.hidden = true;
    const asked = { way: this.way.value, container: this.container.value, destination: this.destination.value };
    const found = await ask("packet", { method: "POST", body: new URLSearchParams(asked) });
    this.isBusy = false;
    if (!found || found.error) {
      this.message.replaceChildren(...lines(found?.error ?? word("lost")));
      return;
    }
    this.message.replaceChildren(el("code", {}, printable(found.command)));
    this.number = found.number;
    this.open(found.answer);
  }

  /** What the rules have counted by now. */
  async askCounters() {
    if (!this.isOpen || this.stage.hidden || this.isBusy || document.hidden || !this.counts.length) return;
    const { answer } = this, found = await ask(`counters?packet=${this.number}`);
    if (answer !== this.answer) return;
    if (found?.error) this.counts = []; // another page has sent a packet, or the container has gone
    if (!Array.isArray(found)) return;
    const rules = answer.hops.flatMap((hop) => hop.rules);
    const changed = rules.filter((rule, at) => String(rule.counter) !== String(found[at]));
    if (!changed.length) return;
    rules.forEach((rule, at) => {
      rule.counter = found[at];
      this.counts[at].textContent = countOf(rule);
    });
    if (!this.path.count()) this.draw();
  }

  open(answer) {
    this.answer = answer;
    this.stage.hidden = this.buttons.hidden = false;
    this.counts = [];
    this.list.replaceChildren(...answer.hops.map((hop, at) => this.item(hop, at)));
    this.player.story = null; // of the packet before
    this.draw();
    const { length } = answer.hops;
    this.player.open({ steps: answer.hops, complete: () => length, stops: () => answer.hops.map((_, at) => at + 1) });
    if (this.root.contains(document.activeElement)) this.list.focus({ preventScroll: true });
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.player.seek(1);
    this.player.play();
  }

  /** Draw the stations. */
  draw() {
    const { answer } = this;
    if (!answer) return;
    const name = this.places.find(({ id }) => id === answer.container)?.name ?? answer.container.slice(0, 12);
    const bridge = answer.hops.find(({ place }) => place === "bridge")?.text.split(/[ :]/)[0];
    this.picture.setAttribute("aria-label", `${word("path_picture")}: ${answer.hops.map(({ place }) => place).join(", ")}`);
    this.names = { sender: answer.from === "outside" ? word("outside") : answer.from, host: word("host"),
                       bridge: bridge ? `${word("kind:bridge")} ${bridge}` : "", container: `${word("inside")} ${name}` };
    this.path = new Path(this.picture);
    this.path.open(answer.hops, this.names, (at) => { this.player.pause(); this.player.seek(at); });
    if (this.player.story) this.show();
  }

  item(hop, at) {
    const title = button(`${at + 1} ${hop.place}`, () => { this.player.pause(); this.player.seek(at + 1); }, { class: "hop-button" });
    const rules = hop.rules.map((rule) => {
      const count = el("small", {}, countOf(rule));
      this.counts.push(count);
      return el("li", {}, el("code", {}, printable(rule.rule)), count);
    });
    const end = hop.end ? el("strong", { class: "stop" }, `✗ ${word("stopped_here")}`) : null;
    return el("li", {}, title, el("small", {}, ` ${where(hop)}`), el("p", {}, printable(hop.text + made(hop.step))),
              rules.length ? el("ul", {}, ...rules) : null, end);
  }

  /** Show the dot where the player is. */
  show() {
    if (!this.answer) return;
    const { player, answer } = this, { length } = answer.hops;
    const at = Math.max(player.position, 1), isLast = at === length;
    this.path.show(at, answer.status);
    [...this.list.children].forEach((item, number) => {
      item.classList.toggle("passed", number < at);
      if (number === at - 1) item.setAttribute("aria-current", "step"); else item.removeAttribute("aria-current");
    });
    reveal(this.list, this.list.children[at - 1]);
    this.position.textContent = `${at} / ${length}${player.speed === 1 ? "" : ` · ${player.speed}×`}`;
    this.play.textContent = player.playing ? "❚❚" : "▶";
    setLabel(this.play, player.playing ? "pause" : "play");
    this.said.className = `verdict ${isLast ? answer.status : ""}`;
    this.said.replaceChildren(...(isLast ? this.verdict(answer) : [el("p", {}, printable(`${at}: ${answer.hops[at - 1].place}: ${answer.hops[at - 1].text}`))]));
  }

  verdict({ status, verdict, advice, notes, missing }) {
    const absent = (missing ?? []).map(({ table, rule, without }) => word("missing", { table, rule, without }));
    const others = [...notes, ...absent].map((text) => el("p", { class: "note" }, printable(`! ${text}`)));
    return [el("p", {}, el("strong", {}, `${status === "stopped" ? "✗" : "✓"} ${word(`status:${status}`)}`), printable(`: ${verdict}`)),
            ...(advice ? [el("p", {}, printable(`→ ${advice}`))] : []), ...others];
  }

  step(direction) {
    this.player.pause();
    this.player.step(direction);
  }

  setSpeed(speed) {
    this.player.speed = speed;
    if (this.player.story) this.player.changed(false);
  }

  /** Act on a key as the replay does; whether it was one of ours. */
  onKey(key) {
    if (!this.answer || this.stage.hidden) return false;
    const { player } = this;
    const acts = { " ": () => player.toggle(), ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1),
                   Home: () => player.seek(1), End: () => player.seek(Infinity) };
    acts[key]?.();
    return key in acts;
  }
}

/** The table of a rule, its counter, and what made it. */
function countOf({ table, counter, step }) {
  return printable(` ${table}${counter ? `, ${word("counter", { n: counter[0], bytes: counter[1] })}` : ""}${made(step)}`);
}

/** Scroll a list, and not the page, so that an item of it is seen. */
function reveal(list, item) {
  const box = list.getBoundingClientRect(), { top, bottom } = item.getBoundingClientRect();
  if (top < box.top) list.scrollTop -= box.top - top; else if (bottom > box.bottom) list.scrollTop += bottom - box.bottom;
}

/** Whose network namespace a hop is in, and which way the packet goes. */
function where({ netns, back }) {
  return `${word(`netns:${netns}`)}${back ? `, ${word("way_back")}` : ""}`;
}

/** The operation that made a rule or device, as `explain --all` numbers it. */
function made(step) {
  return step ? ` ← ${step.actor} ${step.number}, ${step.container}` : "";
}

function lines(text) {
  return text.trim().split("\n").map((line) => el("span", { class: "line" }, printable(line)));
}
