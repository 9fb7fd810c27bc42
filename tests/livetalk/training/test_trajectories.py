"""`livetalk train trajectories` and `livetalk train export`, with a small teacher of random weights."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recipe_kit
import torch
from livetalk.base.errors import CheckpointError, OptionError, OutputError
from livetalk.cli import main as cli
from livetalk.render.checkpoint import load_dit
from livetalk.render.config import Size
from livetalk.render.model import CausalDiT, random_state
from livetalk.render.model.weights import shape_digest, to_published
from livetalk.render.omniavatar.sampler import NEGATIVE_PROMPT
from livetalk.render.options import ModelChoice, ModelOptions
from livetalk.render.performer import generate_latents
from livetalk.training.checkpoints import RunError
from livetalk.training.claims import Claims
from livetalk.training.conditions import Condition, read_conditions, write_conditions
from livetalk.training.encoding import load_encoders, training_features
from livetalk.training.export import export
from livetalk.training.network import TrainingDiT
from livetalk.training.records import (
    TRAJECTORIES,
    ConditionReader,
    ConditionRecord,
    RecordError,
    TrajectoryReader,
    TrajectorySettings,
    write_settings,
    write_trajectories,
)
from livetalk.training.trajectories import Sampling, make_trajectories, pack, sample
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

FEW = Sampling(steps=4, frames=3, shard=2)


@pytest.fixture(scope="module")
def choice(tiny: Size) -> ModelChoice:
    small = replace(tiny, stream=replace(tiny.stream, latent_height=4, latent_width=4))
    return replace(ModelOptions(size="tiny", device="cpu").choose(model="omniavatar-1.3b"), size=small)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, voice: Callable[[float], np.ndarray]) -> Path:
    root = tmp_path_factory.mktemp("sources")
    for index, name in enumerate(("a/1", "b/1", "b/2")):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (80 * index, 90, 60)).save(path.with_suffix(".png"))
        path.with_suffix(".txt").write_text("a person speaks\n")
        with wave.open(str(path.with_suffix(".wav")), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((32767 * voice(0.3 + index)).astype("<i2").tobytes())
    return root


@pytest.fixture(scope="module")
def conditions(sources: Path) -> list[Condition]:
    return read_conditions(sources)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, choice: ModelChoice, conditions: list[Condition]) -> Path:
    """A finished data folder."""
    folder = tmp_path_factory.mktemp("made")
    tally = make_trajectories(choice, conditions, folder, FEW)
    assert (tally.encoded, tally.made, tally.there, tally.elsewhere, tally.failed) == (3, 3, 0, 0, {})
    return folder


def test_five_states_of_each_condition_lie_in_shards(made: Path) -> None:
    reader, cache = TrajectoryReader(made), ConditionReader(made)
    assert sorted(path.name for path in (made / TRAJECTORIES).glob("*.safetensors")) == [
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]
    assert reader.ids() == cache.ids() == ["a/1", "b/1", "b/2"]
    for name in reader.ids():
        states, record = reader.states(name), cache.read(name)
        assert states.shape == (5, 3, 16, 4, 4) and states.dtype == torch.bfloat16
        assert record.reference.shape == (1, 16, 4, 4) and record.audio.shape == (9, cache.settings.audio_width)
        assert 0 < len(record.text) < cache.settings.text_rows == 512
        assert all(torch.equal(state[0], record.reference[0].bfloat16()) for state in states)
        spread = [float((state[1:].float() - states[-1, 1:].float()).square().mean()) for state in states]
        assert spread == sorted(spread, reverse=True) and spread[-1] == 0  # noisiest first


def test_a_file_says_how_it_was_made(made: Path, choice: ModelChoice) -> None:
    with safe_open(str(made / TRAJECTORIES / "shard-00000.safetensors"), "pt") as file:
        told = json.loads(file.metadata()["settings"])
        assert set(json.loads(file.metadata()["conditions"])) == set(file.keys())
    settings = TrajectoryReader(made).settings
    assert told == json.loads(json.dumps(asdict(settings)))
    assert (settings.text_scale, settings.audio_scale, settings.shift, settings.kept) == (
        4.5,
        4.5,
        5.0,
        (0, 1, 2, 3, 4),
    )
    assert settings.negative_hash == ConditionReader(made).settings.negative_hash
    published = Sampling().settings(choice, settings.negative_hash)
    assert published.kept == (0, 12, 24, 36, 48)
    assert [published.timesteps[step] for step in published.kept[:4]] == [1000, 936, 832, 624]
    assert published.sigmas == pytest.approx((1, 0.9375, 0.8333333, 0.625, 0))


def test_what_is_there_is_kept(made: Path, choice: ModelChoice, conditions: list[Condition]) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.safetensors")}
    tally = make_trajectories(choice, conditions, made, FEW)
    assert (tally.encoded, tally.made, tally.there) == (0, 0, 3)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.safetensors")} == before


def test_other_settings_are_refused(made: Path, choice: ModelChoice, conditions: list[Condition]) -> None:
    for changed, words in (
        (replace(FEW, text_scale=6.0), "text_scale is 4.5 there, 6.0 here"),
        (replace(FEW, seed=1), "seed is 0 there, 1 here"),
        (replace(FEW, negative_prompt="ugly"), "negative_prompt"),
        (replace(FEW, zero_first_row=True), "zero_first_row"),
        (replace(FEW, frames=6), "frames is 3 there, 6 here"),
        (replace(FEW, stored="float32"), "dtype is 'bfloat16' there, 'float32' here"),
    ):
        with pytest.raises(RecordError, match=words):
            make_trajectories(choice, conditions, made, changed)
    with pytest.raises(RecordError, match=r"teacher is 'omniavatar-1\.3b' there"):
        make_trajectories(replace(choice, model="omniavatar-14b"), conditions, made, FEW)


def test_a_condition_that_has_changed_is_refused(made: Path, choice: ModelChoice, conditions: list[Condition]) -> None:
    changed = [conditions[0], replace(conditions[1], text="another person")]
    with pytest.raises(RecordError, match=r"1 conditions that were made from another .* 'b/1'"):
        make_trajectories(choice, changed, made, FEW)


WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
from livetalk.render.options import ModelOptions
from livetalk.training.claims import Claims
from livetalk.training.conditions import read_conditions
from livetalk.training.trajectories import Sampling, make_trajectories

folder, conditions = Path(sys.argv[1]), read_conditions(Path(sys.argv[2]))
choice = ModelOptions(size="tiny", device="cpu").choose(model="omniavatar-1.3b")
choice = replace(choice, size=replace(choice.size, stream=replace(choice.size.stream, latent_height=4, latent_width=4)))
claims = Claims(folder)
with claims.claim(conditions[1].key) as free:
    print(free, flush=True)
    sys.stdin.readline()
claims.close()
tally = make_trajectories(choice, conditions, folder, Sampling(steps=4, frames=3, shard=2))
print(tally.encoded, tally.made, tally.there, tally.elsewhere)
"""


