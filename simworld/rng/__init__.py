"""rng owns the seed tree: every draw comes from a stream named by what it is for. It never keeps state between draws.

A stream is a counter-based Philox generator (Salmon et al. 2011, doi:10.1145/2063384.2063405) whose 128-bit key is the
BLAKE2b hash of the seed and the stream's name. Two streams of different names are independent; the order in which they
are opened, the number of workers and a resume change nothing.
"""

from simworld.rng._streams import Chance, Draws, derive_seed, stream

__all__ = ["Chance", "Draws", "derive_seed", "stream"]
