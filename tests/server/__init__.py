"""A real OpenAI-compatible server on loopback, with scripted minds and every fault a server can have."""

from tests.server.app import ANSWER_FAULTS, TRANSPORT_FAULTS, Behaviour, Latency
from tests.server.serve import ModelServer, ServerProcess

__all__ = ["ANSWER_FAULTS", "TRANSPORT_FAULTS", "Behaviour", "Latency", "ModelServer", "ServerProcess"]
