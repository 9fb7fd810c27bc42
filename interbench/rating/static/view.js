// Builds what is on the page. Text from scenarios and systems is set as text, never as markup.
"use strict";

(() => {
  const CHOICES = [["left", "A"], ["right", "B"], ["tie", "Tie"], ["both_bad", "Both bad"]];

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") made.className = value;
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== ""));
    return made;
  }

  function rubric(question) {
    const parts = question.paragraphs.map(({ text, points }) => {
      if (!points.length) return element("p", {}, text);
      return element("div", {}, text ? element("p", {}, text) : "", element("ul", {}, ...points.map((p) => element("li", {}, p))));
    });
    return element("div", { class: "rubric" }, ...parts);
  }

  // A row of radio buttons for one question; `chosen` is told what was picked.
  function row(question, pair, chosen) {
    const values = pair ? CHOICES : Array.from({ length: question.high - question.low + 1 }, (_, n) => {
      const value = question.low + n;
      return [value, String(value)];
    });
    const answers = values.map(([value, text]) => {
      const input = element("input", { type: "radio", name: `q-${question.key}`, value: String(value) });
      input.addEventListener("change", () => chosen(value));
      return element("label", {}, input, element("span", {}, text));
    });
    const grid = element("div", { class: pair ? "answers choices" : "answers" }, ...answers);
    grid.style.setProperty("--count", String(values.length));
    const lead = pair ? `${question.name}: which is better?` : question.name;
    return element(
      "fieldset", { class: "row", "data-key": question.key, disabled: true },
      element("legend", {}, lead),
      element("p", { class: "short" }, question.short),
      grid,
      pair ? "" : element("div", { class: "ends", "aria-hidden": "true" }, element("span", {}, "worst"), element("span", {}, "best")),
      rubric(question),
    );
  }

  function keys(pair, high) {
    const rate = pair
      ? [["A B", "the first, or the second, is better"], ["T", "tie"], ["N", "both are bad"]]
      : [[`1 … 9${high > 9 ? " 0" : ""}`, high > 9 ? "rate; 0 is 10" : "rate"]];
    const all = [
      ["Space", "play, pause, play the next turn"], ["← →", "turn before, turn after"], ...rate,
      ["Tab ↑ ↓", "another question"], ["Enter", "next conversation"], ["U", "back to the one before"],
      ["S", "skip, with a reason"], ["?", "these keys"],
    ];
    const rows = all.map(([names, what]) => {
      const caps = names.split(" ").flatMap((name, n) => (n ? [" ", element("kbd", {}, name)] : [element("kbd", {}, name)]));
      return element("tr", {}, element("th", { scope: "row" }, ...caps), element("td", {}, what));
    });
    return element("table", { class: "keys" }, element("tbody", {}, ...rows));
  }

  window.interbenchView = { element, row, keys };
})();
