"""Several processes that train one run: how they find each other and speak, and how they hold a model's weights in parts.

They are on one machine, or on a cluster of Ray's. Each computes its share of a step's rows. An adapter's base lies whole in every process,
and the adapter's gradients are added up; weights of a model that learns whole are held in parts by FSDP2. See
`docs/why/013-several-processes.md`.
"""

import copy
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from luthier.adapters import blocks
from luthier.engine.trainable import Masters
from luthier.errors import OutOfMemory, RunError, SettingsError, UserError
from luthier.models.device import default_device, is_out_of_memory
from luthier.models.forward import Root
from luthier.models.world import ALONE, World

T = TypeVar("T")

MEETING = "LUTHIER_MEETING"
"""Environment: a file in which processes find each other without listening for it. Without one, as torchrun says."""

MACHINES = "LUTHIER_MACHINES"
"""Environment: on how many machines these processes are, where Ray placed them, each with a device of its own."""

LONGEST_WAIT = timedelta(hours=2)
"""For a process that is there and says nothing: the first may be sampling, checking or writing alone."""

LOST = ("gloo", "nccl", "connection", "processgroup", "socket", "broken pipe", "timed out", "store")
"""Words of what torch raises where another process has gone."""


class Processes(World):
    """Several processes that speak. `in_step`: they hold weights in parts, so that each must call the model when the others do."""

    def __init__(self, rank: int, size: int, backend: str) -> None:
        self.rank, self.size, self.backend = rank, size, backend
        self.in_step = False

    def gather(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def once(self, compute: Callable[[], T]) -> T:
        said: list[Any] = [None]
        if self.is_first:
            try:
                said = [(compute(), None)]
            except UserError as error:
                said = [(None, error)]
        dist.broadcast_object_list(said, src=0)
        value, raised = said[0]
        if raised is not None:
            raise raised
        return value  # type: ignore[no-any-return]

    def add_up(self, tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        return bool(self.add_up(torch.tensor([int(flag)])).item())

    @contextmanager
    def together(self) -> Iterator[None]:
        own: RuntimeError | None = None
        try:
            yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if self.in_step:  # the others wait in the middle of a forward, and cannot be told
                raise OutOfMemory(
                    f"Process {self.rank + 1} of {self.size} is out of memory. Set a smaller `train.token_budget`, or "
                    f"`train.gradient_checkpointing=true`, or use more processes."
                ) from error
            own = error
        if self.any(own is not None):
            raise own or torch.OutOfMemoryError("another process of this run is out of memory")


@contextmanager
def joined() -> Iterator[World]:
    """The processes that were started for this run, by `--processes`, `--ray` or torchrun; alone where there are no others.

    Raises:
        SettingsError: there are fewer devices than processes, or several machines without Ray. RunError: another process has gone.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    rank = int(os.environ["RANK"])
    world = Processes(rank, size, _meet(rank, size))
    with telling_of_the_lost(world):
        yield world


@contextmanager
def telling_of_the_lost(world: World) -> Iterator[None]:
    """Where another process has ended, a sentence instead of what torch says.

    Raises:
        RunError: that sentence.
    """
    try:
        yield
    except RuntimeError as error:
        if world.size == 1 or is_out_of_memory(error) or not any(word in str(error).lower() for word in LOST):
            raise
        raise RunError(
            "Another process of this run has ended, so this one ends, too. The run is as it was at its last checkpoint: `luthier resume` "
            "goes on from there, with any number of processes."
        ) from error


def _meet(rank: int, size: int) -> str:
    """Join the others, once in the life of a process; how they speak."""
    device = default_device()
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if dist.is_initialized():
        return backend
    here, machines = int(os.environ.get("LOCAL_WORLD_SIZE", size)), os.environ.get(MACHINES)
    if here != size and machines is None:
        raise SettingsError("The processes of a run are all on one machine, or on a cluster of Ray's. Start torchrun without `--nnodes`.")
    if device.type == "mps":
        raise SettingsError("An Apple GPU is one device, which several processes would only share. Train with one process.")
    if device.type == "cuda":
        if torch.cuda.device_count() < here:
            raise SettingsError(f"{here} processes need {here} GPUs, and there are {torch.cuda.device_count()}. Use as many as there are.")
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)))
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None and machines in (None, "1"):
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, loopback)
    meeting = os.environ.get(MEETING)
    method = f"file://{meeting}" if meeting else "env://"
    dist.init_process_group(backend, init_method=method, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    return backend


class Sharded:
    """A root whose weights lie in parts, an equal share of each in every process. Each layer is put together while it computes.

    Made before anything refers to the root's parameters.
    """

    def __init__(self, root: Root, world: World) -> None:
        self.root, self.world = root, world
        self._empty = _without_values(root)
        mesh = init_device_mesh(root.device.type, (world.size,))
        number = root.model.config.get_text_config().num_hidden_layers
        layers: Any = root.model.get_submodule(blocks.find(root.model, number))
        for part in (*layers, *root.scalar_heads.values(), root):
            fully_shard(part, mesh=mesh, reshard_after_forward=True)  # also the root: between forwards its weights may be set
        for module in root.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # a sum: losses are divided by what all processes count
                module.set_force_sum_reduction_for_comms(True)
        if isinstance(world, Processes):
            world.in_step = True

    @contextmanager
    def whole(self) -> Iterator[Root]:
        """The root with all its weights as they are now, for the first process; for the others without any. Called by all."""
        filled: dict[int, nn.Parameter] = {}
        for own, empty in zip(self.root.parameters(), self._empty.parameters(), strict=True):
            full = _full(own)
            if self.world.is_first:
                filled[id(empty)] = nn.Parameter(full, empty.requires_grad)
        places = [(m._parameters, name, p) for m in self._empty.modules() for name, p in m._parameters.items() if p is not None]
        for parameters, name, empty in places:
            parameters[name] = filled.get(id(empty), empty)
        self._empty.train(self.root.training)
        try:
            yield self._empty
        finally:
            for parameters, name, empty in places:
                parameters[name] = empty


def _full(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _without_values(root: Root) -> Root:
    """A copy whose parameters have shapes alone, tied where those of `root` are; buffers are the same."""
    memo: dict[int, Any] = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in root.parameters()}
    memo |= {id(b): b for b in root.buffers()}
    return copy.deepcopy(root, memo)


class ShardedMasters(Masters):
    """fp32 masters of this process's parts. All but `whole` and `parts` is told of parts alone."""

    def __init__(self, parameters: dict[str, nn.Parameter], world: World) -> None:
        self.parameters, self.world, self.masters = parameters, world, {}
        for name, parameter in parameters.items():
            own = _own(parameter)
            self.masters[name] = nn.Parameter(own if own.dtype in (torch.float32, torch.float64) else own.float())
            parameter.register_post_accumulate_grad_hook(_part_mover(self.masters[name]))

    def publish(self) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                own = _own(parameter)
                if own.data_ptr() != self.masters[name].data_ptr():
                    own.copy_(self.masters[name])

    def held(self) -> list[Tensor]:
        return [own for parameter in self.parameters.values() if (own := _own(parameter)).numel()]

    def sum_gradients(self) -> None:
        """FSDP2 has added them up."""

    def clip(self, limit: float) -> float:
        gradients = [m.grad for m in self.masters.values() if m.grad is not None]
        squares = torch.nn.utils.get_total_norm(gradients).double().square().cpu().reshape(1)
        norm = self.world.add_up(squares).sqrt().float()[0]
        torch.nn.utils.clip_grads_with_norm_(list(self.masters.values()), limit, norm)
        return float(norm)

    def whole(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every process's parts put together, for the first one, on the CPU; nothing for the others."""
        found = {}
        for key, tensor in tensors.items():
            full = tensor if (shape := self._of(key)) is None else _put_together(tensor, shape)
            if self.world.is_first:
                found[key] = full.cpu()
        return found

    def parts(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: tensor if (shape := self._of(key)) is None else _part(tensor, shape) for key, tensor in tensors.items()}

    def _of(self, key: str) -> Any:
        """The parameter that a tensor is cut like: `NAME`, or `NAME/exp_avg` of the optimizer; None for its step."""
        return self.parameters.get(key) if key in self.parameters or key.endswith("/step") else self.parameters[key.rpartition("/")[0]]


def _own(parameter: Any) -> Tensor:
    own: Tensor = parameter.detach().to_local()
    return own


def _put_together(own: Tensor, like: Any) -> Tensor:
    parts = DTensor.from_local(own.detach(), like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())
    return _full(parts)


def _part(whole: Tensor, like: Any) -> Tensor:
    """This process's part, without asking the others: all have the whole."""
    parts = distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return parts.to_local()


def _part_mover(master: nn.Parameter) -> Callable[[Tensor], None]:
    def move(parameter: Tensor) -> None:
        gradient: Any = parameter.grad
        own = gradient.to_local().float()
        master.grad = own if master.grad is None else master.grad.add_(own)
        parameter.grad = None

    return move


def masters_of(parameters: dict[str, nn.Parameter], world: World) -> Masters:
    """Masters of parameters that this process holds whole, or in parts."""
    in_parts = any(isinstance(parameter, DTensor) for parameter in parameters.values())
    return ShardedMasters(parameters, world) if in_parts else Masters(parameters, world)
