"""The routing configuration: where it is read from, what it may hold, and what is said of mistakes in it."""

import msgspec
import pytest

from stem_core.errors import InvalidSetting
from stem_core.model import Channel, QueueRule, Route, Routing
from stem_core.settings import resolve

FULL = """\
default_queue = "jobs"

[queues.mail]
priority = [2, 5]

[queues.reports]

[channels.news]
delivery = "retained"
ttl = "10m"

[channels.config]

[[routes]]
task = "emails.*"
queue = "mail"

[[routes]]
task = "cache.refresh"
channel = "news"
"""

ROUTING = Routing(
    default_queue="jobs",
    queues={"mail": QueueRule(priority=(2, 5)), "reports": QueueRule()},
    channels={"news": Channel(delivery="retained", ttl=600.0), "config": Channel()},
    routes=(Route(task="emails.*", queue="mail"), Route(task="cache.refresh", channel="news")),
)


def under(table, text):
    return (
        text.replace("[[routes]]", f"[[{table}.routes]]")
        .replace("\n[", f"\n[{table}.")
        .replace(f"[{table}.[{table}.routes]]", f"[[{table}.routes]]")
    )


@pytest.fixture
def read(tmp_path):
    def read(text, *, environ=None, name="routing.toml", **given):
        (tmp_path / name).write_text(text)
        environ = {"STEM_ROUTING_CONFIG": "routing.toml"} if environ is None else environ
        return resolve(environ=environ, directory=tmp_path, **given)

    return read


def row(settings, key):
    return next((row.value, row.origin) for row in settings.rows() if row.key == key)


class TestSources:
    def test_a_file_that_the_environment_names(self, read):
        settings = read(FULL)
        assert settings.app.routing_config == ROUTING
        assert row(settings, "routing_config") == (
            "2 routes, 2 queues, 2 channels",
            "environment STEM_ROUTING_CONFIG (routing.toml)",
        )

    @pytest.mark.parametrize(("name", "table"), [("stem.toml", "routing"), ("pyproject.toml", "tool.stem.routing")])
    def test_tables_in_the_settings_file(self, read, name, table):
        settings = read(f"[{table}]\n" + under(table, FULL), name=name, environ={})
        assert settings.app.routing_config == ROUTING
        assert row(settings, "routing_config")[1] == f"file {name} [{table}]"

    def test_a_file_replaces_the_tables(self, read):
        read(FULL)
        settings = read("[[routing.routes]]\ntask = 'a'\nqueue = 'b'\n", name="stem.toml", environ={})
        assert settings.app.routing_config.routes == (Route(task="a", queue="b"),)
        settings = read(FULL)
        assert settings.app.routing_config == ROUTING

    def test_none_says_that_there_are_no_routes(self, read):
        settings = read(
            "[[routing.routes]]\ntask = 'a'\nqueue = 'b'\n", name="stem.toml", environ={"STEM_ROUTING_CONFIG": "none"}
        )
        assert settings.app.routing_config == Routing()

    def test_the_settings_file_may_name_a_file(self, read, tmp_path):
        read(FULL, name="elsewhere.toml", environ={})
        assert read("routing = 'elsewhere.toml'", name="stem.toml", environ={}).app.routing_config == ROUTING

    def test_code(self, read):
        settings = read("", environ={}, code={"routing_config": {"routes": [{"task": "a", "queue": "b"}]}})
        assert settings.app.routing_config.routes == (Route(task="a", queue="b"),)

    def test_nothing(self, read):
        settings = read("", environ={})
        assert settings.app.routing_config == Routing()
        assert row(settings, "routing_config") == ("none", "default")

    def test_a_child_process_is_given_what_was_read(self, read):
        settings = read(FULL)
        packed = msgspec.json.decode(msgspec.json.encode(settings.app.routing_config))
        assert resolve(environ={}, command_line={"routing_config": packed}).app.routing_config == ROUTING

    def test_a_file_is_read_once(self, read, tmp_path):
        settings = read(FULL)
        (tmp_path / "routing.toml").unlink()
        assert settings.overlay(code={"worker.concurrency": 2}).app.routing_config == ROUTING


