"""Several reports of pairs_report.py side by side, as the README has them: means over the patients left out.

python Testing/realdata/compare_reports.py "before=results/before.json" "now=results/shares.json"

Of the last report the interval and each pair, too.
"""

import json
import sys
from pathlib import Path

from pairs_table import ROWS, _cell, _mean, flat

LEFT_OUT = ("LPIPS", "stays: mean change, HU", "PSNR at the patient's own level, dB")


def main(arguments):
    reports = {}
    for argument in arguments:
        label, _, path = argument.partition("=")
        reports[label] = json.loads(Path(path).read_text())
    *earlier, last = reports
    pairs = reports[last]["pairs"]
    lines = [["", *earlier, f"{last} [95 %]", *pairs], ["---"] * (len(reports) + len(pairs) + 1)]
    for title, text, figure, digits, factor in ROWS:
        if title in LEFT_OUT:
            continue
        means = [_mean(reports[label]["patients"], figure, digits, factor).partition(" [")[0] for label in earlier]
        means.append(_mean(reports[last]["patients"], figure, digits, factor))
        lines.append([title, *means, *(_cell(text, flat(row)) for row in pairs.values())])
    print("\n".join("| " + " | ".join(line) + " |" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1:])
