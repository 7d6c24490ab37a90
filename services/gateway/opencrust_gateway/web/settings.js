// Settings as they are, and the tokens: what programs and browsers may do here.

import { get, post, remove } from "./api.js";
import { confirm, form, reveal } from "./dialog.js";
import { button, h, table, time } from "./dom.js";

const SCOPES = [
  ["chat", "chat: send messages"],
  ["read", "read: read conversations"],
  ["approve", "approve: decide what tools may do"],
  ["pairing", "pairing: decide who may speak"],
  ["admin", "admin: everything else"],
];

export async function load() {
  const [settings, { tokens }] = await Promise.all([get("/v1/settings"), get("/v1/tokens")]);
  return { settings, tokens };
}

export function draw({ settings, tokens }, context) {
  return [
    h("div.row.spread", {}, h("h2", {}, "Tokens and sessions"), button("New token", () => mint(context), { kind: "primary" })),
    table(
      "Tokens",
      ["Name", "Kind", "Scopes", "Made", "Ends", ""],
      tokens.map((one) => [one.current ? h("span", {}, one.name, " ", h("span.badge.good", {}, "this one")) : one.name, one.kind, one.scopes.join(", "), time(one.created), one.expires ? time(one.expires) : "never", button("Revoke", () => revoke(one, context), { label: `Revoke ${one.name}` })]),
      "There is none.",
    ),
    h("h2", {}, "Settings"),
    h("p.lead", {}, "They stand in a file, config/config.json in the home folder of OpenCrust; a change takes effect at once."),
    table("Settings", ["Setting", "Value"], flat(settings).map(([name, value]) => [h("code", {}, name), value]), "None."),
  ];
}

/** An object's leaves, by dotted name. */
function flat(value, name = "") {
  if (value === null || typeof value !== "object") {
    return [[name, String(value)]];
  }
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) {
    return [[name, value.join(", ") || "—"]];
  }
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name}.${key}` : key));
}

async function mint(context) {
  const values = await form({
    title: "New token",
    text: "For a program. Give it no more than it needs.",
    fields: [
      { name: "name", label: "Name", required: true, note: "So that you know it again in this list." },
      { name: "scopes", label: "It may", kind: "checks", options: SCOPES.filter(([name]) => context.scopes.has(name)), value: ["chat"] },
      { name: "expires", label: "Ends", kind: "date", note: "Empty: never." },
    ],
    yes: "Make it",
  });
  if (!values) {
    return;
  }
  const made = await context.act(post("/v1/tokens", { ...values, expires: values.expires ? `${values.expires}T23:59:59Z` : null }));
  if (made) {
    await reveal({ title: "The token", text: "It is shown now and never again.", secret: made.token });
  }
}

async function revoke(one, context) {
  if (await confirm({ title: `Revoke ${one.name}?`, text: "Whoever uses it is cut off within a second.", yes: "Revoke" })) {
    context.act(remove(`/v1/tokens/${one.id}`), `${one.name} is revoked.`);
  }
}
