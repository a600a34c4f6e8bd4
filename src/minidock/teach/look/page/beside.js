// Side by side: a second picture, with its own choice of container. Both are at their end, or step
// together (pairs.js). What both share and what differs is marked in both, and listed (compare.js).

class Beside {
  constructor(player, firstScene, root) {
    this.player = player;
    this.firstScene = firstScene;
    this.scene = new Scene(root, (selection) => player.select({ second: selection }));
    this.scene.layout = HALF;
    this.root = root;
    this.table = new Table(el("div"));
    this.details = new Details(byId("details"), {
      select: (selection) => player.select(selection && { second: selection }), seek: (position) => this.seekSecond(position) });
    this.isOn = false;
    this.story = null;
    this.inodes = null; // what the kernel says now, while the page is served
  }

  /** Show a second story beside the first, or no longer. */
  async toggle() {
    if (this.isOn) return this.setMode(false);
    const others = stories.filter((each) => each !== this.player.story);
    if (!others.length) return (byId("said").textContent = word("beside_needs"));
    await this.choose(others.includes(this.story) ? this.story : others[0]);
  }

  /** Show a story as the second one. A served page may have to ask for it first. */
  async choose(entry) {
    const isFresh = entry.steps && entry.version === entry.shownVersion;
    const story = isFresh ? entry : await live?.load(entry);
    if (!story || story === this.player.story) return;
    if (story.id !== this.story?.id) this.inodes = null;
    this.story = story;
    if (this.isOn) this.player.changed(true); else this.setMode(true);
    byId("said").textContent = byId("details").querySelector("h2").textContent;
  }

  /** The second story becomes the first, and the first the second. */
  swap() {
    const { story } = this.player;
    this.player.story = null; // so that nothing is drawn yet
    this.inodes = null;
    this.player.open([this.story, (this.story = story)][0]);
  }

  setMode(isOn) {
    this.player.pause();
    this.isOn = isOn;
    document.documentElement.classList.toggle("beside", isOn);
    this.root.toggleAttribute("hidden", !isOn);
    this.player.together = isOn ? this : null;
    this.player.selection = null;
    this.firstScene.layout = isOn ? HALF : WHOLE;
    this.firstScene.story = null; // it is drawn anew
    setLabel(this.firstScene.root, "picture");
    this.table.root.remove();
    this.compareTable?.remove();
    this.player.changed(true);
  }

  /** The list of containers has changed: the second one may have grown, or be gone. */
  refresh() {
    if (!this.isOn || !live) return;
    const entry = stories.find(({ id }) => id === this.story.id);
    if (!entry || entry.id === this.player.story.id) this.setMode(false);
    else if (entry.version !== entry.shownVersion) this.choose(entry);
  }

  isAtEnd() {
    return this.at >= this.pairs.length - 1;
  }

  step(direction) {
    const isBetween = this.pairs[this.at][0] !== this.player.position;
    const next = this.at + (direction < 0 && isBetween ? 0 : direction);
    this.at = Math.min(Math.max(next, 0), this.pairs.length - 1);
    this.player.seek(this.pairs[this.at][0]);
  }

  seekSecond(position) {
    this.at = below(this.pairs, position, ([, second]) => second);
    this.player.seek(this.pairs[this.at][0]);
  }

  /** Find the pair of the first one's position, unless it was stepped to. */
  follow() {
    const { story, zoom, position } = this.player;
    if (this.paired !== story || this.pairedWith !== this.story || this.zoom !== zoom) {
      [this.paired, this.pairedWith, this.zoom] = [story, this.story, zoom];
      this.pairs = pairsOf(story, this.story, zoom);
      this.at = -1;
    }
    if (this.pairs[this.at]?.[0] === position) return;
    const exact = this.pairs.findIndex(([first]) => first === position);
    this.at = position === story.steps.length ? this.pairs.length - 1
      : exact >= 0 ? exact : below(this.pairs, position, ([first]) => first);
  }

  sides() {
    const second = this.pairs[this.at][1];
    return [{ story: this.player.story, position: this.player.position }, { story: this.story, position: second }];
  }

  /** What differs and what is shared at these positions. The kernel tells of the present alone. */
  compared() {
    const [first, second] = this.sides().map((side) => ({ ...side, there: thingsThere(side.story, side.position) }));
    const isNow = this.inodes && [first, second].every(({ story, position }) => position >= story.complete());
    const shared = sharedNamespaces(first, second, isNow ? this.inodes : null);
    const source = isNow ? "beside_kernel" : first.story.isPlan || second.story.isPlan ? "beside_plan" : "beside_journal";
    return { first, second, shared, differs: differencesOf(first, second, shared), source };
  }

