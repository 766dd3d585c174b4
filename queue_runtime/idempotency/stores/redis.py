"""Claims in Redis or Valkey: each call is one script, which runs there as one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from queue_runtime.config import Secret
from queue_runtime.errors import MissingExtraError
from queue_runtime.idempotency import body_digests
from queue_runtime.idempotency.store import FRESH, found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queue_runtime.idempotency.store import Claim, Clock, Found

# A key in braces is what a cluster places rows by: those of one script must be in one place.
_PREFIX: Final = "queue-runtime"

# ARGV: owner, milliseconds, the time now or "" for the server's own, payloads, body digests. Rows:
# owner, end, done, payload, body digests, which 0.1.0 neither writes nor takes away. The server
# forgets a row when it ends; the end is compared as well, because a test has a clock of its own.
_START: Final = """
local owner, span, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local answers = {}
for at, key in ipairs(KEYS) do
  local row = redis.call('HMGET', key, 'owner', 'ends', 'done', 'payload', 'body_digests')
  local ours = row[1] == owner
"""
_END: Final = """
end
return answers
"""
_CLAIM: Final = f"""{_START}
  if not row[1] or ours or tonumber(row[2]) <= now then
    redis.call('HSET', key, 'owner', owner, 'ends', string.format('%d', now + span),
               'done', '0', 'payload', ARGV[at + 3], 'body_digests', ARGV[at + 3 + #KEYS])
    redis.call('PEXPIRE', key, span)
    answers[at] = false
  else
    answers[at] = {{row[3], tonumber(row[2]) - now, row[4], row[5] or ''}}
  end
{_END}"""
_EXTEND: Final = f"""{_START}
  if ours and row[3] == '0' then
    redis.call('HSET', key, 'ends', string.format('%d', now + span))
    redis.call('PEXPIRE', key, span)
  end
{_END}"""
_COMMIT: Final = f"""{_START}
  if not row[1] or ours then
    redis.call('HSET', key, 'owner', owner, 'ends', string.format('%d', now + span),
               'done', '1', 'payload', ARGV[at + 3], 'body_digests', ARGV[at + 3 + #KEYS])
    redis.call('PEXPIRE', key, span)
    answers[at] = 1
  else
    answers[at] = 0
  end
{_END}"""
_RELEASE: Final = f"""{_START}
  if ours and row[3] == '0' then
    redis.call('DEL', key)
  end
{_END}"""


class RedisStore:
    """One database; it must not evict (`maxmemory-policy noeviction`), or it forgets what is done.

    Args:
        url: `redis://` or `rediss://`, with host, port and database.
        client: None makes one from the URL.
        secret: the URL as it is kept in a store, whose user and password may change there.
        password: instead of one in the URL; it may change too.
        clock: None takes the server's own, which all who use it agree on.

    Raises:
        MissingExtraError: the client library is not installed.
    """

    def __init__(
        self,
        url: str = "",
        *,
        client: Any = None,
        clock: Clock | None = None,
        secret: Secret | None = None,
        password: Secret | None = None,
    ) -> None:
        self._login = _Login(secret or Secret(url), password)
        self._client = client or _client(url, self._login)
        self._clock = clock
        register = self._client.register_script
        self._claim, self._extend = register(_CLAIM), register(_EXTEND)
        self._commit, self._release = register(_COMMIT), register(_RELEASE)

    def claim(self, claims: Sequence[Claim], owner: str, seconds: float) -> Sequence[Found]:
        """Take what is free, in one step."""
        answers = self._run(self._claim, claims, owner, seconds)
        return [FRESH if answer is None else _found(answer) for answer in answers]

    def extend(self, claims: Sequence[Claim], owner: str, seconds: float) -> None:
        """Move the ends of what is the owner's and unfinished."""
        self._run(self._extend, claims, owner, seconds)

    def commit(self, claims: Sequence[Claim], owner: str, retention: float) -> Sequence[bool]:
        """Mark as done what is the owner's, or nobody's."""
        return [answer == 1 for answer in self._run(self._commit, claims, owner, retention)]

    def release(self, claims: Sequence[Claim], owner: str) -> None:
        """Remove what is the owner's and unfinished."""
        self._run(self._release, claims, owner, 0.0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _run(self, script: Any, claims: Sequence[Claim], owner: str, seconds: float) -> Any:
        now = "" if self._clock is None else round(self._clock() * 1000)
        span = max(round(seconds * 1000), 1)
        payloads = [body_digests.exact_part(claim.payload) for claim in claims]
        added = [body_digests.added_part(claim.payload) for claim in claims]
        keys = [_key(claim.key) for claim in claims]
        arguments = [owner, span, now, *payloads, *added]
        version = self._login.version
        try:
            return script(keys=keys, args=arguments)
        except Exception as error:
            # A refusal, which comes before anything is run; the library's own class of it needs
            # the library, which a client that was given may not be of.
            if type(error).__name__ != "AuthenticationError" or not self._login.renew(version):
                raise
            return script(keys=keys, args=arguments)


def _key(key: str) -> str:
    scope, _, rest = key.partition("#")
    return f"{_PREFIX}:{{{scope}}}:{rest}"


def _found(answer: Sequence[Any]) -> Found:
    done, left, exact, digests = answer
    payload = body_digests.read(exact.decode(), digests.decode())
    return found(done=done == b"1", remaining=left / 1000, payload=payload)


class _Login:
    """User and password as they are now; redis-py asks for them with each new connection."""

    def __init__(self, url: Secret, password: Secret | None) -> None:
        self._url, self._password = url, password

    @property
    def version(self) -> int:
        """Which of the values is the latest."""
        return self._kept.version

    @property
    def known(self) -> bool:
        """Whether there is anything to sign in with."""
        return bool(self.get_credentials())

    @property
    def _kept(self) -> Secret:
        return self._password or self._url

    def renew(self, version: int) -> bool:
        """Read it again after that version was refused; True where there is another."""
        return self._kept.renew(version)

    def get_credentials(self) -> tuple[str, ...]:
        """Give `(user, password)`, `(password,)`, or nothing."""
        parts = urlsplit(self._url.reveal())
        user = unquote(parts.username or "")
        password = self._password.reveal() if self._password else unquote(parts.password or "")
        return tuple(text for text in (user, password) if text)


def _client(url: str, login: _Login) -> Any:
    try:
        from redis import Redis
        from redis.backoff import ExponentialWithJitterBackoff
        from redis.credentials import CredentialProvider
        from redis.retry import Retry
    except ImportError:
        raise MissingExtraError("an idempotency store in Redis", "redis") from None

    class Provider(CredentialProvider):
        def get_credentials(self) -> tuple[str, ...]:  # type: ignore[override]  # one or two, as its documentation says
            return login.get_credentials()

    options: dict[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
    # A script that took effect although its answer was lost may be run again.
    options["retry"] = Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 2)
    if login.known:
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        options["credential_provider"] = Provider()
    return Redis.from_url(url, **options)
