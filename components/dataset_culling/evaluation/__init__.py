"""How good detections are: COCO's measures, exactly and fast, and how sure one can be of them."""
