"""What a run file says of itself, and when a run may be resumed.

A header is one JSON document. Every field decides what the samples are and is compared on resume, except

* the fields named as extendable by whoever opens the file (``limit``; for a comparison also its grid),
* ``arguments``: how the run was asked for, to repeat it,
* ``notes``: versions, commit and other circumstances; a change is recorded and warned about, never refused.

Nothing secret enters: passwords in URLs, values of key-like fields and environment variables, and bearer tokens are
replaced by stars in every header and failure text before it is written.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from thence import __version__
from thence.core.errors import StoreError

Document = dict[str, Any]

FREE = ("arguments", "notes")  # never compared

_SECRET_FIELDS = re.compile(
    "(proxy_)?authorization|(extra_)?headers|api_?key|key|(access_)?token|secret|password|cookies?|credentials"
)
_SECRET_NAME = re.compile(r"(?i)(^|_)(api_?key|key|token|secret|password|passwd)$")
_SECRET_QUERY = re.compile(r"(?i)key|token|secret|passw|sig|auth|cred")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
_KEY_LIKE = re.compile(r"\b(sk|pk|rk|hf|gsk|xai)[-_][A-Za-z0-9_-]{12,}")
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_NESTED = re.compile(r"://[^/,\s\"'<>]*@")  # of a URL behind another one, as in a pool of servers


def environment_secrets() -> tuple[str, ...]:
    """Values of environment variables whose names say that they are secret."""
    return tuple(v for k, v in os.environ.items() if _SECRET_NAME.search(k) and len(v) >= 8)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without URL credentials, bearer tokens, key-like words and the given secrets."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _URL.sub(lambda m: _scrub_url(m.group()), text)
    text = _NESTED.sub("://", text)
    return _KEY_LIKE.sub("***", _BEARER.sub(r"\1 ***", text))


def _scrub_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # not a URL after all; credentials are what stands before an @
        return re.sub(r"://[^/@]*@", "://", url)
    host = parts.netloc.rpartition("@")[2]
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(_SECRET_QUERY.search(name) for name, _ in query):
        query = [(name, "***" if _SECRET_QUERY.search(name) else value) for name, value in query]
        return urlunsplit(parts._replace(netloc=host, query=urlencode(query, safe="*")))
    return urlunsplit(parts._replace(netloc=host)) if host != parts.netloc else url


def clean(value: object, secrets: Sequence[str] = ()) -> Any:
    """Plain JSON data without secrets: mappings, lists, strings, numbers, booleans and None."""
    if isinstance(value, Mapping):
        named = {scrub(str(k), secrets): (str(k), v) for k, v in value.items()}
        return {name: "***" if _secret_field(k) and v else clean(v, secrets) for name, (k, v) in named.items()}
    if isinstance(value, Enum):
        return clean(value.value, secrets)
    if isinstance(value, str):
        return scrub(value, secrets)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [clean(v, secrets) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(clean(v, secrets) for v in value)
    return scrub(str(value), secrets)


def _secret_field(name: str) -> bool:
    return _SECRET_FIELDS.fullmatch(name.lower().replace("-", "_")) is not None


def differences(stored: Document, wanted: Document, skip: Sequence[str] = FREE) -> list[tuple[str, object, object]]:
    """(dotted field, stored value, wanted value) of every field that differs; ``skip`` names top-level fields."""
    a, b = ({k: v for k, v in doc.items() if k not in skip} for doc in (stored, wanted))
    left, right = _flat(a), _flat(b)
    names = list(dict.fromkeys((*left, *right)))
    return [(n, left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n)]


def _flat(doc: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in doc.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def merge(stored: Document, wanted: Document, extendable: Sequence[str], path: Path) -> Document:
    """The header of the resumed run; StoreError naming each differing field with both values.

    An extendable list or mapping grows by what is new (an entry that a mapping already has must be the same); an
    extendable number is a limit: it takes the larger value, None meaning no limit. Asking for less than is stored
    changes nothing.
    """
    differing = differences(stored, wanted, (*extendable, *FREE))
    for name in extendable:  # what both have of a growing part must agree, too
        old, new = stored.get(name), wanted.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            both = sorted(old.keys() & new.keys())
            differing += differences({name: {k: old[k] for k in both}}, {name: {k: new[k] for k in both}})
    for name in extendable:
        differing += _conflicts(name, stored.get(name), wanted.get(name))
    if differing:
        said = "; ".join(f"{name} is {_short(old)} in the file and {_short(new)} now" for name, old, new in differing)
        raise StoreError(f"{path} holds another run: {said}; use another --run file, or the stored values")
    merged = {**stored, **{k: v for k, v in wanted.items() if k in FREE}}
    for name in extendable:
        if name in stored and name in wanted:
            merged[name] = _extend(stored[name], wanted[name])
    return merged


def _conflicts(name: str, old: Any, new: Any) -> list[tuple[str, object, object]]:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return []
    shared = [key for key in old if key in new]
    return differences({f"{name}[{k}]": old[k] for k in shared}, {f"{name}[{k}]": new[k] for k in shared}, ())


def _extend(old: Any, new: Any) -> Any:
    if isinstance(old, list) and isinstance(new, list):
        return old + [item for item in new if item not in old]
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**new, **old}
    return None if old is None or new is None else max(old, new)


def _short(value: object, width: int = 160) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else text[: width - 1] + "…"


def content_hash(parts: Iterable[str]) -> str:
    """A hash of many texts in order."""
    h = blake2b(digest_size=12)
    for part in parts:
        h.update(part.encode("utf-8", "surrogatepass") + b"\x00")
    return h.hexdigest()


def default_path(
    task: str, model: str, strategy: str, header: Mapping[str, object], extendable: Sequence[str] = ("limit",)
) -> Path:
    """``runs/<task>-<model>-<strategy>-<hash>.db``: the same run has the same file, whatever it is extended by."""
    identity = {k: v for k, v in clean(header).items() if k not in (*extendable, *FREE)}
    digest = blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=4).hexdigest()
    names = (_file_name(clean(name)) for name in (task, model, strategy))
    return Path("runs") / ("-".join(names) + f"-{digest}.db")


def _file_name(text: str, width: int = 32) -> str:
    """A harmless piece of a file name: no separators, no leading dots, no spaces."""
    text = re.sub(r"://[^,)\s]*", "", text) if "@" in text else text
    name = re.sub(r"[^A-Za-z0-9.=_]+", "_", text).strip("._")
    return name[:width].rstrip("._") or "x"


@cache
def provenance() -> Document:
    """Versions and commit of what runs now: the part of ``notes`` that a resume compares and warns about."""
    from importlib import metadata  # takes as long to import as everything else here

    packages = {}
    for name in ("torch", "transformers", "httpx"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"thence": __version__, "commit": _commit(), "python": platform.python_version(), "packages": packages}


def _commit() -> str | None:
    """The commit of a source checkout (with ``-dirty`` after local changes); None for an installed package."""
    here = Path(__file__).resolve().parent
    if "site-packages" in here.parts or "dist-packages" in here.parts:
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
