"""Drop what progress bars leave in stored outputs; the last word of `make clean-notebooks`."""
import json
from pathlib import Path

BAR = "application/vnd.jupyter.widget-view+json"

for path in Path(__file__).parents[1].rglob("*.ipynb"):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [output for output in cell["outputs"] if BAR not in output.get("data", {})]
    notebook["metadata"].pop("widgets", None)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
