#!/usr/bin/env python3
"""build.py COMPILER SOURCE [CHECK...]: pcomp in another project's build, on machines with and without what it needs.

Needs no LibTorch: where a check wants one, empty files stand in for it, and nothing is linked.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

compiler, source = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
compilers = [compiler] + [c for c in [shutil.which("clang++") or shutil.which("clang++-14")]
                          if c and "clang" not in os.path.basename(compiler)]
environment = {k: v for k, v in os.environ.items() if k not in ("CMAKE_PREFIX_PATH", "CXXFLAGS", "LDFLAGS")}
environment["LC_ALL"] = "C"
base = pathlib.Path(tempfile.mkdtemp(prefix="pcomp-build-"))
failed = []


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


def expect(ok, what, said=""):
    if not ok:
        failed.append(f"{what}\n{said}".rstrip())


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def one_line(text):
    return " ".join(text.split())


def configure(name, body, *options, way=f"add_subdirectory({source} pcomp)"):
    """Configures a project of these lines; returns its exit code, what CMake said, and main.cpp's compile command."""
    folder = base / name
    write(folder / "main.cpp", "#include <pcomp/core.hpp>\nint main() {}\n")
    write(folder / "CMakeLists.txt", f"cmake_minimum_required(VERSION 3.23)\nproject(user LANGUAGES CXX)\n{way}\n{body}\n")
    code, said = run("cmake", "-S", folder, "-B", folder / "build", "-G", "Unix Makefiles", "-D",
                     f"CMAKE_CXX_COMPILER={compiler}", "-D", "CMAKE_EXPORT_COMPILE_COMMANDS=ON", *options)
    commands = folder / "build" / "compile_commands.json"
    return code, said, json.loads(commands.read_text())[0]["command"] if code == 0 and commands.exists() else ""


def link_line(name):
    return (base / name / "build/CMakeFiles/user.dir/link.txt").read_text()


def libtorch(name, version="2.11.0", cuda=True):
    root = base / name
    api = root / "include/torch/csrc/api/include/torch"
    numbers = zip(("MAJOR", "MINOR", "PATCH"), version.split("."))
    write(api / "torch.h", "")
    write(api / "version.h", "".join(f"#define TORCH_VERSION_{n} {v}\n" for n, v in numbers))
    for library in ("torch_cpu", "c10") + (("torch_cuda", "c10_cuda") if cuda else ()):
        write(root / f"lib/lib{library}.so", "")
    return f"-DLibTorch_ROOT={root}"


with_torch, nowhere = libtorch("torch"), "-DLibTorch_ROOT=/nowhere"
user = "add_executable(user main.cpp)\ntarget_link_libraries(user PRIVATE pcomp::{})"


def core_without_libtorch():
    code, said, command = configure("core", user.format("core"), nowhere)
    expect(code == 0 and command, "pcomp::core without LibTorch", said)
    expect("here is pcomp::core, and no pcomp::pcomp, which needs LibTorch 2.11" in one_line(said), "which is not said", said)
    if command:
        expect(run("make", "-C", base / "core/build", "user")[0] == 0, "pcomp::core without LibTorch: make", said)
    for target in ("pcomp", "cuda"):
        code, said, _ = configure(f"no-{target}", user.format(target), nowhere)
        expect(code and said.count("CMake Error") == 1 and f"user links pcomp::{target}, which is not here" in one_line(said)
               and "LibTorch 2.11" in said, f"pcomp::{target} without LibTorch is one error", said)
    code, said, _ = configure("old", user.format("pcomp"), libtorch("old-torch", "2.3.1"))
    expect(code and said.count("CMake Error") == 1 and "found is 2.3.1" in one_line(said), "LibTorch 2.3 is named", said)
    code, said, _ = configure("off", user.format("pcomp"), "-DPCOMP_TORCH=OFF")
    expect(code and said.count("CMake Error") == 1 and "PCOMP_TORCH is OFF" in said, "PCOMP_TORCH=OFF is named", said)
    code, said, _ = configure("on", user.format("core"), "-DPCOMP_TORCH=ON", nowhere)
    expect(code and "Could NOT find LibTorch" in said, "PCOMP_TORCH=ON insists", said)


