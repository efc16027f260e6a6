"""The two culls as stages: artifacts in, artifact out, and what they refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from builders import footage, frame, random_truth, scored, seen_badly
from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.header import Origin, digest
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.selection import read_selection, write_selection
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stages.cull_confidence.config import CullConfidenceConfig
from dataset_culling.stages.cull_confidence.stage import run as run_confidence
from dataset_culling.stages.cull_precision.config import CullPrecisionConfig
from dataset_culling.stages.cull_precision.stage import run as run_precision
from dataset_culling.strategies.table import STRATEGIES
from dataset_culling.types import Detections, Selection

ORIGIN = Origin("test")
CONFIDENCE, PRECISION = StageContext("cull-confidence"), StageContext("cull-precision")


class Run:
    """A folder with a student's detections, a teacher's labels and a first selection."""

    def __init__(
        self,
        folder: Path,
        student: Detections,
        teacher: Detections | None = None,
        frame_trust: list[float] | None = None,
    ) -> None:
        self.folder = folder
        write_detections(folder / "detections", student, ORIGIN)
        if teacher is not None:
            size = np.full(len(teacher), 1000)
            trust = None if frame_trust is None else np.array(frame_trust)
            write_labels(folder / "labels", teacher, size, size, ORIGIN, frame_trust=trust)

    def confidence(self, **config: object) -> StageReport:
        return run_confidence(
            CullConfidenceConfig(**config),
            {"detections": self.folder / "detections"},
            {"selection": self.folder / "selection"},
            CONFIDENCE,
        )

    def select(self, *frame_ids: int) -> None:
        chosen = Selection(np.array(frame_ids), np.zeros(len(frame_ids)), ("by hand",) * len(frame_ids))
        write_selection(self.folder / "selection", chosen, ORIGIN)

    def precision(self, **config: object) -> StageReport:
        inputs = {name: self.folder / name for name in ("detections", "labels", "selection")}
        return run_precision(CullPrecisionConfig(**config), inputs, {"kept": self.folder / "kept"}, PRECISION)

    def kept(self, name: str) -> list[int]:
        return read_selection(self.folder / name).frame_ids.tolist()


def test_cull_confidence__keeps_the_unsure_and_counts(tmp_path):
    run = Run(tmp_path, scored([0.99], [], [0.4, 0.5], [0.6]))
    report = run.confidence(budget=2)
    assert run.kept("selection") == [2, 3]
    assert report.counts == {"frames": 4, "frames_with_boxes": 3, "kept": 2}


def test_cull_confidence__strategy_and_its_options_are_used(tmp_path):
    run = Run(tmp_path, scored([1.0] * 5, [0.4], []))
    run.confidence(budget=1)
    assert run.kept("selection") == [0]
    run.confidence(budget=1, options={"confidence": {"aggregation": "mean"}})
    assert run.kept("selection") == [1]
    run.confidence(strategy="uniform", budget=3)
    assert run.kept("selection") == [0, 1, 2]


def test_cull_confidence__a_student_that_sees_nothing_is_one_clear_line(tmp_path):
    run = Run(tmp_path, scored([], [0.1], []))
    with pytest.raises(
        InputError, match=r"the student found no box that counts in 3 frames, .*\. Check the footage"
    ) as caught:
        run.confidence()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "selection").exists()
    run.confidence(strategy="uniform", budget=2)  # as the message advises
    assert run.kept("selection") == [0, 2]


def test_cull_confidence__one_frame_with_a_box_is_enough(tmp_path):
    run = Run(tmp_path, scored([], [0.3], []))
    run.confidence(budget=2)
    assert run.kept("selection") == [1, 0]


def test_cull_confidence__unscored_frames_are_refused(tmp_path):
    run = Run(tmp_path, dataclasses.replace(scored([0.5], [0.5]), scored=np.array([True, False])))
    with pytest.raises(InputError, match=r"1 of 2 frames are not scored\. Re-run score-fr"):
        run.confidence()


def test_cull_confidence__no_frames_at_all(tmp_path):
    with pytest.raises(InputError, match="there are no frames to choose from"):
        Run(tmp_path, scored()).confidence(strategy="uniform")


def test_cull_confidence__equal_inputs_give_equal_bytes(tmp_path):
    rng = np.random.default_rng(0)
    teacher = random_truth(rng, 50)
    digests = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, seen_badly(np.random.default_rng(1), teacher))
        run.confidence(strategy="coverage", budget=10, seed=5)
        digests.append(digest(tmp_path / name / "selection"))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", [name for name, strategy in STRATEGIES.items() if strategy.needs_labels])
def test_cull_confidence__cannot_ask_the_teacher(name):
    with pytest.raises(ConfigError, match=f"strategy '{name.replace('+', '.')}' needs the teacher's labels"):
        parse_config(CullConfidenceConfig, {"strategy": name}, where="test")


@pytest.mark.parametrize("config", [CullConfidenceConfig, CullPrecisionConfig])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"strategy": "confidance"}, "Did you mean 'confidence'", id="strategy"),
        pytest.param({"options": {"coverag": {}}}, "Did you mean 'coverage'", id="strategy in the options"),
        pytest.param({"options": {"coverage": {"rare": 1}}}, "options of coverage: 'rare' is an unknown key", id="key"),
        pytest.param({"options": {"entropy": {"min_score": 2}}}, "less than or equal to 1", id="bound"),
        pytest.param({"budget": 0}, "greater than or equal to 1", id="budget"),
    ],
)
def test_cull_configs__name_what_is_wrong(config, values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(config, values, where="test")
    assert "\n" not in str(caught.value)


def test_cull_configs__options_of_another_strategy_do_not_stand_in_the_way():
    config = CullConfidenceConfig(options={"confidence": {"q": 4}})
    assert config.replace(strategy="random").strategy == "random"


def test_cull_precision__keeps_the_worst_and_measures(tmp_path):
    box, elsewhere = (0, 0.9, 0, 0, 10, 10), (0, 0.9, 50, 0, 60, 10)
    student = footage(*[frame(box)] * 4)
    teacher = footage(frame(box), frame(box, elsewhere), frame(elsewhere), frame_ids=[0, 1, 3], time_s=[0, 1, 3])
    run = Run(tmp_path, student, teacher)
    run.select(3, 0, 1)
    report = run.precision(budget=2)
    assert run.kept("kept") == [3, 1]
    assert report.counts == {"frames": 3, "kept": 2, "teacher_boxes_kept": 3}
    assert report.figures["mean_ap"] == pytest.approx((1 + 51 / 101 + 0) / 3)
    assert report.figures["mean_ap_kept"] == pytest.approx((51 / 101 + 0) / 2)


def test_cull_precision__rows_are_joined_by_frame_id(tmp_path):
    # Labels and detections list other frames too, so that rows do not fall together; each pool frame is right but 8.
    box, elsewhere = (0, 0.9, 0, 0, 10, 10), (0, 0.9, 50, 0, 60, 10)
    student = footage(frame(), frame(box), frame(elsewhere), frame(box), frame_ids=[1, 2, 5, 8], time_s=range(4))
    teacher = footage(frame(box), frame(elsewhere), frame(elsewhere), frame_ids=[2, 5, 8], time_s=range(3))
    run = Run(tmp_path, student, teacher)
    run.select(5, 8, 2)
    run.precision(budget=1)
    assert run.kept("kept") == [8]


@pytest.mark.parametrize(
    ("student_ids", "teacher_ids", "where"),
    [
        pytest.param([0, 1], [0, 2], "detections", id="not scored by the student"),
        pytest.param([0, 2], [0, 1], "labels", id="not labelled by the teacher"),
    ],
)
def test_cull_precision__frames_that_do_not_match_are_an_error(tmp_path, student_ids, teacher_ids, where):
    box = frame((0, 0.9, 0, 0, 10, 10))
    run = Run(tmp_path, footage(box, box, frame_ids=student_ids), footage(box, box, frame_ids=teacher_ids))
    run.select(0, 2)
    with pytest.raises(InputError, match=rf"{where}: 1 of the 2 selected frames have no {where}, frame 2 the"):
        run.precision()


def test_cull_precision__other_classes_are_an_error(tmp_path):
    box = frame((0, 0.9, 0, 0, 10, 10))
    run = Run(tmp_path, footage(box), footage(box, class_names=["car", "person"]))
    run.select(0)
    with pytest.raises(InputError, match=r"expected the student's classes \(person, car\), found car, person"):
        run.precision()


def test_cull_precision__a_teacher_that_sees_nothing_is_one_clear_line(tmp_path):
    box = frame((0, 0.9, 0, 0, 10, 10))
    run = Run(tmp_path, footage(box, box), footage(frame(), box, ignore=[0]))
    run.select(0, 1)
    with pytest.raises(InputError, match=r"the teacher is sure of no object in 2 frames.*label_frames\.min_score"):
        run.precision()


def test_cull_precision__frames_without_anything_to_learn_are_not_a_training_set(tmp_path):
    box = frame((0, 0.9, 0, 0, 10, 10))
    run = Run(tmp_path, footage(box, box), footage(frame(), box))
    run.select(0, 1)
    with pytest.raises(InputError, match=r"the 1 frames kept hold no object to learn, while the others hold 1"):
        run.precision(budget=1)


def test_cull_precision__frames_that_the_teacher_doubts_are_not_chosen(tmp_path):
    box, elsewhere = (0, 0.9, 0, 0, 10, 10), (0, 0.9, 50, 0, 60, 10)
    student = footage(frame(box), frame(box), frame(box))
    run = Run(tmp_path, student, footage(frame(elsewhere), frame(box, elsewhere), frame(box)), [0.49, 0.5, 1.0])
    run.select(2, 1, 0)
    report = run.precision(budget=1)
    assert run.kept("kept") == [1]  # frame 0 is worse, but the teacher does not stand by what it says there
    assert (report.counts["frames"], report.counts["doubtful_frames"]) == (2, 1)
    run.precision(budget=1, min_trust=0.4)
    assert run.kept("kept") == [0]
    run.select(0, 1)
    with pytest.raises(
        InputError, match=r"to at most 0\.50 in 2 frames, less than 0\.9\. Lower cull_precision\.min_trust"
    ):
        run.precision(min_trust=0.9)


@pytest.mark.parametrize("name", STRATEGIES)
def test_cull_precision__every_strategy_serves(tmp_path, name):
    rng = np.random.default_rng(0)
    teacher = random_truth(rng, 60, ignored_share=0.1)
    run = Run(tmp_path, seen_badly(rng, teacher), teacher)
    run.confidence(budget=40)
    report = run.precision(strategy=name, budget=10)
    assert report.counts["kept"] == (40 if name == "full" else 10)
    assert set(run.kept("kept")) <= set(run.kept("selection"))


def test_cull_precision__coverage_is_given_the_students_features(tmp_path):
    # Four frames as hard as each other, alike but for one: with a budget of two the odd one is among them.
    box, elsewhere = frame((0, 0.9, 0, 0, 10, 10)), frame((0, 0.9, 50, 0, 60, 10))
    student, teacher = footage(*[box] * 4), footage(*[elsewhere] * 4)
    run = Run(tmp_path, student, teacher)
    run.select(0, 1, 2, 3)
    shares = {"random_share": 0, "empty_share": 0, "rare_share": 0, "hardest_tail_share": 0}
    for odd in (2, 3):
        features = np.tile([1.0, 0.0], (4, 1))
        features[odd] = [0.0, 1.0]
        write_detections(tmp_path / "detections", dataclasses.replace(student, features=features), ORIGIN)
        run.precision(strategy="coverage", budget=2, options={"coverage": shares})
        assert sorted(run.kept("kept")) == [0, odd]
