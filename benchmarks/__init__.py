"""Measures cost and speed, against alternatives and against the least possible.

`make bench` runs all parts, `python -m benchmarks PART …` some. Each part compares side by side in
one run and reports ratios, which hold on any machine. `docs/performance.md` has the results.
"""

import sys
from pathlib import Path

# The benchmarks use the tests' support code (built packages, the emulator), too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
