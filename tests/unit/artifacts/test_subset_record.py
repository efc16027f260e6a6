"""subset/1: what is written is read again; what is wrong is one line that says where."""

from __future__ import annotations

import json

import pytest
import torch

from dataset_culling.artifacts.header import Origin, verify
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.artifacts.subset import FILE, SubsetRecord, parse_subsets, subset_lines
from dataset_culling.errors import InputError
from dataset_culling.types import Subset

RECORD = SubsetRecord(
    {"method": "gradmatch", "share": 0.5},
    (
        Subset(0, (("frame 0", "frame 5"), ("frame 7",)), (1.2500000000000002, 0.75), True),
        Subset(5, (("frame 7",), ("frame 0",)), (1.0, 1.0), False),
    ),
)


def test_parse_subsets__reads_what_was_written_to_the_last_bit():
    text = subset_lines(RECORD)
    assert [list(json.loads(line)) for line in text.splitlines()] == [
        ["subset", "method", "share"], ["epoch", "batches", "weights"], ["epoch", "samples"],
    ]  # fmt: skip
    assert parse_subsets(text.splitlines(), where="r") == RECORD


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"subset": "subset/2"}'], r"^r, line 1: expected a subset/1, found another kind or version"),
        (["[]"], "line 1: .* no JSON object"),
        (["{"], "line 1: .* no JSON"),
        ([], "^r: expected a subset/1, found no subset in it"),
        (['{"subset": "subset/1"}'], "found no subset in it"),
        (['{"subset": "subset/1"}', '{"epoch": 0}'], "line 2: .*found no 'batches'"),
        (['{"subset": "subset/1"}', '{"epoch": 0, "samples": [3]}'], "line 2: .*3 where a frame's name was"),
        (['{"subset": "subset/1"}', '{"epoch": 0, "batches": [["a"]], "weights": []}'], "1 batches and 0 weights"),
        (['{"subset": "subset/1"}', '{"epoch": 0, "batches": [["a"]], "weights": [-1]}'], "not above 0"),
        (['{"subset": "subset/1"}', '{"epoch": Infinity, "samples": ["a"]}'], "line 2: .*infinity"),
    ],
)
def test_parse_subsets__refuses(lines, said):
    with pytest.raises(InputError, match=said) as caught:
        parse_subsets(lines, where="r")
    assert "\n" not in str(caught.value)


def test_write_model__subsets_are_one_of_its_files(tmp_path):
    card, state = ModelCard("tiny", ("person",), 288, {}), {"w": torch.zeros(2)}
    write_model(tmp_path / "model", card, state, Origin("train-student"), subsets=RECORD)
    assert FILE in verify(tmp_path / "model", "model/1").files
    assert (tmp_path / "model" / FILE).read_text(encoding="utf-8") == subset_lines(RECORD)
    write_model(tmp_path / "model", card, state, Origin("train-student"))  # again, without
    assert FILE not in verify(tmp_path / "model", "model/1").files
