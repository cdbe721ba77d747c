#!/bin/sh
# Builds the four stand-in CUDA libraries into the folder that is given: build.sh OUT
# To check them: c++ -std=c++17 -O2 selftest.cpp -o selftest -ldl && ./selftest OUT
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 OUT" >&2
    exit 2
fi
sources=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
compiler=${CXX:-c++}

build() {
    # The name inside is the one that is asked for first: who asks finds the library that is loaded already.
    # Products and sums are rounded one by one on every machine, so that results do not depend on it. The new file
    # replaces the old one at once, because a program may have the old one loaded.
    $compiler -std=c++17 -O2 -shared -fPIC -Wall -Wextra -Werror -fvisibility=hidden -ffp-contract=off \
        -Wl,-soname,"${2%.so.*}.so" -o "$3/.$2.$$" "$sources/$1" -ldl -pthread
    mv -f "$3/.$2.$$" "$3/$2"
}

build cuda.cpp libcuda.so.1 "$1"
build nvrtc.cpp libnvrtc.so.12 "$1"
build cublaslt.cpp libcublasLt.so.12 "$1"
build nvml.cpp libnvidia-ml.so.1 "$1"
cp "$sources/emulated.h" "$1/.emulated.h.$$"
mv -f "$1/.emulated.h.$$" "$1/emulated.h"
