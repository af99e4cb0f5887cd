"""Half precision: when it is worth it, and a half-precision copy of a model."""

import copy

import torch
from accelerate import Accelerator, DistributedType
from transformers import PreTrainedModel

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Twin:
    """A half-precision copy of a model, so that each weight is cast once, not at every use.

    Args:
        model: the original, which keeps its precision.
        dtype: the type of the copy.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype):
        self.of, self.dtype = model, dtype
        self.model = copy.deepcopy(model).to(dtype)
        self.pairs = list(zip(model.parameters(), self.model.parameters(), strict=True))

    @torch.no_grad()
    def refresh(self, trained_only: bool = False) -> None:
        """Copy the original's weights over: all, or only those that training changes."""
        pairs = [(w, half) for w, half in self.pairs if w.requires_grad or not trained_only]
        torch._foreach_copy_([half for _, half in pairs], [w for w, _ in pairs])

    @torch.no_grad()
    def give_gradients(self) -> None:
        """Add the copy's gradients to the original's, in its precision, and clear the copy's.

        Call it after every chunk: in half precision, a sum over many chunks would lose small terms.
        """
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
        # one call for all weights: on a GPU, one for each would cost more than the arithmetic
        if fresh:
            torch._foreach_copy_([to for to, _ in fresh], [grad for _, grad in fresh])
        if more:
            torch._foreach_add_([to for to, _ in more], [grad for _, grad in more])
        self.model.zero_grad(set_to_none=True)


def dtype_of(precision: str) -> torch.dtype | None:
    """The half-precision type that ``precision`` names, or None for fp32.

    Raises ``ValueError`` when it names none.
    """
    if precision not in DTYPES:
        raise ValueError(f"unknown precision {precision!r}; choose one of: auto, "
                         f"{', '.join(DTYPES)}")
    return DTYPES[precision]


def training_precision(precision: str, device: torch.device) -> str:
    """The precision to train in on ``device``: what ``auto`` stands for there, else ``precision``.

    On a GPU, ``auto`` is bf16, or fp16 where the card has no bf16. On a CPU it is bf16 where there
    are instructions for it (AVX512-BF16, AMX), which multiply twice as fast, else fp32: without
    them, bf16 is slower. Raises ``ValueError`` on an unknown precision.
    """
    if precision != "auto":
        dtype_of(precision)  # raises if there is none
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu":
        if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
            return "bf16"
    return "fp32"


def agreed_precision(accelerator: Accelerator, asked: str, device: torch.device) -> str:
    """The precision of a training, from the recipe's (``asked``) and that of ``accelerate launch``.

    Raises ``ValueError`` when the two contradict each other, and when accelerate was told to split
    the model itself (FSDP, DeepSpeed): here each process holds a whole model.
    """
    known = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
    if accelerator.distributed_type not in known:
        raise ValueError(f"accelerate was started with {accelerator.distributed_type}, but each "
                         f"process needs a whole model: use accelerate launch --multi_gpu or --cpu")
    launched = accelerator.mixed_precision
    if launched == "no":  # accelerate's word for "not asked for"
        launched = "auto"
    if "auto" not in (asked, launched) and asked != launched:
        raise ValueError(f"accelerate was started with --mixed_precision {launched}, but the "
                         f"recipe says precision {asked}: leave out one of them")
    return training_precision(asked if launched == "auto" else launched, device)
