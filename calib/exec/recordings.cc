#include "calib/exec/recordings.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace onnxtool {
namespace {

// One launch saved for each step must be worth the copies of what goes in.
constexpr size_t kFewestSteps = 4;

std::mutex& recorders_mutex() {
  static std::mutex mutex;
  return mutex;
}
std::map<const DeviceApi*, const RecorderApi*>& recorders() {
  static auto* const all = new std::map<const DeviceApi*, const RecorderApi*>;
  return *all;
}

Representation* device_form(SlotValue& v) {
  for (int f = 0; f < v.num_forms; ++f) {
    Representation& r = v.forms[static_cast<size_t>(f)];
    if (r.device && r.layout == Layout::kPlain) return &r;
  }
  return nullptr;
}

}  // namespace

void set_recorder(const DeviceApi* device, const RecorderApi* recorder) {
  const std::lock_guard lock(recorders_mutex());
  recorders()[device] = recorder;
}
const RecorderApi* recorder_of(const DeviceApi* device) {
  const std::lock_guard lock(recorders_mutex());
  const auto it = recorders().find(device);
  return it == recorders().end() ? nullptr : it->second;
}

struct Recordings::Stretch {
  size_t first = 0, last = 0;        // steps [first, last)
  std::vector<int> inputs, results;  // slots

  bool is_off = false;
  std::vector<int64_t> seen, recorded;  // types and dims of the inputs: last, and of the recording
  void* recording = nullptr;
  std::vector<void*> entries;  // of the inputs, in the device's memory
  struct Result {
    DataType dtype;
    std::vector<int64_t> dims;
    int64_t count;
    void* data;
  };
  std::vector<Result> values;  // of the results
};

std::unique_ptr<Recordings> Recordings::make(const Plan::Impl& plan) {
  const RecorderApi* recorder = plan.device ? recorder_of(plan.device) : nullptr;
  if (!recorder) return nullptr;
  std::unique_ptr<Recordings> made(new Recordings(plan, recorder));
  return made->stretches_.empty() ? nullptr : std::move(made);
}

Recordings::Recordings(const Plan::Impl& plan, const RecorderApi* recorder)
    : plan_(plan), recorder_(recorder), at_(plan.steps.size()) {
  std::set<int> constants;
  for (const auto& [slot, tensor] : plan.constants) constants.insert(slot);
  const auto can_be_recorded = [&](const Step& step) {
    if (!step.kernel || !step.set || step.set->device != plan.device) return false;
    for (size_t i = 0; i < step.node->inputs.size(); ++i) {
      const int slot = step.node->inputs[i];
      if (slot >= 0 && step.kernel->use && !constants.contains(slot) &&
          step.kernel->use(*step.node, static_cast<int>(i)) == InputUse::kHost)
        return false;
    }
    return true;
  };
  for (size_t first = 0; first < plan.steps.size(); ++first) {
    size_t last = first;
    while (last < plan.steps.size() && can_be_recorded(plan.steps[last])) ++last;
    if (last - first >= kFewestSteps) {
      auto s = std::make_unique<Stretch>();
      s->first = first, s->last = last;
      std::set<int> inputs, made;
      for (size_t k = first; k < last; ++k) {
        for (const int slot : plan.steps[k].node->inputs)
          if (slot >= 0 && !made.contains(slot) && !constants.contains(slot)) inputs.insert(slot);
        for (const int slot : plan.steps[k].outputs)
          if (slot >= 0) made.insert(slot);
        for (const int slot : plan.steps[k].releases) made.erase(slot);
      }
      s->inputs.assign(inputs.begin(), inputs.end());
      s->results.assign(made.begin(), made.end());
      at_[first] = s.get();
      stretches_.push_back(std::move(s));
    }
    first = std::max(first, last);
  }
}

Recordings::~Recordings() {
  for (const auto& s : stretches_) forget(*s);
}

void Recordings::forget(Stretch& s) const {
  if (s.recording) recorder_->destroy(s.recording);
  for (void* entry : s.entries)
    if (entry) plan_.device->release(entry);
  s.recording = nullptr;
  s.entries.clear();
  s.values.clear();
}

