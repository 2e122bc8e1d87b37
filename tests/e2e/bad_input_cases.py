"""Bad input, and what a person is told about it: the table behind the tests and ``docs/reference/errors.md``.

``{home}`` in a text is the folder that the command runs in; ``{host}``, ``{pid}``, ``{seconds}``, ``{size}`` and
``{time}`` stand for what they say.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import attrs

#: The app that most commands use.
TASKS = """\
from stem_core import Stem

app = Stem("shop")


@app.task(queue="mail")
async def send_welcome(user_id: int, locale: str = "en") -> str:
    return f"welcome {user_id} in {locale}"
"""

#: Another app; its task has the options that are put in.
SHOP = """\
from stem_core import Stem

app = Stem("shop")


@app.task(%s)
async def send_welcome(user_id: int) -> None: ...
"""

_ENVIRONMENT = {"STEM_BROKER_URL": "sqlite:///jobs.db"}


@attrs.frozen(kw_only=True)
class BadInput:
    """One command that cannot work."""

    #: What is wrong, as a heading.
    name: str
    #: The group that it stands in.
    group: str
    #: The command, as it is typed.
    command: str
    #: All that is written to standard error.
    stderr: str
    exit_code: int = 2
    #: Variables besides ``STEM_BROKER_URL=sqlite:///jobs.db``.
    environment: Mapping[str, str] = attrs.field(factory=dict)
    #: Files besides ``tasks.py``, by name.
    files: Mapping[str, str] = attrs.field(factory=dict)
    #: SQL by name of a database that is there before.
    databases: Mapping[str, str] = attrs.field(factory=dict)
    #: A command that runs at the same time.
    meanwhile: str = ""
    #: A kind of :func:`support.wrong_servers.wrong_server` that runs at the same time; ``{port}`` is its port.
    server: str = ""
    #: More that a reader should know.
    about: str = ""

    @property
    def arguments(self) -> list[str]:
        """The arguments of the command after ``stem``."""
        program, *arguments = shlex.split(self.command)
        assert program == "stem"
        return arguments

    @property
    def variables(self) -> dict[str, str]:
        """All ``STEM_*`` variables that the command sees."""
        return {**_ENVIRONMENT, **self.environment}


_APP, _ENQUEUE, _SETTINGS, _STORES, _PLUGINS = "The app", "Enqueueing", "Settings", "Stores", "Plugins"
_ROUTING = "Routing"

_ROUTED = {"STEM_ROUTING_CONFIG": "routing.toml"}

CASES: tuple[BadInput, ...] = (
    BadInput(
        group=_APP,
        name="No app is named",
        command="stem worker",
        stderr="""\
stem: error: no app is named
  hint: name it as -A MODULE:ATTRIBUTE, in STEM_APP, or in stem.toml: app = 'MODULE:ATTRIBUTE'
""",
    ),
    BadInput(
        group=_APP,
        name="The module does not exist",
        command="stem worker -A taks:app",
        stderr="""\
stem: error: -A taks:app: there is no module 'taks' in {home} or among the installed packages
  hint: did you mean tasks:app?
""",
    ),
    BadInput(
        group=_APP,
        name="The name came from the environment",
        command="stem worker",
        environment={"STEM_APP": "taks:app"},
        stderr="""\
stem: error: environment STEM_APP taks:app: there is no module 'taks' in {home} or among the installed packages
  hint: did you mean tasks:app?
""",
    ),
    BadInput(
        group=_APP,
        name="The module has no such attribute",
        command="stem worker -A tasks:application",
        stderr="""\
stem: error: -A tasks:application: the module 'tasks' has no attribute 'application'
  hint: its apps are app: -A tasks:app
""",
    ),
    BadInput(
        group=_APP,
        name="A file instead of a module",
        command="stem worker -A tasks.py:app",
        stderr="""\
stem: error: -A tasks.py:app: there is no module 'tasks.py' in {home} or among the installed packages
  hint: write it as a module: tasks:app
""",
    ),
    BadInput(
        group=_APP,
        name="The name is no app",
        command="stem worker -A tasks",
        stderr="""\
stem: error: -A tasks: this names no app
  hint: write MODULE:ATTRIBUTE, such as tasks:app
""",
    ),
    BadInput(
        group=_APP,
        name="The attribute is no Stem",
        command="stem worker -A tasks:send_welcome",
        stderr="""\
