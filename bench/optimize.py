"""`onnxtool optimize` beside its peers: every figure of docs/benchmarks.md's section on it.

usage: bench/optimize.py [--parts PART[,PART]] [--onnxtool PATH] [--peers FILE] [--suites DIR] [--big MODEL[,MODEL]]
                         [--results FILE] [--seconds N] [--again] [--against PEER[,PEER]] MODEL...

PART is one of
  nodes         nodes (with subgraphs) after levels basic and extended beside the peers', what onnxruntime at its extended
                level makes of our result and of the original, and whether it computes the same in onnxruntime
  fusions       the operators that onnxruntime fuses in the original and in our results, by what they do
  latency       CPU time in onnxruntime, one thread, of our results over the original's and each peer's, run in turns: the
                median of the ratios with its 95 % interval
  suites        of the folders of cases in DIR: whether what onnxruntime optimizes in them we do, too, and that cases whose
                names forbid a fusion get none
  cost          seconds and peak memory without verification, beside onnxsim and onnxslim, of the models in --big
  verification  CPU time that the default verification adds, in inferences of our executor; shapes as in --shape
  scaling       user time a node, of synthetic graphs and of models with 5,000 nodes in --big
and without --parts all of them. Latencies of many models take hours: --seconds ends the part in time, --results keeps what was
measured, and the next run with the same file goes on behind it; --again measures anew what was above the bound. --peers keeps the peers' figures in a file and takes from it what was measured before; their
files are made anew for latencies. Exits with 1 where a figure is not what it must be; the lines that say so begin with "MISSED".
"""

import argparse
import pathlib
import sys
import tempfile

import optimize_cost
import optimize_counts
import optimize_latency
from optimize_tools import Peers

PARTS = {"nodes": optimize_counts.nodes, "fusions": optimize_counts.fusions, "latency": optimize_latency.latency,
         "suites": optimize_counts.suites, "cost": optimize_cost.cost, "verification": optimize_cost.verification,
         "scaling": optimize_cost.scaling}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--onnxtool", default="build/release/bin/onnxtool")
    parser.add_argument("--flags", default="", help="further flags of onnxtool optimize")
    parser.add_argument("--peers", help="keep the peers' figures here")
    parser.add_argument("--against", default="", help="of latency: original and the peers to measure against (default: all)")
    parser.add_argument("--results", help="of latency: keep comparisons here, and take from it what was measured before")
    parser.add_argument("--seconds", type=float, help="of latency: begin no comparison after so long")
    parser.add_argument("--again", action="store_true", help="of latency: measure anew what was above the bound")
    parser.add_argument("--suites", default="../shared/data/suites")
    parser.add_argument("--big", default="", help="models for cost and scaling")
    parser.add_argument("--shape", action="append", default=[], help="flag for verification, as in --shape=--dim=batch=1")
    arguments = parser.parse_args()
    missed = []
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        peers = Peers(arguments.peers, scratch)
        for part in arguments.parts.split(","):
            print(f"\n## {part}\n", flush=True)
            missed += [f"{part}: {m}" for m in PARTS[part](arguments, pathlib.Path(scratch), peers)]
    for m in missed:
        print("MISSED", m)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
