"""The figures of a scenario set's datasheet: ``python -m interbench.scenarios.datasheet FOLDER``.

Rewrites the part of ``README.md`` between the two marker comments, and ``figures.svg``. With ``--check`` it writes
nothing and says whether both are up to date. FOLDER is a set, or holds the versions of one (``v1``, ``v2``), of which
the latest is counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from interbench.base import termination
from interbench.base.errors import InterbenchError, UsageError
from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.persona import Voice
from interbench.domain.scenario import Scenario, Turn
from interbench.scenarios.catalogue import FACTS, LATEST, find_set
from interbench.scenarios.delivery import mood_family
from interbench.scenarios.sets import ScenarioSet, load_set

README = "README.md"
FIGURES = "figures.svg"
BEGIN = "<!-- figures: written by `python -m interbench.scenarios.datasheet`, do not edit -->"
END = "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the datasheet says in numbers. Counts are by name, in the order they are shown."""

    scenarios: int
    turns: int
    later_turns: int
    leaning_turns: int
    """Later turns that lean on an earlier one."""
    context_turns: int
    """Later turns with a key point that can't be known without an earlier turn."""
    key_points: int
    context_points: int
    user_words: tuple[int, ...]
    reply_words: tuple[int, ...]
    categories: Mapping[str, int]
    dimensions: Mapping[str, int]
    lengths: Mapping[str, int]
    families: Mapping[str, int]
    moods: int
    """Different moods of the user, as written."""
    changing: int
    """Scenarios in which the family of the user's mood changes."""
    personas: Mapping[str, int]
    voices: int
    """Different settings (voice, pitch, rate) of users."""
    accents: int
    """Different pairs of accent and timbre among them."""
    timbres: int
    """Different timbres: what the synthesizer can do but change accent, pitch and pace."""
    tiers: Mapping[str, int]
    varied_turns: int
    """Turns in which the user's line depends on the answer before."""
    variants: int
    negative_points: int
    sourced_points: int
    """Key points that name a place where the fact can be looked up."""
    visible_acts: int
    constraints: int
    fragile_turns: int
    """Turns whose point is a word that an English recognizer can't spell."""


def figures_of(scenario_set: ScenarioSet) -> Figures:
    """Count everything the datasheet shows."""
    scenarios = scenario_set.scenarios
    turns = [turn for scenario in scenarios for turn in scenario.turns]
    later = [turn for scenario in scenarios for turn in scenario.turns[1:]]
    points = [point for turn in turns for point in turn.key_points]
    families = Counter(mood_family(turn.mood) for turn in turns)
    lengths = Counter(len(scenario.turns) for scenario in scenarios)
    stressed = Counter(key for scenario in scenarios for key in scenario.stresses)
    voices = [scenario.user_voice or Voice() for scenario in scenarios]
    lines = [turn.line(variant) for turn in turns for variant in range(len(turn.variants) + 1)]
    tiers = Counter("none" if scenario.tier is None else str(scenario.tier) for scenario in scenarios)
    return Figures(
        scenarios=len(scenarios),
        turns=len(turns),
        later_turns=len(later),
        leaning_turns=sum(bool(turn.leans_on) for turn in later),
        context_turns=sum(_needs_context(turn) for turn in later),
        key_points=len(points),
        context_points=sum(bool(point.needs) for point in points),
        user_words=tuple(len(line.split()) for line in lines),
        reply_words=tuple(len(turn.reply.split()) for turn in turns),
        categories=dict(sorted(Counter(scenario.category for scenario in scenarios).items())),
        dimensions={dimension.key: stressed[dimension.key] for dimension in DIMENSIONS},
        lengths={f"{count} turns": lengths[count] for count in range(min(lengths), max(lengths) + 1)},
        families=dict(sorted(families.items(), key=lambda item: (item[0] == "other", -item[1], item[0]))),
        moods=len({turn.mood for turn in turns}),
        changing=sum(_mood_changes(scenario) for scenario in scenarios),
        personas=dict(sorted(Counter(scenario.persona for scenario in scenarios).items())),
        voices=len({(voice.variant, voice.pitch, voice.rate) for voice in voices}),
        accents=len({voice.variant for voice in voices}),
        timbres=len({voice.variant.partition("+")[2] for voice in voices}),
        tiers=dict(sorted(tiers.items())),
        varied_turns=sum(bool(turn.variants) for turn in turns),
        variants=sum(len(turn.variants) for turn in turns),
        negative_points=sum(point.must_not for point in points),
        sourced_points=sum(point.source is not None for point in points),
        visible_acts=sum(turn.visible_act is not None for turn in turns),
        constraints=sum(len(turn.constraints) for turn in turns),
        fragile_turns=sum(turn.asr_fragile for turn in turns),
    )


