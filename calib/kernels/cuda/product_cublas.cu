// Matrix products by cuBLASLt, in float32 without TF32 unless a product asks for it.
//
// cuBLASLt thinks in columns: a row-major matrix is its transpose there, so c^T = op(b)^T op(a)^T
// is asked for. The algorithm is the first that its heuristic names for the shapes and alignments,
// which is the same in every run; the reductions it may use add in a fixed order.

#include <cublasLt.h>

#include <array>
#include <map>
#include <string>
#include <utility>

#include "calib/kernels/cuda/product.h"

namespace onnxtool::device {
namespace {

// Most that an algorithm may work in: what NVIDIA advises for Hopper.
constexpr size_t kWorkspace = size_t{32} << 20;

Error failed(cublasStatus_t status, const char* what) {
  return Error{
      ErrorCode::kUnsupported,
      std::string("the device failed: cuBLASLt: ") + what + ": " + cublasLtGetStatusString(status),
      "use --device cpu"};
}
#define ONNXTOOL_CUBLAS(call)                                                                 \
  do {                                                                                        \
    if (const cublasStatus_t s = (call); s != CUBLAS_STATUS_SUCCESS) return failed(s, #call); \
  } while (false)

// One a thread: a handle belongs to the device that was current when it was made.
struct Handle {
  cublasLtHandle_t handle = nullptr;
  cublasStatus_t made = cublasLtCreate(&handle);
  ~Handle() {  // at the end of the process the driver may be gone
    if (handle) (void)cublasLtDestroy(handle);
  }
};

// Asked for in each product, so that a recording has its own and too little memory is an error of
// one run alone; given back behind the launch (not when the kernel's run ends, which may have
// thousands of products), in order with what follows.
struct Workspace {
  explicit Workspace(size_t size) : data(size ? api().allocate(size) : nullptr) {}
  ~Workspace() {
    if (data) api().release(data);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data;
};

// Owners of cuBLASLt's descriptions.
struct Operation {
  cublasLtMatmulDesc_t desc = nullptr;
  ~Operation() {
    if (desc) (void)cublasLtMatmulDescDestroy(desc);
  }
};
struct Matrix {
  cublasLtMatrixLayout_t layout = nullptr;
  ~Matrix() {
    if (layout) (void)cublasLtMatrixLayoutDestroy(layout);
  }
};
struct Preference {
  cublasLtMatmulPreference_t preference = nullptr;
  ~Preference() {
    if (preference) (void)cublasLtMatmulPreferenceDestroy(preference);
  }
};

cudaDataType_t cuda_type(DataType type) {
  return type == DataType::kInt8       ? CUDA_R_8I
         : type == DataType::kInt32    ? CUDA_R_32I
         : type == DataType::kDouble   ? CUDA_R_64F
         : type == DataType::kFloat16  ? CUDA_R_16F
         : type == DataType::kBfloat16 ? CUDA_R_16BF
                                       : CUDA_R_32F;
}

// `rows` x `columns` as cuBLASLt sees it, one after the other in memory.
Status describe(Matrix& m, DataType type, int64_t rows, int64_t columns, int64_t count,
                int64_t step) {
  ONNXTOOL_CUBLAS(cublasLtMatrixLayoutCreate(&m.layout, cuda_type(type),
                                             static_cast<uint64_t>(rows),
                                             static_cast<uint64_t>(columns), rows));
  if (count == 1) return {};
  const auto batches = static_cast<int32_t>(count);
  ONNXTOOL_CUBLAS(cublasLtMatrixLayoutSetAttribute(m.layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                   &batches, sizeof batches));
  ONNXTOOL_CUBLAS(cublasLtMatrixLayoutSetAttribute(
      m.layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step));
  return {};
}

// The largest power of two, up to 256, that addresses of all matrices of an operand are multiples
// of.
uint32_t alignment_of(const void* data, DataType type, int64_t step) {
  const auto bits = reinterpret_cast<uintptr_t>(data) |
                    static_cast<uintptr_t>(step) * size_bytes_of(type, 1) | 256;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

using Key = std::array<int64_t, 15>;

struct Call {
  Operation operation;
  Matrix x, y, z;  // b, a and c
  cublasLtMatmulAlgo_t algo{};
  size_t workspace = 0;
  bool exists = false;  // an algorithm
};

Status choose(cublasLtHandle_t handle, const Product& p, const uint32_t (&alignment)[3],
              Call& call) {
  const bool is_double = p.type == DataType::kDouble, is_integer = p.type == DataType::kInt8;
  ONNXTOOL_CUBLAS(cublasLtMatmulDescCreate(&call.operation.desc,
                                           is_integer  ? CUBLAS_COMPUTE_32I
                                           : is_double ? CUBLAS_COMPUTE_64F
                                           : p.tf32    ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                       : CUBLAS_COMPUTE_32F,
                                           is_integer  ? CUDA_R_32I
                                           : is_double ? CUDA_R_64F
                                                       : CUDA_R_32F));
  const cublasOperation_t b_op = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                          a_op = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  ONNXTOOL_CUBLAS(cublasLtMatmulDescSetAttribute(call.operation.desc, CUBLASLT_MATMUL_DESC_TRANSA,
                                                 &b_op, sizeof b_op));
  ONNXTOOL_CUBLAS(cublasLtMatmulDescSetAttribute(call.operation.desc, CUBLASLT_MATMUL_DESC_TRANSB,
                                                 &a_op, sizeof a_op));
  ONNXTOOL_TRY(describe(call.x, p.type, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k,
                        p.count, p.b_step));
  ONNXTOOL_TRY(describe(call.y, p.type, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m,
                        p.count, p.a_step));
  ONNXTOOL_TRY(describe(call.z, p.result, p.n, p.m, p.count, p.c_step));
  Preference preference;
  ONNXTOOL_CUBLAS(cublasLtMatmulPreferenceCreate(&preference.preference));
  ONNXTOOL_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference.preference,
                                                       CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                       &kWorkspace, sizeof kWorkspace));
  const std::pair<cublasLtMatmulPreferenceAttributes_t, uint32_t> bounds[] = {
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment[1]},
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment[0]},
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment[2]},
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment[2]}};
  for (const auto& [attribute, bytes] : bounds)
    ONNXTOOL_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference.preference, attribute, &bytes,
                                                         sizeof bytes));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle, call.operation.desc, call.x.layout, call.y.layout, call.z.layout, call.z.layout,
      preference.preference, 1, &found, &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
  if (status != CUBLAS_STATUS_SUCCESS) return failed(status, "choosing an algorithm");
  call.algo = found.algo;
  call.workspace = found.workspaceSize;
  call.exists = count > 0;
  return {};
}

