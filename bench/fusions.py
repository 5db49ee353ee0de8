"""What onnxruntime fuses when it loads the results of `onnxtool optimize`, beside what it fuses in the originals.

usage: bench/fusions.py [--onnxtool PATH] MODEL...

Counts the fused operators in the graphs that onnxruntime makes at its extended level of the original and of our results
at levels basic and extended. Those that do the same work are one kind: a LayerNormalization that took in the addition
before it is still a normalization. Operators that attention takes in (FusedMatMul) count as lost only where there is no
more attention for it. Exits with 1 where a kind is found less often than in the original.
"""

import argparse
import collections
import pathlib
import subprocess
import sys
import tempfile

KINDS = {
    "attention": ["Attention", "MultiHeadAttention", "GroupQueryAttention"],
    "normalization": ["LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization", "SkipLayerNormalization",
                      "SkipSimplifiedLayerNormalization", "EmbedLayerNormalization"],
    "gelu": ["Gelu", "BiasGelu", "FastGelu", "QuickGelu"],
    "product": ["FusedMatMul", "FusedGemm"],
    "convolution": ["FusedConv"],
    "integer": ["QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool",
                "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearWhere", "QGemm",
                "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "ConvInteger", "MatMulInteger"],
}
KIND_OF = {op: kind for kind, ops in KINDS.items() for op in ops}


def fused(path, scratch):
    """Of the graph that onnxruntime makes of the file, in a process of its own; None: it does not load."""
    target = str(pathlib.Path(scratch) / "loaded.onnx")
    program = ("import sys, onnxruntime as o; s = o.SessionOptions(); s.log_severity_level = 4; "
               "s.graph_optimization_level = o.GraphOptimizationLevel.ORT_ENABLE_EXTENDED; "
               "s.optimized_model_filepath = sys.argv[2]; "
               "o.InferenceSession(sys.argv[1], s, providers=['CPUExecutionProvider'])")
    if subprocess.run([sys.executable, "-c", program, path, target], capture_output=True).returncode:
        return None
    import onnx

    counts = collections.Counter()

    def walk(graph):
        for node in graph.node:
            if node.op_type in KIND_OF:
                counts[KIND_OF[node.op_type]] += 1
            for attribute in node.attribute:
                for sub in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                    walk(sub)

    walk(onnx.load(target, load_external_data=False).graph)
    return counts


def lost(before, after):
    """Kinds that are found less often."""
    kinds = [k for k in KINDS if after[k] < before[k]]
    if after["attention"] > before["attention"]:
        kinds = [k for k in kinds if k != "product"]
    return kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--onnxtool", default="build/release/bin/onnxtool")
    arguments = parser.parse_args()
    bad = 0
    print("| model | kind | original | level basic | level extended |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for source in arguments.models:
            path = pathlib.Path(source)
            name = path.parent.name if path.stem == "model" else path.stem
            before = fused(source, scratch)
            if before is None:
                continue
            results = []
            for flags in [], ["--level", "extended", "--target", "ort-cpu"]:
                target = str(pathlib.Path(scratch) / "ours.onnx")
                subprocess.run([arguments.onnxtool, "optimize", source, "-o", target, "-q", "--verify", "off", *flags], check=True)
                results.append(fused(target, scratch))
            if None in results:
                print(f"| {name} | does not load | | | |")
                bad += 1
                continue
            fewer = sorted(set(lost(before, results[0]) + lost(before, results[1])))
            bad += bool(fewer)
            for kind in KINDS:
                counts = [c[kind] for c in (before, *results)]
                if len(set(counts)) > 1:
                    print(f"| {name} | {kind}{' (fewer)' if kind in fewer else ''} | {' | '.join(map(str, counts))} |", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
