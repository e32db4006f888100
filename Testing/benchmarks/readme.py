"""The README's tables of committed benchmark results, between its markers, and the plot of growth.

python Testing/benchmarks/readme.py
"""

import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
RESULTS = Path(__file__).resolve().parent / "results" / "inference.json"
BEGIN, END = "<!-- made by Testing/benchmarks/readme.py: begin -->\n", "<!-- end -->"


def table(heading, rows):
    lines = [heading, "|" + "---|" * heading.count(" | ") + "---|", *rows]
    return "\n".join(lines) + "\n"


def tables(result):
    """Markdown of everything in inference.json."""
    machine, network = result["machine"], result["network"]
    depth, height, width = network["window"]
    bf16 = f"bf16 instructions: {', '.join(machine['bf16'])}" if machine["bf16"] else "without bf16 instructions"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    text = (
        f"{machine['cores']} cores of an {machine['processor']} ({bf16}); {versions}. Medians of "
        f"{network['repeats']} rounds in which all took turns, with least and most; gf {network['gf']}, "
        f"{width} x {height} x {depth}.\n\n"
    )

    def timed(part):
        return [
            f"| {name} | {r['median_s']:.2f} ({r['min_s']:.2f} to {r['max_s']:.2f}) | {r['times_faster']:.1f} |"
            for name, r in result[part].items()
        ]

    text += table("| one window | seconds | times faster |", timed("window")) + "\n"
    text += table("| a volume at step 1 | seconds | times faster |", timed("volume")) + "\n"
    rows = [
        f"| {name} | {r['mean_hu']:.2f} | {r['max_hu']:.0f} |"
        for name, r in result["accuracy_of_the_shipped_model"].items()
    ]
    text += table("| the shipped model, against plain fp32 | mean HU | largest HU |", rows) + "\n"
    counts = list(next(iter(result["peak_rss_mib"].values())))
    rows = [f"| {who} | {' | '.join(str(mib[n]) for n in counts)} |" for who, mib in result["peak_rss_mib"].items()]
    text += table(f"| peak memory in MiB, gf 16 | {' | '.join(counts)} |", rows) + "\n"
    growth = result["growth"]
    rows = [f"| {r['slices']} | {r['size']} x {r['size']} | {r['step']} | {r['seconds']} |" for r in growth["rows"]]
    text += f"The shipped model on a whole volume, {growth['compute'].split(', ')[-1]}:\n\n"
    return text + table("| slices | in plane | step | seconds |", rows)


def with_tables(readme, result):
    before, rest = readme.split(BEGIN)
    return before + BEGIN + tables(result) + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    README.write_text(with_tables(README.read_text(encoding="utf-8"), results), encoding="utf-8")
