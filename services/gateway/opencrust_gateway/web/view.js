// Turns on the page. One element per turn, changed in place while an answer streams in.

import { besides, card } from "./approvals.js";
import { h, icon } from "./dom.js";
import { render } from "./markdown.js";

const DEMO = "tiny offline demo model";
const IDEAS = ["What can you do?", "Explain how a sourdough starter works", "Write a short poem about rain"];
const STATES = { started: "running…", done: "done", failed: "failed", denied: "not allowed", waiting: "waits for your approval" };

export class View {
  #log;
  #column;
  #latest;
  #onIdea;
  #onDecision;
  #elements = new Map();
  #dirty = new Set();
  #open = new Set();
  #follow = true;
  mayApprove = false;

  constructor({ log, column, latest, onIdea, onDecision }) {
    this.#log = log;
    this.#column = column;
    this.#latest = latest;
    this.#onIdea = onIdea;
    this.#onDecision = onDecision;
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
    const said = h(turn.sent ? "div.said" : "div.said.waiting", {}, turn.said, ...turn.files.map(chip));
    const drawn = h("article.turn", {}, said);
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
    const { reply, live, error } = turn;
    const body = h("div");
    if (turn.tools.length) {
      body.append(this.#timeline(turn));
    }
    const said = reply?.approval ? besides(reply.text, reply.approval) : reply?.text;
    const text = reply ? said : live ? (live.gap && live.text ? `… ${live.text}` : live.text) : "";
    if (text) {
      body.append(h("div.prose", {}, render(text)));
    } else if (!reply && !error) {
      const dots = h("span.thinking", { attrs: { role: "img", "aria-label": "An answer is being written" } });
      dots.append(h("i"), h("i"), h("i"));
      body.append(dots);
    }
    if (reply?.attachments?.length) {
      body.append(h("div.files", {}, ...reply.attachments.map(chip)));
    }
    if (reply?.approval) {
      body.append(card(reply.approval, this.mayApprove, (yes) => this.#onDecision(reply.approval, yes, turn)));
    }
    if (reply || error) {
      body.append(about(turn));
    }
    const face = h("img", { src: "/login/icon.svg", alt: "" });
    return h(reply || error ? "div.reply" : "div.reply.live", {}, face, body);
  }

  /** What was done with tools, in order; each opens to its arguments and what came of it. */
  #timeline(turn) {
    return h("ol.tools", { attrs: { "aria-label": "Steps" } }, ...turn.tools.map((tool) => this.#step(turn, tool)));
  }

  #step(turn, { call, tool, state, arguments: given, summary }) {
    const head = [icon("tool"), h("span.name", {}, String(tool ?? "tool")), h("span.state-of", {}, STATES[state] ?? String(state ?? ""))];
    if (given === undefined && !summary) {
      return h("li", { attrs: { "data-state": state ?? "" } }, h("div.step", {}, ...head));
    }
    const key = `${turn.id} ${call}`;
    const inside = h("details", { open: this.#open.has(key) }, h("summary.step", {}, ...head));
    if (given !== undefined) {
      inside.append(h("pre", {}, typeof given === "string" ? given : JSON.stringify(given, null, 2)));
    }
    if (summary) {
      inside.append(h("p", {}, summary));
    }
    inside.addEventListener("toggle", () => (inside.open ? this.#open.add(key) : this.#open.delete(key)));
    return h("li", { attrs: { "data-state": state ?? "" } }, inside);
  }

  #welcome() {
    const ideas = IDEAS.map((idea) => h("button", { type: "button", on: { click: () => this.#onIdea(idea) } }, idea));
    this.#column.append(
      h("img", { src: "/login/icon.svg", alt: "" }),
      h("h2", {}, "What can I do for you?"),
      h("p", {}, "Your messages stay on your own machine, except for what the model provider that you chose needs to answer."),
      h("div.ideas", {}, ...ideas),
    );
  }

  #scrolled() {
    const rest = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight;
    this.#follow = rest < 60;
    if (this.#follow) {
      this.#latest.hidden = true;
    }
  }

  async #copy(pressed) {
    if (!pressed) {
      return;
    }
    const label = pressed.querySelector("span") ?? pressed;
    try {
      await navigator.clipboard.writeText(pressed.dataset.copy);
      label.textContent = "Copied";
    } catch {
      label.textContent = "Copying is not allowed here";
    }
    setTimeout(() => (label.textContent = "Copy"), 1600);
  }
}

/** A file by name; it is fetched only when somebody asks for it, and never shown in place. */
export function chip({ name, size, sha256 }) {
  const words = `${name} · ${size < 1024 ? `${size} B` : size < 1_048_576 ? `${Math.round(size / 1024)} KB` : `${(size / 1_048_576).toFixed(1)} MB`}`;
  return sha256
    ? h("a.chip", { href: `/v1/attachments/${sha256}`, download: name }, icon("file"), words)
    : h("span.chip", {}, icon("file"), words);
}

function about({ reply, error }) {
  if (error) {
    return h("div.about", {}, h("span.badge.bad", {}, error));
  }
  const line = h("div.about");
  if (reply.finish === "failed") {
    line.append(h("span.badge.bad", {}, "could not be answered"));
  } else if (reply.finish === "stopped") {
    line.append(h("span.badge", {}, "stopped"));
  }
  if (reply.model) {
    line.append(h(reply.model === DEMO ? "span.badge.demo" : "span.badge", {}, reply.model));
  }
  if (reply.text) {
    const copy = h("button.copy", { type: "button" }, icon("copy"), h("span", {}, "Copy"));
    copy.dataset.copy = reply.text;
    line.append(copy);
  }
  return line;
}
