import json

import pytest

PLUGIN = """
import asyncio
from contextlib import asynccontextmanager
from stem_core.builtin import plugin as builtin
from stem_core.builtin.memory_broker import MemoryBroker
from stem_core.contracts import BackendProvider, BrokerCapabilities, BrokerProvider, StateProvider
from stem_core.errors import StoreUnavailable
from stem_core.hooks import hookimpl

SHARED = BrokerCapabilities(durable=False, shared=True)

def skewed(seconds):
    @asynccontextmanager
    async def open(context):
        async with builtin.open_broker(context) as inner:
            inner.__class__ = type('Skewed', (MemoryBroker,), {'now': now})
            yield inner
    async def now(self):
        return self._clock.now() + seconds
    return open

@asynccontextmanager
async def down(context):
    raise StoreUnavailable(f'{context.url} is down', hint='start it')
    yield

@asynccontextmanager
async def mute(context):
    async with builtin.open_state(context) as state:
        async def get(collection, key):
            await asyncio.sleep(60)
        state.get = get
        yield state

@asynccontextmanager
async def odd(context):
    raise KeyError('host')
    yield

OPENERS = {'good': builtin.open_broker, 'ahead': skewed(+90), 'behind': skewed(-5), 'close': skewed(0.5)}

@hookimpl
def stem_register_brokers():
    return [BrokerProvider(schemes=(name,), open=open, capabilities=SHARED) for name, open in OPENERS.items()]

@hookimpl
def stem_register_result_backends():
    return [
        BackendProvider(schemes=('good',), open=builtin.open_backend),
        BackendProvider(schemes=('down',), open=down),
        BackendProvider(schemes=('odd',), open=odd),
    ]

@hookimpl
def stem_register_state_stores():
    return [StateProvider(schemes=('good',), open=builtin.open_state), StateProvider(schemes=('mute',), open=mute)]
"""


@pytest.fixture
def health(write, stem):
    write("acme/stores.py", PLUGIN)

    def run(*arguments, plugin="acme.stores"):
        done = stem("health", *arguments, "-p", plugin, "--json")
        return done, {row["check"]: row for row in json.loads(done.out)} if done.out else {}

    return run


def states(rows):
    return {name: row["state"] for name, row in rows.items()}


def test_all_is_well(stem, health):
    done, rows = health("--broker", "good://a")
    assert (done.code, done.err) == (0, "")
    assert list(rows) == ["settings", "plugins", "broker", "result backend", "state store", "broker clock"]
    assert set(states(rows).values()) == {"ok"}
    assert rows["settings"]["detail"] == "2 set, namespace stem"
    assert rows["plugins"]["detail"].startswith("acme.stores")
    assert (rows["broker"]["target"], rows["broker"]["detail"]) == ("good://a", "reachable")
    assert 0 <= rows["broker"]["latency"] < 5
    assert abs(rows["broker clock"]["skew"]) < 1
    text = stem("health", "--broker", "good://a", "-p", "acme.stores")
    assert text.out.splitlines()[0] == "settings\tok\t\t\t2 set, namespace stem"
    assert text.out.splitlines()[2].endswith(" ms\t\tgood://a: reachable")


def test_a_store_that_is_down_hides_no_other(health):
    done, rows = health("--broker", "good://a", "--backend", "down://user:secret@host")
    assert done.code == 69
    assert states(rows) == {
        "settings": "ok", "plugins": "ok", "broker": "ok", "result backend": "failed", "state store": "ok",
        "broker clock": "ok",
    }  # fmt: skip
    row = rows["result backend"]
    assert (row["detail"], row["hint"], row["latency"]) == ("down://user:***@host is down", "start it", None)
    assert "secret" not in done.out


def test_hints_are_messages(stem, health):
    done = stem("health", "--broker", "good://a", "--backend", "down://h", "-p", "acme.stores")
    assert (done.code, done.err) == (69, "result backend: start it\n")


def test_a_store_that_does_not_answer(health, write):
    write("stem.toml", "broker_url = 'good://a'\nstate_url = 'mute://a'\n[worker]\ncall_timeout = '100ms'\n")
    done, rows = health()
    assert (done.code, rows["state store"]["state"]) == (69, "failed")
    assert rows["state store"]["detail"] == "no answer within 0.1 s"


def test_an_error_that_is_none_of_ours(health):
    done, rows = health("--broker", "good://a", "--backend", "odd://a")
    assert done.code == 69
    assert rows["result backend"]["detail"] == "KeyError: 'host'"
    assert rows["state store"]["state"] == "ok"


@pytest.mark.parametrize(
    ("scheme", "state", "skew", "detail"),
    [
        ("ahead", "warning", -90, "this machine is 90.0 s behind the store"),
        ("behind", "warning", 5, "this machine is 5.0 s ahead of the store"),
        ("close", "ok", -0.5, "in step"),
    ],
)
def test_clocks(health, scheme, state, skew, detail):
    done, rows = health("--broker", f"{scheme}://a", "--backend", "good://a")
    row = rows["broker clock"]
    assert (done.code, row["state"], row["detail"]) == (0, state, detail)
    assert row["skew"] == pytest.approx(skew, abs=0.4)


def test_without_results(health):
    done, rows = health("--broker", "good://a", "--backend", "none")
    assert (done.code, rows["result backend"]["detail"]) == (0, "no results are kept")


def test_settings_that_cannot_be_used(health, write):
    write("stem.toml", "[worker]\nconcurrency = 'many'\n")
    done, rows = health("--broker", "good://a")
    assert done.code == 69
    assert states(rows) == {
        "settings": "failed", "plugins": "skipped", "broker": "skipped", "result backend": "skipped",
        "state store": "skipped",
    }  # fmt: skip
    assert "worker.concurrency" in rows["settings"]["detail"]


def test_a_scheme_that_nobody_provides(health):
    done, rows = health("--broker", "nobody://a")
    assert (done.code, rows["settings"]["state"]) == (69, "failed")
    assert "nobody" in rows["settings"]["detail"]


def test_a_broken_plugin(health, write):
    write("acme/broken.py", "raise RuntimeError('nope')")
    done, rows = health("--broker", "good://a", plugin="acme.stores,acme.broken")
    assert done.code == 69
    assert rows["plugins"]["state"] == "failed"
    assert "acme.broken" in rows["plugins"]["detail"]
    assert rows["broker"]["state"] == "ok"


def test_nothing_configured(stem):
    done = stem("health", "--json", "-p", "")
    assert done.code == 69
    assert json.loads(done.out)[0]["hint"].startswith("set STEM_BROKER_URL")


def test_a_default_address_is_a_warning(stem):
    done = stem("health", "--json", "-p", "sqlite")
    row = json.loads(done.out)[0]
    assert (done.code, row["check"], row["state"]) == (0, "settings", "warning")
    assert row["detail"].startswith("no broker is configured; the default is sqlite://")


def test_two_plugins_for_one_scheme(health, write):
    write("acme/twin.py", PLUGIN)
    done, rows = health("--broker", "good://a", plugin="acme.stores,acme.twin")
    assert done.code == 69
    assert states(rows) == {
        "settings": "ok", "plugins": "failed", "broker": "skipped", "result backend": "skipped",
        "state store": "skipped",
    }  # fmt: skip
    assert "acme.twin" in rows["plugins"]["detail"]
