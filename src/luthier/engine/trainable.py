"""Trainable weights: fp32 masters, where gradients add up and AdamW works, beside copies in the type of the computation."""

import torch
from torch import Tensor, nn


class Masters:
    """fp32 masters of named parameters.

    A parameter in fp32 is its own master. For any other type a gradient moves to the master as soon as it is complete, so that
    micro-batches add up in fp32, and `publish` copies the master back after a step.
    """

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self.parameters = parameters
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

    def clear(self) -> None:
        for master in self.masters.values():
            master.grad = None

    def fingerprint(self) -> tuple[int, ...]:
        """One number a parameter, of the bits the model computes with: equal before and after means that nothing moved."""
        as_integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        bits = (p.detach().contiguous().view(as_integers[p.element_size()]) for p in self.parameters.values())
        return tuple(int(torch.hash_tensor(b).view(torch.int64)) for b in bits)

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
