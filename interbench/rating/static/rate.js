// The way through a study: play, answer, next. What was answered lies with the keeper, never here alone.
"use strict";

(() => {
  const { ServerKeeper, PackKeeper, Elsewhere } = window.interbenchKeepers;
  const { element, row, keys } = window.interbenchView;
  const WHOLE = "";
  const VOTES = { a: "left", b: "right", t: "tie", n: "both_bad" };
  const $ = (id) => document.getElementById(id);
  const video = $("video");

  const STATES = {
    saving: "Saving …", saved: "Saved", kept: "Kept in this browser",
    lost: "Not saved yet: the server does not answer. Trying again …",
  };
  const shown = (state) => { $("kept").textContent = STATES[state]; $("kept").dataset.state = state; };
  const pack = window.interbenchPack ? JSON.parse(window.interbenchPack) : null;
  const keeper = pack ? new PackKeeper(shown, pack) : new ServerKeeper(shown);

  let study = null;
  let now = null; // the showing that is on the page, and how far it is

  function screen(name, focus) {
    document.body.dataset.screen = name;
    if (focus) $(focus).focus();
    else $("main").focus();
    scrollTo(0, 0);
  }

  function trouble(title, text, button, action) {
    video.pause();
    now = null;
    $("trouble-title").textContent = title;
    $("trouble-text").textContent = text;
    $("trouble-do").hidden = !button;
    $("trouble-do").textContent = button || "";
    $("trouble-do").onclick = action || null;
    screen("trouble", button ? "trouble-do" : "main");
  }

  function elsewhere() {
    trouble(
      "Open in another tab",
      "This study is being rated in another tab or window. Go on there, or take it over to this one: the other is then told.",
      pack ? "" : "Go on here", () => enter(true),
    );
  }

  function failed(error) {
    if (error instanceof Elsewhere) elsewhere();
    else trouble("This can't go on", error.message || String(error));
  }

  async function enter(take) {
    try {
      study = await keeper.enter(take);
      const { position, reached } = await keeper.at();
      const minutes = Math.max(1, study.minutes);
      $("intro-extent").textContent =
        `${study.count} to rate; what there is to play lasts about ${minutes} minute${minutes === 1 ? "" : "s"} in all.`;
      const first = Object.values(study.questions)[0];
      for (const place of ["intro-keys", "help-keys"]) $(place).replaceChildren(keys(false, first.high));
      if (reached >= study.count) await go(position);
      else if (reached || take) await go();
      else screen("intro", "begin");
    } catch (error) { failed(error); }
  }

  async function go(position) {
    try {
      const told = await keeper.at(position);
      if (told.showing) show(told);
      else end();
    } catch (error) { failed(error); }
  }

  // -- one showing ----------------------------------------------------------------------------------------------------

  function show({ position, reached, showing, answers }) {
    now = {
      position, showing, given: { ...answers.given }, revision: answers.revision, before: answers.seconds,
      since: performance.now(), clips: showing.sides.flatMap((side, n) => side.map((clip, turn) => ({ ...clip, side: n, turn }))),
      covered: [], earlier: answers.played, at: 0, current: showing.dimensions[0],
    };
    now.covered = now.clips.map(() => 0);
    $("place").textContent = `${position + 1} of ${study.count}`;
    $("progress").hidden = false;
    $("progress").value = reached / study.count;
    $("showing-title").textContent = showing.pair ? "Two conversations to compare" : "A conversation to rate";
    $("instruction").hidden = !showing.instruction;
    $("instruction").textContent = showing.instruction;
    $("error").textContent = "";
    $("undo").disabled = position === 0;
    $("rows").replaceChildren(...showing.dimensions.map((key) => {
      const made = row(study.questions[key], showing.pair, (value) => choose(key, value));
      made.addEventListener("focusin", () => mark(key));
      made.addEventListener("pointerdown", () => mark(key));
      return made;
    }));
    $("help-keys").replaceChildren(keys(showing.pair, study.questions[showing.dimensions[0]].high));
    $("turns").replaceChildren(...now.clips.map((clip, n) => {
      const name = showing.pair ? `${"AB"[clip.side]}${clip.turn + 1}` : String(clip.turn + 1);
      const button = element("button", { type: "button", "aria-label": showing.pair ? `${"AB"[clip.side]}, turn ${clip.turn + 1}` : `Turn ${name}` }, name, element("span", { class: "mark", "aria-hidden": "true" }));
      button.addEventListener("click", () => turn(n));
      return button;
    }));
    for (const [key, value] of Object.entries(now.given)) tick(key, value);
    mark(now.current);
    screen("rate", "play");
    turn(0);
    unlock();
  }

  function turn(n) {
    if (!now || n < 0 || n >= now.clips.length) return;
    now.at = n;
    const clip = now.clips[n];
    video.muted = !now.showing.sound;
    video.src = keeper.clip(clip.clip);
    $("user-says").textContent = clip.user;
    $("said").hidden = now.showing.sound;
    $("said-text").textContent = now.showing.sound ? "" : clip.said || "(nobody knows what is said)";
    $("video-note").hidden = true;
    [...$("turns").children].forEach((button, place) => {
      button.setAttribute("aria-current", String(place === n));
      button.querySelector(".mark").textContent = now.covered[place] > 0.99 ? " ✓" : "";
    });
    says();
  }

  function says() {
    const clip = now.clips[now.at];
    const where = now.showing.pair ? `Conversation ${"AB"[clip.side]}, turn ${clip.turn + 1}` : `Turn ${clip.turn + 1} of ${now.clips.length}`;
    const sound = now.showing.sound ? "" : " Without sound; what is said stands below the picture.";
    const rest = unlocked() ? " Now answer the questions." : " Read what the user says, then play.";
    $("hint").textContent = `${where}.${sound}${rest}`;
    const playing = !video.paused && !video.ended;
    $("play").firstChild.textContent = playing ? "❚❚ Pause " : "▶ Play ";
  }

  function covered() {
    const total = now.clips.reduce((sum, clip) => sum + clip.seconds, 0) || 1;
    const sum = now.clips.reduce((done, clip, n) => done + now.covered[n] * clip.seconds, 0);
    return Math.min(1, Math.max(now.earlier, sum / total));
  }

  const unlocked = () => covered() >= study.played;

  function unlock() {
    const open = unlocked();
    for (const made of $("rows").children) made.disabled = !open;
    if (open && !now.open) {
      now.open = true;
      says();
    }
  }

  function cover(whole) {
    if (!now || !video.duration) return;
    let seen = 0;
    for (let n = 0; n < video.played.length; n += 1) seen += video.played.end(n) - video.played.start(n);
    now.covered[now.at] = Math.max(now.covered[now.at], whole ? 1 : Math.min(1, seen / video.duration));
    unlock();
  }

  function play() {
    if (!now) return;
    if (!video.paused && !video.ended) video.pause();
    else video.play().catch((error) => {
      if (error.name === "AbortError") return;
      $("video-note").textContent = "This clip does not play. Skip the conversation (S) and say so.";
      $("video-note").hidden = false;
    });
  }

  video.addEventListener("timeupdate", () => cover(false));
  video.addEventListener("play", () => now && says());
  video.addEventListener("pause", () => { cover(false); if (now) says(); });
  video.addEventListener("ended", () => {
    cover(true);
    if (!now) return;
    if (now.at + 1 < now.clips.length) turn(now.at + 1);
    else { turn(now.at); unlock(); focusRow(now.current); }
  });
  video.addEventListener("error", () => {
    if (!now) return;
    $("video-note").textContent = "This clip does not play. Skip the conversation (S) and say so.";
    $("video-note").hidden = false;
  });

  // -- answers ----------------------------------------------------------------------------------------------------------

  const rowOf = (key) => $("rows").querySelector(`[data-key="${CSS.escape(key)}"]`);

  function mark(key) {
    now.current = key;
    for (const made of $("rows").children) made.classList.toggle("current", made.dataset.key === key);
  }

  function focusRow(key) {
    mark(key);
    const made = rowOf(key);
    const radio = made.querySelector("input:checked") || made.querySelector("input");
    radio.focus({ preventScroll: true });
    made.scrollIntoView({ block: "nearest" });
  }

  function tick(key, value) {
    const made = rowOf(key);
    const radio = made && made.querySelector(`input[value="${CSS.escape(String(value))}"]`);
    if (radio) radio.checked = true;
  }

  const seconds = () => now.before + (performance.now() - now.since) / 1000;

  function answer(dimension, more) {
    now.revision += 1;
    const kept = { showing: now.showing.id, dimension, revision: now.revision, seconds: seconds(), played: covered(), ...more };
    return keeper.answer(kept);
  }

  function choose(key, value, onward = false) {
    if (!unlocked()) { $("error").textContent = "Play the whole conversation first."; return; }
    $("error").textContent = "";
    now.given[key] = value;
    tick(key, value);
    answer(key, now.showing.pair ? { choice: value } : { value }).catch(failed);
    if (!onward) return;
    const dimensions = now.showing.dimensions;
    const after = [...dimensions.slice(dimensions.indexOf(key) + 1), ...dimensions];
    const open = after.find((other) => !(other in now.given));
    if (open) focusRow(open);
    else $("next").focus();
  }

  function step(by) {
    const dimensions = now.showing.dimensions;
    const place = dimensions.indexOf(now.current) + by;
    if (place >= 0 && place < dimensions.length) {
      if (unlocked()) focusRow(dimensions[place]);
      else { mark(dimensions[place]); rowOf(dimensions[place]).scrollIntoView({ block: "nearest" }); }
    }
  }

  async function next() {
    if (!now || now.leaving) return;
    if (!unlocked()) { $("error").textContent = "Play the whole conversation first."; $("play").focus(); return; }
    const open = now.showing.dimensions.find((key) => !(key in now.given));
    if (open) { $("error").textContent = `Not yet answered: ${study.questions[open].name}.`; focusRow(open); return; }
    await leave({});
  }

  async function leave(more) {
    now.leaving = true;
    const after = now.position + 1;
    try {
      await answer(WHOLE, more);
      const told = await keeper.at();
      if (after < told.reached) await go(after);
      else if (told.showing) show(told);
      else end();
    } catch (error) { failed(error); }
  }

  function back() {
    const last = now ? now.position - 1 : study.count - 1;
    if (last >= 0) go(last);
  }

  function askWhy() {
    video.pause();
    $("reasons").replaceChildren(...study.reasons.map((reason, n) => {
      const button = element("button", { type: "button", "data-key": String(n + 1) }, element("kbd", {}, String(n + 1)), ` ${reason}`);
      button.addEventListener("click", () => { $("why").close(); leave({ skipped: reason }); });
      return button;
    }));
    $("why").showModal();
  }

  // -- the end ----------------------------------------------------------------------------------------------------------

  function end() {
    video.pause();
    video.removeAttribute("src");
    now = null;
    $("place").textContent = `${study.count} of ${study.count}`;
    $("progress").hidden = false;
    $("progress").value = 1;
    screen("end", "end-title");
  }

  $("closing").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = new FormData($("closing"));
    try {
      await keeper.close({ recognised: form.get("recognised") === "yes", note: $("note").value });
      if (pack) {
        $("done-text").textContent = "Your ratings are in this browser only. Save them as a file, and send the file back.";
        $("save").hidden = false;
      }
      screen("done", pack ? "save" : "main");
    } catch (error) { failed(error); }
  });

  // -- keys and buttons -------------------------------------------------------------------------------------------------

  $("begin").addEventListener("click", () => go());
  $("play").addEventListener("click", play);
  $("questions").addEventListener("submit", (event) => { event.preventDefault(); next(); });
  $("undo").addEventListener("click", back);
  $("end-undo").addEventListener("click", back);
  $("skip").addEventListener("click", askWhy);
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("save").addEventListener("click", () => keeper.save());

  const THEMES = ["auto", "light", "dark"];
  $("theme").addEventListener("click", () => {
    const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3];
    document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if ($("why").open) {
      const button = $("reasons").querySelector(`[data-key="${CSS.escape(key)}"]`);
      if (button) { event.preventDefault(); button.click(); }
      return;
    }
    if ($("help").open || event.target.closest("textarea")) return;
    if (key === "?") { event.preventDefault(); $("help").showModal(); return; }
    if (!now) return;
    const own = event.target.closest("button, a, summary");
    const done = act(key, own);
    if (done) event.preventDefault();
  });

  // Whether the key was one of ours. `own` is a control that Space and Enter belong to.
  function act(key, own) {
    const { showing } = now;
    const question = study.questions[now.current];
    if (key === " ") { if (own && own !== $("play")) return false; play(); return true; }
    if (key === "Enter") { if (own && own !== $("play")) return false; next(); return true; }
    if (key === "ArrowLeft" || key === "ArrowRight") { turn(now.at + (key === "ArrowRight" ? 1 : -1)); return true; }
    if (key === "ArrowUp" || key === "ArrowDown") { step(key === "ArrowDown" ? 1 : -1); return true; }
    if (key === "u") { back(); return true; }
    if (key === "s") { askWhy(); return true; }
    if (showing.pair && VOTES[key]) { choose(now.current, VOTES[key], true); return true; }
    if (!showing.pair && /^[0-9]$/.test(key)) {
      const value = key === "0" && question.high >= 10 ? 10 : Number(key);
      if (value >= question.low && value <= question.high) choose(now.current, value, true);
      return true;
    }
    return false;
  }

  keeper.taken = elsewhere;
  enter(false);
})();