stem: error: -A tasks:send_welcome: 'send_welcome' is no Stem; it is the task tasks.send_welcome
  hint: its apps are app: -A tasks:app
""",
    ),
    BadInput(
        group=_APP,
        name="The module raises when it is imported",
        command="stem worker -A shop:app",
        files={"shop.py": 'import os\n\nDATABASE = os.environ["SHOP_DATABASE"]\n'},
        stderr="""\
stem: error: -A shop:app: importing 'shop' failed: KeyError: 'SHOP_DATABASE' ({home}/shop.py, line 3)
  hint: python -c "import shop" shows the whole traceback
""",
        about="With `-l debug` the worker shows the traceback itself.",
    ),
    BadInput(
        group=_APP,
        name="The module is no Python",
        command="stem worker -A shop:app",
        files={"shop.py": "from stem_core import Stem\n\napp = Stem('shop'\n"},
        stderr="""\
stem: error: -A shop:app: importing 'shop' failed: SyntaxError: '(' was never closed ({home}/shop.py, line 3)
  hint: python -c "import shop" shows the whole traceback
""",
    ),
    BadInput(
        group=_APP,
        name="Errors to retry on that are no classes of exceptions",
        command="stem worker -A shop:app",
        files={"shop.py": SHOP % 'retry_on="ConnectionError"'},
        stderr="""\
stem: error: -A shop:app: importing 'shop' failed: retry_on='ConnectionError' cannot be used ({home}/shop.py, line 6)
  hint: give classes of exceptions, such as (ConnectionError, TimeoutError)
""",
    ),
    BadInput(
        group=_APP,
        name="Errors to retry on that are given up",
        command="stem worker -A shop:app",
        files={"shop.py": SHOP % "retry_on=ConnectionError, give_up_on=(OSError, ValueError)"},
        stderr="""\
stem: error: -A shop:app: importing 'shop' failed: retry_on=<class 'ConnectionError'> cannot be used \
({home}/shop.py, line 6)
  hint: give classes that give_up_on leaves over: OSError is in it, and give_up_on wins
""",
    ),
    BadInput(
        group=_APP,
        name="A retry policy that is none",
        command="stem worker -A shop:app",
        files={"shop.py": SHOP % "retry=5"},
        stderr="""\
