"""What encoding through Ray costs on one machine: the same texts in one process, and by one and by two actors.

    python tests/measurements/ray_encoding.py [--documents 2000] [--quiet]        minutes, 3 GB

Each row runs in a process of its own, one thread for each encoder. Seconds are those of the call, with the start of Ray
and the loading of models in it; memory is the largest sum over the process and all that it has started, shared pages
counted in each (RSS). `--quiet`: say that nothing else ran on the machine. Writes `ray.json` beside the spec.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np

from measured_on import measured_on

ROWS = {"one process": 0, "Ray, 1 actor": 1, "Ray, 2 actors": 2}


def watched(peak: list[int], stop: threading.Event) -> None:
    "The largest resident memory of this process and its descendants, in bytes and in processes."
    import psutil
    while not stop.wait(0.2):
        total, alive = 0, 0
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            try:
                total, alive = total + process.memory_info().rss, alive + 1
            except psutil.Error:
                continue
        peak[:] = [max(peak[0], total), max(peak[1], alive)]


def encode_once(actors: int, folder: Path) -> dict:
    "One row, measured in this process; the vectors stay in `folder`."
    from semantic_nb.encoder import load_encoder
    from semantic_nb.scale.processors import encode_with_ray
    from semantic_nb.scale.shards import encode_shards, open_shards
    from semantic_nb.spec import load_spec
    spec, parts = load_spec(), open_shards(folder)
    peak, stop = [0, 0], threading.Event()
    watcher = threading.Thread(target=watched, args=(peak, stop))
    watcher.start()
    began = time.perf_counter()
    if actors:
        made = encode_with_ray(spec.model.base, parts, spec.index.dim, actors=actors, num_cpus=0.5, spec=spec.model,
                               progress=False)
    else:
        made = encode_shards(load_encoder(spec.model.base, spec.model), parts, spec.index.dim, progress=False)
    seconds = time.perf_counter() - began
    stop.set()
    watcher.join()
    ids, vectors = zip(*(made.read(number) for number in range(len(made))))
    np.save(folder / "all.npy", np.concatenate(vectors))
    (folder / "ids.json").write_text(json.dumps(sum(map(list, ids), [])))
    return {"seconds": round(seconds, 1), "peak MB": round(peak[0] / 2**20), "processes": peak[1]}


def main() -> None:
    from semantic_nb.data.domain import load_corpus
    from semantic_nb.data.records import write_corpus
    from semantic_nb.scale.shards import split_corpus
    from semantic_nb.spec import load_spec
    from semantic_nb.store import write_json
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--documents", type=int, default=2000)
    words.add_argument("--quiet", action="store_true")
    words.add_argument("--row", nargs=2, help="for this program itself")
    asked = words.parse_args()
    if asked.row:
        print(json.dumps(encode_once(int(asked.row[0]), Path(asked.row[1]))))
        return
    spec = load_spec()
    corpus, desk = load_corpus(spec), Path(tempfile.mkdtemp())
    some = corpus.subset(corpus.ids[:asked.documents])
    write_corpus(some, desk / "corpus.jsonl")
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "SEMANTIC_NB_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    rows, first = [], None
    for name, actors in ROWS.items():
        folder = desk / str(actors)
        split_corpus(desk / "corpus.jsonl", folder, size=250)
        done = subprocess.run([sys.executable, __file__, "--row", str(actors), str(folder)], env=one_thread,
                              stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
        vectors, ids = np.load(folder / "all.npy"), json.loads((folder / "ids.json").read_text())
        first = first or (vectors, ids)
        row = {"encoded by": name, **json.loads(done.stdout.splitlines()[-1]),
               "same ids": ids == first[1], "largest difference": float(np.abs(vectors - first[0]).max())}
        print(row)
        rows.append(row)
    versions = {name: metadata.version(name) for name in ("ray", "sentence-transformers", "torch")}
    write_json(spec.folder / "ray.json", {
        "source": "tests/measurements/ray_encoding.py", "documents": len(some), "dim": spec.index.dim, "rows": rows,
        "date": date.today().isoformat(), "quiet": asked.quiet, "versions": versions,
        "machine": f"{os.cpu_count()} cores, {measured_on()['device']}"})


if __name__ == "__main__":
    main()
