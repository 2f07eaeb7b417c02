"""Checkers for the exercises of chapter 00."""
import numpy as np


def exercise_1(question, page, search, names) -> str:
    "A question whose page is not among the first three."
    if not question or not page:
        return "Not yet: give a question and the name of the page that answers it, for example 'random.Random.shuffle'."
    if page not in names:
        alike = [name for name in names if name.rsplit(".", 1)[-1] == str(page).rsplit(".", 1)[-1]]
        return f"{page} is not one of the documents." + (f" Did you mean {', '.join(alike[:3])}?" if alike else "")
    place = [name for name, _ in search(question, len(names))].index(page) + 1
    if place <= 3:
        return f"The search finds {page} at place {place}. Ask in other words, as somebody who does not know its name."
    return f"Well done: {page} stands at place {place}. Which layer do you suspect, and what would you look at to know?"


def exercise_2(changed, vectors, questions) -> str:
    "How many first answers change at 64 numbers."
    if changed is None:
        return "Not yet: cut vectors[:, :64], divide each row by its length, and compare the first answers."
    short, asked = (cut / np.linalg.norm(cut, axis=1, keepdims=True) for cut in (vectors[:, :64], questions[:, :64]))
    first, first_short = (questions @ vectors.T).argmax(axis=1), (asked @ short.T).argmax(axis=1)
    if changed != int((first != first_short).sum()):
        return (f"Not {changed}. Cut documents and questions, make both unit long again, and compare the best row of "
                "each question before and after.")
    return "Well done: so much changes when a sixth of each vector is kept, and no error was raised."
