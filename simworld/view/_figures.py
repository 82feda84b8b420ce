"""Figures: what plotly draws, in colours that people with any kind of colour vision tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import polars as pl

from simworld.view._page import Drawing
from simworld.view._text import label, level, number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe, Ito 2008 (jfly.uni-koeln.de/color), without the two that vanish on black or on white."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
"""Lines differ in dash and mark too: for print without colours."""
GREY = "#808080"
BAND = 0.22
"""Opacity of a band; arbitrary."""
LINES = 12
"""Lines in one figure: colours twice; arbitrary."""
CELLS_WRITTEN = 60
"""Cells of a heat map whose numbers are written into them; arbitrary."""


def _figure(traces: Sequence[Any], height: int, **layout: Any) -> Figure:
    from plotly import graph_objects as go

    figure = go.Figure(data=list(traces), layout={"height": height, **layout})
    figure.layout.template = None
    return figure


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": label(title, 60)}, **more}


class _Scale:
    """Where the values of a factor lie on an axis: numbers where they are, all else side by side in order.

    Side by side they have places and not names, as two long names may look the same when cut.
    """

    def __init__(self, values: Sequence[Any], *, as_names: bool = False) -> None:
        self.is_numeric = not as_names and all(_is_real(value) for value in values)
        self.values = list(dict.fromkeys(values))

    def at(self, values: Sequence[Any]) -> list[Any]:
        """Return the places of values."""
        places = {value: i for i, value in enumerate(self.values)}
        return list(values) if self.is_numeric else [places[value] for value in values]

    def axis(self, title: str, **more: Any) -> dict[str, Any]:
        """Return the axis."""
        if self.is_numeric:
            return _axis(title, **more)
        n = len(self.values)
        names = [label(level(value)) for value in self.values]
        ticks = {
            "tickmode": "array",
            "tickvals": list(range(n)),
            "ticktext": names,
            "range": [-0.5, n - 0.5],
            "zeroline": False,
        }
        return _axis(title, **ticks, **more)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(values: Sequence[Any]) -> list[str]:
    return [label(level(value)) for value in values]


def _error(frame: pl.DataFrame, value: str) -> dict[str, Any]:
    up, down = (frame["high"] - frame[value]).to_list(), (frame[value] - frame["low"]).to_list()
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.5, "width": 4}


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND})"


def _band(x: Sequence[Any], frame: pl.DataFrame, colour: str, group: str) -> Any:
    from plotly import graph_objects as go

    there = [i for i, (a, b) in enumerate(frame.select("low", "high").iter_rows()) if _is_number(a) and _is_number(b)]
    kept = [x[i] for i in there]
    low, high = frame["low"].to_list(), frame["high"].to_list()
    return go.Scatter(
        x=kept + kept[::-1], y=[high[i] for i in there] + [low[i] for i in there][::-1], fill="toself",
        fillcolor=_faint(colour), line={"width": 0, "color": "rgba(0,0,0,0)"}, mode="lines", hoverinfo="skip",
        legendgroup=group, showlegend=False,
    )  # fmt: skip


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _line_of_theory(theory: float | None, axis: str) -> list[dict[str, Any]]:
    """Return the line of what theory gives, right across the figure."""
    if theory is None:
        return []
    other = "x" if axis == "y" else "y"
    line = {"dash": "dash", "width": 1.5, "color": GREY}
    ends = {f"{axis}0": theory, f"{axis}1": theory, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper"}
    return [{"type": "line", **ends, "line": line}]


def _named_theory(theory: float | None, axis: str, place: Any) -> list[Any]:
    """Return what names that line in the legend, and makes room for it: the axes do not see a line of theirs."""
    from plotly import graph_objects as go

    if theory is None:
        return []
    x, y = ([place], [theory]) if axis == "y" else ([theory], [place])
    line = {"dash": "dash", "width": 1.5, "color": GREY}
    name = f"theory: {number(theory)}"
    return [go.Scatter(x=x, y=y, mode="lines", line=line, name=name, showlegend=True, hoverinfo="skip")]


def _legend(title: str = "") -> dict[str, Any]:
    return {
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "yanchor": "bottom",
        "title": {"text": label(title) and f"{label(title)}  "},
    }


def dots(
    title: str, caption: str, frame: pl.DataFrame, names: Sequence[str], x_title: str, *, value: str = "mean",
    theory: float | None = None, hollow: Sequence[bool] = (), zero: bool = False,
) -> Drawing:  # fmt: skip
    """Draw values with their intervals, one line each, the first on top.

    Args:
        title: of the figure.
        caption: what it shows.
        frame: ``value``, ``low``, ``high``; one row a line.
        names: of the rows.
        x_title: what the values are.
        value: column of the value.
        theory: what theory gives.
        hollow: rows that are drawn hollow and grey: the null.
        zero: whether 0 is marked.
    """
    from plotly import graph_objects as go

    is_null = list(hollow) or [False] * frame.height
    mark = {
        "size": 9, "symbol": ["circle-open" if each else "circle" for each in is_null],
        "color": [GREY if each else COLOURS[0] for each in is_null],
    }  # fmt: skip
    trace = go.Scatter(
        x=frame[value].to_list(), y=list(range(frame.height)), mode="markers", marker=mark, showlegend=False,
        error_x={**_error(frame, value), "color": GREY}, text=[label(name) for name in names],
        customdata=[[number(a), number(b)] for a, b in frame.select("low", "high").iter_rows()],
        hovertemplate="%{text}<br>%{x:.4g} (%{customdata[0]} to %{customdata[1]})<extra></extra>",
    )  # fmt: skip
    figure = _figure(
        [trace, *_named_theory(theory, "x", 0)], 110 + 24 * frame.height, yaxis=_rows(names),
        xaxis=_axis(x_title, zeroline=zero), shapes=_line_of_theory(theory, "x"), legend=_legend(), margin={"t": 30},
    )  # fmt: skip
    return Drawing(title, caption, figure, frame)


def _rows(names: Sequence[str]) -> dict[str, Any]:
    n = len(names)
    texts = [label(name) for name in names]
    return {
        "tickmode": "array", "tickvals": list(range(n)), "ticktext": texts, "range": [n - 0.4, -0.6], "zeroline": False
    }  # fmt: skip


def curves(
    title: str, caption: str, frame: pl.DataFrame, x: str, by: str | None, x_title: str, y_title: str, *,
    by_title: str = "", null: pl.DataFrame | None = None, theory: float | None = None, log: bool = False,
    band: bool = False, data: pl.DataFrame | None = None,
) -> Drawing:  # fmt: skip
    """Draw means with their intervals against a factor, a line a level of another.

    Args:
        title: of the figure.
        caption: what it shows.
        frame: columns ``x``, ``by``, ``mean``, ``low``, ``high``.
        x: column of the factor.
        by: column of the second factor; None for one line.
        x_title: name of the factor.
        y_title: name of the measure.
        by_title: name of the second factor.
        null: the same columns without ``by`` for the null policy: a grey band.
        theory: what theory gives: a dashed line.
        log: whether the factor's axis is logarithmic.
        band: whether intervals are bands and not bars.
        data: what is downloaded; ``frame`` by default.
    """
    from plotly import graph_objects as go

    traces: list[Any] = []
    scale = _Scale([*frame[x].to_list(), *(null[x].to_list() if null is not None else [])])
    hover = "%{text}<br>%{y:.4g}"
    if null is not None and null.height:
        places = scale.at(null[x].to_list())
        traces += [
            _band(places, null, GREY, "null"),
            go.Scatter(x=places, y=null["mean"].to_list(), mode="lines", name="null policy", legendgroup="null",
                       line={"color": GREY, "width": 2, "dash": "dot"}, text=_words(null[x].to_list()),
                       hovertemplate=hover),
        ]  # fmt: skip
    levels = [None] if by is None else _ordered(frame[by].unique(maintain_order=True).to_list())
    for i, one in enumerate(levels[:LINES]):
        part = frame if by is None else frame.filter(pl.col(by).eq_missing(pl.lit(one)))
        part = part.sort(x, maintain_order=True) if scale.is_numeric else part
        colour, group = COLOURS[i % len(COLOURS)], str(i)
        places = scale.at(part[x].to_list())
        more: dict[str, Any] = {}
        if band:
            traces.append(_band(places, part, colour, group))
        else:
            more = {"error_y": {**_error(part, "mean"), "color": colour},
                    "marker": {"symbol": MARKS[i % len(MARKS)], "size": 8}}  # fmt: skip
        traces.append(go.Scatter(
            x=places, y=part["mean"].to_list(), mode="lines" if band else "lines+markers", legendgroup=group,
            name=label(y_title if by is None else level(one)), text=_words(part[x].to_list()), hovertemplate=hover,
            line={"color": colour, "width": 2, "dash": DASHES[(i + i // len(COLOURS)) % len(DASHES)]},
            showlegend=by is not None or null is not None or theory is not None, **more,
        ))  # fmt: skip
    traces += _named_theory(theory, "y", scale.at(scale.values[:1])[0] if scale.values else 0)
    figure = _figure(
        traces, 440, xaxis=scale.axis(x_title, **({"type": "log"} if log and scale.is_numeric else {})),
        yaxis=_axis(y_title), legend=_legend(by_title), shapes=_line_of_theory(theory, "y"),
    )  # fmt: skip
    return Drawing(title, caption, figure, frame if data is None else data)


def heat_map(
    title: str, caption: str, frame: pl.DataFrame, x: str, y: str, x_title: str, y_title: str, z_title: str
) -> Drawing:
    """Draw means over two factors, columns ``x``, ``y``, ``mean``; the darker the lower (cividis)."""
    from plotly import graph_objects as go

    xs, ys = (_ordered(frame[name].unique(maintain_order=True).to_list()) for name in (x, y))
    known = {(a, b): c for a, b, c in frame.select(x, y, "mean").iter_rows()}
    z = [[known.get((a, b)) for a in xs] for b in ys]
    is_written = len(xs) * len(ys) <= CELLS_WRITTEN
    across, up = _Scale(xs, as_names=True), _Scale(ys, as_names=True)
    trace = go.Heatmap(
        x=across.at(xs), y=up.at(ys), z=z, colorscale="Cividis", xgap=1, ygap=1,
        text=[[f"{label(level(a))}, {label(level(b))}" for a in xs] for b in ys],
        colorbar={"title": {"text": label(z_title, 30), "side": "right"}, "thickness": 14},
        hovertemplate="%{text}<br>%{z:.4g}<extra></extra>",
    )  # fmt: skip
    written = _written(z) if is_written else []
    figure = _figure(
        [trace], 160 + min(44 * len(ys), 480), xaxis=across.axis(x_title, showgrid=False),
        annotations=written, yaxis=up.axis(y_title, showgrid=False),
    )  # fmt: skip
    return Drawing(title, caption, figure, frame)


def _written(z: Sequence[Sequence[float | None]]) -> list[dict[str, Any]]:
    """Return the numbers of the cells, black where cividis is light and white where it is dark."""
    known = [value for row in z for value in row if _is_number(value)]
    if not known:
        return []
    low, size = min(known), (max(known) - min(known)) or 1.0
    return [
        {"x": i, "y": j, "text": number(float(f"{value:.3g}")), "showarrow": False,
         "font": {"color": "#000000" if (value - low) / size > 0.5 else "#ffffff"}}
        for j, row in enumerate(z) for i, value in enumerate(row) if _is_number(value)
    ]  # fmt: skip


def _ordered(values: list[Any]) -> list[Any]:
    return sorted(values) if all(_is_real(value) for value in values) else values


def bars(
    title: str, caption: str, frame: pl.DataFrame, names: Sequence[str], value: str, x_title: str, *,
    by: Sequence[str] = (), log: bool = False, percent: bool = False,
) -> Drawing:  # fmt: skip
    """Draw bars, the first on top; with ``low`` and ``high`` in the frame, with intervals.

    Args:
        title: of the figure.
        caption: what it shows.
        frame: one row a bar.
        names: of the bars.
        value: column of their lengths.
        x_title: what the lengths are.
        by: kind of each bar: one colour each, bars of one name side by side.
        log: whether the axis is logarithmic.
        percent: whether values are shares.
    """
    from plotly import graph_objects as go

    kinds = list(by) or [""] * frame.height
    rows = list(dict.fromkeys(names))
    traces: list[Any] = []
    for i, kind in enumerate(dict.fromkeys(kinds)):
        chosen = [k for k, each in enumerate(kinds) if each == kind]
        part = frame[chosen]
        more = {"error_x": {**_error(part, value), "color": GREY}} if "low" in frame.columns else {}
        traces.append(go.Bar(
            x=part[value].to_list(), y=[rows.index(names[k]) for k in chosen], orientation="h", name=label(kind),
            marker={"color": COLOURS[i % len(COLOURS)], "pattern": {"shape": ("", "/", ".")[i % 3]}},
            showlegend=bool(kind), text=[label(names[k]) for k in chosen], textposition="none",
            hovertemplate="%{text}<br>%{x:.4g}<extra></extra>", **more,
        ))  # fmt: skip
    axis = _axis(x_title, **({"type": "log"} if log else {}), **({"tickformat": ".0%"} if percent else {}))
    figure = _figure(
        traces, 120 + 30 * len(rows) * max(1, len(traces)), xaxis=axis, legend=_legend(), bargap=0.25, yaxis=_rows(rows)
    )
    return Drawing(title, caption, figure, frame)


def cloud(
    title: str, caption: str, frame: pl.DataFrame, x: str, y: str, names: Sequence[str], x_title: str, y_title: str
) -> Drawing:
    """Draw named points."""
    from plotly import graph_objects as go

    trace = go.Scatter(
        x=frame[x].to_list(), y=frame[y].to_list(), mode="markers+text", text=[label(name) for name in names],
        textposition="top center", marker={"size": 9, "color": COLOURS[0]}, showlegend=False, cliponaxis=False,
        hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
    )  # fmt: skip
    figure = _figure([trace], 420, xaxis=_axis(x_title, rangemode="tozero"), yaxis=_axis(y_title, rangemode="tozero"))
    return Drawing(title, caption, figure, frame)
