"""Speed of scoring frames, against the plain loop that one would write.

    python benchmarks/inference.py [--json FILE] [--rounds 3] [--cores 2] [--frames 96] [--student tiny]
                                   [--weights ""] [--side 0] [--batch 8] [--size 1280x720] [--device cpu]
                                   [--backend openvino]

plain   for every frame: Pillow decodes and resizes the JPEG, the network looks at it alone, in float32, no_grad
scan    `inference.detect.scan`: what score-frames and label-frames do, with the precision `auto`; with
        `--backend openvino` the network is exported first, which a long scan does once and is counted apart

Both read the same frames/1 artifact: a textured scene with a rectangle that moves, JPEG quality 92. Turns alternate.

Keys: scoring_speedup_vs_plain     seconds of plain over scan's, medians of the rounds    goal >= 2.5 (CPU), >= 8 (GPU)
      scoring_ms_per_frame, scoring_plain_ms_per_frame
      scoring_export_s              seconds to export and compile; openvino alone
      scoring_max_abs_score_diff   largest difference of the best score of a frame (float32 arithmetic and the resize)
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each of the two gets")
    parser.add_argument("--cores", type=int, default=2, help="cores to be confined to")
    parser.add_argument("--frames", type=int, default=96, help="frames scored in a turn")
    parser.add_argument("--student", default="tiny", help="a detector of 'culling detectors'")
    parser.add_argument("--weights", default="", help="its weights; 'none' for random ones")
    parser.add_argument("--side", type=int, default=0, help="short side in px; 0: the detector's own")
    parser.add_argument("--batch", type=int, default=8, help="images that scan puts together")
    parser.add_argument("--size", default="1280x720", help="of the frames, WIDTHxHEIGHT px")
    parser.add_argument("--backend", default="torch", help="torch or openvino: what runs scan's network on a CPU")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])

    import torch  # after the affinity, which decides how many threads it takes

    from dataset_culling.detectors.accelerated import AcceleratedDetector
    from dataset_culling.detectors.base import Detector, DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.inference.detect import ScanLog, scan
    from dataset_culling.types import ClassMap

    width, height = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        frames = scene(Path(folder) / "frames", options.frames, height, width)
        plain, quick = (
            load_trainable(DetectorRef(name=options.student, weights=options.weights), device=options.device)
            for _ in range(2)
        )
        looking: Detector = quick
        start_s = time.perf_counter()
        if options.backend == "openvino":
            looking = AcceleratedDetector(quick, height_px=height, width_px=width, side_px=options.side, min_score=0.05)
        export_s = time.perf_counter() - start_s
        ids, names = frames.table.frame_ids, ClassMap({name: (name,) for name in plain.class_names})

        def plain_loop() -> list[float]:
            best = []
            for frame in ids:
                image = Image.open(io.BytesIO(frames.jpeg(int(frame)))).convert("RGB")
                h, w = plain.network_size(height, width, options.side)
                pixels = np.array(image.resize((w, h), Image.Resampling.BOX))
                batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(options.device)
                with torch.no_grad():
                    (found,) = plain.forward(batch, min_score=0.05)
                best.append(float(found.scores.max(initial=0)))
            return best

        def scanned() -> list[float]:
            found = scan(
                frames, ids, looking, names, side_px=options.side, min_score=0.05, batch_size=options.batch,
                progress=lambda done, total: None, log=ScanLog(),
            )  # fmt: skip
            return [float(found.image(row).scores.max(initial=0)) for row in range(len(found))]

        taken: dict[str, list[float]] = {"plain": [], "scan": []}
        scores: dict[str, list[float]] = {}
        for turn in range(options.rounds + 1):
            for name, run in (("plain", plain_loop), ("scan", scanned)):
                start_s = time.perf_counter()
                scores[name] = run()
                if turn:  # the first warms caches and threads
                    taken[name].append(time.perf_counter() - start_s)
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    figures = {
        "scoring_speedup_vs_plain": seconds["plain"] / seconds["scan"],
        "scoring_ms_per_frame": 1e3 * seconds["scan"] / len(ids),
        "scoring_plain_ms_per_frame": 1e3 * seconds["plain"] / len(ids),
        "scoring_max_abs_score_diff": float(np.abs(np.subtract(scores["plain"], scores["scan"])).max()),
    }
    if options.backend == "openvino":
        figures["scoring_export_s"] = export_s
    for name, value in figures.items():
        print(f"{name:30} {value:.4f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def scene(path: Path, num_frames: int, height: int, width: int) -> FrameReader:
    """A textured scene with a rectangle that moves, one frame a second."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    background = cv2.GaussianBlur(noise, (0, 0), 9)
    with FrameWriter(path, origin=Origin("benchmark")) as writer:
        for row in range(num_frames):
            image, left = background.copy(), row * 13 % (width - 100)
            image[height // 3 : height // 3 + 60, left : left + 90] = (200, 30, 30)
            writer.add(row * 1000, float(row), image)
    return FrameReader(path)


if __name__ == "__main__":
    main()
