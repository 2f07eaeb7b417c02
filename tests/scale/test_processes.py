"""One training on two processes: the same negatives, losses, artifacts and report as one process makes."""
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from foreign import make_domain, make_model
from semantic_nb.core import ContractError
from semantic_nb.loss import processes
from semantic_nb.store import Artifact

CASES = ("two sets", "cached", "all directions", "plain")
ROOT, SHARED = Path(__file__).parents[2], Path(__file__).with_name("shared_training.py")
ALONE, TWO = [sys.executable], [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
                                "--local_addr=127.0.0.1"]
pytestmark = pytest.mark.skipif(not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
                                reason="this build of PyTorch has no gloo, through which processes on CPUs talk")


def environment(runs: Path, **more: str) -> dict[str, str]:
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return os.environ | {"PYTHONPATH": paths, "SEMANTIC_NB_RUNS_DIR": str(runs), "SEMANTIC_NB_PROFILE": "full",
                         "SEMANTIC_NB_DEVICE": "cpu", "SEMANTIC_NB_THREADS": "1", "OMP_NUM_THREADS": "1",
                         "TOKENIZERS_PARALLELISM": "false", "GLOO_SOCKET_IFNAME": "lo", **more}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    "A domain with a tiny base that drops nothing at random, so that two trainings can be compared."
    folder = tmp_path_factory.mktemp("two")
    model = make_model(folder)
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    spec = make_domain(folder / "repairs", model)
    spec.write_text(spec.read_text().replace("eval_every = 2", "eval_every = 1"))
    return spec