stem: error: -A shop:app: importing 'shop' failed: retry=5 cannot be used ({home}/shop.py, line 6)
  hint: give a RetryPolicy, or a function of the number of failures and the error
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="Unknown task",
        command="stem enqueue -A tasks:app tasks.send_welcom '[42]'",
        stderr="""\
stem: error: the app 'shop' has no task 'tasks.send_welcom'
  hint: did you mean tasks.send_welcome? (--force enqueues it all the same)
""",
        about="Without an app (`-A`) the names of its tasks are not known, and any name is taken.",
    ),
    BadInput(
        group=_ENQUEUE,
        name="A queue with a name that it cannot have",
        command="stem enqueue -A tasks:app tasks.send_welcome '[42]' --queue 'big jobs'",
        stderr="""\
stem: error: 'big jobs' is no queue name
  hint: use 1 to 128 of the characters A-Z a-z 0-9 _ . -
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="A queue that belongs to Stem",
        command="stem enqueue -A tasks:app tasks.send_welcome '[42]' --queue stem.control.worker",
        stderr="""\
stem: error: 'stem.control.worker' is no queue name
  hint: use a name without '.control.', which is reserved for the control plane
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="A worker that reads a queue nobody writes to",
        command="stem worker -A tasks:app -Q mial --burst --name web1 -l warning",
        exit_code=0,
        stderr="""\
{"time":"{time}","level":"warning","logger":"stem_core.worker","message":"registered but not subscribed: \
mail (tasks.send_welcome); add -Q mial,mail","worker":"web1"}
""",
        about="No error, because queues come and go, but a warning.",
    ),
    BadInput(
        group=_ENQUEUE,
        name="An argument of the wrong type",
        command="""stem enqueue -A tasks:app tasks.send_welcome '{"user_id": "Ada"}'""",
        stderr="""\
stem: error: user_id of tasks.send_welcome(): expected int, got str
  hint: it is defined as tasks.send_welcome(user_id: int, locale: str = 'en')
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="An argument is missing",
        command="stem enqueue -A tasks:app tasks.send_welcome",
        stderr="""\
stem: error: tasks.send_welcome() needs user_id
  hint: it is defined as tasks.send_welcome(user_id: int, locale: str = 'en')
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="An argument that the task does not have",
        command="""stem enqueue -A tasks:app tasks.send_welcome '{"user": 42}'""",
        stderr="""\
stem: error: tasks.send_welcome() has no parameter 'user'
  hint: did you mean 'user_id'?
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="Arguments that are no JSON",
        command="stem enqueue -A tasks:app tasks.send_welcome '{user_id: 42}'",
        stderr="""\
stem: error: the arguments are no JSON: JSON is malformed: object keys must be strings (byte 1): {user_id: 42}
  hint: write an object for arguments by name, '{"user_id": 42}', or an array for those by place, '[42]'
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="Arguments one by one, as a shell takes them",
        command="stem enqueue -A tasks:app tasks.send_welcome 42 de",
        stderr="""\
stem: error: the arguments are one JSON text, not 2: 42 de
  hint: write an object for arguments by name, '{"user_id": 42}', or an array for those by place, '[42]'
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="One JSON value instead of arguments",
        command="stem enqueue -A tasks:app tasks.send_welcome 42",
        stderr="""\
stem: error: the arguments are one JSON value: 42
  hint: write an object for arguments by name, '{"user_id": 42}', or an array for those by place, '[42]'
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="The message is too large",
        command="""stem enqueue -A tasks:app tasks.send_welcome '{"user_id": 42, "locale": "%s"}'""" % ("x" * 2000),
        environment={"STEM_MAX_MESSAGE_SIZE": "2kB"},
        exit_code=1,
        stderr="""\
stem: error: the message for tasks.send_welcome has {size} bytes; the limit is 2,000
  hint: store the data elsewhere and pass a reference, or raise max_message_size (STEM_MAX_MESSAGE_SIZE)
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="An option that cannot be used",
        command="stem enqueue -A tasks:app tasks.send_welcome '[42]' --delay soon",
        stderr="""\
stem: error: --delay='soon' cannot be used
  hint: give a duration such as 250ms, 5s, 2m or 1h, or a number of seconds
""",
    ),
    BadInput(
        group=_ENQUEUE,
        name="A job that nobody knows",
        command="stem result order-42",
        exit_code=1,
        stderr="""\
stem: error: no job order-42 is known
  hint: it was never enqueued here, or its result was kept no longer; \
see broker, backend and namespace with stem settings
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A stem.toml that is no TOML",
        command="stem worker -A tasks:app",
        files={"stem.toml": "broker_url = sqlite:///jobs.db\n"},
        stderr="""\
stem: error: file stem.toml: line 1, column 14: not valid TOML: Invalid value
  hint: correct that line
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A key that its section does not have",
        command="stem worker -A tasks:app",
        files={"stem.toml": "[worker]\nconcurency = 5\n"},
        stderr="""\
stem: error: file stem.toml [worker]: worker.concurency = 5: there is no such setting
  hint: did you mean worker.concurrency?
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A section that does not exist",
        command="stem worker -A tasks:app",
        files={"stem.toml": "[wroker]\nconcurrency = 5\n"},
        stderr="""\
stem: error: file stem.toml: [wroker]: there is no such section
  hint: did you mean [worker]?
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A value that cannot be read",
        command="stem worker -A tasks:app",
        files={"stem.toml": '[worker]\nlease = "soon"\n'},
        stderr="""\
stem: error: file stem.toml [worker]: worker.lease = 'soon': expected a duration such as 250ms, 5s, 2m or 1h, \
or a number of seconds, at least 1s
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A variable with a value that cannot be read",
        command="stem worker -A tasks:app",
        environment={"STEM_WORKER_CONCURRENCY": "many"},
        stderr="""\
stem: error: environment STEM_WORKER_CONCURRENCY: worker.concurrency = 'many': expected a whole number, at least 1
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="No replicas at all",
        command="stem worker -A tasks:app --replicas 0",
        stderr="""\
stem: error: command line --replicas: worker.replicas = '0': expected a whole number, at least 1
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="Replicas that the code asks for",
        command="stem worker -A tasks:app",
        files={"tasks.py": 'from stem_core import Stem\n\napp = Stem("shop", **{"worker.replicas": 2})\n'},
        stderr="""\
stem: error: code tasks.py:3: replicas=2: this is one worker, in the process that made it
  hint: start several with 'stem worker --replicas N', STEM_WORKER_REPLICAS or replicas in stem.toml
""",
        about="Replicas are started before the app is imported.",
    ),
    BadInput(
        group=_SETTINGS,
        name="A mistake that every replica would make",
        command="stem worker -A tasks:app --replicas 3",
        environment={"STEM_WORKER_LEASE": "soon"},
        stderr="""\
stem: error: environment STEM_WORKER_LEASE: worker.lease = 'soon': expected a duration such as 250ms, 5s, 2m or 1h, \
or a number of seconds, at least 1s
""",
        about="It is told once, and nothing is started again.",
    ),
    BadInput(
        group=_SETTINGS,
        name="A variable of the app with a value that cannot be read",
        command="stem enqueue -A tasks:app tasks.send_welcome '[42]'",
        environment={"STEM_MAX_MESSAGE_SIZE": "big"},
        stderr="""\
stem: error: environment STEM_MAX_MESSAGE_SIZE: max_message_size = 'big': expected a size such as 64KiB, 1MiB or 10MB, \
or a number of bytes, at least 1
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="An option of the command line with a value that cannot be read",
        command="stem worker -A tasks:app -c 0",
        stderr="""\
stem: error: command line --concurrency: worker.concurrency = '0': expected a whole number, at least 1
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A STEM_WORKER_ variable that no worker knows",
        command="stem worker -A tasks:app",
        environment={"STEM_WORKER_CONCURENCY": "5"},
        stderr="""\
stem: error: environment STEM_WORKER_CONCURENCY: worker.concurency = '5': there is no such setting
  hint: did you mean STEM_WORKER_CONCURRENCY?
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A signal that does not exist",
        command="stem worker -A tasks:app",
        environment={"STEM_SIGNALS_DISABLED": "task-prerum"},
        stderr="""\
stem: error: environment STEM_SIGNALS_DISABLED: signals_disabled names 'task-prerum', which is no signal
  hint: did you mean 'task-prerun'?
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A routing file that is not there",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        stderr="""\
stem: error: environment STEM_ROUTING_CONFIG: routing_config = '{home}/routing.toml': the file cannot be read: no \
such file or directory
  hint: give the path of a TOML file that can be read
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A key that the routing configuration does not have",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": '[[routes]]\ntask = "tasks.*"\nqeue = "mail"\n'},
        stderr="""\
stem: error: file routing.toml: routes[0].qeue = 'mail': there is no such setting
  hint: did you mean queue?
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A route of the wrong type",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": '[[routes]]\ntask = "tasks.*"\nqueue = 5\n'},
        stderr="""\
