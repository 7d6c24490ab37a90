// The app: the chat, wired, and the pages beside it. An address is `#/people` and the like, or `#/c/<conversation>`.

import { get } from "./api.js";
import { decide } from "./approvals.js";
import { Attached } from "./attached.js";
import { h, icon } from "./dom.js";
import { PAGES, Shelf, pageOf } from "./pages.js";
import { Link, RequestError } from "./socket.js";
import * as store from "./store.js";
import { Turns } from "./turns.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const KEYS = "Enter sends · Shift+Enter starts a new line · Esc stops";
const HERE = "#/c/";
const turns = new Turns();
const attached = new Attached({ list: $("attached"), input: $("files"), onChange: controls, onProblem: (text) => toast(text, "bad") });
const shelf = new Shelf($("page-column"), toast, look);
let current = store.conversations()[0]?.name ?? "main";
let opening = 0;
let waiting = 0;

const view = new View({ log: $("log"), column: $("column"), latest: $("latest"), onIdea: (text) => send(text), onDecision: decided });
const link = new Link({
  onReady(hello) {
    state("here", "Connected");
    $("who").textContent = hello.owner;
    begin();
  },
  onEvent: take,
  onAway: () => state("away", "Reconnecting…"),
  onSignedOut: () => location.replace("/login"),
});

async function begin() {
  open();
  const { scopes } = await get("/v1/session").catch(() => ({ scopes: [] }));
  shelf.scopes = new Set(scopes);
  view.mayApprove = shelf.scopes.has("approve");
  pages();
  shelf.reload(); // it was perhaps drawn before we knew what this person may do
  look();
  if (shelf.scopes.has("read")) {
    const { conversations } = await get("/v1/conversations").catch(() => ({ conversations: [] }));
    store.merge(conversations);
    list();
  }
}

// -- addresses

function route() {
  const page = pageOf(location.hash) ?? null;
  $("page").hidden = page === null;
  for (const part of ["log", "bottom"]) {
    $(part).hidden = page !== null;
  }
  shelf.show(page);
  if (page === null) {
    const named = location.hash.startsWith(HERE) ? decodeURIComponent(location.hash.slice(HERE.length)) : current;
    if (named && named !== current) {
      choose(named);
    }
  } else {
    $("page").scrollTop = 0;
  }
  menu(false);
  list();
  pages();
}

function go(name) {
  const to = HERE + encodeURIComponent(name);
  if (location.hash !== to) {
    history.pushState(null, "", to); // no event follows: the page is drawn now, so that it can take the focus
  }
  route();
  $("text").focus();
}

function pages() {
  const page = pageOf(location.hash);
  if (page) {
    $("title").textContent = page.name;
  }
  document.title = page ? `${page.name} · OpenCrust` : "OpenCrust";
  $("pages").replaceChildren(
    ...PAGES.filter((one) => shelf.scopes.has(one.scope)).map((one) => {
      const count = one.path === "approvals" && waiting ? h("span.count", { attrs: { "aria-label": `${waiting} waiting` } }, String(waiting)) : "";
      const line = h("a", { href: `#/${one.path}` }, icon(one.icon), h("span", {}, one.name), count);
      if (one === page) {
        line.setAttribute("aria-current", "page");
      }
      return h("li", {}, line);
    }),
  );
}

// -- approvals

async function look() {
  if (!shelf.scopes.has("read")) {
    return;
  }
  const { approvals } = await get("/v1/approvals").catch(() => ({ approvals: [] }));
  waiting = approvals.length;
  pages();
}

async function decided(approval, yes, turn) {
  try {
    const { approvals } = await decide(approval.id, yes);
    approval.state = approvals[0]?.state ?? (yes ? "approved" : "denied");
    toast(yes ? "Approved: it is being done." : "Denied: it is not done.", "good");
  } catch (problem) {
    toast(problem.message, "bad");
  }
  view.update(turn);
  look();
}

// -- conversations

async function open() {
  const name = current;
  const turn = ++opening;
  let told;
  try {
    told = await link.request("open", { conversation: name });
  } catch (error) {
    if (turn === opening && link.ready) {
      hint(error.message, "bad");
      setTimeout(() => turn === opening && link.ready && open(), 3000);
    }
    return;
  }
  if (turn !== opening) {
    return;
  }
  hint();
  for (const one of told.history) {
    store.settled(one.message_id);
  }
  turns.reset(told.history, store.unanswered(name), told.running);
  view.show(turns.all());
  controls();
  // Whatever has no answer is sent again under its own id: the gateway takes no message twice.
  for (const one of store.unanswered(name)) {
    deliver(one);
  }
}

function choose(name) {
  if (name !== current && link.ready) {
    link.request("close", { conversation: current }).catch(() => {});
  }
  current = name;
  turns.clear();
  view.show([]);
  controls();
  if (link.ready) {
    open();
  }
}

function list() {
  const known = store.conversations();
  if (!known.some((one) => one.name === current)) {
    known.unshift({ name: current, title: "" });
  }
  const chatting = pageOf(location.hash) === undefined;
  $("list").replaceChildren(
    ...known.map(({ name, title }) => {
      const here = chatting && name === current;
      const text = title || "New conversation";
      const pick = h("button.pick", { type: "button", title: text, on: { click: () => go(name) } }, text);
      if (here) {
        pick.setAttribute("aria-current", "true");
        $("title").textContent = text;
      }
      const drop = h(
        "button.drop",
        {
          type: "button",
          title: "Take off this list",
          attrs: { "aria-label": `Take “${text}” off this list` },
          on: {
            click: () => {
              store.forget(name);
              go(name === current ? (store.conversations()[0]?.name ?? fresh()) : current);
            },
          },
        },
        icon("cross"),
      );
      return h(here ? "li.current" : "li", {}, pick, drop);
    }),
  );
}

