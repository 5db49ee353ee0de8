"""Parts of bench/optimize.py about what the command itself takes: time, memory, verification, and growth with the nodes."""

import json
import os
import shlex

from optimize_tools import measured, name_of, nodes_of, ours

MOST_SECONDS, MOST_OF_PEER, MOST_MB_OVER_FILE = 1.5, 0.25, 150
MOST_INFERENCES = 8
MOST_SPREAD = 2
SYNTHETIC = (100_000, 1_000_000)


def cost(arguments, scratch, peers):
    missed = []
    print("| model | MB | ours s (MB) | onnxsim s (MB) | onnxslim s (MB) |\n|---|---|---|---|---|")
    for source in filter(None, arguments.big.split(",")):
        target = str(scratch / "ours.onnx")
        runs = [ours(arguments.onnxtool, ["--verify", "off"], source, target) for _ in range(3)]
        seconds, peak = sorted(r["seconds"] for r in runs)[1], max(r["peak_mb"] for r in runs)
        theirs = [peers.figures(tool, source) for tool in ("onnxsim", "onnxslim")]
        size = os.path.getsize(source) / 2**20
        print(f"| {name_of(source)} | {size:.0f} | {seconds:.2f} ({peak:.0f}) | " +
              " | ".join(f"{t['seconds']:.1f} ({t['peak_mb']:.0f})" if t["nodes"] else "fails" for t in theirs) + " |", flush=True)
        fastest = min((t["seconds"] for t in theirs if t["nodes"]), default=MOST_SECONDS / MOST_OF_PEER)
        if seconds > min(MOST_SECONDS, MOST_OF_PEER * fastest):
            missed.append(f"{name_of(source)}: {seconds:.2f} s, the faster peer takes {fastest:.1f} s")
        if peak > size + MOST_MB_OVER_FILE:
            missed.append(f"{name_of(source)}: {peak:.0f} MB for a file of {size:.0f} MB")
    return missed


def free_dims(source):
    """Names of the dimensions that inputs leave open."""
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    constants = {i.name for i in graph.initializer}
    return sorted({d.dim_param for i in graph.input if i.name not in constants
                   for d in i.type.tensor_type.shape.dim if d.dim_param.isidentifier()})


def verification(arguments, scratch, peers):
    missed = []
    print("| model | one inference s | added by verification s | inferences |\n|---|---|---|---|")
    for source in arguments.models:
        shape, target = shlex.split(" ".join(arguments.shape)), str(scratch / "ours.onnx")
        fixed = shape or [f for name in free_dims(source) for f in ("--dim", f"{name}=1")]
        run = lambda verify: measured([arguments.onnxtool, "optimize", source, "-o", target, "-q", "--no-config", "--threads", "1",
                                       "--verify", verify, *fixed])
        timed = measured([arguments.onnxtool, "bench", source, "--threads", "1", "--runs", "5", "--kernels", "cpu", "--json", "-q", *fixed])
        plain, checked = (min((run(v) for _ in range(5)), key=lambda r: r["cpu"]) for v in ("off", "quick"))
        if timed["status"] or plain["status"] or checked["status"]:
            continue
        one = json.loads(timed["out"])["timing"]["latency"][0]["p50_ms"] / 1e3
        added = checked["cpu"] - plain["cpu"]
        print(f"| {name_of(source)} | {one:.4f} | {added:.4f} | {added / one:.1f} |", flush=True)
        # Below that a process's own start is what is measured.
        if one > 0.005 and added > MOST_INFERENCES * one:
            missed.append(f"{name_of(source)}: {added / one:.1f} inferences")
    return missed


def synthetic(path, count):
    """A chain of blocks that leave something to do for several passes."""
    from onnx import TensorProto, helper

    nodes, weights, x = [], [], "x"
    weights.append(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    weights.append(helper.make_tensor("bias", TensorProto.FLOAT, [8], [0.5] * 8))
    weights.append(helper.make_tensor("flat", TensorProto.INT64, [2], [0, -1]))

    def node(op, inputs, **attributes):
        nonlocal x
        x = f"v{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [x], f"n{len(nodes)}", **attributes))

    while len(nodes) + 10 <= count:
        before = x
        node("Identity", [x])
        node("Mul", [x, "one"])
        node("Add", [x, "bias"])
        node("Relu", [x])
        node("Transpose", [x], perm=[1, 0])
        node("Transpose", [x], perm=[1, 0])
        node("Reshape", [x, "flat"])
        node("Sigmoid", [x])
        node("Cast", [x], to=1)
        node("Add", [x, before])
    y = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", 8])
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def scaling(arguments, scratch, peers):
    """Of user time: reading and writing weights is the kernel's, and grows with their bytes, not with nodes."""
    sources, target = [], str(scratch / "ours.onnx")
    for count in SYNTHETIC:
        sources.append((f"{count:,} nodes", str(scratch / f"chain{count}.onnx")))
        synthetic(sources[-1][1], count)
    sources += [(name_of(s), s) for s in filter(None, arguments.big.split(",")) if nodes_of(s) >= 5000]
    print("| graph | nodes | after | command s | user s | user us a node |\n|---|---|---|---|---|---|")
    each = []
    for name, source in sources:
        count, runs = nodes_of(source), [ours(arguments.onnxtool, ["--verify", "off"], source, target) for _ in range(3)]
        mine = min(runs, key=lambda r: r["user"])
        each.append(1e6 * mine["user"] / count)
        print(f"| {name} | {count} | {mine['nodes']} | {mine['seconds']:.2f} | {mine['user']:.2f} | {each[-1]:.1f} |", flush=True)
    return [f"{min(each):.1f} to {max(each):.1f} us a node"] if max(each) > MOST_SPREAD * min(each) else []
