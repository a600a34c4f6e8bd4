// The namespaces of two containers now, by their inode numbers, while the page is served.

class Inodes {
  constructor(beside) {
    this.beside = beside;
  }

  start() {
    setInterval(() => this.read(), NOW_MS);
  }

  /** Ask the kernel of both. One that has ended has no namespaces: then the journals tell. */
  async read() {
    const { beside } = this;
    if (!beside.isOn || document.hidden) return;
    const [{ id: first }, { id: second }] = beside.sides().map(({ story }) => story);
    const [one, two] = await Promise.all([first, second].map((id) => ask(`now?container=${id}`)));
    if (!beside.isOn || beside.sides().map(({ story }) => story.id).join() !== `${first},${second}`) return;
    const found = one?.facts && two?.facts ? { first: one.facts.inodes, second: two.facts.inodes, host: one.facts.host } : null;
    if (JSON.stringify(found) === JSON.stringify(beside.inodes)) return;
    beside.inodes = found;
    beside.player.changed(false);
  }
}
