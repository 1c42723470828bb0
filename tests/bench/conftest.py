"""Lets benchmarks import what they share (`workload`), which tests elsewhere need not."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
