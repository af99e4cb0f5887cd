"""Random numbers that can be saved, set and drawn again, on any device; deterministic kernels."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """The same seed gives the same weights on a GPU too, at the cost of slower kernels; a CPU needs nothing for it."""
    if not on:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def random_state(device: torch.device) -> list[torch.Tensor]:
    """State of the CPU's random numbers, and of the device's if it has its own."""
    return [torch.get_rng_state(), *([] if device.type == "cpu" else [_module(device).get_rng_state()])]


def set_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type != "cpu" and len(state) > 1:
        _module(device).set_rng_state(state[1])


def _module(device: torch.device):
    if device.type == "cuda" and device.index not in (None, torch.cuda.current_device()):
        torch.cuda.set_device(device)  # the random numbers are the current device's
    return torch.get_device_module(device)


@contextmanager
def replayed(state: list[torch.Tensor], device: torch.device) -> Iterator[None]:
    """Draw the random numbers that were drawn after ``state``; afterwards go on from where they were."""
    devices = [] if device.type == "cpu" else [torch.device(device).index or 0]
    with torch.random.fork_rng(devices, device_type=device.type) if devices else torch.random.fork_rng([]):
        set_random_state(state, device)
        yield