  /** A view of the player: both pictures, with their marks. */
  showPicture(isReopened) {
    if (!this.isOn) return;
    this.follow();
    const [first, second] = this.sides(), { selection } = this.player;
    if (isReopened || this.scene.story !== second.story) this.scene.open(second.story);
    this.scene.show(second.position, this.lit(second), selection?.second?.tile);
    this.result = this.compared();
    this.mark(this.firstScene, first.story, this.result.differs.flatMap((each) => [...each.first, ...each.other.map(([one]) => one)]));
    this.mark(this.scene, second.story, this.result.differs.flatMap((each) => [...each.second, ...each.other.map(([, two]) => two)]));
  }

  /** The things of the second one to light up. */
  lit({ story, position }) {
    const { selection } = this.player;
    if (selection) return new Set(selection.second?.thing === undefined ? [] : [selection.second.thing]);
    const hasMoved = position > 0 && this.pairs[this.at - 1]?.[1] !== position;
    return new Set(hasMoved ? story.steps[position - 1].changes.map(([at]) => at) : []);
  }

  /** Mark in a picture the tiles that differ or are shared, and the things that differ. */
  mark(scene, story, things) {
    const counts = new Map(), ats = new Set(things.map(({ at }) => String(at)));
    for (const { tile } of things) counts.set(tile, (counts.get(tile) ?? 0) + 1);
    scene.root.querySelector(".inside .region-title").textContent = fit(story.title, 740, isLarge() ? 23 : 19, 700);
    scene.root.setAttribute("aria-label", `${word("inside")}: ${printable(story.title)}`);
    for (const tile of Object.values(scene.tiles)) {
      const shared = this.result.shared.find(({ kind }) => kind === tile.place.namespace), count = counts.get(tile.name);
      const texts = [shared ? word(shared.isHosts ? "beside_hosts" : "beside_is_shared") : "", count ? `≠ ${count}` : ""].filter(Boolean);
      tile.twin ??= tile.handle.appendChild(svg("text", { x: tile.place.w - PAD, y: hasFoot(tile) || tile.name === "other" ? tile.place.h - 12 : 21, class: "twin-mark" }));
      tile.twin.textContent = texts.join("  ");
      tile.group.classList.toggle("shared", Boolean(shared));
      tile.group.classList.toggle("differs", Boolean(count));
      if (texts.length) tile.handle.setAttribute("aria-label", `${tile.handle.getAttribute("aria-label")}; ${texts.join(", ")}`);
    }
    for (const each of scene.root.querySelectorAll("[data-at]")) each.classList.toggle("differs", ats.has(each.dataset.at));
  }

  /** In the table: what differs before all of the first, and all of the second after it. */
  showTable() {
    if (!this.isOn) return;
    const { second } = this.result;
    this.table.show(second.story, second.position);
    this.compareTable?.remove();
    this.compareTable = differencesTable(this.result);
    byId("table").prepend(this.compareTable);
    byId("table").append(this.table.root);
  }

  /** The panel: a thing of the second one that was clicked, or what differs. */
  showPanel(selected) {
    const [first, second] = this.sides();
    if (selected?.thing !== undefined) this.details.showThing(second.story, selected.thing, second.position);
    else if (selected) this.details.showTile(second.story, selected.tile);
    else this.showDifferences();
  }

  /** What differs; drawn anew only where it has changed, since a card may be open. */
  showDifferences() {
    const { first, second, differs, shared, source } = this.result;
    const key = JSON.stringify([first.story.title, second.story.title, differs, shared, source]);
    if (this.drawn === key && byId("details").querySelector(".shared-line")) return;
    this.drawn = key;
    this.details.fill(...differencesPanel(this.result));
  }

  /** The lists of the header: the button if there are two stories, the choice of the second. */
  showChoice() {
    byId("beside-button").hidden = stories.length < 2;
    byId("beside-button").setAttribute("aria-pressed", this.isOn);
    byId("second-choice").hidden = !this.isOn;
    byId("predict-button").disabled = this.isOn;
    if (this.isOn) byId("position").textContent = this.sides().map(({ story, position }) => `${position} / ${story.steps.length}`).join(" · ");
    const options = stories.flatMap((story, at) => (story === this.player.story ? []
      : [el("option", { value: at, selected: story === this.story }, printable(story.title))]));
    byId("second-container").replaceChildren(...options);
  }
}
