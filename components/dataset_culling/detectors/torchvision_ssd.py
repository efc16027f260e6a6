"""torchvision's one-stage detectors: SSDlite, SSD300 and RetinaNet.

K = boxes in one image, B = images in a batch, A = default boxes of one image, C = classes without background;
h, w = the network's input size.

Adapted: `SsdDetector` follows torchvision's SSD (BSD-3-Clause) for losses and post-processing, without its loop over
classes. It adds label weights, ignore boxes and a loss for images without objects.

Source:
    Liu et al., SSD: Single Shot MultiBox Detector (arXiv:1512.02325); Sandler et al., MobileNetV2 (arXiv:1801.04381,
    SSDlite); Lin et al., Focal Loss for Dense Object Detection (arXiv:1708.02002, RetinaNet).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, WeightsEnum, detection
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from dataset_culling.detectors.torch_base import Target, TorchDetector, running_statistics, summed, to_numpy
from dataset_culling.detectors.torchvision_common import (
    COCO_IDS,
    COCO_NAMES,
    PreparedTransform,
    is_near,
    mapped_conv,
    torchvision_targets,
    usable,
    use_published_norms,
)
from dataset_culling.detectors.weights import detector_state, torchvision_state
from dataset_culling.errors import WeightsError
from dataset_culling.types import ImageDetections

MAX_DETECTIONS = 100
NUM_PUBLISHED_COLUMNS = 91  # of torchvision's COCO heads: background, 80 classes, 10 unused


class SsdDetector(TorchDetector):
    """SSD as a `TorchDetector`, with label weights and ignore boxes.

    Every image is stretched to a square of `side_px`, as in the published training. Default boxes are fractions of the
    image, so another side only makes the grids finer or coarser.
    """

    module: SSD
    background_columns = 1

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: a square."""
        side = min(max(side_px or self.full_side_px, self.min_side_px), self.max_side_px)
        return side, side

    def outputs(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute class logits (B, A, 1 + C), box offsets (B, A, 4) and default boxes (A, 4) in network px; float32."""
        images = self.module.transform.normalize(batch.float().div_(255))
        features = list(self.module.backbone(images).values())
        outputs = self.module.head(features)
        with torch.autocast(batch.device.type, enabled=False):  # default boxes take the type of the maps
            maps = [features_of.float() for features_of in features]
            default_boxes = self.module.anchor_generator(ImageList(images, [images.shape[-2:]]), maps)[0]
        return outputs["cls_logits"].float(), outputs["bbox_regression"].float(), default_boxes

    @torch.no_grad()
    def forward(self, batch: Tensor, *, min_score: float) -> list[ImageDetections]:
        """See `TorchDetector.forward`; one default box may give boxes of several classes, as in torchvision."""
        logits, offsets, default_boxes = self.outputs(batch)
        scores_BAC = logits.softmax(2)[..., 1:]
        images = []
        for scores_AC, offset in zip(scores_BAC, offsets, strict=True):
            boxes = self.module.box_coder.decode_single(offset, default_boxes)
            boxes = clip_boxes_to_image(boxes, batch.shape[-2:])
            best, rows = scores_AC.topk(min(self.module.topk_candidates, len(scores_AC)), dim=0)
            sure = best >= min_score
            class_ids = torch.arange(best.shape[1], device=best.device).expand_as(best)[sure]
            box, score = boxes[rows[sure]], best[sure]
            kept = batched_nms(box, score, class_ids, self.module.nms_thresh)[:MAX_DETECTIONS]
            images.append(to_numpy(box[kept], score[kept], class_ids[kept]))
        return images

    def losses(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """See `TorchDetector.losses`: smooth L1 of offsets and cross entropy with hard negatives, three to a positive.

        An image without objects gives as many negatives as one with a single match; torchvision's SSD skips it.
        """
        with running_statistics(self.module, when=len(batch) == 1):
            logits, offsets, default_boxes = self.outputs(batch)
        with torch.autocast(batch.device.type, enabled=False):
            return self._losses(logits, offsets, default_boxes, targets)

    def losses_by_image(self, batch: Tensor, targets: Sequence[Target]) -> Tensor:
        """See `TorchDetector.losses_by_image`: the network runs on the whole batch."""
        with running_statistics(self.module, when=True):
            logits, offsets, default_boxes = self.outputs(batch)
        with torch.autocast(batch.device.type, enabled=False):
            losses = [
                summed(self._losses(logits[row : row + 1], offsets[row : row + 1], default_boxes, [target]))
                for row, target in enumerate(targets)
            ]
        return torch.stack(losses)

    def _losses(
        self, logits: Tensor, offsets: Tensor, default_boxes: Tensor, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        wanted = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
        weight = torch.ones_like(wanted, dtype=torch.float32)
        may_be_negative = torch.ones_like(wanted, dtype=torch.bool)
        box_loss = logits.new_zeros(())
        for image, target in enumerate(targets):
            sure = ~target.ignore & usable(target.boxes_xyxy)
            truths = target.boxes_xyxy[sure].float()
            if target.ignore.any():
                may_be_negative[image] = ~is_near(default_boxes, target.boxes_xyxy[target.ignore].float())
            if len(truths) == 0:
                continue
            match = self.module.proposal_matcher(box_iou(truths, default_boxes))
            positive = (match >= 0).nonzero().squeeze(1)
            truth = match[positive]
            weight[image, positive] = target.weights[sure][truth].float()
            wanted[image, positive] = target.class_ids[sure][truth] + 1
            goal = self.module.box_coder.encode_single(truths[truth], default_boxes[positive])
            error = F.smooth_l1_loss(offsets[image, positive], goal, reduction="none").sum(1)
            box_loss = box_loss + (weight[image, positive] * error).sum()

        class_loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
        positives = wanted > 0
        hardness = class_loss.detach().masked_fill(positives | ~may_be_negative, -torch.inf)
        rank = hardness.argsort(1, descending=True).argsort(1)
        num_negative = self.module.neg_to_pos_ratio * positives.sum(1, keepdim=True).clamp(min=1)
        negatives = (rank < num_negative) & hardness.isfinite()
        share = 1.0 / max(int(positives.sum()), len(targets))
        # A sum over everything times a mask keeps the graph whole where an image has no positives.
        return {
            "bbox_regression": share * (box_loss + 0.0 * offsets.sum()),
            "classification": share * (class_loss * weight * (positives | negatives)).sum(),
        }

    def replace_head(self, sources: Sequence[Sequence[int]]) -> None:
        """See `TorchDetector.replace_head`; keeps the weights of background and boxes."""
        rows = [[0], *([old + 1 for old in olds] for olds in sources)]
        head = self.module.head.classification_head
        per_place = self.module.anchor_generator.num_anchors_per_location()
        for level, anchors in enumerate(per_place):
            part = head.module_list[level]
            if isinstance(part, nn.Conv2d):  # SSD300
                head.module_list[level] = mapped_conv(part, rows, anchors=anchors)
            else:  # SSDlite: a depthwise convolution first
                part[-1] = mapped_conv(part[-1], rows, anchors=anchors)
        head.num_columns = len(rows)


class Ssd300Detector(SsdDetector):
    """SSD300 on VGG16, whose last maps vanish on smaller squares than this."""

    min_side_px = 272


class RetinaNetDetector(TorchDetector):
    """RetinaNet as a `TorchDetector`, with ignore boxes but without label weights: every box counts as 1."""

    module: RetinaNet
    background_columns = 0
    weighs_labels = False

    def __init__(self, name: str, module: RetinaNet, class_names: Sequence[str], *, full_side_px: int) -> None:
        super().__init__(name, module, class_names, full_side_px=full_side_px)
        module.__class__ = _IgnoringRetinaNet
        module.transform.__class__ = PreparedTransform
        module.detections_per_img = MAX_DETECTIONS

    @torch.no_grad()
    def forward(self, batch: Tensor, *, min_score: float) -> list[ImageDetections]:
        """See `TorchDetector.forward`."""
        self.module.score_thresh = min_score
        found = self.module(list(batch.float().div_(255)))
        return [to_numpy(image["boxes"], image["scores"], image["labels"]) for image in found]

    def losses(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """See `TorchDetector.losses`: torchvision's two, focal loss of classes and L1 of boxes."""
        losses: dict[str, Tensor] = self.module(
            list(batch.float().div_(255)), torchvision_targets(targets, first_class=0)
        )
        return losses

    def losses_by_image(self, batch: Tensor, targets: Sequence[Target]) -> Tensor:
        """See `TorchDetector.losses_by_image`: the network runs on the whole batch."""
        module = self.module
        with running_statistics(module, when=True):
            images, _ = module.transform(list(batch.float().div_(255)))
            features = list(module.backbone(images.tensors).values())
            outputs = module.head(features)
        anchors = module.anchor_generator(images, features)
        wanted = torchvision_targets(targets, first_class=0)
        found = []
        for row in range(len(batch)):
            own = {name: output[row : row + 1] for name, output in outputs.items()}
            found.append(summed(module.compute_loss([wanted[row]], own, [anchors[row]])))
        return torch.stack(found)

    def replace_head(self, sources: Sequence[Sequence[int]]) -> None:
        """See `TorchDetector.replace_head`; each class is binary, so there is no background column."""
        head = self.module.head.classification_head
        head.cls_logits = mapped_conv(head.cls_logits, sources, anchors=head.num_anchors)
        head.num_classes = len(sources)


class _IgnoringRetinaNet(RetinaNet):  # type: ignore[misc]
    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        matches = []
        for anchor, target in zip(anchors, targets, strict=True):
            match = torch.full((len(anchor),), self.proposal_matcher.BELOW_LOW_THRESHOLD, device=anchor.device)
            if len(target["boxes"]):
                match = self.proposal_matcher(box_iou(target["boxes"], anchor))
            if len(target["ignore_boxes"]):
                match[is_near(anchor, target["ignore_boxes"]) & (match < 0)] = self.proposal_matcher.BETWEEN_THRESHOLDS
            matches.append(match)
        losses: dict[str, Tensor] = self.head.compute_loss(targets, head_outputs, anchors, matches)
        return losses


def _with_weights(
    detector: SsdDetector | RetinaNetDetector, weights: str, published: type[WeightsEnum]
) -> SsdDetector | RetinaNetDetector:
    """Load weights and give the head their classes.

    torchvision's published heads have 91 columns; only the 80 used ones are kept. So a head always has one column for
    each class name (and the background), also after saving and reading.
    """
    found = detector_state(detector.name, weights, published)
    state, names = found.state, found.class_names
    own = detector.module.state_dict()
    shapes_fit = state is not None and all(own[key].shape == value.shape for key, value in state.items() if key in own)
    published_layout = state is not None and not names and shapes_fit
    where = f"{detector.name} ({weights})"
    if published_layout:
        assert state is not None
        detector.load_state(state, where=where)
    columns = [number - detector.background_columns for number in COCO_IDS]
    detector.replace_head([[column] for column in columns])
    detector.class_names = COCO_NAMES
    if names:
        detector.replace_head([[0]] * len(names))
        detector.class_names = names
    if state is not None and not published_layout:
        detector.load_state(state, where=where)
    return detector


def build_ssdlite320(weights: str) -> SsdDetector:
    """Build torchvision's ssdlite320_mobilenet_v3_large.

    Args:
        weights: COCO_V1, a file (torchvision's or ours), or 'none' for random weights.

    Raises:
        WeightsError: If they are missing or do not fit.
    """
    module = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=NUM_PUBLISHED_COLUMNS
    )
    detector = SsdDetector("ssdlite320_mobilenet_v3_large", module, (), full_side_px=320)
    _with_weights(detector, weights, detection.SSDLite320_MobileNet_V3_Large_Weights)
    return detector


