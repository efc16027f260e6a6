from __future__ import annotations

import hashlib
import io
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import Weights, WeightsEnum
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork

from dataset_culling.detectors import weights
from dataset_culling.detectors.weights import (
    Found,
    current_names,
    detector_state,
    load_state,
    read_weights,
    torchvision_state,
)
from dataset_culling.errors import WeightsError


class Hostile:
    """A pickle that makes a folder when it is loaded carelessly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


# -- files


@pytest.mark.parametrize("writer", [pytest.param(torch.save, id="zip"), pytest.param(pickle.dump, id="bare pickle")])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_read_weights__code_is_refused_and_not_run(tmp_path, writer):
    made = tmp_path / "made by the pickle"
    path = tmp_path / "hostile.pth"
    with path.open("wb") as file:
        writer({"model": Hostile(made)}, file)
    with pytest.raises(WeightsError, match=r"hostile\.pth: this pickle runs code when loaded, which is refused"):
        read_weights(path)
    assert not made.exists()
    with path.open("rb") as file:
        torch.load(file, weights_only=False) if writer is torch.save else pickle.load(file)
    assert made.is_dir(), "the pickle would have done harm, so the test above proves something"


def test_read_weights__unwraps_a_checkpoint(tmp_path):
    torch.save({"start_epoch": 3, "model": {"a": torch.ones(2)}, "optimizer": {"lr": 0.1}}, tmp_path / "c.pth")
    state, metadata = read_weights(tmp_path / "c.pth")
    assert list(state) == ["a"]
    assert metadata == {}


def test_read_weights__safetensors_with_metadata(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "m.safetensors", metadata={"class_names": '["car"]'})
    state, metadata = read_weights(tmp_path / "m.safetensors")
    assert state["a"].tolist() == [1, 1]
    assert weights.class_names_of(metadata) == ("car",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(
            "t.pth",
            b"just some text, no weights",
            r"not \.safetensors or a file of torch\.save.*, or damaged",
            id="text",
        ),
        pytest.param("e.pth", b"", r"not \.safetensors or a file of torch\.save.*, or damaged", id="empty"),
        pytest.param("t.safetensors", b"just some text", "expected safetensors, found", id="text as safetensors"),
    ],
)
def test_read_weights__what_is_no_weights_file_is_explained(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_read_weights__truncated_file(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(1000)}, buffer)
    (tmp_path / "t.pth").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(tmp_path / "t.pth")


def test_read_weights__missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pth: no such weights file"):
        read_weights(tmp_path / "nowhere.pth")


# -- into a module


def test_load_state__wrong_shape_changes_nothing():
    module = nn.Linear(2, 3)
    before = module.weight.detach().clone()
    with pytest.raises(WeightsError, match=r"here: .* 1 of another shape \(first: bias: \(4,\) for \(3,\)\)"):
        load_state(module, {"weight": torch.zeros(3, 2), "bias": torch.zeros(4)}, where="here")
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize(
    ("module", "prefix", "old_names"),
    [
        pytest.param(
            FeaturePyramidNetwork([4, 8], 4),
            "backbone.fpn.",
            [f"{block}.{row}.{part}" for block in ("inner_blocks", "layer_blocks") for row in (0, 1)
             for part in ("weight", "bias")],
            id="pyramid",
        ),
        pytest.param(
            RPNHead(4, 3),
            "rpn.head.",
            [f"{layer}.{part}" for layer in ("conv", "cls_logits", "bbox_pred") for part in ("weight", "bias")],
            id="region proposals",
        ),
        pytest.param(
            RetinaNetHead(4, 3, 2),
            "head.",
            [f"{head}.{layer}.{part}"
             for head, last in (("classification_head", "cls_logits"), ("regression_head", "bbox_reg"))
             for layer in (last, "conv.0", "conv.2", "conv.4", "conv.6") for part in ("weight", "bias")],
            id="RetinaNet's heads",
        ),
    ],
)  # fmt: skip
def test_current_names__as_torchvision_renames_them(module, prefix, old_names):
    """Published files have old names; torchvision's own loader is the judge of what they mean."""
    new_names = list(module.state_dict())
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    by_shape = current_names({prefix + name: name for name in old_names})
    assert sorted(by_shape) == sorted(prefix + name for name in new_names)
    old = {old_name: torch.rand(shapes[new.removeprefix(prefix)]) for new, old_name in by_shape.items()}
    module.load_state_dict(dict(old))  # renames on its own
    ours = current_names({prefix + name: value for name, value in old.items()})
    assert all(torch.equal(ours[prefix + name], value) for name, value in module.state_dict().items())


