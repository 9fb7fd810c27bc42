"""A model gets its cache under the name that it knows, whichever transformers it comes from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from livetalk.thinkers.base import ThinkerError
from livetalk.thinkers.omni_cache import cache_argument
from tiny_omni import build_tiny_omni
from transformers import DynamicCache, Qwen3OmniMoeForConditionalGeneration


class Newer(torch.nn.Module):
    def forward(self, inputs_embeds: torch.Tensor, cache: object = None, **kwargs: object) -> None: ...


class Older(torch.nn.Module):
    def forward(self, inputs_embeds: torch.Tensor, past_key_values: object = None, **kwargs: object) -> None: ...


class Unknown(torch.nn.Module):
    def forward(self, inputs_embeds: torch.Tensor, memory: object = None, **kwargs: object) -> None: ...


def test_the_signature_names_it() -> None:
    assert cache_argument(Newer()) == "cache"
    assert cache_argument(Older()) == "past_key_values"


def test_a_model_that_would_silently_forget_is_refused() -> None:
    with pytest.raises(ThinkerError, match="Unknown takes its cache neither as") as error:
        cache_argument(Unknown())
    assert error.value.code == "failed"


def test_each_part_of_the_installed_model_remembers(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = build_tiny_omni(tmp_path_factory.mktemp("omni"))
    model = Qwen3OmniMoeForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    config: Any = model.config
    text = config.thinker_config.text_config
    speech, codes = config.talker_config.text_config, config.talker_config.code_predictor_config
    for part, width in (
        (model.thinker.model, text.hidden_size),
        (model.talker.model, speech.hidden_size),
        (model.talker.code_predictor.model, codes.hidden_size),
        (model.code2wav.pre_transformer, config.code2wav_config.hidden_size),
    ):
        cache = DynamicCache()
        for added, seen in ((3, 3), (2, 5)):
            with torch.inference_mode():
                part(inputs_embeds=torch.ones(1, added, width), use_cache=True, **{cache_argument(part): cache})
            assert cache.get_seq_length() == seen, type(part).__name__
