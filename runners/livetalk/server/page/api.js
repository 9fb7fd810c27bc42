/* The conversation protocol, as a client speaks it. Addresses are relative, so that the page also works below a prefix. */

const TOKEN_KEY = "livetalk-token";

/** In place of the server's words, which are for those who write clients. */
const WORDS = {
  token_required: "This server asks for a token, and none was given.",
  token_refused: "This server does not take the token that was given.",
  expired:
    "The server has closed this conversation: nothing was said for a while, or it had become too old. " +
    "Try again to begin a new one, which remembers nothing of it.",
  unknown_conversation:
    "The server no longer has this conversation. Try again to begin a new one, which remembers nothing of it.",
};

/** The server answered with an error: `code` for programs, `message` for people. */
export class Refusal extends Error {
  constructor(status, code, message, retryAfterS) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/** No answer came: the server is down, the network is gone, or the response broke off. */
export class Unreachable extends Error {}

export class Api {
  /**
   * @param askForToken called with true if a token was refused, with false if none was sent; resolves to a token, or to
   *   null if nobody wants to give one.
   */
  constructor(askForToken) {
    this.askForToken = askForToken;
    this.asking = null;
    this.token = stored();
  }

  health() {
    return this.#json("health", { signal: AbortSignal.timeout(10_000) });
  }

  /**
   * @param fields FormData with `image`, `prompt`, `persona`, `voice`, `seed`, all optional.
   * @param quietly fail where a token would have to be asked for; the refusal is then `quiet` too.
   */
  open(fields, quietly) {
    return this.#json("v1/conversations", { method: "POST", body: fields, quietly });
  }

  /** Asks for no token: what it tells can wait until there is one. */
  voices() {
    return this.#json("v1/voices", { quietly: true, signal: AbortSignal.timeout(10_000) });
  }

  /**
   * A voice speaking, as a sound file.
   *
   * @param manner `pitch` and `rate`, each optional, as the fields of a conversation.
   */
  async sample(name, manner) {
    const query = new URLSearchParams(manner).toString();
    const response = await this.#request(`v1/voices/${encodeURIComponent(name)}/sample${query && `?${query}`}`, {});
    return response.blob();
  }

  conversation(id) {
    return this.#json(path(id), { signal: AbortSignal.timeout(10_000) });
  }

  /** The answer as a response whose body is the clip; resolves when its first fragment is there. */
  say(id, fields, signal) {
    return this.#request(path(id, "turns"), { method: "POST", body: fields, signal });
  }

  turn(id, index) {
    return this.#json(path(id, "turns", index), { signal: AbortSignal.timeout(10_000) });
  }

  interrupt(id, playedS) {
    const fields = new FormData();
    fields.set("played_s", playedS.toFixed(3));
    return this.#json(path(id, "interrupt"), { method: "POST", body: fields, signal: AbortSignal.timeout(10_000) });
  }

  /** Also reaches the server when the page is already being left; nobody waits for the answer. */
  close(id) {
    fetch(path(id), { method: "DELETE", keepalive: true, headers: this.#authorization() }).catch(() => {});
  }

  async #json(address, options) {
    const response = await this.#request(address, options);
    try {
      return await response.json();
    } catch (error) {
      throw new Unreachable("The server's answer could not be read.", { cause: error });
    }
  }

  async #request(address, { quietly = false, ...options }) {
    for (;;) {
      let response;
      try {
        response = await fetch(address, { ...options, headers: this.#authorization(), cache: "no-store" });
      } catch (error) {
        if (options.signal?.aborted && options.signal.reason?.name !== "TimeoutError") throw error;
        throw new Unreachable("The server did not answer.", { cause: error });
      }
      if (response.ok) return response;
      const refusal = await readRefusal(response);
      refusal.quiet = quietly && refusal.status === 401;
      if (refusal.status !== 401 || quietly || !(await this.#newToken(refusal.code === "token_refused"))) throw refusal;
    }
  }

  /** One prompt, however many requests were refused at once. */
  async #newToken(refused) {
    this.asking ??= this.askForToken(refused).finally(() => (this.asking = null));
    const token = await this.asking;
    if (!token) return false;
    this.token = token;
    store(token);
    return true;
  }

  #authorization() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }
}

const path = (...parts) => ["v1/conversations", ...parts.map(encodeURIComponent)].join("/");

// A browser that may keep nothing throws; the token then holds until the page is left.

function stored() {
  try {
    return sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return null;
  }
}

function store(token) {
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {}
}

async function readRefusal(response) {
  const after = Number.parseFloat(response.headers.get("Retry-After"));
  const body = await response.json().catch(() => null);
  const { code = "failed", message = "" } = body?.error ?? {};
  const words = WORDS[code] ?? (String(message) || `The server answered with status ${response.status}.`);
  return new Refusal(response.status, String(code), words, Number.isFinite(after) ? after : null);
}
