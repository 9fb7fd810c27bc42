"""A study from the making to the figures, without a browser: what is drawn, blindness, packs, raters of known kinds."""

from __future__ import annotations

import asyncio
import csv
import json
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
import rating_kit
from rating_kit import SYSTEMS, cli
from rooms import imports, modules

import interbench
from interbench.base.errors import StoreError, UsageError
from interbench.cli.results import make_report
from interbench.domain.ratings import WHOLE, Answer, Kind, Showing
from interbench.judge.vlm.rubrics import Prompts
from interbench.rating.export import export_csv
from interbench.rating.pack import import_ratings, write_packs
from interbench.rating.page import showing_payload
from interbench.rating.results import people_verdicts, read_ratings
from interbench.rating.rubric import rated_dimensions
from interbench.rating.settings import StudySettings, make_settings
from interbench.rating.study import Study, make_study, require_study
from interbench.report.collect import collect_table, read_records
from interbench.report.people import EVERYONE, KEPT, SILENT, agreement_json, arena_json, collect_people
from interbench.store.manifest import read_manifest
from interbench.store.ratings import Ratings

Copied = Callable[[], Path]
QUALITY = {SYSTEMS[0]: 8, SYSTEMS[1]: 6, SYSTEMS[2]: 3}
"""What raters of known kinds think of the systems, whom they don't know."""


def made(run: Path, **settings: Any) -> Study:
    with Ratings(run, write=True) as ratings:
        return asyncio.run(make_study(ratings, make_settings({"items": 12, **settings}), lambda line: None))


@pytest.fixture(scope="module")
def study_run(copied: Copied) -> Path:
    """Four raters, conversations and pairs."""
    run = copied()
    made(run, raters=4, per_item=3, mode="both", dimensions=["MVC", "SR", "OIE"], silent=0.5)
    return run


def opinion(showing: Showing, key: str, rng: random.Random, kind: str) -> dict[str, Any]:
    """What a rater of a known kind answers."""
    if len(showing.sides) == 2:
        left, right = (QUALITY[side.system] + rng.gauss(0, 1) for side in showing.sides)
        if showing.kind is Kind.DEFECT:
            choice = showing.instructed
        else:
            choice = "tie" if abs(left - right) < 0.3 else "left" if left > right else "right"
        return {"choice": rng.choice(["left", "right"]) if kind == "clicker" else choice}
    if kind == "clicker":
        return {"value": 9.0}
    if showing.kind is Kind.INSTRUCTED:
        return {"value": float(showing.instructed)}
    if showing.kind is Kind.DEFECT and key in showing.aims:
        return {"value": 1.0}
    taste = random.Random(f"{showing.scenario}/{key}").choice([-1, 0, 1])
    value = QUALITY[showing.sides[0].system] + taste + rng.choice([0, 0, 1, -1]) + (1 if kind == "lenient" else 0)
    return {"value": float(min(10, max(1, value)))}


def rate(run: Path, rater: str, kind: str) -> None:
    """All showings of one rater, answered by a rater of this kind."""
    rng = random.Random(f"{rater}/{kind}")
    with Ratings(run, write=True) as ratings:
        showings = ratings.showings()
        for name in ratings.order(rater):
            showing = showings[name]
            pace = 0.3 if kind == "clicker" else 1.6
            seconds = pace * showing.play_s
            of = [
                Answer(rater, name, key, n, seconds=seconds, played=1.0, **opinion(showing, key, rng, kind))
                for n, key in enumerate(showing.dimensions, start=1)
            ]
            ratings.record([*of, Answer(rater, name, WHOLE, len(of) + 1, seconds=seconds, played=1.0)])


@pytest.fixture(scope="module")
def rated_run(copied: Copied) -> Path:
    """The same, answered by two honest raters, a lenient one, and one who clicks."""
    run = copied()
    made(
        run, raters=4, per_item=4, mode="both", dimensions=["MVC", "SR", "OIE"], pair_dimensions=["SR", "OIE"],
        silent=0.5,
    )  # fmt: skip
    for rater, kind in (("r1", "honest"), ("r2", "honest"), ("r3", "lenient"), ("r4", "clicker")):
        rate(run, rater, kind)
    return run


# -- what is drawn ----------------------------------------------------------------------------------------------------


