"""KFP adapter of `culling footage`, which is no stage: it reads no video, it says which videos there are."""

from kfp import dsl

from dataset_culling.kubeflow.container import IMAGE


@dsl.container_component
def find_footage(
    found: dsl.OutputPath(list[str]),  # type: ignore[valid-type]
    version: dsl.OutputPath(str),  # type: ignore[valid-type]
    footage: list[str],
    day: str,
    time_zone: str,
    scheduled_utc: str,
    fresh: str,
) -> dsl.ContainerSpec:
    """Say which day's footage it is, and what the store holds of it.

    Both come out as parameters, which KFP's cache compares by value: a task that takes them is found in the cache as
    long as the footage is what it was, though this one runs every time.

    Args:
        footage: Videos, folders or s3:// prefixes; {day} stands for the day.
        day: 2026-11-20; empty: the day before the scheduled start, where the camera stands.
        time_zone: IANA time zone of the camera.
        scheduled_utc: When the run was to start.
        fresh: Part of the version: a new word makes everything anew.

    Returns:
        found: The footage with its day.
        version: A digest of the names, sizes and etags of all files.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["culling", "footage"],
        args=[
            "--sources", footage, f"--day={day}", f"--time-zone={time_zone}", f"--scheduled-utc={scheduled_utc}",
            f"--fresh={fresh}", "--found-out", found, "--version-out", version,
        ],
    )  # fmt: skip
