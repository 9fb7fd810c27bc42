// Builders of what stands in the lanes: replies, timings, scores, reasons, evidence. Pure: data in, elements out.
"use strict";

(() => {
  const { el, quoted, visible, words, address } = interbench;
  const LONG = 900;

  const number = (value, digits = 2) => Number(value).toFixed(digits);
  const score = (value) => String(Math.round(value * 100) / 100);

  /** Text that may be huge: clipped until asked for. */
  function text(content) {
    const shown = el("div.words", { dir: "auto" }, visible(content));
    if (content.length <= LONG) return [shown];
    shown.classList.add("clipped");
    shown.textContent = visible(content.slice(0, 3 * LONG));
    const more = el("button.quiet.more", { type: "button", "aria-expanded": "false" }, `Show all ${content.length.toLocaleString("en")} characters`);
    more.addEventListener("click", () => {
      shown.classList.remove("clipped");
      shown.textContent = visible(content);
      more.remove();
    });
    return [shown, more];
  }

  /** A mapping as a list of facts; what is nested follows as JSON. */
  function facts(mapping) {
    const entries = Object.entries(mapping).filter(([, value]) => value !== null && value !== "");
    const nested = ([, value]) => typeof value === "object";
    const list = el("dl.facts", {}, entries.filter((entry) => !nested(entry)).flatMap(([key, value]) => [
      el("dt", {}, quoted(words(key))),
      el("dd", {}, quoted(typeof value === "number" ? Math.round(value * 1e6) / 1e6 : value)),
    ]));
    const rest = entries.filter(nested).map(([key, value]) =>
      el("details.fine", {}, el("summary", {}, quoted(words(key))), el("pre", {}, visible(JSON.stringify(value, null, 2)))));
    return [list.childElementCount ? list : null, ...rest];
  }

  function tag(content, kind) {
    return el(kind ? `span.tag.${kind}` : "span.tag", {}, quoted(content));
  }

  /** The data say null for a turn that has not been played yet, and nothing for one that nobody asked for. */
  const unplayed = (turn) => (turn === undefined ? "Not planned" : "Not yet played");

  /** What a player shows when there is nothing to play. */
  interbench.absence = (turn) => {
    const [headline, why] = !turn
      ? [unplayed(turn), ""]
      : turn.outcome !== "completed"
        ? [words(turn.outcome), [turn.code && words(turn.code), turn.message].filter(Boolean).join(": ")]
        : ["No clip", turn.clip?.problem || "No clip is recorded for this turn."];
    return el("p", {}, el("b", {}, headline.charAt(0).toUpperCase() + headline.slice(1)), quoted(why.length > 400 ? `${why.slice(0, 400)} …` : why));
  };

  const FLAGS = { reported: "reported by the system", no_audio: "no audio track", no_speech: "no speech found", no_text: "no text reported", perhaps_no_speech: "the recogniser doubts that this is speech" };

  function transcript(turn) {
    const heard = turn.transcript;
    if (!heard) return turn.outcome === "completed" ? [el("p.muted", {}, "Not transcribed yet.")] : [];
    if (heard.error) return [el("p", {}, tag("no transcript", "bad"), " ", quoted(heard.error))];
    return [
      heard.text ? text(heard.text) : el("p.muted", {}, "Nothing was said."),
      heard.flags.length ? el("div.tags", {}, heard.flags.map((flag) => tag(FLAGS[flag] ?? words(flag), "flag"))) : null,
    ];
  }

  function times(turn) {
    const pair = (label, value) => el("span", {}, `${label} `, el("b", {}, value));
    const shown = [];
    const { timings, facts: clip } = turn;
    if (timings) {
      if (timings.first_frame !== null) shown.push(pair("first frame", `${number(timings.first_frame)} s`));
      if (timings.first_speech !== null) shown.push(pair("first speech", `${number(timings.first_speech)} s`));
      shown.push(pair("complete", `${number(timings.complete)} s`));
    }
    if (clip) shown.push(pair("plays", `${number(clip.duration)} s`));
    if (timings?.real_time_factor != null) shown.push(pair("real-time factor", `${number(timings.real_time_factor)}×`));
    if (timings?.resumed) shown.push(el("span", {}, "resumed: not a latency"));
    if (timings?.resolution) shown.push(el("span", {}, `polled every ${timings.resolution} s`));
    return shown.length ? el("p.times", {}, shown) : null;
  }

  function particulars(turn) {
    const clip = turn.facts;
    const known = {
      ...(clip && {
        picture: `${clip.width} × ${clip.height}, ${score(clip.fps)} frames per second, ${clip.frames} frames`,
        codec: clip.codec,
        sound: clip.speech_start === null ? clip.audio : `${clip.audio}, begins at ${number(clip.speech_start)} s`,
        size: `${(clip.bytes / 1e6).toFixed(2)} MB`,
        sha256: clip.sha256,
      }),
      ...(turn.timings && { accepted: turn.timings.accepted === null ? null : `${number(turn.timings.accepted)} s` }),
      ...(turn.timings?.from_sending != null && { "complete after sending": `${number(turn.timings.from_sending)} s` }),
      ...(turn.timings?.from_acceptance != null && { "complete after acceptance": `${number(turn.timings.from_acceptance)} s` }),
      ...(turn.timings?.throughput != null && { throughput: `${number(turn.timings.throughput, 1)} frames per second` }),
      ...(turn.cost !== null && { cost: `${turn.cost} USD` }),
      ...(turn.reported !== null && turn.transcript?.text !== turn.reported && { "reported by the system": turn.reported }),
    };
    const href = turn.clip?.href ? address(turn.clip.href) : null;
    const parts = [
      ...facts(known),
      Object.keys(turn.parts).length
        ? [el("p.label", {}, "By the system's clock, after it had the user's turn"),
           ...facts(Object.fromEntries(Object.entries(turn.parts).map(([step, value]) => [step, `${number(value, 3)} s`])))]
        : null,
      Object.keys(turn.detail).length ? [el("p.label", {}, "From the system"), ...facts(turn.detail)] : null,
      turn.events.length
        ? el("details.fine", {}, el("summary", {}, `${turn.events.length} events`),
            el("pre", {}, visible(turn.events.map(([at, kind, note]) => `${number(at, 3).padStart(9)} s  ${kind}  ${note}`).join("\n"))))
        : null,
      href ? el("p", {}, el("a", { href, target: "_blank", rel: "noopener" }, "Open the clip by itself")) : null,
    ].flat().filter(Boolean);
    return parts.length ? el("details.fine", {}, el("summary", {}, "Clip and times"), parts) : null;
  }

  const WORDS_OF = { reported: "as the system reported it", transcribed: "as it was transcribed" };

  /** What the user said to this system alone, because of its answer before. */
  function said(line) {
    if (!line) return null;
    return el("div.line", {},
      el("p.small.muted", {}, "Said instead, because the answer before, ", WORDS_OF[line.source] ?? words(line.source), ", ", quoted(line.guard), ":"),
      el("blockquote", {}, ...text(line.text)));
  }

  /** One system's answer in one turn. */
  interbench.reply = (turn) => {
    if (!turn) return el("div.reply", {}, el("p.muted", {}, `${unplayed(turn)}.`));
    const trouble = turn.outcome === "completed" ? null : el("div", {}, el("div.tags", {}, tag(words(turn.outcome), "bad"), turn.code ? tag(words(turn.code)) : null), text(turn.message));
    return el("div.reply", {}, said(turn.line), trouble, ...transcript(turn), times(turn), particulars(turn));
  };

  /** What the user says in one turn, and what a good answer would hold. */
  interbench.userTurn = (turn, place, { onShow, onVoice }) => {
    const href = turn.audio?.href ? address(turn.audio.href) : null;
    return el("div.user.first", {},
      el("div.who", {},
        el("button", { type: "button", onclick: onShow, "aria-label": `Show turn ${place} on the stage` }, `Turn ${place}`),
        tag(turn.mood),
        href ? el("button", { type: "button", onclick: () => onVoice(href) }, "▸ Voice") : turn.audio ? tag(turn.audio.problem) : null),
      el("blockquote", {}, ...text(turn.text)),
      turn.leans.map((lean) => el("p.small.muted", {}, `Leans on turn ${lean.turn}: `, quoted(lean.carry))),
      el("details.fine", {}, el("summary", {}, turn.points.length ? `${turn.points.length} key point${turn.points.length > 1 ? "s" : ""} and reference` : "Reference reply"),
        turn.points.length ? el("ul", {}, turn.points.map((point) => el("li", {}, quoted(point.text), point.needs.length ? ` (needs turn ${point.needs.join(", ")})` : ""))) : null,
        el("p", {}, quoted(turn.reference))));
  };

  /** A dimension's samples in one line: score, and `standing`, its percentile in the pool, as bar and figure. */
  interbench.score = (samples, key, standing) => {
    if (!samples) return el("div.score.none", {}, "– not planned");
    const scored = samples.filter((sample) => sample.score !== null);
    if (!scored.length) {
      return el("div.score.none", {}, "– ", samples.length ? quoted(samples[0].missing) : "not yet judged");
    }
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const values = scored.map((sample) => sample.score);
    const bar = el("span");
    bar.style.width = `${standing ?? 0}%`;
    const spread = Math.max(...values) - Math.min(...values);
    const lost = samples.length - scored.length;
    const title = [
      `${key}: score ${score(mean(values))}`,
      samples.length > 1 ? `${samples.length} judgements, ${score(Math.min(...values))} to ${score(Math.max(...values))}` : "",
      lost ? `${lost} missing` : "",
      standing === null ? "" : `percentile ${number(standing, 0)} in the pool`,
    ].filter(Boolean).join("; ");
    return el("div.score", { title },
      el("span.value", {}, score(mean(values)), spread ? el("span.muted.small", {}, ` ±${score(spread / 2)}`) : null),
      el("span.track", { "aria-hidden": "true" }, bar),
      el("span.at", {}, standing === null ? "" : `P${number(standing, 0)}`, lost ? "*" : ""));
  };

  /** The judge's words on one dimension of one conversation. */
  interbench.reasons = (samples) => el("div", {}, !samples?.length ? el("p.muted.small", {}, samples ? "Not yet judged." : "Not planned.") : samples.map((sample) =>
    el("div.sample", {},
      samples.length > 1 || sample.expected !== null || sample.missing
        ? el("div.tags", {},
            samples.length > 1 ? tag(`judgement ${sample.sample + 1}: ${sample.score === null ? "missing" : score(sample.score)}`) : null,
            sample.missing ? tag(`missing: ${sample.missing}`, "flag") : null,
            sample.expected !== null ? tag(`expected score ${number(sample.expected)}`) : null)
        : null,
      sample.reasons ? text(sample.reasons) : el("p.muted", {}, "The judge gave no reasons."),
      Object.keys(sample.evidence).length ? el("details.fine", {}, el("summary", {}, "Evidence"), facts(sample.evidence)) : null)));
})();
