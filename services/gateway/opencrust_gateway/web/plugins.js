// Plugins: what is installed, and in plain sentences what each may do. Installing is for the machine's keyboard.

import { get, post, remove } from "./api.js";
import { confirm } from "./dialog.js";
import { button, h, time } from "./dom.js";

export const load = () => get("/v1/plugins");

export function draw({ plugins }, context) {
  const lead = h(
    "p.lead",
    {},
    "A plugin is somebody else's program. It runs in a sandbox of its own, without files, network or keys, except for what you agreed to when you installed it: opencrust plugins install FILE",
  );
  return [lead, ...(plugins.length ? plugins.map((one) => panel(one, context)) : [h("p.empty", {}, "No plugin is installed.")])];
}

function panel(one, context) {
  const { name, version, enabled, reason, sentences, tools, installed, signer } = one;
  const admin = context.scopes.has("admin");
  return h(
    "section.panel",
    {},
    h("div.row.spread", {}, h("h3", {}, `${name} `, h("small.muted", {}, version)), h(enabled ? "span.badge.good" : "span.badge", {}, enabled ? "enabled" : "disabled")),
    reason ? h("div.notice.bad", {}, h("p", {}, reason)) : "",
    h("ul", {}, ...sentences.map((text) => h("li", {}, text))),
    h("p.muted", {}, `Tools: ${tools.map((tool) => tool.name).join(", ")}. `, signer ? `Signed by ${signer}. ` : "Not signed. ", "Installed ", time(installed)),
    admin
      ? h(
          "div.row",
          {},
          enabled
            ? button("Disable", () => context.act(post(`/v1/plugins/${name}/disable`), `${name} is disabled.`), { label: `Disable ${name}` })
            : button("Enable", () => context.act(post(`/v1/plugins/${name}/enable`), `${name} is enabled.`), { label: `Enable ${name}` }),
          button("Remove", () => drop(name, context), { label: `Remove ${name}` }),
        )
      : "",
  );
}

async function drop(name, context) {
  if (await confirm({ title: `Remove ${name}?`, text: "Its permissions and what it kept go with it.", yes: "Remove" })) {
    context.act(remove(`/v1/plugins/${name}`), `${name} is removed.`);
  }
}
