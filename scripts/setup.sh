#!/usr/bin/env bash
# Installs what deepmim builds on, once, and prints where it put it.
#
#   . scripts/setup.sh        (from ./demo and ./test: sets the build environment in this shell)
#   scripts/setup.sh          (only installs)
#
# What it needs: the system packages below, and libtorch 2.11. Which libtorch is used, in this order:
#   1. LIBTORCH, where it is set (any libtorch 2.11);
#   2. PyTorch 2.11 of the active Python, where there is one;
#   3. on a machine with an NVIDIA driver: a full PyTorch 2.11 in a virtual environment of ours (5 GB);
#   4. otherwise a slim CPU libtorch (0.5 GB) cut out of the PyTorch wheel.
# Everything lands in DEEPMIM_CACHE (default: $XDG_CACHE_HOME/deepmim or ~/.cache/deepmim), build
# output included, so a clone stays clean and a second clone starts warm.

deepmim_torch_version=2.11.0
deepmim_packages="libopencv-core-dev libopencv-imgproc-dev libopencv-imgcodecs-dev clang libclang-dev cmake nasm g++ unzip python3 python3-pip python3-venv"
DEEPMIM_CACHE="${DEEPMIM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/deepmim}"

deepmim_say() { printf 'setup: %s\n' "$*" >&2; }
deepmim_fail() { printf 'setup: %s\n' "$*" >&2; return 1; }

# The distribution's own packages are probed by the files the build opens, so that a second start
# costs milliseconds and hand-made installs count.
deepmim_system_ready() {
    { [ -e /usr/include/opencv4/opencv2/imgcodecs.hpp ] && [ -e /usr/include/opencv4/opencv2/imgproc.hpp ]; } || return 1
    command -v clang >/dev/null && command -v cmake >/dev/null && command -v nasm >/dev/null || return 1
    command -v g++ >/dev/null && command -v unzip >/dev/null && command -v python3 >/dev/null || return 1
    ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1
}

deepmim_install_system() {
    deepmim_system_ready && return 0
    if ! command -v apt-get >/dev/null; then
        deepmim_fail "this is not a Debian or Ubuntu system. Install these by its own package manager, then start again: OpenCV 4 development files (core, imgproc, imgcodecs), clang with libclang, cmake, nasm, a C++17 compiler, unzip, Python 3 with pip and venv."
        return 1
    fi
    local sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { deepmim_fail "root or sudo is needed once, to run: apt-get install $deepmim_packages"; return 1; }
        sudo=sudo
    fi
    deepmim_say "installing system packages: $deepmim_packages"
    local log="$DEEPMIM_CACHE/apt.log"
    { $sudo apt-get update && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends $deepmim_packages; } >"$log" 2>&1 ||
        { tail -n 5 "$log" >&2; deepmim_fail "apt-get failed; the whole log is $log"; return 1; }
}

