/* The page: joins the server, the conversation, the microphone and what is seen. */

import { Api } from "./api.js";
import { Dialogue } from "./dialogue.js";
import { element, find, icon } from "./dom.js";
import { Link } from "./link.js";
import { Notices } from "./notices.js";
import { personaOf, suitingVoice } from "./personas.js";
import { Player } from "./player.js";
import { Portraits } from "./portraits.js";
import { fileName, keepFile, timingsCsv, timingsJson, transcriptText } from "./save.js";
import { askForToken, keep, kept, openSave, openSettings, settingsFields } from "./settings.js";
import { encodeWav, RATE } from "./sound.js";
import { Talk } from "./talk.js";
import { Transcript } from "./transcript.js";
import { hint, render, renderFigures } from "./view.js";
import { hearButton, Voices } from "./voices.js";

const INTERRUPTED_MS = 2_000; // that the interruption is spoken of

const notices = new Notices(find("#notices"));
const api = new Api(askForToken);
const link = new Link(api, notices);
const player = new Player(find("#video"), find("#still"), () => (find("#play").hidden = false));
const portraits = new Portraits(find("#portraits"), {
  choosing: () => dialogue.close(), // at most it was opened in advance, with another picture
  shown: (canvas) => {
    notices.hide("portrait");
    keep("portrait", portraits.value);
    showWho();
    if (dialogue.turns.length === 0) showPortrait(canvas);
  },
  failed: (text) => tell("portrait", "No picture", text),
});
const dialogue = new Dialogue(api, player, async () => {
  await Promise.all([portraits.ready, voices.asked]);
  return settingsFields(portraits.chosen.blob, portraitsVoice());
});
const voices = new Voices(api, find("#voices"), find("#voice"), find("#suit"), {
  known: () => showWho(),
  failed: (text) => tell("voice", "The voice could not be heard", text),
});
const transcript = new Transcript(find("#transcript"), {
  retry: (turn) => {
    if (!link.ready) return;
    dialogue.retry(turn);
    if (!dialogue.turns.includes(turn)) transcript.remove(turn);
  },
  save: (turn) => keepFile(turn.clip, "", fileName(new Date(), `answer-${dialogue.turns.indexOf(turn) + 1}.mp4`)),
});
const talk = new Talk(
  {
    // An answer that is being given ends when the user begins to speak, not when all is said.
    begins: () => {
      dialogue.interrupt();
      dialogue.prepare();
    },
    said: (samples) => say({ wav: encodeWav(samples), seconds: samples.length / RATE }),
    changed: update,
    hint,
    failed: (error) => (error ? tell("microphone", "No microphone", error.message) : notices.hide("microphone")),
  },
  {
    answering: () => dialogue.current?.phase === "speaking",
    usable: () => link.ready,
    limitS: () => dialogue.conversation?.max_turn_audio_s,
  },
);
let interruptedAt = -Infinity;
let shownQueue = null;
let mostCharacters = Infinity; // in a turn; not known before a conversation is open

function say(message) {
  for (const key of ["back", "microphone"]) notices.hide(key);
  dialogue.say(message);
}

function sendText() {
  const field = find("#text");
  const text = field.value.trim();
  if (!text || !link.ready || tooLong()) return;
  field.value = "";
  fitText();
  say({ text });
}

function startOver() {
  dialogue.close();
  dialogue.turns = [];
  transcript.clear();
  for (const key of ["turn", "back", "saved"]) notices.hide(key);
  showPortrait(portraits.chosen.canvas);
  update();
  find("#text").focus();
}

/** Fields with the voice that goes with the portrait; null where the server has none. */
function portraitsVoice() {
  const persona = personaOf(portraits.value);
  return persona ? suitingVoice(persona, voices.all, link.health?.voice_fields ?? []) : null;
}

/** Say who was chosen, and with which voice they will speak. */
function showWho() {
  voices.stop();
  const persona = personaOf(portraits.value);
  const suiting = kept("suit") === "no" ? null : portraitsVoice();
  const chosen = kept("voice");
  const line = find("#who");
  line.hidden = !persona;
  if (!persona) return;
  line.replaceChildren(element("span", {}, element("b", { text: persona.name }), `: ${persona.sound}`));
  if (chosen) line.firstChild.append(`. Speaks with ${chosen}, as the settings say`);
  else if (!suiting) line.firstChild.append(". Speaks with the server's own voice");
  else if (suiting.voice !== persona.voice) line.firstChild.append(`. Speaks with ${suiting.voice}`);
  const { voice, ...manner } = chosen ? { voice: chosen } : (suiting ?? {});
  if (voice) line.prepend(hearButton(`Hear the voice of ${persona.name}`, (button) => voices.hear(voice, button, manner)));
}

async function changeSettings() {
  const opened = openSettings();
  voices.load();
  voices.mark();
  const changed = await opened;
  voices.stop();
  if (!changed) return;
  showWho();
  if (dialogue.turns.length === 0) dialogue.close(); // at most it was opened in advance
  else tell("saved", "Saved", "This conversation keeps what it began with.", [["New conversation", startOver]]);
}

/** Keep what the user picks of the conversation. */
async function save() {
  const what = await openSave();
  const at = new Date();
  const { turns } = dialogue;
  if (what === "transcript") {
    keepFile(transcriptText(turns, link.health, at), "text/plain;charset=utf-8", fileName(at, "transcript.txt"));
  } else if (what === "csv") keepFile(timingsCsv(turns), "text/csv", fileName(at, "timings.csv"));
  else if (what === "json") keepFile(timingsJson(turns, link.health), "application/json", fileName(at, "timings.json"));
}

