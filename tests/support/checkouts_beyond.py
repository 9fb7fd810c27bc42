"""Stand-ins for systems beyond the paper's table; :mod:`checkouts` puts its head before each script and says the rest.

Written from what was read of each repository (the page or copy is named in its recipe): options, input, names, traps.
"""

from __future__ import annotations

from collections.abc import Mapping

# TMElyralab/MuseTalk 1.5, scripts/inference.py: a task that fails is printed, and the program ends with status 0.
_MUSETALK = """
import yaml
parser = argparse.ArgumentParser()
for name, default in (("ffmpeg_path", "./ffmpeg-4.4-amd64-static/"), ("vae_type", "sd-vae"),
                      ("unet_config", "./models/musetalk/config.json"),
                      ("unet_model_path", "./models/musetalkV15/unet.pth"), ("whisper_dir", "./models/whisper"),
                      ("inference_config", "configs/inference/test_img.yaml"), ("result_dir", "./results"),
                      ("output_vid_name", None), ("parsing_mode", "jaw")):
    parser.add_argument(f"--{name}", type=str, default=default)
for name, default in (("gpu_id", 0), ("bbox_shift", 0), ("extra_margin", 10), ("fps", 25), ("batch_size", 8)):
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--version", type=str, default="v15", choices=["v1", "v15"])
args = parser.parse_args()
text = pathlib.Path(args.inference_config).read_text()
log(config=text)
must(args.unet_model_path, args.unet_config, args.whisper_dir)
for task in yaml.safe_load(text).values():
    try:
        folder = pathlib.Path(args.result_dir) / args.version
        folder.mkdir(parents=True, exist_ok=True)
        stems = [os.path.basename(task[key]).split(".")[0] for key in ("video_path", "audio_path")]
        must(task["video_path"])
        write_talk(folder / task.get("result_name", "_".join(stems) + ".mp4"), pathlib.Path(task["audio_path"]),
                   size=(64, 64), fps=args.fps)
        save_dir_full
    except Exception as error:
        print("Error occurred during processing:", error)
"""

# antgroup/ditto-talkinghead, inference.py: five options; the clip is written beside its own name first.
_DITTO = """
parser = argparse.ArgumentParser()
parser.add_argument("--data_root", type=str, default="./checkpoints/ditto_trt_Ampere_Plus")
parser.add_argument("--cfg_pkl", type=str, default="./checkpoints/ditto_cfg/v0.4_hubert_cfg_trt.pkl")
parser.add_argument("--audio_path", type=str)
parser.add_argument("--source_path", type=str)
parser.add_argument("--output_path", type=str)
args = parser.parse_args()
log()
must(args.data_root, args.cfg_pkl, args.source_path)
pathlib.Path(args.output_path + ".tmp.mp4").write_bytes(b"no sound yet")
write_talk(pathlib.Path(args.output_path), pathlib.Path(args.audio_path), size=(96, 96), fps=25)
"""

# antgroup/echomimic_v3, infer_flash.py: the length is cut to one more than a multiple of 4; what is there is skipped.
_ECHOMIMIC = """
import wave
parser = argparse.ArgumentParser(description="WanFun Inference")
for name in ("config_path", "model_name", "transformer_path", "vae_path", "lora_path", "wav2vec_model_dir",
             "sampler_name", "weight_dtype", "add_prompt", "negative_prompt", "GPU_memory_mode"):
    parser.add_argument(f"--{name}", type=str, default="")
parser.add_argument("--save_path", type=str, default="outputs")
for name in ("image_path", "audio_path", "prompt"):
    parser.add_argument(f"--{name}", type=str, required=True)
for name in ("guidance_scale", "audio_guidance_scale", "audio_scale", "neg_scale", "teacache_threshold", "shift"):
    parser.add_argument(f"--{name}", type=float, default=1.0)
for name in ("ckpt_idx", "video_length", "neg_steps", "num_inference_steps", "seed", "num_skip_start_steps", "riflex_k",
             "ulysses_degree", "ring_degree", "fps"):
    parser.add_argument(f"--{name}", type=int, default=1)
parser.add_argument("--enable_teacache", action="store_true", default=True)
parser.add_argument("--sample_size", type=int, nargs=2, default=[768, 768])
args = parser.parse_args()
log()
must(args.model_name, args.transformer_path, args.wav2vec_model_dir, args.config_path, args.image_path)
os.makedirs(args.save_path, exist_ok=True)
target = pathlib.Path(args.save_path) / (os.path.basename(args.image_path).split(".")[0] + "_output.mp4")
if target.exists():
    sys.exit(0)
with wave.open(args.audio_path) as speech:
    seconds = speech.getnframes() / speech.getframerate()
frames = min(int(seconds * args.fps), args.video_length)
frames = (frames - 1) // 4 * 4 + 1
write_talk(target, pathlib.Path(args.audio_path), size=(64, 64), fps=args.fps, most_s=frames / args.fps)
"""

