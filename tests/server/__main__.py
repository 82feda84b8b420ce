"""``python -m tests.server BEHAVIOUR``: serve until killed."""

import sys

from tests.server.serve import serve_alone

serve_alone(sys.argv[1])
