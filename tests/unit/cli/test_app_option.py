"""What -A may name, and the whole text of every way in which it may not."""

import os

import pytest

APP = "from stem_core import Stem\napp = Stem('shop')\n@app.task\ndef greet(name: str) -> str:\n    'Says hello.'\n"


def error(message, hint):
    return f"stem: error: {message}\n  hint: {hint}\n"


def test_a_stem(stem, write):
    write("tasks.py", APP)
    done = stem("tasks", "-A", "tasks:app")
    assert (done.code, done.out, done.err) == (0, "tasks.greet\tdefault\tthreads\t3\tSays hello.\n", "")


def test_a_factory_and_a_dotted_attribute(stem, write):
    write("tasks.py", APP + "def make():\n    return app\nclass Box:\n    inner = app\n")
    for attribute in ("make", "Box.inner"):
        assert stem("tasks", "-A", f"tasks:{attribute}").out.startswith("tasks.greet\t")


def test_the_environment_names_it(stem, write, monkeypatch):
    write("tasks.py", APP)
    monkeypatch.setenv("STEM_APP", "tasks:app")
    assert stem("tasks").out.startswith("tasks.greet\t")
    monkeypatch.setenv("STEM_APP", "tasks:ap")
    assert stem("tasks").err == error(
        "environment STEM_APP tasks:ap: the module 'tasks' has no attribute 'ap'", "its apps are app: -A tasks:app"
    )


def test_the_file_names_it_and_the_option_wins(stem, write):
    write("tasks.py", APP)
    write("stem.toml", "app = 'nowhere:app'\n")
    assert "file stem.toml nowhere:app: there is no module 'nowhere'" in stem("tasks").err
    assert stem("tasks", "-A", "tasks:app").code == 0


def test_none_is_named(stem):
    done = stem("worker")
    assert (done.code, done.out) == (2, "")
    assert done.err == error(
        "no app is named",
        "name it as -A MODULE:ATTRIBUTE, in STEM_APP, or in stem.toml: app = 'MODULE:ATTRIBUTE'",
    )


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("tasks", "-A tasks: this names no app", "write MODULE:ATTRIBUTE, such as tasks:app"),
        ("tasks.py", "-A tasks.py: this names no app", "write MODULE:ATTRIBUTE, such as tasks:app"),
        ("tasks:", "-A tasks:: this names no app", "write MODULE:ATTRIBUTE, such as tasks:app"),
        (":app", "-A :app: this names no app", "write MODULE:ATTRIBUTE, such as tasks:app"),
        ("tasks.py:app", "-A tasks.py:app: there is no module 'tasks.py' in {cwd} or among the installed packages",
         "write it as a module: tasks:app"),
        ("./tasks.py:app", "-A ./tasks.py:app: './tasks.py' is no name of a module", "write it as a module: tasks:app"),
        ("shop/jobs.py:app", "-A shop/jobs.py:app: 'shop/jobs.py' is no name of a module",
         "write it as a module: shop.jobs:app"),
        ("tsks:app", "-A tsks:app: there is no module 'tsks' in {cwd} or among the installed packages",
         "did you mean tasks:app?"),
        ("shop.job:app", "-A shop.job:app: there is no module 'shop.job' in {cwd} or among the installed packages",
         "did you mean shop.jobs:app?"),
        ("zzz:app", "-A zzz:app: there is no module 'zzz' in {cwd} or among the installed packages",
         "change to the folder that holds it, or install the package that does"),
        ("tasks:ap", "-A tasks:ap: the module 'tasks' has no attribute 'ap'", "its apps are app: -A tasks:app"),
        ("tasks:greet", "-A tasks:greet: 'greet' is no Stem; it is the task tasks.greet",
         "its apps are app: -A tasks:app"),
        ("tasks:Stem", "-A tasks:Stem: 'Stem' is no Stem; it is the class Stem", "its apps are app: -A tasks:app"),
        ("shop:jobs", "-A shop:jobs: the module 'shop' has no attribute 'jobs'",
         "'shop' holds no Stem; make one: jobs = Stem('shop')"),
        ("odd:number", "-A odd:number: 'number' is no Stem; it is of type int",
         "'odd' holds no Stem; make one: number = Stem('odd')"),
        ("odd:nothing", "-A odd:nothing: 'nothing' is no Stem; it is None",
         "'odd' holds no Stem; make one: nothing = Stem('odd')"),
        ("odd:numbr", "-A odd:numbr: the module 'odd' has no attribute 'numbr'",
         "did you mean 'number'? 'odd' holds no Stem; make one: numbr = Stem('odd')"),
        ("odd:takes", "-A odd:takes: the function 'takes' takes arguments; an app comes from one without",
         "'odd' holds no Stem; make one: takes = Stem('odd')"),
        ("odd:returns", "-A odd:returns: the function 'returns' returned no Stem but None", "return the Stem from it"),
        ("odd:later", "-A odd:later: 'later' is a coroutine function", "make it a plain function (def)"),
        ("odd:fails", "-A odd:fails: the function 'fails' failed: KeyError: 'DATABASE' ({cwd}/odd.py, line 9)",
         'python -c "import odd" shows the whole traceback'),
    ],
)  # fmt: skip
def test_not_an_app(stem, write, folder, spec, message, hint):
    write("tasks.py", APP)
    write("shop/__init__.py", "")
    write("shop/jobs.py", APP)
    write(
        "odd.py",
        "number = 1\nnothing = None\n"
        "def takes(x):\n    pass\n"
        "def returns():\n    pass\n"
        "def fails():\n    import os\n    return os.environ['DATABASE']\n"
        "async def later():\n    pass\n",
    )
    done = stem("worker", "-A", spec)
    assert (done.code, done.out) == (2, "")
    assert done.err == error(message.format(cwd=folder), hint)