@pytest.mark.soak
def test_processes_share_the_work(
    tmp_path: Path, sources: Path, conditions: list[Condition], choice: ModelChoice, made: Path
) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(sources)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == "True"
        here = make_trajectories(choice, conditions, tmp_path, FEW)
        assert (here.encoded, here.made, here.elsewhere) == (2, 2, 1)  # the other is at the third
        assert TrajectoryReader(tmp_path).ids() == ["a/1", "b/2"]
        there, _ = other.communicate("go on\n")
    assert other.returncode == 0 and there.split() == ["1", "1", "2", "0"]
    found, expected = TrajectoryReader(tmp_path), TrajectoryReader(made)
    # Whoever makes it: the noise of a condition is its own. (Threads may sum in another order.)
    assert found.ids() == expected.ids()
    assert all(torch.allclose(found.states(name), expected.states(name), atol=0.05) for name in found.ids())
    assert sorted(path.name for path in (tmp_path / TRAJECTORIES).glob("*")) == [
        "settings.json",
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]


HOLDER = """
import sys, time
from pathlib import Path
from livetalk.training.claims import Claims
from livetalk.training.conditions import condition_key

with Claims(Path(sys.argv[1])).claim(condition_key(sys.argv[2])) as free:
    print(free, flush=True)
    time.sleep(600)
"""


def test_a_killed_process_loses_the_one_it_was_at(
    tmp_path: Path, conditions: list[Condition], choice: ModelChoice, made: Path
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), "b/1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == "True"
        tally = make_trajectories(choice, conditions, tmp_path, FEW)
        assert (tally.encoded, tally.made, tally.elsewhere) == (2, 2, 1)  # the other is at the third
        assert TrajectoryReader(tmp_path).ids() == ["a/1", "b/2"]
        other.kill()
    tally = make_trajectories(choice, conditions, tmp_path, FEW)
    assert (tally.encoded, tally.made, tally.there, tally.elsewhere) == (1, 1, 2, 0)
    found, expected = TrajectoryReader(tmp_path), TrajectoryReader(made)
    # Whenever it is made: the noise of a condition is its own.
    assert found.ids() == expected.ids()
    assert all(torch.allclose(found.states(name), expected.states(name), atol=0.05) for name in found.ids())


