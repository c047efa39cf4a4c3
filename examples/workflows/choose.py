"""Copy the best of several models: ``python choose.py BEST MODEL...``."""

import pickle
import shutil
import sys
from pathlib import Path

best, *models = sys.argv[1:]
shutil.copyfile(max(models, key=lambda m: pickle.loads(Path(m).read_bytes())["accuracy"]), best)
