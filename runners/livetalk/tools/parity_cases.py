"""How each kind of fixture case is run; ``parity`` hands them their tensors."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from livetalk.base.errors import FixtureError
from livetalk.render import sampler
from livetalk.render.config import FRAMES_PER_BLOCK, StreamConfig
from livetalk.render.encoders import text as text_module
from livetalk.render.encoders.image import preprocess, resized_size, select_size
from livetalk.render.model import CausalDiT
from livetalk.render.model.audio import lead_in
from livetalk.render.model.block import BlockGenerator
from livetalk.render.model.cache import AnchoredKVCache
from livetalk.render.model.dit import TextCondition, sinusoid
from livetalk.render.model.rotary import frame_rotation, part_widths, rotate, spatial_rotation, token_rotation
from livetalk.render.performer import generate_latents
from livetalk.render.vae import to_uint8, to_unit
from livetalk.tools.parity import Case

BF16_LARGEST, BF16_RMS = 0.12, 0.02
"""One forward in bfloat16 against float32: largest and root-mean-square difference."""
UINT8_LARGEST, UINT8_SHARE = 1.0, 5e-4
"""uint8 frames: largest difference, and share of values that may differ at all."""
_BF16_STEP = 2.0**-7  # spacing of bfloat16 numbers, relative

Runner = Callable[[Case], None]


def runner_of(case: Case) -> Runner | None:
    """The runner for a case, told by its tensors; None if it is of no known kind."""
    kinds: tuple[tuple[Runner, tuple[str, ...]], ...] = (
        (run_end_to_end, ("wave", "noise", "image_u8")),
        (run_generation, ("noise", "step_noise", "latents")),
        (run_forward_bf16, (r"call\d+\.flow_bf16",)),
        (run_forward, (r"call\d+\.flow",)),
        (run_training_mask, ("flow", "x", "timestep", "audio_features")),
        (run_speech, (r".+\.wave",)),
        (run_vae, (r"z|image|video",)),
        (run_text, ("ids", "mask")),
        (run_image, (r"\d+\.image_u8",)),
        (run_tables, (r"infer\d+\..+|train\d+\..+|teacher\d+\..+|rope.+|sinusoid.+|noising.+|t5\.bucket\d+",)),
    )
    for runner, needed in kinds:
        if all(any(re.fullmatch(pattern, name) for name in case) for pattern in needed):
            return runner
    return None


# -- transformer ---------------------------------------------------------------------------------------------------


def run_forward(case: Case) -> None:
    """Forwards in generation mode over one cache: flows, keys and values, and what the modules put out on the way."""
    dit = case.fixtures.dit
    stream = _stream(case)
    context = case.tensor("context")
    features = case.tensor("audio_features")[0]
    _audio_condition(case, dit, features, "")
    with _Activations(dit) as activations:
        text = dit.embed_text(context)
        _cross_attention(case, text)
        _calls(case, dit, stream, text, range(len(case.parameter("calls"))), case.expect, activations)


def run_forward_bf16(case: Case) -> None:
    """The forwards of another case in bfloat16, against the published float32 result of the same calls."""
    name, parameters = next(
        (
            (name, entry)
            for name, entry in case.fixtures.cases.items()
            if "calls" in entry and name != case.name and case.name.startswith(name)
        ),
        (None, None),
    )
    if name is None or parameters is None:
        raise FixtureError("the case whose inputs this one uses (the same forwards in float32) is not in the manifest")
    inputs = Case(name, parameters, case.fixtures.tensors(parameters["file"]), case.fixtures)
    calls = sorted({int(found[1]) for key in case if (found := re.match(r"call(\d+)\.", key))})
    for dtype, suffix in ((torch.bfloat16, "flow_bf16"), (torch.float32, "flow_fp32_same_inputs")):
        dit = case.fixtures.dit_as(dtype)

        def compare(key: str, flow: Tensor, suffix: str = suffix, dtype: torch.dtype = dtype) -> None:
            if not key.endswith(".flow"):
                return
            call = key.removesuffix(".flow")
            if dtype == torch.float32:
                case.expect(f"{call}.{suffix}", flow)
                return
            exact = case.tensor(f"{call}.flow_fp32_same_inputs")
            case.expect(f"{call}.{suffix}", flow, BF16_LARGEST)
            difference = flow.double() - exact.double()
            case.measure(f"{call}: bf16 against fp32", difference.abs().max().item(), BF16_LARGEST)
            rms = difference.square().mean().sqrt().item()
            case.measure(f"{call}: bf16 against fp32, rms", rms, BF16_RMS, main=False)

        text = dit.embed_text(inputs.tensor("context"))
        _calls(inputs, dit, _stream(inputs), text, calls, compare)


def run_training_mask(case: Case) -> None:
    """A whole-clip forward under the block-causal mask of training."""
    _check_block(case)
    flow = case.fixtures.dit.forward_clip(
        case.tensor("x"),
        case.tensor("timestep"),
        case.tensor("y"),
        case.tensor("audio_features"),
        case.tensor("context"),
        window=case.parameter("local_attn_size"),
    )
    case.expect("flow", flow)


def run_generation(case: Case) -> None:
    """Block-by-block generation with given noise: every network input, every x0, the cache, and the latents."""
    _check_block(case)
    dit = case.fixtures.dit
    _audio_condition(case, dit, case.tensor("audio_features")[0], "")
    trace = _generate(case, case.tensor("timesteps").tolist(), case.tensor("audio_cond"), case.tensor("ref_latent"),
                      case.tensor("context"))  # fmt: skip
    for name, recorded in trace.items():
        if name in case:
            case.expect(name, recorded)


def _generate(
    case: Case, timesteps: list[float], audio: Tensor, reference: Tensor, context: Tensor
) -> dict[str, Tensor]:
    """Latents and everything seen on the way, under the fixtures' tensor names."""
    noise, step_noise = case.tensor("noise"), case.tensor("step_noise")
    steps, blocks = len(timesteps), len(step_noise)
    seen: dict[str, list[Tensor]] = defaultdict(list)
    trace: dict[str, Tensor] = {}

    def observe(generator: BlockGenerator, step: int, x: Tensor, x0: Tensor | None) -> None:
        cache, n = generator.cache, generator.stream.tokens_per_frame
        seen["step_in"].append(x.clone())
        seen["index_trace"].append(torch.tensor([cache.start * n, cache.end * n, cache.valid_frames * n]))
        if x0 is not None:
            seen["step_x0"].append(x0.clone())
        label = f"kv_after_block{generator.block}" if step == steps else f"kv_mid_block{generator.block}_step{step}"
        trace.update(_snapshot(case, label, cache))
        if step == steps and generator.block == blocks - 1:
            trace["clean_flow_last"] = generator.flow(x, steps)

    trace["latents"] = generate_latents(
        case.fixtures.dit,
        noise=noise,
        step_noise=step_noise,
        reference=reference,
        audio=audio,
        context=context,
        stream=_stream(case, steps=steps),
        timesteps=timesteps,
        observe=observe,
    )
    for name, passes in (("step_in", steps + 1), ("step_x0", steps)):
        stacked = torch.stack(seen[name])
        trace[name] = stacked.reshape(blocks, passes, *stacked.shape[1:])
    trace["index_trace"] = torch.stack(seen["index_trace"]).to(noise.device)
    return trace


