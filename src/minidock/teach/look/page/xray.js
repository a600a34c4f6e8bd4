// The layers of a container, while the page is served: what made each, what the container has
// changed, and an X-ray: which layer answers for a path.

const LAYERS_MS = 1500;
const CHANGE_WORDS = { A: "added", C: "changed", D: "deleted", O: "opaque" };

class Xray {
  /** The panel of a container's layers; it fills itself, and again while it is shown. */
  panel(story) {
    const layers = el("div"), answer = el("div", { role: "status" });
    const input = el("input", { type: "text", "aria-label": word("path"), placeholder: "/etc/passwd", maxlength: 4096 });
    const form = el("form", { class: "xray" }, el("label", {}, word("path"), " ", input), el("button", { type: "submit" }, word("look_up")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.lookUp(story, input.value, answer);
    });
    this.keepFilled(story, layers);
    return el("section", { class: "layers-now" }, el("h3", {}, word("xray")), form, answer, layers);
  }

  async keepFilled(story, root) {
    do {
      if (!document.hidden) await this.fill(story, root);
      await new Promise((done) => { setTimeout(done, LAYERS_MS); });
    } while (root.isConnected);
  }

  async fill(story, root) {
    const found = await ask(`layers?container=${story.id}`);
    if (!found || found.error) return root.replaceChildren(el("p", {}, printable(found?.error ?? word("lost"))));
    const before = root.shown, text = JSON.stringify(found);
    if (text === before?.text) return;
    const known = new Set(before?.changes);
    root.shown = { text, changes: found.changes.map(String) };
    this.names = new Map(found.layers.map(({ number, name }) => [number, name]));
    const rows = found.layers.map(({ number, made_by, bytes }) => [number, bytes === null ? word("own_layer") : made_by, bytes === null ? "" : size(bytes)]);
    const changes = found.changes.map((change) => this.change(change, before && !known.has(String(change))));
    if (found.more) changes.push(el("li", {}, "…"));
    root.replaceChildren(grownTable(word("layers_now"), [word("number"), word("made_by_step"), word("size")], rows),
                         el("h3", {}, word("written")), changes.length ? el("ul", { class: "changes" }, ...changes) : el("p", {}, word("nothing")));
  }

  /** A change of the container; one that has come while the panel was shown is marked. */
  change([kind, path], isNew) {
    const mark = isNew ? el("strong", {}, `${word("new_change")} `) : null;
    return el("li", { class: isNew ? "fresh" : "" }, mark, printable(`${word(CHANGE_WORDS[kind])}: ${path}`));
  }

  async lookUp(story, path, root) {
    const found = await ask(`path?container=${story.id}&path=${encodeURIComponent(path)}`);
    const slabs = document.querySelectorAll("[data-tile=layers] .slab");
    const roles = new Map((found?.versions ?? []).map(({ layer, role }) => [`layer:${this.names?.get(layer)}`, role]));
    for (const slab of slabs) slab.dataset.role = roles.get(slab.dataset.thing) ?? "";
    if (!found || found.error) return root.replaceChildren(el("p", {}, printable(found?.error ?? word("lost"))));
    const versions = found.versions.map(({ name, role, kind, size: bytes }) => `${name}: ${kind}, ${size(bytes)} (${word(`role:${role}`)})`);
    root.replaceChildren(...found.sentences.map((text) => el("p", {}, printable(text))), list(versions, "versions"));
  }
}
