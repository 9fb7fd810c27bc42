from dataclasses import replace
from pathlib import Path

import pytest
import torch
from livetalk.training.conditions import (
    LIST_NAME,
    ConditionError,
    condition_key,
    read_conditions,
    write_conditions,
)
from livetalk.training.records import (
    CACHE,
    TRAJECTORIES,
    CacheSettings,
    ConditionReader,
    ConditionRecord,
    RecordError,
    TrajectoryReader,
    TrajectorySettings,
    valid_text,
    write_condition,
    write_negative,
    write_settings,
    write_trajectories,
    write_whole,
)
from safetensors.torch import save_file

FRAMES = 6
CACHED = CacheSettings(FRAMES, 4, 4, 9, 5, 7, 16, False, "ugly", "seed 0")
SAMPLED = TrajectorySettings(
    "tiny",
    "0" * 64,
    4,
    5.0,
    4.5,
    4.5,
    CACHED.negative_hash,
    0,
    "bfloat16",
    "float32",
    (1000.0,),
    (0, 4),
    (1.0, 0.0),
    64,
)


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".png").write_bytes(name.encode())
        path.with_suffix(".wav").write_bytes(b"sound of " + name.encode())
        path.with_suffix(".txt").write_text(f"{name} speaks\n")
    return root


def test_pictures_of_one_name_in_two_folders_are_two_conditions(tmp_path: Path) -> None:
    found = read_conditions(folder_of(tmp_path, "a/1", "b/1"))
    assert [one.id for one in found] == ["a/1", "b/1"]
    assert len({one.key for one in found}) == len({one.digest() for one in found}) == 2


def test_a_list_reads_as_it_was_written(tmp_path: Path) -> None:
    first, second = read_conditions(folder_of(tmp_path, "a/1", "b/1"))
    second = replace(second, start=1.5, further={"source": "hdtf", "metrics": {"luma": 0.4}})
    write_conditions(tmp_path / LIST_NAME, [first, second])
    assert read_conditions(tmp_path) == [first, second] == read_conditions(tmp_path / LIST_NAME)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Line 2 .* not JSON"),
        ("[]", "Line 2 .* not an object"),
        ('{"id": "x", "image": "a.png", "audio": "a.wav"}', "no text under 'text'"),
        ('{"id": "x", "image": "a.png", "audio": "a.wav", "text": "t", "start": -1}', "no number of seconds"),
        ('{"id": "x", "image": "a.png", "audio": "b.wav", "text": "t"}', "is not there"),
        ('{"id": "a", "image": "a.png", "audio": "a.wav", "text": "t"}', "comes twice"),
    ],
)
def test_a_line_that_can_not_be_used_is_named(tmp_path: Path, line: str, words: str) -> None:
    folder_of(tmp_path, "a")
    (tmp_path / LIST_NAME).write_text('{"id": "a", "image": "a.png", "audio": "a.wav", "text": "t"}\n' + line + "\n")
    with pytest.raises(ConditionError, match=words):
        read_conditions(tmp_path)


def test_a_picture_without_sound_or_text_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, "a", "b")
    (tmp_path / "b.txt").write_text(" ")
    with pytest.raises(ConditionError, match=r"b\.txt is empty"):
        read_conditions(tmp_path)
    (tmp_path / "b.wav").unlink()
    with pytest.raises(ConditionError, match="no sound"):
        read_conditions(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConditionError, match="holds no conditions"):
        read_conditions(tmp_path / "empty")


def test_conditions_change_their_digest_with_what_they_are_made_from(tmp_path: Path) -> None:
    (one,) = read_conditions(folder_of(tmp_path, "a"))
    digests = {one.digest(), replace(one, start=1.0).digest(), replace(one, text="other").digest()}
    one.image.write_bytes(b"another")
    assert len(digests | {one.digest()}) == 4


def record(name: str) -> ConditionRecord:
    context = torch.randn(1, 9, 5)
    context[:, 4:] = 0
    return ConditionRecord(name, "d", valid_text(context), torch.randn(21, 7), torch.randn(1, 16, 4, 4))