class TestDefaultQueue:
    @pytest.mark.parametrize(
        ("environ", "given", "expected", "origin"),
        [
            ({}, {}, "jobs", "environment STEM_ROUTING_CONFIG (routing.toml)"),
            ({}, {"code": {"default_queue": "x"}}, "jobs", "environment STEM_ROUTING_CONFIG (routing.toml)"),
            ({"STEM_DEFAULT_QUEUE": "x"}, {}, "x", "environment STEM_DEFAULT_QUEUE"),
            ({}, {"command_line": {"default_queue": "x"}}, "x", "command line --default-queue"),
        ],
        ids=["over the default", "over code", "not over its variable", "not over the command line"],
    )
    def test_counts_as_set_where_the_configuration_was(self, read, environ, given, expected, origin):
        settings = read(FULL, environ={"STEM_ROUTING_CONFIG": "routing.toml", **environ}, **given)
        assert row(settings, "default_queue") == (expected, origin)
        assert settings.app.default_queue == settings.get("default_queue") == expected

    @pytest.mark.parametrize(
        ("text", "code", "told"),
        [
            (
                "default_queue = 'a'\n[routing]\ndefault_queue = 'b'",
                {},
                "file stem.toml [routing]: routing.default_queue = 'b', but default_queue = 'a' (file stem.toml)",
            ),
            (
                "",
                {"default_queue": "a", "routing_config": {"default_queue": "b"}},
                "code: routing.default_queue = 'b', but default_queue = 'a' (code)",
            ),
        ],
        ids=["file", "code"],
    )
    def test_two_of_one_kind_must_agree(self, read, text, code, told):
        with pytest.raises(InvalidSetting) as caught:
            read(text, name="stem.toml", environ={}, code=code)
        assert str(caught.value) == f"{told}\n  hint: keep one of the two"

    def test_two_that_agree_are_one(self, read):
        text = "default_queue = 'a'\n[routing]\ndefault_queue = 'a'"
        assert read(text, name="stem.toml", environ={}).app.default_queue == "a"


def test_a_table_that_is_misspelt(read):
    with pytest.raises(InvalidSetting) as caught:
        read("[[routng.routes]]\ntask = 'a'", name="stem.toml", environ={})
    assert caught.value.hint == "did you mean [routing]?"


A_ROUTE = "[[routes]]\ntask = 'a.*'\n"
MISTAKES = [
    ("rutes = 1", "rutes = 1: there is no such setting", "did you mean routes?"),
    (
        "[queues.mail]\nprioritty = [0, 1]",
        "queues.mail.prioritty = [0, 1]: there is no such setting",
        "did you mean priority?",
    ),
    ("[channels.a]\nmax = 1", "channels.a.max = 1: there is no such setting", "known here: delivery, ttl"),
    ("queues = 1", "queues = 1: expected a table for each, [queues.NAME]", ""),
    ("queues.mail = 1", "queues.mail = 1: expected a table", ""),
    ("routes = 'a'", "routes = 'a': expected an array of tables [[routes]]", ""),
    ("routes = ['a']", "routes[0] = 'a': expected a table", ""),
    ("default_queue = 'a b'", "default_queue = 'a b': expected a queue name: {name}", ""),
    ("[queues.'a b']", "[queues.a b]: expected a queue name: {name}", ""),
    ("[queues.'a.control.b']", "[queues.a.control.b]: expected a queue name: {name}", ""),
    ("[channels.'a.control.b']", "[channels.a.control.b]: expected a channel name: {name}", ""),
    ("[queues.m]\npriority = 3", "queues.m.priority = 3: expected {range}", ""),
    ("[queues.m]\npriority = [0, 10]", "queues.m.priority = [0, 10]: expected {range}", ""),
    ("[queues.m]\npriority = [true, 2]", "queues.m.priority = [True, 2]: expected {range}", ""),
    (
        "[queues.m]\npriority = [7, 3]",
        "queues.m.priority = [7, 3]: expected {range}",
        "the range is empty; write [3, 7]",
    ),
    (
        "[channels.a]\ndelivery = 'retaind'",
        "channels.a.delivery = 'retaind': expected one of live, retained",
        "did you mean retained?",
    ),
    (
        "[channels.a]\nttl = 'soon'",
        (
            "channels.a.ttl = 'soon': expected a duration such as 250ms, 5s, 2m or 1h, or a number of seconds, "
            "at least 1ms"
        ),
        "",
    ),
    ("[[routes]]\nqueue = 'a'", "routes[0].task is missing: expected {pattern}", ""),
    ("[[routes]]\ntask = 'a b'\nqueue = 'a'", "routes[0].task = 'a b': expected {pattern}", ""),
    (
        A_ROUTE,
        "routes[0] (task = 'a.*'): has neither a queue nor a channel",
        "give exactly one: queue = NAME for one worker, or channel = NAME for every worker that listens",
    ),
    (
        f"[channels.c]\n{A_ROUTE}queue = 'b'\nchannel = 'c'",
        "routes[0] (task = 'a.*'): has both a queue and a channel",
        "give exactly one: queue = NAME for one worker, or channel = NAME for every worker that listens",
    ),
    (f"{A_ROUTE}queue = 5", "routes[0].queue = 5: expected a queue name: {name}", ""),
    (f"{A_ROUTE}chanel = 'b'", "routes[0].chanel = 'b': there is no such setting", "did you mean channel?"),
    (
        f"[channels.news]\n{A_ROUTE}channel = 'new'",
        "routes[0].channel = 'new': expected a channel that is declared",
        "did you mean news?",
    ),
    (
        f"{A_ROUTE}channel = 'new'",
        "routes[0].channel = 'new': expected a channel that is declared",
        "declare it: [channels.new]",
    ),
    (
        f"[channels.one]\n{A_ROUTE}queue = 'one'",
        "[channels.one]: expected a name that no queue has",
        "'one' is the name of a queue, too",
    ),
    (
        f"{A_ROUTE}queue = 'b'\n[[routes]]\ntask = 'a.b.*'\nqueue = 'c'",
        "routes[1].task = 'a.b.*': expected a pattern that is not covered by an earlier one",
        "routes[0] (task = 'a.*') goes first and takes all that it matches; write the narrower one before it",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES, ids=[message for _, message, _ in MISTAKES])
def test_mistakes_name_file_key_value_and_what_is_accepted(read, text, message, hint):
    with pytest.raises(InvalidSetting) as caught:
        read(text)
    name = "1 to 128 of the characters A-Z a-z 0-9 _ . -, without '.control.'"
    bounds = "[LEAST, GREATEST], two whole numbers from 0 to 9 such as [0, 5]"
    pattern = "the name of a task or a pattern such as 'emails.*', of the characters A-Z a-z 0-9 _ . - * ? [ ] !"
    for word, told in (("name", name), ("range", bounds), ("pattern", pattern)):
        message = message.replace("{" + word + "}", told)
    assert (caught.value.message, caught.value.hint) == (f"file routing.toml: {message}", hint)
    assert caught.value.origin == "file routing.toml"


def test_tables_in_the_settings_file_are_named_in_full(read):
    with pytest.raises(InvalidSetting) as caught:
        read("[[routing.routes]]\ntask = 'a'\nqueue = 5\n", name="stem.toml", environ={})
    assert caught.value.message.startswith("file stem.toml [routing]: routing.routes[0].queue = 5: expected a queue")


def test_tables_in_code_are_named_by_their_argument(read):
    with pytest.raises(InvalidSetting) as caught:
        read("", environ={}, code={"routing_config": {"rotes": []}}, code_origin="tasks.py:5")
    assert caught.value.message == "code tasks.py:5: routing_config.rotes = []: there is no such setting"


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        (
            "nowhere.toml",
            (
                "environment STEM_ROUTING_CONFIG: routing_config = '{folder}/nowhere.toml': the file cannot be read: "
                "no such file or directory"
            ),
            "give the path of a TOML file that can be read",
        ),
        (
            "routing.toml",
            "file routing.toml: line 1, column 5: not valid TOML: Expected '=' after a key in a key/value pair",
            "correct that line",
        ),
        (
            " ",
            (
                "environment STEM_ROUTING_CONFIG: routing_config = ' ': expected the path of a TOML file, none, or in "
                "stem.toml a table [routing]"
            ),
            "",
        ),
    ],
    ids=["is not there", "is no TOML", "no path"],
)
def test_a_file_that_cannot_be_used(read, tmp_path, path, message, hint):
    with pytest.raises(InvalidSetting) as caught:
        read("two words", environ={"STEM_ROUTING_CONFIG": path})
    assert (caught.value.message, caught.value.hint) == (message.replace("{folder}", str(tmp_path)), hint)


