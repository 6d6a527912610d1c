"""The README's figures are those of bench/RESULTS.md: ``python -m bench.readme`` copies them."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- from bench/RESULTS.md, by python -m bench.readme -->\n"
END = "\n<!-- until here -->"
_COLUMNS = 5
"""Those of the table of results that the README has: who, requests/s, to Envoy, p50, p99."""


def excerpt(results: str) -> str:
    """What the README tells of ``results``: the first columns of the table, when and on what, and whether in doubt."""
    blocks = results.split("\n\n")
    table = next(block for block in blocks if block.startswith("| "))
    facts = next(block for block in blocks if block.startswith("- ")).replace("- ", "", 1).split("\n- ")
    rows = ["|".join(row.split("|")[: _COLUMNS + 1]) + "|" for row in table.splitlines()]
    doubted = [line for line in results.partition("\n## Doubts\n")[2].splitlines() if line.startswith("- ")]
    notes = [f"{'; '.join((facts[0], facts[1], facts[-1]))}."]
    if doubted and not doubted[0].startswith("- None"):
        notes.append(f"**Provisional:** [bench/RESULTS.md](bench/RESULTS.md) ends with {len(doubted)} doubts.")
    return "\n".join([*rows, "", *notes])


def updated(readme: str, results: str) -> str:
    """``readme`` with what stands between the marks replaced.

    :raises ValueError: when it has no marks.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no {BEGIN.strip()} ... {END.strip()}")
    return before + begin + excerpt(results) + end + after


def update() -> None:
    """Bring the README up to date."""
    README.write_text(updated(README.read_text(), RESULTS.read_text()))


if __name__ == "__main__":
    update()
