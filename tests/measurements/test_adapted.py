"""The two arms of a training without labels: what is held out of one and kept in the other."""
import json

import adapted


def test_the_arms_differ_in_the_documents_that_the_questions_need(tmp_path, settings, spec, monkeypatch):
    folder = tmp_path / "manuals"
    (folder / "qrels").mkdir(parents=True)
    lines = [{"_id": f"d{i}", "title": f"how part {i} is put together", "text": f"take the pin {i} and turn it by {i}"}
             for i in range(40)]
    asked = [{"_id": f"q{i}", "text": f"which pin goes into part {i}"} for i in range(12)]
    for name, rows in (("corpus", lines), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(
        f"q{i}\td{i}\t1\n" for i in range(12)), encoding="utf-8")
    monkeypatch.setattr(adapted, "load_spec", lambda: spec)
    arms = dict(adapted.domains(folder))
    held = {f"d{i}" for i in range(12)}
    assert not held & set(arms["strict"].pairs[0].documents) and held <= set(arms["adapted"].pairs[0].documents)
    dev, test = (set(arms["strict"].splits[name].queries) for name in ("dev", "test"))
    assert dev and test and not dev & test and len(dev | test) == 12
    assert arms["strict"].spec.training.epochs == adapted.EPOCHS and arms["strict"].spec.validation.test == "test"
