"""The public command, called in this process: as a user types it, with what it prints and its exit code."""
import io
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from semantic_nb.__main__ import main


@dataclass(frozen=True)
class Outcome:
    "Exit code, the JSON on standard output (None if there is none), and what came on standard error."
    code: int
    content: Any
    errors: str


def call(arguments: Sequence[str]) -> Outcome:
    """Run `semantic-nb` with these arguments in the current folder. What is not
    refused in words, a traceback, is raised."""
    out, errors, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["semantic-nb", *arguments]
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(errors):
            main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = before
    lines = out.getvalue().strip()
    return Outcome(code, json.loads(lines) if lines[:1] in ("{", "[") else None, errors.getvalue())


def findings(content: Any) -> Iterator[dict]:
    "Every row with a status in what a command printed, in its order."
    if isinstance(content, dict):
        if "status" in content and {"evidence", "symptom"} & set(content):
            yield {"id": content.get("id") or content.get("check") or content.get("rule"), **content}
        else:
            for value in content.values():
                yield from findings(value)
    elif isinstance(content, list):
        for value in content:
            yield from findings(value)


@dataclass(frozen=True)
class Failure:
    "The id that was named, its layer, and how: refused, fails or is doubted. Empty if all is well."
    id: str = ""
    layer: str = ""
    how: str = ""


def first_failure(outcome: Outcome, doubts: bool = False, known: Collection[str] = ()) -> Failure:
    """What the command names first: a refusal, a diagnosis, or the first row that fails.

    With `doubts`, the first doubtful row counts as well, but not those that `known`
    names, as the healthy checkout has them, too.
    """
    content = outcome.content if isinstance(outcome.content, dict) else {"rows": outcome.content}
    if "error" in content:
        return Failure(content["error"]["layer"], content["error"]["layer"].split(".")[0], "refused")
    if content.get("status") == "fail" and "sentence" in content:
        return Failure(_blamed(content), content["layer"], "fails")
    for status, how in (("fail", "fails"), ("doubt", "is doubted"))[:1 + doubts]:
        for row in findings(content):
            if row["status"] == status and row["id"] not in known:
                return Failure(row["id"], row["id"].split(".")[0], how)
    return Failure()


def _blamed(diagnosis: dict) -> str:
    "The check that a diagnosis rests on, or the step, as its sentence names it."
    failed = [row["id"] for row in findings(diagnosis)
              if row["status"] == "fail" and row["id"].startswith(diagnosis["layer"])]
    return failed[0] if failed else diagnosis["sentence"].split(" the score changes")[0]


def doubtful(outcome: Outcome) -> set[str]:
    "The ids of the doubtful rows."
    return {row["id"] for row in findings(outcome.content) if row["status"] == "doubt"}
