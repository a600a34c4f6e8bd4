// The player: where the replay is, how fast it goes, and what is selected. It tells the views.

const PAUSE_MS = { isolations: 1600, phases: 1100, operations: 260 };

class Player {
  constructor() {
    this.zoom = "isolations";
    this.speed = 1;
    this.playing = 0;
    this.selection = null;
    this.views = [];
    this.together = null; // two stories in step: it knows the stops, and where they end
  }

  isAtEnd() {
    return this.together ? this.together.isAtEnd() : this.position >= this.story.steps.length;
  }

  /** Show a story where the container is complete: when its command began, or at the end. */
  open(story) {
    this.pause();
    this.story = story;
    this.selection = null;
    this.position = story.complete();
    this.stops = story.stops(this.zoom);
    this.changed(true);
  }

  /** Show a story from its beginning, as an animation. */
  replay(story) {
    this.open(story);
    this.seek(0);
    this.play();
  }

  /** The story that is shown has grown: go on from its end, or stay where the reader is. */
  grow(story) {
    const isAtEnd = this.position >= this.story.steps.length;
    this.story = story;
    this.position = Math.min(this.position, story.steps.length);
    this.stops = story.stops(this.zoom);
    this.changed(true);
    if (isAtEnd && !this.playing && this.position < story.steps.length) this.play();
  }

  /** As `grow`, but at once to its end: each step of a stepped run is seen when it is done. */
  follow(story) {
    this.grow(story);
    this.pause();
    this.seek(story.steps.length);
  }

  setZoom(zoom) {
    this.zoom = zoom;
    this.stops = this.story.stops(zoom);
    this.changed(true);
  }

  seek(position) {
    this.position = Math.min(Math.max(position, 0), this.story.steps.length);
    this.selection = null;
    this.changed(false);
  }

  /** To the next or previous stop of the zoom. */
  step(direction) {
    if (this.together) return this.together.step(direction);
    const at = below(this.stops, this.position, (stop) => stop);
    const isBetween = this.stops[at] !== this.position;
    this.seek(this.stops[Math.min(Math.max(at + (direction < 0 && isBetween ? 0 : direction), 0), this.stops.length - 1)]);
  }

  play() {
    if (this.isAtEnd()) this.seek(0);
    const next = () => {
      if (this.isAtEnd()) return this.pause();
      this.playing = setTimeout(() => { this.step(1); next(); }, PAUSE_MS[this.zoom] / this.speed);
    };
    clearTimeout(this.playing);
    next();
    this.changed(false);
  }

  pause() {
    clearTimeout(this.playing);
    this.playing = 0;
    if (this.story) this.changed(false);
  }

  toggle() {
    if (this.playing) this.pause(); else this.play();
  }

  /** Select {thing} or {tile}, or nothing. */
  select(selection) {
    if (this.playing) this.pause();
    this.selection = selection;
    this.changed(false);
  }

  /** The things to light up: what is selected, or what the last step changed. */
  lit() {
    if (this.selection?.thing !== undefined) return new Set([this.selection.thing]);
    if (this.selection) return new Set();
    const step = this.story.steps[this.position - 1];
    return new Set(step ? step.changes.map(([at]) => at) : []);
  }

  changed(isReopened) {
    if (this.position === undefined) return;
    for (const view of this.views) view(isReopened);
  }
}
