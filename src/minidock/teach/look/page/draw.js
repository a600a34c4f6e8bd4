// Elements: made by name, with attributes and text. Nothing here parses HTML: text from a container
// becomes a text node or the value of an attribute.

const SVG = "http://www.w3.org/2000/svg";
const FONT = 'system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
const ruler = document.createElement("canvas").getContext("2d");

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** A button that calls `act`. */
function button(text, act, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
}

function list(texts, name = "") {
  return el("ul", { class: name }, ...texts.map((text) => el("li", {}, printable(text))));
}

/** Printable, so that no character of a name can reorder or hide the text around it. */
function printable(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "\ufffd");
}

function widthOf(text, size, weight = 400) {
  ruler.font = `${weight} ${size}px ${FONT}`;
  return ruler.measureText(text).width;
}

/** A text cut to a width in the units of the picture; a path keeps its end. */
function fit(text, width, size, weight = 400) {
  const clean = printable(text);
  if (widthOf(clean, size, weight) <= width) return clean;
  const keepsEnd = clean.startsWith("/");
  let low = 0, high = Math.min(clean.length, 400);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (widthOf(cut(clean, middle, keepsEnd), size, weight) <= width) low = middle; else high = middle - 1;
  }
  return cut(clean, low, keepsEnd);
}

function cut(text, length, keepsEnd) {
  return keepsEnd ? `…${text.slice(text.length - length)}` : `${text.slice(0, length)}…`;
}