# A slim CPU libtorch: headers and the three libraries a CPU program maps. The wheel's libtorch_cpu.so
# names libcupti and libcudart as dependencies, so those two travel along (they are never called).
deepmim_make_slim() {
    local out="$1" work
    work="$(mktemp -d -p "$DEEPMIM_CACHE" libtorch.XXXXXX)" || return 1
    deepmim_say "fetching PyTorch $deepmim_torch_version's wheel (530 MB) and keeping its CPU part (0.5 GB)"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" \
        --python-version 3.11 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux_2_17_x86_64 \
        "torch==$deepmim_torch_version" nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96 >"$DEEPMIM_CACHE/pip.log" 2>&1 ||
        { tail -n 5 "$DEEPMIM_CACHE/pip.log" >&2; rm -rf "$work"; deepmim_fail "pip could not fetch PyTorch; set LIBTORCH to a libtorch $deepmim_torch_version you have"; return 1; }
    mkdir -p "$work/root/lib" &&
        unzip -q "$work"/torch-*.whl 'torch/include/*' torch/lib/libtorch_cpu.so torch/lib/libc10.so torch/lib/libgomp.so.1 -d "$work/wheel" &&
        mv "$work/wheel/torch/include" "$work/root/include" &&
        mv "$work"/wheel/torch/lib/* "$work/root/lib/" &&
        unzip -q -j "$work"/nvidia_cuda_cupti-*.whl nvidia/cu13/lib/libcupti.so.13 -d "$work/root/lib" &&
        unzip -q -j "$work"/nvidia_cuda_runtime-*.whl nvidia/cu13/lib/libcudart.so.13 -d "$work/root/lib" &&
        ln -s libtorch_cpu.so "$work/root/lib/libtorch.so" &&
        ln -s libgomp.so.1 "$work/root/lib/libgomp.so" &&
        printf '%s\n' "$deepmim_torch_version" >"$work/root/build-version" &&
        mv -T "$work/root" "$out" || { rm -rf "$work"; deepmim_fail "the slim libtorch could not be put together in $out"; return 1; }
    rm -rf "$work"
}

# Beside PyTorch come the two packages with the CUDA headers that its NCCL groups are compiled against.
deepmim_make_full() {
    local venv="$1"
    deepmim_say "NVIDIA driver found: installing PyTorch $deepmim_torch_version with CUDA (5 GB) in $venv"
    python3 -m venv "$venv.new" &&
        "$venv.new/bin/pip" install --quiet "torch==$deepmim_torch_version" nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85 >"$DEEPMIM_CACHE/pip.log" 2>&1 &&
        mv -T "$venv.new" "$venv" ||
        { tail -n 5 "$DEEPMIM_CACHE/pip.log" >&2; rm -rf "$venv.new"; deepmim_fail "PyTorch could not be installed in $venv"; return 1; }
}

# The folder of an installed PyTorch of the right version, or nothing. Looked up without importing it:
# the import alone takes longer than a warm start of ours may.
deepmim_python_torch() {
    "$1" - "$deepmim_torch_version" 2>/dev/null <<'PY'
import importlib.util, pathlib, sys
spec = importlib.util.find_spec("torch")
if spec and spec.origin:
    root = pathlib.Path(spec.origin).parent
    for line in (root / "version.py").read_text().splitlines():
        if line.startswith("__version__"):
            if line.split("=")[1].strip(" '\"").split("+")[0] == sys.argv[1]:
                print(root)
PY
}

# Clones share the build output, so that the dependencies are built once. Cargo gives our own crates the same
# names in every clone and goes by dates: an older file of this clone would count as built although another
# clone's was. So where another clone built last, ours are built anew.
deepmim_take_over() {
    local clone last="$CARGO_TARGET_DIR/last-clone"
    clone="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
    [ "$(cat "$last" 2>/dev/null)" = "$clone" ] && return 0
    rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/deepmim-*
    mkdir -p "$CARGO_TARGET_DIR" && printf '%s\n' "$clone" >"$last"
}

deepmim_setup() {
    mkdir -p "$DEEPMIM_CACHE" || { deepmim_fail "the cache folder $DEEPMIM_CACHE cannot be made; set DEEPMIM_CACHE to one that can"; return 1; }
    command -v cargo >/dev/null || { [ -r "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"; }
    command -v cargo >/dev/null || { deepmim_fail "Rust is missing: install it with rustup (1.89 or newer), then start again"; return 1; }
    deepmim_install_system || return 1

    local torch="" source
    if [ -n "${LIBTORCH:-}" ]; then
        torch="$LIBTORCH"; source="LIBTORCH"
    elif command -v python3 >/dev/null && torch="$(deepmim_python_torch python3)" && [ -n "$torch" ]; then
        source="the active Python's PyTorch"
    elif [ -e /proc/driver/nvidia/version ]; then
        [ -d "$DEEPMIM_CACHE/pytorch-$deepmim_torch_version" ] || deepmim_make_full "$DEEPMIM_CACHE/pytorch-$deepmim_torch_version" || return 1
        torch="$(deepmim_python_torch "$DEEPMIM_CACHE/pytorch-$deepmim_torch_version/bin/python")"; source="our own PyTorch with CUDA"
    else
        torch="$DEEPMIM_CACHE/libtorch-$deepmim_torch_version-cpu"; source="slim CPU build"
        [ -d "$torch" ] || deepmim_make_slim "$torch" || return 1
    fi
    [ -e "$torch/lib/libtorch_cpu.so" ] || { deepmim_fail "no libtorch in $torch ($source): lib/libtorch_cpu.so is missing"; return 1; }

    export LIBTORCH="$torch"
    # A wheel names its version in version.py only; torch-sys looks for build-version, then gives up.
    [ -e "$torch/build-version" ] || export LIBTORCH_BYPASS_VERSION_CHECK=1
    export LIBTORCH_CXX11_ABI=1
    # Debian's small OpenCV packages ship no pkg-config file.
    local multiarch
    multiarch="$(g++ -print-multiarch 2>/dev/null)"
    export OPENCV_LINK_LIBS="${OPENCV_LINK_LIBS:-opencv_imgcodecs,opencv_imgproc,opencv_core}"
    export OPENCV_LINK_PATHS="${OPENCV_LINK_PATHS:-/usr/lib/$multiarch}"
    export OPENCV_INCLUDE_PATHS="${OPENCV_INCLUDE_PATHS:-/usr/include/opencv4,/usr/include/$multiarch/opencv4}"
    export OPENCV_DISABLE_PROBES="${OPENCV_DISABLE_PROBES:-pkg_config,cmake,vcpkg_cmake,vcpkg}"
    if [ -z "${CARGO_TARGET_DIR:-}" ]; then
        export CARGO_TARGET_DIR="$DEEPMIM_CACHE/target"
        deepmim_take_over
    fi
    deepmim_say "libtorch: $LIBTORCH ($source); build output: $CARGO_TARGET_DIR"
}

deepmim_setup