Result<Recordings::Outcome> Recordings::run(RunContext::Impl& context, size_t step, size_t& end) {
  Stretch* s = at_[step];
  if (!s || s->is_off) return Outcome::kNone;
  std::vector<int64_t> now;
  for (const int slot : s->inputs) {
    const SlotValue& v = context.slots_[static_cast<size_t>(slot)];
    if (context.is_container(slot) || v.num_forms == 0 || v.dtype == DataType::kString)
      return Outcome::kNone;
    now.push_back(static_cast<int64_t>(v.dtype));
    now.push_back(static_cast<int64_t>(v.dims.size()));
    now.insert(now.end(), v.dims.begin(), v.dims.end());
  }
  const bool repeats = s->seen == now && !now.empty();
  s->seen = now;
  if (!s->recording || s->recorded != now) {
    if (!repeats) return Outcome::kNone;
    forget(*s);
    const auto recorded = record(context, *s);
    if (!recorded.ok() || !*recorded) {
      forget(*s);
      s->is_off = true;
      return Outcome::kStartOver;
    }
    s->recorded = std::move(now);
  } else {
    ONNXTOOL_TRY(enter(context, *s));
  }
  leave(context, *s);
  ONNXTOOL_TRY(recorder_->replay(s->recording));
  end = s->last;
  return Outcome::kRan;
}

Status Recordings::enter(RunContext::Impl& context, Stretch& s) const {
  const KernelSet* set = plan_.steps[s.first].set;
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    const int slot = s.inputs[i];
    ONNXTOOL_ASSIGN(const ConstView there,
                    context.view(slot, set, [](Layout l) { return l == Layout::kPlain; }));
    const size_t size = size_bytes_of(there.dtype, static_cast<uint64_t>(there.count));
    if (s.entries.size() == i) {
      s.entries.push_back(plan_.device->allocate(std::max<size_t>(size, 1)));
      if (!s.entries.back())
        return Error{ErrorCode::kOutOfMemory, "the device is out of memory", "use --device cpu"};
    }
    if (size && there.data != s.entries[i]) recorder_->copy(s.entries[i], there.data, size);
    Representation* form = device_form(context.slots_[static_cast<size_t>(slot)]);
    ONNXTOOL_CHECK(form);
    // Nobody's: so no kernel takes it over for its results.
    context.drop(form->buffer);
    form->buffer = nullptr;
    form->data = s.entries[i];
  }
  return {};
}

void Recordings::leave(RunContext::Impl& context, const Stretch& s) const {
  for (size_t k = s.first; k < s.last; ++k)
    for (const int slot : plan_.steps[k].releases) context.release(slot);
  for (size_t i = 0; i < s.results.size(); ++i) {
    context.release(s.results[i]);
    SlotValue& v = context.slots_[static_cast<size_t>(s.results[i])];
    const Stretch::Result& r = s.values[i];
    v.dtype = r.dtype;
    context.set_dims(v, r.dims);
    v.count = r.count;
    v.forms[0] = {MemorySpace::kDevice, Layout::kPlain, r.data, nullptr, plan_.device};
    v.num_forms = 1;
  }
}

// The steps run as always, but for their launches.
Result<bool> Recordings::record(RunContext::Impl& context, Stretch& s) const {
  ONNXTOOL_TRY(enter(context, s));
  s.recording = recorder_->begin();
  if (!s.recording) return false;
  // A step may throw (memory), and what this thread asks for next is to run.
  struct Ended {
    const RecorderApi& recorder;
    void* open;
    bool end() { return recorder.end(std::exchange(open, nullptr)); }
    ~Ended() {
      if (open) (void)recorder.end(open);
    }
  } recording{*recorder_, s.recording};
  Status ran;
  for (size_t k = s.first; k < s.last && ran.ok(); ++k) ran = context.run_step(k, nullptr);
  bool has_all = ran.ok();
  for (const int slot : s.results) {
    SlotValue& v = context.slots_[static_cast<size_t>(slot)];
    const Representation* form = device_form(v);
    has_all = has_all && form;
    if (has_all) s.values.push_back({v.dtype, v.dims, v.count, form->data});
  }
  // Buffers of the recording go back to it before it ends.
  for (size_t k = s.first; k < s.last; ++k)
    for (const int slot : plan_.steps[k].outputs)
      if (slot >= 0) context.release(slot);
  const bool ended = recording.end();
  ONNXTOOL_TRY(std::move(ran));
  return ended && has_all;
}

}  // namespace onnxtool