def trained(folder: Path, start: list[str], spec: Path, cases: tuple[str, ...]) -> tuple[list, dict]:
    "What the last loss of each process has compared, and the artifact of each training."
    (folder / "runs" / "store").mkdir(parents=True)
    precision = {f"{platform.processor() or platform.machine()}, torch {torch.__version__}": False}
    (folder / "runs" / "store" / "bf16.json").write_text(json.dumps(precision))  # or each measures what pays
    done = subprocess.run([*start, str(SHARED), str(spec), str(folder), *cases], cwd=folder, text=True,
                          env=environment(folder / "runs"), capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    made, store = json.loads((folder / "made.json").read_text()), folder / "runs" / "store"
    return ([json.loads(path.read_text()) for path in sorted(folder.glob("shape*.json"))],
            {case: Artifact.open(store / made[case]) for case in cases})


def losses(artifact: Artifact) -> list[float]:
    return [row["loss"] for row in json.loads((artifact.path / "history.json").read_text()) if "loss" in row]


def weights(model: Path) -> torch.Tensor:
    "All weights of a saved model in one row."
    from safetensors.torch import load_file
    loaded = load_file(model / "model.safetensors")
    return torch.cat([loaded[name].flatten() for name in sorted(loaded)])


@pytest.fixture(scope="module")
def both(tmp_path_factory, path):
    folder = tmp_path_factory.mktemp("shared")
    return trained(folder / "one", ALONE, path, CASES), trained(folder / "two", TWO, path, CASES)


def test_each_process_compares_its_pairs_with_those_of_all(both):
    (one, _), (two, _) = both
    assert one == [[16, 16]]  # 16 pairs, so 15 wrong answers for each
    assert two == [[8, 16]] * 2  # 8 pairs in each process, and still 15 wrong answers for each


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_learns(both, path, case):
    (_, one), (_, two) = both
    assert len(losses(one[case])) >= 2
    assert losses(two[case]) == pytest.approx(losses(one[case]), rel=1e-4)
    alone, shared = (weights(made[case].path / "model") for made in (one, two))
    # Adam turns a gradient of almost nothing into a whole step, so its last digits show in the weights
    assert (alone - shared).norm() < 0.05 * (alone - weights(path.parents[1] / "tiny")).norm()


def test_without_gathering_there_are_seven_and_the_loss_is_another(both, path, tmp_path):
    _, (_, two) = both
    shapes, local = trained(tmp_path / "local", TWO, path, ("local",))
    assert shapes == [[8, 8]] * 2
    assert losses(two["plain"])[0] - losses(local["local"])[0] > 0.3  # log 16 - log 8 is 0.69


def test_the_manifest_says_how_many_trained(both):
    (_, one), (_, two) = both
    assert two["plain"].manifest["recipe"].pop("processes") == two["plain"].manifest["facts"].pop("processes") == 2
    assert two["plain"].manifest["recipe"] == one["plain"].manifest["recipe"]


def test_a_run_that_is_killed_goes_on_and_ends_with_one_report(tmp_path, path):
    spec = make_domain(tmp_path / "small", path.parents[1] / "tiny", size=60)
    text = spec.read_text().replace("eval_every = 2", "eval_every = 1")
    spec.write_text(text.replace("\nepochs = 4", "\nepochs = 12"))
    command, runs = [*TWO, "-m", "semantic_nb", "run", str(spec)], tmp_path / "runs"
    options = {"cwd": tmp_path, "env": environment(runs), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "text": True}
    killed = subprocess.Popen(command, **options)
    until = time.monotonic() + 120
    while not list(runs.glob("store/.stage1-*.partial/checkpoints/checkpoint-[4-9]/trainer_state.json")):
        assert killed.poll() is None and time.monotonic() < until, killed.communicate()[1][-3000:]
        time.sleep(0.02)
    workers = subprocess.run(["ps", "-o", "pid=", "--ppid", str(killed.pid)], capture_output=True, text=True)
    os.kill(int(workers.stdout.split()[-1]), signal.SIGKILL)  # the launcher ends the other one
    killed.communicate(timeout=120)
    assert killed.returncode != 0
    assert not list(runs.glob("store/stage*"))
    done = subprocess.run(command, timeout=240, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("an interrupted training goes on from checkpoint-") == 1
    assert done.stdout.count("Report: ") == done.stdout.count("model: gate on") == 1
    kinds = sorted(path.name.rpartition("-")[0] for path in runs.glob("store/*-*") if path.is_dir())
    assert [kinds.count(kind) for kind in ("stage1", "stage2", "model", "index")] == [1] * 4
    assert len(list(runs.glob("*/report.json"))) == 1 and not list(runs.glob("store/.*.partial"))


ENDS = """
import os, sys
from functools import partial
from pathlib import Path
import torch
import torch.distributed as dist
from semantic_nb.core import ContractError
from semantic_nb.loss.processes import lead, from_first, rank, wait_for_all

def train(fail):
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))
    for step in range(20):
        if fail and step == 10 and rank() == 0:
            raise ContractError("test.disk", "the disk is full", "a test", "none")
        model(torch.ones(2, 3)).sum().backward()
        dist.all_reduce(torch.ones(3))

def program():
    fail, code = "fail" in sys.argv, int(sys.argv[1])
    from_first(lambda: partial(train, fail))
    train(fail)
    sys.exit(code)

lead(program)
"""


def launched(folder: Path, *words: str) -> subprocess.CompletedProcess:
    "The program above on four processes, more than there are processors."
    script = folder / "ends.py"
    script.write_text(ENDS)
    return subprocess.run([*TWO[:4], "--nproc_per_node=4", *TWO[5:], str(script), *words], text=True, timeout=120,
                          env=environment(folder / "runs"), capture_output=True)


def test_a_training_that_is_done_is_not_reported_as_failed(tmp_path):
    "Threads of the process group outlive a training; a process that ends as usual is aborted now and then."
    for _ in range(3):
        done = launched(tmp_path, "0")
        assert done.returncode == 0, done.stderr[-3000:]


def test_a_failed_check_is_the_end_of_all(tmp_path):
    done = launched(tmp_path, "3")
    assert done.returncode != 0 and "exitcode  : 3" in done.stderr


def test_a_first_process_that_fails_in_a_training_ends_all_of_them(tmp_path):
    "The others wait for its gradients, which will not come."
    done = launched(tmp_path, "0", "fail")
    assert done.returncode != 0 and "exitcode  : 2" in done.stderr
    assert done.stderr.count("the disk is full") == 1


@pytest.mark.parametrize("raised, code, told", [
    (None, 0, ""), (SystemExit(), 0, ""), (SystemExit(3), 3, ""), (SystemExit("no such file"), 1, "no such file\n"),
    (KeyboardInterrupt(), 130, ""), (ContractError("loss.test", "a", "b", "c"), 2, "[loss.test] a")])
def test_a_process_ends_as_python_would(capsys, raised, code, told):
    def program() -> None:
        if raised:
            raise raised
    assert processes._exit_code(program) == code and capsys.readouterr().err.startswith(told)


@pytest.fixture
def second_of_two(monkeypatch):
    "This process takes itself for the second one of two."
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")


def test_a_batch_that_cannot_be_shared_is_refused(domain, second_of_two, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    size = domain.spec.training.batch_size
    with pytest.raises(ContractError, match=f"batches of {size} pairs for 3 processes") as refusal:
        processes.per_process(domain)
    assert refusal.value.layer == "loss.batches"


def test_a_script_that_trains_in_every_process_is_refused(settings, second_of_two):
    with pytest.raises(ContractError, match="process 1 of 2 trains by itself") as refusal:
        processes.make_together("t", {}, lambda folder: {}, print)
    assert refusal.value.layer == "loss.processes"


@pytest.mark.parametrize("there, precision, symptom", [(False, "nullcontext", "does not see the folder .t.partial"),
                                                       (True, "another", "process 1 has .*, the first one another")])
def test_a_process_that_cannot_take_part_is_refused(settings, second_of_two, tmp_path, there, precision, symptom):
    folder = tmp_path / ".t.partial"
    if there:
        folder.mkdir()
    with pytest.raises(ContractError, match=symptom) as refusal:
        processes._take_part(settings, precision, folder, lambda folder: pytest.fail("it trained"))
    assert refusal.value.layer == "loss.processes"


def test_a_launcher_with_one_process_changes_nothing(settings, monkeypatch):
    alone = processes.make_together("t", {"a": 1}, lambda folder: {}, lambda folder: None)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert processes.make_together("t", {"a": 1}, lambda folder: {}, lambda folder: None).path == alone.path
    assert "processes" not in alone.manifest["recipe"]


def test_the_parts_of_a_batch_are_equal_and_counted():
    class Sets:
        dataset = type("Both", (), {"datasets": [range(9), range(4)]})
        batch_samplers = [type("Batches", (), {"batch_size": 4})] * 2
        def __iter__(self):
            return iter([[0, 1, 2, 3], [9, 10, 11, 12], [4, 5, 6, 7], [8]])
    parts = processes._Parts(Sets(), 2)
    assert [*parts] == [[0, 1], [2, 3], [9, 10], [11, 12], [4, 5], [6, 7]] and len(parts) == 6