def build_ssd300_vgg16(weights: str) -> SsdDetector:
    """Build torchvision's ssd300_vgg16; weights as for `build_ssdlite320`."""
    module = detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=NUM_PUBLISHED_COLUMNS)
    detector = Ssd300Detector("ssd300_vgg16", module, (), full_side_px=300)
    _with_weights(detector, weights, detection.SSD300_VGG16_Weights)
    return detector


def build_retinanet_resnet50_fpn(weights: str) -> RetinaNetDetector:
    """Build torchvision's retinanet_resnet50_fpn.

    Args:
        weights: COCO_V1, IMAGENET1K_V1 or IMAGENET1K_V2 (backbone only), a file, or 'none' for random weights.

    Raises:
        WeightsError: If they are missing or do not fit.
    """
    module = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=NUM_PUBLISHED_COLUMNS)
    use_published_norms(module)
    detector = RetinaNetDetector("retinanet_resnet50_fpn", module, (), full_side_px=800)
    backbone = weights in ResNet50_Weights.__members__ and weights != "DEFAULT"
    _with_weights(detector, "none" if backbone else weights, detection.RetinaNet_ResNet50_FPN_Weights)
    if backbone:
        state = torchvision_state(ResNet50_Weights, weights, detector=detector.name)
        body = module.backbone.body
        known = {key: value for key, value in state.items() if key in body.state_dict()}
        if not known:
            raise WeightsError(f"{detector.name} ({weights}): the file has no layer of a ResNet-50.")
        body.load_state_dict(known, strict=False)
    return detector