@pytest.mark.parametrize(
    ("text", "raised"),
    [
        ("x = 1\ny = x / 0\n", "ZeroDivisionError: division by zero ({cwd}/broken.py, line 2)"),
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing' ({cwd}/broken.py, line 1)"),
        ("def f(:\n", "SyntaxError: invalid syntax ({cwd}/broken.py, line 1)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 ({cwd}/broken.py, line 2)"),
        ("raise RuntimeError('one\\n\\x1b[31mtwo')\n", "RuntimeError: one ({cwd}/broken.py, line 1)"),
        ("raise RuntimeError\n", "RuntimeError ({cwd}/broken.py, line 1)"),
    ],
)
def test_a_module_that_raises(stem, write, folder, text, raised):
    write("broken.py", text)
    done = stem("worker", "broken:app")
    assert (done.code, done.out) == (2, "")
    assert done.err == error(
        f"-A broken:app: importing 'broken' failed: {raised.format(cwd=folder)}",
        'python -c "import broken" shows the whole traceback',
    )


def test_an_error_of_ours_keeps_its_own_hint(stem, write, folder):
    write("twice.py", "from stem_core import Stem\napp = Stem('a')\n" + "@app.task(name='t')\ndef f(): pass\n" * 2)
    done = stem("tasks", "-A", "twice:app")
    assert done.code == 2
    assert done.err.startswith("stem: error: -A twice:app: importing 'twice' failed: two tasks are named 't'")
    assert done.err.endswith(
        f" ({folder}/twice.py, line 5)\n  hint: give one of them another name: @app.task(name=...)\n"
    )


def test_debug_shows_the_traceback(stem, write):
    write("broken.py", "x = 1 / 0\n")
    plain = stem("worker", "broken:app")
    told = stem("worker", "broken:app", "-l", "debug")
    assert "Traceback" not in plain.err
    assert told.err.startswith("Traceback (most recent call last):\n")
    assert told.err.endswith(plain.err)


def test_two_apps(stem):
    done = stem("worker", "tasks:app", "-A", "other:app")
    assert done.code == 2
    assert "two apps are named: tasks:app and -A other:app" in done.err


def test_both_ways_to_name_one(stem, write):
    write("tasks.py", APP)
    done = stem("worker", "tasks:app", "-A", "tasks:app", "--broker", "nowhere://", "-p", "")
    assert done.code == 2
    assert done.err.startswith("stem: error: no broker for nowhere://")


def test_names_with_control_characters_are_shown_escaped(stem):
    assert "\x1b" not in stem("worker", "-A", "a\x1b[31m:app").err
    assert os.linesep in stem("worker", "-A", "a:b").err
