// Making elements. Text only ever becomes text nodes: nothing that a server, a model or a stranger says is markup here.

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  approve: "M5 12.5l4.5 4.5L19 7.5",
  attach: "M20 11.5l-8.2 8.2a5 5 0 0 1-7-7L13 4.4a3.4 3.4 0 0 1 4.8 4.8l-8.2 8.2a1.7 1.7 0 0 1-2.4-2.4l7.5-7.5",
  audit: "M8 4h8a2 2 0 0 1 2 2v14H6V6a2 2 0 0 1 2-2zM9 9h6M9 13h6M9 17h3",
  channels: "M4 6h16v10H9l-5 4z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  cross: "M6 6l12 12M18 6L6 18",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM3 20c0-3.6 2.6-6 6-6s6 2.4 6 6M16 4.5a3.4 3.4 0 0 1 0 6.2M17.5 14.4c2.2.7 3.5 2.7 3.5 5.6",
  plugins: "M9 4h6v4h5v6h-4a2 2 0 1 0 0 4h4v2H4V8h5z",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  shield: "M12 3l7 3v5c0 4.6-2.9 8.2-7 10-4.1-1.8-7-5.4-7-10V6z",
  tool: "M14.5 6.5a4 4 0 0 0-5.3 5L4 16.7 7.3 20l5.2-5.2a4 4 0 0 0 5-5.3l-2.6 2.6-2.6-.7-.7-2.6z",
  usage: "M5 20V11M12 20V4M19 20v-6",
  vault: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
};

/** `h("p.note", { title: "…" }, "text", element, …)`. Props are DOM properties; `on` holds listeners, `attrs` attributes. */
export function h(what, props = {}, ...children) {
  const [name, ...classes] = what.split(".");
  const { on = {}, attrs = {}, ...rest } = props;
  const element = document.createElement(name);
  if (classes.length) {
    element.className = classes.join(" ");
  }
  Object.assign(element, rest);
  for (const [key, value] of Object.entries(attrs)) {
    element.setAttribute(key, value);
  }
  for (const [event, listener] of Object.entries(on)) {
    element.addEventListener(event, listener);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element in the SVG namespace. */
export function svg(name, attrs = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attrs)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}

/** A button with words on it. */
export function button(text, click, { kind = "quiet", label, disabled = false } = {}) {
  const made = h(`button.${kind}`, { type: "button", disabled, on: { click } }, text);
  if (label) {
    made.setAttribute("aria-label", label);
  }
  return made;
}

/** "3 minutes ago", with the exact time as its title. `when`: ISO text, or seconds since the epoch. */
export function time(when) {
  if (when === null || when === undefined || when === "") {
    return h("span.muted", {}, "—");
  }
  const at = typeof when === "number" ? new Date(when * 1000) : new Date(when);
  if (Number.isNaN(at.getTime())) {
    return h("span", {}, String(when));
  }
  return h("time", { dateTime: at.toISOString(), title: at.toLocaleString() }, ago(at));
}

const STEPS = [
  [60, 1, "second"],
  [3600, 60, "minute"],
  [86_400, 3600, "hour"],
  [86_400 * 45, 86_400, "day"],
  [Infinity, 86_400 * 30, "month"],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function ago(at) {
  const seconds = (at.getTime() - Date.now()) / 1000;
  const [, size, unit] = STEPS.find(([under]) => Math.abs(seconds) < under);
  return Math.abs(seconds) < 10 ? "now" : relative.format(Math.round(seconds / size), unit);
}

/** A table with a caption for screen readers; where there are no rows, a sentence in its place. */
export function table(caption, heads, rows, empty) {
  if (rows.length === 0) {
    return h("p.empty", {}, empty);
  }
  const head = h("tr", {}, ...heads.map((text) => h("th", { scope: "col" }, text)));
  const body = rows.map((cells) =>
    h("tr", {}, ...cells.map((cell, at) => h("td", { attrs: { "data-head": heads[at] ?? "" } }, cell ?? ""))),
  );
  return h("div.sheet", {}, h("table", {}, h("caption.visually-hidden", {}, caption), h("thead", {}, head), h("tbody", {}, ...body)));
}
