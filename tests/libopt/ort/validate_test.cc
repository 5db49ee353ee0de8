// The validator of .ort files: a sound file, and that file with one fault each.
//
// testdata/ort/control_flow.ort was written by onnxruntime 1.31.1 (optimization disabled) for:
//   (float[1,2,4,4] x, bool c, bool d) => (float[1,4,4,4] y, string[2] s, int64[N] k)
//   h = Conv (x, w, b)  r = Clip (h, , mx)  q = com.microsoft.Gelu (r)  p = Concat <axis = 1> (q,
//   r) e = Reshape (big, dims) f = If (c) < then: m = If (d) < t2 = Add (p, e) | t3 = Identity (e)
//   >  t1 = Relu (m) | else: l1 = Neg (p) > y = Sigmoid (f)  s = Identity (names)  sq =
//   SequenceConstruct (one, one)  k = ConcatFromSequence <axis = 0> (sq)

#include "libopt/ort/validate.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "libopt/ort/ort_format_generated.h"

namespace onnxtool {
namespace {

namespace fb = ort_format;

/// Aligned as a mapped file is.
struct Bytes {
  std::vector<uint64_t> words;
  size_t size = 0;
  explicit Bytes(std::string_view text) : words(text.size() / 8 + 1), size(text.size()) {
    std::memcpy(words.data(), text.data(), size);
  }
  uint8_t* data() { return reinterpret_cast<uint8_t*>(words.data()); }
  OrtFaults validate() { return validate_ort(std::as_bytes(std::span(data(), size))); }
};

std::string sound_file() {
  std::ifstream in(std::string(ONNXTOOL_SOURCE_DIR) + "/testdata/ort/control_flow.ort",
                   std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string all(const OrtFaults& faults) {
  std::string text;
  for (const OrtFault& f : faults.list)
    text += (f.fatal ? "must: " : "may: ") + f.place + ": " + f.message + "\n";
  return text;
}

using Session = fb::InferenceSessionT;

fb::NodeT* find_node(fb::GraphT& graph, const std::string& op) {
  for (auto& n : graph.nodes) {
    if (n->op_type == op) return n.get();
    for (auto& a : n->attributes)
      if (a->g)
        if (fb::NodeT* found = find_node(*a->g, op)) return found;
  }
  return nullptr;
}
fb::GraphT& graph(Session& s) { return *s.model->graph; }
fb::NodeT& node(Session& s, const std::string& op) { return *find_node(graph(s), op); }
fb::GraphT& branch(Session& s) {
  return *node(s, "If").attributes[node(s, "If").attributes[0]->name == "else_branch" ? 0 : 1]->g;
}
template <class List>
auto& named(List& list, const std::string& name) {
  return *std::ranges::find_if(list, [&](const auto& item) { return item->name == name; });
}
template <class List>
void drop(List& list, const std::string& name) {
  std::erase_if(list, [&](const auto& item) { return item->name == name; });
}
fb::NodeEdgeT& edges_of(Session& s, const std::string& op) {
  return **std::ranges::find(graph(s).node_edges, node(s, op).index,
                             [](const auto& e) { return e->node_index; });
}
fb::OpIdKernelTypeStrArgsEntryT& entry(Session& s, const std::string& id) {
  return **std::ranges::find(s.kernel_type_str_resolver->op_kernel_type_str_args, id,
                             [](const auto& e) { return e->op_id; });
}
fb::TensorTypeAndShapeT& tensor_type(fb::GraphT& g, const std::string& value) {
  return *named(g.node_args, value)->type->value.Astensor_type();
}

template <class T>
std::unique_ptr<T> copy_of(const std::unique_ptr<T>& from) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(T::TableType::Pack(builder, from.get()));
  return std::unique_ptr<T>(
      flatbuffers::GetRoot<typename T::TableType>(builder.GetBufferPointer())->UnPack());
}

Bytes mutated(const std::function<void(Session&)>& mutate) {
  Bytes bytes(sound_file());
  const auto session = fb::UnPackInferenceSession(bytes.data());
  mutate(*session);
  flatbuffers::FlatBufferBuilder builder;
  fb::FinishInferenceSessionBuffer(builder, fb::InferenceSession::Pack(builder, session.get()));
  return Bytes({reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()});
}

/// With field `id` of a table (and of those that share its layout) absent.
Bytes without_field(int id, const std::function<const void*(const fb::InferenceSession&)>& table) {
  Bytes bytes = mutated([](Session&) {});
  auto* at =
      static_cast<uint8_t*>(const_cast<void*>(table(*fb::GetInferenceSession(bytes.data()))));
  uint8_t* vtable = at - flatbuffers::ReadScalar<flatbuffers::soffset_t>(at);
  flatbuffers::WriteScalar<flatbuffers::voffset_t>(vtable + 4 + 2 * id, 0);
  return bytes;
}

struct Mutant {
  const char* fault;  // part of the line
  std::function<void(Session&)> mutate;
};

void add_record(Session& s, const std::string& optimizer, uint32_t node_index,
                const std::string& op_id) {
  auto record = std::make_unique<fb::RuntimeOptimizationRecordT>();
  record->action_id = "ConvAct";
  record->nodes_to_optimize_indices = std::make_unique<fb::NodesToOptimizeIndicesT>();
  record->nodes_to_optimize_indices->node_indices = {node_index, 0xFFFFFFFF};
  record->produced_op_ids = {op_id};
  auto container = std::make_unique<fb::RuntimeOptimizationRecordContainerEntryT>();
  container->optimizer_name = optimizer;
  container->runtime_optimization_records.push_back(std::move(record));
  graph(s).runtime_optimizations = std::make_unique<fb::RuntimeOptimizationsT>();
  graph(s).runtime_optimizations->records.push_back(std::move(container));
}

const Mutant kMutants[] = {
    // --- header
    {"must: header: the format version is 'six', expected a number",
     [](Session& s) { s.ort_version = "six"; }},
    {"must: header: the format version is 4: minimal builds",
     [](Session& s) { s.ort_version = "4"; }},
    {"must: header: the format version is 7: 6 is the newest",
     [](Session& s) { s.ort_version = "7"; }},
    {"must: header: the model is absent", [](Session& s) { s.model.reset(); }},
    {"must: header: the graph is absent", [](Session& s) { s.model->graph.reset(); }},
    {"must: header: ir_version is 0", [](Session& s) { s.model->ir_version = 0; }},
    {"must: header: the opset of com.microsoft is not imported",
     [](Session& s) {
       std::erase_if(s.model->opset_import, [](auto& o) { return o->domain == "com.microsoft"; });
     }},
    {"must: header: the opset of ai.onnx is not imported",
     [](Session& s) {
       std::erase_if(s.model->opset_import, [](auto& o) { return o->domain.empty(); });
     }},
    {"must: header: the opset of 'com.microsoft' is imported twice",
     [](Session& s) {
       for (auto& o : s.model->opset_import) o->domain = "com.microsoft";
     }},
    {"must: header: opset 99 of '' is none that ort-",
     [](Session& s) {
       for (auto& o : s.model->opset_import)
         if (o->domain.empty()) o->version = 99;
     }},
    {"may: header: metadata key 'k' stands twice",
     [](Session& s) {
       for (int i = 0; i < 2; ++i) {
         s.model->metadata_props.push_back(std::make_unique<fb::StringStringEntryT>());
         s.model->metadata_props.back()->key = "k";
       }
     }},
    {"must: header: 8-bit floats need format version 6, found 5",
     [](Session& s) {
       s.ort_version = "5";
       auto value = copy_of(named(graph(s).node_args, "y"));
       value->name = "eight";
       value->type->value.Astensor_type()->elem_type = fb::TensorDataType::FLOAT8E5M2;
       graph(s).node_args.push_back(std::move(value));
     }},
    // --- resolver
    {"must: resolver: kernel_type_str_resolver is absent",
     [](Session& s) { s.kernel_type_str_resolver.reset(); }},
    {"must: resolver: the entry of ':Conv:11' is absent",
     [](Session& s) {
       std::erase_if(s.kernel_type_str_resolver->op_kernel_type_str_args,
                     [](auto& e) { return e->op_id == ":Conv:11"; });
     }},
    {"must: resolver: the entry of ':Neg:13' is absent",  // of a node in a subgraph
     [](Session& s) {
       std::erase_if(s.kernel_type_str_resolver->op_kernel_type_str_args,
                     [](auto& e) { return e->op_id == ":Neg:13"; });
     }},
    {"must: resolver: 'Conv:11': is not domain:operator:version",
     [](Session& s) { entry(s, ":Conv:11").op_id = "Conv:11"; }},
    {"must: resolver: ':Conv:11': stands twice",
     [](Session& s) { entry(s, ":Clip:13").op_id = ":Conv:11"; }},
    {"must: resolver: ':Reshape:14': kernel type string 'shape' is absent",
     [](Session& s) {
       std::erase_if(entry(s, ":Reshape:14").kernel_type_str_args,
                     [](auto& a) { return a->kernel_type_str == "shape"; });
     }},
    {"must: resolver: ':Reshape:14': kernel type string 'T' stands twice",
     [](Session& s) {
       for (auto& a : entry(s, ":Reshape:14").kernel_type_str_args) a->kernel_type_str = "T";
     }},
    {"must: resolver: ':Relu:14': kernel type string 'T' stands for other parameters",
     [](Session& s) { entry(s, ":Relu:14").kernel_type_str_args[0]->args[0]->index = 1; }},
    {"may: resolver: op ids are not sorted",
     [](Session& s) { std::ranges::reverse(s.kernel_type_str_resolver->op_kernel_type_str_args); }},
    // --- values
    {"must: graph: node 0 (Conv): value 'h' is not in node_args",
     [](Session& s) { drop(graph(s).node_args, "h"); }},
    {"must: graph: node 1 (Clip): the value of absent arguments, '', is not in node_args",
     [](Session& s) { drop(graph(s).node_args, ""); }},
    {"must: graph: value 'h': stands twice in node_args",
     [](Session& s) { named(graph(s).node_args, "r")->name = "h"; }},
    {"must: graph: value 'h': the type is absent",
     [](Session& s) { named(graph(s).node_args, "h")->type.reset(); }},
    {"must: graph: value 'h': the element type is 0, which is none",
     [](Session& s) { tensor_type(graph(s), "h").elem_type = fb::TensorDataType::UNDEFINED; }},
    {"must: graph: value 'h': an extent is -3",
     [](Session& s) { tensor_type(graph(s), "h").shape->dim[0]->value->dim_value = -3; }},
    {"must: graph: value 'sq': the type is absent",
     [](Session& s) {
       named(graph(s).node_args, "sq")->type->value.Assequence_type()->elem_type.reset();
     }},
    {"must: graph: node #0 (Conv): value 'h' is declared as double[1, 2, 4, 4], but inferred as "
     "float",
     [](Session& s) { tensor_type(graph(s), "h").elem_type = fb::TensorDataType::DOUBLE; }},
    {"must: graph: node #0 (Neg): value 'l1' is declared as float[1, 4, 4, 4], but inferred as "
     "float[1, 5, 4, 4]",
     [](Session& s) { tensor_type(graph(s), "p").shape->dim[1]->value->dim_value = 5; }},
    {"must: graph: node 5 (If): else_branch: node 0 (Neg): outer value 'p' is of element type "
     "tensor(11) here, but tensor(1)",
     [](Session& s) { tensor_type(branch(s), "p").elem_type = fb::TensorDataType::DOUBLE; }},
    // --- initializers
    {"must: graph: initializer 'w': raw_data has 15 bytes, expected 16",
     [](Session& s) { named(graph(s).initializers, "w")->raw_data.pop_back(); }},
    {"must: graph: initializer 'names': has 1 strings, expected 2",
     [](Session& s) { named(graph(s).initializers, "names")->string_data.pop_back(); }},
    {"must: graph: initializer 'w': dims are negative or too large",
     [](Session& s) { named(graph(s).initializers, "w")->dims[0] = -2; }},
    {"must: graph: initializer 'w': tensors of int4 are refused",
     [](Session& s) {
       named(graph(s).initializers, "w")->data_type = static_cast<fb::TensorDataType>(22);
     }},
    {"must: graph: initializer 'w': the element type is 99",
     [](Session& s) {
       named(graph(s).initializers, "w")->data_type = static_cast<fb::TensorDataType>(99);
     }},
    {"must: graph: initializer 'w': is of element type tensor(6), but its value of tensor(1)",
     [](Session& s) { named(graph(s).initializers, "w")->data_type = fb::TensorDataType::INT32; }},
    {"must: graph: initializer 'w': the data lies in another file",
     [](Session& s) { named(graph(s).initializers, "w")->external_data_offset = 64; }},
    {"must: graph: initializer 'b': stands twice",
     [](Session& s) {
       graph(s).initializers.push_back(copy_of(named(graph(s).initializers, "b")));
     }},
    {"must: graph: initializer 'w2': value 'w2' is not in node_args",
     [](Session& s) { named(graph(s).initializers, "w")->name = "w2"; }},
    {"may: graph: initializer 'idle': nothing reads it",
     [](Session& s) {
       graph(s).initializers.push_back(copy_of(named(graph(s).initializers, "b")));
       graph(s).initializers.back()->name = "idle";
       graph(s).node_args.push_back(copy_of(named(graph(s).node_args, "b")));
       graph(s).node_args.back()->name = "idle";
     }},
    {"may: graph: initializer 'big': raw_data does not start at a multiple of 16",
     [](Session& s) { s.model->doc_string.resize(4); }},
    {"may: graph: has sparse initializers",
     [](Session& s) {
       graph(s).sparse_initializers.push_back(std::make_unique<fb::SparseTensorT>());
     }},
    {"must: graph: sparse initializer '': values, indices or dims is absent",
     [](Session& s) {
       graph(s).sparse_initializers.push_back(std::make_unique<fb::SparseTensorT>());
     }},
    // --- boundary
    {"must: graph: input 'c' stands twice",
     [](Session& s) {
       graph(s).inputs = {"x", "c", "c"};
     }},
    {"must: graph: output 'z' is made by nothing",
     [](Session& s) { graph(s).outputs.push_back("z"); }},
    {"must: graph: node 5 (If): else_branch: output 'p' is a value of an outer graph: an Identity "
     "is needed",
     [](Session& s) { branch(s).outputs = {"p"}; }},
    // --- nodes
    {"its index is another node's too", [](Session& s) { node(s, "Clip").index = 0; }},
    {"must: graph: node 9 (ConcatFromSequence): its index is not below max_node_index, 9",
     [](Session& s) { graph(s).max_node_index = 9; }},
    {"must: graph: node 500000 (Sigmoid): its index is larger than loaders accept",
     [](Session& s) { node(s, "Sigmoid").index = 500000; }},
    {"its name 'twin' is another node's too",
     [](Session& s) { node(s, "Conv").name = node(s, "Clip").name = "twin"; }},
    {"must: graph: node 0 (Conv): since_version is 1, expected 11",
     [](Session& s) { node(s, "Conv").since_version = 1; }},
    {"must: graph: node 5 (If): then_branch: node 1 (Relu): since_version is 13, expected 14",
     [](Session& s) { node(s, "Relu").since_version = 13; }},
    {"must: graph: node 1 (Clip): input_arg_counts is [1, 0, 1], expected [1, 1, 1]",
     [](Session& s) {
       node(s, "Clip").input_arg_counts = {1, 0, 1};
     }},
    {"must: graph: node 3 (Concat): input_arg_counts is [1, 1], expected [2]",
     [](Session& s) {
       node(s, "Concat").input_arg_counts = {1, 1};
     }},
    {"must: graph: node 0 (Conv): attribute 'group' is absent: minimal builds",
     [](Session& s) { drop(node(s, "Conv").attributes, "group"); }},
    {"must: graph: node 0 (Conv): attribute 'group' is of type 1, expected 2",
     [](Session& s) {
       named(node(s, "Conv").attributes, "group")->type = fb::AttributeType::FLOAT;
     }},
    {"must: graph: node 0 (Conv): attribute 'group' stands twice",
     [](Session& s) { named(node(s, "Conv").attributes, "auto_pad")->name = "group"; }},
    {"must: graph: node 0 (Conv): attribute 'group': has no type",
     [](Session& s) {
       named(node(s, "Conv").attributes, "group")->type = fb::AttributeType::UNDEFINED;
     }},
    {"must: graph: node 0 (Conv): attribute 'group': is of type 10, which loaders ignore",
     [](Session& s) {
       named(node(s, "Conv").attributes, "group")->type = fb::AttributeType::GRAPHS;
     }},
    {"must: graph: node 0 (Conv): attribute 'group': t is absent",
     [](Session& s) {
       named(node(s, "Conv").attributes, "group")->type = fb::AttributeType::TENSOR;
     }},
    {"must: graph: node 0 (Conv): its domain is ai.onnx",
     [](Session& s) { node(s, "Conv").domain = "ai.onnx"; }},
    {"must: graph: node 0 (Conv): the opset of its domain 'org.example' is not imported",
     [](Session& s) { node(s, "Conv").domain = "org.example"; }},
    {"must: graph: node 0 (Conv): its domain is internal to the runtime",
     [](Session& s) { node(s, "Conv").domain = "com.ms.internal.nhwc"; }},
    {"may: graph: node 0 (Conv): its layout is that of the machine",
     [](Session& s) { node(s, "Conv").domain = "com.microsoft.nchwc"; }},
    {"must: graph: node 0 (Conw): ONNX Runtime has no such operator at opset 17",
     [](Session& s) { node(s, "Conv").op_type = "Conw"; }},
    {"(Constant): there is no kernel for Constant",
     [](Session& s) { node(s, "Sigmoid").op_type = "Constant"; }},
    {"must: graph: node 0 (Conv): is a fused node",
     [](Session& s) { node(s, "Conv").type = fb::NodeType::Fused; }},
    {"must: graph: node 1 (Clip): output 'h' is made by something else too",
     [](Session& s) { node(s, "Clip").outputs = {"h"}; }},
    {"must: graph: node 1 (Clip): input 'nowhere' is made by nothing",
     [](Session& s) { node(s, "Clip").inputs[0] = "nowhere"; }},
    {"has no CPU kernel of ai.onnx.HardSwish at opset 17",
     [](Session& s) {
       node(s, "Neg").since_version = 14;
       node(s, "Neg").op_type = "HardSwish";
       entry(s, ":Neg:13").op_id = ":HardSwish:14";
     }},
    // --- scopes and edges
    {"must: graph: node 5 (If): implicit input 'p' is absent: a subgraph reads it",
     [](Session& s) { std::erase(node(s, "If").implicit_inputs, "p"); }},
    {"must: graph: node 5 (If): implicit input 'h' is read by no subgraph",
     [](Session& s) { node(s, "If").implicit_inputs.push_back("h"); }},
    {"must: graph: node 5 (If): implicit input 'p' stands twice",
     [](Session& s) { node(s, "If").implicit_inputs.push_back("p"); }},
    {"must: graph: node 1 (Clip): input edge from node 0 (output 0, input 0) is absent",
     [](Session& s) { edges_of(s, "Clip").input_edges.clear(); }},
    {"must: graph: node 0 (Conv): output edge to node 1 (output 0, input 0) is absent",
     [](Session& s) { edges_of(s, "Conv").output_edges.clear(); }},
    {"must: graph: node 1 (Clip): input edge from node 0 (output 0, input 2) joins nothing",
     [](Session& s) { edges_of(s, "Clip").input_edges[0] = fb::EdgeEnd(0, 0, 2); }},
    {"must: graph: node 1 (Clip): is absent in node_edges",
     [](Session& s) {
       std::erase_if(graph(s).node_edges, [](auto& e) { return e->node_index == 1; });
     }},
    {"must: graph: node_edges names node 77, which is none",
     [](Session& s) { edges_of(s, "Clip").node_index = 77; }},
    {"must: graph: node 0 (Conv): stands twice in node_edges",
     [](Session& s) { edges_of(s, "Clip").node_index = 0; }},
    {"nodes wait for one another in a cycle", [](Session& s) { node(s, "Conv").inputs[0] = "q"; }},
    // --- recorded fusions
    {"must: graph: fusions of 'ConvActivationFusion': a record names node 55, which is none",
     [](Session& s) { add_record(s, "ConvActivationFusion", 55, ":Conv:11"); }},
    {"must: graph: fusions of 'MagicFusion': the runtime replays none of that optimizer",
     [](Session& s) { add_record(s, "MagicFusion", 0, ":Conv:11"); }},
    {"must: resolver: the entry of 'com.microsoft:FusedConv:1' is absent",
     [](Session& s) { add_record(s, "ConvActivationFusion", 0, "com.microsoft:FusedConv:1"); }},
};

}  // namespace

TEST_CASE("ort validator: a file of onnxruntime's own has no fatal fault") {
  Bytes bytes(sound_file());
  REQUIRE(bytes.size > 0);
  const OrtFaults faults = bytes.validate();
  INFO(all(faults));
  CHECK(!faults.any_fatal());
  CHECK(require_valid_ort(std::as_bytes(std::span(bytes.data(), bytes.size))).ok());
  // Nor after a round through the tables as objects, which is how the mutants are made.
  CHECK(!mutated([](Session&) {}).validate().any_fatal());
}

TEST_CASE("ort validator: every mutant is found") {
  for (const Mutant& mutant : kMutants) {
    Bytes bytes = mutated(mutant.mutate);
    const std::string found = all(bytes.validate());
    CAPTURE(mutant.fault);
    CAPTURE(found);
    CHECK(found.find(mutant.fault) != std::string::npos);
  }
}

TEST_CASE("ort validator: absent fields") {
  const auto first_node = [](const fb::InferenceSession& s) -> const void* {
    return s.model()->graph()->nodes()->Get(0);
  };
  const auto root = [](const fb::InferenceSession& s) -> const void* { return &s; };
  const auto graph_table = [](const fb::InferenceSession& s) -> const void* {
    return s.model()->graph();
  };
  const auto tensor = [](const fb::InferenceSession& s) -> const void* {
    return s.model()->graph()->initializers()->Get(0);
  };
  const auto holds = [](Bytes bytes, const char* fault) {
    const std::string found = all(bytes.validate());
    CAPTURE(fault);
    CAPTURE(found);
    CHECK(found.find(fault) != std::string::npos);
  };
  holds(without_field(5, first_node), "op_type is absent");
  holds(without_field(8, first_node), "inputs is absent");
  holds(without_field(9, first_node), "outputs is absent");
  holds(without_field(11, first_node), "input_arg_counts is absent");
  holds(without_field(12, first_node), "implicit_inputs is absent");
  holds(without_field(0, root), "the format version is ''");
  holds(without_field(6, graph_table), "graph: outputs is absent");
  holds(without_field(2, tensor), "dims is absent");
  holds(without_field(4, tensor), "raw_data is absent");
  holds(without_field(0, tensor), "has no name");
}

TEST_CASE("ort validator: bytes that are no such file") {
  const std::string sound = sound_file();
  const auto first = [](const std::string& text) {
    return Bytes(text).validate().list.at(0).message;
  };
  CHECK(first("") == "the identifier ORTM is absent at byte 4");
  std::string other = sound;
  other[4] = 'X';
  CHECK(first(other) == "the identifier ORTM is absent at byte 4");
  for (size_t length = 8; length < sound.size(); length += 97)
    CHECK(first(sound.substr(0, length)).starts_with("FlatBuffers' verifier refuses it"));
}

TEST_CASE("ort validator: any byte may be wrong") {
  const std::string sound = sound_file();
  for (size_t at = 0; at < sound.size(); at += 13)
    for (const char value : {'\x00', '\x01', '\x7f', '\xff'}) {
      std::string text = sound;
      text[at] = value;
      CHECK(Bytes(text).validate().list.size() <= 1001);  // comes back, whatever it says
    }
}
}  // namespace onnxtool
