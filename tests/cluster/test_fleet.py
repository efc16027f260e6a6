"""`culling fleet` against a server that speaks KFP's v2beta1 API, through kfp's real client."""

from __future__ import annotations

import pytest

from kfp_fixtures import cameras, culling, server  # noqa: F401 - fixtures
from kfp_server import kfp_server

LISTS = "GET /apis/v2beta1/recurringruns$"
CREATE = "POST /apis/v2beta1/recurringruns$"


def kinds(said) -> dict[str, str]:
    return {each["camera"]: each["kind"] for each in said.json["changes"]}


def test_apply__makes_what_the_file_wants_and_then_nothing(server, culling, cameras):
    file = cameras("entrance", "yard", yard="    paused: true\n")
    planned = culling("fleet", "plan", file, "--json")
    assert planned.code == 10
    assert kinds(planned) == {"entrance": "create", "yard": "create"}
    assert server.changing() == []  # a plan only looks

    assert culling("fleet", "apply", file).code == 0
    made = {each["display_name"]: each for each in server.recurring.values()}
    assert set(made) == {"lot-entrance", "lot-yard"}
    one = made["lot-entrance"]
    assert one["max_concurrency"] == "1"
    assert one["no_catchup"] is True
    assert one["mode"] == "ENABLE"
    assert made["lot-yard"]["mode"] == "DISABLE"
    assert len(one["trigger"]["cron_schedule"]["cron"].split()) == 6
    assert one["trigger"]["cron_schedule"]["start_time"].endswith(("Z", "+00:00"))
    given = one["runtime_config"]["parameters"]
    assert given["camera"] == "entrance"
    assert given["footage"] == ["s3://footage/entrance/"]
    assert "teacher_weights" not in given  # the pipeline's default is not said again
    assert server.experiments[one["experiment_id"]]["display_name"] == "lot-entrance"
    assert one["pipeline_version_reference"]["pipeline_version_id"] in server.versions

    before = len(server.changing())
    again = culling("fleet", "apply", file)
    assert (again.code, len(server.changing())) == (0, before), again.out
    assert culling("fleet", "plan", file).code == 0


def test_apply__a_change_never_ends_a_live_run(server, culling, cameras):
    culling("fleet", "apply", cameras("entrance"))
    (old,) = server.recurring
    night = server.add_run(old)

    file = cameras("entrance", entrance="    hour: 4\n")
    said = culling("fleet", "apply", file)
    assert said.code == 11
    assert "waiting" in said.out
    assert server.recurring[old]["mode"] == "DISABLE"
    assert server.killed == []
    (new,) = server.enabled()
    assert new["recurring_run_id"] != old
    assert [kinds(culling("fleet", "plan", file, "--json"))["entrance"], culling("fleet", "apply", file).code] == [
        "waiting",
        11,
    ]

    server.runs[night].update(state="SUCCEEDED", finished_at="2026-11-21T03:00:00Z")
    assert culling("fleet", "apply", file).code == 0
    assert list(server.recurring) == [new["recurring_run_id"]]
    assert server.killed == []


def test_apply__removes_a_camera_that_left_the_file_when_it_is_idle(server, culling, cameras):
    culling("fleet", "apply", cameras("entrance", "yard"))
    yard = next(key for key, each in server.recurring.items() if each["display_name"] == "lot-yard")
    night = server.add_run(yard, state="PENDING")
    file = cameras("entrance")
    assert culling("fleet", "apply", file).code == 11
    assert server.recurring[yard]["mode"] == "DISABLE"
    server.runs[night]["state"] = "FAILED"
    assert culling("fleet", "apply", file).code == 0
    assert yard not in server.recurring
    assert server.killed == []


