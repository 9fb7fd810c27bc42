"""Fifteen ways in which such metrics become toys, and what keeps each of them out."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from single_kit import formula, moving, small_owl, write_s3fd, write_syncnet, write_video

from interbench.domain.records import ClipFacts
from interbench.media.pool import MediaPool
from interbench.single import qalign, resize
from interbench.single.base import CheckpointError, Clip, Measured, MetricError, Taken
from interbench.single.clips import Found, look_at
from interbench.single.figures import compared, per_clip
from interbench.single.metrics.fid import Fid
from interbench.single.metrics.fvd import VARIANTS
from interbench.single.metrics.sync import Sync
from interbench.single.nets.i3d import I3D
from interbench.single.nets.inception import Inception
from interbench.single.nets.loading import load, read_state
from interbench.single.nets.mplug_owl2 import Owl
from interbench.single.nets.s3fd import S3FD
from interbench.single.nets.syncnet import SyncNet
from interbench.single.rows import plan_rows
from interbench.single.sync import scores as scoring
from interbench.single.sync.mfcc import mfcc, sixteen_bit
from interbench.single.sync.tracks import Track, cut, squares
from interbench.single.sync.windows import Lips, embed_sound
from interbench.stats.frechet import frechet_distance

GOLDEN = Path(__file__).parent / "golden"


async def one_clip(path: Path, media: MediaPool) -> Clip:
    (clip,) = await look_at([Found(path.stem, path, path.stem)], media)
    return clip


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("one") / "talking.mp4", moving(256, 3), frames=20)


async def test_1_faces_are_found_and_followed(talking: Path, tmp_path: Path) -> None:
    """No face is no value, and never the middle of the picture; a face at the side is cut out at the side."""
    sync = Sync(detector=str(write_s3fd(tmp_path / "blind.pth", face=False)), weights="formula", min_track=8)
    await sync.start()
    async with MediaPool() as media:
        found = await sync.measure(await one_clip(talking, media), media)
    assert (found.values, found.missing) == ({}, "no face")
    aside = Track(0, np.tile([150.0, 20.0, 250.0, 120.0], (20, 1)))
    square = squares(aside)[10]
    assert (square.left + square.right) / 2 - square.pad == 200


def test_2_the_details_of_the_distance_are_kept() -> None:
    assert scoring.window_count(125, 80_000) == 120
    assert scoring.window_count(125, 70_000) == 70_000 // 640 - 5
    same = np.ones((4, 9))
    every = scoring.distances(same, same, reach=2)
    assert every[1, 2] == pytest.approx(1e-6 * 3)  # of what is equal: the epsilon in each of nine places
    assert every[0, 0] == pytest.approx(3 * (1 + 1e-6))  # to the zeros before the clip
    scores = scoring.score(same, same, reach=2)
    assert scores.confidence == pytest.approx(np.median(every.mean(axis=0)) - every.mean(axis=0).min())


def test_3_cepstra_are_made_of_sixteen_bit_numbers() -> None:
    with pytest.raises(TypeError, match="16-bit"):
        mfcc(np.zeros(1600, np.float32))
    stored = np.array([-32768, -5, 0, 7, 32767], np.int16)
    assert np.array_equal(sixteen_bit(stored.astype(np.float32) / np.float32(32768)), stored)


async def test_4_and_5_what_syncnet_sees_is_bgr_at_25_frames_a_second(tmp_path: Path) -> None:
    """The whole path against one by hand: frames held from 16 to 25 a second, cropped, blue first."""
    path = write_video(tmp_path / "slow.mp4", moving(256, 3), frames=16, fps=16)
    sync = Sync(detector=str(write_s3fd(tmp_path / "sfd_face.pth")), weights="formula", min_track=8)
    await sync.start()
    async with MediaPool() as media:
        found = await sync.measure(await one_clip(path, media), media)
        frames = np.concatenate([part.pixels async for part in media.sequence(path)])
        samples = await media.audio(path)
    assert len(frames) == 16 and samples is not None
    (track,) = found.detail["tracks"]
    assert (track["frames"], track["windows"]) == (25, min(25, len(samples) // 640) - 5)

    network = load(SyncNet(), formula(SyncNet()), path)
    held = frames[[number * 16 // 25 for number in range(25)]]
    square = squares(Track(0, np.tile([64.0, 64.0, 192.0, 192.0], (25, 1))))

    def by_hand(pictures: Any) -> scoring.SyncScores:
        lips = Lips(network, track["windows"])
        for picture, one in zip(pictures, square, strict=True):
            lips.add(cut(np.ascontiguousarray(picture), one))
        heard = embed_sound(network, mfcc(sixteen_bit(samples)), track["windows"])
        return scoring.score(lips.embeddings(), heard)

    assert found.values["sync_d"] == pytest.approx(by_hand(held[..., ::-1]).distance, rel=1e-4)
    assert found.values["sync_d"] != pytest.approx(by_hand(held).distance, rel=1e-3)


def test_5_systems_of_another_rate_get_a_control_row(talking: Path) -> None:

    def clip(name: str, fps: float) -> Clip:
        facts = ClipFacts("", 1, 5.0, 80, fps, 64, 64, "h264", True, True, 5.0, 0.0)
        return Clip(name, talking, name, facts)

    rows = plan_rows({"slow": [clip("a", 16.0)], "usual": [clip("a", 25.0)]}, [clip("a", 25.0)])
    assert [(row.label, row.through) for row in rows if row.kind == "rate"] == [("ground truth by way of 16 fps", 16.0)]


def taken(name: str, values: dict[str, float] | None = None, features: Any = None, missing: str = "") -> Taken:
    return Taken(Clip(name, Path(name), name, None), Measured(values or {}, missing, features=features))


def test_6_clips_without_a_face_are_neither_zero_nor_gone() -> None:
    clips = [taken("a", {"x": 4.0}), taken("b", {"x": 6.0}), taken("c", missing="no face")]
    figure = per_clip(clips, "x", seed=0)
    assert (figure.value, figure.scored, figure.expected) == (5.0, 2, 3)
    nothing = per_clip([taken("c", missing="no face")], "x", seed=0)
    assert (nothing.value, nothing.scored, nothing.expected, nothing.missing) == (None, 0, 1, "no face")


def test_7_distances_have_jackknife_intervals() -> None:
    """Of two samples of one population: the bootstrap's percentile interval lies above its own point; this one holds
    it."""
    random = np.random.default_rng(0)
    own = [taken(str(n), features=random.normal(size=(1, 40)).astype(np.float32)) for n in range(20)]
    theirs = [taken(f"r{n}", features=random.normal(size=(1, 40)).astype(np.float32)) for n in range(20)]
    figure, _ = compared(own, theirs, ddof=1)
    a, b = (np.concatenate([one.measured.features for one in side]) for side in (own, theirs))
    assert figure.value == pytest.approx(frechet_distance(a, b))
    draws = random.integers(0, 20, (200, 20))
    bootstrapped = np.percentile([frechet_distance(a[draw], b[draw]) for draw in draws], [2.5, 97.5])
    assert figure.value is not None and figure.low is not None and figure.high is not None
    assert figure.low < figure.value < figure.high
    assert figure.value < bootstrapped[0]


def test_8_fid_resizes_as_pytorch_fid_does_unless_told_otherwise() -> None:
    assert Fid()._resize == "pytorch-fid"
    # Without antialiasing a quarter of the size sees two middle columns of every four, with it all of them.
    stripes = np.tile(np.array([0, 255, 255, 0], np.uint8), 16)[None, None, :, None].repeat(64, 1).repeat(3, 3)
    plain, smooth = (resize.FID_RESIZERS[name](stripes, 16) for name in ("pytorch-fid", "torchmetrics"))
    assert plain.min().item() == pytest.approx(1)
    assert smooth[..., 2:-2].max().item() < 0.5


def test_9_fvd_is_on_400_logits_of_pictures_in_minus_one_to_one() -> None:
    assert tuple(I3D().logits.conv3d.weight.shape[:2]) == (400, 1024)
    black_and_white = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
    for variant in VARIANTS.values():
        ready = getattr(resize, variant.resizer)(black_and_white, 224)
        assert (ready.min().item(), ready.max().item()) == pytest.approx((-1, 1)), variant


async def test_10_scores_are_q_aligns_on_one_to_five() -> None:
    scores = qalign.scores(np.eye(5) * 50)
    assert scores == pytest.approx([5, 4, 3, 2, 1])
    from interbench.single.metrics.qalign import Iqa

    with pytest.raises(MetricError, match="no weights"):
        await Iqa(weights="/nowhere").start()


def test_11_networks_have_the_published_names_and_shapes() -> None:
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    with torch.device("meta"):
        for kind, network in {"syncnet": SyncNet(), "s3fd": S3FD(), "inception": Inception(), "i3d": I3D()}.items():
            own = {name: list(value.shape) for name, value in network.state_dict().items()}
            assert own == manifest[f"{kind}_keys"]
        owl = set(Owl(small_owl()).state_dict())
    layer, vision = "model.layers.1", "model.vision_model"
    cross = "model.visual_abstractor.encoder.layers.1.crossattention"
    assert owl >= {
        "model.embed_tokens.weight",
        f"{layer}.self_attn.q_proj.weight",
        f"{layer}.self_attn.k_proj.multiway.0.weight",
        f"{layer}.self_attn.v_proj.multiway.1.weight",
        f"{layer}.input_layernorm.multiway.0.weight",
        f"{layer}.post_attention_layernorm.multiway.1.weight",
        f"{layer}.mlp.gate_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
        f"{vision}.embeddings.cls_token",
        f"{vision}.embeddings.position_embedding",
        f"{vision}.embeddings.patch_embed.weight",
        f"{vision}.embeddings.pre_layernorm.weight",
        f"{vision}.encoder.layers.1.self_attn.query_key_value.bias",
        f"{vision}.encoder.layers.1.self_attn.dense.weight",
        f"{vision}.post_layernorm.bias",
        f"{cross}.attention.q_pos_embed",
        f"{cross}.attention.k_pos_embed",
        f"{cross}.output.mlp.ffn_ln.weight",
        f"{cross}.output.norm2.weight",
        f"{cross}.normk.weight",
        "model.visual_abstractor.visual_fc.weight",
        "model.visual_abstractor.query_embeds",
        "model.visual_abstractor.vit_eos",
    }
    assert not [name for name in owl if name.startswith(vision) and "patch_embed.bias" in name]


# 12, ground truth through the same decoding: test_clips.test_the_same_files_are_at_no_distance


def test_13_published_formats_are_opened(tmp_path: Path) -> None:
    assert read_state(write_syncnet(tmp_path / "syncnet_v2.model")).keys() == SyncNet().state_dict().keys()
    state = formula(Owl(small_owl()))
    names = sorted(state)
    index: dict[str, str] = {}
    for shard in (1, 2):
        file = f"pytorch_model-0000{shard}-of-00002.bin"
        torch.save({name: state[name].half() for name in names[shard - 1 :: 2]}, tmp_path / file)
        index |= dict.fromkeys(names[shard - 1 :: 2], file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    read = read_state(tmp_path)
    assert {name: value.shape for name, value in read.items()} == {name: value.shape for name, value in state.items()}
    module = load(Owl(small_owl()), read, tmp_path, torch.float32)
    assert module.lm_head.weight.dtype == torch.float32


# 14, speed from a measurement of its own: test_data


class Thief:
    """Would leave a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_15_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "was-here"
    torch.save({"netcnnaud.0.weight": Thief(mark)}, tmp_path / "syncnet_v2.model")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Thief(mark)))
    for name in ("syncnet_v2.model", "raw.pth"):
        with pytest.raises(CheckpointError, match="never done"):
            read_state(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch no longer likes to write what it reads
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "i3d_torchscript.pt")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_state(tmp_path / "i3d_torchscript.pt")
    assert not mark.exists()


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    state = formula(SyncNet())
    state["netfcaud.0.weight"] = torch.zeros(3, 3)
    del state["netfclip.0.bias"]
    with pytest.raises(CheckpointError, match=r"missing: netfclip\.0\.bias; of another shape: netfcaud\.0\.weight"):
        load(SyncNet(), state, tmp_path)
