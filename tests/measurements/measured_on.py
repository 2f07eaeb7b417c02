"""Where a figure comes from: the device that computed it, and the versions of what it was computed with."""
import platform
from importlib import metadata

import torch


def device_name() -> str:
    "The accelerator that `device = auto` chooses, or the processor's kind."
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {platform.machine()}, {torch.get_num_threads()} threads"


def measured_on() -> dict:
    "What stands beside every figure that takes training."
    return {"device": device_name(), "python": platform.python_version(), "torch": torch.__version__,
            **{name: metadata.version(name) for name in ("transformers", "sentence-transformers", "faiss-cpu")}}
