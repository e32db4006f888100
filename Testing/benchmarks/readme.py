"""The README's tables of committed benchmark results, between its markers.

python Testing/benchmarks/readme.py
"""

import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
RESULTS = Path(__file__).resolve().parent / "results"
BEGIN, END = "<!-- made by Testing/benchmarks/readme.py: begin -->\n", "<!-- end -->"


def table(heading, rows):
    lines = [heading, "|" + "---|" * heading.count(" | ") + "---|", *rows]
    return "\n".join(lines) + "\n\n"


def timed(rows):
    return [
        f"| {name} | {row['median_s']:.2f} ({row['min_s']:.2f} to {row['max_s']:.2f}) | {row['times_faster']:.1f} |"
        for name, row in rows.items()
    ]


def inference(result):
    machine, network = result["machine"], result["network"]
    depth, height, width = network["window"]
    bf16 = f"bf16 instructions: {', '.join(machine['bf16'])}" if machine["bf16"] else "without bf16 instructions"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    text = (
        f"{machine['cores']} cores of an {machine['processor']} ({bf16}); {versions}. Medians of "
        f"{network['repeats']} rounds in which all took turns, with least and most; gf {network['gf']}, "
        f"{width} x {height} x {depth}.\n\n"
    )
    text += table("| one window | seconds | times faster |", timed(result["window"]))
    text += table("| a volume at step 1 | seconds | times faster |", timed(result["volume"]))
    rows = [
        f"| {name} | {row['mean_hu']:.2f} | {row['max_hu']:.0f} |"
        for name, row in result["accuracy_of_the_shipped_model"].items()
    ]
    text += table("| SyntheticContrast-choi2021-demo, against plain fp32 | mean HU | largest HU |", rows)
    for engine, parts in result["profile"].items():
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in parts.items())
        text += f"Where the time of a window goes with {engine} in bf16: {shares}.\n\n"
    memory = result["peak_memory_mib"]
    counts, most = list(memory["peer"]), list(memory["peer"])[-1]
    rows = [
        f"| {who} | {' | '.join(f'{mib[count]:,}' for count in counts)} | {mib[most] / memory['peer'][most]:.0%} |"
        for who, mib in memory.items()
    ]
    return text + table(f"| peak memory in MiB | {' | '.join(counts)} | of the peer's |", rows)


def training(result):
    network = result["network"]
    depth, height, width = network["window"]
    what = f"gf {network['gf']}, {width} x {height} x {depth}, {network['repeats']} rounds"
    heading = f"| a training step, {what} | seconds | times faster |"
    speed = result["loader_stacks_per_second"]
    text = f"The loader alone reads {speed:,.0f} stacks of 16 slices a second on two threads.\n\n"
    return table(heading, timed(result["step"])) + text


def files(result):
    slices, rows = result["slices"], []
    for name, seconds in result["seconds"].items():
        before, now = seconds.get("before"), seconds["now"]
        rows.append(f"| {name} | {'' if before is None else f'{before:.2f}'} | {now:.2f} |")
    return table(f"| {slices} slices of 512 x 512, seconds, {result['repeats']} rounds | before | now |", rows)


def growth(result):
    found = result["rows"]
    rows = [
        f"| {row['slices']:,} | {row['size']} x {row['size']} | {row['step']} | {row['cases']} | {row['seconds']:.1f} "
        f"| {row['mib']:,} |"
        for rows in found.values()
        for row in rows
    ]
    engine = found["slices"][0]["compute"].split(", ")[-1]
    text = f"SyntheticContrast-choi2021-demo on whole volumes, {engine} (start-up left out):\n\n"
    text += "![Time and memory against slices, size, step and cases](Testing/benchmarks/results/growth.png)\n\n"
    return text + table("| slices | in plane | step | cases | seconds | peak MiB |", rows)


def gpu(result):
    rows = [
        f"| {row['way']} | {row['at_once']} | {row['ms']:.2f} | {row['tflops']:.0f} | "
        f"{'' if row['share_of_peak'] is None else format(row['share_of_peak'], '.0%')} |"
        for row in result["window"]["rows"]
    ]
    text = f"On one {result['machine']['card']}:\n\n"
    text += table("| one window, folded, bf16 | at once | ms | TFLOP/s | of the card's peak |", rows)
    rows = [f"| {name} | {seconds} |" for name, seconds in result["volume"].items()]
    return text + table(f"| {result['network']['slices']} slices at step 1 | seconds |", rows)


TABLES = {"inference": inference, "training": training, "files": files, "growth": growth, "gpu": gpu}


def with_tables(readme):
    """The text with tables of all results that there are."""
    text = ""
    for name, tables in TABLES.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            text += tables(json.loads(path.read_text(encoding="utf-8")))
    before, rest = readme.split(BEGIN)
    return before + BEGIN + text.rstrip("\n") + "\n" + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
