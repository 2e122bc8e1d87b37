"""What type checkers say of calls: each line with an error says so, all others must pass."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, assert_type

from stem_core import RetryPolicy, RetryTask, Stem, Task, TaskCall, TaskContext, TaskHandle

app = Stem("shop")


@app.task
async def plain_async(user: int, *, locale: str = "en") -> str:
    return f"{user} {locale}"


@app.task(queue="mail", max_retries=5, retry=RetryPolicy.exponential(base=2, cap=600))
async def async_with_options(user: int, *, locale: str = "en") -> str:
    return f"{user} {locale}"


@app.task
def plain_sync(path: str, size: float = 1.0) -> bytes:
    return path.encode() * int(size)


@app.task(strategy="threads", soft_time_limit=timedelta(seconds=5))
def sync_with_options(path: str) -> int:
    return len(path)


@app.task
async def async_with_context(ctx: TaskContext, user: int) -> dict[str, int]:
    return {ctx.id: user}


@app.task(name="shop.render", aliases=["render"])
def sync_with_context(ctx: TaskContext, path: str, *, dpi: int = 300) -> int:
    ctx.enqueue(plain_sync, path)
    ctx.enqueue(plain_sync, 5)  # error: arg-type
    ctx.enqueue(plain_async.options(delay=5), 1, locale="fr")
    ctx.enqueue(plain_async.options(delay=5), 1, local="fr")  # error: call-arg
    assert_type(ctx.enqueue(plain_async, 1), TaskHandle[str])
    return dpi


@app.task
def no_arguments() -> None: ...


def kinds() -> None:
    assert_type(no_arguments, Task[[], None, None])
    running: Coroutine[Any, Any, dict[str, int]] = async_with_context(5)
    running.close()
    assert_type(sync_with_context("a", dpi=1), int)
    assert_type(plain_sync("a", 2.0), bytes)
    plain_sync(1)  # error: arg-type
    sync_with_context(1)  # error: arg-type


async def enqueue_async() -> None:
    assert_type(await plain_async.enqueue(1), TaskHandle[str])
    assert_type(await plain_async.enqueue(1, locale="fr"), TaskHandle[str])
    assert_type(await async_with_options.enqueue(user=1), TaskHandle[str])
    await plain_async.enqueue("one")  # error: arg-type
    await plain_async.enqueue()  # error: call-arg
    await plain_async.enqueue(1, 2)  # error: arg-type call-arg
    await plain_async.enqueue(1, "fr")  # error: call-arg
    await plain_async.enqueue(1, locale=5)  # error: arg-type
    await async_with_options.enqueue("one")  # error: arg-type
    await async_with_options.enqueue(1, language="fr")  # error: call-arg


async def enqueue_sync_functions() -> None:
    assert_type(await plain_sync.enqueue("a"), TaskHandle[bytes])
    assert_type(await sync_with_options.enqueue("a"), TaskHandle[int])
    assert_type(await no_arguments.enqueue(), TaskHandle[None])
    await plain_sync.enqueue(1)  # error: arg-type
    await plain_sync.enqueue("a", "b")  # error: arg-type
    await sync_with_options.enqueue()  # error: call-arg
    await no_arguments.enqueue(1)  # error: call-arg


async def the_context_is_no_parameter(ctx: TaskContext) -> None:
    assert_type(await async_with_context.enqueue(5), TaskHandle[dict[str, int]])
    assert_type(await sync_with_context.enqueue("a", dpi=150), TaskHandle[int])
    await async_with_context.enqueue(ctx, 5)  # error: arg-type call-arg
    await async_with_context.enqueue("five")  # error: arg-type
    await sync_with_context.enqueue(5)  # error: arg-type
    await sync_with_context.enqueue("a", dpi="high")  # error: arg-type
    await sync_with_context.enqueue()  # error: call-arg


def from_sync_code() -> None:
    assert_type(plain_async.enqueue_sync(1), TaskHandle[str])
    assert_type(plain_async.enqueue_sync(1).result_sync(timeout=5), str)
    assert_type(app.enqueue_sync(sync_with_context, "a"), TaskHandle[int])
    plain_async.enqueue_sync("one")  # error: arg-type
    sync_with_context.enqueue_sync(1)  # error: arg-type
    app.enqueue_sync(sync_with_context, 5)  # error: call-overload


async def options(moment: datetime) -> None:
    bound = plain_async.options(delay=30, priority=7, expires=3600, headers={"tenant": "a"})
    later = bound.options(id="order-42", at=moment, store_result=False)
    assert_type(await later.enqueue(44), TaskHandle[str])
    assert_type(await bound.enqueue(43), TaskHandle[str])
    assert_type(await bound.options(queue="x").enqueue(43, locale="fr"), TaskHandle[str])
    await bound.enqueue("one")  # error: arg-type
    await sync_with_context.options(at=moment).enqueue(1)  # error: arg-type
    plain_async.options(priority="high")  # error: arg-type
    plain_async.options(dealy=30)  # error: call-arg
    plain_async.options(at=30)  # error: arg-type


async def many() -> None:
    assert_type(plain_async.call(1), TaskCall[str])
    assert_type(await app.enqueue_many([plain_async.call(n) for n in range(10)]), list[TaskHandle[str]])
    await app.enqueue_many([plain_async.call("one")])  # error: arg-type
    await app.enqueue_many([plain_async])  # error: arg-type
    mixed: list[TaskCall[Any]] = [
        plain_async.call(1),
        sync_with_context.options(delay=1).call("a"),
        app.call("x.y", [1]),
    ]
    assert_type(await app.enqueue_many(mixed), list[TaskHandle[Any]])
    await app.enqueue_many([plain_async.call(1), plain_sync.call("a"), app.call("x.y", [1])])


async def by_app_and_name() -> None:
    assert_type(await app.enqueue(plain_async, 1, locale="fr"), TaskHandle[str])
    assert_type(await app.enqueue(async_with_context.options(delay=1), 1), TaskHandle[dict[str, int]])
    assert_type(await app.enqueue("tasks.anything", 1, "two", three=3), TaskHandle[Any])
    await app.enqueue(plain_async, "one")  # error: call-overload
    await app.enqueue(plain_async)  # error: call-overload
    await app.enqueue(5)  # error: call-overload


async def results() -> None:
    handle = await async_with_context.enqueue(1)
    assert_type(await handle.result(timeout=10), dict[str, int])
    assert_type(await app.handle("x").result(), Any)
    text: str = await handle.result()  # error: assignment
    assert text


def by_error(failures: int, error: BaseException) -> float | timedelta | None:
    return None if isinstance(error, ValueError) else timedelta(seconds=failures)


def inside_a_task(ctx: TaskContext) -> None:
    assert_type(ctx.retry(after=5), RetryTask)
    assert_type(ctx.retry(after=timedelta(minutes=1), message="not there yet"), RetryTask)
    ctx.retry(delay=5)  # error: call-arg
    ctx.retry(after="5s")  # error: arg-type
    ctx.extend(timedelta(minutes=1))
    ctx.extend("1m")  # error: arg-type
    ctx.extend()  # error: call-arg
    ctx.heartbeat()


def definitions() -> None:
    app.task(queue=5)  # error: call-overload
    app.task(prioriti=5)  # error: call-overload
    app.task(5)  # error: call-overload
    app.task(retry_on="OSError")  # error: arg-type
    app.task(retry_on=(OSError, int))  # error: arg-type
    app.task(give_up_on=ValueError("x"))  # error: call-overload
    app.task(retry=lambda _: 5.0)  # error: arg-type misc
    app.task(retry=by_error, retry_on=OSError, give_up_on=(PermissionError, FileNotFoundError))
    app.task(retry=by_error, retry_on=[OSError, TimeoutError], give_up_on=None)
    app.task(retry=RetryPolicy.after([1, timedelta(minutes=1)]), retry_on={OSError})
    plain_async.options(retry=RetryPolicy.fixed(timedelta(seconds=5)), max_retries=1)
    plain_async.options(retry=by_error)  # error: arg-type
    plain_async.options(retry_on=OSError)  # error: call-arg
    plain_async.delay(1)  # error: attr-defined
    plain_async.apply_async(1)  # error: attr-defined
