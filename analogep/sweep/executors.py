"""Where tasks run: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from analogep.errors import AnalogepError, DataError, MissingToolError
from analogep.sweep.work import Row, Task, lost, measure

TRIES = 3
"""Times that a task is given to a worker that then dies, before its points count as failed."""
ANSWER = 10.0
"""Seconds within which a Dask scheduler must answer."""
PINNED = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false --xla_cpu_enable_concurrency_optimized_scheduler=false",
}  # fmt: skip
"""Environment of local workers: one thread each, because threads that fight over cores cost far more than they give."""

Finished = Generator[tuple[Task, list[Row]], None, None]


def in_this_process(tasks: Sequence[Task]) -> Finished:
    """One task after another."""
    for task in tasks:
        yield task, measure(task)


def in_processes(tasks: Sequence[Task], workers: int) -> Finished:
    """Tasks in `workers` new processes with one thread each, as they finish.

    The death of a worker, by a signal or for want of memory, is noticed at once: another takes its place and its task
    is tried again, `TRIES` times in all.
    """
    waiting, deaths = deque(tasks), Counter[tuple[str, ...]]()
    crew: dict[Connection, _Worker] = {}
    stillborn = 0

    def hire() -> None:
        worker = _Worker.start()
        crew[worker.pipe] = worker

    try:
        for _ in range(min(workers, len(tasks))):
            hire()
        while crew:
            for pipe in wait(list(crew)):
                assert isinstance(pipe, Connection)
                worker = crew[pipe]
                try:
                    said = pipe.recv()
                except (EOFError, OSError):
                    task, message = worker.task, worker.dismiss()
                    del crew[pipe]
                    stillborn += not worker.ready
                    if stillborn == TRIES:
                        raise DataError(f"{TRIES} workers of the sweep could not start: {message}") from None
                    if task is not None:
                        deaths[task.digests] += 1
                        if deaths[task.digests] < TRIES:
                            waiting.appendleft(task)
                        else:
                            yield task, lost(task, f"its worker died {TRIES} times: {message}")
                    if waiting:
                        hire()
                    continue
                if isinstance(said, BaseException):
                    raise said
                done, worker.task, worker.ready = worker.task, None, True
                if waiting:
                    worker.give(waiting.popleft())
                else:
                    worker.dismiss()
                    del crew[pipe]
                if done is not None:
                    yield done, said
    finally:
        for worker in crew.values():
            worker.dismiss()


@dataclass
class _Worker:
    """A process, our end of its pipe, and what it is at."""

    process: BaseProcess
    pipe: Connection
    task: Task | None = None
    ready: bool = False

    @classmethod
    def start(cls) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _environment(PINNED):
            process.start()
        theirs.close()  # so that its death closes the pipe
        return cls(process, ours)

    def give(self, task: Task) -> None:
        self.task = task
        with suppress(OSError):  # if it died idle, reading from the pipe will say so
            self.pipe.send(task)

    def dismiss(self) -> str:
        """End the process if it still runs; says how it ended."""
        self.pipe.close()
        self.process.join(0.1)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(pipe: Connection) -> None:
    """What a worker does: tasks in, rows out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to answer
    try:
        pipe.send(None)
        while True:
            task = pipe.recv()
            try:
                pipe.send(measure(task))
            except AnalogepError as error:
                pipe.send(error)
    except (EOFError, OSError):
        return


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Variables that are not set already, for the processes started meanwhile."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def on_dask(tasks: Sequence[Task], scheduler: str) -> Finished:
    """Tasks on the workers of a Dask scheduler, as they finish; Dask moves those of a worker that dies to another.

    Parameters
    ----------
    scheduler : its address, such as `tcp://host:8786`, or a scheduler file that it wrote.

    Raises
    ------
    MissingToolError
        If dask.distributed is not installed, or no scheduler answers.
    DataError
        If the connection is lost on the way.
    """
    try:
        from dask.distributed import Client, as_completed
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise MissingToolError("Dask is not installed; install it with: pip install 'analogep[cluster]'") from None
    where: dict[str, Any] = {"scheduler_file": scheduler} if os.path.exists(scheduler) else {"address": scheduler}
    try:
        client = Client(**where, timeout=ANSWER, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise MissingToolError(f"no Dask scheduler answers at {scheduler}: {error}") from None
    lost_link = DataError(
        f"the connection to the Dask scheduler at {scheduler} was lost; what was measured is kept, run the sweep again "
        "to go on"
    )
    with client:
        futures = {client.submit(measure, task, pure=False): task for task in tasks}
        suspects = []
        try:
            for future in as_completed(list(futures), loop=client.loop):
                task = futures.pop(future)
                try:
                    rows = future.result()
                except KilledWorker:
                    suspects.append(task)
                    continue
                except FutureCancelledError:
                    raise lost_link from None
                yield task, rows
            for task in suspects:  # one by one: Dask blames every task that a dying worker held
                alone = client.submit(measure, task, pure=False)
                futures[alone] = task
                try:
                    rows = alone.result()
                except KilledWorker as error:
                    rows = lost(task, f"its Dask worker died several times: {' '.join(str(error).split())}")
                except FutureCancelledError:
                    raise lost_link from None
                yield task, rows
        finally:
            client.cancel(list(futures), force=True)
