"""Makes helpers beside this file (`tiny_models`) importable from every test folder; no test asserts a time."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything reads it: nothing here may go online

from hypothesis import settings

settings.register_profile("thence", deadline=None)
settings.load_profile("thence")
