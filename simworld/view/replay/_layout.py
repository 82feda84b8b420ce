"""Where agents stand: one layout a run, from the union of all its ties, computed once and kept in the viewer's cache.

Forces of Fruchterman and Reingold (1991, doi:10.1002/spe.4380211102) from a spectral start; attraction grows with the
logarithm of a distance, which draws groups apart (LinLog, Noack 2007, doi:10.7155/jgaa.00154). Repulsion of more than
`EXACT_UP_TO` agents is computed on a mesh (particle-mesh, Hockney and Eastwood 1988, ISBN 0-85274-392-0): a pass costs
n + G² log G, not n².
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Ints = npt.NDArray[np.int64]

EXACT_UP_TO = 150
"""Agents up to which every pair repels: 150² distances take as long as the mesh, 2 ms a pass."""
TIES_AN_AGENT = {"quick": 4, "final": 8}
"""Ties an agent, on average, the heaviest of all, that pull; more change no picture and cost time. Arbitrary."""
FEWEST_TIES = 20_000
"""Ties that always pull."""
PASSES = {"quick": 30, "final": 300}
"""Passes of the forces; arbitrary: 30 show the groups, after 300 nothing moves."""
FINE_FROM = 4_000
"""Agents from which a final layout has a mesh of 256 cells a side; others have 128 (2 ms a pass instead of 12)."""
GRAVITY = 0.06
"""Pull to the middle beside a repulsion of 1: keeps parts without a tie to the rest near it. Arbitrary."""
RIM = 0.9
"""Share of the radius that agents with ties fill where others have none; those stand around them."""
VERSION = 1
"""Changed when the same ties would give another layout."""


@dataclass(frozen=True, slots=True)
class Union:
    """All ties of a run, direction and kind forgotten: ends, and how much each weighs (how long it lasted)."""

    n: int
    source: Ints
    target: Ints
    weight: Floats

    def digest(self) -> str:
        """Return a hash of what a layout is made from."""
        digest = hashlib.blake2b(f"layout {VERSION} {self.n}".encode(), digest_size=16)
        for column in (self.source.astype("<i8"), self.target.astype("<i8"), self.weight.astype("<f4")):
            digest.update(column.tobytes())
        return digest.hexdigest()


def union_of(n: int, source: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike) -> Union:
    """Return ties with both ends in 0 to n - 1, each pair once."""
    a, b = np.asarray(source, np.int64), np.asarray(target, np.int64)
    low, high, w = np.minimum(a, b), np.maximum(a, b), np.asarray(weight, np.float64)
    keep = (low != high) & (low >= 0) & (high < n)
    pair, place = np.unique(low[keep] * n + high[keep], return_inverse=True)
    total = np.bincount(place, w[keep], minlength=len(pair))
    return Union(n, pair // max(n, 1), pair % max(n, 1), total)


def heaviest(union: Union, an_agent: int) -> Union:
    """Return the heaviest ties, so many an agent."""
    most = max(FEWEST_TIES, an_agent * union.n)
    if len(union.source) <= most:
        return union
    kept = np.sort(np.argsort(-union.weight, kind="stable")[:most])
    return Union(union.n, union.source[kept], union.target[kept], union.weight[kept])


def layout(union: Union, quality: str = "final", start: Floats | None = None) -> Floats:
    """Return places, shape (n, 2), in [-1, 1]; the same ties give the same places.

    Args:
        union: the ties.
        quality: ``quick`` or ``final``.
        start: places to go on from, shape (m, 2) with m up to n; those move little.
    """
    n = union.n
    union = heaviest(union, TIES_AN_AGENT[quality])
    places = np.zeros((n, 2))
    degree = np.bincount(union.source, minlength=n) + np.bincount(union.target, minlength=n)
    tied = np.flatnonzero(degree)
    alone = np.flatnonzero(degree == 0)
    if len(tied):
        new = np.full(n, -1)
        new[tied] = np.arange(len(tied))
        inner = Union(len(tied), new[union.source], new[union.target], union.weight)
        given = None
        if start is not None and len(start):
            given = _sunflower(len(tied), 0.1)
            known = tied < len(start)
            given[known] = start[tied[known]]
        places[tied] = _forced(inner, quality, given) * (RIM if len(alone) else 1.0)
    if len(alone):
        places[alone] = _around(len(alone)) if len(tied) else _sunflower(n)
    return places


def _sunflower(n: int, radius: float = 1.0) -> Floats:
    """Return n places that fill a disc evenly (Vogel 1979, doi:10.1016/0025-5564(79)90080-4)."""
    i = np.arange(n)
    r, angle = radius * np.sqrt((i + 0.5) / max(n, 1)), i * np.pi * (3.0 - np.sqrt(5.0))
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)


def _around(n: int) -> Floats:
    """Return n places in rings between the rim and the edge."""
    rings = max(1, round(n / 400))
    ring = np.arange(n) % rings
    r = 1.0 - (1.0 - RIM) * 0.7 * ring / rings
    angle = 2.0 * np.pi * np.arange(n) / n
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)


def _spectral(union: Union) -> Floats:
    """Return a start: the two smoothest eigenvectors of the ties after the constant one (Koren 2005), by rank."""
    from scipy import sparse
    from scipy.sparse.linalg import ArpackError, eigsh

    n = union.n
    if n < 4:
        return _sunflower(n)
    w = np.log1p(union.weight)
    half = sparse.coo_array((w, (union.source, union.target)), shape=(n, n)).tocsr()
    ties = (half + half.T).tocsr()
    root = 1.0 / np.sqrt(np.asarray(ties.sum(axis=1)).ravel() + 1e-9)
    scaled = sparse.diags_array(root) @ ties @ sparse.diags_array(root)
    try:
        _, vectors = eigsh(scaled, k=3, which="LA", v0=np.cos(np.arange(n) + 1.0), tol=1e-2, maxiter=300)
    except ArpackError:
        return _sunflower(n)
    found = vectors[:, [1, 0]] * root[:, None]
    # Eigenvectors crowd: by rank they fill the plane, with a little of the disc so that equals part.
    ranks = np.argsort(np.argsort(found, axis=0, kind="stable"), axis=0, kind="stable") / max(n - 1, 1) * 2.0 - 1.0
    return ranks + 0.02 * _sunflower(n)


def _forced(union: Union, quality: str, start: Floats | None) -> Floats:
    n = union.n
    if n == 1:
        return np.zeros((1, 2))
    # The ideal distance between two neighbours is 1; a disc of n agents has a radius of about √n then.
    at = (start if start is not None else _spectral(union)) * np.sqrt(n)
    w = np.log1p(union.weight / max(float(np.median(union.weight)), 1e-9)) / np.log(2.0)
    of, to = union.source, union.target
    mesh = None if n <= EXACT_UP_TO else _Mesh(256 if quality == "final" and n >= FINE_FROM else 128)
    passes = PASSES[quality]
    hottest = (0.1 if start is None else 0.02) * np.sqrt(n)
    for i in range(passes):
        apart = at[to] - at[of]
        far = np.sqrt((apart**2).sum(axis=1)) + 1e-9
        size = w * np.log1p(far) * 2.0 / far
        pull = [apart[:, a] * size for a in (0, 1)]
        force = np.stack([np.bincount(of, p, minlength=n) - np.bincount(to, p, minlength=n) for p in pull], axis=1)
        force += _pairs(at) if mesh is None else mesh.repulsion(at)
        force -= GRAVITY * np.sqrt(n) * at / (np.sqrt((at**2).sum(axis=1, keepdims=True)) + 1e-9)
        length = np.sqrt((force**2).sum(axis=1, keepdims=True)) + 1e-12
        heat = hottest * (1.0 - i / passes) ** 1.5 + 1e-3
        at = at + force / length * np.minimum(length * 0.1, heat)
    return _within(_parted(at - at.mean(axis=0)))


def _pairs(at: Floats) -> Floats:
    """Return the repulsion of every pair, 1/d."""
    d = at[:, None, :] - at[None, :, :]
    return np.asarray((d / ((d**2).sum(axis=2, keepdims=True) + 1e-2)).sum(axis=1))


class _Mesh:
    """Repulsion 1/d of all agents through a mesh: mass to cells, one convolution, forces back from cells."""

    def __init__(self, cells: int) -> None:
        from scipy import fft

        self._g = cells
        offset = np.r_[0:cells, -cells:0].astype(np.float64)
        square = offset[:, None] ** 2 + offset[None, :] ** 2 + 0.3
        self._kernels = [fft.rfft2(k) for k in (offset[:, None] / square, offset[None, :] / square)]

    def repulsion(self, at: Floats) -> Floats:
        """Return the force on each agent, shape (n, 2)."""
        from scipy import fft

        g = self._g
        low = at.min(axis=0)
        cell = float((at.max(axis=0) - low).max()) / (g - 2) + 1e-12
        place = (at - low) / cell
        corner = np.minimum(place.astype(np.int64), g - 2)
        part = place - corner
        corners = [(dx, dy) for dx in (0, 1) for dy in (0, 1)]
        index = [(corner[:, 0] + dx) * g + corner[:, 1] + dy for dx, dy in corners]
        share = [np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1]) for dx, dy in corners]
        mass = np.bincount(np.concatenate(index), np.concatenate(share), minlength=g * g).reshape(g, g)
        spectrum = fft.rfft2(mass, s=(2 * g, 2 * g))
        force = np.zeros_like(at)
        for axis, kernel in enumerate(self._kernels):
            field = fft.irfft2(spectrum * kernel, s=(2 * g, 2 * g))[:g, :g].ravel()
            force[:, axis] = sum(field[i] * s for i, s in zip(index, share, strict=True))
        return force / cell


def _parted(at: Floats) -> Floats:
    """Return places at which no two agents stand on one another: those too near are pushed apart."""
    from scipy.spatial import cKDTree

    n = len(at)
    radius = np.sqrt(np.quantile((at**2).sum(axis=1), 0.9)) + 1e-9
    least = 0.9 * radius / np.sqrt(n)
    for _ in range(12):
        pairs = cKDTree(at).query_pairs(least, output_type="ndarray")
        if not len(pairs) or len(pairs) > 20 * n:
            break
        d = at[pairs[:, 0]] - at[pairs[:, 1]]
        far = np.sqrt((d**2).sum(axis=1, keepdims=True))
        angle = (pairs[:, 0] * 2.399963 + pairs[:, 1])[:, None]
        d = np.where(far < 1e-9, np.hstack([np.cos(angle), np.sin(angle)]), d / np.maximum(far, 1e-9))
        push = d * (least - far) * 0.3
        for a in (0, 1):
            at[:, a] += np.bincount(pairs[:, 0], push[:, a], minlength=n)
            at[:, a] -= np.bincount(pairs[:, 1], push[:, a], minlength=n)
    return at


def _within(at: Floats) -> Floats:
    """Return places within the unit disc; the farthest few are drawn in, so that they do not shrink the rest."""
    r = np.sqrt((at**2).sum(axis=1))
    bulk = min(float(np.quantile(r, 0.98)) * 1.25, float(r.max())) + 1e-12
    scaled = np.where(r <= bulk, r / bulk * 0.96, 0.96 + 0.04 * (1.0 - bulk / np.maximum(r, bulk)))
    return at * np.where(r > 0, scaled / np.maximum(r, 1e-12), 0.0)[:, None]


# -- kept and computed beside the server ---------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return the viewer's own folder among this user's caches; no run is ever written to."""
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "simworld" / "viewer"