def _needs_context(turn: Turn) -> bool:
    return any(point.needs for point in turn.key_points)


def _mood_changes(scenario: Scenario) -> bool:
    return len({mood_family(turn.mood) for turn in scenario.turns}) > 1


def markdown(figures: Figures, digests: Mapping[str, str], version: str = "", canary: str | None = None) -> str:
    """The generated part of the datasheet.

    Args:
        figures: of the whole set.
        digests: of each of its parts, by name: of texts, recordings, personas and portraits.
        version: as the set gives it.
        canary: the text that stands in each of its lines.
    """
    f = figures
    rows = [
        *([("version", version)] if version else []),
        *([("canary", f"`{canary}`")] if canary else []),
        *((f"digest of {name}", f"`{digest}`") for name, digest in digests.items()),
        ("tiers", ", ".join(f"{count} of tier {tier}" for tier, count in f.tiers.items())),
        ("scenarios", f"{f.scenarios} in {len(f.categories)} categories"),
        ("turns", f"{f.turns}, {f.turns / f.scenarios:.2f} per scenario"),
        ("turns per scenario", ", ".join(f"{count} of {length}" for length, count in f.lengths.items())),
        ("later turns that lean on an earlier one", f"{f.leaning_turns} of {f.later_turns}"),
        ("... with a key point that can't be known without it", f"{f.context_turns} of {f.later_turns}"),
        ("turns with variants of the user's line", f"{f.varied_turns}, with {f.variants} variants"),
        (
            "key points",
            f"{f.key_points}, of which {f.context_points} need an earlier turn, {f.negative_points} must not be said, "
            f"{f.sourced_points} name a source",
        ),
        ("visible acts, constraints that are recomputed", f"{f.visible_acts}, {f.constraints}"),
        ("turns that hang on a foreign word", f"{f.fragile_turns}"),
        ("words in a line of the user", _spread(f.user_words)),
        ("words in a reference reply", _spread(f.reply_words)),
        ("scenarios that stress a dimension", _listing(f.dimensions)),
        ("moods of the user", f"{f.moods} as written; by family: {_listing(f.families)}"),
        ("scenarios in which the family changes", f"{f.changing}"),
        ("categories", _listing(f.categories)),
        ("personas", _listing(f.personas)),
        (
            "user voices",
            f"{f.voices} settings of {f.accents} pairs of accent and timbre, over {f.timbres} timbres of one formant "
            f"synthesizer",
        ),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"| figure | value |\n|---|---|\n{table}\n\n![Distributions of the set]({FIGURES})"


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _spread(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}, median {statistics.median(values):g}, mean {statistics.fmean(values):.1f}"


def with_figures(readme: str, generated: str) -> str:
    """``readme`` with the part between the markers replaced.

    Raises:
        UsageError: it lacks one of the markers.
    """
    if BEGIN not in readme or END not in readme:
        raise UsageError(f"The datasheet has no place for the figures; put these two lines in it: {BEGIN} and {END}")
    before, rest = readme.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{rest.split(END, 1)[1]}"


_WIDTH, _PANEL_WIDTH, _ROW, _LABEL = 960, 450, 20, 130
_INK, _MUTED, _BAR, _PAPER = "#1f2933", "#616e7c", "#3d7ea6", "#ffffff"


def figure_svg(figures: Figures, canary: str | None = None) -> str:
    """Bar charts of the set as an SVG drawing; ``canary``: of the set, to stand in it."""
    panels = [
        ("Turns per scenario", figures.lengths),
        ("Scenarios stressing each dimension", figures.dimensions),
        ("Words in a line of the user", _histogram(figures.user_words, 5)),
        ("Words in a reference reply", _histogram(figures.reply_words, 5)),
        ("Moods of the user, by family", figures.families),
        (
            "Where facts come from",
            {
                "this turn": figures.key_points - figures.context_points,
                "earlier turns": figures.context_points,
            },
        ),
    ]
    parts: list[str] = []
    y = 16
    for left, right in zip(panels[::2], panels[1::2], strict=True):
        for x, (title, counts) in ((24, left), (24 + _PANEL_WIDTH + 12, right)):
            parts += _panel(x, y, title, counts)
        y += 44 + _ROW * max(len(left[1]), len(right[1]))
    title = f"Distributions of a set of {figures.scenarios} scenarios"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">\n'
        + (f"<desc>{escape(canary)}</desc>\n" if canary else "")
        + f'<rect width="{_WIDTH}" height="{y}" fill="{_PAPER}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(x: int, y: int, title: str, counts: Mapping[str, int]) -> list[str]:
    scale = (_PANEL_WIDTH - _LABEL - 60) / max(1, *counts.values())
    parts = [f'<text x="{x}" y="{y + 14}" fill="{_INK}" font-weight="600">{escape(title)}</text>']
    for row, (name, count) in enumerate(counts.items()):
        top = y + 26 + row * _ROW
        width = count * scale
        parts += [
            f'<text x="{x + _LABEL - 8}" y="{top + 12}" fill="{_MUTED}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{x + _LABEL}" y="{top}" width="{width:.1f}" height="15" rx="2" fill="{_BAR}"/>',
            f'<text x="{x + _LABEL + width + 6:.1f}" y="{top + 12}" fill="{_INK}">{count}</text>',
        ]
    return parts


def _histogram(values: Sequence[int], step: int) -> dict[str, int]:
    bins = Counter((value - 1) // step for value in values)
    return {f"{low * step + 1} to {(low + 1) * step}": bins[low] for low in range(min(bins), max(bins) + 1)}


def latest(folder: Path) -> Path:
    """The set in ``folder``, or of its versions the latest."""
    inner = folder / f"v{LATEST}"
    return inner if (inner / FACTS).is_file() else folder


def generated(folder: Path) -> dict[str, str]:
    """The files of ``folder`` that hold figures, by name, as they should be.

    Raises:
        InterbenchError: the set can't be read, or the datasheet has no place for the figures.
        OSError: the datasheet can't be read.
    """
    place = find_set(latest(folder))
    parts = [load_set(file) for file in place.files]
    whole = load_set(place.root)
    figures = figures_of(whole)
    readme = (folder / README).read_text(encoding="utf-8")
    digests = {part.root.joinpath(part.source).name: part.digest for part in parts}
    return {
        README: with_figures(readme, markdown(figures, digests, place.facts.version, place.facts.canary)),
        FIGURES: figure_svg(figures, place.facts.canary),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m interbench.scenarios.datasheet", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("folder", type=Path, help="folder with a set, or its versions, and README.md")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a figure is out of date")
    arguments = parser.parse_args(argv)
    folder: Path = arguments.folder
    try:
        wanted = generated(folder)
    except (InterbenchError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    stale = [name for name, text in wanted.items() if not _holds(folder / name, text)]
    if arguments.check:
        sys.stderr.write(f"Out of date: {', '.join(stale)}.\n" if stale else "Up to date.\n")
        return 1 if stale else 0
    for name in stale:
        (folder / name).write_text(wanted[name], encoding="utf-8")
    sys.stderr.write(f"Written: {', '.join(stale)}.\n" if stale else "Up to date.\n")
    return 0


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    termination.heed("Interrupted; the same command again writes what is out of date.")
    sys.exit(main())
