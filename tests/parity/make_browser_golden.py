"""Make tests/data/golden/browser.json from gpt-oss's own browser tool.

With a number, compare as many random conversations with it live, and write nothing.
``browser_reference.py`` says what it needs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser_cases import CASES, GOLDEN, SEEDS, answers, digest, random_case
from browser_reference import reference_answers


def main() -> int:
    """Write the file, or compare."""
    if sys.argv[1:]:
        return compare(int(sys.argv[1]))
    golden = {
        "cases": {name: reference_answers(case) for name, case in CASES.items()},
        "random": [digest(reference_answers(random_case(seed))) for seed in SEEDS],
    }
    text = json.dumps(golden, ensure_ascii=False, indent=1)
    GOLDEN.write_text(f"{text}\n", encoding="utf-8")
    return 0


def compare(many: int) -> int:
    """Print the first call that is answered otherwise; return 1 if there is one."""
    calls = 0
    for seed in range(many):
        case = random_case(seed)
        for call, ours, theirs in zip(
            case.calls, answers(case), reference_answers(case), strict=True
        ):
            calls += 1
            if ours != theirs:
                sys.stdout.write(f"seed {seed}: {call}\n{ours!r}\n{theirs!r}\n")
                return 1
    sys.stdout.write(f"{many} conversations, {calls} calls: equal\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
