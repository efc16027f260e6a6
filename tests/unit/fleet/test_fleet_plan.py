"""The plan alone: wanted and found in, changes out. The cluster's side is tests/cluster/."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dataset_culling.errors import ConfigError
from dataset_culling.fleet.plan import HANDOVER, Wanted, begin_of, make_plan, mark_of
from dataset_culling.kubeflow.compiled import differing
from dataset_culling.kubeflow.runs import RecurringRun

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WANT = Wanted(
    camera="yard",
    fleet="lot",
    cron="0 30 1 * * *",
    first_start_utc=NOON + timedelta(hours=13, minutes=30),
    local="02:30 Europe/Berlin",
    parameters={"camera": "yard", "target": 64},
    version="specialise-camera-0123",
)


def found(want: Wanted = WANT, **changes) -> RecurringRun:
    """A recurring run as `want` would have been made."""
    run = RecurringRun(
        id="r1",
        name=want.name,
        description=want.description,
        enabled=not want.paused,
        cron=want.cron,
        max_concurrency=1,
        no_catchup=True,
        version_id="v1",
        parameters={"camera": "yard", "target": 64.0},  # the server's numbers
        service_account="pipeline-runner",  # the server's default, where none is wanted
    )
    return replace(run, **changes)


def plan(wanted, runs, live=()):
    return make_plan(wanted, runs, live, fleet="lot", version_id="v1")


def only(wanted, runs, live=()):
    (change,) = plan(wanted, runs, live).changes
    return change


def test_make_plan__absent_and_present():
    assert only({"yard": WANT}, []).kind == "create"
    assert only({"yard": WANT}, [found()]).kind == "unchanged"
    assert plan({"yard": WANT}, [found()]).is_settled
    assert only({}, [found()]).kind == "remove"


def test_make_plan__a_change_of_what_is_wanted_is_a_replacement():
    later = replace(WANT, cron="0 30 0 * * *", parameters={"camera": "yard", "target": 32})
    change = only({"yard": later}, [found()], live=["r1"])
    assert (change.kind, change.keep, [run.id for run in change.old], set(change.live)) == (
        "replace",
        None,
        ["r1"],
        {"r1"},
    )
    assert change.reasons == ("cron 0 30 1 * * * -> 0 30 0 * * *", "parameter target")
    assert only({"yard": replace(WANT, revision=2)}, [found()]).reasons == ("revision",)


@pytest.mark.parametrize(
    ("drifted", "reason"),
    [
        ({"cron": "0 0 5 * * *"}, "cron 0 0 5 * * * -> 0 30 1 * * *"),
        ({"max_concurrency": 4}, "max_concurrency is 4, not 1"),
        ({"no_catchup": False}, "no_catchup is off"),
        ({"version_id": "v0"}, "pipeline -> specialise-camera-0123"),
        ({"parameters": {"camera": "yard", "target": 65}}, "parameter target"),
    ],
)
def test_make_plan__drift_is_named_and_replaced(drifted, reason):
    change = only({"yard": WANT}, [found(**drifted)])
    assert (change.kind, change.reasons, change.keep) == ("drifted", (reason,), None)


def test_make_plan__the_file_is_the_truth_about_pausing():
    assert only({"yard": WANT}, [found(enabled=False)]).kind == "resume"
    paused = replace(WANT, paused=True)
    assert paused.digest == WANT.digest  # so that pausing is no replacement
    assert only({"yard": paused}, [found()]).kind == "pause"
    assert only({"yard": paused}, [found(enabled=False)]).kind == "unchanged"


def test_make_plan__an_interrupted_replacement_is_finished():
    old = found(replace(WANT, revision=7), id="r0")
    new = found(id="r2", enabled=False)
    for before in (old, replace(old, enabled=False)):  # died before or after the old one was switched off
        change = only({"yard": WANT}, [before, new])
        assert (change.kind, change.keep.id, [run.id for run in change.old]) == ("replace", "r2", ["r0"])


def test_make_plan__of_two_that_are_right_the_enabled_one_stays():
    first, second = found(id="r1", enabled=False), found(id="r2", created_utc=NOON)
    change = only({"yard": WANT}, [first, second])
    assert (change.keep.id, [run.id for run in change.old]) == ("r2", ["r1"])


def test_make_plan__only_a_live_run_is_left_to_wait_for():
    old = found(replace(WANT, revision=7), id="r0", enabled=False)
    assert only({"yard": WANT}, [old, found()], live=["r0"]).kind == "waiting"
    assert only({"yard": WANT}, [old, found()]).kind == "replace"
    assert only({"yard": WANT}, [old, found(enabled=False)], live=["r0"]).kind == "replace"  # something is left to do
    assert only({}, [old], live=["r0"]).kind == "waiting"
    assert only({}, [replace(old, enabled=True)], live=["r0"]).kind == "remove"


def test_make_plan__others_are_left_alone():
    of_another_fleet = found(replace(WANT, fleet="other"))
    by_hand = found(description="made in the UI", id="r9")
    made = plan({"yard": WANT}, [found(), of_another_fleet, by_hand])
    assert made.is_settled
    assert [run.id for run in made.foreign] == ["r9"]
    assert mark_of(by_hand) is None
    assert mark_of(found()).digest == WANT.digest


def test_begin_of__waits_for_a_live_run():
    assert begin_of(WANT, busy=False, now_utc=NOON) == WANT.first_start_utc - timedelta(seconds=30)
    at_one = NOON + timedelta(hours=13)
    assert begin_of(WANT, busy=True, now_utc=at_one) == at_one + HANDOVER  # not in half an hour


def test_differing__only_what_is_not_the_default():
    defaults = {"camera": None, "target": 256.0, "epochs": 20.0}
    assert differing({"camera": "yard", "target": 256, "epochs": 30}, defaults, where="x") == {
        "camera": "yard",
        "epochs": 30,
    }
    with pytest.raises(ConfigError, match="compiled without the parameter 'pool'"):
        differing({"pool": 1}, defaults, where="x")
