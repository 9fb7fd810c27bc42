// What of the viewer is in the address, and which scenarios it leaves: filters and orders, without any drawing.
"use strict";

(() => {
  const MOST_SYSTEMS = 4;
  const ORDERS = ["plan", "systems", "samples", "lowest"];

  /** The state named by the part of the address after "#"; whatever the report does not know is left out. */
  interbench.parseState = (hash, index) => {
    const parameters = new URLSearchParams(hash.replace(/^#/, ""));
    const known = (value, values, otherwise) => (values.includes(value) ? value : otherwise);
    const names = index.systems.map((system) => system.name);
    const chosen = [...new Set(parameters.getAll("system").map((name) => names.indexOf(name)).filter((at) => at >= 0))];
    const at = index.scenarios.findIndex((scenario) => scenario.id === parameters.get("scenario"));
    return {
      scenario: at >= 0 ? at : null,
      systems: (chosen.length ? chosen : names.map((_, place) => place)).slice(0, MOST_SYSTEMS).sort((a, b) => a - b),
      turn: Math.max(1, Number.parseInt(parameters.get("turn") ?? "1", 10) || 1),
      dimension: known(parameters.get("dimension"), index.dimensions.map((one) => one.key), ""),
      category: known(parameters.get("category"), index.scenarios.map((scenario) => scenario.category), ""),
      outcome: known(parameters.get("outcome"), interbench.outcomeFilters(index).map(([value]) => value), ""),
      verdict: known(parameters.get("verdict"), ["missing", "scored"], ""),
      order: known(parameters.get("order"), ORDERS, "plan"),
      query: parameters.get("q") ?? "",
    };
  };

  interbench.formatState = (state, index) => {
    const parameters = new URLSearchParams();
    if (state.scenario !== null) parameters.set("scenario", index.scenarios[state.scenario].id);
    for (const system of state.systems) parameters.append("system", index.systems[system].name);
    if (state.turn > 1) parameters.set("turn", state.turn);
    for (const key of ["dimension", "category", "outcome", "verdict"]) if (state[key]) parameters.set(key, state[key]);
    if (state.order !== "plan") parameters.set("order", state.order);
    if (state.query) parameters.set("q", state.query);
    return `#${parameters}`;
  };

  /** Only outcomes that occur can be asked for. */
  interbench.outcomeFilters = (index) => {
    const seen = new Set(index.scenarios.flatMap((scenario) => scenario.cells.flatMap((cell) => cell.outcomes)));
    const filters = [...seen].filter((value) => value !== "completed").sort().map((value) => [value, `some turn ${words(value)}`]);
    return [["complete", "all turns completed"], ...(filters.length ? [["trouble", "some turn not completed"]] : []), ...filters];
  };

  const words = (value) => (value === "pending" ? "not yet played" : value.replaceAll("_", " "));
  interbench.words = words;

  function range(values) {
    const present = values.filter((value) => value !== null);
    return present.length > 1 ? Math.max(...present) - Math.min(...present) : null;
  }

  function largest(values) {
    const present = values.filter((value) => value !== null);
    return present.length ? Math.max(...present) : null;
  }

  function places(state, index) {
    return state.dimension ? [index.dimensions.findIndex((one) => one.key === state.dimension)] : index.dimensions.keys();
  }

  /** What an order goes by, for one scenario; null where it can't be said. Large comes first, except for "lowest". */
  interbench.measure = (scenario, state, index) => {
    const dimensions = [...places(state, index)];
    if (state.order === "systems") {
      return largest(dimensions.map((d) => range(scenario.cells.map((cell) => cell.percentiles[d]))));
    }
    if (state.order === "samples") return largest(scenario.cells.flatMap((cell) => dimensions.map((d) => cell.spread[d])));
    if (state.order === "lowest") {
      const values = scenario.cells.flatMap((cell) => dimensions.map((d) => cell.percentiles[d])).filter((v) => v !== null);
      return values.length ? Math.min(...values) : null;
    }
    return null;
  };

  /** Places of the scenarios that pass the filters, in the chosen order. Filters look at all systems of the run. */
  interbench.select = (state, index) => {
    const wanted = state.query.trim().toLowerCase();
    const passes = (scenario) => {
      if (wanted && !`${scenario.title} ${scenario.id} ${scenario.category}`.toLowerCase().includes(wanted)) return false;
      if (state.category && scenario.category !== state.category) return false;
      const outcomes = scenario.cells.flatMap((cell) => cell.outcomes);
      if (state.outcome === "complete" && outcomes.some((value) => value !== "completed")) return false;
      if (state.outcome === "trouble" && outcomes.every((value) => value === "completed")) return false;
      if (state.outcome && !["complete", "trouble"].includes(state.outcome) && !outcomes.includes(state.outcome)) return false;
      if (state.verdict) {
        const scores = scenario.cells.flatMap((cell) => [...places(state, index)].map((d) => cell.scores[d]));
        if (state.verdict === "missing" && scores.every((score) => score !== null)) return false;
        if (state.verdict === "scored" && scores.some((score) => score === null)) return false;
      }
      return true;
    };
    const chosen = index.scenarios.map((scenario, place) => ({ scenario, place })).filter(({ scenario }) => passes(scenario));
    if (state.order !== "plan") {
      const sign = state.order === "lowest" ? 1 : -1;
      const measures = new Map(chosen.map(({ scenario, place }) => [place, interbench.measure(scenario, state, index)]));
      chosen.sort((a, b) => {
        const [x, y] = [measures.get(a.place), measures.get(b.place)];
        if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place;
        return sign * (x - y) || a.place - b.place;
      });
    }
    return chosen.map(({ place }) => place);
  };

  interbench.MOST_SYSTEMS = MOST_SYSTEMS;
})();
