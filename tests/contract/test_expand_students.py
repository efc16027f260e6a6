"""Every student in the table can be trained expanded, and is itself again afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import cached

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import DETECTORS, load_trainable
from dataset_culling.training.techniques.expand_nets.factors import contract, expand, expanded, factors
from detector_rows import trainable_rows
from layer_by_layer import layer_by_layer

STUDENTS = trainable_rows()


@pytest.mark.parametrize("name", STUDENTS)
def test_contract__a_student_says_the_same_as_its_expanded_layers(name):
    spec = DETECTORS[name]
    torch.manual_seed(0)
    detector = load_trainable(DetectorRef(name=name, weights="" if spec.default_weights == "embedded" else "none"))
    form = [(key, value.shape) for key, value in detector.module.state_dict().items()]
    side = detector.network_size(detector.min_side_px, detector.min_side_px, detector.min_side_px)
    image = torch.randint(0, 256, (1, 3, *side), dtype=torch.uint8)
    kernels = {name: part.weight.clone() for name, part in detector.module.named_modules() if is_convolution(part)}
    with torch.no_grad():
        # The large ones as wide as they are: what is multiplied grows by the square of the rate.
        names = expand(detector.module, 2 if spec.million_parameters < 10 else 1)
        random = torch.Generator().manual_seed(1)
        for name, conv in expanded(detector.module):
            torch.testing.assert_close(conv.weight, kernels[name], rtol=0, atol=1e-5 * float(kernels[name].abs().max()))
            for kernel in factors(conv):
                kernel.add_(0.1 * kernel.std() * torch.randn(kernel.shape, generator=random))
        check = _Check(detector.module)
        with cached():  # each kernel is multiplied once
            with check:
                detector.forward(image, min_score=0.5)
            learnt = detector.feature_maps(image)
            assert contract(detector.module) == names
        assert_alike(detector.feature_maps(image), learnt)
    assert len(names) == sum(part.groups == 1 and part.weight.requires_grad for part in convolutions(detector.module))
    assert len(check.worst) > 0.9 * len(names), "hardly an expanded convolution was run"
    assert max(check.worst.values()) < 1e-5
    assert [(key, value.shape) for key, value in detector.module.state_dict().items()] == form
    assert all(type(part) is nn.Conv2d for part in convolutions(detector.module))


def is_convolution(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d)


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if is_convolution(part)]


def assert_alike(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    """Maps are the same to 1e-5 of the largest value in them."""
    for mine, theirs in zip(found, wanted, strict=True):
        assert float((mine - theirs).abs().max() / theirs.abs().max()) < 1e-5


class _Check:
    """Inside, every expanded convolution that runs is compared with its layers, on what it really sees."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._hooks = module, []
        self.worst: dict[str, float] = {}

    def __enter__(self) -> None:
        for name, conv in expanded(self._module):
            self._hooks.append(conv.register_forward_hook(self._comparing(name)))

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _comparing(self, name: str):
        def compare(conv: nn.Conv2d, inputs: tuple[torch.Tensor], found: torch.Tensor) -> None:
            if name not in self.worst and len(found):
                layers = layer_by_layer(conv, inputs[0][:1])
                apart = (layers - found[:1]).abs().max() / found[:1].abs().max()
                self.worst[name] = float(apart)

        return compare
