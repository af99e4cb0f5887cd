"""Random numbers that can be saved, set and drawn again, on any device; deterministic kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Make a GPU compute the same for the same seed, with slower kernels; a CPU always does."""
    if not on:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def random_state(device: torch.device) -> list[Tensor]:
    """Return the state of the CPU's random numbers, then of the device's own, if it has any."""
    state = [torch.get_rng_state()]
    if device.type != "cpu":
        state.append(_module(device).get_rng_state())
    return state


def set_random_state(state: list[Tensor], device: torch.device) -> None:
    """Continue with the random numbers that follow ``state``, from :func:`random_state`."""
    torch.set_rng_state(state[0])
    if device.type != "cpu" and len(state) > 1:
        _module(device).set_rng_state(state[1])


def _module(device: torch.device) -> ModuleType:
    """Torch's module for a kind of device: ``torch.cuda``, ``torch.mps``, …"""
    if device.type == "cuda" and device.index not in (None, torch.cuda.current_device()):
        torch.cuda.set_device(device)  # torch.cuda reads and sets the current device's state
    return torch.get_device_module(device)


@contextmanager
def replayed(state: list[Tensor], device: torch.device) -> Iterator[None]:
    """Draw the random numbers that followed ``state`` again; then restore the present state."""
    if device.type == "cpu":
        fork = torch.random.fork_rng([])
    else:
        fork = torch.random.fork_rng([torch.device(device).index or 0], device_type=device.type)
    with fork:
        set_random_state(state, device)
        yield


class Dropout(torch.nn.Dropout):
    """Dropout with cheaper random numbers on a CPU, where torch draws a double for each element."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or x.device.type != "cpu":
            return super().forward(x)
        # One random number of 64 bits serves four elements: each gets 16 bits of it, which are
        # read as an integer from -32,768 to 32,767. An element is dropped if its integer is among
        # the p * 65,536 lowest, so p is rounded to 1/65,536.
        count = -(-x.numel() // 4)
        draws = torch.empty(count, dtype=torch.int64).random_(-(1 << 63), None).view(torch.int16)
        lowest_kept = round(self.p * (1 << 16)) - (1 << 15)
        keep = draws[: x.numel()].view(x.shape) >= lowest_kept
        # what is kept grows by 1 / (1 - p), so that the expected sum stays the same
        return x * torch.where(keep, 1 / (1 - self.p), 0.0).to(x.dtype)


def with_quick_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Turn the dropout layers of a model into :class:`Dropout`, and return the model."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:  # not its subclasses, which may do something else
            module.__class__ = Dropout
    return model
