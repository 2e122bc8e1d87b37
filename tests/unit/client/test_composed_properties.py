"""What checked options become in a header needs no second look: whatever passes them can be read by every worker."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.client.publisher import build_envelope
from stem_core.errors import InvalidName, InvalidOption, PublishError
from stem_core.model import RetryPolicy
from stem_core.tasks.call import TaskCall
from stem_core.tasks.options import CallOptions, TaskOptions
from stem_core.wire import seal

numbers = st.one_of(
    st.integers(-3, 12), st.integers(), st.floats(), st.booleans(), st.timedeltas(), st.just(timedelta.max)
)
times = st.one_of(st.datetimes(timezones=st.just(UTC)), st.just(datetime.max.replace(tzinfo=UTC)))
texts = st.text(max_size=130)
waits = st.floats(0, 3e9)
policies = st.one_of(
    st.builds(RetryPolicy.exponential, waits, cap=waits, jitter=st.booleans()),
    st.builds(RetryPolicy.after, st.lists(waits, min_size=1, max_size=5)),
)
a_wait = waits | st.sampled_from([-1.0, 3, False, 10**400, float("inf"), float("nan"), None, "3"])
made_by_hand = st.builds(
    RetryPolicy,
    kind=st.sampled_from(["exponential", "fixed", "delays", "linear"]),
    base=a_wait,
    cap=a_wait,
    delays=st.lists(a_wait, max_size=3).map(tuple) | st.lists(waits, max_size=3),
    jitter=st.booleans() | st.just(1),
)
anything = st.none() | numbers | times | texts | policies
shared = {
    "queue": texts | anything,
    "priority": st.integers(-1, 10) | anything,
    "max_retries": st.integers(-1, 10) | anything,
    "soft_time_limit": numbers | anything,
    "time_limit": numbers | anything,
    "store_result": st.booleans() | anything,
    "result_ttl": numbers | anything,
    "expires": numbers | times | anything,
}
calls = st.fixed_dictionaries(
    {},
    optional=shared
    | {
        "retry": policies | anything,
        "delay": numbers | anything,
        "at": times | anything,
        "headers": st.dictionaries(texts, texts | numbers, max_size=3) | anything,
        "id": texts | anything,
    },
)


def passed(build, options):
    """What is left of the options when those that are refused by themselves are taken out; None: refused together."""
    kept = {}
    for name, wanted in options.items():
        try:
            build({name: wanted})
        except (InvalidOption, InvalidName):
            continue
        kept[name] = wanted
    try:
        return build(kept)
    except InvalidOption:
        return None


@given(
    task=st.fixed_dictionaries({}, optional=shared | {"retry": policies}),
    call=calls,
    now=st.floats(0, 1e11),
    data=st.data(),
)
def test_what_passes_the_checks_reads_back_as_it_was_sent(task, call, now, data):
    defaults, options = passed(TaskOptions.build, task), passed(CallOptions.build, call)
    if defaults is None or options is None:
        return

    class Code:
        pass

    Code.defaults = defaults
    made = TaskCall("shop.t", b"[[],{}]", object(), options, Code if data.draw(st.booleans()) else None)
    try:
        envelope = build_envelope(made, now=now, default_queue="default")
    except InvalidOption:
        return
    if any(
        "\ud800" <= character <= "\udfff" for pair in envelope.header.headers.items() for character in "".join(pair)
    ):
        # Half a surrogate pair is no text that JSON can carry: that is found out without a second look.
        with pytest.raises(PublishError, match="cannot be encoded"):
            seal(envelope, now=now, composed=True)
        return
    composed = seal(envelope, now=now, composed=True)
    assert seal(envelope, now=now) == composed


@given(policy=made_by_hand)
def test_a_policy_made_by_hand_is_refused_or_reads_back_as_it_was_sent(policy):
    try:
        options = CallOptions.build({"retry": policy})
    except InvalidOption:
        return
    call = TaskCall("shop.t", b"[[],{}]", object(), options)
    envelope = build_envelope(call, now=0.0, default_queue="default")
    assert seal(envelope, now=0.0) == seal(envelope, now=0.0, composed=True)
