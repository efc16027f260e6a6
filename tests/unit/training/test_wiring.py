"""Which channels are one and the same, on networks small enough to follow by eye."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import ConfigError
from dataset_culling.training.techniques.pruning.wiring import walk, wiring_of
from squares import student


class Net(nn.Module):
    """a -> norm -> relu -> (+ b of it) -> cat with c of the image -> depthwise -> out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
        self.c, self.depth, self.out = nn.Conv2d(3, 3, 1), nn.Conv2d(5, 5, 3, groups=5), nn.Conv2d(5, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(image)))
        return self.out(self.depth(torch.cat([x + self.b(x), self.c(image)], 1)))


def test_walk__sums_unite_and_concatenations_line_up():
    found = walk(Net())
    assert torch.equal(found.outputs["a"], found.outputs["b"])
    assert torch.equal(found.outputs["a"], found.outputs["norm"])
    assert torch.equal(found.inputs["b"], found.outputs["a"])
    together = torch.cat([found.outputs["a"], found.outputs["c"]])
    assert len(set(together.tolist())) == 5
    assert torch.equal(found.outputs["depth"], together)
    assert torch.equal(found.inputs["out"], together)
    assert found.removable[together].all()
    assert not found.removable[found.outputs["out"]].any()
    assert not found.removable[found.inputs["a"]].any()


def test_walk__frozen_layers_stay():
    net = Net()
    net.c.weight.requires_grad_(False)
    found = walk(net)
    assert not found.removable[found.outputs["c"]].any()
    assert found.removable[found.outputs["a"]].all()


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(torch.sigmoid, id="zero does not stay zero"),
        pytest.param(lambda x: x + 1, id="a constant is added"),
        pytest.param(lambda x: x * x, id="not followed"),
        pytest.param(lambda x: x.flip(1), id="channels change places"),
        pytest.param(lambda x: x[:, 1:], id="channels are picked"),
    ],
)
def test_walk__what_is_not_understood_stays(odd):
    class Odd(Net):
        def forward(self, image: Tensor) -> Tensor:
            return self.b(odd(self.a(image)))

    found = walk(Odd())
    assert not found.removable[found.outputs["a"]].any()


def test_wiring_of__an_rcnn_to_its_box_head():
    detector = student()
    found = wiring_of(detector)
    cells = detector.module.roi_heads.box_roi_pool.output_size[0] ** 2
    pyramid = found.outputs["backbone.pyramid.layer_blocks.0.0"]
    assert torch.equal(pyramid, found.outputs["backbone.pyramid.layer_blocks.2.0"])
    assert torch.equal(found.inputs["roi_heads.box_head.fc6"], pyramid.repeat_interleave(cells))
    assert torch.equal(found.inputs["rpn.head.conv.0.0"], pyramid)
    stays = ("rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score")
    assert not any(found.removable[found.outputs[name]].any() for name in stays)
    gone = sum(len(set(ids.tolist())) for name, ids in found.outputs.items() if name in stays)
    assert found.removable.sum() > 4 * gone
    assert detector.module.training is False


def test_wiring_of__a_student_that_cannot_be_pruned_is_one_line():
    with pytest.raises(ConfigError, match="only R-CNNs and YOLOX") as caught:
        wiring_of(load_trainable(DetectorRef(name="ssdlite320_mobilenet_v3_large", weights="none")))
    assert "\n" not in str(caught.value)
