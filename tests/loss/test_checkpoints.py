"""Damaged checkpoints: a training goes on from the newest whole one or from the start, and ends where it would have."""
import json
import shutil

import pytest
import torch

import semantic_nb.loss.train as loss
from semantic_nb.encoder import load_encoder
from semantic_nb.loss.train import Stage, _whole_checkpoints, train_model

STAGE = Stage("resumed", 4, 1e-3)


def truncate(path, share=0.5):
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])


DAMAGES = {
    "empty weights": lambda p: (p / "model.safetensors").write_bytes(b""),
    "half the weights": lambda p: truncate(p / "model.safetensors"),
    "the last byte of the weights": lambda p: truncate(p / "model.safetensors", 0.999),
    "no weights": lambda p: (p / "model.safetensors").unlink(),
    "no state": lambda p: (p / "trainer_state.json").unlink(),
    "half a state": lambda p: truncate(p / "trainer_state.json"),
    "an empty state": lambda p: (p / "trainer_state.json").write_text("{}"),
    "a state of another kind": lambda p: (p / "trainer_state.json").write_text("[]"),
    "half an optimizer": lambda p: truncate(p / "optimizer.pt"),
    "an empty optimizer": lambda p: (p / "optimizer.pt").write_bytes(b""),
    "no optimizer": lambda p: (p / "optimizer.pt").unlink(), "no schedule": lambda p: (p / "scheduler.pt").unlink(),
    "half a random state": lambda p: truncate(p / "rng_state.pth"),
    "half a configuration": lambda p: truncate(p / "config.json"),
    "an empty folder": lambda p: (shutil.rmtree(p), p.mkdir()),
    "weights only": lambda p: [file.unlink() for file in p.glob("[!m]*") if file.is_file()]}


class Stopped(Exception):
    "Where the test pulls the plug."


@pytest.fixture
def run(domain, settings, monkeypatch):
    "Train, or train until a step; the steps at which the attempts began."
    from transformers import TrainerCallback
    began, until = [], []

    class Plug(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            began.append(state.global_step)
        def on_step_end(self, args, state, control, **kwargs):
            if until and state.global_step == until[0]:
                raise Stopped

    callbacks, arguments = loss._callbacks, loss._training_arguments
    monkeypatch.setattr(loss, "_callbacks", lambda name: [*callbacks(name), Plug()])
    def both_kept(*args):
        made = arguments(*args)
        made.save_total_limit = 3
        return made
    monkeypatch.setattr(loss, "_training_arguments", both_kept)

    def train(stop=None):
        until[:] = [stop] if stop else []
        return train_model(domain.spec.model.base, domain.pairs, STAGE, domain)

    with pytest.raises(Stopped):
        train(5)
    began.clear()
    train.began = began
    train.weights = lambda made: load_encoder(str(made.path / "model"), domain.spec.model).state_dict()
    train.folder = next(settings.store.glob(".resumed-*.partial")) / "checkpoints"
    return train


def test_a_resumed_training_ends_with_the_weights_of_one_without_interruption(run, settings, capsys):
    resumed = run()
    assert run.began == [4] and "goes on from checkpoint-4" in capsys.readouterr().err
    weights = run.weights(resumed)
    shutil.rmtree(resumed.path)
    whole = run.weights(run())
    assert run.began == [4, 0] and max((weights[name] - whole[name]).abs().max() for name in whole) < 1e-6


def test_a_broken_checkpoint_is_removed_and_the_one_before_is_whole(run, tmp_path):
    known = json.loads((run.folder / "checkpoint-2" / "trainer_state.json").read_text())
    assert known["best_model_checkpoint"].endswith("checkpoint-2")
    shutil.copytree(run.folder, tmp_path / "copy")
    for name, damage in DAMAGES.items():
        damage(run.folder / "checkpoint-4")
        assert [path.name for path in _whole_checkpoints(run.folder)] == ["checkpoint-2"], name
        assert not (run.folder / "checkpoint-4").exists(), name
        shutil.copytree(tmp_path / "copy", run.folder, dirs_exist_ok=True)
    assert [path.name for path in _whole_checkpoints(run.folder)] == ["checkpoint-4", "checkpoint-2"]


@pytest.mark.parametrize("damage", ["empty weights", "half a state"])
def test_training_goes_on_from_the_one_before(run, damage, capsys):
    DAMAGES[damage](run.folder / "checkpoint-4")
    made = run()
    assert run.began == [2] and made.manifest["facts"]["steps"] > 4
    assert "goes on from checkpoint-2" in capsys.readouterr().err


def test_training_starts_again_where_no_checkpoint_is_whole(run, capsys):
    for path in run.folder.glob("checkpoint-*"):
        DAMAGES["half an optimizer"](path)
    run()
    assert run.began == [0] and "no checkpoint is whole" in capsys.readouterr().err


def test_a_checkpoint_whose_best_one_is_broken_is_not_whole(run):
    state = run.folder / "checkpoint-4" / "trainer_state.json"
    known = json.loads(state.read_text()) | {"best_model_checkpoint": str(run.folder / "checkpoint-2")}
    state.write_text(json.dumps(known))
    assert [path.name for path in _whole_checkpoints(run.folder)] == ["checkpoint-4", "checkpoint-2"]
    DAMAGES["no state"](run.folder / "checkpoint-2")
    assert _whole_checkpoints(run.folder) == [] and not list(run.folder.glob("checkpoint-*"))


def test_a_whole_checkpoint_that_does_not_load_is_passed_over(run, capsys):
    torch.save({"of": "another kind"}, run.folder / "checkpoint-4" / "optimizer.pt")
    run()
    assert run.began == [2]


def test_an_error_of_the_training_itself_is_raised_and_the_checkpoint_stays(run):
    with pytest.raises(Stopped):
        run(5)
    assert run.began == [4] and (run.folder / "checkpoint-4").is_dir()