# Soul-AILab/SoulX-FlashHead, generate_video.py: whole chunks of 24 frames only.
_FLASHHEAD = """
import wave
parser = argparse.ArgumentParser(description="Generate video from one image using FlashHead")
for name in ("ckpt_dir", "wav2vec_dir", "model_type", "save_file", "cond_image", "cond_image_dir", "audio_path"):
    parser.add_argument(f"--{name}", type=str, default=None)
parser.add_argument("--base_seed", type=int, default=42)
parser.add_argument("--audio_encode_mode", type=str, default="stream", choices=["stream", "once"])
parser.add_argument("--use_face_crop", type=bool, default=False)
args = parser.parse_args()
assert args.model_type in ("pro", "lite")
log()
must(args.ckpt_dir, args.wav2vec_dir, args.cond_image)
chunk = 24 * 16000 // 25
with wave.open(args.audio_path) as speech:
    filmed = speech.getnframes() // chunk * chunk
pathlib.Path(args.save_file.replace(".mp4", "_tmp.mp4")).write_bytes(b"no sound yet")
write_talk(pathlib.Path(args.save_file), pathlib.Path(args.audio_path), size=(64, 64), fps=25, most_s=filmed / 16000)
os.remove(args.save_file.replace(".mp4", "_tmp.mp4"))
"""

# MeiGen-AI/InfiniteTalk, generate_infinitetalk.py: .mp4 is put behind --save_file; temporary files have its name, too.
_INFINITETALK = """
parser = argparse.ArgumentParser()
parser.add_argument("--task", type=str, default="infinitetalk-14B", choices=["infinitetalk-14B"])
parser.add_argument("--size", type=str, default="infinitetalk-480", choices=["infinitetalk-480", "infinitetalk-720"])
for name in ("ckpt_dir", "infinitetalk_dir", "wav2vec_dir", "save_file"):
    parser.add_argument(f"--{name}", type=str, default=None)
parser.add_argument("--audio_save_dir", type=str, default="save_audio")
parser.add_argument("--base_seed", type=int, default=42)
parser.add_argument("--input_json", type=str, default="examples.json")
parser.add_argument("--motion_frame", type=int, default=9)
parser.add_argument("--max_frame_num", type=int, default=1000)
parser.add_argument("--mode", type=str, default="clip", choices=["clip", "streaming"])
parser.add_argument("--sample_steps", type=int, default=None)
args = parser.parse_args()
text = pathlib.Path(args.input_json).read_text()
data = json.loads(text)
log(config=text)
must(args.ckpt_dir, args.infinitetalk_dir, args.wav2vec_dir, data["cond_video"])
folder = pathlib.Path(args.audio_save_dir) / data["cond_video"].split("/")[-1].split(".")[0]
folder.mkdir(parents=True, exist_ok=True)
assert data["prompt"]
most = 81 if args.mode == "clip" else args.max_frame_num
for name in ("-temp.mp4", "-cropaudio.wav"):
    pathlib.Path(args.save_file + name).write_bytes(b"on the way")
write_talk(pathlib.Path(args.save_file + ".mp4"), pathlib.Path(data["cond_audio"]["person1"]), size=(64, 64), fps=25,
           most_s=most / 25)
for name in ("-temp.mp4", "-cropaudio.wav"):
    os.remove(args.save_file + name)
"""

