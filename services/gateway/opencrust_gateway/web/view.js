// Turns on the page. One element per turn, changed in place while an answer streams in.

import { render } from "./markdown.js";

const DEMO = "tiny offline demo model";
const SVG = "http://www.w3.org/2000/svg";
const COPY = "M9 9h10v10H9zM5 15V5h10";
const TOOL = "M14.5 6.5a4 4 0 0 0-5.3 5L4 16.7 7.3 20l5.2-5.2a4 4 0 0 0 5-5.3l-2.6 2.6-2.6-.7-.7-2.6z";
const IDEAS = ["What can you do?", "Explain how a sourdough starter works", "Write a short poem about rain"];

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export class View {
  #log;
  #column;
  #latest;
  #onIdea;
  #elements = new Map();
  #dirty = new Set();
  #follow = true;

  constructor({ log, column, latest, onIdea }) {
    this.#log = log;
    this.#column = column;
    this.#latest = latest;
    this.#onIdea = onIdea;
    log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    latest.addEventListener("click", () => this.toEnd());
    column.addEventListener("click", (event) => this.#copy(event.target.closest("[data-copy]")));
  }

  /** Show these turns and no others. */
  show(turns) {
    this.#elements.clear();
    this.#column.replaceChildren();
    this.#column.classList.toggle("welcome", turns.length === 0);
    if (turns.length === 0) {
      this.#welcome();
    }
    for (const turn of turns) {
      this.#draw(turn);
    }
    this.toEnd();
  }

  /** A turn is new or changed: draw it with the next frame. */
  update(turn) {
    if (this.#dirty.size === 0) {
      requestAnimationFrame(() => this.#drawDirty());
    }
    this.#dirty.add(turn);
  }

  toEnd() {
    this.#follow = true;
    this.#latest.hidden = true;
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  #drawDirty() {
    if (this.#column.classList.contains("welcome")) {
      this.#column.classList.remove("welcome");
      this.#column.replaceChildren();
    }
    for (const turn of this.#dirty) {
      this.#draw(turn);
    }
    this.#dirty.clear();
    if (this.#follow) {
      this.toEnd();
    } else {
      this.#latest.hidden = false;
    }
  }

  #draw(turn) {
    const drawn = element("article", "turn");
    const said = element("div", turn.sent ? "said" : "said waiting", turn.said);
    drawn.append(said);
    if (turn.reply || turn.live || turn.sent || turn.error) {
      drawn.append(this.#answer(turn));
    }
    const before = this.#elements.get(turn.id);
    if (before) {
      before.replaceWith(drawn);
    } else {
      this.#column.append(drawn);
    }
    this.#elements.set(turn.id, drawn);
  }

  #answer(turn) {
    const reply = element("div", turn.reply || turn.error ? "reply" : "reply live");
    const face = element("img");
    face.src = "/login/icon.svg";
    face.alt = "";
    const body = element("div");
    reply.append(face, body);
    const live = turn.live;
    if (live?.tools.length) {
      body.append(this.#tools(live.tools));
    }
    const text = turn.reply ? turn.reply.text : live ? (live.gap && live.text ? `… ${live.text}` : live.text) : "";
    if (text) {
      const prose = element("div", "prose");
      prose.append(render(text));
      body.append(prose);
    } else if (!turn.reply && !turn.error) {
      const dots = element("span", "thinking");
      dots.setAttribute("role", "img");
      dots.setAttribute("aria-label", "An answer is being written");
      dots.append(element("i"), element("i"), element("i"));
      body.append(dots);
    }
    if (turn.reply || turn.error) {
      body.append(this.#about(turn));
    }
    return reply;
  }

  #tools(tools) {
    const list = element("ul", "tools");
    for (const tool of tools) {
      const item = element("li");
      const name = typeof tool.name === "string" ? tool.name : "tool";
      const status = typeof tool.status === "string" ? ` · ${tool.status}` : "";
      item.append(icon(TOOL), element("span", "", name + status));
      list.append(item);
    }
    return list;
  }

  #about({ reply, error }) {
    const about = element("div", "about");
    if (error) {
      about.append(element("span", "badge bad", error));
      return about;
    }
    if (reply.finish === "failed") {
      about.append(element("span", "badge bad", "could not be answered"));
    } else if (reply.finish === "stopped") {
      about.append(element("span", "badge", "stopped"));
    }
    if (reply.model) {
      about.append(element("span", reply.model === DEMO ? "badge demo" : "badge", reply.model));
    }
    if (reply.text) {
      const button = element("button", "copy");
      button.type = "button";
      button.dataset.copy = reply.text;
      button.append(icon(COPY), element("span", "", "Copy"));
      about.append(button);
    }
    return about;
  }

  #welcome() {
    const face = element("img");
    face.src = "/login/icon.svg";
    face.alt = "";
    const ideas = element("div", "ideas");
    for (const idea of IDEAS) {
      const button = element("button", "", idea);
      button.type = "button";
      button.addEventListener("click", () => this.#onIdea(idea));
      ideas.append(button);
    }
    this.#column.append(
      face,
      element("h2", "", "What can I do for you?"),
      element("p", "", "Your messages stay on your own machine, except for what the model provider that you chose needs to answer."),
      ideas,
    );
  }

  #scrolled() {
    const rest = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight;
    this.#follow = rest < 60;
    if (this.#follow) {
      this.#latest.hidden = true;
    }
  }

  async #copy(button) {
    if (!button) {
      return;
    }
    const label = button.querySelector("span") ?? button;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      label.textContent = "Copied";
    } catch {
      label.textContent = "Copying is not allowed here";
    }
    setTimeout(() => (label.textContent = "Copy"), 1600);
  }
}
