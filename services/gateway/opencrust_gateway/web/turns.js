// The turns of one conversation, as plain data: what was said, what is coming in, what was answered. No DOM here.
//
// Live events may be missed or start over (another attempt, another model); the reply replaces them all.

export class Turns {
  #turns = new Map();

  /** Take the history as the gateway knows it, keeping what it cannot know yet: messages without an answer. */
  reset(history, unanswered) {
    const before = this.#turns;
    this.#turns = new Map();
    for (const turn of history) {
      this.#turns.set(turn.message_id, { id: turn.message_id, said: turn.user_text, sent: true, reply: turn, live: null });
    }
    for (const { message_id: id, text } of unanswered) {
      if (!this.#turns.has(id)) {
        this.#turns.set(id, before.get(id) ?? fresh(id, text));
      }
    }
    for (const [id, turn] of before) {
      if (!this.#turns.has(id) && turn.reply === null && turn.sent) {
        this.#turns.set(id, turn);
      }
    }
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

  add(id, said) {
    const turn = this.#turns.get(id) ?? fresh(id, said);
    this.#turns.set(id, turn);
    return turn;
  }

  /** Apply an event; the turn it changed, or null where the event is of no turn that is known here. */
  apply(event) {
    if (event.event === "message") {
      const turn = this.add(event.message_id, event.text);
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
      this.#live(turn, event);
    }
    return turn;
  }

  #live(turn, event) {
    if (turn.live === null || event.attempt > turn.live.attempt) {
      turn.live = { attempt: event.attempt, next: 0, text: "", gap: false, tools: [] };
    }
    const live = turn.live;
    if (event.attempt < live.attempt) {
      return;
    }
    live.gap ||= event.index !== live.next;
    live.next = event.index + 1;
    if (event.event === "reset") {
      Object.assign(live, { text: "", gap: false, tools: [] });
    } else if (event.event === "delta") {
      live.text += event.text ?? "";
    } else if (event.event === "tool") {
      live.tools.push(event.data ?? {});
    }
  }
}

function fresh(id, said) {
  return { id, said, sent: false, reply: null, live: null, error: null };
}
