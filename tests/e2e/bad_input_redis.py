"""The rows of bad input that need a server. ``{port}`` is where it listens; :attr:`BadInput.server` says what it is."""

from __future__ import annotations

from e2e.bad_input_cases import BadInput

_GROUP = "Redis"
_WORKER = "stem worker -A tasks:app -Q mail"
_ENQUEUE = "stem enqueue -A tasks:app tasks.send_welcome '[1]'"


def _case(
    name: str, url: str, stderr: str, *, server: str = "plain", command: str = _WORKER, code: int = 2
) -> BadInput:
    return BadInput(
        group=_GROUP,
        name=name,
        command=command,
        environment={"STEM_BROKER_URL": url},
        server=server,
        stderr=stderr,
        exit_code=code,
    )


REDIS_CASES: tuple[BadInput, ...] = (
    _case(
        "Nobody listens there",
        "redis://:hunter2@127.0.0.1:1",
        """\
stem: error: cannot use redis://:***@127.0.0.1:1 now: Connect call failed ('127.0.0.1', 1)
  hint: see that the server runs at the host and port of the URL
""",
        server="",
        code=1,
    ),
    _case(
        "Nobody listens there, for a producer",
        "redis://127.0.0.1:1",
        """\
stem: error: cannot use redis://127.0.0.1:1 now: Connect call failed ('127.0.0.1', 1)
  hint: see that the server runs at the host and port of the URL
""",
        server="",
        command=_ENQUEUE,
        code=1,
    ),
    _case(
        "There is no such socket",
        "redis+unix:///nowhere/redis.sock",
        """\
stem: error: cannot use redis+unix:///nowhere/redis.sock now: No such file or directory
  hint: see that the server runs, and that the URL has the path of its socket
""",
        server="",
        code=1,
    ),
    _case(
        "The server wants a password",
        "redis://127.0.0.1:{port}",
        """\
stem: error: cannot use redis://127.0.0.1:{port}: it wants a password
  hint: give it in the URL: redis://user:password@host
""",
        server="password",
    ),
    _case(
        "The password is wrong",
        "redis://bob:hunter2@127.0.0.1:{port}",
        """\
stem: error: cannot use redis://bob:***@127.0.0.1:{port}: the user name or password is wrong
  hint: see the URL: redis://user:password@host
""",
        server="password",
    ),
    _case(
        "The server speaks no TLS",
        "rediss://127.0.0.1:{port}",
        """\
stem: error: cannot use rediss://127.0.0.1:{port} now: no connection within 1 s
  hint: see that the server runs at the host and port of the URL, or write redis:// for one without TLS
""",
        code=1,
    ),
    _case(
        "The certificate of the server is not trusted",
        "rediss://localhost:{port}",
        """\
stem: error: cannot use rediss://localhost:{port}: its certificate is not trusted (unable to get local issuer \
certificate)
  hint: name the certificate of its authority in STEM_TLS_CA_CERT
""",
        server="tls",
    ),
    _case(
        "There is no database of that number",
        "redis://127.0.0.1:{port}/99",
        """\
stem: error: cannot use redis://127.0.0.1:{port}/99: there is no database 99 (ERR DB index is out of range)
  hint: name another in the URL
""",
    ),
    _case(
        "The database is no number",
        "redis://127.0.0.1/jobs",
        """\
stem: error: the URL redis://127.0.0.1/jobs cannot be used: 'jobs' is no number of a database
  hint: write redis://[user:password@]host[:port][/database], rediss://... with TLS, or \
redis+unix:///path/of/socket[?db=N]
""",
        server="",
    ),
    _case(
        "What answers there is no Redis",
        "redis://127.0.0.1:{port}",
        """\
stem: error: cannot use redis://127.0.0.1:{port}: what answers there is no Redis server
  hint: see host and port of the URL
""",
        server="http",
    ),
    _case(
        "The server is a read-only replica",
        "redis://127.0.0.1:{port}",
        """\
stem: error: cannot use redis://127.0.0.1:{port}: it is a read-only replica
  hint: name the master in the URL
""",
        server="replica",
    ),
    _case(
        "The server evicts keys when its memory is full",
        "redis://127.0.0.1:{port}",
        """\
stem: error: cannot use redis://127.0.0.1:{port}: it evicts keys when its memory is full \
(maxmemory-policy allkeys-lru), and with them tasks
  hint: set maxmemory-policy noeviction on the server, or STEM_REDIS_ALLOW_EVICTION=1 to take the risk
""",
        server="evicting",
    ),
    _case(
        "A name that no queue may have",
        "redis://127.0.0.1:{port}",
        """\
stem: error: 'mail box' is no queue name
  hint: use 1 to 128 of the characters A-Z a-z 0-9 _ . -
""",
        command=f"{_ENQUEUE} --queue 'mail box'",
    ),
)
