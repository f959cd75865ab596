"""A comparison as one HTML page: charts of the ratios, all figures, what it ran on. It needs nothing but itself.

The page is well-formed XML as well, which is how a test reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.comparison import CLOCKS, GROUPS, Comparison, Measured, Ratio

STYLE = """
:root { --paper: #fff; --ink: #1d2329; --faint: #6b7480; --line: #d9dee4; --good: #2a6fb0; --bad: #c8621b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181c; --ink: #e4e8ec; --faint: #97a1ac; --line: #333b43; --good: #5b9fdc; --bad: #e58a4b; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2em auto;
  max-width: 82em; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15em .8em; text-align: right; border-bottom: 1px solid var(--line); font-weight: normal; }
th:first-child, td:first-child { text-align: left; }
thead th, .mean td, .mean th { font-weight: 600; }
.group th { padding-top: 1em; font-weight: 600; } .faint { color: var(--faint); font-weight: normal; }
.bad { color: var(--bad); }
.facts th { color: var(--faint); text-align: left; } .facts td { text-align: left; }
.charts { display: flex; flex-wrap: wrap; gap: 1em 2em; } .wide { overflow-x: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .faint { fill: var(--faint); }
svg .mean { font-weight: 600; }
svg .good { fill: var(--good); } svg .bad { fill: var(--bad); }
svg line { stroke: var(--line); } svg .one { stroke: var(--ink); } svg .wanted { stroke: var(--ink); stroke-width: 2; }
"""
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
ROW, LABELS, PLOT, VALUES = 18, 104, 230, 44  # pixels: height of a row; widths of names, bars, numbers


def render(comparison: Comparison) -> str:
    """The page."""
    title = f"vmjit and its peers, {comparison.surroundings.get('date', 'some day')}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        facts(comparison),
        *remarks(comparison),
        "<h2>Ratios</h2>",
        f"<p>{escape(LEGEND)}</p>",
        f'<div class="charts">{"".join(chart(comparison, ratio) for ratio in comparison.ratios)}</div>',
        "<h2>Figures</h2>",
        f"<p>{escape(explanation(comparison))}</p>",
        f'<div class="wide">{table(comparison)}</div>',
    ]
    head = f'<meta charset="utf-8"/><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


LEGEND = (
    "Scales are logarithmic, and bars start at 1; where vmjit is slower than qemu they are orange. Rows in bold are "
    "geometric means of groups, and the short thick line in them what is wanted."
)


def explanation(comparison: Comparison) -> str:
    """What the figures are."""
    clock = {"wall": "by the wall clock", "cpu": "of processor time"}[comparison.clock]
    part = "" if comparison.portion == 1 else f", of {comparison.portion:g} of the full work"
    return f"Seconds {clock} of whole processes{part}; medians of {comparison.rounds}, which the peers ran in turn."


def facts(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in comparison.surroundings.items()
    )
    return f'<table class="facts">{rows}</table>'


def remarks(comparison: Comparison) -> Iterator[str]:
    """What is not as it should be."""
    slow, short, faults = comparison.slower_than_qemu(), comparison.short_of_target(), comparison.faults()
    for what, items in (("Slower than qemu", slow), ("Short of what is wanted", short), ("Wrong", faults)):
        if items:
            yield f'<p><span class="bad">{what}:</span> {escape("; ".join(items))}</p>'


# The chart of a ratio.


class Scale:
    """Where values lie on a logarithmic axis that has 1 and all values on it."""

    def __init__(self, values: Sequence[float]) -> None:
        self.low = max((tick for tick in TICKS if tick <= min(0.5, *values)), default=TICKS[0])
        self.high = min((tick for tick in TICKS if tick >= max(2, *values)), default=TICKS[-1])

    def x(self, value: float) -> float:
        """Pixels from the left edge of the plot; values beyond the ticks lie at the edge."""
        within = min(max(value, self.low), self.high)
        return PLOT * math.log(within / self.low) / math.log(self.high / self.low)

    @property
    def ticks(self) -> list[float]:
        return [tick for tick in TICKS if self.low <= tick <= self.high]

    def is_labelled(self, tick: float) -> bool:
        """All ticks if there is room, else the powers of ten."""
        return len(self.ticks) <= 7 or math.log10(tick).is_integer()


@dataclass(frozen=True)
class Bar:
    """A row of a chart: a kernel, or the mean of a group or of all."""

    name: str
    value: float | None
    about: str
    is_mean: bool = False
    wanted: float | None = None


def chart(comparison: Comparison, ratio: Ratio) -> str:
    """Bars of one ratio, for each group its mean and its kernels."""
    bars = list(chart_bars(comparison, ratio))
    scale = Scale([1.0, *(bar.value for bar in bars if bar.value is not None)])
    height = ROW * (len(bars) + 1) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{LABELS + PLOT + VALUES}" height="{height}">',
        f"<title>{ratio}: {escape(ratio.about)}</title>",
        *axis(scale, height),
        *(drawn(bar, ROW * number + 6, ratio, scale) for number, bar in enumerate(bars)),
        "</svg>",
    ]
    return f'<div><p><b>{ratio}</b> <span class="faint">{escape(ratio.about)}</span></p>{"".join(lines)}</div>'


def chart_bars(comparison: Comparison, ratio: Ratio) -> Iterator[Bar]:
    yield Bar("all kernels", comparison.mean(ratio, comparison.kernels), "the geometric mean", is_mean=True)
    for name, kernels in comparison.groups.items():
        group = GROUPS[name]
        yield Bar(name, comparison.mean(ratio, kernels), group.about, is_mean=True, wanted=group.wanted(ratio))
        for one in kernels:
            yield Bar(one.kernel.name, comparison.ratio(one, ratio), one.kernel.about)


def axis(scale: Scale, height: int) -> Iterator[str]:
    for tick in scale.ticks:
        x = LABELS + scale.x(tick)
        kind = ' class="one"' if tick == 1 else ""
        yield f'<line{kind} x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - ROW}"/>'
        if scale.is_labelled(tick):
            yield f'<text class="faint" text-anchor="middle" x="{x:.1f}" y="{height - 4}">{tick:g}</text>'


def drawn(bar: Bar, y: int, ratio: Ratio, scale: Scale) -> str:
    """A row of a chart; y is where it starts."""
    kind = ' class="mean"' if bar.is_mean else ""
    number = "-" if bar.value is None else f"{bar.value:.2f}"
    limit = "" if bar.wanted is None else f", wanted: {ratio.limit(bar.wanted)}"
    parts = [
        f"<title>{escape(f'{bar.name}: {number}{limit}. {bar.about}')}</title>",
        f'<text{kind} x="{0 if bar.is_mean else 12}" y="{y + 10}">{escape(bar.name)}</text>',
        f'<text{kind} text-anchor="end" x="{LABELS + PLOT + VALUES}" y="{y + 10}">{number}</text>',
    ]
    if bar.value is not None:
        one, end = scale.x(1), scale.x(bar.value)
        left, width = LABELS + min(one, end), max(abs(end - one), 1)
        side = "bad" if is_bad(ratio, bar.value) else "good"
        parts.append(f'<rect class="{side}" x="{left:.1f}" y="{y + 1}" width="{width:.1f}" height="{ROW - 7}"/>')
    if bar.wanted is not None:
        x = LABELS + scale.x(bar.wanted)
        parts.append(f'<line class="wanted" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 1}" y2="{y + ROW - 5}"/>')
    return f"<g>{''.join(parts)}</g>"


# The table.


def table(comparison: Comparison) -> str:
    """Medians and ratios, as in the terminal; the runs' figures show when one points at a median."""
    columns = [*comparison.peers, *map(str, comparison.ratios)]
    heads = "".join(f"<th>{escape(column)}</th>" for column in ("", *columns))
    body = []
    for name, kernels in comparison.groups.items():
        about = f'{escape(name)} <span class="faint">{escape(GROUPS[name].about)}</span>'
        body.append(f'<tr class="group"><th colspan="{len(columns) + 1}">{about}</th></tr>')
        body += [kernel_row(comparison, one) for one in kernels]
        body.append(mean_row("mean", comparison, kernels))
    body.append(mean_row("all kernels", comparison, comparison.kernels))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def kernel_row(comparison: Comparison, one: Measured) -> str:
    medians = [median_cell(comparison, one, peer) for peer in comparison.peers]
    ratios = [ratio_cell(ratio, comparison.ratio(one, ratio)) for ratio in comparison.ratios]
    about = escape(one.kernel.about, quote=True)
    return f'<tr><td title="{about}">{escape(one.kernel.name)}</td>{"".join(medians + ratios)}</tr>'


def mean_row(name: str, comparison: Comparison, kernels: Sequence[Measured]) -> str:
    cells = [ratio_cell(ratio, comparison.mean(ratio, kernels)) for ratio in comparison.ratios]
    return f'<tr class="mean"><td>{name}</td>{"<td></td>" * len(comparison.peers)}{"".join(cells)}</tr>'


def median_cell(comparison: Comparison, one: Measured, peer: str) -> str:
    median = one.median(peer, comparison.clock)
    runs = "; ".join(
        f"{clock}: " + ", ".join(f"{run.seconds(clock):.3f}" for run in one.runs.get(peer, ())) for clock in CLOCKS
    )
    return f'<td title="{escape(runs, quote=True)}">{"-" if median is None else f"{median:.3f}"}</td>'


def ratio_cell(ratio: Ratio, value: float | None) -> str:
    kind = ' class="bad"' if is_bad(ratio, value) else ""
    return f"<td{kind}>{'-' if value is None else f'{value:.2f}'}</td>"


def is_bad(ratio: Ratio, value: float | None) -> bool:
    """Whether the other one, qemu, is faster; vmjit is slower than native code as a rule."""
    return ratio.larger_is_better and value is not None and value < 1
