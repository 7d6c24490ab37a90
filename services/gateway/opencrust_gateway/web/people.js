// Who may speak on which channel: requests that wait, people on the lists, invitations, and each channel's policy.

import { get, post, put, remove } from "./api.js";
import { confirm, form, reveal } from "./dialog.js";
import { button, h, table, time } from "./dom.js";

const ROLES = [
  ["user", "User: may chat and use tools"],
  ["guest", "Guest: may chat, no tools with effects"],
  ["operator", "Operator: may approve, pair and stop"],
];
const DM = [
  ["pairing", "People on the list; strangers get a code to hand to you"],
  ["allowlist", "People on the list; strangers are dropped in silence"],
  ["open", "Anybody, as a guest"],
];
const GROUP = [
  ["disabled", "Never"],
  ["mention", "People on the list, when they mention it"],
  ["open", "Anybody who mentions it"],
];

export async function load() {
  const [{ people }, { requests, alarms = [] }, { channels }] = await Promise.all([
    get("/v1/people"),
    get("/v1/pairing"),
    get("/v1/channels"),
  ]);
  const named = channels.map((one) => one.name).filter((name) => name !== "web");
  const policies = await Promise.all(named.map((name) => get(`/v1/channels/${name}/policy`)));
  return { people, requests, alarms, channels: named.map((name, at) => ({ name, ...policies[at] })) };
}

export function draw({ people, requests, alarms, channels }, context) {
  return [
    ...alarms.map((one) => h("div.notice.bad", { role: "alert" }, one.text)),
    h("h2", {}, "Waiting to be let in"),
    table(
      "Pairing requests",
      ["Who", "Channel", "Asked", ""],
      requests.map((one) => [who(one), one.channel, time(one.created), asked(one, context)]),
      "Nobody waits. A stranger who writes to the bot gets a code and appears here.",
    ),
    h("div.row.spread", {}, h("h2", {}, "People"), button("Invite somebody", () => invite(channels, context), { kind: "primary" })),
    table(
      "People",
      ["Who", "Channel", "Role", "Since", "Until", ""],
      people.map((one) => [who(one), one.channel, standing(one), time(one.since), one.expires ? time(one.expires) : "for good", known(one, context)]),
      "Nobody yet, except you, here.",
    ),
    h("h2", {}, "Rules of each channel"),
    table(
      "Policies",
      ["Channel", "Private messages", "Groups", ""],
      channels.map((one) => [one.name, words(DM, one.dm), words(GROUP, one.group), button("Change", () => rules(one, context), { label: `Change the rules of ${one.name}` })]),
      "No channel is configured: opencrust channels add telegram",
    ),
  ];
}

function standing({ damaged, blocked, active, role }) {
  const wrong = damaged ? "damaged record" : blocked ? "blocked" : active ? "" : "expired";
  return wrong ? h("span.badge.bad", {}, wrong) : role;
}

const words = (choices, key) => choices.find(([known]) => known === key)?.[1] ?? key;

function who({ name, user, account }) {
  return h("span", { title: `account ${account}` }, h("strong", {}, name || user), name ? h("small.muted", {}, ` ${user}`) : "");
}

function asked(one, context) {
  const name = one.name || one.user;
  return h(
    "div.row",
    {},
    button("Let in", () => letIn(one, context), { kind: "primary", label: `Let ${name} in` }),
    button("Block", () => context.act(post(`/v1/pairing/${one.id}/block`), `${name} is blocked.`), { label: `Block ${name}` }),
  );
}

async function letIn(one, context) {
  const name = one.name || one.user;
  const values = await form({
    title: `Let ${name} in?`,
    text: `On ${one.channel}, where the user id is ${one.user}. The name is whatever this person chose: ask first whether it is really who you think.`,
    fields: [{ name: "role", label: "Role", kind: "select", options: ROLES, value: "user" }],
    yes: "Let in",
  });
  if (values) {
    context.act(post(`/v1/pairing/${one.id}/approve`, values), `${name} may speak now.`);
  }
}

function known(one, context) {
  const name = one.name || one.user;
  return h(
    "div.row",
    {},
    button("Change", () => change(one, context), { label: `Change ${name}` }),
    button("Remove", () => takeOff(one, context), { label: `Remove ${name}` }),
  );
}

async function change(one, context) {
  const values = await form({
    title: one.name || one.user,
    fields: [
      { name: "name", label: "Name", value: one.name ?? "" },
      { name: "role", label: "Role", kind: "select", options: ROLES, value: one.role },
      { name: "expires", label: "May speak until", kind: "date", value: one.expires?.slice(0, 10) ?? "", note: "Empty: for good." },
      { name: "flags", label: "Blocked", kind: "checks", options: [["blocked", "Drop everything from this person"]], value: one.blocked ? ["blocked"] : [] },
    ],
    yes: "Save",
  });
  if (values) {
    const { flags, expires, ...rest } = values;
    const body = { ...rest, blocked: flags.includes("blocked"), expires: expires ? `${expires}T23:59:59Z` : null };
    context.act(put(`/v1/people/${encodeURIComponent(one.key)}`, body), "Saved: it holds within a second.");
  }
}

async function takeOff(one, context) {
  const name = one.name || one.user;
  if (await confirm({ title: `Remove ${name}?`, text: "From the next message on, this is a stranger again.", yes: "Remove" })) {
    context.act(remove(`/v1/people/${encodeURIComponent(one.key)}`), `${name} is off the list.`);
  }
}

async function invite(channels, context) {
  if (channels.length === 0) {
    await confirm({ title: "No channel yet", text: "Add one first, at the machine: opencrust channels add telegram", yes: "All right" });
    return;
  }
  const values = await form({
    title: "Invite somebody",
    text: "You get a code. Whoever sends it to the bot on that channel within ten minutes is on its list. It works once.",
    fields: [
      { name: "channel", label: "Channel", kind: "select", options: channels.map(({ name }) => [name, name]), value: channels[0].name },
      { name: "role", label: "Role", kind: "select", options: ROLES, value: "user" },
      { name: "name", label: "Name", note: "As you want to see it here." },
    ],
    yes: "Make a code",
  });
  if (!values) {
    return;
  }
  const made = await context.act(post("/v1/pairing/invites", values));
  if (made) {
    await reveal({ title: "The code", text: `To be sent to the bot on ${values.channel}, within ten minutes:`, secret: `/pair ${made.code}` });
  }
}

async function rules(one, context) {
  const values = await form({
    title: `Rules of ${one.name}`,
    fields: [
      { name: "dm", label: "Who is answered in private?", kind: "select", options: DM, value: one.dm },
      { name: "group", label: "Who is answered in groups?", kind: "select", options: GROUP, value: one.group },
    ],
    yes: "Save",
  });
  if (values) {
    context.act(put(`/v1/channels/${one.name}/policy`, values), "Saved: it holds within a second.");
  }
}
