// What both pages share: the theme, and ways to build elements from text that nobody has to trust.
"use strict";

const interbench = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  /** An element. Children are elements or text; text never becomes markup. */
  function el(tag, properties = {}, ...children) {
    const [name, ...classes] = tag.split(".");
    const node = document.createElement(name);
    if (classes.length) node.className = classes.join(" ");
    for (const [key, value] of Object.entries(properties)) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }

  /** Colour and shape of the system at this place of the run. */
  function slot(index) {
    return { colour: `s${index % 8}`, shape: `#m${(index + Math.floor(index / 8)) % 8}` };
  }

  function svg(tag, attributes, ...children) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function mark(index) {
    const { colour, shape } = slot(index);
    return svg("svg", { class: `mark ${colour}`, viewBox: "-6 -6 12 12", "aria-hidden": "true" }, svg("use", { href: shape }));
  }

  /** Text of foreign origin, kept from reordering what stands beside it. */
  function quoted(text) {
    return el("bdi", { dir: "auto" }, visible(text));
  }

  /** A name that breaks after its marks of punctuation, where it must. */
  function named(text) {
    const pieces = visible(text).split(/(?<=[:/_@.-])(?=[^:/_@.-])/);
    return el("bdi", { dir: "auto" }, pieces.flatMap((piece, at) => (at ? [el("wbr"), piece] : [piece])));
  }

  /** Control characters would be invisible, so they are shown as replaced. */
  function visible(text) {
    return String(text).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, "\ufffd");
  }

  /** The address of a file of this report, or null for anything else. */
  function address(href) {
    const url = new URL(href, document.baseURI);
    return url.protocol === window.location.protocol && url.host === window.location.host ? url.href : null;
  }

  function remember(key, value) {
    try {
      localStorage.setItem(`interbench.${key}`, value);
    } catch {
      // Some browsers give pages from disk no storage; the choice then lasts as long as the page.
    }
  }

  function remembered(key) {
    try {
      return localStorage.getItem(`interbench.${key}`);
    } catch {
      return null;
    }
  }

  const THEMES = { "": "Theme: auto", light: "Theme: light", dark: "Theme: dark" };

  function applyTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    const button = document.querySelector("#theme");
    if (button) button.textContent = THEMES[theme];
  }

  function nextTheme() {
    const names = Object.keys(THEMES);
    const now = document.documentElement.dataset.theme ?? "";
    const next = names[(names.indexOf(now) + 1) % names.length];
    applyTheme(next);
    remember("theme", next);
  }

  const kept = remembered("theme");
  applyTheme(kept !== null && kept in THEMES ? kept : "");
  document.addEventListener("DOMContentLoaded", () => {
    applyTheme(document.documentElement.dataset.theme ?? "");
    document.querySelector("#theme")?.addEventListener("click", nextTheme);
  });

  return { el, svg, slot, mark, quoted, named, visible, address };
})();
