"""The card's generated tables: each stands between `<!-- name -->` and `<!-- /name -->` in README.md."""

import re
from pathlib import Path

CARD = Path(__file__).parent / "README.md"


def table(head: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; numbers between 0 and 1 are shown as percentages."""

    def cell(x: object) -> str:
        return f"{100 * x:.1f} %" if isinstance(x, float) and x <= 1 else f"{x:.3f}" if isinstance(x, float) else str(x)

    lines = [head, ["---"] * len(head), *[[cell(x) for x in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(name: str, text: str) -> None:
    """Replaces one section of the card."""
    card = CARD.read_text()
    if f"<!-- {name} -->" not in card:
        raise SystemExit(f"{CARD} has no section {name}")
    CARD.write_text(
        re.sub(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: f"{m[1]}{text}\n{m[2]}", card, flags=re.S)
    )
