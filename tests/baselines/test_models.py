"""Configurations: what ships loads, what is set arrives, what is wrong is named."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from baselines.adaptation.few_shot import CONFIG
from baselines.context import Context
from baselines.models import MODELS, ModelConfig, build_network, family, load_config
from baselines.statistical import STATISTICAL
from benchmark.errors import InputError

Command = Callable[..., CompletedProcess[str]]
CONFIGS = sorted(
    entry.name
    for entry in (resources.files("baselines") / "configs").iterdir()
    if entry.name.endswith(".toml")
)


OF_NETWORKS = [f"{name}.toml" for name in (*MODELS, "demo")]


def packaged(name: str) -> Path:
    return Path(str(resources.files("baselines") / "configs" / name))


def test_every_network_has_a_config_of_its_own() -> None:
    """`elsewhere train TASK MODEL` needs no option."""
    assert {f"{name}.toml" for name in MODELS} <= set(CONFIGS)
    for name in MODELS:
        assert isinstance(load_config(name), ModelConfig)


def test_every_config_is_of_something() -> None:
    """A network, a statistical model, the demo or fine-tuning: none is left over."""
    others = {f"{name}.toml" for name in STATISTICAL} | {CONFIG}
    assert set(CONFIGS) <= set(OF_NETWORKS) | others


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_packaged_configs_load_and_build(name: str) -> None:
    """Each is valid for the network that it is for."""
    model = name.removesuffix(".toml")
    model = model if model in MODELS else "srcnn"
    config = load_config(model, file=packaged(name))
    network = build_network(model, config, channels=3, factor=4)
    map_of_two = torch.zeros(1, 2, 32, 32)
    context = Context(static=map_of_two, place=map_of_two, clock=torch.zeros(1, 4, 1, 1))
    words = (context,) if getattr(network, "reads_context", False) else ()
    assert network(torch.zeros(1, 3, 8, 8), *words).shape == (1, 3, 32, 32)
    assert config.training.steps % config.training.validate_every == 0


def test_the_official_network_is_the_published_one() -> None:
    """Width 32, four blocks: 100,833 parameters with one channel."""
    network = build_network("srcnn", load_config("srcnn"), channels=1, factor=4)
    assert sum(parameter.numel() for parameter in network.parameters()) == 100_833


@pytest.mark.parametrize(
    ("setting", "section", "key", "value"),
    [
        ("training.steps=17", "training", "steps", 17),
        (" training.steps = 17 ", "training", "steps", 17),
        ("training.learning_rate=3e-4", "training", "learning_rate", 3e-4),
        ("training.weight_decay=0", "training", "weight_decay", 0.0),
        ("training.mirror=true", "training", "mirror", True),
        ("training.mirror=false", "training", "mirror", False),
        ("training.schedule=constant", "training", "schedule", "constant"),
        ("training.precision=bf16", "training", "precision", "bf16"),
        ("network.width=8", "network", "width", 8),
    ],
)
def test_set_changes_one_value(setting: str, section: str, key: str, value: object) -> None:
    """Numbers, switches and words arrive with their type; everything else stays as it was."""
    changed, own = (
        load_config("srcnn", settings=settings).model_dump() for settings in ([setting], [])
    )
    assert changed[section][key] == value
    assert type(changed[section][key]) is type(value)
    del changed[section][key], own[section][key]
    assert changed == own


def test_later_settings_win() -> None:
    """As on every command line."""
    settings = ["training.steps=5", "training.steps=6"]
    assert load_config("srcnn", settings=settings).training.steps == 6


@pytest.mark.parametrize(
    "setting", ["steps=5", "training.steps", "training", "", "=", "other.steps=5", ".steps=5"]
)
def test_malformed_settings_are_refused(setting: str) -> None:
    """An InputError that repeats the setting and shows a right one."""
    with pytest.raises(InputError, match=r"--set training\.steps=100") as caught:
        load_config("srcnn", settings=[setting])
    assert caught.value.problems[0].where == f"--set {setting}"


@pytest.mark.parametrize(
    ("setting", "suggestion"),
    [
        ("training.step=5", "Did you mean 'steps'?"),
        ("training.learning_rat=1", "Did you mean 'learning_rate'?"),
        ("network.widht=8", "Did you mean 'width'?"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(setting: str, suggestion: str) -> None:
    """In the training table and in the network's own."""
    with pytest.raises(InputError) as caught:
        load_config("srcnn", settings=[setting])
    assert [problem.fix for problem in caught.value.problems] == [suggestion]


@pytest.mark.parametrize(
    "setting",
    [
        "training.steps=0", "training.batch=-1", "training.learning_rate=0", "training.steps=many",
        "training.weight_decay=-1", "training.schedule=linear", "training.precision=fp8",
        "training.mirror=perhaps", "training.validate_every=0", "training.threads=0",
        "network.width=0", "network.blocks=-1", "training.learning_rate=nan",
        "training.learning_rate=inf",
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(setting: str) -> None:
    """Before any data are read, naming the key."""
    key = setting.partition("=")[0].partition(".")[2]
    with pytest.raises(InputError, match=key):
        load_config("srcnn", settings=[setting])


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    """A missing, an unknown and a mistyped key in one file give three problems."""
    text = packaged("srcnn.toml").read_text()
    text = text.replace("batch = 16\n", "").replace("mirror = false", "mirror = 3\nmiror = true")
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config("srcnn", file=path)
    places = {problem.where for problem in caught.value.problems}
    assert places == {
        "mine.toml: training.batch", "mine.toml: training.mirror", "mine.toml: training.miror",
    }  # fmt: skip


def test_unknown_networks_are_refused_with_the_nearest() -> None:
    """By name, wherever it is asked for."""
    for ask in (family, load_config):
        with pytest.raises(InputError, match="Did you mean 'srcnn'"):
            ask("sr-cnn")


def test_missing_config_files_are_input_errors(tmp_path: Path) -> None:
    """No file, and a file that is no TOML."""
    with pytest.raises(InputError, match="no such file"):
        load_config("srcnn", file=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps == 5")
    with pytest.raises(InputError, match="valid TOML"):
        load_config("srcnn", file=tmp_path / "bad.toml")


def test_a_new_network_is_a_file_a_config_and_a_line(
    elsewhere: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is edited: here a module of the tests and its config, trained by name."""
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(MODELS, "own", "own_network")
    config = packaged("srcnn.toml").read_text().split("[training]")[1]
    path = tmp_path / "own.toml"
    path.write_text(f"[network]\nwidth = 3\n[training]{config}")
    words = ["--set", "training.steps=2", "--constraint", "add", "--skip", "--config", path]
    out = ["--out", tmp_path / "run", "--data", data]
    done = elsewhere("train", "era5-sample", "own", *words, *out)
    assert done.returncode == 0, done.stderr
    assert "own" in elsewhere("models", "--json").stdout


OWN = """
from typing import Annotated

from pydantic import Field
from torch import nn

from baselines.family import Family
from baselines.upsampling import upsample, whole_factor
from benchmark.toml_model import Frozen


class Config(Frozen):
    width: Annotated[int, Field(ge=1)]


class Own(nn.Module):
    def __init__(self, channels, factor, config):
        super().__init__()
        self.factor = whole_factor("own", factor)
        self.first = nn.Conv2d(channels, config.width, 3, padding=1)
        self.last = nn.Conv2d(config.width, channels, 1)

    def forward(self, x):
        return self.last(self.first(upsample(x, self.factor, "bilinear")).relu()).float()


FAMILY = Family("own", "nowhere", Config, Own)
"""
