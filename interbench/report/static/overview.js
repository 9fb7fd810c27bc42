// The controls of the results page: what is shown of which systems, on which scale, in which order. Without scripts the
// page shows everything, in the order of the plan.
"use strict";

(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  /* Systems shown and hidden, in all tables and plots */

  const off = new Set();
  const chips = all("#chips [data-toggle]");
  const pairsWith = one("#pairs-with");

  function showSystems() {
    for (const node of all("[data-slot]")) node.classList.toggle("hidden", off.has(node.dataset.slot));
    for (const row of all("tr[data-a]")) {
      const pair = [row.dataset.a, row.dataset.b];
      const wanted = !row.closest("#pairs-card") || !pairsWith?.value || pair.includes(pairsWith.value);
      row.classList.toggle("hidden", !wanted || pair.some((slot) => off.has(slot)));
    }
    for (const chip of chips) {
      const shown = !off.has(chip.dataset.toggle);
      chip.setAttribute("aria-pressed", String(shown));
      // The last one stays: a page without any system says nothing.
      chip.disabled = shown && off.size === chips.length - 1;
    }
    const everything = one("#all-systems");
    if (everything) everything.disabled = off.size === 0;
  }

  for (const chip of chips) {
    chip.addEventListener("click", () => {
      if (!off.delete(chip.dataset.toggle)) off.add(chip.dataset.toggle);
      showSystems();
    });
  }
  one("#all-systems")?.addEventListener("click", () => {
    off.clear();
    showSystems();
    chips[0].focus();
  });
  pairsWith?.addEventListener("change", showSystems);

  /* Percentiles or raw means */

  const scales = all("[data-scale]", one(".switch") ?? document.createElement("p"));

  function showScale(scale) {
    document.body.classList.toggle("raw-means", scale === "raw");
    for (const button of scales) button.setAttribute("aria-pressed", String(button.dataset.scale === scale));
    for (const table of all("table[data-sortable]")) sortAgain(table);
  }

  for (const button of scales) button.addEventListener("click", () => showScale(button.dataset.scale));

  /* What the tables by kind of scenario show */

  for (const choice of all("[data-kinds]")) {
    choice.addEventListener("change", () => {
      const table = one(`#kinds-${choice.dataset.kinds}`);
      table.dataset.shown = choice.value;
      for (const figure of all("[data-of]", table)) figure.classList.toggle("hidden", figure.dataset.of !== choice.value);
      sortAgain(table);
    });
  }

  /* Order of rows */

  const headings = (table) => all("th[data-sort]", table.tHead);
  const planned = new Map();
  const order = new Map();

  /** The number or text that a row is sorted by, or null where it is missing. */
  function keyOf(table, row, place, kind) {
    const cell = row.cells[place];
    if (kind === "text") return cell.textContent.trim();
    const shown = table.dataset.shown ? cell.querySelector(`[data-of="${table.dataset.shown}"]`) ?? cell : cell;
    const raw = document.body.classList.contains("raw-means") && (shown.dataset.raw !== undefined || shown !== cell);
    const value = raw ? shown.dataset.raw : shown.dataset.value;
    return value === undefined ? null : Number(value);
  }

  function sort(table, place, descending) {
    const heads = headings(table);
    order.set(table, { place, descending });
    heads.forEach((head, at) => head.setAttribute("aria-sort", at !== place ? "none" : descending ? "descending" : "ascending"));
    const body = table.tBodies[0];
    const rows = planned.get(table);
    if (place === null) {
      body.append(...rows);
      return;
    }
    const kind = heads[place].dataset.sort;
    const keyed = rows.map((row) => ({ row, key: keyOf(table, row, place, kind) }));
    const sign = descending ? -1 : 1;
    keyed.sort((a, b) => {
      // What is missing comes last, whichever way.
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * (kind === "text" ? a.key.localeCompare(b.key, "en") : a.key - b.key);
    });
    body.append(...keyed.map(({ row }) => row));
  }

  function sortAgain(table) {
    const now = order.get(table);
    if (now) sort(table, now.place, now.descending);
  }

  for (const table of all("table[data-sortable]")) {
    planned.set(table, [...table.tBodies[0].rows]);
    headings(table).forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const now = order.get(table);
        const again = now?.place === place;
        sort(table, place, again ? !now.descending : head.dataset.sort === "higher");
      });
    });
  }

  const sortBy = one("#sort-by");
  sortBy?.addEventListener("change", () => {
    const table = one("#result-table");
    const place = sortBy.value === "" ? null : Number(sortBy.value);
    sort(table, place, place !== null && headings(table)[place].dataset.sort === "higher");
  });

  for (const node of all(".needs-script, #chips")) node.classList.remove("hidden");

  /* What is jumped to, or focused, does not end up behind the bar and the chips, however many lines these take */

  const stuck = all(".bar, #chips");

  function padTop() {
    const held = stuck.filter((node) => getComputedStyle(node).position === "sticky");
    const covered = held.reduce((sum, node) => sum + node.getBoundingClientRect().height, 0);
    document.documentElement.style.scrollPaddingTop = `${Math.ceil(covered) + 12}px`;
  }

  const watcher = new ResizeObserver(padTop);
  for (const node of stuck) watcher.observe(node);
  padTop();
  // The browser may have gone to the address's fragment before the chips were there.
  one(":target")?.scrollIntoView();
})();
