"""A .ort file as plain data, so that two can be compared whatever the order of what has none."""

import collections

from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession


def listed(table, name):
    if getattr(table, name + "IsNone")():
        return []
    return [getattr(table, name)(i) for i in range(getattr(table, name + "Length")())]


def text(value):
    return (value or b"").decode("utf-8", "surrogateescape")


def type_of(info):
    if info is None:
        return None
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py import fbs
    import onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.MapType
    import onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.SequenceType
    import onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape

    kinds = {1: fbs.TensorTypeAndShape.TensorTypeAndShape, 2: fbs.SequenceType.SequenceType, 3: fbs.MapType.MapType}
    value = kinds[info.ValueType()]()
    value.Init(info.Value().Bytes, info.Value().Pos)
    if info.ValueType() == 2:
        return "sequence", type_of(value.ElemType())
    if info.ValueType() == 3:
        return "map", value.KeyType(), type_of(value.ValueType())
    if value.Shape() is None:
        return value.ElemType(), None
    dims = []
    for d in listed(value.Shape(), "Dim"):
        d = d.Value()
        dims.append(None if d is None or d.DimType() == 0 else d.DimValue() if d.DimType() == 1 else text(d.DimParam()))
    return value.ElemType(), tuple(dims)


def tensor(t):
    raw = b"" if t.RawDataIsNone() else t.RawDataAsNumpy().tobytes() if t.RawDataLength() else b""
    strings = [] if t.StringDataIsNone() else [bytes(t.StringData(i)) for i in range(t.StringDataLength())]
    return t.DataType(), tuple(t.Dims(i) for i in range(t.DimsLength())), raw, tuple(strings)


def attribute(a):
    kind = a.Type()
    payload = {1: lambda: round(a.F(), 9), 2: a.I, 3: a.S, 4: lambda: tensor(a.T()), 5: lambda: graph(a.G()),
               6: lambda: tuple(a.Floats(i) for i in range(a.FloatsLength())),
               7: lambda: tuple(a.Ints(i) for i in range(a.IntsLength())),
               8: lambda: tuple(a.Strings(i) for i in range(a.StringsLength())),
               9: lambda: tuple(tensor(t) for t in listed(a, "Tensors"))}[kind]
    return kind, payload()


def node(n):
    names = lambda what: [text(v) for v in listed(n, what)]
    return {"op": (text(n.Domain()), text(n.OpType()), n.SinceVersion()), "name": text(n.Name()), "inputs": names("Inputs"),
            "outputs": names("Outputs"), "counts": listed(n, "InputArgCounts"), "implicit": names("ImplicitInputs"),
            "attributes": {text(a.Name()): attribute(a) for a in listed(n, "Attributes")}}


def edges(g, nodes):
    """Connections by what they connect: the order of implicit inputs is free."""
    by_index = {n.Index(): node(n) for n in listed(g, "Nodes")}

    def slot(consumer, i):
        n = by_index[consumer]
        return i if i < len(n["inputs"]) else n["implicit"][i - len(n["inputs"])]

    key = lambda i: (tuple(by_index[i]["outputs"]), by_index[i]["op"])
    found_in, found_out = set(), set()
    for e in listed(g, "NodeEdges"):
        for i in range(e.InputEdgesLength()):
            end = e.InputEdges(i)
            found_in.add((key(end.NodeIndex()), end.SrcArgIndex(), key(e.NodeIndex()), slot(e.NodeIndex(), end.DstArgIndex())))
        for i in range(e.OutputEdgesLength()):
            end = e.OutputEdges(i)
            found_out.add((key(e.NodeIndex()), end.SrcArgIndex(), key(end.NodeIndex()), slot(end.NodeIndex(), end.DstArgIndex())))
    assert found_in == found_out
    return found_in


def graph(g):
    nodes = [node(n) for n in listed(g, "Nodes")]
    connections = edges(g, nodes)
    for n in nodes:
        n["implicit"] = sorted(n["implicit"])
    return {"inputs": [text(v) for v in listed(g, "Inputs")], "outputs": [text(v) for v in listed(g, "Outputs")],
            "nodes": sorted(nodes, key=lambda n: (n["outputs"], n["op"], n["inputs"])), "edges": connections,
            "initializers": {text(t.Name()): tensor(t) for t in listed(g, "Initializers")},
            "values": {text(v.Name()): type_of(v.Type()) for v in listed(g, "NodeArgs")}}


def read(path):
    with open(path, "rb") as file:
        session = InferenceSession.GetRootAsInferenceSession(bytearray(file.read()), 0)
    model = session.Model()
    resolver = {}
    for op in listed(session.KernelTypeStrResolver(), "OpKernelTypeStrArgs"):
        resolver[text(op.OpId())] = {text(k.KernelTypeStr()): sorted((a.ArgType(), a.Index()) for a in listed(k, "Args"))
                                     for k in listed(op, "KernelTypeStrArgs")}
    return {"version": text(session.OrtVersion()), "ir": model.IrVersion(), "graph": graph(model.Graph()), "resolver": resolver,
            "opsets": {text(o.Domain()): o.Version() for o in listed(model, "OpsetImport")},
            "producer": (text(model.ProducerName()), text(model.ProducerVersion()), text(model.Domain()), text(model.DocString()), text(model.GraphDocString()))}


def fusions(path):
    """How often each form of record stands in the main graph: optimizer and action, what is made, and the operators of the nodes."""
    with open(path, "rb") as file:
        session = InferenceSession.GetRootAsInferenceSession(bytearray(file.read()), 0)
    main = session.Model().Graph()
    op = {n.Index(): text(n.OpType()) for n in listed(main, "Nodes")}
    counts = collections.Counter()
    if main.RuntimeOptimizations() is None:
        return counts
    for container in listed(main.RuntimeOptimizations(), "Records"):
        for r in listed(container, "RuntimeOptimizationRecords"):
            nodes = r.NodesToOptimizeIndices()
            forms = tuple(op.get(nodes.NodeIndices(i), "") for i in range(nodes.NodeIndicesLength()))
            made = tuple(text(r.ProducedOpIds(i)) for i in range(r.ProducedOpIdsLength())) or ("",)
            extents = nodes.NumInputs(), nodes.NumOutputs(), nodes.HasVariadicInput(), nodes.NumVariadicInputs()
            counts[(text(container.OptimizerName()), text(r.ActionId())), made, forms, extents] += 1
    return counts


def differences(ours, theirs, place="", out=None):
    """Where two read files differ; opsets of theirs that ours has not are what the runtime adds."""
    out = [] if out is None else out
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours.keys() | theirs.keys():
            if place == ".opsets" and key not in ours:
                continue
            differences(ours.get(key), theirs.get(key), f"{place}.{key}", out)
    elif isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)) and len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs)):
            differences(a, b, f"{place}[{i}]", out)
    elif ours != theirs:
        out.append(f"{place}: {str(ours)[:120]} != {str(theirs)[:120]}")
    return out
