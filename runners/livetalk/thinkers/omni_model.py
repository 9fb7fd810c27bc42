"""Qwen3-Omni one step at a time: text and codec frames as they come to be.

transformers' ``generate`` thinks the whole text, then speaks all of it, then makes its sound. Nothing forces that
order: to begin, the talker needs the prompt and the first token of the answer, and each further frame needs one further
token (its embedding; after the last token that of the text's end, then padding). So thinker and talker take turns here,
a token for a frame, with the arithmetic, the sampling and the positions of ``generate``
(``Qwen3OmniMoeForConditionalGeneration``, transformers 5.17 to 5.24).

Two differences, both at limits: a text that its limit cuts is spoken to the last token (``generate`` leaves that one
out), and thinking stops where speech ends early.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache

from livetalk.thinkers.omni_cache import cache_argument
from livetalk.thinkers.omni_prompt import Prompt
from livetalk.thinkers.omni_residual import ResidualCodes
from livetalk.thinkers.omni_sampling import Sampler
from livetalk.thinkers.omni_settings import OmniLimits, Sampling

Step: TypeAlias = int | Tensor | None
"""A token of the text, the codes [G] of a frame of speech, or work of which nothing is seen."""

PREFILL_TOKENS = 2048
"""Tokens of a prompt per step: bounds the memory for their states, and how long a cancelled answer goes on."""

_BARRED_CODES = 1024
"""The talker's last ids stand for no sound and are never drawn, but for the one that ends speech."""


class OmniModel:
    """Answers prompts with a loaded model. Several answers may be under way, their steps in any order.

    Args:
        model: a ``Qwen3OmniMoeForConditionalGeneration`` with its talker, all on one device.
    """

    @torch.inference_mode()
    def __init__(self, model: Any) -> None:
        self.config, self.thinker, self.talker = model.config, model.thinker, model.talker
        self.code2wav = model.code2wav
        self.device: torch.device = self.thinker.get_input_embeddings().weight.device
        talker = self.config.talker_config
        self.speakers: dict[str, int] = {name.lower(): int(code) for name, code in talker.speaker_id.items()}
        self._end_of_speech: int = talker.codec_eos_token_id
        codes: int = talker.text_config.vocab_size
        self._barred = [code for code in range(codes - _BARRED_CODES, codes) if code != self._end_of_speech]
        self._residual = ResidualCodes(self.talker)
        self._residual.record()
        self._begin, self._end, self._pad = (
            self._spoken(torch.tensor([[token]], device=self.device))
            for token in (self.config.tts_bos_token_id, self.config.tts_eos_token_id, self.config.tts_pad_token_id)
        )

    @torch.inference_mode()
    def answer(
        self, prompt: Prompt, speaker: str, *, text: Sampling, speech: Sampling, limits: OmniLimits, seed: int
    ) -> Generator[Step]:
        """The answer to a prompt, step by step. Closing the iterator frees all that it holds.

        Args:
            speaker: one of ``speakers``.
            text, speech: how their tokens are drawn.
            seed: the same prompt, settings and seed give the same answer, whatever else runs.
        """
        thought = _Text(self, prompt, Sampler(text, self._generator(seed), self.device), limits.text_tokens)
        yield from thought.read()
        token = thought.next()
        if token is None:
            return
        yield token

        randomness = self._generator(seed)
        sampler = Sampler(speech, randomness, self.device, self._barred)
        cache, place, frames = {cache_argument(self.talker.model): DynamicCache()}, 0, 0
        inputs = self._opening(thought, speaker)
        while frames < (limits.for_text(thought.tokens) if thought.ended else limits.frames):
            state = self.talker.model(
                inputs_embeds=inputs,
                position_ids=positions(place, inputs.shape[1], self.device),
                use_cache=True,
                **cache,
            ).last_hidden_state[:, -1:]
            place += inputs.shape[1]
            first = sampler.draw(self.talker.codec_head(state)[:, -1])
            if first.item() == self._end_of_speech:
                return
            noise = self._residual.noise(randomness) if speech.temperature > 0 else None
            codes, inputs = self._residual.complete(state, first, noise)
            frames += 1
            yield codes
            if thought.ended:
                inputs = inputs + self._pad
                continue
            token = thought.next()
            inputs = inputs + (self._end if token is None else self._spoken(thought.last))
            if token is not None:
                yield token

    def _opening(self, text: _Text, speaker: str) -> Tensor:
        """What the talker reads before it speaks [1,m,C]: all that the user said, then how the answer begins, with
        the speaker among the codes. (``_get_talker_user_parts``, ``_get_talker_assistant_parts``)"""
        talker = self.config.talker_config
        reply = self._spoken(torch.cat((text.role, text.last), dim=1))
        words = torch.cat((reply[:, :3], self._pad.expand(-1, 4, -1), self._begin, reply[:, 3:]), dim=1)
        codes = [
            talker.codec_nothink_id,
            talker.codec_think_bos_id,
            talker.codec_think_eos_id,
            self.speakers[speaker],
            talker.codec_pad_id,
            talker.codec_bos_id,
        ]
        words[:, 3:] += self.talker.get_input_embeddings()(torch.tensor([codes], device=self.device))
        return torch.cat((text.heard, words), dim=1)

    def _spoken(self, tokens: Tensor) -> Tensor:
        """Tokens [1,n] as the talker reads them: [1,n,C]."""
        projected: Tensor = self.talker.text_projection(self.thinker.get_input_embeddings()(tokens))
        return projected

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)


