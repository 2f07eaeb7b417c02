"""What tests of engines make: bundles in which something is different, and documents in heaps."""
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from semantic_nb.deploy.bundle import open_bundle
from semantic_nb.scale.engines import Documents
from semantic_nb.store import Artifact, read_object


def need(*packages):
    if missing := [name for name in packages if find_spec(name) is None]:
        pytest.skip(f"not installed, or no wheel for this machine: {', '.join(missing)}")


def packed(source, path, change):
    "A copy of a bundle in which `change(folder, facts)` has changed something; sealed again."
    def write(folder):
        for file in source.iterdir():
            if file.name not in ("manifest.json", "base"):
                (shutil.copytree if file.is_dir() else shutil.copyfile)(file, folder / file.name)
        facts = dict(read_object(source / "manifest.json")["facts"])
        return change(folder, facts) or facts
    return open_bundle(Artifact.write(path, {"bundle": 2}, write).path)


def clustered(n, dim=32, seed=1):
    "Unit vectors in forty heaps."
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, dim))
    vectors = (centres[draw.integers(0, 40, n)] + 0.7 * draw.normal(size=(n, dim))).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def documents_of(metadata, dim=32):
    "Documents with this metadata and vectors in heaps."
    n = len(metadata)
    return Documents(tuple(f"doc {row}" for row in range(n)), ("",) * n, metadata, clustered(n, dim))