# Wan-Video/Wan2.2, generate.py: the clip is first saved without sound under its own name, then replaced.
_WAN = """
parser = argparse.ArgumentParser(description="Generate a image or video from a text prompt or image using Wan")
parser.add_argument("--task", type=str, default="t2v-A14B", choices=["t2v-A14B", "i2v-A14B", "ti2v-5B", "s2v-14B"])
parser.add_argument("--size", type=str, default="1280*720", choices=["1280*720", "1024*704", "832*480"])
for name in ("ckpt_dir", "save_file", "prompt", "image", "audio"):
    parser.add_argument(f"--{name}", type=str, default=None)
parser.add_argument("--offload_model", type=lambda v: {"true": True, "false": False}[v.lower()], default=None)
parser.add_argument("--convert_model_dtype", action="store_true", default=False)
parser.add_argument("--base_seed", type=int, default=-1)
parser.add_argument("--infer_frames", type=int, default=80)
args = parser.parse_args()
assert args.task == "s2v-14B" and args.base_seed >= 0 and args.prompt
log()
must(args.ckpt_dir, args.image)
target = pathlib.Path(args.save_file)
target.write_bytes(b"no sound yet")
merged = target.with_name(target.stem + "_temp.mp4")
write_talk(merged, pathlib.Path(args.audio), size=(64, 64), fps=16)
os.replace(merged, target)
"""

# Francis-Rings/StableAvatar, inference.py: no sound.
_STABLEAVATAR = """
parser = argparse.ArgumentParser(description="Simple example of a training script.")
parser.add_argument("--pretrained_model_name_or_path", type=str, default=None, required=True)
for name in ("transformer_path", "output_dir", "pretrained_wav2vec_path", "validation_reference_path",
             "validation_driven_audio_path", "config_path"):
    parser.add_argument(f"--{name}", type=str, default=None)
parser.add_argument("--validation_prompts", type=str, default="The protagonist is singing", nargs="+")
for name in ("width", "height", "ulysses_degree", "ring_degree", "seed", "motion_frame", "sample_steps",
             "overlap_window_length", "clip_sample_n_frames"):
    parser.add_argument(f"--{name}", type=int, default=1)
for name in ("sample_text_guide_scale", "sample_audio_guide_scale"):
    parser.add_argument(f"--{name}", type=float, default=1.0)
parser.add_argument("--GPU_memory_mode", type=str, default="model_full_load")
args = parser.parse_args()
log()
must(args.config_path, args.pretrained_model_name_or_path, args.transformer_path, args.pretrained_wav2vec_path,
     args.validation_reference_path)
assert len(args.validation_prompts) == 1 and os.environ["TOKENIZERS_PARALLELISM"] == "false"
(pathlib.Path(args.output_dir) / "animated_images").mkdir(parents=True, exist_ok=True)
write_talk(pathlib.Path(args.output_dir) / "video_without_audio.mp4", pathlib.Path(args.validation_driven_audio_path),
           size=(64, 64), fps=25, sound=False)
"""

SCRIPTS: Mapping[str, Mapping[str, str]] = {
    "musetalk-1.5": {"scripts/__init__.py": "", "scripts/inference.py": _MUSETALK},
    "ditto": {"inference.py": _DITTO},
    "echomimicv3-flash": {"infer_flash.py": _ECHOMIMIC, "config/config.yaml": "model: {}\n"},
    "soulx-flashhead": {"generate_video.py": _FLASHHEAD},
    "infinitetalk": {"generate_infinitetalk.py": _INFINITETALK},
    "wan2.2-s2v": {"generate.py": _WAN},
    "stableavatar": {"inference.py": _STABLEAVATAR, "deepspeed_config/wan2.1/wan_civitai.yaml": "model: {}\n"},
}
WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "musetalk-1.5": ("models/musetalkV15/unet.pth", "models/musetalkV15/musetalk.json", "models/whisper/"),
    "ditto": ("checkpoints/ditto_trt_Ampere_Plus/", "checkpoints/ditto_cfg/v0.4_hubert_cfg_trt.pkl"),
    "echomimicv3-flash": (
        "models/Wan2.1-Fun-V1.1-1.3B-InP/",
        "models/flash_pro/transformer/diffusion_pytorch_model.safetensors",
        "models/flash_pro/chinese-wav2vec2-base/",
    ),
    "soulx-flashhead": ("models/SoulX-FlashHead-1_3B/", "models/wav2vec2-base-960h/"),
    "infinitetalk": (
        "weights/Wan2.1-I2V-14B-480P/",
        "weights/chinese-wav2vec2-base/",
        "weights/InfiniteTalk/single/infinitetalk.safetensors",
    ),
    "wan2.2-s2v": ("Wan2.2-S2V-14B/",),
    "stableavatar": (
        "checkpoints/Wan2.1-Fun-V1.1-1.3B-InP/",
        "checkpoints/StableAvatar-1.3B/transformer3d-square.pt",
        "checkpoints/wav2vec2-base-960h/",
    ),
}
