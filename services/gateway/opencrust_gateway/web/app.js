// The chat page: the parts, wired.

import { Link, RequestError } from "./socket.js";
import * as store from "./store.js";
import { Turns } from "./turns.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const KEYS = "Enter sends · Shift+Enter starts a new line · Esc stops";
const turns = new Turns();
let current = store.conversations()[0]?.name ?? "main";
let opening = 0;

const view = new View({ log: $("log"), column: $("column"), latest: $("latest"), onIdea: (text) => send(text) });
const link = new Link({
  onReady(hello) {
    state("here", "Connected");
    $("who").textContent = hello.owner;
    open();
  },
  onEvent: take,
  onAway: () => state("away", "Reconnecting…"),
  onSignedOut: () => location.replace("/login"),
});

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
  turns.reset(told.history, store.unanswered(name));
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
  turns.reset([], []);
  view.show([]);
  list();
  menu(false);
  controls();
  $("text").focus();
  if (link.ready) {
    open();
  }
}

function list() {
  const known = store.conversations();
  if (!known.some((one) => one.name === current)) {
    known.unshift({ name: current, title: "" });
  }
  $("list").replaceChildren(
    ...known.map(({ name, title }) => {
      const item = document.createElement("li");
      item.classList.toggle("current", name === current);
      const pick = document.createElement("button");
      pick.type = "button";
      pick.className = "pick";
      pick.textContent = title || "New conversation";
      pick.title = pick.textContent;
      if (name === current) {
        pick.setAttribute("aria-current", "true");
        $("title").textContent = pick.textContent;
      }
      pick.addEventListener("click", () => choose(name));
      const drop = document.createElement("button");
      drop.type = "button";
      drop.className = "drop";
      drop.setAttribute("aria-label", `Take “${pick.textContent}” off this list`);
      drop.title = "Take off this list";
      drop.append(cross());
      drop.addEventListener("click", () => {
        store.forget(name);
        choose(name === current ? (store.conversations()[0]?.name ?? fresh()) : current);
      });
      item.append(pick, drop);
      return item;
    }),
  );
}

function cross() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", "M6 6l12 12M18 6L6 18");
  svg.append(path);
  return svg;
}

function fresh() {
  return `web-${crypto.randomUUID().slice(0, 8)}`;
}

// -- messages

function send(text) {
  if (!text.trim()) {
    return;
  }
  const message = { conversation: current, message_id: crypto.randomUUID(), text };
  store.keep(message);
  store.touch(current, text);
  list();
  view.update(turns.add(message.message_id, text));
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
    const { conversation, message_id, text } = message;
    const told = await link.request("send", { conversation, message_id, text });
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
  if (event.event === "reply") {
    store.settled(event.message_id);
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

function controls() {
  const empty = !$("text").value.trim();
  $("send").disabled = empty;
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
  if (text.trim()) {
    $("text").value = "";
    grow();
    send(text);
  }
});
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if ($("app").classList.contains("menu-open")) {
      menu(false);
      $("menu").focus();
    } else {
      stop();
    }
  } else if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "")) {
    event.preventDefault();
    $("text").focus();
  }
});
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", () => choose(fresh()));
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
list();
view.show([]);
link.connect();
