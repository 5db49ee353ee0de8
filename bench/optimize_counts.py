"""Parts of bench/optimize.py that count: nodes, fusions, and the cases of the suites. Each returns what is not as it must be."""

import collections
import fnmatch
import json
import pathlib
import shlex

from optimize_tools import FLAGS, HALF_TOLERANCE, PEERS, STEP, TOLERANCE, feeds, graphs_in, name_of, nodes_of, ours, session

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
# Names of cases in which the rewrite that they are about must not happen.
FORBIDDEN = ["*no_fusion*", "*invalid*", "*dont-fuse*", "*unfusable*", "negative-*", "*not_share*"]


def as_declared(output, result):
    shape = getattr(result, "shape", None)
    return shape is None or all(not isinstance(d, int) or d == r for d, r in zip(output.shape, shape))


def compare(source, target, level="DISABLE_ALL"):
    """Of the results in onnxruntime, of ours without its own optimizations: "same", the largest relative error, or why not."""
    import numpy

    try:
        before = session(source, level)
    except Exception:
        before = None
    try:
        after = session(target, "DISABLE_ALL")
    except Exception as error:
        return "the original does not load either" if before is None else f"does not load: {error}"
    if before is None:
        return "the original does not load"
    inputs = feeds(source, before)
    if inputs is None:
        return "loads"
    wanted = {i.name for i in after.get_inputs()}
    try:
        expected, again = before.run(None, inputs), before.run(None, inputs)
    except Exception:
        return "loads"
    if not all(as_declared(*pair) for pair in zip(before.get_outputs(), expected)) or str(expected) != str(again):
        return "loads"  # on inputs that it does not mean, or at random
    try:
        actual = after.run(None, {k: v for k, v in inputs.items() if k in wanted})
    except Exception as error:
        return f"fails where the original does not: {error}"
    worst = 0.0
    for e, a in zip(expected, actual):
        if not isinstance(e, numpy.ndarray) or e.dtype.kind not in "fiub":
            if str(e) != str(a):
                return "differs"
            continue
        if e.shape != a.shape or e.dtype != a.dtype:
            return f"differs in shape or type: {e.shape} {e.dtype}, {a.shape} {a.dtype}"
        if e.size == 0 or numpy.array_equal(e, a, equal_nan=e.dtype.kind == "f"):
            continue
        e, a = e.astype(numpy.float64), a.astype(numpy.float64)
        worst = max(worst, float(numpy.nanmax(numpy.abs(e - a))) / max(1e-12, float(numpy.nanmax(numpy.abs(e)))))
    return "same" if worst == 0 else f"{worst:.1e}"


def tolerance_of(source):
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    types = {i.data_type for i in graph.initializer} | {a.t.data_type for n in graph.node for a in n.attribute if n.op_type == "Constant"}
    return HALF_TOLERANCE if onnx.TensorProto.FLOAT16 in types else TOLERANCE


def is_equal(verdict, bound):
    try:
        return float(verdict) <= bound
    except ValueError:
        return verdict in ("same", "loads") or verdict.startswith("the original does not load")


