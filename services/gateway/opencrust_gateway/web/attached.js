// Files that go along with the next message: uploaded at once, named by their SHA-256 when the message is sent.

import { upload } from "./api.js";
import { h, icon } from "./dom.js";
import { chip } from "./view.js";

const MOST = 8;

export class Attached {
  #list;
  #onChange;
  #onProblem;
  #files = [];
  #loading = 0;

  constructor({ list, input, onChange, onProblem }) {
    this.#list = list;
    this.#onChange = onChange;
    this.#onProblem = onProblem;
    input.addEventListener("change", () => {
      this.add(input.files);
      input.value = "";
    });
  }

  /** References: {name, media_type, size, sha256}. */
  get files() {
    return this.#files;
  }

  get busy() {
    return this.#loading > 0;
  }

  async add(files) {
    for (const file of [...files]) {
      if (this.#files.length + this.#loading >= MOST) {
        this.#onProblem(`At most ${MOST} files go along with a message.`);
        break;
      }
      this.#loading += 1;
      this.#draw();
      try {
        this.#files.push(await upload(file));
      } catch (problem) {
        this.#onProblem(`${file.name}: ${problem.message}`);
      }
      this.#loading -= 1;
      this.#draw();
    }
  }

  /** The references, for the message that is being sent; none is left. */
  take() {
    const taken = this.#files;
    this.#files = [];
    this.#draw();
    return taken;
  }

  #draw() {
    const items = this.#files.map((file) => {
      const drop = h("button.drop", { type: "button", attrs: { "aria-label": `Do not send ${file.name}` } }, icon("cross"));
      drop.addEventListener("click", () => {
        this.#files = this.#files.filter((one) => one !== file);
        this.#draw();
      });
      return h("li", {}, chip({ ...file, sha256: null }), drop);
    });
    if (this.#loading) {
      items.push(h("li.muted", { role: "status" }, "Uploading…"));
    }
    this.#list.replaceChildren(...items);
    this.#list.hidden = items.length === 0;
    this.#onChange();
  }
}
