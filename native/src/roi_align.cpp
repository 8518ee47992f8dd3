// ROIAlign (Mask R-CNN, arXiv 1703.06870, section 3) on the CPU, forward and backward, with
// torchvision's conventions (`ops/cpu/roi_align_kernel.cpp`).
//
// A bin is the mean of bilinear samples on a regular grid, so it is separable: two small sets of
// weights, one over rows and one over columns, say how much each feature cell gives to a bin. Features
// are read channels last: every inner loop runs along contiguous channels. The backward pass gives
// each thread its own channels of one picture, so no two write to one number and the order of
// additions is fixed whatever the number of threads.

#include "guarded.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("default", "avx2,fma", "avx512f")))
#else
#define FOR_EACH_CPU
#endif

namespace {

using at::Tensor;

// Channels of one picture that a thread of the backward pass owns.
constexpr int64_t kChannelBlock = 64;

FOR_EACH_CPU void add_scaled(float *out, const float *in, float weight, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += weight * in[i];
}

FOR_EACH_CPU void add_scaled(double *out, const double *in, double weight, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += weight * in[i];
}

struct Shape {
  int64_t bins_h, bins_w;
  double scale;
  int64_t sampling_ratio;
  bool aligned;
};

// Weights of the feature cells [first, first + span) for each bin along one axis: [bins, span].
template <typename T>
struct Axis {
  int64_t first = 0, span = 0;
  std::vector<T> weights;

  void set(T start, T length, int64_t bins, int64_t cells, int64_t sampling_ratio) {
    const T bin = length / static_cast<T>(bins);
    const int64_t samples =
        sampling_ratio > 0 ? sampling_ratio : static_cast<int64_t>(std::ceil(length / bins));
    span = 0;
    if (samples <= 0) return;
    taps.clear();
    int64_t low = cells, high = -1;
    for (int64_t b = 0; b < bins; ++b) {
      for (int64_t s = 0; s < samples; ++s) {
        T at = start + b * bin + (static_cast<T>(s) + T(0.5)) * bin / static_cast<T>(samples);
        if (!(at >= T(-1) && at <= static_cast<T>(cells))) continue;
        at = std::max(at, T(0));
        int64_t below = static_cast<int64_t>(at), above = below + 1;
        if (below >= cells - 1) {
          below = above = cells - 1;
          at = static_cast<T>(below);
        }
        const T share = at - static_cast<T>(below);
        taps.push_back({b, below, (T(1) - share) / static_cast<T>(samples)});
        taps.push_back({b, above, share / static_cast<T>(samples)});
        low = std::min(low, below);
        high = std::max(high, above);
      }
    }
    if (high < low) return;
    first = low;
    span = high - low + 1;
    weights.assign(bins * span, T(0));
    for (const Tap &tap : taps) weights[tap.bin * span + tap.cell - first] += tap.weight;
  }

 private:
  struct Tap {
    int64_t bin, cell;
    T weight;
  };
  std::vector<Tap> taps;
};

// The two axes of region `roi` = (picture, x0, y0, x1, y1).
template <typename T>
struct Region {
  Axis<T> rows, columns;