function showPortrait(canvas) {
  find("#nobody").toggleAttribute("hidden", canvas !== null); // no property of drawings
  const { width = 512, height = 512 } = link.health?.video ?? {};
  if (canvas) player.showPicture(canvas, width, height);
  else player.clear();
}

/** A card that the user can put away; without further actions it tells of something that went wrong. */
function tell(key, title, text, actions = []) {
  const close = ["Close", () => notices.hide(key)];
  notices.show(key, { title, text, bad: actions.length === 0, actions: [...actions, close] });
}

function fitText() {
  const field = find("#text");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, 160)}px`;
  const length = characters();
  field.setAttribute("aria-invalid", tooLong());
  if (length > 0.9 * mostCharacters) hint(`${tooLong() ? "Too long: " : ""}${length} of ${mostCharacters} characters`);
  else if (find("#hint").textContent.endsWith("characters")) hint("");
}

/** As the server counts them. */
const characters = () => [...find("#text").value.trim()].length;
const tooLong = () => characters() > mostCharacters;

function stateNow() {
  if (!link.ready) return link.state;
  if (talk.listening) return "listening";
  const turn = dialogue.current;
  if (turn?.phase === "speaking") return turn.playback.stalledAt ? "late" : "speaking";
  if (turn) return turn.phase;
  if (performance.now() - interruptedAt < INTERRUPTED_MS) return "interrupted";
  return talk.free ? "free" : "ready";
}

function update() {
  render(stateNow(), link.health, dialogue.turns, talk.free);
}

function showQueue() {
  const queued = dialogue.current?.queued ?? null;
  if (queued === shownQueue) return;
  shownQueue = queued;
  notices.hide("turn");
  if (!queued) return;
  link.check(); // how many conversations there are now
  const { error, until, go } = queued;
  const title = error.code === "full" ? "All places are taken" : "The server is not ready yet";
  const actions = [["Try now", go], ["Stop waiting", () => dialogue.interrupt()]];
  notices.show("turn", { title, text: error.message, until, actions });
}

dialogue.addEventListener("change", ({ detail: turn }) => {
  if (!dialogue.turns.includes(turn)) return; // of a conversation that was put away
  transcript.show(turn);
  showQueue();
  update();
});
dialogue.addEventListener("opened", () => {
  mostCharacters = dialogue.conversation?.max_text_chars ?? mostCharacters;
  fitText();
  link.check(); // there is one conversation more
});
dialogue.addEventListener("lost", () => link.lost());
dialogue.addEventListener("cut", () => {
  interruptedAt = performance.now();
  setTimeout(update, INTERRUPTED_MS + 50);
});
link.addEventListener("change", () => {
  if (link.health?.video) {
    const { width, height, fps, mime } = link.health.video;
    find("#stage").style.setProperty("--shape", `${width} / ${height}`);
    dialogue.mime = mime;
    transcript.fps = fps;
    if (link.ready) voices.load();
  }
  update();
});
link.addEventListener("back", async () => {
  if (dialogue.turns.length === 0) return;
  const there = await dialogue.survives().catch(() => true); // if not, the next turn will tell
  const text = there
    ? "The conversation goes on where it was."
    : "The server no longer has this conversation. What you say next begins a new one, which remembers nothing of it.";
  notices.show("back", { title: "Connected again", text, actions: [["Close", () => notices.hide("back")]] });
});

find("#composer").addEventListener("submit", (event) => {
  event.preventDefault();
  sendText();
});
find("#text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  sendText();
});
find("#text").addEventListener("input", () => {
  fitText();
  if (link.ready && find("#text").value.trim()) dialogue.prepare();
});
for (const opener of find("#openers").children) {
  opener.addEventListener("click", () => say({ text: opener.textContent }));
}
addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (!talk.discard()) dialogue.interrupt();
});
find("#stop").addEventListener("click", () => dialogue.interrupt());
find("#new").addEventListener("click", startOver);
find("#save-open").addEventListener("click", save);
find("#settings-open").addEventListener("click", changeSettings);
find("#figure-more").addEventListener("click", ({ currentTarget: button }) => {
  button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") !== "true"));
});
find("#play").addEventListener("click", () => {
  find("#play").hidden = true;
  player.resume();
});
find("#mute").addEventListener("click", ({ currentTarget: button }) => {
  player.video.muted = !player.video.muted;
  button.setAttribute("aria-pressed", String(player.video.muted));
  button.replaceChildren(icon(player.video.muted ? "muted" : "sound"));
});
// After the playback's own listeners, which take note of the wait.
for (const name of ["waiting", "playing"]) player.video.addEventListener(name, () => queueMicrotask(update));

const stage = find("#stage");
stage.addEventListener("dragover", (event) => {
  event.preventDefault(); // or the browser would leave the page for the file
  stage.classList.toggle("drop", dialogue.turns.length === 0);
});
stage.addEventListener("dragleave", () => stage.classList.remove("drop"));
stage.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("drop");
  const [file] = event.dataTransfer.files;
  if (file && dialogue.turns.length === 0) portraits.upload(file);
});

addEventListener("pagehide", () => {
  dialogue.close();
  talk.close();
});
setInterval(() => dialogue.current && renderFigures(dialogue.turns, transcript.fps), 100);

portraits.restore(kept("portrait"));
update();
link.connect();
