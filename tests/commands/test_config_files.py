"""Config files that somebody else wrote are read as plain values, or refused in one line."""

import pytest

from commands import config_files
from runtime import yaml_files
from runtime.errors import UserError


def nested(first: str, value: str, levels: int) -> str:
    """Writes a line for each level, which has an alias of the last one."""
    lines = [f"a{k}: &a{k} {value.format(f'*a{k - 1}')}\n" for k in range(1, levels)]
    return f"a0: &a0 {first}\n" + "".join(lines)


REFUSED = {
    "[1, 2]": "expected options by name",
    "5": "expected options by name",
    "": "expected options by name",
    "a: 1\n b: 2": ":2: not valid YAML",
    "a: *b": ":1: not valid YAML, found undefined alias",
    "a: !!bool x": "not a YAML file in UTF-8 ('x')",
    "a: !!python/name:os.system": ":1: not valid YAML, could not determine a constructor",
    "a: " + 3000 * "[": "",  # libyaml and PyYAML say it in other words
    "a: " + 150 * "[" + 150 * "]": "nested more than 100 deep",
    "&a {b: *a}": "nested more than 100 deep",
    nested("[x]", "[{0}]", 150): "nested more than 100 deep",
    nested("[x]", "[{0}, {0}, {0}]", 30): "stand for more than 100,000 values",
    nested("{x: 1}", "{{<<: [{0}, {0}]}}", 40): "stand for more than 100,000 values",
    "a: &a " + 90_000 * "x" + "\nb: [" + 200 * "*a, " + "]": "or 10,000,000 letters",
    "a: 1" + 300_000 * ":59": "more than 300 digits",
    "a: 0x" + 20_000 * "f": "more than 300 digits",
    "#" * 1_000_001: "larger than 1 MB",
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.items(), ids=range(len(REFUSED)))
def test_a_config_that_is_not_safe_to_walk_is_one_line(text, reason, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        yaml_files.read(file)
    line = str(refused.value)
    assert line.startswith(str(file))
    assert len(line.splitlines()) == 1
    assert reason in line


def test_a_config_that_is_no_text_or_cannot_be_read_is_one_line(tmp_path):
    file = tmp_path / "config.yaml"
    for content in (bytes(range(256)), "a: 1".encode("utf-16")):
        file.write_bytes(content)
        with pytest.raises(UserError, match="not a YAML file in UTF-8"):
            yaml_files.read(file)
    with pytest.raises(UserError, match=r"none.yaml: cannot be read \(No such file"):
        yaml_files.read(tmp_path / "none.yaml")


def test_aliases_and_merged_keys_are_read(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("a: &a {x: 1, y: [2]}\nb: {<<: *a, x: 3}\ntrainer: {max_time: 00:01:00:00}")
    config_files.check_configs([file])  # `x` is in `b` once
    found = yaml_files.read(file)
    assert found["b"] == {"x": 3, "y": [2]}


def test_a_config_that_replaces_a_model_says_so(tmp_path, recwarn):
    texts = {
        "a": "model: GAN\ndata: Iris",
        "b": "model: {class_path: models.GAN}",
        "c": "model: Flow",
    }
    files = [tmp_path / f"{name}.yaml" for name in texts]
    for file, text in zip(files, texts.values(), strict=True):
        file.write_text(text)
    config_files.warn_of_replaced_parts(files[:2])
    assert not recwarn.list
    config_files.warn_of_replaced_parts(files)
    assert "c.yaml: its model Flow replaces GAN of an earlier config." in str(recwarn.pop().message)
    assert not recwarn.list
