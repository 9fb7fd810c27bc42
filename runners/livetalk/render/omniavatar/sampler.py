"""Classifier-free guidance and the Euler sampler of the bidirectional model (training recipe 2.3 and 2.4)."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

import torch
from torch import Tensor

from livetalk.render.model.audio import lead_in
from livetalk.render.model.dit import CausalDiT, TextCondition, merge_padding
from livetalk.render.sampler import Schedule

_PUBLISHED = tomllib.loads(files(__package__).joinpath("published.toml").read_text("utf-8"))
NEGATIVE_PROMPT: str = _PUBLISHED["negative_prompt"]
"""OmniAvatar's own: data of the published model, which ``published.toml`` holds and says where it comes from."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """True scales: 1 is the conditional flow alone. (Self-Forcing's code counts from 0: its 5 is 6 here.)"""

    text: float = 4.5
    audio: float = 4.5

    @property
    def branches(self) -> int:
        """Forwards per step."""
        if self.text == self.audio:
            return 1 if self.text == 1 else 2
        return 3

    def combine(self, conditional: Tensor, text_only: Tensor | None, unconditional: Tensor | None) -> Tensor:
        """U + s_text·(T−U) + s_audio·(C−T), with one scale U + s·(C−U).

        Args:
            conditional: C, the flow with text and audio.
            text_only: T, with text and zero audio; not needed where both scales are one.
            unconditional: U, with the negative text and zero audio.
        """
        if self.branches == 1:
            return conditional
        assert unconditional is not None
        if self.branches == 2:
            return unconditional + self.text * (conditional - unconditional)
        assert text_only is not None
        return unconditional + self.text * (text_only - unconditional) + self.audio * (conditional - text_only)


class GuidedFlow:
    """The guided flow of one clip: what does not change from step to step is computed once.

    Without gradient, with whatever attention kernel the network was given.

    Args:
        context: text rows [1,T,text_dim], padding included.
        negative: the same of the negative prompt.
        features: raw speech features [4F−3,C]. Unconditional are zero features, not a network without audio layers:
            these have biases.
        image: [F,17,h,w] (``image_condition``), in all branches.
    """

    def __init__(
        self, dit: CausalDiT, guidance: Guidance, context: Tensor, negative: Tensor, features: Tensor, image: Tensor
    ) -> None:
        self._dit, self._guidance = dit, guidance
        device = dit.device
        with torch.no_grad():
            self._image = dit.embed_image(image.to(device))
            features = features.to(device)
            audio, silence = (dit.embed_audio(lead_in(one)) for one in (features, torch.zeros_like(features)))
            # Of the branches that are needed: the same order as ``combine`` takes them in.
            text = _embedded(dit, context)
            self._branches: list[tuple[TextCondition, Tensor] | None] = [(text, audio), None, None]
            if guidance.branches == 3:
                self._branches[1] = text, silence
            if guidance.branches > 1:
                self._branches[2] = _embedded(dit, negative), silence

    @torch.no_grad()
    def __call__(self, x: Tensor, timestep: float) -> Tensor:
        """Flow of latents [F,16,h,w] at one timestep, float32."""
        time = self._dit.embed_time(torch.tensor([timestep], device=self._dit.device))
        conditional, text_only, unconditional = (
            None if branch is None else self._dit.forward_frames(x, self._image, branch[1], time, branch[0]).float()
            for branch in self._branches
        )
        assert conditional is not None
        return self._guidance.combine(conditional, text_only, unconditional)


def _embedded(dit: CausalDiT, context: Tensor) -> TextCondition:
    return dit.embed_text(*merge_padding(context.to(dit.device, dit.dtype)))


def image_condition(reference: Tensor, frames: int, known: int) -> Tensor:
    """[F,17,h,w]: the picture's latent [1,16,h,w] repeated, and the mask: 0 for the first ``known`` frames, 1 for those
    to be generated (the reverse of Wan's own picture-to-video models)."""
    mask = torch.ones((frames, 1, *reference.shape[-2:]), dtype=reference.dtype, device=reference.device)
    mask[:known] = 0
    return torch.cat((reference.expand(frames, -1, -1, -1), mask), dim=1)


def denoise(
    flow: Callable[[Tensor, float], Tensor], noise: Tensor, known: Tensor, schedule: Schedule
) -> Iterator[Tensor]:
    """Euler steps x + v·(σ' − σ) down to σ = 0, in float32.

    The latents that are known take their places before every step and after the last: they are clean although the clip
    is not.

    Args:
        flow: of latents and a timestep.
        noise: [F,16,h,w].
        known: the first frames' latents [K,16,h,w].

    Yields:
        Every state [F,16,h,w], steps + 1 of them: the noise, what stands before each later step, the final latents.
    """
    sigmas = [*schedule.sigmas.tolist(), 0.0]
    known = known.to(noise.device, torch.float32)
    x = torch.cat((known, noise[len(known) :].float()))
    yield x
    for timestep, sigma, following in zip(schedule.timesteps.tolist(), sigmas, sigmas[1:], strict=False):
        moved = x + flow(x, timestep) * (following - sigma)
        x = torch.cat((known, moved[len(known) :]))
        yield x
