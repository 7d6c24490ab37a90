// What waits for the operator's word. The same card stands in the chat, and here for every conversation together.

import { get, post } from "./api.js";
import { button, h, icon, time } from "./dom.js";

export const load = () => get("/v1/approvals");

export function draw({ approvals }, context) {
  const about = h(
    "p.lead",
    {},
    "Something wants to be done that your policy does not allow by itself. Approve only what you recognise: what you approve is exactly what stands here, once.",
  );
  const cards = approvals.map((one) =>
    card({ ...one.card, state: one.state }, context.scopes.has("approve"), (yes) =>
      context.act(decide(one.card.id, yes), yes ? "Approved: it is being done." : "Denied: it is not done."),
    ),
  );
  return [about, ...(cards.length ? cards : [h("p.empty", {}, "Nothing waits for you.")])];
}

/** A reply's text without the question at its end: the card shows it, and has buttons for its last line. */
export function besides(text, { id }) {
  const at = text.lastIndexOf("May I do this?\n");
  return at >= 0 && text.includes(`/approve ${id} or /deny ${id}`, at) ? text.slice(0, at).trimEnd() : text;
}

export const decide = (id, approve) => post(`/v1/approvals/${id}`, { approve });

/** One question: what exactly would be done, and two buttons. `decided(yes)` is called at most once. */
export function card({ id, tool, lines, expires, state = "pending" }, may, decided) {
  const choices = h("div.row");
  const open = state === "pending" && new Date(expires) > new Date();
  if (!open) {
    choices.append(h("span.badge", {}, state === "pending" ? "expired" : state));
  } else if (!may) {
    choices.append(h("span.muted", {}, `Only the operator can decide: /approve ${id}`));
  } else {
    const choose = (yes) => () => {
      for (const one of choices.querySelectorAll("button")) {
        one.disabled = true;
      }
      decided(yes);
    };
    choices.append(
      button("Approve", choose(true), { kind: "primary", label: `Approve ${tool}` }),
      button("Deny", choose(false), { label: `Deny ${tool}` }),
      h("span.muted", {}, "expires ", time(expires)),
    );
  }
  return h(
    "section.card-approval",
    { attrs: { "aria-label": `Approval: ${tool}`, "data-approval": id } },
    h("header", {}, icon("shield"), h("strong", {}, tool)),
    h("pre", {}, lines.join("\n")),
    choices,
  );
}
