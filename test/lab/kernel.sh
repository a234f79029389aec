# Finds the lab's User-Mode Linux kernel in the cache, or has it built: sets
# $kernel. Sourced by `run`, after lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154 # names shared with `run`

# cache_entry - sets $root and $hash, by which a cached kernel is found.
cache_entry() {
  root=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-ipvs-lab}
  [[ $kernel_source == "$usual_source" ]] || root=$root/$kernel_source
  hash=$(config | sha256sum | cut -c1-12)
}

# outlook - says what `run` does before it runs a command here.
outlook() {
  local root hash lacks
  cache_entry
  mapfile -t lacks < <(lacking "${lab_tools[@]}")
  if ((${#lacks[@]} == 0)) && { cached_kernel || host_can; }; then
    say "there is a kernel with IPVS"
    return
  fi
  cached_kernel || mapfile -t lacks < <(lacking "${lab_tools[@]}" "${build_tools[@]}")
  if ((${#lacks[@]} && EUID == 0)) && command -v apt-get >/dev/null; then
    say "it installs ${lacks[*]}"
  elif ((${#lacks[@]})); then
    say "please install these meanwhile: ${lacks[*]}"
  fi
  cached_kernel || say "unless this machine's kernel has IPVS, it builds a User-Mode Linux that has, once:" \
    "about $(build_minutes) minutes on this machine's $(nproc) CPUs"
}

# build_minutes - how long the build takes here: 20 minutes of CPU, and two that no second
# CPU shortens.
build_minutes() { echo $((2 + 18 / $(nproc))); }

find_kernel() {
  local root hash lock
  cache_entry
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
