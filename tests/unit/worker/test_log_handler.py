import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from stem_core.worker import log_handler
from stem_core.worker.log_handler import QueuedHandler


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture(params=["tries at once", "always on the thread"])
def log(pipe, request, monkeypatch):
    if request.param == "always on the thread":
        monkeypatch.setattr(log_handler, "_NOWAIT", None)
    # Outside the tree of loggers: what pytest captures of a half surrogate cannot be reported by another process.
    logger = logging.Logger("test_log_handler")  # noqa: LOG001 - on purpose
    handler = QueuedHandler(pipe[1])
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield logger
    logger.removeHandler(handler)
    handler.close()


def read_until(reader, end):
    got = b""
    while end not in got:
        got += os.read(reader, 2**16)
    return got.decode().splitlines()


def fill(descriptor):
    os.set_blocking(descriptor, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(descriptor, b"." * size)
        except BlockingIOError:
            pass
    os.set_blocking(descriptor, True)


class TestReadLog:
    def test_a_line_is_written_when_the_call_returns(self, pipe, log):
        log.info("one \ud800")
        os.set_blocking(pipe[0], False)
        assert os.read(pipe[0], 100) == b"one \\ud800\n"

    def test_lines_keep_their_order(self, pipe, log):
        for number in range(500):
            log.info("%d", number)
        log.info("end")
        assert read_until(pipe[0], b"end\n") == [*map(str, range(500)), "end"]

    def test_a_line_after_the_close_is_written_too(self, pipe, log):
        # As at the end of the interpreter, where destructors log.
        handler = log.handlers[0]
        log.info("one")
        handler.close()
        log.info("two")
        assert read_until(pipe[0], b"two\n") == ["one", "two"]

    def test_a_forked_child_writes_at_once(self, pipe, log):
        log.info("parent")
        if (pid := os.fork()) == 0:
            log.info("child")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert read_until(pipe[0], b"child\n") == ["parent", "child"]

    def test_a_reader_that_is_gone_harms_nobody(self, capfd):
        reader, writer = os.pipe()
        os.close(reader)
        handler = QueuedHandler(writer)
        handler.handle(logging.makeLogRecord({"msg": "lost"}))
        handler.close()
        os.close(writer)
        assert capfd.readouterr() == ("", "")


class TestUnreadLog:
    def test_who_logs_goes_on_and_nothing_is_lost(self, pipe, log):
        fill(pipe[1])

        def many():
            for number in range(500):
                log.info("%d", number)

        threads = [threading.Thread(target=many, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        log.info("end")
        lines = read_until(pipe[0], b"end\n")
        assert len(lines) == 1001
        assert lines[-1] == "end"

    def test_what_is_dropped_is_counted_and_told_in_its_place(self, pipe, log, monkeypatch):
        monkeypatch.setattr(log_handler, "HELD", 1000)
        fill(pipe[1])
        for number in range(30):
            log.info("%02d %s", number, "x" * 96)
        os.read(pipe[0], 2**20)
        log.handlers[0].flush()
        log.info("end")
        lines = read_until(pipe[0], b"end\n")
        assert [line[:2] for line in lines if "x" in line] == [f"{number:02}" for number in range(10)]
        assert lines[-2:] == ["nobody read this log for a while: 20 lines are missing here", "end"]

    def test_only_the_first_of_several_flushes_waits(self, pipe, log, monkeypatch):
        monkeypatch.setattr(log_handler, "_AT_THE_END", 0.01)
        fill(pipe[1])
        log.info("one")
        handler = log.handlers[0]
        handler.flush()
        # As logging.shutdown() does: it flushes, and closes, which flushes.
        monkeypatch.setattr(log_handler, "_AT_THE_END", 3600)
        handler.flush()
        # Somebody reads again: now what is held can be waited for.
        assert read_until(pipe[0], b"one\n")[-1].endswith("one")
        log.info("two")
        handler.flush()
        assert read_until(pipe[0], b"two\n") == ["two"]

    def test_a_flush_waits_again_once_somebody_reads_though_not_all_is_read_yet(self, pipe, log, monkeypatch):
        handler, at_the_second = log.handlers[0], threading.Event()
        write = handler._write

        def told(line):
            if line.startswith(b"two"):
                at_the_second.set()
            write(line)

        monkeypatch.setattr(handler, "_write", told)
        monkeypatch.setattr(log_handler, "_AT_THE_END", 0.01)
        fill(pipe[1])
        for name in ("one", "two", "three"):
            log.info("%s %s", name, "." * 60_000)
        handler.flush()
        os.read(pipe[0], 2**16)
        assert at_the_second.wait(10)
        monkeypatch.setattr(log_handler, "_AT_THE_END", 10)
        reader = threading.Thread(target=read_until, args=(pipe[0], b"end\n"))
        reader.start()
        handler.flush()
        held = handler._taken - handler._written
        log.info("end")
        reader.join(10)
        assert held == 0

    def test_what_is_dropped_is_told_at_the_end_though_no_line_comes_after_it(self, pipe, log, monkeypatch):
        monkeypatch.setattr(log_handler, "HELD", 1000)
        fill(pipe[1])
        for _ in range(11):
            log.info("x" * 99)
        os.read(pipe[0], 2**20)
        handler = log.handlers[0]
        # The first waits for what is held, and there is room for one line more then.
        handler.flush()
        handler.flush()
        assert read_until(pipe[0], b"here\n")[-1] == "nobody read this log for a while: 1 lines are missing here"

    def test_a_line_that_could_be_written_does_not_overtake_one_that_is_held(self, pipe, log, monkeypatch):
        handler, go = log.handlers[0], threading.Event()
        write = handler._write

        def late(line):
            go.wait(10)
            write(line)

        monkeypatch.setattr(handler, "_write", late)
        fill(pipe[1])
        log.info("one")
        os.read(pipe[0], 2**20)
        log.info("two")
        go.set()
        assert read_until(pipe[0], b"two\n") == ["one", "two"]

    def test_a_descriptor_that_does_not_block_is_waited_for_on_the_thread(self, pipe, log):
        fill(pipe[1])
        os.set_blocking(pipe[1], False)
        log.info("one")
        log.info("two")
        assert read_until(pipe[0], b"two\n")[-1] == "two"

    def test_a_forked_child_does_not_wait_for_what_its_parent_holds(self, pipe, log, monkeypatch):
        fill(pipe[1])
        log.info("held")
        monkeypatch.setattr(log_handler, "_AT_THE_END", 3600)
        if (pid := os.fork()) == 0:
            signal.alarm(10)
            log.handlers[0].flush()
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        monkeypatch.undo()
        os.read(pipe[0], 2**20)
        assert status == 0

    @pytest.mark.parametrize("end", ["", "leave(0)"])
    def test_the_process_ends(self, end):
        program = """
            import logging, sys
            from stem_core.worker.leaving import leave
            from stem_core.worker.logs import configure_logging

            configure_logging("info", "json", "w1")
            for number in range(100):
                logging.info("x" * 2000)
            sys.stdout.write("y" * 100)
        """
        reader, writer = os.pipe()
        code = textwrap.dedent(program) + end
        with subprocess.Popen([sys.executable, "-c", code], stderr=writer, stdout=subprocess.DEVNULL) as process:
            try:
                assert process.wait(20) == 0
            finally:
                process.kill()
        os.close(reader)
        os.close(writer)
