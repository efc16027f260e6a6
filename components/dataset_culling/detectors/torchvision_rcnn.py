"""The R-CNN family: torchvision's Faster R-CNN, and the paper's ResNet-18 and ResNet-101 built from its parts.

K = boxes in one image, B = images in a batch; h, w = the network's input size.

Adapted: `_IgnoringRPN` and `_IgnoringRoIHeads` extend torchvision's target assignment (BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet18_Weights, ResNet34_Weights, ResNet101_Weights, WeightsEnum, detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import FrozenBatchNorm2d

from dataset_culling.detectors.torch_base import Target, TorchDetector, running_statistics, summed, to_numpy
from dataset_culling.detectors.torchvision_common import (
    PreparedTransform,
    is_near,
    torchvision_targets,
    use_published_norms,
)
from dataset_culling.detectors.weights import Found, detector_state, torchvision_state
from dataset_culling.types import ImageDetections


class RCNNDetector(TorchDetector):
    """Faster R-CNN as a `TorchDetector`, with ignore boxes; label weights count in the box head's losses only.

    The RPN takes every box alike, because proposals have no class and the teacher mostly doubts the class. The internal
    resize is off: images come prepared, so that scoring and training use the same pixels.
    """

    replaced = ("roi_heads.box_predictor",)

    def __init__(
        self, name: str, module: detection.FasterRCNN, class_names: Sequence[str], *, full_side_px: int
    ) -> None:
        super().__init__(name, module, class_names, full_side_px=full_side_px)
        module.transform.__class__ = PreparedTransform
        module.rpn.__class__ = _IgnoringRPN
        module.roi_heads.__class__ = _IgnoringRoIHeads

    def forward(self, batch: Tensor, *, min_score: float) -> list[ImageDetections]:
        """See `TorchDetector.forward`."""
        self.module.roi_heads.score_thresh = min_score  # type: ignore[union-attr]
        found = self.module(list(batch.float().div_(255)))
        return [to_numpy(image["boxes"], image["scores"], image["labels"] - 1) for image in found]

    def losses(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """See `TorchDetector.losses`: torchvision's four, RPN and RoI, classification and regression."""
        losses: dict[str, Tensor] = self.module(
            list(batch.float().div_(255)), torchvision_targets(targets, first_class=1)
        )
        return losses

    def losses_by_image(self, batch: Tensor, targets: Sequence[Target]) -> Tensor:
        """See `TorchDetector.losses_by_image`: the trunk runs on the whole batch, RPN and box head image by image."""
        module: Any = self.module
        wanted = torchvision_targets(targets, first_class=1)
        found = []
        with running_statistics(module, when=True):
            images, _ = module.transform(list(batch.float().div_(255)))
            features = module.backbone(images.tensors)
            for row, target in enumerate(wanted):
                image = ImageList(images.tensors[row : row + 1], images.image_sizes[row : row + 1])
                maps = {name: level[row : row + 1] for name, level in features.items()}
                proposals, of_rpn = module.rpn(image, maps, [target])
                _, of_heads = module.roi_heads(maps, proposals, image.image_sizes, [target])
                found.append(summed(of_heads | of_rpn))
        return torch.stack(found)

    def replace_head(self, sources: Sequence[Sequence[int]]) -> None:
        """See `TorchDetector.replace_head`; keeps the background row."""
        predictor: Any = self.module.roi_heads.box_predictor  # type: ignore[union-attr]
        rows = [[0], *([old + 1 for old in olds] for olds in sources)]
        predictor.cls_score = _mapped_linear(predictor.cls_score, rows, per_class=1)
        predictor.bbox_pred = _mapped_linear(predictor.bbox_pred, rows, per_class=4)


