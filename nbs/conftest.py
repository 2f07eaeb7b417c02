"""How nbval reads the chapters: see the policy in CONTRIBUTING.md."""
import os
import re

import pytest

os.environ["IN_TEST"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
SKIPPED = re.compile(r"NBVAL_SKIP|#\|\s*(eval:\s*false|notest|slow)")


def pytest_itemcollected(item):
    cell = getattr(item, "cell", None)
    if cell is None:
        return
    source, strict = cell["source"], "NBVAL_CHECK_OUTPUT" in cell["source"]
    if strict and not cell["outputs"]:
        raise pytest.UsageError(f"{item.nodeid}: a strict cell without stored output would pass "
                                "unchecked; run the chapter again")
    if SKIPPED.search(source):
        if "because" not in source:
            raise pytest.UsageError(f"{item.nodeid}: a skipped cell needs a reason: # NBVAL_SKIP because ...")
        item.options["skip"] = True
    if cell["execution_count"] is None and (cell["outputs"] or strict):
        cell["execution_count"] = 0
