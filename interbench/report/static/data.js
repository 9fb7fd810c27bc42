// The data of the viewer. Pages from disk may not fetch, so each part comes as a script that calls `receive` with JSON text.
"use strict";

(() => {
  const parts = new Map();
  const waiting = new Map();
  const NAME = /^(index|scenario-\d{4,})$/;
  const policy = window.trustedTypes?.createPolicy("interbench-data", { createScriptURL: (url) => url });

  /** Called by the data scripts. */
  interbench.receive = (name, text) => {
    parts.set(name, JSON.parse(text));
    waiting.get(name)?.resolve(parts.get(name));
    waiting.delete(name);
  };

  /** The part called `name`, loaded once. */
  interbench.load = (name) => {
    if (!NAME.test(name)) return Promise.reject(new Error("The report has no such part."));
    if (parts.has(name)) return Promise.resolve(parts.get(name));
    if (waiting.has(name)) return waiting.get(name).promise;
    const entry = {};
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    waiting.set(name, entry);
    const url = `data/${name}.js`;
    const script = document.createElement("script");
    script.src = policy ? policy.createScriptURL(url) : url;
    script.addEventListener("error", () => {
      waiting.delete(name);
      entry.reject(new Error(`The file ${url} of this report is missing or can't be read.`));
    });
    document.head.append(script);
    return entry.promise;
  };
})();
