// The conversation viewer: keeps state and address in step, draws the list and the lanes, answers to keys.
"use strict";

(() => {
  const { el, svg, slot, mark, quoted, named, visible, words, address } = interbench;
  const $ = (id) => document.getElementById(id);
  const FILTERS = ["dimension", "category", "outcome", "verdict", "order"];

  let index;
  let state;
  let shard = null;
  let shown = [];
  let open = new Set();
  let chosen = false;
  const lone = new Audio();
  const stage = new interbench.Stage({ onTurn: (turn) => showTurn(turn), onState: drawTransport });

  /* Address */

  function keep({ push = false } = {}) {
    const hash = interbench.formatState(state, index);
    if (hash !== window.location.hash) window.history[push ? "pushState" : "replaceState"](null, "", hash);
  }

  async function follow() {
    state = interbench.parseState(window.location.hash, index);
    for (const id of FILTERS) $(id).value = state[id];
    $("query").value = state.query;
    drawList();
    if (state.scenario === null) state.scenario = shown[0] ?? (index.scenarios.length ? 0 : null);
    if (state.dimension) open = new Set([state.dimension]);
    await showScenario();
  }

  /* List */

  function strip(scenario) {
    const line = svg("svg", { class: "strip", "aria-hidden": "true" },
      svg("line", { x1: "0%", x2: "100%", y1: 7, y2: 7 }));
    scenario.cells.forEach((cell, place) => {
      const at = state.dimension ? dimensionPlace(state.dimension) : null;
      const values = (at === null ? cell.percentiles : [cell.percentiles[at]]).filter((value) => value !== null);
      if (!values.length) return;
      const { colour, shape } = slot(place);
      const x = values.reduce((sum, value) => sum + value, 0) / values.length;
      // Alternate heights keep equal figures from hiding one another.
      line.append(svg("use", { href: shape, class: colour, x: `${3 + 0.94 * x}%`, y: 4 + 3 * (place % 3) }));
    });
    return line;
  }

  function dimensionPlace(key) {
    return index.dimensions.findIndex((dimension) => dimension.key === key);
  }

  function troubles(scenario) {
    return scenario.cells.flatMap((cell) => cell.outcomes).filter((value) => value !== "completed" && value !== "pending").length;
  }

  function drawList() {
    shown = interbench.select(state, index);
    $("count").textContent = `${shown.length} of ${index.scenarios.length} scenarios`;
    const items = shown.map((place) => {
      const scenario = index.scenarios[place];
      const measure = interbench.measure(scenario, state, index);
      const lost = troubles(scenario);
      const aside = measure !== null
        ? `${state.order === "lowest" ? "P" : "Δ "}${Math.round(measure * 10) / 10}`
        : lost ? el("span.trouble", {}, `${lost} turn${lost > 1 ? "s" : ""} lost`) : `${scenario.turns} turn${scenario.turns > 1 ? "s" : ""}`;
      return el("li", {},
        el("button", { type: "button", "data-place": place, onclick: () => { choose(place); if (narrow()) toggleList(false); } },
          el("span.title", { dir: "auto" }, visible(scenario.title)),
          el("span.about", {}, el("span", {}, words(scenario.category)), el("span", {}, aside)),
          strip(scenario)));
    });
    $("scenarios").replaceChildren(...(items.length ? items : [el("li.empty", {}, "No scenario passes these filters.")]));
    markCurrent();
  }

  function markCurrent() {
    for (const button of $("scenarios").querySelectorAll("button")) {
      // Where the list covers the page, nothing is shown yet that could be marked.
      const current = Number(button.dataset.place) === state.scenario && (chosen || !narrow());
      button.setAttribute("aria-current", String(current));
      if (current) button.scrollIntoView({ block: "nearest" });
    }
  }

  function narrow() {
    return window.matchMedia("(max-width: 980px)").matches;
  }

  function toggleList(show = document.querySelector(".viewer").classList.contains("closed")) {
    document.querySelector(".viewer").classList.toggle("closed", !show);
    $("toggle-list").setAttribute("aria-expanded", String(show));
  }

  function choose(place) {
    chosen = true;
    state.scenario = place;
    state.turn = 1;
    keep({ push: true });
    showScenario();
  }

  function step(by) {
    if (!shown.length) return;
    const at = shown.indexOf(state.scenario);
    choose(shown[at < 0 ? 0 : Math.min(Math.max(at + by, 0), shown.length - 1)]);
  }

  /* Scenario */

  async function showScenario() {
    stage.stop();
    lone.pause();
    markCurrent();
    if (state.scenario === null) {
      trouble("This report holds no scenario.");
      return;
    }
    const scenario = index.scenarios[state.scenario];
    const wanted = state.scenario;
    try {
      const loaded = await interbench.load(scenario.shard);
      if (wanted !== state.scenario) return;
      shard = loaded;
    } catch (error) {
      trouble(error.message);
      return;
    }
    trouble("");
    state.turn = Math.min(state.turn, scenario.turns);
    document.title = `${visible(scenario.title)} · interbench`;
    $("category-name").replaceChildren(quoted(words(scenario.category)));
    $("scenario-title").textContent = visible(scenario.title);
    drawFacts(scenario);
    drawPortrait();
    const at = shown.indexOf(state.scenario);
    $("previous").disabled = at <= 0;
    $("next").disabled = at < 0 || at === shown.length - 1;
    drawSystems();
    drawLanes();
  }

  function drawFacts(scenario) {
    const { persona } = shard;
    const names = Object.fromEntries(index.dimensions.map((dimension) => [dimension.key, dimension.name]));
    const parts = [
      quoted(scenario.id),
      `${scenario.turns} turn${scenario.turns > 1 ? "s" : ""}`,
      persona && el("span", { title: visible(persona.appearance) }, "with ", quoted(persona.name), `, ${persona.age}`),
      shard.stresses.length ? el("span", {}, "stresses ", shard.stresses.map((key) => names[key] ?? key).join(", ")) : null,
    ].filter(Boolean);
    $("scenario-facts").replaceChildren(...parts.flatMap((part, place) => (place ? [" · ", part] : [part])));
  }

  function drawPortrait() {
    const href = shard.persona?.portrait?.href;
    const source = href ? address(href) : null;
    $("portrait").classList.toggle("hidden", !source);
    if (source) $("portrait").src = source;
    else $("portrait").removeAttribute("src");
  }

  function trouble(message) {
    $("trouble").textContent = message;
    $("trouble").classList.toggle("hidden", !message);
    $("lanes").classList.toggle("hidden", Boolean(message));
  }

  function drawSystems() {
    $("systems").replaceChildren(...index.systems.map((system, place) => {
      const on = state.systems.includes(place);
      return el(`button.${slot(place).colour}`, {
        type: "button", "aria-pressed": String(on), title: visible(system.description), onclick: () => toggleSystem(place),
        disabled: !on && state.systems.length >= interbench.MOST_SYSTEMS,
      }, mark(place), named(system.name));
    }));
  }

  function toggleSystem(place) {
    const on = state.systems.includes(place);
    if (place >= index.systems.length || (on ? state.systems.length === 1 : state.systems.length >= interbench.MOST_SYSTEMS)) return;
    state.systems = on ? state.systems.filter((one) => one !== place) : [...state.systems, place].sort((a, b) => a - b);
    stage.stop();
    keep();
    drawSystems();
    drawLanes();
    $("systems").children[place].focus();
  }

  /* Lanes */

  function row(kind, first, cells) {
    return el(`div.row.${kind}`, {}, first, cells);
  }

  function drawLanes() {
    const lanes = $("lanes");
    lanes.style.setProperty("--lanes", state.systems.length);
    const names = row("names", el("div.first", {}), state.systems.map((system, lane) =>
      el(`div.lane.${slot(system).colour}`, {},
        el("span.system", {}, mark(system), named(index.systems[system].name)),
        state.systems.length > 1
          ? el("button.sound", { type: "button", "data-lane": lane, onclick: () => listen(lane) }, "Listen")
          : null)));
    const controls = el("div.controls.first", { id: "controls" });
    const places = el("div.row.stage", { id: "stage" }, controls, state.systems.map((system) => el(`figure.player.${slot(system).colour}`)));
    lanes.replaceChildren(
      names,
      places,
      el("div.chapter", {}, el("h2", {}, "Conversation")),
      ...shard.turns.map((turn, place) => said(turn, place)),
      el("div.chapter", {}, el("h2", {}, "Verdicts"), el("button.quiet", { type: "button", id: "open-all", onclick: toggleAll }, "Open all")),
      el("p.small.muted", {}, "By ", quoted(index.judge), ". Bars and P show where a score stands in the pool, as a percentile."),
      ...index.dimensions.flatMap((dimension, place) => verdicts(dimension, place)),
    );
    drawOpen();
    showTurn(state.turn);
  }

  function said(turn, place) {
    const node = row("said",
      interbench.userTurn(turn, place + 1, { onShow: () => goTo(place + 1), onVoice: (href) => playAlone(href) }),
      state.systems.map((system) => interbench.reply(shard.systems[system]?.turns[place])));
    node.dataset.turn = place + 1;
    return node;
  }

  function playAlone(href) {
    stage.stop();
    lone.src = href;
    lone.play().catch(() => {});
  }

  function verdicts(dimension, place) {
    const samples = state.systems.map((system) => shard.systems[system]?.verdicts[place]);
    const panel = el("div.row.reasons", { id: `reasons-${dimension.key}` },
      el("p.question.first", {}, dimension.question),
      samples.map((of) => interbench.reasons(of)));
    const button = el("button.dimension", { type: "button", "aria-controls": panel.id, onclick: () => toggleReasons(dimension.key) },
      dimension.name, el("small", {}, dimension.key));
    button.dataset.dimension = dimension.key;
    const cells = state.systems.map((system, lane) => {
      const cell = interbench.score(samples[lane], dimension.name, index.scenarios[state.scenario].cells[system].percentiles[place]);
      cell.classList.add(slot(system).colour);
      return cell;
    });
    const line = row("verdict-row", el("div.first", {}, button), cells);
    return [line, panel];
  }

  function toggleReasons(key) {
    if (!open.delete(key)) open.add(key);
    drawOpen();
  }

  function toggleAll() {
    open = new Set(open.size === index.dimensions.length ? [] : index.dimensions.map((dimension) => dimension.key));
    drawOpen();
  }

  function drawOpen() {
    for (const button of $("lanes").querySelectorAll("button.dimension")) {
      const on = open.has(button.dataset.dimension);
      button.closest(".row").classList.toggle("chosen", button.dataset.dimension === state.dimension);
      button.setAttribute("aria-expanded", String(on));
      $(button.getAttribute("aria-controls")).classList.toggle("hidden", !on);
    }
    $("open-all").textContent = open.size === index.dimensions.length ? "Close all" : "Open all";
  }

  /* Stage */

  function player(turn, system) {
    const href = turn?.outcome === "completed" && turn.clip?.href ? address(turn.clip.href) : null;
    const frame = el("div.frame", {});
    if (!href) {
      frame.classList.add("absent");
      frame.append(interbench.absence(turn));
      return { frame, video: null };
    }
    const video = el("video", {
      src: href, controls: true, playsinline: true, preload: "auto", "aria-label": `${visible(index.systems[system].name)}, turn ${state.turn}`,
    });
    if (turn.facts?.width && turn.facts.height) frame.style.aspectRatio = `${turn.facts.width} / ${turn.facts.height}`;
    video.addEventListener("error", () => {
      frame.classList.add("absent");
      frame.replaceChildren(el("p", {}, el("b", {}, "The browser can't play this clip"), el("a", { href }, "Open the file")));
    });
    frame.append(video);
    return { frame, video };
  }

  /** Puts a turn on the stage; resolves when every clip has data, or can't have. */
  async function showTurn(turn) {
    state.turn = turn;
    keep();
    const players = state.systems.map((system) => player(shard.systems[system]?.turns[turn - 1], system));
    document.querySelectorAll("#stage .player").forEach((figure, lane) => figure.replaceChildren(players[lane].frame));
    const href = shard.turns[turn - 1].audio?.href;
    const voice = href && address(href) ? new Audio(address(href)) : null;
    stage.hold(players.map(({ video }) => video), voice);
    drawListening();
    drawControls();
    for (const node of document.querySelectorAll(".said")) {
      if (Number(node.dataset.turn) === turn) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
    }
    await Promise.all(players.filter(({ video }) => video).map(({ video }) => ready(video)));
  }

  function ready(video) {
    if (video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return Promise.resolve();
    return new Promise((resolve) => {
      for (const event of ["loadeddata", "error"]) video.addEventListener(event, resolve, { once: true });
    });
  }

  function goTo(turn) {
    if (turn < 1 || turn > shard.turns.length) return;
    stage.stop();
    lone.pause();
    showTurn(turn);
    if ($("stage").getBoundingClientRect().bottom < 120) $("stage").scrollIntoView({ block: "center" });
  }

  function playAll() {
    if (stage.state === "idle") stage.playConversation(state.turn, shard.turns.length);
    else stage.stop();
  }

  function listen(lane) {
    stage.listenTo(lane);
    drawListening();
  }

  function drawListening() {
    for (const button of document.querySelectorAll(".sound")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.lane) === stage.listening));
    }
  }

  function drawControls() {
    const now = shard.turns[state.turn - 1];
    const held = $("controls").contains(document.activeElement) ? document.activeElement.id : "";
    const lost = (turn) => state.systems.some((system) => {
      const played = shard.systems[system]?.turns[turn];
      return played && played.outcome !== "completed";
    });
    $("controls").replaceChildren(...[
      el("p.now", {}, `Turn ${state.turn} of ${shard.turns.length}`),
      el("div.turns", { role: "group", "aria-label": "Turns" }, shard.turns.map((_, place) =>
        el(lost(place) ? "button.trouble" : "button", {
          type: "button", id: `turn-${place + 1}`, "aria-current": String(place + 1 === state.turn), onclick: () => goTo(place + 1),
          "aria-label": `Turn ${place + 1}${lost(place) ? ", not completed by every system" : ""}`,
        }, String(place + 1)))),
      el("div.transport", {},
        el("button.primary", { type: "button", id: "play-turn", onclick: () => { lone.pause(); stage.toggle(); } }),
        el("button", { type: "button", id: "play-all", onclick: () => { lone.pause(); playAll(); } })),
      shard.turns.some((turn) => turn.audio?.href)
        ? el("label.check", {},
            el("input", { type: "checkbox", id: "with-voice", checked: stage.withVoice, onchange: (event) => { stage.withVoice = event.target.checked; } }),
            "Begin with the user’s voice")
        : null,
      el("p.small", { dir: "auto" }, el("span.muted", {}, "User: "), quoted(now.text.length > 280 ? `${now.text.slice(0, 280)} …` : now.text)),
    ].filter(Boolean));
    if (held) $(held)?.focus();
    drawTransport(stage.state);
  }

  function drawTransport(playing) {
    const [turn, all] = [$("play-turn"), $("play-all")];
    if (!turn) return;
    turn.textContent = { idle: "▶ Play turn", playing: "❚❚ Pause", paused: "▶ Go on" }[playing];
    all.textContent = playing === "idle" ? "▶▶ Play conversation" : "■ Stop";
    document.body.dataset.playing = playing;
  }

  /* Keys */

  const KEYS = {
    " ": () => { lone.pause(); stage.toggle(); },
    p: () => { lone.pause(); playAll(); },
    ArrowLeft: () => goTo(state.turn - 1),
    ArrowRight: () => goTo(state.turn + 1),
    j: () => step(1),
    k: () => step(-1),
    s: () => listen((stage.listening + 1) % state.systems.length),
    e: toggleAll,
    l: () => toggleList(),
    "/": () => { toggleList(true); $("query").focus(); },
    "?": () => $("help").showModal(),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || !shard) return;
    const { target, key } = event;
    if (target.closest("input:not([type=checkbox]), select, textarea")) {
      if (key === "Escape") target.blur();
      return;
    }
    if ((key === " " || key.startsWith("Arrow")) && target.closest("button, summary, a, video, input")) return;
    const act = KEYS[key] ?? (/^[1-9]$/.test(key) ? () => toggleSystem(Number(key) - 1) : null);
    if (!act) return;
    event.preventDefault();
    act();
  }

  /* Beginning */

  function fill(id, options) {
    $(id).append(...options.map(([value, label]) => el("option", { value }, visible(label))));
  }

  async function begin() {
    index = await interbench.load("index");
    const categories = [...new Set(index.scenarios.map((scenario) => scenario.category))].sort();
    fill("category", categories.map((category) => [category, words(category)]));
    fill("dimension", index.dimensions.map((dimension) => [dimension.key, dimension.name]));
    fill("outcome", interbench.outcomeFilters(index));
    for (const id of FILTERS) {
      $(id).addEventListener("change", () => {
        state[id] = $(id).value;
        if (id === "dimension" && state.dimension) open.add(state.dimension);
        keep();
        drawList();
        if (shard) drawOpen();
      });
    }
    $("query").addEventListener("input", () => {
      state.query = $("query").value;
      keep();
      drawList();
    });
    $("reset").addEventListener("click", () => {
      Object.assign(state, { dimension: "", category: "", outcome: "", verdict: "", order: "plan", query: "" });
      keep();
      follow();
    });
    document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
    $("previous").addEventListener("click", () => step(-1));
    $("next").addEventListener("click", () => step(1));
    $("toggle-list").addEventListener("click", () => toggleList());
    $("keys").addEventListener("click", () => $("help").showModal());
    document.addEventListener("keydown", onKey);
    window.addEventListener("hashchange", follow);
    chosen = Boolean(window.location.hash);
    if (narrow() && chosen) toggleList(false);
    await follow();
  }

  begin().catch((error) => trouble(error.message));
})();
