"""mind.llm owns language models: the seam, its two clients, limits, ledger, tape, and the mind that asks through them.

litellm lives here and nowhere else. It knows no scenario, writes no run folder, and never turns a bad answer into an
action.
"""

from simworld.mind.llm._cache import Cache, Cached, cache_key
from simworld.mind.llm._compatible import KEY_VARIABLE, CompatibleModel
from simworld.mind.llm._embedding import LiteLLMEmbedder
from simworld.mind.llm._ledger import Budgeted, Ledger, Purse, Spent
from simworld.mind.llm._limits import AdaptiveLimit, Limited, Pace, Retrying
from simworld.mind.llm._litellm import LiteLLMModel, Price, litellm_library, price_of, token_count
from simworld.mind.llm._mind import ModelMind, Prompt, Renderer
from simworld.mind.llm._model import (
    MAX_REPLY_CHARS,
    CallFailed,
    LanguageModel,
    Messages,
    Position,
    Reply,
    Request,
    Sampling,
    Stopped,
    estimated_tokens,
    text_hash,
)
from simworld.mind.llm._read import read
from simworld.mind.llm._rehearsal import Counted, RehearsalMind, Rehearsed
from simworld.mind.llm._schema import AnswerSchema, answer_schema
from simworld.mind.llm._secrets import learn_secrets, without_credentials, without_secrets
from simworld.mind.llm._service import Asking, Service
from simworld.mind.llm._survey import Provider, Server, providers, servers
from simworld.mind.llm._switchboard import HUMAN, LOCAL, Speak, Switchboard
from simworld.mind.llm._tape import Call, Hold, MemoryTape, Tally, Tape, Taped, TapeLog, TapeModel, difference

__all__ = [
    "HUMAN",
    "KEY_VARIABLE",
    "LOCAL",
    "MAX_REPLY_CHARS",
    "AdaptiveLimit",
    "AnswerSchema",
    "Asking",
    "Budgeted",
    "Cache",
    "Cached",
    "Call",
    "CallFailed",
    "CompatibleModel",
    "Counted",
    "Hold",
    "LanguageModel",
    "Ledger",
    "Limited",
    "LiteLLMEmbedder",
    "LiteLLMModel",
    "MemoryTape",
    "Messages",
    "ModelMind",
    "Pace",
    "Position",
    "Price",
    "Prompt",
    "Provider",
    "Purse",
    "RehearsalMind",
    "Rehearsed",
    "Renderer",
    "Reply",
    "Request",
    "Retrying",
    "Sampling",
    "Server",
    "Service",
    "Speak",
    "Spent",
    "Stopped",
    "Switchboard",
    "Tally",
    "Tape",
    "TapeLog",
    "TapeModel",
    "Taped",
    "answer_schema",
    "cache_key",
    "difference",
    "estimated_tokens",
    "learn_secrets",
    "litellm_library",
    "price_of",
    "providers",
    "read",
    "servers",
    "text_hash",
    "token_count",
    "without_credentials",
    "without_secrets",
]