stem: error: file routing.toml: routes[0].queue = 5: expected a queue name: 1 to 128 of the characters A-Z a-z 0-9 _ \
. -, without '.control.'
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A route to a queue with a name that it may not have",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": '[[routes]]\ntask = "tasks.*"\nqueue = "my mail"\n'},
        stderr="""\
stem: error: file routing.toml: routes[0].queue = 'my mail': expected a queue name: 1 to 128 of the characters A-Z \
a-z 0-9 _ . -, without '.control.'
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A range of priorities that is empty",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": "[queues.mail]\npriority = [7, 3]\n"},
        stderr="""\
stem: error: file routing.toml: queues.mail.priority = [7, 3]: expected [LEAST, GREATEST], two whole numbers from 0 \
to 9 such as [0, 5]
  hint: the range is empty; write [3, 7]
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A range of priorities that does not exist",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": "[queues.mail]\npriority = [0, 10]\n"},
        stderr="""\
stem: error: file routing.toml: queues.mail.priority = [0, 10]: expected [LEAST, GREATEST], two whole numbers from 0 \
to 9 such as [0, 5]
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A delivery mode that does not exist",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": '[channels.news]\ndelivery = "retain"\n'},
        stderr="""\
stem: error: file routing.toml: channels.news.delivery = 'retain': expected one of live, retained
  hint: did you mean retained?
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A route to a queue and a channel",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": '[channels.news]\n\n[[routes]]\ntask = "tasks.*"\nqueue = "mail"\nchannel = "news"\n'},
        stderr="""\
stem: error: file routing.toml: routes[0] (task = 'tasks.*'): has both a queue and a channel
  hint: give exactly one: queue = NAME for one worker, or channel = NAME for every worker that listens
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A route to neither",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": '[[routes]]\ntask = "tasks.*"\n'},
        stderr="""\
