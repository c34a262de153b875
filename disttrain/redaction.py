"""What looks like a secret is hidden from people and files: passwords, tokens, keys of storage, in arguments, URLs and messages.

Two ways, used together. By its place: the value of an option or a field whose name says that it is secret, the password of a URL, and keys
of a known form. And by its value: what was found on a command line is `remembered`, and hidden wherever it turns up later, in the words of
a library's error say. A hidden value counts as the same as any other: a password may change while a run goes on with what it is.

    --api-key hunter2          --api-key ***
    --token=abc                --token=***
    sftp://ann:pw@host/run     sftp://ann:***@host/run
    {"secret": "wJalr..."}     {"secret": "***"}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

HIDDEN = "***"

# The last word of a name, or the last two together. Of a token it also matters what kind it is: `--pad-token` is none of these.
_SECRET = {
    "apikey", "auth", "authorization", "credential", "credentials", "jwt", "pass", "passphrase", "passwd", "password", "privatekey",
    "pwd", "sas", "secret", "secretkey", "sig", "signature", "token", "accesskey", "accountkey", "connectionstring", "authkey",
    "encryptionkey", "sharedkey", "signingkey", "keyid", "sessiontoken",
}  # fmt: skip
_OF_A_TEXT = {"begin", "bos", "cls", "end", "eos", "image", "mask", "new", "next", "pad", "sep", "special", "start", "stop", "unk", "word"}
_MAY_COUNT = ("token", "pass", "sig", "auth", "id", "sas")  # a number there is no secret: `--pass 2`
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", re.I)

_FIELD = re.compile(  # name=value, or "name": "value"
    r"""(?<![\w.-])(?P<name>[\w.-]+)(?P<between>=|["']\s*:\s*(?=["']))(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&"'{}()\[\]]+)"""
)
_USER = re.compile(r"(?<![a-z0-9+.-])(?P<before>[a-z][a-z0-9+.-]*://)(?P<user>[^\s/:@?#]*)(?P<password>:[^\s/@]*)?@", re.I)
_BEARER = re.compile(r"\b(?P<before>(?:bearer|basic)\s+)(?P<value>[A-Za-z0-9._~+/=-]{12,})", re.I)
_FORMS = re.compile(
    r"(?<![\w-])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|glpat-[\w-]{16,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.S,
)
_SHORTEST = 6  # what is shorter stands in innocent words too often to be hidden by its value

_remembered: dict[str, re.Pattern[str]] = {}


def says_secret(name: str) -> bool:
    """Does the name of an option, a field or a variable say that its value is secret?"""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or (words[-1] == "token" and any(word in _OF_A_TEXT for word in words)):
        return False
    return words[-1] in _SECRET or "".join(words[-2:]) in _SECRET


def hidden_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line, without the secrets in them."""
    return tuple(_scan_arguments(arguments, []))


def hidden(text: str) -> str:
    """A text without the secrets in it."""
    for pattern in _remembered.values():
        text = pattern.sub(HIDDEN, text)
    return _scan(text, [])


def hidden_values(value: Any) -> Any:
    """The same of all text in lists and dicts; nothing else is touched."""
    if isinstance(value, str):
        return hidden(value)
    if isinstance(value, dict):
        return {key: HIDDEN if isinstance(item, str) and says_secret(str(key)) else hidden_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hidden_values(item) for item in value]
    return value


def remember(arguments: Iterable[str]) -> None:
    """Hide what is secret in these words of a command line wherever it turns up later in this process."""
    found: list[str] = []
    _scan_arguments(list(arguments), found)
    for value in found:
        if len(value) >= _SHORTEST:
            _remembered[value] = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")


def forget() -> None:
    """Remember nothing any more."""
    _remembered.clear()


def _scan_arguments(arguments: Sequence[str], found: list[str]) -> list[str]:
    """The words as they may be shown; what is hidden goes to `found`."""
    shown: list[str] = []
    name = ""  # of the option whose value comes next
    for word in arguments:
        if name and not word.startswith("--") and _is_value(name, word):
            found.append(word)
            shown.append(HIDDEN)
            name = ""
            continue
        option, equals, value = word.partition("=")
        secret = word.startswith("-") and says_secret(option)
        name = option if secret and not equals else ""
        if secret and value and _is_value(option, value):  # whatever is in it
            found.append(value)
            shown.append(f"{option}={HIDDEN}")
        else:
            shown.append(_scan(word, found))
    return shown


def _scan(text: str, found: list[str]) -> str:
    def field(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        quote = value[0] if value[0] in "\"'" else ""
        if not says_secret(name) or not _is_value(name, value) or HIDDEN in value:
            return match[0]
        found.append(value.strip(quote) if quote else value)
        return f"{name}{match['between']}{quote}{HIDDEN}{quote}"

    def user(match: re.Match[str]) -> str:
        if match["password"] is not None:
            found.append(match["password"][1:])
            return f"{match['before']}{match['user']}:{HIDDEN}@"
        if len(match["user"]) < 20:  # a name; what is so long is a token
            return match[0]
        found.append(match["user"])
        return f"{match['before']}{HIDDEN}@"

    def bearer(match: re.Match[str]) -> str:
        found.append(match["value"])
        return f"{match['before']}{HIDDEN}"

    def form(match: re.Match[str]) -> str:
        found.append(match[0])
        return HIDDEN

    for pattern, hide in ((_USER, user), (_FIELD, field), (_BEARER, bearer), (_FORMS, form)):
        text = pattern.sub(hide, text)
    return text


def _is_value(name: str, word: str) -> bool:
    return not (name.lower().endswith(_MAY_COUNT) and _NUMBER.fullmatch(word))
