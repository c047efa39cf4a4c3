"""Drop incomplete rows: ``python preprocess.py RAW CLEAN``."""

import sys
from pathlib import Path

raw, clean = map(Path, sys.argv[1:])
head, *rows = raw.read_text().splitlines()
kept = [row for row in rows if all(cell.strip() for cell in row.split(","))]
clean.write_text("\n".join([head, *kept]) + "\n")