stem: error: file routing.toml: routes[0] (task = 'tasks.*'): has neither a queue nor a channel
  hint: give exactly one: queue = NAME for one worker, or channel = NAME for every worker that listens
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A route to a channel that is not declared",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": '[channels.news]\n\n[[routes]]\ntask = "tasks.*"\nchannel = "new"\n'},
        stderr="""\
stem: error: file routing.toml: routes[0].channel = 'new': expected a channel that is declared
  hint: did you mean news?
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A route that an earlier one makes useless",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={
            "routing.toml": '[[routes]]\ntask = "tasks.*"\nqueue = "mail"\n\n'
            '[[routes]]\ntask = "tasks.send_*"\nqueue = "slow"\n'
        },
        stderr="""\
stem: error: file routing.toml: routes[1].task = 'tasks.send_*': expected a pattern that is not covered by an earlier \
one
  hint: routes[0] (task = 'tasks.*') goes first and takes all that it matches; write the narrower one before it
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A channel with the name of a queue",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": "[queues.news]\n\n[channels.news]\n\n"},
        stderr="""\
stem: error: file routing.toml: [channels.news]: expected a name that no queue has
  hint: 'news' is the name of a queue, too
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A channel with the name of the default queue",
        command="stem worker -A tasks:app",
        environment=_ROUTED,
        files={"routing.toml": "[channels.default]\n\n"},
        stderr="""\