@pytest.mark.parametrize(("earlier", "later"), [("a?", "a*"), ("a[bc]", "ab"), ("*.b", "a.*"), ("a", "a.b")])
def test_routes_that_may_both_match_are_no_mistake(read, earlier, later):
    text = "".join(f"[[routes]]\ntask = '{task}'\nqueue = 'q'\n" for task in (earlier, later))
    assert len(read(text).app.routing_config.routes) == 2


@pytest.mark.parametrize("routes", [0, False, "", {}])
def test_routes_that_are_no_array(read, routes):
    with pytest.raises(InvalidSetting, match=r"routing_config\.routes.*: expected an array of tables"):
        read("", environ={}, code={"routing_config": {"routes": routes}})


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        (Routing(routes=(Route(task="*"),)), "routes[0] (task = '*'): has neither a queue nor a channel"),
        (
            Routing(routes=(Route(task="*", channel="c"),)),
            "routes[0].channel = 'c': expected a channel that is declared",
        ),
        (Routing(queues={"q": QueueRule(priority=(7, 3))}), "queues.q.priority = (7, 3): expected [LEAST, GREATEST]"),
        (Routing(channels={"c": Channel(ttl=-1)}), "channels.c.ttl = -1: expected "),
        (Routing(queues={"q": (0, 5)}), "queues.q = (0, 5): expected a table"),
    ],
)
def test_an_object_from_code_is_checked_too(read, routing, message):
    with pytest.raises(InvalidSetting) as caught:
        read("", environ={}, code={"routing_config": routing}, code_origin="tasks.py:5")
    assert caught.value.message.startswith(f"code tasks.py:5: routing_config.{message}")


def test_an_object_from_code_is_taken_as_it_is(read):
    assert read("", environ={}, code={"routing_config": ROUTING}).app.routing_config == ROUTING


@pytest.mark.parametrize(
    ("given", "name", "place"),
    [({}, "default", "default"), ({"code": {"default_queue": "own"}, "code_origin": "a.py:1"}, "own", "code a.py:1")],
)
def test_a_channel_with_the_name_of_the_default_queue(read, given, name, place):
    with pytest.raises(InvalidSetting) as caught:
        read(f"[channels.{name}]", **given)
    assert caught.value.message == (
        "environment STEM_ROUTING_CONFIG (routing.toml): "
        f"the channel {name!r} has the name of a queue: default_queue = {name!r} ({place})"
    )
    assert caught.value.hint == "give the channel another name"
