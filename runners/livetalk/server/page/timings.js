/* Where the time to the first frame went, and how fast the frames came. */

/** The server's parts in their order, each from the end of the one before; `ends` names the field of the turn's timings. */
const PARTS = [
  { key: "thinker", label: "Thinker's first sound", ends: "thinker_first_sound_s" },
  { key: "window", label: "Sound for one block", ends: "first_window_s" },
  { key: "render", label: "First block of frames", ends: "first_block_s" },
  { key: "encode", label: "First fragment", ends: "first_fragment_s" },
];
const DELIVERY = { key: "deliver", label: "Way to the screen" };

/**
 * @param timings of the server's turn, in seconds since the user's turn was complete.
 * @param firstFrameS the same, of the first picture on this screen; null if there was none.
 * @returns parts with `key`, `label` and `seconds`; what has not happened is left out.
 */
export function parts(timings, firstFrameS) {
  const found = [];
  let from = 0;
  for (const { key, label, ends } of PARTS) {
    const at = timings?.[ends];
    if (typeof at !== "number") continue;
    found.push({ key, label, seconds: Math.max(0, at - from) });
    from = Math.max(from, at);
  }
  if (firstFrameS !== null && found.length > 0) {
    found.push({ ...DELIVERY, seconds: Math.max(0, firstFrameS - from) });
  }
  return found;
}

/** The four figures of a turn as text; a dash where there is none. */
export function figures(turn, fps) {
  const record = turn?.record;
  const factor = record?.real_time_factor;
  const known = record && record.frames > 0;
  return {
    first: seconds(turn?.firstFrameS ?? (turn?.running ? turn.waitedS : null)),
    rate: typeof factor === "number" && factor > 0 ? (fps / factor).toFixed(1) : "–",
    factor: typeof factor === "number" ? factor.toFixed(2) : "–",
    underruns: known ? count(record.underruns, record.underrun_s) : "–",
  };
}

/** Seconds to the first frame that the live system aims at (docs/performance.md). */
const FIRST_FRAME_GOAL_S = 0.6;

/** For each of the four figures whether it is as it should be: true, false, or null where there is none yet. */
export function verdicts(turn) {
  const record = turn?.record;
  const first = turn?.firstFrameS ?? null;
  const factor = record?.real_time_factor;
  const inTime = typeof factor === "number" ? factor <= 1 : null;
  return {
    first: first === null ? null : first <= FIRST_FRAME_GOAL_S,
    rate: inTime,
    factor: inTime,
    underruns: record && record.frames > 0 ? record.underruns === 0 : null,
  };
}

/** Rows of name and value with everything that is known of a turn. */
export function rows(turn, fps) {
  const { record, playback } = turn;
  const all = parts(record?.timings, turn.firstFrameS).map(({ key, label, seconds: s }) => [label, seconds(s), key]);
  all.push(["First frame on this screen", seconds(turn.firstFrameS)]);
  if (!record) return all;
  const { timings } = record;
  all.push(["First text of the thinker", seconds(timings.thinker_first_text_s)]);
  all.push(["Answer complete", seconds(timings.finished_s)]);
  all.push(["Frames", `${record.frames} (${seconds(record.video_s)})`]);
  const { rate, factor, underruns } = figures(turn, fps);
  all.push(["Frames per second of work", rate], ["Seconds of work per second of video", factor]);
  all.push(["Underruns at the server", underruns], ["Waits in this player", count(playback.stalls, playback.stalledS)]);
  return all;
}

export function seconds(value) {
  return typeof value === "number" ? `${value.toFixed(value < 10 ? 2 : 1)} s` : "–";
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const count = (times, total) => (times > 0 ? `${times} (${seconds(total)})` : "0");