def cuda_target():
    code, said, _ = configure("cuda", user.format("cuda"), with_torch)
    expect(code == 0 and "torch_cuda" in link_line("cuda") and "c10_cuda" in link_line("cuda"),
           "pcomp::cuda links libtorch_cuda", said)
    code, said, _ = configure("cpu", user.format("pcomp"), with_torch)
    expect(code == 0 and "torch_cpu" in link_line("cpu") and "torch_cuda" not in link_line("cpu"),
           "pcomp::pcomp links no libtorch_cuda", said)
    code, said, _ = configure("cpu-torch", user.format("cuda"), libtorch("cpu-only", cuda=False))
    expect(code and said.count("CMake Error") == 1 and "LibTorch with CUDA" in one_line(said), "pcomp::cuda on a CPU's LibTorch", said)


def installed():
    build, prefix = base / "installing", base / "prefix"
    code, said = run("cmake", "-S", source, "-B", build, "-D", f"CMAKE_CXX_COMPILER={compiler}", "-DPCOMP_BUILD=OFF", with_torch)
    code = code or run("cmake", "--install", build, "--prefix", prefix)[0]
    expect(code == 0, "installs", said)
    package = f"-DCMAKE_PREFIX_PATH={prefix}"

    def consume(name, target, torch, components=""):
        return configure(name, user.format(target), package, torch, way=f"find_package(pcomp REQUIRED {components})")

    for target in ("core", "pcomp", "cuda"):
        code, said, _ = consume(f"found-{target}", target, with_torch)
        expect(code == 0, f"find_package: pcomp::{target}", said)
    expect("torch_cuda" in link_line("found-cuda"), "find_package: pcomp::cuda links libtorch_cuda")
    for components in ("", "COMPONENTS core"):
        code, said, _ = consume(f"lacks{len(components)}", "core", nowhere, components)
        expect(code == 0, f"find_package({components}) without LibTorch has pcomp::core", said)
    code, said, _ = consume("lacks-pcomp", "pcomp", nowhere)
    expect(code and said.count("CMake Error") == 1 and "LibTorch 2.11" in said, "find_package: pcomp::pcomp without LibTorch", said)
    code, said, _ = consume("asks", "pcomp", nowhere, "COMPONENTS pcomp")
    expect(code and "pcomp::pcomp is not here: it needs LibTorch 2.11" in one_line(said), "find_package: a component that is not there", said)


def highway_of_the_project():
    code, said = run(compiler, "-x", "c++", "-E", "-include", "hwy/highway.h", "/dev/null")
    headers = re.search(r'^# 1 "(.*/hwy)/highway\.h"', said, re.M)
    expect(headers, "Highway's headers are somewhere", said[-500:])
    for i, (folder, alias, targets) in enumerate([
            ("${CMAKE_CURRENT_SOURCE_DIR}", "", "hwy"), ("$<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}>", "hwy::hwy", "both")]):
        fetched = base / f"highway{i}"
        fetched.mkdir()
        shutil.copytree(headers[1], fetched / "hwy")
        write(fetched / "empty.cpp", "int hwy_is_here;\n")
        write(fetched / "CMakeLists.txt", "project(hwy LANGUAGES CXX)\nadd_library(hwy STATIC empty.cpp)\n"
              f'target_include_directories(hwy PUBLIC "{folder}")\n' + (f"add_library({alias} ALIAS hwy)\n" if alias else ""))
        way = (f"include(FetchContent)\nFetchContent_Declare(highway SOURCE_DIR {fetched})\n"
               f"FetchContent_Declare(pcomp SOURCE_DIR {source})\nFetchContent_MakeAvailable(highway pcomp)")
        code, said, command = configure(f"fetched{i}", user.format("core"), nowhere, way=way)
        expect(code == 0 and f"-isystem {fetched}" in command, f"Highway from FetchContent, {targets}", said + command)


