"""The container recipe and the unit: built where docker exists, read closely everywhere."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "ops" / "Dockerfile").read_text(encoding="utf-8")
UNIT = (ROOT / "ops" / "semantic-nb.service").read_text(encoding="utf-8")


def steps(recipe: str) -> list[tuple[str, str]]:
    "Instructions and what they say, lines that go on joined."
    lines = re.sub(r"\\\n\s*", " ", "\n".join(line for line in recipe.splitlines() if not line.startswith("#")))
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines.splitlines() if line.strip()]


def test_the_recipe_is_short_has_two_stages_and_no_root():
    kinds = [kind for kind, _ in steps(RECIPE)]
    assert len(RECIPE.splitlines()) <= 25 and kinds.count("FROM") == 2
    assert set(kinds) <= {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    last = steps(RECIPE)[len(kinds) - kinds[::-1].index("FROM") - 1:]
    user = next(said for kind, said in last if kind == "USER")
    assert not user.startswith(("0", "root")) and not any(kind == "RUN" for kind, _ in last)


def test_what_it_copies_exists():
    own = [said.split() for kind, said in steps(RECIPE) if kind == "COPY" and "--from" not in said]
    sources = [name for *names, _ in own for name in names]
    assert sources and all((ROOT / name).exists() for name in sources)


def test_what_it_installs_is_tested_here_and_torch_is_not_among_it():
    known = {line.partition("==")[0].lower().replace("_", "-")
             for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line}
    said = next(said for kind, said in steps(RECIPE) if "-c constraints.txt" in said)
    packages = {name.lower() for name in said.partition("constraints.txt")[2].split()}
    assert packages <= known and "torch" not in packages and {"onnxruntime", "faiss-cpu", "fastapi"} <= packages


def test_the_unit_and_the_recipe_start_the_same_service():
    unit = re.search(r"^ExecStart=.*semantic-nb (serve .*)$", UNIT, re.M)[1].split()
    recipe = re.findall(r'"([^"]+)"', next(said for kind, said in steps(RECIPE) if kind == "CMD"))[1:]
    assert unit[0] == recipe[0] == "serve" and unit[1].endswith("/current") and recipe[1].endswith("/current")
    assert "0.0.0.0" not in unit and "SEARCH_TOKEN" in UNIT and "DynamicUser=yes" in UNIT


def docker_runs() -> bool:
    "Is there a docker, and something behind it that builds?"
    return bool(shutil.which("docker")) and not subprocess.run(["docker", "info"], capture_output=True).returncode


@pytest.mark.skipif(not docker_runs(), reason="no docker runs here; the recipe is read by the tests above")
def test_the_recipe_builds():
    built = subprocess.run(["docker", "build", "-q", "-f", "ops/Dockerfile", "."], cwd=ROOT, capture_output=True,
                           text=True)
    assert built.returncode == 0, built.stderr[-2000:]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_is_one(tmp_path):
    (tmp_path / "semantic-nb.service").write_text(UNIT.replace("/opt/semantic-nb/bin/semantic-nb", "/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", str(tmp_path / "semantic-nb.service")], capture_output=True,
                          text=True)
    assert "Unknown" not in said.stderr and said.returncode == 0, said.stderr
