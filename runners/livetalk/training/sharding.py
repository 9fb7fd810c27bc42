"""Processes, and networks that are sharded over them; one process is a mesh of one and takes the same way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from livetalk.base.errors import OptionError
from livetalk.render.config import DiTConfig
from livetalk.render.model.weights import parameters_from_published
from livetalk.training.network import TrainingDiT


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together."""

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh

    @property
    def first(self) -> bool:
        """Whether this one writes what is written once."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        dist.barrier()

    def gathered(self, value: Any) -> list[Any]:
        """One value of each process, in order of rank, on all of them."""
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def any(self, value: bool) -> bool:
        """Whether it is so on any of them."""
        return any(self.gathered(value))


@contextlib.contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun has started, or be the only one.

    Args:
        device: "cpu", or "cuda" for the GPU of this process's local rank.

    Raises:
        OptionError: there are fewer GPUs than processes.
    """
    alone = "RANK" not in os.environ
    rank, world = (0, 1) if alone else (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    kind = torch.device(device).type
    place = torch.device(kind)
    if kind == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0)) if not alone else torch.device(device).index or 0
        if local >= torch.cuda.device_count():
            raise OptionError(
                f"process {local} of this machine has no GPU of its own: torch sees {torch.cuda.device_count()}. Start "
                "as many processes per machine as it has GPUs (torchrun --nproc-per-node)."
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    started = not dist.is_initialized()
    if started:
        store = cast(Any, dist).HashStore() if alone else None  # else torchrun has one
        dist.init_process_group(backend, rank=rank, world_size=world, store=store)
    try:
        yield Processes(rank, world, place, init_device_mesh(kind, (world,)))
    finally:
        if started:
            dist.destroy_process_group()


def sharded(
    config: DiTConfig,
    state: Mapping[str, Tensor],
    processes: Processes,
    *,
    compute: torch.dtype,
    stored: torch.dtype = torch.float32,
    trained: bool = True,
    checkpointing: bool = True,
    offload: bool = False,
) -> TrainingDiT:
    """A network, sharded layer by layer before a weight is read; of each tensor a process keeps its part.

    Args:
        state: tensors under their published names; read one after another.
        compute: what passes are computed in.
        stored: what the parameters are kept in: float32 for what is trained, bfloat16 for a teacher.
        offload: keep them in the host's memory and bring a layer to the GPU when it is its turn.
    """
    with torch.device("meta"):
        network = TrainingDiT(config).to(stored)
    network.train_with(checkpointing=checkpointing).requires_grad_(trained)
    # Inputs are cast where they are used: a time or a rotation must not be rounded on the way in.
    policy = MixedPrecisionPolicy(
        param_dtype=None if compute == stored else compute, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    options: dict[str, Any] = {
        "mesh": processes.mesh,
        # The whole's, too: passes without a gradient would leave it gathered, and the next one would see old weights.
        "reshard_after_forward": True,
        "mp_policy": policy,
        "offload_policy": CPUOffloadPolicy() if offload else OffloadPolicy(),
    }
    for layer in network.layers:
        fully_shard(layer, **options)
    fully_shard(network, **options)
    network.to_empty(device="cpu" if offload else processes.device)
    own = dict(network.named_parameters())
    with torch.no_grad():
        for name, value in parameters_from_published(config, lambda name: state[name]):
            parameter = cast(DTensor, own.pop(name))
            full = value.reshape(parameter.shape).to(processes.device, stored)
            part = distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
            parameter.to_local().copy_(part.to_local())
    if own:
        raise ValueError(f"nothing was read for {', '.join(own)}")
    return network


def collected(values: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors in the host's memory, from the parts of all processes; all must take part.

    Args:
        keep: whether this process wants them; others get nothing.
    """
    found = {}
    for name, value in values.items():
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            found[name] = whole.detach().cpu()
    return found


def parameters(network: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, without their gradients' graph, sharing memory."""
    return {name: value.detach() for name, value in network.named_parameters()}


def synchronise(network: nn.Module, wanted: bool) -> None:
    """Whether the next backward passes add up over the processes, or here alone (accumulation)."""
    cast(Any, network).set_requires_gradient_sync(wanted)


def clipped_norm(network: nn.Module, largest: float) -> float:
    """Norm of the gradient over all processes; afterwards it is ``largest`` at most."""
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), largest)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def own_part(value: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing memory; of one that is not sharded, all."""
    return value.to_local() if isinstance(value, DTensor) else value


def parked(like: Tensor) -> Tensor:
    """A tensor of the same shape and parts in the host's memory, its values undefined; pinned for one of a GPU."""
    return torch.empty_like(like, device="cpu", pin_memory=like.device.type == "cuda")


class Average:
    """Exponential moving average of a sharded network, part by part.

    Args:
        on_host: keep it in the host's memory, and bring one tensor at a time to where the network's lies. What is
            computed stays.
    """

    def __init__(self, network: nn.Module, *, on_host: bool = False) -> None:
        """Begins as a copy."""
        self.values: dict[str, Tensor] = {}
        for name, value in parameters(network).items():
            self.values[name] = parked(value) if on_host else torch.empty_like(value)
            own_part(self.values[name]).copy_(own_part(value))

    def update(self, network: nn.Module, decay: float) -> None:
        """values ← decay·values + (1 − decay)·parameters."""
        for name, value in parameters(network).items():
            held, newest = own_part(self.values[name]), own_part(value)
            held.copy_(held.to(newest.device).mul_(decay).add_(newest, alpha=1 - decay))


def split(count: int, rank: int, world: int) -> Sequence[int | None]:
    """Which samples of a batch a process takes, as many on each: None is one that only keeps step with the others."""
    each = -(-count // world)
    mine: list[int | None] = list(range(rank, count, world))
    return mine + [None] * (each - len(mine))
