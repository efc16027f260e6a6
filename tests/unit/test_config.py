"""Configurations and the errors people read."""

from __future__ import annotations

import pytest
from pydantic import Field

from dataset_culling.config import StageConfig, merge, parse_config, parse_config_json, read_yaml
from dataset_culling.errors import ConfigError


class Inner(StageConfig):
    epochs: int = Field(20, ge=1)


class Outer(StageConfig):
    budget: int = Field(64, ge=1)
    names: tuple[str, ...] = ("a",)
    recipe: Inner = Inner()


def test_parse_config__kfps_floats_are_integers_again():
    assert parse_config(Outer, {"budget": 5.0, "recipe": {"epochs": 2.0}}, where="x").recipe.epochs == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"bugdet": 3}, r"'bugdet' is an unknown key. Did you mean 'budget'\?", id="typo"),
        pytest.param(
            {"recipe": {"epoch": 3}}, r"'recipe.epoch' is an unknown key. Did you mean 'epochs'\?", id="nested"
        ),
        pytest.param({"budget": 0}, "'budget': wanted greater than or equal to 1, found 0", id="bound"),
        pytest.param({"budget": "many"}, "'budget': wanted a valid integer.*found 'many'", id="type"),
    ],
)
def test_parse_config__one_line_says_where_what_and_what_was_there(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(Outer, values, where="night.yaml")
    assert str(caught.value).startswith("night.yaml: ")
    assert "\n" not in str(caught.value)


def test_parse_config_json__no_json_is_one_line():
    with pytest.raises(ConfigError, match="expected a JSON object"):
        parse_config_json(Outer, "{budget: 3", where="--config")


def test_to_json__equal_configs_give_equal_text():
    assert Outer(budget=3).to_json() == parse_config_json(Outer, Outer(budget=3).to_json(), where="x").to_json()


def test_merge__mappings_merge_and_lists_replace():
    merged = merge({"a": {"b": 1, "c": 2}, "d": [1, 2]}, {"a": {"b": 3}, "d": [9]})
    assert merged == {"a": {"b": 3, "c": 2}, "d": [9]}


@pytest.mark.parametrize(
    ("text", "message"), [("a: [1", "line 2: expected YAML"), ("- 1", "expected 'key: value' lines, found a list")]
)
def test_read_yaml__says_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "x.yaml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        read_yaml(file)


def test_read_yaml__missing(tmp_path):
    with pytest.raises(ConfigError, match="expected a YAML file, found No such file"):
        read_yaml(tmp_path / "none.yaml")
