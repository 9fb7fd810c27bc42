"""How the judge is asked. The defaults are the published protocol's, where it says (arXiv 2512.23576, section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from interbench.base.errors import UsageError
from interbench.base.parameters import check_adjustments
from interbench.judge.base import Shown
from interbench.judge.vlm.client import Patience
from interbench.judge.vlm.frames import Sampling
from interbench.judge.vlm.rubrics import Mode

MODEL = "Qwen/Qwen3-VL-30B-A3B-Instruct"
"""The published judge. Appendix A.3 writes "Qwen2.5-VL-30B-A3B-Instruct", which does not exist."""
_SEED_SPACING = 1000


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """Settings of :class:`interbench.judge.vlm.judge.VLMJudge`; all but the last group are part of its identity."""

    mode: Mode = "observed"
    """Which reading of the rubrics: ``published`` keeps to what the paper says; ``observed`` says what a silent judge
    of stills sees, measures what it can't, and counts evidence; ``observed+keypoints`` shows the author's key points,
    too."""
    sampling: Literal["even", "dense"] = "even"
    """``dense`` shows the first 2 s of every answer and 1 s round each of its longest pauses at 8 stills per second,
    beside the frames of the whole; only where the mode is not ``published``."""
    word_budget: int | None = None
    """The judge is given only so many words of each answer, as if every system had to be as brief; for the content
    dimensions. None: all of them."""
    frames: int = 32
    """Frames per video."""
    size: int = 784
    """A frame has at most the pixels of a square of this edge; the engine rounds to multiples of 32 (768x768)."""
    temperature: float = 0.1
    top_p: float = 0.9
    max_tokens: int = 2048
    """Of an answer. Not in the paper."""
    seed: int | None = None
    """Of sample 0; sample k gets ``seed + 1000 k``. None: 0 if judgements are repeated, otherwise no seed is sent."""
    repeats: int = 1
    """Samples that will be asked for; decides whether seeds are sent."""
    expected_score: bool = False
    """Also compute the expected score from log-probabilities (vLLM only); one or two one-token requests per verdict."""
    force_box: bool = False
    """Restrict the answer to a re-ask to a box of the scale (vLLM only). Gives a score even of a judge that has none to
    give, so it is off."""
    verify_frames: bool = True
    """Check before the run that the server shows videos as ``frames`` and ``size`` say."""
    omit: tuple[str, ...] = ()
    """Parameters of a request that the server does not take, e.g. ``("temperature", "top_p")``."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Other names of parameters, e.g. ``{"max_tokens": "max_completion_tokens"}``."""

    media: Literal["auto", "file", "data"] = "auto"
    """How clips travel: ``file`` URLs, ``data`` URLs, or files where a server on this machine may read them."""
    concurrency: int = 32
    """Most requests in flight per server."""
    patience: Patience = field(default_factory=Patience)
    prompts: Path | None = None
    """Folder of other prompts than the bundled ones; their hashes are part of the identity."""

    prompt_price: float | None = None
    """USD per million tokens read, cached ones included; with ``completion_price`` the run says what it cost."""
    completion_price: float | None = None
    """USD per million tokens written."""

    def __post_init__(self) -> None:
        check_adjustments("The judge", self.omit, self.rename)
        if self.frames < 2 or self.size < 64:
            raise UsageError("The judge needs at least 2 frames per video and a size of at least 64 pixels.")
        if not (0 <= self.temperature <= 2 and 0 < self.top_p <= 1):
            raise UsageError("The judge's temperature lies in 0..2 and its top-p in (0, 1].")
        if self.max_tokens < 16 or self.repeats < 1 or self.concurrency < 1:
            raise UsageError("The judge needs max_tokens of at least 16, and repeats and concurrency of at least 1.")

        if self.sampling == "dense" and self.mode == "published":
            raise UsageError(
                "Details of the clips (sampling dense) are no part of the published reading; choose the mode observed."
            )
        if self.word_budget is not None and self.word_budget < 1:
            raise UsageError("The judge's word_budget is at least 1.")
        if self.word_budget is not None and self.mode == "published":
            raise UsageError("A word_budget is no part of the published reading; choose the mode observed.")
        if min(self.prompt_price or 0, self.completion_price or 0) < 0:
            raise UsageError("The judge's prices are USD per million tokens, and not below 0.")

    @property
    def view(self) -> Sampling:
        """Frames and pixels of a video."""
        return Sampling(self.frames, self.size)

    @property
    def shown(self) -> frozenset[Shown]:
        """What the judge is shown beside clips and transcripts."""
        if self.mode == "published":
            return frozenset()
        details: frozenset[Shown] = frozenset({"details"} if self.sampling == "dense" else ())
        return details | {"timings", "speaking"}

    def seed_of(self, sample: int) -> int | None:
        """Seeds are spaced, because a server derives further seeds of one request by counting up."""
        if self.seed is None and self.repeats == 1:
            return None
        return (self.seed or 0) + _SEED_SPACING * sample
