from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
from gptoss_mlx.cli import doctor
import gptoss_mlx.cli.app
assert "mlx.core" not in sys.modules
import os, types
module = types.ModuleType("gptoss_mlx.doctor.examine")
def examine(*given, **named):
    print(os.environ["MLX_ENABLE_TF32"], "mlx.core" in sys.modules)
    raise SystemExit
module.examine = examine
sys.modules["gptoss_mlx.doctor.examine"] = module
doctor.doctor()
"""


def test_float32_is_computed_as_such() -> None:
    """TF32 is off before MLX is imported, whatever the environment says."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "MLX_ENABLE_TF32": "1"},
    )

    assert done.stdout.split() == ["0", "False"], done.stderr
