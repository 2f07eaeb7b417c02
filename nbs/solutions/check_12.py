"""What is missing in an answer to the exercises of chapter 12."""
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from semantic_nb.core import ContractError
from semantic_nb.deploy.bundle import open_bundle

SECONDS = 2.0  # that a question may wait in exercise 2


def _refusal(folder: Path) -> str:
    "Layer and rule with which this folder is refused, or none."
    try:
        open_bundle(folder)
    except ContractError as error:
        return error.layer
    return "none"


def exercise_1(my_bundle: Path | None, layer: str | None, bundle: Path) -> str:
    "A mixture: `my_bundle` is a copy of the bundle with one file changed; `layer` is what open_bundle answers."
    if my_bundle is None or layer is None:
        return "Copy the bundle with shutil.copytree, write something else into one of its files, and open the copy."
    copies = {path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file()}
    if not copies <= {path.relative_to(my_bundle) for path in Path(my_bundle).rglob("*") if path.is_file()}:
        return "The copy has lost a file. Here a file of other content is meant, which nobody misses."
    if all((bundle / name).read_bytes() == (Path(my_bundle) / name).read_bytes() for name in copies):
        return "Each file of the copy is the same as before."
    if layer.strip("[] ") != (found := _refusal(Path(my_bundle))):
        return "The rule stands in brackets at the beginning of the error, as layer.rule."
    return f"Well done: {found!r}, before a single question was answered."


def exercise_2(queue: int | None, rate: float) -> str:
    "How many questions may wait, if an encoder does `rate` a second and nobody should wait over two seconds?"
    if queue is None:
        return f"How many questions does your encoder do in {SECONDS:g} seconds, if one comes after the other?"
    if queue > rate * SECONDS:
        return f"The last of {queue} questions would wait {queue / rate:.1f} seconds."
    if queue < rate * SECONDS / 2:
        return f"With {queue}, questions are refused that would have waited {queue / rate:.1f} seconds only."
    return f"Well done: the last of {queue} waits {queue / rate:.1f} seconds, and the next one is told at once."


def exercise_3(replace: Callable[[Path, Path], None] | None) -> str:
    "`replace(link, target)` makes the link point to another folder; at no moment there is no link."
    if replace is None:
        return "Write a function of two paths. os.unlink and os.symlink are two steps; what is between them?"
    folder = Path(tempfile.mkdtemp())
    one, two, link = folder / "one", folder / "two", folder / "current"
    one.mkdir(), two.mkdir(), link.symlink_to(one)
    missed, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            if not link.exists():
                missed.append(1)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(2000):
            replace(link, (two, one)[number % 2])
            if link.resolve() != (two, one)[number % 2].resolve():
                return f"After the call the link points to {link.resolve().name}."
    except OSError as error:
        return f"The function fails: {error.strerror}."
    finally:
        done.set()
        reader.join()
        shutil.rmtree(folder)
    if missed:
        return f"A reader who looked all the time found no bundle {len(missed)} times."
    return "Well done: 2,000 changes, and at every look there was a bundle."
