"""Accuracy of detections: COCO's figures, confidence intervals, score thresholds, the promotion rule."""