class _Text:
    """The text of one answer while the thinker writes it.

    Args:
        limit: tokens; the text ends there.
    """

    def __init__(self, model: OmniModel, prompt: Prompt, sampler: Sampler, limit: int) -> None:
        self._model, self._prompt, self._sampler, self._limit = model, prompt, sampler, limit
        self._cache = {cache_argument(model.thinker.model): DynamicCache()}
        self._place = 0
        self._logits: Tensor | None = None
        self.tokens = 0
        self.ended = False
        self.last: Tensor  # the newest token [1,1]
        self.role: Tensor  # the tokens [1,3] that open the answer's message
        self.heard: Tensor  # what the user said in all messages, as the talker reads it [1,m,C]

    def read(self) -> Generator[None]:
        """Read the prompt."""
        model = self._model
        ids = torch.tensor([self._prompt.ids], device=model.device)
        embeddings = model.thinker.get_input_embeddings()(ids)
        sounds = ids == model.config.thinker_config.audio_token_id
        if self._prompt.sounds:
            heard = []
            for features in self._prompt.sounds:
                heard.append(self._hear(features).to(embeddings))
                yield
            embeddings = embeddings.masked_scatter(sounds[..., None], torch.cat(heard))
        states = []  # of the sounds, at the layer that the talker listens at
        for start in range(0, ids.shape[1], PREFILL_TOKENS):
            part = slice(start, start + PREFILL_TOKENS)
            output = self._think(embeddings[:, part], output_hidden_states=bool(self._prompt.sounds))
            if self._prompt.sounds:
                layer = model.config.talker_config.accept_hidden_layer
                states.append(output.hidden_states[layer][sounds[:, part]])
            del output
            yield
        from_user = torch.tensor([self._prompt.from_user], device=model.device)
        self.heard = model.talker.text_projection(embeddings[from_user])
        if states:
            self.heard[sounds[from_user]] = model.talker.hidden_projection(torch.cat(states))
        self.heard = self.heard[None]
        self.role = ids[:, -3:]

    def next(self) -> int | None:
        """The next token, or None where the text ends."""
        if self.tokens == self._limit:
            self.ended = True
            return None
        if self._logits is None:
            self._think(self._model.thinker.get_input_embeddings()(self.last))
        assert self._logits is not None
        self.last = self._sampler.draw(self._logits)
        self._logits = None
        token = int(self.last)
        if token == self._model.config.im_end_token_id:
            self.ended = True
            return None
        self.tokens += 1
        return token

    def _think(self, embeddings: Tensor, *, output_hidden_states: bool = False) -> Any:
        """Read embeddings [1,n,H]; the scores [1,V] of what follows are then in ``_logits``."""
        output = self._model.thinker.model(
            inputs_embeds=embeddings,
            position_ids=positions(self._place, embeddings.shape[1], self._model.device),
            use_cache=True,
            output_hidden_states=output_hidden_states,
            **self._cache,
        )
        self._place += embeddings.shape[1]
        self._logits = self._model.thinker.lm_head(output.last_hidden_state[:, -1])
        return output

    def _hear(self, features: Tensor) -> Tensor:
        """Embeddings [k,C] of a sound's features [128,T]."""
        features = features[None].to(self._model.device, self._model.thinker.dtype)
        mask = torch.ones((1, features.shape[-1]), dtype=torch.long, device=features.device)
        heard: Tensor = self._model.thinker.get_audio_features(
            features, feature_attention_mask=mask, return_dict=True
        ).last_hidden_state
        return heard


def positions(start: int, count: int, device: torch.device) -> Tensor:
    """Places [4,1,n] in a conversation without pictures: text, time, height and width all count the tokens."""
    return torch.arange(start, start + count, device=device).expand(4, 1, -1)
