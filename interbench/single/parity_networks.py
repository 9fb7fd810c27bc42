"""The networks' part of `interbench single parity`: checkpoints by formula, written, loaded and asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from interbench.base.errors import UsageError
from interbench.single.sync import scores as sync
from interbench.single.sync.mfcc import mfcc

try:
    import torch
    from torch import Tensor, nn

    from interbench.single import resize
    from interbench.single.nets import i3d, inception, s3fd, syncnet
    from interbench.single.nets.formula import formula_state
    from interbench.single.nets.loading import load, read_state
    from interbench.single.sync.windows import Lips, embed_sound
except ImportError as error:
    raise UsageError("The networks need torch: pip install 'interbench[metrics]'.") from error

if TYPE_CHECKING:
    from interbench.single.parity import Fixture

M = TypeVar("M", bound=nn.Module)

_FILES = {
    "syncnet": "syncnet_v2.model",
    "s3fd": "sfd_face.pth",
    "inception": "pt_inception-2015-12-05-6726825d.pth",
    "i3d": "i3d_pretrained_400.pt",
}
_EVERY_FRAME = 5
"""Of the prepared clips every fifth frame is kept."""
_RESIZERS = {
    "pytorch_fid": "pytorch-fid",
    "torchmetrics": "torchmetrics",
    "clean_fid": "clean-fid",
    "tf1": "torch-fidelity",
}


@dataclass(frozen=True, slots=True)
class Networks:
    """Makes networks of the manifest's names, shapes and seed."""

    manifest: Mapping[str, Any]
    folder: Path

    def make(self, kind: str, network: Callable[[], M], dtype: torch.dtype | None = None) -> M:
        """The network, by way of a checkpoint file as it is published."""
        path = self.folder / _FILES[kind]
        torch.save(formula_state(self.manifest[f"{kind}_keys"], self.manifest["seed"]), path)
        try:
            return load(network(), read_state(path), path, dtype)
        finally:
            path.unlink()


def check_formula(fixture: Fixture, made: Networks) -> None:
    """The first values of some tensors; everything else in the manifest says where the numbers came from."""
    for kind in _FILES:
        firsts = fixture.take(f"{kind}_first")
        shapes = {name: fixture.values[f"{kind}_keys"][name] for name in firsts}
        known = fixture.take(f"{kind}_keys")
        state = formula_state(shapes, made.manifest["seed"], known)
        for name, values in firsts.items():
            own = state[name].double().flatten()[: len(values)].numpy()
            wanted = np.array(values)
            fixture.add(f"{kind}_first {name}", float(np.abs(own - wanted).max() / np.abs(wanted).max()), 1e-7)
    # Notes of whoever made the folder: versions, and comparisons on pictures that are not in it.
    fixture.used.update(key for key in fixture.values if not re.fullmatch(r"\w+_(keys|first)", key))


def check_syncnet(fixture: Fixture, made: Networks, wav: Any) -> None:
    lips = fixture.take("lips_bgr")
    network = made.make("syncnet", syncnet.SyncNet)
    windows = sync.window_count(len(lips), len(wav))
    mouths = Lips(network, windows)
    for crop in lips:
        mouths.add(crop)
    seen, heard = mouths.embeddings(), embed_sound(network, mfcc(wav), windows)
    fixture.relative("im_feat", seen, 1e-4)
    fixture.relative("cc_feat", heard, 1e-4)
    every = sync.distances(seen, heard)
    fixture.absolute("dist", every, 1e-3)
    fixture.absolute("framewise", sync.confidence_by_window(every), 1e-3)
    scores = sync.score(seen, heard)
    fixture.absolute("mean_dist", scores.mean_distances, 1e-3)
    for key, reach in [("", sync.REACH), *((f"_v{n}", int(n)) for _, n in fixture.matching(r"offset_v(\d+)"))]:
        of_reach = sync.score(seen, heard, reach)
        fixture.exact(f"offset{key}", np.array(of_reach.offset))
        fixture.absolute(f"sync_d{key}", of_reach.distance, 1e-3)
        fixture.absolute(f"sync_c{key}", of_reach.confidence, 1e-3)


def check_s3fd(fixture: Fixture, made: Networks) -> None:
    picture = fixture.take("image_rgb")
    height, width = picture.shape[:2]
    # In float64: with random weights the logits lie in the hundreds, and float32 alone would take up the tolerance.
    network = made.make("s3fd", s3fd.S3FD, torch.float64)
    with torch.inference_mode():
        offsets, scores = (each[0].float() for each in network(s3fd.prepared([picture]).double()))
    priors = s3fd.anchors(height, width)
    fixture.relative("loc", offsets.numpy(), 1e-4)
    fixture.absolute("conf", scores.numpy(), 1e-4)
    fixture.absolute("priors", priors.numpy(), 1e-4)
    top = fixture.take("top_detections")
    found = s3fd.faces(offsets * float(fixture.take("loc_scale_used")), scores, priors)
    fixture.absolute("top_detections", found[: len(top)], 1e-4)
    pixels = np.concatenate([top[:, 1:] * np.array([width, height, width, height], top.dtype), top[:, :1]], axis=1)
    for key, digits in fixture.matching(r"kept_after_nms_(\d+_\d+)"):
        kept = s3fd.suppressed(pixels, float(digits.replace("_", ".")))
        fixture.exact(key, np.array(kept))


def check_inception(fixture: Fixture, made: Networks) -> None:
    picture = fixture.take("image_rgb")[None]
    network = made.make("inception", inception.Inception)
    for key, name in fixture.matching(r"pre_(\w+)_every\d+"):
        step = int(key.rpartition("every")[2])
        ready = resize.FID_RESIZERS[_RESIZERS[name]](picture, inception.SIDE)
        fixture.absolute(key, ready[0, :, ::step, ::step].numpy(), 1e-5)
    for key, name in fixture.matching(r"feat_(\w+)"):
        ready = resize.FID_RESIZERS[_RESIZERS[name]](picture, inception.SIDE)
        with torch.inference_mode():
            fixture.relative(key, network(ready)[0].numpy(), 1e-4)


def check_i3d(fixture: Fixture, made: Networks) -> None:
    pictures = fixture.take("video_rgb")
    ready = {
        "stretch": resize.stretched(pictures, i3d.SIDE),
        "center": resize.centre_cropped(pictures, i3d.SIDE),
    }
    for key, name in fixture.matching(r"pre_([a-z]+)_every\d+"):
        step = int(key.rpartition("every")[2])
        kept = ready[name].transpose(0, 1)[::_EVERY_FRAME, :, ::step, ::step]
        fixture.absolute(key, kept.numpy(), 1e-5)
    network = made.make("i3d", i3d.I3D)

    def logits(clip: Tensor) -> Any:
        with torch.inference_mode():
            return network(clip[None])[0].numpy()

    with torch.inference_mode():
        pool = network.pool(ready["stretch"][None])
        from_pool = network.logits(pool).flatten(2).mean(2)[0].numpy()
    fixture.relative("pool_stretch_1024", pool.flatten(2).mean(2)[0].numpy(), 1e-4)
    for key, name in fixture.matching(r"feat_([a-z]+)"):
        fixture.relative(key, from_pool if name == "stretch" else logits(ready[name]), 1e-4)
    for key, frames in fixture.matching(r"feat_stretch_(\d+)_frames"):
        fixture.relative(key, logits(ready["stretch"][:, : int(frames)]), 1e-4)
    fixture.relative("feat_wrong_range_0_1", logits((ready["stretch"] + 1) / 2), 1e-4)
