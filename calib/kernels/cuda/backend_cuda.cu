// The CUDA runtime behind device.h: the chosen device, memory, copies, errors.
//
// Every thread works on its own stream (the per-thread default one), so samples that run on
// different threads overlap. What one thread leaves to another (a plan's constants) it has waited
// for in finish().

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "calib/kernels/cuda/backend.h"
#include "calib/kernels/cuda/device.h"
#include "calib/kernels/cuda/dnn.h"
#include "calib/kernels/cuda/recorded_memory.h"

namespace onnxtool::device {
namespace {

std::atomic<int> g_device{0}, g_multiprocessors{0};
std::string& architecture_text() {
  static auto* const text = new std::string("sm_0");
  return *text;
}

struct Failure {
  int code = 0;
  const char* what = "";
};
thread_local Failure g_failure;

Error failure(cudaError_t code, const char* what) {
  return Error{
      code == cudaErrorMemoryAllocation ? ErrorCode::kOutOfMemory : ErrorCode::kUnsupported,
      std::string("the device failed: ") + what + ": " + cudaGetErrorString(code),
      "use --device cpu"};
}

// The current device belongs to a thread.
void enter() {
  thread_local int current = -1;
  const int wanted = g_device.load(std::memory_order_relaxed);
  if (current == wanted) return;
  note_error(cudaSetDevice(wanted), "choosing the device");
  current = wanted;
}

// Two pieces of page-locked memory, filled in turns: the host copies into one while the device
// reads the other.
class Staging {
 public:
  static constexpr size_t kPiece = size_t{4} << 20;

  ~Staging() {  // at the end of the process the driver may be gone; there is nobody to tell
    for (Piece& p : pieces_) {
      if (p.data) (void)cudaFreeHost(p.data);
      if (p.read) (void)cudaEventDestroy(p.read);
    }
  }
  cudaError_t copy(std::byte* to, const std::byte* from, size_t size) {
    for (size_t done = 0; done < size; done += kPiece, next_ ^= 1) {
      Piece& p = pieces_[next_];
      if (const cudaError_t e = prepare(p); e != cudaSuccess) return e;
      const size_t n = size - done < kPiece ? size - done : kPiece;
      std::memcpy(p.data, from + done, n);
      if (const cudaError_t e =
              cudaMemcpyAsync(to + done, p.data, n, cudaMemcpyHostToDevice, cudaStreamPerThread);
          e != cudaSuccess)
        return e;
      if (const cudaError_t e = cudaEventRecord(p.read, cudaStreamPerThread); e != cudaSuccess)
        return e;
    }
    return cudaSuccess;
  }

 private:
  struct Piece {
    void* data = nullptr;
    cudaEvent_t read = nullptr;
  };
  static cudaError_t prepare(Piece& p) {
    if (p.data) return cudaEventSynchronize(p.read);
    if (const cudaError_t e = cudaEventCreateWithFlags(&p.read, cudaEventDisableTiming);
        e != cudaSuccess)
      return e;
    return cudaMallocHost(&p.data, kPiece);
  }
  Piece pieces_[2];
  int next_ = 0;
};

Staging& staging() {
  thread_local Staging pieces;
  return pieces;
}

void* allocate_apart(size_t size) {
  void* p = nullptr;
  if (cudaMalloc(&p, size) == cudaSuccess) return p;
  (void)cudaGetLastError();  // the caller says that memory is out
  return nullptr;
}
void release_apart(void* p) { (void)cudaFree(p); }

// A CUDA graph, captured from this thread's stream. Memory is asked for by cudaMalloc meanwhile,
// which a relaxed capture allows: cudaMallocAsync would become a part of the graph.
struct Recording {
  RecordedMemory memory{allocate_apart, release_apart};
  std::vector<void*> parameters;  // page-locked; the graph copies from there
  cudaGraphExec_t graph = nullptr;
  bool is_broken = false;

