"""Make tests/data/golden/browser.json from gpt-oss's own browser tool.

With a number, compare the written conversations and as many other random ones with it live,
and write nothing.
``browser_reference.py`` says what it needs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser_cases import CASES, GOLDEN, SEEDS, answers, digest, random_case
from browser_reference import reference_answers
from library_cases import LIBRARY_SEEDS, library_answers, library_case


def main() -> int:
    """Write the file, or compare."""
    if sys.argv[1:]:
        return compare(int(sys.argv[1]))
    golden = {
        "cases": {name: reference_answers(case) for name, case in CASES.items()},
        "random": [digest(reference_answers(random_case(seed))) for seed in SEEDS],
        "library": [
            digest(reference_answers(library_case(seed).pages())) for seed in LIBRARY_SEEDS
        ],
    }
    text = json.dumps(golden, ensure_ascii=False, indent=1)
    GOLDEN.write_text(f"{text}\n", encoding="utf-8")
    return 0


def compare(many: int) -> int:
    """Print the first call that is answered otherwise; return 1 if there is one."""
    calls = 0
    seeds = range(len(SEEDS), len(SEEDS) + many)
    cases = {**CASES, **{f"seed {seed}": random_case(seed) for seed in seeds}}
    for name, case in cases.items():
        for call, ours, theirs in zip(
            case.calls, answers(case), reference_answers(case), strict=True
        ):
            calls += 1
            if ours != theirs:
                sys.stdout.write(f"{name}: {call}\n{ours!r}\n{theirs!r}\n")
                return 1
    for seed in range(len(LIBRARY_SEEDS), len(LIBRARY_SEEDS) + many):
        shelf = library_case(seed)
        if library_answers(shelf) != reference_answers(shelf.pages()):
            sys.stdout.write(f"library, seed {seed}: different\n")
            return 1
        calls += len(shelf.calls)
    count = len(cases) + many
    sys.stdout.write(f"browser: {count} conversations, {calls} calls: equal\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