function fresh() {
  return `web-${crypto.randomUUID().slice(0, 8)}`;
}

// -- messages

function send(text, attachments = []) {
  if (!text.trim() && !attachments.length) {
    return;
  }
  if (text.trim() === "/stop") {
    stop();
    return;
  }
  const message = { conversation: current, message_id: crypto.randomUUID(), text, attachments };
  store.keep(message);
  store.touch(current, text || attachments[0].name);
  list();
  view.update(turns.add(message.message_id, text, attachments));
  view.toEnd();
  if (link.ready) {
    deliver(message);
  } else {
    hint("Not connected: the message is sent as soon as the gateway is back.", "bad");
  }
}

async function deliver(message) {
  const turn = turns.get(message.message_id);
  try {
    const { conversation, message_id, text, attachments = [] } = message;
    const params = attachments.length ? { conversation, message_id, text, attachments } : { conversation, message_id, text };
    const told = await link.request("send", params);
    if (turn) {
      turn.sent = true;
    }
    if (told.reply) {
      take({ event: "reply", conversation, message_id, ...told.reply });
      return;
    }
  } catch (error) {
    if (!(error instanceof RequestError)) {
      return; // the connection went down: it is sent again when it is back
    }
    if (["bus_unavailable", "overloaded", "rate_limited"].includes(error.code)) {
      hint(error.message, "bad");
      setTimeout(() => link.ready && deliver(message), 3000);
      return;
    }
    store.settled(message.message_id);
    if (turn) {
      turn.error = error.message;
    }
  }
  if (turn && message.conversation === current) {
    view.update(turn);
    controls();
  }
}

function take(event) {
  if (event.event === "approval") {
    const { card, state: now } = event.approval;
    const turn = turns.decided(card.id, now);
    if (turn) {
      view.update(turn);
    }
    look();
    if (pageOf(location.hash)?.path === "approvals") {
      shelf.reload();
    }
    return;
  }
  if (event.event === "reply") {
    store.settled(event.message_id);
    if (event.approval) {
      look();
    }
  }
  if (event.conversation !== current) {
    return;
  }
  const turn = turns.apply(event);
  if (turn === null) {
    if (event.event === "reply") {
      open(); // somebody else's message, which only the history has
    }
    return;
  }
  view.update(turn);
  controls();
  if (event.event === "reply") {
    hint();
    $("announce").textContent = `Answer: ${event.text.slice(0, 500)}`;
  }
}

function stop() {
  if (turns.running && link.ready) {
    link.request("stop", { conversation: current }).catch((error) => hint(error.message, "bad"));
  }
}

// -- the rest of the page

function state(name, text) {
  $("state").dataset.state = name;
  $("state").textContent = text;
  controls();
}

function hint(text = KEYS, kind = "") {
  $("hint").textContent = text;
  $("hint").dataset.kind = kind;
  $("hint").classList.toggle("keys-only", text === KEYS);
}

let toasting;
function toast(text, kind = "") {
  clearTimeout(toasting);
  $("toast").textContent = text;
  $("toast").dataset.kind = kind;
  $("toast").hidden = false;
  toasting = setTimeout(() => ($("toast").hidden = true), kind === "bad" ? 8000 : 4000);
}

function controls() {
  $("send").disabled = (!$("text").value.trim() && attached.files.length === 0) || attached.busy;
  $("stop").hidden = !(turns.running && link.ready);
}

function menu(open) {
  $("app").classList.toggle("menu-open", open);
  $("menu").setAttribute("aria-expanded", String(open));
  if (open) {
    $("new").focus();
  }
}

function dark() {
  const chosen = store.theme();
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function paint() {
  const chosen = store.theme();
  if (chosen) {
    document.documentElement.dataset.theme = chosen;
  } else {
    delete document.documentElement.dataset.theme;
  }
}

function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
  controls();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (!$("send").disabled) {
    $("text").value = "";
    send(text, attached.take());
    grow();
  }
});
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
$("text").addEventListener("paste", (event) => attached.add(event.clipboardData?.files ?? []));
$("log").addEventListener("dragover", (event) => event.preventDefault());
$("log").addEventListener("drop", (event) => {
  event.preventDefault();
  attached.add(event.dataTransfer?.files ?? []);
});
$("attach").addEventListener("click", () => $("files").click());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if ($("app").classList.contains("menu-open")) {
      menu(false);
      $("menu").focus();
    } else {
      stop();
    }
  } else if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "")) {
    event.preventDefault();
    $("text").focus();
  }
});
addEventListener("hashchange", route);
addEventListener("popstate", route);
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", () => go(fresh()));
$("menu").addEventListener("click", () => menu(true));
$("veil").addEventListener("click", () => menu(false));
$("theme").addEventListener("click", () => {
  store.setTheme(dark() ? "light" : "dark");
  paint();
});
$("logout").addEventListener("click", async () => {
  const answer = await fetch("/logout", { method: "POST" }).catch(() => null);
  if (answer?.ok || answer?.status === 401) {
    store.clear();
    location.replace("/login");
  } else {
    hint("Signing out did not work: the gateway is not reachable now.", "bad");
  }
});

paint();
hint();
view.show([]);
route();
link.connect();
