"""Prompt tokens that a real server computes for all dimensions over one conversation, by the order of the prompt.

    python -m benchmarks judge_prefix http://127.0.0.1:8000 [--turns 4] [--edge 784]

The server must have been started with the judge's flags (`interbench judge-server`). The judge's own order is measured
through the judge; then the same questions are sent to the same server with the rubric first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path

import httpx
from judge_kit import clip_facts, conversation, write_clip

from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import ClipFacts, PlayedConversation
from interbench.judge.base import JudgeTask
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.messages import make_case, video_part
from interbench.judge.vlm.rubrics import Prompts
from interbench.judge.vlm.settings import JudgeSettings


def fresh_clip(path: Path, edge: int, shade: int) -> ClipFacts:
    """A clip that the server has never seen, so that nothing of an earlier measurement is reused."""
    shape = (96, 24, edge, edge)
    write_clip(path, *shape, shade=shade)
    with path.open("ab") as file:
        file.write((24).to_bytes(4, "big") + b"free" + os.urandom(16))
    return clip_facts(path, *shape)


async def ours(url: str, played: PlayedConversation) -> tuple[int, int]:
    """Prompt tokens (all, computed) through the judge."""
    judge = VLMJudge([url], settings=JudgeSettings(max_tokens=16))
    await judge.start()
    tasks = [JudgeTask(dimension.key) for dimension in DIMENSIONS]
    tokens = [verdict.evidence["tokens"] async for verdict in judge.judge(played, tasks)]
    await judge.stop()
    return sum(t["prompt"] for t in tokens), sum(t["prompt"] - t["cached"] for t in tokens)


async def rubric_first(url: str, played: PlayedConversation) -> tuple[int, int]:
    """The same, each question a request of its own with the rubric before the videos."""
    settings = JudgeSettings()
    prompts = Prompts(settings.mode)
    case = make_case(played, prompts, settings.view)
    videos = [video_part(video.path, "data", f"first-{video.uuid}") for video in case.videos]
    prompt = computed = 0
    async with httpx.AsyncClient(timeout=600) as client:
        model = (await client.get(f"{url}/v1/models")).json()["data"][0]["id"]
        for rubric in prompts.rubrics.values():
            content = [{"type": "text", "text": rubric.text}, *videos, {"type": "text", "text": case.transcript}]
            messages = [{"role": "system", "content": case.preamble}, {"role": "user", "content": content}]
            request = {"model": model, "messages": messages, "max_tokens": 16, "temperature": 0.1}
            headers = {"content-type": "application/json"}
            response = await client.post(f"{url}/v1/chat/completions", content=json.dumps(request), headers=headers)
            usage = response.raise_for_status().json()["usage"]
            prompt += usage["prompt_tokens"]
            computed += usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
    return prompt, computed


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--edge", type=int, default=784)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for turn in range(1, arguments.turns + 1):
            path = Path(folder) / f"{turn}.mp4"
            clips.append((path, fresh_clip(path, arguments.edge, 20 * turn)))
        played = conversation(clips)
        figures = {
            "videos, transcript, rubric": await ours(arguments.url, played),
            "rubric first": await rubric_first(arguments.url, played),
        }
    for order, (prompt, computed) in figures.items():
        print(f"{order:>26}: {computed:>9,} of {prompt:,} prompt tokens computed ({100 * computed / prompt:.1f} %)")
    share = figures["videos, transcript, rubric"][1] / figures["rubric first"][1]
    print(f"The judge's order computes {100 * share:.1f} % of what rubric-first order does.")


if __name__ == "__main__":
    asyncio.run(main())
