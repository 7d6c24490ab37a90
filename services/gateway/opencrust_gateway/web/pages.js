// The pages beside the chat: which there are, who may see them, and one way of drawing, loading and failing for all.

import * as approvals from "./approvals.js";
import * as audit from "./audit.js";
import * as channels from "./channels.js";
import * as people from "./people.js";
import * as plugins from "./plugins.js";
import * as settings from "./settings.js";
import * as usage from "./usage.js";
import * as vault from "./vault.js";
import { button, h } from "./dom.js";

/** In the order of the menu: address, name, icon, the scope that it needs, and its module. */
export const PAGES = [
  { path: "approvals", name: "Approvals", icon: "approve", scope: "read", page: approvals },
  { path: "people", name: "People", icon: "people", scope: "pairing", page: people },
  { path: "channels", name: "Channels", icon: "channels", scope: "read", page: channels },
  { path: "plugins", name: "Plugins", icon: "plugins", scope: "read", page: plugins },
  { path: "vault", name: "Vault", icon: "vault", scope: "admin", page: vault },
  { path: "usage", name: "Usage", icon: "usage", scope: "read", page: usage },
  { path: "audit", name: "Audit", icon: "audit", scope: "admin", page: audit },
  { path: "settings", name: "Settings", icon: "settings", scope: "admin", page: settings },
];

/** The page of an address such as `#/people`, or undefined: then it is the chat. */
export function pageOf(hash) {
  return PAGES.find((one) => hash === `#/${one.path}`);
}

/** Draws one page at a time into `root`. A page's module exports `load(context)` → anything, and `draw(that, context)` →
 * elements; `context` has `scopes`, `reload()`, and `act(promise, words)`, which reports how a change went. */
export class Shelf {
  #root;
  #announce;
  #changed;
  #shown = null;
  #turn = 0;
  scopes = new Set();

  /** `announce(text, kind)` tells the person; `changed()` is called after every change made on a page. */
  constructor(root, announce, changed) {
    this.#root = root;
    this.#announce = announce;
    this.#changed = changed;
  }

  async show(entry) {
    this.#shown = entry;
    if (entry === null) {
      this.#root.replaceChildren();
      return;
    }
    this.#root.replaceChildren(h("p.empty", { role: "status" }, "Loading…"));
    await this.reload();
  }

  /** Fetch and draw again; what is on the page stays until then. */
  async reload() {
    const entry = this.#shown;
    const turn = ++this.#turn;
    if (entry === null) {
      return;
    }
    const context = { scopes: this.scopes, reload: () => this.reload(), act: (doing, words) => this.#act(doing, words) };
    let drawn;
    try {
      drawn = entry.page.draw(await entry.page.load(context), context);
    } catch (problem) {
      drawn = [failed(problem, () => this.reload())];
    }
    if (turn === this.#turn && entry === this.#shown) {
      this.#root.replaceChildren(...drawn);
    }
  }

  async #act(doing, words) {
    try {
      const result = await doing;
      if (words) {
        this.#announce(words, "good");
      }
      this.#changed();
      await this.reload();
      return result;
    } catch (problem) {
      this.#announce(problem.message, "bad");
      return undefined;
    }
  }
}

function failed(problem, again) {
  return h("div.notice.bad", { role: "alert" }, h("p", {}, problem.message), button("Try again", again));
}