  ~Recording() {
    if (graph) (void)cudaGraphExecDestroy(graph);
    for (void* p : parameters) (void)cudaFreeHost(p);
  }
};
thread_local Recording* t_recording = nullptr;

// What has to be run now cannot be recorded.
Status not_recorded() {
  t_recording->is_broken = true;
  return kernel_error(ErrorCode::kUnsupported, "the device failed: this cannot be recorded");
}

void* allocate(size_t size) {
  enter();
  if (t_recording) return t_recording->memory.allocate(size);
  void* p = nullptr;
  if (cudaMallocAsync(&p, size, cudaStreamPerThread) == cudaSuccess) return p;
  (void)cudaGetLastError();  // the caller says that memory is out
  return nullptr;
}

void release(void* p) {
  enter();
  if (t_recording) {
    if (!t_recording->memory.release(p)) t_recording->is_broken = true;
    return;
  }
  note_error(cudaFreeAsync(p, cudaStreamPerThread), "releasing memory");
}

Status to_device(void* device, const void* host, size_t size) {
  enter();
  if (t_recording) return not_recorded();
  const cudaError_t e =
      staging().copy(static_cast<std::byte*>(device), static_cast<const std::byte*>(host), size);
  if (e != cudaSuccess) return failure(e, "copying to it");
  return {};
}

Status to_host(void* host, const void* device, size_t size) {
  enter();
  if (t_recording) return not_recorded();
  cudaError_t e = cudaMemcpyAsync(host, device, size, cudaMemcpyDeviceToHost, cudaStreamPerThread);
  if (e == cudaSuccess) e = cudaStreamSynchronize(cudaStreamPerThread);
  if (e != cudaSuccess) return failure(e, "copying from it");
  return {};
}

Status finish() {
  enter();
  if (t_recording) return not_recorded();
  const cudaError_t e = cudaStreamSynchronize(cudaStreamPerThread);
  const Failure noted = g_failure;
  g_failure = {};
  if (noted.code < 0) return kernel_error(ErrorCode::kUnsupported, noted.what);
  if (noted.code > 0) return failure(static_cast<cudaError_t>(noted.code), noted.what);
  if (e != cudaSuccess) return failure(e, "running the model");
  return {};
}

void* begin_recording() {
  // For comparisons, and for a driver that misbehaves.
  static const char* const wanted = std::getenv("ONNXTOOL_CUDA_GRAPHS");
  if (wanted && std::string(wanted) == "off") return nullptr;
  enter();
  if (g_failure.code != 0 ||
      cudaStreamBeginCapture(cudaStreamPerThread, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  return t_recording = new Recording;
}

bool end_recording(void* recording) {
  auto& r = *static_cast<Recording*>(recording);
  t_recording = nullptr;
  cudaGraph_t graph = nullptr;
  cudaError_t e = cudaStreamEndCapture(cudaStreamPerThread, &graph);
  if (e == cudaSuccess && g_failure.code == 0 && !r.is_broken)
    e = cudaGraphInstantiate(&r.graph, graph, 0);
  if (graph) (void)cudaGraphDestroy(graph);
  g_failure = {};
  (void)cudaGetLastError();
  return e == cudaSuccess && r.graph;
}

Status replay(void* recording) {
  enter();
  const cudaError_t e =
      cudaGraphLaunch(static_cast<Recording*>(recording)->graph, cudaStreamPerThread);
  if (e != cudaSuccess) return failure(e, "replaying");
  return {};
}

void destroy_recording(void* recording) {
  enter();
  delete static_cast<Recording*>(recording);
}

constexpr RecorderApi kRecorder{begin_recording, end_recording, replay, copy_bytes,
                                destroy_recording};

constexpr DeviceApi kApi{allocate, release, to_device, to_host, finish, count};

const char* keep(std::string text) { return (new std::string(std::move(text)))->c_str(); }

}  // namespace

const DeviceApi& api() { return kApi; }
const RecorderApi& recorder() { return kRecorder; }
std::string_view architecture() { return architecture_text(); }
int multiprocessors() { return g_multiprocessors.load(std::memory_order_relaxed); }

const char* use_device(int index) {
  int driver = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return "no NVIDIA driver is installed";
  if (driver / 1000 < CUDART_VERSION / 1000)
    return keep("the NVIDIA driver is for CUDA " + std::to_string(driver / 1000) +
                ", expected at least " + std::to_string(CUDART_VERSION / 1000));
  if (const cudaError_t e = cudaGetDeviceCount(&count); e != cudaSuccess)
    return cudaGetErrorString(e);
  if (index >= count)
    return keep("there are " + std::to_string(count) + " devices, numbered from 0");
  cudaDeviceProp properties{};
  if (const cudaError_t e = cudaGetDeviceProperties(&properties, index); e != cudaSuccess)
    return cudaGetErrorString(e);
  if (properties.major < 8)
    return keep(std::string(properties.name) + " is older than compute capability 8.0");
  g_device = index;
  g_multiprocessors = properties.multiProcessorCount;
  architecture_text() = "sm_" + std::to_string(properties.major) + std::to_string(properties.minor);
  enter();
  if (!library_refusal()) architecture_text() += ", " + library_name();
  cudaMemPool_t pool = nullptr;
  cudaError_t e = cudaDeviceGetDefaultMemPool(&pool, index);
  uint64_t keep_all = UINT64_MAX;  // memory once taken serves the next run
  if (e == cudaSuccess)
    e = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep_all);
  return e == cudaSuccess ? nullptr : cudaGetErrorString(e);
}

void note_error(int code, const char* what) {
  if (code != 0 && g_failure.code == 0) g_failure = {code, what};
}

void copy_bytes(void* to, const void* from, size_t size) {
  enter();
  note_error(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, cudaStreamPerThread),
             "copying");
}
void fill_bytes(void* to, int value, size_t size) {
  enter();
  note_error(cudaMemsetAsync(to, value, size, cudaStreamPerThread), "filling");
}
void upload(void* to, const void* from, size_t size) {
  enter();
  if (t_recording) {
    void* kept = nullptr;
    cudaError_t e = cudaMallocHost(&kept, size);
    if (e == cudaSuccess) {
      t_recording->parameters.push_back(kept);
      std::memcpy(kept, from, size);
      e = cudaMemcpyAsync(to, kept, size, cudaMemcpyHostToDevice, cudaStreamPerThread);
    }
    return note_error(e, "copying to it");
  }
  note_error(staging().copy(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), size),
             "copying to it");
}
Status download(void* to, const void* from, size_t size) { return to_host(to, from, size); }

}  // namespace onnxtool::device
