# Finds the lab's User-Mode Linux kernel in the cache, or has it built: sets
# $kernel. Sourced by `run`, after lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154 # names shared with `run`

find_kernel() {
  local root=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-ipvs-lab}
  local hash lock
  [[ $kernel_source == "$usual_source" ]] || root=$root/$kernel_source
  hash=$(config | sha256sum | cut -c1-12)
  # Any version of the source will do once it is built: no network needed.
  cached_kernel && return
  need "${build_tools[@]}"
  mkdir -p "$root"
  exec {lock}>"$root/lock"
  if ! flock -n "$lock"; then
    say "waiting for another run, which is building the kernel"
    flock "$lock"
  fi
  if ! cached_kernel; then
    # We hold the lock, so what an interrupted build has left is nobody's.
    building=$root/building
    rm -rf "$building"
    mkdir "$building"
    # The lock must not outlive us in a child.
    leashed "$lab/build" "$building" "$root" "$hash" </dev/null {lock}>&- &
    machine=$!
    wait "$machine" || exit 125
    machine=''
    rm -rf "$building"
    building='' # from now on it is another's
    cached_kernel || die "no kernel in $root after the build"
  fi
  exec {lock}>&-
}

cached_kernel() {
  local found
  found=$(printf '%s\n' "$root"/*-"$hash"/linux | sort -V | tail -n 1)
  [[ -x $found ]] && kernel=$found
}