def test_blocks_are_as_the_settings_say(study_run: Path) -> None:
    with Ratings(study_run, write=False) as ratings:
        study, showings = require_study(ratings), ratings.showings()
        orders = {rater: [showings[name] for name in ratings.order(rater)] for rater in ratings.raters()}
    assert study.settings.asked == ("MVC", "SR", "OIE")
    assert len(study.facts["left_out"]) == 1 and study.facts["left_out"][0]["system"] == SYSTEMS[2]
    rated = Counter(s.id for order in orders.values() for s in order if s.kind is Kind.ITEM and s.sound)
    assert len(rated) == 11 and set(rated.values()) <= {3, 4}
    for order in orders.values():
        kinds = Counter(showing.kind for showing in order)
        assert kinds[Kind.DEFECT] == 2 and kinds[Kind.REPEAT] == 2 and kinds[Kind.INSTRUCTED] == 1
        silent = [n for n, s in enumerate(order) if not s.sound]
        assert silent == list(range(len(silent))) and silent, "without sound comes first"
        assert all(order[n].dimensions == ("MVC",) for n in silent), "only what is seen"
        for showing in order:
            if showing.kind is Kind.REPEAT:
                first = next(s for s in order if s.id == showing.repeats)
                assert order.index(first) < order.index(showing)
                assert {c.name for side in first.sides for c in side.clips}.isdisjoint(
                    c.name for side in showing.sides for c in side.clips
                )
        left = Counter(s.sides[0].system for s in order if s.kind is Kind.PAIR)
        pairs = Counter(frozenset(side.system for side in s.sides) for s in order if s.kind is Kind.PAIR)
        assert len(pairs) == 3 and len(left) > 1


def test_the_same_seed_draws_the_same_under_other_names(copied: Copied) -> None:
    drawn, names = [], []
    for _ in range(2):
        run = copied()
        made(run, raters=2, dimensions=["MVC"], seed=7)
        with Ratings(run, write=False) as ratings:
            showings = ratings.showings()
            order = [showings[name] for name in ratings.order("r1")]
        drawn.append([(s.kind, s.sides[0].system, s.scenario, s.instructed) for s in order])
        names.append({s.id for s in order})
    assert drawn[0] == drawn[1] and names[0].isdisjoint(names[1])


def test_questions_are_the_judges_own() -> None:
    rubrics = Prompts("published").rubrics
    assert set(rated_dimensions()) == set(rubrics)
    for key, question in rated_dimensions().items():
        text = rubrics[key].text
        shown = [line for p in question.paragraphs for line in (p.text, *p.points) if line]
        assert all(line in text for line in shown)
        assert any(line.startswith(f"{question.low}:") for line in shown), "the anchors"
        assert not any("boxed" in line or "RUBRIC" in line or "200 words" in line for line in shown)


def test_what_can_not_be_asked_for_is_refused(copied: Copied) -> None:
    with pytest.raises(UsageError, match="fewer than the 3 systems"):
        made(copied(), items=2)
    for wrong, said in (
        ({"per_item": 5, "raters": 2}, "5 raters per conversation"),
        ({"dimensions": ["XX"]}, "'XX' is not a dimension"),
        ({"dimensions": ["MVC", "MVC"]}, "named twice"),
        ({"raters": 0}, "raters"),
        ({"silent": 2}, "silent"),
    ):
        with pytest.raises(UsageError, match=said):
            make_settings(dict(wrong))


# -- blindness --------------------------------------------------------------------------------------------------------


def test_nothing_that_a_rater_gets_names_a_system(study_run: Path, tmp_path: Path) -> None:
    with Ratings(study_run, write=True) as ratings:
        study = require_study(ratings)
        folders = write_packs(ratings, study, tmp_path, ratings.raters())
        with pytest.raises(StoreError, match="there already"):
            write_packs(ratings, study, tmp_path, ["r1"])
    assert len(folders) == 4
    manifest = read_manifest(study_run / "manifest.json")
    assert manifest is not None
    given_away = [*SYSTEMS, "Coloured", "rating_kit", *manifest["scenarios"], "signals", "x264", "Lavf", "Lavc"]
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        assert not [name for name in given_away if name in str(path.relative_to(tmp_path))], path
        data = path.read_bytes()
        assert not [name for name in given_away if name.encode() in data], path
        assert path.stat().st_mtime == 0
    with Ratings(study_run, write=False) as ratings:
        told = [showing_payload(showing) for showing in ratings.showings().values()]
    assert len({frozenset(one) for one in told}) == 1, "a check has the fields of an item"


