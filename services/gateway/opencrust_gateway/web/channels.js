// How the services are: channels first, with every replica and what it says of itself.

import { get } from "./api.js";
import { button, h, table } from "./dom.js";

export async function load() {
  const [{ channels }, { services }] = await Promise.all([get("/v1/channels"), get("/v1/health")]);
  return { channels, services };
}

export function draw({ channels, services }, context) {
  return [
    h("div.row.spread", {}, h("h2", {}, "Channels"), button("Look again", () => context.reload())),
    ...channels.filter((one) => one.configured).map(channel),
    h("p.muted", {}, "Another one is added at the machine, which asks for its token: ", h("code", {}, "opencrust channels add telegram")),
    h("h2", {}, "Services"),
    table(
      "Services",
      ["Service", "Replica", "State", "Facts"],
      services.flatMap((service) =>
        service.replicas.length
          ? service.replicas.map((one) => [service.name, h("code", {}, one.instance), state(one), facts(one.facts)])
          : [[service.name, "—", h("span.badge.bad", {}, "does not answer"), ""]],
      ),
      "No service answers.",
    ),
  ];
}

function channel({ name, replicas }) {
  const lines = replicas.map((one) => h("li", {}, h("code", {}, one.instance), " ", state(one), " ", facts(one.facts)));
  const none = h("p.muted", {}, "No replica answers: see opencrust logs.");
  return h("section.panel", {}, h("h3", {}, name), lines.length ? h("ul.plain", {}, ...lines) : none);
}

function state({ ready, facts: { deaf } = {} }) {
  if (deaf) {
    return h("span.badge.bad", {}, "connected but deaf");
  }
  return h(ready ? "span.badge.good" : "span.badge.bad", {}, ready ? "ready" : "not ready");
}

function facts(known = {}) {
  const told = Object.entries(known).filter(([, value]) => typeof value !== "object" || value === null);
  return h("span.facts", {}, ...told.map(([name, value]) => h("span", {}, `${name.replaceAll("_", " ")}: ${value ?? "—"}`)));
}