def test_the_command_tells_what_became_of_each(tmp_path: Path, conditions: list[Condition]) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    listed = [conditions[0], replace(conditions[0], id="bad", image=tmp_path / "bad.png")]
    write_conditions(tmp_path / "conditions.jsonl", listed)
    given = ["train", "trajectories", str(tmp_path), "--out", str(tmp_path / "data"), "--size", "tiny"]
    ran = CliRunner().invoke(cli.app, [*given, "--device", "cpu", "--steps", "4", "--frames", "3"])
    assert ran.exit_code == 1
    assert "2 conditions; 1 encoded now; 1 trajectories made" in ran.output and "1 failed" in ran.output
    assert "'bad'" in ran.output
    assert TrajectoryReader(tmp_path / "data").states("a/1").shape == (5, 3, 16, 16, 16)


def test_a_claim_is_one_processes(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    code = f"""
from pathlib import Path
from livetalk.training.claims import Claims
claims = Claims(Path({str(tmp_path)!r}))
for key in ("0" * 20, "1" * 20):
    with claims.claim(key) as free:
        print(free)
"""
    with claims.claim("0" * 20) as free:
        assert free
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "True"]
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["True", "True"]
    claims.close()


def test_a_condition_that_fails_is_told_and_spoils_no_other(
    tmp_path: Path, choice: ModelChoice, conditions: list[Condition]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    late = replace(conditions[1], id="late", start=99.0)
    tally = make_trajectories(choice, [conditions[0], replace(conditions[0], id="bad", image=bad), late], tmp_path, FEW)
    assert (tally.made, set(tally.failed)) == (1, {"bad", "late"})
    assert "not an image" in tally.failed["bad"] and "no samples from second 99" in tally.failed["late"]
    # One that failed keeps the last shard open: it may come yet.
    assert not list((tmp_path / TRAJECTORIES).glob("shard-*")) and TrajectoryReader(tmp_path).ids() == ["a/1"]


def test_a_shard_that_was_written_by_a_killed_process_is_finished(tmp_path: Path, made: Path) -> None:
    reader = TrajectoryReader(made)
    folder = tmp_path / TRAJECTORIES
    write_settings(folder, reader.settings)
    states = {name: reader.states(name) for name in reader.ids()}
    digests = {name: reader.digest(name) or "" for name in states}
    for name in states:  # of the first two the shard is there, and the single files not yet removed
        key = ConditionReader(made).path(name).name
        write_trajectories(folder / key, {name: states[name]}, {name: digests[name]}, reader.settings)
    first = dict(list(states.items())[:2])
    write_trajectories(
        folder / "shard-00000.safetensors", first, {name: digests[name] for name in first}, reader.settings
    )
    pack(tmp_path, reader.settings)
    assert len(list(folder.glob("*.safetensors"))) == 2  # the shard, and the third by itself
    pack(tmp_path, reader.settings, last=True)
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]
    again = TrajectoryReader(tmp_path)
    assert all(torch.equal(again.states(name), value) for name, value in states.items())


def test_noise_depends_on_the_seed_and_the_id() -> None:
    case, about = recipe_kit.case("omni_sampler48"), recipe_kit.manifest()["cases"]["omni_sampler48"]
    settings = TrajectorySettings(
        "teacher", "", 4, 5.0, about["scale"], about["scale"], "", 7, "float32", "float32", (), (0, 1, 2, 3, 4), (), 1
    )
    record = ConditionRecord("x", "", case["context"][0], case["audio"][0], case["ref_latent"][0])
    teacher = recipe_kit.network("teacher")
    states = sample(teacher, record, case["negative_context"], settings, case["context"].shape[1])
    again = sample(teacher, record, case["negative_context"], settings, case["context"].shape[1])
    other = sample(teacher, replace(record, id="y"), case["negative_context"], settings, case["context"].shape[1])
    assert torch.equal(states, again)
    assert not torch.equal(states[0, 1:], other[0, 1:])
    assert states.shape == (5, 9, 16, 4, 6) and torch.equal(states[:, 0], case["ref_latent"][0].expand(5, -1, -1, -1))
    broken = replace(record, audio=torch.full_like(record.audio, torch.nan))
    with pytest.raises(RecordError, match="not numbers"):
        sample(teacher, broken, case["negative_context"], settings, case["context"].shape[1])


