"""Commands in processes of their own that need not import anything: forked from one that has imported the libraries."""
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def import_libraries() -> None:
    "What every command may need, once."
    import faiss, sentence_transformers, umap, semantic_nb.pipeline  # noqa: E401,F401


def fork_command(folder: Path, arguments: Sequence[str], environment: Mapping[str, str],
                 before: Callable[[], None] = lambda: None) -> tuple[int, int]:
    """A process that runs `semantic-nb` with these arguments in `folder`: its id, and a descriptor to read from what it
    says to standard output and error. `before` is called in the process first; nothing can be typed into it."""
    from semantic_nb.__main__ import main
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(writing, 1), os.dup2(writing, 2), os.chdir(folder)
        sys.stdin = open(0, closefd=False)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)
        os.environ |= environment
        sys.argv = ["semantic-nb", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
