"""Every main chapter, opened and run from the top in JupyterLab, in a real browser, on a domain of ten documents.

It needs `pip install -e '.[browser]'` and Chromium (Debian's package `chromium`, or CHROMIUM=/path/to/it). Screenshots
of three chapters are kept in the folder that SCREENSHOTS names, by default runs/screenshots.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from foreign import make_domain, make_model

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
CHAPTERS = sorted(path.name for path in (ROOT / "nbs").glob("[0-9]*.ipynb"))
KEPT = ("00_start.ipynb", "05_loss.ipynb", "10_diagnose.ipynb")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install -e '.[browser]'")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: install it, or name it in CHROMIUM")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    "The chapters without outputs, which would look like a finished run; ten documents, two dev and two test questions."
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
    shutil.copytree(ROOT / "tests" / "measurements", folder / "tests" / "measurements")  # chapter 05 reads them
    shutil.copy(ROOT / "settings.ini", folder)
    for path in (folder / "nbs").glob("[0-9]*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
        path.write_text(json.dumps(notebook), encoding="utf-8")
    make_domain(folder / "repairs", make_model(folder), size=10)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def jupyter_lab(folder: Path):
    "A server on the folder, with settings of its own. Yields its address."
    address = f"http://127.0.0.1:{free_port()}"
    private = {f"JUPYTER{name}": str(folder / ".jupyter" / name.lower().strip("_"))
               for name in ("_CONFIG_DIR", "_RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")}
    environment = os.environ | private | {
        "SEMANTIC_NB_SPEC": str(folder / "repairs" / "spec.toml"), "SEMANTIC_NB_PROFILE": "tiny",
        "PYTHONPATH": str(ROOT)}
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
             f"--port={address.rsplit(':', 1)[1]}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
             f"--ServerApp.root_dir={folder}"], stdout=log, stderr=log, env=environment)
    try:
        _wait(lambda: urllib.request.urlopen(f"{address}/api/status", timeout=2), 60)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def _wait(ask, seconds: float):
    "The first true answer of `ask`; an answer that cannot be had yet is asked for again."
    end = time.monotonic() + seconds
    while True:
        try:
            if answer := ask():
                return answer
        except OSError:
            pass
        assert time.monotonic() < end, f"nothing after {seconds} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def lab(checkout):
    with jupyter_lab(checkout) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield address, browser
        browser.close()


def run_all(page, address: str, chapter: str) -> None:
    "Open a chapter, choose Run All Cells, and wait until no cell is left to run."
    page.goto(f"{address}/doc/tree/nbs/{chapter}", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function("document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')", timeout=60_000)
    page.click('.lm-MenuBar-itemLabel:text-is("Run")')
    page.click('.lm-Menu-item[data-command="runmenu:run-all"]')
    page.wait_for_function("""() => {
        const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.innerText);
        const idle = document.querySelector('#jp-main-statusbar').innerText.includes('| Idle');
        return idle && prompts.some(p => /\\[\\d+\\]/.test(p)) && !prompts.some(p => p.includes('*'));
    }""", timeout=600_000)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_in_jupyterlab(lab, chapter):
    address, browser = lab
    page = browser.new_page(viewport={"width": 1400, "height": 1800})
    try:
        run_all(page, address, chapter)
        errors = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]')
        assert not [text for text in errors.all_inner_texts() if "Traceback" in text]
        if chapter in KEPT:
            folder = Path(os.environ.get("SCREENSHOTS", ROOT / "runs" / "screenshots"))
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{Path(chapter).stem}.png")
    finally:
        page.close()