@pytest.mark.parametrize("dies_at", range(1, 8))
def test_apply__converges_after_a_death_at_any_call(server, culling, cameras, monkeypatch, dies_at):
    """The server refuses everything from its n-th changing call on, as if the process had died there; then a rerun."""
    culling("fleet", "apply", cameras("entrance"))
    (old,) = server.recurring
    file = cameras("entrance", "yard", entrance="    hour: 4\n")
    monkeypatch.setenv("CULLING_KFP_RETRY_S", "0")
    seen = len(server.requests)
    real, calls = server.answer, 0

    def dying(method, *rest):
        nonlocal calls
        calls += method != "GET"
        if calls >= dies_at:
            raise ConnectionAbortedError
        return real(method, *rest)

    server.answer = dying
    first = culling("fleet", "apply", file, "--workers", "1")
    server.answer = real
    assert len(server.requests) > seen
    assert first.code in (0, 6)
    per_camera = [each["display_name"] for each in server.enabled()]
    assert len(per_camera) == len(set(per_camera))  # never two schedules on for one camera
    monkeypatch.setenv("CULLING_KFP_RETRY_S", "60")
    assert culling("fleet", "apply", file).code == 0
    assert culling("fleet", "plan", file).code == 0
    assert sorted(each["display_name"] for each in server.enabled()) == ["lot-entrance", "lot-yard"]
    assert len(server.recurring) == 2
    assert old not in server.recurring


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
@pytest.mark.parametrize("what", ["recurringruns$", "experiments$", "pipelines$", "pipelines/upload_version$"])
def test_apply__a_lost_answer_makes_nothing_twice(server, culling, cameras, what, after):
    server.fail(f"POST /apis/v2beta1/{what}", 503, times=2, after=after)
    assert culling("fleet", "apply", cameras("entrance")).code == 0
    assert [len(each) for each in (server.recurring, server.experiments, server.pipelines, server.versions)] == [
        1,
        1,
        1,
        1,
    ]


def test_apply__waits_as_long_as_a_busy_server_asks(server, culling, cameras):
    server.fail(LISTS, 429, times=1, **{"Retry-After": "1"})
    server.fail(LISTS, 502, times=2)
    assert culling("fleet", "apply", cameras("entrance")).code == 0
    assert len(server.recurring) == 1


def test_apply__one_refused_camera_does_not_stop_the_others(server, culling, cameras):
    file = cameras("entrance", "yard", "roof")
    server.fail(CREATE, 400, times=1)
    said = culling("fleet", "apply", file)
    assert said.code == 6
    assert "400 injected" in said.err
    assert said.err.count("\n") == 1
    assert len(server.recurring) == 2
    assert culling("fleet", "apply", file).code == 0
    assert len(server.recurring) == 3


def test_plan__drift_in_the_cluster_is_shown_and_put_right(server, culling, cameras):
    file = cameras("entrance", "yard", "roof")
    culling("fleet", "apply", file)
    by_name = {each["display_name"]: each for each in server.recurring.values()}
    by_name["lot-entrance"].update(mode="DISABLE", status="DISABLED")  # switched off in the UI
    by_name["lot-yard"]["trigger"]["cron_schedule"]["cron"] = "0 0 5 * * *"
    said = culling("fleet", "plan", file, "--json")
    assert said.code == 10
    assert kinds(said) == {"entrance": "resume", "yard": "drifted", "roof": "unchanged"}
    status = culling("fleet", "status", file)
    assert status.code == 10
    assert "cron 0 0 5 * * * ->" in status.out
    assert culling("fleet", "apply", file).code == 0
    assert culling("fleet", "plan", file).code == 0
    assert len(server.enabled()) == 3


def test_plan__sees_every_page(server, culling, cameras):
    server.page_size = 3
    names = [f"camera-{number}" for number in range(11)]
    assert culling("fleet", "apply", cameras(*names)).code == 0
    assert len(server.recurring) == 11
    assert culling("fleet", "plan", cameras(*names)).code == 0


def test_apply__calls_are_parallel_and_bounded(server, culling, cameras):
    server.delay_s = 0.02
    names = [f"camera-{number}" for number in range(12)]
    assert culling("fleet", "apply", cameras(*names), "--workers", "3").code == 0
    assert 2 <= server.most_at_once <= 3


def test_apply__a_cut_off_file_does_not_empty_the_fleet(server, culling, cameras):
    names = [f"camera-{number}" for number in range(12)]
    culling("fleet", "apply", cameras(*names))
    said = culling("fleet", "apply", cameras(*names[:4]))
    assert said.code == 2
    assert "8 of 12 missing" in said.err
    assert len(server.recurring) == 12
    assert culling("fleet", "apply", cameras(*names[:4]), "--remove-many").code == 0
    assert len(server.recurring) == 4


