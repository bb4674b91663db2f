"""The hosted annotator against a server in a process of its own that answers after 50 ms, 64 requests in flight.

``python experiments/bench/annotate.py`` prints the rate as a share of the ideal one (every answer takes the server's
latency and nothing else; two quiet cores reach 80 %), the processor time a request as a multiple of the same request
through the plain SDK, and how long this process waited for a core: above a tenth the rate says more of the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
REQUESTS, CONCURRENCY = 2000, 64
STATISTICS = Path("/proc/self/schedstat")


@contextmanager
def server_process() -> Iterator[tuple[int, list[float]]]:
    """A server that shares no interpreter with the client: its port, and after its end the mean latency, seconds."""
    command = [sys.executable, "-m", "tests.servers.chat_server"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    latency: list[float] = []
    try:
        yield int(process.stdout.readline()), latency
    finally:
        process.stdin.close()
        latency.append(json.loads(process.stdout.read())["latency_s"])
        process.stdout.close()
        process.wait(30)


def starved_s() -> float:
    """Seconds so far in which this process was ready to run and another one had the core."""
    return int(STATISTICS.read_text().split()[1]) / 1e9 if STATISTICS.exists() else 0.0


def plain_work_s(url: str, texts: list[str]) -> float:
    """Processor time of a request through the SDK, seconds: no journal, no retries, no counting."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def ask_all() -> float:
        async with AsyncOpenAI(api_key="k", base_url=url, http_client=DefaultAioHttpClient()) as client:
            waiting = iter(texts[:1])  # alone: it imports what a request needs

            async def ask() -> None:
                for text in waiting:
                    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])

            await ask()
            waiting = iter(texts)
            began = time.process_time()
            await asyncio.gather(*(ask() for _ in range(CONCURRENCY)))
            return (time.process_time() - began) / len(texts)

    return asyncio.run(ask_all())


def main() -> None:
    """One run of each."""
    from rewardlab.annotate.base import RationaleRequest
    from rewardlab.annotate.hosted import OpenAIAnnotator
    from rewardlab.annotate.journal import Journal
    from rewardlab.config import AnnotateConfig
    from rewardlab.types import Example

    os.environ["OPENAI_API_KEY"] = "k"
    texts = [f"film number {row} " + "word " * 60 for row in range(REQUESTS)]
    asked = [RationaleRequest(Example("sst2", str(row), {"text": text}), "positive") for row, text in enumerate(texts)]
    moments: list[tuple[int, float, float, float]] = []

    def note(what: str, done: int, total: int) -> None:
        if done >= CONCURRENCY:  # the first wave connects
            moments.append((done, time.perf_counter(), time.process_time(), starved_s()))

    with tempfile.TemporaryDirectory() as folder, server_process() as (port, latency):
        url = f"http://127.0.0.1:{port}/slow/v1"
        config = AnnotateConfig(model="m", base_url=url, concurrency=CONCURRENCY)
        OpenAIAnnotator(config, Journal(Path(folder) / "openai.jsonl")).rationales(asked, note)
        plain = plain_work_s(url, texts[: REQUESTS // 4])
    done, clock, work, starved = (last - first for first, last in zip(moments[0], moments[-1], strict=True))
    ideal = CONCURRENCY / latency[0]
    print(f"{done / clock / ideal:8.0%}  of the ideal rate ({done / clock:.0f} of {ideal:.0f} requests a second)")
    print(f"{work / done / plain:8.2f}  times the processor time of the plain SDK")
    print(f"{starved / clock:8.0%}  of the time waited for a core")


if __name__ == "__main__":
    main()
