"""Throughput over independent samples on two cores: ours beside the better of ONNX Runtime's two ways.

usage: throughput.py ONNXTOOL [--rounds N] [--seconds S] [--only TEXT[,TEXT]] PATH [PATH ...]

Ours is `onnxtool bench --concurrency 2`: two samples at a time on one thread each. ONNX Runtime's are one session with
two threads, one sample after the other, and two Python threads that run a session of one thread each (it lets go of the
interpreter while it runs). Each is measured for SECONDS after a warm-up, ROUNDS times in turns, of which the largest
counts, since other work on the machine only ever takes away. Models and inputs as in latency.py.
"""
import argparse
import json
import math
import os
import sys
import threading
import time

import latency

WAYS = ["one session", "two runs"]


def peer(path, data, shapes, ways, seconds):
    """Runs in a process of its own: prints samples a second of each way."""
    import onnxruntime as ort

    feed = None
    result = {}
    for way in ways:
        streams, threads = (2, 1) if way == "two runs" else (1, 2)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = feed or latency.feed_of(session, data, shapes)
        for _ in range(2):
            session.run(None, feed)
        counts = [0] * streams
        begin = time.perf_counter()

        def serve(k):
            while time.perf_counter() - begin < seconds or counts[k] == 0:
                session.run(None, feed)
                counts[k] += 1

        workers = [threading.Thread(target=serve, args=(k,)) for k in range(streams)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        result[way] = sum(counts) / (time.perf_counter() - begin)
        del session
    print(json.dumps(result))


def ours(tool, path, data, shapes, seconds):
    command = [tool, "bench", path, "--threads", "1", "--runs", "1", "--seconds", str(seconds), "--concurrency", "2", "--json", "-q"]
    return latency.last_json(command + latency.input_flags(data, shapes))["timing"]["load"][0]["per_second"]


def compare(arguments, path, data):
    """Samples a second of ours, and of each of ONNX Runtime's ways."""
    shapes = {} if data else latency.shapes_of(path)
    best, mine = dict.fromkeys(WAYS, 0.0), 0.0
    for k in range(arguments.rounds):
        for turn in (0, 1) if k % 2 else (1, 0):
            if turn:
                mine = max(mine, ours(arguments.tool, path, data, shapes, arguments.seconds))
                continue
            found = latency.last_json([sys.executable, os.path.abspath(__file__), "--peer", json.dumps([path, data, shapes, WAYS, arguments.seconds])])
            best = {way: max(best[way], found[way]) for way in WAYS}
    return mine, best


def ratios_of(arguments, models):
    """Prints a row for each (path, data); ours over the better of ONNX Runtime's ways, by name."""
    print("| model | ours, samples/s | onnxruntime, one session of two threads | two runs of one thread | ours / best |\n|---|---|---|---|---|")
    ratios = {}
    for path, data in models:
        name = latency.name_of(path)
        try:
            mine, best = compare(arguments, path, data)
        except RuntimeError as e:
            print(f"| {name} | {e} | | | |", flush=True)
            continue
        ratios[name] = mine / max(best.values())
        print(f"| {name} | {mine:.4g} | {best['one session']:.4g} | {best['two runs']:.4g} | {ratios[name]:.2f} |", flush=True)
    return ratios


def main():
    if sys.argv[1:2] == ["--peer"]:
        return peer(*json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("paths", nargs="+")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    ratios = ratios_of(arguments, [(path, data) for path, data in latency.find_models(arguments.paths)
                                   if any(text in latency.name_of(path) for text in only)])
    if ratios:
        least = min(ratios, key=ratios.get)
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        print(f"\n{len(ratios)} models, geometric mean of the ratios {mean:.3f}, least {ratios[least]:.2f} ({least})")


if __name__ == "__main__":
    main()
