"""What is measured: each row does something to a gateway under load, and says what became of it."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.reliability.bed import Bed, installed, pss, timed
from bench.reliability.load import Answers, Outcome
from bench.reliability.slow import BODY, HEAD, READ, Slow
from tests.faults.streams import Life, Streams
from tests.integration.processes import wait_for
from tests.integration.valkey import Valkey

SLOWER = 0.1
"""Seconds that no answer may take more, whatever becomes of Redis."""


@dataclass(frozen=True)
class Settings:
    """How much is done.

    :ivar seconds: that a load lasts.
    :ivar requests: of the row that sends very many.
    :ivar directory: for what all of it writes.
    """

    seconds: float
    requests: int
    directory: Path


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    goal: str
    measured: str
    met: bool


def _rate(bed: Bed, mixed: bool = True) -> float:
    """Half of what it can do at most with this load, as it was measured just before."""
    peak = bed.peak(mixed)
    print(f"  peak {peak:,.0f} requests/s", file=sys.stderr)
    return peak / 2


def _figures(answers: Answers, rate: float) -> str:
    failed = len(answers.failed)
    times = ", ".join(
        f"{name} {answers.quantile(part) * 1e3:.0f} ms" for name, part in (("p50", 0.5), ("p99", 0.99), ("slowest", 1))
    )
    causes = f" ({answers.causes})" if failed else ""
    return f"{len(answers.all):,} requests at {rate:,.0f}/s, **{failed} failed**{causes}; {times}"


# -- reload, upgrade, a worker's end ----------------------------------------------------------------------------------


def reload(settings: Settings) -> list[Result]:
    """New workers three times, under load."""
    with Bed(settings.directory) as bed:
        rate = _rate(bed)
        load = bed.load(rate).start()
        for _ in range(3):
            time.sleep(settings.seconds / 10)
            number = bed.generation
            bed.reload()
            wait_for(lambda number=number: bed.settled(number + 1), "the reload is over", 60)  # type: ignore[misc]
        time.sleep(max(0.0, settings.seconds / 10))
        answers = load.stop()
        done = int(bed.metric('smartgate_reloads_total{outcome="done"}'))
    measured = f"{done} reloads: {_figures(answers, rate)}"
    return [Result("reload under load: 0 failed requests", measured, not answers.failed and done == 3)]


def upgrade(settings: Settings) -> list[Result]:
    """Newer code in place of the old, by one rename, and a reload, under load."""
    steps = installed(settings.directory, ("0.0.1", "0.0.2"))
    python = next(steps)
    directory = settings.directory / "bed"
    directory.mkdir()
    with Bed(directory, python=str(python)) as bed:
        before = bed.ask("/metrics")[1]
        rate = _rate(bed)
        load = bed.load(rate).start()
        time.sleep(settings.seconds / 3)
        next(steps)
        time.sleep(2)
        bed.reload()
        wait_for(lambda: bed.settled(2), "the reload is over", 60)
        time.sleep(settings.seconds / 3)
        answers = load.stop()
        after = bed.ask("/metrics")[1]
    versions = ['version="0.0.1"' in before, 'version="0.0.1"' in after, 'version="0.0.2"' in after]
    done = versions == [True, False, True]
    measured = f"0.0.1 to 0.0.2 (built, installed and swapped meanwhile): {_figures(answers, rate)}"
    return [Result("upgrade under load: 0 failed requests", measured, not answers.failed and done)]


def worker(settings: Settings) -> list[Result]:
    """kill -9 of a worker, three times, under load."""
    with Bed(settings.directory) as bed:
        rate = _rate(bed)
        load = bed.load(rate).start()
        kills: list[tuple[float, set[int]]] = []
        back = []
        for _ in range(3):
            time.sleep(settings.seconds / 4)
            pid = bed.workers()[0]["pid"]
            os.kill(pid, signal.SIGSTOP)  # so that it can be told which connections are its own
            ports = bed.ports_of(pid)
            os.kill(pid, signal.SIGKILL)
            kills.append((time.monotonic(), ports))
            number = len(kills)
            back.append(
                timed(lambda number=number: bed.metric("smartgate_worker_restarts_total") == number and bed.ready(), "")  # type: ignore[misc]
            )
        time.sleep(settings.seconds / 4)
        answers = load.stop()
    others = [outcome for outcome in answers.failed if not _on_killed(outcome, kills)]
    lost = len(answers.failed) - len(others)
    measured = (
        f"3 killed, {lost} requests in flight on them lost, **{len(others)} others**; as many workers as before after "
        f"{max(back):.1f} s at most; {_figures(answers, rate)}"
    )
    return [Result("a worker's kill -9 under load: 0 failed requests but those in flight on it", measured, not others)]


def _on_killed(outcome: Outcome, kills: list[tuple[float, set[int]]]) -> bool:
    """Whether a request was under way on a worker when that was killed."""
    return any(outcome.sent <= when <= outcome.ended + 0.2 and outcome.port in ports for when, ports in kills)


def spread(settings: Settings) -> list[Result]:
    """Four hundred connections, at once and one by one, and which worker has them."""
    results = []
    with Bed(settings.directory) as bed:
        for how, pause in (("at once", 0.0), ("one by one, 10 ms apart", 0.01)):
            clients = []
            for _ in range(400):
                clients.append(socket.create_connection(("127.0.0.1", bed.port), 10))
                time.sleep(pause)
            wait_for(lambda: sum(worker["connections"] for worker in bed.workers()) == 400, "all are counted")
            shares = sorted(int(worker["connections"]) for worker in bed.workers())
            for client in clients:
                client.close()
            wait_for(lambda: sum(worker["connections"] for worker in bed.workers()) == 0, "all are gone")
            measured = f"{' and '.join(map(str, shares))}"
            results.append(Result(f"400 connections {how}: spread evenly over 2 workers", measured, shares[0] >= 160))
    return results


# -- Redis ------------------------------------------------------------------------------------------------------------


def redis(settings: Settings) -> list[Result]:
    """Redis stopped, hung and restarted, under load."""
    return [
        _redis(settings, "stopped (kill -9) and started again", _kill, _start, settings.seconds / 3),
        _redis(
            settings,
            "hung (SIGSTOP)",
            lambda bed: bed.redis.signal(signal.SIGSTOP),
            lambda bed: bed.redis.signal(signal.SIGCONT),
            settings.seconds / 3,
        ),
        _redis(settings, "restarted at once", _kill, _start, 0.0),
    ]


def _kill(bed: Bed) -> None:
    bed.redis.stop()


def _start(bed: Bed) -> None:
    bed.redis = Valkey(bed.redis.port)


def _redis(
    settings: Settings, what: str, fault: Callable[[Bed], None], end: Callable[[Bed], None], lasts: float
) -> Result:
    directory = settings.directory / what.split(" ", 1)[0]
    directory.mkdir()
    with Bed(directory) as bed:
        rate = _rate(bed, mixed=False)
        load = bed.load(rate, mixed=False).start()
        time.sleep(settings.seconds / 3)
        began = time.monotonic()
        fault(bed)
        served = 0
        if lasts:
            served = sum(_status(bed, f"limited-{began}") == 200 for _ in range(60))
            time.sleep(max(0.0, lasts - (time.monotonic() - began)))
        end(bed)
        back = timed(lambda: _counted(bed), "Redis is used")
        time.sleep(settings.seconds / 3)
        answers = load.stop()
    before, under = answers.between(0, began), answers.between(began)
    slower = under.quantile(1) - before.quantile(1)
    limited = f"of 60 requests of a user with 20 a minute {served} were served; " if lasts else ""
    measured = (
        f"{_figures(answers, rate)}; slowest before {before.quantile(1) * 1e3:.0f} ms, from then on "
        f"{under.quantile(1) * 1e3:.0f} ms; {limited}back after {back:.2f} s"
    )
    met = not answers.failed and slower <= SLOWER and back <= 1.0 and (not lasts or 20 <= served <= 40)
    goal = f"Redis {what}: 0 answers of 5xx, none 100 ms slower, limits enforced (by each of 2 workers), back in 1 s"
    return Result(goal, measured, met)


def _status(bed: Bed, subject: str) -> int:
    """What a user gets on a connection of its own."""
    with socket.create_connection(("127.0.0.1", bed.port), 10) as client:
        client.sendall(bed.head("GET", "/api/users/42", "Connection: close", subject=subject, role="user"))
        return int(client.recv(4096)[9:12])


def _counted(bed: Bed) -> bool:
    """Whether each of some requests of a new user is counted in Redis, whichever worker has it."""
    subject = f"new-{time.monotonic()}"
    for _ in range(12):
        _status(bed, subject)
    return bed.redis.ask("GET", f"rl:user:{subject}") == "12"


# -- instances --------------------------------------------------------------------------------------------------------


def instances(settings: Settings) -> list[Result]:
    """One of two instances killed, hung, and answering 503, under load."""
    return [
        _instance(settings, "killed", lambda bed: bed.instances[0].kill(), lambda bed: bed.instances[0].start()),
        _instance(
            settings,
            "hung",
            lambda bed: bed.instances[0].process.child.send_signal(signal.SIGSTOP),
            lambda bed: bed.instances[0].process.child.send_signal(signal.SIGCONT),
        ),
        _instance(settings, "5xx", lambda bed: bed.instances[0].ail(True), lambda bed: bed.instances[0].ail(False)),
    ]


def _instance(settings: Settings, what: str, fault: Callable[[Bed], None], end: Callable[[Bed], None]) -> Result:
    directory = settings.directory / what
    directory.mkdir()
    with Bed(directory, instances=2, first_byte="2s") as bed:
        rate = _rate(bed, mixed=False)
        load = bed.load(rate, mixed=False).start()
        time.sleep(settings.seconds / 3)
        began = time.monotonic()
        fault(bed)
        timed(lambda: bed.metric("smartgate_upstream_ejections_total") >= 2, "both workers have found out", pause=0.01)
        found = time.monotonic()
        time.sleep(settings.seconds / 3)
        ejections = int(bed.metric("smartgate_upstream_ejections_total"))
        end(bed)
        time.sleep(settings.seconds / 3)
        answers = load.stop()
    before, under = answers.between(0, began), answers.between(began)
    usual = before.quantile(1) + SLOWER
    slow = sum(outcome.seconds > usual for outcome in under.all)
    last = max((outcome.sent - began for outcome in answers.failed), default=0.0)
    failed = f", the last begun after {last:.2f} s" if answers.failed else ""
    measured = (
        f"{_figures(answers, rate)}{failed}; ejected by {ejections} of 2 workers after {found - began:.2f} s; {slow} "
        "answers took 100 ms more than the slowest before"
    )
    goal = (
        f"one of two instances {what}: 0 failed but what was begun before each worker had found out, after 3 requests"
    )
    return Result(goal, measured, last <= 1.0 and all(outcome.sent <= found for outcome in answers.failed))


# -- slow clients -----------------------------------------------------------------------------------------------------


ROUNDS = 5
"""With and without slow clients."""
CROWD = 2000
"""How many there are at once."""


def slow(settings: Settings) -> list[Result]:
    """Two thousand slow clients of each kind, there and away again by turns, and how long the others wait."""
    return [
        _among(settings, "heads", HEAD, b"a"),
        _among(settings, "bodies", BODY, b"a"),
        _among(settings, "readers", READ, b""),
    ]


def _among(settings: Settings, kind: str, begin: bytes, byte: bytes) -> Result:
    """A machine with two CPUs is slower in one second than in the next: what counts is the median of some rounds."""
    directory = settings.directory / kind
    directory.mkdir()
    without, among = list[Answers](), list[Answers]()
    returned = 0
    with Bed(directory) as bed:
        rate = _rate(bed, mixed=False)
        for _ in range(ROUNDS):
            without.append(bed.load(rate, mixed=False).during(settings.seconds / 3))
            crowd = Slow(bed.port, begin, byte, CROWD).start()
            wait_for(lambda: bed.metric("smartgate_open_connections") > 0.95 * CROWD, "all are there", 60)
            time.sleep(35)  # until what is not read has filled what there is for it, and the first have been cut
            among.append(bed.load(rate, mixed=False).during(settings.seconds / 3))
            returned += crowd.stop()
            wait_for(lambda: bed.metric("smartgate_open_connections") < 0.05 * CROWD, "all are gone", 60)
    before, under = ([answers.quantile(0.99) * 1e3 for answers in each] for each in (without, among))
    ratios = [slower / usual for slower, usual in zip(under, before, strict=True)]
    ratio = statistics.median(ratios)
    together = Answers([outcome for answers in among for outcome in answers.all])
    measured = (
        f"{ROUNDS} rounds, medians: p99 {statistics.median(before):.1f} ms without them, "
        f"{statistics.median(under):.1f} ms among them, **{ratio:.2f}x** ({min(ratios):.2f} to {max(ratios):.2f}; "
        f"{returned:,} times one was cut and came back); {_figures(together, rate)}"
    )
    goal = f"2,000 slow clients ({kind}): others' p99 below 2x"
    return Result(goal, measured, ratio < 2 and not together.failed)


# -- very many reloads, very many requests ----------------------------------------------------------------------------

DRAIN = 2.0


def reloads(settings: Settings) -> list[Result]:
    """Fifty reloads in five minutes, with WebSockets and event streams open."""
    wanted, every = max(2, round(settings.seconds / 30 * 50)), 6.0
    with Bed(settings.directory, drain=f"{DRAIN:g}s") as bed:
        socket_lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        socket_head = bed.head("GET", "/api/ws/echo", *socket_lines)
        streams = Streams(bed.port, socket_head, 200, bed.head("GET", "/api/mcp/events"), 50).start()
        load = bed.load(100).start()
        uses, most, began, seen = [bed.use()], 0, time.monotonic(), 1
        for number in range(wanted):
            bed.reload()
            due = began + (number + 1) * every
            while time.monotonic() < due:
                most = max(most, len(bed.pids()))
                if bed.settled(seen + 1):
                    seen = bed.generation
                    uses.append(bed.use())
                time.sleep(0.1)
        took = time.monotonic() - began
        wait_for(lambda: bed.settled() and len(bed.pids()) == 3, "the last reload is over", 90)
        uses.append(bed.use())
        done = int(bed.metric('smartgate_reloads_total{outcome="done"}'))
        lives, answers, took_over = streams.stop(), load.stop(), bed.took_over()[1:]
    early = [life for life in lives if _too_early(life, took_over)]
    ways = Counter(f"{life.kind} {life.how}" for life in lives)
    wrong = [life for life in lives if (life.kind, life.how) not in _RIGHT and life.how != "open"]
    fifth = max(1, len(uses) // 5)
    first, later = uses[1 : 1 + fifth], uses[-fifth:]
    grown = statistics.median(use.kib for use in later) / statistics.median(use.kib for use in first) - 1
    files = [use.files for use in uses]
    spans = [life.ended - last for life in lives if life.ended and (last := _first_after(life, took_over)) is not None]
    measured = (
        f"{wanted} asked for in {took:.0f} s and {done} done (those that wait are one), drain {DRAIN:g} s: "
        f"{len(lives):,} lives of 200 WebSockets and 50 event streams, **{len(early)} cut before their time** (closed "
        f"{min(spans, default=0):.2f} to {max(spans, default=0):.2f} s after the new workers took over), "
        f"**{len(wrong)} ended otherwise than they should** ({_told(ways)}); "
        f"{len(answers.failed)} of {len(answers.all):,} other requests failed{_because(answers)}"
    )
    memory = (
        f"PSS of all processes {uses[0].kib / 1024:.0f} MiB at the start, {uses[len(uses) // 2].kib / 1024:.0f} in the "
        f"middle, {uses[-1].kib / 1024:.0f} at the end (medians of the first and last fifth: **{grown:+.1%}**); "
        f"{uses[0].processes} processes, {uses[-1].processes} at the end, {most} at most; "
        f"{files[0]} descriptors, {files[-1]} at the end, {max(files)} at most"
    )
    return [
        Result(
            "50 reloads in 5 minutes, 200 WebSockets and 50 event streams: nothing cut before its drain time",
            measured,
            wanted >= 50 and not early and not wrong and not answers.failed,
        ),
        Result(
            "the same: memory, processes and descriptors flat",
            memory,
            abs(grown) <= 0.05 and uses[-1].processes == uses[0].processes and most <= 6,
        ),
    ]


_RIGHT = (("websocket", "1012"), ("events", "cut"))


def _first_after(life: Life, took_over: list[float]) -> float | None:
    """When others took over from the worker that had this connection."""
    return next((when for when in took_over if when > life.began), None)


def _too_early(life: Life, took_over: list[float]) -> bool:
    """Whether a connection ended before its worker had been replaced for the drain time."""
    if not life.ended:
        return False
    last = _first_after(life, took_over)
    return last is None or life.ended < last + DRAIN - 0.05


def _told(ways: Counter[str]) -> str:
    return ", ".join(f"{count:,} {way}" for way, count in ways.most_common())


def _because(answers: Answers) -> str:
    return f" ({answers.causes})" if answers.failed else ""


def requests(settings: Settings) -> list[Result]:
    """Very many requests, as fast as they are answered."""
    with Bed(settings.directory) as bed:
        bed.wrk(20)  # caches fill
        pids = [worker["pid"] for worker in bed.workers()]
        uses = [sum(map(pss, pids))]
        total = errors = 0
        took = 0.0
        while total < settings.requests:
            began = time.monotonic()
            more, wrong = bed.wrk(20)
            took += time.monotonic() - began
            total, errors = total + more, errors + wrong
            uses.append(sum(map(pss, pids)))
            (settings.directory / "access.log").write_text("")
            print(f"  {total:,} requests, {errors} errors, {uses[-1]:,} KiB", file=sys.stderr, flush=True)
        same = [worker["pid"] for worker in bed.workers()] == pids
        counted = bed.metric('smartgate_requests_total{class="2xx",route="/api/users"}')
    grown = uses[-1] / uses[0] - 1
    measured = (
        f"**{total:,} requests** in {took:.0f} s, **{errors} errors** (the gateway counts {counted:,.0f} of 2xx, "
        f"warm-up among them); PSS of both workers {uses[0] / 1024:.1f} MiB after the warm-up, "
        f"{uses[len(uses) // 2] / 1024:.1f} in the middle, {uses[-1] / 1024:.1f} at the end, {max(uses) / 1024:.1f} at "
        f"most (**{grown:+.1%}**)"
    )
    met = not errors and max(uses) / uses[0] - 1 <= 0.05 and same and total >= 10_000_000
    return [Result("10 million requests: memory flat within 5 %, 0 errors", measured, met)]


ROWS: dict[str, Callable[[Settings], list[Result]]] = {
    row.__name__: row for row in (reload, upgrade, worker, spread, redis, instances, slow, reloads, requests)
}
