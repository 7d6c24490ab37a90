// What this browser remembers: names of conversations, messages that are not answered yet, light or dark. No secrets:
// the session is a cookie that no script can read.

const CONVERSATIONS = "opencrust.conversations";
const OUTBOX = "opencrust.outbox";
const THEME = "opencrust.theme";
const MOST = 200;

function read(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Full or forbidden: this visit works, the next one starts afresh.
  }
}

/** [{name, title}], the latest used first. */
export function conversations() {
  const found = read(CONVERSATIONS, []);
  return Array.isArray(found) ? found.filter((one) => typeof one?.name === "string") : [];
}

/** Put a conversation first; its title is set once. */
export function touch(name, title = "") {
  const all = conversations();
  const known = all.find((one) => one.name === name) ?? { name, title: "" };
  known.title ||= title.replace(/\s+/g, " ").trim().slice(0, 60);
  write(CONVERSATIONS, [known, ...all.filter((one) => one.name !== name)].slice(0, MOST));
  return known;
}

/** Add what the gateway knows and this browser does not: [{name, title}], the latest used first. */
export function merge(known) {
  const mine = conversations();
  const more = known.filter((one) => typeof one?.name === "string" && !mine.some((own) => own.name === one.name));
  write(CONVERSATIONS, [...mine, ...more.map(({ name, title }) => ({ name, title: title ?? "" }))].slice(0, MOST));
}

export function forget(name) {
  write(CONVERSATIONS, conversations().filter((one) => one.name !== name));
  write(OUTBOX, read(OUTBOX, []).filter((one) => one.conversation !== name));
}

/** Messages of a conversation that were sent, or were to be sent, and have no answer yet. */
export function unanswered(conversation) {
  return read(OUTBOX, []).filter((one) => one.conversation === conversation);
}

export function keep(message) {
  write(OUTBOX, [...read(OUTBOX, []), message]);
}

export function settled(messageId) {
  const all = read(OUTBOX, []);
  const rest = all.filter((one) => one.message_id !== messageId);
  if (rest.length !== all.length) {
    write(OUTBOX, rest);
  }
}

/** "light", "dark", or null: as the system has it. */
export function theme() {
  return read(THEME, null);
}

export function setTheme(value) {
  write(THEME, value);
}

/** Everything, at signing out. */
export function clear() {
  for (const key of [CONVERSATIONS, OUTBOX]) {
    localStorage.removeItem(key);
  }
}
