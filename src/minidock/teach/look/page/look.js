// The page: joins the views with the player, the controls and the keyboard.

const byId = (id) => document.getElementById(id);
const player = new Player();
const scene = new Scene(byId("scene"), (selection) => player.select(selection));
const lanes = new Lanes(byId("lanes"), (position) => player.seek(position));
const details = new Details(byId("details"), player);
const table = new Table(byId("table"));
const predict = new Predict(player);
const xray = data.live ? new Xray() : null;
const packet = data.live ? new PacketView(byId("packet")) : null;
const stories = data.stories.map((raw) => new Story(raw));
const beside = new Beside(player, scene, byId("second"));
const live = data.live ? new Live(player, stories, byId("now")) : null;
let lecture = null;

function showPicture(isReopened) {
  if (isReopened && scene.story !== player.story) scene.open(player.story);
  scene.show(player.position, player.lit(), player.selection?.tile);
  if (isReopened) lanes.open(player.story, player.zoom);
  lanes.show(player.position);
}

function showDetails() {
  const { story, position, selection, zoom } = player, root = byId("details");
  const hadFocus = root.contains(document.activeElement);
  if (selection?.second) beside.showPanel(selection.second);
  else if (selection?.thing !== undefined) details.showThing(story, selection.thing, position);
  else if (selection) details.showTile(story, selection.tile);
  else if (beside.isOn) beside.showPanel(null);
  else details.showStep(story, position, zoom);
  const question = selection ? null : predict.question(story, position);
  if (question) root.prepend(question);
  if (xray && selection?.tile === "layers") root.querySelector("h2").after(xray.panel(story));
  root.scrollTop = 0;
  if (hadFocus && !root.contains(document.activeElement)) root.focus({ preventScroll: true });
}

function showControls() {
  const { story, position, zoom, playing } = player;
  byId("title").textContent = printable(story.title);
  byId("scrub").max = story.steps.length;
  byId("scrub").value = position;
  const step = story.steps[position - 1];
  byId("scrub").setAttribute("aria-valuetext", step ? `${position}: ${step.op}` : word("start"));
  byId("position").textContent = `${position} / ${story.steps.length}`;
  byId("predict-button").setAttribute("aria-pressed", predict.isOn);
  byId("play").textContent = playing ? "❚❚" : "▶";
  setLabel(byId("play"), playing ? "pause" : "play");
  for (const each of document.querySelectorAll("[data-zoom]")) {
    each.setAttribute("aria-checked", each.dataset.zoom === zoom);
    each.tabIndex = each.dataset.zoom === zoom ? 0 : -1;
  }
  if (!byId("table").hidden) {
    table.show(story, position);
    beside.showTable();
  }
  beside.showChoice();
}

function setLabel(element, key) {
  element.setAttribute("aria-label", word(key));
  if (element.matches("button, input")) element.title = word(key);
}

function toggleTable() {
  byId("table").hidden = !byId("table").hidden;
  byId("table-button").setAttribute("aria-expanded", !byId("table").hidden);
  showControls();
  if (byId("table").hidden) return;
  byId("table").scrollIntoView();
  byId("table").focus({ preventScroll: true });
}

function toggleLarge() {
  const isLarge = document.documentElement.classList.toggle("large");
  byId("large-button").setAttribute("aria-pressed", isLarge);
  scene.story = null; // chips have another size
  player.changed(true);
}

function togglePacket() {
  if (!packet) return;
  player.pause();
  packet.toggle(player.story);
  byId("packet-button").setAttribute("aria-expanded", packet.isOpen);
  if (!packet.isOpen) byId("packet-button").focus();
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
}

/** Predict first is for one story: the steps of two in step are not alike. */
function togglePredict() {
  if (!beside.isOn) predict.toggle();
}

function toggleBeside() {
  if (predict.isOn) predict.toggle();
  beside.toggle();
}

function setSpeed(change) {
  const speed = byId("speed");
  speed.selectedIndex = Math.min(Math.max(speed.selectedIndex + change, 0), speed.length - 1);
  player.speed = Number(speed.value);
  packet?.setSpeed(player.speed);
}

function showKeys() {
  const keys = [["Space", "key_play"], ["← →", "key_step"], ["Home End", "key_ends"], ["1 2 3", "key_zoom"], ["− +", "key_speed"],
                ["Tab, ↑ ↓", "key_things"], ["Enter", "key_select"], ["P", "key_predict"], ["B", "key_beside"],
                ...(packet ? [["K", "key_packet"]] : []), ["T D L", "key_modes"], ["Esc", "key_close"]];
  if (live) keys.push(["S N C", "key_orders"]);
  if (lecture) keys.push(["PageUp PageDown", "key_lecture"]);
  byId("keys").replaceChildren(el("h2", {}, word("keys")),
    el("dl", {}, ...keys.flatMap(([key, text]) => [el("dt", {}, key), el("dd", {}, word(text))])),
    button(word("close"), () => byId("keys").close()));
  byId("keys").showModal();
}

/** The next or previous tile, or thing that is there, from the one with the focus. */
function moveFocus(direction) {
  const all = [...document.querySelectorAll("main svg:not([hidden]) :is(.handle, [tabindex='-1']:not([data-state=off]), .source)")];
  const at = all.indexOf(document.activeElement);
  all[at < 0 && direction < 0 ? all.length - 1 : (at + direction + all.length) % all.length].focus();
}