stem: error: environment STEM_ROUTING_CONFIG (routing.toml): the channel 'default' has the name of a queue: \
default_queue = 'default' (default)
  hint: give the channel another name
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A worker that reads a channel as if it were a queue",
        command="stem worker -A tasks:app -Q mail,news",
        environment=_ROUTED,
        files={"routing.toml": "[channels.news]\n\n"},
        stderr="""\
stem: error: command line --queues: worker.queues = mail,news: 'news' is a broadcast channel \
(environment STEM_ROUTING_CONFIG (routing.toml))
  hint: listen to it with --broadcast news, or give one of the two another name
""",
    ),
    BadInput(
        group=_ROUTING,
        name="Reserves leave nothing for broadcasts",
        command="stem worker -A tasks:app -Q mail -c 2 --reserve mail=2 --broadcast news",
        environment=_ROUTED,
        files={"routing.toml": "[channels.news]\n\n"},
        stderr="""\
stem: error: command line --reserve: worker.reserve = mail=2: all 2 slots are reserved, and none is left for \
broadcasts on news
  hint: reserve less, or raise -c (the MIN of --autoscale)
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A job for a queue with the name of a channel",
        command="stem enqueue -A tasks:app tasks.send_welcome '[42]' --queue news",
        environment=_ROUTED,
        files={"routing.toml": "[channels.news]\n\n"},
        stderr="""\
stem: error: queue='news' cannot be used
  hint: give the name of a queue; 'news' is a broadcast channel
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A worker that listens to a channel which is not declared",
        command="stem worker -A tasks:app --broadcast new",
        environment=_ROUTED,
        files={"routing.toml": "[channels.news]\n\n"},
        stderr="""\
stem: error: command line --broadcast: worker.broadcasts = 'new': expected a channel that [routing] declares
  hint: did you mean news?
""",
    ),
    BadInput(
        group=_ROUTING,
        name="A broadcast with a delay",
        command="stem enqueue -A tasks:app tasks.send_welcome '[42]' --delay 5s",
        environment=_ROUTED,
        files={"routing.toml": '[channels.news]\n\n[[routes]]\ntask = "tasks.*"\nchannel = "news"\n'},
        stderr="""\
stem: error: delay=5.0 cannot be used
  hint: give no delay, for tasks.send_welcome is routed to the broadcast channel 'news' and goes out at once; or name \
a queue as well, to have it run by one worker
""",
    ),
    BadInput(
        group=_ROUTING,
        name="Waiting for the result of a broadcast",
        command="stem enqueue -A tasks:app tasks.send_welcome '[42]' --wait",
        environment=_ROUTED,
        files={"routing.toml": '[channels.news]\n\n[[routes]]\ntask = "tasks.*"\nchannel = "news"\n'},
        stderr="""\
Usage: stem enqueue [OPTIONS] {TASK} [ARGUMENTS]
Try 'stem enqueue -h' for help.

Error: Invalid value: --wait: tasks.send_welcome is broadcast on the channel 'news', and no copy has a result; \
--queue sends it to one worker
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A range the wrong way round",
        command="stem worker -A tasks:app --autoscale 10,3",
        stderr="""\
stem: error: command line --autoscale: worker.autoscale = '10,3': expected MIN,MAX: two whole numbers above 0, \
the lesser first, such as 2,50
  hint: write 3,10
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A fixed number of slots and a range",
        command="stem worker -A tasks:app -c 4 --autoscale 2,8",
        stderr="""\
stem: error: command line --concurrency: worker.concurrency = 4: the number of slots is left to worker.autoscale, \
which is 2,8 (command line --autoscale)
  hint: keep one of the two: a fixed number of slots, or a range
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A queue is excluded that is not read",
        command="stem worker -A tasks:app -Q mail,bulk -X maill",
        stderr="""\
stem: error: command line --exclude: worker.exclude = maill: this worker does not read the queue 'maill'
  hint: did you mean mail?
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="Every queue is excluded",
        command="stem worker -A tasks:app -Q mail -X mail",
        stderr="""\
stem: error: command line --exclude: worker.exclude = mail: that leaves no queue to read
  hint: exclude fewer, or name more queues with -Q
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="Slots are reserved for a queue that is not read",
        command="stem worker -A tasks:app --reserve mail=2",
        stderr="""\
stem: error: command line --reserve: worker.reserve = mail=2: this worker does not read the queue 'mail'
  hint: it reads default; -Q says what it reads
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A limit that says no number",
        command="stem worker -A tasks:app -Q mail --limit mail",
        stderr="""\
stem: error: command line --limit: worker.limit = 'mail': expected slots as QUEUE=NUMBER, each queue once and \
at least 1, such as mail=2,images=1
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="A limit below the reserve",
        command="stem worker -A tasks:app -Q mail,bulk --reserve mail=3 --limit mail=2",
        stderr="""\
stem: error: command line --limit: worker.limit = mail=2: mail may use 2 slots, but 3 are reserved for it \
(command line --reserve)
  hint: let no limit be below the reserve of its queue
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="More slots are reserved than there are",
        command="stem worker -A tasks:app -Q mail,bulk -c 2 --reserve mail=3",
        stderr="""\
stem: error: command line --reserve: worker.reserve = mail=3: 3 slots are reserved, and the worker has 2
  hint: reserve less, or raise -c (the MIN of --autoscale)
""",
    ),
    BadInput(
        group=_SETTINGS,
        name="Reserves leave nothing for the others",
        command="stem worker -A tasks:app -Q mail,bulk --autoscale 2,8 --reserve mail=2",
        stderr="""\
stem: error: command line --reserve: worker.reserve = mail=2: all 2 slots are reserved, and none is left for bulk
  hint: reserve less, or raise -c (the MIN of --autoscale)
""",
    ),
    BadInput(
        group=_STORES,
        name="A database in a folder that cannot be written",
        command="stem worker -A tasks:app --broker sqlite:////proc/jobs.db",
        stderr="""\
stem: error: cannot use the database /proc/jobs.db: it cannot be opened (unable to open database file)
  hint: see that the file and its folder may be written and the file system is not read-only
""",
    ),
    BadInput(
        group=_STORES,
        name="A database in a folder that does not exist",
        command="stem worker -A tasks:app --broker sqlite:///data/jobs.db",
        stderr="""\
stem: error: cannot open the database {home}/data/jobs.db: there is no folder {home}/data
  hint: create the folder
""",
    ),
    BadInput(
        group=_STORES,
        name="A database of a newer version of the plugin",
        command="stem worker -A tasks:app",
        databases={
            "jobs.db": "PRAGMA application_id = 0x5354454D; PRAGMA user_version = 99; CREATE TABLE messages (id)"
        },
        stderr="""\
stem: error: the database {home}/jobs.db has schema version 99; this stem-sqlite supports up to 1
  hint: upgrade stem-sqlite in this environment, or use another file
""",
    ),
    BadInput(
        group=_STORES,
        name="A database of another program",
        command="stem worker -A tasks:app",
        databases={"jobs.db": "CREATE TABLE customers (id)"},
        stderr="""\
stem: error: the database {home}/jobs.db holds the tables of another program
  hint: give Stem a file of its own in the URL
""",
    ),
    BadInput(
        group=_STORES,
        name="A file that is no database",
        command="stem worker -A tasks:app",
        files={"jobs.db": "name;price\napple;3\npear;4\nplum;2\nquince;9\nmedlar;8\nsloe;1\nfig;5\n" * 2},
        stderr="""\
stem: error: cannot use the database {home}/jobs.db: it is not an SQLite database (file is not a database)
  hint: name another file in the URL; this one was not touched
""",
    ),
    BadInput(
        group=_STORES,
        name="memory:// with replicas",
        command="stem worker -A tasks:app --broker memory:// --replicas 3",
        stderr="""\
stem: error: the broker memory:// is private to one process: a replica on it would meet nobody
  hint: use a broker that processes share, such as sqlite:///stem.db, or run the worker inside your program: \
async with Worker(app)
""",
        about="What all workers would say is said once.",
    ),
    BadInput(
        group=_STORES,
        name="memory:// from the command line",
        command="stem worker -A tasks:app --broker memory://",
        stderr="""\
stem: error: the broker memory:// is private to one process: a worker on it would meet nobody
  hint: use a broker that processes share, such as sqlite:///stem.db, or run the worker inside your program: \
async with Worker(app)
""",
    ),
    BadInput(
        group=_STORES,
        name="An address without a scheme",
        command="stem worker -A tasks:app --broker jobs.db",
        stderr="""\
stem: error: command line --broker: broker_url = 'jobs.db': expected an address with a scheme, such as sqlite:///jobs.db
""",
    ),
    BadInput(
        group=_STORES,
        name="A worker of this id is alive",
        command="stem worker -A tasks:app --name web1",
        meanwhile="stem worker -A tasks:app --name web1",
        stderr="""\
stem: error: a worker with the id web1 runs already: pid {pid} on {host}, last heartbeat {seconds} s ago
  hint: give this one another --name, such as web2@%h, or stop the other; the record of a worker that was killed is \
forgotten after 15 s
""",
    ),
    BadInput(
        group=_PLUGINS,
        name="The plugin for an address is not installed",
        command="stem worker -A tasks:app --broker acme://localhost",
        stderr="""\
stem: error: no broker for acme://: no installed plugin provides it
  hint: install the plugin for acme://; there is a broker for memory://, sqlite://
""",
    ),
    BadInput(
        group=_PLUGINS,
        name="A strategy that nobody provides",
        command="stem worker -A tasks:app -P proceses",
        files={"tasks.py": SHOP % 'strategy="event_loop"'},
        stderr="""\
stem: error: no concurrency strategy for 'proceses': no installed plugin provides it
  hint: did you mean 'processes'? there is a concurrency strategy for 'event_loop', 'processes', 'threads'
""",
        about="Also where every task names a strategy of its own.",
    ),
    BadInput(
        group=_PLUGINS,
        name="The plugin for an address is not selected",
        command="stem worker -A tasks:app -p no:sqlite",
        stderr="""\
stem: error: no broker for sqlite://: the plugin sqlite (stem-sqlite 0.1.0) is installed, \
but not selected by -p no:sqlite
  hint: take no:sqlite out of -p no:sqlite
""",
    ),
    BadInput(
        group=_PLUGINS,
        name="A plugin that is not installed is selected",
        command="stem worker -A tasks:app -p sqlite -p acme",
        stderr="""\
stem: error: command line --plugin: plugins = 'sqlite,acme': the plugin 'acme' is not installed
  hint: installed are builtin, sqlite; a module that is not installed needs a dot in its name
""",
    ),
    BadInput(
        group=_PLUGINS,
        name="Plugins to load and plugins to leave out at once",
        command="stem worker -A tasks:app -p acme -p no:sqlite",
        stderr="""\
stem: error: command line --plugin: plugins = 'acme,no:sqlite': names to load and names to leave out cannot be mixed
  hint: give only the plugins to load (acme), or only those to leave out (no:sqlite)
""",
    ),
    BadInput(
        group=_PLUGINS,
        name="Signing is configured and no signer is loaded",
        command="stem worker -A tasks:app",
        environment={"STEM_SIGNING_KEY_FILE": "/run/secrets/signing"},
        stderr="""\
stem: error: environment STEM_SIGNING_KEY_FILE: signing.key_file is set, but the plugin 'signing' is not installed \
(pip install ./plugins/stem_signing from a checkout)
  hint: load the plugin, or remove the setting; to run unsigned on purpose set STEM_SIGNING_POLICY=off
""",
        about="A rule of the core itself, so that nobody believes to be signing who is not.",
    ),
)
