// The WebSocket to the gateway this page came from (never to an address from elsewhere), with requests and answers,
// and with reconnecting. Protocol: docs/websocket.md.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const PATIENCE = 20_000;
const QUIET = 30_000;
const SIGNED_OUT = new Set([4401, 4403]);

export class RequestError extends Error {
  constructor(error) {
    super(error.message);
    this.code = error.code;
  }
}

/** Calls `onReady(hello)` after every connect, `onEvent(frame)`, `onAway()`, and `onSignedOut()` once the session ended. */
export class Link {
  #handlers;
  #socket = null;
  #waiting = new Map();
  #next = 1;
  #pause = FIRST_PAUSE;
  #timer = null;
  #heard = 0;
  ready = false;

  constructor(handlers) {
    this.#handlers = handlers;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
    setInterval(() => this.#check(), QUIET / 2);
  }

  connect() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/v1/ws`);
    this.#socket = socket;
    socket.addEventListener("message", (event) => socket === this.#socket && this.#receive(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => socket === this.#socket && this.#closed(event.code));
  }

  /** The operation's result. Rejects with RequestError, or with Error when the connection went down. */
  request(op, params = {}) {
    if (!this.ready) {
      return Promise.reject(new Error("not connected"));
    }
    const id = String(this.#next++);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(id, (one) => one.reject(new Error("no answer"))), PATIENCE);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.send(JSON.stringify({ type: "req", id, op, params }));
    });
  }

  #receive(frame) {
    this.#heard = Date.now();
    if (frame.type === "hello") {
      if (!frame.authenticated) {
        this.#socket.close(1000);
        this.#handlers.onSignedOut();
        return;
      }
      this.ready = true;
      this.#pause = FIRST_PAUSE;
      this.#handlers.onReady(frame);
    } else if (frame.type === "res") {
      this.#settle(frame.id, (one) => (frame.ok ? one.resolve(frame.result) : one.reject(new RequestError(frame.error))));
    } else if (frame.type === "event") {
      this.#handlers.onEvent(frame);
    }
  }

  #settle(id, how) {
    const one = this.#waiting.get(id);
    if (one) {
      this.#waiting.delete(id);
      clearTimeout(one.timer);
      how(one);
    }
  }

  #closed(code) {
    this.ready = false;
    for (const id of [...this.#waiting.keys()]) {
      this.#settle(id, (one) => one.reject(new Error("connection lost")));
    }
    if (SIGNED_OUT.has(code)) {
      this.#handlers.onSignedOut();
      return;
    }
    this.#handlers.onAway();
    this.#timer = setTimeout(() => this.connect(), this.#pause * (0.7 + 0.6 * Math.random()));
    this.#pause = Math.min(this.#pause * 1.8, LONGEST_PAUSE);
  }

  #hurry() {
    if (this.#timer !== null) {
      this.#pause = FIRST_PAUSE;
      this.connect();
    }
  }

  // A laptop that slept has a socket that is dead without saying so.
  async #check() {
    if (this.ready && Date.now() - this.#heard > QUIET && document.visibilityState === "visible") {
      const socket = this.#socket;
      try {
        await this.request("ping");
      } catch {
        if (socket === this.#socket && this.ready) {
          socket.close(1000);
          this.#closed(1006);
        }
      }
    }
  }
}