def _mapped_linear(old: nn.Linear, rows: Sequence[Sequence[int]], *, per_class: int) -> nn.Linear:
    """Build a linear layer whose class c has the mean weights of the old classes rows[c]."""
    new = nn.Linear(old.in_features, len(rows) * per_class).to(old.weight.device)
    weight = old.weight.detach().reshape(-1, per_class, old.in_features)
    bias = old.bias.detach().reshape(-1, per_class)
    with torch.no_grad():
        new.weight.copy_(torch.stack([weight[list(olds)].mean(0) for olds in rows]).reshape_as(new.weight))
        new.bias.copy_(torch.stack([bias[list(olds)].mean(0) for olds in rows]).reshape_as(new.bias))
    return new


class _IgnoringRPN(RegionProposalNetwork):  # type: ignore[misc]
    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            if len(target["ignore_boxes"]):
                label[is_near(anchor, target["ignore_boxes"]) & (label == 0)] = -1.0
        return labels, matched


class _IgnoringRoIHeads(RoIHeads):  # type: ignore[misc]
    def forward(
        self, features: Any, proposals: list[Tensor], image_shapes: Any, targets: Any = None
    ) -> tuple[Any, dict[str, Tensor]]:
        weights = [target["weights"] for target in targets or () if "weights" in target]
        if not self.training or not any(bool((weight != 1).any()) for weight in weights):
            found: tuple[Any, dict[str, Tensor]] = super().forward(features, proposals, image_shapes, targets)
            return found
        proposals, matched, labels, regression = self.select_training_samples(proposals, targets)
        class_logits, boxes = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        each = [
            torch.where(label > 0, weight[match], 1.0) if len(weight) else torch.ones_like(label, dtype=torch.float32)
            for label, match, weight in zip(labels, matched, weights, strict=True)
        ]
        return [], _weighted_losses(
            class_logits.float(), boxes.float(), torch.cat(labels), torch.cat(regression), torch.cat(each)
        )

    def select_training_samples(self, proposals: list[Tensor], targets: Any) -> Any:
        self._ignore_boxes = [target["ignore_boxes"] for target in targets]
        return super().select_training_samples(proposals, targets)

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        for label, proposal, doubtful in zip(labels, proposals, self._ignore_boxes, strict=True):
            if len(doubtful):
                label[is_near(proposal, doubtful) & (label == 0)] = -1
        return matched, labels


def _weighted_losses(
    class_logits: Tensor, boxes: Tensor, labels: Tensor, regression: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    """Compute torchvision's `fastrcnn_loss` with a weight for each of R regions.

    Args:
        class_logits: (R, classes + 1).
        boxes: (R, 4 (classes + 1)), the head's output.
        labels: (R,), 0 is background.
        regression: (R, 4), its target.
        weights: (R,); with all 1 the losses are torchvision's.
    """
    entropy = F.cross_entropy(class_logits, labels, reduction="none")
    objects = torch.where(labels > 0)[0]
    predicted = boxes.reshape(len(labels), -1, 4)[objects, labels[objects]]
    error = F.smooth_l1_loss(predicted, regression[objects], beta=1 / 9, reduction="none").sum(1)
    return {
        "loss_classifier": (entropy * weights).mean(),
        "loss_box_reg": (error * weights[objects]).sum() / labels.numel(),
    }


def _build_coco(name: str, weights: str, module: detection.FasterRCNN, enum: WeightsEnum, side_px: int) -> RCNNDetector:
    categories = enum.COCO_V1.meta["categories"][1:]  # class 0 is the background
    detector = RCNNDetector(name, module, categories, full_side_px=side_px)
    _load(detector, detector_state(name, weights, enum), weights)
    return detector


def build_mobilenet_v3_large_320_fpn(weights: str) -> RCNNDetector:
    """Build torchvision's fasterrcnn_mobilenet_v3_large_320_fpn; weights: a name, a file, or 'none' for random ones."""
    module = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    enum = detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights
    return _build_coco("fasterrcnn_mobilenet_v3_large_320_fpn", weights, module, enum, 320)


def build_resnet50_fpn_v2(weights: str) -> RCNNDetector:
    """Build torchvision's fasterrcnn_resnet50_fpn_v2; weights: a name, a file, or 'none' for random ones."""
    module = detection.fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    enum = detection.FasterRCNN_ResNet50_FPN_V2_Weights
    return _build_coco("fasterrcnn_resnet50_fpn_v2", weights, module, enum, 800)


def build_mobilenet_v3_large_fpn(weights: str) -> RCNNDetector:
    """Build torchvision's fasterrcnn_mobilenet_v3_large_fpn; weights: a name, a file, or 'none' for random ones."""
    module = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None)
    enum = detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights
    return _build_coco("fasterrcnn_mobilenet_v3_large_fpn", weights, module, enum, 800)


