"""Published values to compare with, each with where it comes from. Shown beside ours; never asserted, never tuned to.

Battery: Xie et al. 2024 (arXiv 2402.04559) and the human studies it compares with. Consistency: Mannekote et al. 2025
(arXiv 2507.02197). A value that is not here is not known.
"""

from __future__ import annotations

MODELS = ("Gemma-2-27B", "Llama-3.1-70B", "Llama-3.1-8B")
STRATEGIES = ("NOCTX+TR", "CTX+TR", "CTX+$")

BATTERY: dict[str, dict[str, tuple[float, str]]] = {
    "trust_sent": {"people": (5.97, "[reported]"), "gpt-4": (6.92, "[data]")},
    "dictator_sent": {"people": (3.6, "[reported]"), "gpt-4": (6.30, "[data]")},
    "lottery_people_rate": {"people": (0.54, "[reported]")},
    "lottery_gamble_rate": {"people": (0.29, "[reported]")},
    "returns_exceed_sent": {"gpt-4": (0.875, "[reported]"), "gpt-3.5": (0.625, "[reported]")},
    "stable_share": {"gpt-4": (0.875, "[reported]"), "gpt-3.5": (0.5625, "[reported]")},
    "no_swings": {"gpt-4": (1.0, "[reported]"), "gpt-3.5": (0.4375, "[reported]")},
}
"""Dollars of 10, rates, and shares of 16 pairs, by metric of the observers and by who played. People in Trust: 5.97 to
6.0; in Dictator: Cox 2004."""

TABLE: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "age": {
        "NOCTX+TR": ((0.02, -0.20), (0.00, -1.00), (0.14, 0.00)),
        "CTX+TR": ((0.09, -0.40), (0.00, 0.80), (0.02, 0.40)),
        "CTX+$": ((0.06, 0.80), (0.03, 1.00), (0.21, 0.40)),
    },
    "conscientiousness": {
        "NOCTX+TR": ((0.01, 1.00), (0.07, 0.50), (0.05, 1.00)),
        "CTX+TR": ((0.01, 1.00), (0.07, 0.50), (0.11, 1.00)),
        "CTX+$": ((0.40, 1.00), (0.49, 0.50), (0.46, 1.00)),
    },
    "family structure": {
        "NOCTX+TR": ((0.07, 0.83), (0.00, 0.49), (0.09, -0.26)),
        "CTX+TR": ((0.07, -0.37), (0.07, 0.49), (0.09, -0.26)),
        "CTX+$": ((0.01, 0.83), (0.03, 0.37), (0.14, -0.26)),
    },
    "degree": {
        "NOCTX+TR": ((0.02, -0.10), (0.02, -0.60), (0.09, -0.30)),
        "CTX+TR": ((0.04, -0.10), (0.02, -0.60), (0.03, -0.60)),
        "CTX+$": ((0.13, -0.10), (0.16, -0.60), (0.30, -0.30)),
    },
    "openness": {
        "NOCTX+TR": ((0.06, 1.00), (0.02, 1.00), (0.06, 1.00)),
        "CTX+TR": ((0.06, 1.00), (0.02, 1.00), (0.13, 1.00)),
        "CTX+$": ((0.55, 1.00), (0.54, 1.00), (0.56, 1.00)),
    },
    "politics": {
        "NOCTX+TR": ((0.01, 0.40), (0.01, 0.40), (0.09, 1.00)),
        "CTX+TR": ((0.08, 0.40), (0.01, 0.40), (0.16, 1.00)),
        "CTX+$": ((0.15, 1.00), (0.21, 1.00), (0.05, 1.00)),
    },
    "same residence": {
        "NOCTX+TR": ((0.02, 0.50), (0.00, 0.50), (0.15, -0.50)),
        "CTX+TR": ((0.08, 0.50), (0.00, 0.50), (0.09, -0.50)),
        "CTX+$": ((0.05, 0.50), (0.02, 0.50), (0.20, -0.50)),
    },
    "US citizen": {
        "NOCTX+TR": ((0.01, 1.00), (0.01, 1.00), (0.02, 1.00)),
        "CTX+TR": ((0.01, 1.00), (0.01, 1.00), (0.02, 1.00)),
        "CTX+$": ((0.01, 1.00), (0.00, 1.00), (0.23, -1.00)),
    },
    "work": {
        "NOCTX+TR": ((0.03, 0.80), (0.00, -1.00), (0.02, 0.80)),
        "CTX+TR": ((0.03, 0.40), (0.00, -1.00), (0.02, 0.40)),
        "CTX+$": ((0.10, 0.80), (0.03, -0.40), (0.13, 0.00)),
    },
}
"""(|Δη²|, ρ) by attribute, strategy and model, in the order of `MODELS`. [reported]"""

LEVELS = {
    "age": 4, "conscientiousness": 3, "family structure": 6, "degree": 5, "openness": 3, "politics": 4,
    "same residence": 3, "US citizen": 2, "work": 4,
}  # fmt: skip
"""Number of levels of each attribute of the study. [reported], family structure [exact] from its correlations."""

MEDIANS: dict[str, tuple[tuple[float, float], ...]] = {
    "NOCTX+TR": ((0.02, 0.80), (0.01, 0.49), (0.09, 0.80)),
    "CTX+TR": ((0.06, 0.40), (0.01, 0.50), (0.09, 0.40)),
    "CTX+$": ((0.10, 0.83), (0.03, 0.50), (0.21, 0.00)),
}
"""The summary row of the same table. [reported]"""

CONDITIONING: dict[str, tuple[float, ...]] = {
    "none": (0.40, 0.50, 0.40),
    "own": (0.00, 0.80, 1.00),
    "weak": (0.08, 0.30, -0.14),
    "strong": (0.14, 0.20, 0.40),
}
"""ρ by what was told before the amount, in the order of `MODELS`. [reported]"""
