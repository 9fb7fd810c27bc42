"""The options of the command line stand once, and mean the same in every verb."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
import typer
from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.cli import bench, generate, serve
from livetalk.cli.main import app
from livetalk.cli.parameters import add_verb
from livetalk.cli.thinker import ThinkerOptions
from livetalk.live.settings import LiveSettings
from livetalk.render.config import SIZES, StreamConfig
from livetalk.render.options import (
    BUNDLED,
    CHECKPOINTS,
    ModelOptions,
    SpeedOptions,
    StreamOptions,
    find_device,
)
from livetalk.server.limits import Limits
from livetalk.thinkers.base import ThinkerError
from livetalk.thinkers.options import ThinkerOptionError
from typer.testing import CliRunner


def parameters(verb: str) -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return {parameter.name: parameter for parameter in group.commands[verb].params}


def help_of(verb: str) -> str:
    outcome = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "300"})
    assert outcome.exit_code == 0
    return outcome.output


# -- what the classes say ----------------------------------------------------------------------------------------------


def test_the_verbs_share_what_they_have_in_common() -> None:
    shared = ["size", "checkpoints", "random_weights", "device", "text_device", "decode_device", "dtype", "attention"]
    shared += ["window", "sink", "steps"]
    verbs = [parameters(verb) for verb in ("generate", "serve", "bench")]
    for name in shared:
        said = {(found[name].help, tuple(found[name].opts), found[name].default) for found in verbs}
        assert len(said) == 1, name


def test_no_function_has_more_than_a_dozen_parameters() -> None:
    for module in (bench.bench, generate.generate, serve.serve):
        assert len(inspect.signature(module).parameters) <= 12


def test_defaults_are_those_of_what_they_set() -> None:
    stream, speed = StreamConfig(position="bounded"), SpeedOptions()
    limits = serve.LimitOptions().apply()
    assert limits == Limits()
    assert serve.LiveOptions().apply(stream, speed, limits.stall_s) == LiveSettings()
    for size in SIZES.values():
        assert StreamOptions().apply(size.stream, size.stream.position) == size.stream


def test_every_limit_reaches_what_it_limits() -> None:
    given = serve.LimitOptions(
        max_turn_audio=1.0, max_text=2, max_upload=3.0, max_megapixels=4.0, max_connections=5,
        idle_timeout=6.0, max_age=7.0, stall_timeout=8.0,
    )  # fmt: skip
    assert given.apply() == Limits(
        turn_audio_s=1.0, text_chars=2, body_bytes=3 * 2**20, picture_bytes=3 * 2**19, picture_pixels=4_000_000,
        connections=5, idle_s=6.0, age_s=7.0, stall_s=8.0,
    )  # fmt: skip
    live = serve.LiveOptions("A dog.", "libx264", max_sessions=3, max_answer=4.0, first_piece_timeout=5.0)
    stream = StreamConfig(window=12, sink=6, position="bounded")
    assert live.apply(stream, SpeedOptions(compiled=True, float8=True), 9.0) == LiveSettings(
        stream, capacity=3, prompt="A dog.", compiled=True, float8=True, encoder="libx264", first_piece_s=5.0,
        max_answer_s=4.0, stall_s=9.0,
    )  # fmt: skip


def test_help_shows_groups_ranges_and_defaults() -> None:
    said = help_of("serve")
    titles = [
        "Address, and who may use it:",
        "Models and devices:",
        "Stream: what a block sees, and how it is denoised:",
    ]
    titles += ["Speed:", "Thinker: who thinks and speaks:", "Conversations:", "Limits of a client:", "Options:"]
    assert [line for line in said.splitlines() if line.endswith(":") and not line.startswith(" ")] == titles
    for part in (
        "default: 8010",
        "0<=x<=65535",
        "[default: 15]",
        "LIVETALK_CHECKPOINTS",
        "<1.3B|mini|mid|tiny>",
        "4000",
    ):
        assert part in said
    assert "--no-no-token" not in said and "--no-float8" not in said and "--no-compile" in said
    assert "[required]" in help_of("generate")


# -- which models, which device ----------------------------------------------------------------------------------------


def test_which_weights_are_meant() -> None:
    def weights(random_by_default: bool = False, **given: Any) -> Path | None:
        return ModelOptions(device="cpu", **given).choose(random_by_default=random_by_default).checkpoints

    own = Path("own")
    assert weights() == CHECKPOINTS
    assert weights(checkpoints=own) == own
    assert weights(checkpoints=own, random_weights=True) is None
    assert weights(size="tiny", checkpoints=own) is None, "only the published size has weights"
    assert weights(random_by_default=True) is None
    assert weights(random_by_default=True, checkpoints=own) == own


def test_the_small_model_is_meant_where_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meant(**given: Any) -> tuple[str, Path | None]:
        choice = ModelOptions(device="cpu", **given).choose(or_bundled=True)
        assert choice.bundled == (choice.checkpoints == BUNDLED and choice.weights is None)
        return choice.size.name, choice.checkpoints

    monkeypatch.chdir(tmp_path)
    assert meant() == meant(size="mini") == ("mini", BUNDLED)
    own, file = Path("own"), Path("file.safetensors")
    assert meant(size="mini", random_weights=True) == ("mini", None)
    assert meant(size="tiny") == ("tiny", None)
    assert meant(size="1.3B") == ("1.3B", CHECKPOINTS)
    assert meant(checkpoints=own) == ("1.3B", own)
    assert meant(weights=file) == ("1.3B", CHECKPOINTS)
    assert meant(random_weights=True) == ("1.3B", None)
    CHECKPOINTS.mkdir()
    assert meant() == ("1.3B", CHECKPOINTS), "they were fetched to be used"
    omniavatar = ModelOptions(device="cpu").choose(or_bundled=True, model="omniavatar-1.3b")
    assert omniavatar.checkpoints == CHECKPOINTS
    assert ModelOptions(size="mini", device="cpu").choose().random, "trials and training take no weights unasked"


def test_the_environment_says_where_checkpoints_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVETALK_CHECKPOINTS", "/somewhere")
    for verb in ("generate", "serve", "bench", "doctor"):
        assert parameters(verb)["checkpoints"].envvar == "LIVETALK_CHECKPOINTS"
    outcome = CliRunner().invoke(app, ["doctor", "--json"])
    assert "/somewhere" in outcome.output


def test_devices_and_precision_are_made_concrete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    choice = ModelOptions(decode_device="cuda:1", text_device="cpu").choose()
    assert (choice.device, choice.decode_device, choice.text_device) == ("cuda", "cuda:1", "cpu")
    assert choice.dtype == torch.bfloat16
    assert ModelOptions(size="mid").choose().device == "cpu", "the small sizes are for a CPU"
    assert ModelOptions(device="cpu").choose().dtype == torch.float32
    assert ModelOptions(device="cpu", dtype="float16").choose().dtype == torch.float16
    with pytest.raises(OptionError, match="sees 2 CUDA devices"):
        find_device("cuda:2")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": "huge"}, "size 'huge' is unknown"),
        ({"device": "nonsense"}, "device 'nonsense' is unknown"),
        ({"device": "mps"}, "device 'mps' is unknown"),
        ({"device": "cuda"}, "torch sees no CUDA device"),
        ({"device": "cpu", "attention": "fa9"}, "'fa9' is unknown"),
    ],
)
def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], says: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(OptionError, match=says):
        ModelOptions(**options).choose()


@pytest.mark.parametrize(
    ("options", "position", "says"),
    [
        ({"window": 2}, "absolute", "can't hold a block"),
        ({"sink": 14}, "absolute", "must leave a block"),
        ({"window": 24}, "bounded", "21 latent frames"),
        ({"window": -1}, "bounded", "finite window"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(options: dict[str, int], position: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        StreamOptions(**options).apply(StreamConfig(), position)


# -- the thinker -------------------------------------------------------------------------------------------------------


def test_a_thinker_is_told_its_options(tmp_path: Path) -> None:
    script = tmp_path / "answers.txt"
    script.write_text("Well.\n")
    assert ThinkerOptions(settings=(f"thinker.script={script}", "thinker.voice=en-us+f3")).make().name == "script"
    url = "thinker.url=http://127.0.0.1:1/v1?a=b"
    with pytest.raises(ThinkerError, match="query"):
        ThinkerOptions("chat", (url,)).make()


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("thinker.url", "is not of the form thinker.OPTION=VALUE"),
        ("url=http://127.0.0.1:1", "is not of the form"),
        ("thinker.=x", "is not of the form"),
        ("engine.capacity=3", "is not of the form"),
    ],
)
def test_what_is_set_has_a_form(entry: str, says: str) -> None:
    outcome = CliRunner().invoke(app, ["serve", "--size", "tiny", "--set", entry], env={"COLUMNS": "400"})
    assert outcome.exit_code == 2 and says in outcome.output


def test_an_unknown_option_names_those_there_are() -> None:
    with pytest.raises(ThinkerOptionError, match=r"no option 'vioce'.*Did you mean 'voice'"):
        ThinkerOptions(settings=("thinker.vioce=en",)).make()


# -- from a class to a command line ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cake:
    """Cake."""

    name: Annotated[str, Flag("What it is called.")]
    layers: Annotated[int, Flag("One upon the other.", minimum=1, maximum=9)] = 3
    icing: Annotated[Literal["none", "sugar"], Flag("On top.")] = "none"
    fruit: Annotated[tuple[str, ...], Flag("May be repeated.", spelling=("--fruit", "-f"))] = ()
    oven: Annotated[float | None, Flag("Degrees.", default="as hot as it gets", variable="OVEN")] = None
    vegan: Annotated[bool, Flag("Without eggs.")] = False


def baked(*arguments: str, **environment: str) -> tuple[int, Any]:
    kitchen, seen = typer.Typer(rich_markup_mode=None), []

    def bake(cake: Cake, speed: SpeedOptions, loud: Annotated[bool, Flag("Sing.")] = False) -> None:
        """Bake."""
        if cake.layers == 7:
            raise OptionError("seven layers fall over")
        seen.append((cake, speed, loud))

    add_verb(kitchen, bake)
    outcome = CliRunner().invoke(kitchen, arguments, env={"COLUMNS": "200", **environment})
    return outcome.exit_code, seen[0] if seen else outcome.output


def test_a_command_line_becomes_the_classes() -> None:
    assert baked("--name", "Sacher") == (0, (Cake("Sacher"), SpeedOptions(), False))
    given = [
        "--name",
        "Linzer",
        "--layers",
        "1",
        "--icing",
        "sugar",
        "-f",
        "plum",
        "--fruit",
        "fig",
        "--vegan",
        "--loud",
        "--no-compile",
    ]
    cake = Cake("Linzer", 1, "sugar", ("plum", "fig"), 200.0, vegan=True)
    assert baked(*given, OVEN="200") == (0, (cake, SpeedOptions(compiled=False), True))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--name"),
        (("--name", "x", "--layers", "10"), "--layers"),
        (("--name", "x", "--layers", "7"), "seven layers fall over"),
        (("--name", "x", "--icing", "salt"), "salt"),
        (("--name", "x", "--no-vegan"), "--no-vegan"),
    ],
)
def test_what_the_classes_do_not_take_is_refused(arguments: tuple[str, ...], says: str) -> None:
    status, output = baked(*arguments)
    assert status == 2 and says in output


def test_two_options_of_one_name_are_a_mistake_of_the_programmer() -> None:
    def bake(cake: Cake, layers: Annotated[int, Flag("Again.")] = 1) -> None:
        """Bake."""

    with pytest.raises(TypeError, match="two options of one name: layers"):
        add_verb(typer.Typer(), bake)
