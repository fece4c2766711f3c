"""Trainable weights: fp32 masters, where gradients add up and AdamW works, beside copies in the type of the computation."""

import torch
from torch import Tensor, nn

from luthier.models.world import ALONE, World


class Masters:
    """fp32 masters of named parameters.

    A parameter in fp32 is its own master. For any other type a gradient moves to the master as soon as it is complete, so that
    micro-batches add up in fp32, and `publish` copies the master back after a step.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], world: World = ALONE) -> None:
        self.parameters, self.world = parameters, world
        self.masters: dict[str, nn.Parameter] = {}
        for name, parameter in parameters.items():
            if parameter.dtype in (torch.float32, torch.float64):
                self.masters[name] = parameter
            else:
                self.masters[name] = nn.Parameter(parameter.detach().float())
                parameter.register_post_accumulate_grad_hook(_mover(self.masters[name]))

    def publish(self) -> None:
        """Masters → the parameters that the model computes with."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if parameter is not self.masters[name]:
                    parameter.copy_(self.masters[name])

    def gradients(self) -> dict[str, Tensor]:
        """By name; zeros where nothing arrived."""
        return {name: torch.zeros_like(m) if m.grad is None else m.grad for name, m in self.masters.items()}

    def sum_gradients(self) -> None:
        """Those of all processes, each of which has computed a share of the step's rows. What none has a gradient for keeps none."""
        if self.world.size == 1:
            return
        masters = list(self.masters.values())
        present = self.world.add_up(torch.tensor([float(m.grad is not None) for m in masters]))
        learned = [m for m, number in zip(masters, present.tolist(), strict=True) if number]
        for dtype in {m.dtype: None for m in learned}:
            some = [m for m in learned if m.dtype == dtype]
            flat = torch.cat([(torch.zeros_like(m) if m.grad is None else m.grad).flatten() for m in some])
            parts = self.world.add_up(flat).split([m.numel() for m in some])
            for master, part in zip(some, parts, strict=True):
                master.grad = part.view_as(master)

    def clip(self, limit: float) -> float:
        """Scale the gradient down to the length `limit`; its length before."""
        return float(torch.nn.utils.clip_grad_norm_(list(self.masters.values()), limit))

    def clear(self) -> None:
        for master in self.masters.values():
            master.grad = None

    def fingerprint(self) -> tuple[int, ...]:
        """One number a parameter, of the bits the model computes with: equal before and after means that nothing moved."""
        as_integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        bits = (p.contiguous().view(as_integers[p.element_size()]) for p in self.held())
        return tuple(int(torch.hash_tensor(b).view(torch.int64)) for b in bits)

    def held(self) -> list[Tensor]:
        """What this process holds of the parameters."""
        return [p.detach() for p in self.parameters.values()]

    def whole(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """`values`, or what an optimizer keeps of them (`NAME/exp_avg`), as one process would hold them. Called by all."""
        return tensors

    def parts(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `whole`, of tensors that every process has."""
        return tensors

    def values(self) -> dict[str, Tensor]:
        return {name: m.detach() for name, m in self.masters.items()}

    def load(self, values: dict[str, Tensor]) -> None:
        """Set masters and parameters."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(values[name])
        self.publish()


def _mover(master: nn.Parameter):  # type: ignore[no-untyped-def]
    def move(parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.float()
        master.grad = gradient if master.grad is None else master.grad.add_(gradient)
        parameter.grad = None

    return move
