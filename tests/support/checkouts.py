"""Stand-ins for the checkouts of published systems, written from their repositories and not from our recipes.

Each has that repository's options, reader of its input and names of what it writes; in place of a model it films a
moving bar to the speech. What it was started with it adds to the file that ``STANDIN_LOG`` names.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import checkouts_beyond

_KIT = str(Path(__file__).parent)

_HEAD = f"""
import argparse, json, os, pathlib, sys, time
sys.path.append({_KIT!r})
from talk_film import write_talk
T0 = time.time()
def log(**more):
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PYTHONPATH", "PYTHONUNBUFFERED",
             "TOKENIZERS_PARALLELISM")
    entry = dict(argv=sys.argv, cwd=os.getcwd(), pid=os.getpid(), gpu=os.environ.get("CUDA_VISIBLE_DEVICES"), time=T0,
                 env={{n: os.environ[n] for n in names if n in os.environ}},
                 links=sorted(p.name for p in pathlib.Path().iterdir() if p.is_symlink()), **more)
    with open(os.environ["STANDIN_LOG"], "a") as sink:
        sink.write(json.dumps(entry) + "\\n")
def must(*paths):
    for path in paths:
        if not os.path.exists(path):
            sys.exit("FileNotFoundError: " + str(path))
"""

# Zejun-Yang/AniPortrait, scripts/audio2vid.py: parse_args, OmegaConf over the YAML, save_dir, save_path, ffmpeg.
_ANIPORTRAIT = """
import datetime, yaml
parser = argparse.ArgumentParser()
parser.add_argument("--config", type=str, default="./configs/prompts/animation_audio.yaml")
parser.add_argument("-W", type=int, default=512)
parser.add_argument("-H", type=int, default=512)
parser.add_argument("-L", type=int)
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--cfg", type=float, default=3.5)
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--fps", type=int, default=30)
parser.add_argument("-acc", "--accelerate", action="store_true")
parser.add_argument("--fi_step", type=int, default=3)
args = parser.parse_args()
text = pathlib.Path(args.config).read_text()
config = yaml.safe_load(text)
log(config=text)
must(config["audio_inference_config"], config["inference_config"], config["pose_temp"])
must(*(config[n] for n in ("pretrained_base_model_path", "pretrained_vae_path", "image_encoder_path",
                           "denoising_unet_path", "reference_unet_path", "pose_guider_path", "motion_module_path")))
now = datetime.datetime.now()
stamp = now.strftime("%H%M")
save_dir = pathlib.Path(f"output/{now:%Y%m%d}/{stamp}--seed_{args.seed}-{args.W}x{args.H}")
save_dir.mkdir(exist_ok=True, parents=True)
for image, sounds in config["test_cases"].items():
    for sound in sounds:
        must(image)
        name = f"{pathlib.Path(image).stem}_{pathlib.Path(sound).stem}_{args.H}x{args.W}_{int(args.cfg)}_{stamp}"
        silent = save_dir / f"{name}_noaudio.mp4"
        silent.write_bytes(b"half a film")
        if (save_dir / f"{name}.mp4").exists():
            input("File exists. Overwrite? [y/N]")
        write_talk(save_dir / f"{name}.mp4", pathlib.Path(sound), size=(args.W, args.H), fps=args.fps, panels=3)
        silent.unlink()
"""

# fudan-generative-vision/hallo3, hallo3/sample_video.py: reads the input file line by line, separates the voice into
# .cache by the stem of the sound, names its folder by both stems and the seed.
_HALLO3 = """
parser = argparse.ArgumentParser()
parser.add_argument("--base", nargs="*", default=[])
parser.add_argument("--seed", type=int, default=1234)
parser.add_argument("--input-file", type=str)
parser.add_argument("--output-dir", type=str, default="samples")
args = parser.parse_args()
for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
    int(os.environ[name])
must(*args.base, "pretrained_models/hallo3", "pretrained_models/t5-v1_1-xxl")
log(op="loaded")
with open(args.input_file) as lines:
    for line in lines:
        prompt, image, sound = line.strip().split("@@")
        log(op="turn", line=line)
        must(image)
        if "Hang" in prompt:
            time.sleep(float(os.environ.get("STANDIN_HANG_S", "1")))
        if "Die" in prompt:
            sys.exit("CUDA out of memory")
        cache = pathlib.Path(".cache") / (pathlib.Path(sound).stem + ".wav")
        cache.parent.mkdir(exist_ok=True)
        if not cache.exists():
            cache.write_bytes(pathlib.Path(sound).read_bytes())
        stems = f"{pathlib.Path(image).stem}-{pathlib.Path(sound).stem}"
        folder = pathlib.Path(args.output_dir) / f"{stems}-seed_{args.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        print("saving in:", folder, flush=True)
        write_talk(folder / "000000_with_audio.mp4", cache, size=(480, 480), fps=25)
