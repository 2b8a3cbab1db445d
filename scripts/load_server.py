"""Many clients at a server of `asr serve` at once: what comes back, and how fast.

    asr serve --model RUN --port 8000
    python scripts/load_server.py data/an4/test.jsonl.gz --model RUN --clients 64 --seconds 60

Every client is one of the library openai, sends utterances one after the other, waits as long as a
429 says, and compares each answer with the transcript of the same file by the same model, which is
found first, in batches, and timed. CPU times are compared too, because clients need CPU as well.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import threading
import time
import urllib.request
from pathlib import Path

import openai

import asr
from asr.data.manifest import read_manifest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dtype", default="auto", help="as the server was started with")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    paths = [str(utterance.audio_path) for utterance in read_manifest(args.manifest)]
    offline = asr.load(args.model, dtype=args.dtype)
    assert isinstance(offline, asr.Transcriber)
    offline.transcribe(paths[:8])
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    found = offline.transcribe(paths)
    length_s = sum(one.duration_s for one in found)
    rate = length_s / (time.perf_counter() - begun_s)
    offline_cpu = (time.process_time() - begun_cpu_s) / length_s
    expected = {path: one.text for path, one in zip(paths, found, strict=True)}
    counts: collections.Counter[str] = collections.Counter()
    waits_s: list[float] = []
    audio_s = [0.0]
    lock = threading.Lock()
    durations_s = {path: one.duration_s for path, one in zip(paths, found, strict=True)}
    end_s = time.perf_counter() + args.seconds

    def client(number: int) -> None:
        with openai.OpenAI(base_url=f"{args.url}/v1", api_key="none", max_retries=0) as api:
            at = number
            while time.perf_counter() < end_s:
                path = paths[at % len(paths)]
                sent_s = time.perf_counter()
                try:
                    answer = api.audio.transcriptions.create(model="any", file=Path(path))
                except openai.RateLimitError as error:
                    with lock:
                        counts["429"] += 1
                    time.sleep(float(error.response.headers["retry-after"]))
                    continue
                except openai.OpenAIError as error:
                    with lock:
                        counts[type(error).__name__] += 1
                    continue
                at += args.clients
                with lock:
                    counts["right" if answer.text == expected[path] else "wrong"] += 1
                    waits_s.append(time.perf_counter() - sent_s)
                    audio_s[0] += durations_s[path]

    served_before, cpu_before = metrics(args.url)
    client_cpu_s = time.process_time()
    threads = [threading.Thread(target=client, args=(one,)) for one in range(args.clients)]
    begun_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - begun_s
    served = audio_s[0] / took_s
    served_after, cpu_after = metrics(args.url)
    length_s = served_after - served_before
    client_cpu = (time.process_time() - client_cpu_s) / length_s
    server_cpu = (cpu_after - cpu_before) / length_s
    print(f"offline, in batches: {rate:.0f} s of audio a second")
    print(
        f"{args.clients} clients: {served:.0f} s of audio a second, {served / rate:.2f} of offline"
    )
    print(
        f"CPU a second of audio: server {1e3 * server_cpu:.2f} ms, "
        f"clients {1e3 * client_cpu:.2f} ms, offline {1e3 * offline_cpu:.2f} ms, "
        f"{offline_cpu / server_cpu:.2f} of the server's"
    )
    print(f"answers in {took_s:.0f} s: {dict(counts)}")
    if waits_s:
        longest = statistics.quantiles(waits_s, n=100)[98]
        print(f"waited: median {statistics.median(waits_s):.2f} s, 99 % below {longest:.2f} s")


def metrics(url: str) -> tuple[float, float]:
    """Seconds of audio that the server has transcribed, and of CPU that it has used."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    values = dict(line.split(" ") for line in lines if not line.startswith("#"))
    audio_s, cpu_s = (float(values[f"encore_{name}_seconds_total"]) for name in ("audio", "cpu"))
    return audio_s, cpu_s


if __name__ == "__main__":
    main()
