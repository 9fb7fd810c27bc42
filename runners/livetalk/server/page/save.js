/* What can be kept of a conversation: clips, the transcript, the timings. All of it is in the browser already. */

import { seconds } from "./timings.js";
import { endingOf, heardOf, saidBy } from "./transcript.js";

const COLUMNS = [
  ["turn", (_, number) => number],
  ["conversation", ({ id }) => id],
  ["number_there", ({ index }) => index],
  ["outcome", ({ record }) => record?.outcome],
  ["first_frame_here_s", ({ firstFrameS }) => firstFrameS],
  ...["thinker_first_text_s", "thinker_first_sound_s", "first_window_s", "first_block_s", "first_fragment_s", "finished_s"].map(
    (name) => [name, ({ record }) => record?.timings[name]],
  ),
  ...["frames", "video_s", "underruns", "underrun_s", "real_time_factor"].map((name) => [name, ({ record }) => record?.[name]]),
  ["waits_here", ({ playback }) => playback?.stalls],
  ["waits_here_s", ({ playback }) => playback?.stalledS],
  ["interrupted_at_s", ({ cutAtS }) => cutAtS],
];

/**
 * The conversation as text.
 *
 * @param turns oldest first.
 * @param health of the server, or null.
 * @param at when it is kept, a Date.
 */
export function transcriptText(turns, health, at) {
  const server = health ? `\nServer: ${[health.size, health.thinker, health.device].join(", ")}` : "";
  const lines = [`Conversation with LiveTalk, kept on ${at.toLocaleString("sv")}${server}\n`];
  turns.forEach((turn, before) => {
    if (before > 0 && turn.id && turns[before - 1].id && turn.id !== turns[before - 1].id) {
      lines.push("--- A new conversation, without memory of the above ---\n");
    }
    const answer = String(turn.record?.text ?? "");
    const heard = heardOf(turn);
    const unheard = answer.slice(heard.length).trim();
    lines.push(`You: ${saidBy(turn) || "(spoken; nobody wrote down the words)"}`);
    if (heard.trim()) lines.push(`Avatar: ${heard.trim()}`);
    if (unheard) lines.push(`(not heard: ${unheard})`);
    const notes = [endingOf(turn), turn.firstFrameS === null ? "" : `first frame after ${seconds(turn.firstFrameS)}`];
    if (notes.some(Boolean)) lines.push(`(${notes.filter(Boolean).join("; ")})`);
    lines.push("");
  });
  return lines.join("\n");
}

/** A line per turn, times in seconds; empty where something has not happened. */
export function timingsCsv(turns) {
  const rows = turns.map((turn, before) => COLUMNS.map(([, value]) => cell(rounded(value(turn, before + 1)))));
  return [COLUMNS.map(([name]) => name), ...rows].map((row) => row.join(",") + "\r\n").join("");
}

/** The same, with what the server says of itself; null where something has not happened. */
export function timingsJson(turns, health) {
  const rows = turns.map((turn, before) =>
    Object.fromEntries(COLUMNS.map(([name, value]) => [name, rounded(value(turn, before + 1)) ?? null])),
  );
  return JSON.stringify({ server: health, turns: rows }, null, 1);
}

/** Hand a file to the browser, which asks or keeps it as it does with all downloads. */
export function keepFile(content, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it only after a question of theirs
}

/** `livetalk-2026-11-30-09-05-…`: made of numbers of ours alone. */
export function fileName(at, rest) {
  return `livetalk-${at.toLocaleString("sv").slice(0, 16).replace(/\D/g, "-")}-${rest}`;
}

/** To a tenth of a millisecond: what lies below is noise of the clocks. */
const rounded = (value) => (typeof value === "number" ? Number(value.toFixed(4)) : value);

/** Numbers and words that need no quotes stay as they are; a word that a spreadsheet would calculate does not. */
function cell(value) {
  const text = String(value ?? "");
  return typeof value === "string" && /[",\r\n]|^[=+@-]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}
