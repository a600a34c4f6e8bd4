// The page while it is served: the list of containers comes as server-sent events; the story of the
// one that is shown, and what is true of it now, are asked for. A new container is shown as it is made.

const NOW_MS = 1000;

class Live {
  constructor(player, stories, root) {
    this.player = player;
    this.stories = stories; // a story is {id, title} until it was shown
    this.now = new Now(root);
    this.isFirst = true; // until the first list has come
    this.asking = 0; // the number of the last question, so that late answers are dropped
  }

  start() {
    say(word("waiting"));
    const source = new EventSource("events");
    source.addEventListener("containers", (event) => this.take(JSON.parse(event.data)));
    source.onerror = () => { this.now.show(null); say(word("lost")); };
    source.onopen = () => say(this.player.story ? "" : word("waiting"));
    setInterval(() => this.askNow(), NOW_MS);
  }

  /** The list of containers, the newest first. */
  take(listing) {
    const known = new Map(this.stories.map((story) => [story.id, story]));
    const shown = this.player.story;
    this.stories.splice(0, Infinity, ...listing.map((each) => Object.assign(known.get(each.id) ?? {}, each)));
    const [newest] = this.stories;
    if (newest && !known.has(newest.id)) this.show(newest, { asAnimation: !this.isFirst });
    else if (shown && !this.stories.includes(shown)) say(`${printable(shown.title)}: ${word("removed")}`);
    else if (shown && shown.shownVersion !== shown.version) this.show(shown, {});
    this.isFirst = false;
    showChoice();
  }

  /** Ask for a story, and show it. */
  async show(entry, { asAnimation = false }) {
    const asked = ++this.asking, { version } = entry;
    const answer = await ask(`story?container=${entry.id}`);
    if (!answer || asked !== this.asking) return;
    Object.assign(data.ops, answer.ops);
    const story = new Story({ ...answer.story, version: entry.version, shownVersion: version });
    this.stories.splice(this.stories.findIndex(({ id }) => id === story.id), 1, story);
    say("");
    if (this.player.story?.id === story.id) this.player.grow(story);
    else this.open(story, asAnimation);
    showChoice();
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
    if (!now || story.id !== this.player.story.id) return;
    this.now.show(now);
    const counts = new Map();
    for (const { row } of now.differs) counts.set(row, (counts.get(row) ?? 0) + 1);
    scene.markDifferences(counts);
  }
}

/** The answer to a question as JSON; null if there is none. */
async function ask(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function say(text) {
  byId("said").textContent = text;
}