def test_clips_show_and_sound_as_they_were(study_run: Path) -> None:
    with Ratings(study_run, write=False) as ratings:
        showing = next(s for s in ratings.showings().values() if s.kind is Kind.ITEM and s.sound)
        side = showing.sides[0]
        copy = ratings.folder / "clips" / side.clips[0].name
        spoilt = [s for s in ratings.showings().values() if s.defect in ("frozen", "muted")]
    source = next((study_run / "media").glob(f"{side.system}*/{side.scenario}/1.mp4"))
    pictures, sounds = [], []
    for path in (source, copy):
        with av.open(str(path)) as container:
            pictures.append([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
            assert path == source or not container.metadata.keys() & {"title", "encoder"}
        with av.open(str(path)) as container:
            sounds.append(sum(frame.samples for frame in container.decode(audio=0)) / container.streams.audio[0].rate)
    assert len(pictures[0]) == len(pictures[1])
    assert all((a == b).all() for a, b in zip(*pictures, strict=True)), "taken over as it is coded"
    assert sounds[0] == pytest.approx(sounds[1], abs=0.05)
    assert spoilt
    for showing in spoilt:
        for side in showing.sides:
            for clip in side.clips:
                with av.open(str(study_run / "ratings" / "clips" / clip.name)) as container:
                    frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
                    silent = not container.streams.audio
                still = max(float(abs(f.astype(int) - frames[0]).mean()) for f in frames) < 1
                assert len(showing.sides) == 2 or (still if showing.defect == "frozen" else silent)


# -- packs ------------------------------------------------------------------------------------------------------------


def saved(run: Path, rater: str) -> dict[str, Any]:
    """What a pack's page saves when everything is answered with 5."""
    with Ratings(run, write=False) as ratings:
        study, showings = require_study(ratings), ratings.showings()
        answers = []
        for name in ratings.order(rater):
            keys = showings[name].dimensions
            pair = len(showings[name].sides) == 2
            given: list[dict[str, Any]] = [
                {"dimension": key, **({"choice": "tie"} if pair else {"value": 5})} for key in keys
            ]
            for n, one in enumerate([*given, {"dimension": WHOLE}], start=1):
                answers.append({"showing": name, "revision": n, "seconds": 3.5, "played": 1, "at": "2026-01-01", **one})
    return {
        "schema": "interbench.ratings/1", "study": study.id, "catalogue": study.catalogue, "rater": rater,
        "answers": answers, "closing": {"recognised": True, "note": "a voice"},
    }  # fmt: skip


def test_a_pack_is_taken_over_once_and_its_revisions_count(study_run: Path, tmp_path: Path) -> None:
    held = saved(study_run, "r2")
    path = tmp_path / "ratings.json"
    path.write_text(json.dumps(held))
    first = cli("rate", study_run, "--import", path)
    assert first.returncode == 0, first.stderr
    assert f"{len(held['answers'])} of them new" in first.stdout
    again = cli("rate", study_run, "--import", path)
    assert ", 0 of them new" in again.stdout
    changed = {**held["answers"][0], "value": 9, "revision": 9, "at": "1999-01-01"}
    path.write_text(json.dumps({**held, "answers": [changed, *held["answers"]]}))
    with Ratings(study_run, write=True) as ratings:
        assert import_ratings(ratings, require_study(ratings), path).new == 1
        latest = {(a.showing, a.dimension): a for a in ratings.answers("r2")}
        assert latest[changed["showing"], changed["dimension"]].value == 9, "by revision, whatever the clock says"
        assert ratings.closings()[0].recognised
    assert "r2: " in cli("rate", study_run, "--status").stdout


def test_what_a_file_can_not_hold_is_refused_by_name_and_whole(study_run: Path, tmp_path: Path) -> None:
    held = saved(study_run, "r3")
    path = tmp_path / "ratings.json"
    one = held["answers"][0]

    def spoilt(**change: Any) -> dict[str, Any]:
        return {**held, "answers": [*held["answers"][1:], {**one, **change}]}

    with Ratings(study_run, write=True) as ratings:
        other = next(name for name in ratings.showings() if name not in ratings.order("r3"))
        study = require_study(ratings)
        for data, said in (
            ({**held, "study": "0" * 16}, "another study"),
            ({**held, "catalogue": "0"}, "another catalogue"),
            ({**held, "rater": "r9"}, "does not know"),
            ({**held, "schema": "x"}, "no ratings of this version"),
            ({**held, "answers": 3}, "no list"),
            ([1], "no ratings"),
            (spoilt(value=11), "from 1 to 10"),
            (spoilt(value=0), "from 1 to 10"),
            (spoilt(value=5.5), "no answer"),
            (spoilt(value=float("nan")), "no answer"),
            (spoilt(showing=other), "Nothing called"),
            (spoilt(showing=["x"]), "no answer"),
            (spoilt(dimension="CU"), "not asked"),
            (spoilt(played=0.2), "20 % of it was played"),
            (spoilt(choice="left"), "from 1 to 10"),
            (spoilt(extra=1), "no answer"),
            (spoilt(seconds=-1), "no answer"),
        ):
            path.write_text(json.dumps(data))
            with pytest.raises(UsageError, match=said):
                import_ratings(ratings, study, path)
            assert not ratings.answers("r3")
        path.write_text("{")
        with pytest.raises(UsageError, match="can't be read"):
            import_ratings(ratings, study, path)


# -- figures ----------------------------------------------------------------------------------------------------------


def test_who_clicks_is_left_out_by_the_rule_and_nobody_else(rated_run: Path) -> None:
    said = read_ratings(rated_run)
    assert said.raters == ("r1", "r2", "r3", "r4") and said.kept == ("r1", "r2", "r3")
    clicker = said.diligence["r4"]
    assert len(clicker.failed) >= 2 and clicker.hurry == pytest.approx(0.3)
    assert [why.split()[0] for why in clicker.out] == ["failed", "median"]
    honest = said.diligence["r1"]
    assert not honest.failed and honest.retest is not None and honest.retest < 2 and honest.consistent is not None


def test_people_are_a_judge_like_any_other(rated_run: Path) -> None:
    said = read_ratings(rated_run)
    verdicts = people_verdicts(said, said.kept)
    assert {v.sample for v in verdicts if v.score is not None} == {0, 1, 2}
    lost = [v for v in verdicts if v.score is None]
    assert {(v.system, v.missing) for v in lost} == {(SYSTEMS[2], "incomplete_conversation")}
    run = read_records(rated_run, "people")
    assert run.judge is not None and run.judge.name == "people"
    table = collect_table([run], replicates=40)
    order = sorted(table.rows, key=lambda row: -(row.figure("OIE").percentile or 0))
    assert [row.system for row in order] == list(SYSTEMS)
    assert order[-1].figure("OIE").coverage.scored == 3 and order[-1].figure("OIE").coverage.expected == 4
    assert order[0].figure("EA").percentile is None, "was not asked"


def test_the_table_has_rows_of_people_in_every_format(rated_run: Path) -> None:
    shown = cli("table", rated_run, "--humans", "-f", "md")
    assert shown.returncode == 0, shown.stderr
    assert f"| {SYSTEMS[0]} (people) |" in shown.stdout and "left out by the study's rule" in shown.stdout
    held = json.loads(cli("table", rated_run, "--humans", "-f", "json").stdout)
    assert {row["system"] for row in held["people"]} == set(SYSTEMS)
    scored = {row["system"]: row["dimensions"]["SR"]["scored"] for row in held["people"]}
    assert scored == {SYSTEMS[0]: 4, SYSTEMS[1]: 4, SYSTEMS[2]: 3}
    rows = list(csv.DictReader(cli("table", rated_run, "--humans", "-f", "csv").stdout.splitlines()))
    assert Counter(row["source"] for row in rows) == {"measured": 3, "people": 3}
    assert "one run folder" in cli("table", rated_run, f"b={rated_run}", "--humans").stderr
    assert "without --compare and --by" in cli("table", rated_run, "--humans", "--by", "persona").stderr
    labelled = cli("table", f"x={rated_run}", "--humans", "-f", "md").stdout
    assert f"| x/{SYSTEMS[0]} (people) |" in labelled


def test_scores_and_report_take_people_in_the_judges_place(rated_run: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(cli("scores", rated_run, "--judge", "people").stdout.splitlines()))
    asked = [row for row in rows if row["dimension"] == "OIE" and row["score"]]
    assert len(asked) == 3 * 11 and {row["sample"] for row in asked} == {"0", "1", "2"}
    sheet = tmp_path / "scores.csv"
    written = cli("scores", rated_run, "--judge", "people", "-o", sheet)
    assert written.returncode == 0 and written.stdout == f"{sheet}: {len(rows)} rows of scores.\n"
    again, direct = (
        json.loads(cli("table", *source, "-f", "json").stdout)["systems"]
        for source in ((sheet,), (rated_run, "--judge", "people"))
    )
    assert [s["dimensions"]["OIE"] for s in again] == [s["dimensions"]["OIE"] for s in direct]
    page = make_report(rated_run, tmp_path / "report", judge="people")
    assert "judged by <bdi>people</bdi>" in page.read_text(encoding="utf-8")


def test_agreement_with_and_without_who_is_left_out(rated_run: Path) -> None:
    people = collect_people(read_records(rated_run), read_ratings(rated_run), replicates=60)
    assert set(people.agreement) == {KEPT, EVERYONE, SILENT}
    kept, everyone = (people.agreement[group]["OIE"] for group in (KEPT, EVERYONE))
    assert (kept.raters, kept.conversations, kept.ratings) == (3, 11, 33) and everyone.raters == 4
    assert kept.alpha.value is not None and everyone.alpha.value is not None
    assert kept.alpha.value > 0.6 > everyone.alpha.value
    assert kept.pooled_spearman.why == "not judged", "its judge does not score it"
    assert people.agreement[KEPT]["MVC"].bias[SYSTEMS[2]].value is not None
    assert set(people.agreement[SILENT]) == {"MVC"}
    held = agreement_json(people)
    assert held["schema"] == "interbench.agreement/1" and held["left_out"] == ["r4"]
    assert held["groups"]["kept"]["OIE"]["alpha"]["value"] == kept.alpha.value
    json.dumps(held, allow_nan=False)


def test_the_arena_orders_systems_as_people_do(rated_run: Path) -> None:
    people = collect_people(read_records(rated_run), read_ratings(rated_run), replicates=60)
    arena = people.arenas[KEPT]["OIE"].people
    assert arena.votes == 3 * (3 * 3 + 1), "all pairs of four scenarios, one system missing in one, three raters"
    assert [s.system for s in sorted(arena.standings, key=lambda s: -s.wins)] == list(SYSTEMS)
    assert people.arenas[KEPT]["OIE"].judge is None, "its judge does not score it"
    judged = people.arenas[KEPT]["SR"]
    assert judged.judge is not None and judged.judged == arena.votes == judged.judge.votes
    assert 0 <= judged.same <= judged.decided == arena.votes - judged.people.ties
    assert people.arenas[EVERYONE]["SR"].people.votes == 40
    json.dumps(arena_json(people), allow_nan=False)


def test_the_verbs_print_and_the_report_has_a_part_on_people(rated_run: Path, tmp_path: Path) -> None:
    shown = cli("agree", rated_run, "--replicates", "60", "-f", "md")
    assert shown.returncode == 0, shown.stderr
    assert "Krippendorff α" in shown.stdout and "Left out: failed" in shown.stdout
    held = json.loads(cli("arena", rated_run, "--replicates", "60", "-f", "json").stdout)
    assert held["schema"] == "interbench.arena/1"
    index = make_report(rated_run, tmp_path / "report")
    text = index.read_text(encoding="utf-8")
    assert "Krippendorff α" in text and f"{SYSTEMS[0]} (people)" in text and "People&#39;s win rate" in text
    assert json.loads((index.parent / "agreement.json").read_text())["schema"] == "interbench.agreement/1"
    page = make_report(rated_run, tmp_path / "page.html", single_page=True)
    assert "Krippendorff α" in page.read_text(encoding="utf-8")


def test_the_sheet_has_every_answer_with_the_systems(rated_run: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(export_csv(read_ratings(rated_run)).splitlines()))
    assert {row["rater"] for row in rows} == {"r1", "r2", "r3", "r4"}
    assert {row["left_out"] for row in rows if row["rater"] == "r1"} == {""}
    pair = next(row for row in rows if row["kind"] == "pair")
    assert {pair["system"], pair["other_system"]} <= set(SYSTEMS) and pair["choice"]
    assert cli("rate", rated_run, "--export", tmp_path / "no" / "where.csv").returncode == 2


def test_a_conversation_that_was_played_anew_loses_what_was_said_of_it(rated_run: Path) -> None:
    said = read_ratings(rated_run)
    name = (SYSTEMS[0], "test-001")
    changed = replace(said, digests={**said.digests, name: "other"})
    assert changed.stale == 1
    of = {(v.system, v.scenario) for v in people_verdicts(changed, changed.kept)}
    assert name not in of and len(of) == len({(v.system, v.scenario) for v in people_verdicts(said, said.kept)}) - 1


# -- settings and the file that keeps it ------------------------------------------------------------------------------


def test_a_study_can_be_published_and_made_again_and_does_not_change(study_run: Path, copied: Copied) -> None:
    published = rating_kit.settings_of(study_run)
    text = json.dumps(published)
    assert published["schema"] == "interbench.study/1"
    with Ratings(study_run, write=False) as ratings:
        study = require_study(ratings)
        secrets = [study.secret, *(study.token(rater) for rater in ratings.raters()), *ratings.showings()]
    assert not [secret for secret in secrets if secret in text]
    other = cli("rate", study_run, "--items", "9", "--pack", "x")
    assert other.returncode == 2 and "has a study already, with items 12" in other.stderr
    again = copied()
    study_file = study_run / "ratings" / "study.json"
    done = cli("rate", again, "--study", study_file, "--pack", again.parent / "packs")
    assert done.returncode == 0, done.stderr
    assert rating_kit.settings_of(again)["settings"] == published["settings"]
    assert rating_kit.settings_of(again)["id"] != published["id"]
    assert cli("rate", again, "--study", again / "manifest.json", "--status").returncode == 0
    assert "no study of this version" in cli("rate", again, "--study", again / "manifest.json", "--pack", "x").stderr


def test_ratings_have_a_lock_of_their_own(study_run: Path) -> None:
    with Ratings(study_run, write=True):
        second = cli("rate", study_run, "--pack", "x")
        assert second.returncode == 1 and "Another process" in second.stderr
        assert cli("rate", study_run, "--status").returncode == 0, "reading needs no lock"
        assert cli("judge", study_run, "--quiet").returncode == 0, "a judge may be at work meanwhile"


def test_what_is_not_there_is_said(copied: Copied, tmp_path: Path) -> None:
    run = copied()
    for arguments, said in (
        (("agree", run), "has no ratings. Make a study"),
        (("arena", run), "has no ratings"),
        (("table", run, "--humans"), "has no ratings"),
        (("table", run, "--judge", "people"), "has no ratings"),
        (("rate", run, "--status"), "has no ratings"),
        (("rate", tmp_path / "none", "--pack", "x"), "is not a run folder"),
    ):
        done = cli(*arguments)
        assert done.returncode != 0 and said in done.stderr and "Traceback" not in done.stderr, arguments
    assert not (run / "ratings.sqlite").exists()
    done = cli("rate", run, "--import", tmp_path / "x.json")
    assert "has no study yet" in done.stderr
    path = Ratings.path(run)
    path.unlink(missing_ok=True)
    sqlite3.connect(path).execute("PRAGMA user_version = 9").connection.close()
    assert "schema" in cli("rate", run, "--status").stderr


def test_only_serving_needs_more_than_the_core(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Path(interbench.__file__).parent
    needing = {
        name
        for name, path in modules(room, "interbench")
        if any(target.split(".")[0] in ("starlette", "uvicorn") for _, target in imports(path, name))
    }
    assert needing == {"interbench.rating.server", "interbench.rating.serve"}
    run = copied()
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as where it is not installed
    done = cli("rate", run)
    assert done.returncode == 2 and "needs uvicorn: pip install 'interbench[rate]'" in done.stderr
    assert not Ratings.path(run).exists()
    packed = cli("rate", run, "--items", "3", "--raters", "1", "--pack", run.parent / "packs")
    assert packed.returncode == 0, packed.stderr


def test_a_lost_clip_is_a_conversation_that_can_not_be_shown(copied: Copied) -> None:
    run = copied()
    next((run / "media").glob(f"{SYSTEMS[0]}*/test-002/1.mp4")).unlink()
    study = made(run, raters=1)
    assert {(lost["system"], lost["scenario"], lost["why"]) for lost in study.facts["left_out"]} == {
        (SYSTEMS[0], "test-002", "clip missing"),
        (SYSTEMS[2], "test-004", "turn 1 failed"),
    }
    assert StudySettings.model_validate(study.settings.model_dump()) == study.settings
