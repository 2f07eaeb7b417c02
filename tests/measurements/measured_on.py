"""Where a figure comes from: the device that computed it, and the versions of what it was computed with."""
import platform
from importlib import metadata

import torch


def device_name() -> str:
    "The accelerator that `device = auto` chooses, or the processor's kind."
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    count = torch.get_num_threads()
    return f"CPU, {platform.machine()}, {count} thread{'s' * (count > 1)}"


def measured_on() -> dict:
    "What stands beside every figure that takes training."
    return {"device": device_name(), "python": platform.python_version(), "torch": torch.__version__,
            **{name: metadata.version(name) for name in ("transformers", "sentence-transformers", "faiss-cpu")}}
