"""How commands end, and what reaches a terminal or a Markdown reader."""
import json
import os
import subprocess
import sys

import pytest

from test_cli import ROOT, call


def ends(monkeypatch, capsys, failure, *arguments):
    "Exit code, standard output and standard error of a command in which `failure` is raised by the data layer."
    import semantic_nb.__main__ as boundary
    from semantic_nb.data import near_copies

    def command():
        near_copies.canonical_text(3) if failure is None else _raise(failure)
    monkeypatch.setattr(boundary, "app", command)
    monkeypatch.setattr(sys, "argv", ["semantic-nb", "check", *arguments])
    with pytest.raises(SystemExit) as stop:
        boundary.main()
    return stop.value.code, *capsys.readouterr()


def _raise(error):
    raise error


def test_what_nobody_foresaw_names_its_layer_and_where_the_details_are(monkeypatch, capsys, settings):
    code, out, errors = ends(monkeypatch, capsys, None)
    assert code == 70 and not out and errors.startswith("[data.unforeseen] TypeError") and "Traceback" not in errors
    [details] = settings.runs_dir.glob("failure-*.txt")
    assert str(details) in errors and "Traceback" in details.read_text(encoding="utf-8")
    code, out, errors = ends(monkeypatch, capsys, None, "--json")
    assert code == 70 and json.loads(out)["error"]["layer"] == "data.unforeseen" and not errors
    code, out, errors = ends(monkeypatch, capsys, None, "--traceback")
    assert code == 70 and "Traceback" in errors and "canonical_text" in errors and "[data.unforeseen]" in errors


def test_details_go_elsewhere_if_results_cannot_be_written(monkeypatch, capsys, settings, tmp_path):
    from dataclasses import replace
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with replace(settings, runs_dir=tmp_path / "taken" / "runs").active():
        code, _, errors = ends(monkeypatch, capsys, OSError("No space left on device"))
    assert code == 70 and "[command.unforeseen] OSError: No space left" in errors
    assert len(list(tmp_path.glob("failure-*.txt"))) == 1


@pytest.mark.parametrize("failure, code", [
    (KeyboardInterrupt(), 130), (RecursionError("too deep"), 70), (MemoryError(), 70), (SystemExit(1), 1)])
def test_each_end_has_its_exit_code(monkeypatch, capsys, settings, failure, code):
    found, _, errors = ends(monkeypatch, capsys, failure)
    assert found == code and "Traceback" not in errors


def test_a_closed_pipe_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "semantic_nb", "lint", str(ROOT / "semantic_nb")], stdout=writing,
                          stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    os.close(writing)
    assert done.returncode == 1 and done.stderr == ""


def test_text_of_others_does_not_move_the_cursor():
    from semantic_nb.output import Table, markdown_text, printable
    evil = "\x1b]0;owned\x07\x1b[2Jred\r\x85\x9b31m\u202egnp"
    assert printable(f"ä\t{evil}\n") == "ä\t]0;owned[2Jred31mgnp\n"
    assert markdown_text("<img src=x> a < b </b><!-- -->") == "&lt;img src=x> a < b &lt;/b>&lt;!-- -->"
    lines = str(Table([{"a|b": f"{evil}<script>\nnext \\| cell |"}])).splitlines()
    assert lines[0] == "| a\\|b |" and lines[2] == "| ]0;owned[2Jred31mgnp&lt;script> next \\\\\\| cell \\| |"


def test_terminal_and_report_get_clean_text(tmp_path):
    script = tmp_path / "a\x1b[31m.py"
    script.write_text("from sentence_transformers import SentenceTransformer\nSentenceTransformer('a').fit([])\n",
                      encoding="utf-8")
    done = call(tmp_path, "lint", str(tmp_path))
    assert done.returncode == 1 and "a[31m.py" in done.stdout and "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("name, value", [
    ("THREADS", "0"), ("THREADS", "100000"), ("SEED", "-1"), ("SEED", str(2**32)), ("PAIRS", "-1"), ("SAMPLE", "-1"),
    ("DOCUMENTS", "-5"), ("DEVICE", "gpu"), ("DEVICE", "cuda:99"), ("RUNS_DIR", "/dev/null"),
    ("RUNS_DIR", "/dev/null/x")])
def test_settings_that_no_run_could_use_are_refused_at_once(domain_folder, monkeypatch, name, value):
    from semantic_nb.core import ContractError, Settings
    monkeypatch.setenv(f"SEMANTIC_NB_{name}", value)
    with pytest.raises(ContractError, match="core.settings"):
        Settings.load(domain_folder)


def test_what_a_command_prints_is_clean(capsys):
    from semantic_nb.cli import _hits, _say, _show
    _show({}, False, _hits("q\x1b[2J", [{"score": 0.5, "title": "\x1b]0;owned\x07t", "text": "\x9b31mred"}]))
    _say(False)("progress \x1b[31m", end="")
    assert not {"\x1b", "\x07", "\x9b"} & set(capsys.readouterr().out)


@pytest.mark.parametrize("drawn", [{}, {"points": 60}])
def test_run_names_a_map_only_if_it_was_drawn(settings, monkeypatch, capsys, drawn):
    from typer.testing import CliRunner

    from semantic_nb import pipeline
    from semantic_nb.cli import app
    content = {"warning": "", "gate": {"text": "gate"}, "diagnosis": {"sentence": "well"}, "retrieval": [],
               "map": drawn, "spec": {"model": {"dims": [32]}, "index": {"dim": 16},
                                      "validation": {"metric": "nDCG@10"}}}
    monkeypatch.setattr(pipeline, "run", lambda spec, say: pipeline.Report(settings.runs_dir, content))
    shown = CliRunner().invoke(app, ["run"]).output
    assert "audit.png" in shown and ("map.png" in shown) == bool(drawn)


def test_a_report_shows_no_html_of_the_spec(monkeypatch, spec):
    from semantic_nb import brief
    monkeypatch.setattr(brief, "_clusters_text", lambda content: "<script>x</script> \x1b[2J")
    row = {"id": "a", "status": "ok", "evidence": "e", "fix": "", "count": 0, "rows": []}
    content = {"warning": "", "name": "toy", "profile": "tiny", "date": "today", "gate": {"text": "g"}, "reasons": {},
               "confidence": {"minimum_detectable_difference": row, "drift": row}, "findings": [row], "seed": 1,
               "diagnosis": {"sentence": "s", "table": [], "clean": "", "probe": ""}, "comparisons": [], "map": {},
               "audit": {"rows": [], "recommended": 8}, "versions": {}, "python": "3", "pairs": {"faq": 1},
               "artifacts": {"stage 1": "a", "model": "b", "index": "c"}, "retrieval": [
                   {"split": "test", "metric": "nDCG@10", "dim": 16, "system": "base", "value": 1.0, "low": 1.0,
                    "high": 1.0, "n": 1, "n_docs": 1, "judged_at_k": 1.0}],
               "spec": {"model": {"dims": [32]}, "index": {"dim": 16}, "validation": {"metric": "nDCG@10"}}}
    text = brief.report_text(content, spec)
    assert "&lt;script>" in text and "<script" not in text and "\x1b" not in text and "![waterfall]" in text


def test_json_for_a_terminal_loses_nothing_and_commands_nothing(capsys):
    from semantic_nb.output import printable_json
    from semantic_nb.store import to_json
    text = "a\x1b[2J\x9b2J\u202eb\n\x7f"
    shown = printable_json(to_json({"text": text}))
    assert json.loads(shown) == {"text": text} and shown.isprintable()