def build_resnet50_fpn(weights: str) -> RCNNDetector:
    """Build torchvision's fasterrcnn_resnet50_fpn; weights: a name, a file, or 'none' for random ones."""
    module = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    use_published_norms(module)
    enum = detection.FasterRCNN_ResNet50_FPN_Weights
    return _build_coco("fasterrcnn_resnet50_fpn", weights, module, enum, 800)


def _build_resnet(name: str, backbone: str, weights: str, enum: WeightsEnum) -> RCNNDetector:
    """Build one of the paper's detectors: 600 px short side, 300 proposals at inference, as in jwyang's code.

    No COCO weights are published for them in torchvision's format. IMAGENET1K_V1 gives the backbone alone.
    """
    imagenet = weights.startswith(("IMAGENET", "DEFAULT"))
    found = Found(None) if imagenet else detector_state(name, weights, None)
    # As in torchvision: frozen norms for weights with statistics. Without any, a deep network explodes.
    learns_statistics = weights == "none" or (
        found.state is not None and any(key.endswith("num_batches_tracked") for key in found.state)
    )
    norm = nn.BatchNorm2d if learns_statistics else FrozenBatchNorm2d
    body = resnet_fpn_backbone(backbone_name=backbone, weights=None, trainable_layers=3, norm_layer=norm)
    module = detection.FasterRCNN(body, num_classes=91, rpn_post_nms_top_n_test=300, rpn_pre_nms_top_n_test=1000)
    categories = detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"][1:]
    detector = RCNNDetector(name, module, categories, full_side_px=600)
    if imagenet:
        pretrained = torchvision_state(enum, weights, detector=name)
        own = body.body.state_dict()
        body.body.load_state_dict({key: value for key, value in pretrained.items() if key in own}, strict=False)
        return detector
    _load(detector, found, weights)
    return detector


def _load(detector: RCNNDetector, found: Found, weights: str) -> None:
    """Replace the head for a file's classes, then load its weights."""
    if found.class_names:
        detector.replace_head([[0]] * len(found.class_names))
        detector.class_names = found.class_names
    if found.state is not None:
        detector.load_state(found.state, where=f"{detector.name} ({weights})", layers=found.layers)


def build_resnet18_fpn(weights: str) -> RCNNDetector:
    """Build the paper's student; weights: a file, IMAGENET1K_V1 (backbone only), or 'none' for random ones."""
    return _build_resnet("fasterrcnn_resnet18_fpn", "resnet18", weights, ResNet18_Weights)


def build_resnet34_fpn(weights: str) -> RCNNDetector:
    """Build a size between these two; weights: a file, IMAGENET1K_V1 (backbone only), or 'none' for random ones."""
    return _build_resnet("fasterrcnn_resnet34_fpn", "resnet34", weights, ResNet34_Weights)


def build_resnet101_fpn(weights: str) -> RCNNDetector:
    """Build the paper's teacher; weights: a file, IMAGENET1K_V1 (backbone only), or 'none' for random ones."""
    return _build_resnet("fasterrcnn_resnet101_fpn", "resnet101", weights, ResNet101_Weights)