def test_pause__in_the_file_and_in_the_cluster(server, culling, cameras):
    file = cameras("entrance", "yard")
    culling("fleet", "apply", file)
    assert culling("fleet", "pause", file, "entrance").code == 0
    assert [each["display_name"] for each in server.enabled()] == ["lot-yard"]
    assert culling("fleet", "plan", file).code == 0  # file and cluster agree
    assert culling("fleet", "resume", file, "entrance").code == 0
    assert len(server.enabled()) == 2
    assert culling("fleet", "plan", file).code == 0
    wrong = culling("fleet", "pause", file, "entranse")
    assert wrong.code == 2
    assert "Did you mean 'entrance'" in wrong.err


def test_status__schedule_next_start_and_last_run(server, culling, cameras):
    file = cameras("entrance", "yard", yard="    paused: true\n")
    culling("fleet", "apply", file)
    entrance = next(key for key, each in server.recurring.items() if each["display_name"] == "lot-entrance")
    server.add_run(entrance, state="FAILED")
    server.add_run(entrance, state="SUCCEEDED")
    said = culling("fleet", "status", file, "--json")
    assert said.code == 0
    one, two = said.json
    assert (one["schedule"], one["last_state"], two["schedule"], two["last_state"]) == ("on", "SUCCEEDED", "paused", "")
    cron = server.recurring[entrance]["trigger"]["cron_schedule"]["cron"].split()
    assert [int(part) for part in reversed(one["next_start_utc"][11:].split(":"))] == [int(part) for part in cron[:3]]


def test_apply__needs_no_id_of_the_pipeline_once_it_is_gone(server, culling, cameras):
    """Somebody deleted the pipeline: it is uploaded again, and the schedules are made for the new one."""
    file = cameras("entrance")
    culling("fleet", "apply", file)
    server.pipelines.clear(), server.versions.clear()
    assert kinds(culling("fleet", "plan", file, "--json")) == {"entrance": "drifted"}
    assert culling("fleet", "apply", file).code == 0
    (run,) = server.recurring.values()
    assert run["pipeline_version_reference"]["pipeline_version_id"] in server.versions


def test_apply__a_source_that_names_a_day_goes_to_the_pipeline_with_its_time_zone(server, culling, cameras):
    """Each run puts its own day in, from its scheduled start; the schedule need not be made anew for that."""
    file = cameras("entrance")
    file.write_text(file.read_text().replace("s3://footage/entrance/", "s3://footage/entrance/{day}/*.mp4"))
    assert culling("fleet", "apply", file).code == 0
    (run,) = server.recurring.values()
    given = run["runtime_config"]["parameters"]
    assert given["footage"] == ["s3://footage/entrance/{day}/*.mp4"]
    assert given["time_zone"] == "Europe/Berlin"
    assert "day" not in given
    assert culling("fleet", "plan", file).code == 0


def test_cluster__signing_in(monkeypatch, culling, cameras, tmp_path):
    file = cameras("entrance")
    with kfp_server(token="let-me-in-please", multi_user=True) as locked:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", locked.url)
        refused = culling("fleet", "plan", file)
        assert refused.code == 6
        assert "401" in refused.err
        assert refused.err.count("\n") == 1

        monkeypatch.setenv("CULLING_KFP_TOKEN", "let-me-in-please")
        assert "--namespace" in culling("fleet", "plan", file).err
        assert culling("fleet", "apply", file, "--namespace", "culling").code == 0
        (run,) = locked.recurring.values()
        assert run["namespace"] == "culling"

        monkeypatch.delenv("CULLING_KFP_TOKEN")
        mounted = tmp_path / "token"  # a service account's token, as the kubelet mounts and renews it
        mounted.write_text("let-me-in-please\n")
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(mounted))
        assert culling("fleet", "plan", file, "--namespace", "culling").code == 0
        mounted.write_text("expired")
        secret = culling("fleet", "plan", file, "--namespace", "culling")
        assert secret.code == 6
        assert "expired" not in secret.err


def test_cluster__a_sign_in_page_is_not_an_empty_cluster(server, culling, cameras):
    server.sign_in_page = True
    said = culling("fleet", "apply", cameras("entrance"))
    assert said.code == 6
    assert "text/html" in said.err
    assert server.changing() == []


def test_cluster__nobody_there(culling, cameras, monkeypatch):
    monkeypatch.setenv("CULLING_KFP_RETRY_S", "0.2")
    said = culling("fleet", "plan", cameras("entrance"), "--host", "http://127.0.0.1:9")
    assert said.code == 6
    assert "127.0.0.1:9" in said.err
    assert said.err.count("\n") == 1
