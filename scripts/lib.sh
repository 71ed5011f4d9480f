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

# Installs packages of the distribution, where it is Debian's kind and that is allowed.
apt_install() {
  have apt-get || return 1
  local as=()
  if [ "$(id -u)" != 0 ]; then
    have sudo && sudo -n true 2>/dev/null || return 1
    as=(sudo -n)
  fi
  say "setup: apt-get install $*"
  # Fresh package lists first: old ones name compilers that are too old.
  ${as[@]+"${as[@]}"} apt-get update -qq >&2 || true
  ${as[@]+"${as[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >&2
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

# Starts a local replica on the given port (0: any) and sets replica_pid and replica_url.
# Its log is $2. Build it first: cargo build --release -p replica
start_replica() {
  local log=$2 ready=$2.ready waited=0 detach=()
  # A process group of its own: Ctrl-C in the terminal is for the program in front.
  have setsid && detach=(setsid)
  mkdir -p "$(dirname "$log")"
  : >"$ready"
  ${detach[@]+"${detach[@]}"} "$root/target/release/replica" --port "$1" --json >"$ready" 2>"$log" </dev/null &
  replica_pid=$!
  while replica_url=$(json_field url <"$ready") && [ -z "$replica_url" ]; do
    kill -0 "$replica_pid" 2>/dev/null || die "the replica did not start: $(tail -n 3 "$log")"
    waited=$((waited + 1))
    [ "$waited" -lt 300 ] || die "the replica is not ready after 30 seconds: see $log"
    sleep 0.1
  done
}

# Ends the replica that start_replica started.
stop_replica() {
  [ -n "${replica_pid:-}" ] || return 0
  kill "$replica_pid" 2>/dev/null || true
  wait "$replica_pid" 2>/dev/null || true
  replica_pid=
}

# Prints a text field of the JSON object on standard input.
json_field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1; }
