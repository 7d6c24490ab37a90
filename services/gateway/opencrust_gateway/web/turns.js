// The turns of one conversation, as plain data: what was said, what is coming in, what was answered. No DOM here.
//
// Live events may be missed or start over (another attempt, another model); the reply replaces the text of them all. The
// steps with tools stay: they are how the answer came about.

export class Turns {
  #turns = new Map();

  /** Take the history and the turns at work as the gateway knows them, keeping what it cannot know: messages that it did
   * not get yet, and the steps of turns that are over. */
  reset(history, unanswered, running = []) {
    const before = this.#turns;
    this.#turns = new Map();
    for (const told of history) {
      const turn = before.get(told.message_id) ?? fresh(told.message_id, told.user_text);
      Object.assign(turn, { said: told.user_text, files: told.attachments ?? turn.files, sent: true, reply: told, live: null });
      this.#turns.set(told.message_id, turn);
    }
    for (const told of running) {
      if (!this.#turns.has(told.message_id)) {
        this.#turns.set(told.message_id, atWork(before.get(told.message_id) ?? fresh(told.message_id, told.user_text ?? ""), told));
      }
    }
    for (const { message_id: id, text, attachments = [] } of unanswered) {
      if (!this.#turns.has(id)) {
        this.#turns.set(id, before.get(id) ?? fresh(id, text, attachments));
      }
    }
    for (const [id, turn] of before) {
      if (!this.#turns.has(id) && turn.reply === null && turn.sent) {
        this.#turns.set(id, turn);
      }
    }
  }

  /** An approval that is shown in a turn was decided, here or elsewhere; the turn, or undefined. */
  decided(id, state) {
    const turn = this.all().find((one) => one.reply?.approval?.id === id);
    if (turn) {
      turn.reply.approval.state = state;
    }
    return turn;
  }

  clear() {
    this.#turns = new Map();
  }

  all() {
    return [...this.#turns.values()];
  }

  get(id) {
    return this.#turns.get(id);
  }

  get running() {
    return this.all().some((turn) => turn.reply === null && turn.sent && !turn.error);
  }

  add(id, said, files = []) {
    const turn = this.#turns.get(id) ?? fresh(id, said, files);
    this.#turns.set(id, turn);
    return turn;
  }

  /** Apply an event; the turn it changed, or null where the event is of no turn that is known here. */
  apply(event) {
    if (event.event === "message") {
      const turn = this.add(event.message_id, event.text, event.attachments ?? []);
      turn.sent = true;
      return turn;
    }
    const turn = this.#turns.get(event.message_id);
    if (!turn) {
      return null;
    }
    if (event.event === "reply") {
      turn.reply = event;
      turn.live = null;
      turn.sent = true;
      turn.error = null;
    } else if (turn.reply === null) {
      turn.sent = true;
      live(turn, event);
    }
    return turn;
  }
}

/** A turn that runs, as the gateway tells of it; events that came here by themselves may know more. */
function atWork(turn, { attempt, index, text, complete, tools }) {
  turn.sent = true;
  const older = turn.live === null || turn.live.attempt < attempt || (turn.live.attempt === attempt && turn.live.next <= index);
  if (attempt > 0 && older) {
    turn.live = { attempt, next: index + 1, text, gap: !complete };
    turn.tools = tools.map((one) => ({ ...one }));
  }
  return turn;
}

function live(turn, event) {
  if (turn.live === null || event.attempt > turn.live.attempt) {
    turn.live = { attempt: event.attempt, next: 0, text: "", gap: false };
  }
  const now = turn.live;
  if (event.attempt < now.attempt) {
    return;
  }
  now.gap ||= event.index !== now.next;
  now.next = event.index + 1;
  if (event.event === "reset") {
    Object.assign(now, { text: "", gap: false });
  } else if (event.event === "delta") {
    now.text += event.text ?? "";
  } else if (event.event === "tool") {
    step(turn.tools, event.data ?? {});
  }
}

/** A call says what became of it more than once: one line a call, its last state. */
function step(tools, data) {
  const known = tools.find((one) => one.call === data.call);
  if (known) {
    Object.assign(known, data);
  } else {
    tools.push({ ...data });
  }
}

function fresh(id, said, files = []) {
  return { id, said, files, sent: false, reply: null, live: null, error: null, tools: [] };
}
