"""schema owns the frozen records every room shares: parameters, decisions, refusals. It knows no other room."""

from simworld.schema._records import Decision, Globals, Params, Record, Refusal, field

__all__ = ["Decision", "Globals", "Params", "Record", "Refusal", "field"]
