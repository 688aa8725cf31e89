"""Makes helpers beside this file (`tiny_models`) importable from every test folder; no test asserts a time."""

from hypothesis import settings

settings.register_profile("thence", deadline=None)
settings.load_profile("thence")
