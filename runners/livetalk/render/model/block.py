"""Generation of one block: the denoising steps and the clean pass, on buffers that never move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from livetalk.base.errors import SessionError
from livetalk.render import sampler
from livetalk.render.config import FRAMES_PER_BLOCK, StreamConfig
from livetalk.render.model.dit import CausalDiT, TextCondition, merge_padding
from livetalk.render.model.graphs import CudaRecorder, Recorder, Replays

Observer = Callable[["BlockGenerator", int, Tensor, Tensor | None], None]
"""Called after every pass with the generator, the step (number of steps for the clean pass), its input and its x0."""


class BlockGenerator:
    """Latents of one session, block by block.

    Call ``start``, then ``denoise`` and ``clean`` in turn. The clean latents are there after ``denoise``; ``clean``
    only prepares the cache for the next block, and is made up for if it was left out. Everything that changes between
    blocks is copied into static buffers, so that with ``graphs`` a whole block replays as one CUDA graph (one per cache
    length that comes again).
    """

    def __init__(
        self,
        dit: CausalDiT,
        stream: StreamConfig,
        *,
        timesteps: Sequence[float] | None = None,
        graphs: bool | Recorder = False,
        alone: Callable[[], AbstractContextManager[object]] = nullcontext,
        observe: Observer | None = None,
    ) -> None:
        """
        Args:
            timesteps: what the network is shown; without them the schedule rounded to bfloat16 (spec 8).
            graphs: record and replay blocks, as CUDA graphs unless it is a recorder of another kind.
            alone: held while a block is recorded.
            observe: called after every pass.
        """
        if graphs is True and dit.device.type != "cuda":
            raise ValueError(f"CUDA graphs can't run on {dit.device.type}")
        if graphs and observe:
            raise ValueError("a captured block can't be observed step by step")
        self.dit, self.stream, self.observe = dit, stream, observe
        self.cache = dit.new_cache(stream)
        plan = sampler.schedule(stream.steps, rounding="bfloat16")
        shown = plan.timesteps.tolist() if timesteps is None else [float(t) for t in timesteps]
        if len(shown) != stream.steps:
            raise ValueError(f"{len(shown)} timesteps were given for {stream.steps} steps")
        self.sigmas: list[float] = plan.sigmas.tolist()
        config, device, dtype = dit.config, dit.device, dit.dtype
        with torch.inference_mode():
            self.times = [dit.embed_time(torch.tensor([t], device=device)) for t in (*shown, 0.0)]
            shape = (FRAMES_PER_BLOCK, config.out_dim, stream.latent_height, stream.latent_width)
            self.latents = torch.zeros(shape, device=device, dtype=dtype)
            self.noise = torch.zeros((stream.steps, *shape), device=device, dtype=dtype)
            self.audio = torch.zeros(
                (config.audio_injections, FRAMES_PER_BLOCK, config.dim), device=device, dtype=dtype
            )
            self.reference = torch.zeros((1, *shape[1:]), device=device, dtype=dtype)
            # Share of the image condition in the patch embedding: of the first block, and of every later one.
            tokens = (2, FRAMES_PER_BLOCK, stream.tokens_per_frame, config.dim)
            self._images = torch.zeros(tokens, device=device, dtype=dtype)
        self._text: TextCondition | None = None
        recorder = CudaRecorder(dit.device, torch.cuda.Stream(dit.device)) if graphs is True else graphs or None
        self._replays = Replays(recorder, alone) if recorder is not None else None
        self._clean = True
        self.block = -1

    @property
    def recorded(self) -> int:
        """Pieces of work that are replayed by now."""
        return 0 if self._replays is None else len(self._replays.keys)

    @contextmanager
    def recording_at_once(self) -> Iterator[None]:
        """Record whatever is done meanwhile, also for the first time."""
        if self._replays is None:
            yield
            return
        self._replays.at_once = True
        try:
            yield
        finally:
            self._replays.at_once = False

    @torch.inference_mode()
    def start(self, context: Tensor, reference: Tensor) -> None:
        """Begin a session.

        Args:
            context: text rows [1,T,text_dim], padding rows of zeros included.
            reference: latent of the picture [1,16,1,h,w].
        """
        expected = (1, self.reference.shape[1], 1, *self.reference.shape[2:])
        if tuple(reference.shape) != expected:
            raise SessionError(
                f"The reference latent has shape {list(reference.shape)}; this stream needs {list(expected)}."
            )
        self.cache.reset()
        self.block, self._clean = -1, True
        self.reference.copy_(reference[0].transpose(0, 1))
        picture = self.reference.expand(FRAMES_PER_BLOCK, -1, -1, -1)
        mask = torch.ones_like(picture[:, :1])
        for i in range(2):
            mask[0] = i  # 0 at the very first frame of the session, 1 everywhere else
            self._images[i].copy_(self.dit.embed_image(torch.cat((picture, mask), dim=1)))
        context = context.to(self.dit.device, self.dit.dtype)
        # The GPU's fastest kernels take no bias, and there attention to the text is under 2 % of the arithmetic.
        merged = merge_padding(context) if self.dit.device.type == "cpu" else (context, None)
        self._keep_text(self.dit.embed_text(*merged))

    @torch.inference_mode()
    def denoise(self, audio: Tensor, noise: Tensor) -> Tensor:
        """Generate the next block.

        Args:
            audio: conditions [P,3,d] from ``CausalDiT.embed_audio``.
            noise: [steps,3,16,h,w]: what the block starts from, then the draw of every re-noising.

        Returns:
            Clean latents [3,16,h,w], the caller's to keep.

        Raises:
            SessionError: the session has not been started, or absolute positions are used up.
        """
        if self._text is None:
            raise SessionError("The session has not been started; call start() with its text and picture first.")
        if not self._clean:
            self.clean()
        self.cache.begin_block(lambda frames, work: self._run(("turn", frames), work))
        self.block += 1
        self._clean = False
        self.audio.copy_(audio)
        self.noise.copy_(noise)
        self._run(("denoise", self.cache.valid_frames, self.block == 0), self._denoise)
        return self.latents.clone()

    @torch.inference_mode()
    def clean(self) -> None:
        """Leave the keys and values of the block just generated in the cache."""
        self._run(("clean", self.cache.valid_frames, self.block == 0), self._store)
        self._clean = True

    def flow(self, x: Tensor, step: int) -> Tensor:
        """One pass over the current block at a step's timestep; the step after the last is the clean pass."""
        assert self._text is not None
        return self.dit.flow(x, self._image, self.audio, self.times[step], self._text, self.cache)

    @property
    def _image(self) -> Tensor:
        return self._images[min(self.block, 1)]

    def _denoise(self) -> None:
        first, last = self.block == 0, len(self.sigmas) - 1
        x = self.noise[0]
        for i, sigma in enumerate(self.sigmas):
            if first:
                x[:1] = self.reference  # its timestep stays that of the others (spec 8)
            x0 = sampler.x0_from_flow(x, self.flow(x, i), sigma)
            if self.observe:
                self.observe(self, i, x, x0)
            if i < last:
                x = sampler.add_noise(x0, self.noise[i + 1], self.sigmas[i + 1])
        self.latents.copy_(x0)
        if first:
            self.latents[:1] = self.reference

    def _store(self) -> None:
        assert self._text is not None
        self.dit.store(self.latents, self._image, self.audio, self.times[-1], self._text, self.cache)
        if self.observe:
            self.observe(self, len(self.sigmas), self.latents, None)

    def _keep_text(self, text: TextCondition) -> None:
        if self._replays is not None and self._text is not None and self._text.k[0].shape == text.k[0].shape:
            for kept, new in zip((*self._text.k, *self._text.v), (*text.k, *text.v), strict=True):
                kept.copy_(new)
        else:
            self._text = text
            if self._replays is not None:
                self._replays.clear()

    def _run(self, key: tuple[str, int] | tuple[str, int, bool], work: Callable[[], None]) -> None:
        if self._replays is None:
            work()
        else:
            self._replays.run(key, work)
