// Keeps answers in the browser, for a pack that is opened from a folder, and saves them as a file.
"use strict";

(() => {
  const { Elsewhere } = window.interbenchKeepers;
  const WHOLE = "";

  function promised(request) {
    return new Promise((good, bad) => {
      request.onsuccess = () => good(request.result);
      request.onerror = () => bad(request.error);
    });
  }

  class PackKeeper {
    constructor(shown, pack) {
      this.shown = shown;
      this.pack = pack;
      this.taken = () => {};
      this.answers = [];
      this.closing = null;
    }

    async enter() {
      const { study, rater } = this.pack.study;
      await this.alone(`interbench-${study}-${rater}`);
      const opening = indexedDB.open(`interbench-${study}-${rater}`, 1);
      opening.onupgradeneeded = () => {
        opening.result.createObjectStore("answers", { keyPath: ["showing", "dimension", "revision"] });
        opening.result.createObjectStore("closing");
      };
      this.db = await promised(opening);
      const reading = this.db.transaction(["answers", "closing"]);
      this.answers = await promised(reading.objectStore("answers").getAll());
      this.closing = (await promised(reading.objectStore("closing").get("closing"))) || null;
      return this.pack.study;
    }

    // Whoever opened it first holds a lock until the tab ends.
    alone(name) {
      if (!navigator.locks) return Promise.resolve();
      return new Promise((good, bad) => {
        navigator.locks.request(name, { ifAvailable: true }, (lock) => {
          if (!lock) { bad(new Elsewhere()); return undefined; }
          good();
          return new Promise(() => {});
        }).catch(() => good()); // some browsers know no locks for files
      });
    }

    reached() {
      const done = new Set(this.answers.filter((a) => a.dimension === WHOLE).map((a) => a.showing));
      const place = this.pack.showings.findIndex((showing) => !done.has(showing.id));
      return place < 0 ? this.pack.showings.length : place;
    }

    async at(position) {
      const reached = this.reached();
      const place = Math.min(position === undefined ? reached : position, reached);
      const showing = this.pack.showings[place] || null;
      const answers = { given: {}, revision: 0, done: false, played: 0, seconds: 0 };
      const own = this.answers.filter((a) => showing && a.showing === showing.id);
      for (const answer of own.sort((a, b) => a.revision - b.revision)) {
        if (answer.dimension === WHOLE) answers.done = true;
        else answers.given[answer.dimension] = answer.choice ?? answer.value;
        answers.revision = Math.max(answers.revision, answer.revision);
        answers.played = Math.max(answers.played, answer.played);
        answers.seconds = Math.max(answers.seconds, answer.seconds);
      }
      return { position: place, reached, showing, answers };
    }

    async answer(answer) {
      const kept = { ...answer, at: new Date().toISOString() };
      await this.put("answers", kept);
      this.answers.push(kept);
    }

    async close(words) {
      await this.put("closing", words, "closing");
      this.closing = words;
    }

    async put(store, value, key) {
      this.shown("saving");
      const writing = this.db.transaction(store, "readwrite", { durability: "strict" });
      writing.objectStore(store).put(value, key);
      await new Promise((good, bad) => { writing.oncomplete = good; writing.onerror = () => bad(writing.error); });
      this.shown("kept");
    }

    file() {
      const { study, rater, catalogue } = this.pack.study;
      const held = { schema: "interbench.ratings/1", study, catalogue, rater, answers: this.answers, closing: this.closing };
      return { name: `ratings-${study.slice(0, 6)}-${rater}.json`, text: JSON.stringify(held, null, 1) };
    }

    save() {
      const { name, text } = this.file();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    }

    clip(name) { return `clips/${name}`; }
  }

  window.interbenchKeepers.PackKeeper = PackKeeper;
})();
