"""What it costs and how fast it is, against what else one could do and against the least possible.

`make bench` runs all of it; `python -m benchmarks PART …` some. Every part compares side by side in
one run and gives ratios: these outlast the machine they were measured on. `docs/performance.md` has
the results.
"""

import sys
from pathlib import Path

# What the tests stand on (built packages, the emulator) serves here, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
