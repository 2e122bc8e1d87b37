"""The pytest plugin in runs of its own, as users have them."""

import pytest

pytest_plugins = "pytester"

TASKS = """
from stem_core import RetryPolicy, Stem, TaskContext

app = Stem("shop", broker_url="nowhere://x")

@app.task
async def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name

@app.task(retry=RetryPolicy.fixed(60))
def fetch(ctx: TaskContext, page: int) -> int:
    if ctx.attempt == 1:
        raise ConnectionError("away")
    return page
"""
COROUTINES = """
from shop_tasks import fetch, greet

async def test_all_in_one(stem_app, stem_harness, stem_signals, stem_clock, assert_enqueued):
    start = stem_clock.now()
    async with stem_app.open():
        handle = await fetch.enqueue(7)
        assert_enqueued(fetch, page=7, times=1)
        await stem_harness.run_until_idle()
        assert (await handle.status()).state == "retrying"
        await stem_harness.advance(60)
        assert await handle.result(timeout=1) == 7
    assert stem_clock.now() == start + 60
    assert len(stem_signals.of("task-retried")) == 1

async def test_another(stem_app, assert_enqueued):
    assert_enqueued(fetch, times=0)
"""
PLAIN = """
from shop_tasks import greet

def test_without_a_loop(stem_harness, assert_enqueued):
    handle = greet.enqueue_sync("Ada", loud=True)
    assert_enqueued(greet, "Ada", loud=True)
    stem_harness.run_until_idle_sync()
"""
OVERRIDDEN = """
import pytest
from shop_tasks import app, greet

@pytest.fixture
def stem_source():
    return app

@pytest.fixture
def stem_settings():
    return {"namespace": "mine"}

async def test_it(stem_app, assert_enqueued):
    assert stem_app is app
    assert stem_app.runtime.settings.app.namespace == "mine"
    async with stem_app.open():
        await greet.enqueue("Ada")
    assert_enqueued(greet, "Ada")
"""
CONTRACT = """
from stem_core.testing.contracts import BrokerContract

class TestMemory(BrokerContract):
    url = "memory://"

    async def test_of_ones_own(self, broker, clock):
        await broker.publish([])
        assert await broker.queues() == []
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest in a process of its own with the named plugins and no others."""
    pytester.makepyfile(shop_tasks=TASKS)
    pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings = error\n")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(*arguments, plugins=("stem_core.testing.plugin",)):
        named = [item for plugin in plugins for item in ("-p", plugin)]
        app = ["-o", "stem_app=shop_tasks:app"] if "stem_core.testing.plugin" in plugins else []
        return pytester.runpytest_subprocess(*named, "-p", "no:cacheprovider", *app, *arguments)

    return run


class TestFixtures:
    def test_coroutines_run_without_any_other_plugin(self, run, pytester):
        pytester.makepyfile(test_it=COROUTINES)
        run().assert_outcomes(passed=2)

    @pytest.mark.parametrize("mode", ["auto", "strict"])
    def test_coroutines_run_under_pytest_asyncio(self, run, pytester, mode):
        pytester.makepyfile(test_it=COROUTINES)
        plugins = ("stem_core.testing.plugin", "pytest_asyncio.plugin")
        options = ["-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function"]
        run(*options, plugins=plugins).assert_outcomes(passed=2)

    def test_plain_tests(self, run, pytester):
        pytester.makepyfile(test_it=PLAIN)
        run().assert_outcomes(passed=1)

    def test_the_app_can_be_overridden(self, run, pytester):
        pytester.makepyfile(test_it=OVERRIDDEN)
        run("-o", "stem_app=").assert_outcomes(passed=1)

    def test_an_app_that_is_not_there_is_named(self, run, pytester):
        pytester.makepyfile(test_it=COROUTINES)
        result = run("-o", "stem_app=shop_tasks:nothing")
        result.assert_outcomes(errors=2)
        result.stdout.fnmatch_lines(["*the ini option stem_app shop_tasks:nothing: *has no attribute 'nothing'*"])

    def test_coroutines_that_do_not_use_it_are_not_its_business(self, run, pytester):
        pytester.makepyfile(test_it="async def test_it(): raise AssertionError('it ran')")
        result = run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*async def functions are not natively supported*"])


