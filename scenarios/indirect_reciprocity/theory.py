"""Expected payoffs under image scoring, exact for any number of agents and any mix of the three strategies."""

from __future__ import annotations

from typing import NamedTuple


class Expected(NamedTuple):
    """Expectations over the first rounds, by strategy: cooperator, defector, discriminator."""

    payoff: tuple[float, float, float]
    """Mean payoff a round; also of a strategy that nobody has, as of one who would join."""
    gives: tuple[float, float, float]
    """Share of meetings as donor in which it gives."""
    bad: tuple[float, float, float]
    """Chance that its image is bad after the last round."""


def threshold(benefit: float, cost: float) -> float:
    """Return the q above which discriminators resist rare defectors: b − c > b(1 − q), so q > c/b.

    Nowak, Sigmund 1998, doi:10.1038/31225.
    """
    return cost / benefit


def expected(
    numbers: tuple[int, int, int], rounds: int, *, known: float, noise: float, benefit: float, cost: float
) -> Expected:
    """Return what each strategy can expect.

    In every round everybody is donor once and recipient once, of partners uniform among the others, so that images and
    what is known of them enter linearly and the expectations follow a recursion. Images are good at first.

    Args:
        numbers: cooperators, defectors and discriminators.
        rounds: how many, at least 1.
        known: q, chance that a donor knows the image.
        noise: chance that an image comes out wrong.
        benefit: b.
        cost: c.
    """
    n_c, _, n_s = numbers
    others = sum(numbers) - 1
    bad = [0.0, 0.0, 0.0]
    payoff, gives = [0.0] * 3, [0.0] * 3
    for _ in range(rounds):
        # A discriminator does not meet itself.
        met = [max(n - (k == 2), 0) for k, n in enumerate(numbers)]
        refuses = known * sum(n * p for n, p in zip(met, bad, strict=True)) / others
        acts = (1.0, 0.0, 1.0 - refuses)
        for k in range(3):
            from_c, from_s = max(n_c - (k == 0), 0), max(n_s - (k == 2), 0)
            received = (from_c + from_s * (1.0 - known * bad[k])) / others
            payoff[k] += (benefit * received - cost * acts[k]) / rounds
            gives[k] += acts[k] / rounds
        bad = [noise * a + (1.0 - noise) * (1.0 - a) for a in acts]
    return Expected(tuple(payoff), tuple(gives), tuple(bad))  # type: ignore[arg-type]
