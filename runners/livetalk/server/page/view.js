/* What is seen beside the transcript: the state, the stage's cues, the figures. */

import { element, find } from "./dom.js";
import { figures, median, parts, seconds, verdicts } from "./timings.js";

const STATES = {
  connecting: "Connecting",
  offline: "No connection",
  loading: "Loading the models",
  failed: "Server failed to start",
  ready: "Ready",
  free: "Ready, speak any time",
  listening: "Listening",
  opening: "Opening",
  queued: "In the queue",
  thinking: "Thinking",
  speaking: "Speaking",
  late: "Waiting for frames",
  interrupted: "Interrupted",
};

/**
 * @param state a key of STATES.
 * @param health of the server, or null.
 * @param turns of the conversation, oldest first.
 * @param free whether the microphone listens by itself.
 */
export function render(state, health, turns, free) {
  const turn = turns.at(-1);
  const running = Boolean(turn?.running);
  const begun = turns.length > 0;
  const usable = !["connecting", "offline", "loading", "failed"].includes(state);
  document.body.dataset.state = state;
  document.body.classList.toggle("begun", begun);
  setText("#state", STATES[state] ?? state);
  setText("#server", health ? serverLine(health) : "");
  find("#random").hidden = !health?.random_weights;
  find("#small").hidden = health?.size !== "mini" || health.random_weights !== false;
  find("#welcome").hidden = begun;
  find("#portraits").hidden = begun;
  find("#figures").hidden = !begun;
  find("#new").disabled = find("#save-open").disabled = !begun;
  find("#send").disabled = find("#free").disabled = !usable;
  find("#mic").disabled = !usable || free;
  find("#mic").setAttribute("aria-pressed", String(state === "listening"));
  for (const opener of find("#openers").children) opener.disabled = !usable;
  find("#stop").hidden = !running;
  setText("#stop-text", turn?.phase === "queued" ? "Stop waiting" : "Stop");
  if (!running) find("#play").hidden = true;
  renderFigures(turns, health?.video?.fps);
}

/** To be called often while an answer is awaited: shows the seconds go by. */
export function renderFigures(turns, fps) {
  const turn = turns.at(-1);
  const { state } = document.body.dataset;
  const cue = { thinking: `Thinking ${seconds(turn?.waitedS)}`, late: STATES.late }[state] ?? "";
  find("#cue").hidden = !cue;
  setText("#cue", cue);
  if (!turn) return;
  for (const [name, value] of Object.entries(figures(turn, fps))) setText(`#figure-${name}`, value);
  for (const [name, good] of Object.entries(verdicts(turn))) {
    const { classList } = find(`#figure-${name}`).parentElement;
    classList.toggle("good", good === true);
    classList.toggle("poor", good === false);
  }
  if (fps) setText("#goal-rate", String(fps));
  renderParts(parts(turn.record?.timings, turn.firstFrameS));
  const all = turns.map(({ firstFrameS }) => firstFrameS).filter((s) => s !== null);
  const words = `Median time to the first frame of ${all.length} answers: ${seconds(median(all))}`;
  setText("#median", all.length > 1 ? words : "");
}

/** The parts as a bar, each as long as its share. */
export function drawBar(bar, found) {
  const total = found.reduce((sum, part) => sum + part.seconds, 0);
  bar.replaceChildren(
    ...found.map(({ key, seconds: s }) => {
      const piece = element("i", { class: key });
      piece.style.flexGrow = total > 0 ? s / total : 1;
      return piece;
    }),
  );
}

export function hint(words) {
  setText("#hint", words);
  find("#keys").hidden = words !== "";
}

function renderParts(found) {
  const bar = find("#figure-bar");
  const shown = found.map(({ key, seconds: s }) => key + s).join();
  if (bar.dataset.shown === shown) return;
  bar.dataset.shown = shown;
  drawBar(bar, found);
  find("#figure-key").replaceChildren(
    ...found.map(({ key, label, seconds: s }) =>
      element("li", { class: `part ${key}` }, element("span", { text: label }), element("b", { text: seconds(s) })),
    ),
  );
}

function serverLine({ size, thinker, device, sessions, capacity }) {
  return [size, thinker, device, `${sessions} of ${capacity} places taken`].join(" · ");
}

/** Only what has changed is touched: the state is read out whenever it is written. */
function setText(selector, text) {
  const node = find(selector);
  if (node.textContent !== text) node.textContent = text;
}
