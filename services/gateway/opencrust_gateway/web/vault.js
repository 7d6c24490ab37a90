// The vault's names. Values never come to a browser: they are set and rotated at the machine's keyboard.

import { get } from "./api.js";
import { h, table, time } from "./dom.js";

export const load = () => get("/v1/vault");

export function draw({ secrets }) {
  return [
    h("p.lead", {}, "Names only. A value is handed to the service that needs it, sealed, and never shown: opencrust vault set NAME · opencrust vault rotate NAME"),
    table(
      "Credentials",
      ["Name", "Version", "Set", "Ends", "Read by"],
      secrets.map((one) => [h("code", {}, one.name), String(one.version), time(one.created), one.expires ? time(one.expires) : "—", one.readers.join(", ") || "nobody"]),
      "The vault is empty.",
    ),
  ];
}
