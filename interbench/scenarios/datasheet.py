"""The figures of a scenario set's datasheet: ``python -m interbench.scenarios.datasheet FOLDER``.

Rewrites the part of ``README.md`` between the two marker comments, and ``figures.svg``. With ``--check`` it writes
nothing and says whether both are up to date.
"""

from __future__ import annotations

import argparse
import re
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
from interbench.domain.scenario import Scenario, Turn
from interbench.scenarios.sets import ScenarioSet, load_set

README = "README.md"
FIGURES = "figures.svg"
BEGIN = "<!-- figures: written by `python -m interbench.scenarios.datasheet`, do not edit -->"
END = "<!-- end of figures -->"

MOOD_FAMILIES: Mapping[str, str] = {
    "happy": (
        "relieved triumphant proud pleased delighted delight cheerful excited thrilled grateful happy glowing "
        "elated giddy satisfied gleeful charmed encouraged lighter brightening celebratory overjoyed joy "
        "enthusiastic won impressed hopeful breezy reassured giving bursting"
    ),
    "playful": (
        "amused playful laughing laugh mischievous giggling silly grinning teasing chuckling mock sly smug "
        "game lively barely tease showing trick pouncing fishing scheming innocent crafty haggling grand "
        "competitive challenging inventive collapsing"
    ),
    "curious": (
        "curious interested intrigued eager keen thoughtful thinking fascinated wonder testing counting considering"
    ),
    "warm": "warm warming fond tender moved touched cosy smiling dreamy chatty honest gentle calmer breathing",
    "anxious": (
        "worried nervous anxious panicky panicking panic frightened scared afraid tense frazzled stressed "
        "flustered jumpy alarmed shaky desperate urgent mortified rattled harassed whispering rushed careful "
        "caught hurried low"
    ),
    "sad": (
        "tearful grieving hurt sad bittersweet homesick heavy numb hollow deflated deflating cracking "
        "dismayed wistful quiet subdued brittle pleading overcome regretful"
    ),
    "cross": (
        "annoyed impatient angry irritated irritable cross grumpy gruff indignant sarcastic accusing "
        "frustrated stubborn grudging prickly defiant sharp muttering"
    ),
    "doubtful": (
        "doubtful hesitant uncertain sceptical unconvinced torn wavering puzzled confused muddled vague wary "
        "absent unsure distracted tempted surprised astonished taken wry coming"
    ),
    "embarrassed": (
        "embarrassed sheepish ashamed shy timid squirming apologetic guilty humble modest correcting conceding"
    ),
    "determined": (
        "determined confident certain decided firmer firm businesslike earnest practical precise focused "
        "trying resolute resolved checking reciting calculating concentrating convinced bolder finding "
        "pushing impulsive stepping remembering"
    ),
    "tired": "tired exhausted weary groggy drowsy worn resigned sleepy",
}
"""Word of a mood -> family, for the overview only; the moods themselves are free text."""

_FAMILY = {word: family for family, members in MOOD_FAMILIES.items() for word in members.split()}


def mood_family(mood: str) -> str:
    """The family of the first word of ``mood`` that has one; ``"other"`` if none has."""
    return next((_FAMILY[word] for word in re.findall(r"[a-z]+", mood.lower()) if word in _FAMILY), "other")


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
    """Different voices of users."""


def figures_of(scenario_set: ScenarioSet) -> Figures:
    """Count everything the datasheet shows."""
    scenarios = scenario_set.scenarios
    turns = [turn for scenario in scenarios for turn in scenario.turns]
    later = [turn for scenario in scenarios for turn in scenario.turns[1:]]
    points = [point for turn in turns for point in turn.key_points]
    families = Counter(mood_family(turn.mood) for turn in turns)
    lengths = Counter(len(scenario.turns) for scenario in scenarios)
    stressed = Counter(key for scenario in scenarios for key in scenario.stresses)
    return Figures(
        scenarios=len(scenarios),
        turns=len(turns),
        later_turns=len(later),
        leaning_turns=sum(bool(turn.leans_on) for turn in later),
        context_turns=sum(_needs_context(turn) for turn in later),
        key_points=len(points),
        context_points=sum(bool(point.needs) for point in points),
        user_words=tuple(len(turn.text.split()) for turn in turns),
        reply_words=tuple(len(turn.reply.split()) for turn in turns),
        categories=dict(sorted(Counter(scenario.category for scenario in scenarios).items())),
        dimensions={dimension.key: stressed[dimension.key] for dimension in DIMENSIONS},
        lengths={f"{count} turns": lengths[count] for count in range(min(lengths), max(lengths) + 1)},
        families=dict(sorted(families.items(), key=lambda item: (item[0] == "other", -item[1], item[0]))),
        moods=len({turn.mood for turn in turns}),
        changing=sum(_mood_changes(scenario) for scenario in scenarios),
        personas=dict(sorted(Counter(scenario.persona for scenario in scenarios).items())),
        voices=len({scenario.user_voice for scenario in scenarios}),
    )


def _needs_context(turn: Turn) -> bool:
    return any(point.needs for point in turn.key_points)


def _mood_changes(scenario: Scenario) -> bool:
    return len({mood_family(turn.mood) for turn in scenario.turns}) > 1


def markdown(figures: Figures) -> str:
    """The generated part of the datasheet."""
    f = figures
    rows = [
        ("scenarios", f"{f.scenarios} in {len(f.categories)} categories"),
        ("turns", f"{f.turns}, {f.turns / f.scenarios:.2f} per scenario"),
        ("turns per scenario", ", ".join(f"{count} of {length}" for length, count in f.lengths.items())),
        ("later turns that lean on an earlier one", f"{f.leaning_turns} of {f.later_turns}"),
        ("... with a key point that can't be known without it", f"{f.context_turns} of {f.later_turns}"),
        ("key points", f"{f.key_points}, of which {f.context_points} need an earlier turn"),
        ("words in a user turn", _spread(f.user_words)),
        ("words in a reference reply", _spread(f.reply_words)),
        ("scenarios that stress a dimension", _listing(f.dimensions)),
        ("moods of the user", f"{f.moods} as written; by family: {_listing(f.families)}"),
        ("scenarios in which the family changes", f"{f.changing}"),
        ("categories", _listing(f.categories)),
        ("personas", _listing(f.personas)),
        ("user voices", f"{f.voices}"),
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


def figure_svg(figures: Figures) -> str:
    """Bar charts of the set as an SVG drawing."""
    panels = [
        ("Turns per scenario", figures.lengths),
        ("Scenarios stressing each dimension", figures.dimensions),
        ("Words in a user turn", _histogram(figures.user_words, 5)),
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
        f'<rect width="{_WIDTH}" height="{y}" fill="{_PAPER}"/>\n' + "\n".join(parts) + "\n</svg>\n"
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m interbench.scenarios.datasheet", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("folder", type=Path, help="folder with scenarios.jsonl and README.md")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a figure is out of date")
    arguments = parser.parse_args(argv)
    folder: Path = arguments.folder
    try:
        figures = figures_of(load_set(folder))
        readme = (folder / README).read_text(encoding="utf-8")
        wanted = {README: with_figures(readme, markdown(figures)), FIGURES: figure_svg(figures)}
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