"""

# Fantasy-AMAP/fantasy-talking, infer.py: parse_args, load_models and main; at most max_num_frames at fps.
_FANTASY = """
import datetime
def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--wan_model_dir", default="./models/Wan2.1-I2V-14B-720P")
    parser.add_argument("--fantasytalking_model_path", default="./models/fantasytalking_model.ckpt")
    parser.add_argument("--wav2vec_model_dir", default="./models/wav2vec2-base-960h")
    parser.add_argument("--image_path", default="./assets/images/woman.png")
    parser.add_argument("--audio_path", default="./assets/audios/woman.wav")
    parser.add_argument("--prompt", default="A woman is talking.")
    parser.add_argument("--output_dir", default="./output")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--audio_scale", type=float, default=1.0)
    parser.add_argument("--prompt_cfg_scale", type=float, default=5.0)
    parser.add_argument("--audio_cfg_scale", type=float, default=5.0)
    parser.add_argument("--max_num_frames", type=int, default=81)
    parser.add_argument("--fps", type=int, default=23)
    parser.add_argument("--num_persistent_param_in_dit", type=int, default=None)
    parser.add_argument("--seed", type=int, default=1111)
    return parser.parse_args()
def load_models(args):
    must(args.wan_model_dir, args.fantasytalking_model_path, args.wav2vec_model_dir)
    log(op="loaded")
    return "pipe", "fantasytalking", "processor", "wav2vec"
