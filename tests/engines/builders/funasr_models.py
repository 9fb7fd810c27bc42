"""Paraformer, voice activity and punctuation models for FunASR, of the published classes but tiny.

The recogniser and the punctuation model have random weights: their words mean nothing. The voice activity model is set
by hand to be a true energy detector, so that where it hears speech can be checked.

usage: python funasr_models.py FOLDER, which then holds asr/, vad/ and punc/.
"""

from __future__ import annotations

import json
import string
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from interbench.asr.funasr_engine import import_classes

import_classes(
    {
        "Paraformer",
        "SANMEncoder",
        "ParaformerSANMDecoder",
        "CifPredictorV2",
        "FsmnVADStreaming",
        "FSMN",
        "CTTransformer",
    }
)
from funasr.models.ct_transformer.model import CTTransformer  # noqa: E402 - not before its classes are chosen
from funasr.models.fsmn_vad_streaming.model import FsmnVADStreaming  # noqa: E402
from funasr.models.paraformer.model import Paraformer  # noqa: E402

MELS = 80
WORDS = ["the", "a", "and", "you", "i", "is", "it", "what", "how", "are", "hello", "weather", "today", "good", "thank"]
FRONTEND = {"fs": 16000, "window": "hamming", "n_mels": MELS, "frame_length": 25, "frame_shift": 10}


def write(folder: Path, config: dict[str, Any], model: torch.nn.Module) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    torch.save(model.state_dict(), folder / "model.pt")


def write_mvn(folder: Path, size: int, shift: float, scale: float) -> None:
    """Feature normalisation in Kaldi's text form: (x + shift) * scale."""

    def row(value: float) -> str:
        return " ".join([str(value)] * size)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "am.mvn").write_text(
        f"<Nnet>\n<Splice> {size} {size}\n[ 0 ]\n<AddShift> {size} {size}\n<LearnRateCoef> 0 [ {row(shift)} ]\n"
        f"<Rescale> {size} {size}\n<LearnRateCoef> 0 [ {row(scale)} ]\n</Nnet>\n"
    )


def make_asr(folder: Path) -> None:
    letters = list(string.ascii_lowercase)
    pieces = [letter + "@@" for letter in letters] + letters + [word[:2] + "@@" for word in WORDS if len(word) > 3]
    tokens = list(dict.fromkeys(["<blank>", "<s>", "</s>", *WORDS, *pieces, "<unk>"]))
    size, dim = MELS * 7, 32
    layer = {"attention_heads": 2, "linear_units": 64, "dropout_rate": 0.1, "positional_dropout_rate": 0.1}
    parts: dict[str, Any] = {
        "encoder": "SANMEncoder",
        "encoder_conf": {
            **layer,
            "output_size": dim,
            "num_blocks": 2,
            "attention_dropout_rate": 0.1,
            "input_layer": "pe",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
        },
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": {
            **layer,
            "num_blocks": 2,
            "self_attention_dropout_rate": 0.1,
            "src_attention_dropout_rate": 0.1,
            "att_layer_num": 2,
            "kernel_size": 11,
            "sanm_shfit": 0,
        },
        "predictor": "CifPredictorV2",
        "predictor_conf": {"idim": dim, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
    }
    conf = {"ctc_weight": 0.0, "lsm_weight": 0.1, "length_normalized_loss": True, "predictor_bias": 1}
    conf |= {"predictor_weight": 1.0, "sampling_ratio": 0.75}
    ctc = {"dropout_rate": 0.0, "ctc_type": "builtin", "reduce": True, "ignore_nan_grad": True}
    torch.manual_seed(0)
    model = Paraformer(input_size=size, vocab_size=len(tokens), specaug=None, ctc_conf=ctc, **parts, **conf)
    # About 0.12 tokens a frame: a few words a second.
    torch.nn.init.constant_(model.predictor.cif_output.bias, -2.0)
    config = {
        "model": "Paraformer",
        "model_conf": conf,
        **parts,
        "frontend": "WavFrontend",
        # Dither as FunASR defaults to it, so that the tests show that we turn it off.
        "frontend_conf": {**FRONTEND, "lfr_m": 7, "lfr_n": 6, "dither": 1.0},
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "ctc_conf": ctc,
        "normalize": None,
    }
    write(folder, config, model)
    write_mvn(folder, size, -8.0, 0.15)
    (folder / "tokens.json").write_text(json.dumps(tokens))


