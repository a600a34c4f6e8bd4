// The page while it is served: the list of containers comes as server-sent events; the story of the
// one that is shown, and what is true of it now, are asked for. A new container is shown as it is made.

const NOW_MS = 1000;

class Live {
  constructor(player, stories, root) {
    this.player = player;
    this.stories = stories; // a story is {id, title} until it was shown
    this.now = new Now(root);
    this.step = new StepPanel(byId("step"));
    this.isFirst = true; // until the first list has come
    this.wanted = null; // {id, asAnimation}: to be shown as soon as its story can be read
    this.asking = 0; // the number of the last question, so that late answers are dropped
  }

  start() {
    say(word("waiting"));
    Object.assign(KEYS, this.step.keys());
    const source = new EventSource("events");
    source.addEventListener("containers", (event) => this.take(JSON.parse(event.data)));
    source.onerror = () => { this.now.show(null); this.step.show(null); say(word("lost")); };
    source.onopen = () => say(this.player.story ? "" : word("waiting"));
    setInterval(() => this.askNow(), NOW_MS);
  }

  /** The list of containers, the newest first. */
  take(listing) {
    const known = new Map(this.stories.map((story) => [story.id, story]));
    const shown = this.player.story;
    this.stories.splice(0, Infinity, ...listing.map((each) => Object.assign(known.get(each.id) ?? {}, each)));
    const [newest] = this.stories;
    if (newest && !known.has(newest.id)) this.wanted = { id: newest.id, asAnimation: !this.isFirst };
    this.isFirst = false;
    if (shown && !this.stories.includes(shown)) say(`${printable(shown.title)}: ${word("removed")}`);
    const next = this.stories.find(({ id }) => id === (this.wanted ?? shown)?.id);
    if (next && next.shownVersion !== next.version) this.show(next);
    this.step.show(this.stories.includes(shown) ? shown : null);
    showChoice();
  }

  /** Show a container that the reader has chosen. */
  choose(entry) {
    this.wanted = { id: entry.id, asAnimation: false };
    this.show(entry);
  }

  /** Ask for a story, and show it. A journal that has just begun cannot be read: its next version can. */
  async show(entry) {
    const asked = ++this.asking, asAnimation = this.wanted?.asAnimation;
    const story = await this.load(entry, () => asked === this.asking);
    if (!story) return;
    this.wanted = null;
    const { pause } = story;
    say("");
    if (this.player.story?.id !== story.id) this.open(story, asAnimation && !pause);
    else if (pause) this.player.follow(story);
    else this.player.grow(story);
    this.step.show(story);
    showChoice();
  }

  /** Ask for a story, and keep it. isWanted: whether it still is when the answer comes. */
  async load(entry, isWanted = () => true) {
    const { version } = entry, answer = await ask(`story?container=${entry.id}`);
    const at = this.stories.findIndex(({ id }) => id === entry.id);
    if (!answer || answer.error || at < 0 || !isWanted()) return null;
    Object.assign(data.ops, answer.ops);
    const { version: newest, pause } = this.stories[at];
    return (this.stories[at] = new Story({ ...answer.story, version: newest, shownVersion: version, pause }));
  }

  open(story, asAnimation) {
    this.now.show(null);
    scene.markDifferences(new Map());
    if (asAnimation) this.player.replay(story); else this.player.open(story);
    this.askNow();
  }

  async askNow() {
    const story = this.player.story;
    if (!story || document.hidden || !this.stories.includes(story)) return;
    const now = await ask(`now?container=${story.id}`);
    if (!now || now.error || story.id !== this.player.story.id) return;
    this.now.show(now);
    const counts = new Map();
    for (const { row } of now.differs) counts.set(row, (counts.get(row) ?? 0) + 1);
    scene.markDifferences(counts);
  }
}

/** The answer to a question as JSON, {error} if it is refused; null if there is none. */
async function ask(path, options) {
  try {
    const answer = await fetch(path, options);
    return answer.ok ? await answer.json() : { error: await answer.text() };
  } catch {
    return null;
  }
}

function say(text) {
  byId("said").textContent = text;
}