AT_ONCE_UP_TO = 200
"""Agents up to which the final layout is made at once (a tenth of a second), with no process and no cache."""
MOST_KEPT = 200
"""Layouts kept in the cache; the oldest go. Arbitrary: 10,000 agents take 130 KB."""


class Placed:
    """The layout and the communities of one union of ties: quick at once, final as soon as a process has made it."""

    def __init__(self, union: Union, seed: int = 0) -> None:
        self.union = union
        self._seed = seed
        self._lock = threading.Lock()
        self._found: dict[str, npt.NDArray[Any]] = {}
        self._name = union.digest()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._error = ""

    def begin(self) -> None:
        """Compute what is shown first, and have the final layout made, if it is not in the cache."""
        self.places()

    def places(self) -> tuple[Floats, str]:
        """Return where agents stand, and whether that is ``quick`` or ``final``."""
        with self._lock:
            if self._is_small:
                if "places" not in self._found:
                    self._found["places"] = layout(self.union, "final")
                return self._found["places"], "final"
            final = self._look("places")
            if final is not None:
                return final, "final"
            if "quick" not in self._found:
                self._found["quick"] = layout(self.union, "quick")
            self._start()  # only now: it would take the time of the quick one
            # Without a process that makes a better one, this is the last word.
            return self._found["quick"], "final" if self._error else "quick"

    def communities(self, timeout_s: float = 0.0) -> Ints | None:
        """Return a label for each agent; None as long as, after ``timeout_s``, it is not there, or cannot be."""
        with self._lock:
            if self._is_small and "communities" not in self._found:
                self._found["communities"] = parted(self.union, self._seed)
            found = self._look("communities")
            if found is None:
                self._start()
        process = self._process
        if found is None and process is not None and timeout_s > 0:
            deadline = time.monotonic() + timeout_s
            while found is None and time.monotonic() < deadline:
                has_ended = process.poll() is not None
                with self._lock:
                    found = self._look("communities")
                if has_ended:
                    break
                time.sleep(0.05)
        return None if found is None or not len(found) else found

    def close(self) -> None:
        """End the process, if it is still at work."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    @property
    def _is_small(self) -> bool:
        return self.union.n <= AT_ONCE_UP_TO or not len(self.union.source)

    def _look(self, what: str) -> npt.NDArray[Any] | None:
        """Return what was found before, by this object or by any other of these ties; None where nothing was."""
        if what not in self._found and not self._is_small and (folder := self._cache()) is not None:
            with contextlib.suppress(OSError, ValueError, EOFError):
                found = np.load(folder / f"{self._name}-{what}.npy", allow_pickle=False)
                if len(found) in (0, self.union.n):
                    self._found[what] = found
        return self._found.get(what)

    def _cache(self) -> Path | None:
        if self._folder is None:
            folder = cache_folder()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK):
                    raise PermissionError(folder)
                old = sorted(folder.glob("*.np[yz]"), key=lambda file: file.stat().st_mtime)
                for file in old[: -2 * MOST_KEPT]:
                    file.unlink(missing_ok=True)
            except OSError as error:
                self._error = f"{folder} cannot be written: {error}"
                return None
            self._folder = folder
        return self._folder

    def _start(self) -> None:
        """Start the process, unless it was started before."""
        folder = self._cache()
        if folder is None or self._error:
            return
        if self._process is not None:
            if self._process.poll() is not None and self._look("places") is None:
                self._error = "the process that computes layouts ended without one"
            return
        union = self.union
        given = folder / f"{self._name}-{os.getpid()}.npz"
        root = str(Path(__file__).resolve().parents[3])
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
        try:
            np.savez(given, n=union.n, source=union.source, target=union.target, weight=union.weight)
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(given), self._name, str(self._seed)], env=env,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            self._error = f"the process that computes layouts did not start: {error}"


def parted(union: Union, seed: int) -> Ints:
    """Return the community of every agent by Louvain's method; empty where there is none, or it would take too long."""
    from scipy import sparse

    from simworld.observe import communities

    union = heaviest(union, TIES_AN_AGENT["quick"])
    ends = union.source, union.target
    half = sparse.coo_array((np.ones(len(ends[0])), ends), shape=(union.n, union.n)).tocsr()
    found = communities(half + half.T, seed) if len(ends[0]) else None
    return np.zeros(0, np.int64) if found is None else np.asarray(found, np.int64)


def main() -> None:
    """Compute what `Placed` asks for: arguments are the file of the ties, the name of the results, and a seed."""
    given, name, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if hasattr(os, "nice"):
        os.nice(5)  # the page comes first
    with np.load(given, allow_pickle=False) as kept:
        union = Union(int(kept["n"]), kept["source"], kept["target"], kept["weight"])
    given.unlink(missing_ok=True)
    # Somebody may wait for the communities; of the places the quick ones are there.
    _keep(given.parent / f"{name}-communities.npy", parted(union, seed))
    _keep(given.parent / f"{name}-places.npy", layout(union, "final"))


def _keep(file: Path, array: npt.NDArray[Any]) -> None:
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as out:
        np.save(out, array)
    temporary.replace(file)


if __name__ == "__main__":  # by its path: the package would take two seconds to import
    main()
