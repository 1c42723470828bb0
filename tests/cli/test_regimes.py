"""Regimes, selections and statistical models through the command line, from a fit to a row."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmark.model_card import read_card

Command = Callable[..., CompletedProcess[str]]


def fit(elsewhere: Command, data: Path, out: Path, *words: str | Path) -> Path:
    done = elsewhere("train", "era5-sample", *words, "--out", out, "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(out)
    return out


def predict(elsewhere: Command, data: Path, run: Path, out: Path, *words: str) -> Path:
    done = elsewhere("predict", "era5-sample", run, *words, "--out", out, "--data", data)
    assert done.returncode == 0, done.stderr
    checked = elsewhere("validate", "era5-sample", out, "--data", data)
    assert checked.returncode == 0, checked.stderr
    return out


@pytest.mark.parametrize(
    ("words", "declared"),
    [
        (
            ["--regime", "oracle", "--target-only"],
            ("srcnn", "oracle", "val_id", True),
        ),
        (["--selection", "val_ood"], ("srcnn-val-ood", "zero_shot", "val_ood", False)),
    ],
)
def test_variants_of_a_fit_have_names(
    words: list[str],
    declared: tuple[str, str, str, bool],
    tiny: list[str],
    elsewhere: Command,
    data: Path,
    tmp_path: Path,
) -> None:
    """The card says it, and the model's name where a row's path has no other place for it."""
    run = fit(elsewhere, data, tmp_path / "run", "srcnn", *tiny, *words)
    card = read_card(predict(elsewhere, data, run, tmp_path / "out") / "model.toml")
    assert (card.model, card.regime, card.selection, card.target_only) == declared


@pytest.mark.parametrize(
    ("adapt", "name"),
    [("quantile-mapping", "srcnn-qm"), ("quantile-mapping-one-way", "srcnn-qm-one-way")],
)
def test_inputs_of_the_target(
    adapt: str, name: str, tiny_run: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """A zero-shot run, predicted with what the target's coarse fields tell."""
    out = predict(elsewhere, data, tiny_run, tmp_path / "out", "--adapt", adapt)
    card = read_card(out / "model.toml")
    assert (card.model, card.regime) == (name, "target_inputs")


def test_batch_statistics_of_the_target(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """For a network that has some; others are refused, with what has."""
    words = ["network.width=4", "network.blocks=1", "training.steps=2", "training.batch=2"]
    settings = [part for word in words for part in ("--set", word)]
    run = fit(elsewhere, data, tmp_path / "run", "srdrn", *settings, "--skip")
    out = predict(elsewhere, data, run, tmp_path / "out", "--adapt", "adabn")
    card = read_card(out / "model.toml")
    assert (card.model, card.regime, card.skip) == ("srdrn-adabn", "target_inputs", True)


def test_a_probe_on_the_command_line(elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """Statics of another region, for a network that reads them; others are refused."""
    words = ["network.width=4", "network.blocks=1", "training.steps=2", "training.batch=2"]
    settings = [part for word in words for part in ("--set", word)]
    run = fit(elsewhere, data, tmp_path / "run", "loan", *settings)
    out = predict(elsewhere, data, run, tmp_path / "out", "--probe", "shuffled-statics")
    assert read_card(out / "model.toml").model == "loan-shuffled-statics"
    words = ["predict", "era5-sample", "bilinear", "--probe", "shuffled-statics"]
    done = elsewhere(*words, "--out", tmp_path / "no", "--data", data)
    assert done.returncode == 2
    assert "the null bilinear" in done.stderr


def test_adaptations_that_cannot_be(
    tiny_run: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """A network without batch norm, an unknown name, a null, a run that knows the target."""
    cases = [
        (tiny_run, "adabn", "srdrn"),
        (tiny_run, "quantile-maping", "Did you mean 'quantile-mapping'?"),
        (Path("bilinear"), "adabn", "the null bilinear"),
    ]
    for run, adapt, said in cases:
        words = ["predict", "era5-sample", run, "--adapt", adapt, "--out", tmp_path / "out"]
        done = elsewhere(*words, "--data", data)
        assert done.returncode == 2
        assert said in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_few_labelled_days(
    tiny_run: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Fine-tuned for each target from a zero-shot run, in a run folder of its own."""
    words = ["srcnn", "--regime", "few_shot", "--base", tiny_run, "--set", "training.steps=2"]
    run = fit(elsewhere, data, tmp_path / "few", *words)
    assert len(list(run.glob("*.safetensors"))) == 13
    started = json.loads((tiny_run / "run.json").read_bytes())["request"]["seed"]
    assert json.loads((run / "run.json").read_bytes())["request"]["seed"] == started
    card = read_card(predict(elsewhere, data, run, tmp_path / "out") / "model.toml")
    assert (card.model, card.regime, card.selection) == ("srcnn", "few_shot", "none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["srcnn", "--target-only"], "--regime oracle"),
        (["srcnn", "--selection", "val_odd"], "Did you mean 'val_ood'?"),
        (["srcnn", "--regime", "oracle", "--selection", "val_ood"], "--regime zero_shot"),
        (["srcnn", "--regime", "few_shot"], "--regime few_shot --base RUN"),
        (["srcnn", "--base", "nowhere"], "--regime few_shot --base RUN"),
        (["srcnn", "--regime", "few_shot", "--base", "nowhere"], "nowhere"),
        (["linear", "--skip", "--constraint", "add"], "--constraint, --skip"),
        (["linear", "--seed", "1"], "--seed"),
        (["linaer"], "Did you mean 'linear'?"),
        (["linear", "--set", "model.rigde=1"], "Did you mean 'ridge'?"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], said: str, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Exit 2 with what to do, and no run folder."""
    out = tmp_path / "run"
    done = elsewhere("train", "era5-sample", *words, "--out", out, "--data", data)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert not out.exists()


def test_the_run_of_another_model(
    tiny_run: Path, elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """Fine-tuning continues a network; the command names which."""
    words = ["edsr", "--regime", "few_shot", "--base", tiny_run, "--out", tmp_path / "run"]
    done = elsewhere("train", "era5-sample", *words, "--data", data)
    assert done.returncode == 2
    assert "a run of edsr" in done.stderr


@pytest.mark.parametrize("model", ["linear", "lapse-rate", "climatology"])
def test_a_statistical_model(model: str, elsewhere: Command, data: Path, tmp_path: Path) -> None:
    """Fitted, predicted, projected: as a network is."""
    run = fit(elsewhere, data, tmp_path / "run", model)
    card = read_card(predict(elsewhere, data, run, tmp_path / "out") / "model.toml")
    assert (card.model, card.constraint, card.regime) == (model, "none", "zero_shot")
    out = predict(elsewhere, data, run, tmp_path / "projected", "--post-hoc")
    assert read_card(out / "model.toml").constraint == "post_hoc"
    again = fit(elsewhere, data, run, model)
    assert again == run


def test_a_source_set_of_a_statistical_model(
    elsewhere: Command, data: Path, tmp_path: Path
) -> None:
    """As for networks: some of the training regions, named on the card."""
    words = ["climatology", "--sources", "europe-west,europe-east"]
    run = fit(elsewhere, data, tmp_path / "run", *words)
    card = read_card(predict(elsewhere, data, run, tmp_path / "out") / "model.toml")
    assert card.sources == ("europe-east", "europe-west")
