"""A vector index of one run's memories on chromadb: for looking into a run, rebuilt on any doubt, never the record.

chromadb's HNSW files are not crash-safe. A write that the full disk refuses passes without an error, and a torn file
makes a later write grow without bound (chroma-core/chroma issue 7510; 27 GB seen here). So an index is written in a
temporary folder, checked byte by byte and by asking it, and renamed when whole. A reader compares every file with its
sha256 before chromadb may touch it, and lets chromadb open a view: chromadb writes to its SQLite file by opening it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from simworld.errors import StorageError
from simworld.schema import Record

FORMAT = 1
"""Of ``index.json``; another number is doubted."""

WRITE = 5_000
"""Records an ``add``, and records between two syncs of the graph; below chromadb's limit of 5,461."""

SCAN = 20_000
"""Matching records up to which a search is exact: all their vectors are fetched (50 µs each, so 1 s) and compared.

HNSW cannot be trusted with few: asked for 100 records of two agents it left out 13 in a hundred, because a graph of
repeated texts has nodes no search reaches, however wide (10,000 records, half of them five texts)."""

GRAPH: dict[str, Any] = {"space": "cosine", "ef_construction": 200, "ef_search": 400, "max_neighbors": 32}
"""How the graph is built and searched. Of 100,000 records, a third of them of five texts, it finds 0.987 of the nearest
ten where ef_construction 100 and 16 neighbours (chromadb's own) find 0.956, and takes 2.6 times as long to build. A
wider search finds hardly more: what is missing cannot be reached."""

FETCH = 64
"""Candidates asked of the graph at least, to be ranked again by exact cosine; arbitrary."""

PROBES = 8
"""Questions asked of a fresh index whose answers a reader compares; arbitrary."""

AGENTS = 10_000
"""Agents in one filter; SQLite takes 32,766 variables."""

TIE = 1e-6
"""Cosines nearer than this are equal: chromadb keeps vectors in float32."""


class Entry(NamedTuple):
    """One record to index."""

    id: int
    agent: int
    kind: str
    t: int
    importance: float
    valid_to: int
    flags: int
    text: str


class Hit(NamedTuple):
    """One record found; ``cosine`` is its similarity to what was asked, in [-1, 1], and 0 with a vector of zeros."""

    id: int
    agent: int
    kind: str
    t: int
    importance: float
    text: str
    cosine: float
    flags: int = 0


class IndexReport(Record):
    """What was indexed, and what it took."""

    records: int
    """Records in the index."""
    left_out: int
    """Records of the run that the caller left out."""
    left_out_why: str
    """Why; empty when none was."""
    seconds: float
    """Wall time of the build."""
    bytes: int
    """Size of the folder."""


class IndexDoubt(Exception):
    """The index is missing, stale or damaged; the message says which. Build it again."""


def allowed_bytes(records: int, dims: int, text_bytes: int) -> int:
    """Return the size above which an index is taken for a runaway: twice what is expected, and 64 MiB.

    Measured with 512 dimensions and texts of 69 bytes: 3,650 bytes a record, of which 2,320 are the graph (4 a
    dimension, 272 of links) and 1,290 SQLite (six scalars, and the text with its trigrams, taken as tenfold). What is
    written but not yet in the graph waits in SQLite.
    """
    waiting = 2 * WRITE * 4 * dims
    return 2 * (records * (4 * dims + 1_500) + 10 * text_bytes) + waiting + (64 << 20)


