"""The pipeline: a camera's footage in, a specialised student promoted. One run is one camera.

culling compile pipelines/compiled/gpu.yaml --profile gpu --image REGISTRY/dataset-culling:TAG

A test compares its edges with WIRING in pipeline/graph.py. Signature and docstring are the form in KFP's UI.
"""

from functools import partial
from typing import Any, get_args

from kfp import dsl

from dataset_culling.detectors.table import DETECTORS
from dataset_culling.kubeflow.component import find_footage
from dataset_culling.kubeflow.parameters import NIGHT, section
from dataset_culling.kubeflow.resources import Profile, place
from dataset_culling.pipeline.graph import STAGES, PipelineConfig
from dataset_culling.pipeline.presets import read_preset
from dataset_culling.stages.choose_resolution.component import choose_resolution
from dataset_culling.stages.cull_confidence.component import cull_confidence
from dataset_culling.stages.cull_precision.component import cull_precision
from dataset_culling.stages.evaluate_student.component import evaluate_student
from dataset_culling.stages.extract_frames.component import extract_frames
from dataset_culling.stages.keep_night.component import keep_night
from dataset_culling.stages.label_frames.component import label_heldout, label_selection
from dataset_culling.stages.promote_student.component import promote_student
from dataset_culling.stages.recall_replay.component import recall_replay
from dataset_culling.stages.render_report.component import render_report
from dataset_culling.stages.score_frames.component import score_frames
from dataset_culling.stages.train_control.component import train_control
from dataset_culling.stages.train_student.component import train_student
from dataset_culling.strategies.table import STRATEGIES

RUN = PipelineConfig(**read_preset("default"))
CLASSES = list(RUN.classes)
REST = {stage: section(RUN, stage) for stage in STAGES}
CHOICES = {
    "student": [name for name, spec in DETECTORS.items() if spec.trainable],
    "pool_strategy": [name for name, spec in STRATEGIES.items() if not spec.needs_labels],
    "target_strategy": list(STRATEGIES),
    "promotion": list(get_args(type(RUN.promote_student).model_fields["mode"].annotation)),
}
"""Parameters that the UI shows as drop-downs."""