def test_current_names__todays_names_stay():
    names = ["pyramid.inner_blocks.0.0.weight", "rpn.head.conv.0.0.bias", "head.regression_head.conv.3.0.weight"]
    assert list(current_names(dict.fromkeys(names))) == names


# -- published weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


class _Publisher(BaseHTTPRequestHandler):
    content = b""
    promised = 0
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(self.promised))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[ThreadingHTTPServer]:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(3.0)}, buffer)
    _Publisher.content, _Publisher.promised, _Publisher.asked = buffer.getvalue(), len(buffer.getvalue()), []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Publisher) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _published(port: int, digest: str = "") -> type[WeightsEnum]:
    """An enumeration such as torchvision's, whose file lies on this machine."""
    url = f"http://127.0.0.1:{port}/models/net-{digest or hashlib.sha256(_Publisher.content).hexdigest()[:8]}.pth"
    return WeightsEnum("Published", {"COCO_V1": Weights(url=url, transforms=nn.Identity, meta={})})  # type: ignore[call-overload,no-any-return]


def test_torchvision_state__is_downloaded_once(cache, publisher):
    published = _published(publisher.server_address[1])
    for _ in range(2):
        assert torchvision_state(published, "COCO_V1", detector="net")["a"].tolist() == [0, 1, 2]
    assert len(_Publisher.asked) == 1
    assert [path.suffix for path in cache.iterdir()] == [".pth"]


def test_torchvision_state__wrong_bytes_are_not_kept(cache, publisher):
    published = _published(publisher.server_address[1], digest="0123456789")
    with pytest.raises(WeightsError, match=r"sha256 begins with 0123456789, found .* It was not kept"):
        torchvision_state(published, "COCO_V1", detector="net")
    assert list(cache.iterdir()) == []


def test_torchvision_state__a_wrong_file_put_there_by_hand_stays(cache, publisher):
    published = _published(publisher.server_address[1])
    cache.mkdir(parents=True)
    mine = cache / published["COCO_V1"].url.rsplit("/", 1)[-1]
    mine.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="Delete it and run again"):
        torchvision_state(published, "COCO_V1", detector="net")
    assert mine.exists()
    assert _Publisher.asked == []


def test_torchvision_state__a_broken_connection_leaves_nothing(cache, publisher):
    _Publisher.promised *= 2
    with pytest.raises(WeightsError, match=r"the download failed \(the connection broke off"):
        torchvision_state(_published(publisher.server_address[1]), "COCO_V1", detector="net")
    assert list(cache.iterdir()) == []


def test_torchvision_state__no_network_names_the_file_and_three_ways(cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(WeightsError) as caught:
        torchvision_state(_published(port, digest="89abcdef"), "COCO_V1", detector="net")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "net: the weights (net-89abcdef.pth) are not here",
        str(cache),
        "TORCH_HOME",
        "--student-weights",
        "s3://",
    ):
        assert part in message


def test_torchvision_state__a_silent_server_is_given_up(cache, monkeypatch):
    monkeypatch.setattr(weights, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(WeightsError, match="timed out"):
        torchvision_state(_published(silent.getsockname()[1], digest="89abcdef"), "COCO_V1", detector="net")
    assert list(cache.iterdir()) == []


# -- what `weights` means


def test_detector_state__none_is_random():
    assert detector_state("net", "none", None) == Found(None)


def test_detector_state__a_mistyped_name_is_no_path(cache):
    with pytest.raises(
        WeightsError, match=r"expected a weights file or one of COCO_V1, none, found 'COCO_1'.* Did you"
    ):
        detector_state("net", "COCO_1", _published(1))


def test_detector_state__empty_takes_the_file_of_that_name_in_the_cache(cache):
    with pytest.raises(WeightsError, match=r"net: the weights \(net\.safetensors or net\.pth\) are not here"):
        detector_state("net", "", None)
    cache.mkdir(parents=True)
    save_file({"a": torch.ones(1)}, cache / "net.safetensors", metadata={"class_names": '["car", "person"]'})
    found = detector_state("net", "", None)
    state, names = found.state, found.class_names
    assert state is not None
    assert names == ("car", "person")