  void set(const T *roi, const Shape &shape, int64_t height, int64_t width) {
    const T scale = static_cast<T>(shape.scale);
    const T offset = shape.aligned ? T(0.5) : T(0);
    const T x = roi[1] * scale - offset, y = roi[2] * scale - offset;
    T w = roi[3] * scale - offset - x, h = roi[4] * scale - offset - y;
    if (!shape.aligned) {
      w = std::max(w, T(1));
      h = std::max(h, T(1));
    }
    rows.set(y, h, shape.bins_h, height, shape.sampling_ratio);
    columns.set(x, w, shape.bins_w, width, shape.sampling_ratio);
  }
};

template <typename T>
void forward_cpu(const Tensor &features, const Tensor &rois, const Shape &shape, Tensor &output) {
  const int64_t channels = features.size(1), height = features.size(2), width = features.size(3);
  const T *const in = features.const_data_ptr<T>();
  const T *const regions = rois.const_data_ptr<T>();
  T *const out = output.data_ptr<T>();
  at::parallel_for(0, rois.size(0), 1, [&](int64_t begin, int64_t end) {
    Region<T> region;
    std::vector<T> strip;
    for (int64_t r = begin; r < end; ++r) {
      const T *roi = regions + r * 5;
      region.set(roi, shape, height, width);
      T *bins = out + r * shape.bins_h * shape.bins_w * channels;
      std::fill_n(bins, shape.bins_h * shape.bins_w * channels, T(0));
      const Axis<T> &rows = region.rows, &columns = region.columns;
      if (rows.span == 0 || columns.span == 0) continue;
      const T *picture = in + static_cast<int64_t>(roi[0]) * height * width * channels;
      for (int64_t b = 0; b < shape.bins_h; ++b) {
        strip.assign(columns.span * channels, T(0));
        for (int64_t i = 0; i < rows.span; ++i) {
          const T weight = rows.weights[b * rows.span + i];
          if (weight != T(0)) {
            const T *cells = picture + ((rows.first + i) * width + columns.first) * channels;
            add_scaled(strip.data(), cells, weight, columns.span * channels);
          }
        }
        for (int64_t c = 0; c < shape.bins_w; ++c) {
          T *bin = bins + (b * shape.bins_w + c) * channels;
          for (int64_t j = 0; j < columns.span; ++j) {
            const T weight = columns.weights[c * columns.span + j];
            if (weight != T(0)) add_scaled(bin, strip.data() + j * channels, weight, channels);
          }
        }
      }
    }
  });
}

template <typename T>
void backward_cpu(const Tensor &gradient, const Tensor &rois, const Shape &shape, Tensor &d_features) {
  const int64_t channels = d_features.size(1), height = d_features.size(2), width = d_features.size(3);
  const T *const in = gradient.const_data_ptr<T>();
  const T *const regions = rois.const_data_ptr<T>();
  T *const out = d_features.data_ptr<T>();
  const int64_t blocks = (channels + kChannelBlock - 1) / kChannelBlock;
  at::parallel_for(0, d_features.size(0) * blocks, 1, [&](int64_t begin, int64_t end) {
    Region<T> region;
    std::vector<T> strip;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t picture = unit / blocks, from = unit % blocks * kChannelBlock;
      const int64_t count = std::min(kChannelBlock, channels - from);
      T *cells = out + picture * height * width * channels + from;
      for (int64_t r = 0; r < rois.size(0); ++r) {
        const T *roi = regions + r * 5;
        if (static_cast<int64_t>(roi[0]) != picture) continue;
        region.set(roi, shape, height, width);
        const Axis<T> &rows = region.rows, &columns = region.columns;
        if (rows.span == 0 || columns.span == 0) continue;
        const T *bins = in + r * shape.bins_h * shape.bins_w * channels + from;
        for (int64_t b = 0; b < shape.bins_h; ++b) {
          strip.assign(columns.span * count, T(0));
          for (int64_t c = 0; c < shape.bins_w; ++c) {
            for (int64_t j = 0; j < columns.span; ++j) {
              const T weight = columns.weights[c * columns.span + j];
              if (weight != T(0)) {
                add_scaled(strip.data() + j * count, bins + (b * shape.bins_w + c) * channels, weight,
                           count);
              }
            }
          }
          for (int64_t i = 0; i < rows.span; ++i) {
            const T weight = rows.weights[b * rows.span + i];
            if (weight == T(0)) continue;
            T *row = cells + ((rows.first + i) * width + columns.first) * channels;
            for (int64_t j = 0; j < columns.span; ++j) {
              add_scaled(row + j * channels, strip.data() + j * count, weight, count);
            }
          }
        }
      }
    }
  });
}

struct RoiAlign : torch::autograd::Function<RoiAlign> {
  static Tensor forward(torch::autograd::AutogradContext *context, const Tensor &features,
                        const Tensor &rois, int64_t bins_h, int64_t bins_w, double scale,
                        int64_t sampling_ratio, bool aligned) {
    Shape shape{bins_h, bins_w, scale, sampling_ratio, aligned};
    Tensor in = features.contiguous(at::MemoryFormat::ChannelsLast);
    Tensor regions = rois.to(in.scalar_type()).contiguous();
    Tensor output = at::empty({rois.size(0), in.size(1), bins_h, bins_w}, in.options(),
                              at::MemoryFormat::ChannelsLast);
    AT_DISPATCH_FLOATING_TYPES(in.scalar_type(), "roi_align",
                               [&] { forward_cpu<scalar_t>(in, regions, shape, output); });
    context->save_for_backward({regions});
    context->saved_data["features"] = in.sizes().vec();
    context->saved_data["bins"] = std::vector<int64_t>{bins_h, bins_w};
    context->saved_data["scale"] = scale;
    context->saved_data["sampling_ratio"] = sampling_ratio;
    context->saved_data["aligned"] = aligned;
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context,
                                                 torch::autograd::variable_list gradients) {
    Tensor regions = context->get_saved_variables()[0];
    auto &saved = context->saved_data;
    auto bins = saved["bins"].toIntVector();
    Shape shape{bins[0], bins[1], saved["scale"].toDouble(), saved["sampling_ratio"].toInt(),
                saved["aligned"].toBool()};
    Tensor gradient = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    Tensor d_features = at::zeros(saved["features"].toIntVector(), gradient.options())
                            .contiguous(at::MemoryFormat::ChannelsLast);
    AT_DISPATCH_FLOATING_TYPES(gradient.scalar_type(), "roi_align_backward", [&] {
      backward_cpu<scalar_t>(gradient, regions, shape, d_features);
    });
    return {d_features, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

extern "C" {

char *deepmim_roi_align(const at::Tensor *features, const at::Tensor *rois, int64_t bins_h,
                        int64_t bins_w, double scale, int64_t sampling_ratio, bool aligned,
                        at::Tensor **output) {
  return guarded([&] {
    *output = new at::Tensor(
        RoiAlign::apply(*features, *rois, bins_h, bins_w, scale, sampling_ratio, aligned));
  });
}

}  // extern "C"