def make_vad(folder: Path) -> None:
    size = MELS * 5
    conf = {
        "sample_rate": 16000,
        "detect_mode": 1,
        "snr_mode": 0,
        "max_end_silence_time": 800,
        "max_start_silence_time": 3000,
        "do_start_point_detection": True,
        "do_end_point_detection": True,
        "window_size_ms": 200,
        "sil_to_speech_time_thres": 150,
        "speech_to_sil_time_thres": 150,
        "speech_2_noise_ratio": 1.0,
        "do_extend": 1,
        "lookback_time_start_point": 200,
        "lookahead_time_end_point": 100,
        "max_single_segment_time": 60000,
        "snr_thres": -100.0,
        "noise_frame_num_used_for_snr": 100,
        "decibel_thres": -100.0,
        "speech_noise_thres": 0.6,
        "fe_prior_thres": 0.0001,
        "silence_pdf_num": 1,
        "sil_pdf_ids": [0],
        "speech_noise_thresh_low": -0.1,
        "speech_noise_thresh_high": 0.3,
        "output_frame_probs": False,
        "frame_in_ms": 10,
        "frame_length_ms": 25,
    }
    encoder = {
        "input_dim": size,
        "input_affine_dim": 16,
        "fsmn_layers": 1,
        "linear_dim": 16,
        "proj_dim": 8,
        "lorder": 20,
        "rorder": 0,
        "lstride": 1,
        "rstride": 0,
        "output_affine_dim": 16,
        "output_dim": 8,
    }
    config = {
        "model": "FsmnVADStreaming",
        "model_conf": conf,
        "encoder": "FSMN",
        "encoder_conf": encoder,
        "frontend": "WavFrontendOnline",
        "frontend_conf": {**FRONTEND, "dither": 1.0, "lfr_m": 5, "lfr_n": 1},
    }
    model = FsmnVADStreaming(encoder="FSMN", encoder_conf=encoder, **conf)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        # One channel carries the mean mel energy through; silence (output 0) wins where it is low.
        net = model.encoder
        net.in_linear1.linear.weight[0].fill_(1 / size)
        net.in_linear2.linear.weight[0, 0] = 1.0
        for block in net.fsmn:
            block.linear.linear.weight[0, 0] = 1.0
            block.affine.linear.weight[0, 0] = 1.0
        net.out_linear1.linear.weight[0, 0] = 1.0
        net.out_linear2.linear.weight[0, 0] = -40.0
        net.out_linear2.linear.bias[0] = 8.0
    write(folder, config, model)
    write_mvn(folder, size, -8.0, 0.2)


def make_punc(folder: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *WORDS]
    marks = ["<unk>", "_", ",", ".", "?", ";"]
    conf = {"ignore_id": 0, "embed_unit": 16, "att_unit": 16, "dropout_rate": 0.1, "punc_list": marks}
    conf |= {"punc_weight": [1.0] * len(marks), "sentence_end_id": 3}
    encoder = {
        "input_size": 16,
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 32,
        "num_blocks": 1,
        "dropout_rate": 0.1,
        "positional_dropout_rate": 0.1,
        "attention_dropout_rate": 0.0,
        "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder",
        "normalize_before": True,
        "kernel_size": 11,
        "sanm_shfit": 0,
        "selfattention_layer_type": "sanm",
        "padding_idx": 0,
    }
    torch.manual_seed(0)
    model = CTTransformer(encoder="SANMEncoder", encoder_conf=encoder, vocab_size=len(tokens), **conf)
    config = {
        "model": "CTTransformer",
        "model_conf": conf,
        "encoder": "SANMEncoder",
        "encoder_conf": encoder,
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    }
    write(folder, config, model)
    (folder / "tokens.json").write_text(json.dumps(tokens))


def main() -> None:
    folder = Path(sys.argv[1])
    make_asr(folder / "asr")
    make_vad(folder / "vad")
    make_punc(folder / "punc")


if __name__ == "__main__":
    main()
