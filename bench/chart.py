#!/usr/bin/python3
"""make bench-chart: puts the last run of make bench into doc/bench.md, as a table,
and draws doc/bench.svg."""
import json
import os
import re

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
from matplotlib import pyplot  # noqa: E402, after the backend is set

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def text(row, column):
    value = row[column]
    if row["unit"] == "x":
        return f"{value:.3f}"
    return f"{value:,.0f}" if column == "counted" else f"{value:,.0f} ns"


def table(results):
    yield f"{results['platform']}, {os.cpu_count()} cores of {results['processor']}."
    yield ""
    yield "| | counted | at most | target | timed, noisy |"
    yield "|---|--:|--:|--:|--:|"
    for row in results["rows"]:
        bar, target = ("" if row[column] == "-" else row[column] for column in ("bar", "target"))
        yield f"| {row['what'].replace(' / ', ' ÷ ')} | {text(row, 'counted')} | {bar} | {target} | {text(row, 'timed')} |"


def draw(axes, rows, start, label):
    """A line for each row, from start to the counted value, and its target."""
    for y, row in enumerate(reversed(rows)):
        axes.plot([start, row["counted"]], [y, y], color="#9db7d5", linewidth=4, solid_capstyle="butt", zorder=1)
        axes.plot(row["counted"], y, "o", color="#1f4e89", markersize=5, zorder=3)
        axes.annotate(text(row, "counted"), (max(row["counted"], start), y), (7, 0), textcoords="offset points", va="center")
        if row["target"] != "-":
            axes.plot(float(row["target"]), y, "|", color="#c0392b", markersize=11, markeredgewidth=2, zorder=2)
    axes.set_yticks(range(len(rows)), [row["what"].replace(" / ", " ÷ ") for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.axvline(start, color="black", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def main():
    with open(os.path.join(os.environ["BENCH_OUT"], "results.json"), encoding="utf-8") as file:
        results = json.load(file)
    ratios = [row for row in results["rows"] if row["unit"] == "x"]
    others = [row for row in results["rows"] if row["unit"] != "x"]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 7.5), layout="constrained",
                                             height_ratios=[len(ratios) + 2, len(others) + 2])
    figure.get_layout_engine().set(hspace=0.05)
    draw(above, ratios, 1, "times as many instructions (blue); target (red)")
    above.set_xlim(0.015, 60)
    above.set_xticks([0.02, 0.1, 0.5, 1, 2, 10, 30], ["0.02", "0.1", "0.5", "1", "2", "10", "30"])
    above.minorticks_off()
    draw(below, others, 100, "instructions more")
    below.set_xlim(100, 60000)
    below.set_xticks([100, 300, 1000, 3000, 10000, 30000], ["100", "300", "1,000", "3,000", "10,000", "30,000"])
    below.minorticks_off()
    figure.savefig(os.path.join(ROOT, "doc", "bench.svg"), metadata={"Date": None})

    page = os.path.join(ROOT, "doc", "bench.md")
    with open(page, encoding="utf-8") as file:
        before, _, after = re.split(r"(?<=<!-- table -->\n)(.*)(?=<!-- end -->)", file.read(), flags=re.S)
    with open(page, "w", encoding="utf-8") as file:
        file.write(before + "\n" + "".join(line + "\n" for line in table(results)) + "\n" + after)


main()
