"""Layers that look at more than one row, made to look at the rows of all workers.

BatchNorm takes its statistics over the whole batch (Ioffe and Szegedy, 2015), and dropout its mask from the whole
batch's: with several workers both are what one worker makes of the same rows. Modules are bound to this when a
run of several workers begins; what a recipe does by torch's functions, and not by modules, stays as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from genworkers.training.gang import Gang, Rows, meeting


class _Sum(torch.autograd.Function):
    """The sum over all workers; its gradient is the sum of theirs, for each worker's part goes into every loss."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        with meeting():
            distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _sum(gradients[0])


def _sum(part: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(part)  # type: ignore[no-untyped-call]
    return total


class AcrossRows:
    """What the layers of one run share: the rows at hand, and the generator of dropout's masks."""

    def __init__(self, modules: nn.ModuleDict, gang: Gang) -> None:
        self.rows = Rows(gang.size, gang.rank, gang.size)
        self.generator = torch.Generator()
        for module in modules.modules():
            if isinstance(module, _BatchNorm):
                module.forward = partial(self._normalise, module)  # type: ignore[method-assign]
            elif type(module) is nn.Dropout:
                module.forward = partial(self._drop, module)  # type: ignore[method-assign]

    def _drop(self, module: nn.Dropout, x: Tensor) -> Tensor:
        if not module.training or not 0 < module.p < 1:
            return functional.dropout(x, module.p, module.training)
        kept = 1 - module.p

        def mask(shape: tuple[int, ...]) -> Tensor:
            return torch.empty(shape, dtype=x.dtype).bernoulli_(kept, generator=self.generator).div_(kept)

        return x * self.rows.draw(x.shape, mask).to(x.device)

    def _normalise(self, module: _BatchNorm, x: Tensor) -> Tensor:
        if not module.training:
            return type(module).forward(module, x)
        over = [0, *range(2, x.dim())]
        count = _sum(x.new_tensor([x.numel() / x.shape[1]]))
        mean = _sum(x.sum(over)) / count
        centred = x - _along(mean, x)
        variance = _sum(centred.square().sum(over)) / count
        self._remember(module, mean.detach(), (variance * count / (count - 1)).detach())
        y = centred * _along(variance + module.eps, x).rsqrt()
        return y if module.weight is None else y * _along(module.weight, x) + _along(module.bias, x)

    @staticmethod
    def _remember(module: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
        weight = module.momentum
        if module.num_batches_tracked is not None:
            module.num_batches_tracked.add_(1)
            weight = weight or 1 / float(module.num_batches_tracked)
        for kept, value in ((module.running_mean, mean), (module.running_var, variance)):
            if kept is not None:
                kept.lerp_(value.to(kept.dtype), weight or 0.0)


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Return one number a channel so shaped that it meets the channels of `x`."""
    return values.view(1, -1, *[1] * (x.dim() - 2))