def nodes(arguments, scratch, peers):
    missed = []
    columns = ["before", "ours basic", *PEERS["basic"], "ours extended", *PEERS["extended"], "ORT of the original, of ours",
               "in ORT: basic, extended"]
    print("| model | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for source in arguments.models:
        name, row, verdicts = name_of(source), {}, []
        original = peers.figures("ort_extended", source)["nodes"]
        for level in PEERS:
            target = str(scratch / f"{level}.onnx")
            mine = ours(arguments.onnxtool, FLAGS[level] + shlex.split(arguments.flags), source, target)
            counts = {tool: peers.figures(tool, source)["nodes"] for tool in PEERS[level]}
            best = min((c for c in counts.values() if c), default=None)
            row[level] = [mine["nodes"] if best is None or (mine["nodes"] or 1e9) <= best else f"**{mine['nodes']}**",
                          *(counts[tool] or "fails" for tool in PEERS[level])]
            if mine["nodes"] is None:
                missed.append(f"{name}, {level}: {'; '.join(mine['error'])}")
                verdicts.append("fails")
                continue
            if best is not None and mine["nodes"] > best:
                missed.append(f"{name}, {level}: {mine['nodes']} nodes, the best peer has {best}")
            verdicts.append(compare(source, target))
            integers = "fuse-qdq" in mine["fired"]
            # A step of few levels is a large part of the largest value: onnxruntime's own integer operators settle it.
            if integers and not is_equal(verdicts[-1], STEP) and compare(source, target, "EXTENDED") == "same":
                verdicts[-1] += " (same as onnxruntime's integers)"
            elif not is_equal(verdicts[-1], STEP if integers else tolerance_of(source)):
                missed.append(f"{name}, {level}: {verdicts[-1]} in onnxruntime")
        # Where level basic fails, the file is another model's.
        loaded = verdicts[0] != "fails" and peers.make("ort_extended", str(scratch / "basic.onnx"))
        after = peers.last["nodes"] if loaded else "fails"
        print(f"| {name} | {nodes_of(source)} | " + " | ".join(map(str, row["basic"] + row["extended"])) +
              f" | {original}, {after} | {', '.join(verdicts)} |", flush=True)
    return missed


def fused(path, peers):
    """What onnxruntime fuses when it loads the file; None: it does not load."""
    import onnx

    target = peers.make("ort_extended", path)
    if target is None:
        return None
    graph = onnx.load(target, load_external_data=False).graph
    return collections.Counter(KIND_OF[n.op_type] for g in graphs_in(graph) for n in g.node if n.op_type in KIND_OF)


def lost(before, after):
    """Kinds that are found less often. A LayerNormalization that took in the addition before it is still a normalization;
    operators that attention takes in (FusedMatMul) count only where there is no more attention for it."""
    return [k for k in KINDS if after[k] < before[k] and not (k == "product" and after["attention"] > before["attention"])]


def fusions(arguments, scratch, peers):
    missed = []
    print("| model | kind | original | level basic | level extended |\n|---|---|---|---|---|")
    for source in arguments.models:
        name, before = name_of(source), fused(source, peers)
        if before is None:
            continue
        results = {}
        for level in FLAGS:
            target = str(scratch / f"{level}.onnx")
            mine = ours(arguments.onnxtool, ["--verify", "off", *FLAGS[level]], source, target)
            results[level] = fused(target, peers) if mine["nodes"] is not None else None
            if results[level] is None:
                missed.append(f"{name}, {level}: does not load")
                results[level] = before
            missed += [f"{name}, {level}: fewer of {k}" for k in lost(before, results[level])]
        for kind in KINDS:
            counts = [c[kind] for c in (before, *results.values())]
            if len(set(counts)) > 1:
                print(f"| {name} | {kind} | {' | '.join(map(str, counts))} |", flush=True)
    return missed


def suites(arguments, scratch, peers):
    missed, total, behind = [], 0, []
    for suite in "ort-transform", "ort-structural", "polygraphy":
        folder = pathlib.Path(arguments.suites) / suite
        for case in json.loads((folder / "index.json").read_text()):
            name, source, target = case["case"], str(folder / case["case"] / "model.onnx"), str(scratch / "case.onnx")
            forbidden = any(fnmatch.fnmatch(name, pattern) for pattern in FORBIDDEN)
            for level in FLAGS:
                mine = ours(arguments.onnxtool, FLAGS[level], source, target)
                if mine["nodes"] is None:
                    if case["ort_loads"]:
                        missed.append(f"{suite}/{name}, {level}: {'; '.join(mine['error'])}")
                    continue
                total += 1
                theirs = case["ort"].get(level, {}).get("nodes")
                if forbidden and theirs is not None and mine["nodes"] < theirs:
                    missed.append(f"{suite}/{name}, {level}: {mine['fired']} where nothing may be fused")
                elif theirs is not None and mine["nodes"] > theirs:
                    behind.append(f"{suite}/{name} {level}: {mine['nodes']}, onnxruntime {theirs}")
                verdict = compare(source, target)
                if not is_equal(verdict, STEP if "fuse-qdq" in mine["fired"] else TOLERANCE):
                    missed.append(f"{suite}/{name}, {level}: {verdict} in onnxruntime")
    print(f"{total} results, {len(behind)} with more nodes than onnxruntime's:\n")
    print("\n".join(f"- {b}" for b in behind))
    return missed