def _calls(
    case: Case,
    dit: CausalDiT,
    stream: StreamConfig,
    text: TextCondition,
    calls: Any,
    compare: Callable[[str, Tensor], None],
    activations: _Activations | None = None,
) -> None:
    y, audio = case.tensor("y")[0].transpose(0, 1), case.tensor("audio_cond").flatten(2).to(dit.dtype)
    cache = dit.new_cache(stream.for_clip(len(y)))
    for call in calls:
        start = case.parameter("calls")[call]["start_frame"]
        x = case.tensor(f"call{call}.x")[0].transpose(0, 1).to(dit.dtype)
        if start == cache.end:
            cache.begin_block()
        elif not (cache.end and start == cache.start):
            raise FixtureError(f"call {call} starts at frame {start}; the cache stands at {cache.start} to {cache.end}")
        frames = slice(start, start + len(x))
        time = dit.embed_time(case.tensor(f"call{call}.timestep")[0].to(dit.dtype))
        if activations is not None:
            activations.clear()
        flow = dit.flow(x, dit.embed_image(y[frames]), audio[:, frames], time, text, cache)
        compare(f"call{call}.flow", flow.transpose(0, 1))
        for name, value in _snapshot(case, f"call{call}", cache).items():
            compare(name, value)
        if activations is not None:
            for name, value in activations.named(case, f"call{call}.act.", flow.shape):
                compare(name, value)


def _snapshot(case: Case, label: str, cache: AnchoredKVCache) -> dict[str, Tensor]:
    """The cache of every layer that the case holds under ``label``."""
    out = {}
    for name in case:
        if found := re.fullmatch(re.escape(label) + r"\.([kv])\.(\d+)", name):
            out[name] = cache.in_order(int(found[2]))["kv".index(found[1])].clone()
    return out


