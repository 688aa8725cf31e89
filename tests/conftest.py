"""Makes helpers beside this file (`tiny_models`) importable from every test folder."""