def build(profile: Profile, image: str) -> Any:
    """The pipeline for one kind of cluster and one image."""
    on = partial(place, profile=profile, image=image)

    @dsl.pipeline(name="specialise-camera", description="Give one camera its own small, fast, accurate detector.")
    def specialise_camera(
        camera: str,
        footage: list[str],
        day: str = NIGHT["day"],
        time_zone: str = NIGHT["time_zone"],
        classes: list[str] = CLASSES,
        student: str = RUN.student.name,
        student_weights: str = RUN.student.weights,
        teacher: str = RUN.teacher.name,
        teacher_weights: str = RUN.teacher.weights,
        frames_per_second: float = RUN.extract_frames.frames_per_second,
        pool: int = RUN.cull_confidence.budget,
        pool_strategy: str = RUN.cull_confidence.strategy,
        target: int = RUN.cull_precision.budget,
        target_strategy: str = RUN.cull_precision.strategy,
        epochs: int = RUN.train_student.recipe.epochs,
        control_arm: bool = RUN.control_arm,
        registry: str = "s3://culling/registry",
        promotion: str = RUN.promote_student.mode,
        fresh: str = NIGHT["fresh"],
        extract_frames_config: dict[str, Any] = REST["extract-frames"],
        recall_replay_config: dict[str, Any] = REST["recall-replay"],
        score_frames_config: dict[str, Any] = REST["score-frames"],
        cull_confidence_config: dict[str, Any] = REST["cull-confidence"],
        label_frames_config: dict[str, Any] = REST["label-frames"],
        cull_precision_config: dict[str, Any] = REST["cull-precision"],
        choose_resolution_config: dict[str, Any] = REST["choose-resolution"],
        train_student_config: dict[str, Any] = REST["train-student"],
        train_control_config: dict[str, Any] = REST["train-control"],
        evaluate_student_config: dict[str, Any] = REST["evaluate-student"],
        promote_student_config: dict[str, Any] = REST["promote-student"],
        keep_night_config: dict[str, Any] = REST["keep-night"],
        render_report_config: dict[str, Any] = REST["render-report"],
    ):
        """Specialise a student for one camera.

        Args:
            camera: The camera's name in the registry: lower-case letters, digits and dashes.
            footage: Videos or prefixes in time order, for example ["s3://footage/entrance/{day}/"].
            day: What {day} stands for, as 2026-11-20; empty: the day before the scheduled start, where the camera is.
            time_zone: The camera's, for that, for example Europe/Berlin.
            classes: What to detect: names of the teacher's classes, or NAME=THEIRS+THEIRS to join several.
            student: The detector that learns.
            student_weights: Its weights: a torchvision name, a file in the image, or s3://bucket/key; empty: its own.
            teacher: The detector that is believed: a name, or the path of a .yaml that describes an exported network.
            teacher_weights: Its weights, as for the student.
            frames_per_second: Frames taken from each second of footage.
            pool: Most frames that the confidence cull passes on to the teacher.
            pool_strategy: How those frames are chosen, before the teacher has seen any.
            target: Most frames to train on (the paper's n).
            target_strategy: How those frames are chosen, with the teacher's labels at hand.
            epochs: Passes over the frames trained on.
            control_arm: Whether to train on as many frames drawn by lot too, and say what culling was worth.
            registry: Where the cameras' models are kept.
            promotion: auto: a better student takes over; dry-run: only say whether it would; manual: a person decides.
            fresh: A word that was not there before makes everything anew, whatever KFP's cache holds.
            extract_frames_config: Frame extraction: all else.
            recall_replay_config: Earlier nights: all else.
            score_frames_config: Student scoring: all else.
            cull_confidence_config: Confidence cull: all else.
            label_frames_config: Teacher labeling: all else.
            cull_precision_config: Precision cull: all else.
            choose_resolution_config: optResolution: all else.
            train_student_config: Student training: all else.
            train_control_config: Control arm: all else.
            evaluate_student_config: Evaluation: all else.
            promote_student_config: Promotion: all else.
            keep_night_config: Keeping the night: all else.
            render_report_config: Report: all else.
        """
        look = {"classes": classes, "student": student, "student_weights": student_weights}
        believe = {"classes": classes, "teacher": teacher, "teacher_weights": teacher_weights}
        shelf = {"camera": camera, "registry": registry}

        # Not cached, as the same address may hold other footage tomorrow; its outputs are, by value, what extraction's
        # place in the cache goes by.
        night = {"day": day, "time_zone": time_zone, "scheduled_utc": dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER}
        find = find_footage(footage=footage, fresh=fresh, **night)
        found = on(find, "Footage", "small", cached=False).outputs
        film = {"footage": found["found"], "footage_version": found["version"]}
        extract = extract_frames(**film, frames_per_second=frames_per_second, config=extract_frames_config)
        frames = on(extract, "Frame extraction", "decode").outputs
        # Not cached, nor are evaluation, promotion and keeping the night: what is in the registry counts.
        back = recall_replay(**frames, classes=classes, config=recall_replay_config, **shelf)
        old = on(back, "Earlier nights", "small", cached=False).outputs
        nights = {"replay": old["replay"], "replay_frames": old["frames"], "replay_labels": old["labels"]}
        score = score_frames(frames=frames["pool"], config=score_frames_config, **look)
        detections = on(score, "Student scoring", "network").outputs["detections"]
        confidence = cull_confidence(
            detections=detections, pool=pool, strategy=pool_strategy, config=cull_confidence_config
        )
        selection = on(confidence, "Confidence cull", "small").outputs["selection"]
        pooled = {"frames": frames["pool"], "detections": detections}
        label = label_selection(**pooled, selection=selection, config=label_frames_config, **believe)
        labels = on(label, "Teacher labeling", "network").outputs["labels"]
        compared = {"detections": detections, "labels": labels, "selection": selection}
        precision = cull_precision(**compared, target=target, strategy=target_strategy, config=cull_precision_config)
        kept = on(precision, "Precision cull", "small").outputs["kept"]
        culled = {"frames": frames["pool"], "selection": kept, "labels": labels}
        choose = choose_resolution(**culled, config=choose_resolution_config, **look)
        resolution = on(choose, "optResolution", "network").outputs["resolution"]
        learn = {"resolution": resolution, "epochs": epochs, "config": train_student_config}
        train = train_student(**culled, **learn, **nights, **(look | believe))
        model = on(train, "Student training", "train").outputs["model"]
        same = {"label_frames_config": label_frames_config, "train_student_config": train_student_config}
        lot = {
            **pooled,
            "selection": kept,
            "resolution": resolution,
            "epochs": epochs,
            **same,
            **nights,
        }
        draw = train_control(**lot, control_arm=control_arm, config=train_control_config, **(look | believe))
        control = on(draw, "Control arm", "train").outputs["control"]
        judge = label_heldout(frames=frames["heldout"], config=label_frames_config, **believe)
        heldout_labels = on(judge, "Teacher labeling (held-out)", "network").outputs["labels"]
        held = {"frames": frames["heldout"], "labels": heldout_labels, "model": model, "control": control, **nights}
        evaluate = evaluate_student(**held, config=evaluate_student_config, **(look | believe), **shelf)
        scores = on(evaluate, "Evaluation", "network", cached=False).outputs
        inputs = {"model": model, "metrics": scores["metrics"], "promotion": promotion, **nights}
        inputs |= {"frames": frames["heldout"], "labels": heldout_labels, "trained": scores["trained"]}
        promote = promote_student(**inputs, config=promote_student_config, **shelf)
        # With room for a network: where another run has promoted meanwhile, its champion is looked at here.
        decision = on(promote, "Promotion", "decode", cached=False).outputs["decision"]
        tonight = {"frames": frames["pool"], "labels": labels, "kept": kept, "decision": decision}
        tonight |= {"heldout": frames["heldout"], "heldout_labels": heldout_labels}
        keep = keep_night(**tonight, config=keep_night_config, **shelf)
        on(keep, "Keeping the night", "small", cached=False)
        made = {"kept": kept, "resolution": resolution, "model": model, "control": control, "decision": decision}
        made |= {**frames, **scores, **compared, "heldout_labels": heldout_labels}
        on(render_report(**made, camera=camera, config=render_report_config), "Report", "small")

    return specialise_camera
