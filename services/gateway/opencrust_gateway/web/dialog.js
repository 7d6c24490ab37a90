// Questions to the person, in a <dialog>: modal, closed by Esc, focus goes back to where it was.

import { button, h } from "./dom.js";

/** Ask before something that cannot be undone. Resolves to whether the person said yes. */
export function confirm({ title, text, yes }) {
  return show(title, [h("p", {}, text)], [], yes, "danger").then((values) => values !== null);
}

/** Tell something that must be read now and is shown once: a token, a code. */
export function reveal({ title, text, secret }) {
  const shown = h("output.secret", {}, secret);
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(secret);
      copy.textContent = "Copied";
    } catch {
      getSelection()?.selectAllChildren(shown);
      copy.textContent = "Selected: copy it by hand";
    }
  });
  return show(title, [h("p", {}, text), h("div.reveal", {}, shown, copy)], [], "Done", "primary", false);
}

/** A form. `fields`: [{name, label, kind: "text"|"select"|"checks", options, value, note, required}]. Resolves to the
 * values by name, or null. */
export function form({ title, text, fields, yes }) {
  const made = fields.map(field);
  return show(title, text ? [h("p", {}, text)] : [], made, yes, "primary");
}

function field({ name, label, kind = "text", options = [], value = "", note = "", required = false }) {
  const id = `field-${name}`;
  const about = note ? h("small", { id: `${id}-note` }, note) : null;
  if (kind === "checks") {
    const boxes = options.map(([key, words]) =>
      h("label.check", {}, h("input", { type: "checkbox", name, value: key, checked: value.includes(key) }), words),
    );
    return { name, read: (form) => [...form.querySelectorAll(`[name="${name}"]:checked`)].map((box) => box.value), element: h("fieldset", {}, h("legend", {}, label), ...boxes, about) };
  }
  const input =
    kind === "select"
      ? h("select", { id, name }, ...options.map(([key, words]) => h("option", { value: key, selected: key === value }, words)))
      : h("input", { id, name, type: kind, value, required, autocomplete: "off", spellcheck: false });
  if (about) {
    input.setAttribute("aria-describedby", about.id);
  }
  return { name, read: () => input.value, element: h("div.field", {}, h("label", { htmlFor: id }, label), input, about) };
}

function show(title, head, fields, yes, kind, cancel = true) {
  const before = document.activeElement;
  const id = "dialog-title";
  const dialog = h("dialog.ask", { attrs: { "aria-labelledby": id } });
  return new Promise((resolve) => {
    let values = null;
    const go = h(`button.${kind}`, { type: "submit" }, yes);
    const inside = h(
      "form",
      {
        method: "dialog",
        on: {
          submit: () => {
            values = Object.fromEntries(fields.map((one) => [one.name, one.read(inside)]));
          },
        },
      },
      h("h2", { id }, title),
      ...head,
      ...fields.map((one) => one.element),
      h("div.row.end", {}, cancel ? button("Cancel", () => dialog.close()) : null, go),
    );
    dialog.append(inside);
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus?.();
      resolve(values);
    });
    document.body.append(dialog);
    dialog.showModal();
    if (kind === "danger") {
      dialog.querySelector(".quiet")?.focus();
    }
  });
}