class TestContracts:
    @pytest.mark.parametrize(
        ("plugins", "options"),
        [
            pytest.param((), (), id="no-plugin-at-all"),
            pytest.param(("pytest_asyncio.plugin",), ("-o", "asyncio_mode=auto"), id="asyncio-auto"),
            pytest.param(("pytest_asyncio.plugin",), ("-o", "asyncio_mode=strict"), id="asyncio-strict"),
        ],
    )
    def test_a_suite_runs_with_and_without_plugins(self, run, pytester, plugins, options):
        pytester.makepyfile(test_it=CONTRACT)
        loop = ("-o", "asyncio_default_fixture_loop_scope=function") if plugins else ()
        chosen = "of_ones_own or finished or facet or lease"
        result = run("-q", "-k", chosen, *options, *loop, plugins=plugins)
        outcomes = result.parseoutcomes()
        assert outcomes["passed"] > 40
        assert not outcomes.keys() & {"failed", "errors", "skipped", "warnings"}

    def test_there_are_many_broker_cases(self, run, pytester):
        pytester.makepyfile(test_it=CONTRACT)
        result = run("--collect-only", "-q")
        assert sum("::test_" in line for line in result.outlines) > 250

    def test_what_is_missing_is_skipped_by_its_name(self, run, pytester):
        pytester.makepyfile(
            bare="""
            from contextlib import asynccontextmanager
            from stem_core.builtin import memory_broker
            from stem_core.contracts import Broker, BrokerCapabilities, BrokerProvider
            from stem_core.hooks import hookimpl
            from stem_core.testing import FlakyBroker

            class Bare(Broker):
                def __init__(self, inner): self.inner = inner

            for verb in Broker.__abstractmethods__:
                def hand_on(self, *args, verb=verb, **kwargs):
                    return getattr(self.inner, verb)(*args, **kwargs)
                setattr(Bare, verb, hand_on)
            Bare.__abstractmethods__ = frozenset()

            @asynccontextmanager
            async def open_broker(context):
                async with memory_broker.open_broker(context) as inner:
                    yield Bare(inner)

            @hookimpl
            def stem_register_brokers():
                capabilities = BrokerCapabilities(durable=False, shared=False)
                return [BrokerProvider(schemes=("bare",), open=open_broker, capabilities=capabilities)]
            """,
            test_it="""
            from stem_core.contracts import Inspectable
            from stem_core.testing.contracts import BrokerContract

            class TestBare(BrokerContract):
                url = "bare://x"
                plugins = ("plugs.bare",)
                turns_clock = False

            class TestClaims(BrokerContract):
                url = "bare://x"
                plugins = ("plugs.bare",)
                claims = (Inspectable,)
            """,
        )
        pytester.mkdir("plugs")
        (pytester.path / "bare.py").rename(pytester.path / "plugs/bare.py")
        result = run("-q", "-rs", "-k", "TestBare")
        outcomes = result.parseoutcomes()
        assert outcomes["passed"] > 60
        assert "failed" not in outcomes
        result.stdout.fnmatch_lines_random(
            [
                "SKIPPED*Bare lacks the ability KeepsDeadLetters",
                "SKIPPED*Bare lacks the ability Inspectable",
                "SKIPPED*Bare lacks the ability Broadcasts",
                "SKIPPED*Bare lacks the ability SettlesWithResults",
                "SKIPPED*the clock of this store cannot be turned: turns_clock",
            ]
        )
        result = run("-q", "-k", "TestClaims and peeking_claims_nothing")
        assert result.parseoutcomes()["failed"] == 1
        result.stdout.fnmatch_lines(["*Bare claims Inspectable and is none*"])

    def test_a_class_without_a_url_says_what_to_do(self, run, pytester):
        pytester.makepyfile(
            "from stem_core.testing.contracts import *\n"
            "class TestMine(BrokerContract): pass\n"
            "class TestStrategy(StrategyContract): pass\n"
            "class TestPlugin(PluginContract): pass\n"
        )
        result = run("-q", "-k", "never_comes_early or the_result_comes_back or it_is_loaded")
        assert result.parseoutcomes()["errors"] >= 3
        result.stdout.fnmatch_lines_random(
            [
                "*UsageError: TestMine has to set url, or to override the fixture open_store",
                "*UsageError: TestStrategy has to set strategy, or to override the fixture provider",
                "*UsageError: TestPlugin has to set plugin",
            ]
        )


def test_pytest_loads_nothing_of_stem_before_a_fixture_is_used(run, pytester):
    pytester.makepyfile(
        test_it="""
        import sys

        def test_it():
            loaded = {name for name in sys.modules if name.partition(".")[0] in {"stem_core", "attrs", "msgspec"}}
            assert loaded <= {"stem_core", "stem_core.testing", "stem_core.testing.plugin"}
            assert not {"asyncio", "hypothesis", "typer"} & sys.modules.keys()
        """
    )
    run().assert_outcomes(passed=1)