def warnings():
    flags = ("-Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wpedantic -Wfloat-equal -Wswitch-enum "
             "-Wold-style-cast -Werror")
    code, said, command = configure("strict-torch", user.format("pcomp"), with_torch)
    folder = re.escape(str(source / "include"))
    expect(re.search(f"-isystem {folder}( |$)", command) and not re.search(f"-I{folder}( |$)", command),
           "another project's warnings are not for pcomp's headers", command)
    for c in compilers:
        strict = flags + ("" if "clang" in c else " -Wuseless-cast")
        name = "strict-" + os.path.basename(c)
        way = f"add_subdirectory({source} pcomp)\nadd_compile_options({strict.replace(' ', ';')})"
        code, said, _ = configure(name, user.format("core"), nowhere, f"-DCMAKE_CXX_COMPILER={c}", way=way)
        write(base / name / "main.cpp", """
#include <pcomp/cpu.hpp>
int main() {
  constexpr pcomp::Shape<8, 64> shape{};
  float x[512] = {};
  std::byte payload[wire_bytes(pcomp::Quant<8>, shape)];
  pcomp::encode(pcomp::Quant<8>, pcomp::kernel::TensorView(x, pcomp::kernel::DType::f32, 512), shape, payload);
}
""")
        code, said = run("make", "-C", base / name / "build", "user")
        expect(code == 0, f"a strict project builds with {c}", said[-3000:])


def highway_before_pcomp():
    write(base / "own-inl.hpp", """
#include <hwy/highway.h>
HWY_BEFORE_NAMESPACE();
namespace own::HWY_NAMESPACE {
inline float first(const float* p) {
  const hwy::HWY_NAMESPACE::ScalableTag<float> d;
  return hwy::HWY_NAMESPACE::GetLane(hwy::HWY_NAMESPACE::LoadU(d, p));
}
}
HWY_AFTER_NAMESPACE();
""")
    use = """
#include <cstdio>
int main() {
  using namespace pcomp;
  constexpr auto wire = Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>;
  const Extents e{4, 4, 16, 16};
  std::vector<float> x(4096);
  for (int i = 0; i < 4096; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i * 37 % 77) - 30;
  std::vector<std::byte> p(wire_bytes(wire, e));
  for (auto isa : {detail::Isa::baseline, detail::best_isa()}) {
    detail::isa() = isa;
    encode(wire, kernel::TensorView(x.data(), kernel::DType::f32, 4096), e, p);
    decode(wire, p, e, kernel::MutableTensorView(x.data(), kernel::DType::f32, 4096));
    for (std::byte b : p) std::printf("%02x", static_cast<unsigned>(b));
    for (float v : x) std::printf(" %a", static_cast<double>(v));
  }
}
"""
    pcomp, highway = "#include <vector>\n#include <pcomp/cpu.hpp>\n", "#include <hwy/highway.h>\n"
    each = (f'#define HWY_TARGET_INCLUDE "{base}/own-inl.hpp"\n#include <hwy/foreach_target.h>\n{highway}'
            '#include HWY_TARGET_INCLUDE\nnamespace own { HWY_EXPORT(first); }\n')
    out = []
    for name, head in {"after": pcomp + highway + "#include <hwy/contrib/math/math-inl.h>\n", "first": highway + pcomp,
                       "each": each + pcomp}.items():
        file, program = write(base / f"{name}.cpp", head + use), base / name
        code, said = run(compiler, "-std=c++20", "-O1", "-DNDEBUG", f"-I{source}/include", file, "-o", program, "-lhwy")
        expect(code == 0, f"Highway included {name}", said[-2000:])
        out.append(run(program) if code == 0 else None)
    expect(out[0] == out[1] == out[2], "the same bytes wherever Highway was included")
    code, said = run(compiler, "-std=c++20", "-dM", "-E", f"-I{source}/include", write(base / "macros.cpp", pcomp))
    left = {m for m in re.findall(r"^#define (PCOMP_\w+)", said, re.M)} - {"PCOMP_HD", "PCOMP_INLINE", "PCOMP_DISPATCH"}
    expect(code == 0 and not left, f"macros left behind: {left}")


only = [a for a in sys.argv[3:] if not a.startswith("--")]
for check in (core_without_libtorch, cuda_target, installed, highway_of_the_project, warnings, highway_before_pcomp):
    if only and check.__name__ not in only:
        continue
    try:
        before = len(failed)
        check()
        print(f"{check.__name__}: {'passed' if len(failed) == before else 'FAILED'}", flush=True)
    except Exception as e:  # a check that breaks has failed
        failed.append(f"{check.__name__}: {type(e).__name__}: {e}")
if "--keep" not in sys.argv:
    shutil.rmtree(base)
sys.exit("\n\n".join(failed) if failed else 0)