def _cross_attention(case: Case, text: TextCondition) -> None:
    for name in case:
        if found := re.fullmatch(r"cross_([kv])\.(\d+)", name):
            case.expect(name, getattr(text, found[1])[int(found[2])].flatten(1))


def _audio_condition(case: Case, dit: CausalDiT, features: Tensor, prefix: str) -> Tensor:
    rows = lead_in(features)
    audio = dit.embed_audio(rows)
    if f"{prefix}audio_packed" in case:
        case.expect(f"{prefix}audio_packed", dit.audio.packed(rows))
    if f"{prefix}audio_cond" in case:
        case.expect(f"{prefix}audio_cond", audio)
    return audio


def _stream(case: Case, steps: int = 4) -> StreamConfig:
    height, width = case.parameter("latent_hw")
    stream = StreamConfig(
        height, width, window=case.parameter("local_attn_size"), sink=case.parameter("sink_size"), steps=steps
    )
    given = case.parameters.get("frame_seq_length", stream.tokens_per_frame)
    if given != stream.tokens_per_frame:
        raise FixtureError(f"{height} x {width} latents make {stream.tokens_per_frame} tokens per frame, not {given}")
    return stream


def _check_block(case: Case) -> None:
    if case.parameters.get("num_frame_per_block", FRAMES_PER_BLOCK) != FRAMES_PER_BLOCK:
        raise FixtureError(f"blocks of {case.parameters['num_frame_per_block']} frames are not supported")


