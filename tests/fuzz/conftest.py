import sys
from pathlib import Path

# benchmarks/robustness imports the same modules
sys.path.insert(0, str(Path(__file__).parent))
