"""What the server tells Prometheus. Labels take a fixed, small number of values: no client can add one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from livetalk.live.turns import Outcome, TurnRecord
from livetalk.server.guard import Seen

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PARTS = ("thinker_first_text", "thinker_first_sound", "first_window", "first_block", "first_fragment")
"""Steps of an answer on its way to the first frame, as ``TurnTimings`` has them."""

_SECONDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_FACTORS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 5.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE"})


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_CudaMemory())
        self._build = Info("livetalk_build", "What runs here.", registry=registry)
        self.ready = Gauge("livetalk_ready", "1 once conversations can be opened.", registry=registry)
        self._first_frame = Histogram(
            "livetalk_time_to_first_frame_seconds",
            "From the last byte of a user's turn to the first fragment of the answer given to the network.",
            buckets=_SECONDS,
            registry=registry,
        )
        parts = Histogram(
            "livetalk_turn_part_seconds",
            "From the user's turn being complete and decoded to a step of the answer.",
            ["part"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._parts = {part: parts.labels(part) for part in PARTS}
        self._factor = Histogram(
            "livetalk_real_time_factor",
            "Seconds of work per second of video, per turn; below 1 is faster than playback.",
            buckets=_FACTORS,
            registry=registry,
        )
        turns = Counter("livetalk_turns", "Turns that ended, by outcome.", ["outcome"], registry=registry)
        self._turns = {outcome: turns.labels(outcome.value) for outcome in Outcome if outcome is not Outcome.running}
        self._running = Gauge("livetalk_turns_running", "Answers being given.", registry=registry)
        self._underruns = Counter("livetalk_underruns", "Times that playback had to wait.", registry=registry)
        self._underrun_s = Counter("livetalk_underrun_seconds", "Seconds playback had to wait.", registry=registry)
        self._frames = Counter("livetalk_frames", "Pictures sent.", registry=registry)
        self._video_s = Counter("livetalk_video_seconds", "Seconds of video sent.", registry=registry)
        self._bytes = Counter("livetalk_stream_bytes", "Bytes of clips sent.", registry=registry)
        self._opened = Counter("livetalk_conversations_opened", "Conversations opened.", registry=registry)
        closed = Counter("livetalk_conversations_closed", "Conversations closed.", ["reason"], registry=registry)
        self._closed = {reason: closed.labels(reason) for reason in ("deleted", "expired", "shutdown")}
        self._refused = Counter("livetalk_requests_refused", "Requests refused, by code.", ["code"], registry=registry)
        self._requests = Counter(
            "livetalk_http_requests",
            "Requests by method, route (as documented) and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._registry = registry

    def describe(self, **build: str) -> None:
        """Versions and settings, as labels of ``livetalk_build_info``."""
        self._build.info(build)

    def watch_conversations(self, sessions: Callable[[], int], capacity: int) -> None:
        """Once the engine is there."""
        Gauge("livetalk_conversations_open", "Conversations open.", registry=self._registry).set_function(sessions)
        limit = Gauge("livetalk_conversations_capacity", "Conversations at once, at most.", registry=self._registry)
        limit.set(capacity)

    def conversation_opened(self) -> None:
        self._opened.inc()

    def conversation_closed(self, reason: str) -> None:
        self._closed[reason].inc()

    def refused(self, code: str) -> None:
        """``code`` is one of ``problems.KINDS``."""
        self._refused.labels(code).inc()

    def request(self, seen: Seen) -> None:
        method = seen.method if seen.method in _METHODS else "other"
        self._requests.labels(method, seen.route, str(seen.status or "none")).inc()

    def turn_began(self) -> None:
        self._running.inc()

    def turn_ended(self, record: TurnRecord, *, first_frame_s: float | None, sent_bytes: int) -> None:
        self._running.dec()
        if record.outcome in self._turns:
            self._turns[record.outcome].inc()
        if first_frame_s is not None:
            self._first_frame.observe(first_frame_s)
        for part, histogram in self._parts.items():
            seconds = getattr(record.timings, f"{part}_s")
            if seconds is not None:
                histogram.observe(seconds)
        if record.real_time_factor is not None:
            self._factor.observe(record.real_time_factor)
        self._underruns.inc(record.underruns)
        self._underrun_s.inc(record.underrun_s)
        self._frames.inc(record.frames)
        self._video_s.inc(record.video_s)
        self._bytes.inc(sent_bytes)

    def render(self) -> bytes:
        """Prometheus text format, media type ``CONTENT_TYPE``."""
        return generate_latest(self._registry)


class _CudaMemory(Collector):
    """Memory of the GPUs that this process uses; nothing without one."""

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "livetalk_cuda_memory_bytes", "GPU memory of this process.", labels=["device", "kind"]
        )
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                family.add_metric([str(index), "allocated"], torch.cuda.memory_allocated(index))
                family.add_metric([str(index), "reserved"], torch.cuda.memory_reserved(index))
                family.add_metric([str(index), "peak"], torch.cuda.max_memory_allocated(index))
        yield family
