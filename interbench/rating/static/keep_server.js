// Keeps answers with the server that the page came from. It is tried until it has them.
"use strict";

(() => {
  const RETRY_MS = 1000;

  class Refused extends Error {}
  class Elsewhere extends Error {}

  class ServerKeeper {
    constructor(shown) {
      this.shown = shown; // told of "saving", "saved", "lost"
      this.tab = sessionStorage.getItem("tab") || crypto.getRandomValues(new Uint32Array(4)).join("-");
      sessionStorage.setItem("tab", this.tab);
      this.token = location.hash.slice(1);
      this.chain = Promise.resolve();
      this.waiting = 0;
      this.taken = () => {};
      this.wake = () => {};
      addEventListener("beforeunload", (event) => { if (this.waiting) event.preventDefault(); });
    }

    async enter(take = false) {
      const study = await this.post("enter", { token: this.token, take });
      // The token has done its work; it need not stand in the address.
      if (this.token) history.replaceState(null, "", location.pathname);
      this.hold();
      return study;
    }

    hold() {
      const stream = new EventSource(`api/hold?tab=${encodeURIComponent(this.tab)}`);
      const lost = () => { stream.close(); this.taken(); };
      stream.addEventListener("open", () => this.wake());
      stream.addEventListener("taken", lost);
      // A server that ends comes back, perhaps; one that refuses does not change its mind.
      stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) lost(); });
    }

    at(position) {
      const query = position === undefined ? "" : `?position=${position}`;
      return this.untilAnswered(() => fetch(`api/at${query}`));
    }

    answer(answer) { return this.inTurn("answer", answer); }

    close(words) { return this.inTurn("close", words); }

    inTurn(what, data) {
      this.waiting += 1;
      this.shown("saving");
      const sent = this.chain.then(() => this.post(what, data)).finally(() => { this.waiting -= 1; });
      this.chain = sent.catch(() => {});
      return sent.then((answer) => { if (!this.waiting) this.shown("saved"); return answer; });
    }

    post(what, data) {
      const body = JSON.stringify({ ...data, tab: this.tab });
      const headers = { "Content-Type": "application/json" };
      return this.untilAnswered(() => fetch(`api/${what}`, { method: "POST", headers, body }));
    }

    async untilAnswered(ask) {
      for (;;) {
        let response = null;
        try { response = await ask(); } catch { /* it is gone */ }
        if (response && response.status < 500) {
          const answer = await response.json().catch(() => ({ error: response.statusText }));
          if (response.ok) return answer;
          if (response.status === 409) throw new Elsewhere();
          throw new Refused(answer.error);
        }
        this.shown("lost");
        await new Promise((go) => { this.wake = go; setTimeout(go, RETRY_MS); });
      }
    }

    clip(name) { return `clips/${name}`; }
  }

  window.interbenchKeepers = { ServerKeeper, Refused, Elsewhere };
})();
