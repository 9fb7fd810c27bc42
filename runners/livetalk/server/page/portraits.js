/* Who is to be seen: one of the drawn portraits, a picture of the user's, or whoever the server shows by itself. */

import { element } from "./dom.js";
import { PERSONAS, portrait } from "./personas.js";

const MAX_SIDE = 1536; // far more than any video has, far less than a photograph
const UNREADABLE = "This file is not a picture that your browser can read. Choose a JPEG, PNG or WebP.";

export class Portraits {
  /**
   * @param fieldset with radio buttons named `portrait`: "" for the server's own, "upload" for the user's, else addresses.
   * @param on callbacks: `choosing()` at once when another picture is wanted; then `shown(canvas)`, with null for the
   *   server's own, or `failed(words)`.
   */
  constructor(fieldset, on) {
    this.fieldset = fieldset;
    this.on = on;
    fieldset.querySelector(".tiles").prepend(...PERSONAS.map((persona, place) => tile(persona, place === 0)));
    this.own = fieldset.querySelector("input[value=upload]");
    this.chosen = { blob: null, canvas: null };
    this.ready = Promise.resolve(); // that the chosen picture is at hand
    const file = fieldset.querySelector("input[type=file]");
    fieldset.addEventListener("change", ({ target }) => {
      if (target !== file) this.#choose(this.#read(this.value));
      else if (file.files.length > 0) this.upload(file.files[0]);
    });
    // So that the same file can be chosen again.
    file.addEventListener("click", () => (file.value = ""));
  }

  get value() {
    return this.fieldset.querySelector("input[name=portrait]:checked").value;
  }

  /** Choose what was chosen in an earlier visit; an uploaded picture is not kept. */
  restore(value) {
    const inputs = [...this.fieldset.querySelectorAll("input[name=portrait]")];
    const known = inputs.find((input) => input !== this.own && input.value === value);
    if (known) known.checked = true;
    this.#bringIntoView();
    this.#choose(this.#read(this.value));
  }

  /** Take a file of the user's. */
  upload(file) {
    this.#choose(
      redraw(file).then((picture) => {
        this.uploaded = picture;
        const thumbnail = this.own.nextElementSibling;
        URL.revokeObjectURL(thumbnail.src);
        thumbnail.src = URL.createObjectURL(picture.blob);
        this.own.closest("label").hidden = false;
        this.own.checked = true;
        this.#bringIntoView();
        return picture;
      }),
    );
  }

  /** Phones show the tiles as a strip, which the chosen one may have left. */
  #bringIntoView() {
    const chosen = this.fieldset.querySelector("input[name=portrait]:checked").closest("label");
    chosen.scrollIntoView({ block: "nearest", inline: "center" });
  }

  async #read(value) {
    if (value === "") return { blob: null, canvas: null };
    if (value === "upload") return this.uploaded;
    const response = await fetch(value).catch(() => null);
    if (!response?.ok) throw new Error("The portrait could not be loaded. Choose it again.");
    return redraw(await response.blob());
  }

  /** The latest choice holds, whichever picture is at hand first. */
  #choose(picture) {
    this.on.choosing();
    const ready = picture.then(
      (chosen) => {
        if (this.ready !== ready) return;
        this.chosen = chosen;
        this.on.shown(chosen.canvas);
      },
      (error) => {
        if (this.ready === ready) this.on.failed(error.message);
      },
    );
    this.ready = ready;
  }
}

function tile(persona, checked) {
  const address = portrait(persona);
  return element(
    "label",
    {},
    element("input", { type: "radio", name: "portrait", value: address, checked: checked && "" }),
    element("img", { src: address, alt: `${persona.name}, ${persona.look}`, draggable: "false" }),
    element("span", { class: "caption", "aria-hidden": "true", text: persona.name }),
  );
}

/**
 * A picture is drawn anew before it is sent: upright, of a sensible size, in a format that every server reads, and without
 * what a camera writes into its files.
 */
async function redraw(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch (error) {
    throw new Error(UNREADABLE, { cause: error });
  }
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  if (!blob) throw new Error(UNREADABLE);
  return { blob, canvas };
}
