"""Export: a run's tables and its graph in formats other programs read."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from simworld.errors import StorageError, UsageError, did_you_mean
from simworld.run._load import Run
from simworld.world import write_graph

TABLE_FORMATS = ("csv", "parquet", "jsonl")
GRAPH_FORMATS = ("graphml", "gexf")
FORMATS = (*TABLE_FORMATS, *GRAPH_FORMATS)


def export(run: Run, fmt: str, to: Path, *, step: int | None = None, kind: str | None = None) -> list[Path]:
    """Write a run's tables (csv, parquet, jsonl) or its graph (graphml, gexf) into a folder, and return the files.

    Args:
        run: the run.
        fmt: one of `FORMATS`.
        to: the folder; made when missing. A file that exists is refused.
        step: step of the graph; the last by default. Tables hold all steps.
        kind: kind of tie of the graph; the main one by default.

    Raises:
        UsageError: an unknown format, or a file that exists.
        StorageError: a file that cannot be written.
    """
    if fmt not in FORMATS:
        raise UsageError(f"no export format {fmt!r}{did_you_mean(fmt, FORMATS)}; there are {list(FORMATS)}")
    written: list[Path] = []
    try:
        if fmt in GRAPH_FORMATS:
            graph = run.graph(step, kind)
            to.mkdir(parents=True, exist_ok=True)
            file = _free(to / f"graph-{run.steps if step is None else step}.{fmt}")
            write_graph(graph, file)
            return [file]
        tables = {"metrics": run.metrics, "findings": run.findings, "events": run.events, "ties": run.ties}
        if run.calls.height:
            tables |= {"calls": run.calls, "answers": run.answers, "spending": run.spending}
        tables |= {"memory": run.memory} if "memory" in run.manifest else {}
        tables |= {name: run.table(name) for name in run.manifest.get("tables", ["agents"])}
        to.mkdir(parents=True, exist_ok=True)
        for name in tables:
            _free(to / f"{name}.{fmt}")
        for name, frame in tables.items():
            file = to / f"{name}.{fmt}"
            if fmt == "csv":
                frame.write_csv(file)
            elif fmt == "parquet":
                frame.write_parquet(file)
            else:
                frame.write_ndjson(file)
            written.append(file)
    except OSError as error:
        raise StorageError(f"cannot write {error.filename or to}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise StorageError(f"cannot write into {to}: {error}") from error
    return written


def _free(file: Path) -> Path:
    if file.exists():
        raise UsageError(f"{file} exists; export to another folder or remove it first")
    return file
