"""Half precision: when it is worth it, and a copy of a model that follows its weights."""

import copy

import torch
from accelerate import Accelerator, DistributedType

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Twin:
    """A copy of a model in half precision that follows its weights: each is cast once, not at each use."""

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype):
        self.of, self.dtype = model, dtype
        self.model = copy.deepcopy(model).to(dtype)
        self.pairs = list(zip(model.parameters(), self.model.parameters(), strict=True))

    @torch.no_grad()
    def refresh(self, trained_only: bool = False) -> None:
        """Copy the weights over, or those alone that training changes."""
        pairs = [(w, half) for w, half in self.pairs if w.requires_grad or not trained_only]
        torch._foreach_copy_([half for _, half in pairs], [w for w, _ in pairs])

    @torch.no_grad()
    def give_gradients(self) -> None:
        """Add the copy's gradients to the weights', in fp32, and clear them."""
        fresh, more = [], []
        for w, half in self.pairs:
            if half.grad is None:
                continue
            if half.grad.is_sparse:
                w.grad = half.grad.float() if w.grad is None else w.grad + half.grad.float()
            elif w.grad is None:
                w.grad = torch.empty_like(w)
                fresh.append((w.grad, half.grad))
            else:
                more.append((w.grad, half.grad))
        if fresh:
            torch._foreach_copy_(*map(list, zip(*fresh, strict=True)))
        if more:
            torch._foreach_add_(*map(list, zip(*more, strict=True)))
        self.model.zero_grad(set_to_none=True)


def check_precision(precision: str) -> str:
    if precision not in DTYPES:
        raise ValueError(f"unknown precision {precision!r}; choose one of: auto, {', '.join(DTYPES)}")
    return precision


def training_precision(precision: str, device: torch.device) -> str:
    """The precision that ``auto`` stands for on ``device``; any other as it is, if it is known (else ``ValueError``).

    On a GPU bf16, or fp16 where the card has no bf16. On a CPU bf16 if it has instructions for it (AVX512-BF16, AMX),
    which multiply twice as fast; without them bf16 is slower, and fp32 it is.
    """
    if precision != "auto":
        return check_precision(precision)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "bf16"
    return "fp32"


def agreed_precision(accelerator: Accelerator, asked: str, device: torch.device) -> str:
    """The precision of a training: the recipe's and that of ``accelerate launch`` must not contradict each other.

    Raises ``ValueError`` on that, and on ways to share a model among processes that this training does not know.
    """
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU):
        raise ValueError(f"accelerate was started with {accelerator.distributed_type}: this training knows one process "
                         f"or several with a whole model each; start it with accelerate launch --multi_gpu (or --cpu)")
    launched = {"no": "auto"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    if "auto" not in (asked, launched) and asked != launched:
        raise ValueError(f"accelerate was started with --mixed_precision {launched}, the recipe says precision "
                         f"{asked}: leave one of them out")
    return training_precision(asked if launched == "auto" else launched, device)
