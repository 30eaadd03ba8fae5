import sys
from pathlib import Path

# worker processes and the subprocess that is killed import the fakes by name
sys.path.insert(0, str(Path(__file__).parent))