def main(args, pipe, fantasytalking, wav2vec_processor, wav2vec):
    assert (pipe, wav2vec) == ("pipe", "wav2vec")
    log(op="turn", given=vars(args))
    must(args.image_path)
    out = pathlib.Path(args.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    stems = f"{pathlib.Path(args.image_path).stem}_{pathlib.Path(args.audio_path).stem}"
    name = f"{stems}_{datetime.datetime.now():%Y%m%d_%H%M%S}.mp4"
    (out / f"tmp_{name}").write_bytes(b"half a film")
    write_talk(out / name, pathlib.Path(args.audio_path), size=(args.image_size, args.image_size), fps=args.fps,
               most_s=args.max_num_frames / args.fps)
if __name__ == "__main__":
    parsed = parse_args()
    main(parsed, *load_models(parsed))
"""

# Omni-Avatar/OmniAvatar, scripts/inference.py: --hp over the configuration, silence and a reference frame first.
_OMNI = """
import datetime, shutil, yaml
parser = argparse.ArgumentParser()
parser.add_argument("--config", type=str)
parser.add_argument("--input_file", type=str, default=None)
parser.add_argument("-hp", "--hparams", "--hp", type=str, default="")
args = parser.parse_args()
config = yaml.safe_load(open(args.config))
for pair in args.hparams.split(","):
    name, value = pair.split("=")
    config[name] = yaml.safe_load(value)
must(config["exp_path"], "pretrained_models/wav2vec2-base-960h")
log(op="loaded")
stem = pathlib.Path(args.input_file).stem
folder = pathlib.Path("demo_out") / pathlib.Path(config["exp_path"]).name / (
    f"res_{stem}_seed{config['seed']}_step{config['num_steps']}_cfg{config['guidance_scale']}"
    f"_ovlp{config['overlap_frame']}_{config['max_tokens']}_{config['fps']}_{datetime.datetime.now():%Y%m%d%H%M%S}")
folder.mkdir(parents=True, exist_ok=True)
with open(args.input_file) as lines:
    for number, line in enumerate(lines):
        prompt, image, sound = line.strip().split("@@")
        log(op="turn", line=line)
        must(image)
        tmp = pathlib.Path(".") / f"tmp_{os.getpid()}.mp4"
        write_talk(tmp, pathlib.Path(sound), size=(720, 720), fps=config["fps"], lead_s=0.34)
        bare = folder / f"result_{number:03d}_000.mp4"
        bare.write_bytes(b"no sound yet")
        print(f"save res video to : {bare}", flush=True)
        shutil.copy(tmp, folder / f"result_{number:03d}_000_wav.mp4")
        bare.unlink()
"""
# torch.distributed.run gives every worker a session of its own.
_TORCHRUN = """
import signal, subprocess, sys
options = [a for a in sys.argv[1:] if a in ("--standalone", "--nproc_per_node=1")]
assert options == ["--standalone", "--nproc_per_node=1"], sys.argv
worker = subprocess.Popen([sys.executable, "-u", *sys.argv[3:]], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: worker.terminate())
sys.exit(worker.wait())
"""

# GAIR-NLP/LiveTalk, scripts/inference_example.py: length in latent frames, speech stretched to it, tmp.mp4.
_LIVETALK = """
import yaml
import model_of_livetalk
parser = argparse.ArgumentParser()
parser.add_argument("--config", type=str)
args = parser.parse_args()
text = pathlib.Path(args.config).read_text()
config = yaml.safe_load(text)
log(config=text)
must("OmniAvatar", config["text_encoder_path"], config["dit_path"], config["vae_path"], config["wav2vec_path"],
     config["image_path"])
frames = (config["fps"] * config["video_duration"] + 4) // 4
assert frames % config["num_frame_per_block"] == 0, "num_frames % num_frame_per_block"
import wave
with wave.open(config["audio_path"]) as speech:
    seconds = speech.getnframes() / speech.getframerate()
if seconds < config["video_duration"] - 1e-6:
    sys.exit("the features would be stretched over the clip")
write_talk(pathlib.Path("tmp.mp4"), pathlib.Path(config["audio_path"]), size=tuple(config["image_sizes_720"][0]),
           fps=config["fps"])
os.replace("tmp.mp4", config["output_path"])
"""

_SCRIPTS: Mapping[str, Mapping[str, str]] = {
    "aniportrait": {
        "scripts/__init__.py": "",
        "scripts/audio2vid.py": _ANIPORTRAIT,
        "configs/inference/inference_audio.yaml": "a2m_model: {}\n",
        "configs/inference/inference_v2.yaml": "unet: {}\n",
        "configs/inference/head_pose_temp/pose_temp.npy": "poses",
    },
    "hallo3": {
        "hallo3/sample_video.py": _HALLO3,
        "configs/cogvideox_5b_i2v_s2.yaml": "model: {}\n",
        "configs/inference.yaml": "args: {}\n",
    },
    "fantasytalking": {"infer.py": _FANTASY},
    "omniavatar-1.3b": {
        "scripts/inference.py": _OMNI,
        "configs/inference_1.3B.yaml": "exp_path: pretrained_models/OmniAvatar-1.3B\nfps: 25\n",
    },
    "omniavatar-14b": {
        "scripts/inference.py": _OMNI,
        "configs/inference.yaml": "exp_path: pretrained_models/OmniAvatar-14B\nfps: 25\n",
    },
    "livetalk-published": {
        "scripts/inference_example.py": _LIVETALK,
        "model_of_livetalk.py": "",
        "OmniAvatar/readme": "patched",
    },
}
WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "aniportrait": tuple(
        f"pretrained_model/{name}"
        for name in (
            *("stable-diffusion-v1-5/", "sd-vae-ft-mse/", "image_encoder/", "wav2vec2-base-960h/"),
            *("denoising_unet.pth", "reference_unet.pth", "pose_guider.pth", "motion_module.pth", "film_net_fp16.pt"),
        )
    ),
    "hallo3": tuple(f"pretrained_models/{name}/" for name in ("hallo3", "cogvideox-5b-i2v-sat", "t5-v1_1-xxl")),
    "fantasytalking": ("models/Wan2.1-I2V-14B-720P/", "models/wav2vec2-base-960h/", "models/fantasytalking_model.ckpt"),
    "omniavatar-1.3b": tuple(
        f"pretrained_models/{name}/" for name in ("Wan2.1-T2V-1.3B", "OmniAvatar-1.3B", "wav2vec2-base-960h")
    ),
    "omniavatar-14b": tuple(
        f"pretrained_models/{name}/" for name in ("Wan2.1-T2V-14B", "OmniAvatar-14B", "wav2vec2-base-960h")
    ),
    "livetalk-published": tuple(
        f"pretrained_checkpoints/{name}"
        for name in (
            "Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth",
            *("Wan2.1-T2V-1.3B/Wan2.1_VAE.pth", "LiveTalk-1.3B-V0.1/model.safetensors", "wav2vec2/"),
        )
    ),
}
SIX = tuple(_SCRIPTS)
"""Of the paper's table."""
BEYOND = tuple(checkouts_beyond.SCRIPTS)


def make_checkout(home: Path, system: str) -> Path:
    """A checkout of ``system`` with an environment of its own and what stands for its weights."""
    write_checkout(home, {**_SCRIPTS, **checkouts_beyond.SCRIPTS}[system])
    for name in {**WEIGHTS, **checkouts_beyond.WEIGHTS}[system]:
        _write(home / name / "weights.bin" if name.endswith("/") else home / name, "weights")
    return home


def write_checkout(home: Path, scripts: Mapping[str, str]) -> Path:
    """A checkout of these files with an environment of its own; its scripts may ``log`` and ``write_talk``."""
    for name, text in scripts.items():
        _write(home / name, _HEAD + text if name.endswith(".py") and text else text)
    _program(home / ".venv/bin/python", f'exec {sys.executable} "$@"')
    _write(home / ".venv/torchrun.py", _TORCHRUN)
    _program(home / ".venv/bin/torchrun", f'exec {sys.executable} {home}/.venv/torchrun.py "$@"')
    return home


def read_log(path: Path) -> list[dict[str, Any]]:
    """What stand-ins noted, in the order in which they did."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def _program(path: Path, line: str) -> None:
    _write(path, f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
