# Shared by the scripts: source it, do not run it.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
project=llm-canister
wasm_target=wasm32-unknown-unknown
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/$project

# Prints a line for people; standard output is kept for results.
say() { printf '%s\n' "$*" >&2; }

# Ends the script with a message that says what to do.
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Prints the comment block at the top of the calling script: its manual.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# Prints the value of an option and fails clearly where it is missing: value --port "$@"
value() {
  [ $# -ge 3 ] || die "$1 needs a value (see --help)"
  printf '%s' "$3"
}

# The linker for Wasm, where the compiler brings none: rustup's rust-lld or a system lld.
find_wasm_linker() {
  local candidate rustc
  for rustc in rustc "$1"; do
    have "$rustc" || continue
    for candidate in "$("$rustc" --print sysroot 2>/dev/null)"/lib/rustlib/*/bin/rust-lld; do
      [ -x "$candidate" ] && wasm_linker=$candidate && return 0
    done
  done
  for candidate in rust-lld wasm-ld; do
    have "$candidate" && wasm_linker=$(command -v "$candidate") && return 0
  done
  return 1
}

# Finds a Rust compiler that can build for $wasm_target and sets
#   wasm_rustc, wasm_cargo  the programs
#   wasm_mode               "installed" (the target's standard library is there) or
#                           "from-source" (it is built from the compiler's sources)
#   wasm_linker             for from-source only
# WASM_RUSTC names one compiler to use instead of the search.
find_wasm_toolchain() {
  local rustc sysroot
  for rustc in ${WASM_RUSTC:-rustc /usr/bin/rustc}; do
    have "$rustc" || continue
    sysroot=$("$rustc" --print sysroot 2>/dev/null) || continue
    wasm_rustc=$(command -v "$rustc")
    wasm_cargo=$(dirname "$wasm_rustc")/cargo
    [ -x "$wasm_cargo" ] || continue
    if compgen -G "$sysroot/lib/rustlib/$wasm_target/lib/libstd-*.rlib" >/dev/null; then
      wasm_mode=installed
      return 0
    fi
    if [ -f "$sysroot/lib/rustlib/src/rust/library/std/Cargo.toml" ] && find_wasm_linker "$rustc"; then
      wasm_mode=from-source
      return 0
    fi
  done
  return 1
}
