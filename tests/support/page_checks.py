"""What can be asked of any page: contrast and names of what is on it. JavaScript for ``page.evaluate``."""

from __future__ import annotations

CONTRAST = """() => {
  const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colors) => {
    for (const color of ["#fff", ...colors]) {
      paint.fillStyle = color;
      paint.fillRect(0, 0, 1, 1);
    }
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    const says = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const unusable = one.closest(":disabled, .unseen, .skip") || one.previousElementSibling?.matches(":disabled");
    if (!says || unusable || !one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const chain = [];
    for (let at = one; at; at = at.parentElement) chain.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(one);
    const [a, b] = [light(over(chain)), light(over([...chain, style.color]))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      poor.push(`${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
    }
  }
  return poor;
}"""
"""Visible texts whose contrast is below that of WCAG 2.2 AA. What can't be used has none to meet."""

NAMELESS = """() => {
  const named = (one) => {
    const ids = (one.getAttribute("aria-labelledby") || "").split(" ");
    const labels = ids.map((id) => document.getElementById(id)?.textContent || "").join("");
    return labels || one.getAttribute("aria-label") || one.labels?.[0]?.textContent
      || one.querySelector("legend")?.textContent || (one.tagName === "BUTTON" && one.textContent) || "";
  };
  const all = document.querySelectorAll("button, input, textarea, video, progress, [role=group], fieldset, dialog");
  return [...all].filter((one) => (one.checkVisibility() || one.closest("dialog")) && !named(one).trim())
    .map((one) => one.outerHTML.slice(0, 120));
}"""
"""Controls, groups and dialogs that a screen reader has no name for."""
