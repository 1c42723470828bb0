"""Makes the played providers importable: `from played.http import PlayedServer`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
