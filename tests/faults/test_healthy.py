"""Sound data raises nothing: the demo domain, and public sets where they are at hand."""
import os
from contextlib import chdir
from pathlib import Path

import pytest

from faults.command import call, findings
from faults.healthy import ROOT

SETS = Path(os.environ.get("DEVELOPMENT_DATA", "nowhere"))
QUIET = ("data.symmetry", "data.mixture", "data.leakage")
PUBLIC = {
    "scifact, its clean part": ("scifact", "--symmetry", "asymmetric", "--split", "test_unseen_docs"),
    "nl2bash": ("nl2bash/pairs_dev.jsonl", "--symmetry", "asymmetric"),
    "cranfield": ("cranfield", "--symmetry", "asymmetric", "--split", "test"),
    "stsb": ("stsb/pairs_dev.jsonl", "--symmetry", "symmetric"),
}

# one of its claims is a training claim turned into its opposite
KNOWN = {"scifact, its clean part": ("data.leakage.near_copy",)}


def loud(command: tuple[str, ...], known: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    "Checks that fail, and those of `QUIET` that are in doubt; not the ones that `known` names."
    with chdir(ROOT):
        outcome = call(("data", *command, "--json"))
    rows = list(findings(outcome.content))
    assert len(rows) > 5 and outcome.code == 0, outcome.content
    return [(row["id"], row["status"], row["evidence"]) for row in rows
            if row["status"] == "fail"
            or (row["status"] == "doubt" and row["id"].startswith(QUIET) and not row["id"].startswith(known or ("-",)))]


def test_the_demo_domain_raises_nothing(monkeypatch):
    monkeypatch.setenv("SEMANTIC_NB_PROFILE", "tiny")
    # pairs that touch a held-out question are dropped and counted
    assert not loud(("data/pydocs/spec.toml",), known=("data.leakage.questions", "data.leakage.see_also"))


@pytest.mark.skipif(not SETS.is_dir(), reason="the development sets are not at hand")
@pytest.mark.parametrize("name", PUBLIC)
def test_sound_public_sets_raise_nothing(name):
    source, *options = PUBLIC[name]
    assert not loud((str(SETS / source), *options), known=KNOWN.get(name, ()))
