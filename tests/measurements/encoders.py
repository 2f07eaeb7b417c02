"""What the encoders of a service cost, and whether they still answer alike: one table.

    python tests/measurements/encoders.py [--profile full] [--questions 200]

Each encoder answers test questions one by one, in a process of its own with one thread: milliseconds of processor time
a question (encoding alone), seconds from the start of the process to the first answer, memory then (MiB, resident),
the share of the first ten answers that torch's encoder gives too, and the metric with its difference to torch's.
Writes `encoders.json` beside the spec. What is not installed (openvino) is left out, and said.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

KINDS = ("torch", "onnx", "int8", "openvino")
Encode = Callable[[Sequence[str]], np.ndarray]


def torch_encoder(folder: Path) -> Encode:
    "The model that the bundle was made from, as the library loads it."
    import torch
    from sentence_transformers import SentenceTransformer
    torch.set_num_threads(1)
    facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["facts"]
    model = SentenceTransformer(os.environ["MODEL"], truncate_dim=facts["dim"])
    return lambda texts: model.encode_query(list(texts), normalize_embeddings=True, show_progress_bar=False)


def alone(kind: str, folder: Path, questions: Sequence[str], k: int) -> dict:
    "One encoder in this process: its costs, and what the bundle's index answers to its vectors."
    import faiss
    import psutil
    if kind == "torch":
        encode = torch_encoder(folder)
    else:
        from semantic_nb.deploy.encoders import OnnxEncoder
        encode = OnnxEncoder.open(folder, 1, kind).encode
    index = faiss.read_index(str(folder / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
    index.search(encode([questions[0]]), k)
    process = psutil.Process()
    started, rss = time.time() - process.create_time(), process.memory_info().rss / 2**20
    encode(questions[:10])
    spent, vectors = [], []
    for question in questions:
        begun = time.process_time()
        vectors.append(encode([question])[0])
        spent.append(time.process_time() - begun)
    scores, rows = index.search(np.array(vectors, "float32"), k)
    return {"kind": kind, "cpu_ms": 1000 * float(np.median(spent)), "start_s": started, "rss_mib": rss,
            "scores": scores.tolist(), "rows": rows.tolist()}


def measured(kinds: Sequence[str], folder: Path, model: str, questions: Sequence[str], k: int) -> dict[str, dict]:
    "Each encoder in a process of its own."
    asked = json.dumps([*questions])
    return {kind: json.loads(subprocess.run(
        [sys.executable, __file__, "--alone", kind, str(folder), str(k)], input=asked, text=True, check=True,
        stdout=subprocess.PIPE, env=os.environ | {"MODEL": model, "OMP_NUM_THREADS": "1"}).stdout.splitlines()[-1])
        for kind in kinds}


def rows_of(found: dict[str, dict], ids: Sequence[str], judged, metric: str) -> list[dict]:
    "The table: costs, overlap with torch's answers, and the metric beside torch's."
    from semantic_nb.measure import as_run, compare, per_query
    runs = {kind: as_run([*judged.queries], ids, np.array(one["scores"]), np.array(one["rows"]))
            for kind, one in found.items()}
    exact, table = per_query(metric, runs["torch"], judged), []
    for kind, one in found.items():
        overlap = np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(one["rows"], found["torch"]["rows"])])
        values = per_query(metric, runs[kind], judged)
        table.append({name: one[name] for name in ("kind", "cpu_ms", "start_s", "rss_mib")}
                     | {"overlap": float(overlap), "value": float(values.mean()), **asdict(compare(values, exact))})
    return table


def main() -> None:
    if sys.argv[1:2] == ["--alone"]:
        kind, folder, k = sys.argv[2:]
        return print(json.dumps(alone(kind, Path(folder), json.load(sys.stdin), int(k))))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    parser.add_argument("--questions", type=int, default=0, help="of the test split (default: all)")
    chosen = parser.parse_args()
    from measured_on import measured_on
    from semantic_nb.core import Settings
    from semantic_nb.data.domain import load_domain
    from semantic_nb.deploy.bundle import make_bundle, open_bundle
    from semantic_nb.deploy.encoders import write_int8
    from semantic_nb.output import Table
    from semantic_nb.pipeline import run_folder
    from semantic_nb.spec import load_spec
    from semantic_nb.store import read_object, write_json
    with Settings.load(profile=chosen.profile).active():
        spec = load_spec()
        folder, test = make_bundle(spec=spec, int8=True), load_domain(spec).splits[spec.validation.test]
        kept = open_bundle(folder).facts["int8"]
        judged = test.select([*test.queries][:chosen.questions or None])
        kinds = [kind for kind in KINDS if kind != "openvino" or find_spec("openvino")]
        if not (folder / "encoder.int8.onnx").is_file():  # refused by its gate: measured all the same, elsewhere
            import shutil
            import tempfile
            shutil.copytree(folder, copy := Path(tempfile.mkdtemp()) / "bundle")
            write_int8(folder := copy)
        model = Settings.current().store / read_object(run_folder(spec) / "served.json")["model"] / "model"
        found = measured(kinds, folder, str(model), list(judged.queries.values()), spec.validation.k)
        rows = rows_of(found, load_domain(spec).corpus.ids, judged, spec.validation.metric)
        write_json(spec.folder / "encoders.json", {
            "name": spec.name, "profile": chosen.profile, "metric": spec.validation.metric, "gate": kept,
            "measured_on": measured_on(), "left out": [kind for kind in KINDS if kind not in kinds], "rows": rows})
    print(kept, Table(rows), sep="\n")


if __name__ == "__main__":
    main()
