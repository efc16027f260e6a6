"""What the processes of one training tell each other: shares of a batch, means of gradients. Alone, nothing happens.

B = images in a batch. All processes have the same seed and so the same order, augmentation and weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed, nn


def world() -> tuple[int, int]:
    """(number of this process, how many there are); (0, 1) where there is no group."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share(num_images: int) -> tuple[list[int], float]:
    """Which of a batch's images this process looks at, every k-th, and what they weigh in the batch.

    A process for which none is left looks at the first, which then weighs nothing: all have losses and gradients.
    """
    rank, size = world()
    mine = list(range(rank, num_images, size))
    return (mine, len(mine) / num_images) if mine else ([0], 0.0)


def of_all(values: Tensor, places: Sequence[int], num_images: int) -> Tensor:
    """One value for each image of a batch, put together from what each process has.

    Args:
        values: This process's, shape (number of places,).
        places: Whose they are, each place in one process only.
        num_images: B.

    Returns:
        Shape (B,), the same in every process.
    """
    found = values.new_zeros(num_images)
    found[torch.tensor(places, dtype=torch.int64, device=found.device)] = values
    if world()[1] > 1:
        distributed.all_reduce(found)
    return found


def mean_losses(losses: Mapping[str, Tensor], weight: float) -> dict[str, float]:
    """Losses over the whole batch: each process's own, weighted by its share of the images.

    Args:
        losses: Scalars, with the same names in every process.
        weight: This process's share of the batch, 0..1.

    Returns:
        The same values in every process; one that is not finite anywhere is finite nowhere.
    """
    values = torch.stack([value.detach().float() for value in losses.values()]) * weight
    if world()[1] > 1:
        distributed.all_reduce(values)
    return dict(zip(losses, values.tolist(), strict=True))


def summed(values: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape, the same bits in every process; alone, the tensor itself."""
    if world()[1] > 1:
        distributed.all_reduce(values)
    return values


def from_first(values: Tensor) -> Tensor:
    """The first process's tensor in every one, which has the same shape and kind there; alone, the tensor itself."""
    if world()[1] > 1:
        distributed.broadcast(values, src=0)
    return values


def mean_gradients(parameters: Sequence[nn.Parameter], weight: float) -> None:
    """Put into every process the gradient of the whole batch: the sum of all, weighted by their shares.

    Parameters that no process has a gradient for keep none, so that the optimiser leaves them alone as it would alone.
    """
    if world()[1] == 1 or not parameters:
        return
    device = parameters[0].device
    there = torch.tensor([float(one.grad is not None) for one in parameters], device=device)
    distributed.all_reduce(there)
    wanted = [one for one, number in zip(parameters, there.tolist(), strict=True) if number]
    flat = torch.cat([
        (one.grad.float() * weight if one.grad is not None else torch.zeros_like(one, dtype=torch.float32)).flatten()
        for one in wanted
    ])  # fmt: skip
    distributed.all_reduce(flat)
    start = 0
    for one in wanted:
        one.grad = flat[start : start + one.numel()].view_as(one).to(one.dtype)
        start += one.numel()


def mean_buffers(module: nn.Module) -> None:
    """Batch norms' running statistics, which each process has gathered on its own images: their mean everywhere."""
    _, size = world()
    if size == 1:
        return
    for buffer in module.buffers():
        if buffer.is_floating_point():
            distributed.all_reduce(buffer)
            buffer /= size