def test_a_condition_reads_as_it_was_written(tmp_path: Path) -> None:
    write_settings(tmp_path / CACHE, CACHED)
    write_negative(tmp_path, torch.ones(2, 5))
    given = record("a/1")
    write_condition(tmp_path, given)
    reader = ConditionReader(tmp_path)
    found = reader.read("a/1")
    assert found.text.shape == (4, 5)
    assert all(torch.equal(getattr(found, name), getattr(given, name)) for name in ("text", "audio", "reference"))
    assert found.context(9)[0, 4:].abs().sum() == 0
    assert reader.negative().shape == (1, 9, 5)
    assert (reader.ids(), reader.digest("a/1"), reader.digest("b")) == (["a/1"], "d", None)
    with pytest.raises(RecordError, match="can't be read"):
        reader.read("b")


def test_trajectories_are_read_whole_or_by_block(tmp_path: Path) -> None:
    folder = tmp_path / TRAJECTORIES
    write_settings(folder, SAMPLED)
    states = {name: torch.randn(5, FRAMES, 16, 4, 4).bfloat16() for name in ("a/1", "b/1", "c")}
    write_trajectories(folder / f"{condition_key('c')}.safetensors", {"c": states["c"]}, {"c": "3"}, SAMPLED)
    shard = {name: states[name] for name in ("a/1", "b/1")}
    write_trajectories(folder / "shard-00000.safetensors", shard, {"a/1": "1", "b/1": "2"}, SAMPLED)
    reader = TrajectoryReader(tmp_path)
    assert reader.ids() == ["a/1", "b/1", "c"]
    assert [reader.digest(name) for name in reader.ids()] == ["1", "2", "3"]
    assert all(torch.equal(reader.states(name), states[name]) for name in states)
    noisy, final = reader.training_pair("b/1", (2, 0))
    assert torch.equal(noisy, torch.cat((states["b/1"][2, :3], states["b/1"][0, 3:])))
    assert torch.equal(final, states["b/1"][4])
    with pytest.raises(ValueError, match="3 levels for 6"):
        reader.training_pair("b/1", (0, 0, 0))


def test_settings_are_never_mixed(tmp_path: Path) -> None:
    folder = tmp_path / TRAJECTORIES
    write_settings(folder, SAMPLED)
    write_settings(folder, SAMPLED)
    other = replace(SAMPLED, text_scale=6.0)
    with pytest.raises(RecordError, match=r"text_scale is 4\.5 there, 6\.0 here"):
        write_settings(folder, other)
    with pytest.raises(RecordError, match="text_scale"):
        TrajectoryReader(tmp_path, other)
    write_trajectories(folder / "shard-00000.safetensors", {"a": torch.zeros(1)}, {"a": "1"}, other)
    with pytest.raises(RecordError, match=r"shard-00000.*text_scale"):
        TrajectoryReader(tmp_path)


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    folder = tmp_path / TRAJECTORIES
    with pytest.raises(RecordError, match="train trajectories"):
        TrajectoryReader(tmp_path)
    write_settings(folder, SAMPLED)
    (folder / "shard-00000.safetensors").write_bytes(b"cut")
    with pytest.raises(RecordError, match="Remove it"):
        TrajectoryReader(tmp_path)
    (folder / "settings.json").write_text("{}")
    with pytest.raises(RecordError, match="not what this version writes"):
        TrajectoryReader(tmp_path)


def test_whoever_may_read_the_rest_may_read_what_is_written(tmp_path: Path) -> None:
    """Else a lab's data and models could be used by nobody but the one who made them."""
    (tmp_path / "plain").write_bytes(b"")
    left = tmp_path / ".model.safetensors.part"  # by a run that was killed, with a mode of its own
    left.write_bytes(b"half")
    left.chmod(0o600)
    write_negative(tmp_path, torch.ones(2, 5))
    write_whole(tmp_path / "model.safetensors", lambda partial: save_file({"a": torch.ones(2)}, partial))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 3 and len({path.stat().st_mode for path in written}) == 1
