"""Write down who gave what to whom, by slots: python scenarios/donor_game/moves.py RUN [OUT]

RUN is what `simworld show` takes: a folder, or last. OUT is a CSV file; without it the table goes to stdout. The file
serves as ``-p pairs=@OUT -p moves=@OUT`` with ``--mind table``, here and in other implementations.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

import simworld as sw


def table_of(run: sw.Run) -> pl.DataFrame:
    """Return every move of a run: generation, game, round, donor and recipient (slots), action, share.

    The share is of what the donor held, given or spent, after trembling; 0 where it held nothing and of a refusal.
    """
    slots = run.state().select("id", "slot")
    moves = run.state(table="moves").sort("id")
    for column in ("donor", "recipient"):
        named = slots.rename({"id": column, "slot": f"{column}_slot"})
        moves = moves.join(named, on=column, how="left", maintain_order="left")
    return moves.select(
        "generation", "game", "round", pl.col("donor_slot").alias("donor"), pl.col("recipient_slot").alias("recipient"),
        pl.col("kind").cast(pl.String).alias("action"), pl.col("share").fill_nan(0.0),
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("python scenarios/donor_game/moves.py RUN [OUT]")
    text = table_of(sw.load_run(sys.argv[1])).write_csv()
    if len(sys.argv) == 3:
        Path(sys.argv[2]).write_text(text, "utf-8")
    else:
        sys.stdout.write(text)