// Descriptions and algorithms of the products that this thread has seen: choosing costs the host
// tens of microseconds.
Result<const Call*> call_for(cublasLtHandle_t handle, const Product& p) {
  thread_local std::map<Key, Call> calls;
  constexpr size_t kMostCalls = 4096;
  const uint32_t alignment[3] = {alignment_of(p.a, p.type, p.a_step),
                                 alignment_of(p.b, p.type, p.b_step),
                                 alignment_of(p.c, p.result, p.c_step)};
  const Key key{static_cast<int64_t>(p.type),
                static_cast<int64_t>(p.result),
                p.transpose_a,
                p.transpose_b,
                p.m,
                p.n,
                p.k,
                p.count,
                p.a_step,
                p.b_step,
                p.c_step,
                alignment[0],
                alignment[1],
                alignment[2],
                p.tf32};
  if (const auto it = calls.find(key); it != calls.end()) return &it->second;
  if (calls.size() >= kMostCalls) calls.clear();
  Call& call = calls[key];
  if (Status s = choose(handle, p, alignment, call); !s.ok()) {
    calls.erase(key);
    return std::move(s).error();
  }
  return &call;
}

// 1 and 0 in the type of sums.
struct Factors {
  explicit Factors(const Product& p)
      : alpha(static_cast<float>(p.alpha)), alpha64(p.alpha), type(p.type) {}
  float alpha, zero = 0;
  double alpha64, zero64 = 0;
  int32_t one = 1, none = 0;
  DataType type;

  const void* of_product() const {
    return type == DataType::kInt8     ? static_cast<const void*>(&one)
           : type == DataType::kDouble ? static_cast<const void*>(&alpha64)
                                       : &alpha;
  }
  const void* of_c() const {
    return type == DataType::kInt8     ? static_cast<const void*>(&none)
           : type == DataType::kDouble ? static_cast<const void*>(&zero64)
                                       : &zero;
  }
};

// false: no algorithm does it.
Result<bool> run(const Product& p) {
  if (p.m == 0 || p.n == 0 || p.count == 0) return true;
  if (p.k == 0) {
    for (int64_t i = 0; i < p.count; ++i)
      fill_bytes(static_cast<std::byte*>(p.c) +
                     i * p.c_step * static_cast<int64_t>(size_bytes_of(p.result, 1)),
                 0, static_cast<size_t>(p.m * p.n) * size_bytes_of(p.result, 1));
    return true;
  }
  thread_local Handle handle;
  if (handle.made != CUBLAS_STATUS_SUCCESS) return failed(handle.made, "starting");
  ONNXTOOL_ASSIGN(const Call* call, call_for(handle.handle, p));
  if (!call->exists) return false;
  const Workspace workspace(call->workspace);
  if (call->workspace && !workspace.data)
    return Error{ErrorCode::kOutOfMemory, "the device has no memory for matrix products",
                 "use --device cpu"};
  const Factors factors(p);
  ONNXTOOL_CUBLAS(cublasLtMatmul(handle.handle, call->operation.desc, factors.of_product(), p.b,
                                 call->x.layout, p.a, call->y.layout, factors.of_c(), p.c,
                                 call->z.layout, p.c, call->z.layout, &call->algo, workspace.data,
                                 call->workspace, cudaStreamPerThread));
  return true;
}

}  // namespace

Status multiply(KernelContext&, const Product& p) {
  ONNXTOOL_ASSIGN(const bool done, run(p));
  if (!done) return failed(CUBLAS_STATUS_NOT_SUPPORTED, "choosing an algorithm");
  return {};
}

Result<bool> multiply_integers(KernelContext&, const Product& p) { return run(p); }

}  // namespace onnxtool::device
