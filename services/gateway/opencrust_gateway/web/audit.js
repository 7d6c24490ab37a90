// The record: what was decided, handed out, refused and changed. Pages go back in time.

import { get } from "./api.js";
import { button, h, table, time } from "./dom.js";

const SERVICES = ["", "agent", "gateway", "vault", "dlq", "channel-telegram", "channel-discord", "channel-slack"];
const LIMIT = 50;
let service = "";
let before = null;

export function load() {
  const query = new URLSearchParams({ limit: LIMIT });
  if (service) {
    query.set("service", service);
  }
  if (before !== null) {
    query.set("before", before);
  }
  return get(`/v1/audit?${query}`);
}

export function draw({ records, next = null }, context) {
  const pick = h(
    "select",
    {
      id: "audit-service",
      on: {
        change: () => {
          service = pick.value;
          before = null;
          context.reload();
        },
      },
    },
    ...SERVICES.map((name) => h("option", { value: name, selected: name === service }, name || "all services")),
  );
  const turn = (to) => () => {
    before = to;
    context.reload();
  };
  return [
    h("p.lead", {}, "The stream can be neither changed nor emptied. The vault's own chain is checked with opencrust audit verify."),
    h("div.row", {}, h("label", { htmlFor: "audit-service" }, "Service"), pick),
    table(
      "Audit records",
      ["When", "Service", "Event", "What"],
      records.map((one) => [time(one.at), one.service, h("code", {}, one.event), details(one.record)]),
      "Nothing is on record.",
    ),
    h("div.row", {}, before === null ? "" : button("Newest", turn(null)), next === null ? "" : button("Older", turn(next))),
  ];
}

function details(record = {}) {
  const told = Object.entries(record).filter(([name, value]) => !["v", "event", "at"].includes(name) && value !== null && value !== "");
  return h("span.facts", {}, ...told.map(([name, value]) => h("span", {}, `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`)));
}