class _Activations:
    """Records what the transformer's modules put out, under the published modules' names."""

    def __init__(self, dit: CausalDiT) -> None:
        self._seen: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._handles = [dit.layers[0].register_forward_pre_hook(self._first_input)]
        modules: dict[str, nn.Module] = {
            "time_embedding": dit.time_out,
            "time_projection": dit.time_projection,
            "text_embedding": dit.text_out,
            "head": dit.head,
        }
        for index, layer in enumerate(dit.layers):
            modules |= {
                f"blocks.{index}": layer,
                f"blocks.{index}.self_attn": layer.self_out,
                f"blocks.{index}.cross_attn": layer.cross_out,
                f"blocks.{index}.ffn": layer.ffn_out,
            }
        for name, module in modules.items():
            self._handles.append(module.register_forward_hook(self._output(name)))

    def __enter__(self) -> _Activations:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def clear(self) -> None:
        """Forget what a forward records anew; the text and time embeddings are computed before it."""
        self._kept |= {name: self._seen[name] for name in ("text_embedding", "time_embedding", "time_projection")}
        self._seen = dict(self._kept)

    def named(self, case: Case, prefix: str, shape: torch.Size) -> list[tuple[str, Tensor]]:
        """Activations the case holds under ``prefix``, in the published layout."""
        out = []
        for name in case:
            value = self._seen.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
            if value is None:
                continue
            if name == f"{prefix}patch_embedding":  # [f, n, d] here, [d, f, rows, columns] there
                grid = value.reshape(len(value), shape[-2] // 2, shape[-1] // 2, -1)
                value = grid.permute(3, 0, 1, 2)
            elif value.ndim == 3 and not name.endswith("head"):
                value = value.flatten(0, 1)
            out.append((name, value))
        return out

    def _first_input(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._seen["patch_embedding"] = args[0].clone()

    def _output(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def record(module: nn.Module, args: Any, output: Tensor) -> None:
            self._seen[name] = output.clone()

        return record


# -- encoders and decoder ------------------------------------------------------------------------------------------


def run_speech(case: Case) -> None:
    """Whole-clip speech features and the stages before them, for each clip of the case."""
    encoder = case.fixtures.speech
    hidden = encoder.model.config.hidden_size
    for clip, parameters in case.parameter("clips").items():
        latent_frames = parameters["num_latent_frames"]
        wave = case.tensor(f"{clip}.wave").cpu().numpy()
        features = encoder.whole_clip(wave, latent_frames)
        normalised = encoder.normalised(wave[: parameters.get("used_samples")])
        steps = encoder.front_end(normalised)
        stages = {
            "features": features,
            "input_values": torch.from_numpy(normalised).to(features.device),
            "cnn": steps[0].T,
            "cnn_interp": encoder.resampled(steps, len(features))[0].T,
            "last_hidden": features[:, :hidden],
        }
        stages |= {
            f"hidden.{index}": part for index, part in enumerate(torch.split(features[:, hidden:], hidden, dim=1))
        }
        for stage, value in stages.items():
            if f"{clip}.{stage}" in case:
                case.expect(f"{clip}.{stage}", value)
        if f"{clip}.audio_packed" in case or f"{clip}.audio_cond" in case:
            _audio_condition(case, case.fixtures.dit, features, f"{clip}.")


def run_vae(case: Case) -> None:
    """Encoding, decoding, and the decoder's cache; decoding in pieces must be bit for bit the same."""
    vae = case.fixtures.vae
    for source in ("image", "video"):
        if source in case:
            case.expect(f"{source}_latent", vae.encode_clip(case.tensor(source)).transpose(1, 2))
    if "z" not in case:
        return
    latents = case.tensor("z").transpose(1, 2)
    whole = vae.decode_float(latents)
    if "decoded_unclamped" in case:
        case.expect("decoded_unclamped", whole.transpose(1, 2))
    cuts = {max(1, latents.shape[2] // 2)}
    for name in case:
        if found := re.fullmatch(r"decoded_clamped_first(\d+)", name):
            case.expect(name, whole.transpose(1, 2)[:, : int(found[1])].clamp(-1.0, 1.0))
        if found := re.fullmatch(r"cache_after_(\d+)\.(\d+)", name):
            cuts.add(int(found[1]))
    for cut in sorted(cuts):
        stream = vae.decoder_stream()
        head = stream.decode_float(latents[:, :, :cut])
        for name in case:
            if found := re.fullmatch(rf"cache_after_{cut}\.(\d+)", name):
                kept = stream.cache[int(found[1])]
                if kept is None:
                    raise FixtureError(f"the decoder keeps nothing in slot {found[1]}")
                case.expect(name, kept)
        tail = [stream.decode_float(latents[:, :, cut:])] if cut < latents.shape[2] else []
        difference = (torch.cat([head, *tail], dim=2) - whole).abs().max().item()
        case.measure(f"stream cut after {cut}, against whole", difference, 0.0, main=False)


def run_text(case: Case) -> None:
    """Token ids to hidden states, with and without padding rows."""
    ids, mask = case.tensor("ids"), case.tensor("mask")
    for name, encode in (("raw", case.fixtures.text.raw), ("prompt_embeds", case.fixtures.text.encode)):
        if name in case:
            case.expect(name, encode(ids, mask))


def run_image(case: Case) -> None:
    """Cropping and scaling of pictures, and the choice among sizes."""
    for item in case.parameter("items"):
        index, target = item["i"], (item["target_hw"][0], item["target_hw"][1])
        picture = Image.fromarray(case.tensor(f"{index}.image_u8").cpu().numpy())
        case.expect(f"{index}.out", preprocess(picture, [target]).to(case.fixtures.device))
        resized = resized_size(picture.height, picture.width, target)
        if list(resized) != item.get("resized_hw", list(resized)):
            raise FixtureError(f"item {index} is resized to {list(resized)}, not {item['resized_hw']}")
    for row in case.parameters.get("match_size_table", []):
        sizes = [tuple(size) for size in case.parameter("size_lists")[row["list"]]]
        chosen = list(select_size(row["h"], row["w"], sizes))
        if chosen != row["selected"]:
            raise FixtureError(
                f"{row['h']} x {row['w']} is given size {chosen} of {row['list']}, not {row['selected']}"
            )


def run_end_to_end(case: Case) -> None:
    """Picture, speech and token ids to frames."""
    fixtures, dit, vae = case.fixtures, case.fixtures.dit, case.fixtures.vae
    count = case.parameter("num_latent_frames")
    picture = Image.fromarray(case.tensor("image_u8").cpu().numpy())
    reference = vae.encode_image(preprocess(picture, [tuple(size) for size in case.parameter("size_list")]))
    mask = torch.ones_like(reference[:, :1]).expand(-1, -1, count, -1, -1).clone()
    mask[:, :, 0] = 0
    if "img_lat" in case:
        case.expect("img_lat", torch.cat((reference.expand(-1, -1, count, -1, -1), mask), dim=1))
    features = fixtures.speech.whole_clip(case.tensor("wave").cpu().numpy(), count)
    audio = _audio_condition(case, dit, features, "")
    context = fixtures.text.encode(case.tensor("ids"), case.tensor("mask"))
    latents = _generate(case, list(case.parameter("timesteps")), audio[:, :, None, None], reference, context)["latents"]
    case.expect("latents", latents)
    frames = vae.decode_float(latents.transpose(1, 2))
    if "video_frames" in case:
        index = case.tensor("video_frame_index").long()
        case.expect("video_frames", to_unit(frames).transpose(1, 2)[:, index])
    if "video_u8" in case:
        _uint8(case, "video_u8", to_uint8(frames))


def _uint8(case: Case, name: str, actual: Tensor) -> None:
    expected = case.tensor(name)
    if actual.shape != expected.shape:
        raise FixtureError(f"{name} came out as {list(actual.shape)}, the file has {list(expected.shape)}")
    difference = (actual.int() - expected.int()).abs()
    case.measure(f"{name}: largest", float(difference.max().item()), UINT8_LARGEST, main=False)
    case.measure(f"{name}: share that differs", (difference > 0).double().mean().item(), UINT8_SHARE, main=False)


# -- tables --------------------------------------------------------------------------------------------------------


def run_tables(case: Case) -> None:
    """Schedules, conversions between noise levels, sinusoid, rotation tables and position buckets."""
    for name in case:
        if found := re.fullmatch(r"(?:infer|train|teacher)(\d+)\.(\w+)", name):
            _schedule_table(case, name, int(found[1]), found[2])
        elif found := re.fullmatch(r"noising\.xt_(bf16_)?(\d+)", name):
            _noising(case, found[1] or "", found[2])
        elif found := re.fullmatch(r"sinusoid(\d+)\.t", name):
            width, t = int(found[1]), case.tensor(name)
            case.expect(f"sinusoid{width}.emb", sinusoid(t, width))
            if f"sinusoid{width}.emb_bf16" in case:
                case.expect(f"sinusoid{width}.emb_bf16", sinusoid(t.bfloat16(), width), _BF16_STEP)
        elif found := re.fullmatch(r"rope(\d+)\.pos", name):
            _rotation_table(case, int(found[1]))
        elif name == "rope_apply.x":
            _rotation_example(case)
        elif found := re.fullmatch(r"t5\.bucket(\d+)", name):
            case.expect(name, text_module.position_buckets(case.tensor("t5.rel_pos"), int(found[1])), 0.0)


def _schedule_table(case: Case, name: str, steps: int, part: str) -> None:
    plan = sampler.schedule(steps)
    parts = {
        "sigmas": plan.sigmas,
        "timesteps": plan.timesteps,
        "timesteps_bf16_as_f32": sampler.schedule(steps, rounding="bfloat16").timesteps,
    }
    if steps == sampler.TRAINING_STEPS:
        parts["weights"] = sampler.training_weights()
    if part in parts:
        case.expect(name, parts[part].to(case.fixtures.device))


def _noising(case: Case, precision: str, timestep: str) -> None:
    dtype = torch.bfloat16 if precision else torch.float32
    x0, noise = case.tensor("noising.x0").to(dtype), case.tensor("noising.noise").to(dtype)
    sigma = sampler.sigma_at(float(timestep), sampler.schedule(4))
    name = f"noising.xt_{precision}{timestep}"
    limit = _BF16_STEP * case.tensor(name).abs().max().item() if precision else None
    case.expect(name, sampler.add_noise(x0, noise, sigma), limit)
    back = f"noising.x0_from_flow_{precision}{timestep}"
    if back in case:
        case.expect(back, sampler.x0_from_flow(case.tensor(name), noise, sigma), limit)


def _rotation_table(case: Case, head_dim: int) -> None:
    positions = case.tensor(f"rope{head_dim}.pos").cpu()
    count = int(positions.max()) + 1
    pairs = part_widths(head_dim)[1] // 2
    tables = {
        "f": frame_rotation(0, count, head_dim, "cpu"),
        "h": spatial_rotation(count, 1, head_dim, "cpu")[:, :pairs],
        "w": spatial_rotation(1, count, head_dim, "cpu")[:, pairs:],
    }
    for axis, table in tables.items():
        for index, function in enumerate(("cos", "sin")):
            name = f"rope{head_dim}.{axis}_{function}"
            if name in case:
                case.expect(name, table[positions, :, index].to(case.fixtures.device))


def _rotation_example(case: Case) -> None:
    """Two heads, frames 5 and 6 of a session, a grid of 3 rows and 2 columns: as the fixtures' README says."""
    x = case.tensor("rope_apply.x")
    heads, first, frames, rows, columns = 2, 5, 2, 3, 2
    head_dim = x.shape[-1] // heads
    rotation = token_rotation(
        frame_rotation(first, frames, head_dim, x.device), spatial_rotation(rows, columns, head_dim, x.device)
    )
    case.expect("rope_apply.out", rotate(x[0].reshape(-1, heads, head_dim), rotation).flatten(-2))
