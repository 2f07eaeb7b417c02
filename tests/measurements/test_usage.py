"""How often documented objects are used, and what is drawn by it."""
from collections import Counter

import pytest

from semantic_nb.data.records import Corpus
from usage import count_uses, drawn, uses

IDS = {"re.sub": "python", "numpy.linalg.inv": "numpy", "pandas.DataFrame": "pandas", "pandas.Series": "pandas",
       "pandas.DataFrame.groupby": "pandas", "pandas.Series.groupby": "pandas", "rare.Thing.groupby": "rare"}
CORPUS = Corpus(tuple(IDS), tuple(IDS), tuple(IDS), tuple(
    {"library": library, "part": "test", "aliases": ["scipy.linalg.inv"] * (id == "numpy.linalg.inv")}
    for id, library in IDS.items()))


def test_names_are_resolved_by_the_imports_of_the_same_file():
    source = "import numpy as np\nfrom re import sub as s\nimport os.path\ns('a')\nnp.linalg.inv(x)\nlen(a)"
    assert {name for kind, name in uses(source) if kind == "name"} >= {"builtins.len", "numpy.linalg.inv", "re.sub"}
    assert not any(kind == "method" for kind, _ in uses(source))
    assert list(uses("frame.groupby('a')\nf()(1)")) == [("method", "groupby"), ("name", "builtins.f")]


def test_a_method_is_shared_by_the_uses_of_its_classes_and_a_library_does_not_count_itself():
    frames = "import pandas as pd\n" + "pd.DataFrame(a)\n" * 3 + "pd.Series(b)"
    files = [("sklearn", "from scipy.linalg import inv\ninv(a)\n" + frames), ("sklearn", "table.groupby(b)\n" * 8),
             ("pandas", "x.groupby(y)"), ("sklearn", "import re\nre.sub(a, b, c)\nre.sub(a, b, c)"),
             ("sklearn", "this is no python")]
    assert count_uses(CORPUS, files) == {"numpy.linalg.inv": 1, "re.sub": 2, "pandas.DataFrame": 3, "pandas.Series": 1,
                                         "pandas.DataFrame.groupby": 6, "pandas.Series.groupby": 2}


def test_only_used_objects_of_the_part_are_drawn_each_once_and_the_same_ones_again():
    counts = {"re.sub": 9.0, "numpy.linalg.inv": 1.0}
    assert sorted(drawn(CORPUS, counts, "test", 5, 1)) == [("numpy.linalg.inv", 1.0), ("re.sub", 9.0)]
    assert drawn(CORPUS, counts, "dev", 5, 1) == [] and drawn(CORPUS, counts, "test", 1, 3) == drawn(
        CORPUS, counts, "test", 1, 3)
    first = Counter(drawn(CORPUS, counts, "test", 1, seed)[0][0] for seed in range(200))
    assert first["re.sub"] / 200 == pytest.approx(0.9, abs=0.07)