def build_index(
    folder: Path,
    *,
    run: str,
    identity: Mapping[str, Any],
    source: str,
    batches: Iterable[tuple[Sequence[Entry], NDArray[np.float32]]],
    limit_bytes: int | None = None,
    left_out: int = 0,
    left_out_why: str = "",
    progress: Callable[[int], None] | None = None,
) -> IndexReport:
    """Write the index of a run beside ``folder`` and put it there when it is whole, in the place of an older one.

    Args:
        folder: where it will be; its parent exists.
        run: the run's name; the collection is named from it.
        identity: what the vectors come from (model, dimensions, normalisation); JSON scalars.
        source: a digest of what is indexed. A reader who expects another finds the index stale.
        batches: records and their vectors, float32 of shape (records, dims), finite; ids are unique.
        limit_bytes: the folder may not grow above it; by default only above what ``allowed_bytes`` says.
        left_out: records that are not in ``batches``.
        left_out_why: why they are not.
        progress: told the number of records written so far.

    Raises:
        StorageError: the disk is full or cannot be written, the size passed its limit, or what was written does not
            read back. The temporary folder is removed; an older index stays.
        ValueError: a batch's vectors do not fit its records or the batch before, or an id comes twice.
    """
    began = time.perf_counter()
    _clean(folder)
    temporary = _beside(folder)
    try:
        with _writing(folder):
            temporary.mkdir()
        writer = _Writer(temporary, folder, _name(run), limit_bytes)
        _write(writer, batches, progress)
        # Before chromadb opens it again, and after: it maps a file into memory and trusts it to be as long as it was.
        _check_graph(writer, writer.records - writer.records % WRITE)
        probes = _settle(writer)
        _check_graph(writer, writer.records)
        files = _synced_files(temporary)
        size = sum(entry["bytes"] for entry in files.values())
        about = {
            "format": FORMAT, "chromadb": _version(), "run": run, "collection": writer.name, "identity": dict(identity),
            "source": source, "records": writer.records, "max_id": writer.max_id, "dims": writer.dims, "bytes": size,
            "allowed_bytes": writer.allowed(), "files": files, "probes": probes,
        }  # fmt: skip
        with _writing(folder), (temporary / "index.json").open("w", encoding="utf-8") as file:
            json.dump(about, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(temporary)
        try:
            # As a reader will open it; what chromadb reports now would be a doubt at every opening.
            MemoryIndex(temporary, about, beside=folder).close()
            _compare(temporary, about["files"])
        except IndexDoubt as error:
            raise StorageError(f"the index written for {folder} does not read back: {error}") from error
        with _writing(folder):
            _put(temporary, folder)
    finally:
        _remove(temporary)
    return IndexReport(
        records=writer.records,
        left_out=left_out,
        left_out_why=left_out_why,
        seconds=time.perf_counter() - began,
        bytes=size,
    )


def open_index(folder: Path, *, source: str, identity: Mapping[str, Any]) -> MemoryIndex:
    """Open an index after checking that it is of this source and that every byte is as it was written.

    Raises:
        IndexDoubt: it is missing, of another source, of vectors of another identity, of another version of chromadb,
            altered, or does not answer as it did.
    """
    _clean(folder)
    try:
        about = json.loads((folder / "index.json").read_text("utf-8"))
        found = {name: about[name] for name in ("format", "chromadb", "source", "identity", "records", "files")}
    except FileNotFoundError:
        raise IndexDoubt(f"{folder} holds no index") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IndexDoubt(f"{folder / 'index.json'} cannot be read: {error!r}") from error
    # Through JSON, as the one in the file: a tuple is a list there.
    expected = {"format": FORMAT, "chromadb": _version(), "source": source, "identity": _as_json(identity)}
    for name, value in expected.items():
        if found[name] != value:
            raise IndexDoubt(f"{folder} is of {name} {found[name]!r}, not {value!r}")
    try:
        _compare(folder, about["files"])
        if about["bytes"] > about["allowed_bytes"]:
            raise IndexDoubt(f"{folder} has {about['bytes']:,} bytes, more than {about['records']:,} records explain")
        return MemoryIndex(folder, about, beside=folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise IndexDoubt(f"{folder / 'index.json'} cannot be read: {error!r}") from error


def drop_index(folder: Path) -> None:
    """Remove an index, and what killed writers and readers left beside it.

    Raises:
        StorageError: it cannot be removed.
    """
    with _writing(folder):
        if folder.exists():
            # Renamed first: killed half way it is a stray, not half an index.
            aside = _beside(folder)
            folder.rename(aside)
            shutil.rmtree(aside)
            _alive.discard(aside.name)
    _clean(folder)


class MemoryIndex:
    """An open index, for searching; made by ``open_index``. One thread at a time."""

    def __init__(self, folder: Path, about: Mapping[str, Any], *, beside: Path) -> None:
        self.folder = folder
        """Where the index is; it is not written."""
        self._records: int = about["records"]
        self._dims: int = about["dims"]
        self._rows: _Rows | None = None
        self._client: Any = None
        self._view = _beside(beside)
        try:
            with _doubting(folder):
                _link(folder, self._view, about["files"])
                self._client = _client(self._view)
                self._collection = self._client.get_collection(about["collection"], embedding_function=None)
                counted = self._collection.count()
                if counted != self._records:
                    raise IndexDoubt(f"{folder} holds {counted:,} records of {self._records:,}")
                for probe in about["probes"]:
                    answer = _ask(self._collection, str(probe["id"]))
                    if answer != probe["finds"]:
                        raise IndexDoubt(f"{folder} answers {answer} where it answered {probe['finds']}")
        except BaseException:
            self.close()
            raise

    def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        *,
        agents: Sequence[int] | None = None,
        kinds: Sequence[str] | None = None,
        until: int | None = None,
    ) -> list[Hit]:
        """Return the k records nearest to a vector by cosine, nearest first; of equals (to 1e-6) the smaller id first.

        Exact when at most ``SCAN`` records match the filter; above that the graph proposes and exact cosine ranks.

        Args:
            vector: float32 of shape (dims,), of any length.
            k: at least 1.
            agents: only their records.
            kinds: only records of these kinds.
            until: only records of this step and before.

        Raises:
            ValueError: the vector has another shape or is not finite, or k is below 1.
            IndexDoubt: chromadb failed.
        """
        wanted = np.asarray(vector, np.float64)
        if wanted.shape != (self._dims,) and self._records:
            raise ValueError(f"the vector has shape {wanted.shape}; the index holds ({self._dims},)")
        if k < 1 or not np.isfinite(wanted).all():
            raise ValueError(f"k is {k}, to be at least 1, and the vector has to be finite")
        if not self._records or (agents is not None and not len(agents)) or (kinds is not None and not len(kinds)):
            return []
        if self._records <= SCAN:
            if self._rows is None:
                self._rows = self._fetch(None)
            return self._rows.only(agents, kinds, until).nearest(wanted, k)
        if agents is not None and len(agents) > AGENTS:
            parts = [agents[a : a + AGENTS] for a in range(0, len(agents), AGENTS)]
            hits = {h.id: h for part in parts for h in self.search(vector, k, agents=part, kinds=kinds, until=until)}
            return sorted(hits.values(), key=_order)[:k]
        where = _where(agents, kinds, until)
        with _doubting(self.folder):
            if where is not None:
                matching = len(self._collection.get(where=where, include=[], limit=SCAN + 1)["ids"])
                if matching <= SCAN:
                    return self._fetch(where).nearest(wanted, k)
            return self._through_graph(wanted, k, where)

    def count(self) -> int:
        """Return the number of records."""
        return self._records

    def close(self) -> None:
        """Let go of chromadb's files and threads, and of the view."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._rows = None
        _remove(self._view)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _fetch(self, where: dict[str, Any] | None) -> _Rows:
        with _doubting(self.folder):
            got = self._collection.get(where=where, include=["embeddings", "documents", "metadatas"])
            return _Rows.of(got["ids"], got["metadatas"], got["documents"], got["embeddings"])

    def _through_graph(self, wanted: NDArray[np.float64], k: int, where: dict[str, Any] | None) -> list[Hit]:
        n = max(FETCH, 4 * k)
        while True:
            got = self._collection.query(
                query_embeddings=[wanted.astype(np.float32)],
                n_results=min(n, self._records),
                where=where,
                include=["embeddings", "documents", "metadatas"],
            )
            rows = _Rows.of(got["ids"][0], got["metadatas"][0], got["documents"][0], got["embeddings"][0])
            hits = rows.nearest(wanted, len(rows.ids))
            # Many records of one text, all as near as the k-th: the smaller ids may be among those not fetched yet.
            is_tied = len(hits) >= k and hits[-1].cosine >= hits[k - 1].cosine - TIE
            if not is_tied or len(hits) < n or n >= max(SCAN, 4 * k):
                return hits[:k]
            n *= 4


class _Rows(NamedTuple):
    """Records in memory, with vectors of length 1 (float64, of shape (records, dims)) or of zeros."""

    ids: NDArray[np.int64]
    metadatas: Sequence[Mapping[str, Any]]
    texts: Sequence[str]
    vectors: NDArray[np.float64]

    @classmethod
    def of(cls, ids: Sequence[str], metadatas: Any, texts: Any, vectors: Any) -> _Rows:
        matrix = np.asarray(vectors, np.float64).reshape(len(ids), -1)
        return cls(np.array([int(i) for i in ids], np.int64), metadatas, texts, _unit(matrix))

    def only(self, agents: Sequence[int] | None, kinds: Sequence[str] | None, until: int | None) -> _Rows:
        """Return those that match."""
        if agents is None and kinds is None and until is None:
            return self
        of_agents, of_kinds = (None if agents is None else set(agents)), (None if kinds is None else set(kinds))
        kept = [
            i
            for i, m in enumerate(self.metadatas)
            if (of_agents is None or m["agent"] in of_agents)
            and (of_kinds is None or m["kind"] in of_kinds)
            and (until is None or m["t"] <= until)
        ]
        return _Rows(
            self.ids[kept], [self.metadatas[i] for i in kept], [self.texts[i] for i in kept], self.vectors[kept]
        )

    def nearest(self, wanted: NDArray[np.float64], k: int) -> list[Hit]:
        """Return the k nearest, exactly."""
        # Row by row: a matrix product may give two equal rows two results, and the tie would not go to the smaller id.
        # To six digits: the rows were float32, where two vectors of one cosine differ in the eighth.
        cosines = np.clip(np.round((self.vectors * _unit(wanted[None])).sum(axis=1), 6), -1.0, 1.0)
        order = np.lexsort((self.ids, -cosines))[:k].tolist()
        return [
            Hit(
                int(self.ids[i]),
                self.metadatas[i]["agent"],
                self.metadatas[i]["kind"],
                self.metadatas[i]["t"],
                self.metadatas[i]["importance"],
                self.texts[i],
                float(cosines[i]),
                self.metadatas[i]["flags"],
            )
            for i in order
        ]


def _order(hit: Hit) -> tuple[float, int]:
    return -hit.cosine, hit.id


def _unit(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.sqrt((matrix * matrix).sum(axis=1, keepdims=True))
    return np.divide(matrix, lengths, out=np.zeros_like(matrix), where=lengths > 0)


def _where(agents: Sequence[int] | None, kinds: Sequence[str] | None, until: int | None) -> dict[str, Any] | None:
    parts: list[dict[str, Any]] = []
    if agents is not None:
        parts.append({"agent": {"$in": [int(a) for a in agents]}})
    if kinds is not None:
        parts.append({"kind": {"$in": list(kinds)}})
    if until is not None:
        parts.append({"t": {"$lte": int(until)}})
    if len(parts) > 1:
        return {"$and": parts}
    return parts[0] if parts else None


class _Writer:
    """One index in the making: its collection, and how much may have been written."""

    def __init__(self, temporary: Path, folder: Path, name: str, limit_bytes: int | None) -> None:
        self.path = temporary
        self.folder = folder
        self.name = name
        self.limit_bytes = limit_bytes
        self.records = 0
        self.text_bytes = 0
        self.dims = 0
        self.max_id = -1
        self.probes: dict[int, tuple[str, NDArray[np.float32]]] = {}

    def allowed(self) -> int:
        """Return how many bytes the folder may have by now."""
        allowed = allowed_bytes(self.records, self.dims, self.text_bytes)
        return allowed if self.limit_bytes is None else min(allowed, self.limit_bytes)

    def add(self, collection: Any, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Add up to ``WRITE`` records."""
        if len({entry.id for entry in entries}) != len(entries):
            raise ValueError(f"an id comes twice among {entries[0].id} to {entries[-1].id}")
        # A lone surrogate has no UTF-8; chromadb would refuse the batch.
        texts = [entry.text.encode("utf-8", "replace").decode("utf-8") for entry in entries]
        self.text_bytes += sum(len(text.encode()) for text in texts)
        needed = allowed_bytes(len(entries), self.dims, 0)
        with _writing(self.folder):
            free = shutil.disk_usage(self.path).free
        # The graph's own writes fail without an error: a truncated file, and a count that is right.
        if free < needed:
            raise StorageError(f"cannot write {self.folder}: {free:,} bytes are free, {needed:,} are needed; free some")
        collection.add(
            ids=[str(entry.id) for entry in entries],
            embeddings=vectors,
            documents=texts,
            metadatas=[
                {
                    "agent": int(e.agent), "kind": str(e.kind), "t": int(e.t), "importance": float(e.importance),
                    "valid_to": int(e.valid_to), "flags": int(e.flags),
                }
                for e in entries
            ],
        )  # fmt: skip
        self.records += len(entries)
        self.max_id = max(self.max_id, *(int(entry.id) for entry in entries))
        # The first of each batch, thinned out by half whenever there are too many.
        self.probes[int(entries[0].id)] = (texts[0], vectors[0].copy())
        if len(self.probes) > PROBES:
            self.probes = dict(list(self.probes.items())[::2])
        self.check_size()

    def check_size(self) -> None:
        """Raise when the folder is larger than its records explain, or than the caller's limit."""
        with _writing(self.folder):
            size = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        if size > self.allowed():
            raise StorageError(
                f"the index {self.folder} would pass {self.allowed():,} bytes with {self.records:,} records "
                f"({size:,}); it was given up and its files removed"
            )


def _write(
    writer: _Writer,
    batches: Iterable[tuple[Sequence[Entry], NDArray[np.float32]]],
    progress: Callable[[int], None] | None,
) -> None:
    with _storing(writer.folder), contextlib.closing(_client(writer.path)) as client:
        step = min(WRITE, client.get_max_batch_size())
        collection = client.create_collection(
            writer.name,
            configuration={"hnsw": {**GRAPH, "batch_size": WRITE, "sync_threshold": WRITE}},
            embedding_function=None,
        )
        for entries, vectors in _of_size(writer, batches, step):
            writer.add(collection, entries, vectors)
            if progress is not None:
                progress(writer.records)
        # What is short of a sync would wait in SQLite, to be put into the graph by whoever opens it, at every opening.
        # The threshold of a graph in memory does not change, so it is the next client that syncs.
        if writer.records:
            collection.modify(configuration={"hnsw": {"sync_threshold": 2, "batch_size": 2}})


def _settle(writer: _Writer) -> list[dict[str, Any]]:
    """Sync the rest into the graph, and return questions with the answers it gives."""
    if not writer.records:
        return []
    with _storing(writer.folder), contextlib.closing(_client(writer.path)) as client:
        collection = client.get_collection(writer.name, embedding_function=None)
        counted = collection.count()
        # chromadb passes over an id that it has.
        if counted != writer.records:
            raise ValueError(f"{writer.records - counted} of {writer.records} ids come twice")
        probes = []
        for number, (text, vector) in writer.probes.items():
            got = collection.get(ids=[str(number)], include=["documents", "embeddings"])
            # chromadb keeps a vector as it came or at length 1.
            kept, given = _unit(np.asarray(got["embeddings"], np.float64)), _unit(vector[None].astype(np.float64))
            if got["documents"] != [text] or not np.allclose(kept, given, atol=1e-5):
                raise StorageError(f"the index written for {writer.folder} gives record {number} back otherwise")
            probes.append({"id": number, "finds": _ask(collection, str(number))})
        writer.check_size()
    return probes


def _ask(collection: Any, number: str) -> list[int]:
    """Return what the graph, not a scan, finds nearest to a record's own vector."""
    vectors = collection.get(ids=[number], include=["embeddings"])["embeddings"]
    if not len(vectors):
        return []
    found = collection.query(query_embeddings=[vectors[0]], n_results=5, include=[])["ids"][0]
    return sorted(int(i) for i in found)


def _of_size(
    writer: _Writer, batches: Iterable[tuple[Sequence[Entry], NDArray[np.float32]]], size: int
) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
    """Cut or join batches to a size: one of a few records takes as long as one of a thousand."""
    entries: list[Entry] = []
    held: list[NDArray[np.float32]] = []
    for more, vectors in batches:
        matrix = np.ascontiguousarray(vectors, np.float32)
        if not len(more):
            continue
        if matrix.ndim != 2 or len(matrix) != len(more) or matrix.shape[1] != (writer.dims or matrix.shape[1]):
            raise ValueError(f"{len(more)} records have vectors of shape {matrix.shape}; {writer.dims or 'n'} a record")
        if not np.isfinite(matrix).all():
            raise ValueError("a vector is not finite")
        writer.dims = matrix.shape[1]
        entries.extend(more)
        held.append(matrix)
        while len(entries) >= size:
            joined = np.concatenate(held)
            yield entries[:size], joined[:size]
            entries, held = entries[size:], [joined[size:]]
    if entries:
        yield entries, np.concatenate(held)


def _check_graph(writer: _Writer, records: int) -> None:
    """Raise unless the graph's files hold that many records; a refused write left them short and said nothing."""
    if not records:
        return
    # A vector in float32, its length and label, and twice the neighbours a layer has (hnswlib, data_level0_memory_).
    element = 4 * writer.dims + 12 + 8 * int(GRAPH["max_neighbors"])
    with _writing(writer.folder):
        graphs = [path.parent for path in writer.path.rglob("data_level0.bin")]
        sizes = {path.name: path.stat().st_size for path in writer.path.glob("*/*")}
        is_whole = (
            len(graphs) == 1
            and sizes["data_level0.bin"] >= records * element
            and sizes.get("length.bin", 0) >= records * 4
            and sizes.get("index_metadata.pickle", 0) > 0
            and _links_are_whole((graphs[0] / "link_lists.bin").read_bytes(), records)
        )
    if not is_whole:
        raise StorageError(
            f"the index written for {writer.folder} is short: the disk is full, or a file reached its limit; free space"
        )


def _links_are_whole(content: bytes, records: int) -> bool:
    """Whether a file of upper links is one length and as many bytes for each record, and nothing else."""
    at = 0
    for _ in range(records):
        at += 4 + int.from_bytes(content[at : at + 4], "little")
        if at > len(content):
            return False
    return at == len(content)


# Files


def _synced_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every file, once the disk has them."""
    found: dict[str, dict[str, Any]] = {}
    with _writing(folder):
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                _sync_folder(path)
                continue
            with path.open("r+b") as file:  # Windows syncs no file that is open for reading only
                os.fsync(file.fileno())
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256}
    return found


def _compare(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise when a file is not as it was written. Sizes first: a runaway file is not read to its end."""
    try:
        sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
        sizes.pop("index.json", None)
        if sizes != {name: entry["bytes"] for name, entry in files.items()}:
            names = [n for n in sizes.keys() | files.keys() if sizes.get(n) != files.get(n, {}).get("bytes")]
            raise IndexDoubt(f"{folder}: {sorted(names)} changed in size")
        for name, entry in files.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    raise IndexDoubt(f"{folder / name} was altered")
    except OSError as error:
        raise IndexDoubt(f"{folder} cannot be read: {error}") from error


def _link(folder: Path, view: Path, files: Mapping[str, Any]) -> None:
    """Make a view of an index: the graph's files linked, which chromadb only reads, and SQLite's copied."""
    view.mkdir()
    for name in files:
        (view / name).parent.mkdir(exist_ok=True)
        if Path(name).suffix != ".sqlite3":
            with contextlib.suppress(OSError):  # a file system without links
                os.link(folder / name, view / name)
                continue
        shutil.copyfile(folder / name, view / name)


def _put(temporary: Path, folder: Path) -> None:
    """Rename a whole index into its place. Killed between, there is none."""
    aside = _beside(folder)
    try:
        while True:
            with contextlib.suppress(FileNotFoundError):
                folder.rename(aside)
            try:
                temporary.rename(folder)
                break
            except OSError:
                if not folder.exists():
                    raise
            # Another process put its own there in between; the last one stays.
            _remove(aside)
            _alive.add(aside.name)
        _sync_folder(folder.parent)
    finally:
        _remove(aside)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_alive: set[str] = set()
"""Temporary folders of this process that are in use; one with its number that is not here is of a dead namesake."""


def _beside(folder: Path) -> Path:
    """Return a new name for a temporary folder beside an index."""
    name = f"{folder.name}.tmp-{os.getpid()}-{secrets.token_hex(6)}"
    _alive.add(name)
    return folder.parent / name


def _remove(temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    _alive.discard(temporary.name)


def _clean(folder: Path) -> None:
    """Remove the temporary folders whose process is dead."""
    pattern = re.compile(re.escape(folder.name) + r"\.tmp-(\d+)-[0-9a-f]{12}")
    try:
        names = os.listdir(folder.parent)
    except OSError:
        return
    for name in names:
        found = pattern.fullmatch(name)
        if found and not _is_running(int(found[1]), name):
            shutil.rmtree(folder.parent / name, ignore_errors=True)


def _is_running(pid: int, name: str) -> bool:
    if pid == os.getpid():
        return name in _alive
    if os.name != "posix":
        return True  # there, asking a process with a signal ends it
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


# chromadb


def _chromadb() -> Any:
    """Import chromadb, quiet."""
    import warnings

    # A collection without an embedder of chromadb's is "legacy"; it is meant so, and a user could mend nothing.
    warnings.filterwarnings("ignore", "legacy embedding function config", DeprecationWarning)
    import chromadb

    return chromadb


def _version() -> str:
    return str(_chromadb().__version__)


def _client(path: Path) -> Any:
    """Open a client of its own: chromadb shares those of one path within a process, and no path comes twice here."""
    chromadb = _chromadb()
    from chromadb.config import Settings

    settings = Settings(
        _env_file=None,  # else it reads the user's .env, and fails on what it does not know there
        anonymized_telemetry=False,
        allow_reset=False,
        chroma_api_impl="chromadb.api.rust.RustBindingsAPI",  # else the environment may name a server
        migrations="apply",
    )
    return chromadb.PersistentClient(path=str(path), settings=settings)


def _name(run: str) -> str:
    """Return a collection's name: 3 to 512 of letters, digits, dots and dashes; different for different runs."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", run)[:80].strip("-")
    return f"run-{plain}-{hashlib.blake2b(run.encode(), digest_size=6).hexdigest()}"


def _as_json(identity: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(dict(identity)))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Map what the disk says to an error that names the folder."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; free space or permissions") from error


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Map what chromadb says while writing."""
    from chromadb.errors import ChromaError

    try:
        yield
    except (ChromaError, OSError, RuntimeError, AttributeError) as error:
        raise StorageError(f"chromadb cannot write {path}: {error}; free space or permissions") from error
    except BaseException as error:
        if _is_panic(error):
            raise StorageError(f"chromadb broke down writing {path}: {error}") from error
        raise


@contextmanager
def _doubting(path: Path) -> Iterator[None]:
    """Map what chromadb says while reading."""
    from chromadb.errors import ChromaError

    try:
        yield
    except (ChromaError, OSError, RuntimeError, AttributeError, LookupError, ValueError) as error:
        raise IndexDoubt(f"chromadb cannot read {path}: {error}") from error
    except BaseException as error:
        if _is_panic(error):
            raise IndexDoubt(f"chromadb broke down reading {path}: {error}") from error
        raise


def _is_panic(error: BaseException) -> bool:
    """Whether it is a panic of chromadb's Rust, which is no ``Exception`` and cannot be imported."""
    return type(error).__name__ == "PanicException"