/** The arrow keys of a group of radio buttons: the next one is chosen, and gets the focus. */
function moveZoom(direction) {
  const all = [...document.querySelectorAll("[data-zoom]")];
  const next = all[(all.indexOf(document.activeElement) + direction + all.length) % all.length];
  player.setZoom(next.dataset.zoom);
  next.focus();
}

const KEYS = {
  " ": () => player.toggle(),
  ArrowLeft: () => { player.pause(); player.step(-1); },
  ArrowRight: () => { player.pause(); player.step(1); },
  ArrowUp: () => moveFocus(-1), ArrowDown: () => moveFocus(1),
  Home: () => player.seek(0), End: () => player.seek(player.story.steps.length),
  1: () => player.setZoom("isolations"), 2: () => player.setZoom("phases"), 3: () => player.setZoom("operations"),
  "+": () => setSpeed(1), "=": () => setSpeed(1), "-": () => setSpeed(-1),
  p: togglePredict, b: toggleBeside, k: togglePacket, t: toggleTable, d: toggleTheme, l: toggleLarge, "?": showKeys, Escape: () => player.select(null),
};

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || byId("keys").open) return;
  const focus = document.activeElement, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (packet?.isOpen && key === "Escape") return togglePacket();
  if (focus.closest("select, input[type=text]")) return;
  if (packet?.isOpen) {
    const isOurs = focus.closest("button") && key === " " ? false : packet.onKey(key) || "kdl?+=-".includes(key) && KEYS[key]() !== false;
    if (isOurs) event.preventDefault();
    return;
  }
  const isInScene = focus.closest("main svg [role=button]");
  if (key === "Enter" && isInScene) {
    isInScene.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  } else if (focus.closest("#zooms") && key.startsWith("Arrow")) {
    moveZoom(/Left|Up/.test(key) ? -1 : 1);
  } else if (KEYS[key] && !((key === " ") && focus.closest("button, summary")) && !(key.startsWith("Arrow") && /Up|Down/.test(key) && !scenery(focus))) {
    KEYS[key]();
  } else return;
  event.preventDefault();
}

/** Whether ↑ and ↓ move through the picture here, and do not scroll. */
function scenery(focus) {
  return focus === document.body || focus.closest("main svg");
}

function bind() {
  for (const each of document.querySelectorAll("[data-word]")) each.textContent = word(each.dataset.word);
  for (const each of document.querySelectorAll("[data-label]")) setLabel(each, each.dataset.label);
  const acts = { first: () => player.seek(0), back: () => { player.pause(); player.step(-1); }, play: () => player.toggle(),
                 forward: () => { player.pause(); player.step(1); }, last: () => player.seek(player.story.steps.length),
                 "packet-button": togglePacket, "predict-button": togglePredict, "beside-button": toggleBeside, "table-button": toggleTable, "large-button": toggleLarge, "theme-button": toggleTheme, "keys-button": showKeys };
  for (const [id, act] of Object.entries(acts)) byId(id).addEventListener("click", act);
  for (const each of document.querySelectorAll("[data-zoom]")) each.addEventListener("click", () => player.setZoom(each.dataset.zoom));
  byId("scrub").addEventListener("input", ({ target: { value } }) => { player.pause(); player.seek(Number(value)); }); // pause() sets it back
  byId("speed").addEventListener("change", () => setSpeed(0));
  document.addEventListener("keydown", onKey);
  new ResizeObserver(() => { if (player.story) { lanes.open(player.story, player.zoom); lanes.show(player.position); } }).observe(byId("lanes"));
  byId("second-container").addEventListener("change", (event) => beside.choose(stories[event.target.value]));
  byId("container").addEventListener("change", (event) => choose(stories[event.target.value]));
  byId("packet-button").hidden = !packet;
  showChoice();
}

/** The list of containers, with the one that is shown. */
function showChoice() {
  byId("choice").hidden = stories.length < 2;
  byId("container").replaceChildren(...stories.map((story, at) =>
    el("option", { value: at, selected: story === player.story }, printable(story.title))));
  beside.refresh();
  lecture?.showPicture();
}

function choose(story) {
  if (beside.isOn && story === beside.story) beside.swap(story);
  else if (live) live.choose(story); else player.open(story);
}

/** #n of the address opens at a position; #n-zoom with a zoom. */
function openAt(hash) {
  const [, position, zoom] = /^#(\d+)(?:-(\w+))?$/.exec(hash) ?? [];
  if (zoom in PAUSE_MS) player.setZoom(zoom);
  if (position) player.seek(Number(position));
}

bind();
player.views.push(showPicture, (isReopened) => beside.showPicture(isReopened), showDetails, showControls);
if (live) {
  live.start();
  new Inodes(beside).start();
} else {
  player.open(stories[0]);
  openAt(location.hash);
}
if (data.lecture) {
  lecture = new Lecture(byId("lecture"), data.lecture.steps, player);
  Object.assign(KEYS, { PageUp: () => lecture.go(lecture.at - 1), PageDown: () => lecture.go(lecture.at + 1) });
}
