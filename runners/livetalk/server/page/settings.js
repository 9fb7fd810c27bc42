/* What a conversation is opened with, kept from visit to visit. */

import { find } from "./dom.js";

const KEY = "livetalk-settings";
const FIELDS = ["persona", "prompt", "voice", "seed"];
const NAMES = [...FIELDS, "suit"]; // "no" where no voice is to be chosen for the portrait

const values = read();

// No submit buttons, or the return key would press the first of them.
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close(""));
}

/** A string, or undefined if nothing was ever kept under this name. A browser that stores nothing forgets it with the page. */
export const kept = (name) => values[name];

export function keep(name, value) {
  values[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify(values));
  } catch {}
}

/** Let the user change them; resolves to whether anything did change. */
export async function openSettings() {
  for (const name of NAMES) find(`#${name}`).value = kept(name) ?? "";
  if ((await answered(find("#settings"))) !== "save") return false;
  const changed = NAMES.filter((name) => find(`#${name}`).value.trim() !== (kept(name) ?? ""));
  for (const name of changed) keep(name, find(`#${name}`).value.trim());
  return changed.length > 0;
}

/** What of the conversation the user wants to keep: "transcript", "csv", "json", or empty. */
export const openSave = () => answered(find("#save"));

/**
 * @param picture the portrait as a blob, or null for the server's own.
 * @param suiting fields with the voice that suits it, where the user has chosen none; or null.
 */
export function settingsFields(picture, suiting) {
  const fields = new FormData();
  for (const name of FIELDS) if (kept(name)) fields.set(name, kept(name));
  if (suiting && !kept("voice") && kept("suit") !== "no") {
    for (const [name, value] of Object.entries(suiting)) fields.set(name, value);
  }
  if (picture) fields.set("image", picture, "portrait.jpg");
  return fields;
}

/** @param refused whether a token was given that is not the server's. @returns another one, or null. */
export async function askForToken(refused) {
  find("#token-note").textContent = refused
    ? "That was not this server's token. Whoever runs the server can give it to you."
    : "Whoever runs the server can give it to you. It is kept until you close this tab.";
  const answer = await answered(find("#token"));
  const token = find("#token-text").value.trim();
  find("#token-text").value = "";
  return answer === "use" && token ? token : null;
}

/** Which button closed the dialog; empty if it was the escape key. */
async function answered(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue;
}

function read() {
  try {
    return Object(JSON.parse(localStorage.getItem(KEY)));
  } catch {
    return {};
  }
}