def test_short_sound_is_looped_and_no_row_is_zero(made: Path, choice: ModelChoice) -> None:
    settings, speech = ConditionReader(made).settings, load_encoders(choice).speech
    sound = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    assert settings.audio_rows == 9  # of 9000 samples: the sound three times
    features = training_features(speech, sound, 0.0, settings)
    assert torch.equal(features, training_features(speech, np.tile(sound, 4), 0.0, settings))
    assert bool(features.any(dim=1).all())
    zeroed = training_features(speech, sound, 0.0, replace(settings, zero_first_row=True))
    assert zeroed.shape == features.shape and not zeroed[0].any() and bool(zeroed[1:].any(dim=1).all())


@pytest.mark.parametrize(
    ("changed", "words"), [({"steps": 6}, "no quarters"), ({"frames": 4}, "whole number of blocks")]
)
def test_what_can_not_be_kept_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        replace(FEW, **changed)


def test_the_negative_prompt_is_omniavatars() -> None:
    assert Sampling().negative_prompt == NEGATIVE_PROMPT and NEGATIVE_PROMPT.endswith("walking backward")


# -- export ------------------------------------------------------------------------------------------------------------


def clip_latents(dit: CausalDiT, size: Size) -> torch.Tensor:
    draw = torch.Generator().manual_seed(5)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    config = size.dit
    return generate_latents(
        dit,
        noise=random(1, 6, 16, 4, 4),
        step_noise=random(2, 3, 3, 16, 4, 4),
        reference=random(1, 16, 1, 4, 4),
        audio=random(config.audio_injections, 6, config.dim),
        context=random(1, 8, config.text_dim),
        stream=replace(size.stream, latent_height=4, latent_width=4),
    )


def test_an_exported_student_renders_what_the_trained_one_does(tmp_path: Path, tiny: Size) -> None:
    config = tiny.dit
    trained = TrainingDiT(config)
    trained.load_state_dict(CausalDiT.from_state(config, random_state(config, seed=3)).state_dict())
    with torch.no_grad():
        for value in trained.parameters():
            value.mul_(1.01)
    state = to_published(config, dict(trained.named_parameters()))
    told = export(state, config, tmp_path / "student.safetensors", dtype="float32", about={"step": "7"})
    assert told.tensors == len(random_state(config)) and told.digest == shape_digest(
        {name: tuple(value.shape) for name, value in state.items()}
    )
    direct = CausalDiT(config)
    direct.load_state_dict(trained.state_dict())
    direct.requires_grad_(False).use_attention("auto")
    loaded = load_dit(told.path, config, dtype=torch.float32)
    assert torch.equal(clip_latents(loaded, tiny), clip_latents(direct, tiny))
    with safe_open(str(told.path), "pt") as file:
        assert file.metadata()["step"] == "7" and file.metadata()["shape_digest"] == told.digest

    half = export(state, config, tmp_path / "half.safetensors", dtype="bfloat16")
    assert {value.dtype for value in load_file(half.path).values()} == {torch.bfloat16}
    assert torch.equal(clip_latents(load_dit(half.path, config), tiny), clip_latents(direct.to(torch.bfloat16), tiny))


def test_the_command_exports_what_generate_takes(
    tmp_path: Path, tiny: Size, portrait: Path, wav: Callable[..., bytes], voice: Callable[[float], np.ndarray]
) -> None:
    out = tmp_path / "student.safetensors"
    ran = CliRunner().invoke(
        cli.app, ["train", "export", "random:4", "--out", str(out), "--size", "tiny", "--note", "from nothing"]
    )
    assert ran.exit_code == 0, ran.output
    assert f"{len(random_state(tiny.dit))} tensors" in ran.output and "random:4" in ran.output
    with safe_open(str(out), "pt") as file:
        assert file.metadata()["note"] == "from nothing" and file.metadata()["source"] == "random:4"
    models = ModelOptions(size="tiny", device="cpu", weights=out).choose().load()
    expected = {name: value.bfloat16().float() for name, value in random_state(tiny.dit, seed=4).items()}
    found = to_published(tiny.dit, models.dit.state_dict())
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert models.weights == str(out)


def test_what_is_no_student_is_not_exported(tmp_path: Path, tiny: Size) -> None:
    state, out = random_state(tiny.dit), tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match=r"1 missing: head\.modulation"):
        export({name: value for name, value in state.items() if name != "head.modulation"}, tiny.dit, out)
    state["head.modulation"][0, 0, 0] = torch.nan
    with pytest.raises(RunError, match=r"not numbers, such as head\.modulation"):
        export(state, tiny.dit, out)
    with pytest.raises(OutputError, match="There is no folder"):
        export(state, tiny.dit, tmp_path / "no" / "x.safetensors")
    with pytest.raises(OutputError, match=r"not the name of a \.safetensors file"):
        export(state, tiny.dit, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []
